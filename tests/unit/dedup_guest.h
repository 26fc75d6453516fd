/*
 * A process that does with the daemon what a VMM does: it has memory, offers its pages, maps slots over them, writes to some, verifies every
 * byte of all, and connects again when the daemon was away. Include it once in a test program.
 */
#ifndef TESTS_UNIT_DEDUP_GUEST_H
#define TESTS_UNIT_DEDUP_GUEST_H

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "dedup/client.h"

enum { GUEST_PAGES = 600, GUEST_PAGE = 4096, GUEST_PRIVATE = -1 };

/* What test and guest tell each other, in memory that they share. */
struct guest_talk {
	_Atomic bool rest; /* do nothing more, but stay */
	_Atomic bool at_rest;
	_Atomic uint32_t mapped; /* pages that map slots */
	_Atomic uint32_t merges, breaks, connections, resumed, gone;
	_Atomic uint32_t wrong; /* bytes that were not as they should be: nothing else matters then */
};

struct guest {
	struct dedup_client *client;
	struct guest_talk *talk;
	uint8_t *memory;
	uint64_t random;
	uint32_t kinds; /* of content, fewer are more alike */
	uint64_t content[GUEST_PAGES];
	int64_t slot[GUEST_PAGES];
	bool claiming;
	uint32_t claim_next;
	bool claimed[GUEST_PAGES]; /* the page is among those that its slot was claimed for */
};

static uint64_t guest_random(struct guest *g, uint64_t below)
{
	g->random = g->random * 6364136223846793005ull + 1442695040888963407ull;
	return (g->random >> 33) % below;
}

static uint8_t *guest_page(const struct guest *g, uint32_t page)
{
	return g->memory + (size_t)page * GUEST_PAGE;
}

static void guest_fill(uint8_t *page, uint64_t content)
{
	for (unsigned at = 0; at < GUEST_PAGE; at += 8)
		memcpy(page + at, &content, 8);
}

/* As a guest would: by writing. The kernel copies a page that maps a slot; the reference is given back. */
static void guest_write(struct guest *g, uint32_t page, uint64_t content)
{
	guest_fill(guest_page(g, page), content);
	g->content[page] = content;
	if (g->slot[page] == GUEST_PRIVATE)
		return;
	if (!g->claiming || g->claimed[page])
		dedup_client_release(g->client, (uint32_t)g->slot[page], 1, PROTOCOL_BROKEN);
	g->slot[page] = GUEST_PRIVATE;
	g->talk->mapped--;
	g->talk->breaks++;
}

/* Compares and maps, or gives back. */
static void guest_use(struct guest *g, uint32_t page, uint32_t slot)
{
	int fd = dedup_client_pool_fd(g->client);
	uint8_t *at = mmap(NULL, GUEST_PAGE, PROT_READ, MAP_SHARED, fd, (off_t)slot * GUEST_PAGE);
	bool same = at != MAP_FAILED && g->slot[page] == GUEST_PRIVATE && memcmp(at, guest_page(g, page), GUEST_PAGE) == 0;
	if (at != MAP_FAILED)
		munmap(at, GUEST_PAGE);
	if (!same || mmap(guest_page(g, page), GUEST_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd,
			  (off_t)slot * GUEST_PAGE) == MAP_FAILED) {
		dedup_client_release(g->client, slot, 1, PROTOCOL_CHANGED);
		return;
	}
	g->slot[page] = slot;
	g->talk->mapped++;
	g->talk->merges++;
}

static void guest_on_ready(struct guest *g, bool resumed)
{
	g->talk->connections++;
	g->talk->resumed += resumed;
	g->claiming = resumed;
	g->claim_next = 0;
	memset(g->claimed, 0, sizeof(g->claimed));
	for (uint32_t page = 0; page < GUEST_PAGES && !resumed; page++) {
		if (g->slot[page] == GUEST_PRIVATE)
			continue;
		g->slot[page] = GUEST_PRIVATE; /* as it is, for nobody to count */
		g->talk->mapped--;
	}
}

static void guest_on_answers(struct guest *g, const struct dedup_event *e)
{
	const void *contents[DEDUP_CLIENT_CONTENTS];
	uint32_t pages[DEDUP_CLIENT_BATCH], wanted = 0;
	for (size_t i = 0; i < e->nr; i++) {
		if (e->verdicts[i] <= PROTOCOL_MOST_SLOT)
			guest_use(g, e->pages[i], e->verdicts[i]);
		else if (e->verdicts[i] == PROTOCOL_SEND && wanted < DEDUP_CLIENT_CONTENTS)
			pages[wanted++] = e->pages[i];
	}
	for (uint32_t i = 0; i < wanted; i++)
		contents[i] = guest_page(g, pages[i]);
	if (wanted)
		dedup_client_send(g->client, pages, contents, wanted);
}

