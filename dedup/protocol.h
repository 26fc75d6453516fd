/*
 * What VMMs and the daemon say to each other about shared pages.
 *
 * A unix socket of type SOCK_SEQPACKET: messages keep their bounds, none is larger than PROTOCOL_MOST_BYTES. Each is a header and a fixed
 * body, or a header and up to so many entries of a fixed size. Numbers are little-endian and aligned: both ends run on one x86-64 host.
 * docs/DEDUP.md has the conversation.
 *
 *     VMM                                            daemon
 *     HELLO + staging memfd [+ its pool]  ------->
 *                                         <-------   WELCOME [+ a pool]
 *     CLAIM ... CLAIMED  (with its pool)  ------->
 *                                         <-------   ANSWER: what it really has
 *     OFFER: hashes of quiet pages        ------->
 *                                         <-------   ANSWER: a slot each, or FIRST, SEND ...
 *     CONTENT of what was to be sent      ------->
 *                                         <-------   ANSWER
 *                                         <-------   TWIN: an earlier page has one now, in that slot
 *     RELEASE of slots                    ------->
 *     RETRACT of pages that changed       ------->
 *
 * A slot in an answer or TWIN comes with one reference to it, which the VMM holds until it says RELEASE: so what it does with it
 * (merge, or find that bytes differ) needs no other report.
 */
#ifndef DEDUP_PROTOCOL_H
#define DEDUP_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#define PROTOCOL_VERSION 1u
#define PROTOCOL_MOST_BYTES 16384u
#define PROTOCOL_NAME_BYTES 64u /* with the terminating zero */
#define PROTOCOL_TEXT_BYTES 240u

enum protocol_type {
	/* From VMMs. */
	PROTOCOL_HELLO = 1,
	PROTOCOL_CLAIM = 2,
	PROTOCOL_CLAIMED = 3,
	PROTOCOL_OFFER = 4,
	PROTOCOL_CONTENT = 5,
	PROTOCOL_RELEASE = 6,
	PROTOCOL_RETRACT = 7,
	/* From whoever may look: root, or the daemon's own user. */
	PROTOCOL_ASK_STATUS = 16,
	PROTOCOL_ASK_CLIENTS = 17,
	PROTOCOL_ASK_SHARING = 18,
	/* From the daemon. */
	PROTOCOL_WELCOME = 32,
	PROTOCOL_REFUSED = 33,
	PROTOCOL_ANSWER = 34,
	PROTOCOL_TWIN = 35,
	PROTOCOL_STATUS = 48,
	PROTOCOL_CLIENTS = 49,
	PROTOCOL_SHARING = 50,
};

struct protocol_header {
	uint16_t type;
	uint16_t reserved; /* 0 */
	uint32_t nr;       /* entries that follow */
	uint64_t number;   /* the sender's choice; an answer carries that of its question */
};

/* One entry. The staging memfd comes with it, and the pool that the VMM has from before, if any. */
struct protocol_hello {
	uint32_t version;
	uint32_t nr_pages;                /* of the guest: page numbers are below that, and so many references it may have */
	uint32_t nr_staging_pages;        /* size of the staging memfd, which is sealed against shrinking */
	int32_t node;                     /* NUMA node of the guest's memory; -1: none */
	char domain[PROTOCOL_NAME_BYTES]; /* trust domain: pages are shared within it only. Letters, digits and ._- */
	char guest[PROTOCOL_NAME_BYTES];  /* the guest's name, for people; the same letters */
};

enum protocol_welcome_flags {
	PROTOCOL_RESUMED = 1, /* the pool that the VMM has is the one: it says now what it holds. Else a pool comes with this. */
};

struct protocol_welcome {
	uint32_t version;
	uint32_t flags;
	uint32_t most_references;
	uint32_t client;  /* the client's number, in PROTOCOL_CLIENTS and PROTOCOL_SHARING */
	uint8_t salt[32]; /* of the hashes (page_hash.h); the same as long as the daemon's state is kept */
};

/* Why the daemon hangs up. */
struct protocol_refused {
	uint32_t code; /* a positive errno value */
	uint32_t reserved;
	char text[PROTOCOL_TEXT_BYTES];
};

struct protocol_offer {
	uint64_t hash_low, hash_high;
	uint32_t page;
	uint32_t reserved;
};

/* The first entry names the first page of staging; contents lie there one after the other. */
struct protocol_content {
	uint32_t page;
	uint32_t staging;
};

