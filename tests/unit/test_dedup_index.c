/* The content index against a plain model: what it finds, what it forgets and whose, and what it costs. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dedup/granules.h"
#include "dedup/index.h"
#include "memmgr/os.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

/* The n-th allocation or mapping fails; -1: none. */
static int fail_in = -1;
static int live;

static bool fails(void)
{
	return fail_in >= 0 && fail_in-- == 0;
}

void *mem_calloc(size_t nr, size_t size)
{
	void *memory = fails() ? NULL : calloc(nr, size);
	live += memory != NULL;
	return memory;
}

void mem_free(void *memory)
{
	live -= memory != NULL;
	free(memory);
}

void *mem_map(size_t len)
{
	return fails() ? NULL : mem_map_kernel(len);
}

/* A hash for each number, as good as random. */
static struct page_hash hash_of(uint64_t n)
{
	struct page_hash h;
	h.high = (n + 1) * 0x9e3779b97f4a7c15ull;
	h.high = (h.high ^ h.high >> 29) * 0xbf58476d1ce4e5b9ull;
	h.high ^= h.high >> 32;
	h.low = h.high * 0x94d049bb133111ebull;
	return h;
}

static struct index_item page_item(uint16_t client, uint32_t page)
{
	return (struct index_item){.owner = client, .number = page};
}

static struct index_item slot_item(uint16_t pool, uint32_t slot)
{
	return (struct index_item){.is_slot = true, .owner = pool, .number = slot};
}

static bool finds(const struct dedup_index *x, struct page_hash hash, struct index_item item)
{
	struct index_item items[INDEX_MOST_HITS];
	unsigned nr = dedup_index_find(x, hash, items);
	for (unsigned i = 0; i < nr; i++)
		if (items[i].is_slot == item.is_slot && items[i].owner == item.owner && items[i].number == item.number)
			return true;
	return false;
}

static struct dedup_index *make_index(uint64_t most_bytes, unsigned nr_clients, uint32_t share)
{
	struct dedup_index *x;
	ck_assert_int_eq(dedup_index_create(most_bytes, &x), 0);
	for (unsigned c = 0; c < nr_clients; c++)
		dedup_index_set_share(x, (uint16_t)c, share);
	return x;
}

START_TEST(random_operations_do_as_a_plain_table_would)
{
	/* Number n has hash_of(n); model[n]: 0 not there, 1 a page of client n % 5, 2 slot n of pool 7. */
	enum { MOST = 30000, STEPS = 300000 };
	static uint8_t model[MOST];
	uint64_t pages = 0, slots = 0, of_client[5] = {0};
	struct dedup_index_stats stats;
	struct dedup_index *x = make_index(16 << 20, 5, UINT32_MAX);
	random_start();
	for (unsigned step = 0; step < STEPS; step++) {
		/* The table grows first and shrinks later. */
		uint32_t n = (uint32_t)random_below(MOST);
		bool removing = random_below(STEPS) < step;
		struct index_item page = page_item(n % 5, n), slot = slot_item(7, n);
		switch (model[n]) {
		case 0:
			ck_assert(!finds(x, hash_of(n), page) && !finds(x, hash_of(n), slot));
			ck_assert(!dedup_index_remove(x, hash_of(n), page));
			ck_assert(!dedup_index_replace(x, hash_of(n), page, slot));
			if (removing)
				break;
			model[n] = random_below(4) ? 1 : 2;
			ck_assert(dedup_index_add(x, hash_of(n), model[n] == 1 ? page : slot));
			pages += model[n] == 1;
			slots += model[n] == 2;
			of_client[n % 5] += model[n] == 1;
			break;
		case 1:
			ck_assert(finds(x, hash_of(n), page) && !finds(x, hash_of(n), slot));
			if (removing) {
				/* Whoever takes a page out needs to know only the top of its hash. */
				struct page_hash top = {.high = hash_of(n).high & 0xffffffffull << 32};
				ck_assert(dedup_index_remove(x, top, page));
				model[n] = 0;
			} else if (random_below(2)) {
				ck_assert(dedup_index_replace(x, hash_of(n), page, slot));
				model[n] = 2;
				slots++;
			} else {
				break;
			}
			pages--;
			of_client[n % 5]--;
			break;
		default:
			ck_assert(finds(x, hash_of(n), slot));
			if (!removing)
				break;
			ck_assert(dedup_index_remove(x, hash_of(n), slot));
			model[n] = 0;
			slots--;
		}
		if (step % 5000 == 0)
			dedup_index_sweep(x, 1);
	}
	dedup_index_stats(x, &stats);
	ck_assert_uint_eq(stats.pages, pages);
	ck_assert_uint_eq(stats.slots, slots);
	for (uint16_t c = 0; c < 5; c++)
		ck_assert_uint_eq(dedup_index_client_pages(x, c), of_client[c]);
	for (uint32_t n = 0; n < MOST; n++)
		if (model[n])
			ck_assert(finds(x, hash_of(n), model[n] == 1 ? page_item(n % 5, n) : slot_item(7, n)));
	ck_assert_uint_eq(stats.forgotten + stats.missing_slots + stats.aged, 0);
	ck_assert_uint_gt(stats.rebuilds, 10);
	dedup_index_destroy(x);
	ck_assert_int_eq(live, 0);
}
END_TEST

