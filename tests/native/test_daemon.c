/*
 * The daemon and guests that run: started, paused, squeezed, stopped, restarted; and a daemon that is killed at any moment, which no guest may notice.
 * Guests verify every byte of their memory.
 */
#include "tests/unit/pagodad_process.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>

#include "tests/native/vm_process.h"
#include "tests/unit/api_client.h"

enum { MIB = 1 << 20, SOON_MS = 30000, MOST_PIDS = 16 };

static char guests_directory[VM_PROCESS_PATH_SIZE];

/* VMMs of this test: those whose command line names its directory. */
static unsigned find_vmms(const char *name, pid_t pids[])
{
	char path[300], words[8192], place[200];
	unsigned nr = 0;
	DIR *proc = opendir("/proc");
	const struct dirent *entry;
	snprintf(place, sizeof(place), "%s/guests/%s/pid", pagodad_run, name);
	while ((entry = readdir(proc)) != NULL && nr < MOST_PIDS) {
		snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
		int fd = *entry->d_name >= '1' && *entry->d_name <= '9' ? open(path, O_RDONLY | O_CLOEXEC) : -1;
		ssize_t len = fd < 0 ? 0 : read(fd, words, sizeof(words));
		if (fd >= 0)
			close(fd);
		if (len > 0 && memmem(words, (size_t)len, place, strlen(place)))
			pids[nr++] = (pid_t)strtol(entry->d_name, NULL, 10);
	}
	closedir(proc);
	return nr;
}

static void set_up(void)
{
	vm_process_find_guests(guests_directory);
	pagodad_set_up();
	pagodad_start(NULL);
}

static void tear_down(void)
{
	char path[120];
	pid_t pids[MOST_PIDS];
	if (pagodad_pid > 0)
		pagodad_end(SIGKILL);
	snprintf(path, sizeof(path), "%s/guests", pagodad_run);
	DIR *directory = opendir(path);
	const struct dirent *entry;
	while (directory && (entry = readdir(directory)) != NULL)
		for (unsigned i = find_vmms(entry->d_name, pids); i-- > 0;)
			kill(pids[i], SIGKILL);
	if (directory)
		closedir(directory);
	pagodad_tear_down();
}

static void again(int signal)
{
	pagodad_end(signal);
	pagodad_start(NULL);
}

/* A guest that verifies its memory until it hears a key. more: of its definition. */
static void define(struct api_connection *c, const char *name, const char *more)
{
	api_do(c, "define",
	       "\"definition\": {\"name\": \"%s\", \"memory\": %d, \"kernel\": \"%s/memory.elf\","
	       " \"append\": \"seed=%llu rounds=1000000000 until_key order=random idle_ms=2 quiet\"%s}",
	       name, 48 * MIB, guests_directory, (unsigned long long)vm_process_seed() % 1000000, more);
}

static pid_t start(struct api_connection *c, const char *name)
{
	json_t *result = api_get(c, "start", "\"guest\": \"%s\"", name);
	pid_t pid = (pid_t)json_integer_value(json_object_get(result, "pid"));
	json_decref(result);
	ck_assert_int_gt(pid, 0);
	return pid;
}

static pid_t pid_of(struct api_connection *c, const char *name)
{
	json_t *row = api_get(c, "show", "\"guest\": \"%s\"", name);
	pid_t pid = (pid_t)json_integer_value(json_object_get(row, "pid"));
	json_decref(row);
	return pid;
}

static bool is_state(struct api_connection *c, const char *name, const char *state)
{
	json_t *row = api_get(c, "show", "\"guest\": \"%s\"", name);
	bool is = !strcmp(json_string_value(json_object_get(row, "state")), state);
	json_decref(row);
	return is;
}

static void wait_for(struct api_connection *c, const char *name, const char *state)
{
	for (int i = 0; i < SOON_MS / 20 && !is_state(c, name, state); i++)
		usleep(20000);
	api_expect(c, name, "state", state);
}

static double used(struct api_connection *c, const char *name, const char *member)
{
	json_t *row = api_get(c, "show", "\"guest\": \"%s\"", name);
	double value = json_number_value(json_object_get(json_object_get(row, "use"), member));
	json_decref(row);
	return value;
}

