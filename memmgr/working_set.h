/*
 * How much of its memory a guest uses, and what it would cost to give it less: an estimate from samples. Policy only: it asks no
 * kernel, the clock is the caller's (ns, monotonic), and nothing is allocated after working_set_create(). Not thread-safe: the
 * caller serialises.
 *
 * The caller takes the pages that working_set_next() names away from the guest, and tells of the first touch of each. A touch costs
 * the guest a fault, so the rate is what sampling costs: at 100/s and 50 us a fault, 0.5 % of a core. Without a rate there is no
 * cost.
 *
 * How exact: samples of the last 160 s count, unless the guest has changed since. With a rate of 100/s and pages that are active
 * within 10 s scattered over the guest, the error (root of the mean square, of the pages that are active;
 * tests/unit/test_working_set.c has such guests) was
 *
 *   active    15 s    30 s    60 s   180 s  after the start
 *     10 %    10.4     2.9     2.6     1.3 %
 *     50 %     3.5     0.9     0.5     0.5 %
 *     90 %     0.6     0.2     0.2     0.2 %
 *
 * and a third to a tenth of it where they are contiguous. A change shows after 5 to 10 s, and is known as well as above from then
 * on.
 */
#ifndef MEMMGR_WORKING_SET_H
#define MEMMGR_WORKING_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The usual window: a page is active when it is touched within 10 s. It suits a tick of seconds, and answers while samples are
 * young.
 */
#define WORKING_SET_WINDOW_MS 10000u
/* The longest age that is told apart. */
#define WORKING_SET_HORIZON_MS 163840u
/* More than that is not sampled, whatever the rate. */
#define WORKING_SET_MOST_PER_S 350u
/* Points that a curve has at most. */
#define WORKING_SET_POINTS 15u

struct working_set;

/*
 * Pages are numbered below nr_pages (1 to UINT32_MAX). Takes 140 KiB, of which nothing is touched before the first sample. Returns
 * 0, -ENOMEM or -EINVAL.
 */
int working_set_create(uint64_t nr_pages, uint64_t seed, struct working_set **ws);
void working_set_destroy(struct working_set *ws);

/*
 * Samples that may come back by a fault, a second. While less than all of them do, more are taken, up to four times as many. 0 (as
 * created): none are taken, what is out is handed over to working_set_expire() at once, and the past is forgotten.
 */
void working_set_set_rate(struct working_set *ws, uint32_t per_s);

/*
 * The pages to be taken now, at most max; each is answered by working_set_taken() before the next call. Call it at least every
 * quarter of a second: what was missed beyond that is not made up for. Time that passes between two calls of any function counts as
 * at most one second, so that a guest that stood still is not believed idle.
 */
size_t working_set_next(struct working_set *ws, uint64_t now_ns, uint32_t *pages, size_t max);

/*
 * A page was asked for. watched: it has been taken, and its next touch will be told (also when it lay in limbo or the store before,
 * if its touch will be told); else it counts as not active: ballooned, never touched, evicted. Tell it before the touch can be
 * told: under the page's lock.
 */
void working_set_taken(struct working_set *ws, uint32_t page, uint64_t now_ns, bool watched);
/* The page was touched. Any page may be told: those that are no samples are found out quickly. */
void working_set_touched(struct working_set *ws, uint32_t page, uint64_t now_ns);
/* The page cannot be watched any longer (brought back untouched, dropped): what is known of it until now counts. */
void working_set_forget(struct working_set *ws, uint32_t page, uint64_t now_ns);
/*
 * Samples that were out for so long that no more is to be learnt from them: the caller moves them back or leaves them evicted. Call
 * it as often as working_set_next(): samples that are not collected keep others from being taken. Returns how many.
 */
size_t working_set_expire(struct working_set *ws, uint64_t now_ns, uint32_t *pages, size_t max);
/* Samples that are out and were not touched. */
unsigned working_set_nr_out(const struct working_set *ws);

/* A page that was evicted, and is not watched, came back by a fault that long after it was taken. */
void working_set_refault(struct working_set *ws, uint32_t age_ms, uint64_t now_ns);

/*
 * Distinct pages that the guest touches within a window, and the standard error of that; windows above the horizon count as it.
 * Returns 0, or -EAGAIN as long as samples are younger than the window.
 */
int working_set_active(const struct working_set *ws, uint32_t window_ms, uint64_t *pages, uint64_t *error_pages);

/* With so many pages resident, so many faults a second are to be expected. */
struct working_set_point {
	uint64_t pages;
	double faults_per_s;
};
/* The miss-ratio curve, falling in size; faults never fall with it. Returns how many points; 0: not enough is known. */
size_t working_set_curve(const struct working_set *ws, struct working_set_point *points, size_t max);

#endif
