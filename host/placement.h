/*
 * On which of the host's NUMA nodes guests lie: where a new one is to be put, and which one is to move. Policy alone: pure functions over
 * numbers, no clock, no memory kept; the same numbers give the same answer. docs/PLACEMENT.md has the formulas.
 *
 * The daemon's loop calls placement_choose() once for a new guest and turns the answer into options (host/placement_words.h), and
 * placement_rebalance() every few seconds, and carries out what it says: memory-bind-node by QMP for the RAM (memmgr/node_binding.h moves pages at
 * the rate), sched_setaffinity(2) for the vCPU threads (placement_vcpu_node()). While that goes on, it says so in the guest's `behind`.
 */
#ifndef HOST_PLACEMENT_H
#define HOST_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "host/topology.h"

#define PLACEMENT_MOST_VNODES 8 /* as many as pagoda-vmm takes */

/* A node as the guest sees it: its memory and vCPUs come from one node of the host. vCPUs are numbered on from node to node. */
struct placement_vnode {
	unsigned node;     /* index in the topology */
	uint64_t nr_pages; /* of 4 KiB */
	unsigned first_vcpu, nr_vcpus;
};

struct placement {
	unsigned nr_vnodes; /* 1: the guest needs no NUMA of its own; 0: it is nowhere yet */
	struct placement_vnode vnodes[PLACEMENT_MOST_VNODES];
	bool overfull; /* it fits nowhere: some node has less room than it takes there */
};

struct placement_guest {
	uint64_t nr_pages; /* its RAM */
	uint64_t
		demand_pages; /* what it is expected to take of it: the arbiter's target; nr_pages: all. Spread over virtual nodes as RAM is */
	unsigned nr_vcpus;      /* 1 at least */
	unsigned vcpu_permille; /* how busy each is; 1000: always */
	uint64_t nodes;         /* the numbers of nodes where it may be (the user's numatune), a bit each; 0: all */
	bool fixed;             /* never moved: passthrough, locked memory, the user's pinning */
	uint64_t since_ms;      /* when it came where it is */
	struct placement at;    /* where it is, or is going to be when it moves */
	uint64_t behind_pages;  /* while it moves: pages that are still */
	unsigned behind_node;   /* on that node (index) */
};

/* Guests a and b (indices) have pages in common: each pair once. a == b is passed over. */
struct placement_sharing {
	uint32_t a, b;
	uint64_t nr_pages;
};

struct placement_settings {
	unsigned reserve_percent;     /* of each node's memory that is not for guests */
	unsigned comfort_percent;     /* a node that is fuller (memory, or CPUs) is worth relieving */
	unsigned share_percent;       /* what a page shared with a guest on a node twice as far weighs, in pages of memory */
	unsigned move_cost_percent;   /* what moving a page must gain, in pages */
	unsigned least_gain_permille; /* of a mean node's memory, that any move must gain beside */
	uint64_t rest_ms;             /* a guest that came stays so long at least */
	unsigned most_moving;         /* guests on their way at a time */
	uint32_t pages_per_second;    /* of all moves together */
};
void placement_settings_init(struct placement_settings *s);

/* The host and its guests, as they are. Owned by the caller. */
struct placement_host {
	const struct topology *topology;
	const struct placement_guest *guests;
	size_t nr_guests;
	const struct placement_sharing *sharing;
	size_t nr_sharing;
};

/*
 * Where a new guest is to be: on one node if it fits on one, else on as few as it takes, as virtual nodes whose pages and vCPUs sum up to the guest's.
 * sharing: pages it is expected to have in common with guests of the host, as those of its image have (a: the guest's index; b is
 * not read). With no room anywhere it is placed all the same, overfull. Returns 0, or -EINVAL with a sentence: no such nodes,
 * a guest without memory or vCPUs.
 */
int placement_choose(const struct placement_host *host, const struct placement_settings *s, const struct placement_guest *guest,
		     const struct placement_sharing *sharing, size_t nr_sharing, struct placement *out, struct error *err);

/* Virtual node vnode of a guest (index) goes from one node (index) to another, at that rate. */
struct placement_move {
	uint32_t guest;
	unsigned vnode, from, to;
	uint32_t pages_per_second;
	uint64_t gain_pages; /* what it gains, less what it costs */
};
/*
 * What to move now, the best first: most moves at most, and no more than may be under way with those that are. now_ms: the clock of since_ms.
 * Returns how many, or -ENOMEM. A guest that a move names has it in its `at` from then on.
 */
int placement_rebalance(const struct placement_host *host, const struct placement_settings *s, uint64_t now_ms,
			struct placement_move *moves, size_t most);

/* The virtual node of a vCPU, -1: it has none. Its thread may run on the CPUs of that node's host node. */
int placement_vcpu_node(const struct placement *p, unsigned vcpu);

/* Pages of a guest's demand that its virtual nodes take, each; they sum up to the demand. */
void placement_demand(const struct placement_guest *guest, const struct placement *at, uint64_t pages[PLACEMENT_MOST_VNODES]);

/* How badly guests lie, in pages: what rebalancing lowers with each move. Returns a negative number without memory. */
double placement_badness(const struct placement_host *host, const struct placement_settings *s);

#endif
