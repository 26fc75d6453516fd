/*
 * What the guest gives up: dropped from each tier without being read, counted right, and zero for who uses it all the same; by examples, and
 * by random steps beside a plain model. Races with faults, eviction and merging are in test_memmgr_stress.c.
 */
#include <fcntl.h>

#include "memmgr/discard.h"
#include "memmgr/page_residency.h"
#include "memmgr/share.h"
#include "tests/unit/memmgr_world.h"

static struct page_residency residency(uint32_t first, uint32_t nr)
{
	struct page_residency counts;
	ck_assert_int_eq(page_residency(world.mm->pagemap, page_at(first), nr, &counts), 0);
	return counts;
}

/* Who waits for a page goes on a moment before its entry is changed, under the lock. */
static enum page_state settled_state(uint32_t page)
{
	struct chunk *c = page_chunk(&world.mm->pt, page);
	lock_take(&c->lock);
	enum page_state state = state_of(page);
	lock_release(&c->lock);
	return state;
}

static void now_zero(uint32_t first, uint32_t nr)
{
	memset(&world.contents[first], 0, nr * sizeof(*world.contents));
}

static int discard(uint32_t first, uint32_t nr, enum discard_why why)
{
	return memmgr_discard(world.mm, page_gpa(first), nr * PAGE, why);
}

START_TEST(pages_of_each_tier_are_dropped_without_being_read)
{
	fill_all();
	if (_i < 3)
		evict(0, 1024, tiers[_i]);
	struct memmgr_stats before = stats_now();
	/* Who would read from disk, decompress or move anything now would fail. */
	door_fail(DOOR_READ, 1000, EIO);
	door_fail(DOOR_COPY, 1000, ENOMEM);
	door_fail(DOOR_MOVE, 1000, ENOMEM);
	ck_assert_int_eq(discard(0, 1000, DISCARD_BALLOON), 0);
	struct memmgr_stats s = stats_now();
	ck_assert_uint_eq(s.balloon_pages, 1000);
	ck_assert_uint_eq(s.decompressed, before.decompressed);
	ck_assert_uint_eq(s.swap_in, before.swap_in);
	ck_assert_uint_le(s.limbo_pages + s.compressed_pages + s.swap_pages + s.zero_pages, 24);
	doors_reset();
	check_table(false);
	ck_assert_uint_eq(residency(0, 1000).present, 0);
	now_zero(0, 1000);
	ck_assert_int_eq(memmgr_deflate(world.mm, 0, 500 * PAGE), 0);
	ck_assert_uint_eq(stats_now().balloon_pages, 500);
	check_all();
	check_table(false);
}
END_TEST

START_TEST(free_pages_are_dropped_and_are_in_no_balloon)
{
	fill_all();
	evict(0, 700, MEMMGR_TIER_COMPRESSED);
	ck_assert_int_eq(discard(100, 1000, DISCARD_FREE), 0);
	ck_assert_int_eq(discard(100, 1000, DISCARD_FREE), 0);
	now_zero(100, 1000);
	ck_assert_uint_eq(stats_now().balloon_pages, 0);
	check_all();
	check_table(false);
}
END_TEST

START_TEST(nothing_is_armed_for_a_guest_from_which_nothing_was_taken)
{
	fill_all();
	ck_assert_int_eq(discard(0, REGION_PAGES / 2, DISCARD_BALLOON), 0);
	struct memmgr_stats s = stats_now();
	ck_assert_uint_eq(s.armed_chunks + s.evicted + s.faults, 0);
	ck_assert_uint_eq(s.balloon_pages, REGION_PAGES / 2);
	now_zero(0, REGION_PAGES / 2);
	for (uint32_t page = 0; page < REGION_PAGES; page += 3)
		page_write(page);
	check_all();
	ck_assert_uint_eq(stats_now().faults, 0); /* the kernel served them */
}
END_TEST

START_TEST(huge_pages_go_whole_and_leave_their_neighbours_huge)
{
	fill_all();
	if (residency(0, REGION_PAGES).huge < REGION_PAGES)
		return; /* the host has none to give */
	ck_assert_int_eq(discard(CHUNK_PAGES, 2 * CHUNK_PAGES, DISCARD_BALLOON), 0);
	ck_assert_uint_eq(residency(CHUNK_PAGES, 2 * CHUNK_PAGES).present, 0);
	ck_assert_uint_eq(residency(0, REGION_PAGES).huge, REGION_PAGES - 2 * CHUNK_PAGES);
	now_zero(CHUNK_PAGES, 2 * CHUNK_PAGES);
	ck_assert_int_eq(memmgr_deflate(world.mm, page_gpa(CHUNK_PAGES), 2 * CHUNK_SIZE), 0);
	check_all();
}
END_TEST