START_TEST(an_entry_costs_at_most_14_bytes_at_any_size)
{
	struct dedup_index_stats stats;
	struct dedup_index *x = make_index(64 << 20, 1, UINT32_MAX);
	for (uint32_t n = 0; n < 2000000; n++) {
		dedup_index_add(x, hash_of(n), page_item(0, n));
		if (n < 1000000 || n % 100000)
			continue;
		dedup_index_stats(x, &stats);
		ck_assert_uint_le(stats.bytes, 14 * stats.pages);
		ck_assert_uint_eq(stats.pages, n + 1);
	}
	dedup_index_stats(x, &stats);
	ck_assert_uint_eq(stats.forgotten, 0);
	dedup_index_destroy(x);
}
END_TEST

START_TEST(other_hashes_are_hardly_ever_taken_for_one_that_is_there)
{
	enum { NR = 500000 };
	struct dedup_index *x = make_index(8 << 20, 1, UINT32_MAX);
	unsigned wrong = 0;
	struct index_item items[INDEX_MOST_HITS];
	for (uint32_t n = 0; n < NR; n++)
		ck_assert(dedup_index_add(x, hash_of(n), page_item(0, n)));
	for (uint32_t n = NR; n < 2 * NR; n++)
		wrong += dedup_index_find(x, hash_of(n), items) != 0;
	/* 14 entries beside each other, of which 26 bits less those of the bucket distinguish them. */
	ck_assert_uint_lt(wrong, NR / 500);
	dedup_index_destroy(x);
}
END_TEST

START_TEST(memory_stays_below_its_limit_and_slots_stay_in)
{
	enum { LIMIT = 4 << 20, SLOTS = 100000 };
	struct dedup_index_stats stats;
	struct dedup_index *x = make_index(LIMIT, 1, UINT32_MAX);
	for (uint32_t n = 0; n < 2000000; n++) {
		if (n % 20 == 0)
			ck_assert(dedup_index_add(x, hash_of(n), slot_item(3, n)));
		else
			dedup_index_add(x, hash_of(n), page_item(0, n));
	}
	dedup_index_stats(x, &stats);
	ck_assert_uint_le(stats.bytes, stats.most_bytes + (3 << 20)); /* the last huge page, heads and scratch */
	ck_assert_uint_eq(stats.slots, SLOTS);
	ck_assert_uint_gt(stats.forgotten, 1000000);
	ck_assert_uint_gt(stats.pages + stats.slots, LIMIT / 11);
	for (uint32_t n = 0; n < 2000000; n += 20)
		ck_assert(finds(x, hash_of(n), slot_item(3, n)));
	dedup_index_destroy(x);
}
END_TEST

START_TEST(a_client_that_floods_the_index_takes_nothing_from_the_others)
{
	enum { QUIET = 60000 };
	struct dedup_index_stats stats;
	struct dedup_index *x = make_index(4 << 20, 3, 200000);
	uint32_t left[2] = {0};
	for (uint32_t n = 0; n < QUIET; n++) {
		ck_assert(dedup_index_add(x, hash_of(n), page_item(0, n)));
		ck_assert(dedup_index_add(x, hash_of(QUIET + n), page_item(1, n)));
	}
	for (uint32_t n = 0; n < 3000000; n++)
		dedup_index_add(x, hash_of(2 * QUIET + n), page_item(2, n));
	for (uint32_t n = 0; n < QUIET; n++) {
		left[0] += finds(x, hash_of(n), page_item(0, n));
		left[1] += finds(x, hash_of(QUIET + n), page_item(1, n));
	}
	ck_assert_uint_eq(left[0], QUIET);
	ck_assert_uint_eq(left[1], QUIET);
	/* It has what was left, and its share at most. */
	dedup_index_stats(x, &stats);
	ck_assert_uint_le(dedup_index_client_pages(x, 2), 210000);
	ck_assert_uint_gt(stats.aged + stats.forgotten, 2700000);
	dedup_index_destroy(x);
}
END_TEST

