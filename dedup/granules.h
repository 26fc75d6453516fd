/*
 * Memory for the index: granules of 512 bytes out of one range of addresses, which is backed as it is used, but for its start by huge pages. What is given
 * back is taken again first. One thread at a time.
 */
#ifndef DEDUP_GRANULES_H
#define DEDUP_GRANULES_H

#include <stdint.h>

#define GRANULE_BYTES 512u
#define GRANULE_NONE UINT32_MAX

struct granules {
	uint8_t *base;
	uint8_t *mapping; /* base, aligned to 2 MiB, lies within */
	uint64_t mapping_bytes;
	uint32_t most;  /* granules that there can be */
	uint32_t used;  /* taken at this time */
	uint32_t fresh; /* the first that was never taken: all above are untouched */
	uint32_t free;  /* the first of those that were given back, GRANULE_NONE: none */
};

/* Returns 0 or -ENOMEM. */
int granules_create(struct granules *g, uint32_t most);
void granules_destroy(struct granules *g);

/* Returns a granule of zeroes, or GRANULE_NONE. */
uint32_t granule_take(struct granules *g);
/* When none is left in use, all memory goes back to the kernel. */
void granule_put(struct granules *g, uint32_t granule);

/* Memory that is backed. */
uint64_t granules_bytes(const struct granules *g);

static inline void *granule_at(const struct granules *g, uint32_t granule)
{
	return g->base + (uint64_t)granule * GRANULE_BYTES;
}

#endif
