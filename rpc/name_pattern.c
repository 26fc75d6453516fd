/*
 * See name_pattern.h. fnmatch() would do more than is wanted: brackets and backslashes are common in distinguished names, and mean nothing here.
 *
 * Only the last '*' that was met ever takes more: whatever an earlier one could take beyond that, the later one can as well.
 */
#include "rpc/name_pattern.h"

#include <stddef.h>

bool name_pattern_fits(const char *pattern, const char *name)
{
	const char *star = NULL, *taken = NULL; /* behind the last '*', and the end of what it has taken */
	while (*name) {
		if (*pattern == '*') {
			star = ++pattern;
			taken = name;
		} else if (*pattern && (*pattern == '?' || *pattern == *name)) {
			pattern++;
			name++;
		} else if (star) {
			pattern = star;
			name = ++taken;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}
