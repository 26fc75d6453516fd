/* What balloon.c (the device, its config space, statistics) and give.c (requests about pages) share. */
#ifndef BALLOON_BALLOON_INTERNAL_H
#define BALLOON_BALLOON_INTERNAL_H

#include <stdatomic.h>

#include "balloon/balloon.h"
#include "virtio/worker.h"

/* What a queue is for; without its number, which depends on what was negotiated. */
enum balloon_role {
	BALLOON_INFLATE,
	BALLOON_DEFLATE,
	BALLOON_STATS_QUEUE,
	BALLOON_HINT,
	BALLOON_REPORT,
	BALLOON_NR_ROLES,
	BALLOON_NO_ROLE
};

#define BALLOON_MAX_BUFFERS 128

struct balloon;

/* A queue; all is the worker's while the device runs. */
struct balloon_queue {
	struct balloon *balloon;
	unsigned index;
	enum balloon_role role;
	ev_io kick;
	ev_timer again; /* a chunk was held by a device: tries it again */

	/* The request in hand. */
	bool taken;
	struct virtq_chain chain;
	struct iovec iov[BALLOON_MAX_BUFFERS];
	unsigned buffer; /* in-buffers: the one that is looked at */
	size_t offset;   /* in it, or in all out-buffers together */
	unsigned tries;
};

struct balloon {
	struct virtio_device dev;
	struct worker worker;
	struct memmgr *mm;
	struct balloon_owner *owner;
	struct balloon_queue queues[BALLOON_NR_ROLES];
	ev_timer poll;
	ev_async polling_changed;
	bool stats_kept; /* the buffer in hand was read already: before a pause */
	uint32_t poison; /* what free pages hold in the guest, when it has said so; set at start */

	_Atomic uint32_t target_pages, actual_pages;
	_Atomic uint64_t inflated, deflated, reported, hinted, spared;

	struct lock lock; /* guards the rest */
	uint32_t poll_seconds;
	bool has_stats;
	struct balloon_stats stats;
	int64_t stats_time;
	enum { HINTS_NONE, HINTS_ASKED, HINTS_COMING } hints;
	uint32_t hint_id; /* the last one; the config space's, unless that says STOP or DONE */
};

/* One step of a request of the queue, which is begun if there is none. Returns 1, 0: nothing to do, or it has to wait, -errno after failing. */
int balloon_give(struct balloon_queue *bq);

/* The driver has said that a round of hints has its number, or is over. */
void balloon_hint_command(struct balloon *b, uint32_t id);
bool balloon_hints_are_coming(struct balloon *b);

#endif
