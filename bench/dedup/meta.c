/*
 * What the daemon keeps for each page that is scanned: guests= clients offer all their pages, of which shared= percent are the same in all of
 * them and the rest are nobody else's; contents are sent where they are asked for. Counted is all memory of index, pools and broker, not the
 * shared pages themselves. Also CPU time for each offered page, and for each one that found its twin, of the daemon's part alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/dedup/stopwatch.h"
#include "bench/memory/options.h"
#include "dedup/broker.h"

#define USAGE "meta [guests=4] [pages=262144 (of each)] [shared=50 (percent)]"

struct load {
	struct broker *broker;
	struct page_hasher hasher;
	uint16_t clients[64];
	uint64_t guests, pages, shared;
	uint64_t sent, merged, broker_ns;
};

/* A page's content is a number; its hash is not computed for offers, that is the VMM's part. */
static void make_page(uint8_t *page, uint64_t content)
{
	for (unsigned at = 0; at < PAGE_HASH_BYTES; at += 8)
		memcpy(page + at, &content, 8);
}

static uint64_t content_of(const struct load *l, uint64_t guest, uint64_t page)
{
	return page % 100 < l->shared ? 1 + page : 1 + page + (guest + 1) * l->pages;
}

static void offer(struct load *l, uint64_t guest, uint64_t first)
{
	static struct protocol_offer offers[BROKER_MOST_BATCH];
	static struct protocol_content contents[BROKER_MOST_BATCH];
	static uint32_t verdicts[BROKER_MOST_BATCH];
	static struct page_hash hashes[BROKER_MOST_BATCH];
	static uint8_t bytes[BROKER_MOST_BATCH][PAGE_HASH_BYTES] __attribute__((aligned(64)));
	uint16_t client = l->clients[guest];
	size_t wanted = 0;
	for (unsigned i = 0; i < BROKER_MOST_BATCH; i++)
		make_page(bytes[i], content_of(l, guest, first + i));
	page_hash_run(&l->hasher, bytes, BROKER_MOST_BATCH, hashes);
	for (unsigned i = 0; i < BROKER_MOST_BATCH; i++)
		offers[i] = (struct protocol_offer){hashes[i].low, hashes[i].high, (uint32_t)(first + i), 0};
	uint64_t start = now_ns();
	broker_offer(l->broker, client, offers, BROKER_MOST_BATCH, verdicts);
	for (unsigned i = 0; i < BROKER_MOST_BATCH; i++) {
		l->merged += verdicts[i] <= PROTOCOL_MOST_SLOT;
		if (verdicts[i] != PROTOCOL_SEND)
			continue;
		memcpy(bytes[wanted], bytes[i], PAGE_HASH_BYTES); /* the daemon copies them, too */
		contents[wanted++] = (struct protocol_content){.page = offers[i].page};
	}
	broker_content(l->broker, client, contents, wanted, bytes, verdicts);
	l->broker_ns += now_ns() - start;
	for (size_t i = 0; i < wanted; i++)
		l->merged += verdicts[i] <= PROTOCOL_MOST_SLOT;
	l->sent += wanted;
}

int main(int argc, char **argv)
{
	struct options options;
	struct error err;
	static struct load l;
	char domain[PROTOCOL_NAME_BYTES] = "bench";
	uint16_t pool;
	if (options_open(&options, argc, argv, "guests pages shared", USAGE))
		return 2;
	l.guests = option_number(&options, "guests", 4);
	l.pages = option_number(&options, "pages", 262144) / BROKER_MOST_BATCH * BROKER_MOST_BATCH;
	l.shared = option_number(&options, "shared", 50);
	if (l.guests > 64)
		l.guests = 64;
	struct broker_settings settings = {
		.index_bytes = l.guests * l.pages * 16, .most_slots = l.guests * l.pages, .most_client_pages = (uint32_t)l.pages};
	int ret = broker_create(&settings, &l.broker, &err);
	if (ret == 0 && broker_find_pool(l.broker, domain, -1, &pool) == 0)
		ret = broker_open_pool(l.broker, pool, &err);
	for (uint64_t g = 0; ret == 0 && g < l.guests; g++)
		ret = broker_join(l.broker, pool, (uint32_t)l.pages, &l.clients[g]);
	if (ret) {
		fprintf(stderr, "meta: %s\n", err.text);
		return 1;
	}
	page_hasher_init(&l.hasher, broker_salt(l.broker, pool));
	for (uint64_t g = 0; g < l.guests; g++)
		for (uint64_t page = 0; page < l.pages; page += BROKER_MOST_BATCH)
			offer(&l, g, page);
	struct protocol_status status;
	broker_status(l.broker, &status);
	uint64_t offered = l.guests * l.pages, expected = l.shared * l.pages / 100;
	/* The first guest's are told by TWIN. */
	uint64_t all = l.merged + expected;
	printf("meta: bytes_per_page=%.2f index_per_candidate=%.2f pool_per_slot=%.1f pages_shared=%llu pages_sharing=%llu "
	       "sent=%llu "
	       "ns_per_offer=%.0f ns_per_merged=%.0f\n",
	       (double)(status.index_bytes + status.pool_bytes) / (double)offered,
	       (double)status.index_bytes / (double)(status.pages_unshared + status.pages_shared),
	       status.pages_shared ? (double)status.pool_bytes / (double)status.pages_shared : 0,
	       (unsigned long long)status.pages_shared, (unsigned long long)status.pages_sharing, (unsigned long long)l.sent,
	       (double)l.broker_ns / (double)offered, all ? (double)l.broker_ns / (double)all : 0);
	broker_destroy(l.broker);
	return 0;
}
