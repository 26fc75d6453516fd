/* The bytes of saved state: what is written is read back, and no stream, however damaged, gives more than an error. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

/* The file under test is compiled in here, with allocations that fail when a test wants them to. */
static int allocations_left = -1; /* -1: no limit */

static bool may_allocate(void)
{
	if (allocations_left < 0)
		return true;
	return allocations_left-- > 0 || (allocations_left = 0);
}

static void *counting_calloc(size_t nr, size_t size)
{
	return may_allocate() ? calloc(nr, size) : NULL;
}

static void *counting_realloc(void *old, size_t size)
{
	return may_allocate() ? realloc(old, size) : NULL;
}

#define calloc counting_calloc
#define realloc counting_realloc
#include "base/state.c" /* NOLINT(bugprone-suspicious-include) */
#undef calloc
#undef realloc

static struct error err;

/* For what is checked a million times: Check notes down each of its own assertions. */
static void must(bool condition, const char *what)
{
	if (!condition)
		ck_abort_msg("%s: %s", what, err.text);
}

static void set_up(void)
{
	allocations_left = -1;
	memset(&err, 0, sizeof(err));
}

static void write_sample(struct state_writer *w)
{
	state_enter_new(w, "clock", 3);
	state_put(w, "seconds", 0x1122334455667788ull);
	state_put(w, "running", 1);
	state_leave_new(w);
	state_enter_new(w, "disk0", 1);
	state_put_bytes(w, "id", "abc", 3);
	state_put_bytes(w, "nothing", NULL, 0);
	state_put(w, "sectors", UINT64_MAX);
	state_leave_new(w);
	state_enter_new(w, "empty", 65535);
	state_leave_new(w);
}

/* A copy of the sample on the heap, of exactly its size, so that a sanitizer sees a byte too many. */
static uint8_t *sample(size_t *len)
{
	struct state_writer *w = state_writer_new();
	const void *data;
	write_sample(w);
	ck_assert_int_eq(state_writer_end(w, &data, len), 0);
	uint8_t *copy = malloc(*len);
	memcpy(copy, data, *len);
	state_writer_free(w);
	return copy;
}

/* Makes the checksum right again. */
static void seal(uint8_t *data, size_t len)
{
	uint64_t sum = XXH3_64bits(data, len - 8);
	memcpy(data + len - 8, &sum, 8);
}

/* Reads what the sample holds. Whatever the stream says, values must be within what was asked. */
static int read_sample(const void *data, size_t len)
{
	struct state_reader *r;
	int ret = state_reader_open(data, len, &r, &err);
	if (ret)
		return ret;
	size_t count = 99;
	char id[3] = {1, 1, 1};
	unsigned version = state_enter(r, "clock", 3);
	must(version <= 3, "version");
	state_get(r, "seconds", 0, UINT64_MAX);
	uint64_t running = state_get(r, "running", 0, 1);
	must(running <= 1, "running");
	state_leave(r, NULL);
	state_enter(r, "disk0", 1);
	state_get_bytes(r, "id", id, sizeof(id));
	const uint8_t *blob = state_get_blob(r, "nothing", 16, &count);
	must(count <= 16 && (count == 0 || blob + count <= (const uint8_t *)data + len), "blob");
	state_get(r, "sectors", 5, UINT64_MAX);
	state_leave(r, NULL);
	state_enter(r, "empty", 65535);
	ret = state_leave(r, &err);
	must(state_reader_finish(r, NULL) == ret, "finish");
	state_reader_free(r);
	return ret;
}

START_TEST(what_is_written_is_read_back)
{
	size_t len, count;
	uint8_t *data = sample(&len);
	struct state_reader *r;
	char id[3];
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	/* Sections are found wherever they stand. */
	ck_assert_uint_eq(state_enter(r, "disk0", 9), 1);
	state_get_bytes(r, "id", id, 3);
	ck_assert_mem_eq(id, "abc", 3);
	state_get_blob(r, "nothing", 0, &count);
	ck_assert_uint_eq(count, 0);
	ck_assert_uint_eq(state_get(r, "sectors", 0, UINT64_MAX), UINT64_MAX);
	ck_assert_int_eq(state_leave(r, &err), 0);
	ck_assert_uint_eq(state_enter(r, "clock", 3), 3);
	ck_assert_uint_eq(state_get(r, "seconds", 0, UINT64_MAX), 0x1122334455667788ull);
	ck_assert_uint_eq(state_get(r, "running", 0, 1), 1);
	ck_assert_int_eq(state_leave(r, &err), 0);
	ck_assert_uint_eq(state_enter(r, "empty", 65535), 65535);
	ck_assert_int_eq(state_leave(r, &err), 0);
	ck_assert_int_eq(state_reader_finish(r, &err), 0);
	state_reader_free(r);
	free(data);
}
END_TEST

