/* What the admin's command prints, and what it understands: sizes, tables, settings, options among words. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/members.h"
#include "cli/output.h"
#include "cli/words.h"
#include "tests/unit/suite.h"

static struct error err;
static json_t *object;

static void set_up(void)
{
	object = json_object();
	err = (struct error){0};
}

static void tear_down(void)
{
	json_decref(object);
}

static const char *added(const char *word)
{
	static char text[1000];
	ck_assert_msg(member_add(object, word, &err) == 0, "%s: %s", word, err.text);
	char *made = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
	snprintf(text, sizeof(text), "%s", made);
	free(made);
	json_object_clear(object);
	return text;
}

START_TEST(sizes_have_three_digits_or_so)
{
	char text[OUTPUT_SIZE];
	ck_assert_str_eq(output_size(0, text), "0");
	ck_assert_str_eq(output_size(1023, text), "1023");
	ck_assert_str_eq(output_size(1024, text), "1.0K");
	ck_assert_str_eq(output_size(1536, text), "1.5K");
	ck_assert_str_eq(output_size(10.0 * 1024, text), "10K");
	ck_assert_str_eq(output_size(1023.9 * 1024, text), "1.0M");
	ck_assert_str_eq(output_size(-3.0 * (1 << 30), text), "-3.0G");
	ck_assert_str_eq(output_size(1.5 * 1024 * (1ull << 50), text), "1.5E");
	ck_assert_uint_lt(strlen(output_size(1e300, text)), OUTPUT_SIZE);
}
END_TEST

START_TEST(durations_are_short)
{
	char text[OUTPUT_SIZE];
	ck_assert_str_eq(output_duration(-1, text), "0s");
	ck_assert_str_eq(output_duration(59.9, text), "59s");
	ck_assert_str_eq(output_duration(185, text), "3m05s");
	ck_assert_str_eq(output_duration(7800, text), "2h10m");
	ck_assert_str_eq(output_duration(4 * 86400 + 3 * 3600, text), "4d03h");
}
END_TEST

START_TEST(tables_are_as_wide_as_what_is_in_them)
{
	static const char *const headers[] = {"NAME", ">SIZE", "LAST"};
	char *text = NULL;
	size_t len;
	struct table t;
	FILE *file = open_memstream(&text, &len);
	table_init(&t, headers, 3);
	table_add(&t, "a long name");
	table_add_size(&t, 1 << 20);
	table_add(&t, "x");
	table_add(&t, "\303\274");
	table_end_row(&t);
	table_print(&t, file);
	fclose(file);
	ck_assert_str_eq(text, "NAME         SIZE  LAST\n"
			       "a long name  1.0M  x\n"
			       "\303\274                  \n");
	free(text);
}
END_TEST

START_TEST(settings_become_members)
{
	ck_assert_str_eq(added("memory=1G"), "{\"memory\":1073741824}");
	ck_assert_str_eq(added("vcpus=4"), "{\"vcpus\":4}");
	ck_assert_str_eq(added("append=console=ttyS0 quiet"), "{\"append\":\"console=ttyS0 quiet\"}");
	ck_assert_str_eq(added("kernel=/boot/vmlinuz"), "{\"kernel\":\"/boot/vmlinuz\"}");
	ck_assert_str_eq(added("autostart=on"), "{\"autostart\":true}");
	ck_assert_str_eq(added("pinned=no"), "{\"pinned\":false}");
	ck_assert_str_eq(added("nodes=0,3"), "{\"nodes\":[0,3]}");
	ck_assert_str_eq(added("minimum=default"), "{\"minimum\":null}");
	ck_assert_str_eq(added("drive=/a,,b.raw,readonly=on,cache=none"),
			 "{\"drives\":[{\"cache\":\"none\",\"file\":\"/a,b.raw\",\"readonly\":true}]}");
	ck_assert_str_eq(added("net=user,hostfwd=tcp::22-:22,hostfwd=tcp::80-:80"),
			 "{\"netdevs\":[{\"hostfwd\":[\"tcp::22-:22\",\"tcp::80-:80\"],\"kind\":\"user\"}]}");
	ck_assert_str_eq(added("drive=nbd+unix:///?socket=/run/disk"),
			 "{\"drives\":[{\"file\":\"nbd+unix:///?socket=/run/disk\"}]}");
}
END_TEST

START_TEST(files_are_named_from_the_root)
{
	char here[500], expected[700];
	ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
	snprintf(expected, sizeof(expected), "{\"initrd\":\"%s/initrd.img\"}", here);
	ck_assert_str_eq(added("initrd=initrd.img"), expected);
}
END_TEST

START_TEST(what_comes_several_times_adds_up)
{
	ck_assert_int_eq(member_add(object, "word=-cpu", &err), 0);
	ck_assert_int_eq(member_add(object, "word=host", &err), 0);
	ck_assert_uint_eq(json_array_size(json_object_get(object, "words")), 2);
}
END_TEST

START_TEST(what_is_no_setting_is_refused_with_the_nearest)
{
	static const char *const bad[][2] = {
		{"memori=1G", "there is no setting \"memori\"; did you mean memory?"},
		{"memory", "\"memory\" is no setting: write NAME=VALUE, such as memory=1G"},
		{"memory=1GB", "memory: \"1GB\" is not a size, such as 512M or 2G"},
		{"memory=-1", "memory: \"-1\" is not a size, such as 512M or 2G"},
		{"memory=99999999999T", "memory: \"99999999999T\" is not a size, such as 512M or 2G"},
		{"vcpus=two", "vcpus: \"two\" is not a whole number"},
		{"swap=maybe", "swap: \"maybe\" is not on or off"},
		{"nodes=0,x", "nodes: \"0,x\" is not numbers with commas between, such as 0,1"},
		{"stop-timeout=", "stop-timeout: \"\" is not a number"},
		{"append=\xff", "append: \"\xff\" is not text in UTF-8"},
	};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_int_eq(member_add(object, bad[i][0], &err), -EINVAL);
		ck_assert_str_eq(err.text, bad[i][1]);
	}
	ck_assert_uint_eq(json_object_size(object), 0);
	ck_assert_int_eq(host_member_add(object, "budget=8G", &err), 0);
	ck_assert_int_eq(host_member_add(object, "memory=8G", &err), -EINVAL);
}
END_TEST

/* Words as main() has them, which may be moved. */
static char **words_of(const char *text)
{
	static char copy[200], *words[20];
	char *rest = NULL;
	int n = 0;
	snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		words[n++] = word;
	words[n] = NULL;
	return words;
}