/* Ends the guest by its console, while somebody waits for its end, and expects that its memory was right. */
static void expect_right_memory(struct api_connection *c, const char *name)
{
	char heard[8192] = "";
	size_t len = 0;
	ssize_t got = 1;
	json_t *console = api_get(c, "console", "\"guest\": \"%s\"", name);
	int fd = vm_process_connect(json_string_value(json_object_get(console, "path")));
	json_decref(console);
	char request[200];
	snprintf(request, sizeof(request), "{\"execute\": \"stop\", \"arguments\": {\"guest\": \"%s\", \"timeout\": 60}}\n", name);
	ck_assert(api_say(c, request));
	ck_assert_int_eq(write(fd, "x", 1), 1);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	while (got > 0 && len < sizeof(heard) - 1) {
		ck_assert_msg(poll(&p, 1, SOON_MS) == 1, "%s says no more than: %s", name, heard);
		got = read(fd, heard + len, sizeof(heard) - 1 - len);
		len += got > 0 ? (size_t)got : 0;
		heard[len] = '\0';
	}
	close(fd);
	ck_assert_msg(strstr(heard, "memory: 0 wrong pages") != NULL, "%s: %s", name, heard);
	json_t *answer = api_hear(c);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "return"), "how")), "powered-off");
	json_decref(answer);
	api_expect(c, name, "state", "stopped");
}

/* A setting of its memory manager, or -1. */
static int setting(struct api_connection *c, const char *name, const char *which)
{
	json_t *memory = api_get(c, "qmp", "\"guest\": \"%s\", \"command\": \"query-memory\"", name);
	const json_t *value = json_object_get(json_object_get(memory, "settings"), which);
	int result = json_is_integer(value) ? (int)json_integer_value(value) : json_is_boolean(value) ? json_is_true(value) : -1;
	json_decref(memory);
	return result;
}

static void wait_for_setting(struct api_connection *c, const char *name, const char *which, int value)
{
	for (int i = 0; i < SOON_MS / 50 && setting(c, name, which) != value; i++)
		usleep(50000);
	ck_assert_int_eq(setting(c, name, which), value);
}

/* --- lives --- */

START_TEST(a_guest_is_started_paused_squeezed_and_stopped)
{
	struct api_connection c = api_connect("api");
	define(&c, "a", "");
	pid_t pid = start(&c, "a"), pids[MOST_PIDS];
	api_expect(&c, "a", "state", "running");
	api_fail(&c, "WrongState", "already", "start", "\"guest\": \"a\"");
	api_fail(&c, "WrongState", "stop it first", "undefine", "\"guest\": \"a\"");
	api_do(&c, "pause", "\"guest\": \"a\"");
	wait_for(&c, "a", "paused");
	api_do(&c, "resume", "\"guest\": \"a\"");
	wait_for(&c, "a", "running");
	json_t *status = api_get(&c, "qmp", "\"guest\": \"a\", \"command\": \"query-status\"");
	ck_assert(json_is_true(json_object_get(status, "running")));
	json_decref(status);
	/* Memory is not short: it need not swap, nor be sampled closely. */
	wait_for_setting(&c, "a", "swap-out", 0);
	ck_assert_int_eq(setting(&c, "a", "sample-rate"), 10);
	ck_assert_int_eq(setting(&c, "a", "prefetch"), 1);
	api_fail(&c, "Failed", "has not been found", "qmp", "\"guest\": \"a\", \"command\": \"no-such\"");
	json_t *tuned =
		api_get(&c, "tune", "\"guest\": \"a\", \"set\": {\"maximum\": %d, \"merge-cpu\": 3, \"vcpus\": 2}", 40 * MIB);
	ck_assert_uint_eq(json_array_size(json_object_get(tuned, "live")), 2);
	ck_assert_uint_eq(json_array_size(json_object_get(tuned, "persistent")), 3);
	ck_assert_uint_eq(json_array_size(json_object_get(tuned, "next-start")), 1);
	json_decref(tuned);
	for (int i = 0; i < SOON_MS / 100 && !(used(&c, "a", "target") == 40 * MIB && used(&c, "a", "granted") < 42 * MIB); i++)
		usleep(100000);
	ck_assert_double_lt(used(&c, "a", "granted"), 42 * MIB);
	ck_assert_double_eq(used(&c, "a", "target"), 40 * MIB);
	/* But for its own maximum. */
	wait_for_setting(&c, "a", "swap-out", 1);
	usleep(2500000); /* two looks */
	json_t *stats = api_get(&c, "stats", "\"guest\": \"a\"");
	ck_assert_int_gt(json_integer_value(json_object_get(json_object_get(stats, "counters"), "evicted")), 0);
	ck_assert_double_gt(json_number_value(json_object_get(stats, "interval")), 0);
	json_decref(stats);
	ck_assert_int_eq(pid_of(&c, "a"), pid);
	expect_right_memory(&c, "a");
	ck_assert_uint_eq(find_vmms("a", pids), 0);
	json_t *row = api_get(&c, "show", "\"guest\": \"a\"");
	ck_assert_int_eq(json_integer_value(json_object_get(row, "vcpus")), 2);
	json_decref(row);
	api_do(&c, "undefine", "\"guest\": \"a\"");
	api_hang_up(&c);
}
END_TEST

