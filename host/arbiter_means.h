/*
 * By which means a guest gives back what it has too much: its balloon, then the memory manager (which evicts and compresses what is above the
 * target), then the disk. Pure, but for what it remembers of the balloon.
 *
 * The guest knows best what it can do without, so the balloon is asked first; but it may be slow, dead, or lie. It is asked for no more
 * than the guest says it has available, less 1/16 of its memory (nothing said: 1/8 of its memory at a time), so that it need not kill
 * programs for it. A balloon that owes pages and has moved none for 2 s is stalled: for 30 s memory is taken without it.
 */
#ifndef HOST_ARBITER_MEANS_H
#define HOST_ARBITER_MEANS_H

#include "host/arbiter_internal.h"

/* Looks at what the balloon did since it was asked. step_ms as for arbiter_demand(). */
void arbiter_balloon_watch(struct arbiter_past *p, const struct arbiter_guest *guest, uint64_t step_ms);
/* Pages that it can be expected to give now. 0: none, or it is stalled. */
double arbiter_balloon_reach(const struct arbiter_past *p, const struct arbiter_guest *guest, const struct arbiter_work *w,
			     unsigned most_percent);
/* How many pages its balloon is to hold. */
uint64_t arbiter_balloon_ask(struct arbiter_past *p, const struct arbiter_guest *guest, const struct arbiter_work *w, double reach,
			     enum arbiter_state state, unsigned most_percent);
/*
 * Whether its pages may go to disk: in LOW; and in HARD when compression did not suffice, for this guest (3 s above its target) or for all
 * (long_short: somebody has needed more than there is for a while). w->target is the new one.
 */
bool arbiter_may_swap(struct arbiter_past *p, const struct arbiter_guest *guest, const struct arbiter_work *w,
		      enum arbiter_state state, bool long_short, uint64_t step_ms);

#endif
