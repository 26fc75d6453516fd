/* See options.h. */
#include "host/options.h"
#include "base/size.h"
#include "base/version.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
	"usage: pagodad [options]\n"
	"\n"
	"Runs this host's guests, and divides memory among them; finds equal pages in it, and keeps one copy of each.\n"
	"\n"
	"  --run=DIRECTORY           sockets, and what is to be known until a reboot (/run/pagoda)\n"
	"  --definitions=DIRECTORY   the guests' definitions (/var/lib/pagoda/guests)\n"
	"  --logs=DIRECTORY          what the guests' VMMs say (/var/log/pagoda)\n"
	"  --swap=DIRECTORY          where guests' swap files are made (/var/lib/pagoda/swap); none: nowhere\n"
	"  --vmm=FILE                the program (pagoda-vmm in ../bin or beside the daemon)\n"
	"  --budget=SIZE             memory that guests may take together (the host's, less 1/16 and 512M)\n"
	"  --group=NAME              a group that may use the API, as the daemon's user may\n"
	"  --libvirt=DIRECTORY       sockets for virsh and its kin (RUN); none: nowhere\n"
	"  --claim-qemu              name them as libvirt's own daemon for QEMU would\n"
	"  --polkit                  let in whom polkit authorizes for org.libvirt.unix.manage\n"
	"  --tls=ADDRESS:PORT        listen there for them, by TLS and with certificates\n"
	"  --tls-ca=FILE             who signs clients' certificates (/etc/pki/CA/cacert.pem)\n"
	"  --tls-cert=FILE           ours (/etc/pki/libvirt/servercert.pem)\n"
	"  --tls-key=FILE            its key (/etc/pki/libvirt/private/serverkey.pem)\n"
	"  --tls-allow=NAME          only who has that name in its certificate; * and ? stand for others; may be repeated\n"
	"  --images=DIRECTORY        disk images that virsh and its kin are shown (/var/lib/pagoda/images)\n"
	"  --metrics=ADDRESS:PORT    serve Prometheus there; the address must be a loopback one\n"
	"  --socket=PATH             where VMMs connect for shared pages (RUN/dedup)\n"
	"  --state=DIRECTORY         what shared pages need after a restart (RUN/state)\n"
	"  --index-limit=SIZE        memory for the index of pages without a twin (1 % of the host's)\n"
	"  --pool-limit=SIZE         memory for shared pages (all of the host's)\n"
	"  --guest-limit=SIZE        the largest memory that a guest may claim to have (twice the host's)\n"
	"  --merge-across-nodes=on|off   whether guests on different NUMA nodes share pages (on)\n"
	"  --topology=FILE           the host's NUMA nodes, in place of what the kernel says (for tests)\n"
	"  --verbose                 log who comes and goes\n"
	"  --help, --version\n"
	"\n"
	"SIZE: bytes, or a number with K, M, G or T.\n";

enum {
	RUN = 1,
	DEFINITIONS,
	LOGS,
	SWAP,
	VMM,
	BUDGET,
	GROUP,
	LIBVIRT,
	CLAIM_QEMU,
	POLKIT,
	TLS,
	TLS_CA,
	TLS_CERT,
	TLS_KEY,
	TLS_ALLOW,
	IMAGES,
	METRICS,
	SOCKET,
	STATE,
	INDEX_LIMIT,
	POOL_LIMIT,
	GUEST_LIMIT,
	ACROSS,
	TOPOLOGY,
	VERBOSE,
	HELP,
	SHOW_VERSION
};

static const struct option table[] = {
	{"run", required_argument, NULL, RUN},
	{"definitions", required_argument, NULL, DEFINITIONS},
	{"logs", required_argument, NULL, LOGS},
	{"swap", required_argument, NULL, SWAP},
	{"vmm", required_argument, NULL, VMM},
	{"budget", required_argument, NULL, BUDGET},
	{"group", required_argument, NULL, GROUP},
	{"libvirt", required_argument, NULL, LIBVIRT},
	{"claim-qemu", no_argument, NULL, CLAIM_QEMU},
	{"polkit", no_argument, NULL, POLKIT},
	{"tls", required_argument, NULL, TLS},
	{"tls-ca", required_argument, NULL, TLS_CA},
	{"tls-cert", required_argument, NULL, TLS_CERT},
	{"tls-key", required_argument, NULL, TLS_KEY},
	{"tls-allow", required_argument, NULL, TLS_ALLOW},
	{"images", required_argument, NULL, IMAGES},
	{"metrics", required_argument, NULL, METRICS},
	{"socket", required_argument, NULL, SOCKET},
	{"state", required_argument, NULL, STATE},
	{"index-limit", required_argument, NULL, INDEX_LIMIT},
	{"pool-limit", required_argument, NULL, POOL_LIMIT},
	{"guest-limit", required_argument, NULL, GUEST_LIMIT},
	{"merge-across-nodes", required_argument, NULL, ACROSS},
	{"topology", required_argument, NULL, TOPOLOGY},
	{"verbose", no_argument, NULL, VERBOSE},
	{"help", no_argument, NULL, HELP},
	{"version", no_argument, NULL, SHOW_VERSION},
	{NULL, 0, NULL, 0},
};

