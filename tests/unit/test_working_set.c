/*
 * The estimator of the working set against guests of which the truth is known: by formula where pages are touched at random times, by counting where a trace of
 * accesses is simulated. Bounds are six standard deviations, by formulas of the test's own.
 */
#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "memmgr/os.h"
#include "memmgr/working_set.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

#define MS 1000000ull
#define S (1000 * MS)
#define NEVER UINT64_MAX

enum { TICK_MS = 50, AT_ONCE = 64, MOST_OUT = 10000 };

static bool fail_calloc;
static int live;

void *mem_calloc(size_t nr, size_t size)
{
	void *memory = fail_calloc ? NULL : calloc(nr, size);
	live += memory != NULL;
	return memory;
}

void mem_free(void *memory)
{
	live -= memory != NULL;
	free(memory);
}

/* Uniform in (0, 1). */
static double random_unit(void)
{
	return ((double)(random_bits() >> 12) + 0.5) / 4503599627370496.0;
}

/* --- a guest whose active pages are touched at random times, each on its own --- */

struct guest {
	uint32_t nr_pages, nr_active, nr_absent; /* absent ones lie at the end */
	bool scattered;
	double touches_per_s; /* of each active page */
	struct working_set *ws;
	uint64_t now;
	struct out {
		uint32_t page;
		uint64_t touch;
	} out[MOST_OUT];
	unsigned nr_out;
	uint64_t nr_taken, nr_touched;
	unsigned most_at_once;
};

static struct guest guest;

static bool is_active(const struct guest *g, uint32_t page)
{
	/* Scattered ones: multiplication by an odd number permutes the pages when there are a power of two of them. */
	uint32_t place = g->scattered ? (uint32_t)(page * 2654435761ull) % g->nr_pages : page;
	return place < g->nr_active;
}

static uint64_t next_touch(const struct guest *g, uint32_t page)
{
	double wait = -log(random_unit()) / g->touches_per_s;
	return is_active(g, page) && wait < 1e9 ? g->now + (uint64_t)(wait * 1e9) : NEVER;
}

static void start(struct guest *g, uint32_t nr_pages, uint32_t rate)
{
	random_start();
	*g = (struct guest){.nr_pages = nr_pages, .touches_per_s = 2, .now = 5 * S};
	ck_assert_int_eq(working_set_create(nr_pages, random_bits(), &g->ws), 0);
	working_set_set_rate(g->ws, rate);
}

static void end(struct guest *g)
{
	working_set_destroy(g->ws);
	ck_assert_int_eq(live, 0);
}

/* What happens to pages that are out changes with the guest. */
static void draw_anew(struct guest *g)
{
	for (unsigned i = 0; i < g->nr_out; i++)
		g->out[i].touch = next_touch(g, g->out[i].page);
}

static int by_touch(const void *a, const void *b)
{
	uint64_t x = ((const struct out *)a)->touch, y = ((const struct out *)b)->touch;
	return x < y ? -1 : x > y;
}

static void touch_until(struct guest *g, uint64_t until)
{
	struct out due[MOST_OUT];
	unsigned nr = 0;
	for (unsigned i = 0; i < g->nr_out;) {
		if (g->out[i].touch <= until) {
			due[nr++] = g->out[i];
			g->out[i] = g->out[--g->nr_out];
		} else {
			i++;
		}
	}
	if (nr)
		qsort(due, nr, sizeof(due[0]), by_touch);
	for (unsigned i = 0; i < nr; i++)
		working_set_touched(g->ws, due[i].page, due[i].touch);
	g->nr_touched += nr;
	g->now = until;
}

static void collect(struct guest *g)
{
	uint32_t pages[AT_ONCE];
	size_t nr;
	while ((nr = working_set_expire(g->ws, g->now, pages, AT_ONCE)) > 0) {
		for (size_t i = 0; i < nr; i++) {
			unsigned at = 0;
			while (at < g->nr_out && g->out[at].page != pages[i])
				at++;
			ck_assert_uint_lt(at, g->nr_out);
			g->out[at] = g->out[--g->nr_out];
		}
	}
}

