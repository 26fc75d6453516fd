/*
 * The sharing map: for a set of clients, how much they share among themselves and with whom else, and how much memory it would take if
 * what they share diverged. Counted on request from the holders of all slots, which are exact: nothing is kept for it, it costs no memory beyond
 * struct sharing while a question is open. The walk is done in steps; what changes meanwhile is counted as it was or as it is.
 */
#ifndef DEDUP_SHARING_H
#define DEDUP_SHARING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dedup/pool.h"

struct sharing {
	uint8_t set[POOL_MOST_CLIENTS / 8]; /* a bit each: who is asked about */
	uint64_t pages;                     /* of the set that map slots */
	uint64_t slots;                     /* which they map */
	uint64_t within;                    /* slots that more than one page of the set maps */
	uint64_t across;                    /* slots that others map, too */
	uint64_t saved;                     /* pages that sharing among the set saves: pages - slots */
	uint64_t divergence;                /* pages of memory more that it would take if every page of the set were written */
	uint32_t with
		[POOL_MOST_CLIENTS]; /* by client: slots that it has in common with the set, or within the set with another of it */
};

static inline void sharing_ask_about(struct sharing *s, uint16_t client)
{
	s->set[client / 8] |= (uint8_t)(1u << client % 8);
}

static inline bool sharing_is_asked(const struct sharing *s, uint16_t client)
{
	return s->set[client / 8] >> client % 8 & 1;
}

/* Adds up to nr slots of a pool from *cursor (0 at first). Returns false when the pool is done. */
bool sharing_step(struct sharing *s, const struct pool *pool, uint32_t *cursor, uint32_t nr);

#endif
