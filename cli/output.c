/* See output.h. */
#include "cli/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *output_size(double bytes, char text[OUTPUT_SIZE])
{
	static const char units[] = "BKMGTPE";
	const char *sign = bytes < 0 ? "-" : "";
	double value = bytes < 0 ? -bytes : bytes;
	unsigned unit = 0;
	/* What would be rounded to 1024 has the next unit. */
	while (value >= 1023.5 && units[unit + 1]) {
		value /= 1024;
		unit++;
	}
	if (unit == 0)
		snprintf(text, OUTPUT_SIZE, "%s%.0f", sign, value);
	else
		snprintf(text, OUTPUT_SIZE, value < 9.95 ? "%s%.1f%c" : "%s%.0f%c", sign, value, units[unit]);
	return text;
}

const char *output_duration(double seconds, char text[OUTPUT_SIZE])
{
	unsigned long long s = seconds > 0 && seconds < 1e15 ? (unsigned long long)seconds : 0;
	if (s < 60)
		snprintf(text, OUTPUT_SIZE, "%llus", s);
	else if (s < 3600)
		snprintf(text, OUTPUT_SIZE, "%llum%02llus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(text, OUTPUT_SIZE, "%lluh%02llum", s / 3600, s / 60 % 60);
	else
		snprintf(text, OUTPUT_SIZE, "%llud%02lluh", s / 86400, s / 3600 % 24);
	return text;
}

int output_json(const json_t *value)
{
	char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
	int ret = text && printf("%s\n", text) >= 0 ? 0 : -EIO;
	free(text);
	return ret;
}

void table_init(struct table *t, const char *const headers[], unsigned nr_columns)
{
	*t = (struct table){.headers = headers, .nr_columns = nr_columns};
}

static void add(struct table *t, char *cell)
{
	if (t->nr_cells == t->room) {
		size_t room = t->room ? t->room * 2 : 64;
		char **more = realloc(t->cells, room * sizeof(*more));
		if (!more) {
			free(cell);
			return;
		}
		t->cells = more;
		t->room = room;
	}
	t->cells[t->nr_cells++] = cell;
}

void table_add(struct table *t, const char *fmt, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		text = NULL;
	va_end(args);
	add(t, text);
}

void table_add_size(struct table *t, double bytes)
{
	char text[OUTPUT_SIZE];
	table_add(t, "%s", output_size(bytes, text));
}

void table_end_row(struct table *t)
{
	while (t->nr_columns && t->nr_cells % t->nr_columns)
		add(t, NULL);
}

static const char *header(const struct table *t, unsigned column)
{
	return t->headers[column] + (*t->headers[column] == '>');
}

static const char *cell(const struct table *t, size_t row, unsigned column)
{
	const char *text = t->cells[row * t->nr_columns + column];
	return text ? text : "";
}

/* Columns that a terminal takes for the text: its UTF-8 characters. */
static int width(const char *text)
{
	int n = 0;
	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

static void print_cell(const struct table *t, unsigned column, const char *text, int columns, FILE *to)
{
	int space = columns - width(text);
	bool last = column + 1 == t->nr_columns;
	if (*t->headers[column] == '>')
		fprintf(to, "%*s%s", space, "", text);
	else
		fprintf(to, "%s%*s", text, last ? 0 : space, "");
	fputs(last ? "\n" : "  ", to);
}

void table_print(struct table *t, FILE *to)
{
	size_t rows = t->nr_columns ? t->nr_cells / t->nr_columns : 0;
	int *widths = calloc(t->nr_columns + 1, sizeof(*widths));
	for (unsigned c = 0; widths && c < t->nr_columns; c++) {
		widths[c] = width(header(t, c));
		for (size_t r = 0; r < rows; r++)
			if (width(cell(t, r, c)) > widths[c])
				widths[c] = width(cell(t, r, c));
	}
	for (unsigned c = 0; widths && c < t->nr_columns; c++)
		print_cell(t, c, header(t, c), widths[c], to);
	for (size_t r = 0; widths && r < rows; r++)
		for (unsigned c = 0; c < t->nr_columns; c++)
			print_cell(t, c, cell(t, r, c), widths[c], to);
	free(widths);
	for (size_t i = 0; i < t->nr_cells; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct table){.headers = NULL};
}

const char *output_string(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));
	return text ? text : "";
}

double output_number(const json_t *object, const char *member)
{
	return json_number_value(json_object_get(object, member));
}