static bool lies_out(const struct guest *g, uint32_t page)
{
	for (unsigned i = 0; i < g->nr_out; i++)
		if (g->out[i].page == page)
			return true;
	return false;
}

static void tick(struct guest *g)
{
	uint32_t pages[AT_ONCE];
	touch_until(g, g->now + TICK_MS * MS);
	collect(g);
	size_t nr = working_set_next(g->ws, g->now, pages, AT_ONCE);
	if (nr > g->most_at_once)
		g->most_at_once = (unsigned)nr;
	for (size_t i = 0; i < nr; i++) {
		bool absent = pages[i] >= g->nr_pages - g->nr_absent;
		ck_assert_uint_lt(pages[i], g->nr_pages);
		working_set_taken(g->ws, pages[i], g->now, !absent);
		/* One call may ask for a page twice, which is then a sample of two ages, and goes once. */
		if (absent || lies_out(g, pages[i]))
			continue;
		ck_assert_uint_lt(g->nr_out, MOST_OUT);
		g->out[g->nr_out++] = (struct out){pages[i], next_touch(g, pages[i])};
		g->nr_taken++;
	}
}

static void run(struct guest *g, unsigned seconds)
{
	for (unsigned i = 0; i < seconds * 1000 / TICK_MS; i++)
		tick(g);
}

static uint64_t active(const struct guest *g, uint64_t *error)
{
	uint64_t pages = 0;
	*error = 0;
	ck_assert_int_eq(working_set_active(g->ws, WORKING_SET_WINDOW_MS, &pages, error), 0);
	return pages;
}

/* The estimate is that fraction of the guest, by at least so many samples. */
static void check_fraction(const struct guest *g, double fraction, double samples)
{
	uint64_t error, pages = active(g, &error);
	double deviation = sqrt(fraction * (1 - fraction) / samples) * g->nr_pages;
	ck_assert_double_le(fabs((double)pages - fraction * g->nr_pages), 6 * deviation + 2);
	/* It knows how exact it is: contiguous sets are known better than it believes. */
	ck_assert_double_le((double)error, 3 * deviation + 3.0 * g->nr_pages / samples + 2);
	ck_assert_double_le(fabs((double)pages - fraction * g->nr_pages), 6.0 * (double)error + 2);
}

START_TEST(a_known_working_set_is_estimated_within_5_percent)
{
	static const unsigned percents[] = {10, 30, 50, 70, 90};
	unsigned percent = percents[_i / 2];
	start(&guest, 1 << 16, 100);
	guest.nr_active = guest.nr_pages / 100 * percent;
	guest.scattered = _i % 2;
	double fraction = (double)guest.nr_active / guest.nr_pages;
	run(&guest, 30);
	check_fraction(&guest, fraction, 100 * 15);
	run(&guest, 170);
	unsigned seconds = 200;
	uint64_t error;
	/* By chance it may have believed in a change, and have begun anew. */
	for (int i = 0; i < 3; i++) {
		(void)active(&guest, &error);
		if (3 * (double)error <= 0.06 * guest.nr_active)
			break;
		run(&guest, 170);
		seconds += 170;
	}
	/* 160 s of at least 100/s: three standard deviations are about 5 percent, where a tenth is active, and fewer elsewhere. */
	ck_assert_double_le(3 * (double)error, 0.06 * guest.nr_active);
	check_fraction(&guest, fraction, 100 * 145 * (percent == 10 ? 3 : 1));
	/* What it costs: 100 faults a second, with the deviation of so many. */
	ck_assert_double_le((double)guest.nr_touched, seconds * 100 * 1.15);
	ck_assert_uint_le(guest.most_at_once, WORKING_SET_MOST_PER_S / 10);
	end(&guest);
}
END_TEST

