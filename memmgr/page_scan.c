/* See page_scan.h. */
#include "memmgr/page_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "memmgr/guest_ram.h"
#include "memmgr/os.h"
#include "memmgr/uffd_abi.h"

int page_scan_open(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

void page_scan_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* Scans from *at on: regions found, with *at moved on to where to go on. */
static int scan(int fd, enum page_scan_what what, uint64_t *at, uint64_t end, struct page_region *regions, unsigned max)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = *at,
		.end = end,
		.vec = (uint64_t)(uintptr_t)regions,
		.vec_len = max,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	};
	if (what == PAGE_SCAN_PRESENT) {
		/* Present, and not (inverted) the zero page. */
		arg.category_inverted = PAGE_IS_PFNZERO;
		arg.category_mask = PAGE_IS_PRESENT | PAGE_IS_PFNZERO;
	} else if (what == PAGE_SCAN_PRIVATE) {
		arg.category_inverted = PAGE_IS_FILE;
		arg.category_mask = PAGE_IS_FILE;
		arg.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
		arg.return_mask |= PAGE_IS_WRITTEN | PAGE_IS_PFNZERO;
	} else if (what == PAGE_SCAN_HUGE) {
		arg.category_mask = PAGE_IS_PRESENT | PAGE_IS_HUGE;
	} else if (what == PAGE_SCAN_SWAPPED) {
		arg.category_mask = PAGE_IS_SWAPPED;
	} else {
		arg.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
	}
	int ret = mem_ioctl(fd, PAGEMAP_SCAN, &arg);
	if (ret >= 0)
		*at = arg.walk_end > *at ? arg.walk_end : end;
	return ret;
}

/* *span: from the first page that was written to the last. */
static int find(int fd, const void *hva, uint32_t nr, enum page_scan_what what, struct page_scan_run *runs, unsigned max,
		struct page_scan_run *span)
{
	enum { AT_ONCE = 64 };
	struct page_region regions[AT_ONCE];
	uint64_t start = (uint64_t)(uintptr_t)hva, at = start, end = start + (uint64_t)nr * GUEST_PAGE_SIZE;
	unsigned found = 0;
	while (at < end && found < max) {
		int ret = scan(fd, what, &at, end, regions, max - found < AT_ONCE ? max - found : AT_ONCE);
		if (ret < 0)
			return ret;
		for (int i = 0; i < ret; i++) {
			uint32_t first = (uint32_t)((regions[i].start - start) / GUEST_PAGE_SIZE);
			uint32_t pages = (uint32_t)((regions[i].end - regions[i].start) / GUEST_PAGE_SIZE);
			if ((regions[i].categories & (PAGE_IS_WRITTEN | PAGE_IS_PFNZERO)) == PAGE_IS_WRITTEN) {
				span->first = span->nr ? span->first : first;
				span->nr = first + pages - span->first;
			}
			if (what == PAGE_SCAN_PRIVATE && !(regions[i].categories & PAGE_IS_PRESENT))
				continue;
			if (found && runs[found - 1].first + runs[found - 1].nr == first)
				runs[found - 1].nr += pages;
			else
				runs[found++] = (struct page_scan_run){first, pages};
		}
	}
	return (int)found;
}

int page_scan(int fd, const void *hva, uint32_t nr, enum page_scan_what what, struct page_scan_run *runs, unsigned max)
{
	struct page_scan_run written = {0};
	return find(fd, hva, nr, what, runs, max, &written);
}

int page_scan_private(int fd, const void *hva, uint32_t nr, struct page_scan_run *runs, unsigned max, struct page_scan_run *written)
{
	*written = (struct page_scan_run){0};
	return find(fd, hva, nr, PAGE_SCAN_PRIVATE, runs, max, written);
}

int64_t page_scan_count(int fd, const void *hva, uint64_t nr)
{
	struct page_region regions[256];
	uint64_t at = (uint64_t)(uintptr_t)hva, end = at + nr * GUEST_PAGE_SIZE;
	int64_t count = 0;
	while (at < end) {
		int ret = scan(fd, PAGE_SCAN_PRESENT, &at, end, regions, 256);
		if (ret < 0)
			return ret;
		for (int i = 0; i < ret; i++)
			count += (int64_t)((regions[i].end - regions[i].start) / GUEST_PAGE_SIZE);
	}
	return count;
}