/* Claims are one entry a slot, for all pages that map it. */
static void guest_claim(struct guest *g)
{
	for (; g->claiming && g->claim_next < GUEST_PAGES; g->claim_next++) {
		struct protocol_claim claim = {.slot = (uint32_t)g->slot[g->claim_next]};
		if (g->slot[g->claim_next] == GUEST_PRIVATE || g->claimed[g->claim_next])
			continue;
		for (uint32_t page = g->claim_next; page < GUEST_PAGES; page++)
			claim.nr += g->slot[page] == g->slot[g->claim_next];
		if (dedup_client_claim(g->client, &claim, 1))
			return;
		for (uint32_t page = g->claim_next; page < GUEST_PAGES; page++)
			g->claimed[page] |= g->slot[page] == g->slot[g->claim_next];
	}
	if (g->claiming && dedup_client_claimed(g->client) == 0)
		g->claiming = false;
}

static void guest_listen(struct guest *g)
{
	struct dedup_event e;
	const char *why;
	int ret;
	while ((ret = dedup_client_receive(g->client, &e, &why)) > 0) {
		switch (e.type) {
		case DEDUP_READY:
			guest_on_ready(g, e.resumed);
			break;
		case DEDUP_ANSWERS:
			guest_on_answers(g, &e);
			break;
		case DEDUP_TWINS:
			for (size_t i = 0; i < e.nr; i++)
				guest_use(g, e.pages[i], e.verdicts[i]);
			break;
		default:
			for (size_t i = 0; i < e.nr; i++)
				g->talk->gone += e.verdicts[i] == PROTOCOL_GONE;
		}
		guest_claim(g);
	}
	if (ret < 0) {
		if (why[0])
			fprintf(stderr, "guest: refused: %s\n", why);
		g->claiming = false;
	}
}

static void guest_offer_some(struct guest *g)
{
	struct protocol_offer offers[128];
	uint32_t page = (uint32_t)guest_random(g, GUEST_PAGES), nr = 0;
	for (; page < GUEST_PAGES && nr < 128; page++) {
		struct page_hash hash;
		if (g->slot[page] != GUEST_PRIVATE)
			continue;
		page_hash_run(dedup_client_hasher(g->client), guest_page(g, page), 1, &hash);
		offers[nr++] = (struct protocol_offer){.hash_low = hash.low, .hash_high = hash.high, .page = page};
	}
	if (nr)
		dedup_client_offer(g->client, offers, nr);
}

static void guest_verify(struct guest *g)
{
	for (uint32_t page = 0; page < GUEST_PAGES; page++) {
		const uint64_t *quads = (const uint64_t *)(const void *)guest_page(g, page);
		for (unsigned i = 0; i < GUEST_PAGE / 8; i++)
			if (quads[i] != g->content[page])
				g->talk->wrong++;
	}
}

/* Never returns. */
static void guest_live(const char *path, const char *domain, struct guest_talk *talk, uint64_t seed, uint32_t kinds)
{
	static struct guest g;
	char name[32];
	struct error err;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(name, sizeof(name), "guest-%d", (int)getpid());
	struct dedup_client_settings settings = {
		.path = path, .domain = domain, .guest = name, .nr_pages = GUEST_PAGES, .node = -1};
	if (dedup_client_create(&settings, &g.client, &err))
		_exit(3);
	g.talk = talk;
	g.random = seed;
	g.kinds = kinds;
	g.memory = mmap(NULL, (size_t)GUEST_PAGES * GUEST_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (uint32_t page = 0; page < GUEST_PAGES; page++) {
		g.slot[page] = GUEST_PRIVATE;
		guest_write(&g, page, 1 + guest_random(&g, kinds));
	}
	for (unsigned round = 0;; round++) {
		struct pollfd p = {.events = POLLIN};
		if (dedup_client_fd(g.client) < 0)
			dedup_client_connect(g.client);
		guest_listen(&g);
		guest_claim(&g);
		p.fd = dedup_client_fd(g.client);
		if (talk->rest) {
			/* All is said and answered, but for twins that others' contents may still bring. */
			if (p.fd >= 0 && !g.claiming && dedup_client_flush(g.client) == 0 &&
			    !dedup_client_wants_to_write(g.client) && dedup_client_room(g.client) == 4) {
				guest_verify(&g);
				talk->at_rest = true;
			}
			poll(&p, 1, 5);
			continue;
		}
		talk->at_rest = false;
		for (unsigned i = 0; i < 3; i++)
			guest_write(&g, (uint32_t)guest_random(&g, GUEST_PAGES), 1 + guest_random(&g, kinds));
		if (dedup_client_room(g.client))
			guest_offer_some(&g);
		if (p.fd >= 0)
			dedup_client_flush(g.client);
		if (round % 16 == 0)
			guest_verify(&g);
		poll(&p, p.fd >= 0, 1);
	}
}

static struct guest_talk *guest_talks(unsigned nr)
{
	void *at = mmap(NULL, nr * sizeof(struct guest_talk), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

#endif
