/*
 * Editing of one line over any stream of bytes: keys go in, what a terminal should show comes out. Knows no terminal, so that it serves
 * sockets, ptys and tests alike.
 */
#ifndef VMM_LINEEDIT_H
#define VMM_LINEEDIT_H

#include <stddef.h>

#include "vmm/monitor_text.h"

/* Longer lines are cut off by the bell. */
#define LINEEDIT_MAX_LINE 1023

struct lineedit;

enum lineedit_event {
	LINEEDIT_NONE,
	LINEEDIT_LINE, /* Enter: lineedit_line() is the line; call lineedit_begin() when its output is printed */
	LINEEDIT_COMPLETE, /* Tab: lineedit_line() up to lineedit_cursor() wants completing, by lineedit_insert() or lineedit_redraw() */
};

/* Output goes to out, which must outlive it. prompt is kept by reference. Returns NULL when memory is short. */
struct lineedit *lineedit_new(const char *prompt, struct monitor_text *out);
void lineedit_free(struct lineedit *le);

/* Prints the prompt and begins an empty line. */
void lineedit_begin(struct lineedit *le);
/* Prints prompt and line again, after something else was printed. */
void lineedit_redraw(struct lineedit *le);
/* One byte from the terminal. */
enum lineedit_event lineedit_feed(struct lineedit *le, char byte);
/* Inserts text at the cursor as if typed. */
void lineedit_insert(struct lineedit *le, const char *text, size_t len);

const char *lineedit_line(const struct lineedit *le);
size_t lineedit_cursor(const struct lineedit *le); /* bytes in front of it */

#endif
