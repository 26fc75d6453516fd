/*
 * A pool of shared pages: the slots of its file, what is in them, and who holds them.
 *
 * A slot is one page of content. Its references are counted for each client by the daemon, which gives them out and takes them back: a client can
 * return what it was given and no more. A slot that nobody holds is freed; its memory goes back to the kernel later, with its neighbours.
 *
 *   FREE --pool_next_slot--> TAKEN --pool_fill--> FILLED --pool_hold/pool_release--> FILLED
 *    ^                         |                    |
 *    `------- pool_free -------'<-------------------'   the memory: stale --pool_trim--> a hole
 *
 * One thread at a time.
 */
#ifndef DEDUP_POOL_H
#define DEDUP_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "dedup/page_hash.h"
#include "dedup/pool_file.h"

#define POOL_MOST_CLIENTS 4096u
#define POOL_MOST_SLOTS (1ull << 31)
#define POOL_SLOT_NONE UINT32_MAX

struct pool;

/* Slots that follow each other, set aside for content that does. All zero is none. */
struct pool_run {
	uint32_t next, end;
};

/* References of one client to one slot. */
struct pool_holder {
	uint32_t client : 12;
	uint32_t nr : 20;
};
#define POOL_MOST_REFERENCES ((1u << 20) - 1) /* of one client to one slot */

struct pool_stats {
	uint64_t slots;      /* that hold content */
	uint64_t references; /* to them, of all clients */
	uint64_t unclaimed;  /* slots taken back from the daemon before, which no client has claimed yet */
	uint64_t stale;      /* slots that are free, and whose memory is not given back yet */
	uint64_t file_bytes; /* size of the file, holes and all */
	uint64_t bytes;      /* memory of all that is kept about slots, without their content */
};

/* What one client has in a pool. */
struct pool_client {
	uint64_t references;
	uint32_t slots; /* different ones */
	uint32_t alone; /* of those, which nobody else holds */
};

/* An empty pool of at most most_slots (up to POOL_MOST_SLOTS). node: its memory's NUMA node, -1 for any. Returns 0 or -errno with a sentence. */
int pool_create(uint64_t most_slots, int node, struct pool **pool, struct error *err);
/*
 * The pool of a daemon before this one: fd is what a VMM handed over, and remains the caller's. All content in it is there, unclaimed,
 * its hashes not yet known: pool_take_back_step() does that. Returns 0 or -errno with a sentence: -EPERM when it is not that pool.
 */
int pool_take_back(int fd, const struct pool_identity *identity, uint64_t most_slots, int node, struct pool **pool,
		   struct error *err);
void pool_destroy(struct pool *pool);

/* The descriptor for VMMs, which remains the pool's; what the file is known by. */
int pool_readonly_fd(const struct pool *pool);
const struct pool_identity *pool_identity(const struct pool *pool);
void pool_stats(const struct pool *pool, struct pool_stats *stats);
const struct pool_client *pool_client(const struct pool *pool, uint16_t client);

/*
 * Takes a free slot: the run's next, where it goes on from there (sequential), else one for itself. Returns 0, -ENOSPC when the pool has as
 * many as it may, or another -errno. Ends by pool_fill() or pool_free().
 */
int pool_next_slot(struct pool *pool, struct pool_run *run, bool sequential, uint32_t *slot);
/* Gives back what is left of a run. */
void pool_end_run(struct pool *pool, struct pool_run *run);
/* Writes nr pages into slots that follow each other, which were taken. Returns 0 or -errno (then all of them are still only taken). */
int pool_fill(struct pool *pool, uint32_t first, size_t nr, const void *pages, const struct page_hash hashes[]);
/* Of a slot that nobody holds, or that was only taken. */
void pool_free(struct pool *pool, uint32_t slot);

/*
 * Whether the slot holds content whose hash is known, and the upper half of that: all that is kept of it. It can be read until the slot is
 * freed.
 */
bool pool_hash(const struct pool *pool, uint32_t slot, uint64_t *hash_high);
/* Reads its page, PAGE_HASH_BYTES. Returns 0 or -errno. */
int pool_read(const struct pool *pool, uint32_t slot, void *page);

/* Gives a client nr references (1 or more). Returns 0, -ENOENT if the slot holds nothing, -EOVERFLOW beyond POOL_MOST_REFERENCES, or -ENOMEM. */
int pool_hold(struct pool *pool, uint32_t slot, uint16_t client, uint32_t nr);
/* Takes nr back. Returns how many clients hold the slot still, or -ENOENT if this one does not have so many. At 0 the caller frees it. */
int pool_release(struct pool *pool, uint32_t slot, uint16_t client, uint32_t nr);
/* Who holds a slot, by client number; until anything changes. Of a slot that holds nothing: none. */
const struct pool_holder *pool_holders(const struct pool *pool, uint32_t slot, size_t *nr);
uint32_t pool_held(const struct pool *pool, uint32_t slot, uint16_t client);
/* All slots are below this. */
uint32_t pool_end(const struct pool *pool);

/*
 * Gives slots that were taken back their hashes, up to most of them from *cursor (0 at first), and reports each by hashes[i] and slots[i].
 * Returns how many; fewer than most when all are done.
 */
size_t pool_take_back_step(struct pool *pool, const struct page_hasher *hasher, uint32_t *cursor, size_t most, uint32_t slots[],
			   struct page_hash hashes[]);
/* The next slot at or after from that holds content and that nobody holds. POOL_SLOT_NONE if there is none. */
uint32_t pool_next_unclaimed(const struct pool *pool, uint32_t from);

/* Gives memory of freed slots back, in up to most_holes calls. Returns slots given back. */
size_t pool_trim(struct pool *pool, unsigned most_holes);

#endif
