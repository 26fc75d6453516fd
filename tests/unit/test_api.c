/* The API of a real daemon that runs no guest: what clients say wrong, how many there may be, what is kept when files fail. */
#include "tests/unit/pagodad_process.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "host/api_message.h"
#include "host/host_memory.h"
#include "tests/unit/api_client.h"
#include "tests/unit/suite.h"

#define DEFINE "\"definition\": {\"name\": \"%s\", \"memory\": 67108864, \"kernel\": \"/none\"}"

static void set_up(void)
{
	pagodad_set_up();
	pagodad_start(NULL);
}

/* Starts a daemon that is to end by itself; what it says is in text. Returns its wait status. */
static int start_in_vain(const char *option, char *text, size_t size)
{
	int pipe_fds[2], status;
	size_t len = 0;
	ssize_t got;
	ck_assert_int_eq(pipe(pipe_fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(pipe_fds[1], 2);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pagodad_exec(option);
	}
	close(pipe_fds[1]);
	while (len < size - 1 && (got = read(pipe_fds[0], text + len, size - 1 - len)) > 0)
		len += (size_t)got;
	text[len] = '\0';
	close(pipe_fds[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

/* --- what is said --- */

static void expect_class(struct api_connection *c, const char *class)
{
	json_t *answer = api_hear(c);
	const json_t *error = json_object_get(answer, "error");
	ck_assert_str_eq(json_string_value(json_object_get(error, "class")), class);
	json_decref(answer);
}

START_TEST(what_is_no_request_is_answered_and_the_conversation_goes_on)
{
	static const struct {
		const char *text, *class;
	} cases[] = {
		{"hello\n", "Syntax"},
		{"[1]\n", "Syntax"},
		{"{}\n", "Syntax"},
		{"{\"execute\": 5}\n", "Syntax"},
		{"{\"execute\": \"list\", \"execute\": \"list\"}\n", "Syntax"},
		{"{\"execute\": \"list\", \"other\": 1}\n", "Syntax"},
		{"{\"execute\": \"list\", \"id\": {}}\n", "Syntax"},
		{"{\"execute\": \"list\", \"arguments\": []}\n", "Syntax"},
		{"{\"execute\": \"list\\u0000\"}\n", "Syntax"},
		{"{\"execute\": \"\xff\"}\n", "Syntax"},
		{"[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]\n", "Syntax"},
		{"{\"execute\": \"lists\"}\n", "UnknownCommand"},
		{"{\"execute\": \"list\", \"arguments\": {\"guest\": \"x\"}}\n", "BadArgument"},
		{"{\"execute\": \"show\"}\n", "BadArgument"},
		{"{\"execute\": \"show\", \"arguments\": {\"guest\": 5}}\n", "BadArgument"},
		{"{\"execute\": \"show\", \"arguments\": {\"guest\": \"x\"}}\n", "NotFound"},
		{"{\"execute\": \"watch\", \"arguments\": {\"guests\": [1]}}\n", "BadArgument"},
	};
	struct api_connection c = api_connect("api");
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert(api_say(&c, cases[i].text));
		expect_class(&c, cases[i].class);
	}
	/* Byte by byte, and several in one. */
	for (const char *at = "\n\r\n{\"execute\": \"version\"}\n"; *at; at++)
		ck_assert_int_eq(send(c.fd, at, 1, MSG_NOSIGNAL), 1);
	json_t *answer = api_hear(&c);
	ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(answer, "return"), "api")), API_VERSION);
	json_decref(answer);
	api_say(&c, "{\"execute\": \"list\", \"id\": 1}\n{\"execute\": \"list\", \"id\": 2}\n{\"execute\": \"list\", \"id\": 3}\n");
	for (int i = 1; i <= 3; i++) {
		answer = api_hear(&c);
		ck_assert_int_eq(json_integer_value(json_object_get(answer, "id")), i);
		json_decref(answer);
	}
	api_hang_up(&c);
}
END_TEST

START_TEST(a_line_without_end_is_hung_up_on)
{
	struct api_connection c = api_connect("api");
	char *text = malloc(API_MOST_LINE + 70000);
	memset(text, ' ', API_MOST_LINE + 70000);
	text[API_MOST_LINE + 69999] = '\0';
	api_say(&c, text);
	free(text);
	expect_class(&c, "Syntax");
	ck_assert_ptr_null(api_hear(&c));
	api_hang_up(&c);
}
END_TEST

