/* What libvirt's protocol is written in: words and strings, parameters, messages in a stream. All of it may lie about its lengths. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/message.h"
#include "rpc/parameters.h"
#include "tests/unit/failing_malloc.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

static struct xdr_reader reader_of(const void *bytes, size_t len)
{
	return (struct xdr_reader){.at = bytes, .left = len};
}

/* --- words --- */

static void write_all(struct xdr_writer *w)
{
	xdr_put_u32(w, 0x01020304);
	xdr_put_i32(w, -5);
	xdr_put_u64(w, 0x0102030405060708ull);
	xdr_put_string(w, "guest");
	xdr_put_string(w, "");
	xdr_put_optional_string(w, NULL);
	xdr_put_optional_string(w, "four");
	xdr_put_fixed(w, "abcdef", 6);
	xdr_put_opaque(w, "\0\1\2", 3);
	size_t place = xdr_put_later(w);
	xdr_set_u32(w, place, 77);
}

/* Reads what write_all() wrote. */
static bool read_all(struct xdr_reader *r)
{
	char text[16], there[16];
	uint8_t fixed[6];
	size_t len;
	bool good = xdr_get_u32(r) == 0x01020304;
	good = xdr_get_i32(r) == -5 && good;
	good = xdr_get_u64(r) == 0x0102030405060708ull && good;
	xdr_get_string(r, text, sizeof(text));
	good = !strcmp(text, "guest") && good;
	xdr_get_string(r, text, sizeof(text));
	good = !*text && good;
	good = !xdr_get_optional_string(r, text, sizeof(text)) && good;
	good = xdr_get_optional_string(r, there, sizeof(there)) && !strcmp(there, "four") && good;
	xdr_get_fixed(r, fixed, sizeof(fixed));
	good = !memcmp(fixed, "abcdef", 6) && good;
	const uint8_t *bytes = xdr_get_opaque(r, 3, &len);
	good = bytes && len == 3 && !memcmp(bytes, "\0\1\2", 3) && good;
	return xdr_get_u32(r) == 77 && good && xdr_is_done(r);
}

START_TEST(what_is_written_is_read_again)
{
	struct xdr_writer w = {.data = NULL};
	write_all(&w);
	ck_assert(!w.failed);
	ck_assert_uint_eq(w.len % 4, 0);
	struct xdr_reader r = reader_of(w.data, w.len);
	ck_assert(read_all(&r));
	xdr_writer_free(&w);
}
END_TEST

START_TEST(what_is_cut_off_anywhere_is_bad_and_gives_zeroes)
{
	struct xdr_writer w = {.data = NULL};
	write_all(&w);
	for (size_t len = 0; len < w.len; len++) {
		/* Of its own size, so that a sanitizer sees who reads on. */
		uint8_t *copy = malloc(len ? len : 1);
		ck_assert_ptr_nonnull(copy);
		memcpy(copy, w.data, len);
		struct xdr_reader r = reader_of(copy, len);
		ck_assert(!read_all(&r));
		ck_assert(r.bad);
		ck_assert_uint_eq(xdr_get_u64(&r), 0);
		free(copy);
	}
	struct xdr_reader r = reader_of(w.data, w.len - 4);
	read_all(&r);
	ck_assert(!xdr_is_done(&r));
	xdr_writer_free(&w);
}
END_TEST

START_TEST(strings_are_bounded_whole_and_without_zeroes)
{
	static const struct {
		const char *bytes;
		size_t len;
		bool good;
	} cases[] = {
		{"\0\0\0\3abc\0", 8, true},
		{"\0\0\0\3abc\1", 8, false},  /* padded with something */
		{"\0\0\0\3a\0c\0", 8, false}, /* a zero inside */
		{"\0\0\0\3abc", 7, false},    /* padding is missing */
		{"\0\0\0\4abcd", 8, true},
		{"\0\0\0\5abcde\0\0\0", 12, false}, /* longer than there is room for */
		{"\377\377\377\377abc\0", 8, false},
		{"\200\0\0\0abc\0", 8, false},
		{"\0\0\0\0", 4, true},
		{"\0\0\0", 3, false},
	};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[5];
		struct xdr_reader r = reader_of(cases[i].bytes, cases[i].len);
		xdr_get_string(&r, text, sizeof(text));
		ck_assert_msg(xdr_is_done(&r) == cases[i].good, "case %u", i);
		ck_assert(cases[i].good || !*text);
		r = reader_of(cases[i].bytes, cases[i].len);
		char *copy = xdr_get_long_string(&r, 4);
		ck_assert_msg((copy != NULL) == cases[i].good, "case %u", i);
		free(copy);
	}
	char text[8];
	struct xdr_reader r = reader_of("\0\0\0\2\0\0\0\1a\0\0\0", 12);
	ck_assert(!xdr_get_optional_string(&r, text, sizeof(text)));
	ck_assert(r.bad);
}
END_TEST

