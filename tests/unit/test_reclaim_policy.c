/*
 * The reclaimer's policy, driving a plain model of a guest: pages that are touched at random times, a limbo, a compressed tier and a disk. No time passes but the
 * model's own, and no test's outcome hangs on few touches.
 */
#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "memmgr/reclaim_policy.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { PAGES = 8192, MS_PER_S = 1000 };

enum where { UNTOUCHED, RESIDENT, LIMBO, COMPRESSED, DISK };

struct page {
	enum where where;
	bool referenced, raw; /* raw: found incompressible */
	uint16_t bytes;       /* compressed; above 3584 it is incompressible */
	float touches_per_s;
	uint64_t taken_ns;
};

static struct page pages[PAGES];
static struct reclaim_policy policy;
static struct reclaim_input input;
static struct reclaim_decision last;
static uint32_t hand;
static unsigned decisions, starts,
	tries; /* how often it was asked, began to take after it had not, and tried a disk that had failed */
static uint64_t lowest_resident, highest_used, lowest_used;

static double random_unit(void)
{
	return ((double)(random_bits() >> 12) + 0.5) / 4503599627370496.0;
}

/* nr_active pages are touched at that rate, all others never; scattered. */
static void set_active(uint32_t nr_active, double touches_per_s)
{
	for (uint32_t i = 0; i < PAGES; i++)
		pages[i].touches_per_s = (uint32_t)(i * 2654435761ull) % PAGES < nr_active ? (float)touches_per_s : 0;
}

/* The first percent of every 100 pages do not compress; all others to a third. */
static void set_incompressible(unsigned percent)
{
	for (uint32_t i = 0; i < PAGES; i++)
		pages[i].bytes = i % 100 < percent ? 4000 : 1365;
}

static void start(uint32_t nr_resident)
{
	random_start();
	memset(pages, 0, sizeof(pages));
	memset(&policy, 0, sizeof(policy));
	input = (struct reclaim_input){.now_ns = 1000000000, .limbo_ms = 2000};
	hand = decisions = starts = 0;
	set_incompressible(0);
	for (uint32_t i = 0; i < nr_resident; i++)
		pages[i].where = RESIDENT;
	last = (struct reclaim_decision){.again_ms = 0};
}

static void count_pages(void)
{
	input.resident_pages = input.limbo_pages = input.raw_pages = input.compressed_pages = input.compressed_bytes = 0;
	uint64_t oldest = UINT64_MAX;
	for (uint32_t i = 0; i < PAGES; i++) {
		const struct page *p = &pages[i];
		input.resident_pages += p->where == RESIDENT;
		input.limbo_pages += p->where == LIMBO;
		input.raw_pages += p->where == LIMBO && p->raw;
		input.compressed_pages += p->where == COMPRESSED;
		input.compressed_bytes += p->where == COMPRESSED ? p->bytes : 0;
		if (p->where == LIMBO && !p->raw && p->taken_ns < oldest)
			oldest = p->taken_ns;
	}
	input.oldest_limbo_ms = oldest == UINT64_MAX ? 0 : (uint32_t)((input.now_ns - oldest) / 1000000);
	input.used_pages = input.resident_pages + input.limbo_pages + (input.compressed_bytes + 4095) / 4096;
}

static void touch_page(struct page *p)
{
	if (p->where == LIMBO)
		input.limbo_returns++;
	else if (p->where == COMPRESSED || p->where == DISK)
		input.store_returns++;
	p->referenced = p->where != RESIDENT;
	p->where = RESIDENT;
}

static void pass(uint64_t ns)
{
	float rate = 0;
	double chance = 0;
	input.now_ns += ns;
	for (uint32_t i = 0; i < PAGES; i++) {
		struct page *p = &pages[i];
		if (p->where == RESIDENT || p->touches_per_s == 0)
			continue;
		if (p->touches_per_s != rate) {
			rate = p->touches_per_s;
			chance = 1 - exp(-rate * (double)ns / 1e9);
		}
		if (random_unit() < chance)
			touch_page(p);
	}
}

