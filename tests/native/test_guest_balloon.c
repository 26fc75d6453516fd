/*
 * A guest that gives memory up, takes it back and reports it, while the memory manager evicts what it has left: every byte that it reads is
 * what it wrote, or zero where it gave the page up. And a host that asks by QMP.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/native/vm_process.h"

enum { TIMEOUT_MS = 60000, SOON_MS = 30000, HEARD = 1 << 18 };

#define DEVICE "-device virtio-balloon-pci,id=b,free-page-reporting=on"

static void set_up(void)
{
	vm_process_files_make();
}

static void tear_down(void)
{
	vm_process_files_remove();
}

static void run_steps(const char *append, const char *options)
{
	char words[200], all[400];

	snprintf(words, sizeof(words), "seed=%llu %s", (unsigned long long)vm_process_seed(), append);
	snprintf(all, sizeof(all), "-m 128 -no-reboot " DEVICE " %s", options);
	struct vm_process *vm = vm_process_start("balloon", words, "%s", all);
	vm_process_expect_exit(vm, 0, TIMEOUT_MS);
	ck_assert_uint_gt(vm_process_number(vm, "inflated="), 0);
	ck_assert_uint_gt(vm_process_number(vm, "deflated="), 0);
	ck_assert_uint_gt(vm_process_number(vm, "reported="), 0);
	ck_assert_ptr_nonnull(strstr(vm_process_output(vm), "balloon: 0 wrong pages\n"));
	vm_process_end(vm);
}

START_TEST(memory_goes_and_comes_back_as_zeroes)
{
	run_steps("steps=2000", "");
}
END_TEST

START_TEST(the_balloon_needs_no_memory_manager)
{
	run_steps("steps=1000", "-memory manager=off");
}
END_TEST

START_TEST(no_byte_is_wrong_while_a_target_evicts)
{
	char options[200];

	snprintf(options, sizeof(options), "-memory target=%s,limbo=%s,cold=20,swap=%s", _i ? "16M" : "24M", _i ? "1" : "50",
		 vm_process_path("."));
	run_steps("steps=3000 pages=12000", options);
}
END_TEST

START_TEST(a_guest_that_uses_what_it_gave_up_finds_zeroes_and_keeps_what_it_writes)
{
	run_steps("steps=2000 lie=30 pages=12000", _i ? "-memory target=24M,limbo=50,cold=100" : "");
}
END_TEST

/* --- by QMP --- */

static struct {
	int fd;
	size_t len, seen;
	char heard[HEARD + 1];
} qmp;

static void expect(const char *text)
{
	struct pollfd readable = {.fd = qmp.fd, .events = POLLIN};
	char *at;

	while (!(at = strstr(qmp.heard + qmp.seen, text))) {
		ck_assert_msg(poll(&readable, 1, SOON_MS) == 1, "no %s in %s", text, qmp.heard + qmp.seen);
		ssize_t got = read(qmp.fd, qmp.heard + qmp.len, HEARD - qmp.len);
		ck_assert_int_gt(got, 0);
		qmp.len += (size_t)got;
		qmp.heard[qmp.len] = '\0';
	}
	qmp.seen = (size_t)(at - qmp.heard) + strlen(text);
}

static void ask(const char *command, const char *answer)
{
	ck_assert_int_eq(send(qmp.fd, command, strlen(command), MSG_NOSIGNAL), (ssize_t)strlen(command));
	expect(answer);
}

/* Until the number that command's answer has behind name is that. */
static void await(const char *command, const char *name, uint64_t wanted)
{
	uint64_t value = 0;

	for (unsigned tries = 0; tries < 3000; tries++) {
		ask(command, name);
		expect(" ");
		value = strtoull(qmp.heard + qmp.seen, NULL, 10);
		if (value == wanted)
			return;
		usleep(10000);
	}
	ck_abort_msg("%s is %llu, and should be %llu", name, (unsigned long long)value, (unsigned long long)wanted);
}

START_TEST(a_guest_follows_what_it_is_asked_for)
{
	char command[100];
	struct vm_process *vm =
		vm_process_start("balloon", "follow pages=12000", "-m 128 -no-reboot " DEVICE " -qmp unix:%s,server=on,wait=off",
				 vm_process_path("qmp"));
	static const unsigned mib[] = {100, 90, 120, 95, 128};

	qmp.fd = vm_process_connect(vm_process_path("qmp"));
	qmp.len = qmp.seen = 0;
	ask("{\"execute\":\"qmp_capabilities\"}\n", "\"return\"");
	vm_process_expect(vm, "balloon: filled", TIMEOUT_MS);
	for (unsigned i = 0; i < sizeof(mib) / sizeof(mib[0]); i++) {
		snprintf(command, sizeof(command), "{\"execute\":\"balloon\",\"arguments\":{\"value\":%llu}}\n",
			 (unsigned long long)mib[i] << 20);
		ask(command, "\"return\"");
		await("{\"execute\":\"query-balloon\"}\n", "\"actual\":", (uint64_t)mib[i] << 20);
		await("{\"execute\":\"query-memory\"}\n", "\"balloon_pages\":", (128ull - mib[i]) * 256);
	}
	ck_assert_ptr_nonnull(strstr(qmp.heard, "\"BALLOON_CHANGE\""));
	/* It ends with a balloon that is not empty. */
	snprintf(command, sizeof(command), "{\"execute\":\"balloon\",\"arguments\":{\"value\":%llu}}\n", 100ull << 20);
	ask(command, "\"return\"");
	await("{\"execute\":\"query-balloon\"}\n", "\"actual\":", 100ull << 20);
	vm_process_type(vm, "x");
	vm_process_expect_exit(vm, 0, TIMEOUT_MS);
	close(qmp.fd);
	vm_process_end(vm);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guest balloon");
	TCase *tests = tcase_create("balloon");

	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, memory_goes_and_comes_back_as_zeroes);
	tcase_add_test(tests, the_balloon_needs_no_memory_manager);
	tcase_add_loop_test(tests, no_byte_is_wrong_while_a_target_evicts, 0, 2);
	tcase_add_loop_test(tests, a_guest_that_uses_what_it_gave_up_finds_zeroes_and_keeps_what_it_writes, 0, 2);
	tcase_add_test(tests, a_guest_follows_what_it_is_asked_for);
	suite_add_tcase(suite, tests);
	return vm_process_run_suite(suite);
}