START_TEST(a_count_cannot_be_more_than_fits)
{
	struct xdr_reader r = reader_of("\0\0\0\2abcdefgh", 12);
	ck_assert_uint_eq(xdr_get_count(&r, 2, 4), 2);
	r = reader_of("\0\0\0\2abcdefgh", 12);
	ck_assert_uint_eq(xdr_get_count(&r, 1, 4), 0);
	ck_assert(r.bad);
	r = reader_of("\0\0\0\3abcdefgh", 12);
	ck_assert_uint_eq(xdr_get_count(&r, 1000, 4), 0);
	ck_assert(r.bad);
	r = reader_of("\377\377\377\377abcdefgh", 12);
	ck_assert_uint_eq(xdr_get_count(&r, UINT32_MAX, 1), 0);
	ck_assert(r.bad);
}
END_TEST

START_TEST(a_writer_ends_at_its_limit_and_stays_failed)
{
	struct xdr_writer w = {.data = NULL};
	char *much = calloc(1, XDR_MOST_OUT);
	ck_assert_ptr_nonnull(much);
	xdr_put_fixed(&w, much, XDR_MOST_OUT - 4);
	xdr_put_u32(&w, 1);
	ck_assert(!w.failed);
	xdr_put_u32(&w, 1);
	ck_assert(w.failed);
	ck_assert_uint_eq(w.len, XDR_MOST_OUT);
	xdr_set_u32(&w, 0, 5);
	xdr_writer_free(&w);
	xdr_put_fixed(&w, much, (size_t)XDR_MOST_OUT + 1);
	ck_assert(w.failed);
	free(much);
	xdr_writer_free(&w);
}
END_TEST

START_TEST(a_writer_without_memory_fails_and_keeps_nothing)
{
	if (!FAILING_MALLOC)
		return;
	for (long i = 0; i < 2; i++) {
		struct xdr_writer w = {.data = NULL};
		long before = malloc_live;
		malloc_countdown = i;
		for (unsigned k = 0; k < 1000; k++)
			xdr_put_u32(&w, k);
		malloc_countdown = -1;
		ck_assert(w.failed);
		xdr_writer_free(&w);
		ck_assert_int_eq(malloc_live, before);
	}
	struct xdr_reader r = reader_of("\0\0\0\3abc\0", 8);
	malloc_countdown = 0;
	ck_assert_ptr_null(xdr_get_long_string(&r, 10));
	malloc_countdown = -1;
	ck_assert(r.bad);
}
END_TEST

/* --- parameters --- */

START_TEST(parameters_are_read_as_they_were_written)
{
	struct xdr_writer w = {.data = NULL};
	struct rpc_parameter p;
	struct rpc_parameters list = rpc_parameters_begin(&w);
	rpc_put_int(&list, "int", -7);
	rpc_put_uint(&list, "uint", UINT32_MAX);
	rpc_put_ullong(&list, "ullong", UINT64_MAX);
	rpc_put_text(&list, "text", "0-1");
	rpc_parameters_end(&list);
	struct xdr_reader r = reader_of(w.data, w.len);
	ck_assert_uint_eq(xdr_get_count(&r, 4, RPC_PARAMETER_LEAST_BYTES), 4);
	rpc_get_parameter(&r, &p);
	ck_assert_str_eq(p.name, "int");
	ck_assert_int_eq((int64_t)p.number, -7);
	rpc_get_parameter(&r, &p);
	ck_assert_uint_eq(p.number, UINT32_MAX);
	rpc_get_parameter(&r, &p);
	ck_assert(p.type == RPC_ULLONG && p.number == UINT64_MAX);
	rpc_get_parameter(&r, &p);
	ck_assert(p.type == RPC_STRING && !strcmp(p.text, "0-1"));
	ck_assert(xdr_is_done(&r));
	xdr_writer_free(&w);
	/* Of a type that there is not. */
	for (uint32_t type = 0; type <= 8; type += 8) {
		xdr_put_string(&w, "x");
		xdr_put_u32(&w, type);
		xdr_put_u64(&w, 0);
		r = reader_of(w.data, w.len);
		rpc_get_parameter(&r, &p);
		ck_assert(r.bad);
		xdr_writer_free(&w);
	}
}
END_TEST

/* --- messages --- */

static const struct rpc_header sample = {RPC_PROGRAM, RPC_VERSION, 23, RPC_CALL, 5, RPC_OK};

