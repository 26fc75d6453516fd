/*
 * The memory manager when something fails: the kernel, the disk, the host's memory. The guest waits or goes on, and never reads a
 * wrong byte.
 */
#include "tests/unit/memmgr_world.h"

/* --- pages that cannot come back --- */

/* A page on disk alone. */
static uint32_t page_on_disk(void)
{
	uint32_t page = find_page(PATTERN_TEXT);
	fill_all();
	ck_assert_int_gt(evict(0, 512, MEMMGR_TIER_DISK), 0);
	ck_assert_int_eq(state_of(page), PAGE_COMPRESSED);
	return page;
}

static void fail_and_recover(struct toucher *t, enum door door, int error, enum memmgr_failure failure)
{
	door_fail(door, 1000, error);
	touch_start(t);
	wait_for(&world.failed, 1, "the owner is told of the failure");
	ck_assert_int_eq(atomic_load(&world.failure), failure);
	/* It waits, and nobody is told twice; also when it is tried again in vain. */
	for (unsigned i = 0; i < 3; i++) {
		memmgr_retry(world.mm);
		usleep(20000);
	}
	ck_assert_uint_eq(atomic_load(&world.failed), 1);
	ck_assert_uint_eq(atomic_load(&world.recovered), 0);
	ck_assert_int_ne(pthread_tryjoin_np(t->thread, NULL), 0);
	door_fail(door, 0, 0);
	memmgr_retry(world.mm);
	touch_join(t);
	wait_for(&world.recovered, 1, "the owner is told of the recovery");
	ck_assert_uint_eq(atomic_load(&world.failed), 1);
	ck_assert_uint_eq(stats_now().failures, 1);
	check_all();
	check_table(false);
}

START_TEST(an_io_error_makes_the_guest_wait_until_its_cause_is_gone)
{
	struct toucher t = {.first = page_on_disk(), .nr = 1};
	fail_and_recover(&t, DOOR_READ, EIO, MEMMGR_FAILURE_IO);
	ck_assert_uint_ge(stats_now().io_errors, 1);
}
END_TEST

START_TEST(a_host_without_memory_makes_the_guest_wait)
{
	struct toucher t = {.first = page_on_disk(), .nr = 1};
	door_fail(DOOR_MOVE, 1000, ENOMEM);
	fail_and_recover(&t, DOOR_COPY, ENOMEM, MEMMGR_FAILURE_NO_MEMORY);
}
END_TEST

START_TEST(a_host_without_memory_to_decompress_into_makes_the_guest_wait)
{
	struct toucher t = {.first = page_on_disk(), .nr = 1};
	fail_and_recover(&t, DOOR_READ, ENOMEM, MEMMGR_FAILURE_NO_MEMORY);
}
END_TEST

START_TEST(what_failed_is_tried_again_without_being_asked_for)
{
	struct toucher t = {.first = page_on_disk(), .nr = 1};
	door_fail(DOOR_READ, 1000, EIO);
	touch_start(&t);
	wait_for(&world.failed, 1, "the owner is told of the failure");
	door_fail(DOOR_READ, 0, 0);
	touch_join(&t);
	wait_for(&world.recovered, 1, "the owner is told of the recovery");
}
END_TEST

START_TEST(many_threads_that_fail_all_go_on)
{
	enum { THREADS = 16 };
	struct toucher t[THREADS];
	page_on_disk();
	door_fail(DOOR_READ, 1000, EIO);
	for (unsigned i = 0; i < THREADS; i++) {
		t[i] = (struct toucher){.index = i, .first = i * 32, .nr = 32};
		touch_start(&t[i]);
	}
	wait_for(&world.failed, 1, "the owner is told of the failure");
	usleep(50000);
	door_fail(DOOR_READ, 0, 0);
	memmgr_retry(world.mm);
	for (unsigned i = 0; i < THREADS; i++) {
		touch_join(&t[i]);
	}
	wait_for(&world.recovered, 1, "the owner is told of the recovery");
	check_table(false);
}
END_TEST

