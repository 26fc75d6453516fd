/* The one check that all messages pass: it lets through what is whole and right, and nothing else, whoever may be at the other end. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dedup/protocol.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

static union {
	struct protocol_header header;
	uint8_t bytes[2 * PROTOCOL_MOST_BYTES];
} message;

static const char *why;

static int check(size_t len, int from_daemon)
{
	why = NULL;
	int ret = protocol_check(&message, len, from_daemon, &why);
	ck_assert(ret == 0 || (ret == -EPROTO && why));
	return ret;
}

static void fill(uint16_t type, uint32_t nr)
{
	memset(&message, 0, sizeof(message));
	message.header = (struct protocol_header){.type = type, .nr = nr, .number = 5};
	struct protocol_hello *hello = (void *)(&message.header + 1);
	struct protocol_claim *claims = (void *)hello;
	struct protocol_release *releases = (void *)hello;
	if (type == PROTOCOL_HELLO)
		*hello = (struct protocol_hello){PROTOCOL_VERSION, 1, 1, -1, "domain", "guest"};
	for (uint32_t i = 0; type == PROTOCOL_CLAIM && i < nr && i < 1024; i++)
		claims[i].nr = 1;
	for (uint32_t i = 0; type == PROTOCOL_RELEASE && i < nr && i < 1024; i++)
		releases[i].nr = 1;
}

START_TEST(every_type_has_its_sender_and_its_lengths)
{
	for (unsigned type = 0; type < 80; type++) {
		size_t size = 0, lead = type == PROTOCOL_SHARING ? sizeof(struct protocol_sharing) : 0;
		uint32_t most = protocol_most(type, &size);
		int from_daemon = type >= PROTOCOL_WELCOME;
		if (!size) {
			fill((uint16_t)type, 0);
			ck_assert_int_eq(check(16, 0), -EPROTO);
			ck_assert_int_eq(check(16, 1), -EPROTO);
			continue;
		}
		ck_assert_uint_le(16 + lead + most * size, PROTOCOL_MOST_BYTES);
		fill((uint16_t)type, most);
		size_t len = 16 + lead + most * size;
		ck_assert_int_eq(check(len, from_daemon), 0);
		ck_assert_int_eq(check(len, !from_daemon), -EPROTO);
		ck_assert_int_eq(check(len + 1, from_daemon), -EPROTO);
		ck_assert_int_eq(check(len - 1, from_daemon), -EPROTO);
		ck_assert_int_eq(check(15, from_daemon), -EPROTO);
		ck_assert_int_eq(check(0, from_daemon), -EPROTO);
		message.header.reserved = 1;
		ck_assert_int_eq(check(len, from_daemon), -EPROTO);
		fill((uint16_t)type, most + 1);
		ck_assert_int_eq(check(16 + lead + (most + 1) * size, from_daemon), -EPROTO);
		fill((uint16_t)type, UINT32_MAX);
		ck_assert_int_eq(check(len, from_daemon), -EPROTO);
	}
}
END_TEST

START_TEST(entries_are_looked_at_one_by_one)
{
	struct protocol_offer *offers = (void *)(&message.header + 1);
	struct protocol_claim *claims = (void *)offers;
	struct protocol_release *releases = (void *)offers;
	for (uint32_t i = 0; i < 512; i += 73) {
		fill(PROTOCOL_OFFER, 512);
		offers[i].reserved = 1;
		ck_assert_int_eq(check(16 + 512 * sizeof(*offers), 0), -EPROTO);
		fill(PROTOCOL_CLAIM, 512);
		claims[i].nr = 0;
		ck_assert_int_eq(check(16 + 512 * sizeof(*claims), 0), -EPROTO);
		fill(PROTOCOL_RELEASE, 512);
		releases[i].nr = 0;
		ck_assert_int_eq(check(16 + 512 * sizeof(*releases), 0), -EPROTO);
		fill(PROTOCOL_RELEASE, 512);
		releases[i].reason = PROTOCOL_NR_REASONS;
		ck_assert_int_eq(check(16 + 512 * sizeof(*releases), 0), -EPROTO);
	}
}
END_TEST

START_TEST(names_are_short_plain_words)
{
	static const char *const good[] = {"a", "A-b_c.9", "012345678901234567890123456789012345678901234567890123456789012"};
	static const char *const bad[] = {"", ".", "..", ".a", "a b", "a/b", "a\n", "\xc3\xa4"};
	char name[PROTOCOL_NAME_BYTES];
	for (unsigned i = 0; i < 3; i++) {
		memset(name, 0, sizeof(name));
		memcpy(name, good[i], strlen(good[i]));
		ck_assert(protocol_is_name(name));
	}
	for (unsigned i = 0; i < 8; i++) {
		memset(name, 0, sizeof(name));
		memcpy(name, bad[i], strlen(bad[i]));
		ck_assert(!protocol_is_name(name));
	}
	memset(name, 'a', sizeof(name)); /* without an end */
	ck_assert(!protocol_is_name(name));
}
END_TEST

START_TEST(noise_is_never_taken_for_more_than_it_is)
{
	random_start();
	unsigned passed = 0;
	for (unsigned i = 0; i < 200000; i++) {
		size_t size = 1, len = random_below(600);
		for (size_t at = 0; at < len; at += 8) {
			uint64_t bits = random_bits();
			memcpy(message.bytes + at, &bits, 8);
		}
		message.header = (struct protocol_header){
			.type = (uint16_t)random_below(24), .reserved = random_below(8) == 0, .nr = (uint32_t)random_below(8)};
		uint32_t most = protocol_most(message.header.type, &size);
		if (random_below(2))
			len = sizeof(message.header) + message.header.nr * size;
		if (protocol_check(&message, len, 0, &why))
			continue;
		passed++;
		if (message.header.nr > most || len != sizeof(message.header) + message.header.nr * size || message.header.reserved)
			ck_abort_msg("a message that is not whole has passed");
	}
	ck_assert_uint_gt(passed, 100);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dedup protocol");
	TCase *tests = tcase_create("messages");
	tcase_add_test(tests, every_type_has_its_sender_and_its_lengths);
	tcase_add_test(tests, entries_are_looked_at_one_by_one);
	tcase_add_test(tests, names_are_short_plain_words);
	tcase_add_test(tests, noise_is_never_taken_for_more_than_it_is);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
