/*
 * What the index costs at a size: an offer of a page that has no twin (found not to be there, then added) while the last tenth is
 * filled in, and finding one that is there, in batches as the daemon takes them. Also its memory, and the longest that one batch took: that is
 * what growing costs at worst.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/dedup/stopwatch.h"
#include "bench/memory/options.h"
#include "dedup/index.h"

#define USAGE "scale [entries=1000000] [limit_mib (of the index, twice what is needed)]"
enum { BATCH = 256, NR_CLIENTS = 16 };

static struct page_hash hash_of(uint64_t n)
{
	return (struct page_hash){.high = scramble(n), .low = n};
}

static struct index_item item_of(uint64_t n)
{
	return (struct index_item){.owner = (uint16_t)(n % NR_CLIENTS), .number = (uint32_t)n};
}

/* Offers a batch. Returns how many were taken for pages that are there. */
static unsigned offer(struct dedup_index *x, uint64_t first)
{
	struct page_hash hashes[BATCH];
	struct index_item items[INDEX_MOST_HITS];
	unsigned wrong = 0;
	for (unsigned i = 0; i < BATCH; i++)
		hashes[i] = hash_of(first + i);
	dedup_index_prefetch(x, hashes, BATCH);
	for (unsigned i = 0; i < BATCH; i++) {
		wrong += dedup_index_find(x, hashes[i], items) != 0;
		dedup_index_add(x, hashes[i], item_of(first + i));
	}
	return wrong;
}

static unsigned find(const struct dedup_index *x, uint64_t draw, uint64_t nr)
{
	struct page_hash hashes[BATCH];
	struct index_item items[INDEX_MOST_HITS];
	unsigned found = 0;
	for (unsigned i = 0; i < BATCH; i++)
		hashes[i] = hash_of(scramble(draw + i) % nr);
	dedup_index_prefetch(x, hashes, BATCH);
	for (unsigned i = 0; i < BATCH; i++)
		found += dedup_index_find(x, hashes[i], items) != 0;
	return found;
}

int main(int argc, char **argv)
{
	struct options options;
	struct dedup_index *x;
	struct dedup_index_stats stats;
	if (options_open(&options, argc, argv, "entries limit_mib", USAGE))
		return 2;
	uint64_t nr = option_number(&options, "entries", 1000000) / BATCH * BATCH;
	uint64_t limit = option_number(&options, "limit_mib", nr * 24 >> 20) << 20;
	if (dedup_index_create(limit, &x)) {
		fprintf(stderr, "scale: no memory for an index of %llu MiB\n", (unsigned long long)(limit >> 20));
		return 1;
	}
	for (unsigned c = 0; c < NR_CLIENTS; c++)
		dedup_index_set_share(x, (uint16_t)c, UINT32_MAX);
	uint64_t last = nr - nr / 10 / BATCH * BATCH, worst = 0, start = now_ns(), tenth = start, before = start;
	unsigned wrong = 0;
	for (uint64_t n = 0; n < nr; n += BATCH) {
		if (n == last)
			tenth = before;
		wrong += offer(x, n);
		uint64_t now = now_ns();
		worst = now - before > worst ? now - before : worst;
		before = now;
	}
	uint64_t finds = nr < 10000000 ? nr : 10000000 / BATCH * BATCH, found = 0, middle = now_ns();
	for (uint64_t n = 0; n < finds; n += BATCH)
		found += find(x, n, nr);
	uint64_t end = now_ns();
	dedup_index_stats(x, &stats);
	printf("scale: entries=%llu offer_ns=%.1f fill_ns=%.1f find_ns=%.1f bytes_per_entry=%.2f worst_batch_us=%.0f wrong=%u "
	       "rebuilds=%llu\n",
	       (unsigned long long)nr, (double)(before - tenth) / (double)(nr - last), (double)(before - start) / (double)nr,
	       (double)(end - middle) / (double)finds, (double)stats.bytes / (double)stats.pages, (double)worst / 1e3, wrong,
	       (unsigned long long)stats.rebuilds);
	if (found != finds || stats.pages != nr) {
		fprintf(stderr, "scale: %llu of %llu found, %llu entries\n", (unsigned long long)found, (unsigned long long)finds,
			(unsigned long long)stats.pages);
		return 1;
	}
	dedup_index_destroy(x);
	return 0;
}