START_TEST(when_memory_is_short_it_is_shared_out_evenly)
{
	/* Four clients with equal shares, of which one came first and filled everything. */
	struct dedup_index_stats stats;
	struct dedup_index *x = make_index(2 << 20, 4, 1000000);
	for (uint32_t n = 0; n < 400000; n++)
		dedup_index_add(x, hash_of(n), page_item(0, n));
	for (uint32_t n = 0; n < 600000; n++)
		dedup_index_add(x, hash_of(400000 + n), page_item(1 + n % 3, n));
	dedup_index_stats(x, &stats);
	for (uint16_t c = 0; c < 4; c++) {
		ck_assert_uint_gt(dedup_index_client_pages(x, c), stats.pages / 4 * 8 / 10);
		ck_assert_uint_lt(dedup_index_client_pages(x, c), stats.pages / 4 * 12 / 10);
	}
	dedup_index_destroy(x);
}
END_TEST

START_TEST(old_candidates_of_a_client_over_its_share_go_first)
{
	enum { SHARE = 50000 };
	struct dedup_index *x = make_index(16 << 20, 2, SHARE);
	for (uint32_t n = 0; n < 20 * SHARE; n++)
		dedup_index_add(x, hash_of(n), page_item(0, n));
	ck_assert_uint_le(dedup_index_client_pages(x, 0), SHARE * 11 / 10);
	unsigned last = 0, first = 0;
	for (uint32_t n = 0; n < SHARE / 2; n++) {
		first += finds(x, hash_of(n), page_item(0, n));
		last += finds(x, hash_of(20 * SHARE - 1 - n), page_item(0, 20 * SHARE - 1 - n));
	}
	ck_assert_uint_eq(first, 0);
	ck_assert_uint_gt(last, SHARE / 2 * 8 / 10);
	dedup_index_destroy(x);
}
END_TEST

START_TEST(what_a_gone_client_left_is_swept_away_and_its_memory_with_it)
{
	enum { NR = 200000 };
	struct dedup_index_stats before, after;
	struct dedup_index *x = make_index(16 << 20, 2, UINT32_MAX);
	for (uint32_t n = 0; n < NR; n++)
		ck_assert(dedup_index_add(x, hash_of(n), page_item(n % 10 != 0, n)));
	dedup_index_stats(x, &before);
	dedup_index_forget_client(x, 1);
	dedup_index_sweep(x, dedup_index_nr_segments(x));
	ck_assert_uint_eq(dedup_index_client_pages(x, 1), 0);
	for (uint32_t n = 0; n < NR; n += 10)
		ck_assert(finds(x, hash_of(n), page_item(0, n)));
	/* Room was made for whoever comes next. */
	dedup_index_set_share(x, 1, UINT32_MAX);
	for (uint32_t n = 0; n < NR; n++)
		if (n % 10)
			ck_assert(dedup_index_add(x, hash_of(n), page_item(1, n)));
	dedup_index_stats(x, &after);
	ck_assert_uint_le(after.bytes, before.bytes + (2 << 20));
	dedup_index_forget_client(x, 0);
	dedup_index_forget_client(x, 1);
	dedup_index_sweep(x, dedup_index_nr_segments(x));
	dedup_index_stats(x, &after);
	ck_assert_uint_eq(after.pages, 0);
	ck_assert_uint_lt(after.bytes, 1 << 20);
	dedup_index_destroy(x);
}
END_TEST

START_TEST(items_under_one_hash_live_side_by_side_until_there_are_too_many)
{
	struct dedup_index *x = make_index(1 << 20, 64, UINT32_MAX);
	struct index_item items[INDEX_MOST_HITS];
	struct page_hash same = hash_of(1);
	struct dedup_index_stats stats;
	unsigned kept = 0;
	for (uint32_t n = 0; n < 64; n++)
		dedup_index_add(x, same, page_item((uint16_t)n, n));
	/* Their two buckets hold no more, and there would be no point in a larger segment. */
	for (uint32_t n = 0; n < 64; n++)
		kept += dedup_index_client_pages(x, (uint16_t)n);
	ck_assert_uint_eq(kept, 14);
	dedup_index_stats(x, &stats);
	ck_assert_uint_lt(stats.rebuilds, 4);
	ck_assert_uint_eq(dedup_index_find(x, same, items), INDEX_MOST_HITS);
	for (uint32_t n = 0; n < 64; n++)
		kept -= dedup_index_remove(x, same, page_item((uint16_t)n, n));
	ck_assert_uint_eq(dedup_index_find(x, same, items), 0);
	dedup_index_destroy(x);
}
END_TEST

