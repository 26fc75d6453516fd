/*
 * The memory manager under stress: threads in the guest's place read, write and verify all memory, devices do direct I/O into it,
 * while others evict, prewarm, drop and change settings, and the kernel refuses what it may refuse. No byte may be wrong, and
 * nobody may wait for ever.
 *
 * A page's content is known to whoever holds its stripe: shared to read, exclusive to change it. Those who take pages away hold
 * nothing. The first pages are racy: each thread has a word of its own in each of them, which it counts up without any lock.
 */
#include <fcntl.h>

#include "memmgr/discard.h"
#include "memmgr/evict_kernel.h"
#include "memmgr/quiet.h"
#include "memmgr/share.h"
#include "tests/unit/memmgr_world.h"

enum {
	STRESS_PAGES = 8192, /* 32 MiB */
	RACY_PAGES = 256,
	STRIPES = 512,
	GUESTS = 4, /* threads in the guest's place */
	EVICTORS = 2,
	MOST_THREADS = 16,
	IO_PAGES = 8,
};

/* How long each test runs; PAGODA_STRESS_SECONDS sets it. */
static unsigned stress_seconds(void)
{
	const char *set = getenv("PAGODA_STRESS_SECONDS");
	return set ? (unsigned)strtoul(set, NULL, 10) : 3;
}

static pthread_rwlock_t stripes[STRIPES];
static atomic_bool stop;
static char wrong_text[300];
static atomic_flag is_wrong = ATOMIC_FLAG_INIT;

struct stress_thread {
	pthread_t thread;
	unsigned index; /* of watched[] */
	uint64_t random;
	atomic_ulong turns;
	void (*turn)(struct stress_thread *t);
	uint64_t counters[RACY_PAGES]; /* what this thread's words hold */
};

static struct stress_thread threads[MOST_THREADS];
static unsigned nr_threads;

static uint64_t draw(struct stress_thread *t, uint64_t below)
{
	uint64_t z = t->random += 0x9e3779b97f4a7c15ull;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (z ^ z >> 31) % below;
}

/* The first who sees something wrong says it, and all stop. */
static void report(const char *text)
{
	if (!atomic_flag_test_and_set(&is_wrong))
		snprintf(wrong_text, sizeof(wrong_text), "%s", text);
	atomic_store(&stop, true);
}

static pthread_rwlock_t *stripe_of(uint32_t page)
{
	return &stripes[page % STRIPES];
}

/* Pages of the guest that are used more often are the first ones. */
static uint32_t draw_page(struct stress_thread *t)
{
	uint64_t range = draw(t, 4) ? STRESS_PAGES / 8 : STRESS_PAGES;
	return RACY_PAGES + (uint32_t)draw(t, range - RACY_PAGES);
}

/* --- the guest --- */

static void verify(struct stress_thread *t, uint32_t page)
{
	char text[200];
	doing(t->index, "reading page", page);
	if (!page_right(page, text, sizeof(text)))
		report(text);
	done(t->index);
}

static void guest_turn(struct stress_thread *t)
{
	uint32_t page = draw_page(t), nr = draw(t, 8) ? 1 : 40;
	if (page + nr > STRESS_PAGES)
		nr = STRESS_PAGES - page;
	for (uint32_t i = page; i < page + nr; i++) {
		bool write = draw(t, 3) == 0;
		uint32_t at = (uint32_t)draw(t, PAGE);
		if (write)
			pthread_rwlock_wrlock(stripe_of(i));
		else
			pthread_rwlock_rdlock(stripe_of(i));
		/* Often the first touch is a write: of a byte that is there already. */
		if (write && draw(t, 2)) {
			uint8_t bytes[GUEST_PAGE_SIZE] = {0};
			if (world.contents[i].generation)
				pattern_fill(&world.pattern, world.contents[i].page * PAGE, world.contents[i].generation, bytes);
			doing(t->index, "writing a byte of page", i);
			((volatile uint8_t *)page_at(i))[at] = bytes[at];
			done(t->index);
		}
		verify(t, i);
		if (write) {
			doing(t->index, "writing page", i);
			page_write(i);
			done(t->index);
		}
		pthread_rwlock_unlock(stripe_of(i));
	}
	uint32_t racy = (uint32_t)draw(t, RACY_PAGES);
	volatile uint64_t *word = (uint64_t *)page_at(racy) + (t->index * 31) % 512;
	doing(t->index, "counting in page", racy);
	uint64_t found = *word;
	*word = found + 1;
	done(t->index);
	if (found != t->counters[racy]) {
		char text[200];
		snprintf(text, sizeof(text), "thread %u: its word in page %u is %llu, and it wrote %llu", t->index, racy,
			 (unsigned long long)found, (unsigned long long)t->counters[racy]);
		report(text);
	}
	t->counters[racy]++;
}

