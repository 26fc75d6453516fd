/* The machine as micro-guests see it: boot, memory map, ACPI, processors, resets. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/native/vm_process.h"

enum { SOON_MS = 20000 };

START_TEST(a_guest_boots_by_pvh_and_powers_off)
{
	struct vm_process *vm = vm_process_start("hello", "", "-m 256");

	vm_process_expect(vm, "hello: world\n", SOON_MS);
	vm_process_expect_exit(vm, 0, SOON_MS);
	vm_process_end(vm);
}
END_TEST

START_TEST(the_command_line_arrives_as_it_was_given)
{
	static const char line[] = "one=1  two=\"a b\" three=x,y;z -- \\ 'quoted'";
	char expected[100], longest[2000];
	struct vm_process *vm = vm_process_start("hello", line, "-m 64");

	snprintf(expected, sizeof(expected), "hello: cmdline \"%s\"\n", line);
	vm_process_expect(vm, expected, SOON_MS);
	vm_process_end(vm);

	/* The guest prints at most 512 bytes of a line, and must boot with a line as long as Linux takes. */
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	vm_process_run("hello", longest, SOON_MS, "-m 64");
}
END_TEST

START_TEST(the_memory_map_holds_the_memory_that_was_asked_for)
{
	static const struct {
		const char *mib;
		uint64_t kib;
	} cases[] = {{"32", 32 << 10}, {"256", 256 << 10}, {"1G", 1 << 20}, {"5G", 5 << 20}};
	struct vm_process *vm;
	uint64_t kib;

	vm = vm_process_start("hello", "", "-m %s", cases[_i].mib);
	vm_process_expect_exit(vm, 0, SOON_MS);
	kib = vm_process_number(vm, "hello: ram ");
	/* Not all: between 636 KiB and 1 MiB a PC has no RAM. */
	ck_assert_uint_le(kib, cases[_i].kib);
	ck_assert_uint_ge(kib, cases[_i].kib - 400);
	vm_process_end(vm);
}
END_TEST

START_TEST(the_acpi_tables_are_there_and_add_up)
{
	static const char *const tables[] = {"XSDT", "FACP", "APIC", "MCFG", "DSDT"};
	struct vm_process *vm = vm_process_start("hello", "", "-m 64");
	char line[64];
	size_t i;

	vm_process_expect_exit(vm, 0, SOON_MS);
	for (i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
		snprintf(line, sizeof(line), "hello: table %s of ", tables[i]);
		ck_assert_msg(strstr(vm_process_output(vm), line), "no table %s", tables[i]);
	}
	vm_process_end(vm);
}
END_TEST

START_TEST(every_processor_starts)
{
	static const unsigned counts[] = {1, 2, 3, 4, 16};
	unsigned cpus = counts[_i];
	struct vm_process *vm;
	char line[64];

	vm = vm_process_start("hello", "", "-m 64 -smp %u", cpus);
	vm_process_expect_exit(vm, 0, 30000);
	snprintf(line, sizeof(line), "hello: cpus %u, seen 0x%x\n", cpus, (1u << cpus) - 1);
	ck_assert_msg(strstr(vm_process_output(vm), line), "not printed: %s", line);
	vm_process_end(vm);
}
END_TEST

START_TEST(a_sleeping_guest_is_woken_by_its_timer)
{
	struct vm_process *vm = vm_process_start("hello", "", "-m 64");

	vm_process_expect_exit(vm, 0, SOON_MS);
	ck_assert_uint_ge(vm_process_number(vm, "hello: slept "), 5000);
	vm_process_end(vm);
}
END_TEST

static const char *const ways[] = {"cf9", "triple", "acpi"};

START_TEST(a_reset_boots_the_guest_again)
{
	struct vm_process *vm;
	char append[64];

	snprintf(append, sizeof(append), "how=%s times=3", ways[_i]);
	vm = vm_process_start("reset", append, "-m 64 -smp 2");
	vm_process_expect(vm, "reset: boot 1 on 2 cpus\n", SOON_MS);
	vm_process_expect(vm, "reset: boot 2 on 2 cpus\n", SOON_MS);
	vm_process_expect(vm, "reset: boot 3 on 2 cpus\n", SOON_MS);
	vm_process_expect(vm, "reset: boot 4 on 2 cpus\n", SOON_MS);
	vm_process_expect_exit(vm, 0, SOON_MS);
	vm_process_end(vm);
}
END_TEST

START_TEST(with_no_reboot_a_reset_ends_the_vmm)
{
	struct vm_process *vm;
	char append[64];

	snprintf(append, sizeof(append), "how=%s", ways[_i]);
	vm = vm_process_start("reset", append, "-m 64 -no-reboot");
	ck_assert_int_eq(vm_process_wait(vm, SOON_MS), 0);
	ck_assert_ptr_nonnull(strstr(vm_process_output(vm), "reset: boot 1"));
	ck_assert_ptr_null(strstr(vm_process_output(vm), "reset: boot 2"));
	vm_process_end(vm);
}
END_TEST

START_TEST(a_guest_that_fails_says_so)
{
	struct vm_process *vm = vm_process_start("memory", "pages=many", "-m 64");

	vm_process_expect_exit(vm, 1, SOON_MS);
	ck_assert_ptr_nonnull(strstr(vm_process_output(vm), "guest: failed: pages= wants a number"));
	vm_process_end(vm);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guests boot");
	TCase *tests = tcase_create("boot");

	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, a_guest_boots_by_pvh_and_powers_off);
	tcase_add_test(tests, the_command_line_arrives_as_it_was_given);
	tcase_add_loop_test(tests, the_memory_map_holds_the_memory_that_was_asked_for, 0, 4);
	tcase_add_test(tests, the_acpi_tables_are_there_and_add_up);
	tcase_add_loop_test(tests, every_processor_starts, 0, 5);
	tcase_add_test(tests, a_sleeping_guest_is_woken_by_its_timer);
	tcase_add_loop_test(tests, a_reset_boots_the_guest_again, 0, 3);
	tcase_add_loop_test(tests, with_no_reboot_a_reset_ends_the_vmm, 0, 3);
	tcase_add_test(tests, a_guest_that_fails_says_so);
	suite_add_tcase(suite, tests);
	return vm_process_run_suite(suite);
}
