/* See top_view.h. The columns have esxtop's names, where it has them. */
#include "cli/top_view.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/output.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

enum format { TEXT, SIZE, RATE, PERCENT };

static const struct column {
	const char *name, *member;
	bool in_use; /* a member of `use`, not of the row itself */
	enum format format;
	int width;
} columns[] = {
	{"NAME", "name", false, TEXT, -16},
	{"STATE", "state", false, TEXT, -8},
	{"MEMSZ", "memory", false, SIZE, 6},
	{"GRANT", "granted", true, SIZE, 6},
	{"SZTGT", "target", true, SIZE, 6},
	{"ACTV", "active", true, SIZE, 6},
	{"SHRD", "shared", true, SIZE, 6},
	{"ZERO", "zero", true, SIZE, 6},
	{"MCTLSZ", "balloon", true, SIZE, 6},
	{"ZIP", "compressed", true, SIZE, 6},
	{"CACHEUSD", "compressed-memory", true, SIZE, 8},
	{"SWCUR", "swapped", true, SIZE, 6},
	{"SWR/s", "swap-in", true, SIZE, 6},
	{"SWW/s", "swap-out", true, SIZE, 6},
	{"FLT/s", "faults", true, RATE, 7},
	{"STALL%", "stall", true, PERCENT, 6},
};

const char *top_column_name(unsigned column)
{
	return column < COUNT_OF(columns) ? columns[column].name : NULL;
}

int top_column_find(const char *name)
{
	for (unsigned i = 0; i < COUNT_OF(columns); i++)
		if (!strcasecmp(name, columns[i].name))
			return (int)i;
	return -1;
}

/* --- lines --- */

__attribute__((format(printf, 3, 4))) static void line(struct top_view *v, enum top_kind kind, const char *fmt, ...)
{
	char *text = NULL;
	va_list args;
	if (v->nr_lines == v->room) {
		size_t room = v->room ? v->room * 2 : 64;
		struct top_line *more = realloc(v->lines, room * sizeof(*more));
		if (!more)
			return;
		v->lines = more;
		v->room = room;
	}
	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		text = NULL;
	va_end(args);
	if (text)
		v->lines[v->nr_lines++] = (struct top_line){text, kind};
}

static void clear(struct top_view *v)
{
	for (size_t i = 0; i < v->nr_lines; i++)
		free(v->lines[i].text);
	v->nr_lines = 0;
}

void top_view_free(struct top_view *v)
{
	clear(v);
	free(v->lines);
	v->lines = NULL;
	v->room = 0;
}

/* --- the host --- */

struct sized {
	char text[OUTPUT_SIZE];
};

static struct sized size_of(double bytes)
{
	struct sized s;
	output_size(bytes, s.text);
	return s;
}

static struct sized host_size(const struct top_view *v, const char *member)
{
	return size_of(output_number(v->host, member));
}

static void make_host(struct top_view *v, const char *clock)
{
	const json_t *psi = json_object_get(v->host, "psi"), *guests = json_object_get(v->host, "guests");
	const char *state = output_string(v->host, "state");
	bool alarm = !strcmp(state, "hard") || !strcmp(state, "low");
	double zipped = output_number(v->host, "compressed") - output_number(v->host, "compressed-memory");
	line(v, TOP_TITLE, "pagoda top  %s   %.0f guests run, %.0f paused, %.0f crashed   page: %s", clock,
	     output_number(guests, "running"), output_number(guests, "paused"), output_number(guests, "crashed"),
	     v->page == TOP_NODES     ? "nodes"
	     : v->page == TOP_EXPLAIN ? "explain"
	     : v->page == TOP_HELP    ? "help"
				      : "guests");
	line(v, alarm ? TOP_ALARM : TOP_PLAIN,
	     "State %-5s  Budget %s  Free %s  Granted %s  Reserve %s  PSI some %.1f%% full %.1f%%", *state ? state : "?",
	     host_size(v, "budget").text, host_size(v, "free").text, host_size(v, "granted").text, host_size(v, "reserve").text,
	     output_number(psi, "some-avg10"), output_number(psi, "full-avg10"));
	line(v, TOP_PLAIN, "Guests' memory %s  Saved: sharing %s, compression %s, swap %s, balloon %s, zero %s",
	     host_size(v, "guest-memory").text, host_size(v, "saved").text, size_of(zipped > 0 ? zipped : 0).text,
	     host_size(v, "swapped").text, host_size(v, "balloon").text, host_size(v, "zero").text);
	line(v, TOP_PLAIN, "%s", "");
}

/* --- guests --- */

static const json_t *value(const struct column *c, const json_t *row)
{
	return json_object_get(c->in_use ? json_object_get(row, "use") : row, c->member);
}

static void format(const struct column *c, const json_t *row, char *text, size_t len)
{
	const json_t *x = value(c, row);
	char size[OUTPUT_SIZE];
	if (!x)
		snprintf(text, len, "%s", "-");
	else if (c->format == TEXT)
		snprintf(text, len, "%s", json_string_value(x) ? json_string_value(x) : "");
	else if (c->format == SIZE)
		snprintf(text, len, "%s", output_size(json_number_value(x), size));
	else
		snprintf(text, len, c->format == RATE ? "%.0f" : "%.1f", json_number_value(x) * (c->format == PERCENT ? 100 : 1));
}

struct sorted {
	const json_t *row;
	const struct top_view *view;
};