START_TEST(a_window_answers_as_the_touches_are_spread_in_time)
{
	start(&guest, 1 << 16, 100);
	guest.nr_active = guest.nr_pages / 2;
	guest.scattered = true;
	guest.touches_per_s = 0.1;
	run(&guest, 300);
	for (uint32_t window_ms = 500; window_ms <= WORKING_SET_HORIZON_MS; window_ms += window_ms / 2) {
		uint64_t pages, error;
		double truth = 0.5 * (1 - exp(-0.1 * window_ms / 1000));
		ck_assert_int_eq(working_set_active(guest.ws, window_ms, &pages, &error), 0);
		/* At least 20/s wait for so long; between two edges the chance is interpolated, 1 % off. */
		ck_assert_double_le(fabs((double)pages / guest.nr_pages - truth),
				    6 * sqrt(truth * (1 - truth) / (15 * 100.0)) + 0.01);
	}
	end(&guest);
}
END_TEST

START_TEST(a_jump_shows_within_15_seconds)
{
	static const double sizes[][2] = {{0.1, 0.6}, {0.6, 0.1}, {0, 0.5}, {0.9, 0.3}};
	uint64_t error;
	start(&guest, 1 << 16, 100);
	guest.scattered = true;
	guest.nr_active = (uint32_t)(sizes[_i][0] * guest.nr_pages);
	run(&guest, 200);
	guest.nr_active = (uint32_t)(sizes[_i][1] * guest.nr_pages);
	draw_anew(&guest);
	for (int i = 0; i < 12; i++) {
		run(&guest, 5);
		if (getenv("SHOW"))
			printf("%d s: %.3f\n", 5 * i + 5, (double)active(&guest, &error) / guest.nr_pages);
		if (i == 2) {
			/* More than half of the way; what spans the change sees both. */
			double pages = (double)active(&guest, &error) / guest.nr_pages;
			ck_assert_double_le(fabs(pages - sizes[_i][1]), 0.5 * fabs(sizes[_i][1] - sizes[_i][0]));
		}
	}
	/* Later only what came after counts. */
	double truth = sizes[_i][1];
	ck_assert_double_le(fabs((double)active(&guest, &error) / guest.nr_pages - truth),
			    6 * sqrt(truth * (1 - truth) / (100 * 30)));
	end(&guest);
}
END_TEST

START_TEST(an_idle_guest_is_known_to_be_idle_and_sampled_at_the_rate)
{
	uint64_t error;
	start(&guest, 1 << 16, 100);
	run(&guest, 100);
	ck_assert_uint_eq(active(&guest, &error), 0);
	ck_assert_double_le((double)error, guest.nr_pages / 200.0);
	ck_assert_uint_eq(guest.nr_touched, 0);
	ck_assert_uint_le(guest.nr_taken, 100 * 100 + 100);
	end(&guest);
}
END_TEST

START_TEST(a_guest_that_grows_is_followed)
{
	uint64_t error;
	start(&guest, 1 << 16, 100);
	/* What it has not touched yet is absent; all that it has is active. */
	guest.nr_active = guest.nr_pages / 10;
	guest.nr_absent = guest.nr_pages - guest.nr_active;
	run(&guest, 60);
	check_fraction(&guest, 0.1, 100 * 40);
	for (int i = 0; i < 40; i++) {
		guest.nr_active += guest.nr_pages / 100;
		guest.nr_absent = guest.nr_pages - guest.nr_active;
		run(&guest, 5);
	}
	/* 1 % in 5 s: a pool of 60 s would be 6 % behind at its middle. */
	ck_assert_double_le(fabs((double)active(&guest, &error) / guest.nr_pages - 0.5), 0.10);
	run(&guest, 200);
	check_fraction(&guest, (double)guest.nr_active / guest.nr_pages, 100 * 100);
	end(&guest);
}
END_TEST

