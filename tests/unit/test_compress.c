/* Compression of pages: what comes back is the page, with and without a dictionary; and bytes that nobody compressed give an error. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "memmgr/compress.h"
#include "tests/unit/failing_malloc.h"
#include "tests/unit/random_test.h"

#define MAX 3583

static uint8_t *samples;
static struct dictionary *dictionary;
static struct compressor *compressor;
static struct decompressor *decompressor;

/* Text of words that the dictionary may know, with numbers that it cannot know. */
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
	samples = malloc((size_t)DICTIONARY_SAMPLES * COMPRESS_PAGE);
	for (unsigned i = 0; i < DICTIONARY_SAMPLES; i++)
		fill_words(samples + (size_t)i * COMPRESS_PAGE);
	ck_assert_int_eq(dictionary_train(samples, &dictionary), 0);
	ck_assert_int_eq(compressor_create(&compressor), 0);
	decompressor = decompressor_create();
	ck_assert_ptr_nonnull(decompressor);
}

static void tear_down(void)
{
	malloc_countdown = -1;
	decompressor_destroy(decompressor);
	compressor_destroy(compressor);
	dictionary_destroy(dictionary);
	free(samples);
}

static int compress(bool dense, struct dictionary *d, const void *page, void *out, size_t max, enum compression *how)
{
	return dense ? compress_dense(compressor, d, page, out, max, how) : compress_fast(compressor, page, out, max, how);
}

/* There and back; returns the length. */
static int there_and_back(bool dense, struct dictionary *d, const uint8_t *page)
{
	uint8_t out[COMPRESS_PAGE], back[COMPRESS_PAGE];
	enum compression how = COMPRESSION_NONE;
	int len = compress(dense, d, page, out, MAX, &how);
	if (len <= 0)
		return len;
	ck_assert_int_le(len, MAX);
	ck_assert_int_eq(decompress_page(decompressor, d, how, out, (size_t)len, back), 0);
	ck_assert_int_eq(memcmp(page, back, sizeof(back)), 0);
	if (!dense) { /* nor without memory for a decompressor */
		memset(back, 0, sizeof(back));
		ck_assert_int_eq(decompress_page(NULL, d, how, out, (size_t)len, back), 0);
		ck_assert_int_eq(memcmp(page, back, sizeof(back)), 0);
	}
	return len;
}

START_TEST(pages_come_back)
{
	uint8_t page[COMPRESS_PAGE] __attribute__((aligned(8)));
	for (unsigned round = 0; round < 600; round++) {
		fill_words(page);
		if (round % 3 == 1) /* partly random */
			for (unsigned i = (unsigned)random_below(COMPRESS_PAGE); i < COMPRESS_PAGE; i++)
				page[i] = (uint8_t)random_bits();
		if (round % 3 == 2) /* mostly empty */
			memset(page + random_below(COMPRESS_PAGE - 1000), 0, 1000);
		for (unsigned dense = 0; dense < 2; dense++) {
			ck_assert_int_ge(there_and_back(dense, NULL, page), 0);
			ck_assert_int_ge(there_and_back(dense, dictionary, page), 0);
		}
	}
}
END_TEST

START_TEST(a_dictionary_saves_bytes)
{
	uint8_t page[COMPRESS_PAGE] __attribute__((aligned(8)));
	long plain = 0, dense = 0, dense_with = 0;
	size_t before = dictionary_bytes(dictionary);
	for (unsigned round = 0; round < 50; round++) {
		fill_words(page);
		plain += there_and_back(false, NULL, page);
		dense += there_and_back(true, NULL, page);
		dense_with += there_and_back(true, dictionary, page);
	}
	ck_assert_int_lt(dense, plain);
	ck_assert_int_lt(dense_with, dense);
	ck_assert_uint_gt(dictionary_bytes(dictionary), before);
	ck_assert_uint_gt(compressor_bytes(compressor), 0);
	ck_assert_uint_gt(decompressor_bytes(decompressor), 0);
}
END_TEST

START_TEST(random_pages_do_not_fit)
{
	uint8_t page[COMPRESS_PAGE] __attribute__((aligned(8))), out[COMPRESS_PAGE];
	enum compression how;
	for (unsigned round = 0; round < 200; round++) {
		fill_random(page);
		ck_assert_int_eq(compress(round & 1, round & 2 ? dictionary : NULL, page, out, MAX, &how), 0);
	}
	/* But what repeats itself does, even if each half looks random. */
	memcpy(page + COMPRESS_PAGE / 2, page, COMPRESS_PAGE / 2);
	ck_assert_int_gt(there_and_back(false, dictionary, page), 0);
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
	enum compression how;
	for (unsigned round = 0; round < 20000; round++) {
		struct dictionary *d = round & 1 ? dictionary : NULL;
		fill_words(page);
		int len = compress(round & 2, d, page, in, MAX, &how);
		ck_assert_int_gt(len, 0);
		for (unsigned n = 0; n < 3; n++)
			in[random_below((uint64_t)len)] = (uint8_t)random_bits();
		enum compression as = round & 4 ? how : (enum compression)random_below(8);
		size_t cut = round & 8 ? (size_t)len : (size_t)random_below((uint64_t)len);
		int ret = decompress_page(decompressor, round & 16 ? d : NULL, as, in, cut, page);
		ck_assert(ret == 0 || ret == -EIO);
	}
}
END_TEST

#if FAILING_MALLOC
START_TEST(every_allocation_may_fail)
{
	uint8_t page[COMPRESS_PAGE] __attribute__((aligned(8))), out[COMPRESS_PAGE], back[COMPRESS_PAGE] = {0};
	for (long n = 0; n < 4; n++) { /* ours; what libzstd allocates within, it does not check: dictionary_train() reserves it */
		struct dictionary *d = NULL;
		malloc_countdown = n;
		int ret = dictionary_train(samples, &d);
		malloc_countdown = -1;
		ck_assert_int_eq(ret, -ENOMEM);
		ck_assert_ptr_null(d);
	}
	for (long n = 0; n < 20; n++) {
		struct dictionary *d = NULL;
		struct compressor *c = NULL;
		enum compression how;
		ck_assert_int_eq(dictionary_train(samples, &d), 0);
		fill_words(page);
		long before = malloc_live;
		malloc_countdown = n;
		struct decompressor *de = NULL;
		int len = -ENOMEM, ret = -ENOMEM;
		if (compressor_create(&c) == 0) {
			len = compress_dense(c, d, page, out, MAX, &how);
			de = decompressor_create();
			if (len > 0)
				ret = decompress_page(de, d, how, out, (size_t)len, back);
		}
		malloc_countdown = -1; /* Check allocates, too */
		ck_assert(len > 0 || len == -ENOMEM);
		ck_assert(ret == 0 || ret == -ENOMEM);
		ck_assert(ret || memcmp(page, back, sizeof(back)) == 0);
		decompressor_destroy(de);
		compressor_destroy(c);
		dictionary_destroy(d);
		ck_assert_int_eq(malloc_live, before - 1);
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
	tcase_add_test(tests, a_dictionary_saves_bytes);
	tcase_add_test(tests, random_pages_do_not_fit);
	tcase_add_test(tests, zero_is_told_from_nearly_zero);
	tcase_add_test(tests, foreign_bytes_give_an_error_or_a_page);
#if FAILING_MALLOC
	tcase_add_test(tests, every_allocation_may_fail);
#endif
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