START_TEST(who_sends_and_shuts_its_end_is_answered)
{
	struct api_connection c = api_connect("api-ro");
	api_say(&c, "{\"execute\": \"list\"}\n{\"execute\": \"host\"}\n");
	ck_assert_int_eq(shutdown(c.fd, SHUT_WR), 0);
	for (unsigned i = 0; i < 2; i++) {
		json_t *answer = api_hear(&c);
		ck_assert_ptr_nonnull(json_object_get(answer, "return"));
		json_decref(answer);
	}
	ck_assert_ptr_null(api_hear(&c));
	api_hang_up(&c);
}
END_TEST

START_TEST(the_read_only_socket_changes_nothing)
{
	struct stat st;
	char path[128];
	struct api_connection c = api_connect("api"), ro = api_connect("api-ro");
	json_t *commands = api_get(&ro, "commands", " ");
	const json_t *command;
	size_t i, refused = 0;
	api_do(&c, "define", DEFINE, "a");
	json_array_foreach(commands, i, command)
	{
		if (strcmp(json_string_value(json_object_get(command, "access")), "read-only") == 0)
			continue;
		refused++;
		api_fail(&ro, "ReadOnly", "changes something", json_string_value(json_object_get(command, "name")), " ");
	}
	ck_assert_uint_gt(refused, 8);
	json_decref(commands);
	api_expect(&ro, "a", "state", "defined");
	snprintf(path, sizeof(path), "%s/api", pagodad_run);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	snprintf(path, sizeof(path), "%s/api-ro", pagodad_run);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0666);
	api_hang_up(&c);
	api_hang_up(&ro);
}
END_TEST

START_TEST(too_many_clients_are_turned_away_and_some_are_kept_for_those_who_change)
{
	struct api_connection many[33], c;
	for (unsigned i = 0; i < 32; i++)
		many[i] = api_connect("api-ro");
	struct api_connection late = {.fd = api_try("api-ro")};
	expect_class(&late, "Busy");
	ck_assert_ptr_null(api_hear(&late));
	api_hang_up(&late);
	c = api_connect("api");
	api_do(&c, "list", " ");
	api_hang_up(&many[0]);
	/* That one has gone, the daemon hears in a moment. */
	for (bool taken = false; !taken;) {
		many[0].fd = api_try("api-ro");
		json_t *greeting = api_hear(&many[0]);
		taken = json_object_get(greeting, "pagoda") != NULL;
		json_decref(greeting);
		if (!taken)
			api_hang_up(&many[0]);
	}
	api_do(&many[0], "list", " ");
	for (unsigned i = 0; i < 32; i++)
		api_hang_up(&many[i]);
	api_hang_up(&c);
}
END_TEST

START_TEST(a_client_that_does_not_read_is_hung_up_on_and_others_are_served)
{
	static const char question[] = "{\"execute\": \"metrics\"}\n";
	struct api_connection slow = api_connect("api"), c = api_connect("api");
	bool alive = true;
	fcntl(slow.fd, F_SETFL, O_NONBLOCK);
	for (unsigned i = 0; alive && i < 100000; i++) {
		if (send(slow.fd, question, sizeof(question) - 1, MSG_NOSIGNAL) < 0) {
			alive = errno == EAGAIN;
			usleep(100);
		}
		if (i % 100 == 0)
			api_do(&c, "list", " ");
	}
	ck_assert(!alive);
	api_do(&c, "list", " ");
	api_hang_up(&c);
	api_hang_up(&slow);
}
END_TEST