START_TEST(every_truncation_is_refused)
{
	size_t len;
	uint8_t *data = sample(&len);
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *copy = malloc(cut ? cut : 1);
		struct state_reader *r = NULL;
		memcpy(copy, data, cut);
		ck_assert_int_eq(state_reader_open(copy, cut, &r, &err), -EINVAL);
		/* As if somebody had computed the checksum of what is left. */
		if (cut >= 9) {
			copy[cut - 9] = 'E';
			seal(copy, cut);
			if (state_reader_open(copy, cut, &r, &err) == 0)
				state_reader_free(r);
			ck_assert_int_ne(read_sample(copy, cut), 0);
		}
		free(copy);
	}
	free(data);
}
END_TEST

START_TEST(every_damaged_byte_is_refused)
{
	size_t len;
	uint8_t *data = sample(&len);
	for (size_t at = 0; at < len; at++) {
		uint8_t good = data[at];
		for (unsigned flip = 1; flip < 256; flip++) {
			struct state_reader *r = NULL;
			data[at] = good ^ (uint8_t)flip;
			must(state_reader_open(data, len, &r, &err) == -EINVAL, "open");
		}
		data[at] = good;
	}
	ck_assert_int_eq(read_sample(data, len), 0);
	free(data);
}
END_TEST

static bool is_sentence(const char *text)
{
	size_t len = strlen(text);
	for (size_t i = 0; i < len; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	return len > 20;
}

START_TEST(every_damaged_byte_under_a_right_checksum_is_refused_or_harmless)
{
	size_t len;
	uint8_t *data = sample(&len);
	for (size_t at = 0; at < len - 8; at++) {
		uint8_t good = data[at];
		for (unsigned flip = 1; flip < 256; flip++) {
			data[at] = good ^ (uint8_t)flip;
			seal(data, len);
			int ret = read_sample(data, len);
			must(ret == 0 || ret == -EINVAL, "result");
			if (ret)
				must(is_sentence(err.text), "not a sentence");
		}
		data[at] = good;
	}
	free(data);
}
END_TEST

START_TEST(random_streams_are_harmless)
{
	static const char tags[] = "SSNBNBE";
	random_start();
	for (unsigned round = 0; round < 20000; round++) {
		size_t len = 21 + random_below(120);
		uint8_t *data = malloc(len);
		for (size_t i = 0; i < len; i++)
			data[i] = random_below(2) ? (uint8_t)random_below(4) : (uint8_t)tags[random_below(7)];
		memcpy(data, "PAGODAST\1\0\0\0", 12);
		data[len - 9] = 'E';
		seal(data, len);
		read_sample(data, len);
		free(data);
	}
}
END_TEST

START_TEST(fields_of_any_order_and_size_follow_a_model)
{
	static uint8_t bytes[5000];
	struct {
		bool is_number;
		uint64_t number;
		size_t len;
	} model[40];
	random_start();
	for (unsigned round = 0; round < 200; round++) {
		struct state_writer *w = state_writer_new();
		unsigned nr = (unsigned)random_below(40);
		char name[16];
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)random_bits();
		state_enter_new(w, "model", 1);
		for (unsigned i = 0; i < nr; i++) {
			snprintf(name, sizeof(name), "field%u", i);
			model[i].is_number = random_below(2);
			model[i].number = random_bits() >> random_below(64);
			model[i].len = random_below(sizeof(bytes));
			if (model[i].is_number)
				state_put(w, name, model[i].number);
			else
				state_put_bytes(w, name, bytes, model[i].len);
		}
		state_leave_new(w);
		const void *data;
		size_t len;
		struct state_reader *r;
		ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
		ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
		state_enter(r, "model", 1);
		for (unsigned i = 0; i < nr; i++) {
			snprintf(name, sizeof(name), "field%u", i);
			if (model[i].is_number) {
				ck_assert_uint_eq(state_get(r, name, 0, UINT64_MAX), model[i].number);
				continue;
			}
			size_t got;
			const void *blob = state_get_blob(r, name, sizeof(bytes), &got);
			ck_assert_uint_eq(got, model[i].len);
			ck_assert_int_eq(memcmp(blob, bytes, got), 0);
		}
		ck_assert_int_eq(state_leave(r, &err), 0);
		state_reader_free(r);
		state_writer_free(w);
	}
}
END_TEST

/* Opens the sample's reader and enters a section of it. */
static struct state_reader *entered(const char *section, uint8_t **data)
{
	size_t len;
	struct state_reader *r;
	*data = sample(&len);
	ck_assert_int_eq(state_reader_open(*data, len, &r, &err), 0);
	ck_assert_uint_ne(state_enter(r, section, 65535), 0);
	return r;
}

