/*
 * How many more guests like one that is known fit, at which risk: the arbiter is asked what it would decide with one, two, ... of them more,
 * and each guest's miss-ratio curve tells how it would fare with that. Nothing is done; docs/ARBITER.md says what is left out.
 */
#ifndef HOST_PLAN_H
#define HOST_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "host/arbiter.h"

#define PLAN_MOST_POINTS 64

enum plan_limit {
	PLAN_NOTHING, /* more fit than were tried */
	PLAN_ADMISSION,
	PLAN_STALL,
	PLAN_SWAP, /* what guests need beyond their targets would have to go to disk */
};
const char *plan_limit_name(enum plan_limit limit);

struct plan_point {
	unsigned guests;        /* more */
	uint64_t granted_pages; /* to all guests, the new ones included */
	uint64_t free_pages;
	double stall; /* seconds in each second, of the guest that fares worst */
};

struct plan {
	unsigned fit;
	enum plan_limit limit; /* what the next one would break */
	struct error refusal;  /* with PLAN_ADMISSION: what a start would answer */
	struct plan_point points[PLAN_MOST_POINTS];
	size_t nr_points;
};

/*
 * guests: those that run. like: the new ones; its curve is taken for theirs, and what of its pages is shared is shared with them, too. fault_s: seconds
 * that a fault takes (0: 100 us). risk: the stall up to which it fits. Returns 0, -ENOMEM, or -EINVAL with a sentence.
 */
int plan_make(const struct arbiter_settings *settings, const struct arbiter_host *host, const struct arbiter_guest guests[],
	      size_t nr, const struct arbiter_guest *like, double fault_s, double risk, struct plan *plan, struct error *err);

#endif
