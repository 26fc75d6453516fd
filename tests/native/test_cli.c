/* The admin's command beside a real daemon with real guests: they are defined, run, squeezed, explained, looked at in a terminal, and stopped. */
#include "tests/native/command.h"
#include "tests/unit/pagodad_process.h"
#include "tests/unit/suite.h"

#include <jansson.h>
#include <stdbool.h>

static char vmm[512], kernel[512], hello[512], cli[512];

static void find_programs(void)
{
	char build[512];
	ssize_t len = readlink("/proc/self/exe", build, sizeof(build) - 100);
	ck_assert_int_gt(len, 0);
	build[len] = '\0';
	for (unsigned i = 0; i < 3; i++)
		*strrchr(build, '/') = '\0';
	snprintf(cli, sizeof(cli), "%.400s/pagoda", build);
	snprintf(vmm, sizeof(vmm), "--vmm=%.400s/pagoda-vmm", build);
	snprintf(kernel, sizeof(kernel), "%.400s/guests/twins.elf", build);
	snprintf(hello, sizeof(hello), "%.400s/guests/hello.elf", build);
}

#define PAGODA(fmt, ...) command_run("%s --socket=%s/api " fmt " 2>&1", cli, pagodad_run, ##__VA_ARGS__)
#define MUST(fmt, ...)                                                                \
	do {                                                                          \
		int status_ = PAGODA(fmt, ##__VA_ARGS__);                             \
		ck_assert_msg(status_ == 0, "%s: status %d: %s", fmt, status_, said); \
	} while (0)
#define SAYS(text) ck_assert_msg(strstr(said, text) != NULL, "\"%s\" is not in: %s", text, said)

/* A guest's number, of `list --json`. */
static double use_of(const char *guest, const char *member)
{
	double value = -1;
	MUST("--json list");
	json_t *rows = json_loads(said, 0, NULL), *row;
	size_t i;
	json_array_foreach(rows, i, row)
	{
		if (!strcmp(json_string_value(json_object_get(row, "name")), guest))
			value = json_number_value(json_object_get(json_object_get(row, "use"), member));
	}
	json_decref(rows);
	return value;
}

static void wait_use(const char *guest, const char *member, double from, double to)
{
	double value = -1;
	for (unsigned tries = 0; tries < 600; tries++) {
		value = use_of(guest, member);
		if (value >= from && value <= to)
			return;
		usleep(100000);
	}
	ck_abort_msg("%s of %s is %g, not %g to %g", member, guest, value, from, to);
}

/* Says a line to the guest's console, and waits for an answer that begins so. */
static void tell(const char *guest, const char *line, const char *answer)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char heard[4096];
	size_t len = 0;
	MUST("console %s --json", guest);
	json_t *console = json_loads(said, 0, NULL);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", json_string_value(json_object_get(console, "path")));
	json_decref(console);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_gt(dprintf(fd, "%s\n", line), 0);
	for (heard[0] = '\0'; !strstr(heard, answer);) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ck_assert_msg(poll(&p, 1, 60000) == 1 && len < sizeof(heard) - 1, "%s, told to %s, says: %s", guest, line, heard);
		ssize_t got = recv(fd, heard + len, sizeof(heard) - 1 - len, 0);
		ck_assert_int_gt(got, 0);
		len += (size_t)got;
		heard[len] = '\0';
	}
	close(fd);
}

static void run_guest(const char *name, unsigned seed)
{
	MUST("run %s memory=64M kernel=%s append='pages=12000 common=50 seed=%u' shares=1000", name, kernel, seed);
}

static void set_up(void)
{
	find_programs();
	pagodad_set_up();
	pagodad_start(vmm);
}

static void tear_down(void)
{
	PAGODA("stop --force $(%s --socket=%s/api list --all --json | sed -n 's/^    \"name\": \"\\(.*\\)\",*$/\\1/p')", cli,
	       pagodad_run);
	pagodad_tear_down();
}

