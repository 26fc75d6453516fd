/* The command line of a guest's VMM, from the guest's definition. */
#ifndef HOST_GUEST_WORDS_H
#define HOST_GUEST_WORDS_H

#include "base/memory_cgroup.h"
#include "host/definition.h"
#include "host/placement_words.h"

#define GUEST_WORDS_SAMPLE_RATE 50 /* pages/s: what the arbiter needs to know who uses his memory */

struct guest_places {
	const char *vmm;          /* the program */
	const char *dedup_socket; /* where it finds the daemon */
	const char *swap;         /* directory for swap files; NULL: none */
	const char *pidfile;
	int qmp_fd, console_fd;                  /* listening sockets that it inherits */
	uint64_t target;                         /* bytes of host memory that it starts with; 0: no limit */
	const struct placement_words *placement; /* the host's nodes that it is put on; NULL or none: as the definition says */
	const struct memory_cgroup *group;       /* NULL: none */
	bool kernel_tier;
	bool paused;
};

/* A new array of strings. NULL without memory. */
json_t *guest_words(const struct definition *definition, const struct guest_places *places);

#endif
