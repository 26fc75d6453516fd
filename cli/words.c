/* See words.h. */
#include "cli/words.h"

#include <stddef.h>
#include <string.h>

#include "base/nearest.h"
#include "cli/commands.h"

/* Returns words that the option takes, 0: it is none of them. */
static int take(int left, char **argv, const struct word_option *o)
{
	size_t len = strlen(o->name);
	bool has_value = o->name[len - 1] == '=';
	if (!has_value && !strcmp(argv[0], o->name)) {
		*o->given = true;
		return 1;
	}
	if (!has_value || strncmp(argv[0], o->name, len - 1) != 0)
		return 0;
	if (argv[0][len - 1] == '=') {
		*o->value = argv[0] + len;
		return 1;
	}
	if (argv[0][len - 1] != '\0' || left < 2)
		return 0;
	*o->value = argv[1];
	return 2;
}

int words_take(int argc, char **argv, const struct word_option options[])
{
	int rest = 0;
	bool done = false;
	for (int i = 1; i < argc;) {
		int taken = 0;
		if (done || argv[i][0] != '-' || argv[i][1] != '-') {
			argv[++rest] = argv[i++];
			continue;
		}
		if (!strcmp(argv[i], "--")) {
			done = true;
			i++;
			continue;
		}
		struct nearest nearest;
		char hint[80];
		nearest_start(&nearest, argv[i]);
		for (const struct word_option *o = options; o->name && !taken; o++) {
			taken = take(argc - i, argv + i, o);
			nearest_try(&nearest, o->name);
		}
		if (!taken) {
			cli_usage(argv[0], "%s: there is no such option, or it lacks a value%s", argv[i],
				  nearest_hint(&nearest, "", hint, sizeof(hint)));
			return -1;
		}
		i += taken;
	}
	argv[rest + 1] = NULL;
	return rest;
}
