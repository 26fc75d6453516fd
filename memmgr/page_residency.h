/* What the host's kernel keeps for a range of this process: for accounting. By the PAGEMAP_SCAN ioctl, at nanoseconds a page. */
#ifndef MEMMGR_PAGE_RESIDENCY_H
#define MEMMGR_PAGE_RESIDENCY_H

#include <stdint.h>

/* Pages of 4 KiB. What is in none of them was never touched, or is gone. */
struct page_residency {
	uint64_t present; /* mapped, zero pages included */
	uint64_t zero;    /* of those, the kernel's zero page: takes no memory */
	uint64_t huge;    /* of those, mapped as huge pages */
	uint64_t swapped; /* swapped out by the host's kernel, or on its way to another place */
};

/* Counts nr pages from hva on. pagemap is what page_scan_open() gave. Returns 0 or -errno. */
int page_residency(int pagemap, const void *hva, uint64_t nr, struct page_residency *counts);

#endif
