/* On which host nodes the RAM of each guest node lies, and its move when that changes. numa.h has the mechanism. */
#ifndef MEMMGR_NODE_BINDING_H
#define MEMMGR_NODE_BINDING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "memmgr/memmgr.h"
#include "memmgr/numa.h"

/*
 * Pages of the guest node come from these host nodes from now on; what is there already is moved by the reclaimer, migrate_rate
 * pages a second, when it is one node and the policy is NUMA_POLICY_BIND or _PREFER. Returns 0, or -EINVAL (no such guest node, or
 * host node), -ENOMEM, -EPERM with a sentence.
 */
int memmgr_bind_node(struct memmgr *mm, unsigned guest_node, uint64_t host_nodes, enum numa_policy policy, uint32_t migrate_rate,
		     struct error *err);

/* A guest node: its RAM, and whether what lay elsewhere is still being moved. */
struct memmgr_node {
	uint64_t bytes;
	uint64_t host_nodes; /* that it is bound to; 0: none */
	bool moving;
};
/* Returns 0, or -ENOENT when there is no such guest node. */
int memmgr_look_at_node(struct memmgr *mm, unsigned guest_node, struct memmgr_node *node);

/*
 * Counts the pages of a guest node that are mapped by host node: of at most nr_looks pages of each region (0: all), see
 * numa_range_count(). Returns 0, -ENOENT when there is no such guest node, or -errno.
 */
int memmgr_count_node(struct memmgr *mm, unsigned guest_node, uint64_t nr_looks, struct numa_count *count);

#endif
