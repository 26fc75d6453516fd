/*
 * See memmgr.h: life and settings of the memory manager, and what others may ask of it. The work is done in evict.c, bring.c,
 * fault.c, pager.c, streams.c, discard.c, reclaim.c.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "memmgr/evict_kernel.h"
#include "memmgr/memmgr_internal.h"
#include "memmgr/os.h"
#include "memmgr/page_scan.h"
#include "memmgr/uffd.h"

enum { DEFAULT_LIMBO_MS = 2000, DEFAULT_COLD_MS = 60000, DEFAULT_HANDLERS = 4, CALM_MS = 5000 };

const char *memmgr_failure_name(enum memmgr_failure failure)
{
	static const char *const names[] = {
		[MEMMGR_FAILURE_NONE] = "none",           [MEMMGR_FAILURE_IO] = "io-error",
		[MEMMGR_FAILURE_DAMAGED] = "damaged",     [MEMMGR_FAILURE_NO_MEMORY] = "no-memory",
		[MEMMGR_FAILURE_KERNEL] = "kernel-error",
	};
	return names[failure];
}

/* --- settings --- */

void memmgr_settings_init(struct memmgr_settings *settings)
{
	*settings = (struct memmgr_settings){
		.limbo_ms = DEFAULT_LIMBO_MS,
		.cold_ms = DEFAULT_COLD_MS,
		.dense = true,
		.swap_out = true,
		.prefetch = true,
	};
}

static int check_settings(const struct memmgr_settings *s, struct error *err)
{
	const struct {
		const char *name;
		uint64_t bytes;
	} sizes[] = {{"target", s->target},
		     {"floor", s->floor},
		     {"compressed-limit", s->compressed_limit},
		     {"swap-limit", s->swap_limit}};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		if (sizes[i].bytes % GUEST_PAGE_SIZE)
			return error_set(err, EINVAL, "memory: %s is %llu bytes; it must be a multiple of 4096", sizes[i].name,
					 (unsigned long long)sizes[i].bytes);
	if (s->target && s->floor > s->target)
		return error_set(err, EINVAL, "memory: the floor, %llu MiB, is above the target, %llu MiB; lower it first",
				 (unsigned long long)(s->floor >> 20), (unsigned long long)(s->target >> 20));
	return s->kernel_tier ? kernel_swap_check(err) : 0;
}

static void apply_settings(struct memmgr *mm, const struct memmgr_settings *settings)
{
	mm->settings = *settings;
	mm->prefetch = settings->prefetch;
	mm->kernel_tier = settings->kernel_tier;
	store_set_ram_limit(mm->store, settings->compressed_limit);
	if (mm->swap)
		swap_file_set_limit(mm->swap, settings->swap_limit);
	lock_take(&mm->sample_lock);
	working_set_set_rate(mm->working_set, settings->sample_rate);
	lock_release(&mm->sample_lock);
	mm->sampling = settings->sample_rate > 0;
}

int memmgr_configure(struct memmgr *mm, const struct memmgr_settings *settings, struct error *err)
{
	int ret = check_settings(settings, err);
	if (ret)
		return ret;
	lock_take(&mm->lock);
	apply_settings(mm, settings);
	lock_release(&mm->lock);
	reclaim_wake(mm);
	return 0;
}

void memmgr_get_settings(struct memmgr *mm, struct memmgr_settings *settings)
{
	lock_take(&mm->lock);
	*settings = mm->settings;
	lock_release(&mm->lock);
}

/* --- life --- */

static int open_tiers(struct memmgr *mm, const struct memmgr_params *params, struct error *err)
{
	int ret = 0;
	if (params->swap_directory || params->swap_fd >= 0) {
		struct swap_file_params swap = {
			.directory = params->swap_directory,
			.fd = params->swap_directory ? -1 : params->swap_fd,
			.limit_bytes = params->settings.swap_limit,
		};
		ret = swap_file_open(&swap, &mm->swap, err);
	}
	if (ret == 0) {
		struct store_params store = {
			.nr_pages = (uint64_t)mm->pt.nr_chunks * CHUNK_PAGES,
			.ram_limit = params->settings.compressed_limit,
			.swap = mm->swap,
		};
		ret = store_create(&store, &mm->store, err);
	}
	return ret;
}

