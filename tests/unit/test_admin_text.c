/* What admins and the kernel write, read: sizes, addresses, and lines of meminfo. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/meminfo.h"
#include "base/size.h"
#include "host/inet_door.h"
#include "tests/unit/suite.h"

START_TEST(sizes_have_a_suffix_of_either_case_or_none)
{
	uint64_t bytes;
	ck_assert_int_eq(size_parse("512", UINT64_MAX, &bytes), 0);
	ck_assert_uint_eq(bytes, 512);
	ck_assert_int_eq(size_parse("3k", UINT64_MAX, &bytes), 0);
	ck_assert_uint_eq(bytes, 3 << 10);
	ck_assert_int_eq(size_parse("2T", UINT64_MAX, &bytes), 0);
	ck_assert_uint_eq(bytes, 2ull << 40);
}
END_TEST

START_TEST(what_is_no_size_or_too_large_is_refused_and_changes_nothing)
{
	static const char *const bad[] = {"",         "M", "-1", "+1", " 1", "1MB", "1.5G", "1P", "0x10", "99999999999999999999",
					  "16777216T"};
	uint64_t bytes = 7;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(size_parse(bad[i], UINT64_MAX, &bytes) == -EINVAL, "\"%s\"", bad[i]);
	ck_assert_int_eq(size_parse("1G", (1 << 30) - 1, &bytes), -EINVAL);
	ck_assert_uint_eq(bytes, 7);
	ck_assert_int_eq(size_parse("1G", 1 << 30, &bytes), 0);
}
END_TEST

START_TEST(addresses_are_numbers_and_a_port)
{
	static const char *const bad[] = {
		"",         "127.0.0.1",   "127.0.0.1:",   "127.0.0.1:x", "127.0.0.1:1x", "127.0.0.1:65536",
		":9090",    "localhost:1", "::1:9090",     "[::1:9090",   "[::1]9090",    "[127.0.0.1]:1",
		"1.2.3:40", "[]:1",        "127.0.0.1:-1", "256.0.0.1:1", "[::1]:",       "[fe80::1%lo]:1"};
	struct inet_address a = {.text = "untouched"};
	struct error err;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(inet_address_parse("--at", "1.2.3.4:5", bad[i], &a, &err) == -EINVAL, "\"%s\"", bad[i]);
		ck_assert_msg(!strncmp(err.text, "--at ", 5) && strstr(err.text, "1.2.3.4:5"), "%s", err.text);
	}
	ck_assert_str_eq(a.text, "untouched");
	ck_assert_int_eq(inet_address_parse("--at", "", "0.0.0.0:16514", &a, &err), 0);
	ck_assert(!inet_address_is_loopback(&a));
	ck_assert_int_eq(inet_address_parse("--at", "", "[::2]:16514", &a, &err), 0);
	ck_assert(!inet_address_is_loopback(&a));
	ck_assert_int_eq(inet_address_parse("--at", "", "[::1]:0", &a, &err), 0);
	ck_assert(inet_address_is_loopback(&a));
	ck_assert_int_eq(inet_address_parse("--at", "", "127.1.2.3:0", &a, &err), 0);
	ck_assert(inet_address_is_loopback(&a));
	int fd = inet_door_open("--at", &a, &err);
	ck_assert_int_ge(fd, 0);
	ck_assert_msg(!strncmp(a.text, "127.1.2.3:", 10) && strcmp(a.text, "127.1.2.3:0") != 0, "%s", a.text);
	/* Taken. */
	ck_assert_int_eq(inet_door_open("--at", &a, &err), -EADDRINUSE);
	close(fd);
}
END_TEST

START_TEST(meminfo_is_read_by_whole_names)
{
	static const char text[] = "MemTotal:       100 kB\nMemFree: -1 kB\nXHugetlb: 5 kB\nHugetlb:  7 kB\nHuge: 8 kB\n";
	uint64_t bytes = 1;
	ck_assert(meminfo_find(text, "MemTotal", &bytes));
	ck_assert_uint_eq(bytes, 100 << 10);
	ck_assert(meminfo_find(text, "Hugetlb", &bytes));
	ck_assert_uint_eq(bytes, 7 << 10);
	ck_assert(meminfo_find("Node 0 MemFree:  9 kB\n", "MemFree", &bytes));
	ck_assert_uint_eq(bytes, 9 << 10);
	ck_assert(!meminfo_find(text, "MemFree", &bytes));
	ck_assert(!meminfo_find(text, "Mem", &bytes));
	ck_assert(!meminfo_find("", "MemTotal", &bytes));
	ck_assert_uint_eq(bytes, 9 << 10);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("admin_text");
	TCase *tc = tcase_create("admin_text");
	tcase_add_test(tc, sizes_have_a_suffix_of_either_case_or_none);
	tcase_add_test(tc, what_is_no_size_or_too_large_is_refused_and_changes_nothing);
	tcase_add_test(tc, addresses_are_numbers_and_a_port);
	tcase_add_test(tc, meminfo_is_read_by_whole_names);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
