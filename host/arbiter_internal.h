/* What the parts of the arbiter share: what is remembered of a guest, and what is worked out for it. Sizes are pages of 4 KiB. */
#ifndef HOST_ARBITER_INTERNAL_H
#define HOST_ARBITER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/arbiter.h"

#define ARBITER_MOST_PAGES (1ull << 40) /* of anything: what is larger is a lie, or as good as that */
#define ARBITER_LEAST_PAGES 1024        /* every guest has that, where it is so large: a VMM cannot do with none */

/* Remembered of one guest between decisions. All zero is a guest not seen before. */
struct arbiter_past {
	uint64_t id;
	bool known;                              /* its counters have been seen */
	uint64_t faults, stall_ns, swap_ins;     /* counters, when last seen */
	bool has_swap_ins;                       /* swap_ins was told */
	double faults_per_s, stall, swaps_per_s; /* lately */
	double used, hot;                        /* pages */
	double touched;                          /* pages that have content, wherever that is */
	double growth;                           /* pages/s that it takes more, lately */
	double warm_s;                           /* so long hot does not cool */
	double loss;                             /* faults/s that one page less would cost, by its curve; < 0: not known */
	double bend;                             /* -1 to 1: how far curves move it */
	uint64_t pressed_ns;                     /* when it last had too little; 0: never */
	uint64_t target;                         /* given last; 0: none yet */
	uint64_t over_ms;                        /* so long it has been above its target */
	/* Its balloon. */
	uint64_t asked, seen; /* pages asked for, and given, when last looked at */
	uint32_t idle_ms;     /* so long it has owed pages and moved none */
	uint32_t stalled_ms;  /* so long it is not to be asked again */
	bool has_asked;
};

/* One guest, while it is decided on. */
struct arbiter_work {
	/* By arbiter_demand(). */
	double shares;              /* bent by its curve */
	double least, most;         /* never less; never more */
	double used, hot, need;     /* hot: pages that are worth their price untaxed */
	double want;                /* what it would have if it were free */
	bool fixed;                 /* neither grows nor shrinks: goes by least */
	bool pressed, blind, fresh; /* fresh: no target yet */
	bool lately;                /* pressed, or was so within the last second */
	/* By arbiter_divide(). */
	double goal;
	/* By arbiter_grant(). */
	double target;
	bool can_balloon; /* by arbiter_balloon_reach(): it can give by its balloon, now */
};

static inline double arbiter_min(double a, double b)
{
	return a < b ? a : b;
}

static inline double arbiter_max(double a, double b)
{
	return a > b ? a : b;
}

/* low where low is above high. */
static inline double arbiter_clamp(double value, double low, double high)
{
	return arbiter_max(arbiter_min(value, high), low);
}

/* a - b, or 0. */
static inline uint64_t arbiter_over(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static inline double arbiter_pages(uint64_t pages)
{
	return (double)(pages < ARBITER_MOST_PAGES ? pages : ARBITER_MOST_PAGES);
}

/* Pages of its RAM that take no memory anywhere, about. used: as it is believed. */
static inline double arbiter_untouched(const struct arbiter_guest *guest, double used)
{
	double taken = used - arbiter_pages(guest->stored_taken_pages) + arbiter_pages(guest->stored_pages);
	double elsewhere = taken + arbiter_pages(guest->shared_pages) + arbiter_pages(guest->balloon_pages);
	return arbiter_max(arbiter_pages(guest->size_pages) - elsewhere, 0);
}

#endif