START_TEST(phases_that_take_turns_are_seen)
{
	uint64_t error;
	start(&guest, 1 << 16, 100);
	guest.scattered = true;
	for (int phase = 0; phase < 6; phase++) {
		double size = phase % 2 ? 0.7 : 0.2;
		guest.nr_active = (uint32_t)(size * guest.nr_pages);
		draw_anew(&guest);
		run(&guest, 60);
		ck_assert_double_le(fabs((double)active(&guest, &error) / guest.nr_pages - size),
				    6 * sqrt(size * (1 - size) / (100 * 30)));
	}
	end(&guest);
}
END_TEST

/* --- a trace of accesses, and LRU --- */

enum { TRACE_PAGES = 4096, TRACE_PER_S = 4000, TRACE_S = 260, WARM_S = 100, TRACE_LEN = TRACE_PER_S * TRACE_S };

/* Which positions of the trace are the latest access of some page, as sums (Fenwick, 1994): an exact stack distance in O(log n). */
static uint32_t sums[TRACE_LEN + 1];
static uint32_t last_access[TRACE_PAGES];
static uint64_t distances[TRACE_PAGES + 1]; /* how often each occurred after the warm-up */
static double zipf[TRACE_PAGES];
static bool is_out[TRACE_PAGES];

static void sums_add(uint32_t at, uint32_t n)
{
	for (; at <= TRACE_LEN; at += at & -at)
		sums[at] += n;
}

static uint32_t sums_to(uint32_t at)
{
	uint32_t sum = 0;
	for (; at; at &= at - 1)
		sum += sums[at];
	return sum;
}

static void access_page(uint32_t page, uint32_t at, bool counts)
{
	uint32_t distance = TRACE_PAGES;
	if (last_access[page]) {
		distance = sums_to(at - 1) - sums_to(last_access[page]);
		sums_add(last_access[page], (uint32_t)-1);
	}
	sums_add(at, 1);
	last_access[page] = at;
	distances[distance] += counts;
}

static uint32_t zipf_page(void)
{
	double u = random_unit() * zipf[TRACE_PAGES - 1];
	uint32_t low = 0, high = TRACE_PAGES - 1;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (zipf[middle] < u)
			low = middle + 1;
		else
			high = middle;
	}
	/* Popular pages lie scattered. */
	return (uint32_t)(low * 2654435761ull) % TRACE_PAGES;
}

static void sample_trace(struct working_set *ws, uint64_t now)
{
	uint32_t pages[AT_ONCE];
	size_t nr = working_set_expire(ws, now, pages, AT_ONCE);
	for (size_t i = 0; i < nr; i++)
		is_out[pages[i]] = false;
	nr = working_set_next(ws, now, pages, AT_ONCE);
	for (size_t i = 0; i < nr; i++) {
		is_out[pages[i]] = true;
		working_set_taken(ws, pages[i], now, true);
	}
}