static void take(uint64_t nr)
{
	for (uint32_t seen = 0; nr && seen < 2 * PAGES; seen++) {
		struct page *p = &pages[hand];
		hand = (hand + 1) % PAGES;
		bool useless = p->raw && input.disk == RECLAIM_DISK_NONE;
		if (p->where == RESIDENT && !p->referenced && !useless) {
			p->where = LIMBO;
			p->taken_ns = input.now_ns;
			input.evicted++;
			nr--;
		}
		p->referenced = false;
	}
}

static void compress(uint64_t nr, uint32_t limbo_ms)
{
	for (uint32_t i = 0; nr && i < PAGES; i++) {
		struct page *p = &pages[i];
		if (p->where != LIMBO || p->raw || p->taken_ns + limbo_ms * 1000000ull > input.now_ns)
			continue;
		nr--;
		if (p->bytes > 3584) {
			p->raw = true;
			input.incompressible++;
		} else if (!input.compressed_limit_bytes || input.compressed_bytes + p->bytes <= input.compressed_limit_bytes) {
			p->where = COMPRESSED;
			input.compressed_bytes += p->bytes;
			input.compressed++;
		}
	}
}

static void write_out(uint64_t raw, uint64_t bytes)
{
	for (uint32_t i = 0; raw && i < PAGES; i++) {
		if (pages[i].where == LIMBO && pages[i].raw) {
			pages[i].where = COMPRESSED;
			raw--;
		}
	}
	for (uint32_t i = 0; bytes && i < PAGES; i++) {
		if (pages[i].where == COMPRESSED) {
			pages[i].where = DISK;
			bytes -= bytes < pages[i].bytes ? bytes : pages[i].bytes;
		}
	}
}

/* Asks once, checks what always holds, does what was decided, and lets the time pass until it is to be asked again, at most until. */
static void decide(uint64_t until_ns)
{
	count_pages();
	uint64_t used = input.used_pages, resident = input.resident_pages;
	enum reclaim_why before = last.why;
	reclaim_decide(&policy, &input, &last);
	decisions++;
	starts += before == RECLAIM_BELOW && last.why != RECLAIM_BELOW;
	if (input.target_pages == 0 || used <= input.target_pages - input.target_pages / 64) {
		ck_assert_uint_eq(last.take_pages, 0);
		ck_assert_uint_eq(last.compress_pages, 0);
		ck_assert_uint_eq(last.write_bytes, 0);
	}
	ck_assert_uint_le(last.take_pages, resident > input.floor_pages ? resident - input.floor_pages : 0);
	ck_assert_uint_le(last.limbo_ms, input.limbo_ms);
	ck_assert(last.dense <= input.dense);
	ck_assert_uint_ge(last.again_ms, 1);
	ck_assert_ptr_nonnull(reclaim_why_name(last.why));
	if (input.disk == RECLAIM_DISK_NONE)
		ck_assert_uint_eq(last.write_bytes + last.store_raw_pages, 0);
	if (input.disk == RECLAIM_DISK_FULL || input.disk == RECLAIM_DISK_FAILED) {
		ck_assert_uint_le(last.write_bytes, 1 << 20);
		tries += last.write_bytes > 0;
	}
	uint64_t work_ns = last.take_pages * 500 + last.compress_pages * 1000;
	take(last.take_pages);
	compress(last.compress_pages, last.limbo_ms);
	if (input.disk == RECLAIM_DISK_OK)
		write_out(last.store_raw_pages, last.write_bytes);
	count_pages();
	if (input.resident_pages < lowest_resident)
		lowest_resident = input.resident_pages;
	uint64_t left_ns = until_ns - input.now_ns,
		 wait_ns = last.again_ms == RECLAIM_NEVER ? left_ns : last.again_ms * 1000000ull + work_ns;
	pass(wait_ns < left_ns ? wait_ns : left_ns);
}

static void run(double seconds)
{
	uint64_t until = input.now_ns + (uint64_t)(seconds * 1e9);
	lowest_resident = lowest_used = UINT64_MAX;
	highest_used = 0;
	decisions = starts = tries = 0;
	while (input.now_ns < until) {
		decide(until);
		count_pages();
		if (input.used_pages > highest_used)
			highest_used = input.used_pages;
		if (input.used_pages < lowest_used)
			lowest_used = input.used_pages;
		if (getenv("SHOW"))
			printf("%.3f s: used %lu resident %lu limbo %lu raw %lu tier %lu: %s, took %lu, limbo %u ms, again %u ms\n",
			       (double)input.now_ns / 1e9, input.used_pages, input.resident_pages, input.limbo_pages,
			       input.raw_pages, input.compressed_bytes / 4096, reclaim_why_name(last.why), last.take_pages,
			       last.limbo_ms, last.again_ms);
	}
}