START_TEST(a_guest_that_does_not_hear_the_button_is_ended)
{
	struct api_connection c = api_connect("api");
	define(&c, "a", "");
	pid_t pid = start(&c, "a");
	json_t *result = api_get(&c, "stop", "\"guest\": \"a\", \"timeout\": 0.2");
	ck_assert_str_eq(json_string_value(json_object_get(result, "how")), "forced");
	json_decref(result);
	ck_assert_int_ne(start(&c, "a"), pid);
	result = api_get(&c, "reboot", "\"guest\": \"a\", \"timeout\": 0.2");
	ck_assert_int_gt(json_integer_value(json_object_get(result, "pid")), 0);
	json_decref(result);
	api_do(&c, "reset", "\"guest\": \"a\"");
	api_do(&c, "stop", "\"guest\": \"a\", \"force\": true");
	api_expect(&c, "a", "state", "stopped");
	/* One that is stopped by SIGSTOP hears nothing at all. */
	pid = start(&c, "a");
	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	api_do(&c, "stop", "\"guest\": \"a\", \"force\": true");
	api_expect(&c, "a", "state", "stopped");
	api_hang_up(&c);
}
END_TEST

START_TEST(a_vmm_that_is_killed_is_a_crash_and_is_started_again_if_wanted)
{
	struct api_connection c = api_connect("api");
	define(&c, "once", "");
	define(&c, "again", ", \"restart\": \"on-crash\"");
	pid_t once = start(&c, "once"), first = start(&c, "again");
	kill(once, SIGKILL);
	kill(first, SIGKILL);
	wait_for(&c, "once", "crashed");
	api_expect(&c, "once", "reason", "its VMM was killed by signal 9 (Killed)");
	for (int i = 0; i < SOON_MS / 20 && (pid_of(&c, "again") == first || !is_state(&c, "again", "running")); i++)
		usleep(20000);
	ck_assert_int_ne(pid_of(&c, "again"), first);
	wait_for(&c, "again", "running");
	expect_right_memory(&c, "again");
	usleep(1500000);
	api_expect(&c, "again", "state", "stopped");
	/* And one that is killed while no daemon looks. */
	first = start(&c, "again");
	once = start(&c, "once");
	pagodad_end(SIGKILL);
	api_hang_up(&c);
	kill(first, SIGKILL);
	kill(once, SIGKILL);
	pagodad_start(NULL);
	c = api_connect("api");
	wait_for(&c, "once", "crashed");
	wait_for(&c, "again", "running");
	/* Stopping one that waits for its restart ends the waiting. */
	kill(pid_of(&c, "again"), SIGKILL);
	wait_for(&c, "again", "crashed");
	api_do(&c, "stop", "\"guest\": \"again\"");
	usleep(2500000);
	api_expect(&c, "again", "state", "crashed");
	api_hang_up(&c);
}
END_TEST

static double host(struct api_connection *c, const char *member)
{
	json_t *line = api_get(c, "host", " ");
	double value = json_number_value(json_object_get(line, member));
	json_decref(line);
	return value;
}

