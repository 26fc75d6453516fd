/*
 * The arbiter at work: reads what guests and host say of their memory, asks the policy (arbiter.h), and carries out what it decides, by the VMMs' monitors. It
 * also knows why: explain. Everything happens in the loop's thread.
 *
 *   statistics pages, /proc, the pool ──> arbiter_decide() ──> set-memory, balloon, set-dedup to those VMMs for which something changed
 *   (query-memory-curve and query-balloon-stats, now and then) ──┘
 */
#ifndef HOST_ARBITER_LOOP_H
#define HOST_ARBITER_LOOP_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "host/arbiter.h"
#include "host/guest.h"

struct dedup_server;

#define ARBITER_CURVE_POINTS 64

/* How every guest's scanner for equal pages goes about it, within the CPU time that it has. */
struct arbiter_scan {
	unsigned pages;    /* that it hashes before it sleeps; 0: all */
	unsigned sleep_ms; /* for so long, and so long from pass to pass */
};
#define ARBITER_SCAN_SLEEP_MS 1000

/* What the loop keeps of a guest that has a VMM. */
struct arbiter_seat {
	struct guest *guest;
	struct arbiter_seat *next; /* in rising order of id */
	uint64_t id;               /* the VMM's */
	struct guest_qmp_question curve_question, balloon_question;
	bool asking_curve, asking_balloon, seen;
	double curve_at, balloon_at; /* the loop's clock, when they were last asked for */
	struct arbiter_point curve[ARBITER_CURVE_POINTS];
	size_t nr_points;
	bool has_balloon;
	uint64_t guest_available_pages, guest_swap_ins; /* ARBITER_UNKNOWN: not told */
	uint64_t told_balloon;                          /* bytes, as for `balloon`; 0: nothing yet */
	unsigned told_ways;                             /* whether it may swap, is sampled, is held; 0: nothing yet */
	unsigned told_cpu;                              /* percent; UINT_MAX: nothing yet */
	struct arbiter_scan told_scan;
	double since; /* wall clock, when the target changed last */
	struct arbiter_guest input;
	struct arbiter_guest_decision decision;
};

struct arbiter_loop {
	struct ev_loop *loop;
	struct guests *guests;
	const struct dedup_server *dedup;
	struct arbiter *arbiter;
	struct arbiter_scan scan;
	ev_timer timer;
	struct arbiter_seat *seats;
	size_t nr_seats, room;
	struct arbiter_guest *inputs;
	struct arbiter_guest_decision *decisions;
	struct arbiter_host host;
	struct arbiter_decision decision;
	bool decided;
	double state_since; /* wall clock */
	double cpu_ms;      /* of the last decision and what was done for it */
};

/* Begins at once. Returns 0 or -errno with a sentence. arbiter_loop_destroy() may be called on what is all zero. */
int arbiter_loop_create(struct ev_loop *loop, struct guests *guests, const struct dedup_server *dedup, struct arbiter_loop *a,
			struct error *err);
/* Guests keep the targets that they have. */
void arbiter_loop_destroy(struct arbiter_loop *a);
/* Something has changed that the next decision should not wait for. */
void arbiter_loop_hurry(struct arbiter_loop *a);

/* Percent, 0 to 99; percent of the budget, 0 (by its size) to 50. Returns 0 or -EINVAL with a sentence. */
int arbiter_loop_set(struct arbiter_loop *a, unsigned idle_tax_percent, unsigned reserve_percent, struct error *err);

/* At once, for guests that run too. */
void arbiter_loop_set_scan(struct arbiter_loop *a, const struct arbiter_scan *scan);

/* The guest's, or NULL when nothing was decided about it yet. */
const struct arbiter_seat *arbiter_loop_seat(const struct arbiter_loop *a, const struct guest *guest);
/* Why its target is what it is, as docs/API.md has it: a new object. NULL without memory, or when there is no seat. */
json_t *arbiter_loop_explain(const struct arbiter_loop *a, const struct guest *guest);

/* Adds what it knows to the host line: state, reserve, idle-tax and others. */
void arbiter_loop_report(const struct arbiter_loop *a, json_t *line);

/*
 * Whether there is memory for what the guest takes at once when it starts (image_bytes). If not: as long as it waits for that, decisions
 * keep so much free.
 */
bool arbiter_loop_has_room(struct arbiter_loop *a, const struct guest *guest);
/* Whether a guest so defined can be promised its minimum. Returns 0, or -EDQUOT with a sentence. */
int arbiter_loop_admit(const struct arbiter_loop *a, const struct definition *d, struct error *err);

#endif
