/*
 * See node_binding.h. The reclaimer takes a step of the move each tick, under evict_lock, so that pages do not leave for limbo at
 * the same time.
 */
#include "memmgr/node_binding.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "memmgr/memmgr_internal.h"

int memmgr_bind_node(struct memmgr *mm, unsigned guest_node, uint64_t host_nodes, enum numa_policy policy, uint32_t migrate_rate,
		     struct error *err)
{
	size_t nr;
	bool found = false;
	int ret = 0;
	const struct guest_ram_region *regions = guest_ram_regions(mm->ram, &nr);
	lock_take(&mm->evict_lock);
	for (size_t i = 0; i < nr && ret == 0; i++) {
		if (regions[i].node != guest_node)
			continue;
		found = true;
		struct numa_range ram = {regions[i].hva, regions[i].size}, limbo = {mm->pt.regions[i].limbo, regions[i].size};
		ret = numa_range_bind(&ram, host_nodes, policy, err);
		/* What comes back from limbo was never anywhere else; new pages there are copies, and short-lived. */
		if (ret == 0)
			ret = numa_range_bind(&limbo, host_nodes, policy, err);
		bool moves = ret == 0 && migrate_rate && (policy == NUMA_POLICY_BIND || policy == NUMA_POLICY_PREFER) &&
			     host_nodes && !(host_nodes & (host_nodes - 1));
		mm->moving[i] =
			moves && numa_mover_init(&mm->movers[i], &ram, (unsigned)__builtin_ctzll(host_nodes), migrate_rate) == 0;
	}
	mm->migrate_rate = migrate_rate;
	lock_release(&mm->evict_lock);
	if (!found)
		return error_set(err, EINVAL, "memory: the guest has no node %u", guest_node);
	if (ret == 0)
		reclaim_wake(mm);
	return ret;
}

bool node_binding_step(struct memmgr *mm, unsigned tick_ms)
{
	bool more = false;
	lock_take(&mm->evict_lock);
	for (size_t i = 0; i < mm->pt.nr_regions && !more; i++) {
		struct numa_step step;
		if (!mm->moving[i])
			continue;
		uint32_t pages = (uint32_t)((uint64_t)mm->migrate_rate * tick_ms / 1000);
		mm->movers[i].pages_per_step = pages ? pages : 1;
		int ret = numa_mover_step(&mm->movers[i], &step);
		COUNT(mm, migrated, step.nr_moved);
		if (ret && ret != -ENOMEM) {
			log_warning("memory: pages cannot be moved to host node %u: %s; they stay where they are",
				    mm->movers[i].node, strerror(-ret));
			mm->moving[i] = false;
		} else if (ret == 0 && step.nr_remaining == 0) {
			mm->moving[i] = false;
		} else {
			more = true;
		}
	}
	lock_release(&mm->evict_lock);
	return more;
}

int memmgr_count_node(struct memmgr *mm, unsigned guest_node, uint64_t nr_looks, struct numa_count *count)
{
	size_t nr;
	int ret = -ENOENT;
	const struct guest_ram_region *regions = guest_ram_regions(mm->ram, &nr);
	struct numa_count sum = {.nr_absent = 0}, one;
	for (size_t i = 0; i < nr; i++) {
		if (regions[i].node != guest_node)
			continue;
		struct numa_range range = {regions[i].hva, regions[i].size};
		ret = numa_range_count(&range, nr_looks, &one);
		if (ret)
			return ret;
		for (unsigned n = 0; n < NUMA_HOST_NODES; n++)
			sum.nr_pages[n] += one.nr_pages[n];
		sum.nr_absent += one.nr_absent;
		sum.nr_looked_at += one.nr_looked_at;
	}
	if (ret == 0)
		*count = sum;
	return ret;
}
