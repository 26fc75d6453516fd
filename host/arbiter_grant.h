/*
 * From goals to targets: memory is given out only when it is there. Pure.
 *
 * A guest that is to shrink has its target lowered to what it uses at once: what it was allowed and did not take is free to give. Below
 * that by the means of the host's state: not at all in HIGH, as its balloon gives in SOFT, at once where there is no balloon, in HARD and
 * in LOW. A guest that is to grow gets what is free, those that wait for memory first, each the same fraction of what it lacks.
 *
 * Invariants:
 *  1. A target is never below the guest's minimum.
 *  2. What guests use or may use, sum of max(used, target), is not raised above the limit; only minimums and pinned guests may do that.
 *  3. A goal that differs from the last target by less than 1/128 changes nothing, as long as all targets together fit.
 */
#ifndef HOST_ARBITER_GRANT_H
#define HOST_ARBITER_GRANT_H

#include "host/arbiter_internal.h"

struct arbiter_grant_input {
	enum arbiter_state state;
	double supply; /* that goals were made for */
	double slack;  /* by which targets together may pass it */
	double limit;  /* of what guests use or may use, in all */
};

struct arbiter_grant_result {
	bool waits;  /* one that is short of memory lacks more than a 64th of its goal */
	bool moving; /* targets have changed, or guests are above theirs */
};

/* reach: pages that the guest could give now by its balloon, as arbiter_balloon_reach() says; only in SOFT it matters. */
struct arbiter_grant_result arbiter_grant(struct arbiter_work work[], const struct arbiter_past past[], const double reach[],
					  size_t nr, const struct arbiter_grant_input *in);

#endif