START_TEST(guests_that_want_more_than_there_is_are_kept_within_the_budget)
{
	static const char *const names[] = {"a", "b", "c"};
	struct api_connection c = api_connect("api");
	api_fail(&c, "BadArgument", "budget:", "host-tune", "\"set\": {\"budget\": 5}");
	api_fail(&c, "BadArgument", "no such setting", "host-tune", "\"set\": {\"budgets\": 5}");
	api_do(&c, "host-tune", "\"set\": {\"budget\": %d, \"idle-tax\": 50}", 120 * MIB);
	for (unsigned i = 0; i < 3; i++) {
		define(&c, names[i], i == 0 ? ", \"minimum\": 44040192, \"mem-merge\": \"off\"" : ", \"mem-merge\": \"off\"");
		start(&c, names[i]);
	}
	/* The budget lasts as long as the daemon's directory. */
	again(SIGKILL);
	api_hang_up(&c);
	c = api_connect("api");
	ck_assert_double_eq(host(&c, "budget"), 120 * MIB);
	ck_assert_double_eq(host(&c, "idle-tax"), 50);
	for (int i = 0; i < SOON_MS / 100 && !(host(&c, "granted") > 100 * MIB && host(&c, "granted") < 122 * MIB &&
					       used(&c, "a", "target") > 0 && used(&c, "c", "target") > 0);
	     i++)
		usleep(100000);
	ck_assert_double_lt(host(&c, "granted"), 122 * MIB);
	json_t *why = api_get(&c, "explain", "\"guest\": \"b\"");
	ck_assert_int_gt(json_integer_value(json_object_get(why, "target")), 0);
	ck_assert_uint_gt(json_array_size(json_object_get(why, "sentences")), 0);
	json_decref(why);
	why = api_get(&c, "explain", "\"guest\": \"a\"");
	ck_assert_int_ge(json_integer_value(json_object_get(why, "target")), 44040192);
	json_decref(why);
	for (unsigned i = 0; i < 3; i++)
		expect_right_memory(&c, names[i]);
	api_fail(&c, "WrongState", "only a guest that runs", "explain", "\"guest\": \"a\"");
	api_do(&c, "host-tune", "\"set\": {\"budget\": null}");
	ck_assert_double_gt(host(&c, "budget"), 120 * MIB);
	api_hang_up(&c);
}
END_TEST

/* A guest whose initial RAM disk takes so much at once. */
static void define_with_initrd(struct api_connection *c, const char *name, off_t bytes)
{
	char more[300], path[200];
	snprintf(path, sizeof(path), "%s/initrd", pagodad_run);
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	/* No zeroes: these would take no memory. */
	for (off_t at = 0; at < bytes; at += 4096) {
		uint8_t page[4096];
		memset(page, (int)(at / 4096 % 255 + 1), sizeof(page));
		ck_assert_int_eq(write(fd, page, sizeof(page)), sizeof(page));
	}
	close(fd);
	snprintf(more, sizeof(more), ", \"mem-merge\": \"off\", \"initrd\": \"%s\"", path);
	define(c, name, more);
}

/* A budget, and two guests that use all of their memory. more: of their definitions. */
static void fill_host(struct api_connection *c, int budget_mib, const char *more)
{
	api_do(c, "host-tune", "\"set\": {\"budget\": %d}", budget_mib * MIB);
	for (unsigned i = 0; i < 2; i++) {
		define(c, i ? "b" : "a", more);
		start(c, i ? "b" : "a");
	}
	for (int i = 0; i < SOON_MS / 50 && host(c, "granted") < 90 * MIB; i++)
		usleep(50000);
}

static void end_all(struct api_connection *c, struct api_connection *asker)
{
	for (unsigned i = 0; i < 3; i++)
		expect_right_memory(c, i == 2 ? "c" : i ? "b" : "a");
	api_hang_up(asker);
	api_hang_up(c);
}

/* Asks for its start on the second connection, and waits on the first until it waits for memory. */
static void start_that_waits(struct api_connection *c, struct api_connection *asker, const char *name)
{
	char request[100];
	const char *reason = "";
	json_t *row = NULL;
	snprintf(request, sizeof(request), "{\"execute\": \"start\", \"arguments\": {\"guest\": \"%s\"}}\n", name);
	ck_assert(api_say(asker, request));
	for (int i = 0; i < SOON_MS / 2 && !strstr(reason, "other guests give back"); i++) {
		usleep(2000);
		json_decref(row);
		row = api_get(c, "show", "\"guest\": \"%s\"", name);
		reason = json_string_value(json_object_get(row, "reason"));
	}
	ck_assert_msg(strstr(reason, "other guests give back"), "%s: %s", name, reason);
	ck_assert_str_eq(json_string_value(json_object_get(row, "state")), "starting");
	ck_assert_ptr_null(json_object_get(row, "pid"));
	json_decref(row);
}