static void fails_with(struct state_reader *r, uint8_t *data, const char *said)
{
	ck_assert_int_eq(state_leave(r, &err), -EINVAL);
	ck_assert_int_eq(err.code, EINVAL);
	ck_assert_msg(strstr(err.text, said) != NULL, "%s", err.text);
	state_reader_free(r);
	free(data);
}

START_TEST(what_does_not_fit_is_refused_by_name)
{
	uint8_t *data;
	uint8_t buf[4] = {9, 9, 9, 9};
	size_t len = 9;
	struct state_reader *r = entered("clock", &data);
	ck_assert_uint_eq(state_get(r, "running", 7, 9), 7); /* not the next one; the least that was allowed */
	fails_with(r, data, "clock lacks field running");

	r = entered("clock", &data);
	ck_assert_uint_eq(state_get(r, "seconds", 3, 9), 3);
	fails_with(r, data, "clock.seconds is 0x1122334455667788");

	r = entered("clock", &data);
	state_get_bytes(r, "seconds", buf, 4);
	ck_assert_mem_eq(buf, "\0\0\0\0", 4);
	fails_with(r, data, "clock lacks field seconds");

	r = entered("disk0", &data);
	ck_assert_uint_eq(state_get(r, "id", 2, 3), 2);
	fails_with(r, data, "disk0 lacks field id");

	r = entered("disk0", &data);
	memset(buf, 9, 4);
	state_get_bytes(r, "id", buf, 4);
	ck_assert_mem_eq(buf, "\0\0\0\0", 4);
	fails_with(r, data, "disk0.id has 3 bytes, must have 4");

	r = entered("disk0", &data);
	ck_assert_ptr_null(state_get_blob(r, "id", 2, &len));
	ck_assert_uint_eq(len, 0);
	fails_with(r, data, "disk0.id has 3 bytes, may have 2");

	r = entered("empty", &data);
	ck_assert_uint_eq(state_get(r, "more", 0, 1), 0);
	fails_with(r, data, "empty lacks field more");

	r = entered("clock", &data);
	state_get(r, "seconds", 0, UINT64_MAX);
	fails_with(r, data, "clock has fields that this version does not know");

	r = entered("clock", &data);
	state_reject(r, "time stands still");
	fails_with(r, data, "section clock: time stands still");

	r = entered("clock", &data);
	ck_assert_uint_eq(state_enter(r, "disk1", 1), 0);
	fails_with(r, data, "section disk1 is missing");

	r = entered("disk0", &data);
	ck_assert_uint_eq(state_enter(r, "clock", 2), 0);
	fails_with(r, data, "clock has version 3, this program knows up to 2");
}
END_TEST

START_TEST(the_first_error_stays)
{
	uint8_t *data;
	struct state_reader *r = entered("clock", &data);
	size_t len = 9;
	char id[3];
	state_get(r, "seconds", 0, 1);
	state_reject(r, "another reason");
	ck_assert_int_eq(state_leave(r, NULL), -EINVAL);
	ck_assert_uint_eq(state_enter(r, "disk0", 1), 0);
	state_get_bytes(r, "id", id, 3);
	ck_assert_mem_eq(id, "\0\0\0", 3);
	ck_assert_ptr_null(state_get_blob(r, "nothing", 9, &len));
	ck_assert_uint_eq(len, 0);
	ck_assert_int_eq(state_reader_finish(r, &err), -EINVAL);
	fails_with(r, data, "clock.seconds");
}
END_TEST

START_TEST(sections_that_nobody_takes_are_refused)
{
	uint8_t *data;
	struct state_reader *r = entered("clock", &data);
	ck_assert_uint_eq(state_enter(r, "empty", 65535), 65535);
	ck_assert_int_eq(state_reader_finish(r, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, "section disk0") != NULL, "%s", err.text);
	state_reader_free(r);
	free(data);
}
END_TEST

START_TEST(a_section_that_stands_twice_is_refused)
{
	struct state_writer *w = state_writer_new();
	const void *data;
	size_t len;
	struct state_reader *r;
	for (unsigned i = 0; i < 2; i++) {
		state_enter_new(w, "twin", 1);
		state_put(w, "index", i);
		state_leave_new(w);
	}
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	for (unsigned i = 0; i < 2; i++) {
		state_enter(r, "twin", 1);
		ck_assert_uint_eq(state_get(r, "index", 0, 9), 0);
		ck_assert_int_eq(state_leave(r, &err), 0);
	}
	ck_assert_int_eq(state_reader_finish(r, &err), -EINVAL);
	state_reader_free(r);
	state_writer_free(w);
}
END_TEST