START_TEST(a_damaged_record_is_never_read_and_is_zero_after_a_reset)
{
	struct toucher t = {.first = page_on_disk(), .nr = 1};
	atomic_store(&damage_reads, true);
	world.contents[t.first].generation = 0;
	touch_start(&t);
	wait_for(&world.failed, 1, "the owner is told of the failure");
	ck_assert_int_eq(atomic_load(&world.failure), MEMMGR_FAILURE_DAMAGED);
	ck_assert_uint_ge(stats_now().damaged, 1);
	atomic_store(&damage_reads, false);
	ck_assert_int_ne(pthread_tryjoin_np(t.thread, NULL), 0);
	/* As after a reset: whoever still waits goes on. */
	memmgr_forget_failed(world.mm);
	touch_join(&t);
	page_write(t.first);
	check_page(t.first);
	ck_assert_uint_eq(stats_now().swap_in > 0, 1);
}
END_TEST

START_TEST(a_lost_page_is_told_of_also_after_another_failure)
{
	struct toucher t = {.first = page_on_disk(), .nr = 1};
	world.contents[t.first].generation = 0;
	door_fail(DOOR_READ, 1000, EIO);
	touch_start(&t);
	wait_for(&world.failed, 1, "the owner is told of the failure");
	ck_assert_int_eq(atomic_load(&world.failure), MEMMGR_FAILURE_IO);
	atomic_store(&damage_reads, true);
	door_fail(DOOR_READ, 0, 0);
	memmgr_retry(world.mm);
	wait_for(&world.failed, 2, "the owner is told of the lost page");
	ck_assert_int_eq(atomic_load(&world.failure), MEMMGR_FAILURE_DAMAGED);
	memmgr_retry(world.mm);
	usleep(20000);
	ck_assert_uint_eq(atomic_load(&world.failed), 2);
	memmgr_forget_failed(world.mm);
	touch_join(&t);
}
END_TEST

START_TEST(a_disk_that_cannot_be_written_costs_nothing)
{
	fill_all();
	door_fail(DOOR_WRITE, 1000, _i ? ENOSPC : EIO);
	ck_assert_int_lt(evict(0, 1024, MEMMGR_TIER_DISK), 0);
	check_table(true);
	for (uint32_t page = 0; page < 1024; page += 5)
		check_page(page);
	door_fail(DOOR_WRITE, 0, 0);
	ssize_t ret = 0;
	for (unsigned ms = 0; (ret = evict(0, 1024, MEMMGR_TIER_DISK)) < 0; ms += 10) {
		ck_assert_msg(ms < 20000, "after 20 s eviction to disk still fails: %s", strerror((int)-ret));
		usleep(10000);
	}
	ck_assert_uint_gt(stats_now().swap_pages, 500);
	check_all();
	check_table(true);
}
END_TEST

START_TEST(a_full_swap_file_costs_nothing)
{
	struct memmgr_settings settings;
	memmgr_get_settings(world.mm, &settings);
	settings.swap_limit = 1 * MIB;
	ck_assert_int_eq(memmgr_configure(world.mm, &settings, NULL), 0);
	fill_all();
	evict(0, REGION_PAGES, MEMMGR_TIER_DISK);
	struct memmgr_stats s = stats_now();
	ck_assert_uint_le(s.swap_bytes, settings.swap_limit);
	ck_assert_uint_gt(s.swap_pages, 0);
	check_table(true);
	settings.swap_limit = 0;
	ck_assert_int_eq(memmgr_configure(world.mm, &settings, NULL), 0);
	evict(0, REGION_PAGES, MEMMGR_TIER_DISK);
	ck_assert_uint_gt(stats_now().swap_bytes, 1 * MIB);
	check_all();
	check_table(true);
}
END_TEST

