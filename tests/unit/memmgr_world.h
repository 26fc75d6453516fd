/*
 * A guest for tests of the whole memory manager, without KVM: guest RAM with patterns in it that verify every byte, a manager, its owner, and
 * the doors of memmgr/os.h, which fail as the kernel's could. And a watchdog, which says what hung. Include it once.
 */
#ifndef TESTS_UNIT_MEMMGR_WORLD_H
#define TESTS_UNIT_MEMMGR_WORLD_H

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "memmgr/memmgr.h"
#include "memmgr/memmgr_internal.h"
#include "memmgr/page_scan.h"
#include "memmgr/uffd.h"
#include "tests/unit/memmgr_doors.h"
#include "tests/unit/random_test.h"

/* Guests link these by themselves; there is no host object of them. */
#include "tests/guests/lib/pattern.c"

#define PAGE ((uint64_t)GUEST_PAGE_SIZE)
#define MIB (1ull << 20)

#ifdef __SANITIZE_THREAD__
/* It would sleep for a second at the end of each test. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "atexit_sleep_ms=0";
}
#endif

/* --- the watchdog --- */

enum { WATCHED = 32, HANG_S = 25 };

static struct {
	_Atomic(const char *) doing; /* NULL: nothing that could hang */
	atomic_ulong detail;
	_Atomic uint64_t since_ns;
} watched[WATCHED];

static struct memmgr *_Atomic watched_mm; /* whose statistics are shown */

static void doing(unsigned thread, const char *what, uint64_t detail)
{
	atomic_store(&watched[thread].since_ns, clock_now_ns());
	atomic_store(&watched[thread].detail, detail);
	atomic_store(&watched[thread].doing, what);
}

static void done(unsigned thread)
{
	atomic_store(&watched[thread].doing, NULL);
}

static void print_stats(FILE *to)
{
	struct memmgr *mm = atomic_load(&watched_mm);
	if (!mm)
		return;
	/* As the counters are: a lock may be what hangs. */
	for (unsigned i = 0; i < MEMMGR_STATS_NR; i++) {
		uint64_t value = __atomic_load_n((uint64_t *)&mm->counters + i, __ATOMIC_RELAXED);
		if (value)
			fprintf(to, " %s %llu", memmgr_stats_fields[i].name, (unsigned long long)value);
	}
	fprintf(to, "\n");
}

static void *watchdog_main(void *arg)
{
	for (;;) {
		usleep(200000);
		for (unsigned i = 0; i < WATCHED; i++) {
			const char *what = atomic_load(&watched[i].doing);
			uint64_t since = atomic_load(&watched[i].since_ns), now = clock_now_ns();
			if (!what || now < since || now - since < HANG_S * 1000000000ull)
				continue;
			unsigned long detail = atomic_load(&watched[i].detail);
			struct memmgr *mm = atomic_load(&watched_mm);
			fprintf(stderr, "hung: thread %u has been %s %lu for %d s;", i, what, detail, HANG_S);
			if (mm && detail < mm->pt.nr_chunks * CHUNK_PAGES)
				fprintf(stderr, " its entry is %#llx, its chunk is %s, %u missing, %u in limbo;",
					(unsigned long long)mm->pt.entries[detail],
					page_chunk(&mm->pt, (uint32_t)detail)->armed ? "armed" : "disarmed",
					page_chunk(&mm->pt, (uint32_t)detail)->missing,
					page_chunk(&mm->pt, (uint32_t)detail)->in_limbo);
			print_stats(stderr);
			if (getenv("PAGODA_HANG"))
				pause(); /* for a debugger */
			_exit(3);
		}
	}
	return arg;
}

static void watchdog_start(void)
{
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, watchdog_main, NULL), 0);
	pthread_detach(thread);
}

/* --- the guest --- */

/* What a page holds: the pattern of some page in some generation, or zeroes. */
struct content {
	uint32_t page, generation; /* generation 0: zeroes */
};

static struct world {
	struct memmgr_owner owner;
	struct guest_ram *ram;
	struct memmgr *mm;
	uint32_t nr_pages;
	struct content *contents; /* of each page */
	struct pattern pattern;
	char swap[128]; /* a directory, "": none */
	atomic_uint failed, recovered;
	_Atomic enum memmgr_failure failure;
} world = {.pattern = {.seed = 7, .mix = {{25, 25, 25, 25}}}};