/* The answer to the start, as an error's text; NULL: it runs. */
static char *answer_to_start(struct api_connection *asker)
{
	json_t *answer = api_hear(asker);
	const json_t *error = json_object_get(answer, "error");
	char *text = error ? strdup(json_string_value(json_object_get(error, "desc"))) : NULL;
	json_decref(answer);
	return text;
}

START_TEST(a_start_waits_until_others_have_given_what_it_takes_at_once)
{
	struct api_connection c = api_connect("api"), asker = api_connect("api");
	fill_host(&c, 104, ", \"mem-merge\": \"off\"");
	define_with_initrd(&c, "c", 32 * MIB);
	start_that_waits(&c, &asker, "c");
	api_fail(&c, "WrongState", "starting already", "start", "\"guest\": \"c\"");
	api_fail(&c, "WrongState", "stop it first", "undefine", "\"guest\": \"c\"");
	ck_assert_ptr_null(answer_to_start(&asker));
	api_expect(&c, "c", "state", "running");
	api_expect(&c, "c", "reason", "");
	end_all(&c, &asker);
}
END_TEST

START_TEST(a_start_that_waits_in_vain_can_be_stopped_and_happens_in_the_end)
{
	struct api_connection c = api_connect("api"), asker = api_connect("api");
	fill_host(&c, 124, ", \"mem-merge\": \"off\", \"minimum\": 46137344");
	define_with_initrd(&c, "c", 42 * MIB);
	start_that_waits(&c, &asker, "c");
	api_do(&c, "stop", "\"guest\": \"c\"");
	api_expect(&c, "c", "state", "stopped");
	char *text = answer_to_start(&asker);
	ck_assert_msg(text && strstr(text, "stopped before there was memory"), "%s", text ? text : "it was started");
	free(text);
	start_that_waits(&c, &asker, "c");
	ck_assert_ptr_null(answer_to_start(&asker));
	api_expect(&c, "c", "state", "running");
	end_all(&c, &asker);
}
END_TEST

START_TEST(guests_start_with_the_daemon_once)
{
	struct api_connection c = api_connect("api");
	define(&c, "auto", ", \"autostart\": true");
	api_expect(&c, "auto", "state", "defined");
	again(SIGTERM);
	api_hang_up(&c);
	c = api_connect("api");
	wait_for(&c, "auto", "running");
	api_do(&c, "stop", "\"guest\": \"auto\", \"force\": true");
	api_hang_up(&c);
	again(SIGTERM);
	c = api_connect("api");
	api_expect(&c, "auto", "state", "stopped");
	api_hang_up(&c);
}
END_TEST

START_TEST(a_guest_that_runs_outlives_its_definition)
{
	char path[200];
	struct api_connection c = api_connect("api");
	define(&c, "a", "");
	define(&c, "b", "");
	pid_t a = start(&c, "a"), b = start(&c, "b");
	pagodad_end(SIGKILL);
	api_hang_up(&c);
	snprintf(path, sizeof(path), "%s/a.json", pagodad_definitions);
	ck_assert_int_eq(truncate(path, 10), 0);
	snprintf(path, sizeof(path), "%s/b.json", pagodad_definitions);
	ck_assert_int_eq(unlink(path), 0);
	pagodad_start(NULL);
	c = api_connect("api");
	wait_for(&c, "a", "running");
	wait_for(&c, "b", "running");
	ck_assert_int_eq(pid_of(&c, "a"), a);
	ck_assert_int_eq(pid_of(&c, "b"), b);
	again(SIGTERM);
	api_hang_up(&c);
	c = api_connect("api");
	expect_right_memory(&c, "a");
	expect_right_memory(&c, "b");
	api_hang_up(&c);
}
END_TEST

/* --- a daemon that is killed --- */

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

