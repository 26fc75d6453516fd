/* Compression of pages: what comes back is the page, by itself and in a chain; and bytes that nobody compressed give an error. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "memmgr/compress.h"
#include "tests/unit/failing_malloc.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

#define MAX 3583

static struct compressor *compressor;
static struct decompressor *decompressor;

/* Text of words, some misspelt. */
static void fill_words(uint8_t *page)
{
	static const char words[16][9] = {"return  ", "static  ", "struct  ", "memory  ", "guest   ", "cluster ",
					  "pages   ", "offset  ", "int     ", "void    ", "if      ", "else    ",
					  "while   ", "const   ", "bool    ", "size_t  "};
	for (unsigned at = 0; at < COMPRESS_PAGE; at += 8) {
		uint64_t x = random_bits();
		memcpy(page + at, words[x & 15], 8);
		if (x >> 61 == 0)
			page[at + 7] = (uint8_t)(x >> 8);
	}
}

static void fill_random(uint8_t *page)
{
	for (unsigned at = 0; at < COMPRESS_PAGE; at += 8) {
		uint64_t x = random_bits();
		memcpy(page + at, &x, 8);
	}
}

static void set_up(void)
{
	random_start();
	ck_assert_int_eq(compressor_create(&compressor), 0);
	decompressor = decompressor_create();
	ck_assert_ptr_nonnull(decompressor);
}

static void tear_down(void)
{
	malloc_countdown = -1;
	decompressor_destroy(decompressor);
	compressor_destroy(compressor);
}

/* There and back by LZ4; returns the length. */
static int fast_and_back(const uint8_t *page)
{
	uint8_t out[COMPRESS_PAGE], back[COMPRESS_PAGE] = {0};
	int len = compress_fast(compressor, page, out, MAX);
	if (len <= 0)
		return len;
	ck_assert_int_le(len, MAX);
	ck_assert_int_eq(decompress_page(COMPRESSION_LZ4, out, (size_t)len, back), 0);
	ck_assert_int_eq(memcmp(page, back, sizeof(back)), 0);
	return len;
}

/* The same by zstd, as the page of a chain at that place. */
static int dense_and_back(unsigned place, const uint8_t *page)
{
	uint8_t out[COMPRESS_PAGE];
	int len = compress_dense(compressor, place, page, out, MAX);
	if (len <= 0)
		return len;
	ck_assert_int_le(len, MAX);
	ck_assert_int_eq(decompress_dense(decompressor, place, out, (size_t)len), 0);
	ck_assert_int_eq(memcmp(page, decompressor_page(decompressor, place), COMPRESS_PAGE), 0);
	return len;
}

/* A page of words, or partly random, or mostly empty. */
static void fill_round(unsigned round, uint8_t *page)
{
	fill_words(page);
	if (round % 3 == 1)
		for (unsigned i = (unsigned)random_below(COMPRESS_PAGE); i < COMPRESS_PAGE; i++)
			page[i] = (uint8_t)random_bits();
	if (round % 3 == 2)
		memset(page + random_below(COMPRESS_PAGE - 1000), 0, 1000);
}

START_TEST(pages_come_back)
{
	uint8_t page[COMPRESS_PAGE] __attribute__((aligned(8)));
	unsigned place = 0;
	for (unsigned round = 0; round < 1200; round++) {
		fill_round((unsigned)random_below(3), page);
		ck_assert_int_ge(fast_and_back(page), 0);
		int len = dense_and_back(place, page);
		ck_assert_int_ge(len, 0);
		place = len == 0 || random_below(8) == 0 ? 0 : (place + 1) % COMPRESS_CHAIN;
	}
}
END_TEST

START_TEST(a_chain_saves_bytes)
{
	uint8_t page[COMPRESS_PAGE] __attribute__((aligned(8)));
	long fast = 0, alone = 0, chained = 0;
	for (unsigned round = 0; round < 60; round++) {
		fill_words(page);
		fast += fast_and_back(page);
		alone += dense_and_back(0, page);
	}
	for (unsigned round = 0; round < 60; round++) {
		fill_words(page);
		chained += dense_and_back(round % COMPRESS_CHAIN, page);
	}
	ck_assert_int_lt(alone, fast);
	ck_assert_int_lt(chained, alone);
	ck_assert_uint_gt(compressor_bytes(compressor), 0);
	ck_assert_uint_gt(decompressor_bytes(decompressor), 0);
}
END_TEST