static void memory_failed(struct memmgr_owner *owner, enum memmgr_failure failure, const char *detail)
{
	struct world *w = (struct world *)owner;
	if (failure == MEMMGR_FAILURE_DAMAGED && !atomic_load(&damage_reads)) {
		fprintf(stderr, "damaged: a page is lost (%s), and no test damaged it\n", detail);
		_exit(4);
	}
	atomic_store(&w->failure, failure);
	atomic_fetch_add(&w->failed, 1);
}

static void memory_recovered(struct memmgr_owner *owner)
{
	atomic_fetch_add(&((struct world *)owner)->recovered, 1);
}

/* The guest's pages are numbered over all regions, without holes. */
static uint64_t page_gpa(uint32_t page)
{
	size_t nr;
	const struct guest_ram_region *r = guest_ram_regions(world.ram, &nr);
	uint64_t offset = page * PAGE;
	for (; offset >= r->size; r++)
		offset -= r->size;
	return r->gpa + offset;
}

static uint8_t *page_at(uint32_t page)
{
	uint8_t *at = guest_ram_at(world.ram, page_gpa(page), PAGE);
	ck_assert_ptr_nonnull(at);
	return at;
}

static struct memmgr_params world_params(bool swap)
{
	struct memmgr_params params = {.ram = world.ram, .owner = &world.owner, .swap_fd = -1};
	memmgr_settings_init(&params.settings);
	if (swap)
		params.swap_directory = world.swap;
	return params;
}

/* Makes guest RAM of these regions, and room for a swap file. */
static void world_make_ram(const struct guest_ram_region *regions, size_t nr)
{
	struct error err = {0};
	world.owner = (struct memmgr_owner){memory_failed, memory_recovered};
	ck_assert_msg(guest_ram_create(regions, nr, &world.ram, &err) == 0, "%s", err.text);
	world.nr_pages = (uint32_t)(guest_ram_size(world.ram) / PAGE);
	world.contents = calloc(world.nr_pages, sizeof(*world.contents));
	snprintf(world.swap, sizeof(world.swap), "%s/pagoda-memmgr-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp");
	ck_assert_ptr_nonnull(mkdtemp(world.swap));
	doors_reset();
}

static void world_manage(const struct memmgr_params *params)
{
	struct error err = {0};
	ck_assert_msg(memmgr_create(params, &world.mm, &err) == 0, "%s", err.text);
	world.mm->calm_ms = 20;
	atomic_store(&watched_mm, world.mm);
}

/* One region of that size, with a manager. */
static void world_make(uint64_t bytes, bool swap)
{
	struct guest_ram_region region = {.size = bytes};
	world_make_ram(&region, 1);
	struct memmgr_params params = world_params(swap);
	world_manage(&params);
}

static void world_end(void)
{
	doors_reset();
	atomic_store(&watched_mm, NULL);
	memmgr_destroy(world.mm);
	guest_ram_destroy(world.ram);
	free(world.contents);
	ck_assert_int_eq(rmdir(world.swap), 0); /* nothing is left there */
	ck_assert_int_eq(atomic_load(&live_allocations), 0);
}

static void page_write(uint32_t page)
{
	static atomic_uint generations; /* none comes twice, so that no stale page is taken for right */
	struct content *c = &world.contents[page];
	*c = (struct content){page, atomic_fetch_add(&generations, 1) + 1};
	pattern_fill(&world.pattern, page * PAGE, c->generation, page_at(page));
}

/* What is wrong with bytes that should be a page's, as a sentence; false when there is something. */
static bool bytes_right(uint32_t page, const void *bytes, char *wrong, size_t size)
{
	const struct content *c = &world.contents[page];
	struct pattern_mismatch m;
	if (c->generation) {
		if (pattern_verify(&world.pattern, c->page * PAGE, c->generation, bytes, &m))
			return true;
		snprintf(wrong, size, "wrong byte: page %u offset %u expected %#x got %#x, %u wrong in the page of kind %d", page,
			 m.offset, m.expected, m.got, m.wrong_bytes, (int)pattern_kind(&world.pattern, c->page * PAGE));
		return false;
	}
	for (uint32_t i = 0; i < GUEST_PAGE_SIZE; i++) {
		if (((const uint8_t *)bytes)[i]) {
			snprintf(wrong, size, "wrong byte: page %u offset %u is %#x, and should be zero", page, i,
				 ((const uint8_t *)bytes)[i]);
			return false;
		}
	}
	return true;
}

static bool page_right(uint32_t page, char *wrong, size_t size)
{
	return bytes_right(page, page_at(page), wrong, size);
}

static void check_page(uint32_t page)
{
	char wrong[200];
	doing(0, "reading page", page);
	ck_assert_msg(page_right(page, wrong, sizeof(wrong)), "%s", wrong);
	done(0);
}

