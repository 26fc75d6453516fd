/* What is known of the memory of a guest that runs, under the protocol's tags: what the guest says to its balloon, and what the host sees. */
#ifndef LIBVIRT_MEMORY_STATS_H
#define LIBVIRT_MEMORY_STATS_H

#include "host/guest.h"

#define LIBVIRT_MEMORY_STATS 13

struct libvirt_memory_stat {
	unsigned tag;
	uint64_t value; /* KiB, a number of faults or pages, or seconds since 1970 */
};

/* balloon: what query-balloon-stats returned; NULL: nothing. Returns how many. */
unsigned libvirt_memory_stats(const struct guest *guest, const json_t *balloon,
			      struct libvirt_memory_stat stats[LIBVIRT_MEMORY_STATS]);
/* How a tag is called where statistics have names. */
const char *libvirt_memory_stat_name(unsigned tag);

#endif