static int parse_size(const char *name, const char *text, uint64_t least, uint64_t most, uint64_t *size, struct error *err)
{
	uint64_t value;
	if (size_parse(text, UINT64_MAX, &value))
		return error_set(err, EINVAL, "--%s: \"%s\" is not a size, such as 512M", name, text);
	if (value < least || value > most)
		return error_set(err, EINVAL, "--%s: %s is not between %lluM and %lluM", name, text,
				 (unsigned long long)(least >> 20), (unsigned long long)(most >> 20));
	*size = value;
	return 0;
}

/* VMMs have it in their command lines, and another working directory. */
static int parse_directory(const char *name, const char *value, const char **directory, struct error *err)
{
	if (*value != '/' || strlen(value) > HOST_OPTIONS_PATH_BYTES - 20)
		return error_set(err, EINVAL, "--%s: \"%.100s\" is no absolute path of at most %d bytes", name, value,
				 HOST_OPTIONS_PATH_BYTES - 20);
	*directory = value;
	return 0;
}

static int allow_name(const char *name, struct host_options *o, struct error *err)
{
	if (!*name)
		return error_set(err, EINVAL, "--tls-allow: the name is empty; give one like \"O=Example,CN=admin\"");
	if (o->nr_tls_names == HOST_OPTIONS_MOST_NAMES)
		return error_set(err, EINVAL, "--tls-allow: there may be %d; use one with * for several", HOST_OPTIONS_MOST_NAMES);
	o->tls_names[o->nr_tls_names++] = name;
	return 0;
}

/* The program that was built or installed with us. */
static void find_vmm(char *path, size_t size)
{
	char self[HOST_OPTIONS_PATH_BYTES - 20];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	snprintf(path, size, "/usr/bin/pagoda-vmm");
	if (len <= 0)
		return;
	self[len] = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(path, size, "%s/pagoda-vmm", self);
	char *up = strrchr(self, '/');
	if (access(path, X_OK) < 0 && up) {
		*up = '\0';
		snprintf(path, size, "%s/bin/pagoda-vmm", self);
	}
}

static int parse_one(int option, const char *value, struct host_options *o, struct error *err)
{
	switch (option) {
	case RUN:
		return parse_directory("run", value, &o->run, err);
	case DEFINITIONS:
		return parse_directory("definitions", value, &o->definitions, err);
	case LOGS:
		return parse_directory("logs", value, &o->logs, err);
	case SWAP:
		o->swap = NULL;
		return strcmp(value, "none") != 0 ? parse_directory("swap", value, &o->swap, err) : 0;
	case VMM:
		o->vmm = value;
		return 0;
	case BUDGET:
		return parse_size("budget", value, 16ull << 20, 8ull << 40, &o->budget, err);
	case GROUP:
		o->group = value;
		return 0;
	case LIBVIRT:
		o->libvirt = NULL;
		return strcmp(value, "none") != 0 ? parse_directory("libvirt", value, &o->libvirt, err) : 0;
	case CLAIM_QEMU:
		o->claim_qemu = true;
		return 0;
	case POLKIT:
		o->polkit = true;
		return 0;
	case TLS:
		o->tls = value;
		return 0;
	case TLS_CA:
		o->tls_authority = value;
		return 0;
	case TLS_CERT:
		o->tls_certificate = value;
		return 0;
	case TLS_KEY:
		o->tls_key = value;
		return 0;
	case TLS_ALLOW:
		return allow_name(value, o, err);
	case IMAGES:
		return parse_directory("images", value, &o->images, err);
	case METRICS:
		o->metrics = value;
		return 0;
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
	case TOPOLOGY:
		o->topology = value;
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
		.run = "/run/pagoda",
		.libvirt = "", /* RUN */
		.tls_authority = "/etc/pki/CA/cacert.pem",
		.tls_certificate = "/etc/pki/libvirt/servercert.pem",
		.tls_key = "/etc/pki/libvirt/private/serverkey.pem",
		.images = "/var/lib/pagoda/images",
		.definitions = "/var/lib/pagoda/guests",
		.logs = "/var/log/pagoda",
		.swap = "/var/lib/pagoda/swap",
		.budget = memory - memory / 16 - (memory > 1ull << 30 ? 512ull << 20 : memory / 4),
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
			fputs(option == HELP ? help : "pagodad " PAGODA_VERSION "\n", stdout);
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
	if (ret == 0 && o.tls && !o.libvirt)
		ret = error_set(err, EINVAL, "--tls: is for libvirt's clients, which --libvirt=none turns away");
	if (ret)
		return ret;
	*options = o;
	snprintf(options->paths[0], HOST_OPTIONS_PATH_BYTES, "%s/dedup", o.run);
	snprintf(options->paths[1], HOST_OPTIONS_PATH_BYTES, "%s/state", o.run);
	if (options->libvirt && !*options->libvirt)
		options->libvirt = options->run;
	find_vmm(options->paths[2], HOST_OPTIONS_PATH_BYTES);
	if (!options->socket)
		options->socket = options->paths[0];
	if (!options->state)
		options->state = options->paths[1];
	if (!options->vmm)
		options->vmm = options->paths[2];
	return 0;
}
