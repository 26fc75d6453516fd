/* What the kernel says about the host's memory: /proc/meminfo, /proc/pressure/memory, and the nodes below /sys. */
#ifndef HOST_HOST_MEMORY_H
#define HOST_HOST_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct host_memory {
	uint64_t total, available; /* bytes */
	bool has_psi;
	double some_avg10, some_avg60, full_avg10, full_avg60; /* percent */
	uint64_t some_us, full_us;                             /* stalled, since boot */
};

/* Returns 0 or -errno; without PSI has_psi is false. */
int host_memory_read(struct host_memory *memory);
/* From their texts. false: not understood. */
bool host_memory_parse_meminfo(const char *text, struct host_memory *memory);
bool host_memory_parse_psi(const char *text, struct host_memory *memory);

struct host_node {
	unsigned node;
	uint64_t total, free; /* bytes */
	char cpus[256];       /* "0-3,8" */
};
/* The host's nodes, ascending; most at most. Returns how many. */
unsigned host_nodes_read(struct host_node nodes[], unsigned most);

#endif