/* How many references the VMM has to a slot from before. */
struct protocol_claim {
	uint32_t slot;
	uint32_t nr;
};

enum protocol_reason {
	PROTOCOL_BROKEN = 0,   /* the guest has written to the page */
	PROTOCOL_DROPPED = 1,  /* the page was given up: ballooned, discarded, reset */
	PROTOCOL_CHANGED = 2,  /* it had changed before it could be merged */
	PROTOCOL_DIFFERED = 3, /* unchanged, and yet other bytes than the slot */
	PROTOCOL_NO_GAIN = 4,  /* a mapping would have cost more than it saves, or there are as many as there may be */
	PROTOCOL_EVICTED = 5,  /* it went to the compressed tier or to disk instead */
	PROTOCOL_NR_REASONS,
};

struct protocol_release {
	uint32_t slot;
	uint16_t nr;
	uint16_t reason;
};

/* A page that was offered has changed. hash_top: the upper 32 bits of what hash_high was. */
struct protocol_retract {
	uint32_t page;
	uint32_t hash_top;
};

/* Verdicts of PROTOCOL_ANSWER: a slot, or one of these. */
enum protocol_verdict {
	PROTOCOL_MOST_SLOT = 0x7fffffff,
	PROTOCOL_FIRST = 0x80000000,  /* nothing like it is known; now it is */
	PROTOCOL_SEND = 0x80000001,   /* it may have a twin: send the content */
	PROTOCOL_LATER = 0x80000002,  /* no room at this time */
	PROTOCOL_UNLIKE = 0x80000003, /* same hash, other bytes: leave it */
	PROTOCOL_ZERO = 0x80000004,   /* all zero: needs no slot */
	PROTOCOL_GONE = 0x80000005,   /* claimed in vain: this slot is not kept for the VMM, which must not map it any longer */
};

struct protocol_answer {
	uint32_t verdict;
};

struct protocol_twin {
	uint32_t page;
	uint32_t slot;
};

/* Counters, under KSM's names where it has them. */
struct protocol_status {
	uint64_t pages_shared;   /* slots that are held */
	uint64_t pages_sharing;  /* pages more than that which map them: what is saved */
	uint64_t pages_unshared; /* candidates: pages that were offered and have no twin */
	uint64_t pages_scanned;  /* offered */
	uint64_t pages_sent;     /* contents that were sent */
	uint64_t general_profit; /* bytes saved, less all that is kept in the daemon (a signed number) */
	uint64_t index_bytes, pool_bytes, file_bytes;
	uint64_t slots_unclaimed, slots_stale;
	uint64_t forgotten, missing_slots;
	uint64_t unlike;    /* equal hashes with different bytes */
	uint64_t unmatched; /* contents that had no twin after all */
	uint64_t refused;   /* messages that broke the rules */
	uint64_t released[PROTOCOL_NR_REASONS];
	uint64_t nr_clients, nr_pools;
};

struct protocol_client {
	uint32_t client;
	uint32_t pid;
	uint64_t references, slots, alone, candidates;
	char domain[PROTOCOL_NAME_BYTES];
	char guest[PROTOCOL_NAME_BYTES];
};

/* PROTOCOL_ASK_SHARING carries client numbers as entries of this kind; PROTOCOL_SHARING one struct protocol_sharing, then the clients it shares with. */
struct protocol_asked {
	uint32_t client;
};

struct protocol_sharing_with {
	uint32_t client;
	uint32_t slots;
};

struct protocol_sharing {
	uint64_t pages, slots, within, across, saved, divergence; /* as in sharing.h */
};

/* Entries that a message of that type may have; 0 for an unknown type. *size: bytes of an entry. */
uint32_t protocol_most(unsigned type, size_t *size);
/* Entries of that type that fit in one message at most, for who sends them. */
static inline uint32_t protocol_batch(enum protocol_type type)
{
	size_t size;
	return protocol_most(type, &size);
}

/*
 * Checks that a message is whole and of a type that VMMs (or the daemon) may send, and that all in it that can be judged without knowing the
 * sender is right: counts, reserved fields, names. Returns 0, or -EPROTO with *why in words.
 */
int protocol_check(const void *message, size_t len, int from_daemon, const char **why);

static inline const void *protocol_entries(const void *message)
{
	return (const struct protocol_header *)message + 1;
}

/* Whether a domain's or guest's name is one. */
int protocol_is_name(const char name[PROTOCOL_NAME_BYTES]);

#endif
