/*
 * Which blocks of a swap file are in use: takes and gives back runs of 1 to 64 blocks. Bookkeeping only; the swap file's lock
 * guards it.
 */
#ifndef MEMMGR_SWAP_EXTENTS_H
#define MEMMGR_SWAP_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SWAP_BLOCK 4096u
#define SWAP_RUN_MAX 64u        /* blocks: SWAP_EXTENT_MAX */
#define SWAP_GROUP_BLOCKS 8192u /* 32 MiB */

struct swap_group;

struct swap_extents {
	struct swap_group **groups;
	uint8_t *longest; /* by group: no free run is longer, counted up to SWAP_RUN_MAX */
	size_t nr_groups, nr_room;
	size_t first[SWAP_RUN_MAX + 1]; /* by length: no group below it has a free run of that length */
	uint64_t nr_stale;              /* blocks that are free, and may still take space on disk */
};

void swap_extents_init(struct swap_extents *x);
void swap_extents_fini(struct swap_extents *x);

/* Adds a group, of which the first nr_usable blocks may ever be taken. Returns 0 or -ENOMEM. */
int swap_extents_grow(struct swap_extents *x, unsigned nr_usable);

/*
 * Takes the first free run of nr blocks (1 to SWAP_RUN_MAX). Returns 0, -ENOSPC: there is none, or -EAGAIN: so many groups were
 * searched in vain, but there may be one further on. A search costs up to some microseconds.
 */
int swap_extents_take(struct swap_extents *x, unsigned nr, size_t max_vain, uint64_t *block);
/* The same in the last group alone. Returns 0 or -ENOSPC. */
int swap_extents_take_last(struct swap_extents *x, unsigned nr, uint64_t *block);
/*
 * Frees what was taken. The blocks are stale until they are taken again or discarded. Returns false, and does nothing, unless all
 * of them are taken.
 */
bool swap_extents_put(struct swap_extents *x, uint64_t block, unsigned nr);

/*
 * Takes the run of stale blocks around block, so that its space can be given back without anybody using it meanwhile. Returns the
 * length, 0 if the block is not stale. Ends by swap_extents_put() (nothing was given back) or swap_extents_put_clean().
 */
unsigned swap_extents_take_stale(struct swap_extents *x, uint64_t block, uint64_t *start);
void swap_extents_put_clean(struct swap_extents *x, uint64_t start, unsigned nr);
/* The first stale block at or after from. Returns false if there is none. */
bool swap_extents_next_stale(const struct swap_extents *x, uint64_t from, uint64_t *block);

#endif
