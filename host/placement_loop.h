/*
 * Placement at work: puts new guests on the host's NUMA nodes, moves guests between them, and says why. The policy is placement.h, what is known of a guest
 * placement_seat.h. On a host with one node all of it is off, and costs nothing. Everything happens in the loop's thread.
 *
 *   guest_start() ──> placement_loop_choose() ──> words for the VMM
 *   every 5 s:  query-memory-nodes (of those that move; of others each 15 s), query-cpus-fast (once) ──> seats
 *               seats, the arbiter's targets, CPU time, who shares with whom ──> placement_rebalance() ──> memory-bind-node, sched_setaffinity()
 */
#ifndef HOST_PLACEMENT_LOOP_H
#define HOST_PLACEMENT_LOOP_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "host/arbiter_loop.h"
#include "host/guest.h"
#include "host/placement.h"
#include "host/placement_seat.h"
#include "host/placement_sharers.h"
#include "host/placement_words.h"

struct placement_member;

struct placement_loop {
	struct ev_loop *loop;
	struct guests *guests;
	const struct arbiter_loop *arbiter;
	struct topology *topology; /* NULL: one node, nothing to do */
	struct placement_settings settings;
	struct placement_sharers sharers;
	ev_timer timer;
	struct placement_member *members;
};

/*
 * dedup: NULL: nobody shares. topology: a file in place of /sys (for tests), or NULL. Begins at once on a host with several nodes. Returns 0 or -errno with a sentence; a /sys that cannot be understood
 * is logged, and taken for one node. placement_loop_destroy() may be called on what is all zero.
 */
int placement_loop_create(struct ev_loop *loop, struct guests *guests, const struct arbiter_loop *arbiter,
			  struct dedup_server *dedup, const char *topology, struct placement_loop *p, struct error *err);
/* Guests stay where they are. They are gone by then, and with them all questions; the server of shared pages is not. */
void placement_loop_destroy(struct placement_loop *p);

/*
 * Where a guest that is about to start is to be: the next VMM is taken to be its. words: for its command line; none when there is one node, or its definition's
 * own words say where. Returns 0, or -errno with a sentence.
 */
int placement_loop_choose(struct placement_loop *p, struct guest *guest, const struct definition *d, struct placement_words *words,
			  struct error *err);

/* What is known of a guest that has a VMM, or NULL. */
const struct placement_seat *placement_loop_seat(const struct placement_loop *p, const struct guest *guest);
/* As docs/API.md has them: new objects. explain: NULL when there is nothing to say. */
json_t *placement_loop_report(const struct placement_loop *p);
json_t *placement_loop_explain(const struct placement_loop *p, const struct guest *guest);

#endif