START_TEST(the_curve_is_that_of_lru)
{
	struct working_set *ws;
	struct working_set_point points[WORKING_SET_POINTS];
	double sum = 0;
	random_start();
	for (uint32_t i = 0; i < TRACE_PAGES; i++)
		zipf[i] = sum += pow(i + 1, -0.8);
	ck_assert_int_eq(working_set_create(TRACE_PAGES, random_bits(), &ws), 0);
	working_set_set_rate(ws, 200);
	for (uint32_t at = 1; at <= TRACE_LEN; at++) {
		uint64_t now = S + (uint64_t)at * (S / TRACE_PER_S);
		uint32_t page = zipf_page();
		access_page(page, at, at > WARM_S * TRACE_PER_S);
		if (is_out[page]) {
			is_out[page] = false;
			working_set_touched(ws, page, now);
		}
		if (at % (TRACE_PER_S * TICK_MS / 1000) == 0)
			sample_trace(ws, now);
	}
	size_t nr = working_set_curve(ws, points, WORKING_SET_POINTS), compared = 0;
	ck_assert_uint_ge(nr, 12);
	for (size_t i = 0; i < nr; i++) {
		uint64_t misses = 0, later = 0;
		for (uint64_t d = points[i].pages; d <= TRACE_PAGES; d++) {
			misses += distances[d];
			later += d > points[i].pages + TRACE_PAGES / 100 ? distances[d] : 0;
		}
		double truth = (double)misses / (TRACE_S - WARM_S), steep = (double)(misses - later) / (TRACE_S - WARM_S);
		if (getenv("SHOW"))
			printf("%llu pages: %.2f faults/s, LRU %.2f, near %.2f\n", (unsigned long long)points[i].pages,
			       points[i].faults_per_s, truth, steep);
		if (i) {
			ck_assert_uint_le(points[i].pages, points[i - 1].pages);
			ck_assert_double_ge(points[i].faults_per_s, points[i - 1].faults_per_s);
		}
		/* Samples touched in the bucket, of about 160 s; those of more than 10 s are fewer. */
		double width_ms = 10 << (nr - 1 - i > 0 ? nr - 2 - i : 0);
		double touches = (width_ms > 5120 ? 20 : 100) * 140 * truth * width_ms / 1000 / TRACE_PAGES;
		if (touches < 50)
			continue;
		ck_assert_double_le(fabs(points[i].faults_per_s - truth), (0.10 + 6 / sqrt(touches)) * truth + steep);
		compared++;
	}
	ck_assert_uint_ge(compared, 8);
	working_set_destroy(ws);
}
END_TEST

START_TEST(refaults_raise_the_curve_below_their_age)
{
	struct working_set_point before[WORKING_SET_POINTS], after[WORKING_SET_POINTS];
	uint64_t error;
	start(&guest, 1 << 16, 100);
	guest.nr_active = guest.nr_pages / 4;
	run(&guest, 60);
	uint64_t without = active(&guest, &error);
	size_t nr = working_set_curve(guest.ws, before, WORKING_SET_POINTS);
	/* 200/s of about a second. */
	for (int i = 0; i < 170 * 1000 / TICK_MS; i++) {
		for (int j = 0; j < 10; j++)
			working_set_refault(guest.ws, 900 + (uint32_t)random_below(200), guest.now);
		tick(&guest);
	}
	ck_assert_uint_ge(nr, 10);
	size_t more = working_set_curve(guest.ws, after, WORKING_SET_POINTS);
	for (size_t i = 0; i < more; i++) {
		/* From small to large: bucket i; 640 ms is the end of the sixth. */
		struct working_set_point p = after[more - 1 - i];
		if (i && i < nr)
			ck_assert_double_le(p.faults_per_s, after[more - i].faults_per_s);
		if (i > 8 && i < nr)
			ck_assert_double_le(p.faults_per_s, before[nr - 1 - i].faults_per_s + 100);
		if (i <= 5)
			ck_assert_double_ge(p.faults_per_s, 190);
	}
	/* By Little's law 200 pages are on their way. */
	ck_assert_double_ge((double)active(&guest, &error), (double)without + 100 - 6 * (double)error);
	end(&guest);
}
END_TEST

START_TEST(without_a_rate_nothing_is_asked_and_all_is_given_back)
{
	uint32_t pages[AT_ONCE];
	uint64_t active_pages, error;
	start(&guest, 1 << 14, 0);
	run(&guest, 20);
	ck_assert_uint_eq(guest.nr_taken, 0);
	ck_assert_int_eq(working_set_active(guest.ws, WORKING_SET_WINDOW_MS, &active_pages, &error), -EAGAIN);
	ck_assert_uint_eq(working_set_curve(guest.ws, NULL, 0), 0);
	working_set_refault(guest.ws, 5, guest.now);
	working_set_set_rate(guest.ws, 200);
	run(&guest, 20);
	ck_assert_uint_ge(working_set_nr_out(guest.ws), 2000);
	ck_assert_uint_le(guest.nr_out, working_set_nr_out(guest.ws));
	working_set_set_rate(guest.ws, 0);
	ck_assert_uint_eq(working_set_next(guest.ws, guest.now, pages, AT_ONCE), 0);
	collect(&guest);
	ck_assert_uint_eq(working_set_nr_out(guest.ws), 0);
	ck_assert_uint_eq(guest.nr_out, 0);
	ck_assert_int_eq(working_set_active(guest.ws, WORKING_SET_WINDOW_MS, &active_pages, &error), -EAGAIN);
	end(&guest);
}
END_TEST