START_TEST(what_a_device_may_hold_is_spared_and_dropped_later)
{
	struct iovec iov = {.iov_base = page_at(CHUNK_PAGES + 7), .iov_len = GUEST_PAGE_SIZE};
	struct guest_ram_pins pins;
	fill_all();
	guest_ram_pin(world.ram, &iov, 1, &pins);
	ck_assert_int_eq(discard(0, 3 * CHUNK_PAGES, DISCARD_BALLOON), -EBUSY);
	ck_assert_uint_eq(stats_now().balloon_pages, 2 * CHUNK_PAGES);
	now_zero(0, CHUNK_PAGES);
	now_zero(2 * CHUNK_PAGES, CHUNK_PAGES);
	check_all();
	guest_ram_unpin(world.ram, &pins);
	ck_assert_int_eq(discard(0, 3 * CHUNK_PAGES, DISCARD_BALLOON), 0);
	ck_assert_uint_eq(stats_now().balloon_pages, 3 * CHUNK_PAGES);
	now_zero(0, 3 * CHUNK_PAGES);
	check_all();
}
END_TEST

START_TEST(a_ballooned_page_that_is_used_is_the_guests_again)
{
	struct memmgr_settings settings;
	memmgr_get_settings(world.mm, &settings);
	settings.prefetch = false;
	ck_assert_int_eq(memmgr_configure(world.mm, &settings, NULL), 0);
	fill_all();
	/* In an armed chunk a fault tells. */
	evict(0, 8, MEMMGR_TIER_COMPRESSED);
	ck_assert_int_eq(discard(100, 100, DISCARD_BALLOON), 0);
	now_zero(100, 100);
	for (uint32_t page = 100; page < 150; page++) {
		check_page(page);
		ck_assert_int_eq(settled_state(page), PAGE_RESIDENT);
	}
	ck_assert_uint_eq(stats_now().balloon_pages, 50);
	/* Elsewhere nobody does, until the page would be taken. */
	ck_assert_int_eq(discard(CHUNK_PAGES, 100, DISCARD_BALLOON), 0);
	for (uint32_t page = CHUNK_PAGES; page < CHUNK_PAGES + 30; page++)
		page_write(page);
	now_zero(CHUNK_PAGES + 30, 70);
	ck_assert_uint_eq(stats_now().balloon_pages, 150);
	ck_assert_int_eq(evict(CHUNK_PAGES, 100, MEMMGR_TIER_COMPRESSED), 30);
	ck_assert_uint_eq(stats_now().balloon_pages, 120);
	check_all();
	check_table(false);
}
END_TEST

START_TEST(a_guest_that_begins_anew_has_an_empty_balloon)
{
	fill_all();
	evict(0, 1000, MEMMGR_TIER_COMPRESSED);
	ck_assert_int_eq(discard(500, 2000, DISCARD_BALLOON), 0);
	now_zero(500, 2000);
	memmgr_deflate_all(world.mm);
	ck_assert_uint_eq(stats_now().balloon_pages, 0);
	check_all();
	check_table(false);
}
END_TEST

START_TEST(a_stream_gives_no_memory_to_what_is_in_the_balloon)
{
	fill_all();
	evict(0, REGION_PAGES, MEMMGR_TIER_COMPRESSED);
	ck_assert_int_eq(discard(CHUNK_PAGES + 200, 100, DISCARD_BALLOON), 0);
	for (uint32_t page = 0; page < REGION_PAGES; page++)
		if (page < CHUNK_PAGES + 200 || page >= CHUNK_PAGES + 300)
			check_page(page);
	wait_for_rest();
	ck_assert_uint_eq(residency(CHUNK_PAGES + 200, 100).present, 0);
	ck_assert_uint_eq(stats_now().balloon_pages, 100);
	now_zero(CHUNK_PAGES + 200, 100);
	check_all();
	check_table(false);
}
END_TEST

