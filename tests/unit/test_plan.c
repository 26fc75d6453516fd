/* How many more guests fit: the plan beside what can be told without it. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/plan.h"
#include "tests/unit/suite.h"

#define GIB_PAGES (1ull << 18)

static struct arbiter_settings settings;
static struct arbiter_host host;
static struct arbiter_guest guests[100], like;
static const struct arbiter_point gentle[] = {{GIB_PAGES, 0}, {GIB_PAGES / 2, 10}, {GIB_PAGES / 4, 100}},
				  steep[] = {{GIB_PAGES, 0}, {GIB_PAGES * 3 / 4, 100000}};
static struct plan plan;
static struct error err;

static void set_up(void)
{
	arbiter_settings_init(&settings);
	host = (struct arbiter_host){.now_ns = 1000000000, .budget_pages = 16 * GIB_PAGES, .free_pages = 16 * GIB_PAGES};
	like = (struct arbiter_guest){.id = 1,
				      .size_pages = GIB_PAGES,
				      .max_pages = GIB_PAGES,
				      .shares = 1000,
				      .has_stats = true,
				      .used_pages = GIB_PAGES,
				      .active_pages = GIB_PAGES,
				      .curve = gentle,
				      .nr_points = 3};
}

static void make(size_t nr, double risk)
{
	for (size_t i = 0; i < nr; i++) {
		guests[i] = like;
		guests[i].id = i + 1;
	}
	ck_assert_msg(plan_make(&settings, &host, guests, nr, &like, 0.0001, risk, &plan, &err) == 0, "%s", err.text);
	ck_assert_uint_le(plan.nr_points, PLAN_MOST_POINTS);
	ck_assert_uint_le(plan.fit, plan.nr_points);
	for (size_t i = 0; i < plan.nr_points; i++) {
		ck_assert_uint_eq(plan.points[i].guests, i + 1);
		ck_assert_uint_le(plan.points[i].granted_pages, host.budget_pages);
		ck_assert(i == 0 || plan.points[i].stall >= plan.points[i - 1].stall);
	}
}

START_TEST(guests_that_bear_less_memory_fit_beyond_the_budget)
{
	make(4, 0.05);
	/* Sixteen fit without squeezing anybody; a gentle curve lets many more in. */
	ck_assert_uint_gt(plan.fit, 16);
}
END_TEST

START_TEST(guests_that_need_all_they_have_do_not)
{
	like.curve = steep;
	like.nr_points = 2;
	make(4, 0.05);
	ck_assert_uint_ge(plan.fit, 9);
	ck_assert_uint_le(plan.fit, 13);
	ck_assert_int_eq(plan.limit, PLAN_STALL);
}
END_TEST

START_TEST(more_risk_lets_more_in)
{
	like.curve = steep;
	like.nr_points = 2;
	make(4, 0.01);
	unsigned careful = plan.fit;
	make(4, 5);
	ck_assert_uint_gt(plan.fit, careful);
}
END_TEST

START_TEST(minimums_are_promises)
{
	like.min_pages = GIB_PAGES;
	make(4, 1000);
	ck_assert_int_eq(plan.limit, PLAN_ADMISSION);
	ck_assert_uint_ge(plan.fit, 10);
	ck_assert_uint_le(plan.fit, 12);
}
END_TEST

START_TEST(pinned_guests_count_in_full)
{
	like.pinned = true;
	make(0, 1000);
	ck_assert_int_eq(plan.limit, PLAN_ADMISSION);
	ck_assert_uint_ge(plan.fit, 14);
	ck_assert_uint_le(plan.fit, 16);
}
END_TEST

START_TEST(without_a_curve_swap_is_the_limit)
{
	like.curve = NULL;
	like.nr_points = 0;
	make(4, 0.05);
	ck_assert_int_eq(plan.limit, PLAN_SWAP);
	ck_assert_uint_ge(plan.fit, 16);
}
END_TEST

START_TEST(small_guests_fit_without_end)
{
	like.size_pages = like.max_pages = like.used_pages = like.active_pages = 1024;
	like.curve = NULL;
	like.nr_points = 0;
	make(0, 0.05);
	ck_assert_int_eq(plan.limit, PLAN_NOTHING);
	ck_assert_uint_eq(plan.fit, PLAN_MOST_POINTS);
}
END_TEST

START_TEST(numbers_of_any_size_are_survived)
{
	unsigned seed = 7;
	for (unsigned round = 0; round < 60; round++) {
		uint64_t *words[] = {&like.size_pages,       &like.min_pages,    &like.max_pages,
				     &like.used_pages,       &like.active_pages, &like.shared_pages,
				     &like.divergence_pages, &host.pool_pages,   &host.free_pages};
		for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			*words[i] = (((uint64_t)rand_r(&seed) << 33) ^ (uint64_t)rand_r(&seed)) >> (rand_r(&seed) % 64);
		struct arbiter_point any[] = {{like.size_pages, 1e300}, {like.used_pages, 0}, {0, 1}};
		like.curve = any;
		like.nr_points = 3;
		guests[0] = like;
		guests[0].id = 1;
		/* It may refuse; it may not crash. */
		if (plan_make(&settings, &host, guests, 1, &like, 0, 0.05, &plan, &err) == 0)
			ck_assert_uint_le(plan.nr_points, PLAN_MOST_POINTS);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("plan");
	TCase *tests = tcase_create("plan");
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, guests_that_bear_less_memory_fit_beyond_the_budget);
	tcase_add_test(tests, guests_that_need_all_they_have_do_not);
	tcase_add_test(tests, more_risk_lets_more_in);
	tcase_add_test(tests, minimums_are_promises);
	tcase_add_test(tests, pinned_guests_count_in_full);
	tcase_add_test(tests, without_a_curve_swap_is_the_limit);
	tcase_add_test(tests, small_guests_fit_without_end);
	tcase_add_test(tests, numbers_of_any_size_are_survived);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
