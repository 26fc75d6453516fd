/* See meminfo.h. A line is "MemTotal:  123 kB", or "Node 0 MemTotal:  123 kB". */
#include "base/meminfo.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool meminfo_find(const char *text, const char *name, uint64_t *bytes)
{
	size_t len = strlen(name);
	uint64_t kib;
	for (const char *at = text; (at = strstr(at, name)) != NULL; at += len) {
		bool whole = at[len] == ':' && (at == text || at[-1] == '\n' || at[-1] == ' ');
		if (!whole)
			continue;
		/* A sign would be taken for part of the number. */
		const char *number = at + len + 1 + strspn(at + len + 1, " ");
		if (*number < '0' || *number > '9' || sscanf(number, "%" SCNu64 " kB", &kib) != 1 || kib > UINT64_MAX >> 10)
			return false;
		*bytes = kib << 10;
		return true;
	}
	return false;
}
