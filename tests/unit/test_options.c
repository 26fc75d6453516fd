/* The parts that command lines are read with: the lexer, typed values, and the nearest name. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/suite.h"
#include "vmm/options.h"

static struct options *o;
static struct error err;
static struct keyvals *kv;

static void set_up(void)
{
	o = calloc(1, sizeof(*o));
	ck_assert_ptr_nonnull(o);
}

static void tear_down(void)
{
	while (o->kept) {
		struct keyvals *next = o->kept->next;
		free(o->kept->text);
		free(o->kept);
		o->kept = next;
	}
	free(o);
}

/* What came of it, written in one way: "key=value;word;". */
static const char *lexed(const char *argument, const char *implied)
{
	static char text[4096];
	size_t at = 0;
	text[0] = '\0';
	if (keyvals_parse(o, argument, implied, &kv, &err))
		return "error";
	for (size_t i = 0; i < kv->nr; i++) {
		const struct keyval *item = &kv->items[i];
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s%s;", item->key, item->value ? "=" : "",
				       item->value ? item->value : "");
	}
	return text;
}

START_TEST(arguments_fall_into_keys_and_values)
{
	ck_assert_str_eq(lexed("a=b,c=d", NULL), "a=b;c=d;");
	ck_assert_str_eq(lexed("tap,id=n", "type"), "type=tap;id=n;");
	ck_assert_str_eq(lexed("type=tap,id=n", "type"), "type=tap;id=n;");
	ck_assert_str_eq(lexed("a=b,server,nowait", NULL), "a=b;server;nowait;");
	ck_assert_str_eq(lexed("a=b=c", NULL), "a=b=c;");
	ck_assert_str_eq(lexed("a=", NULL), "a=;");
	ck_assert_str_eq(lexed("", "type"), "");
	ck_assert_str_eq(lexed("a=b,", NULL), "a=b;");
}
END_TEST

START_TEST(doubled_commas_are_one_comma_of_a_value)
{
	ck_assert_str_eq(lexed("file=a,,b,id=c", NULL), "file=a,b;id=c;");
	ck_assert_str_eq(lexed("file=,,", NULL), "file=,;");
	ck_assert_str_eq(lexed("file=a,,,id=c", NULL), "file=a,;id=c;");
	ck_assert_str_eq(lexed("a,,b", "type"), "type=a,b;");
}
END_TEST

START_TEST(a_value_without_a_key_is_refused)
{
	ck_assert_str_eq(lexed("=x", NULL), "error");
	ck_assert_str_eq(lexed("a=b,=x", NULL), "error");
}
END_TEST

START_TEST(too_many_words_and_too_long_arguments_are_refused)
{
	char *many = calloc(1, OPTIONS_MAX_ARGUMENT + 10);
	ck_assert_ptr_nonnull(many);
	for (int i = 0; i < OPTIONS_MAX_KEYVALS; i++)
		strcat(many, "a=b,");
	ck_assert_str_ne(lexed(many, NULL), "error");
	strcat(many, "a=b,");
	ck_assert_str_eq(lexed(many, NULL), "error");
	memset(many, 'a', OPTIONS_MAX_ARGUMENT + 1);
	ck_assert_str_eq(lexed(many, NULL), "error");
	free(many);
}
END_TEST

START_TEST(json_flattens_to_dotted_keys)
{
	ck_assert_str_eq(
		lexed("{\"a\": \"b\", \"c\": {\"d\": 1, \"e\": {\"f\": true}}, \"g\": [\"x\", {\"str\": \"y\"}], \"h\": -5}", NULL),
		"a=b;c.d=1;c.e.f=on;g=x;g=y;h=-5;");
	ck_assert_str_eq(lexed("{}", NULL), "");
	ck_assert_str_eq(lexed("{\"a\": 1.5}", NULL), "error");
	ck_assert_str_eq(lexed("{\"a\": null}", NULL), "error");
	ck_assert_str_eq(lexed("{\"a\": 1, \"a\": 2}", NULL), "error");
	ck_assert_str_eq(lexed("{\"a\": 1} x", NULL), "error");
	ck_assert_str_eq(lexed("{", NULL), "error");
	ck_assert_str_eq(lexed("{\"a\":[[[[[[[[[[[[1]]]]]]]]]]]]}", NULL), "error");
}
END_TEST

