/*
 * How long a guest's touches stall that find their page evicted.
 *
 * Each round fills all pages anew, lets the place's thread run so that the manager can learn (learn=), evicts (victims=), touches in an order (order=),
 * and verifies every byte. Every touch is timed; those under stall_ns found their page present.
 *
 * victims=all: everything; random: three quarters, picked at random, the same with both sides; own: the manager or the kernel squeezes the place to a
 * quarter while the place's thread runs, and picks by itself: the manager by its target, the kernel by the limit of the memory cgroup that
 * cgroup= names (version 1), in which the program then is. The squeeze is over before touches are timed.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/thread_cpu.h"
#include "bench/memory/order.h"
#include "bench/memory/place.h"
#include "bench/memory/stalls.h"

#define USAGE                                                                                                      \
	"refault " PLACE_USAGE " [order=random|sequential|recorded|zipf] [touches=8192, all pages unless random] " \
	"[victims=all|random|own] [skew=100] [learn=0] "                                                           \
	"[rounds=3] [stall_ns=1000] [gap_us=0] [cgroup=DIRECTORY]"
enum { KEPT_PERCENT = 25, SQUEEZE_STEPS = 64, SQUEEZE_MS = 20, SQUEEZE_LIMIT = 1000, LEARN_BURST = 256, CACHES_EMPTY = 8 << 20 };

struct refault {
	struct place place;
	struct options options;
	struct order order;
	uint32_t *permutation;
	const char *kind; /* order=, as it was said */
	double skew;
	uint64_t touches, gap_cycles;
	struct stalls stalls;
	atomic_bool stop; /* tells the learning thread */
};

static void open_order(struct refault *r, uint64_t draw)
{
	enum order_kind kind = !strcmp(r->kind, "sequential") ? ORDER_SEQUENTIAL
			       : !strcmp(r->kind, "zipf")     ? ORDER_ZIPF
							      : ORDER_RANDOM;
	order_open(&r->order, kind, r->place.nr_pages, r->place.pattern.seed, draw, r->skew, r->permutation);
}

/* One word of a page: where, depends on the page. */
static inline void touch(const struct place *place, uint64_t page)
{
	(void)*(volatile uint64_t *)(place_page(place, page) + (page * 40 & 0xff8));
}

static void run_untimed(struct refault *r, uint64_t draw)
{
	open_order(r, draw);
	for (uint64_t i = 0; i < r->touches; i++)
		touch(&r->place, order_next(&r->order));
}

static void run_timed(struct refault *r, uint64_t draw)
{
	double ns_per_cycle = stalls_ns_per_cycle();
	thread_cpu_publish(); /* as a vCPU's thread does */
	open_order(r, draw);
	for (uint64_t i = 0; i < r->touches; i++) {
		uint64_t page = order_next(&r->order), start = stalls_cycles();
		touch(&r->place, page);
		uint64_t end = stalls_cycles();
		stalls_note(&r->stalls, (uint64_t)((double)(end - start) * ns_per_cycle));
		while (r->gap_cycles && stalls_cycles() - end < r->gap_cycles)
			;
	}
}

static void *learn(void *argument)
{
	struct refault *r = argument;
	struct order order;
	order_open(&order, ORDER_ZIPF, r->place.nr_pages, r->place.pattern.seed, 1000, r->skew, NULL);
	while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
		for (unsigned i = 0; i < LEARN_BURST; i++)
			touch(&r->place, order_next(&order));
		usleep(1000);
	}
	return NULL;
}

static int write_cgroup(const struct refault *r, const char *name, long long value)
{
	char path[512], text[32];
	snprintf(path, sizeof(path), "%s/%s", option_text(&r->options, "cgroup", ""), name);
	int len = snprintf(text, sizeof(text), "%lld", value), fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = fd < 0 || write(fd, text, (size_t)len) != len ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return ret;
}

static int limit(struct refault *r, uint64_t bytes)
{
	struct memmgr_settings settings;
	struct error err = {0};
	if (r->place.side == PLACE_KERNEL)
		return write_cgroup(r, "memory.limit_in_bytes", bytes ? (long long)bytes : -1);
	memmgr_get_settings(r->place.mm, &settings);
	settings.target = bytes;
	int ret = memmgr_configure(r->place.mm, &settings, &err);
	if (ret)
		fprintf(stderr, "%s\n", err.text);
	return ret;
}

/* The kernel knows whether a huge page was touched, not which part, and evicts it whole or not at all. After this there are none. */
static void split(struct place *place)
{
	if (place->side == PLACE_KERNEL && place_evict(place, 0, place->nr_pages) > 0)
		for (uint64_t page = 0; page < place->nr_pages; page++)
			touch(place, page);
}

