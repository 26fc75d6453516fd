/*
 * The memory manager in the life of a guest, by QMP: its target changes while the guest verifies its memory; when memory cannot be brought
 * back the guest stops, and goes on, is reset, or ends.
 *
 * The swap file is a memfd that the test shares with the VMM. Cut off, it cannot be read; overwritten, it holds no page of the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/native/vm_process.h"

enum { SOON_MS = 30000, TIMEOUT_MS = 90000, HEARD = 1 << 20 };

static struct {
	int fd;
	size_t len, seen;
	char heard[HEARD + 1]; /* all that came; what lies before seen was waited for */
} qmp;

static int swap_fd;

/* --- QMP --- */

static void say(const char *text)
{
	ck_assert_int_eq(send(qmp.fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads on for that long. Returns whether text has come behind what was waited for before; it then is the last that was. */
static bool hear(const char *text, int timeout_ms)
{
	struct pollfd readable = {.fd = qmp.fd, .events = POLLIN};
	char *at;

	while (!(at = strstr(qmp.heard + qmp.seen, text))) {
		if (poll(&readable, 1, timeout_ms) != 1)
			return false;
		ssize_t got = read(qmp.fd, qmp.heard + qmp.len, HEARD - qmp.len);
		if (got <= 0)
			return false;
		qmp.len += (size_t)got;
		qmp.heard[qmp.len] = '\0';
	}
	qmp.seen = (size_t)(at - qmp.heard) + strlen(text);
	return true;
}

static void expect(const char *text)
{
	ck_assert_msg(hear(text, SOON_MS), "no %s in %s", text, qmp.heard + qmp.seen);
}

static void ask(const char *command, const char *answer)
{
	say(command);
	expect(answer);
}

/* The number behind "name": in the answer to query-memory. */
static uint64_t memory(const char *name)
{
	char member[64];

	snprintf(member, sizeof(member), "\"%s\": ", name);
	ask("{\"execute\":\"query-memory\"}\n", member);
	uint64_t value = strtoull(qmp.heard + qmp.seen, NULL, 10);
	expect("\"failure\"");
	return value;
}

/* --- guests --- */

static struct vm_process *start(const char *guest, const char *append, const char *options)
{
	swap_fd = memfd_create("swap", 0); /* inherited by the VMM */
	ck_assert_int_ge(swap_fd, 0);
	struct vm_process *vm = vm_process_start(guest, append, "-no-reboot -memory swap-fd=%d %s -qmp unix:%s,server=on,wait=off",
						 swap_fd, options, vm_process_path("qmp"));
	qmp.fd = vm_process_connect(vm_process_path("qmp"));
	qmp.len = qmp.seen = 0;
	qmp.heard[0] = '\0';
	ask("{\"execute\":\"qmp_capabilities\"}\n", "\"return\"");
	return vm;
}

static struct vm_process *start_memory(const char *options, const char *vmm_options)
{
	char append[200];

	snprintf(append, sizeof(append), "seed=%llu %s", (unsigned long long)vm_process_seed(), options);
	return start("memory", append, vmm_options);
}

static void end(struct vm_process *vm)
{
	close(qmp.fd);
	close(swap_fd);
	vm_process_end(vm);
}

/* --- a swap file that fails --- */

static char *kept;
static size_t kept_len;

static void keep_swap(void)
{
	struct stat st;

	ck_assert_int_eq(fstat(swap_fd, &st), 0);
	kept_len = (size_t)st.st_size;
	ck_assert_uint_gt(kept_len, 0);
	kept = malloc(kept_len);
	ck_assert_ptr_nonnull(kept);
	ck_assert_int_eq(pread(swap_fd, kept, kept_len, 0), (ssize_t)kept_len);
}

static void restore_swap(void)
{
	ck_assert_int_eq(pwrite(swap_fd, kept, kept_len, 0), (ssize_t)kept_len);
	free(kept);
	kept = NULL;
}

static void damage_swap(void)
{
	memset(kept, 0x55, kept_len);
	restore_swap();
}

/* A guest that is stopped when it has run so far, all its memory on a disk that can no longer be read. */
static struct vm_process *start_without_memory(const char *guest, const char *append, const char *options, const char *so_far)
{
	struct vm_process *vm = strcmp(guest, "memory") ? start(guest, append, options) : start_memory(append, options);

	vm_process_expect(vm, so_far, TIMEOUT_MS);
	ask("{\"execute\":\"stop\"}\n", "\"return\"");
	do
		ask("{\"execute\":\"memory-evict\",\"arguments\":{\"tier\":\"disk\"}}\n", "\"complete\": ");
	while (strncmp(qmp.heard + qmp.seen, "true", 4) != 0);
	ck_assert_uint_gt(memory("swap_pages"), 0);
	keep_swap();
	return vm;
}

static struct vm_process *start_failing(const char *guest, const char *append, const char *options, const char *so_far)
{
	struct vm_process *vm = start_without_memory(guest, append, options, so_far);

	ck_assert_int_eq(ftruncate(swap_fd, 0), 0);
	ask("{\"execute\":\"cont\"}\n", "\"RESUME\"");
	expect("\"MEMORY_ERROR\"");
	expect("\"stop\"");
	expect("\"STOP\"");
	ask("{\"execute\":\"query-status\"}\n", "\"status\": \"io-error\"");
	ask("{\"execute\":\"query-memory\"}\n", "\"failure\": \"io-error\"");
	return vm;
}

#define FILLED "memory: filled"
#define SMALL_GUEST "order=random rounds=1000000 until_key pages=6000"

/* --- tests --- */

START_TEST(the_target_is_lowered_and_raised_while_the_guest_verifies)
{
	static const unsigned targets[] = {96, 64, 48, 160, 64, 0};
	struct vm_process *vm = start_memory("order=zipf skew=110 rounds=1000000 until_key pages=40000", "-m 256");
	char command[100];

	ck_assert_uint_eq(memory("evicted"), 0);
	vm_process_expect(vm, FILLED, TIMEOUT_MS);
	for (unsigned i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		snprintf(command, sizeof(command), "{\"execute\":\"set-memory\",\"arguments\":{\"target\":%u}}\n",
			 targets[i] << 20);
		ask(command, "\"return\"");
		vm_process_listen(vm, 1000);
	}
	ck_assert_uint_gt(memory("evicted"), 0);
	ck_assert_uint_eq(memory("target"), 0);
	ask("{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info memory\"}}\n", "host memory [");
	ask("{\"execute\":\"memory-prewarm\"}\n", "\"return\"");
	ask("{\"execute\":\"query-memory-curve\"}\n", "\"return\": [");
	vm_process_expect_right_memory(vm, TIMEOUT_MS);
	end(vm);
}
END_TEST

START_TEST(a_guest_with_a_target_keeps_to_it)
{
	struct vm_process *vm = start_memory("rounds=1000000 pages=40000 touches=1000 idle_ms=20", "-m 256 -memory target=64M");
	uint64_t used = 0;

	vm_process_expect(vm, FILLED, TIMEOUT_MS);
	for (int i = 0; i < 100; i++) {
		used = memory("used_pages");
		if (used <= 64 * 256)
			break;
		vm_process_listen(vm, 200);
	}
	ck_assert_uint_le(used, 64 * 256 + 1024);
	end(vm);
}
END_TEST

START_TEST(a_guest_whose_memory_is_not_to_be_had_stops_and_goes_on_when_it_is)
{
	struct vm_process *vm = start_failing("memory", SMALL_GUEST, "-m 64", FILLED);

	/* It was not mended. */
	ask("{\"execute\":\"cont\"}\n", "\"RESUME\"");
	expect("\"MEMORY_ERROR\"");
	expect("\"STOP\"");
	ask("{\"execute\":\"query-cpus-fast\"}\n", "\"cpu-index\": 0");
	restore_swap();
	expect("\"RESUME\"");
	vm_process_expect_right_memory(vm, TIMEOUT_MS);
	ck_assert_ptr_nonnull(strstr(vm_process_messages(vm), "memory of the guest cannot be brought back (io-error"));
	end(vm);
}
END_TEST

START_TEST(a_guest_that_was_paused_in_a_failure_waits_for_cont)
{
	struct vm_process *vm = start_failing("memory", SMALL_GUEST, "-m 64", FILLED);

	ask("{\"execute\":\"stop\"}\n", "\"return\"");
	ask("{\"execute\":\"query-status\"}\n", "\"status\": \"paused\"");
	restore_swap();
	ck_assert(!hear("\"RESUME\"", 2500));
	ask("{\"execute\":\"query-memory\"}\n", "\"failure\": \"none\"");
	ask("{\"execute\":\"cont\"}\n", "\"RESUME\"");
	vm_process_expect_right_memory(vm, TIMEOUT_MS);
	end(vm);
}
END_TEST

/* -no-reboot would end the VMM; the guest starts anew instead. */
START_TEST(a_reset_starts_anew_a_guest_whose_memory_is_not_to_be_had)
{
	struct vm_process *vm = start_failing("memory", SMALL_GUEST, "-m 64 -action reboot=reset", FILLED);

	ask("{\"execute\":\"system_reset\"}\n", "\"RESET\"");
	expect("\"RESUME\"");
	vm_process_expect(vm, FILLED, TIMEOUT_MS);
	ask("{\"execute\":\"query-memory\"}\n", "\"failure\": \"none\"");
	vm_process_expect_right_memory(vm, TIMEOUT_MS);
	end(vm);
}
END_TEST

static void expect_end(struct vm_process *vm)
{
	int status = vm_process_wait(vm, SOON_MS);

	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "status %#x", (unsigned)status);
}

START_TEST(a_guest_whose_memory_is_not_to_be_had_can_be_ended)
{
	struct vm_process *vm = start_failing("memory", SMALL_GUEST, "-m 64", FILLED);

	say("{\"execute\":\"quit\"}\n");
	expect_end(vm);
	end(vm);
}
END_TEST

START_TEST(a_guest_whose_memory_is_lost_needs_a_reset)
{
	struct vm_process *vm = start_without_memory("memory", SMALL_GUEST, "-m 64 -action reboot=reset", FILLED);

	damage_swap();
	ask("{\"execute\":\"cont\"}\n", "\"RESUME\"");
	expect("\"MEMORY_ERROR\"");
	expect("\"damaged\"");
	expect("\"STOP\"");
	ask("{\"execute\":\"query-status\"}\n", "\"status\": \"internal-error\"");
	ask("{\"execute\":\"cont\"}\n", "\"GenericError\"");
	ask("{\"execute\":\"system_reset\"}\n", "\"RESET\"");
	ask("{\"execute\":\"query-status\"}\n", "\"status\": \"paused\"");
	ask("{\"execute\":\"cont\"}\n", "\"RESUME\"");
	vm_process_expect(vm, FILLED, TIMEOUT_MS);
	vm_process_expect_right_memory(vm, TIMEOUT_MS);
	end(vm);
}
END_TEST

/* Its threads stand in faults as well. */
static struct vm_process *start_failing_disk(const char *more)
{
	char options[200];

	snprintf(options, sizeof(options), "-m 64 -drive file=%s,format=raw %s", vm_process_file("disk", 64 << 20), more);
	return start_failing("blk", "ops=20000", options, "blk: ");
}

START_TEST(a_device_whose_memory_is_not_to_be_had_goes_on_when_it_is)
{
	struct vm_process *vm = start_failing_disk("");

	ask("{\"execute\":\"stop\"}\n", "\"return\"");
	ask("{\"execute\":\"query-status\"}\n", "\"status\": \"paused\"");
	ask("{\"execute\":\"cont\"}\n", "\"RESUME\"");
	expect("\"STOP\"");
	restore_swap();
	expect("\"RESUME\"");
	vm_process_expect_exit(vm, 0, TIMEOUT_MS);
	end(vm);
}
END_TEST

START_TEST(a_device_whose_memory_is_not_to_be_had_does_not_hold_up_a_reset)
{
	struct vm_process *vm = start_failing_disk("-action reboot=reset");

	ask("{\"execute\":\"system_reset\"}\n", "\"RESET\"");
	expect("\"RESUME\"");
	vm_process_expect_exit(vm, 0, TIMEOUT_MS);
	end(vm);
}
END_TEST

START_TEST(a_device_whose_memory_is_not_to_be_had_does_not_hold_up_the_end)
{
	struct vm_process *vm = start_failing_disk("");

	say("{\"execute\":\"quit\"}\n");
	expect_end(vm);
	end(vm);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guest memory by QMP");
	TCase *targets = tcase_create("targets"), *tests = tcase_create("failures");

	tcase_add_checked_fixture(targets, vm_process_files_make, vm_process_files_remove);
	tcase_set_timeout(targets, 120);
	tcase_add_test(targets, the_target_is_lowered_and_raised_while_the_guest_verifies);
	tcase_add_test(targets, a_guest_with_a_target_keeps_to_it);
	tcase_add_checked_fixture(tests, vm_process_files_make, vm_process_files_remove);
	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, a_guest_whose_memory_is_not_to_be_had_stops_and_goes_on_when_it_is);
	tcase_add_test(tests, a_guest_that_was_paused_in_a_failure_waits_for_cont);
	tcase_add_test(tests, a_reset_starts_anew_a_guest_whose_memory_is_not_to_be_had);
	tcase_add_test(tests, a_guest_whose_memory_is_not_to_be_had_can_be_ended);
	tcase_add_test(tests, a_guest_whose_memory_is_lost_needs_a_reset);
	tcase_add_test(tests, a_device_whose_memory_is_not_to_be_had_goes_on_when_it_is);
	tcase_add_test(tests, a_device_whose_memory_is_not_to_be_had_does_not_hold_up_a_reset);
	tcase_add_test(tests, a_device_whose_memory_is_not_to_be_had_does_not_hold_up_the_end);
	suite_add_tcase(suite, targets);
	suite_add_tcase(suite, tests);
	return vm_process_run_suite(suite);
}
