/*
 * The whole memory manager with threads in the guest's place: what pages go through, what stands in their way, and that no byte is
 * ever wrong.
 */
#include "memmgr/heat.h"
#include "tests/unit/memmgr_world.h"

#include <fcntl.h>

/* What the guest takes is measured by the process's memory, of which ThreadSanitizer takes several times as much. */
#ifdef __SANITIZE_THREAD__
enum { SANITIZER_USES_MEMORY = true };
#else
enum { SANITIZER_USES_MEMORY = false };
#endif

/* --- there and back --- */

/* A chunk is disarmed a moment after its last page came back. */
static void wait_until_disarmed(void)
{
	for (unsigned ms = 0; stats_now().armed_chunks; ms++) {
		ck_assert_msg(ms < 10000, "10 s after all pages were back, %llu chunks are armed",
			      (unsigned long long)stats_now().armed_chunks);
		usleep(1000);
	}
}

START_TEST(pages_come_back_from_each_tier_with_their_bytes)
{
	fill_all();
	ck_assert_int_eq(evict(0, REGION_PAGES, tiers[_i]), REGION_PAGES);
	struct memmgr_stats s = stats_now();
	check_table(true);
	ck_assert_uint_eq(s.evicted, REGION_PAGES);
	if (tiers[_i] == MEMMGR_TIER_LIMBO) {
		ck_assert_uint_eq(s.limbo_pages, REGION_PAGES);
	} else {
		ck_assert_uint_gt(s.zero_pages, REGION_PAGES / 8);
		ck_assert_uint_eq(s.zero_pages + s.limbo_pages + s.compressed_pages + s.swap_pages, REGION_PAGES);
	}
	if (tiers[_i] == MEMMGR_TIER_DISK) {
		ck_assert_uint_eq(s.limbo_pages, 0);
		ck_assert_uint_gt(s.swap_pages, REGION_PAGES / 2);
		ck_assert_uint_gt(s.swap_bytes, 0);
	}
	check_all();
	check_table(true);
	s = stats_now();
	ck_assert_uint_eq(s.limbo_pages + s.zero_pages + s.compressed_pages + s.swap_pages, 0);
	ck_assert_uint_gt(s.faults, 0);
}
END_TEST

START_TEST(a_write_to_a_page_that_is_away_changes_only_what_it_writes)
{
	fill_all();
	evict(0, REGION_PAGES, tiers[_i]);
	for (uint32_t page = 0; page < REGION_PAGES; page += 7) {
		uint8_t expected[GUEST_PAGE_SIZE];
		pattern_fill(&world.pattern, page * PAGE, world.contents[page].generation, expected);
		expected[page % PAGE] ^= 0xff;
		doing(0, "writing to page", page);
		page_at(page)[page % PAGE] ^= 0xff;
		done(0);
		ck_assert_mem_eq(page_at(page), expected, PAGE);
		page_write(page);
	}
	check_all();
	check_table(true);
}
END_TEST

START_TEST(pages_come_back_in_any_order_again_and_again)
{
	fill_all();
	for (unsigned round = 0; round < 12; round++) {
		uint32_t first = (uint32_t)random_below(REGION_PAGES), nr = (uint32_t)random_below(REGION_PAGES - first) + 1;
		evict(first, nr, tiers[random_below(3)]);
		check_table(false);
		for (unsigned i = 0; i < 2000; i++) {
			uint32_t page = (uint32_t)random_below(REGION_PAGES);
			check_page(page);
			if (random_below(3) == 0)
				page_write(page);
		}
	}
	check_all();
	check_table(true);
}
END_TEST

START_TEST(a_region_that_starts_and_ends_within_a_chunk_is_managed)
{
	world_end();
	/* As a PC has it: a hole below 1 MiB, and an odd end. */
	static const struct guest_ram_region regions[] = {
		{.size = 0xa0000}, {.gpa = 0x100000, .size = 5 * MIB + 3 * 4096}, {.gpa = 64 * MIB, .size = 4096}};
	world_make_ram(regions, 3);
	struct memmgr_params params = world_params(true);
	world_manage(&params);
	fill_all();
	for (unsigned r = 0; r < 3; r++) {
		ck_assert_int_eq(memmgr_evict_range(world.mm, regions[r].gpa, regions[r].size, tiers[_i]), regions[r].size / PAGE);
		/* Beyond an end, and over a hole. */
		ck_assert_int_eq(memmgr_evict_range(world.mm, regions[r].gpa, regions[r].size + PAGE, tiers[_i]), -EINVAL);
	}
	check_table(false);
	check_all();
	check_table(false);
	wait_until_disarmed();
}
END_TEST

