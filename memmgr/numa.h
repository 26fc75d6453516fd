/*
 * On which of the host's NUMA nodes guest RAM lies: where new pages are to come from, where pages are, and moving them in small
 * steps.
 *
 * Mechanism only: which node a guest belongs to, and how fast it may move, is for the caller to say. Host nodes are numbers below
 * NUMA_HOST_NODES, sets of them are bit masks. Everything works on a machine with one node, or a kernel without NUMA. Callable
 * from any thread; a mover is one thread's at a time. (Names beginning with numa_ are also libnuma's: ours are numa_host_,
 * numa_range_ and numa_mover_.)
 */
#ifndef MEMMGR_NUMA_H
#define MEMMGR_NUMA_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define NUMA_HOST_NODES 64

/* Memory of this process. Both multiples of 4096; owned by the caller, and mapped while it is used here. */
struct numa_range {
	uint8_t *hva;
	uint64_t len; /* bytes */
};

/* The nodes that have memory which this process may use; never 0. */
uint64_t numa_host_nodes(void);

enum numa_policy {
	NUMA_POLICY_DEFAULT,    /* as the process has it; nodes is 0 */
	NUMA_POLICY_BIND,       /* from these nodes only: a fault fails when they are full */
	NUMA_POLICY_PREFER,     /* from these, else from others */
	NUMA_POLICY_INTERLEAVE, /* in turn from each */
};

/*
 * Says where new pages of the range come from; what is there stays (numa_mover). Returns 0, or with a sentence -EINVAL (nodes
 * that the host lacks, a bad range), -ENOMEM, -EPERM.
 */
int numa_range_bind(const struct numa_range *range, uint64_t nodes, enum numa_policy policy, struct error *err);

struct numa_count {
	uint64_t nr_pages[NUMA_HOST_NODES]; /* by host node */
	uint64_t nr_absent;                 /* not mapped: never touched, evicted, or the kernel's zero page */
	uint64_t nr_looked_at; /* less than there are: the rest is an estimate, from a page in each of so many equal parts */
};
/*
 * Counts pages of 4 KiB by where they lie, without touching them. Looks at nr_looks of them at most (0: all), which costs
 * 0.2 to 0.4 us each. Returns 0, or -errno: -ENOMEM, -EINVAL for a bad range.
 */
int numa_range_count(const struct numa_range *range, uint64_t nr_looks, struct numa_count *count);

/*
 * Moves a range to a node, step by step. Pages that are busy (pinned, being written) are tried again after the rest, three times
 * in all. Has no resources: dropped when no longer wanted.
 */
struct numa_mover {
	struct numa_range range;
	unsigned node;           /* target */
	uint32_t pages_per_step; /* moved at most in a step; looked at are 16 times as many at most */
	uint64_t next;           /* page of the range that is looked at next */
	uint64_t nr_busy;        /* pages of this pass that did not move */
	unsigned nr_passes;      /* begun */
};

/* Returns 0, or -EINVAL: a bad range, a node that the host lacks, or no pages in a step. */
int numa_mover_init(struct numa_mover *mover, const struct numa_range *range, unsigned node, uint32_t pages_per_step);

struct numa_step {
	uint64_t
		nr_moved; /* pages looked at that lie on the target now, and did not before (a huge page moves whole, and counts so far as looked at) */
	uint64_t nr_failed;    /* pages that are busy, or may not be moved */
	uint64_t nr_remaining; /* pages of the range, at most, that are still to be looked at or tried again; 0: done */
};
/*
 * Moves the next pages. Returns 0; or -errno with what was done all the same, to be called again later: -ENOMEM when the target
 * is full, -ENODEV or -EACCES when it has gone or may not be used, -EPERM or -ENOSYS when the kernel does not move pages. Then
 * the same pages are next.
 */
int numa_mover_step(struct numa_mover *mover, struct numa_step *step);

#endif
