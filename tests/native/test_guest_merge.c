/*
 * Who merges a guest's pages: the scanner that -dedup starts, nobody, or the kernel's ksmd, whose settings are put back afterwards.
 *
 * Guests of one seed have equal pages. Zero pages are left out of them: ksmd merges those with each other already.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/native/vm_process.h"
#include "tests/unit/pagodad_process.h"
#include "vmm/ksm.h"

enum { SOON_MS = 30000, TIMEOUT_MS = 90000, PAGES = 6000, MOST_ANSWER = 1 << 16 };
#define GUEST "until_key rounds=1000000 idle_ms=50 touches=100 order=random mix=0,40,30,30"
#define FILLED "memory: filled"

/* --- ksmd --- */

static const char *const knobs[] = {"run", "pages_to_scan", "sleep_millisecs", "smart_scan", "advisor_mode"};
enum { NR_KNOBS = sizeof(knobs) / sizeof(knobs[0]) };
static char before[NR_KNOBS][64]; /* "": there is none */

static const char *knob_path(const char *name)
{
	static char path[128];
	snprintf(path, sizeof(path), KSM_SYSFS "/%s", name);
	return path;
}

static int put(const char *name, const char *value)
{
	int fd = open(knob_path(name), O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t ret = write(fd, value, strlen(value));
	close(fd);
	return ret < 0 ? -errno : 0;
}

/* Why the kernel's merging cannot be tried here; NULL when it can. */
static const char *skip_reason(void)
{
	static char reason[200];
	if (!access(knob_path("run"), W_OK))
		return NULL;
	snprintf(reason, sizeof(reason), "%s cannot be written: %s", knob_path("run"), strerror(errno));
	return reason;
}

/* What is shown of a choice, "[none] scan-time", is put back as "none". */
static void keep(unsigned i)
{
	char *text = before[i];
	int fd = open(knob_path(knobs[i]), O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(before[i]) - 1);
	text[got > 0 ? got : 0] = '\0';
	if (fd >= 0)
		close(fd);
	char *chosen = strchr(text, '['), *end = strchr(text, ']');
	if (chosen && end) {
		*end = '\0';
		memmove(text, chosen + 1, (size_t)(end - chosen));
	}
}

static void keep_ksmd(void)
{
	for (unsigned i = 0; i < NR_KNOBS; i++)
		keep(i);
}

static void start_ksmd(void)
{
	put("advisor_mode", "none");
	put("smart_scan", "0");
	put("pages_to_scan", "20000");
	put("sleep_millisecs", "10");
	ck_assert_int_eq(put("run", "1"), 0);
}

static void restore_ksmd(void)
{
	for (unsigned i = NR_KNOBS; i-- > 0;)
		if (*before[i])
			put(knobs[i], before[i]);
}

/* --- guests and their monitors --- */

static struct vm_process *start_writing(const char *name, const char *options, unsigned percent)
{
	char append[200];
	snprintf(append, sizeof(append), "seed=%llu pages=%d write=%u " GUEST, (unsigned long long)vm_process_seed(), PAGES,
		 percent);
	return vm_process_start("memory", append, "-m 64 -no-reboot -name %s %s -qmp unix:%s,server=on,wait=off", name, options,
				vm_process_path(name));
}

static struct vm_process *start(const char *name, const char *options)
{
	return start_writing(name, options, 0);
}

/* One command on a connection of its own. Returns its answer, until the next call. */
static const char *ask(const char *name, const char *command)
{
	static char answer[MOST_ANSWER + 1];
	char text[400];
	size_t len = 0;
	unsigned lines = 0;
	int fd = vm_process_connect(vm_process_path(name));
	snprintf(text, sizeof(text), "{\"execute\":\"qmp_capabilities\"}\n%s\n", command);
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	/* The greeting, the answer to the first, the answer. */
	while (lines < 3) {
		struct pollfd readable = {.fd = fd, .events = POLLIN};
		ck_assert_int_eq(poll(&readable, 1, SOON_MS), 1);
		ssize_t got = read(fd, answer + len, MOST_ANSWER - len);
		ck_assert_int_gt(got, 0);
		for (ssize_t i = 0; i < got; i++)
			lines += answer[len + (size_t)i] == '\n';
		len += (size_t)got;
		answer[len] = '\0';
	}
	close(fd);
	return answer;
}

static void expect_answer(const char *name, const char *command, const char *text)
{
	const char *answer = ask(name, command);
	ck_assert_msg(strstr(answer, text) != NULL, "no %s in %s", text, answer);
}

#define QUERY "{\"execute\":\"query-dedup\"}"

static long long query(const char *name, const char *counter)
{
	char member[64];
	snprintf(member, sizeof(member), "\"%s\": ", counter);
	const char *answer = ask(name, QUERY), *at = strstr(answer, member);
	ck_assert_msg(at != NULL, "no %s in %s", counter, answer);
	return strtoll(at + strlen(member), NULL, 10);
}

static void expect_refused(struct vm_process *vm, const char *text)
{
	int status = vm_process_wait(vm, SOON_MS);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %#x", (unsigned)status);
	ck_assert_msg(strstr(vm_process_messages(vm), text) != NULL, "%s", vm_process_messages(vm));
	vm_process_end(vm);
}

/* --- tests --- */

START_TEST(a_guest_starts_and_ends_with_a_scanner_and_without_a_daemon)
{
	char options[200];
	snprintf(options, sizeof(options), "-dedup acme,cpu=30,socket=%s", vm_process_path("nobody"));
	struct vm_process *vm = start("web", options);
	vm_process_expect(vm, FILLED, TIMEOUT_MS);
	expect_answer("web", QUERY, "\"engine\": \"pagoda\"");
	expect_answer("web", QUERY, "\"connected\": false");
	expect_answer("web", QUERY, "\"domain\": \"acme\", \"guest\": \"web\"");
	expect_answer("web", QUERY, "\"cpu\": 30");
	expect_answer("web", "{\"execute\":\"set-dedup\",\"arguments\":{\"cpu\":20,\"huge\":\"off\"}}", "\"return\": {}");
	expect_answer("web", QUERY, "\"cpu\": 20");
	expect_answer("web", QUERY, "\"huge\": \"off\"");
	expect_answer("web", "{\"execute\":\"set-dedup\",\"arguments\":{\"cpu\":200}}", "0 to 100");
	expect_answer("web", "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info dedup\"}}",
		      "pages are shared by pagodad, not connected");
	vm_process_expect_right_memory(vm, TIMEOUT_MS);
	vm_process_end(vm);
}
END_TEST

START_TEST(a_guest_that_keeps_out_has_no_scanner)
{
	struct vm_process *vm = start("web", "-dedup acme -machine mem-merge=off");
	vm_process_expect(vm, FILLED, TIMEOUT_MS);
	expect_answer("web", QUERY, "\"engine\": \"none\"");
	expect_answer("web", "{\"execute\":\"set-dedup\"}", "mem-merge=off");
	ck_assert_ptr_nonnull(strstr(vm_process_messages(vm), "-dedup has no effect"));
	vm_process_expect_right_memory(vm, TIMEOUT_MS);
	vm_process_end(vm);
}
END_TEST

START_TEST(sharing_twice_or_without_a_manager_is_refused)
{
	expect_refused(start("web", "-dedup acme -machine mem-merge=ksm"), "leave out one of the two");
	expect_refused(start("web", "-dedup acme -memory manager=off"), "it needs the memory manager");
}
END_TEST

/* With a target the manager takes pages away that are shared, or about to be, and that the guest writes to. */
static const struct {
	const char *manager;
	unsigned percent, wanted; /* of pages that are touched, and written; pages that are shared */
} shared_cases[] = {
	{"", 0, PAGES},
	{"", 20, PAGES / 2},
	{"-memory target=20M,limbo=100", 20, PAGES / 20},
};

static void wait_for_sharing(const char *name, struct vm_process *vm, long long wanted)
{
	long long sharing = 0;
	for (int i = 0; i < TIMEOUT_MS / 100 && sharing < wanted; i++) {
		vm_process_listen(vm, 100);
		sharing = query(name, "pages_sharing");
	}
	ck_assert_msg(sharing >= wanted, "%lld pages share: %s", sharing, ask(name, QUERY));
}

START_TEST(equal_pages_of_two_guests_are_shared_and_a_daemon_that_dies_changes_nothing)
{
	char options[300];
	pagodad_start(NULL);
	snprintf(options, sizeof(options), "-dedup acme,cpu=100,pass=50,huge=on,socket=%s %s", pagodad_socket,
		 shared_cases[_i].manager);
	struct vm_process *a = start_writing("a", options, shared_cases[_i].percent),
			  *b = start_writing("b", options, shared_cases[_i].percent);
	vm_process_expect(a, FILLED, TIMEOUT_MS);
	vm_process_expect(b, FILLED, TIMEOUT_MS);
	wait_for_sharing("a", a, shared_cases[_i].wanted);
	wait_for_sharing("b", b, shared_cases[_i].wanted);
	ck_assert_uint_gt(pagodad_status().pages_sharing, 0);
	for (unsigned i = 0; i < 3; i++) {
		pagodad_end(i % 2 ? SIGTERM : SIGKILL);
		vm_process_listen(a, 300);
		pagodad_start(NULL);
		vm_process_listen(b, 1500);
	}
	expect_answer("a", QUERY, "\"connected\": true");
	vm_process_expect_right_memory(a, TIMEOUT_MS);
	vm_process_expect_right_memory(b, TIMEOUT_MS);
	vm_process_end(a);
	vm_process_end(b);
	/* All that was kept for them goes. */
	struct protocol_status left = pagodad_status();
	for (int i = 0; i < 100 && left.pages_shared + left.pages_unshared; i++) {
		usleep(100000);
		left = pagodad_status();
	}
	ck_assert_uint_eq(left.pages_shared + left.pages_unshared, 0);
	ck_assert_uint_eq(left.refused, 0);
}
END_TEST

/* With a target the manager takes pages away that ksmd has merged, or is about to, and that the guest writes to. */
static const struct {
	const char *manager;
	unsigned percent, wanted; /* of pages that are touched, and written; pages that are merged */
} cases[] = {
	{"", 0, PAGES * 3 / 4},
	{"-memory manager=off", 0, PAGES * 3 / 4},
	{"-memory target=24M", 20, PAGES / 10},
};

START_TEST(the_kernel_merges_equal_pages_of_two_guests)
{
	char options[100];
	snprintf(options, sizeof(options), "-machine mem-merge=ksm %s", cases[_i].manager);
	start_ksmd();
	struct vm_process *a = start_writing("a", options, cases[_i].percent), *b = start_writing("b", options, cases[_i].percent);
	vm_process_expect(a, FILLED, TIMEOUT_MS);
	vm_process_expect(b, FILLED, TIMEOUT_MS);
	long long wanted = cases[_i].wanted, merged = 0;
	for (int i = 0; i < TIMEOUT_MS / 200 && merged < wanted; i++) {
		vm_process_listen(a, 100);
		vm_process_listen(b, 100);
		merged = query("b", "ksm_merging_pages");
	}
	ck_assert_int_ge(merged, wanted);
	ck_assert_int_gt(query("a", "pages_sharing"), 0);
	expect_answer("a", QUERY, "\"engine\": \"ksm\"");
	expect_answer("a", QUERY, "\"connected\": true");
	expect_answer("a", "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info dedup\"}}", "ksmd runs");
	ck_assert_ptr_null(strstr(vm_process_messages(a), "ksmd"));
	for (int i = 0; cases[_i].percent && i < 30; i++) {
		vm_process_listen(a, 50);
		vm_process_listen(b, 50);
	}
	vm_process_expect_right_memory(a, TIMEOUT_MS);
	vm_process_expect_right_memory(b, TIMEOUT_MS);
	vm_process_end(a);
	vm_process_end(b);
}
END_TEST

START_TEST(a_guest_that_nobody_merges_stays_its_own)
{
	start_ksmd();
	struct vm_process *a = start("a", "-machine mem-merge=off"), *b = start("b", "");
	vm_process_expect(a, FILLED, TIMEOUT_MS);
	vm_process_expect(b, FILLED, TIMEOUT_MS);
	vm_process_listen(a, 1000);
	char path[64], line[64] = "";
	snprintf(path, sizeof(path), "/proc/%d/ksm_merging_pages", vm_process_pid(a));
	FILE *file = fopen(path, "re");
	if (file) {
		ck_assert_ptr_nonnull(fgets(line, sizeof(line), file));
		ck_assert_str_eq(line, "0\n");
		fclose(file);
	}
	vm_process_expect_right_memory(a, TIMEOUT_MS);
	vm_process_expect_right_memory(b, TIMEOUT_MS);
	vm_process_end(a);
	vm_process_end(b);
}
END_TEST

START_TEST(a_ksmd_that_rests_is_told_when_the_guest_starts)
{
	start_ksmd();
	put("run", "0");
	struct vm_process *vm = start("a", "-machine mem-merge=ksm");
	vm_process_expect(vm, FILLED, TIMEOUT_MS);
	expect_answer("a", QUERY, "\"connected\": false");
	expect_answer("a", QUERY, "echo 1 > " KSM_SYSFS "/run");
	ck_assert_ptr_nonnull(strstr(vm_process_messages(vm), "ksmd is not running; start it by: echo 1 > " KSM_SYSFS "/run"));
	vm_process_expect_right_memory(vm, TIMEOUT_MS);
	vm_process_end(vm);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("merging");
	TCase *dedup = tcase_create("scanner"), *daemon = tcase_create("daemon"), *ksm = tcase_create("ksm");
	const char *reason = skip_reason();

	tcase_add_checked_fixture(dedup, vm_process_files_make, vm_process_files_remove);
	tcase_set_timeout(dedup, 120);
	tcase_add_test(dedup, a_guest_starts_and_ends_with_a_scanner_and_without_a_daemon);
	tcase_add_test(dedup, a_guest_that_keeps_out_has_no_scanner);
	tcase_add_test(dedup, sharing_twice_or_without_a_manager_is_refused);
	suite_add_tcase(suite, dedup);
	tcase_add_checked_fixture(daemon, vm_process_files_make, vm_process_files_remove);
	tcase_add_checked_fixture(daemon, pagodad_set_up, pagodad_tear_down);
	tcase_set_timeout(daemon, 240);
	tcase_add_loop_test(daemon, equal_pages_of_two_guests_are_shared_and_a_daemon_that_dies_changes_nothing, 0, 3);
	suite_add_tcase(suite, daemon);
	/* In the process that outlives tests that fail. */
	tcase_add_unchecked_fixture(ksm, keep_ksmd, restore_ksmd);
	tcase_add_checked_fixture(ksm, vm_process_files_make, vm_process_files_remove);
	tcase_set_timeout(ksm, 240);
	tcase_add_loop_test(ksm, the_kernel_merges_equal_pages_of_two_guests, 0, 3);
	tcase_add_test(ksm, a_guest_that_nobody_merges_stays_its_own);
	tcase_add_test(ksm, a_ksmd_that_rests_is_told_when_the_guest_starts);
	suite_add_tcase(suite, ksm);
	if (reason) {
		printf("skipped: the kernel's merging: %s\n", reason);
		setenv("CK_RUN_CASE", "scanner", 0);
	}
	return vm_process_run_suite(suite);
}
