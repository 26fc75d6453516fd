/* Guests that verify every byte of their memory. */
#include <stdio.h>
#include <string.h>

#include "tests/native/vm_process.h"

enum { TIMEOUT_MS = 60000 };

static void run_memory(const char *options, const char *memory)
{
	struct vm_process *vm;
	char append[200];

	snprintf(append, sizeof(append), "seed=%llu %s", (unsigned long long)vm_process_seed(), options);
	vm = vm_process_start("memory", append, "-m %s", memory);
	vm_process_expect_exit(vm, 0, TIMEOUT_MS);
	ck_assert_uint_eq(vm_process_number(vm, "us, ") > 0, 1);
	ck_assert_ptr_nonnull(strstr(vm_process_output(vm), "memory: 0 wrong pages\n"));
	vm_process_end(vm);
}

START_TEST(memory_holds_what_was_written_in_order)
{
	run_memory("rounds=2", "128");
}
END_TEST

START_TEST(memory_holds_what_was_written_at_random)
{
	run_memory("order=random rounds=2 pages=20000", "128");
}
END_TEST

START_TEST(memory_holds_what_was_written_with_a_working_set)
{
	run_memory("order=zipf skew=110 rounds=3 pages=20000 mix=10,40,30,20 idle_ms=20", "128");
}
END_TEST

START_TEST(memory_above_4_gib_holds_what_was_written)
{
	/* The first pages lie under the PCI hole, the others above. */
	run_memory("skip=786000 pages=4000 order=random", "4G");
}
END_TEST

START_TEST(processors_see_each_others_writes)
{
	static const unsigned cpus[] = {2, 4};
	struct vm_process *vm;
	char append[64];

	snprintf(append, sizeof(append), "seed=%llu pages=4000", (unsigned long long)vm_process_seed());
	vm = vm_process_start("smp", append, "-m 128 -smp %u", cpus[_i]);
	vm_process_expect_exit(vm, 0, TIMEOUT_MS);
	ck_assert_ptr_nonnull(strstr(vm_process_output(vm), " 0 wrong pages, sums right\n"));
	vm_process_end(vm);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guest memory");
	TCase *tests = tcase_create("memory");

	tcase_set_timeout(tests, 90);
	tcase_add_test(tests, memory_holds_what_was_written_in_order);
	tcase_add_test(tests, memory_holds_what_was_written_at_random);
	tcase_add_test(tests, memory_holds_what_was_written_with_a_working_set);
	tcase_add_test(tests, memory_above_4_gib_holds_what_was_written);
	tcase_add_loop_test(tests, processors_see_each_others_writes, 0, 2);
	suite_add_tcase(suite, tests);
	return vm_process_run_suite(suite);
}
