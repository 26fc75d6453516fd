/* See node_list.h. */
#include "libvirt/node_list.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST 64

void node_list_text(uint64_t nodes, char *text, size_t size)
{
	size_t len = 0;
	*text = '\0';
	for (unsigned i = 0; i < MOST; i++) {
		unsigned last = i;
		if (!(nodes >> i & 1))
			continue;
		while (last + 1 < MOST && nodes >> (last + 1) & 1)
			last++;
		int put = snprintf(text + len, size - len, last > i ? "%s%u-%u" : "%s%u", len ? "," : "", i, last);
		if (put < 0 || (size_t)put >= size - len)
			return;
		len += (size_t)put;
		i = last;
	}
}

static bool take_number(const char **at, unsigned long *value)
{
	char *end;
	if (!isdigit((unsigned char)**at))
		return false;
	*value = strtoul(*at, &end, 10);
	*at = end;
	return *value < MOST;
}

bool node_list_parse(const char *text, uint64_t *nodes)
{
	uint64_t set = 0;
	for (const char *at = text; *at || at == text;) {
		unsigned long first, last;
		if (!take_number(&at, &first))
			return false;
		last = first;
		if (*at == '-') {
			at++;
			if (!take_number(&at, &last) || last < first)
				return false;
		}
		for (unsigned long i = first; i <= last; i++)
			set |= 1ull << i;
		if (*at && (*at != ',' || !*++at))
			return false;
	}
	*nodes = set;
	return true;
}

json_t *node_list_json(uint64_t nodes)
{
	json_t *list = json_array();
	for (unsigned i = 0; list && i < MOST; i++)
		if (nodes >> i & 1 && json_array_append_new(list, json_integer((json_int_t)i)) < 0) {
			json_decref(list);
			list = NULL;
		}
	return list;
}