static int start_threads(struct memmgr *mm, const struct memmgr_params *params, struct error *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned nr = params->nr_handlers;
	if (nr == 0)
		nr = cpus < 1 ? 1 : cpus < DEFAULT_HANDLERS ? (unsigned)cpus : DEFAULT_HANDLERS;
	handler_places_open(&mm->places);
	int ret = pager_start(mm, err);
	if (ret == 0)
		ret = fault_start(mm, nr < MAX_HANDLERS ? nr : MAX_HANDLERS, err);
	if (ret == 0)
		ret = reclaim_start(mm, err);
	return ret;
}

int memmgr_create(const struct memmgr_params *params, struct memmgr **out, struct error *err)
{
	struct memmgr *mm = mem_calloc(1, sizeof(*mm));
	if (!mm)
		return error_set(err, ENOMEM, "guest memory: out of memory");
	mm->ram = params->ram;
	mm->owner = params->owner;
	mm->uffd = -1;
	mm->pagemap = -1;
	mm->stats_fd = -1;
	mm->places.loadavg = -1;
	mm->share = (struct share){.fd = -1, .uffd = -1};
	mm->headroom = INT64_MAX / 2;
	lock_init(&mm->lock, LOCK_MEMMGR);
	lock_init(&mm->evict_lock, LOCK_MEMMGR_EVICT);
	lock_init(&mm->fault_lock, LOCK_MEMMGR_FAULT);
	mm->calm_ms = CALM_MS;
	lock_init(&mm->sample_lock, LOCK_MEMMGR_SAMPLE);
	lock_init(&mm->stats_lock, LOCK_MEMMGR_STATS);
	pthread_cond_init(&mm->more_handlers, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&mm->wake_reclaimer, &monotonic);
	pthread_condattr_destroy(&monotonic);

	int ret = check_settings(&params->settings, err);
	if (ret == 0)
		ret = page_table_create(params->ram, &mm->pt, err);
	if (ret == 0) {
		mm->uffd = uffd_open(err);
		ret = mm->uffd < 0 ? mm->uffd : 0;
	}
	if (ret == 0) {
		ret = share_open(&mm->share);
		if (ret)
			error_set(err, -ret, "guest memory: userfaultfd for shared pages: %s", strerror(-ret));
	}
	if (ret == 0) {
		mm->pagemap = page_scan_open();
		if (mm->pagemap < 0)
			ret = error_set(err, -mm->pagemap, "guest memory: /proc/self/pagemap: %s; is /proc mounted?",
					strerror(-mm->pagemap));
	}
	if (ret == 0)
		ret = open_tiers(mm, params, err);
	if (ret == 0) {
		ret = working_set_create((uint64_t)mm->pt.nr_chunks * CHUNK_PAGES, clock_now_ns(), &mm->working_set);
		if (ret)
			error_set(err, -ret, "guest memory: cannot make the working set's estimator: %s", strerror(-ret));
	}
	if (ret == 0) {
		ret = bring_buffer_init(&mm->sample_buffer);
		if (ret == 0)
			ret = evictor_create(mm, &mm->evictor);
		if (ret)
			error_set(err, -ret, "guest memory: cannot prepare eviction: %s", strerror(-ret));
	}
	if (ret == 0) {
		ret = memmgr_stats_page_create(&mm->stats_page);
		mm->stats_fd = ret < 0 ? -1 : ret;
		if (ret < 0)
			error_set(err, -ret, "guest memory: cannot make the statistics page: %s", strerror(-ret));
		else
			ret = 0;
	}
	if (ret == 0) {
		apply_settings(mm, &params->settings);
		mm->other_bytes = reclaim_process_anon();
		ret = start_threads(mm, params, err);
	}
	if (ret && !mm->swap && !params->swap_directory && params->swap_fd >= 0)
		close(params->swap_fd);
	if (ret)
		memmgr_destroy(mm);
	else
		*out = mm;
	return ret;
}