START_TEST(who_waits_for_the_disk_finds_zeroes)
{
	uint32_t page = find_page(PATTERN_TEXT);
	struct toucher t = {.first = page, .nr = 1};
	fill_all();
	ck_assert_int_gt(evict(0, 512, MEMMGR_TIER_DISK), 0);
	ck_assert_int_eq(state_of(page), PAGE_COMPRESSED);
	door_fail(DOOR_READ, 1000, EIO);
	now_zero(page, 1);
	touch_start(&t);
	wait_for(&world.failed, 1, "the owner is told of the failure");
	ck_assert_int_eq(discard(page, 1, DISCARD_BALLOON), 0);
	touch_join(&t);
	doors_reset();
	memmgr_retry(world.mm);
	check_all();
}
END_TEST

START_TEST(what_the_kernel_does_not_drop_stays)
{
	fill_all();
	evict(0, 300, MEMMGR_TIER_COMPRESSED);
	door_fail(DOOR_DISCARD, 1000, ENOMEM);
	ck_assert_int_eq(discard(0, 1024, DISCARD_BALLOON), -ENOMEM);
	ck_assert_uint_eq(stats_now().balloon_pages, 0);
	doors_reset();
	check_all();
	check_table(true);
	ck_assert_int_eq(discard(0, 1024, DISCARD_BALLOON), 0);
	now_zero(0, 1024);
	check_all();
}
END_TEST