START_TEST(hashes_that_all_name_one_segment_make_it_no_burden)
{
	enum { NR = 300000 };
	struct dedup_index_stats stats;
	struct dedup_index *x = make_index(64 << 20, 2, UINT32_MAX);
	for (uint32_t n = 0; n < 10000; n++)
		ck_assert(dedup_index_add(x, hash_of(n), page_item(0, n)));
	for (uint32_t n = 0; n < NR; n++) {
		struct page_hash h = hash_of(10000 + n);
		h.high >>= 10;
		dedup_index_add(x, h, page_item(1, n));
	}
	for (uint32_t n = 0; n < 10000; n++)
		ck_assert(finds(x, hash_of(n), page_item(0, n)));
	ck_assert_uint_le(dedup_index_client_pages(x, 1), 4 * 16384);
	dedup_index_stats(x, &stats);
	ck_assert_uint_lt(stats.bytes, 5 << 20);
	dedup_index_destroy(x);
}
END_TEST

START_TEST(without_memory_things_are_forgotten_and_nothing_breaks)
{
	enum { NR = 30000 };
	struct dedup_index_stats stats;
	struct dedup_index *x = NULL;
	for (int n = 0; n < 3; n++) {
		fail_in = n;
		ck_assert_int_eq(dedup_index_create(4 << 20, &x), -ENOMEM);
		ck_assert_int_eq(live, 0);
	}
	fail_in = -1;
	random_start();
	x = make_index(4 << 20, 1, UINT32_MAX);
	uint64_t kept = 0;
	for (uint32_t n = 0; n < NR; n++) {
		fail_in = random_below(4) ? -1 : 0;
		kept += dedup_index_add(x, hash_of(n), page_item(0, n));
	}
	fail_in = -1;
	dedup_index_stats(x, &stats);
	uint64_t found = 0;
	for (uint32_t n = 0; n < NR; n++)
		found += finds(x, hash_of(n), page_item(0, n));
	ck_assert_uint_eq(found, stats.pages);
	ck_assert_uint_le(found, kept);
	ck_assert_uint_gt(found, NR / 2);
	dedup_index_destroy(x);
	ck_assert_int_eq(live, 0);
}
END_TEST

START_TEST(prefetching_looks_at_what_may_not_be_there)
{
	struct page_hash hashes[300];
	struct dedup_index *x = make_index(64 << 20, 1, UINT32_MAX);
	for (uint32_t n = 0; n < 300; n++)
		hashes[n] = hash_of(n);
	dedup_index_prefetch(x, hashes, 300);
	for (uint32_t n = 0; n < 300; n++)
		dedup_index_add(x, hashes[n], page_item(0, n));
	dedup_index_prefetch(x, hashes, 300);
	dedup_index_prefetch(x, hashes, 0);
	dedup_index_destroy(x);
}
END_TEST

START_TEST(granules_are_zero_and_come_back)
{
	struct granules g;
	ck_assert_int_eq(granules_create(&g, 100), 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 100; i++) {
			uint32_t granule = granule_take(&g);
			ck_assert_uint_lt(granule, 100);
			for (unsigned at = 0; at < GRANULE_BYTES; at++)
				ck_assert_uint_eq(((uint8_t *)granule_at(&g, granule))[at], 0);
			memset(granule_at(&g, granule), 0xff, GRANULE_BYTES);
		}
		ck_assert_uint_eq(granule_take(&g), GRANULE_NONE);
		ck_assert_uint_eq(granules_bytes(&g), 13 * 4096);
		for (uint32_t i = 0; i < (round == 2 ? 100 : 99); i++)
			granule_put(&g, i);
		if (round < 2)
			granule_put(&g, 99);
	}
	ck_assert_uint_eq(granules_bytes(&g), 0);
	granules_destroy(&g);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("content index");
	TCase *tests = tcase_create("index");
	tcase_add_test(tests, random_operations_do_as_a_plain_table_would);
	tcase_add_test(tests, an_entry_costs_at_most_14_bytes_at_any_size);
	tcase_add_test(tests, other_hashes_are_hardly_ever_taken_for_one_that_is_there);
	tcase_add_test(tests, memory_stays_below_its_limit_and_slots_stay_in);
	tcase_add_test(tests, a_client_that_floods_the_index_takes_nothing_from_the_others);
	tcase_add_test(tests, when_memory_is_short_it_is_shared_out_evenly);
	tcase_add_test(tests, old_candidates_of_a_client_over_its_share_go_first);
	tcase_add_test(tests, what_a_gone_client_left_is_swept_away_and_its_memory_with_it);
	tcase_add_test(tests, items_under_one_hash_live_side_by_side_until_there_are_too_many);
	tcase_add_test(tests, hashes_that_all_name_one_segment_make_it_no_burden);
	tcase_add_test(tests, without_memory_things_are_forgotten_and_nothing_breaks);
	tcase_add_test(tests, prefetching_looks_at_what_may_not_be_there);
	tcase_add_test(tests, granules_are_zero_and_come_back);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