START_TEST(a_target_that_drops_is_reached_in_seconds_and_then_left_alone)
{
	/* From a slight drop to a sharp one, with half of that or nothing active. */
	static const unsigned targets[] = {PAGES * 15 / 16, PAGES * 3 / 4, PAGES / 2};
	start(PAGES);
	input.target_pages = targets[_i / 2];
	set_active(_i % 2 ? PAGES / 8 : 0, 1);
	run(10);
	ck_assert_uint_le(input.used_pages, input.target_pages);
	run(110);
	/* What was taken last may come back. */
	ck_assert_uint_le(highest_used, input.target_pages + input.target_pages / 64);
	ck_assert_uint_ge(lowest_used, input.target_pages - input.target_pages / 16);
	uint64_t evicted = input.evicted;
	run(60);
	ck_assert_uint_le(starts, 1);
	ck_assert_uint_le(input.evicted - evicted, PAGES / 32);
	/* And nothing is looked at more often than each second. */
	ck_assert_uint_le(decisions, 60 + 60 * starts + 10);
}
END_TEST

START_TEST(a_working_set_above_the_target_is_held_at_the_target)
{
	start(PAGES);
	input.target_pages = PAGES / 2;
	set_active(PAGES * 3 / 4, 1);
	run(30);
	run(60);
	ck_assert_uint_le(highest_used, input.target_pages + input.target_pages / 16);
	/* Not lower than is asked for. */
	ck_assert_uint_ge(lowest_used, input.target_pages - input.target_pages / 16);
}
END_TEST

START_TEST(what_does_not_compress_is_tried_less_and_less)
{
	start(PAGES);
	input.target_pages = PAGES / 2;
	set_incompressible(100);
	set_active(PAGES, 1);
	run(300);
	ck_assert_int_eq(last.why, RECLAIM_FUTILE);
	/* At once about as much as the excess; then 256 after 1, 2, 4 ... 64 seconds. */
	ck_assert_uint_le(input.evicted, PAGES + 256 * 11);
	uint64_t evicted = input.evicted;
	run(60);
	ck_assert_uint_le(input.evicted - evicted, 256 * 2);
	ck_assert_uint_le(decisions, 70);
	/* The guest changes: pages compress from now on. */
	set_incompressible(0);
	set_active(0, 0);
	for (uint32_t i = 0; i < PAGES; i++)
		pages[i].raw = false;
	run(200);
	ck_assert_uint_le(input.used_pages, input.target_pages + input.target_pages / 16);
}
END_TEST

START_TEST(a_disk_takes_what_does_not_compress)
{
	start(PAGES);
	input.target_pages = PAGES / 2;
	set_incompressible(_i ? 100 : 50);
	input.disk = RECLAIM_DISK_OK;
	run(15);
	ck_assert_uint_le(input.used_pages, input.target_pages);
	run(60);
	ck_assert_uint_le(highest_used, input.target_pages);
}
END_TEST

START_TEST(a_disk_that_comes_is_used_at_once_and_one_that_fails_is_not)
{
	start(PAGES);
	input.target_pages = PAGES / 2;
	set_incompressible(100);
	input.disk = RECLAIM_DISK_FULL;
	run(100);
	ck_assert_uint_gt(input.used_pages, input.target_pages);
	input.disk = RECLAIM_DISK_OK;
	run(10);
	ck_assert_uint_le(input.used_pages, input.target_pages);
	input.disk = RECLAIM_DISK_FAILED;
	input.target_pages = PAGES / 4;
	run(20);
	ck_assert_uint_gt(input.used_pages, input.target_pages);
	/* It is tried again, but seldom. */
	run(300);
	ck_assert_uint_ge(tries, 5);
	ck_assert_uint_le(tries, 11);
}
END_TEST

START_TEST(half_of_it_incompressible_is_made_up_for_by_the_other_half)
{
	start(PAGES);
	input.target_pages = PAGES * 3 / 4;
	set_incompressible(50);
	run(20);
	ck_assert_uint_le(input.used_pages, input.target_pages);
}
END_TEST

