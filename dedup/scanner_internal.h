/* What the parts of the scanner share: scanner.c (thread, settings, daemon), scan_claims.c (references from before), scan_pass.c (finds pages), scan_merge.c (merges them). */
#ifndef DEDUP_SCANNER_INTERNAL_H
#define DEDUP_SCANNER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/lock.h"
#include "dedup/client.h"
#include "dedup/scanner.h"
#include "memmgr/quiet.h"
#include "memmgr/share.h"

/* What is known of a chunk of 2 MiB; the thread's own. */
struct scan_chunk {
	uint64_t pending[QUIET_WORDS]; /* written, or never hashed: to be hashed once quiet */
	uint64_t lone[QUIET_WORDS];    /* offered, and without a twin until now */
	uint64_t coming[QUIET_WORDS];  /* have a slot that waits in struct scan_gathered, once each: not offered meanwhile */
	bool due;                      /* there was something written, or to be hashed: it is looked at in the next pass */
	bool is_huge;                  /* when last looked at, */
	bool may_break;                /* and may be broken: enough of it merges */
	bool gone;                     /* pages map slots that are not kept for us: to be put together at once */
	bool dropped;                  /* pages that had a twin were not merged, because it might not */
	uint8_t rest, rest_left;       /* passes in which it is not looked at, and of those, how many are to come */
	uint16_t twins;                /* pages that had a twin since all of it was last offered */
};

/* Pages whose content the daemon wants, in the order in which it asked. */
#define MOST_TO_SEND 4096u
struct scan_send {
	uint32_t pages[MOST_TO_SEND];
	uint32_t first, nr;
};

/*
 * Pages that have a slot. They are gathered until the daemon has said no more for a moment, but not for long, and merged in the order of
 * pages, chunk by chunk: twins of what another guest sent are told in the order of that guest, and slots are mapped in order for half the price.
 */
#define MOST_GATHERED (128u << 10)
struct scan_gathered {
	struct share_item *items; /* done to sorted - 1 are being merged, and in order; sorted to nr - 1 have come since */
	uint32_t nr, room, sorted, done;
	uint64_t first_ns, last_ns; /* when the first and the last one came that are not sorted yet */
};

struct scan_pass {
	bool active;
	uint32_t chunk;               /* the next one */
	uint64_t begun_ns, begun_cpu; /* cpu: of the thread, ns */
	bool looks_at_all;            /* there were page faults enough; else only at chunks that are due */
	bool collects;                /* looks for broken merges, too */
	bool take_huge;               /* memory is short, or it is set so */
	uint64_t written, offered;    /* pages of this pass: how much happens */
	uint64_t skipped, rewritten, lone;
};

/* Offers that are being put together: pages of one chunk or several, in order. */
struct scan_offers {
	struct protocol_offer offers[DEDUP_CLIENT_BATCH];
	size_t nr;
};

struct scanner {
	struct memmgr *mm;
	struct dedup_client *client;
	char *path; /* of the daemon's socket */

	struct lock lock; /* guards the next two, for others than the thread */
	struct scanner_settings settings;
	struct scanner_stats stats;

	/* The thread's own. */
	struct scanner_settings now; /* a copy */
	struct scanner_stats counts;
	struct scan_chunk *chunks;
	uint32_t nr_chunks;
	uint64_t *foreign; /* pages whose slot no daemon keeps for us: a bit each; NULL until there are any */
	struct scan_send to_send;
	struct scan_gathered gathered;
	struct scan_offers offers;
	struct scan_pass pass;
	uint64_t next_pass_ns, pass_ms;   /* next: when a pass begins, or goes on that sleeps */
	uint32_t nr_batch;                /* pages hashed since it slept */
	uint64_t collected_faults;        /* when the last one that looked for broken merges did */
	uint64_t faults;                  /* of others, when the last pass that looked began */
	uint64_t credit_wall, credit_cpu; /* since when CPU time is counted against the limit */
	uint64_t retry_ns;                /* when to look for the daemon again */
	uint32_t most_mappings;
	bool rests;              /* nothing was found since what sharing needs for a moment only was given back */
	bool ready;              /* the daemon answers, and has answered all claims: what is held is known */
	bool pool_is_new;        /* a daemon gave us one that is not mapped yet, nor is what is held marked as of another */
	uint32_t nr_gone;        /* chunks that are, */
	uint64_t gone_ns;        /* when they are tried again, */
	uint64_t gone_wait_ns;   /* and how long after that */
	struct share_item *held; /* what is being claimed, in the order of slots; NULL: nothing is */
	size_t nr_held, claimed;

	pthread_t thread;
	bool started;
	int wake_fd;
	_Atomic bool stopping;
};

/* --- scan_claims.c --- */

/* A daemon welcomes us. Returns 0: there is nothing to claim, 1: claims are to be sent, or -errno. */
int claims_begin(struct scanner *s, bool resumed);
/* Sends claims, while there is room. Returns 0 when all were sent (`held` is NULL then) or it has to wait, or -errno. */
int claims_send(struct scanner *s);
/* What the daemon says to them. Returns 0 or -ENOMEM: then all is to be claimed again. */
int claims_answered(struct scanner *s, const struct dedup_event *event);
/* Puts chunks together that map slots which are gone, when it is time to try. */
void claims_restore(struct scanner *s);

/* --- scan_pass.c --- */

void pass_begin(struct scanner *s);
/* One step of the pass: a chunk is looked at, or offers go out. Returns false when it needs room for a question. */
bool pass_step(struct scanner *s);
/* A page, or all pages of the chunk, are to be hashed anew once they are quiet. */
void pass_again(struct scanner *s, uint32_t page);
void pass_chunk_again(struct scanner *s, uint32_t chunk);

/* --- scan_merge.c --- */

/* The daemon's verdicts. */
void merge_answers(struct scanner *s, const struct dedup_event *event);
void merge_twins(struct scanner *s, const struct dedup_event *event);
/* Merges some of what was gathered. Returns false when they can wait; *wait_ns: for how long at most. */
bool merge_gathered(struct scanner *s, uint64_t *wait_ns);
/* The scanner ends: what was gathered is the daemon's again. */
void merge_give_back(struct scanner *s);
/* Sends some of the contents that were asked for. Returns false when it needs room for a question. */
bool merge_send(struct scanner *s);
/* Reads vm.max_map_count, raises it for a guest of so many pages where it may, and sets most_mappings. */
void merge_find_limit(struct scanner *s);

static inline bool scan_is_foreign(const struct scanner *s, uint32_t page)
{
	return s->foreign && s->foreign[page / 64] >> page % 64 & 1;
}

static inline void scan_clear_foreign(struct scanner *s, uint32_t page)
{
	if (s->foreign)
		s->foreign[page / 64] &= ~(1ull << page % 64);
}

/* Pages of a huge page that must merge, or go, for it to be broken. */
static inline unsigned scan_enough(const struct scanner *s)
{
	return QUIET_PAGES * s->now.huge_percent / 100;
}

/* Whether the chunk is a huge page that is to stay one. */
static inline bool scan_stays_huge(const struct scan_chunk *c)
{
	return c->is_huge && !c->may_break;
}

#endif