START_TEST(a_prefix_splits_off_a_child)
{
	struct keyvals *child;
	ck_assert_int_eq(keyvals_parse(o, "driver=raw,file.driver=file,id=a,file.x.y=z", NULL, &kv, &err), 0);
	ck_assert_int_eq(keyvals_split(o, kv, "file.", &child, &err), 0);
	ck_assert_uint_eq(kv->nr, 2);
	ck_assert_uint_eq(child->nr, 2);
	ck_assert_str_eq(keyvals_get(child, "driver"), "file");
	ck_assert_str_eq(keyvals_get(child, "x.y"), "z");
	ck_assert_str_eq(keyvals_get(kv, "id"), "a");
	ck_assert_int_eq(keyvals_split(o, kv, "file.", &child, &err), 0);
	ck_assert_ptr_null(child);
}
END_TEST

/* --- values --- */

struct target {
	const char *string;
	enum option_bool flag;
	struct option_number number, size, word;
	struct option_mac mac;
	struct config_pci_address address;
	struct option_list list;
};

static const struct property rows[] = {
	PROPERTY_ROW_STRING(struct target, string, "string", NULL),
	PROPERTY_ROW_BOOL(struct target, flag, "flag", NULL),
	PROPERTY_ROW_NUMBER(struct target, number, "number", 5, 500, NULL),
	PROPERTY_ROW_SIZE(struct target, size, "size", 1, 1ull << 40, NULL),
	PROPERTY_ROW_WORD(struct target, word, "word", "one|two|three", NULL),
	PROPERTY_ROW_MAC(struct target, mac, "mac", NULL),
	PROPERTY_ROW_ADDRESS(struct target, address, "addr", NULL),
	PROPERTY_ROW_LIST(struct target, list, "list", NULL),
	PROPERTY_ROW_FIXED("fixed", "yes|perhaps", NULL),
	PROPERTY_ROW_FIXED("absent", "off", NULL),
};
static const struct property_table table = PROPERTY_TABLE("-test", rows);

static int apply(const char *argument, struct target *t)
{
	*t = (struct target){.flag = OPTION_UNSET};
	err = (struct error){.code = 0};
	int ret = keyvals_parse(o, argument, NULL, &kv, &err);
	return ret ? ret : options_apply(&table, kv, t, &err);
}

START_TEST(values_go_where_the_table_says)
{
	struct target t;
	ck_assert_int_eq(
		apply("string=s,flag=on,number=0x10,size=2K,word=two,mac=00:11:22:33:44:5f,addr=1f.7,list=a,list=b,fixed=perhaps",
		      &t),
		0);
	ck_assert_str_eq(t.string, "s");
	ck_assert_int_eq(t.flag, OPTION_ON);
	ck_assert(t.number.set && t.number.value == 16);
	ck_assert(t.size.set && t.size.value == 2048);
	ck_assert(t.word.set && t.word.value == 1);
	ck_assert(t.mac.set && t.mac.bytes[5] == 0x5f);
	ck_assert(t.address.slot == 31 && t.address.function == 7);
	ck_assert(t.list.nr == 2 && !strcmp(t.list.items[1], "b"));
}
END_TEST

START_TEST(switches_work_without_a_value_and_with_no_in_front)
{
	struct target t;
	ck_assert_int_eq(apply("flag", &t), 0);
	ck_assert_int_eq(t.flag, OPTION_ON);
	ck_assert_int_eq(apply("noflag", &t), 0);
	ck_assert_int_eq(t.flag, OPTION_OFF);
	ck_assert_int_eq(apply("noabsent", &t), 0);
	ck_assert_int_eq(apply("absent", &t), -EINVAL);
	ck_assert_int_eq(apply("string", &t), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "needs a value"));
	ck_assert_int_eq(apply("nostring", &t), -EINVAL);
}
END_TEST

START_TEST(the_last_of_two_values_wins)
{
	struct target t;
	ck_assert_int_eq(apply("number=5,number=6", &t), 0);
	ck_assert_uint_eq(t.number.value, 6);
}
END_TEST

