/*
 * The reclaimer: the thread that keeps a guest at its target.
 *
 * Each tick it measures what the guest takes of the host (reclaim_process_anon), asks the policy what to do about it
 * (reclaim_policy.h, pure), and does it: pages into limbo, from limbo into the store, clusters to disk, holes closed. It also sends
 * samples of the working set out, disarms chunks that have come to rest, and writes the statistics page. Where there is nothing of all
 * that to do, it sleeps.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "memmgr/evict_kernel.h"
#include "memmgr/memmgr_internal.h"

enum {
	SAMPLE_MS = 100,     /* between two portions of samples */
	MOVE_MS = 100,       /* between two steps of a move to other NUMA nodes */
	SPARSE_PERCENT = 25, /* holes of a cluster that are worth closing */
	TIDY_CLUSTERS = 64,  /* a tick */
};

uint64_t reclaim_process_anon(void)
{
	/* Resident and file-backed pages (proc(5), statm); the difference is anonymous memory: guest, limbo, store, heap. */
	char text[128];
	unsigned long long size, resident, shared;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return 0;
	text[len] = '\0';
	if (sscanf(text, "%llu %llu %llu", &size, &resident, &shared) != 3 || shared > resident) /* NOLINT(cert-err34-c) */
		return 0;
	return (resident - shared) * GUEST_PAGE_SIZE;
}

static uint64_t used_pages(const struct memmgr *mm, uint64_t swapped_bytes)
{
	uint64_t anon = reclaim_process_anon() + swapped_bytes;
	return anon > mm->other_bytes ? (anon - mm->other_bytes) / GUEST_PAGE_SIZE : 0;
}

/* --- statistics --- */

void reclaim_fill_stats(struct memmgr *mm, struct memmgr_stats *stats)
{
	struct store_stats store;
	const uint64_t *counter = (const uint64_t *)&mm->counters;
	uint64_t *to = (uint64_t *)stats;
	for (size_t i = 0; i < MEMMGR_STATS_NR; i++)
		to[i] = __atomic_load_n(&counter[i], __ATOMIC_RELAXED);
	store_get_stats(mm->store, &store);
	lock_take(&mm->lock);
	stats->target_pages = mm->settings.target / GUEST_PAGE_SIZE;
	lock_release(&mm->lock);
	stats->total_pages = mm->pt.nr_pages;
	stats->kernel_swap_pages = stats->kernel_swap_bytes = 0;
	if (mm->kernel_tier)
		kernel_swap_usage(&stats->kernel_swap_pages, &stats->kernel_swap_bytes);
	stats->used_pages = used_pages(mm, stats->kernel_swap_bytes);
	stats->limbo_pages = mm->pt.counts[PAGE_LIMBO];
	stats->zero_pages = mm->pt.counts[PAGE_ZERO];
	stats->shared_pages = mm->pt.counts[PAGE_SHARED];
	stats->balloon_pages = mm->pt.counts[PAGE_BALLOONED];
	/* Zero pages have a place in the store, for their order, and no bytes. */
	uint64_t stored = mm->pt.counts[PAGE_COMPRESSED];
	stats->swap_pages = store.pages_disk < stored ? store.pages_disk : stored;
	stats->compressed_pages = stored - stats->swap_pages;
	stats->compressed_bytes = store.ram_bytes;
	stats->swap_bytes = store.disk_bytes;
	stats->metadata_bytes = page_table_bytes(&mm->pt);
	stats->io_errors = store.io_errors;
	stats->damaged = store.damaged;
	stats->swap_out = store.pages_written;
	uint64_t error_pages;
	stats->active_pages = 0;
	lock_take(&mm->sample_lock);
	working_set_active(mm->working_set, WORKING_SET_WINDOW_MS, &stats->active_pages, &error_pages);
	lock_release(&mm->sample_lock);
	uint64_t others = stats->limbo_pages + (store.ram_bytes + stats->kernel_swap_bytes) / GUEST_PAGE_SIZE;
	stats->resident_pages = stats->used_pages > others ? stats->used_pages - others : 0;
	if (stats->resident_pages > mm->pt.counts[PAGE_RESIDENT])
		stats->resident_pages = mm->pt.counts[PAGE_RESIDENT];
}

