/* The hash of a page: the same in all vector widths, another for each salt, and zero for zeroes. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "dedup/page_hash.h"
#include "dedup/page_hash_kernel.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { NR = 65 };

static uint8_t pages[NR][PAGE_HASH_BYTES] __attribute__((aligned(64)));
static const uint8_t salt[PAGE_HASH_SALT] = "a salt of a trust domain";

static void fill_pages(void)
{
	random_start();
	for (unsigned i = 0; i < NR; i++)
		for (unsigned at = 0; at < PAGE_HASH_BYTES; at += 8) {
			uint64_t bits = random_bits();
			memcpy(&pages[i][at], &bits, 8);
		}
}

START_TEST(every_width_gives_what_the_library_gives)
{
	struct page_hasher h;
	struct page_hash hashes[NR];
	fill_pages();
	page_hasher_init(&h, salt);
	ck_assert(page_hash_has_width(h.width));
	for (enum page_hash_width width = 0; width < PAGE_HASH_NR_WIDTHS; width++) {
		if (!page_hash_has_width(width))
			continue;
		h.width = width;
		ck_assert_uint_eq(page_hash_run(&h, pages, NR, hashes), 0);
		for (unsigned i = 0; i < NR; i++) {
			XXH128_hash_t expected = XXH3_128bits_withSecret(pages[i], PAGE_HASH_BYTES, h.secret, PAGE_HASH_SECRET);
			ck_assert_uint_eq(hashes[i].low, expected.low64);
			ck_assert_uint_eq(hashes[i].high, expected.high64);
		}
	}
}
END_TEST

START_TEST(each_width_was_built_for_what_it_says)
{
	ck_assert_int_eq(page_hash_sse2_built, XXH_SSE2);
	ck_assert_int_eq(page_hash_avx2_built, XXH_AVX2);
	ck_assert_int_eq(page_hash_avx512_built, XXH_AVX512);
}
END_TEST

START_TEST(a_batch_of_pages_anywhere_is_hashed_like_a_run)
{
	struct page_hasher h;
	struct page_hash in_a_row[NR], scattered[NR];
	const void *order[NR];
	fill_pages();
	page_hasher_init(&h, salt);
	page_hash_run(&h, pages, NR, in_a_row);
	for (unsigned i = 0; i < NR; i++)
		order[i] = pages[(i * 37) % NR];
	page_hash_batch(&h, order, NR, scattered);
	for (unsigned i = 0; i < NR; i++)
		ck_assert(page_hash_equal(scattered[i], in_a_row[(i * 37) % NR]));
	ck_assert_uint_eq(page_hash_batch(&h, order, 0, scattered), 0);
}
END_TEST

START_TEST(zeroes_hash_to_zero_and_one_bit_makes_the_difference)
{
	struct page_hasher h;
	struct page_hash hashes[NR];
	random_start();
	memset(pages, 0, sizeof(pages));
	page_hasher_init(&h, salt);
	ck_assert_uint_eq(page_hash_run(&h, pages, NR, hashes), NR);
	ck_assert(page_hash_is_zero(hashes[0]) && page_hash_is_zero(hashes[NR - 1]));
	for (unsigned i = 0; i < NR; i++)
		pages[i][random_below(PAGE_HASH_BYTES)] = (uint8_t)(1u << random_below(8));
	ck_assert_uint_eq(page_hash_run(&h, pages, NR, hashes), 0);
	for (unsigned i = 0; i < NR; i++)
		ck_assert(!page_hash_is_zero(hashes[i]));
}
END_TEST

START_TEST(each_salt_has_hashes_of_its_own)
{
	struct page_hasher a, b, again;
	struct page_hash of_a[NR], of_b[NR], of_again[NR];
	uint8_t other[PAGE_HASH_SALT];
	fill_pages();
	memcpy(other, salt, sizeof(other));
	other[31] ^= 1;
	page_hasher_init(&a, salt);
	page_hasher_init(&b, other);
	page_hasher_init(&again, salt);
	page_hash_run(&a, pages, NR, of_a);
	page_hash_run(&b, pages, NR, of_b);
	page_hash_run(&again, pages, NR, of_again);
	for (unsigned i = 0; i < NR; i++) {
		ck_assert(of_a[i].low != of_b[i].low && of_a[i].high != of_b[i].high);
		ck_assert(page_hash_equal(of_a[i], of_again[i]));
	}
}
END_TEST

START_TEST(a_test_may_keep_a_few_bits_only)
{
	struct page_hasher h;
	struct page_hash hashes[NR];
	fill_pages();
	page_hasher_init(&h, salt);
	h.mask = (struct page_hash){.high = 3ull << 62};
	page_hash_run(&h, pages, NR, hashes);
	for (unsigned i = 0; i < NR; i++)
		ck_assert((hashes[i].high & ~h.mask.high) == 0 && hashes[i].low == !hashes[i].high);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("page hash");
	TCase *tests = tcase_create("hash");
	tcase_add_test(tests, every_width_gives_what_the_library_gives);
	tcase_add_test(tests, each_width_was_built_for_what_it_says);
	tcase_add_test(tests, a_batch_of_pages_anywhere_is_hashed_like_a_run);
	tcase_add_test(tests, zeroes_hash_to_zero_and_one_bit_makes_the_difference);
	tcase_add_test(tests, each_salt_has_hashes_of_its_own);
	tcase_add_test(tests, a_test_may_keep_a_few_bits_only);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