START_TEST(a_full_compressed_tier_costs_nothing)
{
	struct memmgr_settings settings;
	memmgr_get_settings(world.mm, &settings);
	settings.compressed_limit = 1 * MIB;
	ck_assert_int_eq(memmgr_configure(world.mm, &settings, NULL), 0);
	fill_all();
	evict(0, REGION_PAGES, MEMMGR_TIER_COMPRESSED);
	struct memmgr_stats s = stats_now();
	ck_assert_uint_gt(s.limbo_pages, 0);
	ck_assert_uint_gt(s.compressed_pages, 0);
	check_table(true);
	settings.compressed_limit = 0;
	ck_assert_int_eq(memmgr_configure(world.mm, &settings, NULL), 0);
	evict(0, REGION_PAGES, MEMMGR_TIER_COMPRESSED);
	ck_assert_uint_lt(stats_now().limbo_pages, REGION_PAGES * 30 / 100);
	check_all();
	check_table(true);
}
END_TEST

START_TEST(without_a_disk_tier_eviction_to_it_is_refused)
{
	world_end();
	world_make(4 * MIB, false);
	fill_all();
	ck_assert_int_eq(evict(0, 100, MEMMGR_TIER_DISK), -ENODEV);
	ck_assert_int_eq(evict(0, 100, MEMMGR_TIER_COMPRESSED), 100);
	check_all();
}
END_TEST

/* What fails is tried again each second by itself; tests have less patience. */
static void *retry_main(void *arg)
{
	atomic_bool *stop = arg;
	while (!atomic_load(stop)) {
		memmgr_retry(world.mm);
		usleep(5000);
	}
	return NULL;
}

/* One call in ten of one door fails, whichever. */
START_TEST(whatever_the_kernel_refuses_no_byte_is_wrong)
{
	fill_all();
	pthread_t retrier;
	atomic_bool stop = false;
	door_fail((enum door)_i, 100, 0);
	ck_assert_int_eq(pthread_create(&retrier, NULL, retry_main, &stop), 0);
	for (unsigned round = 0; round < 6; round++) {
		uint32_t first = (uint32_t)random_below(REGION_PAGES);
		evict(first, (uint32_t)random_below(REGION_PAGES - first) + 1, tiers[round % 3]);
		for (unsigned i = 0; i < 1500; i++) {
			uint32_t page = (uint32_t)random_below(REGION_PAGES);
			check_page(page);
			if (i % 3 == 0)
				page_write(page);
		}
		memmgr_prewarm(world.mm);
	}
	door_fail((enum door)_i, 0, 0);
	check_all();
	atomic_store(&stop, true);
	pthread_join(retrier, NULL);
	/* Only bytes that could not be discarded may lie where none should. */
	if (_i != DOOR_DISCARD)
		check_table(false);
}
END_TEST

START_TEST(a_guest_that_ends_while_a_thread_waits_is_taken_down)
{
	struct toucher t = {.first = find_page(PATTERN_TEXT), .nr = 1};
	fill_all();
	evict(t.first, 1, MEMMGR_TIER_DISK);
	door_fail(DOOR_READ, 1000, EIO);
	touch_start(&t);
	wait_for(&world.failed, 1, "the owner is told");
	doing(0, "destroying the manager", 0);
	atomic_store(&watched_mm, NULL);
	memmgr_destroy(world.mm);
	world.mm = NULL;
	pthread_join(t.thread, NULL); /* goes on with a page of zeroes: nothing of the guest runs any more */
	done(0);
}
END_TEST

START_TEST(a_dropped_page_that_was_waited_for_comes_as_zero)
{
	struct toucher t = {.first = find_page(PATTERN_TEXT), .nr = 1};
	fill_all();
	evict(t.first, 1, MEMMGR_TIER_DISK);
	door_fail(DOOR_READ, 1000, EIO);
	world.contents[t.first].generation = 0;
	touch_start(&t);
	wait_for(&world.failed, 1, "the owner is told");
	ck_assert_int_eq(memmgr_drop(world.mm, page_gpa(t.first), PAGE, false), 0);
	touch_join(&t);
	wait_for(&world.recovered, 1, "the owner is told that nothing fails any more");
}
END_TEST