START_TEST(the_floor_is_kept_whatever_the_target)
{
	start(PAGES);
	input.target_pages = PAGES / 8;
	input.floor_pages = PAGES / 4;
	input.disk = _i ? RECLAIM_DISK_OK : RECLAIM_DISK_NONE;
	run(60);
	ck_assert_uint_ge(lowest_resident, input.floor_pages);
	ck_assert_int_eq(last.why, RECLAIM_FLOOR);
	/* Down to it, and then only looked at now and then. */
	ck_assert_uint_eq(input.resident_pages, input.floor_pages);
	run(60);
	ck_assert_uint_le(decisions, 70);
}
END_TEST

START_TEST(no_more_is_taken_than_the_rate_allows)
{
	start(PAGES);
	input.target_pages = PAGES / 2;
	input.evict_rate = 500;
	for (int i = 0; i < 5; i++) {
		uint64_t evicted = input.evicted;
		run(1);
		/* A quarter of a second may be saved up. */
		ck_assert_uint_le(input.evicted - evicted, 500 + 126);
		ck_assert_uint_ge(input.evicted - evicted, 250);
	}
	run(25);
	ck_assert_uint_le(input.used_pages, input.target_pages);
}
END_TEST

START_TEST(a_guest_below_its_target_is_never_touched_and_seldom_looked_at)
{
	static const unsigned residents[] = {0, PAGES / 2, PAGES * 15 / 16, PAGES};
	start(residents[_i]);
	set_active(residents[_i] / 2, 3);
	input.target_pages = PAGES;
	run(10);
	run(600);
	ck_assert_uint_eq(input.evicted, 0);
	ck_assert_uint_le(decisions, 601);
	ck_assert_int_eq(last.why, RECLAIM_BELOW);
	ck_assert_int_eq(last.headroom_pages, PAGES - input.used_pages);
	/* A large guest with much room is looked at still less. */
	input.target_pages = 1 << 24;
	count_pages();
	reclaim_decide(&policy, &input, &last);
	ck_assert_uint_eq(last.again_ms, 10000);
}
END_TEST

START_TEST(where_no_victims_are_found_they_are_seldom_looked_for)
{
	/* All of it is pinned, say; and we are asked often, for other reasons. */
	unsigned searches = 0;
	start(PAGES);
	input.target_pages = PAGES / 2;
	count_pages();
	for (int i = 0; i < 1200; i++) {
		reclaim_decide(&policy, &input, &last);
		searches += last.take_pages > 0;
		input.now_ns += 50000000;
	}
	ck_assert_uint_ge(searches, 30);
	ck_assert_uint_le(searches, 70);
	/* As soon as some are found, it goes on. */
	run(20);
	ck_assert_uint_le(input.used_pages, input.target_pages);
}
END_TEST

START_TEST(a_small_tier_full_of_holes_is_no_reason_to_give_up)
{
	start(PAGES);
	input.target_pages = PAGES / 2;
	count_pages();
	input.used_pages = input.target_pages + 1000;
	input.compressed_pages = 2000;
	input.compressed_bytes = 2000 * 5000;
	reclaim_decide(&policy, &input, &last);
	ck_assert_int_eq(last.why, RECLAIM_TAKING);
	ck_assert_uint_ge(last.take_pages, 256);
}
END_TEST

START_TEST(without_a_target_it_sleeps)
{
	start(PAGES);
	run(600);
	ck_assert_uint_eq(decisions, 1);
	ck_assert_uint_eq(last.again_ms, RECLAIM_NEVER);
	ck_assert_int_eq(last.headroom_pages, RECLAIM_NO_LIMIT);
	ck_assert_uint_eq(input.evicted, 0);
	/* A target that is taken away ends what was going on. */
	input.target_pages = PAGES / 2;
	run(0.02);
	ck_assert_uint_gt(input.evicted, 0);
	input.target_pages = 0;
	uint64_t evicted = input.evicted;
	run(10);
	ck_assert_uint_eq(input.evicted, evicted);
}
END_TEST

