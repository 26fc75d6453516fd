/*
 * Parts of the memory manager that stand beside the tiers: where handlers run, host nodes, the kernel's swap as the compressed
 * tier, samples.
 */
#include <check.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memmgr/evict_kernel.h"
#include "memmgr/follow.h"
#include "memmgr/memmgr.h"
#include "memmgr/memmgr_internal.h"
#include "memmgr/node_binding.h"
#include "memmgr/uffd.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { PAGES = 4096 };
#define RAM_BYTES ((uint64_t)PAGES * GUEST_PAGE_SIZE)
#define SECOND_NS 1000000000ull

static struct guest_ram *ram;
static struct memmgr *mm;
static uint8_t *memory;

static void failed(struct memmgr_owner *owner, enum memmgr_failure failure, const char *detail)
{
	(void)owner;
	ck_abort_msg("%s: %s", memmgr_failure_name(failure), detail);
}

static void recovered(struct memmgr_owner *owner)
{
	(void)owner;
}

static void start(void)
{
	static const struct guest_ram_region region = {.gpa = 0, .size = RAM_BYTES};
	static struct memmgr_owner owner = {failed, recovered};
	struct memmgr_params params = {.owner = &owner, .swap_fd = -1, .nr_handlers = 1};
	struct error err;
	random_start();
	ck_assert_int_eq(guest_ram_create(&region, 1, &ram, &err), 0);
	params.ram = ram;
	memmgr_settings_init(&params.settings);
	ck_assert_msg(memmgr_create(&params, &mm, &err) == 0, "%s", err.text);
	memory = guest_ram_at(ram, 0, RAM_BYTES);
	for (uint32_t i = 0; i < PAGES; i++)
		memset(memory + (uint64_t)i * GUEST_PAGE_SIZE, (int)(i % 255 + 1), 64);
}

static void stop(void)
{
	memmgr_destroy(mm);
	guest_ram_destroy(ram);
}

static void verify(void)
{
	for (uint32_t i = 0; i < PAGES; i++) {
		const uint8_t *page = memory + (uint64_t)i * GUEST_PAGE_SIZE;
		ck_assert_msg(page[0] == i % 255 + 1 && page[63] == i % 255 + 1 && page[64] == 0 && page[4095] == 0,
			      "page %u is wrong", i);
	}
}

/* --- where handlers run --- */

START_TEST(a_thread_is_found_on_the_cpu_where_it_runs)
{
	cpu_set_t all, one;
	ck_assert_int_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
		ck_assert_int_eq(follow_thread_cpu((int)syscall(SYS_gettid)), cpu);
	}
	sched_setaffinity(0, sizeof(all), &all);
	ck_assert_int_lt(follow_thread_cpu(0x7ffffffe), 0);
}
END_TEST

START_TEST(cpus_are_looked_for_seldom_and_each_is_named_once)
{
	struct follow f = {.checked_ns = 0};
	int cpus[4], self = (int)syscall(SYS_gettid);
	uint64_t now = SECOND_NS;
	unsigned looks = 0;
	for (unsigned fault = 0; fault < 1000; fault++, now += 1000) {
		follow_note(&f, self, now);
		unsigned nr = follow_cpus(&f, now, false, cpus, 4);
		ck_assert_uint_le(nr, 1);
		looks += nr;
	}
	/* A millisecond passed: that is one look, or two. */
	ck_assert_uint_ge(looks, 1);
	ck_assert_uint_le(looks, 2);
	/* Who has not faulted for long is not followed. */
	for (unsigned fault = 0; fault < 100; fault++)
		follow_note(&f, 0x7ffffffe, now + SECOND_NS);
	ck_assert_uint_eq(follow_cpus(&f, now + SECOND_NS, false, cpus, 4), 0);
}
END_TEST

START_TEST(a_host_is_calm_that_has_a_cpu_for_each_runnable_thread)
{
	ck_assert(handler_places_is_calm("0.20 0.18 0.12 1/80 11206\n", 2));
	ck_assert(handler_places_is_calm("0.20 0.18 0.12 2/80 11206\n", 2));
	ck_assert(!handler_places_is_calm("0.20 0.18 0.12 3/80 11206\n", 2));
	ck_assert(handler_places_is_calm("112.20 90.18 80.12 64/4080 11206\n", 64));
	/* What cannot be read says nothing. */
	ck_assert(!handler_places_is_calm("", 2));
	ck_assert(!handler_places_is_calm("1 ", 2));
}
END_TEST

/* --- host nodes --- */

START_TEST(pages_of_a_node_are_counted_where_they_lie)
{
	struct numa_count count;
	uint64_t there = 0;
	ck_assert_int_eq(memmgr_count_node(mm, 0, 0, &count), 0);
	for (unsigned n = 0; n < NUMA_HOST_NODES; n++)
		there += count.nr_pages[n];
	ck_assert_uint_eq(there, PAGES);
	ck_assert_uint_eq(count.nr_absent, 0);
	ck_assert_int_eq(memmgr_count_node(mm, 1, 0, &count), -ENOENT);
}
END_TEST

