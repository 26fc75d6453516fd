/* See arbiter_common.h. */
#include "host/arbiter_common.h"

#include "host/arbiter_internal.h"

#define LEAST_STORED 1024 /* pages that must be swapped out before they tell what is gained */
#define USUAL_GAIN 0.5
#define LEAST_GAIN 0.125
#define MOST_SHARE 8 /* of what is used: one part of so many at a time */

uint64_t arbiter_common_excess(const struct arbiter_guest guests[], const struct arbiter_guest_decision decisions[], size_t nr)
{
	double used = 0, allowed = 0, stored = 0, taken = 0;
	for (size_t i = 0; i < nr; i++) {
		const struct arbiter_guest *g = &guests[i];
		if (!g->in_common || !g->has_stats)
			continue;
		used += arbiter_pages(g->used_pages);
		allowed += arbiter_pages(decisions[i].target_pages < g->size_pages ? decisions[i].target_pages : g->size_pages);
		stored += arbiter_pages(g->stored_pages);
		taken += arbiter_pages(g->stored_taken_pages);
	}
	if (used <= allowed)
		return 0;
	double gain = stored < LEAST_STORED ? USUAL_GAIN : 1 - taken / stored;
	double excess = (used - allowed) / (gain > LEAST_GAIN ? gain : LEAST_GAIN);
	return (uint64_t)(excess < used / MOST_SHARE ? excess : used / MOST_SHARE);
}