static inline void fill_all(void)
{
	for (uint32_t page = 0; page < world.nr_pages; page++)
		page_write(page);
}

static inline void check_all(void)
{
	for (uint32_t page = 0; page < world.nr_pages; page++)
		check_page(page);
}

static inline bool is_kind(uint32_t page, enum pattern_kind kind)
{
	return pattern_kind(&world.pattern, page * PAGE) == kind;
}

/* Evicts pages of one region. */
static inline ssize_t evict(uint32_t first, uint32_t nr, enum memmgr_tier tier)
{
	doing(0, "evicting from page", first);
	ssize_t ret = memmgr_evict_range(world.mm, page_gpa(first), nr * PAGE, tier);
	done(0);
	return ret;
}

static inline enum page_state state_of(uint32_t page)
{
	return page_state(__atomic_load_n(&world.mm->pt.entries[page], __ATOMIC_RELAXED));
}

static struct memmgr_stats stats_now(void)
{
	struct memmgr_stats stats;
	memmgr_get_stats(world.mm, &stats);
	return stats;
}

/* Waits until the counter is at least that much, or fails with the sentence. */
static inline void wait_for(atomic_uint *counter, unsigned value, const char *what)
{
	for (unsigned ms = 0; atomic_load(counter) < value; ms++) {
		ck_assert_msg(ms < HANG_S * 1000, "%s: not within %d s", what, HANG_S);
		usleep(1000);
	}
}

/* Which pages of a chunk have something mapped, be it the kernel's zero page (as a huge page leaves behind that is split). */
static inline void read_pagemap(int pagemap, const void *chunk, uint64_t entries[CHUNK_PAGES])
{
	size_t len = CHUNK_PAGES * sizeof(uint64_t);
	ck_assert_int_eq(pread(pagemap, entries, len, (off_t)((uintptr_t)chunk / PAGE * sizeof(uint64_t))), len);
}

/* Streams that touches have begun bring pages for a while: until none came for 20 ms. */
static inline void wait_for_rest(void)
{
	uint64_t before = UINT64_MAX;
	for (unsigned quiet = 0, tries = 0; quiet < 4 && tries < 1000; tries++) {
		struct memmgr_stats s = stats_now();
		uint64_t moved = s.prefetched + s.decompressed + s.zero_filled + s.copied_from_limbo;
		quiet = moved == before ? quiet + 1 : 0;
		before = moved;
		usleep(5000);
	}
}

/* Chunks are disarmed at any time, by the reclaimer. */
static inline void check_armed(void)
{
	const struct page_table *pt = &world.mm->pt;
	uint64_t armed, counted, before;
	do {
		before = stats_now().armed_chunks;
		armed = 0;
		for (uint32_t n = 0; n < pt->nr_chunks; n++) {
			lock_take(&pt->chunks[n].lock);
			armed += pt->chunks[n].armed;
			lock_release(&pt->chunks[n].lock);
		}
		counted = stats_now().armed_chunks;
	} while (counted != before);
	ck_assert_uint_eq(counted, armed);
}

/*
 * Compares the page table with what the kernel says, while nothing moves: invariants 1 and 2 of bring.c, and all counters. all_touched: each
 * page that is RESIDENT was touched, and so must be there.
 */
