/*
 * See lineedit.h. Keys are Emacs's, as in every shell:
 *
 *   Ctrl-A Ctrl-E Home End      ends of the line          Ctrl-H Backspace   delete before the cursor
 *   Ctrl-B Ctrl-F Left Right    one character             Ctrl-D Delete      delete at it
 *   Alt-B Alt-F Ctrl-Left ...   one word                  Ctrl-W             delete the word before
 *   Ctrl-P Ctrl-N Up Down       history                   Ctrl-U Ctrl-K      delete to the start, to the end
 *   Ctrl-C                      give the line up          Ctrl-Y             insert what was deleted last
 *   Ctrl-R                      search history            Ctrl-L             clear the screen
 *
 * A byte sequence of UTF-8 counts as one character, one column wide. Lines are taken to fit the terminal.
 *
 *   state: plain --ESC--> escape --'['--> control sequence --final byte--> plain      Ctrl-R: searching, until a key that ends it
 */
#include "vmm/lineedit.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_SIZE 64
#define CTRL(letter) ((letter)&0x1f)

struct lineedit {
	const char *prompt;
	struct monitor_text *out;
	enum { PLAIN, ESCAPE, SEQUENCE, SEARCH } state;
	char parameters[16]; /* of a control sequence */
	size_t nr_parameters;

	char line[LINEEDIT_MAX_LINE + 1];
	size_t len, cursor;
	char killed[LINEEDIT_MAX_LINE + 1]; /* Ctrl-Y brings it back */
	size_t killed_len;

	char *history[HISTORY_SIZE]; /* oldest first */
	size_t nr_history;
	size_t browsed; /* what Up and Down show; nr_history: the line itself, kept in draft */
	char draft[LINEEDIT_MAX_LINE + 1];
	char search[64];
	size_t search_len, found;
	bool after_return; /* a line feed that follows a carriage return is part of it */
};

struct lineedit *lineedit_new(const char *prompt, struct monitor_text *out)
{
	struct lineedit *le = calloc(1, sizeof(*le));
	if (le) {
		le->prompt = prompt;
		le->out = out;
	}
	return le;
}

void lineedit_free(struct lineedit *le)
{
	if (!le)
		return;
	for (size_t i = 0; i < le->nr_history; i++)
		free(le->history[i]);
	free(le);
}

const char *lineedit_line(const struct lineedit *le)
{
	return le->line;
}

size_t lineedit_cursor(const struct lineedit *le)
{
	return le->cursor;
}

/* --- what the terminal shows --- */

static void show(struct lineedit *le, const char *text)
{
	monitor_text_add(le->out, text, strlen(text));
}

static bool is_continuation(char byte)
{
	return ((unsigned char)byte & 0xc0) == 0x80;
}

static size_t columns(const char *text, size_t len)
{
	size_t nr = 0;
	for (size_t i = 0; i < len; i++)
		nr += !is_continuation(text[i]);
	return nr;
}

static void move_columns(struct lineedit *le, size_t nr, char direction)
{
	if (nr == 1 && direction == 'D')
		show(le, "\b");
	else if (nr)
		monitor_text_printf(le->out, "\x1b[%zu%c", nr, direction);
}

/* Shows what stands from the cursor on, clears what stood behind it, and goes back. */
static void show_tail(struct lineedit *le)
{
	monitor_text_add(le->out, le->line + le->cursor, le->len - le->cursor);
	show(le, "\x1b[K");
	move_columns(le, columns(le->line + le->cursor, le->len - le->cursor), 'D');
}

void lineedit_redraw(struct lineedit *le)
{
	show(le, "\r\x1b[K");
	show(le, le->prompt);
	monitor_text_add(le->out, le->line, le->cursor);
	show_tail(le);
}

static void move_to(struct lineedit *le, size_t to)
{
	if (to < le->cursor)
		move_columns(le, columns(le->line + to, le->cursor - to), 'D');
	else
		move_columns(le, columns(le->line + le->cursor, to - le->cursor), 'C');
	le->cursor = to;
}

/* --- the line --- */

void lineedit_insert(struct lineedit *le, const char *text, size_t len)
{
	if (len > LINEEDIT_MAX_LINE - le->len) {
		show(le, "\a");
		return;
	}
	bool at_end = le->cursor == le->len;
	memmove(le->line + le->cursor + len, le->line + le->cursor, le->len - le->cursor + 1);
	memcpy(le->line + le->cursor, text, len);
	le->len += len;
	le->cursor += len;
	monitor_text_add(le->out, text, len);
	if (!at_end)
		show_tail(le);
}

