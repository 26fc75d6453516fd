/* The model of a desktop, which the benchmark of density rests on: what is shared is equal, every wrong byte is found, and users are as busy as they are said to be. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "bench/density/desktop.h"
#include "tests/guests/lib/pattern.c"
#include "tests/guests/lib/zipf.c"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { PAGES = 1600 };

static struct desktop desktop, other;

static void open_one(struct desktop *d, uint64_t seed, uint64_t image_seed)
{
	*d = (struct desktop){.wrong = 0};
#define TAKE(name, otherwise) d->options.name = otherwise;
	DESKTOP_OPTIONS(TAKE)
	d->options.pages = PAGES;
	d->options.seed = seed;
	d->options.image_seed = image_seed;
	uint8_t *tables = calloc(1, desktop_table_bytes(PAGES)), *memory = malloc((size_t)PAGES * PATTERN_PAGE);
	ck_assert_ptr_nonnull(tables);
	ck_assert_ptr_nonnull(memory);
	desktop_open(d, tables, memory);
	for (uint64_t page = 0; page < PAGES; page++)
		desktop_write(d, page);
}

static void close_one(struct desktop *d)
{
	free(d->content);
	free(d->memory);
}

/* How many pages of one have the same content in both, and how many of those lie at the same place. */
static unsigned count_equal(unsigned *in_place)
{
	unsigned equal = 0;
	*in_place = 0;
	for (uint64_t content = 0; content < desktop.nr_units; content++) {
		uint64_t here = desktop.place[content] * (uint64_t)DESKTOP_UNIT,
			 there = other.place[content] * (uint64_t)DESKTOP_UNIT;
		if (desktop_kind(&desktop, content) == DESKTOP_ZERO)
			continue;
		for (unsigned i = 0; i < DESKTOP_UNIT; i++)
			equal += !memcmp(desktop_page(&desktop, here + i), desktop_page(&other, there + i), PATTERN_PAGE);
		*in_place += here == there;
	}
	return equal;
}

START_TEST(desktops_of_one_image_have_it_in_common_and_nothing_else)
{
	unsigned in_place;
	open_one(&desktop, 1, 7);
	open_one(&other, 2, 7);
	ck_assert_uint_eq(count_equal(&in_place), desktop.nr_image * DESKTOP_UNIT);
	ck_assert_uint_gt(desktop.nr_image, PAGES / DESKTOP_UNIT / 2);
	ck_assert_uint_lt(in_place, desktop.nr_units / 10);
	close_one(&other);
	open_one(&other, 2, 8);
	ck_assert_uint_eq(count_equal(&in_place), 0);
	close_one(&desktop);
	close_one(&other);
}
END_TEST

START_TEST(the_same_programs_are_popular_in_all_desktops_of_an_image)
{
	uint64_t i = 0, j = 0, nr = 0;
	open_one(&desktop, 1, 7);
	open_one(&other, 2, 7);
	for (; i < desktop.nr_objects; i++) {
		if (desktop_kind(&desktop, desktop.popular[i] / DESKTOP_UNIT_OBJECTS) != DESKTOP_IMAGE)
			continue;
		while (desktop_kind(&other, other.popular[j] / DESKTOP_UNIT_OBJECTS) != DESKTOP_IMAGE)
			j++;
		ck_assert_uint_eq(desktop.popular[i], other.popular[j++]);
		nr++;
	}
	ck_assert_uint_eq(nr, desktop.nr_image * DESKTOP_UNIT_OBJECTS);
	close_one(&desktop);
	close_one(&other);
}
END_TEST

START_TEST(requests_rewrite_private_pages_and_leave_no_wrong_byte)
{
	uint64_t rewritten = 0;
	open_one(&desktop, 3, 7);
	for (unsigned i = 0; i < 2000; i++)
		desktop_request(&desktop);
	for (uint64_t page = 0; page < PAGES; page++) {
		ck_assert(desktop_verify(&desktop, page));
		bool is_private = desktop_kind(&desktop, desktop.content[page / DESKTOP_UNIT]) >= DESKTOP_SOFT;
		ck_assert(is_private || !desktop.generation[page]);
		rewritten += desktop.generation[page] > 0;
	}
	ck_assert_uint_eq(desktop.wrong, 0);
	ck_assert_uint_gt(rewritten, 100);
	close_one(&desktop);
}
END_TEST

START_TEST(one_wrong_bit_anywhere_is_found)
{
	random_start();
	open_one(&desktop, 4, 7);
	for (unsigned i = 0; i < 300; i++) {
		uint64_t at = random_below((uint64_t)PAGES * PATTERN_PAGE);
		desktop.memory[at] ^= (uint8_t)(1u << random_below(8));
		ck_assert(!desktop_verify(&desktop, at / PATTERN_PAGE));
		desktop_write(&desktop, at / PATTERN_PAGE);
		ck_assert(desktop_verify(&desktop, at / PATTERN_PAGE));
	}
	ck_assert_uint_eq(desktop.wrong, 300);
	close_one(&desktop);
}
END_TEST

START_TEST(users_are_as_busy_as_they_are_said_to_be)
{
	const uint64_t seconds = 20000;
	uint64_t due, before = 0, nr = 0, pauses = 0;
	open_one(&desktop, 5, 7);
	while ((due = desktop_next_ns(&desktop)) < seconds * 1000000000) {
		ck_assert_uint_ge(due, before);
		pauses += due - before >= desktop.options.idle_ms * 500000;
		before = due;
		nr++;
	}
	double rate = (double)desktop.options.rate * (double)desktop.options.burst_ms /
		      (double)(desktop.options.burst_ms + desktop.options.idle_ms);
	ck_assert_double_eq_tol((double)nr / (double)seconds, rate, rate / 20);
	ck_assert_double_eq_tol((double)pauses / (double)seconds, 1 / 6.0, 0.01);
	close_one(&desktop);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("desktop");
	TCase *tests = tcase_create("model");
	tcase_add_test(tests, desktops_of_one_image_have_it_in_common_and_nothing_else);
	tcase_add_test(tests, the_same_programs_are_popular_in_all_desktops_of_an_image);
	tcase_add_test(tests, requests_rewrite_private_pages_and_leave_no_wrong_byte);
	tcase_add_test(tests, one_wrong_bit_anywhere_is_found);
	tcase_add_test(tests, users_are_as_busy_as_they_are_said_to_be);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