START_TEST(a_sample_that_was_asked_for_before_the_rate_fell_to_nothing_is_given_back)
{
	uint32_t pages[AT_ONCE], back[AT_ONCE];
	start(&guest, 1 << 12, 300);
	working_set_next(guest.ws, guest.now, pages, AT_ONCE);
	size_t nr = working_set_next(guest.ws, guest.now + S / 10, pages, AT_ONCE);
	ck_assert_uint_gt(nr, 0);
	working_set_set_rate(guest.ws, 0);
	for (size_t i = 0; i < nr; i++)
		working_set_taken(guest.ws, pages[i], guest.now + S / 10, true);
	ck_assert_uint_eq(working_set_nr_out(guest.ws), nr);
	ck_assert_uint_eq(working_set_expire(guest.ws, guest.now + S / 10, back, AT_ONCE), nr);
	ck_assert_uint_eq(working_set_nr_out(guest.ws), 0);
	end(&guest);
}
END_TEST

START_TEST(samples_that_are_not_collected_end_the_sampling)
{
	uint32_t pages[AT_ONCE];
	start(&guest, 1 << 16, 10000);
	for (int i = 0; i < 10000; i++) {
		guest.now += TICK_MS * MS;
		size_t nr = working_set_next(guest.ws, guest.now, pages, AT_ONCE);
		ck_assert_uint_le(nr, WORKING_SET_MOST_PER_S / 4 + 1);
		for (size_t j = 0; j < nr; j++)
			working_set_taken(guest.ws, pages[j], guest.now, true);
	}
	ck_assert_uint_le(working_set_nr_out(guest.ws), 8192);
	ck_assert_uint_eq(working_set_next(guest.ws, guest.now, pages, AT_ONCE), 0);
	while (working_set_expire(guest.ws, guest.now, pages, AT_ONCE))
		;
	ck_assert_uint_ge(working_set_next(guest.ws, guest.now, pages, AT_ONCE), 1);
	end(&guest);
}
END_TEST

START_TEST(a_guest_of_one_page_is_either_used_or_not)
{
	uint64_t error;
	start(&guest, 1, 100);
	run(&guest, 60);
	ck_assert_uint_eq(active(&guest, &error), 0);
	guest.nr_active = 1;
	draw_anew(&guest);
	run(&guest, 400);
	ck_assert_uint_eq(active(&guest, &error), 1);
	end(&guest);
}
END_TEST

START_TEST(pages_that_are_all_absent_are_inactive)
{
	uint64_t pages, error;
	start(&guest, 1 << 14, 100);
	guest.nr_active = guest.nr_absent = guest.nr_pages;
	run(&guest, 30);
	ck_assert_int_eq(working_set_active(guest.ws, WORKING_SET_WINDOW_MS, &pages, &error), 0);
	ck_assert_uint_eq(pages, 0);
	ck_assert_uint_le(error, guest.nr_pages / 3);
	end(&guest);
}
END_TEST

START_TEST(all_of_it_active_is_all_of_it)
{
	uint64_t error;
	start(&guest, 1 << 14, 100);
	guest.nr_active = guest.nr_pages;
	guest.touches_per_s = 100;
	run(&guest, 40);
	ck_assert_uint_eq(active(&guest, &error), guest.nr_pages);
	ck_assert_double_le((double)error, guest.nr_pages / 100.0);
	end(&guest);
}
END_TEST

