/*
 * See node_binding.h. The reclaimer takes a step of the move each tick, under evict_lock, so that pages do not leave for limbo at
 * the same time.
 *
 * A binding belongs to a mapping. Whoever puts another mapping into guest RAM, or memory from one of its own, gives it the guest's first:
 * node_binding_apply(), node_binding_stage(). Mappings of the pool have none: the kernel takes a policy that is set on one for that
 * of the pool's file, which is the daemon's to set, and the same for all guests (shmem_set_policy()). Private copies in them follow it too.
 *
 * Invariant: what is not in the pool is bound as bound_nodes says. A binding is written there before chunks are bound one by one; who
 * maps memory into a chunk holds its lock, and so either sees the new binding or is bound after.
 */
#include "memmgr/node_binding.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "memmgr/memmgr_internal.h"
#include "memmgr/os.h"
#include "memmgr/share.h"

static bool has_pool(struct memmgr *mm)
{
	bool has = false;
	if (mm->share.is_open) {
		lock_take(&mm->share.lock);
		has = mm->share.fd >= 0;
		lock_release(&mm->share.lock);
	}
	return has || share_mappings(mm);
}

/* Binds what of the chunk is not in the pool. */
static int bind_chunk(struct memmgr *mm, struct chunk *c, uint64_t nodes, enum numa_policy policy, struct error *err)
{
	int ret = 0;
	lock_take(&c->lock);
	for (uint32_t at = c->first, n; ret == 0 && at < c->end && (n = share_next_run(mm, c, false, &at)) > 0; at += n) {
		if (at >= c->end)
			break;
		n = n < c->end - at ? n : c->end - at;
		struct numa_range run = {c->hva + (uint64_t)at * GUEST_PAGE_SIZE, (uint64_t)n * GUEST_PAGE_SIZE};
		ret = numa_range_bind(&run, nodes, policy, err);
	}
	lock_release(&c->lock);
	return ret;
}

static int bind_ram(struct memmgr *mm, size_t region, const struct numa_range *ram, uint64_t nodes, enum numa_policy policy,
		    struct error *err)
{
	const struct page_table_region *r = &mm->pt.regions[region];
	int ret = 0;
	if (!has_pool(mm))
		return numa_range_bind(ram, nodes, policy, err);
	uint32_t end = r->first_page + (uint32_t)(r->size / GUEST_PAGE_SIZE);
	for (uint32_t page = r->first_page; ret == 0 && page < end; page += CHUNK_PAGES - page % CHUNK_PAGES)
		ret = bind_chunk(mm, page_chunk(&mm->pt, page), nodes, policy, err);
	return ret;
}

static size_t region_of(const struct memmgr *mm, uint32_t page)
{
	size_t i = mm->pt.nr_regions - 1;
	while (i > 0 && page < mm->pt.regions[i].first_page)
		i--;
	return i;
}

void node_binding_apply(struct memmgr *mm, uint32_t page, uint8_t *memory, size_t len)
{
	size_t region = region_of(mm, page);
	uint64_t nodes = atomic_load(&mm->bound_nodes[region]);
	/* Without it the memory is there all the same, perhaps elsewhere. */
	if (nodes)
		numa_range_bind(&(struct numa_range){memory, len}, nodes, atomic_load(&mm->bound_policy[region]), NULL);
}

void node_binding_stage(struct memmgr *mm, uint32_t page, struct bring_stage *stage)
{
	size_t region = region_of(mm, page);
	/* Halves of two bindings are refused by numa_range_bind(), or do for this time: the mover comes after. */
	uint64_t nodes = atomic_load(&mm->bound_nodes[region]);
	enum numa_policy policy = atomic_load(&mm->bound_policy[region]);
	if (stage->nodes == nodes && stage->policy == policy)
		return;
	/* What is in it comes from elsewhere. It holds no bytes that are needed, but must be zero. */
	if (mem_madvise(stage->chunk, CHUNK_SIZE, MADV_DONTNEED) != 0 ||
	    numa_range_bind(&(struct numa_range){stage->chunk, CHUNK_SIZE}, nodes, policy, NULL) != 0)
		return;
	stage->nodes = nodes;
	stage->policy = policy;
}

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
		uint64_t nodes_before = mm->bound_nodes[i];
		enum numa_policy policy_before = mm->bound_policy[i];
		mm->bound_policy[i] = policy;
		mm->bound_nodes[i] = host_nodes;
		ret = bind_ram(mm, i, &ram, host_nodes, policy, err);
		/* What comes back from limbo was never anywhere else; new pages there are copies, and short-lived. */
		if (ret == 0)
			ret = numa_range_bind(&limbo, host_nodes, policy, err);
		if (ret) {
			mm->bound_policy[i] = policy_before;
			mm->bound_nodes[i] = nodes_before;
		}
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

int memmgr_look_at_node(struct memmgr *mm, unsigned guest_node, struct memmgr_node *node)
{
	size_t nr;
	const struct guest_ram_region *regions = guest_ram_regions(mm->ram, &nr);
	struct memmgr_node n = {.bytes = 0};
	lock_take(&mm->evict_lock);
	for (size_t i = 0; i < nr; i++) {
		if (regions[i].node != guest_node)
			continue;
		n.bytes += regions[i].size;
		n.host_nodes |= mm->bound_nodes[i];
		n.moving |= mm->moving[i];
	}
	lock_release(&mm->evict_lock);
	if (n.bytes == 0)
		return -ENOENT;
	*node = n;
	return 0;
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
