/*
 * See write_track.h.
 *
 * A hole is not protected, and so the kernel may count it as written (fs/proc/task_mmu.c: it did so in some paths only at first, in
 * more of them later; 6.18 does here). It would then be reported, and be protected by a marker, which costs page tables and never
 * becomes part of a huge page. So what is asked for is there, present or swapped out, besides being written; and there is always a
 * place for results, since without one all of the range is protected, holes included.
 */
#include "memmgr/write_track.h"

#include <stddef.h>

#include "memmgr/guest_ram.h"
#include "memmgr/os.h"
#include "memmgr/uffd_abi.h"

enum { AT_ONCE = 128 };

enum scan_mode { LOOK, PROTECT };

/* One ioctl: from page *at on, fills up to max regions. Returns how many, *at moves on. */
static int scan(int pagemap, const void *hva, uint64_t nr, uint64_t *at, enum scan_mode mode, struct page_region *regions,
		unsigned max)
{
	uint64_t start = (uint64_t)(uintptr_t)hva;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_CHECK_WPASYNC | (mode == PROTECT ? PM_SCAN_WP_MATCHING : 0),
		.start = start + *at * GUEST_PAGE_SIZE,
		.end = start + nr * GUEST_PAGE_SIZE,
		.vec = (uint64_t)(uintptr_t)regions,
		.vec_len = max,
		/* Written, and not (inverted) the zero page: that is what reading a hole maps. */
		.category_inverted = PAGE_IS_PFNZERO,
		.category_mask = PAGE_IS_WRITTEN | PAGE_IS_PFNZERO,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_HUGE | PAGE_IS_SWAPPED,
	};
	int ret = mem_ioctl(pagemap, PAGEMAP_SCAN, &arg);
	if (ret >= 0)
		*at = arg.walk_end > arg.start ? (arg.walk_end - start) / GUEST_PAGE_SIZE : nr;
	return ret;
}

static unsigned flags_of(const struct page_region *region)
{
	return (region->categories & PAGE_IS_HUGE ? WRITE_RUN_HUGE : 0) |
	       (region->categories & PAGE_IS_SWAPPED ? WRITE_RUN_SWAPPED : 0);
}

static int find(int pagemap, const void *hva, uint64_t nr, uint64_t *at, enum scan_mode mode, struct write_run *runs, unsigned max)
{
	struct page_region regions[AT_ONCE];
	uint64_t start = (uint64_t)(uintptr_t)hva, next = *at;
	unsigned found = 0;
	while (next < nr && found < max) {
		int ret = scan(pagemap, hva, nr, &next, mode, regions, max - found < AT_ONCE ? max - found : AT_ONCE);
		/* *at stays where this call began: what it has found so far is protected, and told by no later call. */
		if (ret < 0)
			return ret;
		for (int i = 0; i < ret; i++) {
			struct write_run run = {
				.first = (regions[i].start - start) / GUEST_PAGE_SIZE,
				.nr = (regions[i].end - regions[i].start) / GUEST_PAGE_SIZE,
				.flags = flags_of(&regions[i]),
			};
			struct write_run *last = found ? &runs[found - 1] : NULL;
			if (last && last->first + last->nr == run.first && last->flags == run.flags)
				last->nr += run.nr;
			else
				runs[found++] = run;
		}
	}
	*at = next;
	return (int)found;
}

int write_track_begin(int pagemap, void *hva, uint64_t nr)
{
	struct page_region regions[AT_ONCE];
	/* What has been written until now is forgotten. */
	for (uint64_t at = 0; at < nr;) {
		int ret = scan(pagemap, hva, nr, &at, PROTECT, regions, AT_ONCE);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int write_track_harvest(int pagemap, void *hva, uint64_t nr, uint64_t *at, struct write_run *runs, unsigned max)
{
	return find(pagemap, hva, nr, at, PROTECT, runs, max);
}

int write_track_peek(int pagemap, const void *hva, uint64_t nr, uint64_t *at, struct write_run *runs, unsigned max)
{
	return find(pagemap, hva, nr, at, LOOK, runs, max);
}