START_TEST(guests_are_run_shown_and_stopped)
{
	run_guest("one", 1);
	SAYS("one runs");
	MUST("list");
	SAYS("one");
	SAYS("running");
	MUST("show one");
	SAYS("state                  running");
	SAYS("kernel");
	MUST("pause one");
	MUST("list");
	SAYS("paused");
	MUST("resume one");
	ck_assert_int_eq(PAGODA("run one memory=64M kernel=%s", kernel), 1);
	SAYS("one");
	ck_assert_int_eq(PAGODA("undefine one"), 1);
	MUST("stop one --force");
	MUST("list");
	SAYS("1 more does not run");
	MUST("start one");
	MUST("stop one --timeout=0.1");
	MUST("undefine one");
	ck_assert_int_eq(PAGODA("show one"), 1);
	SAYS("there is no such guest");
}
END_TEST

START_TEST(a_guest_is_squeezed_and_one_sees_why)
{
	run_guest("one", 1);
	run_guest("two", 2);
	tell("one", "fill", "twins: filled");
	tell("two", "fill", "twins: filled");
	MUST("tune host budget=72M");
	wait_use("one", "target", 1, 40 << 20);
	wait_use("two", "target", 1, 40 << 20);
	wait_use("one", "granted", 0, 42 << 20);
	MUST("explain one");
	SAYS("Guests use");
	SAYS("1000 shares");
	tell("one", "verify", "twins: verified");
	tell("two", "verify", "twins: verified");
	/* Who is promised memory has it. */
	MUST("tune one minimum=48M");
	wait_use("one", "target", 48 << 20, 64 << 20);
	ck_assert_int_eq(PAGODA("run three memory=64M minimum=48M kernel=%s", kernel), 1);
	MUST("tune host budget=default");
	wait_use("two", "target", 0, 0);
	MUST("host");
	SAYS("idle-tax");
}
END_TEST

START_TEST(plan_map_and_nodes_answer)
{
	run_guest("one", 1);
	run_guest("two", 2);
	tell("one", "fill", "twins: filled");
	tell("two", "fill", "twins: filled");
	MUST("tune host budget=200M");
	MUST("plan one");
	SAYS("more like one fit");
	command_run("echo '{\"memory\": 67108864, \"minimum\": 67108864}' >%s/plan.json", pagodad_directory);
	MUST("plan %s/plan.json --risk=1000", pagodad_directory);
	SAYS("The next one would be refused: the guest needs");
	MUST("plan one --json");
	json_t *plan = json_loads(said, 0, NULL);
	ck_assert_uint_gt(json_array_size(json_object_get(plan, "points")), 0);
	json_decref(plan);
	wait_use("one", "shared", 20 << 20, 64 << 20);
	MUST("map --json");
	json_t *map = json_loads(said, 0, NULL), *shared = json_object_get(map, "shared");
	ck_assert_uint_eq(json_array_size(shared), 2);
	ck_assert_int_gt(json_integer_value(json_array_get(json_array_get(shared, 0), 1)), 20 << 20);
	ck_assert_int_eq(json_integer_value(json_array_get(json_array_get(shared, 0), 1)),
			 json_integer_value(json_array_get(json_array_get(shared, 1), 0)));
	json_decref(map);
	MUST("map");
	SAYS("one");
	MUST("nodes");
	SAYS("NODE");
}
END_TEST