static inline void check_table(bool all_touched)
{
	const struct page_table *pt = &world.mm->pt;
	uint64_t counts[PAGE_NR_STATES] = {0};
	wait_for_rest();
	int pagemap = page_scan_open();
	ck_assert_int_ge(pagemap, 0);
	for (uint32_t n = 0; n < pt->nr_chunks; n++) {
		struct chunk *c = &pt->chunks[n];
		uint32_t missing = 0, in_limbo = 0;
		uint64_t there_map[CHUNK_PAGES], limbo_map[CHUNK_PAGES];
		lock_take(&c->lock);
		read_pagemap(pagemap, c->hva, there_map);
		read_pagemap(pagemap, c->limbo, limbo_map);
		for (uint32_t i = c->first; i < c->end; i++) {
			uint32_t page = n * CHUNK_PAGES + i;
			page_entry e = pt->entries[page];
			enum page_state state = page_state(e);
			bool there = there_map[i] >> 63;
			bool limbo = limbo_map[i] >> 63;
			bool gone = state == PAGE_ZERO || state == PAGE_LIMBO || state == PAGE_COMPRESSED;
			counts[state]++;
			missing += gone;
			in_limbo += state == PAGE_LIMBO;
			ck_assert_msg(!(gone && there), "page %u is in state %d, and there", page, state);
			ck_assert_msg(!gone || c->armed, "page %u is in state %d, and its chunk is not armed", page, state);
			ck_assert_msg(state != PAGE_LIMBO || limbo, "page %u is in limbo, and its bytes are not: entry %#llx", page,
				      (unsigned long long)e);
			ck_assert_msg(!limbo || state == PAGE_LIMBO || e & PAGE_BUSY,
				      "page %u is in state %d, and left bytes in limbo", page, state);
			ck_assert_msg((page_ref(e) != 0) == (state == PAGE_COMPRESSED || (state == PAGE_ZERO && page_ref(e))),
				      "page %u is in state %d and has reference %#llx", page, state,
				      (unsigned long long)page_ref(e));
			if (all_touched && state == PAGE_RESIDENT)
				ck_assert_msg(there, "page %u is resident, and not there", page);
		}
		ck_assert_msg(c->missing == missing && c->in_limbo == in_limbo,
			      "chunk %u: missing %u, counted %u; in limbo %u, counted %u", n, missing, c->missing, in_limbo,
			      c->in_limbo);
		lock_release(&c->lock);
	}
	page_scan_close(pagemap);
	struct memmgr_stats s = stats_now();
	ck_assert_uint_eq(s.total_pages, world.nr_pages);
	ck_assert_uint_eq(s.limbo_pages, counts[PAGE_LIMBO]);
	ck_assert_uint_eq(s.zero_pages, counts[PAGE_ZERO]);
	ck_assert_uint_eq(s.balloon_pages, counts[PAGE_BALLOONED]);
	ck_assert_uint_eq(s.compressed_pages + s.swap_pages, counts[PAGE_COMPRESSED]);
	check_armed();
	ck_assert_uint_eq(pt->counts[PAGE_RESIDENT], counts[PAGE_RESIDENT]);
}

/* --- what the tests have in common --- */

enum { REGION_PAGES = 4096 }; /* 16 MiB, 8 chunks */

static const enum memmgr_tier tiers[] = {MEMMGR_TIER_LIMBO, MEMMGR_TIER_COMPRESSED, MEMMGR_TIER_DISK};

static void set_up(void)
{
	watchdog_start();
	random_start();
	world_make(REGION_PAGES * PAGE, true);
}

static void tear_down(void)
{
	world_end();
}

static inline uint32_t find_page(enum pattern_kind kind)
{
	uint32_t page = 0;
	while (!is_kind(page, kind))
		page++;
	return page;
}

/* A thread in the guest's place, which reads pages in order, or writes into them. */
struct toucher {
	pthread_t thread;
	unsigned index;
	bool write; /* its own word of each page */
	uint32_t first, nr;
	pthread_barrier_t *barrier;
	char wrong[200];
};

static void *toucher_main(void *arg)
{
	struct toucher *t = arg;
	for (uint32_t page = t->first; page < t->first + t->nr; page++) {
		if (t->barrier)
			pthread_barrier_wait(t->barrier);
		doing(t->index + 1, "touching page", page);
		if (t->write)
			((volatile uint64_t *)page_at(page))[t->index] = page + 1 + t->index;
		else if (!page_right(page, t->wrong, sizeof(t->wrong)))
			break;
		done(t->index + 1);
	}
	done(t->index + 1);
	return NULL;
}

static inline void touch_start(struct toucher *t)
{
	ck_assert_int_eq(pthread_create(&t->thread, NULL, toucher_main, t), 0);
}

/* It has ended well. */
static inline void touch_join(struct toucher *t)
{
	pthread_join(t->thread, NULL);
	ck_assert_msg(!t->wrong[0], "%s", t->wrong);
}

/* Adds a test case with the fixture of a guest of REGION_PAGES. */
static inline TCase *add_case(Suite *suite, const char *name)
{
	TCase *tests = tcase_create(name);
	tcase_set_timeout(tests, 90);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	suite_add_tcase(suite, tests);
	return tests;
}

/* Adds a test that is run so many times, unless PAGODA_TEST names another one. */
static inline void add_test(TCase *tests, const TTest *test, int times)
{
	const char *only = getenv("PAGODA_TEST");
	if (!only || strcmp(only, test->name) == 0)
		tcase_add_loop_test(tests, test, 0, times);
}

/* Runs the suite, or says in one line why that cannot be. Returns main's value. */
static inline int world_run_suite(Suite *suite)
{
	struct error err = {0};
	int fd = uffd_open(&err);
	if (fd < 0) {
		printf("skipped: %s\n", err.text);
		return EXIT_SUCCESS;
	}
	close(fd);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