START_TEST(a_daemon_that_is_killed_at_any_moment_ten_times_is_noticed_by_no_guest)
{
	static const char *const names[] = {"a", "b", "c"};
	pid_t pids[3], found[MOST_PIDS];
	uint64_t random = vm_process_seed();
	struct api_connection c = api_connect("api");
	for (unsigned i = 0; i < 3; i++) {
		define(&c, names[i], i == 1 ? ", \"maximum\": 33554432" : "");
		pids[i] = start(&c, names[i]);
	}
	for (unsigned round = 0; round < 10; round++) {
		usleep((useconds_t)next_random(&random) % 50000);
		/* In the middle of something. */
		if (round % 2)
			api_say(&c, "{\"execute\": \"tune\", \"arguments\": {\"guest\": \"b\", \"set\": {\"shares\": 77}}}\n"
				    "{\"execute\": \"show\", \"arguments\": {\"guest\": \"c\"}}\n");
		usleep((useconds_t)next_random(&random) % 3000);
		again(SIGKILL);
		api_hang_up(&c);
		c = api_connect("api");
		for (unsigned i = 0; i < 3; i++) {
			api_expect(&c, names[i], "state", "running");
			ck_assert_int_eq(pid_of(&c, names[i]), pids[i]);
			ck_assert_uint_eq(find_vmms(names[i], found), 1);
		}
	}
	/* The new daemon has a hold of them. */
	for (int i = 0; i < SOON_MS / 100 && !(used(&c, "b", "granted") > 0); i++)
		usleep(100000);
	ck_assert_double_eq(used(&c, "b", "target"), 32 * MIB);
	for (unsigned i = 0; i < 3; i++)
		expect_right_memory(&c, names[i]);
	api_hang_up(&c);
}
END_TEST

/* Says it to the VMM itself, and expects what it answers within a moment. */
static void say_to_vmm(int fd, const char *command, const char *expected)
{
	char heard[4096] = "";
	size_t len = 0;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ck_assert_int_eq(write(fd, command, strlen(command)), (ssize_t)strlen(command));
	while (!strstr(heard, expected)) {
		ck_assert_msg(poll(&p, 1, SOON_MS) == 1 && len < sizeof(heard) - 1, "no %s but: %s", expected, heard);
		ssize_t got = read(fd, heard + len, sizeof(heard) - 1 - len);
		ck_assert_int_gt(got, 0);
		len += (size_t)got;
		heard[len] = '\0';
	}
}

START_TEST(what_a_guest_gave_up_for_an_earlier_daemon_it_gets_back)
{
	char text[200];
	struct api_connection c = api_connect("api");
	api_do(&c, "define",
	       "\"definition\": {\"name\": \"b\", \"memory\": %d, \"kernel\": \"%s/balloon.elf\","
	       " \"append\": \"seed=%llu pages=8192 follow\", \"mem-merge\": \"off\"}",
	       48 * MIB, guests_directory, (unsigned long long)vm_process_seed() % 1000000);
	pid_t pid = start(&c, "b");
	for (int i = 0; i < SOON_MS / 100 && used(&c, "b", "granted") < 30 * MIB; i++)
		usleep(100000);
	pagodad_end(SIGKILL);
	api_hang_up(&c);
	/* As that daemon would have asked for it, had memory been short. */
	snprintf(text, sizeof(text), "%s/guests/b/qmp", pagodad_run);
	int fd = vm_process_connect(text);
	say_to_vmm(fd, "{\"execute\": \"qmp_capabilities\"}\n", "\"return\"");
	snprintf(text, sizeof(text), "{\"execute\": \"balloon\", \"arguments\": {\"value\": %d}}\n", 32 * MIB);
	say_to_vmm(fd, text, "\"return\"");
	usleep(1500000); /* the guest gives, and its counters tell */
	snprintf(text, sizeof(text), "\"actual\": %d", 32 * MIB);
	say_to_vmm(fd, "{\"execute\": \"query-balloon\"}\n", text);
	close(fd);
	pagodad_start(NULL);
	c = api_connect("api");
	for (int i = 0; i < SOON_MS / 100 && !(used(&c, "b", "granted") > 0 && used(&c, "b", "balloon") == 0); i++)
		usleep(100000);
	ck_assert_double_gt(used(&c, "b", "granted"), 0);
	ck_assert_double_eq(used(&c, "b", "balloon"), 0);
	ck_assert_int_eq(pid_of(&c, "b"), pid);
	api_hang_up(&c);
}
END_TEST