/* Squeezes the place step by step, while its thread runs, until a quarter is left of it. */
static int squeeze(struct refault *r)
{
	uint64_t size = r->place.nr_pages * GUEST_PAGE_SIZE, step = size / SQUEEZE_STEPS / GUEST_PAGE_SIZE * GUEST_PAGE_SIZE,
		 bytes = size;
	uint64_t wanted = r->place.nr_pages * KEPT_PERCENT / 100, present = r->place.nr_pages, before;
	pthread_t thread;

	split(&r->place);
	atomic_store(&r->stop, false);
	int ret = -pthread_create(&thread, NULL, learn, r);
	if (ret)
		return ret;
	usleep(500000);
	unsigned steps = 0;
	for (; steps < SQUEEZE_LIMIT && present > wanted && bytes > step; steps++) {
		before = present;
		/* The limit goes down only while it holds the place: it is not to run away from what can be done. */
		if (steps < SQUEEZE_STEPS / 2 || present + 64 >= before)
			bytes -= bytes > size / 4 ? step : step / 8;
		ret = limit(r, bytes);
		if (ret && ret != -EBUSY)
			break;
		usleep(SQUEEZE_MS * 1000);
		present = place_present(&r->place);
	}
	atomic_store(&r->stop, true);
	pthread_join(thread, NULL);
	limit(r, 0);
	printf(" squeezed_to=%llu limit=%llu steps=%u", (unsigned long long)present, (unsigned long long)bytes, steps);
	return 0;
}

/* Three quarters, page by page where neighbours stay. */
static int evict_random(struct refault *r)
{
	struct place *place = &r->place;
	uint64_t first = 0;
	split(place);
	for (uint64_t page = 0; page <= place->nr_pages; page++) {
		if (page < place->nr_pages && order_victim(page, place->pattern.seed, KEPT_PERCENT))
			continue;
		if (page > first && place_evict(place, first, page - first) < 0)
			return -EIO;
		first = page + 1;
	}
	return 0;
}

static int evict(struct refault *r)
{
	const char *victims = option_text(&r->options, "victims", "all");
	if (!strcmp(victims, "own"))
		return squeeze(r);
	if (!strcmp(victims, "random"))
		return evict_random(r);
	return place_evict(&r->place, 0, r->place.nr_pages) < 0 ? -EIO : 0;
}

/* Nothing of what was evicted stays in the page cache; or in the kernel's cache of its swap, which only reclaim empties. */
static int drop_caches(struct refault *r)
{
	for (unsigned i = 0; r->place.side == PLACE_KERNEL && i < 8; i++) {
		limit(r, CACHES_EMPTY);
		usleep(50000);
	}
	if (r->place.side == PLACE_KERNEL)
		limit(r, 0);
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int ret = write(fd, "3", 1) == 1 ? 0 : -errno;
	close(fd);
	return ret;
}

static int run_round(struct refault *r, unsigned round)
{
	struct memmgr_stats since;
	bool is_recorded = !strcmp(r->kind, "recorded");
	uint64_t draw = is_recorded ? 0 : round + 1, passes = option_number(&r->options, "learn", is_recorded ? 1 : 0);

	place_fill(&r->place);
	printf("refault: order=%s round=%u", r->kind, round);
	for (uint64_t pass = 0; pass < passes; pass++) {
		if (is_recorded && place_evict(&r->place, 0, r->place.nr_pages) < 0)
			return 1;
		run_untimed(r, is_recorded ? 0 : 2000 + pass);
	}
	int ret = evict(r);
	if (!ret && r->place.tier == MEMMGR_TIER_DISK)
		ret = drop_caches(r);
	if (ret) {
		fprintf(stderr, "refault: eviction: %s\n", strerror(-ret));
		return 1;
	}
	usleep(100000);
	printf(" present=%llu", (unsigned long long)place_present(&r->place));
	place_stats(&r->place, &since);
	r->stalls.nr = 0;
	r->stalls.total_ns = 0;
	uint64_t cpu = place_cpu_ns(), start = place_now_ns();
	run_timed(r, draw);
	uint64_t wall = place_now_ns() - start;
	cpu = place_cpu_ns() - cpu;
	printf(" touches=%llu wall_s=%.6f cpu_s=%.6f", (unsigned long long)r->touches, (double)wall / 1e9, (double)cpu / 1e9);
	stalls_print(&r->stalls);
	place_print_stats(&r->place, &since);
	uint64_t wrong = place_verify(&r->place);
	printf(" wrong=%llu\n", (unsigned long long)wrong);
	fflush(stdout);
	return wrong != 0;
}

int main(int argc, char **argv)
{
	static struct refault r;
	if (options_open(&r.options, argc, argv, PLACE_OPTIONS " order touches victims skew learn rounds stall_ns gap_us cgroup",
			 USAGE))
		return 2;
	/* Before any page is charged elsewhere. */
	if (*option_text(&r.options, "cgroup", "") && write_cgroup(&r, "cgroup.procs", getpid())) {
		fprintf(stderr, "refault: cannot enter %s\n", option_text(&r.options, "cgroup", ""));
		return 1;
	}
	if (place_open(&r.place, &r.options))
		return 1;
	r.kind = option_text(&r.options, "order", "random");
	r.skew = (double)option_number(&r.options, "skew", 100) / 100;
	r.touches = option_number(&r.options, "touches", strcmp(r.kind, "random") ? r.place.nr_pages : 8192);
	r.gap_cycles = (uint64_t)((double)option_number(&r.options, "gap_us", 0) * 1e3 / stalls_ns_per_cycle());
	r.permutation = calloc(r.place.nr_pages, sizeof(*r.permutation));
	int failed = 1;
	if (r.permutation && !stalls_open(&r.stalls, r.touches, option_number(&r.options, "stall_ns", 1000))) {
		failed = 0;
		for (unsigned round = 0; !failed && round < option_number(&r.options, "rounds", 3); round++)
			failed = run_round(&r, round);
		stalls_close(&r.stalls);
	}
	free(r.permutation);
	place_close(&r.place);
	return failed;
}