static void publish(struct memmgr *mm, uint64_t now_ns)
{
	struct memmgr_stats stats;
	reclaim_fill_stats(mm, &stats);
	lock_take(&mm->stats_lock);
	memmgr_stats_page_write(mm->stats_page, &stats, now_ns);
	lock_release(&mm->stats_lock);
}

/* --- a tick --- */

/* What the thread remembers from tick to tick. */
struct reclaim_state {
	struct reclaim_policy policy;
	enum reclaim_disk disk;
	bool sampled; /* samples may be out */
	struct kernel_reclaim kernel;
};

static void decide(struct memmgr *mm, struct reclaim_state *state, const struct memmgr_settings *set,
		   struct reclaim_decision *decision)
{
	struct memmgr_stats now;
	/* A guest that has less than that resident does nothing but fault: seen with a target that a full disk made unreachable. */
	uint64_t floor = set->floor > set->target / 8 ? set->floor : set->target / 8;
	reclaim_fill_stats(mm, &now);
	struct reclaim_input in = {
		.now_ns = clock_now_ns(),
		.target_pages = set->target / GUEST_PAGE_SIZE,
		.floor_pages = floor / GUEST_PAGE_SIZE,
		.compressed_limit_bytes = set->compressed_limit,
		.evict_rate = set->evict_rate,
		.limbo_ms = set->limbo_ms,
		.dense = set->dense,
		.disk = mm->kernel_tier || !set->swap_out ? RECLAIM_DISK_NONE : state->disk,
		.used_pages = now.used_pages,
		.resident_pages = now.resident_pages,
		.limbo_pages = mm->kernel_tier ? 0 : now.limbo_pages, /* only samples then, which give nothing back */
		.raw_pages = mm->pt.nr_raw,
		.compressed_pages = now.compressed_pages + now.kernel_swap_pages,
		.compressed_bytes = now.compressed_bytes + now.kernel_swap_bytes,
		.evicted = now.evicted,
		.limbo_returns = now.copied_from_limbo,
		.compressed = now.compressed,
		.incompressible = now.incompressible,
		.store_returns = now.decompressed,
	};
	lock_take(&mm->evict_lock);
	uint64_t oldest = evict_oldest_ns(mm);
	lock_release(&mm->evict_lock);
	if (oldest < in.now_ns)
		in.oldest_limbo_ms = (uint32_t)((in.now_ns - oldest) / 1000000);
	reclaim_decide(&state->policy, &in, decision);
	mm->headroom = decision->headroom_pages;
}

/* Closes holes of the store, and packs denser what is cold. evict_lock is held. */
static void tidy_store(struct memmgr *mm, const struct memmgr_settings *set, bool dense)
{
	struct store_item items[STORE_CLUSTER_SLOTS];
	enum store_method method;
	size_t nr;
	for (unsigned i = 0; i < TIDY_CLUSTERS && !mm->stopping; i++) {
		nr = store_pick_sparse(mm->store, SPARSE_PERCENT, items, STORE_CLUSTER_SLOTS, &method);
		if (nr == 0 || evict_repack(mm, items, nr, method) == 0)
			break;
	}
	for (unsigned i = 0; dense && i < TIDY_CLUSTERS && !mm->stopping; i++) {
		nr = store_pick_cold(mm->store, set->cold_ms, items, STORE_CLUSTER_SLOTS);
		if (nr == 0 || evict_repack(mm, items, nr, STORE_DENSE) == 0)
			break;
	}
}

static void take(struct memmgr *mm, struct reclaim_state *state, size_t nr)
{
	int64_t taken = mm->kernel_tier ? kernel_reclaim(&state->kernel, nr) : -ENOENT;
	if (taken < 0)
		evict_by_clock(mm, nr);
	else
		COUNT(mm, evicted, taken);
}

