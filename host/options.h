/* pagodad's command line. */
#ifndef HOST_OPTIONS_H
#define HOST_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define HOST_OPTIONS_PATH_BYTES 200
#define HOST_OPTIONS_MOST_NAMES 64

struct host_options {
	const char *run, *definitions, *logs, *swap, *vmm;
	const char *group;   /* who may use the API besides the daemon's user; NULL: nobody */
	const char *libvirt; /* directory of the sockets for libvirt's clients; NULL: none */
	bool polkit;         /* whoever comes to them is let in if polkit says so */
	bool claim_qemu;     /* under the names that libvirt's own daemon would have */
	const char *tls;     /* "0.0.0.0:16514", for those of them on other machines; NULL: none */
	const char *tls_authority, *tls_certificate, *tls_key;
	const char *tls_names[HOST_OPTIONS_MOST_NAMES]; /* who may come, by patterns of names in certificates */
	unsigned nr_tls_names;                          /* 0: all that the authority has signed */
	const char *images;                             /* directory of disk images that they are shown; NULL: none */
	const char *metrics;                            /* "127.0.0.1:9090"; NULL: none */
	uint64_t budget;                                /* bytes that guests may take together */
	const char *topology;                           /* a file, see topology.h; NULL: the kernel's */
	const char *socket, *state;                     /* of the dedup service */
	char paths[3][HOST_OPTIONS_PATH_BYTES];         /* what defaults above point to */
	uint64_t index_limit, pool_limit, guest_limit;  /* bytes */
	bool merge_across_nodes;
	bool verbose;
};

/*
 * Fills in all, defaults from the host's memory. *done: --help or --version was asked for and has been printed. Returns 0, or -EINVAL with
 * a sentence.
 */
int host_options_parse(int argc, char **argv, struct host_options *options, bool *done, struct error *err);

#endif