START_TEST(a_stream_is_cut_into_messages_wherever_its_pieces_end)
{
	struct xdr_writer w = {.data = NULL};
	random_start();
	rpc_begin(&w);
	xdr_put_string(&w, "web1");
	rpc_end(&w, &sample);
	for (unsigned round = 0; round < 200; round++) {
		struct rpc_input in = {.data = NULL};
		size_t sent = 0, total = 10 * w.len;
		unsigned got = 0;
		while (sent < total) {
			size_t piece = 1 + random_below(round ? 2 * w.len : 1);
			piece = piece < total - sent ? piece : total - sent;
			uint8_t *room = rpc_input_room(&in, piece);
			ck_assert_ptr_nonnull(room);
			for (size_t i = 0; i < piece; i++)
				room[i] = w.data[(sent + i) % w.len];
			rpc_input_add(&in, piece);
			sent += piece;
			struct rpc_header h;
			struct xdr_reader payload;
			int ret;
			while ((ret = rpc_input_next(&in, &h, &payload)) > 0) {
				char name[8];
				ck_assert_int_eq(memcmp(&h, &sample, sizeof(h)), 0);
				xdr_get_string(&payload, name, sizeof(name));
				ck_assert_str_eq(name, "web1");
				ck_assert(xdr_is_done(&payload));
				got++;
			}
			ck_assert_int_eq(ret, 0);
			ck_assert_uint_eq(got, sent / w.len);
		}
		rpc_input_free(&in);
	}
	xdr_writer_free(&w);
}
END_TEST

START_TEST(a_length_that_cannot_be_ends_the_stream_and_takes_no_memory)
{
	static const uint32_t lengths[] = {0, 4, RPC_HEADER_BYTES - 1, RPC_MOST_IN + 1, INT32_MAX, 0x80000000u, UINT32_MAX};
	struct rpc_header h;
	struct xdr_reader payload;
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct rpc_input in = {.data = NULL};
		struct xdr_writer w = {.data = NULL};
		xdr_put_u32(&w, lengths[i]);
		memcpy(rpc_input_room(&in, w.len), w.data, w.len);
		rpc_input_add(&in, w.len);
		ck_assert_int_eq(rpc_input_next(&in, &h, &payload), -EBADMSG);
		rpc_input_free(&in);
		xdr_writer_free(&w);
	}
	/* A long one that may be: room is for what has come. */
	struct rpc_input in = {.data = NULL};
	memcpy(rpc_input_room(&in, 4), "\0\20\0\0", 4);
	rpc_input_add(&in, 4);
	ck_assert_int_eq(rpc_input_next(&in, &h, &payload), 0);
	ck_assert_uint_lt(in.size, 100);
	rpc_input_free(&in);
	/* Nothing at all. */
	ck_assert_int_eq(rpc_input_next(&in, &h, &payload), 0);
}
END_TEST

START_TEST(an_error_has_the_members_that_clients_look_for)
{
	struct xdr_writer w = {.data = NULL};
	char text[64];
	rpc_put_error(&w, RPC_NO_DOMAIN, "a: there is no such guest");
	struct xdr_reader r = reader_of(w.data, w.len);
	ck_assert_int_eq(xdr_get_i32(&r), 42);
	ck_assert_int_eq(xdr_get_i32(&r), 10);
	ck_assert(xdr_get_optional_string(&r, text, sizeof(text)));
	ck_assert_str_eq(text, "a: there is no such guest");
	ck_assert_int_eq(xdr_get_i32(&r), 2);
	ck_assert_uint_eq(xdr_get_u32(&r), 0);
	ck_assert(xdr_get_optional_string(&r, text, sizeof(text)));
	ck_assert(xdr_get_optional_string(&r, text, sizeof(text)));
	ck_assert(!xdr_get_optional_string(&r, text, sizeof(text)));
	xdr_get_u64(&r);
	ck_assert_uint_eq(xdr_get_u32(&r), 0);
	ck_assert(xdr_is_done(&r));
	xdr_writer_free(&w);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rpc codec");
	TCase *tests = tcase_create("codec");
	tcase_add_test(tests, what_is_written_is_read_again);
	tcase_add_test(tests, what_is_cut_off_anywhere_is_bad_and_gives_zeroes);
	tcase_add_test(tests, strings_are_bounded_whole_and_without_zeroes);
	tcase_add_test(tests, a_count_cannot_be_more_than_fits);
	tcase_add_test(tests, a_writer_ends_at_its_limit_and_stays_failed);
	tcase_add_test(tests, a_writer_without_memory_fails_and_keeps_nothing);
	tcase_add_test(tests, parameters_are_read_as_they_were_written);
	tcase_add_test(tests, a_stream_is_cut_into_messages_wherever_its_pieces_end);
	tcase_add_test(tests, a_length_that_cannot_be_ends_the_stream_and_takes_no_memory);
	tcase_add_test(tests, an_error_has_the_members_that_clients_look_for);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
