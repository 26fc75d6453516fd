/*
 * Which pages were written: asynchronous write protection (UFFD_FEATURE_WP_ASYNC) and the PAGEMAP_SCAN ioctl (Linux 6.7,
 * Documentation/admin-guide/mm/pagemap.rst). The kernel resolves the fault of a first write by itself; whoever wants to know asks
 * for pages that are not protected any more. For dedup, reclaim and migration.
 *
 * The range is private anonymous memory that the caller has registered for it (uffd_register). pagemap is what page_scan_open()
 * gave. A range is harvested by one thread at a time; who writes need not care. Functions return -errno when the kernel refuses:
 * -EPERM when part of the range is not registered, -ENOTTY on a kernel without PAGEMAP_SCAN.
 *
 * What counts as written: a page that was written, that appeared by a first write, or that was brought by UFFDIO_COPY or
 * UFFDIO_MOVE. Not: a page that was never touched or only read (the kernel's zero page), or that is gone; it counts once it is
 * there.
 */
#ifndef MEMMGR_WRITE_TRACK_H
#define MEMMGR_WRITE_TRACK_H

#include <stdint.h>

/* Pages from hva on; nothing that lies there already counts as written from then on. Returns 0 or -errno. */
int write_track_begin(int pagemap, void *hva, uint64_t nr);

enum write_run_flags {
	WRITE_RUN_HUGE = 1,    /* mapped as huge pages */
	WRITE_RUN_SWAPPED = 2, /* swapped out by the host's kernel since */
};

struct write_run {
	uint64_t first, nr; /* pages from the start of the range; nr > 0 */
	unsigned flags;
};

/*
 * Finds pages written since they were last harvested, from page *at on, and protects them again in the same step: a write comes
 * either before, and is reported, or after, and will be. Fills at most max (> 0) runs in order, returns how many, and moves *at to
 * where to go on: to nr when all was seen. After -errno whatever lies from *at on may have been protected without being reported:
 * it is to be taken for written.
 */
int write_track_harvest(int pagemap, void *hva, uint64_t nr, uint64_t *at, struct write_run *runs, unsigned max);
/* The same, but changes nothing: the next harvest reports them again. */
int write_track_peek(int pagemap, const void *hva, uint64_t nr, uint64_t *at, struct write_run *runs, unsigned max);

#endif