/* --- devices: read(2), write(2), and io_uring past the page cache, which pins pages --- */

static int io_file = -1;
static struct io_uring io_ring;

/* Runs of pages lie in one stripe each here: every STRIPES-th page. Two of them, for from and to. */
static void lock_two(uint32_t from, uint32_t to)
{
	uint32_t a = from % STRIPES, b = to % STRIPES;
	if (a < b)
		pthread_rwlock_rdlock(&stripes[a]);
	pthread_rwlock_wrlock(&stripes[b]);
	if (a > b)
		pthread_rwlock_rdlock(&stripes[a]);
}

static void unlock_two(uint32_t from, uint32_t to)
{
	pthread_rwlock_unlock(stripe_of(from));
	if (to % STRIPES != from % STRIPES)
		pthread_rwlock_unlock(stripe_of(to));
}

static int transfer(struct stress_thread *t, bool is_write, uint32_t page, off_t at, bool ring)
{
	doing(t->index, is_write ? "writing to a file from page" : "reading from a file to page", page);
	struct iovec iov = {.iov_base = page_at(page), .iov_len = GUEST_PAGE_SIZE};
	struct guest_ram_pins pins;
	int ret;
	if (!is_write)
		guest_ram_pin(world.ram, &iov, 1, &pins);
	if (ring) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&io_ring);
		if (is_write)
			io_uring_prep_write(sqe, io_file, page_at(page), GUEST_PAGE_SIZE, (uint64_t)at);
		else
			io_uring_prep_read(sqe, io_file, page_at(page), GUEST_PAGE_SIZE, (uint64_t)at);
		if (draw(t, 2))
			sqe->flags |= IOSQE_ASYNC; /* a thread of the kernel faults */
		struct io_uring_cqe *cqe;
		io_uring_submit(&io_ring);
		ret = io_uring_wait_cqe(&io_ring, &cqe);
		if (ret == 0) {
			ret = cqe->res;
			io_uring_cqe_seen(&io_ring, cqe);
		}
	} else {
		ret = (int)(is_write ? pwrite(io_file, page_at(page), PAGE, at) : pread(io_file, page_at(page), PAGE, at));
		ret = ret < 0 ? -errno : ret;
	}
	if (!is_write)
		guest_ram_unpin(world.ram, &pins);
	done(t->index);
	return ret;
}

static void device_turn(struct stress_thread *t)
{
	uint32_t from = draw_page(t), to = draw_page(t);
	off_t at = (off_t)(draw(t, 64) * PAGE);
	bool ring = draw(t, 4) != 0;
	if (from == to)
		return;
	lock_two(from, to);
	int ret = transfer(t, true, from, at, ring);
	if (ret == (int)PAGE)
		ret = transfer(t, false, to, at, ring);
	if (ret == (int)PAGE) {
		world.contents[to] = world.contents[from];
		verify(t, to);
	} else {
		char text[200];
		snprintf(text, sizeof(text), "direct I/O from page %u to page %u: %s", from, to,
			 ret < 0 ? strerror(-ret) : "cut short");
		report(text);
	}
	unlock_two(from, to);
}

