/* Monitors while a guest runs: what they ask must not wait for it, and what they do must not lose what it asked for. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/native/vm_process.h"

enum { SOON_MS = 20000 };

/* Connects to the QMP server at path, which may take a moment to be there, and is past its greeting. */
static int connect_qmp(const char *path)
{
	static const char hello[] = "{\"execute\":\"qmp_capabilities\"}\n";
	int fd = vm_process_connect(path);

	ck_assert_int_eq(write(fd, hello, sizeof(hello) - 1), (ssize_t)sizeof(hello) - 1);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

/* Reads until text has come. Returns whether it did in time. */
static bool hear(int fd, const char *text, int timeout_ms)
{
	static char heard[65536];
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	size_t len = 0;

	while (len < sizeof(heard) - 1 && poll(&readable, 1, timeout_ms) == 1) {
		ssize_t n = read(fd, heard + len, sizeof(heard) - 1 - len);
		if (n <= 0)
			return false;
		len += (size_t)n;
		heard[len] = '\0';
		if (strstr(heard, text))
			return true;
	}
	return false;
}

START_TEST(monitors_tell_of_vcpus_that_never_leave_the_guest)
{
	static const char command[] = "{\"execute\":\"query-cpus-fast\"}\n";
	/* The second vCPU is never started: it sleeps in KVM. */
	struct vm_process *vm = vm_process_start("memory", "rounds=1000000", "-m 64 -smp 2 -qmp unix:%s,server=on,wait=off",
						 vm_process_path("qmp"));
	int fd = connect_qmp(vm_process_path("qmp"));

	vm_process_expect(vm, "memory: ", SOON_MS);
	ck_assert_int_eq(write(fd, command, sizeof(command) - 1), (ssize_t)sizeof(command) - 1);
	ck_assert(hear(fd, "\"cpu-index\": 1", SOON_MS));
	close(fd);
	vm_process_end(vm);
}
END_TEST

/* Stops and continues the guest all the time, until the VMM has gone. */
static void pester(int fd)
{
	static const char *const commands[2] = {"{\"execute\":\"stop\"}\n", "{\"execute\":\"cont\"}\n"};
	char answers[4096];
	uint64_t random = vm_process_seed();
	ssize_t got;

	for (unsigned i = 0;; i++) {
		if (send(fd, commands[i % 2], strlen(commands[i % 2]), MSG_NOSIGNAL) < 0 && errno != EAGAIN)
			return;
		random = random * 6364136223846793005u + 1442695040888963407u;
		usleep((useconds_t)(random >> 33) % 500);
		do
			got = read(fd, answers, sizeof(answers));
		while (got > 0);
		if (got == 0)
			return;
	}
}

static void survive_pestering(const char *how)
{
	char append[64];

	snprintf(append, sizeof(append), "times=150 how=%s", how);
	struct vm_process *vm = vm_process_start("reset", append, "-m 64 -qmp unix:%s,server=on,wait=off", vm_process_path("qmp"));
	int fd = connect_qmp(vm_process_path("qmp"));

	pester(fd);
	close(fd);
	vm_process_expect(vm, "reset: boot 151 ", SOON_MS);
	vm_process_expect_exit(vm, 0, SOON_MS);
	vm_process_end(vm);
}

START_TEST(a_reset_that_meets_a_stop_comes_when_the_guest_goes_on)
{
	survive_pestering("cf9");
}
END_TEST

START_TEST(a_triple_fault_that_meets_a_stop_resets_when_the_guest_goes_on)
{
	survive_pestering("triple");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("monitors of guests");
	TCase *tests = tcase_create("monitors");

	tcase_add_checked_fixture(tests, vm_process_files_make, vm_process_files_remove);
	tcase_set_timeout(tests, 200);
	tcase_add_test(tests, monitors_tell_of_vcpus_that_never_leave_the_guest);
	tcase_add_test(tests, a_reset_that_meets_a_stop_comes_when_the_guest_goes_on);
	tcase_add_test(tests, a_triple_fault_that_meets_a_stop_resets_when_the_guest_goes_on);
	suite_add_tcase(suite, tests);
	return vm_process_run_suite(suite);
}
