/* See options.h. */
#include "bench/memory/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether names, separated by spaces, has the word's name. */
static bool is_known(const char *word, const char *names)
{
	size_t len = strcspn(word, "="), here;
	for (; *names; names += here + (names[here] == ' ')) {
		here = strcspn(names, " ");
		if (word[len] == '=' && here == len && !strncmp(names, word, len))
			return true;
	}
	return false;
}

int options_open(struct options *options, int argc, char **argv, const char *names, const char *usage)
{
	*options = (struct options){argc - 1, argv + 1};
	for (int i = 1; i < argc; i++) {
		if (is_known(argv[i], names))
			continue;
		fprintf(stderr, "%s: there is no '%s'\nusage: %s\n", argv[0], argv[i], usage);
		return -EINVAL;
	}
	return 0;
}

const char *option_text(const struct options *options, const char *name, const char *otherwise)
{
	size_t len = strlen(name);
	for (int i = options->nr; i-- > 0;)
		if (!strncmp(options->words[i], name, len) && options->words[i][len] == '=')
			return options->words[i] + len + 1;
	return otherwise;
}

uint64_t option_number(const struct options *options, const char *name, uint64_t otherwise)
{
	const char *text = option_text(options, name, NULL);
	if (!text)
		return otherwise;
	char *end;
	uint64_t value = strtoull(text, &end, 0);
	switch (*end) {
	case 'G':
		return value << 30;
	case 'M':
		return value << 20;
	case 'K':
		return value << 10;
	default:
		return value;
	}
}

bool option_on(const struct options *options, const char *name, bool otherwise)
{
	return !strcmp(option_text(options, name, otherwise ? "on" : "off"), "on");
}

void option_pattern(const struct options *options, struct pattern *pattern)
{
	pattern->seed = option_number(options, "seed", 1);
	pattern->mix = pattern_even_mix;
	const char *text = option_text(options, "mix", NULL);
	for (unsigned kind = 0; text && kind < PATTERN_KINDS; kind++) {
		char *end;
		pattern->mix.percent[kind] = (uint8_t)strtoul(text, &end, 10);
		text = *end == ',' ? end + 1 : "";
	}
}