START_TEST(a_guest_that_stood_still_is_not_believed_idle)
{
	start(&guest, 1 << 16, 100);
	guest.nr_active = guest.nr_pages / 2;
	guest.scattered = true;
	run(&guest, 100);
	/* Paused for an hour: no touch, no tick. */
	guest.now += 3600 * S;
	for (unsigned i = 0; i < guest.nr_out; i++)
		guest.out[i].touch += guest.out[i].touch == NEVER ? 0 : 3600 * S;
	run(&guest, 100);
	check_fraction(&guest, 0.5, 100 * 80);
	end(&guest);
}
END_TEST

START_TEST(a_clock_that_stands_or_steps_back_does_no_harm)
{
	uint32_t pages[AT_ONCE];
	uint64_t active_pages, error;
	start(&guest, 1 << 14, 300);
	for (int i = 0; i < 1000; i++) {
		size_t nr = working_set_next(guest.ws, guest.now, pages, AT_ONCE);
		for (size_t j = 0; j < nr; j++) {
			working_set_taken(guest.ws, pages[j], guest.now, true);
			working_set_touched(guest.ws, pages[j], guest.now - S);
		}
		ck_assert_uint_eq(working_set_expire(guest.ws, guest.now - 2 * S, pages, AT_ONCE), 0);
	}
	ck_assert_int_eq(working_set_active(guest.ws, WORKING_SET_WINDOW_MS, &active_pages, &error), -EAGAIN);
	/* Back to zero, and to the end of time. */
	working_set_touched(guest.ws, 3, 0);
	working_set_touched(guest.ws, 3, UINT64_MAX);
	ck_assert_uint_le(working_set_next(guest.ws, UINT64_MAX, pages, AT_ONCE), AT_ONCE);
	end(&guest);
}
END_TEST

START_TEST(what_is_lost_sight_of_biases_nothing)
{
	uint64_t error;
	start(&guest, 1 << 16, 100);
	guest.nr_active = guest.nr_pages / 2;
	guest.scattered = true;
	guest.touches_per_s = 0.3;
	for (int i = 0; i < 200 * 1000 / TICK_MS; i++) {
		tick(&guest);
		/* Each sample is lost after 20 s in the mean. */
		for (unsigned j = 0; j < guest.nr_out;) {
			if (random_below(20 * 1000 / TICK_MS) == 0) {
				working_set_forget(guest.ws, guest.out[j].page, guest.now);
				guest.out[j] = guest.out[--guest.nr_out];
			} else {
				j++;
			}
		}
	}
	double truth = 0.5 * (1 - exp(-3)), pages = (double)active(&guest, &error) / guest.nr_pages;
	ck_assert_double_le(fabs(pages - truth), 6 * sqrt(truth * (1 - truth) / (100 * 100)) + 0.01);
	end(&guest);
}
END_TEST

