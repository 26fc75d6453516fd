/* What the commands print: sizes for people, tables, JSON for programs. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define OUTPUT_SIZE 24

/* Bytes as "0", "812K", "1.5G": three digits or so. Returns text. */
const char *output_size(double bytes, char text[OUTPUT_SIZE]);
/* Seconds as "12s", "3m05s", "2h10m", "4d03h". Returns text. */
const char *output_duration(double seconds, char text[OUTPUT_SIZE]);

/* Prints it, indented, and a newline. Returns 0, or -EIO when that failed. */
int output_json(const json_t *value);

/*
 * A table that is as wide as what is in it. Fill it row by row; a cell that is missing is empty. Columns whose header begins with '>' are
 * aligned to the right, without that sign. When memory runs out, cells stay empty.
 */
struct table {
	const char *const *headers;
	unsigned nr_columns;
	char **cells;
	size_t nr_cells, room;
};

void table_init(struct table *t, const char *const headers[], unsigned nr_columns);
void table_add(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_add_size(struct table *t, double bytes);
/* Fills what is left of the row. */
void table_end_row(struct table *t);
/* Prints and frees it. */
void table_print(struct table *t, FILE *to);

/* Members of an object that came from the daemon: of the wrong type counts as absent. "" and 0 then. */
const char *output_string(const json_t *object, const char *member);
double output_number(const json_t *object, const char *member);

#endif