void memmgr_destroy(struct memmgr *mm)
{
	if (!mm)
		return;
	mm->stopping = true;
	reclaim_stop(mm);
	fault_stop(mm);
	pager_stop(mm);
	handler_places_close(&mm->places);
	/* Whoever still waits for a page, as KVM's workers may, goes on with a zero page: nothing of the guest runs any more. */
	if (mm->uffd >= 0)
		close(mm->uffd);
	share_close(&mm->share);
	evictor_destroy(mm->evictor);
	page_scan_close(mm->pagemap);
	bring_buffer_fini(&mm->sample_buffer);
	if (mm->working_set)
		working_set_destroy(mm->working_set);
	store_destroy(mm->store);
	swap_file_close(mm->swap);
	page_table_destroy(&mm->pt);
	if (mm->stats_fd >= 0)
		memmgr_stats_page_destroy(mm->stats_page, mm->stats_fd);
	pthread_cond_destroy(&mm->wake_reclaimer);
	pthread_cond_destroy(&mm->more_handlers);
	lock_fini(&mm->stats_lock);
	lock_fini(&mm->sample_lock);
	lock_fini(&mm->fault_lock);
	lock_fini(&mm->evict_lock);
	lock_fini(&mm->lock);
	mem_free(mm);
}

/* --- what others ask for --- */

void memmgr_get_stats(struct memmgr *mm, struct memmgr_stats *stats)
{
	reclaim_fill_stats(mm, stats);
}

int memmgr_stats_fd(const struct memmgr *mm)
{
	return mm->stats_fd;
}

size_t memmgr_curve(struct memmgr *mm, struct memmgr_curve_point *points, size_t max)
{
	struct working_set_point found[32];
	lock_take(&mm->sample_lock);
	size_t nr = working_set_curve(mm->working_set, found, max < 32 ? max : 32);
	lock_release(&mm->sample_lock);
	for (size_t i = 0; i < nr; i++)
		points[i] = (struct memmgr_curve_point){found[i].pages * GUEST_PAGE_SIZE, found[i].faults_per_s};
	return nr;
}

void memmgr_prewarm(struct memmgr *mm)
{
	pager_prewarm(mm);
}

enum memmgr_failure memmgr_failure(struct memmgr *mm)
{
	return pager_failure(mm);
}

void memmgr_retry(struct memmgr *mm)
{
	pager_retry(mm);
}

void memmgr_forget_failed(struct memmgr *mm)
{
	pager_forget_failed(mm);
}

ssize_t memmgr_evict_range(struct memmgr *mm, uint64_t gpa, uint64_t len, enum memmgr_tier tier)
{
	uint32_t first, end;
	size_t taken = 0;
	if (!page_table_find_range(&mm->pt, gpa, len, &first, &end))
		return -EINVAL;
	if (tier == MEMMGR_TIER_DISK && mm->kernel_tier)
		return -EOPNOTSUPP; /* where its pages lie is the kernel's affair */
	if (tier == MEMMGR_TIER_DISK && !mm->swap)
		return -ENODEV;
	struct memmgr_settings set;
	memmgr_get_settings(mm, &set);
	int64_t ret = 0;
	lock_take(&mm->evict_lock);
	for (uint32_t at = first; at < end && !mm->stopping;) {
		uint32_t n = CHUNK_PAGES - at % CHUNK_PAGES;
		taken += evict_run(mm, at, n < end - at ? n : end - at, false);
		at += n;
	}
	if (tier != MEMMGR_TIER_LIMBO && !mm->kernel_tier)
		evict_compress_range(mm, first, end, set.dense && set.cold_ms <= set.limbo_ms ? STORE_DENSE : STORE_FAST);
	if (tier == MEMMGR_TIER_DISK) {
		while (evict_store_raw(mm, SIZE_MAX) > 0)
			;
		ret = evict_write(mm, UINT64_MAX);
	}
	lock_release(&mm->evict_lock);
	reclaim_wake(mm); /* who looks whether all of it is back */
	return ret < 0 ? (ssize_t)ret : (ssize_t)taken;
}
