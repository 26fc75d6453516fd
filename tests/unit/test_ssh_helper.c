/*
 * What virt-ssh-helper is made of: bytes carried both ways, ends of either way, those who do not read or go away; and which socket a URI means. With a real sshd and virsh it
 * runs in tests/native/test_virsh_remote.c.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "remote/relay.h"
#include "remote/socket_of_uri.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { SOON_MS = 10000, MUCH = 1 << 20, ALL = 300000 };

/* A relay in a process of its own: input and output are its standard ones, service is the daemon's end. */
struct relay {
	pid_t pid;
	int input, output, service;
};

static struct relay start(void)
{
	int in[2], out[2], socket[2];
	struct relay r;
	ck_assert(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket), 0);
	r = (struct relay){.pid = fork(), .input = in[1], .output = out[0], .service = socket[0]};
	ck_assert_int_ge(r.pid, 0);
	if (r.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGPIPE, SIG_IGN);
		close(in[1]);
		close(out[0]);
		close(socket[0]);
		_exit(relay_run(in[0], out[1], socket[1]) == 0 ? 0 : 1);
	}
	close(in[0]);
	close(out[1]);
	close(socket[1]);
	return r;
}

/* Expects that it ends by itself, with that status. */
static void expect_end(struct relay *r, int status)
{
	int got = -1;
	pid_t ended = 0;
	for (int i = 0; i < SOON_MS / 5 && ended == 0; i++) {
		ended = waitpid(r->pid, &got, WNOHANG);
		usleep(5000);
	}
	if (ended == 0)
		kill(r->pid, SIGKILL);
	ck_assert_int_eq(ended, r->pid);
	ck_assert_int_eq(got, status << 8);
	if (r->input >= 0)
		close(r->input);
	if (r->output >= 0)
		close(r->output);
	if (r->service >= 0)
		close(r->service);
}

