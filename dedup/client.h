/*
 * The VMM's end of the conversation with the daemon (protocol.h): connects, offers, collects answers, and connects again when the
 * daemon was away. It never blocks. What to do with a slot is the caller's: this knows no guest memory.
 *
 *     dedup_client_create
 *     dedup_client_connect        again and again, until it works; then poll dedup_client_fd()
 *     dedup_client_receive        until it returns 0
 *       -> DEDUP_READY            resumed: dedup_client_claim() for every slot that is mapped, then dedup_client_claimed()
 *                                 not resumed: the pool is new: slots mapped before stay as they are and are nobody's business
 *       -> DEDUP_ANSWERS          a verdict for each page of an offer or of contents: a slot is the caller's to release
 *       -> DEDUP_TWINS            pages offered earlier that have a slot now, likewise
 *       -> DEDUP_CLAIMS           slots that were claimed; those with PROTOCOL_GONE must be unmapped at once, and are not to
 *                                 be released; none of them: all claims are answered
 *     dedup_client_offer, _send   while there is room for one more question
 *     dedup_client_release        never fails: what cannot be said is made up for by the claims of the next connection
 *
 * One thread at a time.
 */
#ifndef DEDUP_CLIENT_H
#define DEDUP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "dedup/page_hash.h"
#include "dedup/protocol.h"

#define DEDUP_CLIENT_BATCH 512u    /* entries of one call */
#define DEDUP_CLIENT_CONTENTS 128u /* of dedup_client_send(): contents take staging memory, 2 MiB in all */

struct dedup_client;

struct dedup_client_settings {
	const char *path;   /* of the daemon's socket */
	const char *domain; /* trust domain, and the guest's name: see protocol_is_name() */
	const char *guest;
	uint32_t nr_pages; /* page numbers are below that */
	int node;          /* NUMA node of the guest's memory, -1 for none */
};

enum dedup_event_type { DEDUP_NOTHING, DEDUP_READY, DEDUP_ANSWERS, DEDUP_TWINS, DEDUP_CLAIMS };

/* Valid until the next call. */
struct dedup_event {
	enum dedup_event_type type;
	bool resumed;             /* READY */
	bool of_content;          /* ANSWERS: to dedup_client_send(), else to dedup_client_offer() */
	size_t nr;                /* of the arrays */
	const uint32_t *pages;    /* ANSWERS, TWINS; of CLAIMS: slots as they were claimed */
	const uint32_t *verdicts; /* ANSWERS, CLAIMS: enum protocol_verdict, or slots; TWINS: slots */
};

/* Makes its staging memory; does not connect. Returns 0, -EINVAL for names that are none, or another -errno with a sentence. */
int dedup_client_create(const struct dedup_client_settings *settings, struct dedup_client **client, struct error *err);
/* Closes the connection. Mappings of slots stay as they are, and protected as long as this process lives. */
void dedup_client_destroy(struct dedup_client *c);

/* Returns 0 when connected (DEDUP_READY follows), -EALREADY if it is, or -errno: try again later. */
int dedup_client_connect(struct dedup_client *c);
/* Ends the connection, as if it had been lost. */
void dedup_client_hang_up(struct dedup_client *c);
/* To be polled, -1 while there is no connection; whether for writing, too: then dedup_client_flush() is to be called. */
int dedup_client_fd(const struct dedup_client *c);
bool dedup_client_wants_to_write(const struct dedup_client *c);
/* Returns 0, or -errno when the connection is over. */
int dedup_client_flush(struct dedup_client *c);
/*
 * Takes one message. Returns 1 with an event, 0 if there is none to take, or -errno when the connection is over: its questions
 * will not be answered, slots that were not mapped by then are not ours. *why, unless NULL: the daemon's reason or "".
 */
int dedup_client_receive(struct dedup_client *c, struct dedup_event *event, const char **why);

/* After DEDUP_READY. The pool's descriptor (slot s at s * 4096, read-only, the client's own), and how its pages are hashed. */
int dedup_client_pool_fd(const struct dedup_client *c);
const struct page_hasher *dedup_client_hasher(const struct dedup_client *c);

/* Questions of up to DEDUP_CLIENT_BATCH pages that may be asked now; 0 while not connected, or with claims open. */
unsigned dedup_client_room(const struct dedup_client *c);
/* Return 0, -EAGAIN without room for one more question, or -errno when the connection is over. Contents are copied here. */
int dedup_client_offer(struct dedup_client *c, const struct protocol_offer offers[], size_t nr);
int dedup_client_send(struct dedup_client *c, const uint32_t pages[], const void *const contents[], size_t nr);
/* References given back, of one page or several of one slot. While claims are not all answered, only of slots that are known not to be gone. */
void dedup_client_release(struct dedup_client *c, uint32_t slot, uint16_t nr, enum protocol_reason reason);
/* Nothing is to be sent for a while: gives the staging memory back to the kernel. */
void dedup_client_rest(struct dedup_client *c);
/* A page that was offered (verdict PROTOCOL_FIRST) has changed. May be left out; then the daemon forgets it at some time. */
void dedup_client_retract(struct dedup_client *c, uint32_t page, uint32_t hash_top);

/* Each slot once, up to DEDUP_CLIENT_BATCH in a call. Returns 0, -EAGAIN: call again after the next event, or -errno. */
int dedup_client_claim(struct dedup_client *c, const struct protocol_claim claims[], size_t nr);
int dedup_client_claimed(struct dedup_client *c);

#endif