START_TEST(names_hold_no_control_characters)
{
	static const uint8_t bad[] = {0, '\n', '\r', 27, 127, 128, 255};
	size_t len;
	uint8_t *data = sample(&len);
	for (size_t at = 0; at + 5 < len; at++) {
		if (memcmp(data + at, "clock", 5) != 0 && memcmp(data + at, "secon", 5) != 0)
			continue;
		for (size_t i = 0; i < sizeof(bad); i++) {
			struct state_reader *r = NULL;
			uint8_t good = data[at + 2];
			data[at + 2] = bad[i];
			seal(data, len);
			ck_assert_int_eq(state_reader_open(data, len, &r, &err), -EINVAL);
			data[at + 2] = good;
		}
	}
	free(data);
}
END_TEST

START_TEST(a_newer_format_says_so)
{
	size_t len;
	uint8_t *data = sample(&len);
	struct state_reader *r;
	data[8] = 2;
	seal(data, len);
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, "newer version") != NULL, "%s", err.text);
	free(data);
}
END_TEST

static int written(const char *section, unsigned version, const char *field)
{
	struct state_writer *w = state_writer_new();
	const void *data = NULL;
	size_t len = 0;
	state_enter_new(w, section, version);
	state_put(w, field, 1);
	state_leave_new(w);
	int ret = state_writer_end(w, &data, &len);
	ck_assert_int_eq(ret == 0, data != NULL);
	state_writer_free(w);
	return ret;
}

START_TEST(a_writer_refuses_what_no_reader_would_take)
{
	static const char longest[] = "123456789012345678901234567890123456789012345678901234567890123";
	ck_assert_int_eq(written(longest, 65535, longest), 0);
	ck_assert_int_eq(written("1234567890123456789012345678901234567890123456789012345678901234", 1, "f"), -EINVAL);
	ck_assert_int_eq(written("s", 1, "1234567890123456789012345678901234567890123456789012345678901234"), -EINVAL);
	ck_assert_int_eq(written("", 1, "f"), -EINVAL);
	ck_assert_int_eq(written("s", 1, ""), -EINVAL);
	ck_assert_int_eq(written("s", 1, "a\nb"), -EINVAL);
	ck_assert_int_eq(written("s", 0, "f"), -EINVAL);
	ck_assert_int_eq(written("s", 65536, "f"), -EINVAL);
}
END_TEST

START_TEST(bytes_without_end_are_refused)
{
	struct state_writer *w = state_writer_new();
	const void *data;
	size_t len;
	state_enter_new(w, "s", 1);
	state_put_bytes(w, "big", "x", (size_t)UINT32_MAX + 1);
	state_leave_new(w);
	ck_assert_int_eq(state_writer_end(w, &data, &len), -EFBIG);
	state_writer_free(w);
}
END_TEST

START_TEST(every_allocation_may_fail)
{
	bool succeeded = false;
	for (int left = 0; !succeeded; left++) {
		ck_assert_int_lt(left, 100);
		allocations_left = left;
		struct state_writer *w = state_writer_new();
		const void *data;
		size_t len;
		if (!w)
			continue;
		write_sample(w);
		int ret = state_writer_end(w, &data, &len);
		ck_assert(ret == 0 || ret == -ENOMEM);
		succeeded = ret == 0;
		state_writer_free(w);
	}
	size_t len;
	allocations_left = -1;
	uint8_t *data = sample(&len);
	struct state_reader *r;
	allocations_left = 0;
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), -ENOMEM);
	free(data);
	state_reader_free(NULL);
	state_writer_free(NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("state");
	TCase *tests = tcase_create("state");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, what_is_written_is_read_back);
	tcase_add_test(tests, every_truncation_is_refused);
	tcase_add_test(tests, every_damaged_byte_is_refused);
	tcase_add_test(tests, every_damaged_byte_under_a_right_checksum_is_refused_or_harmless);
	tcase_add_test(tests, random_streams_are_harmless);
	tcase_add_test(tests, fields_of_any_order_and_size_follow_a_model);
	tcase_add_test(tests, what_does_not_fit_is_refused_by_name);
	tcase_add_test(tests, the_first_error_stays);
	tcase_add_test(tests, sections_that_nobody_takes_are_refused);
	tcase_add_test(tests, a_section_that_stands_twice_is_refused);
	tcase_add_test(tests, names_hold_no_control_characters);
	tcase_add_test(tests, a_newer_format_says_so);
	tcase_add_test(tests, a_writer_refuses_what_no_reader_would_take);
	tcase_add_test(tests, bytes_without_end_are_refused);
	tcase_add_test(tests, every_allocation_may_fail);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
