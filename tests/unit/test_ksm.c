/* What is told of the kernel's merging, from files as the kernel writes them, and what happens where it has none. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memmgr/guest_ram.h"
#include "memmgr/os.h"
#include "tests/unit/suite.h"
#include "vmm/ksm.h"

static char directory[64];
static struct error err;
static int refusal; /* what MADV_MERGEABLE returns; 0: not asked of the kernel, which may have none */
static uint64_t marked;

int mem_madvise(void *start, size_t len, int advice)
{
	if (advice != MADV_MERGEABLE)
		return mem_madvise_kernel(start, len, advice);
	if (!refusal)
		marked += len;
	return refusal;
}

static const char *path(const char *name)
{
	static char buf[200];
	snprintf(buf, sizeof(buf), "%s/%s", directory, name);
	return buf;
}

static void put(const char *name, const char *text)
{
	FILE *file = fopen(path(name), "we");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

static void set_up(void)
{
	strcpy(directory, "/tmp/test_ksm.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	err = (struct error){.code = 0};
	refusal = 0;
	marked = 0;
}

static void tear_down(void)
{
	for (unsigned i = 0; i < KSM_NR_GLOBAL; i++)
		unlink(path(ksm_global_names[i]));
	unlink(path("ksm_stat"));
	rmdir(directory);
}

static struct ksm_stats read_stats(void)
{
	struct ksm_stats stats;
	char process[200];
	snprintf(process, sizeof(process), "%s", path("ksm_stat"));
	ksm_read_stats(directory, process, &stats);
	return stats;
}

START_TEST(counters_are_read_under_the_kernels_names)
{
	put("run", "1\n");
	put("pages_sharing", "123456789012\n");
	put("general_profit", "-4096\n");
	put("ksm_stat", "ksm_rmap_items 5\nksm_zero_pages 0\nksm_merging_pages 18446744073709551616\nksm_process_profit -320\n"
			"ksm_merge_any: no\nksm_mergeable: yes\nksm_rmap 7\n");
	struct ksm_stats s = read_stats();
	ck_assert(s.global[KSM_GLOBAL_run].known && s.global[KSM_GLOBAL_run].value == 1);
	ck_assert(s.global[KSM_GLOBAL_pages_sharing].known && s.global[KSM_GLOBAL_pages_sharing].value == 123456789012);
	ck_assert(s.global[KSM_GLOBAL_general_profit].known && s.global[KSM_GLOBAL_general_profit].value == -4096);
	ck_assert(s.process[KSM_PROCESS_ksm_rmap_items].known && s.process[KSM_PROCESS_ksm_rmap_items].value == 5);
	ck_assert(s.process[KSM_PROCESS_ksm_zero_pages].known && s.process[KSM_PROCESS_ksm_zero_pages].value == 0);
	ck_assert(s.process[KSM_PROCESS_ksm_process_profit].known && s.process[KSM_PROCESS_ksm_process_profit].value == -320);
	/* More than 64 bits, and a file that is not there. */
	ck_assert(!s.process[KSM_PROCESS_ksm_merging_pages].known && !s.global[KSM_GLOBAL_pages_shared].known);
	ck_assert_ptr_null(ksm_trouble(&s));
}
END_TEST

START_TEST(what_is_no_number_is_not_known)
{
	put("run", "");
	put("pages_shared", "many\n");
	put("pages_sharing", "5x\n");
	put("ksm_stat", "\n ksm_rmap_items 5\nksm_zero_pages\nksm_merging_pages \nksm_process_profit");
	struct ksm_stats s = read_stats();
	for (unsigned i = 0; i < KSM_NR_GLOBAL; i++)
		ck_assert_msg(!s.global[i].known, "%s", ksm_global_names[i]);
	for (unsigned i = 0; i < KSM_NR_PROCESS; i++)
		ck_assert_msg(!s.process[i].known, "%s", ksm_process_names[i]);
	ksm_read_stats("/nowhere", "/nowhere/either", &s);
	ck_assert(!s.global[KSM_GLOBAL_run].known);
	ck_assert_ptr_nonnull(strstr(ksm_trouble(&s), "cannot be read"));
}
END_TEST

START_TEST(a_ksmd_that_rests_is_told_with_the_way_to_start_it)
{
	put("run", "0\n");
	struct ksm_stats s = read_stats();
	ck_assert_ptr_nonnull(strstr(ksm_trouble(&s), "ksmd is not running; start it by: echo 1 > /sys/"));
	put("run", "2\n");
	s = read_stats();
	ck_assert_ptr_nonnull(strstr(ksm_trouble(&s), "told to unmerge everything"));
}
END_TEST

START_TEST(all_memory_of_a_guest_is_marked_or_the_reason_is_told)
{
	static const struct guest_ram_region regions[] = {{.gpa = 0, .size = 1 << 20}, {.gpa = 1ull << 32, .size = 4 << 20}};
	struct guest_ram *ram;
	ck_assert_int_eq(guest_ram_create(regions, 2, &ram, &err), 0);
	ck_assert_int_eq(ksm_enable(ram, &err), 0);
	ck_assert_uint_eq(marked, 5 << 20);
	refusal = -EINVAL;
	ck_assert_int_eq(ksm_enable(ram, &err), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.text, "this kernel has no KSM (CONFIG_KSM); leave mem-merge out"));
	refusal = -ENOMEM;
	ck_assert_int_eq(ksm_enable(ram, &err), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(err.text, "Cannot allocate memory"));
	guest_ram_destroy(ram);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ksm");
	TCase *tc = tcase_create("ksm");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, counters_are_read_under_the_kernels_names);
	tcase_add_test(tc, what_is_no_number_is_not_known);
	tcase_add_test(tc, a_ksmd_that_rests_is_told_with_the_way_to_start_it);
	tcase_add_test(tc, all_memory_of_a_guest_is_marked_or_the_reason_is_told);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
