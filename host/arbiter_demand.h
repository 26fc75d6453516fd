/*
 * What a guest needs, and how much of what it has is in use: learnt from its counters. Pure, but for what it remembers.
 *
 * Hot is what samples say, or else the guest; more at once when the guest takes more or pages fault, and that is believed until samples can
 * have shown it. What is compressed was not in use for long, and is not hot, unless the guest does nothing but bring it back.
 *
 * A guest is pressed when it is at its target and waits for memory (faults, stall), or when it runs short inside while its balloon holds
 * memory of it. What it needs is then not known, only that it is more: half a second's faults, or a quarter with each decision, so it doubles
 * in a second. A guest that is not pressed wants little more than it has, and what it will have taken soon if it grows as it does; what it
 * needed before is not kept for it: it gets that again as fast as it grows. It grows by what it touches, not by what it uses: at its target it
 * would be seen to evict its own pages only when they fault.
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