START_TEST(a_growing_guest_stays_near_its_target)
{
	start(PAGES / 4);
	input.target_pages = PAGES / 4;
	for (uint32_t at = PAGES / 4; at < PAGES * 5 / 8; at += 32) {
		for (uint32_t i = at; i < at + 32; i++)
			pages[i].where = RESIDENT;
		run(0.25);
		ck_assert_uint_le(input.used_pages, input.target_pages + input.target_pages / 8);
	}
	run(10);
	ck_assert_uint_le(input.used_pages, input.target_pages);
}
END_TEST

START_TEST(a_full_store_stops_the_taking_unless_there_is_a_disk)
{
	start(PAGES);
	input.target_pages = PAGES / 2;
	input.compressed_limit_bytes = PAGES / 16 * 4096;
	run(120);
	ck_assert_uint_gt(input.used_pages, input.target_pages);
	uint64_t evicted = input.evicted;
	run(60);
	ck_assert_uint_le(input.evicted - evicted, 256 * 3);
	input.disk = RECLAIM_DISK_OK;
	run(15);
	ck_assert_uint_le(input.used_pages, input.target_pages);
}
END_TEST

START_TEST(the_compressed_tier_takes_no_more_than_a_quarter_where_there_is_a_disk)
{
	start(PAGES);
	input.target_pages = PAGES / 4;
	input.disk = RECLAIM_DISK_OK;
	run(30);
	ck_assert_uint_le(input.used_pages, input.target_pages);
	ck_assert_uint_le(input.compressed_bytes / 4096, input.target_pages / 4 + input.target_pages / 64);
	/* Without one it may take all that is asked for. */
	start(PAGES);
	input.target_pages = PAGES / 2;
	run(30);
	ck_assert_uint_le(input.used_pages, input.target_pages);
}
END_TEST

START_TEST(packing_denser_is_for_quiet_times)
{
	start(PAGES);
	input.dense = true;
	input.target_pages = PAGES / 2;
	count_pages();
	reclaim_decide(&policy, &input, &last);
	ck_assert(!last.dense);
	run(20);
	run(1);
	ck_assert(last.dense);
	/* Not while much comes back. */
	set_active(PAGES, 5);
	run(5);
	ck_assert(!last.dense);
	/* Where the target cannot be reached it is all that helps. */
	start(PAGES);
	input.dense = true;
	input.target_pages = PAGES / 2;
	input.floor_pages = PAGES / 2;
	run(30);
	ck_assert_uint_gt(input.used_pages, input.target_pages);
	ck_assert(last.dense);
}
END_TEST

START_TEST(more_use_never_means_less_haste)
{
	random_start();
	for (int i = 0; i < 5000; i++) {
		struct reclaim_policy p = {.started = false};
		struct reclaim_input in = {.now_ns = 1000000000, .limbo_ms = (uint32_t)random_below(10000)};
		struct reclaim_decision d;
		in.target_pages = 1 + random_below(1 << 20);
		in.floor_pages = random_below(in.target_pages);
		in.resident_pages = random_below(1 << 20);
		in.limbo_pages = random_below(1 << random_below(16));
		in.raw_pages = random_below(in.limbo_pages + 1);
		in.compressed_pages = random_below(1 << random_below(20));
		in.compressed_bytes = in.compressed_pages * random_below(4096);
		in.disk = (enum reclaim_disk)random_below(4);
		in.evict_rate = random_below(2) ? (uint32_t)random_below(100000) : 0;
		/* Something is learnt first. */
		reclaim_decide(&p, &in, &d);
		in.now_ns += random_below(2000000000);
		in.evicted = random_below(5000);
		in.limbo_returns = random_below(5000);
		in.compressed = random_below(5000);
		in.incompressible = random_below(5000);
		in.used_pages = in.target_pages;
		reclaim_decide(&p, &in, &d);
		in.now_ns += random_below(200000000);
		uint64_t taken = 0, compressed = 0, written = 0;
		uint32_t limbo_ms = UINT32_MAX;
		for (int step = 0; step < 20; step++) {
			struct reclaim_policy copy = p;
			in.used_pages = in.target_pages + 1 + in.target_pages / 16 * (uint64_t)step * (uint64_t)step / 16;
			reclaim_decide(&copy, &in, &d);
			ck_assert_uint_ge(d.take_pages, taken);
			ck_assert_uint_ge(d.compress_pages, compressed);
			ck_assert_uint_ge(d.write_bytes, written);
			ck_assert_uint_le(d.limbo_ms, limbo_ms);
			taken = d.take_pages;
			compressed = d.compress_pages;
			written = d.write_bytes;
			limbo_ms = d.limbo_ms;
		}
	}
}
END_TEST

