/* See granules.h. Free granules are chained by their first four bytes. */
#include "dedup/granules.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "memmgr/os.h"

#define HUGE_BYTES (2ull << 20)
#define SMALL_BYTES \
	(4ull << 20) /* so much is backed by small pages: a little index shall be little, and its translations are few */

static uint64_t round_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

int granules_create(struct granules *g, uint32_t most)
{
	uint64_t bytes = round_up((uint64_t)most * GRANULE_BYTES, HUGE_BYTES);
	*g = (struct granules){.most = most, .free = GRANULE_NONE, .mapping_bytes = bytes + HUGE_BYTES};
	g->mapping = mem_map(g->mapping_bytes);
	if (!g->mapping)
		return -ENOMEM;
	g->base = g->mapping + (round_up((uint64_t)(uintptr_t)g->mapping, HUGE_BYTES) - (uint64_t)(uintptr_t)g->mapping);
	mem_madvise(g->base, bytes, MADV_NOHUGEPAGE);
	if (bytes > SMALL_BYTES) /* a kernel without them is slower, not wrong */
		mem_madvise(g->base + SMALL_BYTES, bytes - SMALL_BYTES, MADV_HUGEPAGE);
	mem_madvise(g->base, bytes, MADV_DONTDUMP);
	return 0;
}

void granules_destroy(struct granules *g)
{
	if (g->mapping)
		munmap(g->mapping, g->mapping_bytes);
	*g = (struct granules){.free = GRANULE_NONE};
}

uint32_t granule_take(struct granules *g)
{
	uint32_t granule = g->free;
	if (granule != GRANULE_NONE) {
		memcpy(&g->free, granule_at(g, granule), sizeof(g->free));
		memset(granule_at(g, granule), 0, GRANULE_BYTES);
	} else if (g->fresh < g->most) {
		granule = g->fresh++;
	} else {
		return GRANULE_NONE;
	}
	g->used++;
	return granule;
}

void granule_put(struct granules *g, uint32_t granule)
{
	memcpy(granule_at(g, granule), &g->free, sizeof(g->free));
	g->free = granule;
	if (--g->used || mem_madvise(g->base, granules_bytes(g), MADV_DONTNEED) < 0)
		return;
	g->free = GRANULE_NONE;
	g->fresh = 0;
}

uint64_t granules_bytes(const struct granules *g)
{
	uint64_t bytes = (uint64_t)g->fresh * GRANULE_BYTES;
	return round_up(bytes, bytes > SMALL_BYTES ? HUGE_BYTES : 4096);
}