START_TEST(events_come_to_those_who_asked_for_them)
{
	struct api_connection c = api_connect("api"), all = api_connect("api-ro"), some = api_connect("api-ro"),
			      none = api_connect("api-ro");
	api_do(&all, "watch", " ");
	api_do(&some, "watch", "\"guests\": [\"b\"]");
	api_do(&none, "watch", " ");
	api_do(&none, "watch", "\"on\": false");
	api_do(&c, "define", DEFINE, "a");
	api_do(&c, "define", DEFINE, "b");
	api_do(&c, "undefine", "\"guest\": \"b\"");
	static const char *const events[] = {"guest-defined", "guest-defined", "guest-undefined"};
	static const char *const guests[] = {"a", "b", "b"};
	for (unsigned i = 0; i < 5; i++) {
		json_t *event = api_hear(i < 3 ? &all : &some);
		ck_assert_str_eq(json_string_value(json_object_get(event, "event")), events[i < 3 ? i : i - 2]);
		ck_assert_str_eq(json_string_value(json_object_get(json_object_get(event, "data"), "guest")),
				 guests[i < 3 ? i : i - 2]);
		json_decref(event);
	}
	api_do(&none, "list", " ");
	ck_assert_uint_eq(none.len, 0);
	api_hang_up(&c);
	api_hang_up(&all);
	api_hang_up(&some);
	api_hang_up(&none);
}
END_TEST

/* --- definitions --- */

START_TEST(what_is_defined_is_there_after_a_kill_and_what_is_undefined_is_not)
{
	struct api_connection c = api_connect("api");
	api_do(&c, "define", DEFINE, "a");
	api_do(&c, "define", DEFINE, "b");
	api_fail(&c, "Exists", "a: is defined", "define", DEFINE, "a");
	api_do(&c, "define", "\"replace\": true, " DEFINE, "a");
	api_fail(&c, "BadArgument", "memory:", "define", "\"definition\": {\"name\": \"d\", \"memory\": 1, \"kernel\": \"/none\"}");
	json_t *tuned = api_get(&c, "tune", "\"guest\": \"a\", \"set\": {\"vcpus\": 3, \"minimum\": 4096}");
	ck_assert_uint_eq(json_array_size(json_object_get(tuned, "persistent")), 2);
	ck_assert_uint_eq(json_array_size(json_object_get(tuned, "live")), 0);
	json_decref(tuned);
	api_fail(&c, "BadArgument", "name:", "tune", "\"guest\": \"a\", \"set\": {\"name\": \"z\"}");
	api_fail(&c, "BadArgument", "vcpus:", "tune", "\"guest\": \"a\", \"set\": {\"shares\": 5, \"vcpus\": 0}");
	api_fail(&c, "WrongState", "does not run", "tune", "\"guest\": \"a\", \"set\": {\"shares\": 5}, \"persistent\": false");
	api_do(&c, "undefine", "\"guest\": \"b\"");
	api_fail(&c, "NotFound", "b:", "undefine", "\"guest\": \"b\"");
	for (unsigned i = 0; i < 2; i++) {
		json_t *row = api_get(&c, "show", "\"guest\": \"a\"");
		ck_assert_int_eq(json_integer_value(json_object_get(row, "vcpus")), 3);
		ck_assert_int_eq(json_integer_value(json_object_get(row, "minimum")), 4096);
		ck_assert_int_eq(json_integer_value(json_object_get(row, "shares")), 640);
		json_decref(row);
		json_t *list = api_get(&c, "list", " ");
		ck_assert_uint_eq(json_array_size(list), 1);
		json_decref(list);
		if (i == 0) {
			pagodad_end(SIGKILL);
			ck_assert_ptr_null(api_hear(&c));
			api_hang_up(&c);
			pagodad_start(NULL);
			c = api_connect("api");
		}
	}
	api_hang_up(&c);
}
END_TEST

START_TEST(a_damaged_file_is_set_aside_and_others_are_loaded)
{
	char path[200];
	struct stat st;
	struct api_connection c = api_connect("api");
	api_do(&c, "define", DEFINE, "a");
	api_do(&c, "define", DEFINE, "b");
	api_hang_up(&c);
	pagodad_end(SIGTERM);
	snprintf(path, sizeof(path), "%s/a.json", pagodad_definitions);
	ck_assert_int_eq(truncate(path, 20), 0);
	pagodad_start(NULL);
	c = api_connect("api");
	api_expect(&c, "b", "state", "defined");
	api_fail(&c, "NotFound", "a:", "show", "\"guest\": \"a\"");
	api_do(&c, "define", DEFINE, "a");
	strcat(path, ".damaged-1");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_size, 20);
	api_hang_up(&c);
}
END_TEST