static void put(int fd, const char *text)
{
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* The text, or "" for the end. */
static void expect(int fd, const char *text)
{
	char got[100];
	size_t len = 0, wanted = strlen(text);
	do {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ck_assert_int_eq(poll(&p, 1, SOON_MS), 1);
		ssize_t now = read(fd, got + len, wanted ? wanted - len : 1);
		ck_assert_int_ge(now, 0);
		len += (size_t)now;
		if (now == 0)
			break;
	} while (len < wanted);
	ck_assert_uint_eq(len, wanted);
	ck_assert(!memcmp(got, text, wanted));
}

START_TEST(bytes_go_both_ways)
{
	struct relay r = start();
	put(r.input, "question");
	expect(r.service, "question");
	put(r.service, "answer");
	expect(r.output, "answer");
	close(r.service);
	r.service = -1;
	expect(r.output, "");
	expect_end(&r, 0);
}
END_TEST

START_TEST(who_says_no_more_still_hears_all)
{
	struct relay r = start();
	put(r.input, "last question");
	close(r.input);
	r.input = -1;
	expect(r.service, "last question");
	expect(r.service, "");
	put(r.service, "late answer");
	expect(r.output, "late answer");
	close(r.service);
	r.service = -1;
	expect(r.output, "");
	expect_end(&r, 0);
}
END_TEST

START_TEST(what_the_service_said_before_it_hung_up_is_heard)
{
	struct relay r = start();
	put(r.service, "farewell");
	close(r.service);
	r.service = -1;
	/* It hears that nobody is there any more, and goes on until all is said. */
	(void)!write(r.input, "too late", 8);
	expect(r.output, "farewell");
	expect(r.output, "");
	expect_end(&r, 0);
}
END_TEST

START_TEST(it_ends_when_nobody_can_hear_it)
{
	struct relay r = start();
	put(r.input, "question");
	expect(r.service, "question");
	close(r.output);
	r.output = -1;
	/* Without a word from anybody. */
	expect_end(&r, 0);
}
END_TEST

static void fill(int fd, size_t *sent)
{
	static const char bytes[4096];
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	*sent = 0;
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	while (*sent < MUCH && poll(&p, 1, 300) == 1) {
		ssize_t now = write(fd, bytes, sizeof(bytes));
		*sent += now > 0 ? (size_t)now : 0;
	}
}

START_TEST(who_does_not_read_makes_the_sender_wait_and_not_the_other_way)
{
	struct relay r = start();
	size_t sent;
	fill(r.service, &sent);
	ck_assert_uint_lt(sent, MUCH); /* it holds no more than it says, and pipe and socket what they hold */
	ck_assert_uint_ge(sent, RELAY_BYTES);
	put(r.input, "through");
	expect(r.service, "through");
	for (size_t got = 0; got < sent;) {
		char bytes[8192];
		ssize_t now = read(r.output, bytes, sizeof(bytes));
		ck_assert_int_gt(now, 0);
		got += (size_t)now;
	}
	fill(r.input, &sent);
	ck_assert_uint_lt(sent, MUCH);
	put(r.service, "back");
	expect(r.output, "back");
	kill(r.pid, SIGKILL);
	ck_assert_int_eq(waitpid(r.pid, NULL, 0), r.pid);
	close(r.input);
	close(r.output);
	close(r.service);
}
END_TEST

/* Sends what it can of a sequence that is known, and looks at what comes of another. */
struct end {
	int fd_in, fd_out;
	size_t sent, got;
};

static uint8_t byte_at(size_t at, unsigned salt)
{
	return (uint8_t)((at * 2654435761u >> 13) + salt);
}

static void step(struct end *e, unsigned salt_out, unsigned salt_in)
{
	uint8_t bytes[9000];
	size_t len = random_below(sizeof(bytes)) + 1;
	len = len < ALL - e->sent ? len : ALL - e->sent;
	for (size_t i = 0; i < len; i++)
		bytes[i] = byte_at(e->sent + i, salt_out);
	ssize_t now = len ? write(e->fd_out, bytes, len) : 0;
	e->sent += now > 0 ? (size_t)now : 0;
	now = read(e->fd_in, bytes, random_below(sizeof(bytes)) + 1);
	for (ssize_t i = 0; i < now; i++)
		ck_assert_uint_eq(bytes[i], byte_at(e->got + (size_t)i, salt_in));
	e->got += now > 0 ? (size_t)now : 0;
}

START_TEST(all_bytes_arrive_in_their_order_in_pieces_of_any_size)
{
	struct relay r = start();
	struct end client = {.fd_in = r.output, .fd_out = r.input}, service = {.fd_in = r.service, .fd_out = r.service};
	random_start();
	ck_assert(fcntl(r.input, F_SETFL, O_NONBLOCK) == 0 && fcntl(r.output, F_SETFL, O_NONBLOCK) == 0 &&
		  fcntl(r.service, F_SETFL, O_NONBLOCK) == 0);
	for (unsigned idle = 0; (client.got < ALL || service.got < ALL) && idle < 20000;) {
		size_t before = client.got + service.got + client.sent + service.sent;
		if (random_bits() & 1)
			step(&client, 1, 2);
		else
			step(&service, 2, 1);
		if (before == client.got + service.got + client.sent + service.sent) {
			idle++;
			usleep(100);
		}
	}
	ck_assert_uint_eq(client.got, ALL);
	ck_assert_uint_eq(service.got, ALL);
	close(r.service);
	r.service = -1;
	expect_end(&r, 0);
}
END_TEST

START_TEST(a_uri_means_a_socket_or_is_refused)
{
	static const char *const wrong[] = {"",
					    "qemu",
					    "qemu:///session",
					    "qemu:///systemd",
					    "qemu://host/system",
					    "lxc:///",
					    "xen:///system",
					    "qem:///system",
					    "qemux:///system",
					    "test:///default",
					    "qemu:/system",
					    "pagoda:///guest",
					    "system",
					    "qemu:///system/x",
					    ":///system"};
	char directory[] = "/tmp/pagoda-test-XXXXXX", path[REMOTE_PATH_BYTES] = "untouched", file[100], deep[200];
	struct error err;
	ck_assert_ptr_nonnull(mkdtemp(directory));
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_msg(remote_socket_of_uri(wrong[i], directory, false, path, &err) == -ENOTSUP, "%s", wrong[i]);
	ck_assert_int_eq(remote_socket_of_uri("qemu:///system", directory, false, path, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "is pagodad running"));
	ck_assert_str_eq(path, "untouched");
	snprintf(file, sizeof(file), "%s/virtqemud-sock", directory);
	ck_assert_int_eq(close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	ck_assert_int_eq(remote_socket_of_uri("pagoda:///system", directory, false, path, &err), 0);
	ck_assert_str_eq(path, file);
	ck_assert_int_eq(remote_socket_of_uri("qemu:///system", directory, true, path, &err), -ENOENT);
	snprintf(deep, sizeof(deep), "%s/virtpagodad-sock-ro", directory);
	ck_assert_int_eq(close(open(deep, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	ck_assert_int_eq(remote_socket_of_uri("qemu:///system?mode=legacy", directory, true, path, &err), 0);
	ck_assert_str_eq(path, deep);
	ck_assert(unlink(file) == 0 && unlink(deep) == 0 && rmdir(directory) == 0);
	memset(deep, 'd', sizeof(deep));
	deep[sizeof(deep) - 1] = '\0';
	ck_assert_int_eq(remote_socket_of_uri("qemu:///system", deep, false, path, &err), -ENAMETOOLONG);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ssh helper");
	TCase *tests = tcase_create("ssh helper");
	signal(SIGPIPE, SIG_IGN);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, bytes_go_both_ways);
	tcase_add_test(tests, who_says_no_more_still_hears_all);
	tcase_add_test(tests, what_the_service_said_before_it_hung_up_is_heard);
	tcase_add_test(tests, it_ends_when_nobody_can_hear_it);
	tcase_add_test(tests, who_does_not_read_makes_the_sender_wait_and_not_the_other_way);
	tcase_add_test(tests, all_bytes_arrive_in_their_order_in_pieces_of_any_size);
	tcase_add_test(tests, a_uri_means_a_socket_or_is_refused);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
