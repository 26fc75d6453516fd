/* See options.h. */
#include "host/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERSION "0.1"

static const char help[] = "usage: pagodad [options]\n"
			   "\n"
			   "Finds equal pages in the memory of this host's guests, and keeps one copy of each.\n"
			   "\n"
			   "  --socket=PATH             where VMMs connect (/run/pagoda/dedup)\n"
			   "  --state=DIRECTORY         what is to be known after a restart (/run/pagoda/state)\n"
			   "  --index-limit=SIZE        memory for the index of pages without a twin (1 % of the host's)\n"
			   "  --pool-limit=SIZE         memory for shared pages (all of the host's)\n"
			   "  --guest-limit=SIZE        the largest memory that a guest may claim to have (twice the host's)\n"
			   "  --merge-across-nodes=on|off   whether guests on different NUMA nodes share pages (on)\n"
			   "  --verbose                 log who comes and goes\n"
			   "  --help, --version\n"
			   "\n"
			   "SIZE: bytes, or a number with K, M, G or T.\n";

enum { SOCKET = 1, STATE, INDEX_LIMIT, POOL_LIMIT, GUEST_LIMIT, ACROSS, VERBOSE, HELP, SHOW_VERSION };

static const struct option table[] = {
	{"socket", required_argument, NULL, SOCKET},
	{"state", required_argument, NULL, STATE},
	{"index-limit", required_argument, NULL, INDEX_LIMIT},
	{"pool-limit", required_argument, NULL, POOL_LIMIT},
	{"guest-limit", required_argument, NULL, GUEST_LIMIT},
	{"merge-across-nodes", required_argument, NULL, ACROSS},
	{"verbose", no_argument, NULL, VERBOSE},
	{"help", no_argument, NULL, HELP},
	{"version", no_argument, NULL, SHOW_VERSION},
	{NULL, 0, NULL, 0},
};

static int parse_size(const char *name, const char *text, uint64_t least, uint64_t most, uint64_t *size, struct error *err)
{
	static const char suffixes[] = "KMGT";
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	const char *suffix = *end ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
	unsigned shift = suffix ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
	if (!isdigit((unsigned char)*text) || errno || (*end && (!suffix || end[1])) || value > UINT64_MAX >> shift)
		return error_set(err, EINVAL, "--%s: \"%s\" is not a size, such as 512M", name, text);
	value <<= shift;
	if (value < least || value > most)
		return error_set(err, EINVAL, "--%s: %s is not between %lluM and %lluM", name, text,
				 (unsigned long long)(least >> 20), (unsigned long long)(most >> 20));
	*size = value;
	return 0;
}

static int parse_one(int option, const char *value, struct host_options *o, struct error *err)
{
	switch (option) {
	case SOCKET:
		o->socket = value;
		return 0;
	case STATE:
		o->state = value;
		return 0;
	case INDEX_LIMIT:
		return parse_size("index-limit", value, 1ull << 20, 1ull << 40, &o->index_limit, err);
	case POOL_LIMIT:
		return parse_size("pool-limit", value, 1ull << 20, 8ull << 40, &o->pool_limit, err);
	case GUEST_LIMIT:
		return parse_size("guest-limit", value, 1ull << 20, 8ull << 40, &o->guest_limit, err);
	case ACROSS:
		if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
			return error_set(err, EINVAL, "--merge-across-nodes: \"%s\" is neither on nor off", value);
		o->merge_across_nodes = !strcmp(value, "on");
		return 0;
	default:
		o->verbose = true;
		return 0;
	}
}

int host_options_parse(int argc, char **argv, struct host_options *options, bool *done, struct error *err)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	struct host_options o = {
		.socket = "/run/pagoda/dedup",
		.state = "/run/pagoda/state",
		.index_limit = memory / 100 > 1 << 20 ? memory / 100 : 1 << 20,
		.pool_limit = memory,
		.guest_limit = 2 * memory,
		.merge_across_nodes = true,
	};
	int option, ret = 0;
	*done = false;
	opterr = 0;
	optind = 0;
	while (ret == 0 && (option = getopt_long(argc, argv, ":", table, NULL)) != -1) {
		if (option == HELP || option == SHOW_VERSION) {
			fputs(option == HELP ? help : "pagodad " VERSION "\n", stdout);
			*done = true;
			return 0;
		}
		if (option == '?')
			return error_set(err, EINVAL, "%s: there is no such option; see --help", argv[optind - 1]);
		if (option == ':')
			return error_set(err, EINVAL, "%s: a value is missing", argv[optind - 1]);
		ret = parse_one(option, optarg, &o, err);
	}
	if (ret == 0 && optind < argc)
		return error_set(err, EINVAL, "%s: pagodad takes options only; see --help", argv[optind]);
	if (ret == 0)
		*options = o;
	return ret;
}
