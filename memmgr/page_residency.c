/* See page_residency.h. */
#include "memmgr/page_residency.h"

#include "memmgr/guest_ram.h"
#include "memmgr/os.h"
#include "memmgr/uffd_abi.h"

enum { AT_ONCE = 128 };

static void add(struct page_residency *sum, const struct page_region *region)
{
	uint64_t nr = (region->end - region->start) / GUEST_PAGE_SIZE;
	sum->present += region->categories & PAGE_IS_PRESENT ? nr : 0;
	sum->zero += region->categories & PAGE_IS_PFNZERO ? nr : 0;
	sum->huge += region->categories & PAGE_IS_HUGE ? nr : 0;
	sum->swapped += region->categories & PAGE_IS_SWAPPED ? nr : 0;
}

int page_residency(int pagemap, const void *hva, uint64_t nr, struct page_residency *counts)
{
	struct page_residency sum = {.present = 0};
	struct page_region regions[AT_ONCE];
	uint64_t at = (uint64_t)(uintptr_t)hva, end = at + nr * GUEST_PAGE_SIZE;
	while (at < end) {
		struct pm_scan_arg arg = {
			.size = sizeof(arg),
			.start = at,
			.end = end,
			.vec = (uint64_t)(uintptr_t)regions,
			.vec_len = AT_ONCE,
			.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
			.return_mask = PAGE_IS_PRESENT | PAGE_IS_PFNZERO | PAGE_IS_HUGE | PAGE_IS_SWAPPED,
		};
		int ret = mem_ioctl(pagemap, PAGEMAP_SCAN, &arg);
		if (ret < 0)
			return ret;
		for (int i = 0; i < ret; i++)
			add(&sum, &regions[i]);
		at = arg.walk_end > at ? arg.walk_end : end;
	}
	*counts = sum;
	return 0;
}