START_TEST(a_page_that_leaves_the_balloon_is_still_waited_for)
{
	struct toucher t = {.first = find_page(PATTERN_TEXT), .nr = 1};
	fill_all();
	evict(t.first, 16, MEMMGR_TIER_COMPRESSED); /* arms the chunk, which stays so */
	ck_assert_int_eq(memmgr_drop(world.mm, page_gpa(t.first), PAGE, true), 0);
	world.contents[t.first].generation = 0;
	door_fail(DOOR_ZERO, 1000, ENOMEM);
	touch_start(&t);
	wait_for(&world.failed, 1, "the owner is told");
	ck_assert_int_eq(memmgr_deflate(world.mm, page_gpa(t.first), PAGE), 0);
	door_fail(DOOR_ZERO, 0, 0);
	memmgr_retry(world.mm);
	touch_join(&t);
	wait_for(&world.recovered, 1, "the owner is told that nothing fails any more");
	check_table(false);
}
END_TEST

/* --- creation --- */

static unsigned count_entries(const char *path)
{
	unsigned nr = 0;
	DIR *dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}

static uint64_t address_space(void)
{
	unsigned long long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%llu", &pages), 1);
	fclose(f);
	return pages * PAGE;
}

START_TEST(a_manager_that_cannot_be_made_leaves_nothing)
{
	struct error err;
	struct memmgr_params params = world_params(true);
	memmgr_destroy(world.mm);
	unsigned files = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task"), failures = 0;
	uint64_t space = address_space();
	for (long n = 0;; n++) {
		struct memmgr *mm = NULL;
		err = (struct error){0};
		atomic_store(&calls_left, n);
		int ret = memmgr_create(&params, &mm, &err);
		bool reached = atomic_load(&calls_left) < 0;
		atomic_store(&calls_left, -1);
		if (ret == 0)
			memmgr_destroy(mm); /* what failed can be done without, or all was done */
		else
			ck_assert_msg(err.text[0] && err.code == -ret && !mm, "call %ld: returns %d and says \"%s\"", n, ret,
				      err.text);
		failures += ret != 0;
		ck_assert_int_eq(atomic_load(&live_allocations), 0);
		ck_assert_uint_eq(count_entries("/proc/self/fd"), files);
		ck_assert_uint_eq(count_entries("/proc/self/task"), threads);
		if (!reached)
			break;
	}
	ck_assert_uint_gt(failures, 10);
	/* The guest is 16 MiB: so much would be lost by each forgotten mapping. Freed stacks are kept by libc. */
	ck_assert_uint_le(address_space(), space + (failures / 4) * REGION_PAGES * PAGE);
	world_manage(&params);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("memory manager, failures");
	TCase *tests;

	tests = add_case(suite, "waiting");
	add_test(tests, an_io_error_makes_the_guest_wait_until_its_cause_is_gone, 1);
	add_test(tests, a_host_without_memory_makes_the_guest_wait, 1);
	add_test(tests, a_host_without_memory_to_decompress_into_makes_the_guest_wait, 1);
	add_test(tests, what_failed_is_tried_again_without_being_asked_for, 1);
	add_test(tests, many_threads_that_fail_all_go_on, 1);
	add_test(tests, a_damaged_record_is_never_read_and_is_zero_after_a_reset, 1);
	add_test(tests, a_lost_page_is_told_of_also_after_another_failure, 1);
	add_test(tests, a_dropped_page_that_was_waited_for_comes_as_zero, 1);
	add_test(tests, a_guest_that_ends_while_a_thread_waits_is_taken_down, 1);

	tests = add_case(suite, "full");
	add_test(tests, a_disk_that_cannot_be_written_costs_nothing, 2);
	add_test(tests, a_full_swap_file_costs_nothing, 1);
	add_test(tests, a_full_compressed_tier_costs_nothing, 1);
	add_test(tests, a_page_that_leaves_the_balloon_is_still_waited_for, 1);
	add_test(tests, without_a_disk_tier_eviction_to_it_is_refused, 1);

	tests = add_case(suite, "doors");
	add_test(tests, whatever_the_kernel_refuses_no_byte_is_wrong, NR_DOORS);
	add_test(tests, a_manager_that_cannot_be_made_leaves_nothing, 1);
	return world_run_suite(suite);
}
