/*
 * The broker: who has a page like this one? It joins index and pools, and decides for each page that a VMM offers: it is the first of its
 * kind, its content is wanted, or it may map this slot. Bookkeeping without sockets: what the daemon does with messages that have passed
 * protocol_check(), and what tests drive directly.
 *
 * It trusts no client: not a hash (contents are hashed and compared here), not a slot number, not a count of references.
 *
 * One thread at a time. Longer work is left to broker_work(), which does a slice of it.
 */
#ifndef DEDUP_BROKER_H
#define DEDUP_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "dedup/page_hash.h"
#include "dedup/pool.h"
#include "dedup/protocol.h"
#include "dedup/sharing.h"

#define BROKER_MOST_CLIENTS POOL_MOST_CLIENTS
#define BROKER_MOST_POOLS 1024u
#define BROKER_MOST_BATCH 512u
#define BROKER_NONE UINT16_MAX

struct broker;

struct broker_settings {
	uint64_t index_bytes;       /* limit of the index */
	uint64_t most_slots;        /* of all pools together, and of each; up to POOL_MOST_SLOTS */
	uint32_t most_client_pages; /* what a client may claim to have at most */
	uint8_t key[32];            /* secret, from which each pool's salt comes; the same after a restart if hashes are to last */
	struct page_hash mask;      /* bits of hashes that count; all zero: all. For tests that want collisions */
};

/* An earlier page of a client that has a twin now: it may map the slot, and holds one reference already. */
struct broker_twin {
	uint16_t client;
	uint32_t page, slot;
};

/* Returns 0, or -ENOMEM with a sentence. */
int broker_create(const struct broker_settings *settings, struct broker **broker, struct error *err);
/* Pools go with it, but for what VMMs have of them. */
void broker_destroy(struct broker *b);

/*
 * The pool of a trust domain on a NUMA node (-1: on all), by number; it has no memory yet. Returns 0, -ENOSPC when there are
 * BROKER_MOST_POOLS, or -ENOMEM.
 */
int broker_find_pool(struct broker *b, const char domain[PROTOCOL_NAME_BYTES], int node, uint16_t *pool);
/* Gives it memory: new, or that of the daemon before (pool_take_back()). Once. Return 0 or -errno with a sentence. */
int broker_open_pool(struct broker *b, uint16_t pool, struct error *err);
int broker_take_back_pool(struct broker *b, uint16_t pool, int fd, const struct pool_identity *identity, struct error *err);
/* Everybody who could claim something in a pool that was taken back has done so: what nobody claimed is freed from now on. */
void broker_settle_pool(struct broker *b, uint16_t pool);
/* Pools have the numbers below this. */
uint16_t broker_nr_pools(const struct broker *b);
/* NULL until it has memory. */
const struct pool *broker_pool(const struct broker *b, uint16_t pool);
const uint8_t *broker_salt(const struct broker *b, uint16_t pool);
const char *broker_domain(const struct broker *b, uint16_t pool);
int broker_node(const struct broker *b, uint16_t pool);
/* Whether offers can be taken: not while the hashes of a pool that was taken back are being found. */
bool broker_is_ready(const struct broker *b, uint16_t pool);

/*
 * A new client of a pool that has memory, with nr_pages pages. Returns 0, -EINVAL for more pages than a client may have, or -EUSERS
 * when there are too many clients, those whose traces are still being removed included.
 */
int broker_join(struct broker *b, uint16_t pool, uint32_t nr_pages, uint16_t *client);
/* The client's process is gone, or has another number now: all that it holds is let go, in broker_work(). */
void broker_leave(struct broker *b, uint16_t client);
/* The same, but what it holds goes to another client of its pool; until broker_inherits(heir) is false, not all of it is there. */
void broker_bequeath(struct broker *b, uint16_t client, uint16_t heir);
bool broker_inherits(const struct broker *b, uint16_t heir);
/* Whether it could make use of twins at this time. At first it can. */
void broker_set_listening(struct broker *b, uint16_t client, bool listening);

/*
 * References from before: nr to a slot, taken over from another client, or (former is BROKER_NONE) claimed in a pool that was taken back.
 * Returns the slot; PROTOCOL_GONE: it is not the client's; or PROTOCOL_LATER: it may be, but memory is short.
 */
uint32_t broker_claim(struct broker *b, uint16_t client, uint16_t former, uint32_t slot, uint32_t nr);

/*
 * Batches of up to BROKER_MOST_BATCH; a verdict each (enum protocol_verdict or a slot, with a reference). Pages must be below the client's
 * nr_pages, or -EINVAL is returned, and nothing is done. bytes: contents, one after the other, which nobody else can change.
 */
int broker_offer(struct broker *b, uint16_t client, const struct protocol_offer offers[], size_t nr, uint32_t verdicts[]);
int broker_content(struct broker *b, uint16_t client, const struct protocol_content contents[], size_t nr, const void *bytes,
		   uint32_t verdicts[]);
/* Returns 0, or -EINVAL if the client does not have so many references (those before are released then). */
int broker_release(struct broker *b, uint16_t client, const struct protocol_release releases[], size_t nr);
void broker_retract(struct broker *b, uint16_t client, const struct protocol_retract retracts[], size_t nr);

/* What the last broker_content() has brought others; the caller delivers it, or releases the references. Valid until the next call. */
const struct broker_twin *broker_twins(const struct broker *b, size_t *nr);

/* Does up to about a millisecond of what is to be done at some time. Returns whether there is more. */
bool broker_work(struct broker *b);
/* Gives memory of freed slots back to the kernel, up to most_holes pieces of it. Returns whether there is more. */
bool broker_trim(struct broker *b, unsigned most_holes);

void broker_status(const struct broker *b, struct protocol_status *status);
/* The first client at or after from that has joined. Returns false if there is none. Fills in all but pid and guest. */
bool broker_next_client(const struct broker *b, uint16_t from, struct protocol_client *client);

/* Where a walk over all pools is. All zero is its start. */
struct broker_walk {
	uint16_t pool;
	uint32_t cursor;
};
/* Counts on with the sharing map, for about a millisecond. Returns false when it is done. */
bool broker_sharing_step(const struct broker *b, struct sharing *sharing, struct broker_walk *walk);

#endif