START_TEST(a_guest_that_cannot_start_says_why)
{
	struct api_connection c = api_connect("api");
	api_do(&c, "define", DEFINE, "a");
	api_fail(&c, "WrongState", "not running", "pause", "\"guest\": \"a\"");
	api_fail(&c, "WrongState", "not running", "stop", "\"guest\": \"a\"");
	api_fail(&c, "WrongState", "not running", "console", "\"guest\": \"a\"");
	api_fail(&c, "Failed", "its VMM ended with status 1: ", "start", "\"guest\": \"a\"");
	api_expect(&c, "a", "state", "crashed");
	json_t *log = api_get(&c, "log", "\"guest\": \"a\", \"lines\": 1");
	ck_assert_uint_eq(json_array_size(json_object_get(log, "lines")), 1);
	json_decref(log);
	api_hang_up(&c);
}
END_TEST

START_TEST(minimums_that_do_not_fit_are_refused)
{
	struct api_connection c;
	pagodad_end(SIGTERM);
	pagodad_start("--budget=100M");
	c = api_connect("api");
	api_do(&c, "define",
	       "\"definition\": {\"name\": \"big\", \"memory\": 134217728, \"minimum\": 134217728, \"kernel\": \"/none\"}");
	api_fail(&c, "Refused", "of 100 MiB are left", "start", "\"guest\": \"big\"");
	api_expect(&c, "big", "state", "defined");
	api_hang_up(&c);
}
END_TEST

START_TEST(a_vmm_that_is_no_program_is_named)
{
	struct api_connection c;
	pagodad_end(SIGTERM);
	pagodad_start("--vmm=/etc/passwd");
	c = api_connect("api");
	api_do(&c, "define", DEFINE, "a");
	api_fail(&c, "Failed", "/etc/passwd: cannot execute: Permission denied", "start", "\"guest\": \"a\"");
	api_expect(&c, "a", "state", "crashed");
	api_hang_up(&c);
}
END_TEST

/* --- where it lives --- */

START_TEST(a_second_daemon_is_refused_by_name)
{
	char text[1000];
	struct api_connection c = api_connect("api");
	ck_assert_int_eq(start_in_vain(NULL, text, sizeof(text)), EXIT_FAILURE << 8);
	ck_assert_msg(strstr(text, "another daemon") && strstr(text, pagodad_run), "%s", text);
	api_do(&c, "list", " ");
	api_hang_up(&c);
	close(api_try("api"));
}
END_TEST

START_TEST(directories_that_others_may_write_are_refused)
{
	char text[1000];
	const char *const paths[] = {pagodad_run, pagodad_definitions};
	pagodad_end(SIGTERM);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(chmod(paths[i], 0777), 0);
		ck_assert_int_eq(start_in_vain(NULL, text, sizeof(text)), EXIT_FAILURE << 8);
		ck_assert_msg(strstr(text, paths[i]) && strstr(text, "others"), "%s", text);
		ck_assert_int_eq(chmod(paths[i], 0755), 0);
	}
	ck_assert_int_eq(start_in_vain("--group=no-such-group", text, sizeof(text)), EXIT_FAILURE << 8);
	ck_assert_msg(strstr(text, "no-such-group"), "%s", text);
	ck_assert_int_eq(start_in_vain("--metrics=0.0.0.0:1", text, sizeof(text)), EXIT_FAILURE << 8);
	ck_assert_msg(strstr(text, "loopback"), "%s", text);
	ck_assert_int_eq(start_in_vain("--run=relative", text, sizeof(text)), EXIT_FAILURE << 8);
	ck_assert_msg(strstr(text, "absolute"), "%s", text);
}
END_TEST

