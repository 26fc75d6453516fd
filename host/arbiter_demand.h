/*
 * What a guest needs, and how much of what it has is in use: learnt from its counters. Pure, but for what it remembers.
 *
 * A guest is pressed when it is at its target and waits for memory (faults, stall), or when it runs short inside while its balloon holds
 * memory of it. What it needs is then not known, only that it is more: the need grows by a quarter with each decision, so it doubles in a second.
 * Once it is not pressed any more, what it needed is believed for a while, then forgotten slowly, down to what is seen in use. A guest that
 * is pressed again soon after is believed twice as long: a wrong estimate of what is in use costs it less and less often.
 */
#ifndef HOST_ARBITER_DEMAND_H
#define HOST_ARBITER_DEMAND_H

#include "host/arbiter_internal.h"

/*
 * step_s: since the last decision; 0: the clock stood still or went back, nothing is learnt of rates. mean_loss: of all guests, as
 * of the last decision. Fills in all of *w that says "by arbiter_demand".
 */
void arbiter_demand(struct arbiter_past *p, const struct arbiter_guest *guest, uint64_t now_ns, double step_s, double mean_loss,
		    unsigned bend_percent, struct arbiter_work *w);

/* Faults a second with so many pages, between the points of a curve. Negative or absurd points count as none. nr of 1 or more. */
double arbiter_curve_at(const struct arbiter_point *curve, size_t nr, double pages);

#endif
