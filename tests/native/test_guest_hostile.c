/*
 * Guests that write garbage wherever they can. The VMM must outlive them: it ends by itself when the guest powers off, with exit status 0.
 * PAGODA_SEED repeats a run.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/native/vm_process.h"

enum { TIMEOUT_MS = 50000 };

static struct vm_process *start_hostile(const char *mode, unsigned rounds, const char *extra)
{
	char append[160];

	snprintf(append, sizeof(append), "seed=%llu mode=%s rounds=%u %s", (unsigned long long)vm_process_seed(), mode, rounds,
		 extra);
	return vm_process_start("hostile", append,
				"-m 64 -no-reboot -drive file=%s,if=virtio,format=raw -device virtio-rng-pci -netdev user,id=n "
				"-device virtio-net-pci,netdev=n -device virtio-serial-pci",
				vm_process_file("disk.img", 4 << 20));
}

static void survive(const char *mode, unsigned rounds)
{
	struct vm_process *vm = start_hostile(mode, rounds, "");

	vm_process_expect_exit(vm, 0, TIMEOUT_MS);
	vm_process_end(vm);
}

START_TEST(the_vmm_survives_garbage_in_pci_configuration_space)
{
	survive("config", 10);
}
END_TEST

START_TEST(the_vmm_survives_garbage_in_device_registers)
{
	survive("registers", 10);
}
END_TEST

START_TEST(the_vmm_survives_garbage_at_all_ports)
{
	survive("ports", 10);
}
END_TEST

START_TEST(the_vmm_survives_garbage_at_addresses_without_memory)
{
	survive("mmio", 10);
}
END_TEST

START_TEST(devices_that_were_given_garbage_queues_work_after_a_reset)
{
	struct vm_process *vm = start_hostile("rings", 25, "");

	vm_process_expect_exit(vm, 0, TIMEOUT_MS);
	ck_assert_uint_gt(vm_process_number(vm, "asked for a reset in "), 0);
	ck_assert_uint_gt(vm_process_number(vm, " resets, "), 0);
	vm_process_end(vm);
}
END_TEST

START_TEST(the_vmm_survives_vcpus_that_attack_the_same_devices)
{
	char append[64];
	struct vm_process *vm;

	snprintf(append, sizeof(append), "seed=%llu ops=500", (unsigned long long)vm_process_seed());
	vm = vm_process_start(
		"brawl", append,
		"-m 64 -smp 4 -no-reboot -drive file=%s,if=virtio,format=raw -device virtio-rng-pci -netdev user,id=n "
		"-device virtio-net-pci,netdev=n -chardev null,id=a -chardev null,id=b -device virtio-serial-pci "
		"-device virtconsole,chardev=a -device virtconsole,chardev=b "
		"-device virtio-vsock-pci,guest-cid=5,uds=%s",
		vm_process_file("disk.img", 4 << 20), vm_process_path("vsock"));
	vm_process_expect_exit(vm, 0, TIMEOUT_MS);
	vm_process_end(vm);
}
END_TEST

/* With everything allowed the guest may well reset or power off the machine, or stop itself: whatever comes is fine, but for a VMM that dies or hangs. */
START_TEST(the_vmm_survives_a_guest_that_stops_at_nothing)
{
	struct vm_process *vm = start_hostile("all", 10, "deadly");
	int status;

	vm_process_listen(vm, 8000);
	ck_assert_int_eq(kill(vm_process_pid(vm), SIGTERM), 0); /* it is not waited for yet: the process id is still its own */
	status = vm_process_wait(vm, 10000);
	ck_assert_msg(WIFEXITED(status), "the VMM died of signal %d: %s", WTERMSIG(status), vm_process_messages(vm));
	vm_process_end(vm);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile guests");
	TCase *tests = tcase_create("hostile");

	tcase_add_checked_fixture(tests, vm_process_files_make, vm_process_files_remove);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, the_vmm_survives_garbage_in_pci_configuration_space);
	tcase_add_test(tests, the_vmm_survives_garbage_in_device_registers);
	tcase_add_test(tests, the_vmm_survives_garbage_at_all_ports);
	tcase_add_test(tests, the_vmm_survives_garbage_at_addresses_without_memory);
	tcase_add_test(tests, devices_that_were_given_garbage_queues_work_after_a_reset);
	tcase_add_test(tests, the_vmm_survives_vcpus_that_attack_the_same_devices);
	tcase_add_test(tests, the_vmm_survives_a_guest_that_stops_at_nothing);
	suite_add_tcase(suite, tests);
	return vm_process_run_suite(suite);
}
