/*
 * The arbiter at work: reads the guests' counters and the host's memory, decides (arbiter.h), tells the VMMs, and decides again. What it decided last, and of
 * which numbers, is kept for those who ask why. Everything happens in the loop's thread.
 */
#ifndef HOST_ARBITER_LOOP_H
#define HOST_ARBITER_LOOP_H

#include <ev.h>
#include <jansson.h>

#include "base/error.h"
#include "host/guest.h"

struct arbiter_loop;
struct dedup_server;

/* Reads what host-tune has left in the directory of definitions. Returns 0 or -errno with a sentence. */
int arbiter_loop_create(struct ev_loop *loop, struct guests *guests, const struct dedup_server *dedup, struct arbiter_loop **out,
			struct error *err);
/* VMMs keep the targets that they have. */
void arbiter_loop_destroy(struct arbiter_loop *loop);

/* See docs/API.md, "host-tune". Returns 0 or -errno with a sentence. */
int arbiter_loop_tune(struct arbiter_loop *loop, const json_t *set, struct error *err);
/* Adds what it knows to the host line: "state", "reserve", "idle-tax", "loop-ms". */
void arbiter_loop_report(const struct arbiter_loop *loop, json_t *line);
/* Why the guest has its target, as docs/API.md, "Explanations". Returns 0 with a new *answer, or -errno with a sentence: -EBADFD before the first decision. */
int arbiter_loop_explain(const struct arbiter_loop *loop, const struct guest *guest, json_t **answer, struct error *err);

#endif