START_TEST(ranges_that_are_not_ram_are_refused)
{
	static const struct {
		uint64_t gpa, len;
	} bad[] = {{0, 0},
		   {1, PAGE},
		   {0, 1},
		   {REGION_PAGES * PAGE, PAGE},
		   {0, (REGION_PAGES + 1) * PAGE},
		   {UINT64_MAX - PAGE + 1, PAGE},
		   {PAGE, UINT64_MAX - PAGE + 1}};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_int_eq(memmgr_evict_range(world.mm, bad[i].gpa, bad[i].len, MEMMGR_TIER_LIMBO), -EINVAL);
		ck_assert_int_eq(memmgr_drop(world.mm, bad[i].gpa, bad[i].len, true), -EINVAL);
		ck_assert_int_eq(memmgr_deflate(world.mm, bad[i].gpa, bad[i].len), -EINVAL);
	}
}
END_TEST

/* --- kinds of pages --- */

START_TEST(zero_pages_take_no_memory_and_come_back_zero)
{
	fill_all();
	memset(page_at(0), 0, 1024 * PAGE);
	memset(world.contents, 0, 1024 * sizeof(*world.contents));
	evict(0, 1024, MEMMGR_TIER_COMPRESSED);
	struct memmgr_stats s = stats_now();
	ck_assert_uint_eq(s.zero_pages, 1024);
	ck_assert_uint_eq(s.limbo_pages + s.compressed_pages, 0);
	for (uint32_t page = 0; page < 1024; page += 2)
		page_write(page);
	check_all();
	check_table(false);
	ck_assert_uint_eq(stats_now().zero_pages, 0);
}
END_TEST

START_TEST(a_first_write_finds_a_zero_page_zero)
{
	enum { NEVER_TOUCHED, EVICTED, DROPPED };
	struct memmgr_settings settings;
	memmgr_get_settings(world.mm, &settings);
	settings.prefetch = false;
	ck_assert_int_eq(memmgr_configure(world.mm, &settings, NULL), 0);
	/* Something of each chunk is away, and so the manager fills pages. */
	for (uint32_t page = 0; page < REGION_PAGES; page += CHUNK_PAGES)
		page_write(page);
	if (_i == EVICTED)
		memset(page_at(0) + PAGE, 0, (CHUNK_PAGES - 1) * PAGE);
	if (_i == DROPPED)
		for (uint32_t page = 1; page < CHUNK_PAGES; page++)
			page_write(page);
	evict(0, REGION_PAGES, MEMMGR_TIER_COMPRESSED);
	if (_i == DROPPED) {
		ck_assert_int_eq(memmgr_drop(world.mm, page_gpa(1), (CHUNK_PAGES - 1) * PAGE, false), 0);
		memset(&world.contents[1], 0, (CHUNK_PAGES - 1) * sizeof(*world.contents));
	}
	for (uint32_t page = 1; page < CHUNK_PAGES; page++) {
		doing(0, "writing to page", page);
		((volatile uint8_t *)page_at(page))[page * 7] = 0;
		done(0);
		check_page(page);
	}
	check_table(false);
}
END_TEST

START_TEST(pages_that_were_never_touched_are_not_taken)
{
	ck_assert_int_eq(evict(0, REGION_PAGES, MEMMGR_TIER_COMPRESSED), 0);
	/* Reading maps the kernel's zero page. */
	for (uint32_t page = 0; page < 512; page++)
		check_page(page);
	ck_assert_int_le(evict(0, REGION_PAGES, MEMMGR_TIER_COMPRESSED), 512); /* as a huge page is more than a zero page */
	check_all();
}
END_TEST

START_TEST(incompressible_pages_stay_in_limbo_until_the_disk_takes_them)
{
	uint32_t nr = 0;
	fill_all();
	for (uint32_t page = 0; page < REGION_PAGES; page++)
		nr += is_kind(page, PATTERN_RANDOM);
	evict(0, REGION_PAGES, MEMMGR_TIER_COMPRESSED);
	struct memmgr_stats s = stats_now();
	ck_assert_uint_eq(s.limbo_pages, nr);
	ck_assert_uint_eq(s.incompressible, nr);
	evict(0, REGION_PAGES, MEMMGR_TIER_DISK);
	ck_assert_uint_eq(stats_now().limbo_pages, 0);
	check_table(true);
	check_all();
}
END_TEST