/* Deletes from the cursor to another place, on either side. */
static void delete_to(struct lineedit *le, size_t to, bool keep)
{
	size_t from = le->cursor, end = to;
	if (to < from) {
		from = to;
		end = le->cursor;
	}
	if (from == end)
		return;
	if (keep) {
		le->killed_len = end - from;
		memcpy(le->killed, le->line + from, le->killed_len);
	}
	move_to(le, from);
	memmove(le->line + from, le->line + end, le->len - end + 1);
	le->len -= end - from;
	show_tail(le);
}

static size_t previous_character(const struct lineedit *le)
{
	size_t at = le->cursor;
	while (at > 0 && is_continuation(le->line[--at]))
		;
	return at;
}

static size_t next_character(const struct lineedit *le)
{
	size_t at = le->cursor;
	if (at < le->len)
		at++;
	while (at < le->len && is_continuation(le->line[at]))
		at++;
	return at;
}

static size_t previous_word(const struct lineedit *le)
{
	size_t at = le->cursor;
	while (at > 0 && le->line[at - 1] == ' ')
		at--;
	while (at > 0 && le->line[at - 1] != ' ')
		at--;
	return at;
}

static size_t next_word(const struct lineedit *le)
{
	size_t at = le->cursor;
	while (at < le->len && le->line[at] == ' ')
		at++;
	while (at < le->len && le->line[at] != ' ')
		at++;
	return at;
}

static void set_line(struct lineedit *le, const char *text)
{
	le->len = strlen(text);
	memmove(le->line, text, le->len + 1);
	le->cursor = le->len;
}

static void clear_line(struct lineedit *le)
{
	set_line(le, "");
	le->browsed = le->nr_history;
	le->state = PLAIN;
}

void lineedit_begin(struct lineedit *le)
{
	clear_line(le);
	show(le, le->prompt);
}

/* --- history --- */

static void remember(struct lineedit *le)
{
	if (le->len == 0 || (le->nr_history && !strcmp(le->history[le->nr_history - 1], le->line)))
		return;
	char *copy = strdup(le->line);
	if (!copy)
		return; /* A line less to come back to. */
	if (le->nr_history == HISTORY_SIZE) {
		free(le->history[0]);
		memmove(le->history, le->history + 1, (HISTORY_SIZE - 1) * sizeof(le->history[0]));
		le->nr_history--;
	}
	le->history[le->nr_history++] = copy;
}

static void browse(struct lineedit *le, size_t to)
{
	if (to > le->nr_history)
		return;
	if (le->browsed == le->nr_history)
		memcpy(le->draft, le->line, le->len + 1);
	le->browsed = to;
	set_line(le, to == le->nr_history ? le->draft : le->history[to]);
	lineedit_redraw(le);
}

static void show_search(struct lineedit *le)
{
	monitor_text_printf(le->out, "\r\x1b[K(search) `%.*s': %s", (int)le->search_len, le->search, le->line);
}

/* Finds the newest line before place `before` that contains what was typed. */
static void search_before(struct lineedit *le, size_t before)
{
	le->search[le->search_len] = '\0';
	for (size_t i = before; i > 0; i--) {
		if (strstr(le->history[i - 1], le->search)) {
			le->found = i - 1;
			set_line(le, le->history[i - 1]);
			show_search(le);
			return;
		}
	}
	show(le, "\a");
	show_search(le);
}

/* Returns false for a key that ends the search and means what it always means. */
static bool feed_search(struct lineedit *le, char byte)
{
	if (byte == CTRL('R')) {
		search_before(le, le->found);
		return true;
	}
	if ((byte == 0x7f || byte == CTRL('H')) && le->search_len > 0) {
		le->search_len--;
		search_before(le, le->nr_history);
		return true;
	}
	if ((unsigned char)byte >= ' ' && byte != 0x7f && le->search_len + 1 < sizeof(le->search)) {
		le->search[le->search_len++] = byte;
		search_before(le, le->found < le->nr_history ? le->found + 1 : le->nr_history);
		return true;
	}
	le->state = PLAIN;
	lineedit_redraw(le);
	return byte == CTRL('G');
}

/* --- keys --- */