START_TEST(bad_values_are_refused_by_the_property_s_name)
{
	static const char *const arguments[] = {
		"number=4",
		"number=501",
		"number=",
		"number=1x",
		"number=+7",
		"number= 7",
		"number=99999999999999999999",
		"size=1X",
		"size=",
		"size=2T",
		"size=1K1",
		"size=.5",
		"word=four",
		"word=",
		"mac=00:11:22",
		"mac=",
		"addr=20",
		"addr=1.8",
		"addr=",
		"addr=x",
		"addr=1.",
		"fixed=no",
		"flag=maybe",
		"flag=",
		"addr=1,addr=-1",
		"mac=00:11:22:33:44:5g",
		"mac=00:11:22:33:44:55:66",
		"size=1.x",
	};
	struct target t;
	for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++) {
		ck_assert_msg(apply(arguments[i], &t) == -EINVAL, "%s", arguments[i]);
		size_t len = strcspn(arguments[i], "=");
		ck_assert_msg(!strncmp(err.text, arguments[i], len) && err.text[len] == ':', "%s: %s", arguments[i], err.text);
	}
}
END_TEST

START_TEST(an_unknown_property_is_named_with_the_nearest)
{
	struct target t;
	ck_assert_int_eq(apply("nubmer=7", &t), -EINVAL);
	ck_assert_str_eq(err.text, "-test has no property \"nubmer\"; did you mean number?");
	ck_assert_int_eq(apply("xyzzy=7", &t), -EINVAL);
	ck_assert_str_eq(err.text, "-test has no property \"xyzzy\"");
}
END_TEST

START_TEST(a_list_has_an_end)
{
	struct target t;
	char argument[1000] = "";
	for (int i = 0; i < OPTIONS_MAX_LIST; i++)
		strcat(argument, "list=x,");
	ck_assert_int_eq(apply(argument, &t), 0);
	strcat(argument, "list=x");
	ck_assert_int_eq(apply(argument, &t), -EINVAL);
}
END_TEST

START_TEST(ids_are_plain_words)
{
	static const char *const good[] = {"a", "disk0", "a.b-c_d"};
	static const char *const bad[] = {
		"", "0a", "-a", "a b", "a/b", "a:b", "a234567890123456789012345678901234567890123456789012345678901234"};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_int_eq(options_check_id(good[i], &err), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(options_check_id(bad[i], &err), -EINVAL);
}
END_TEST

/* --- nearest --- */

static const char *nearest_of(const char *typed)
{
	static const char *const names[] = {"drive", "device", "kernel", "netdev", "smp", "no-reboot", "m"};
	struct nearest n;
	nearest_start(&n, typed);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		nearest_try(&n, names[i]);
	return nearest_name(&n) ? nearest_name(&n) : "nothing";
}

START_TEST(the_nearest_name_is_what_was_meant)
{
	ck_assert_str_eq(nearest_of("dirve"), "drive");
	ck_assert_str_eq(nearest_of("drives"), "drive");
	ck_assert_str_eq(nearest_of("devcie"), "device");
	ck_assert_str_eq(nearest_of("kern"), "kernel");
	ck_assert_str_eq(nearest_of("kernal"), "kernel");
	ck_assert_str_eq(nearest_of("noreboot"), "no-reboot");
	ck_assert_str_eq(nearest_of("sp"), "smp");
	ck_assert_str_eq(nearest_of("xyzzy"), "nothing");
	ck_assert_str_eq(nearest_of(""), "nothing");
	ck_assert_str_eq(nearest_of("x"), "nothing");
	ck_assert_str_eq(nearest_of("a-word-that-is-far-longer-than-any-name-could-ever-be"), "nothing");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options");
	TCase *tc = tcase_create("options");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, arguments_fall_into_keys_and_values);
	tcase_add_test(tc, doubled_commas_are_one_comma_of_a_value);
	tcase_add_test(tc, a_value_without_a_key_is_refused);
	tcase_add_test(tc, too_many_words_and_too_long_arguments_are_refused);
	tcase_add_test(tc, json_flattens_to_dotted_keys);
	tcase_add_test(tc, a_prefix_splits_off_a_child);
	tcase_add_test(tc, values_go_where_the_table_says);
	tcase_add_test(tc, switches_work_without_a_value_and_with_no_in_front);
	tcase_add_test(tc, the_last_of_two_values_wins);
	tcase_add_test(tc, bad_values_are_refused_by_the_property_s_name);
	tcase_add_test(tc, an_unknown_property_is_named_with_the_nearest);
	tcase_add_test(tc, a_list_has_an_end);
	tcase_add_test(tc, ids_are_plain_words);
	tcase_add_test(tc, the_nearest_name_is_what_was_meant);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
