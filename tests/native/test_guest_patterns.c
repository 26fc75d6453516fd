/* The guests' page patterns and random numbers, compiled for the host: no KVM is needed. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/guests/lib/pattern.h"
#include "tests/guests/lib/prng.h"
#include "tests/guests/lib/zipf.h"

/* Guests link these by themselves; there is no host object of them. */
#include "tests/guests/lib/pattern.c"
#include "tests/guests/lib/zipf.c"

static const struct pattern even = {.seed = 7, .mix = {{25, 25, 25, 25}}};

/* An address whose page is of that kind. */
static uint64_t find_kind(enum pattern_kind kind)
{
	uint64_t gpa = 0;

	while (pattern_kind(&even, gpa) != kind)
		gpa += PATTERN_PAGE;
	return gpa;
}

START_TEST(the_same_seed_address_and_generation_give_the_same_page)
{
	uint64_t a[PATTERN_PAGE / 8], b[PATTERN_PAGE / 8], gpa = find_kind((enum pattern_kind)_i);
	struct pattern_mismatch mismatch;

	memset(a, 0x5a, sizeof(a));
	memset(b, 0xa5, sizeof(b));
	pattern_fill(&even, gpa, 3, a);
	pattern_fill(&even, gpa, 3, b);
	ck_assert_mem_eq(a, b, sizeof(a));
	ck_assert(pattern_verify(&even, gpa, 3, a, &mismatch));
	/* And another generation another one, but for the kind that has only one page. */
	ck_assert_int_eq(pattern_verify(&even, gpa, 4, a, &mismatch), _i == PATTERN_ZERO);
}
END_TEST

START_TEST(every_wrong_byte_is_found_and_named)
{
	uint64_t page[PATTERN_PAGE / 8], gpa = find_kind((enum pattern_kind)_i);
	uint8_t *bytes, right;
	struct pattern_mismatch mismatch;
	uint32_t offset;

	pattern_fill(&even, gpa, 1, page);
	bytes = (uint8_t *)page;
	for (offset = 0; offset < PATTERN_PAGE; offset++) {
		right = bytes[offset];
		bytes[offset] ^= 0x10;
		ck_assert(!pattern_verify(&even, gpa, 1, page, &mismatch));
		ck_assert_uint_eq(mismatch.offset, offset);
		ck_assert_uint_eq(mismatch.expected, right);
		ck_assert_uint_eq(mismatch.got, right ^ 0x10);
		ck_assert_uint_eq(mismatch.wrong_bytes, 1);
		bytes[offset] = right;
	}
}
END_TEST

START_TEST(kinds_come_as_often_as_the_mix_says)
{
	const struct pattern pattern = {.seed = 99, .mix = {{10, 40, 30, 20}}};
	unsigned counts[PATTERN_KINDS] = {0}, kind;
	uint64_t i;

	for (i = 0; i < 100000; i++)
		counts[pattern_kind(&pattern, i * PATTERN_PAGE)]++;
	for (kind = 0; kind < PATTERN_KINDS; kind++)
		ck_assert_int_lt(abs((int)counts[kind] - pattern.mix.percent[kind] * 1000), 700);
}
END_TEST

START_TEST(zipf_ranks_come_as_often_as_the_law_says)
{
	static const double exponents[] = {0.5, 0.99, 1.0, 1.2, 2.0};
	enum { RANKS = 1000, DRAWS = 400000 };
	static unsigned counts[RANKS];
	struct prng prng = {5};
	struct zipf zipf;
	double s = exponents[_i], sum = 0, expected;
	unsigned i;

	memset(counts, 0, sizeof(counts));
	zipf_init(&zipf, RANKS, s);
	for (i = 0; i < DRAWS; i++)
		counts[zipf_next(&zipf, &prng)]++;
	for (i = 1; i <= RANKS; i++)
		sum += pow(i, -s);
	for (i = 0; i < 20; i++) {
		expected = DRAWS * pow(i + 1, -s) / sum;
		/* Six standard deviations. */
		ck_assert_msg(fabs(counts[i] - expected) < 6 * sqrt(expected), "rank %u: %u draws, %.0f expected", i + 1, counts[i],
			      expected);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guest patterns");
	TCase *tests = tcase_create("pattern");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tests, the_same_seed_address_and_generation_give_the_same_page, 0, PATTERN_KINDS);
	tcase_add_loop_test(tests, every_wrong_byte_is_found_and_named, 0, PATTERN_KINDS);
	tcase_add_test(tests, kinds_come_as_often_as_the_mix_says);
	tcase_add_loop_test(tests, zipf_ranks_come_as_often_as_the_law_says, 0, 5);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