static void feed_sequence(struct lineedit *le, char final)
{
	le->parameters[le->nr_parameters] = '\0';
	int first = atoi(le->parameters);
	/* "1;5C" is Ctrl-Right, "1;3C" Alt-Right. */
	bool word = strstr(le->parameters, ";5") || strstr(le->parameters, ";3");
	switch (final) {
	case 'A':
		browse(le, le->browsed ? le->browsed - 1 : 0);
		break;
	case 'B':
		browse(le, le->browsed + 1);
		break;
	case 'C':
		move_to(le, word ? next_word(le) : next_character(le));
		break;
	case 'D':
		move_to(le, word ? previous_word(le) : previous_character(le));
		break;
	case 'H':
		move_to(le, 0);
		break;
	case 'F':
		move_to(le, le->len);
		break;
	case '~':
		if (first == 1 || first == 7)
			move_to(le, 0);
		else if (first == 4 || first == 8)
			move_to(le, le->len);
		else if (first == 3)
			delete_to(le, next_character(le), false);
		break;
	default:
		break;
	}
}

static void feed_escape(struct lineedit *le, char byte)
{
	le->state = PLAIN;
	switch (byte) {
	case '[':
	case 'O':
		le->state = SEQUENCE;
		le->nr_parameters = 0;
		break;
	case 'b':
		move_to(le, previous_word(le));
		break;
	case 'f':
		move_to(le, next_word(le));
		break;
	case 'd':
		delete_to(le, next_word(le), true);
		break;
	case 0x7f:
		delete_to(le, previous_word(le), true);
		break;
	default:
		break;
	}
}

static enum lineedit_event enter(struct lineedit *le)
{
	show(le, "\r\n");
	remember(le);
	return LINEEDIT_LINE;
}

static enum lineedit_event feed_plain(struct lineedit *le, char byte)
{
	switch (byte) {
	case '\r':
	case '\n':
		return enter(le);
	case '\t':
		return LINEEDIT_COMPLETE;
	case 0x1b:
		le->state = ESCAPE;
		break;
	case CTRL('A'):
		move_to(le, 0);
		break;
	case CTRL('E'):
		move_to(le, le->len);
		break;
	case CTRL('B'):
		move_to(le, previous_character(le));
		break;
	case CTRL('F'):
		move_to(le, next_character(le));
		break;
	case CTRL('H'):
	case 0x7f:
		delete_to(le, previous_character(le), false);
		break;
	case CTRL('D'):
		delete_to(le, next_character(le), false);
		break;
	case CTRL('K'):
		delete_to(le, le->len, true);
		break;
	case CTRL('U'):
		delete_to(le, 0, true);
		break;
	case CTRL('W'):
		delete_to(le, previous_word(le), true);
		break;
	case CTRL('Y'):
		lineedit_insert(le, le->killed, le->killed_len);
		break;
	case CTRL('P'):
		browse(le, le->browsed ? le->browsed - 1 : 0);
		break;
	case CTRL('N'):
		browse(le, le->browsed + 1);
		break;
	case CTRL('R'):
		le->state = SEARCH;
		le->search_len = 0;
		le->found = le->nr_history;
		show_search(le);
		break;
	case CTRL('L'):
		show(le, "\x1b[2J\x1b[H");
		lineedit_redraw(le);
		break;
	case CTRL('C'):
		show(le, "^C\r\n");
		lineedit_begin(le);
		break;
	default:
		if ((unsigned char)byte >= ' ')
			lineedit_insert(le, &byte, 1);
		break;
	}
	return LINEEDIT_NONE;
}

enum lineedit_event lineedit_feed(struct lineedit *le, char byte)
{
	bool after_return = le->after_return;
	le->after_return = byte == '\r';
	if (byte == '\n' && after_return)
		return LINEEDIT_NONE;
	switch (le->state) {
	case ESCAPE:
		feed_escape(le, byte);
		return LINEEDIT_NONE;
	case SEQUENCE:
		if (isdigit((unsigned char)byte) || byte == ';') {
			if (le->nr_parameters + 1 < sizeof(le->parameters))
				le->parameters[le->nr_parameters++] = byte;
			return LINEEDIT_NONE;
		}
		le->state = PLAIN;
		feed_sequence(le, byte);
		return LINEEDIT_NONE;
	case SEARCH:
		return feed_search(le, byte) ? LINEEDIT_NONE : feed_plain(le, byte);
	case PLAIN:
	default:
		return feed_plain(le, byte);
	}
}