START_TEST(options_may_stand_anywhere)
{
	bool force = false;
	const char *timeout = NULL;
	const struct word_option options[] = {{"--force", &force, NULL}, {"--timeout=", NULL, &timeout}, {NULL, NULL, NULL}};
	char **words = words_of("stop a --force --timeout 5 b -- --c");
	ck_assert_int_eq(words_take(8, words, options), 3);
	ck_assert_str_eq(words[1], "a");
	ck_assert_str_eq(words[2], "b");
	ck_assert_str_eq(words[3], "--c");
	ck_assert_ptr_null(words[4]);
	ck_assert(force);
	ck_assert_str_eq(timeout, "5");
	ck_assert_int_eq(words_take(2, words_of("stop --timeout=7"), options), 0);
	ck_assert_str_eq(timeout, "7");
	ck_assert_int_eq(words_take(3, words_of("stop a --farce"), options), -1);
	ck_assert_int_eq(words_take(2, words_of("stop --timeout"), options), -1);
}
END_TEST

START_TEST(every_command_says_how_it_is_used)
{
	for (const struct command *c = commands; c->name; c++) {
		ck_assert_ptr_eq(command_find(c->name), c);
		ck_assert_uint_gt(strlen(c->text), 5);
		ck_assert_ptr_nonnull(c->run);
	}
	ck_assert_ptr_null(command_find("no-such"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cli_output");
	TCase *tests = tcase_create("output");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, sizes_have_three_digits_or_so);
	tcase_add_test(tests, durations_are_short);
	tcase_add_test(tests, tables_are_as_wide_as_what_is_in_them);
	tcase_add_test(tests, settings_become_members);
	tcase_add_test(tests, files_are_named_from_the_root);
	tcase_add_test(tests, what_comes_several_times_adds_up);
	tcase_add_test(tests, what_is_no_setting_is_refused_with_the_nearest);
	tcase_add_test(tests, options_may_stand_anywhere);
	tcase_add_test(tests, every_command_says_how_it_is_used);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