START_TEST(a_full_disk_refuses_what_is_new_and_loses_nothing)
{
	char path[200], big[200];
	struct api_connection c;
	pagodad_end(SIGTERM);
	if (mount("none", pagodad_definitions, "tmpfs", 0, "size=64k,mode=700") < 0) {
		printf("skipped: a full disk: no tmpfs can be mounted here: %s\n", strerror(errno));
		return;
	}
	pagodad_start(NULL);
	c = api_connect("api");
	api_do(&c, "define", DEFINE, "a");
	snprintf(big, sizeof(big), "dd if=/dev/zero of=%s/filler bs=4k 2>/dev/null", pagodad_definitions);
	ck_assert_int_ne(system(big), 0); // NOLINT(cert-env33-c)
	api_fail(&c, "Failed", "No space left", "define", DEFINE, "b");
	api_fail(&c, "Failed", "No space left", "tune", "\"guest\": \"a\", \"set\": {\"vcpus\": 9}");
	json_t *row = api_get(&c, "show", "\"guest\": \"a\"");
	ck_assert_int_eq(json_integer_value(json_object_get(row, "vcpus")), 1);
	json_decref(row);
	pagodad_end(SIGKILL);
	api_hang_up(&c);
	pagodad_start(NULL);
	c = api_connect("api");
	json_t *list = api_get(&c, "list", " ");
	ck_assert_uint_eq(json_array_size(list), 1);
	json_decref(list);
	snprintf(path, sizeof(path), "%s/filler", pagodad_definitions);
	ck_assert_int_eq(unlink(path), 0);
	api_do(&c, "define", DEFINE, "b");
	api_hang_up(&c);
	pagodad_end(SIGKILL);
	ck_assert_int_eq(umount(pagodad_definitions), 0);
}
END_TEST

/* --- Prometheus --- */

static int http(unsigned port, const char *request, char *answer, size_t size)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	size_t len = 0;
	ssize_t got;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	while (len < size - 1 && (got = recv(fd, answer + len, size - 1 - len, 0)) > 0)
		len += (size_t)got;
	answer[len] = '\0';
	close(fd);
	return 0;
}

START_TEST(prometheus_gets_its_text_and_nothing_else)
{
	static char answer[200000];
	char option[64];
	unsigned port = 20000 + (unsigned)getpid() % 20000;
	struct api_connection c;
	pagodad_end(SIGTERM);
	snprintf(option, sizeof(option), "--metrics=127.0.0.1:%u", port);
	pagodad_start(option);
	c = api_connect("api");
	api_do(&c, "define", DEFINE, "a");
	ck_assert_int_eq(http(port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer)), 0);
	ck_assert_int_eq(strncmp(answer, "HTTP/1.0 200 OK\r\n", 17), 0);
	ck_assert_ptr_nonnull(strstr(answer, "\npagoda_host_budget_bytes "));
	ck_assert_ptr_nonnull(strstr(answer, "\npagoda_guest_up{guest=\"a\"} 0\n"));
	ck_assert_ptr_nonnull(strstr(answer, "# TYPE pagoda_guest_faults_total counter\n"));
	ck_assert_int_eq(http(port, "GET / HTTP/1.1\r\n\r\n", answer, sizeof(answer)), 0);
	ck_assert_int_eq(strncmp(answer, "HTTP/1.0 404 ", 13), 0);
	ck_assert_int_eq(http(port, "POST /metrics HTTP/1.1\r\n\r\n", answer, sizeof(answer)), 0);
	ck_assert_int_eq(strncmp(answer, "HTTP/1.0 405 ", 13), 0);
	ck_assert_int_eq(http(port, "nonsense\r\n\r\n", answer, sizeof(answer)), 0);
	ck_assert_int_eq(strncmp(answer, "HTTP/1.0 400 ", 13), 0);
	api_hang_up(&c);
}
END_TEST

/* --- systemd --- */

