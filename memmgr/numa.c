/*
 * NUMA placement of guest RAM, by libnuma's mbind(2) and move_pages(2).
 *
 * The moving of a range:
 *
 *   numa_mover_init() --> PASS --(step)--> PASS ... --(end of the range)--> done      nothing was busy, or three passes
 *                          ^                               |
 *                          `--- some pages were busy ------'
 *
 * A step first asks where pages are, and tries to move those that are elsewhere; then it asks again. What move_pages() itself
 * says of a page is not enough: where it stops early it leaves the rest of its answers unwritten, and of a huge page it moves all
 * when asked for one, and calls the others busy.
 *
 * Invariant: pages below mover.next are absent, on the target, or counted in nr_busy.
 */
#include "memmgr/numa.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "memmgr/os.h"

#define PAGE_BYTES 4096u
#define BATCH 256
#define LOOKS_PER_MOVE 16
#define PASSES_MAX 3

static bool is_bad_range(const struct numa_range *range)
{
	uintptr_t start = (uintptr_t)range->hva;
	return start % PAGE_BYTES || range->len % PAGE_BYTES || range->len == 0 || range->len > UINTPTR_MAX - start;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t numa_host_nodes(void)
{
	return mem_host_nodes();
}

/* --- where new pages come from --- */

/* "0-3,8" */
static const char *list_nodes(uint64_t nodes, char *text, size_t size)
{
	size_t at = 0;
	text[0] = '\0';
	for (unsigned node = 0; node < NUMA_HOST_NODES && at < size; node++) {
		if (!(nodes >> node & 1))
			continue;
		unsigned last = node;
		while (last + 1 < NUMA_HOST_NODES && nodes >> (last + 1) & 1)
			last++;
		at += (size_t)snprintf(text + at, size - at, last > node ? "%s%u-%u" : "%s%u", at ? "," : "", node, last);
		node = last;
	}
	return text;
}

static int mode_of(enum numa_policy policy, uint64_t nodes)
{
	switch (policy) {
	case NUMA_POLICY_BIND:
		return MPOL_BIND;
	case NUMA_POLICY_PREFER:
		return nodes & (nodes - 1) ? MPOL_PREFERRED_MANY : MPOL_PREFERRED;
	case NUMA_POLICY_INTERLEAVE:
		return MPOL_INTERLEAVE;
	case NUMA_POLICY_DEFAULT:
		break;
	}
	return MPOL_DEFAULT;
}

int numa_range_bind(const struct numa_range *range, uint64_t nodes, enum numa_policy policy, struct error *err)
{
	char wanted[200], there[200];
	if (is_bad_range(range))
		return error_set(err, EINVAL, "guest RAM: a range to bind to host nodes must be whole pages");
	if ((policy == NUMA_POLICY_DEFAULT) != (nodes == 0))
		return error_set(err, EINVAL, "guest RAM: %s",
				 nodes ? "the default policy takes no host nodes; choose bind, preferred or interleave"
				       : "this policy needs host nodes; name at least one");
	uint64_t host = mem_host_nodes();
	if (nodes & ~host)
		return error_set(
			err, EINVAL,
			"guest RAM: cannot be bound to host nodes %s: this process may use memory of nodes %s; choose among them",
			list_nodes(nodes, wanted, sizeof(wanted)), list_nodes(host, there, sizeof(there)));
	int ret = mem_mbind(range->hva, range->len, mode_of(policy, nodes), nodes);
	if (ret == -ENOSYS)
		return 0; /* no NUMA: all memory is that of node 0, which is what was asked for */
	if (ret)
		return error_set(err, -ret, "guest RAM: cannot bind %llu MiB to host nodes %s: %s; %s",
				 (unsigned long long)(range->len >> 20), list_nodes(nodes, wanted, sizeof(wanted)), strerror(-ret),
				 ret == -EPERM     ? "allow mbind in the container's seccomp profile"
				 : ret == -ELIBACC ? "install libnuma1"
						   : "leave the nodes out, or free memory there");
	return 0;
}

/* --- where pages are --- */

/* Asks for the nodes of nr pages: a number, or -errno each. Returns 0 or -errno. */
static int ask(size_t nr, void **pages, int *status)
{
	int ret = mem_move_pages(nr, pages, NULL, status);
	if (ret == -ENOSYS) {
		/* No NUMA: whatever is there is on node 0. Absent pages cannot be told. */
		memset(status, 0, nr * sizeof(*status));
		return 0;
	}
	return ret < 0 ? ret : 0;
}

static bool is_node(int status)
{
	return status >= 0 && status < NUMA_HOST_NODES;
}

/*
 * Spreads i over all values (the finalizer of MurmurHash3), so that the pages looked at keep no step with a pattern of the guest.
 */
static uint64_t scatter(uint64_t i)
{
	i = (i ^ i >> 33) * 0xff51afd7ed558ccdull;
	i = (i ^ i >> 33) * 0xc4ceb9fe1a85ec53ull;
	return i ^ i >> 33;
}

/* The page that stands for part i of nr. */
static uint64_t page_of_part(uint64_t i, uint64_t nr, uint64_t nr_pages)
{
	uint64_t first = (uint64_t)((unsigned __int128)i * nr_pages / nr);
	uint64_t end = (uint64_t)((unsigned __int128)(i + 1) * nr_pages / nr);
	return first + scatter(i) % (end - first);
}

int numa_range_count(const struct numa_range *range, uint64_t nr_looks, struct numa_count *count)
{
	void *pages[BATCH];
	int status[BATCH];
	uint64_t nr_pages = range->len / PAGE_BYTES;
	if (is_bad_range(range) || nr_pages == 0)
		return -EINVAL;
	uint64_t nr = nr_looks && nr_looks < nr_pages ? nr_looks : nr_pages;
	struct numa_count found = {.nr_looked_at = nr};
	for (uint64_t done = 0; done < nr;) {
		size_t batch = (size_t)min_u64(nr - done, BATCH);
		for (size_t i = 0; i < batch; i++)
			pages[i] = range->hva + page_of_part(done + i, nr, nr_pages) * PAGE_BYTES;
		int ret = ask(batch, pages, status);
		if (ret)
			return ret;
		for (size_t i = 0; i < batch; i++) {
			if (is_node(status[i]))
				found.nr_pages[status[i]]++;
			else
				found.nr_absent++;
		}
		done += batch;
	}
	for (unsigned node = 0; node < NUMA_HOST_NODES; node++)
		found.nr_pages[node] = (uint64_t)((unsigned __int128)found.nr_pages[node] * nr_pages / nr);
	found.nr_absent = (uint64_t)((unsigned __int128)found.nr_absent * nr_pages / nr);
	*count = found;
	return 0;
}

/* --- moving --- */

int numa_mover_init(struct numa_mover *mover, const struct numa_range *range, unsigned node, uint32_t pages_per_step)
{
	if (is_bad_range(range) || node >= NUMA_HOST_NODES || !(mem_host_nodes() >> node & 1) || pages_per_step == 0)
		return -EINVAL;
	*mover = (struct numa_mover){.range = *range, .node = node, .pages_per_step = pages_per_step, .nr_passes = 1};
	return 0;
}

/* Keeps those of the pages that lie on another node than the target, or on the target. Returns how many. */
static size_t select_pages(const struct numa_mover *mover, void **pages, const int *status, size_t nr, bool on_target)
{
	size_t nr_kept = 0;
	for (size_t i = 0; i < nr; i++) {
		if (is_node(status[i]) && ((unsigned)status[i] == mover->node) == on_target)
			pages[nr_kept++] = pages[i];
	}
	return nr_kept;
}

/* Tries to move nr pages, all of them elsewhere. Adds to the step; returns 0 or -errno. */
static int move(const struct numa_mover *mover, void **pages, size_t nr, struct numa_step *step)
{
	int nodes[BATCH], status[BATCH];
	for (size_t i = 0; i < nr; i++) {
		nodes[i] = (int)mover->node;
		status[i] = -EBUSY;
	}
	int ret = mem_move_pages(nr, pages, nodes, status);
	for (size_t i = 0; i < nr && ret >= 0; i++) {
		if (status[i] == -ENOMEM)
			ret = -ENOMEM; /* the target's, told of a page */
	}
	int again = ask(nr, pages, status);
	if (again)
		return ret < 0 ? ret : again;
	size_t nr_elsewhere = 0;
	for (size_t i = 0; i < nr; i++)
		nr_elsewhere += is_node(status[i]) && (unsigned)status[i] != mover->node;
	step->nr_moved += select_pages(mover, pages, status, nr, true);
	/* After an error they are tried again, rather than counted. */
	if (ret < 0 && ret != -ENOENT)
		return ret;
	step->nr_failed += nr_elsewhere;
	return 0;
}

static uint64_t remaining(const struct numa_mover *mover)
{
	uint64_t to_look = mover->range.len / PAGE_BYTES - mover->next;
	return to_look + (mover->nr_passes < PASSES_MAX ? mover->nr_busy : 0);
}

int numa_mover_step(struct numa_mover *mover, struct numa_step *out)
{
	struct numa_step step = {0};
	void *pages[BATCH];
	int status[BATCH];
	int ret = 0;
	uint64_t nr_pages = mover->range.len / PAGE_BYTES;
	uint64_t nr_looks = (uint64_t)mover->pages_per_step * LOOKS_PER_MOVE;
	uint64_t nr_tried = 0;
	while (nr_looks && nr_tried < mover->pages_per_step && mover->next < nr_pages) {
		/* A batch is as large as may be moved, so that what was looked at is also dealt with. */
		size_t batch = (size_t)min_u64(min_u64(BATCH, nr_pages - mover->next),
					       min_u64(nr_looks, mover->pages_per_step - nr_tried));
		for (size_t i = 0; i < batch; i++)
			pages[i] = mover->range.hva + (mover->next + i) * PAGE_BYTES;
		ret = ask(batch, pages, status);
		if (ret)
			break;
		size_t nr = select_pages(mover, pages, status, batch, false);
		uint64_t nr_failed = step.nr_failed;
		ret = nr ? move(mover, pages, nr, &step) : 0;
		if (ret)
			break;
		mover->nr_busy += step.nr_failed - nr_failed;
		mover->next += batch;
		nr_looks -= batch;
		nr_tried += nr;
	}
	if (!ret && mover->next == nr_pages && mover->nr_busy && mover->nr_passes < PASSES_MAX) {
		mover->nr_passes++;
		mover->next = 0;
		mover->nr_busy = 0;
	}
	step.nr_remaining = remaining(mover);
	*out = step;
	return ret;
}