/* --- those who take away and bring back --- */

static void draw_range(struct stress_thread *t, uint32_t most, uint32_t *first, uint32_t *nr)
{
	*first = (uint32_t)draw(t, STRESS_PAGES);
	*nr = (uint32_t)draw(t, STRESS_PAGES - *first < most ? STRESS_PAGES - *first : most) + 1;
}

static void evictor_turn(struct stress_thread *t)
{
	static const enum memmgr_tier tiers_by_weight[] = {MEMMGR_TIER_LIMBO, MEMMGR_TIER_LIMBO, MEMMGR_TIER_COMPRESSED,
							   MEMMGR_TIER_DISK};
	uint32_t first, nr;
	draw_range(t, draw(t, 8) ? 600 : STRESS_PAGES, &first, &nr);
	doing(t->index, "evicting from page", first);
	memmgr_evict_range(world.mm, first * PAGE, nr * PAGE, tiers_by_weight[draw(t, 4)]);
	done(t->index);
	usleep((useconds_t)draw(t, 3000));
}

static void balloon_turn(struct stress_thread *t)
{
	/* Pages of one run lie in as many stripes, taken in order; ThreadSanitizer follows 64 locks of a thread. */
	uint32_t nr = (uint32_t)draw(t, draw(t, 4) ? 8 : 32) + 1;
	uint32_t first = (RACY_PAGES + (uint32_t)draw(t, STRESS_PAGES - RACY_PAGES - 32)) / 32 * 32;
	for (uint32_t i = 0; i < nr; i++)
		pthread_rwlock_wrlock(stripe_of(first + i));
	doing(t->index, "dropping from page", first);
	int ret = draw(t, 4) ? memmgr_discard(world.mm, first * PAGE, nr * PAGE, draw(t, 3) ? DISCARD_BALLOON : DISCARD_FREE)
			     : memmgr_drop(world.mm, first * PAGE, nr * PAGE, draw(t, 2));
	for (uint32_t i = 0; i < nr && ret == 0; i++)
		world.contents[first + i].generation = 0;
	/* -errno: some are dropped and some are not. */
	for (uint32_t i = 0; i < nr && ret != 0; i++)
		page_write(first + i);
	if (draw(t, 2))
		memmgr_deflate(world.mm, first * PAGE, nr * PAGE);
	else if (draw(t, 64) == 0)
		memmgr_deflate_all(world.mm);
	done(t->index);
	for (uint32_t i = nr; i-- > 0;) {
		if (draw(t, 4) == 0)
			verify(t, first + i);
		pthread_rwlock_unlock(stripe_of(first + i));
	}
	usleep((useconds_t)draw(t, 2000));
}

static bool has_zram; /* the host swaps to it */

static void admin_turn(struct stress_thread *t)
{
	struct memmgr_settings settings;
	struct memmgr_stats stats;
	struct memmgr_curve_point points[8];
	doing(t->index, "changing settings", 0);
	memmgr_get_settings(world.mm, &settings);
	settings.target = draw(t, 3) ? (8 + draw(t, 24)) * MIB : 0;
	settings.floor = draw(t, 2) ? 4 * MIB : 0;
	settings.compressed_limit = draw(t, 3) ? 0 : 2 * MIB;
	settings.swap_limit = draw(t, 3) ? 0 : 4 * MIB;
	settings.evict_rate = draw(t, 3) ? 0 : 20000;
	settings.limbo_ms = (uint32_t)draw(t, 3) * 20;
	settings.cold_ms = (uint32_t)draw(t, 3) * 100;
	settings.sample_rate = (uint32_t)draw(t, 3) * 200;
	settings.dense = draw(t, 2);
	settings.prefetch = draw(t, 4);
	settings.kernel_tier = has_zram && draw(t, 2);
	int ret = memmgr_configure(world.mm, &settings, NULL);
	if (ret)
		report("memmgr_configure refuses settings that are right");
	if (draw(t, 3) == 0)
		memmgr_prewarm(world.mm);
	memmgr_get_stats(world.mm, &stats);
	memmgr_curve(world.mm, points, 8);
	memmgr_retry(world.mm);
	done(t->index);
	usleep((useconds_t)draw(t, 20000));
}