START_TEST(top_is_driven_by_keys_in_a_terminal)
{
	run_guest("one", 1);
	run_guest("two", 2);
#define TMUX "tmux -L %d "
	int id = (int)getpid();
	ck_assert_int_eq(command_run(TMUX
				     "-f /dev/null new-session -d -s top -x 150 -y 20 \"%s --socket=%s/api top --delay=0.2\" 2>&1",
				     id, cli, pagodad_run),
			 0);
	static const struct {
		const char *key, *says;
	} steps[] = {{"", "pagoda top"},  {"", "two"},     {"n", "NODE 0"},           {"h", "sort by another column"},
		     {"g", "MEMSZ"},      {"Down", "two"}, {"e", "believed to need"}, {"g", "GRANTv"},
		     {"Right", "SZTGTv"}, {"r", "SZTGT^"}};
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		bool seen = false;
		if (*steps[i].key)
			ck_assert_int_eq(command_run(TMUX "send-keys -t top %s 2>&1", id, steps[i].key), 0);
		for (unsigned tries = 0; tries < 100 && !seen; tries++) {
			usleep(50000);
			command_run(TMUX "capture-pane -p -t top 2>&1", id);
			seen = strstr(said, steps[i].says) != NULL;
		}
		ck_assert_msg(seen, "after %s no %s: %s", steps[i].key, steps[i].says, said);
	}
	command_run(TMUX "send-keys -t top q", id);
	bool ended = false;
	for (unsigned tries = 0; tries < 100 && !ended; tries++) {
		usleep(50000);
		ended = command_run(TMUX "has-session -t top 2>/dev/null", id) != 0;
	}
	ck_assert(ended);
	MUST("top --batch --count=1 --sort=name");
	SAYS("NAMEv");
}
END_TEST

START_TEST(a_guest_that_ends_at_once_is_heard_from_its_first_word_on)
{
	MUST("run short memory=64M kernel=%s --console </dev/null", hello);
	SAYS("hello: table");
	SAYS("hello: ram");
	SAYS("the guest has ended");
	for (unsigned tries = 0; tries < 100 && (PAGODA("show short") != 0 || strstr(said, "running")); tries++)
		usleep(50000);
	MUST("list --all");
	SAYS("short is stopped: it");
	ck_assert_int_eq(PAGODA("explain short"), 1);
	SAYS("only a guest that runs has a target");
}
END_TEST

START_TEST(what_happens_is_told)
{
	command_run("timeout 8 %s --socket=%s/api events >%s/events 2>&1 & sleep 1; true", cli, pagodad_run, pagodad_directory);
	run_guest("one", 1);
	MUST("stop one --force");
	command_run("sleep 1; cat %s/events", pagodad_directory);
	SAYS("guest-defined");
	SAYS("state=running");
	SAYS("state=stopped");
	MUST("log one");
	MUST("version");
	SAYS("API 1");
}
END_TEST

START_TEST(what_cannot_be_is_refused_in_words)
{
	ck_assert_int_eq(PAGODA("run big memory=64M minimum=99999G kernel=%s", kernel), 1);
	SAYS("minimum");
	ck_assert_int_eq(PAGODA("tune nobody shares=1"), 1);
	SAYS("no such guest");
	ck_assert_int_eq(PAGODA("tune host budget=1"), 1);
	SAYS("budget");
	ck_assert_int_eq(PAGODA("console nobody"), 1);
	ck_assert_int_eq(PAGODA("plan nobody"), 1);
	ck_assert_int_eq(command_run("%s --socket=%s/api-ro tune host budget=1G 2>&1", cli, pagodad_run), 1);
	SAYS("which this socket does not allow");
	ck_assert_int_eq(command_run("%s --socket=%s/api-ro host 2>&1", cli, pagodad_run), 0);
}
END_TEST

int main(void)
{
	if (access("/dev/kvm", R_OK | W_OK) != 0) {
		printf("skipped: /dev/kvm cannot be opened\n");
		return 0;
	}
	Suite *suite = suite_create("cli");
	TCase *tests = tcase_create("cli");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, guests_are_run_shown_and_stopped);
	tcase_add_test(tests, a_guest_is_squeezed_and_one_sees_why);
	tcase_add_test(tests, plan_map_and_nodes_answer);
	tcase_add_test(tests, top_is_driven_by_keys_in_a_terminal);
	tcase_add_test(tests, a_guest_that_ends_at_once_is_heard_from_its_first_word_on);
	tcase_add_test(tests, what_happens_is_told);
	tcase_add_test(tests, what_cannot_be_is_refused_in_words);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
