/* pagodad's command line. */
#ifndef HOST_OPTIONS_H
#define HOST_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct host_options {
	const char *socket, *state;
	uint64_t index_limit, pool_limit, guest_limit; /* bytes */
	bool merge_across_nodes;
	bool verbose;
};

/*
 * Fills in all, defaults from the host's memory. *done: --help or --version was asked for and has been printed. Returns 0, or -EINVAL with
 * a sentence.
 */
int host_options_parse(int argc, char **argv, struct host_options *options, bool *done, struct error *err);

#endif