START_TEST(a_daemon_that_is_killed_while_it_starts_a_guest_leaves_one_vmm_or_none)
{
	pid_t found[MOST_PIDS];
	uint64_t random = vm_process_seed() + 1;
	unsigned ran = 0;
	struct api_connection c = api_connect("api");
	define(&c, "a", "");
	for (unsigned round = 0; round < 20; round++) {
		api_say(&c, "{\"execute\": \"start\", \"arguments\": {\"guest\": \"a\"}}\n");
		usleep((useconds_t)next_random(&random) % 40000);
		again(SIGKILL);
		api_hang_up(&c);
		c = api_connect("api");
		if (is_state(&c, "a", "running")) {
			ran++;
		} else {
			ck_assert_uint_eq(find_vmms("a", found), 0);
			start(&c, "a");
		}
		ck_assert_uint_eq(find_vmms("a", found), 1);
		ck_assert_int_eq(pid_of(&c, "a"), found[0]);
		api_do(&c, "stop", "\"guest\": \"a\", \"force\": true");
		ck_assert_uint_eq(find_vmms("a", found), 0);
	}
	printf("%u of 20 were running\n", ran);
	api_hang_up(&c);
}
END_TEST

START_TEST(a_stop_that_outlives_its_daemon_goes_on)
{
	struct api_connection c = api_connect("api");
	define(&c, "a", "");
	start(&c, "a");
	api_say(&c, "{\"execute\": \"stop\", \"arguments\": {\"guest\": \"a\", \"timeout\": 1.5}}\n");
	wait_for(&c, "a", "stopping");
	api_hang_up(&c);
	again(SIGKILL);
	c = api_connect("api");
	api_expect(&c, "a", "state", "stopping");
	wait_for(&c, "a", "stopped");
	api_hang_up(&c);
}
END_TEST

/* --- nodes --- */

/* Two nodes, of which this machine has the first: a CPU is on each. */
static void start_with_two_nodes(void)
{
	char path[120], option[140];
	snprintf(path, sizeof(path), "%s/topology", pagodad_directory);
	FILE *file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fputs("node 0 cpus 0 memory 4G\nnode 1 cpus 1 memory 4G\n", file);
	ck_assert_int_eq(fclose(file), 0);
	snprintf(option, sizeof(option), "--topology=%s", path);
	pagodad_start(option);
}

/* Whether all the VMM's vCPU threads may run on CPU 0 alone. */
static bool vcpus_are_on_first_cpu(struct api_connection *c, const char *name, pid_t pid)
{
	json_t *cpus = api_get(c, "qmp", "\"guest\": \"%s\", \"command\": \"query-cpus-fast\"", name), *cpu;
	bool all = json_array_size(cpus) > 0;
	size_t i;
	json_array_foreach(cpus, i, cpu)
	{
		cpu_set_t set;
		pid_t thread = (pid_t)json_integer_value(json_object_get(cpu, "thread-id"));
		ck_assert_int_ne(thread, pid);
		ck_assert_int_eq(sched_getaffinity(thread, sizeof(set), &set), 0);
		all = all && CPU_COUNT(&set) == 1 && CPU_ISSET(0, &set);
	}
	json_decref(cpus);
	return all;
}

/* What `explain` says of its placement; NULL: nothing yet. */
static json_t *placement_of(struct api_connection *c, const char *name)
{
	char request[120];
	snprintf(request, sizeof(request), "{\"execute\": \"explain\", \"arguments\": {\"guest\": \"%s\"}}\n", name);
	ck_assert(api_say(c, request));
	json_t *answer = api_hear(c), *placement = json_object_get(json_object_get(answer, "return"), "placement");
	json_incref(placement);
	json_decref(answer);
	return placement;
}

