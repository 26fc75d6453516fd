/*
 * More of the identity mapping, by ring 3 itself: the tables are memory like any other. Only entries that were absent are written, and the
 * CPU caches none of those, so nothing is to be flushed.
 */
#include "paging.h"
#include "guest.h"
#include "io.h"
#include "memmap.h"

#define GIB (1ull << 30)
#define TABLE_BITS 0x27ull /* accessed, user, writable, present */
#define LARGE_BITS 0xe7ull /* large, dirty, and those */

extern uint64_t boot_pml4[512];

static unsigned address_bits = 36;

static uint64_t *table_of(uint64_t *entry)
{
	if (!*entry)
		*entry = (uint64_t)memmap_take(1, 1) | TABLE_BITS;
	return (uint64_t *)(*entry & ~0xfffull);
}

static void map_gib(uint64_t gpa)
{
	uint64_t *pdpt = table_of(&boot_pml4[gpa >> 39 & 511]), *entry = &pdpt[gpa >> 30 & 511], *pd;
	unsigned i;

	if (*entry)
		return;
	pd = memmap_take(1, 1);
	for (i = 0; i < 512; i++)
		pd[i] = (gpa + ((uint64_t)i << 21)) | LARGE_BITS;
	*entry = (uint64_t)pd | TABLE_BITS;
}

void paging_map(uint64_t gpa, uint64_t size)
{
	uint64_t at, end = gpa + size;

	if (end < gpa || end > 1ull << (address_bits < 47 ? address_bits : 47))
		guest_fail("0x%lx to 0x%lx cannot be mapped with %u address bits", gpa, end, address_bits);
	for (at = gpa & ~(GIB - 1); at < end; at += GIB)
		map_gib(at);
}

void paging_open(void)
{
	struct memmap_range range;
	size_t i;

	/*
	 * No pages of 1 GiB: where ring 3 executes CPUID natively it sees them in the host's CPU, while KVM, which keeps the tables, has none for its
	 * guests without nested paging.
	 */
	if (cpuid_read(0x80000000, 0).eax >= 0x80000008)
		address_bits = cpuid_read(0x80000008, 0).eax & 0xff;
	for (i = 0; memmap_range(i, &range); i++)
		if (range.type == MEMMAP_RAM)
			paging_map(range.gpa, range.size);
}