/* Guests that change at random. */
START_TEST(whatever_the_guest_does_the_target_is_kept_where_it_can_be)
{
	start(PAGES);
	for (int phase = 0; phase < 12; phase++) {
		unsigned incompressible = random_below(3) ? 0 : (unsigned)random_below(40);
		set_active((uint32_t)random_below(PAGES), (double)random_below(30) / 10);
		set_incompressible(incompressible);
		for (uint32_t i = 0; i < PAGES; i++) {
			pages[i].raw &= pages[i].bytes > 3584;
			if (pages[i].where == UNTOUCHED && random_below(2))
				pages[i].where = RESIDENT;
		}
		input.target_pages = PAGES / 2 + random_below(PAGES);
		input.floor_pages = random_below(PAGES / 8);
		input.disk = incompressible ? RECLAIM_DISK_OK : (enum reclaim_disk)random_below(4);
		uint64_t before = input.now_ns;
		run(25);
		ck_assert_uint_ge(input.now_ns, before);
		run(10);
		ck_assert_uint_le(highest_used, input.target_pages + input.target_pages / 8);
		ck_assert(lowest_resident >= input.floor_pages || last.take_pages == 0);
	}
}
END_TEST

START_TEST(strange_numbers_do_no_harm)
{
	random_start();
	struct reclaim_policy p = {.started = false};
	for (int i = 0; i < 100000; i++) {
		struct reclaim_input in;
		struct reclaim_decision d;
		uint64_t *words = (uint64_t *)&in;
		for (size_t w = 0; w < sizeof(in) / sizeof(uint64_t); w++)
			words[w] = random_below(4) ? random_below(1ull << random_below(50)) : random_bits() >> random_below(64);
		in.dense = random_below(2);
		in.disk = (enum reclaim_disk)random_below(4);
		reclaim_decide(&p, &in, &d);
		ck_assert_uint_le(d.take_pages, in.resident_pages > in.floor_pages ? in.resident_pages - in.floor_pages : 0);
		ck_assert_uint_ge(d.again_ms, 1);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reclaim policy");
	TCase *tests = tcase_create("guests");
	tcase_add_loop_test(tests, a_target_that_drops_is_reached_in_seconds_and_then_left_alone, 0, 6);
	tcase_add_test(tests, a_working_set_above_the_target_is_held_at_the_target);
	tcase_add_test(tests, what_does_not_compress_is_tried_less_and_less);
	tcase_add_loop_test(tests, a_disk_takes_what_does_not_compress, 0, 2);
	tcase_add_test(tests, a_disk_that_comes_is_used_at_once_and_one_that_fails_is_not);
	tcase_add_test(tests, half_of_it_incompressible_is_made_up_for_by_the_other_half);
	tcase_add_loop_test(tests, the_floor_is_kept_whatever_the_target, 0, 2);
	tcase_add_test(tests, no_more_is_taken_than_the_rate_allows);
	tcase_add_loop_test(tests, a_guest_below_its_target_is_never_touched_and_seldom_looked_at, 0, 4);
	tcase_add_test(tests, where_no_victims_are_found_they_are_seldom_looked_for);
	tcase_add_test(tests, a_small_tier_full_of_holes_is_no_reason_to_give_up);
	tcase_add_test(tests, without_a_target_it_sleeps);
	tcase_add_test(tests, a_growing_guest_stays_near_its_target);
	tcase_add_test(tests, a_full_store_stops_the_taking_unless_there_is_a_disk);
	tcase_add_test(tests, the_compressed_tier_takes_no_more_than_a_quarter_where_there_is_a_disk);
	tcase_add_test(tests, packing_denser_is_for_quiet_times);
	tcase_add_test(tests, whatever_the_guest_does_the_target_is_kept_where_it_can_be);
	suite_add_tcase(suite, tests);
	tests = tcase_create("numbers");
	tcase_add_test(tests, more_use_never_means_less_haste);
	tcase_add_test(tests, strange_numbers_do_no_harm);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