/* --- the pool, and who shares --- */

enum { SLOTS = 4096, MOST_SHARED = 24 };

static int pool_file = -1;
static uint8_t *pool;              /* of the daemon, which this thread plays */
static uint32_t slot_pages[SLOTS]; /* which page holds a reference, + 1; 0: none */
static unsigned long nr_shared, nr_broken, nr_differs, nr_restored, nr_zeroes;

static void pool_make(void)
{
	pool_file = memfd_create("pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ck_assert_int_ge(pool_file, 0);
	ck_assert_int_eq(ftruncate(pool_file, SLOTS * PAGE), 0);
	ck_assert_int_eq(share_set_pool(world.mm, pool_file), -EPERM);
	ck_assert_int_eq(fcntl(pool_file, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	pool = mmap(NULL, SLOTS * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, pool_file, 0);
	ck_assert(pool != MAP_FAILED);
	ck_assert_int_eq(share_set_pool(world.mm, pool_file), 0);
	memset(slot_pages, 0, sizeof(slot_pages));
	nr_shared = nr_broken = nr_differs = nr_restored = nr_zeroes = 0;
}

/* Nobody has a reference to it: whoever maps it still will see. */
static void scribble(uint32_t slot)
{
	memset(pool + slot * PAGE, 0x5a, PAGE);
}

/* Slots that follow each other and are free. Returns SLOTS when there are none. */
static uint32_t free_slots(struct stress_thread *t, uint32_t nr)
{
	for (unsigned tries = 0; tries < 64; tries++) {
		uint32_t slot = (uint32_t)draw(t, SLOTS - nr), n = 0;
		while (n < nr && !slot_pages[slot + n])
			n++;
		if (n == nr)
			return slot;
	}
	return SLOTS;
}

static void collect(uint32_t *at, size_t max)
{
	struct share_item items[64];
	size_t nr = share_collect(world.mm, at, UINT32_MAX, true, items, max);
	for (size_t i = 0; i < nr; i++) {
		char text[200];
		snprintf(text, sizeof(text), "slot %u is returned for page %u, and page %d held it", items[i].slot, items[i].page,
			 items[i].slot < SLOTS ? (int)slot_pages[items[i].slot] - 1 : -2);
		if (items[i].slot >= SLOTS || slot_pages[items[i].slot] != items[i].page + 1) {
			report(text);
			return;
		}
		slot_pages[items[i].slot] = 0;
		scribble(items[i].slot);
		nr_broken++;
	}
}

/* What a scanner reads may change while it does. */
__attribute__((no_sanitize_thread)) static void copy_racily(uint8_t *to, const uint8_t *from)
{
	for (unsigned i = 0; i < PAGE / sizeof(uint64_t); i++)
		((volatile uint64_t *)to)[i] = ((const volatile uint64_t *)from)[i];
}

static void sharer_turn(struct stress_thread *t)
{
	static uint32_t collected;
	struct share_item items[MOST_SHARED];
	enum share_result results[MOST_SHARED];
	bool spoilt[MOST_SHARED] = {false};
	uint32_t nr = draw(t, 3) ? (uint32_t)draw(t, MOST_SHARED) + 1 : 1;
	uint32_t first = (uint32_t)draw(t, STRESS_PAGES - nr), slot = free_slots(t, nr);
	doing(t->index, "sharing page", first);
	for (uint32_t i = 0; slot < SLOTS && i < nr; i++) {
		items[i] = (struct share_item){first + i, slot + i};
		copy_racily(pool + (slot + i) * PAGE, page_at(first + i));
		spoilt[i] = draw(t, 8) == 0;
		if (spoilt[i])
			pool[(slot + i) * PAGE + draw(t, PAGE)] ^= (uint8_t)(1 + draw(t, 255));
	}
	/* Out of the compressed tier, too, and out of limbo. */
	if (draw(t, 3) == 0)
		memmgr_evict_range(world.mm, first * PAGE, nr * PAGE, draw(t, 3) ? MEMMGR_TIER_COMPRESSED : MEMMGR_TIER_LIMBO);
	if (slot < SLOTS)
		share_pages(world.mm, items, nr, results);
	for (uint32_t i = 0; slot < SLOTS && i < nr; i++) {
		if (results[i] == SHARE_DONE && spoilt[i])
			report("a slot with other bytes is mapped");
		if (results[i] == SHARE_DONE)
			slot_pages[slot + i] = first + i + 1;
		else
			scribble(slot + i);
		nr_shared += results[i] == SHARE_DONE;
		nr_differs += results[i] == SHARE_DIFFERS;
	}
	if (draw(t, 4) == 0) {
		uint32_t pages[MOST_SHARED];
		for (uint32_t i = 0; i < nr; i++)
			pages[i] = first + i;
		doing(t->index, "dropping zeroes from page", first);
		nr_zeroes += share_drop_zeroes(world.mm, pages, nr);
	}
	doing(t->index, "collecting from page", collected);
	collect(&collected, draw(t, 64) + 1);
	if (collected >= STRESS_PAGES)
		collected = 0;
	if (draw(t, 12) == 0) {
		uint32_t page = (uint32_t)draw(t, STRESS_PAGES);
		doing(t->index, "restoring the chunk of page", page);
		nr_restored += share_restore(world.mm, page) > 0;
	}
	done(t->index);
	usleep((useconds_t)draw(t, 300));
}

/* Pages in the pool of the chunk that page is in. Others may be bringing pages of it back. */
static unsigned in_pool_around(uint32_t page)
{
	struct chunk *c = page_chunk(&world.mm->pt, page);
	lock_take(&c->lock);
	unsigned nr = c->in_pool;
	lock_release(&c->lock);
	return nr;
}

/* Everything becomes ordinary memory again, and no reference is left. */
static void pool_end(void)
{
	for (uint32_t page = 0; page < STRESS_PAGES; page += CHUNK_PAGES) {
		int ret = -EAGAIN;
		for (unsigned tries = 0; tries < 200 && ret == -EAGAIN; tries++) {
			if (tries) {
				for (uint32_t i = page; i < page + CHUNK_PAGES; i++)
					(void)*(volatile uint8_t *)page_at(i); /* what is on disk comes */
				usleep(5000);
			}
			ret = share_restore(world.mm, page);
		}
		ck_assert_int_ge(ret, 0);
		nr_restored += ret > 0;
		ck_assert_uint_eq(in_pool_around(page), 0);
	}
	for (uint32_t at = 0; at < STRESS_PAGES;)
		collect(&at, 64);
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		ck_assert_uint_eq(slot_pages[slot], 0);
	ck_assert_uint_eq(stats_now().merged, stats_now().unmerged);
	ck_assert_uint_eq(nr_shared, nr_broken);
	ck_assert_uint_eq(share_mappings(world.mm), 0);
	printf("shared %lu, differed %lu, restored %lu chunks, dropped %lu zero pages\n", nr_shared, nr_differs, nr_restored,
	       nr_zeroes);
	munmap(pool, SLOTS * PAGE);
	close(pool_file);
}

/* --- a run --- */

static void *stress_main(void *arg)
{
	struct stress_thread *t = arg;
	while (!atomic_load(&stop)) {
		t->turn(t);
		atomic_fetch_add(&t->turns, 1);
	}
	return NULL;
}

static void add_threads(unsigned nr, void (*turn)(struct stress_thread *t))
{
	for (unsigned i = 0; i < nr; i++) {
		struct stress_thread *t = &threads[nr_threads];
		ck_assert_uint_lt(nr_threads, MOST_THREADS);
		*t = (struct stress_thread){.index = nr_threads++, .random = random_bits(), .turn = turn};
		ck_assert_int_eq(pthread_create(&t->thread, NULL, stress_main, t), 0);
	}
}

static void stress_set_up(void)
{
	watchdog_start();
	random_start();
	world.pattern.seed = random_bits();
	has_zram = kernel_swap_check(&(struct error){.code = 0}) == 0;
	world_make(STRESS_PAGES * PAGE, true);
	fill_all();
	memset(page_at(0), 0, RACY_PAGES * PAGE);
	for (unsigned i = 0; i < STRIPES; i++)
		pthread_rwlock_init(&stripes[i], NULL);
	io_file = open(world.swap, O_TMPFILE | O_RDWR | O_CLOEXEC | O_DIRECT, 0600);
	if (io_file < 0)
		io_file = open(world.swap, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_ge(io_file, 0);
	ck_assert_int_eq(ftruncate(io_file, 64 * PAGE), 0);
	ck_assert_int_eq(io_uring_queue_init(IO_PAGES, &io_ring, 0), 0);
}

/* Lets all run for a while, and then verifies everything. */
static void run(void)
{
	add_threads(GUESTS, guest_turn);
	add_threads(1, device_turn);
	add_threads(EVICTORS, evictor_turn);
	add_threads(1, balloon_turn);
	add_threads(1, admin_turn);
	for (unsigned ms = 0; ms < stress_seconds() * 1000 && !atomic_load(&stop); ms += 10)
		usleep(10000);
	atomic_store(&stop, true);
	/* What fails now would be waited for until the next retry. */
	doors_reset();
	memmgr_retry(world.mm);
	for (unsigned i = 0; i < nr_threads; i++)
		pthread_join(threads[i].thread, NULL);
	ck_assert_msg(!wrong_text[0], "%s", wrong_text);
	/* To rest: no target, no samples. */
	struct memmgr_settings settings;
	memmgr_get_settings(world.mm, &settings);
	settings.target = settings.floor = 0;
	settings.sample_rate = 0;
	ck_assert_int_eq(memmgr_configure(world.mm, &settings, NULL), 0);
}

static void finish(bool may_leave_bytes)
{
	for (uint32_t page = RACY_PAGES; page < STRESS_PAGES; page++)
		check_page(page);
	for (unsigned i = 0; i < nr_threads; i++)
		for (uint32_t page = 0; page < RACY_PAGES && threads[i].turn == guest_turn; page++)
			ck_assert_uint_eq(((uint64_t *)page_at(page))[threads[i].index * 31 % 512], threads[i].counters[page]);
	usleep(300000); /* the pager and the reclaimer come to an end */
	if (!may_leave_bytes)
		check_table(false);
	for (unsigned i = 0; i < nr_threads; i++)
		printf("thread %u: %lu turns\n", i, atomic_load(&threads[i].turns));
	print_stats(stdout);
	io_uring_queue_exit(&io_ring);
	close(io_file);
}

START_TEST(no_byte_is_wrong_under_stress)
{
	run();
	struct memmgr_stats s = stats_now();
	ck_assert_uint_gt(s.evicted, 0);
	ck_assert_uint_gt(s.faults, 0);
	ck_assert_uint_eq(s.failures, 0);
	ck_assert_uint_eq(s.damaged, 0);
	finish(false);
}
END_TEST

START_TEST(no_byte_is_wrong_while_pages_are_shared)
{
	pool_make();
	add_threads(1, sharer_turn);
	run();
	ck_assert_uint_gt(nr_shared, 0);
	ck_assert_uint_gt(nr_broken, 0);
	ck_assert_uint_gt(nr_differs, 0);
	pool_end();
	ck_assert_uint_gt(nr_restored, 0);
	finish(false);
}
END_TEST

/* The race itself is rare; what must hold for it not to be lost is seen without one. */
START_TEST(a_written_copy_that_a_device_may_be_filling_stays_where_it_is)
{
	struct share_item item = {CHUNK_PAGES, 0}, out;
	struct iovec iov = {.iov_base = page_at(item.page), .iov_len = GUEST_PAGE_SIZE};
	struct guest_ram_pins pins;
	enum share_result result;
	uint32_t at = item.page;
	pool_make();
	memcpy(pool, page_at(item.page), PAGE);
	ck_assert_uint_eq(share_pages(world.mm, &item, 1, &result), 1);
	page_write(item.page);
	ck_assert_uint_eq(share_collect(world.mm, &at, at + CHUNK_PAGES, true, &out, 1), 1);
	memcpy(pool, page_at(item.page), PAGE);
	guest_ram_pin(world.ram, &iov, 1, &pins);
	ck_assert_int_eq(share_restore(world.mm, item.page), -EAGAIN);
	ck_assert_uint_eq(share_pages(world.mm, &item, 1, &result), 0);
	ck_assert_int_eq(result, SHARE_BUSY);
	/* It can be written all the same. */
	page_write(item.page);
	guest_ram_unpin(world.ram, &pins);
	ck_assert_int_eq(share_restore(world.mm, item.page), 0);
	ck_assert_uint_eq(in_pool_around(item.page), 0);
	munmap(pool, SLOTS * PAGE);
	close(pool_file);
	finish(false);
}
END_TEST

/* Of the chunk at first one page was written to, and its slot is given back. */
static void collect_one(uint32_t first, uint32_t page)
{
	struct share_item out[2];
	uint32_t at = first;
	ck_assert_uint_eq(share_collect(world.mm, &at, first + CHUNK_PAGES, true, out, 2), 1);
	ck_assert_uint_eq(out[0].page, page);
}

/*
 * A page of the pool that the kernel took away under write protection looks like a private copy that was swapped out. A hole in the file
 * takes it away in the same manner (zap_install_uffd_wp_if_needed), without any swap.
 */
START_TEST(a_page_of_the_pool_that_the_kernel_took_away_keeps_its_slot)
{
	enum { READ, UNTOUCHED, WRITTEN, WRITTEN_AWAY, NR };
	static uint8_t bytes[NR * PAGE];
	struct quiet_chunk seen;
	struct share_item items[NR], out[NR];
	enum share_result results[NR];
	uint32_t first = CHUNK_PAGES, at = first;
	pool_make();
	for (uint32_t i = 0; i < NR; i++) {
		items[i] = (struct share_item){first + i, i};
		page_write(first + i);
	}
	memcpy(bytes, page_at(first), NR * PAGE);
	memcpy(pool, bytes, NR * PAGE);
	ck_assert_uint_eq(share_pages(world.mm, items, NR, results), NR);
	page_write(first + WRITTEN);
	collect_one(first, first + WRITTEN);
	/* Where a merge is broken the look for what was written protects all that is there. */
	for (uint32_t i = 0; i < NR; i++)
		check_page(first + i);
	ck_assert_int_eq(quiet_look(world.mm, first / CHUNK_PAGES, QUIET_TAKE_HUGE, &seen), 0);
	ck_assert_int_eq(fallocate(pool_file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, NR * PAGE), 0);
	memcpy(pool, bytes, NR * PAGE);
	check_page(first + READ);
	ck_assert_uint_eq(share_collect(world.mm, &at, first + CHUNK_PAGES, true, out, NR), 0);
	/* A write makes a copy over a marker, too, and that is found. */
	page_write(first + WRITTEN_AWAY);
	collect_one(first, first + WRITTEN_AWAY);
	check_page(first + UNTOUCHED);
	ck_assert_int_eq(share_restore(world.mm, first), 2);
	at = first;
	ck_assert_uint_eq(share_collect(world.mm, &at, first + CHUNK_PAGES, false, out, NR), 2);
	munmap(pool, SLOTS * PAGE);
	close(pool_file);
	finish(false);
}
END_TEST

START_TEST(a_written_copy_can_be_written_again_whatever_the_kernel_refuses_meanwhile)
{
	struct share_item item = {CHUNK_PAGES, 0}, out;
	enum share_result result;
	uint32_t at = item.page;
	pool_make();
	memcpy(pool, page_at(item.page), PAGE);
	ck_assert_uint_eq(share_pages(world.mm, &item, 1, &result), 1);
	page_write(item.page);
	ck_assert_uint_eq(share_collect(world.mm, &at, at + CHUNK_PAGES, true, &out, 1), 1);
	/* It is held while it is compared, and let go. */
	memset(pool, 0x5a, PAGE);
	door_fail(DOOR_UNREGISTER, 1000, ENOMEM);
	ck_assert_uint_eq(share_pages(world.mm, &item, 1, &result), 0);
	ck_assert_int_eq(result, SHARE_DIFFERS);
	page_write(item.page);
	door_fail(DOOR_OVER, 1000, ENOMEM);
	ck_assert_int_eq(share_restore(world.mm, item.page), -ENOMEM);
	page_write(item.page);
	doors_reset();
	ck_assert_int_eq(share_restore(world.mm, item.page), 0);
	page_write(item.page);
	munmap(pool, SLOTS * PAGE);
	close(pool_file);
	finish(false);
}
END_TEST

START_TEST(no_byte_is_wrong_while_pages_are_shared_and_the_kernel_refuses_things)
{
	for (unsigned d = 0; d < NR_DOORS; d++)
		if (d != DOOR_CALLOC && d != DOOR_READ)
			door_fail((enum door)d, 30, 0);
	pool_make();
	add_threads(1, sharer_turn);
	run();
	pool_end();
	finish(true);
}
END_TEST

START_TEST(no_byte_is_wrong_while_the_kernel_refuses_things)
{
	for (unsigned d = 0; d < NR_DOORS; d++)
		if (d != DOOR_CALLOC && d != DOOR_READ)
			door_fail((enum door)d, 30, 0);
	run();
	finish(true);
}
END_TEST

START_TEST(no_byte_is_wrong_while_the_disk_fails)
{
	door_fail(DOOR_READ, 50, 0);
	door_fail(DOOR_WRITE, 50, 0);
	door_fail(DOOR_SUBMIT, 50, 0);
	run();
	finish(false);
}
END_TEST

START_TEST(no_byte_is_wrong_while_the_host_has_no_memory)
{
	door_fail(DOOR_COPY, 100, ENOMEM);
	door_fail(DOOR_MOVE, 100, ENOMEM);
	door_fail(DOOR_ZERO, 100, ENOMEM);
	door_fail(DOOR_REGISTER, 100, ENOMEM);
	door_fail(DOOR_CALLOC, 100, ENOMEM);
	door_fail(DOOR_ADVICE, 100, ENOMEM);
	run();
	finish(false);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("memory manager, stress");
	TCase *tests = tcase_create("stress");
	tcase_set_timeout(tests, 90 + stress_seconds());
	tcase_add_checked_fixture(tests, stress_set_up, tear_down);
	suite_add_tcase(suite, tests);
	add_test(tests, no_byte_is_wrong_under_stress, 1);
	add_test(tests, no_byte_is_wrong_while_pages_are_shared, 1);
	add_test(tests, a_written_copy_that_a_device_may_be_filling_stays_where_it_is, 1);
	add_test(tests, a_page_of_the_pool_that_the_kernel_took_away_keeps_its_slot, 1);
	add_test(tests, a_written_copy_can_be_written_again_whatever_the_kernel_refuses_meanwhile, 1);
	add_test(tests, no_byte_is_wrong_while_pages_are_shared_and_the_kernel_refuses_things, 1);
	add_test(tests, no_byte_is_wrong_while_the_kernel_refuses_things, 1);
	add_test(tests, no_byte_is_wrong_while_the_disk_fails, 1);
	add_test(tests, no_byte_is_wrong_while_the_host_has_no_memory, 1);
	return world_run_suite(suite);
}