/* Any order of calls, against a plain list of what is out. */
START_TEST(whatever_is_told_in_whatever_order_the_books_are_right)
{
	enum { PAGES = 300 };
	static bool out[PAGES];
	struct working_set *ws;
	uint32_t pages[AT_ONCE];
	uint64_t now = S, active_pages, error;
	struct working_set_point points[WORKING_SET_POINTS];
	random_start();
	memset(out, 0, sizeof(out));
	ck_assert_int_eq(working_set_create(PAGES, random_bits(), &ws), 0);
	for (int step = 0; step < 300000; step++) {
		uint32_t page = (uint32_t)random_below(PAGES);
		size_t nr;
		now += random_below(8) ? random_below(40 * MS) : random_below(2 * S);
		switch (random_below(9)) {
		case 0:
		case 1:
		case 2:
			nr = working_set_next(ws, now, pages, 1 + random_below(AT_ONCE));
			for (size_t i = 0; i < nr; i++) {
				bool watched = random_below(8);
				working_set_taken(ws, pages[i], now, watched);
				out[pages[i]] |= watched;
			}
			break;
		case 3:
			working_set_touched(ws, page, now);
			out[page] = false;
			break;
		case 4:
			working_set_forget(ws, page, now);
			out[page] = false;
			break;
		case 5:
		case 6:
			nr = working_set_expire(ws, now, pages, 1 + random_below(AT_ONCE));
			for (size_t i = 0; i < nr; i++) {
				ck_assert(out[pages[i]]);
				out[pages[i]] = false;
			}
			break;
		case 7:
			working_set_refault(ws, (uint32_t)random_bits(), now);
			break;
		default:
			if (random_below(100) == 0)
				working_set_set_rate(ws, random_below(3) ? (uint32_t)random_below(500) : 0);
		}
		if (step % 64)
			continue;
		if (working_set_active(ws, (uint32_t)random_bits() >> random_below(32), &active_pages, &error) == 0)
			ck_assert_uint_le(active_pages, PAGES);
		nr = working_set_curve(ws, points, WORKING_SET_POINTS);
		for (size_t i = 1; i < nr; i++) {
			ck_assert_uint_le(points[i].pages, points[i - 1].pages);
			ck_assert_double_ge(points[i].faults_per_s, points[i - 1].faults_per_s - 1e-9);
		}
	}
	/* All that is out comes back. */
	working_set_set_rate(ws, 0);
	for (size_t nr; (nr = working_set_expire(ws, now, pages, AT_ONCE)) > 0;) {
		for (size_t i = 0; i < nr; i++) {
			ck_assert(out[pages[i]]);
			out[pages[i]] = false;
		}
	}
	for (uint32_t i = 0; i < PAGES; i++)
		ck_assert(!out[i]);
	ck_assert_uint_eq(working_set_nr_out(ws), 0);
	working_set_destroy(ws);
}
END_TEST

START_TEST(what_cannot_be_made_says_so)
{
	struct working_set *ws = NULL;
	ck_assert_int_eq(working_set_create(0, 1, &ws), -EINVAL);
	ck_assert_int_eq(working_set_create(1ull << 32, 1, &ws), -EINVAL);
	fail_calloc = true;
	ck_assert_int_eq(working_set_create(1, 1, &ws), -ENOMEM);
	fail_calloc = false;
	ck_assert_ptr_null(ws);
	working_set_destroy(NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("working set");
	TCase *tests = tcase_create("estimates");
	tcase_add_loop_test(tests, a_known_working_set_is_estimated_within_5_percent, 0, 10);
	tcase_add_test(tests, a_window_answers_as_the_touches_are_spread_in_time);
	tcase_add_loop_test(tests, a_jump_shows_within_15_seconds, 0, 4);
	tcase_add_test(tests, an_idle_guest_is_known_to_be_idle_and_sampled_at_the_rate);
	tcase_add_test(tests, a_guest_that_grows_is_followed);
	tcase_add_test(tests, phases_that_take_turns_are_seen);
	tcase_add_test(tests, the_curve_is_that_of_lru);
	tcase_add_test(tests, refaults_raise_the_curve_below_their_age);
	tcase_add_test(tests, a_guest_that_stood_still_is_not_believed_idle);
	tcase_add_test(tests, what_is_lost_sight_of_biases_nothing);
	suite_add_tcase(suite, tests);
	tests = tcase_create("edges");
	tcase_add_test(tests, without_a_rate_nothing_is_asked_and_all_is_given_back);
	tcase_add_test(tests, a_sample_that_was_asked_for_before_the_rate_fell_to_nothing_is_given_back);
	tcase_add_test(tests, samples_that_are_not_collected_end_the_sampling);
	tcase_add_test(tests, a_guest_of_one_page_is_either_used_or_not);
	tcase_add_test(tests, pages_that_are_all_absent_are_inactive);
	tcase_add_test(tests, all_of_it_active_is_all_of_it);
	tcase_add_test(tests, a_clock_that_stands_or_steps_back_does_no_harm);
	tcase_add_test(tests, whatever_is_told_in_whatever_order_the_books_are_right);
	tcase_add_test(tests, what_cannot_be_made_says_so);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