/* Does what was decided, in the order of struct reclaim_decision. */
static void carry_out(struct memmgr *mm, struct reclaim_state *state, const struct memmgr_settings *set,
		      const struct reclaim_decision *d)
{
	lock_take(&mm->evict_lock);
	if (d->take_pages)
		take(mm, state, d->take_pages);
	if (d->compress_pages && !mm->kernel_tier) {
		uint64_t now_ns = clock_now_ns(), age_ns = d->limbo_ms * 1000000ull;
		/* What counts as cold once it leaves limbo is packed once, not twice. */
		enum store_method method = d->dense && d->limbo_ms >= set->cold_ms ? STORE_DENSE : STORE_FAST;
		evict_compress(mm, age_ns < now_ns ? now_ns - age_ns : 0, d->compress_pages, method);
	}
	if (d->store_raw_pages)
		evict_store_raw(mm, d->store_raw_pages);
	if (d->write_bytes) {
		int64_t ret = evict_write(mm, d->write_bytes);
		enum reclaim_disk before = state->disk;
		state->disk = ret == -ENOSPC ? RECLAIM_DISK_FULL : ret < 0 ? RECLAIM_DISK_FAILED : RECLAIM_DISK_OK;
		if (state->disk != before && state->disk == RECLAIM_DISK_FULL)
			log_warning("memory: the swap file is full; cold pages stay in RAM, and the guest above its target. Raise "
				    "swap-limit, or make room");
		else if (state->disk != before && state->disk == RECLAIM_DISK_FAILED)
			log_warning("memory: the swap file cannot be written: %s; cold pages stay in RAM", strerror((int)-ret));
		else if (state->disk != before)
			log_info("memory: the swap file can be written again");
	}
	tidy_store(mm, set, d->dense);
	lock_release(&mm->evict_lock);
}

static void wait_for_tick(struct memmgr *mm, unsigned ms)
{
	uint64_t until_ns = clock_now_ns() + ms * 1000000ull;
	struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000ull), .tv_nsec = (long)(until_ns % 1000000000ull)};
	lock_take(&mm->lock);
	while (!mm->reclaim_now && !mm->stopping) {
		if (!ms) {
			lock_wait(&mm->lock, &mm->wake_reclaimer);
		} else if (pthread_cond_timedwait(&mm->wake_reclaimer, &mm->lock.mutex, &until) != 0) {
			break;
		}
	}
	mm->reclaim_now = false;
	lock_release(&mm->lock);
}

static void *reclaimer_main(void *arg)
{
	struct memmgr *mm = arg;
	struct reclaim_state state = {.disk = mm->swap ? RECLAIM_DISK_OK : RECLAIM_DISK_NONE};
	handler_places_enter_background(&mm->places);
	while (!mm->stopping) {
		struct memmgr_settings set;
		struct reclaim_decision decision;
		memmgr_get_settings(mm, &set);
		decide(mm, &state, &set, &decision);
		bool idle = decision.why == RECLAIM_NO_TARGET || decision.why == RECLAIM_BELOW;
		if (!idle || decision.dense)
			carry_out(mm, &state, &set, &decision);
		unsigned next_ms = decision.again_ms == RECLAIM_NEVER ? 0 : decision.again_ms;
		if (set.sample_rate || state.sampled) {
			/* Also after sampling was switched off, until what is out has gone back. */
			state.sampled = sample_step(mm, !idle);
			if (!next_ms || next_ms > SAMPLE_MS)
				next_ms = SAMPLE_MS;
		}
		if (chunks_disarm_calm(mm, clock_now_ns()) && (!next_ms || next_ms > mm->calm_ms))
			next_ms = mm->calm_ms;
		if (node_binding_step(mm, MOVE_MS) && (!next_ms || next_ms > MOVE_MS))
			next_ms = MOVE_MS;
		publish(mm, clock_now_ns());
		wait_for_tick(mm, next_ms);
	}
	kernel_reclaim_fini(&state.kernel);
	handler_places_leave_background(&mm->places);
	return NULL;
}

void reclaim_wake(struct memmgr *mm)
{
	lock_take(&mm->lock);
	mm->reclaim_now = true;
	pthread_cond_signal(&mm->wake_reclaimer);
	lock_release(&mm->lock);
}

int reclaim_start(struct memmgr *mm, struct error *err)
{
	int ret = -pthread_create(&mm->reclaimer, NULL, reclaimer_main, mm);
	if (ret)
		return error_set(err, -ret, "guest memory: cannot start the reclaimer's thread: %s", strerror(-ret));
	pthread_setname_np(mm->reclaimer, "mem-reclaim");
	mm->reclaimer_started = true;
	return 0;
}

void reclaim_stop(struct memmgr *mm)
{
	if (!mm->reclaimer_started)
		return;
	reclaim_wake(mm);
	pthread_join(mm->reclaimer, NULL);
	mm->reclaimer_started = false;
}