START_TEST(sockets_of_the_service_manager_are_used_and_it_is_told)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char notify[128], text[64];
	static const char *const names[] = {"api", "api-ro"};
	int fds[2];
	pagodad_end(SIGTERM);
	snprintf(notify, sizeof(notify), "%s/notify", pagodad_directory);
	strcpy(address.sun_path, notify);
	int notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(notify_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	for (int i = 0; i < 2; i++) {
		snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", pagodad_run, names[i]);
		unlink(address.sun_path);
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(bind(fds[i], (struct sockaddr *)&address, sizeof(address)), 0);
		ck_assert_int_eq(listen(fds[i], 5), 0);
	}
	/* A client that comes before the daemon waits for it. */
	int early = api_try("api-ro");
	ck_assert_int_ge(early, 0);
	pagodad_pid = fork();
	if (pagodad_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int high[2] = {fcntl(fds[1], F_DUPFD, 100), fcntl(fds[0], F_DUPFD, 100)};
		dup2(high[0], 3);
		dup2(high[1], 4);
		snprintf(text, sizeof(text), "%d", (int)getpid());
		setenv("LISTEN_PID", text, 1);
		setenv("LISTEN_FDS", "2", 1);
		setenv("LISTEN_FDNAMES", "api-ro:api", 1);
		setenv("NOTIFY_SOCKET", notify, 1);
		pagodad_exec(NULL);
	}
	struct pollfd p = {.fd = notify_fd, .events = POLLIN};
	ck_assert_int_eq(poll(&p, 1, API_PATIENCE_MS), 1);
	ssize_t got = recv(notify_fd, text, sizeof(text), 0);
	ck_assert_int_eq(got, 7);
	ck_assert_mem_eq(text, "READY=1", 7);
	struct api_connection ro = {.fd = early}, c;
	json_t *greeting = api_hear(&ro);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(greeting, "pagoda"), "access")), "read-only");
	json_decref(greeting);
	close(fds[0]);
	close(fds[1]);
	c = api_connect("api");
	api_do(&c, "define", DEFINE, "a");
	api_hang_up(&c);
	api_hang_up(&ro);
	pagodad_end(SIGTERM);
	/* They are the manager's: it removes them. */
	struct stat st;
	ck_assert_int_eq(stat(address.sun_path, &st), 0);
	pagodad_pid = 0;
	close(notify_fd);
}
END_TEST

/* --- the kernel's texts --- */

START_TEST(the_kernels_texts_are_understood)
{
	struct host_memory m = {.total = 0};
	ck_assert(host_memory_parse_meminfo("MemTotal:       24683116 kB\nMemFree:  1 kB\nMemAvailable:   23300960 kB\n", &m));
	ck_assert_uint_eq(m.total, 24683116ull << 10);
	ck_assert_uint_eq(m.available, 23300960ull << 10);
	ck_assert(!host_memory_parse_meminfo("MemTotal: 1 kB\n", &m));
	ck_assert(host_memory_parse_psi(
		"some avg10=1.50 avg60=0.25 avg300=0.00 total=123\nfull avg10=0.50 avg60=0.10 avg300=0.00 total=45\n", &m));
	ck_assert_double_eq(m.some_avg10, 1.5);
	ck_assert_double_eq(m.full_avg60, 0.1);
	ck_assert_uint_eq(m.full_us, 45);
	ck_assert(!host_memory_parse_psi("some avg10=1.50\n", &m));
	ck_assert(!host_memory_parse_psi("", &m));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("the daemon's API");
	TCase *tests = tcase_create("api");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, pagodad_tear_down);
	tcase_add_test(tests, what_is_no_request_is_answered_and_the_conversation_goes_on);
	tcase_add_test(tests, a_line_without_end_is_hung_up_on);
	tcase_add_test(tests, who_sends_and_shuts_its_end_is_answered);
	tcase_add_test(tests, the_read_only_socket_changes_nothing);
	tcase_add_test(tests, too_many_clients_are_turned_away_and_some_are_kept_for_those_who_change);
	tcase_add_test(tests, a_client_that_does_not_read_is_hung_up_on_and_others_are_served);
	tcase_add_test(tests, events_come_to_those_who_asked_for_them);
	tcase_add_test(tests, what_is_defined_is_there_after_a_kill_and_what_is_undefined_is_not);
	tcase_add_test(tests, a_damaged_file_is_set_aside_and_others_are_loaded);
	tcase_add_test(tests, a_guest_that_cannot_start_says_why);
	tcase_add_test(tests, minimums_that_do_not_fit_are_refused);
	tcase_add_test(tests, a_vmm_that_is_no_program_is_named);
	tcase_add_test(tests, a_second_daemon_is_refused_by_name);
	tcase_add_test(tests, directories_that_others_may_write_are_refused);
	tcase_add_test(tests, a_full_disk_refuses_what_is_new_and_loses_nothing);
	tcase_add_test(tests, prometheus_gets_its_text_and_nothing_else);
	tcase_add_test(tests, sockets_of_the_service_manager_are_used_and_it_is_told);
	tcase_add_test(tests, the_kernels_texts_are_understood);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
