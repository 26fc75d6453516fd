/* What `pagoda top` shows, as lines of text, made of the daemon's answers: no terminal is needed to make them. */
#ifndef CLI_TOP_VIEW_H
#define CLI_TOP_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum top_page { TOP_GUESTS, TOP_NODES, TOP_EXPLAIN, TOP_HELP };

enum top_kind { TOP_PLAIN, TOP_TITLE, TOP_HEADER, TOP_SELECTED, TOP_ALARM };

struct top_line {
	char *text; /* UTF-8, of any length */
	enum top_kind kind;
};

struct top_view {
	enum top_page page;
	unsigned sort;   /* number of a column */
	bool reverse;    /* the smallest first (names: the last first) */
	size_t selected; /* of the guests that are shown */
	char guest[64];  /* that is selected, "" for none */
	/* What came last from the daemon; borrowed. NULL: nothing has come. */
	const json_t *host, *guests, *nodes, *why;
	struct top_line *lines;
	size_t nr_lines, room;
};

/* Makes the lines anew. clock: what time it is, as text. */
void top_view_make(struct top_view *v, const char *clock);
void top_view_free(struct top_view *v);

/* Columns of the guests' page; NULL behind the last one. */
const char *top_column_name(unsigned column);
/* The column of that name, in any case of letters; -1: there is none. */
int top_column_find(const char *name);

#endif
