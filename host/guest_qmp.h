/*
 * The daemon's end of a VMM's QMP: connects, asks, hears events. What the VMM sends may be anything: lines are bounded, and a VMM that breaks the rules is hung up
 * on and connected to again. Everything happens in the loop's thread.
 */
#ifndef HOST_GUEST_QMP_H
#define HOST_GUEST_QMP_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct guest_qmp;

/* Who has a guest_qmp in it, and hears of it. Functions may close it, but not free it. */
struct guest_qmp_owner {
	/* Commands can be sent. */
	void (*ready)(struct guest_qmp_owner *owner);
	/* The VMM has hung up, or had to be hung up on; it will be tried again. */
	void (*lost)(struct guest_qmp_owner *owner, const char *why);
	void (*event)(struct guest_qmp_owner *owner, const char *event, const json_t *data);
};

/* One question, which belongs to the asker. */
struct guest_qmp_question {
	/* Once, and then the question may be freed. result: "return", or NULL and err says why. */
	void (*answered)(struct guest_qmp_question *question, const json_t *result, const struct error *err);
	struct guest_qmp_question *next;
	uint64_t id;
	double deadline;
};

struct guest_qmp {
	struct ev_loop *loop;
	struct guest_qmp_owner *owner;
	char *path;
	int fd;
	bool ready;
	uint64_t last_id;
	ev_io readable, writable;
	ev_timer retry, patience;
	char *in, *out;
	size_t in_len, in_size, out_len, out_size, scanned;
	struct guest_qmp_question *first, **last;
	unsigned nr_questions;
};

/* Begins to connect. Returns 0 or -ENOMEM. */
int guest_qmp_open(struct guest_qmp *qmp, struct ev_loop *loop, struct guest_qmp_owner *owner, const char *path);
/* Answers what is open with an error. A guest_qmp that is all zero may be closed. */
void guest_qmp_close(struct guest_qmp *qmp);

/*
 * Asks. arguments may be NULL; they stay the caller's. Returns 0, and then the question is answered, within half a minute; -ENOTCONN, -EBUSY, -ENOMEM with a
 * sentence.
 */
int guest_qmp_ask(struct guest_qmp *qmp, const char *command, const json_t *arguments, struct guest_qmp_question *question,
		  struct error *err);

#endif
