/* host/arbiter_common.h: what is taken from guests together. */
#include "host/arbiter_common.h"

#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { MOST = 6 };

static struct arbiter_guest guests[MOST];
static struct arbiter_guest_decision decisions[MOST];

static void guest(unsigned i, uint64_t used, uint64_t target)
{
	guests[i] =
		(struct arbiter_guest){.id = i + 1, .size_pages = 100000, .has_stats = true, .in_common = true, .used_pages = used};
	decisions[i].target_pages = target;
}

START_TEST(only_the_sum_counts)
{
	guest(0, 50000, 40000);
	guest(1, 30000, 40000);
	ck_assert_uint_eq(arbiter_common_excess(guests, decisions, 2), 0);
	/* One page in two is gained, as long as nothing is known. */
	guest(1, 31000, 40000);
	ck_assert_uint_eq(arbiter_common_excess(guests, decisions, 2), 2000);
	/* A quarter of what is swapped out is gained. */
	guests[0].stored_pages = 20000;
	guests[0].stored_taken_pages = 15000;
	ck_assert_uint_eq(arbiter_common_excess(guests, decisions, 2), 4000);
	/* Nothing is gained, or less than nothing: then at most eight for one. */
	guests[0].stored_taken_pages = 25000;
	ck_assert_uint_eq(arbiter_common_excess(guests, decisions, 2), 8000);
	/* An eighth of all at a time. */
	guest(1, 90000, 40000);
	ck_assert_uint_eq(arbiter_common_excess(guests, decisions, 2), 17500);
	/* Others, and those that nothing is known of, are not counted. */
	guests[1].in_common = false;
	guest(2, 90000, 0);
	guests[2].has_stats = false;
	decisions[0].target_pages = 50000;
	ck_assert_uint_eq(arbiter_common_excess(guests, decisions, 3), 0);
	/* A target beyond its RAM allows no more than that. */
	guest(0, 101000, UINT64_MAX);
	ck_assert_uint_eq(arbiter_common_excess(guests, decisions, 1), 2000);
	ck_assert_uint_eq(arbiter_common_excess(guests, decisions, 0), 0);
}
END_TEST

START_TEST(no_numbers_however_wild_ask_for_more_than_an_eighth)
{
	random_start();
	for (unsigned round = 0; round < 100000; round++) {
		double used = 0;
		size_t nr = (size_t)random_below(MOST + 1);
		for (unsigned i = 0; i < nr; i++) {
			guest(i, random_bits() >> random_below(64), random_bits() >> random_below(64));
			guests[i].stored_pages = random_bits() >> random_below(64);
			guests[i].stored_taken_pages = random_bits() >> random_below(64);
			guests[i].in_common = random_below(4) > 0;
			used += guests[i].in_common ? (double)guests[i].used_pages : 0;
		}
		ck_assert_double_le((double)arbiter_common_excess(guests, decisions, nr), used / 8 + 1);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("arbiter_common");
	TCase *tests = tcase_create("arbiter_common");
	tcase_add_test(tests, only_the_sum_counts);
	tcase_add_test(tests, no_numbers_however_wild_ask_for_more_than_an_eighth);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
