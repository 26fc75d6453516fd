/* The nearest of several names to what somebody typed, for errors that help. */
#ifndef VMM_OPTIONS_NEAREST_H
#define VMM_OPTIONS_NEAREST_H

#include <stddef.h>

/*
 * The closest of several names to what somebody typed. Feed it all names, then ask. NULL when nothing is near.
 * (Damerau's distance: insertions, deletions, substitutions and swaps of neighbours.)
 */
struct options_nearest {
	const char *typed, *best;
	unsigned best_distance;
};
void options_nearest_start(struct options_nearest *n, const char *typed);
void options_nearest_try(struct options_nearest *n, const char *name);
const char *options_nearest_name(const struct options_nearest *n);
/* A hint to append to an error: "; did you mean X?", with prefix in front of X, or "". Returns buf. */
const char *options_nearest_hint(const struct options_nearest *n, const char *prefix, char *buf, size_t size);

#endif
