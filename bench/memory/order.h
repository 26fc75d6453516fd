/*
 * Orders in which pages are touched. Shared with the micro-guest tests/guests/pager.c, so that a thread in the guest's place and a guest touch the same
 * pages: no dependence on anything but the guests' library.
 */
#ifndef BENCH_MEMORY_ORDER_H
#define BENCH_MEMORY_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "../../tests/guests/lib/prng.h"
#include "../../tests/guests/lib/zipf.h"

enum order_kind {
	ORDER_SEQUENTIAL, /* by address */
	ORDER_RANDOM,     /* each page once, in an order that the seed names */
	ORDER_ZIPF,       /* popular pages scattered by the seed, as in tests/guests/memory.c */
};

struct order {
	enum order_kind kind;
	uint64_t nr_pages, seed, next;
	uint32_t *permutation; /* nr_pages of them, for ORDER_RANDOM */
	struct prng prng;
	struct zipf zipf;
};

/*
 * permutation is memory of the caller's. draw varies what is drawn from one seed's order: which touches come of the same Zipf law; for ORDER_RANDOM
 * equal seeds and draws give the same order.
 */
static inline void order_open(struct order *order, enum order_kind kind, uint64_t nr_pages, uint64_t seed, uint64_t draw,
			      double skew, uint32_t *permutation)
{
	uint64_t i, j;
	uint32_t page;

	order->kind = kind;
	order->nr_pages = nr_pages;
	order->seed = seed;
	order->next = 0;
	order->permutation = permutation;
	order->prng.state = prng_mix(seed) + draw;
	if (kind == ORDER_ZIPF)
		zipf_init(&order->zipf, nr_pages, skew);
	if (kind != ORDER_RANDOM)
		return;
	for (i = 0; i < nr_pages; i++)
		permutation[i] = (uint32_t)i;
	for (i = nr_pages; i > 1; i--) {
		j = prng_below(&order->prng, i);
		page = permutation[i - 1];
		permutation[i - 1] = permutation[j];
		permutation[j] = page;
	}
}

/* The next page's number. */
static inline uint64_t order_next(struct order *order)
{
	uint64_t i = order->next++ % order->nr_pages;

	switch (order->kind) {
	case ORDER_RANDOM:
		return order->permutation[i];
	case ORDER_ZIPF:
		return prng_mix(zipf_next(&order->zipf, &order->prng) ^ order->seed) % order->nr_pages;
	default:
		return i;
	}
}

/* Whether the page is one of those that go when keep_percent of all pages, picked at random, stay. */
static inline bool order_victim(uint64_t page, uint64_t seed, uint64_t keep_percent)
{
	return prng_mix(page ^ seed ^ 0x5eed) % 100 >= keep_percent;
}

#endif
