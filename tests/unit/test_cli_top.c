/* The pages of `pagoda top`, made of answers as the daemon gives them, and of such as it should not. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/top_view.h"
#include "tests/unit/suite.h"

static struct top_view view;
static json_t *host, *guests, *nodes, *why;

static json_t *parse(const char *text)
{
	json_error_t error;
	json_t *value = json_loads(text, 0, &error);
	ck_assert_msg(value != NULL, "%s", error.text);
	return value;
}

static void set_up(void)
{
	host = parse("{\"budget\": 6442450944, \"free\": 1073741824, \"state\": \"soft\", \"granted\": 5368709120, \"reserve\": "
		     "104857600,"
		     " \"guest-memory\": 12884901888, \"saved\": 2147483648, \"compressed\": 805306368, \"compressed-memory\": "
		     "268435456,"
		     " \"psi\": {\"some-avg10\": 1.5, \"full-avg10\": 0.25}, \"guests\": {\"running\": 2, \"paused\": 0, "
		     "\"crashed\": 1}}");
	guests = parse("[{\"name\": \"db\", \"state\": \"running\", \"memory\": 1073741824, \"use\": {\"granted\": 536870912, "
		       "\"faults\": 12.4, \"stall\": 0.015}},"
		       " {\"name\": \"web\", \"state\": \"running\", \"memory\": 536870912, \"use\": {\"granted\": 268435456, "
		       "\"faults\": 99.0}},"
		       " {\"name\": \"old\", \"state\": \"crashed\", \"memory\": 4194304}]");
	nodes = parse("[{\"node\": 0, \"memory\": 8589934592, \"free\": 4294967296, \"cpus\": \"0-3\", \"guests\": [{\"guest\": "
		      "\"db\", \"resident\": 1048576}], \"pool\": 0}]");
	why = parse("{\"guest\": \"db\", \"target\": 536870912, \"rule\": \"shares\", \"sentences\": [\"The host is short.\", \"db "
		    "has much.\"]}");
	view = (struct top_view){
		.sort = (unsigned)top_column_find("grant"), .host = host, .guests = guests, .nodes = nodes, .why = why};
}

static void tear_down(void)
{
	top_view_free(&view);
	json_decref(host);
	json_decref(guests);
	json_decref(nodes);
	json_decref(why);
}

/* The number of the first line with that text, or -1. */
static int find(const char *text)
{
	for (size_t i = 0; i < view.nr_lines; i++)
		if (strstr(view.lines[i].text, text))
			return (int)i;
	return -1;
}

START_TEST(the_host_is_told_first)
{
	top_view_make(&view, "12:00:00");
	ck_assert_int_eq(find("12:00:00   2 guests run, 0 paused, 1 crashed"), 0);
	ck_assert_int_eq(find("State soft   Budget 6.0G  Free 1.0G  Granted 5.0G  Reserve 100M  PSI some 1.5% full 0.2%"), 1);
	ck_assert_int_eq(find("Guests' memory 12G  Saved: sharing 2.0G, compression 512M, swap 0, balloon 0"), 2);
	ck_assert_int_eq(view.lines[1].kind, TOP_PLAIN);
	json_object_set_new(host, "state", json_string("low"));
	top_view_make(&view, "12:00:00");
	ck_assert_int_eq(view.lines[1].kind, TOP_ALARM);
}
END_TEST

START_TEST(guests_are_sorted_by_the_column_that_is_chosen)
{
	top_view_make(&view, "");
	ck_assert_int_eq(find("NAME"), 4);
	ck_assert_int_eq(find("db "), 5);
	ck_assert_int_eq(find("web "), 6);
	ck_assert_int_eq(find("old "), 7);
	ck_assert_int_eq(view.lines[5].kind, TOP_SELECTED);
	ck_assert_int_eq(view.lines[7].kind, TOP_ALARM);
	ck_assert_str_eq(view.guest, "db");
	view.sort = (unsigned)top_column_find("FLT/s");
	top_view_make(&view, "");
	ck_assert_int_eq(find("web "), 5);
	ck_assert_ptr_nonnull(strstr(view.lines[4].text, "FLT/sv"));
	view.sort = (unsigned)top_column_find("NAME");
	top_view_make(&view, "");
	ck_assert_int_eq(find("db "), 5);
	ck_assert_int_eq(find("old "), 6);
	view.reverse = true;
	top_view_make(&view, "");
	ck_assert_int_eq(find("web "), 5);
}
END_TEST