static int compare(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;
	const struct column *c = &columns[x->view->sort];
	int order;
	if (c->format == TEXT) {
		order = strcmp(output_string(x->row, c->member), output_string(y->row, c->member));
	} else {
		double p = json_number_value(value(c, x->row)), q = json_number_value(value(c, y->row));
		order = p > q ? -1 : p < q;
	}
	/* Equal ones keep their places from one look to the next. */
	if (order == 0)
		return strcmp(output_string(x->row, "name"), output_string(y->row, "name"));
	return x->view->reverse ? -order : order;
}

/* Cut to the width; of a column of text by characters. */
static void append(char *to, size_t len, int width, const char *text)
{
	size_t used = strlen(to);
	if (used + 1 < len)
		snprintf(to + used, len - used, "%*.*s ", width, width < 0 ? -width : 100, text);
}

static void make_guests(struct top_view *v)
{
	size_t nr = json_array_size(v->guests), i;
	struct sorted *rows = calloc(nr + 1, sizeof(*rows));
	char text[512] = "", cell[80];
	json_t *row;
	for (unsigned c = 0; c < COUNT_OF(columns); c++) {
		snprintf(cell, sizeof(cell), "%s%s", columns[c].name, c == v->sort ? (v->reverse ? "^" : "v") : "");
		append(text, sizeof(text), columns[c].width, cell);
	}
	line(v, TOP_HEADER, "%s", text);
	if (!rows)
		return;
	json_array_foreach(v->guests, i, row) rows[i] = (struct sorted){row, v};
	qsort(rows, nr, sizeof(*rows), compare);
	if (v->selected >= nr)
		v->selected = nr ? nr - 1 : 0;
	*v->guest = '\0';
	for (i = 0; i < nr; i++) {
		bool crashed = !strcmp(output_string(rows[i].row, "state"), "crashed");
		*text = '\0';
		for (unsigned c = 0; c < COUNT_OF(columns); c++) {
			format(&columns[c], rows[i].row, cell, sizeof(cell));
			append(text, sizeof(text), columns[c].width, cell);
		}
		if (i == v->selected)
			snprintf(v->guest, sizeof(v->guest), "%s", output_string(rows[i].row, "name"));
		line(v, i == v->selected ? TOP_SELECTED : crashed ? TOP_ALARM : TOP_PLAIN, "%s", text);
	}
	free(rows);
	if (nr == 0)
		line(v, TOP_PLAIN, "no guests are defined: pagoda run NAME memory=1G kernel=... starts one");
}

/* --- the other pages --- */

static void make_nodes(struct top_view *v)
{
	json_t *node, *guest;
	size_t i, k;
	json_array_foreach(v->nodes, i, node)
	{
		double memory = output_number(node, "memory"), unused = output_number(node, "free");
		line(v, TOP_HEADER, "NODE %.0f  CPUs %s  %s, free %s (%.0f %%), shared pages %s", output_number(node, "node"),
		     output_string(node, "cpus"), size_of(memory).text, size_of(unused).text,
		     memory > 0 ? unused * 100 / memory : 0, size_of(output_number(node, "pool")).text);
		json_array_foreach(json_object_get(node, "guests"), k, guest)
			line(v, TOP_PLAIN, "  %-20.20s %7s", output_string(guest, "guest"),
			     size_of(output_number(guest, "resident")).text);
	}
	if (json_array_size(v->nodes) == 0)
		line(v, TOP_PLAIN, "nothing is known of nodes yet");
}

static void make_why(struct top_view *v)
{
	double target = output_number(v->why, "target");
	json_t *sentence;
	size_t i;
	if (!v->why) {
		line(v, TOP_PLAIN, "nothing is known of a guest yet");
		return;
	}
	line(v, TOP_HEADER, "%s: %s%s (%s)", output_string(v->why, "guest"), target > 0 ? "target " : "no limit",
	     target > 0 ? size_of(target).text : "", output_string(v->why, "rule"));
	json_array_foreach(json_object_get(v->why, "sentences"), i, sentence)
		line(v, TOP_PLAIN, "  %s", json_string_value(sentence) ? json_string_value(sentence) : "");
	line(v, TOP_HEADER, "the host");
	json_array_foreach(json_object_get(v->why, "host"), i, sentence)
		line(v, TOP_PLAIN, "  %s", json_string_value(sentence) ? json_string_value(sentence) : "");
}

static void make_help(struct top_view *v)
{
	static const char *const keys[] = {
		"up, down      select a guest",
		"left, right   sort by another column",
		"r             the other way round",
		"g  n  e       guests, nodes, why the selected guest's target is what it is",
		"space         look now",
		"+  -          look less or more often",
		"h  q          this page, end",
		"",
		"MEMSZ what the guest has   GRANT what it takes of the host   SZTGT its target   ACTV its working set",
		"SHRD from the pool of equal pages   ZERO kept nowhere   MCTLSZ balloon   ZIP compressed   CACHEUSD memory of that",
		"SWCUR in its swap file   SWR/s SWW/s from and to it   FLT/s faults served",
		"STALL% time that it waited for memory"};
	for (unsigned i = 0; i < COUNT_OF(keys); i++)
		line(v, TOP_PLAIN, "  %s", keys[i]);
}

void top_view_make(struct top_view *v, const char *clock)
{
	clear(v);
	make_host(v, clock);
	switch (v->page) {
	case TOP_GUESTS:
		make_guests(v);
		break;
	case TOP_NODES:
		make_nodes(v);
		break;
	case TOP_EXPLAIN:
		make_why(v);
		break;
	case TOP_HELP:
		make_help(v);
		break;
	}
}
