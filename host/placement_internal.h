/* What choosing and rebalancing share: how full nodes are, and what that costs. Private to host/placement*.c. */
#ifndef HOST_PLACEMENT_INTERNAL_H
#define HOST_PLACEMENT_INTERNAL_H

#include "host/placement.h"

/* Of one node. */
struct node_load {
	uint64_t most_pages; /* that guests may have */
	uint64_t pages;      /* that they take, moves under way counted where they go */
	uint64_t behind;     /* that are still here, and are to leave */
	uint64_t permille;   /* of one CPU, that vCPUs use */
	unsigned nr_cpus;
};

struct load {
	unsigned nr_nodes;
	double pages_per_cpu; /* of the host: what a CPU weighs */
	struct node_load nodes[TOPOLOGY_MOST_NODES];
};

void load_count(const struct placement_host *host, const struct placement_settings *s, struct load *load);

uint64_t load_demand(const struct placement_guest *guest); /* at most its RAM */

/* What it costs that a node is as full as this, in pages. */
double load_node_cost(const struct load *load, const struct placement_settings *s, const struct node_load *node);

/* How far a node is from another: 0 the same, 1 twice the local distance, 3 at most. The same both ways: the mean. */
double load_distance(const struct topology *t, unsigned from, unsigned to);

/* May the guest be there, by its own wish? */
bool load_is_allowed(const struct topology *t, const struct placement_guest *guest, unsigned node);

static inline uint64_t scale(uint64_t value, uint64_t by, uint64_t of)
{
	return (uint64_t)((unsigned __int128)value * by / of);
}

#endif