START_TEST(what_does_not_apply_is_a_dash)
{
	top_view_make(&view, "");
	const char *line = view.lines[find("old ")].text;
	ck_assert_ptr_nonnull(strstr(line, "4.0M"));
	ck_assert_ptr_nonnull(strstr(line, " - "));
	ck_assert_ptr_nonnull(strstr(view.lines[find("db ")].text, "1.5"));
}
END_TEST

START_TEST(the_selected_guest_stays_within_the_list)
{
	view.selected = 100;
	top_view_make(&view, "");
	ck_assert_uint_eq(view.selected, 2);
	ck_assert_str_eq(view.guest, "old");
	json_array_clear(guests);
	top_view_make(&view, "");
	ck_assert_uint_eq(view.selected, 0);
	ck_assert_str_eq(view.guest, "");
	ck_assert_int_ge(find("no guests are defined"), 0);
}
END_TEST

START_TEST(other_pages_show_nodes_and_reasons)
{
	view.page = TOP_NODES;
	top_view_make(&view, "");
	ck_assert_int_ge(find("NODE 0  CPUs 0-3  8.0G, free 4.0G (50 %)"), 0);
	ck_assert_int_ge(find("db "), 0);
	view.page = TOP_EXPLAIN;
	top_view_make(&view, "");
	ck_assert_int_ge(find("db: target 512M (shares)"), 0);
	ck_assert_int_ge(find("The host is short."), 0);
	view.page = TOP_HELP;
	top_view_make(&view, "");
	ck_assert_int_ge(find("sort by another column"), 0);
}
END_TEST

START_TEST(answers_of_any_shape_are_survived)
{
	static const char *const shapes[] = {
		"null",
		"7",
		"\"x\"",
		"[]",
		"[1, null, [], {}]",
		"{\"psi\": 3, \"guests\": [], \"state\": {}}",
		"[{\"name\": 5, \"state\": [], \"use\": 3}, {\"use\": {\"granted\": \"x\", \"faults\": null}}]",
		"[{\"guests\": {\"a\": 1}}]",
		"{\"sentences\": 7}",
		"{\"sentences\": [1, null]}"};
	for (unsigned i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		json_t *any = json_loads(shapes[i], JSON_DECODE_ANY, NULL);
		ck_assert_ptr_nonnull(any);
		for (unsigned page = TOP_GUESTS; page <= TOP_HELP; page++)
			for (unsigned sort = 0; top_column_name(sort); sort++) {
				view.page = page;
				view.sort = sort;
				view.host = view.guests = view.nodes = view.why = any;
				top_view_make(&view, "");
				ck_assert_uint_ge(view.nr_lines, 4);
			}
		json_decref(any);
	}
	view.host = view.guests = view.nodes = view.why = NULL;
	for (unsigned page = TOP_GUESTS; page <= TOP_HELP; page++) {
		view.page = page;
		top_view_make(&view, "");
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cli_top");
	TCase *tests = tcase_create("top");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, the_host_is_told_first);
	tcase_add_test(tests, guests_are_sorted_by_the_column_that_is_chosen);
	tcase_add_test(tests, what_does_not_apply_is_a_dash);
	tcase_add_test(tests, the_selected_guest_stays_within_the_list);
	tcase_add_test(tests, other_pages_show_nodes_and_reasons);
	tcase_add_test(tests, answers_of_any_shape_are_survived);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