START_TEST(a_page_that_is_changed_while_it_was_away_is_compressed_anew)
{
	uint32_t page = find_page(PATTERN_TEXT);
	for (unsigned i = 0; i < 50; i++) {
		page_write(page);
		ck_assert_int_eq(evict(page, 1, tiers[i % 3]), 1);
		check_page(page);
	}
}
END_TEST

/* --- who faults --- */

START_TEST(the_kernel_reads_from_and_writes_to_pages_that_are_away)
{
	int pipes[2];
	uint8_t bytes[GUEST_PAGE_SIZE];
	char wrong[200];
	ck_assert_int_eq(pipe(pipes), 0);
	fill_all();
	evict(0, REGION_PAGES, tiers[_i]);
	for (uint32_t page = 0; page + 1 < REGION_PAGES; page += 2) {
		doing(0, "in write(2) from page", page);
		ck_assert_int_eq(write(pipes[1], page_at(page), PAGE), PAGE);
		ck_assert_int_eq(read(pipes[0], bytes, PAGE), PAGE);
		ck_assert_msg(bytes_right(page, bytes, wrong, sizeof(wrong)), "%s", wrong);
		doing(0, "in read(2) to page", page + 1);
		ck_assert_int_eq(write(pipes[1], bytes, PAGE), PAGE);
		ck_assert_int_eq(read(pipes[0], page_at(page + 1), PAGE), PAGE);
		world.contents[page + 1] = world.contents[page];
		done(0);
	}
	check_all();
	check_table(false);
	close(pipes[0]);
	close(pipes[1]);
}
END_TEST

START_TEST(threads_that_fault_the_same_page_all_go_on)
{
	enum { THREADS = 4, PAGES = 600 };
	struct toucher t[THREADS];
	pthread_barrier_t barrier;
	fill_all();
	evict(0, PAGES, tiers[_i]);
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		t[i] = (struct toucher){.index = i, .nr = PAGES, .barrier = &barrier};
		touch_start(&t[i]);
	}
	for (unsigned i = 0; i < THREADS; i++)
		touch_join(&t[i]);
	pthread_barrier_destroy(&barrier);
	check_table(true);
}
END_TEST

START_TEST(no_write_of_threads_to_the_same_page_is_lost)
{
	enum { THREADS = 4, PAGES = 600 };
	struct toucher t[THREADS];
	pthread_barrier_t barrier;
	fill_all();
	evict(0, PAGES, tiers[_i]);
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		t[i] = (struct toucher){.index = i, .nr = PAGES, .barrier = &barrier, .write = true};
		touch_start(&t[i]);
	}
	for (unsigned i = 0; i < THREADS; i++)
		touch_join(&t[i]);
	for (uint32_t page = 0; page < PAGES; page++) {
		uint64_t expected[PAGE / 8];
		pattern_fill(&world.pattern, page * PAGE, world.contents[page].generation, expected);
		for (unsigned i = 0; i < THREADS; i++)
			expected[i] = page + 1 + i;
		ck_assert_mem_eq(page_at(page), expected, PAGE);
	}
	pthread_barrier_destroy(&barrier);
}
END_TEST

/* --- what must not move --- */

