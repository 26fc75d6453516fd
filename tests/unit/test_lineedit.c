/* Line editing: keys in, the line and what a terminal would show out. A small model of a terminal checks the latter. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/suite.h"
#include "vmm/lineedit.h"

#define PROMPT "> "
#define UP "\x1b[A"
#define DOWN "\x1b[B"
#define RIGHT "\x1b[C"
#define LEFT "\x1b[D"

static struct lineedit *le;
static struct monitor_text out;
static char entered[LINEEDIT_MAX_LINE + 1];
static unsigned nr_lines;

/* One row of a terminal, wide enough. Columns hold bytes of ASCII. */
static struct {
	char row[8192];
	size_t column;
	unsigned bells;
} screen;

static void put_on_screen(char c)
{
	size_t len = strlen(screen.row);
	ck_assert_uint_lt(screen.column, sizeof(screen.row) - 1);
	if (screen.column >= len)
		screen.row[screen.column + 1] = '\0';
	screen.row[screen.column++] = c;
}

static const char *control_sequence(const char *at)
{
	char *end;
	unsigned long nr = strtoul(at, &end, 10);
	switch (*end) {
	case 'C':
		screen.column += nr ? nr : 1;
		break;
	case 'D':
		ck_assert_uint_ge(screen.column, nr ? nr : 1);
		screen.column -= nr ? nr : 1;
		break;
	case 'K':
		screen.row[screen.column] = '\0';
		break;
	case 'H':
	case 'J':
		break;
	default:
		ck_abort_msg("strange control sequence");
	}
	return end;
}

static void show_output(void)
{
	for (const char *at = out.data; at && *at; at++) {
		if (*at == '\x1b') {
			ck_assert_int_eq(at[1], '[');
			at = control_sequence(at + 2);
		} else if (*at == '\r') {
			screen.column = 0;
		} else if (*at == '\n') {
			memset(screen.row, 0, sizeof(screen.row));
		} else if (*at == '\b') {
			ck_assert_uint_gt(screen.column, 0);
			screen.column--;
		} else if (*at == '\a') {
			screen.bells++;
		} else {
			put_on_screen(*at);
		}
	}
	monitor_text_free(&out);
}

static void type_bytes(const char *keys, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		switch (lineedit_feed(le, keys[i])) {
		case LINEEDIT_LINE:
			nr_lines++;
			snprintf(entered, sizeof(entered), "%s", lineedit_line(le));
			lineedit_begin(le);
			break;
		case LINEEDIT_COMPLETE:
			lineedit_insert(le, "<tab>", 5);
			break;
		case LINEEDIT_NONE:
			break;
		}
		show_output();
	}
}

static void type(const char *keys)
{
	type_bytes(keys, strlen(keys));
}

/* The line, with '|' for the cursor; and the screen shows just that. */
static void expect(const char *text)
{
	char line[LINEEDIT_MAX_LINE + 2];
	size_t cursor = lineedit_cursor(le);
	snprintf(line, sizeof(line), "%.*s|%s", (int)cursor, lineedit_line(le), lineedit_line(le) + cursor);
	ck_assert_str_eq(line, text);
	char row[sizeof(screen.row)];
	snprintf(row, sizeof(row), PROMPT "%s", lineedit_line(le));
	ck_assert_str_eq(screen.row, row);
	ck_assert_uint_eq(screen.column, strlen(PROMPT) + cursor);
}

static void set_up(void)
{
	memset(&screen, 0, sizeof(screen));
	nr_lines = 0;
	le = lineedit_new(PROMPT, &out);
	ck_assert_ptr_nonnull(le);
	lineedit_begin(le);
	show_output();
}

static void tear_down(void)
{
	lineedit_free(le);
	monitor_text_free(&out);
}

START_TEST(what_is_typed_is_shown_and_entered)
{
	type("info status");
	expect("info status|");
	type("\r");
	ck_assert_str_eq(entered, "info status");
	expect("|");
}
END_TEST

START_TEST(both_line_ends_together_are_one)
{
	type("a\r\nb\nc\r");
	ck_assert_uint_eq(nr_lines, 3);
	ck_assert_str_eq(entered, "c");
	type("\r\r\n\n");
	ck_assert_uint_eq(nr_lines, 6);
}
END_TEST

START_TEST(the_cursor_moves_by_keys_of_emacs_and_of_terminals)
{
	type("abc def");
	type("\x01");
	expect("|abc def");
	type("\x06\x06");
	expect("ab|c def");
	type("\x02");
	expect("a|bc def");
	type("\x05");
	expect("abc def|");
	type("\033b");
	expect("abc |def");
	type("\x1b[1;5D");
	expect("|abc def");
	type("\033f");
	expect("abc| def");
	type("\x1b[H");
	expect("|abc def");
	type("\x1b[F" LEFT);
	expect("abc de|f");
	type("\x1bOH" RIGHT);
	expect("a|bc def");
	type("\x1b[4~\x1b[1~");
	expect("|abc def");
	type(LEFT);
	expect("|abc def");
	type("\x05" RIGHT "\x06");
	expect("abc def|");
}
END_TEST

START_TEST(text_goes_in_and_out_anywhere)
{
	type("ac\x02"
	     "b");
	expect("ab|c");
	type("\x7f");
	expect("a|c");
	type("\x04");
	expect("a|");
	type("\x04\x08\x08");
	expect("|");
	type("one two three\x01\x1b[3~");
	expect("|ne two three");
	type("\x05\x17");
	expect("ne two |");
	type("\x19\x19");
	expect("ne two threethree|");
	type("\x01" RIGHT RIGHT "\x0b");
	expect("ne|");
	type("\x15");
	expect("|");
	type("\x19");
	expect("ne|");
	type(" x y\x01\033d\033d");
	expect("| y");
	type("\x05\x1b\x7f");
	expect(" |");
}
END_TEST

