/* The memory map of hvm_start_info (Xen's public/arch-x86/hvm/start_info.h, version 1), and what is left of RAM. */
#include "memmap.h"
#include "bytes.h"
#include "guest.h"
#include "print.h"

#define START_MAGIC 0x336ec578u

enum { MOST_RANGES = 64, MOST_KEPT = 24, MOST_CMDLINE = 4096 };

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

struct start_module {
	uint64_t gpa, size, cmdline, reserved;
};

struct start_memmap {
	uint64_t gpa, size;
	uint32_t type, reserved;
};

extern uint64_t boot_start_info;
extern char guest_image[], guest_image_end[];

static struct start_info info;
static char cmdline[MOST_CMDLINE];
static struct memmap_range ranges[MOST_RANGES], free_ranges[MOST_RANGES * 2], marked_ranges[MOST_RANGES * 2], kept[MOST_KEPT];
static size_t nr_ranges, nr_free, nr_kept;

static void keep(uint64_t gpa, uint64_t size)
{
	uint64_t end = (gpa + size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);

	if (!size || nr_kept == MOST_KEPT)
		return;
	kept[nr_kept].gpa = gpa & ~(PAGE_SIZE - 1);
	kept[nr_kept].size = end - kept[nr_kept].gpa;
	nr_kept++;
}

static void add_free(uint64_t start, uint64_t end)
{
	size_t i;

	/* The first thing to keep that overlaps splits the range in two, and each part is looked at again. */
	for (i = 0; i < nr_kept && start < end; i++) {
		if (kept[i].gpa >= end || kept[i].gpa + kept[i].size <= start)
			continue;
		if (kept[i].gpa > start)
			add_free(start, kept[i].gpa);
		start = kept[i].gpa + kept[i].size;
		i = (size_t)-1;
	}
	if (start >= end || nr_free == MOST_RANGES * 2)
		return;
	free_ranges[nr_free++] = (struct memmap_range){start, end - start, MEMMAP_RAM};
}

static void sort_ranges(void)
{
	struct memmap_range range;
	size_t i, j;

	for (i = 1; i < nr_ranges; i++) {
		range = ranges[i];
		for (j = i; j && ranges[j - 1].gpa > range.gpa; j--)
			ranges[j] = ranges[j - 1];
		ranges[j] = range;
	}
}

void memmap_open(void)
{
	const struct start_module *module;
	const struct start_memmap *entry;
	uint64_t start, end;
	size_t i, len;

	memcpy(&info, (const void *)boot_start_info, sizeof(info));
	if (info.magic != START_MAGIC)
		guest_fail("no hvm_start_info at 0x%lx: magic 0x%x", boot_start_info, info.magic);
	if (info.version < 1 || !info.memmap_entries)
		guest_fail("hvm_start_info of version %u has no memory map", info.version);
	if (info.cmdline) {
		len = strlen((const char *)info.cmdline);
		memcpy(cmdline, (const void *)info.cmdline, len < MOST_CMDLINE - 1 ? len : MOST_CMDLINE - 1);
		keep(info.cmdline, len + 1);
	}
	for (i = 0; i < info.memmap_entries && nr_ranges < MOST_RANGES; i++) {
		entry = (const struct start_memmap *)info.memmap + i;
		ranges[nr_ranges++] = (struct memmap_range){entry->gpa, entry->size, entry->type};
	}
	sort_ranges();

	keep((uint64_t)guest_image, (uint64_t)(guest_image_end - guest_image));
	keep(boot_start_info, sizeof(info));
	keep(info.memmap, info.memmap_entries * sizeof(*entry));
	keep(info.modlist, info.nr_modules * sizeof(*module));
	for (i = 0; i < info.nr_modules && i < 8; i++) {
		module = (const struct start_module *)info.modlist + i;
		keep(module->gpa, module->size);
	}
	for (i = 0; i < nr_ranges; i++) {
		if (ranges[i].type != MEMMAP_RAM) {
			keep(ranges[i].gpa, ranges[i].size);
			continue;
		}
		start = ranges[i].gpa < 0x100000 ? 0x100000 : (ranges[i].gpa + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
		end = (ranges[i].gpa + ranges[i].size) & ~(PAGE_SIZE - 1);
		if (start < end)
			add_free(start, end);
	}
}

bool memmap_range(size_t index, struct memmap_range *range)
{
	if (index >= nr_ranges)
		return false;
	*range = ranges[index];
	return true;
}

uint64_t memmap_ram_bytes(void)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < nr_ranges; i++)
		bytes += ranges[i].type == MEMMAP_RAM ? ranges[i].size : 0;
	return bytes;
}

uint64_t memmap_rsdp(void)
{
	return info.rsdp;
}

const char *memmap_cmdline(void)
{
	return cmdline;
}

bool memmap_free_range(size_t index, struct memmap_range *range)
{
	if (index >= nr_free)
		return false;
	*range = free_ranges[index];
	return true;
}

uint64_t memmap_free_pages(void)
{
	uint64_t pages = 0;
	size_t i;

	for (i = 0; i < nr_free; i++)
		pages += free_ranges[i].size / PAGE_SIZE;
	return pages;
}

void *memmap_take(size_t nr_pages, size_t align)
{
	uint64_t start, end, mask = align * PAGE_SIZE - 1;
	size_t i;

	for (i = 0; i < nr_free; i++) {
		start = (free_ranges[i].gpa + mask) & ~mask;
		end = start + nr_pages * PAGE_SIZE;
		if (end > free_ranges[i].gpa + free_ranges[i].size || end > 1ull << 32)
			continue;
		/* Pages skipped for alignment are lost. */
		free_ranges[i].size -= end - free_ranges[i].gpa;
		free_ranges[i].gpa = end;
		return memset((void *)start, 0, nr_pages * PAGE_SIZE);
	}
	guest_fail("no %lu free pages under 4 GiB", (unsigned long)nr_pages);
}

void memmap_mark(void)
{
	memcpy(marked_ranges, free_ranges, sizeof(free_ranges));
}

void memmap_release(void)
{
	memcpy(free_ranges, marked_ranges, sizeof(free_ranges));
}

uint64_t memmap_free_gpa(uint64_t index)
{
	size_t i;

	for (i = 0; i < nr_free; i++) {
		if (index < free_ranges[i].size / PAGE_SIZE)
			return free_ranges[i].gpa + index * PAGE_SIZE;
		index -= free_ranges[i].size / PAGE_SIZE;
	}
	guest_fail("free page past the last");
}

static bool is_kept(uint64_t gpa)
{
	size_t i;

	for (i = 0; i < nr_kept; i++)
		if (gpa < kept[i].gpa + kept[i].size && kept[i].gpa < gpa + PAGE_SIZE)
			return true;
	return false;
}

uint64_t memmap_low_page(void)
{
	uint64_t gpa;
	size_t i;

	/* Page 0 and those next to it hold what old firmware keeps there. */
	for (i = 0; i < nr_ranges; i++)
		for (gpa = 0x8000; gpa < 0x80000; gpa += PAGE_SIZE)
			if (ranges[i].type == MEMMAP_RAM && ranges[i].gpa <= gpa &&
			    gpa + PAGE_SIZE <= ranges[i].gpa + ranges[i].size && !is_kept(gpa))
				return gpa;
	guest_fail("no free page of RAM under 512 KiB");
}
