/*
 * The nearest of several names to what somebody typed, so that an error can say "did you mean -drive?".
 *
 * Distance: the fewest insertions, deletions, substitutions and swaps of neighbours that make one of the other (optimal string
 * alignment, after F. Damerau, "A technique for computer detection and correction of spelling errors", 1964).
 */
#include "base/nearest.h"

#include <stdio.h>
#include <string.h>

#define MAX_NAME 48

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	/* Three rows of the table suffice: this one, the last, and the one before for swaps. */
	unsigned rows[3][MAX_NAME + 1];
	for (size_t j = 0; j <= b_len; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		unsigned *row = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned d = last[j - 1] + (a[i - 1] != b[j - 1]);
			d = least(d, least(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d = least(d, before[j - 2] + 1);
			row[j] = d;
		}
	}
	return rows[a_len % 3][b_len];
}

void nearest_start(struct nearest *n, const char *typed)
{
	*n = (struct nearest){.typed = typed};
}

void nearest_try(struct nearest *n, const char *name)
{
	size_t typed_len = strlen(n->typed), name_len = strlen(name);
	if (typed_len < 2 || typed_len > MAX_NAME || name_len > MAX_NAME)
		return;
	unsigned d = distance(n->typed, typed_len, name, name_len);
	size_t shorter = typed_len < name_len ? typed_len : name_len, longer = typed_len < name_len ? name_len : typed_len;
	/* One starts the other: cut short, or a suffix too many. */
	if (shorter >= 3 && !strncmp(n->typed, name, shorter))
		d = least(d, 2);
	/* More than half of it different is another word. */
	if (d * 2 > longer)
		return;
	if (!n->best || d < n->best_distance) {
		n->best = name;
		n->best_distance = d;
	}
}

const char *nearest_name(const struct nearest *n)
{
	return n->best;
}

const char *nearest_hint(const struct nearest *n, const char *prefix, char *buf, size_t size)
{
	if (n->best)
		snprintf(buf, size, "; did you mean %s%s?", prefix, n->best);
	else
		snprintf(buf, size, "%s", "");
	return buf;
}
