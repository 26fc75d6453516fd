/* The nearest of several names to what somebody typed, for errors that help. */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include <stddef.h>

/*
 * The closest of several names to what somebody typed. Feed it all names, then ask. NULL when nothing is near.
 * (Damerau's distance: insertions, deletions, substitutions and swaps of neighbours.)
 */
struct nearest {
	const char *typed, *best;
	unsigned best_distance;
};
void nearest_start(struct nearest *n, const char *typed);
void nearest_try(struct nearest *n, const char *name);
const char *nearest_name(const struct nearest *n);
/* A hint to append to an error: "; did you mean X?", with prefix in front of X, or "". Returns buf. */
const char *nearest_hint(const struct nearest *n, const char *prefix, char *buf, size_t size);

#endif