START_TEST(history_goes_up_and_down_and_keeps_the_draft)
{
	type("one\rtwo\rtwo\r\rthree\r");
	type("dra" UP);
	expect("three|");
	type(UP "\x10");
	expect("one|");
	type(UP);
	expect("one|");
	type(DOWN);
	expect("two|");
	type("x" DOWN "\x0e");
	expect("dra|");
	type(DOWN);
	expect("dra|");
	type(UP UP "!\r");
	ck_assert_str_eq(entered, "two!");
	type(UP);
	expect("two!|");
}
END_TEST

START_TEST(history_forgets_the_oldest)
{
	char line[32];
	for (int i = 0; i < 100; i++) {
		snprintf(line, sizeof(line), "line%d\r", i);
		type(line);
	}
	for (int i = 0; i < 100; i++)
		type(UP);
	expect("line36|");
}
END_TEST

START_TEST(history_is_searched)
{
	type("info block\rinfo status\rstop\r\x12"
	     "bl");
	ck_assert_str_eq(lineedit_line(le), "info block");
	type("\x05");
	expect("info block|");
	type("\x15\x12info");
	ck_assert_str_eq(lineedit_line(le), "info status");
	type("\x12");
	ck_assert_str_eq(lineedit_line(le), "info block");
	type("\x12");
	ck_assert_uint_eq(screen.bells, 1);
	type("\r");
	ck_assert_str_eq(entered, "info block");
	type("\x12nowhere");
	ck_assert_uint_gt(screen.bells, 1);
	type("\x7f\x07");
	expect("info block|");
}
END_TEST

START_TEST(a_line_can_be_given_up)
{
	type("quit\x03");
	expect("|");
	ck_assert_uint_eq(nr_lines, 0);
	type("a\r");
	ck_assert_str_eq(entered, "a");
}
END_TEST

START_TEST(tab_asks_for_completion)
{
	type("in\t");
	expect("in<tab>|");
}
END_TEST

START_TEST(a_line_that_is_too_long_rings_and_stays)
{
	for (int i = 0; i < LINEEDIT_MAX_LINE; i++)
		type("a");
	ck_assert_uint_eq(screen.bells, 0);
	type("b");
	ck_assert_uint_eq(screen.bells, 1);
	ck_assert_uint_eq(strlen(lineedit_line(le)), LINEEDIT_MAX_LINE);
	type("\x01"
	     "b\x7f");
	ck_assert_uint_eq(screen.bells, 2);
	ck_assert_int_eq(lineedit_line(le)[0], 'a');
}
END_TEST

START_TEST(characters_of_several_bytes_are_deleted_whole)
{
	type("a\xc3\xa9"
	     "b\x02\x7f");
	ck_assert_str_eq(lineedit_line(le), "ab");
	type("\x15\x0b\xe2\x82\xac"
	     "x\x01\x04");
	ck_assert_str_eq(lineedit_line(le), "x");
}
END_TEST

START_TEST(unknown_sequences_do_nothing)
{
	type("ab\x1b[99;99;99;99;99;99;99zc\x1bx\x1b[Z\x1d\x1c");
	expect("abc|");
}
END_TEST

START_TEST(random_keys_leave_line_and_screen_alike)
{
	unsigned seed = 1000 + (unsigned)_i;
	static const char *const keys[] = {"a",     "b ",    " ",    LEFT,   RIGHT,  UP,     DOWN,     "\x01",
					   "\x05",  "\x7f",  "\x04", "\x17", "\x0b", "\x15", "\x19",   "\033b",
					   "\033f", "\033d", "word", "\r",   "\x03", "\x0c", "\x1b[3~"};
	for (int i = 0; i < 3000; i++) {
		type(keys[(size_t)rand_r(&seed) % (sizeof(keys) / sizeof(keys[0]))]);
		char line[LINEEDIT_MAX_LINE + 2];
		size_t cursor = lineedit_cursor(le);
		ck_assert_uint_le(cursor, strlen(lineedit_line(le)));
		snprintf(line, sizeof(line), "%.*s|%s", (int)cursor, lineedit_line(le), lineedit_line(le) + cursor);
		expect(line);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lineedit");
	TCase *tc = tcase_create("lineedit");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, what_is_typed_is_shown_and_entered);
	tcase_add_test(tc, both_line_ends_together_are_one);
	tcase_add_test(tc, the_cursor_moves_by_keys_of_emacs_and_of_terminals);
	tcase_add_test(tc, text_goes_in_and_out_anywhere);
	tcase_add_test(tc, history_goes_up_and_down_and_keeps_the_draft);
	tcase_add_test(tc, history_forgets_the_oldest);
	tcase_add_test(tc, history_is_searched);
	tcase_add_test(tc, a_line_can_be_given_up);
	tcase_add_test(tc, tab_asks_for_completion);
	tcase_add_test(tc, a_line_that_is_too_long_rings_and_stays);
	tcase_add_test(tc, characters_of_several_bytes_are_deleted_whole);
	tcase_add_test(tc, unknown_sequences_do_nothing);
	tcase_add_loop_test(tc, random_keys_leave_line_and_screen_alike, 0, 4);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
