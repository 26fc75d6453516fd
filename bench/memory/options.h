/* Words name=value on the command line of a benchmark program, as micro-guests take them. */
#ifndef BENCH_MEMORY_OPTIONS_H
#define BENCH_MEMORY_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/guests/lib/pattern.h"

struct options {
	int nr;
	char **words;
};

/* Returns -EINVAL, said on standard error, for a word whose name is not in names ("pages seed mix"). usage is shown then. */
int options_open(struct options *options, int argc, char **argv, const char *names, const char *usage);
const char *option_text(const struct options *options, const char *name, const char *otherwise);
/* Decimal, with suffixes K, M and G. What is no number counts as 0. */
uint64_t option_number(const struct options *options, const char *name, uint64_t otherwise);
/* name=on or name=off. */
bool option_on(const struct options *options, const char *name, bool otherwise);
/* seed= and mix=ZERO,TEXT,BINARY,RANDOM in percent: an even quarter each, as micro-guests have it. */
void option_pattern(const struct options *options, struct pattern *pattern);

#endif