START_TEST(random_pages_do_not_fit)
{
	uint8_t page[COMPRESS_PAGE] __attribute__((aligned(8))), out[COMPRESS_PAGE];
	unsigned told = 0;
	for (unsigned round = 0; round < 200; round++) {
		fill_random(page);
		told += page_looks_random(page);
		ck_assert_int_eq(compress_fast(compressor, page, out, MAX), 0);
		ck_assert_int_eq(compress_dense(compressor, 0, page, out, MAX), 0);
	}
	ck_assert_uint_gt(told, 150);
	/* But what repeats itself does, even if each half looks random. */
	memcpy(page + COMPRESS_PAGE / 2, page, COMPRESS_PAGE / 2);
	ck_assert_int_gt(fast_and_back(page), 0);
	/* And a chain that a page did not fit in may begin anew. */
	fill_words(page);
	ck_assert(!page_looks_random(page));
	ck_assert_int_gt(dense_and_back(0, page), 0);
}
END_TEST

START_TEST(zero_is_told_from_nearly_zero)
{
	uint8_t page[COMPRESS_PAGE] __attribute__((aligned(8))) = {0};
	ck_assert(page_is_zero(page));
	for (unsigned i = 0; i < COMPRESS_PAGE; i++) {
		page[i] = 1;
		ck_assert(!page_is_zero(page));
		page[i] = 0;
	}
}
END_TEST

START_TEST(foreign_bytes_give_an_error_or_a_page)
{
	uint8_t in[COMPRESS_PAGE], page[COMPRESS_PAGE] __attribute__((aligned(8)));
	unsigned place = 0;
	for (unsigned round = 0; round < 20000; round++) {
		fill_words(page);
		bool dense = round & 1;
		int len = dense ? compress_dense(compressor, 0, page, in, MAX) : compress_fast(compressor, page, in, MAX);
		ck_assert_int_gt(len, 0);
		for (unsigned n = 0; n < 3; n++)
			in[random_below((uint64_t)len)] = (uint8_t)random_bits();
		size_t cut = round & 4 ? (size_t)len : (size_t)random_below((uint64_t)len);
		enum compression as = round & 8 ? COMPRESSION_LZ4 : (enum compression)random_below(8);
		int ret = decompress_page(as, in, cut, page);
		ck_assert(ret == 0 || ret == -EIO);
		ret = decompress_dense(decompressor, place, in, cut);
		ck_assert(ret == 0 || ret == -EIO);
		place = ret == 0 ? (place + 1) % COMPRESS_CHAIN : 0;
	}
}
END_TEST

#if FAILING_MALLOC
START_TEST(every_allocation_may_fail)
{
	uint8_t page[COMPRESS_PAGE] __attribute__((aligned(8))), out[COMPRESS_PAGE];
	for (long n = 0; n < 20; n++) {
		struct compressor *c = NULL;
		fill_words(page);
		long before = malloc_live;
		malloc_countdown = n;
		struct decompressor *de = NULL;
		int len = -ENOMEM, ret = -ENOMEM;
		if (compressor_create(&c) == 0) {
			len = compress_dense(c, 0, page, out, MAX);
			de = decompressor_create();
			if (len > 0 && de)
				ret = decompress_dense(de, 0, out, (size_t)len);
		}
		malloc_countdown = -1; /* Check allocates, too */
		ck_assert(len > 0 || len == -ENOMEM);
		ck_assert(ret == 0 || ret == -ENOMEM);
		ck_assert(ret || memcmp(page, decompressor_page(de, 0), COMPRESS_PAGE) == 0);
		decompressor_destroy(de);
		compressor_destroy(c);
		ck_assert_int_eq(malloc_live, before);
	}
}
END_TEST
#endif

int main(void)
{
	Suite *suite = suite_create("compress");
	TCase *tests = tcase_create("compress");
	tcase_set_timeout(tests, 120);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, pages_come_back);
	tcase_add_test(tests, a_chain_saves_bytes);
	tcase_add_test(tests, random_pages_do_not_fit);
	tcase_add_test(tests, zero_is_told_from_nearly_zero);
	tcase_add_test(tests, foreign_bytes_give_an_error_or_a_page);
#if FAILING_MALLOC
	tcase_add_test(tests, every_allocation_may_fail);
#endif
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
