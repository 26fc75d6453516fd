/*
 * A guest's counters, read from the page that its VMM shares (memmgr/memmgr_stats.h), without waking it. The VMM names the descriptor by which it
 * has that page; what is found there is checked: it must be sealed, so that a page that is mapped stays there.
 */
#ifndef HOST_GUEST_STATS_H
#define HOST_GUEST_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "memmgr/memmgr_stats.h"

struct guest_stats {
	const struct memmgr_stats_page *page; /* NULL: none */
	struct memmgr_stats now, before;
	uint64_t now_ns, before_ns; /* CLOCK_MONOTONIC, when they were written; 0: not yet */
};

/* fd: its number in the process. Returns 0 or -errno: -EPROTO for one that is no such page. */
int guest_stats_open(struct guest_stats *stats, int pid, int fd);
void guest_stats_close(struct guest_stats *stats);
/* Looks: to be called once a second. When there is something new, rates are taken from what was seen before to it. */
void guest_stats_sample(struct guest_stats *stats);
/* What the page says at this moment, without a change to what rates are taken from. Returns false when nothing was ever written. */
bool guest_stats_look(const struct guest_stats *stats, struct memmgr_stats *now, uint64_t *now_ns);
/* Seconds that rates are taken over; 0: there are none yet. */
double guest_stats_interval(const struct guest_stats *stats);
/* How much a counter at this offset of struct memmgr_stats grew, each second. */
double guest_stats_rate(const struct guest_stats *stats, size_t offset);

#endif