START_TEST(shared_pages_are_dropped_and_their_slots_told_of)
{
	enum { NR = 64, FIRST = CHUNK_PAGES };
	struct share_item items[NR], out[NR];
	enum share_result results[NR];
	int pool = memfd_create("pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	fill_all();
	ck_assert_int_eq(ftruncate(pool, NR * PAGE), 0);
	for (uint32_t i = 0; i < NR; i++) {
		ck_assert_int_eq(pwrite(pool, page_at(FIRST + i), PAGE, (off_t)(i * PAGE)), PAGE);
		items[i] = (struct share_item){FIRST + i, i};
	}
	ck_assert_int_eq(fcntl(pool, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	ck_assert_int_eq(share_set_pool(world.mm, pool), 0);
	ck_assert_uint_eq(share_pages(world.mm, items, NR, results), NR);
	/* Some of them, and some that are not shared. */
	ck_assert_int_eq(discard(FIRST + 16, NR, DISCARD_BALLOON), 0);
	now_zero(FIRST + 16, NR);
	struct memmgr_stats s = stats_now();
	ck_assert_uint_eq(s.shared_pages, 16);
	ck_assert_uint_eq(s.balloon_pages, NR);
	uint32_t at = FIRST;
	ck_assert_uint_eq(share_collect(world.mm, &at, FIRST + CHUNK_PAGES, false, out, NR), NR - 16);
	for (uint32_t i = 0; i < NR - 16; i++)
		ck_assert(out[i].page == FIRST + 16 + i && out[i].slot == 16 + i);
	/* The chunk becomes ordinary memory; what is in the balloon gets none of it. */
	ck_assert_int_eq(share_restore(world.mm, FIRST), 16);
	ck_assert_uint_eq(residency(FIRST + 16, NR).present, 0);
	ck_assert_uint_eq(stats_now().balloon_pages, NR);
	check_all();
	close(pool);
}
END_TEST

START_TEST(ranges_that_are_not_ram_are_refused)
{
	ck_assert_int_eq(memmgr_discard(world.mm, 1, PAGE, DISCARD_FREE), -EINVAL);
	ck_assert_int_eq(memmgr_discard(world.mm, 0, 0, DISCARD_FREE), -EINVAL);
	ck_assert_int_eq(memmgr_discard(world.mm, 0, 100, DISCARD_FREE), -EINVAL);
	ck_assert_int_eq(memmgr_discard(world.mm, page_gpa(REGION_PAGES - 1), 2 * PAGE, DISCARD_BALLOON), -EINVAL);
	ck_assert_int_eq(memmgr_discard(world.mm, UINT64_MAX - PAGE + 1, PAGE, DISCARD_BALLOON), -EINVAL);
}
END_TEST

START_TEST(a_guest_without_a_manager_gives_memory_back_as_well)
{
	struct iovec iov = {.iov_base = page_at(CHUNK_PAGES), .iov_len = 1};
	struct guest_ram_pins pins;
	fill_all();
	ck_assert_int_eq(discard_unmanaged(world.ram, page_gpa(100), 100 * PAGE), 0);
	now_zero(100, 100);
	guest_ram_pin(world.ram, &iov, 1, &pins);
	ck_assert_int_eq(discard_unmanaged(world.ram, page_gpa(CHUNK_PAGES - 10), (CHUNK_PAGES + 20) * PAGE), -EBUSY);
	guest_ram_unpin(world.ram, &pins);
	now_zero(CHUNK_PAGES - 10, 10);
	now_zero(2 * CHUNK_PAGES, 10);
	check_all();
	door_fail(DOOR_DISCARD, 1000, ENOMEM);
	ck_assert_int_eq(discard_unmanaged(world.ram, 0, PAGE), -ENOMEM);
	ck_assert_int_eq(discard_unmanaged(world.ram, 0, 5), -EINVAL);
	ck_assert_int_eq(discard_unmanaged(world.ram, 7, PAGE), -EINVAL);
	ck_assert_int_eq(discard_unmanaged(world.ram, page_gpa(REGION_PAGES - 1), 2 * PAGE), -EINVAL);
}
END_TEST

/*
 * The model: which pages are in the balloon, and in which chunks somebody touched memory since, for which the kernel may have filled all of the
 * chunk; and what each page holds.
 */
START_TEST(random_steps_do_what_the_model_does)
{
	static bool in[REGION_PAGES], touched[REGION_PAGES / CHUNK_PAGES];
	memset(in, 0, sizeof(in));
	memset(touched, 0, sizeof(touched));
	fill_all();
	for (unsigned step = 0; step < 100; step++) {
		uint32_t first = (uint32_t)random_below(REGION_PAGES), most = random_below(4) ? 40 : 1200, end;
		end = first + 1 + (uint32_t)random_below(most);
		if (end > REGION_PAGES)
			end = REGION_PAGES;
		switch (random_below(6)) {
		case 0:
		case 1:
			ck_assert_int_eq(discard(first, end - first, DISCARD_BALLOON), 0);
			for (uint32_t i = first; i < end; i++)
				in[i] = true;
			now_zero(first, end - first);
			break;
		case 2:
			ck_assert_int_eq(discard(first, end - first, DISCARD_FREE), 0);
			for (uint32_t i = first; i < end; i++)
				in[i] = false;
			now_zero(first, end - first);
			break;
		case 3:
			ck_assert_int_eq(memmgr_deflate(world.mm, page_gpa(first), (end - first) * PAGE), 0);
			for (uint32_t i = first; i < end; i++)
				in[i] = false;
			break;
		case 4:
			evict(first, end - first, tiers[random_below(3)]);
			break;
		default:
			for (uint32_t i = first; i < end; i++) {
				touched[i / CHUNK_PAGES] = true;
				if (random_below(2))
					page_write(i);
				else
					check_page(i);
			}
		}
		for (uint32_t i = 0; i < REGION_PAGES; i++) {
			bool is = settled_state(i) == PAGE_BALLOONED;
			ck_assert_msg(!is || in[i], "step %u: page %u is ballooned, and was not given up", step, i);
			ck_assert_msg(is || !in[i] || touched[i / CHUNK_PAGES], "step %u: page %u was given up, and is in state %d",
				      step, i, (int)state_of(i));
		}
	}
	check_all();
	check_table(false);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("what the guest gives up");
	TCase *tests = add_case(suite, "discard");
	add_test(tests, pages_of_each_tier_are_dropped_without_being_read, 4);
	add_test(tests, free_pages_are_dropped_and_are_in_no_balloon, 1);
	add_test(tests, nothing_is_armed_for_a_guest_from_which_nothing_was_taken, 1);
	add_test(tests, huge_pages_go_whole_and_leave_their_neighbours_huge, 1);
	add_test(tests, what_a_device_may_hold_is_spared_and_dropped_later, 1);
	add_test(tests, a_ballooned_page_that_is_used_is_the_guests_again, 1);
	add_test(tests, a_guest_that_begins_anew_has_an_empty_balloon, 1);
	add_test(tests, a_stream_gives_no_memory_to_what_is_in_the_balloon, 1);
	add_test(tests, who_waits_for_the_disk_finds_zeroes, 1);
	add_test(tests, what_the_kernel_does_not_drop_stays, 1);
	add_test(tests, shared_pages_are_dropped_and_their_slots_told_of, 1);
	add_test(tests, ranges_that_are_not_ram_are_refused, 1);
	add_test(tests, a_guest_without_a_manager_gives_memory_back_as_well, 1);
	add_test(tests, random_steps_do_what_the_model_does, 3);
	return world_run_suite(suite);
}