START_TEST(a_bound_guest_keeps_its_bytes_in_and_out_of_limbo)
{
	struct error err = {.code = 0};
	uint64_t node = 1ull << __builtin_ctzll(numa_host_nodes());
	ck_assert_msg(memmgr_bind_node(mm, 0, node, NUMA_POLICY_BIND, 100000, &err) == 0, "%s", err.text);
	for (unsigned round = 0; round < 3; round++) {
		ck_assert_int_gt(memmgr_evict_range(mm, 0, RAM_BYTES, round ? MEMMGR_TIER_COMPRESSED : MEMMGR_TIER_LIMBO), 0);
		verify();
	}
	struct numa_count count;
	ck_assert_int_eq(memmgr_count_node(mm, 0, 0, &count), 0);
	ck_assert_uint_gt(count.nr_pages[__builtin_ctzll(node)], 0);
	ck_assert_int_lt(memmgr_bind_node(mm, 7, node, NUMA_POLICY_BIND, 0, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "no node 7"));
}
END_TEST

/* --- the kernel's swap --- */

START_TEST(the_kernels_swap_is_refused_where_there_is_none_and_keeps_bytes_where_there_is)
{
	struct memmgr_settings settings;
	struct memmgr_stats stats;
	struct error err = {.code = 0};
	memmgr_get_settings(mm, &settings);
	settings.kernel_tier = true;
	if (kernel_swap_check(&err) != 0) {
		ck_assert_int_eq(memmgr_configure(mm, &settings, &err), -ENODEV);
		ck_assert_ptr_nonnull(strstr(err.text, "zram"));
		return;
	}
	ck_assert_int_eq(memmgr_configure(mm, &settings, &err), 0);
	ck_assert_int_gt(memmgr_evict_range(mm, 0, RAM_BYTES, MEMMGR_TIER_COMPRESSED), 0);
	memmgr_get_stats(mm, &stats);
	ck_assert_uint_gt(stats.kernel_swap_pages, PAGES / 2);
	ck_assert_uint_eq(stats.compressed_pages, 0);
	verify();
	/* And from one to the other, with pages of both at once. */
	ck_assert_int_gt(memmgr_evict_range(mm, 0, RAM_BYTES / 2, MEMMGR_TIER_COMPRESSED), 0);
	settings.kernel_tier = false;
	ck_assert_int_eq(memmgr_configure(mm, &settings, &err), 0);
	ck_assert_int_gt(memmgr_evict_range(mm, 0, RAM_BYTES, MEMMGR_TIER_COMPRESSED), 0);
	verify();
}
END_TEST

/* --- samples --- */

START_TEST(samples_come_back_and_leave_memory_as_it_was)
{
	struct memmgr_settings settings;
	struct memmgr_stats stats;
	struct error err;
	memmgr_get_settings(mm, &settings);
	settings.sample_rate = 300;
	ck_assert_int_eq(memmgr_configure(mm, &settings, &err), 0);
	for (unsigned i = 0; i < 100; i++) {
		verify();
		usleep(10000);
	}
	memmgr_get_stats(mm, &stats);
	ck_assert_uint_gt(stats.sampled, 50);
	ck_assert_uint_gt(stats.copied_from_limbo, 20);
	settings.sample_rate = 0;
	ck_assert_int_eq(memmgr_configure(mm, &settings, &err), 0);
	for (unsigned i = 0; i < 100 && mm->pt.counts[PAGE_LIMBO]; i++)
		usleep(20000);
	ck_assert_uint_eq(mm->pt.counts[PAGE_LIMBO], 0);
	verify();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("memory manager, parts");
	TCase *alone = tcase_create("follow"), *whole = tcase_create("manager");
	struct error err;
	int fd = uffd_open(&err);
	bool skip = fd < 0;
	tcase_add_test(alone, a_thread_is_found_on_the_cpu_where_it_runs);
	tcase_add_test(alone, cpus_are_looked_for_seldom_and_each_is_named_once);
	tcase_add_test(alone, a_host_is_calm_that_has_a_cpu_for_each_runnable_thread);
	suite_add_tcase(suite, alone);
	if (!skip)
		close(fd);
	tcase_add_checked_fixture(whole, start, stop);
	tcase_add_test(whole, pages_of_a_node_are_counted_where_they_lie);
	tcase_add_test(whole, a_bound_guest_keeps_its_bytes_in_and_out_of_limbo);
	tcase_add_test(whole, the_kernels_swap_is_refused_where_there_is_none_and_keeps_bytes_where_there_is);
	tcase_add_test(whole, samples_come_back_and_leave_memory_as_it_was);
	if (skip)
		printf("skipped: %s\n", err.text);
	else
		suite_add_tcase(suite, whole);
	return suite_run(suite);
}