START_TEST(pinned_pages_are_spared)
{
	struct io_uring ring;
	struct iovec fixed = {.iov_base = page_at(100), .iov_len = 50 * PAGE};
	fill_all();
	ck_assert_int_eq(io_uring_queue_init(4, &ring, 0), 0);
	int ret = io_uring_register_buffers(&ring, &fixed, 1);
	ck_assert_msg(ret == 0, "io_uring_register_buffers: %s", strerror(-ret));
	ssize_t taken = evict(0, 512, tiers[_i]);
	/* The others of a huge page may be held as well. */
	ck_assert_int_le(taken, 512 - 50);
	ck_assert_uint_ge(stats_now().pinned, 1);
	for (uint32_t page = 100; page < 150; page++)
		ck_assert_int_eq(state_of(page), PAGE_RESIDENT);
	check_table(true);
	/* I/O goes to the very pages that were pinned. */
	int file = open(world.swap, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_ge(file, 0);
	uint8_t bytes[GUEST_PAGE_SIZE];
	world.contents[120] = (struct content){120, 77};
	pattern_fill(&world.pattern, 120 * PAGE, 77, bytes);
	ck_assert_int_eq(pwrite(file, bytes, PAGE, 0), PAGE);
	io_uring_prep_read_fixed(io_uring_get_sqe(&ring), file, page_at(120), GUEST_PAGE_SIZE, 0, 0);
	struct io_uring_cqe *cqe;
	ck_assert_int_eq(io_uring_submit_and_wait(&ring, 1), 1);
	ck_assert_int_eq(io_uring_wait_cqe(&ring, &cqe), 0);
	ck_assert_int_eq(cqe->res, PAGE);
	close(file);
	check_all();
	io_uring_queue_exit(&ring);
	/* Let go, they can be taken; it may take the kernel a moment. */
	for (unsigned ms = 0; evict(100, 50, tiers[_i]), state_of(120) == PAGE_RESIDENT; ms++) {
		ck_assert_msg(ms < 5000, "pages that were pinned once are never taken");
		usleep(1000);
	}
	check_all();
}
END_TEST

/* --- drop and deflate --- */

START_TEST(dropped_pages_of_each_tier_read_as_zero)
{
	fill_all();
	if (_i < 3)
		evict(0, 1024, tiers[_i]);
	ck_assert_int_eq(memmgr_drop(world.mm, 0, 1000 * PAGE, true), 0);
	struct memmgr_stats s = stats_now();
	ck_assert_uint_eq(s.balloon_pages, 1000);
	check_table(false);
	memset(world.contents, 0, 1000 * sizeof(*world.contents));
	ck_assert_int_eq(memmgr_deflate(world.mm, 0, 500 * PAGE), 0);
	ck_assert_uint_eq(stats_now().balloon_pages, 500);
	check_all();
	/* A guest that does not keep its word may use what it gave up. */
	for (uint32_t page = 0; page < 1024; page++)
		page_write(page);
	check_all();
	ck_assert_int_eq(memmgr_deflate(world.mm, 500 * PAGE, 500 * PAGE), 0);
	check_all();
	check_table(false);
	wait_until_disarmed();
}
END_TEST

START_TEST(a_discard_is_not_counted_as_ballooned)
{
	fill_all();
	evict(0, 600, MEMMGR_TIER_COMPRESSED);
	ck_assert_int_eq(memmgr_drop(world.mm, 0, 1024 * PAGE, false), 0);
	memset(world.contents, 0, 1024 * sizeof(*world.contents));
	ck_assert_uint_eq(stats_now().balloon_pages, 0);
	check_all();
	check_table(false);
}
END_TEST

/* --- no pressure, no cost --- */

START_TEST(a_chunk_is_disarmed_when_all_of_it_is_back)
{
	fill_all();
	ck_assert_uint_eq(stats_now().armed_chunks, 0);
	evict(10, 5, tiers[_i]);
	ck_assert_uint_eq(stats_now().armed_chunks, 1);
	evict(510, 4, tiers[_i]);
	ck_assert_uint_eq(stats_now().armed_chunks, 2);
	for (uint32_t page = 10; page < 15; page++)
		check_page(page);
	for (uint32_t page = 510; page < 514; page++)
		check_page(page);
	wait_until_disarmed();
	uint64_t faults = stats_now().faults;
	check_all();
	fill_all();
	ck_assert_uint_eq(stats_now().faults, faults);
}
END_TEST

START_TEST(a_chunk_that_is_whole_stays_armed_until_a_hole_of_it_is_touched)
{
	world.mm->calm_ms = 1000000;
	fill_all();
	evict(10, 5, MEMMGR_TIER_LIMBO);
	for (uint32_t page = 10; page < 15; page++)
		check_page(page);
	ck_assert_int_eq(memmgr_drop(world.mm, 20 * PAGE, 2 * PAGE, false), 0);
	memset(world.contents + 20, 0, 2 * sizeof(*world.contents));
	ck_assert_uint_eq(stats_now().armed_chunks, 1);
	check_page(20);
	wait_until_disarmed();
	uint64_t faults = stats_now().faults;
	check_page(21);
	check_all();
	ck_assert_uint_eq(stats_now().faults, faults);
}
END_TEST

/* --- who is taken --- */

START_TEST(pages_that_came_back_each_time_are_tried_less_often)
{
	enum { HOT = 64, TIMES = 4 };
	struct page_table *pt = &world.mm->pt;
	unsigned tried = 0, taken;
	world.mm->prefetch = false; /* a neighbour that comes along is not known to be touched */
	fill_all();
	for (unsigned i = 0; i < TIMES; i++) {
		evict(0, HOT, MEMMGR_TIER_LIMBO);
		for (uint32_t page = 0; page < HOT; page++)
			check_page(page);
	}
	/* As the hand leaves those that nobody has touched since. */
	lock_take(&pt->chunks[0].lock);
	for (uint32_t page = 0; page < HOT; page++)
		page_table_set(pt, page, pt->entries[page] & ~(uint64_t)(PAGE_REFERENCED | PAGE_PREFETCHED));
	lock_release(&pt->chunks[0].lock);
	lock_take(&world.mm->evict_lock);
	taken = (unsigned)evict_by_clock(world.mm, REGION_PAGES / 2);
	lock_release(&world.mm->evict_lock);
	lock_take(&pt->chunks[0].lock);
	for (uint32_t page = 0; page < HOT; page++)
		tried += page_state(pt->entries[page]) != PAGE_RESIDENT;
	lock_release(&pt->chunks[0].lock);
	ck_assert_uint_ge(taken, REGION_PAGES / 2);
	ck_assert_uint_lt(tried, HOT / 4); /* an eighth */
	/* Where there is nothing else, they go, too. */
	lock_take(&world.mm->evict_lock);
	evict_by_clock(world.mm, REGION_PAGES);
	lock_release(&world.mm->evict_lock);
	lock_take(&pt->chunks[0].lock);
	for (uint32_t page = 0; page < HOT; page++)
		ck_assert(pt->heat[page] < HEAT_MOST || page_state(pt->entries[page]) != PAGE_RESIDENT);
	lock_release(&pt->chunks[0].lock);
	check_all();
}
END_TEST

/* --- what comes ahead --- */

START_TEST(prewarming_brings_back_what_was_evicted)
{
	fill_all();
	evict(0, REGION_PAGES, tiers[_i + 1]);
	doing(0, "waiting for prewarmed pages", 0);
	memmgr_prewarm(world.mm);
	uint64_t left;
	unsigned ms = 0;
	do {
		usleep(1000);
		struct memmgr_stats s = stats_now();
		left = s.compressed_pages + s.swap_pages;
	} while (left > 0 && ++ms < 10000);
	done(0);
	ck_assert_msg(left == 0, "%llu pages are still away 10 s after the call", (unsigned long long)left);
	ck_assert_uint_gt(stats_now().prefetched, REGION_PAGES / 3);
	check_table(true);
	check_all();
}
END_TEST

START_TEST(a_walk_through_memory_faults_less_than_it_touches)
{
	fill_all();
	evict(0, REGION_PAGES, tiers[_i]);
	check_all();
	struct memmgr_stats s = stats_now();
	ck_assert_uint_lt(s.faults, REGION_PAGES / 4);
	ck_assert_uint_gt(s.prefetched, REGION_PAGES / 3);
}
END_TEST

START_TEST(without_prefetch_each_page_comes_alone)
{
	struct memmgr_settings settings;
	memmgr_get_settings(world.mm, &settings);
	settings.prefetch = false;
	ck_assert_int_eq(memmgr_configure(world.mm, &settings, NULL), 0);
	fill_all();
	evict(0, REGION_PAGES, tiers[_i]);
	check_all();
	struct memmgr_stats s = stats_now();
	ck_assert_uint_eq(s.prefetched, 0);
	ck_assert_uint_ge(s.faults, REGION_PAGES);
}
END_TEST

/* --- the target --- */

START_TEST(a_guest_is_brought_under_its_target_and_back)
{
	if (SANITIZER_USES_MEMORY)
		return;
	struct memmgr_settings settings;
	fill_all();
	memmgr_get_settings(world.mm, &settings);
	settings.target = 8 * MIB;
	settings.limbo_ms = 50;
	ck_assert_int_eq(memmgr_configure(world.mm, &settings, NULL), 0);
	unsigned ms = 0;
	while (stats_now().used_pages * PAGE > settings.target && ++ms < 20000)
		usleep(1000);
	struct memmgr_stats s = stats_now();
	ck_assert_msg(s.used_pages * PAGE <= settings.target, "20 s after the target was set to 8 MiB, %llu KiB are used",
		      (unsigned long long)(s.used_pages * 4));
	check_all();
	settings.target = 0;
	ck_assert_int_eq(memmgr_configure(world.mm, &settings, NULL), 0);
	check_all();
}
END_TEST

/* Pages that compress little, above the target: what the store cannot gain, the disk could. */
START_TEST(the_swap_file_is_not_written_while_that_is_not_allowed)
{
	if (SANITIZER_USES_MEMORY)
		return;
	struct memmgr_settings settings;
	fill_all();
	memmgr_get_settings(world.mm, &settings);
	ck_assert(settings.swap_out);
	settings.target = 2 * MIB;
	settings.limbo_ms = 50;
	settings.swap_out = false;
	ck_assert_int_eq(memmgr_configure(world.mm, &settings, NULL), 0);
	for (unsigned ms = 0; stats_now().compressed_pages < REGION_PAGES / 8 && ms < 20000; ms += 10)
		usleep(10000);
	usleep(1500000);
	struct memmgr_stats s = stats_now();
	ck_assert_uint_ge(s.compressed_pages, REGION_PAGES / 8);
	ck_assert_uint_gt(s.used_pages * PAGE, settings.target);
	ck_assert_uint_eq(s.swap_pages, 0);
	ck_assert_uint_eq(s.swap_bytes, 0);
	settings.swap_out = true;
	ck_assert_int_eq(memmgr_configure(world.mm, &settings, NULL), 0);
	for (unsigned ms = 0; stats_now().swap_pages == 0 && ms < 20000; ms += 10)
		usleep(10000);
	ck_assert_uint_gt(stats_now().swap_pages, 0);
	check_all();
}
END_TEST

START_TEST(bad_settings_are_refused_and_change_nothing)
{
	struct memmgr_settings before, settings, after;
	struct error err = {0};
	memmgr_get_settings(world.mm, &before);
	for (unsigned i = 0; i < 5; i++) {
		settings = before;
		settings.cold_ms++;
		uint64_t *sizes[] = {&settings.target, &settings.floor, &settings.compressed_limit, &settings.swap_limit};
		if (i < 4) {
			*sizes[i] = 4097;
		} else {
			settings.target = 8192;
			settings.floor = 12288;
		}
		ck_assert_int_eq(memmgr_configure(world.mm, &settings, &err), -EINVAL);
		ck_assert(err.text[0]);
		memmgr_get_settings(world.mm, &after);
		ck_assert_uint_eq(after.cold_ms, before.cold_ms);
	}
}
END_TEST

/* --- statistics --- */

START_TEST(the_shared_page_shows_what_the_manager_counts)
{
	struct memmgr_settings settings;
	struct memmgr_stats shown;
	uint64_t time_ns;
	fill_all();
	evict(0, 1024, MEMMGR_TIER_COMPRESSED);
	struct memmgr_stats_page *page = mmap(NULL, sizeof(*page), PROT_READ, MAP_SHARED, memmgr_stats_fd(world.mm), 0);
	ck_assert_ptr_ne(page, MAP_FAILED);
	/* Something happens, and so it is written. */
	memmgr_get_settings(world.mm, &settings);
	ck_assert_int_eq(memmgr_configure(world.mm, &settings, NULL), 0);
	for (unsigned ms = 0; memmgr_stats_page_read(page, &shown, &time_ns) != 0 || shown.evicted != 1024; ms++) {
		ck_assert_msg(ms < 10000, "the shared page has %llu evicted pages after 10 s, not 1024",
			      (unsigned long long)shown.evicted);
		usleep(1000);
	}
	ck_assert_uint_eq(shown.total_pages, REGION_PAGES);
	munmap(page, sizeof(*page));
}
END_TEST

START_TEST(used_memory_is_what_tiers_and_guest_take)
{
	if (SANITIZER_USES_MEMORY)
		return;
	fill_all();
	struct memmgr_stats full = stats_now();
	ck_assert_uint_ge(full.used_pages, REGION_PAGES * 95 / 100);
	ck_assert_uint_le(full.used_pages, REGION_PAGES * 115 / 100);
	evict(0, REGION_PAGES, MEMMGR_TIER_LIMBO);
	ck_assert_uint_ge(stats_now().used_pages, REGION_PAGES * 95 / 100);
	evict(0, REGION_PAGES, MEMMGR_TIER_COMPRESSED);
	evict_compress_range(world.mm, 0, REGION_PAGES, STORE_FAST);
	struct memmgr_stats s = stats_now();
	/* A quarter zero, half compressed by almost half, a quarter as it was; sanitizers add to it. */
	ck_assert_uint_le(s.used_pages, REGION_PAGES * 80 / 100);
	ck_assert_uint_ge(s.used_pages, REGION_PAGES * 40 / 100);
	check_all();
}
END_TEST

/* --- life --- */

START_TEST(a_manager_comes_and_goes_with_pages_in_every_tier)
{
	struct memmgr_params params = world_params(true);
	for (unsigned i = 0; i < 5; i++) {
		fill_all();
		for (unsigned tier = 0; tier < 3; tier++)
			evict(tier * 1024, 1024, tiers[tier]);
		doing(0, "destroying the manager", i);
		memmgr_destroy(world.mm);
		done(0);
		ck_assert_int_eq(atomic_load(&live_allocations), 0);
		/* Memory that was away reads as zero now, and is ordinary memory. */
		memset(page_at(0), 1, REGION_PAGES * PAGE);
		memset(world.contents, 0, REGION_PAGES * sizeof(*world.contents));
		world_manage(&params);
	}
}
END_TEST

START_TEST(a_swap_file_can_be_handed_in)
{
	world_end();
	struct guest_ram_region region = {.size = 4 * MIB};
	world_make_ram(&region, 1);
	struct memmgr_params params = world_params(false);
	params.swap_fd = open(world.swap, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_ge(params.swap_fd, 0);
	world_manage(&params);
	fill_all();
	ck_assert_int_eq(evict(0, 1024, MEMMGR_TIER_DISK), 1024);
	check_all();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("memory manager");
	TCase *tests;

	tests = add_case(suite, "tiers");
	add_test(tests, pages_come_back_from_each_tier_with_their_bytes, 3);
	add_test(tests, a_write_to_a_page_that_is_away_changes_only_what_it_writes, 3);
	add_test(tests, pages_come_back_in_any_order_again_and_again, 1);
	add_test(tests, a_region_that_starts_and_ends_within_a_chunk_is_managed, 3);
	add_test(tests, ranges_that_are_not_ram_are_refused, 1);
	add_test(tests, zero_pages_take_no_memory_and_come_back_zero, 1);
	add_test(tests, a_first_write_finds_a_zero_page_zero, 3);
	add_test(tests, pages_that_were_never_touched_are_not_taken, 1);
	add_test(tests, incompressible_pages_stay_in_limbo_until_the_disk_takes_them, 1);
	add_test(tests, a_page_that_is_changed_while_it_was_away_is_compressed_anew, 1);

	tests = add_case(suite, "faults");
	add_test(tests, the_kernel_reads_from_and_writes_to_pages_that_are_away, 3);
	add_test(tests, threads_that_fault_the_same_page_all_go_on, 3);
	add_test(tests, no_write_of_threads_to_the_same_page_is_lost, 3);
	add_test(tests, pinned_pages_are_spared, 3);

	tests = add_case(suite, "drop");
	add_test(tests, dropped_pages_of_each_tier_read_as_zero, 4);
	add_test(tests, a_discard_is_not_counted_as_ballooned, 1);

	tests = add_case(suite, "prefetch");
	add_test(tests, a_chunk_is_disarmed_when_all_of_it_is_back, 3);
	add_test(tests, pages_that_came_back_each_time_are_tried_less_often, 1);
	add_test(tests, a_chunk_that_is_whole_stays_armed_until_a_hole_of_it_is_touched, 1);
	add_test(tests, prewarming_brings_back_what_was_evicted, 2);
	add_test(tests, a_walk_through_memory_faults_less_than_it_touches, 3);
	add_test(tests, without_prefetch_each_page_comes_alone, 3);

	tests = add_case(suite, "settings");
	add_test(tests, a_guest_is_brought_under_its_target_and_back, 1);
	add_test(tests, the_swap_file_is_not_written_while_that_is_not_allowed, 1);
	add_test(tests, bad_settings_are_refused_and_change_nothing, 1);
	add_test(tests, the_shared_page_shows_what_the_manager_counts, 1);
	add_test(tests, used_memory_is_what_tiers_and_guest_take, 1);

	tests = add_case(suite, "life");
	add_test(tests, a_manager_comes_and_goes_with_pages_in_every_tier, 1);
	add_test(tests, a_swap_file_can_be_handed_in, 1);
	return world_run_suite(suite);
}
