/*
 * Which pages of this process are there: the PAGEMAP_SCAN ioctl (Linux, Documentation/admin-guide/mm/pagemap.rst), at nanoseconds a
 * page.
 */
#ifndef MEMMGR_PAGE_SCAN_H
#define MEMMGR_PAGE_SCAN_H

#include <stddef.h>
#include <stdint.h>

/* Opens /proc/self/pagemap. Returns the descriptor or -errno. */
int page_scan_open(void);
void page_scan_close(int fd);

struct page_scan_run {
	uint32_t first, nr; /* pages from the start of what was scanned */
};

enum page_scan_what {
	PAGE_SCAN_PRESENT, /* pages that take memory: not the kernel's zero page */
	PAGE_SCAN_PRIVATE, /* pages of this process alone that are present, in a private mapping of a file */
	PAGE_SCAN_HUGE,    /* pages that are part of a huge page, mapped as one */
	PAGE_SCAN_MAPPED,  /* all that is there: also zero pages, and what the kernel has swapped out */
	PAGE_SCAN_SWAPPED, /* what the kernel has swapped out */
};
/* Finds such pages among nr from hva on; runs in order, at most max. Returns how many, or -errno. */
int page_scan(int fd, const void *hva, uint32_t nr, enum page_scan_what what, struct page_scan_run *runs, unsigned max);
/*
 * PAGE_SCAN_PRIVATE; and, at no further cost, *written: from the first page, of these and of those that are swapped out, that counts as
 * written (write_track.h), or was never tracked, to the last one; nr is 0 when there is none. Of runs beyond max nothing is known.
 *
 * A private page that is swapped out is not told of until it is back: a page of the file that the kernel reclaimed under write protection
 * leaves a marker in the page table (Linux, pte_install_uffd_wp_if_needed), and this call tells of both alike.
 */
int page_scan_private(int fd, const void *hva, uint32_t nr, struct page_scan_run *runs, unsigned max,
		      struct page_scan_run *written);
/* Counts pages that are present. Returns pages or -errno. */
int64_t page_scan_count(int fd, const void *hva, uint64_t nr);

#endif