/* Waits until that names a node on which something is resident, and the sentence begins so. */
static void expect_on_first_node(struct api_connection *c, const char *name, const char *why)
{
	bool right = false;
	for (int i = 0; i < SOON_MS / 100 && !right; i++) {
		json_t *placement = placement_of(c, name), *part = json_array_get(json_object_get(placement, "parts"), 0);
		const char *said = json_string_value(json_object_get(placement, "why"));
		right = said && strstr(said, why) == said && json_array_size(json_object_get(part, "resident")) == 1 &&
			json_integer_value(json_object_get(part, "node")) == 0 &&
			json_integer_value(json_object_get(part, "memory")) == 48 * MIB;
		json_decref(placement);
		if (!right)
			usleep(100000);
	}
	ck_assert_msg(right, "%s is not on node 0, or not because it was \"%s\"", name, why);
}

START_TEST(a_guest_has_memory_and_cpus_of_its_node_and_is_found_there_by_the_next_daemon)
{
	char path[64], line[1024];
	bool bound = false;
	pagodad_end(SIGTERM);
	start_with_two_nodes();
	struct api_connection c = api_connect("api");
	define(&c, "a", ", \"nodes\": [0], \"vcpus\": 2");
	define(&c, "b", ", \"nodes\": [7]");
	api_fail(&c, "BadArgument", "none of the nodes", "start", "\"guest\": \"b\"");
	pid_t pid = start(&c, "a");
	for (int i = 0; i < SOON_MS / 100 && !vcpus_are_on_first_cpu(&c, "a", pid); i++)
		usleep(100000);
	ck_assert(vcpus_are_on_first_cpu(&c, "a", pid));
	expect_on_first_node(&c, "a", "Started on node 0");
	snprintf(path, sizeof(path), "/proc/%d/numa_maps", (int)pid);
	FILE *maps = fopen(path, "r"); /* a kernel without NUMA has none */
	while (maps && fgets(line, sizeof(line), maps))
		bound = bound || (strstr(line, " prefer") && strstr(line, "anon="));
	ck_assert(!maps || bound);
	if (maps)
		fclose(maps);
	json_t *nodes = api_get(&c, "nodes", " ");
	json_t *on = json_array_get(json_object_get(json_array_get(nodes, 0), "guests"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(on, "guest")), "a");
	ck_assert_int_gt(json_integer_value(json_object_get(on, "resident")), MIB);
	ck_assert(json_is_true(json_object_get(on, "home")));
	json_decref(nodes);
	/* The next one knows by asking. */
	pagodad_end(SIGKILL);
	api_hang_up(&c);
	start_with_two_nodes();
	c = api_connect("api");
	expect_on_first_node(&c, "a", "Found on node 0");
	ck_assert_int_eq(pid_of(&c, "a"), pid);
	ck_assert(vcpus_are_on_first_cpu(&c, "a", pid));
	expect_right_memory(&c, "a");
	api_hang_up(&c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("the daemon and its guests");
	TCase *tests = tcase_create("daemon");
	tcase_set_timeout(tests, 120);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_guest_is_started_paused_squeezed_and_stopped);
	tcase_add_test(tests, a_guest_that_does_not_hear_the_button_is_ended);
	tcase_add_test(tests, a_vmm_that_is_killed_is_a_crash_and_is_started_again_if_wanted);
	tcase_add_test(tests, guests_that_want_more_than_there_is_are_kept_within_the_budget);
	tcase_add_test(tests, a_start_waits_until_others_have_given_what_it_takes_at_once);
	tcase_add_test(tests, a_start_that_waits_in_vain_can_be_stopped_and_happens_in_the_end);
	tcase_add_test(tests, guests_start_with_the_daemon_once);
	tcase_add_test(tests, a_guest_that_runs_outlives_its_definition);
	tcase_add_test(tests, a_daemon_that_is_killed_at_any_moment_ten_times_is_noticed_by_no_guest);
	tcase_add_test(tests, what_a_guest_gave_up_for_an_earlier_daemon_it_gets_back);
	tcase_add_test(tests, a_daemon_that_is_killed_while_it_starts_a_guest_leaves_one_vmm_or_none);
	tcase_add_test(tests, a_stop_that_outlives_its_daemon_goes_on);
	suite_add_tcase(suite, tests);
	TCase *nodes = tcase_create("nodes");
	tcase_set_timeout(nodes, 120);
	tcase_add_checked_fixture(nodes, set_up, tear_down);
	tcase_add_test(nodes, a_guest_has_memory_and_cpus_of_its_node_and_is_found_there_by_the_next_daemon);
	suite_add_tcase(suite, nodes);
	return vm_process_run_suite(suite);
}
