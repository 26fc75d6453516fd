/*
 * What the reclaimer shall do next, so that a guest keeps its target: a function of numbers, which asks no kernel and no clock.
 * Sizes are pages of 4 KiB unless they say otherwise, counters only grow. Not thread-safe.
 */
#ifndef MEMMGR_RECLAIM_POLICY_H
#define MEMMGR_RECLAIM_POLICY_H

#include <stdbool.h>
#include <stdint.h>

enum reclaim_disk {
	RECLAIM_DISK_NONE,
	RECLAIM_DISK_OK,
	RECLAIM_DISK_FULL,
	RECLAIM_DISK_FAILED,
};

/* Why so: for people who ask. */
enum reclaim_why {
	RECLAIM_NO_TARGET,
	RECLAIM_BELOW,   /* the target is kept */
	RECLAIM_TAKING,  /* above: pages are taken, compressed or written */
	RECLAIM_WAITING, /* above: enough pages are in limbo, and given their time */
	RECLAIM_LIMITED, /* above: as fast as evict_rate allows */
	RECLAIM_FLOOR,   /* above: nothing may be taken any more, and no tier can give back */
	RECLAIM_FUTILE,  /* above: what is taken does not compress, and there is no disk; tried again now and then */
};

#define RECLAIM_NEVER UINT32_MAX
#define RECLAIM_NO_LIMIT (INT64_MAX / 2)

struct reclaim_input {
	uint64_t now_ns; /* monotonic */
	/* Settings. */
	uint64_t target_pages;           /* 0: none */
	uint64_t floor_pages;            /* of resident memory */
	uint64_t compressed_limit_bytes; /* 0: none */
	uint32_t evict_rate;             /* pages/s that are taken at most; 0: no limit */
	uint32_t limbo_ms;
	bool dense; /* zstd may be used */
	enum reclaim_disk disk;
	/* Now. */
	uint64_t used_pages; /* all that counts against the target: resident, limbo, compressed tier, tables */
	uint64_t resident_pages;
	uint64_t limbo_pages;                        /* raw ones included */
	uint64_t raw_pages;                          /* in limbo, and found incompressible */
	uint64_t compressed_pages, compressed_bytes; /* of the tier in RAM; bytes with its holes */
	uint32_t oldest_limbo_ms;                    /* age of the oldest page in limbo that was not tried yet */
	/* Counters. */
	uint64_t evicted;                    /* pages taken into limbo */
	uint64_t limbo_returns;              /* touched in limbo */
	uint64_t compressed, incompressible; /* pages tried, by result */
	uint64_t store_returns;              /* came back from the compressed tier or the disk, for a fault */
};

/* What is to be done, in this order. All zero: nothing. */
struct reclaim_decision {
	uint64_t take_pages;      /* into limbo, at most */
	uint32_t limbo_ms;        /* pages that have been in limbo for so long are compressed, */
	uint64_t compress_pages;  /* at most that many */
	uint64_t store_raw_pages; /* incompressible pages that go into the store, for the disk */
	uint64_t write_bytes;     /* of the compressed tier (with what was just stored raw), to disk */
	bool dense;               /* pack denser what is cold */
	int64_t headroom_pages;   /* what may be brought back early without passing the target */
	uint32_t again_ms;        /* when to ask again; RECLAIM_NEVER: when settings change */
	enum reclaim_why why;
};

/* What is remembered between decisions. All zero is the start. */
struct reclaim_policy {
	bool started, reclaiming;
	uint64_t last_ns, last_used, last_target;
	uint64_t evicted, limbo_returns, compressed, incompressible, store_returns; /* counters when last seen */
	uint64_t asked;                                                             /* pages that were to be taken last time */
	double hurry;        /* 0: pages get their time in limbo; 1: none. Grows while the target is not kept */
	double compressible; /* fraction of tried pages that compressed lately */
	double returning;    /* fraction of taken pages that came back from limbo lately */
	double store_returns_per_s;
	double credit;          /* pages that evict_rate allows now */
	uint32_t pause_ms;      /* grows while looking does not pay */
	uint32_t futile_ms;     /* pause between probes while nothing compresses; 0: not so */
	uint64_t probe_ns;      /* the next of them is due */
	uint32_t dry_ms;        /* how long to rest after no victims were found */
	uint64_t rest_ns;       /* until then */
	uint64_t disk_probe_ns; /* a disk that is full or failed is tried again; 0: it is not */
};

void reclaim_decide(struct reclaim_policy *p, const struct reclaim_input *in, struct reclaim_decision *out);
/* "below-target", ... */
const char *reclaim_why_name(enum reclaim_why why);

#endif
