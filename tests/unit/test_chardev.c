/* Character devices: what goes in comes out, slow peers are waited for, gone ones are noticed, and several users share a mux. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/unit/suite.h"
#include "vmm/chardev.h"

#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static struct ev_loop *loop;
static char directory[] = "/tmp/pagoda-chardev-XXXXXX";
static char path[64];
static struct error err;

struct user {
	struct chardev_user user;
	size_t room;
	char got[200000];
	size_t nr_got;
	unsigned opened, closed, writable;
	int focus; /* gained less lost */
};

static struct user *from(struct chardev_user *user)
{
	return CONTAINER_OF(user, struct user, user);
}

static size_t on_room(struct chardev_user *user)
{
	return from(user)->room;
}

static void on_receive(struct chardev_user *user, const void *data, size_t len)
{
	struct user *u = from(user);
	ck_assert_uint_gt(len, 0);
	ck_assert_uint_le(len, u->room);
	ck_assert_uint_le(u->nr_got + len, sizeof(u->got));
	memcpy(u->got + u->nr_got, data, len);
	u->nr_got += len;
	u->room -= len;
}

static void on_opened(struct chardev_user *user)
{
	from(user)->opened++;
}

static void on_closed(struct chardev_user *user)
{
	from(user)->closed++;
}

static void on_writable(struct chardev_user *user)
{
	from(user)->writable++;
}

static void on_focused(struct chardev_user *user, bool focused)
{
	from(user)->focus += focused ? 1 : -1;
}

static const struct chardev_user_ops ops = {
	.room = on_room,
	.receive = on_receive,
	.opened = on_opened,
	.closed = on_closed,
	.writable = on_writable,
	.focused = on_focused,
};

static struct user users[3];
static struct chardev *chardev;

static void set_up(void)
{
	log_open("test", LOG_LEVEL_ERROR);
	loop = ev_default_loop(0);
	ck_assert_ptr_nonnull(loop);
	ck_assert_ptr_nonnull(mkdtemp(strcpy(directory, "/tmp/pagoda-chardev-XXXXXX")));
	snprintf(path, sizeof(path), "%s/s", directory);
	memset(users, 0, sizeof(users));
	for (int i = 0; i < 3; i++)
		users[i] = (struct user){.user.ops = &ops, .room = 1000000};
	chardev = NULL;
}

static void tear_down(void)
{
	chardev_close(chardev);
	unlink(path);
	rmdir(directory);
}

static void open_chardev(const struct config_chardev *config)
{
	int ret = chardev_open(loop, config, &chardev, &err);
	ck_assert_msg(ret == 0, "%s", err.text);
}

static void attach(int i)
{
	int ret = chardev_attach(chardev, &users[i].user, &err);
	ck_assert_msg(ret == 0, "%s", err.text);
}

/* Lets the loop do what is ready, some times over. */
static void turn(void)
{
	for (int i = 0; i < 20; i++)
		ev_run(loop, EVRUN_NOWAIT);
}

static int connect_to(const char *to)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, to);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	turn();
}

static void expect_got(struct user *u, const char *text)
{
	ck_assert_uint_eq(u->nr_got, strlen(text));
	ck_assert_int_eq(memcmp(u->got, text, u->nr_got), 0);
	u->nr_got = 0;
}

static void expect_said(int fd, const char *text)
{
	char buf[4096];
	ssize_t n = read(fd, buf, sizeof(buf));
	ck_assert_int_eq(n, (ssize_t)strlen(text));
	ck_assert_int_eq(memcmp(buf, text, (size_t)n), 0);
}

static size_t put(int i, const char *text)
{
	return chardev_write(&users[i].user, text, strlen(text));
}

/* One end of a connected pair for the chardev; returns the other. */
static int open_pair(bool mux)
{
	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	struct config_chardev config = {.id = (char *)"c", .kind = CONFIG_CHARDEV_FD, .fd = fds[0], .mux = mux};
	open_chardev(&config);
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	return fds[1];
}

START_TEST(null_takes_all_and_gives_nothing)
{
	struct config_chardev config = {.id = (char *)"n", .kind = CONFIG_CHARDEV_NULL};
	open_chardev(&config);
	attach(0);
	ck_assert_uint_eq(users[0].opened, 1);
	ck_assert_uint_eq(put(0, "hello"), 5);
	ck_assert_str_eq(chardev_label(chardev), "n");
	ck_assert_str_eq(chardev_description(chardev), "null");
	ck_assert(chardev_is_open(chardev) && !chardev_is_mux(chardev));
}
END_TEST

START_TEST(a_file_is_written_anew_or_appended_to)
{
	char text[32] = "";
	for (int append = 0; append < 2; append++) {
		struct config_chardev config = {.id = (char *)"f", .kind = CONFIG_CHARDEV_FILE, .path = path, .append = append};
		open_chardev(&config);
		attach(0);
		put(0, "abc");
		chardev_close(chardev);
		chardev = NULL;
	}
	int fd = open(path, O_RDONLY);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 6);
	ck_assert_str_eq(text, "abcabc");
	close(fd);
}
END_TEST

START_TEST(what_cannot_be_opened_is_named)
{
	struct config_chardev file = {.id = (char *)"f", .kind = CONFIG_CHARDEV_FILE, .path = (char *)"/nonexistent/x"};
	ck_assert_int_eq(chardev_open(loop, &file, &chardev, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent/x"));
	struct config_chardev unix_client = {.id = (char *)"u", .kind = CONFIG_CHARDEV_UNIX, .path = path};
	ck_assert_int_eq(chardev_open(loop, &unix_client, &chardev, &err), -ENOENT);
	struct config_chardev tcp = {
		.id = (char *)"t", .kind = CONFIG_CHARDEV_TCP, .host = (char *)"127.0.0.1", .port = (char *)"1"};
	ck_assert_int_eq(chardev_open(loop, &tcp, &chardev, &err), -ECONNREFUSED);
	struct config_chardev fd = {.id = (char *)"d", .kind = CONFIG_CHARDEV_FD, .fd = 987};
	ck_assert_int_eq(chardev_open(loop, &fd, &chardev, &err), -EINVAL);
	/* A file that is in the way of a socket stays. */
	close(open(path, O_CREAT | O_WRONLY, 0600));
	struct config_chardev server = {.id = (char *)"s", .kind = CONFIG_CHARDEV_UNIX, .path = path, .server = true};
	ck_assert_int_eq(chardev_open(loop, &server, &chardev, &err), -EADDRINUSE);
	ck_assert_int_eq(access(path, F_OK), 0);
	chardev = NULL;
}
END_TEST

START_TEST(a_server_talks_to_one_client_after_another)
{
	struct config_chardev config = {.id = (char *)"s", .kind = CONFIG_CHARDEV_UNIX, .path = path, .server = true};
	open_chardev(&config);
	attach(0);
	turn();
	ck_assert_uint_eq(users[0].opened, 0);
	ck_assert_int_eq(strncmp(chardev_description(chardev), "disconnected:unix:", 18), 0);
	ck_assert_uint_eq(put(0, "lost"), 4);
	int first = connect_to(path), second = connect_to(path);
	turn();
	ck_assert_uint_eq(users[0].opened, 1);
	ck_assert_int_eq(strncmp(chardev_description(chardev), "unix:", 5), 0);
	say(first, "one");
	say(second, "two");
	expect_got(&users[0], "one");
	put(0, "hi");
	expect_said(first, "hi");
	close(first);
	turn();
	ck_assert_uint_eq(users[0].closed, 1);
	ck_assert_uint_eq(users[0].opened, 2);
	expect_got(&users[0], "two");
	put(0, "ho");
	expect_said(second, "ho");
	close(second);
	turn();
	chardev_close(chardev);
	chardev = NULL;
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

START_TEST(a_client_that_meets_a_shortage_of_descriptors_is_taken_later)
{
	struct config_chardev config = {.id = (char *)"c", .kind = CONFIG_CHARDEV_UNIX, .path = path, .server = true};
	struct rlimit before, none;
	struct timespec from, to;
	open_chardev(&config);
	attach(0);
	turn();
	int peer = connect_to(path);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	/* It stands in line all the time, and does not keep the loop busy. */
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < 4; i++)
		ev_run(loop, EVRUN_ONCE);
	clock_gettime(CLOCK_MONOTONIC, &to);
	ck_assert_int_gt((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000, 500);
	ck_assert_uint_eq(users[0].opened, 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (int i = 0; i < 10 && !users[0].opened; i++)
		ev_run(loop, EVRUN_ONCE);
	ck_assert_uint_eq(users[0].opened, 1);
	close(peer);
}
END_TEST

START_TEST(a_client_connects_and_notices_the_end)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, path);
	int listening = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(listening, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listening, 1), 0);
	struct config_chardev config = {.id = (char *)"c", .kind = CONFIG_CHARDEV_UNIX, .path = path};
	open_chardev(&config);
	attach(0);
	int peer = accept(listening, NULL, NULL);
	say(peer, "x");
	expect_got(&users[0], "x");
	close(peer);
	turn();
	ck_assert_uint_eq(users[0].closed, 1);
	ck_assert_uint_eq(put(0, "dropped"), 7);
	ck_assert(!chardev_is_open(chardev));
	close(listening);
}
END_TEST

static void *connect_later(void *arg)
{
	(void)arg;
	usleep(50000);
	return (void *)(intptr_t)connect_to(path);
}

START_TEST(a_server_that_waits_opens_with_its_client)
{
	struct config_chardev config = {.id = (char *)"s", .kind = CONFIG_CHARDEV_UNIX, .path = path, .server = true, .wait = true};
	pthread_t thread;
	void *fd;
	/* Something to connect to has to be there first: the thread comes later than bind(). */
	pthread_create(&thread, NULL, connect_later, NULL);
	open_chardev(&config);
	ck_assert(chardev_is_open(chardev));
	pthread_join(thread, &fd);
	attach(0);
	ck_assert_uint_eq(users[0].opened, 1);
	close((int)(intptr_t)fd);
}
END_TEST

START_TEST(tcp_works_like_unix_sockets)
{
	struct config_chardev config = {
		.id = (char *)"t", .kind = CONFIG_CHARDEV_TCP, .host = (char *)"127.0.0.1", .port = (char *)"0", .server = true};
	open_chardev(&config);
	attach(0);
	ck_assert_str_eq(chardev_description(chardev), "disconnected:tcp:127.0.0.1:0,server=on");
}
END_TEST

START_TEST(an_inherited_listening_socket_needs_server_on)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, path);
	int listening = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(listening, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listening, 1), 0);
	struct config_chardev config = {.id = (char *)"l", .kind = CONFIG_CHARDEV_FD, .fd = listening};
	ck_assert_int_eq(chardev_open(loop, &config, &chardev, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "server=on"));
	config.server = true;
	open_chardev(&config);
	attach(0);
	int fd = connect_to(path);
	turn();
	say(fd, "q");
	expect_got(&users[0], "q");
	close(fd);
}
END_TEST

START_TEST(input_waits_for_room)
{
	int peer = open_pair(false);
	users[0].room = 3;
	attach(0);
	say(peer, "abcdef");
	expect_got(&users[0], "abc");
	turn();
	ck_assert_uint_eq(users[0].nr_got, 0);
	users[0].room = 1;
	chardev_accept_input(&users[0].user);
	turn();
	expect_got(&users[0], "d");
	users[0].room = 100;
	chardev_accept_input_async(&users[0].user);
	turn();
	expect_got(&users[0], "ef");
	close(peer);
}
END_TEST

START_TEST(input_waits_for_a_user)
{
	int peer = open_pair(false);
	say(peer, "early");
	attach(0);
	turn();
	expect_got(&users[0], "early");
	close(peer);
}
END_TEST

START_TEST(a_slow_peer_fills_the_buffer_and_then_is_waited_for)
{
	static char block[300000], got[400000];
	int peer = open_pair(false);
	attach(0);
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (char)(i * 7 + i / 251);
	/* More than any socket buffer and our own take. */
	int small = 4096;
	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	size_t taken = 0, n;
	while (taken < sizeof(block) && (n = chardev_write(&users[0].user, block + taken, sizeof(block) - taken)) > 0)
		taken += n;
	if (taken == sizeof(block)) {
		while (chardev_write(&users[0].user, block, sizeof(block)) == sizeof(block))
			;
	}
	ck_assert_uint_eq(chardev_write(&users[0].user, "x", 1), 0);
	turn();
	ck_assert_uint_eq(users[0].writable, 0);
	size_t nr = 0;
	for (int i = 0; i < 10000 && !users[0].writable; i++) {
		ssize_t len = read(peer, got + (nr < 300000 ? nr : 0), 65536);
		if (len > 0)
			nr += nr < 300000 ? (size_t)len : 0;
		turn();
	}
	ck_assert_uint_eq(users[0].writable, 1);
	ck_assert_uint_gt(nr, 0);
	ck_assert_int_eq(memcmp(got, block, nr < sizeof(block) ? nr : sizeof(block)), 0);
	ck_assert_uint_eq(chardev_write(&users[0].user, "x", 1), 1);
	close(peer);
}
END_TEST

/* Takes what has come five times a second, until the other end is closed. */
static void *read_now_and_then(void *peer)
{
	static char got[1 << 20];
	int fd = *(int *)peer;
	ssize_t n;
	do {
		usleep(200000);
		n = read(fd, got, sizeof(got));
	} while (n > 0 || (n < 0 && errno == EAGAIN));
	return NULL;
}

START_TEST(a_peer_that_reads_now_and_then_does_not_hold_up_the_end)
{
	static char block[1 << 20];
	struct timespec from, to;
	pthread_t reader;
	int fds[2];
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_gt(fcntl(fds[1], F_SETPIPE_SZ, 4096), 0);
	char name[64];
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fds[1]);
	struct config_chardev config = {.id = (char *)"c", .kind = CONFIG_CHARDEV_FILE, .path = name};
	open_chardev(&config);
	close(fds[1]);
	attach(0);
	ck_assert_uint_lt(chardev_write(&users[0].user, block, sizeof(block)), sizeof(block));
	pthread_create(&reader, NULL, read_now_and_then, &fds[0]);
	clock_gettime(CLOCK_MONOTONIC, &from);
	chardev_close(chardev);
	clock_gettime(CLOCK_MONOTONIC, &to);
	chardev = NULL;
	/* All of the queue would take 16 turns. */
	ck_assert_int_lt((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000, 2000);
	pthread_join(reader, NULL);
	close(fds[0]);
}
END_TEST

START_TEST(a_peer_that_breaks_is_noticed_by_writing)
{
	int peer = open_pair(false);
	attach(0);
	shutdown(peer, SHUT_RDWR);
	close(peer);
	ck_assert_uint_eq(put(0, "abc"), 3);
	turn();
	ck_assert_uint_eq(users[0].closed, 1);
	ck_assert(!chardev_is_open(chardev));
}
END_TEST

START_TEST(one_user_is_all_without_mux)
{
	int peer = open_pair(false);
	attach(0);
	ck_assert_int_eq(chardev_attach(chardev, &users[1].user, &err), -EBUSY);
	chardev_detach(&users[0].user);
	ck_assert_uint_eq(put(0, "into the void"), 13);
	attach(1);
	say(peer, "a");
	expect_got(&users[1], "a");
	close(peer);
}
END_TEST

START_TEST(a_mux_gives_input_to_the_focus_and_output_from_all)
{
	int peer = open_pair(true);
	attach(0);
	attach(1);
	attach(2);
	ck_assert(users[0].opened && users[1].opened && users[0].focus == 1 && users[1].focus == 0);
	say(peer, "zero\x01"
		  "cone\x01"
		  "ctwo\x01"
		  "cback");
	ck_assert_int_eq(memcmp(users[0].got, "zeroback", 8), 0);
	expect_got(&users[1], "one");
	expect_got(&users[2], "two");
	ck_assert(users[0].focus == 1 && users[1].focus == 0 && users[2].focus == 0);
	put(0, "a");
	put(2, "b");
	expect_said(peer, "ab");
	close(peer);
}
END_TEST

START_TEST(the_escape_can_be_sent_and_explained)
{
	char help[1000] = "";
	int peer = open_pair(true);
	attach(0);
	say(peer, "a\x01\x01"
		  "b\x01"
		  "z\x01");
	say(peer, "h");
	expect_got(&users[0], "a\x01"
			      "b");
	ck_assert_int_gt(read(peer, help, sizeof(help) - 1), 0);
	ck_assert_ptr_nonnull(strstr(help, "Ctrl-A x"));
	say(peer, "\x01"
		  "c!");
	expect_got(&users[0], "!");
	close(peer);
}
END_TEST

START_TEST(the_escape_works_when_the_guest_does_not_listen)
{
	int peer = open_pair(true);
	users[0].room = 2;
	attach(0);
	attach(1);
	say(peer, "abcdef\x01"
		  "cinfo");
	expect_got(&users[0], "ab");
	expect_got(&users[1], "info");
	users[0].room = 100;
	chardev_accept_input_async(&users[0].user);
	turn();
	expect_got(&users[0], "cdef");
	close(peer);
}
END_TEST

static volatile sig_atomic_t terminated;

static void on_term(int signo)
{
	(void)signo;
	terminated = 1;
}

START_TEST(the_escape_ends_the_vmm)
{
	int peer = open_pair(true);
	attach(0);
	signal(SIGTERM, on_term);
	say(peer, "\x01x");
	ck_assert_int_eq(terminated, 1);
	signal(SIGTERM, SIG_DFL);
	close(peer);
}
END_TEST

START_TEST(a_user_that_leaves_a_mux_hands_the_focus_on)
{
	int peer = open_pair(true);
	attach(0);
	attach(1);
	chardev_detach(&users[0].user);
	say(peer, "x");
	expect_got(&users[1], "x");
	close(peer);
}
END_TEST

START_TEST(a_pty_is_there_for_whoever_opens_it)
{
	struct config_chardev config = {.id = (char *)"p", .kind = CONFIG_CHARDEV_PTY};
	open_chardev(&config);
	attach(0);
	turn();
	ck_assert_uint_eq(users[0].opened, 0);
	const char *name = strstr(chardev_description(chardev), "/dev/pts/");
	ck_assert_ptr_nonnull(name);
	for (unsigned i = 1; i <= 2; i++) {
		int fd = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
		ck_assert_int_ge(fd, 0);
		for (int n = 0; n < 200 && users[0].opened < i; n++) {
			usleep(10000);
			turn();
		}
		ck_assert_uint_eq(users[0].opened, i);
		say(fd, "k");
		for (int n = 0; n < 200 && !users[0].nr_got; n++) {
			usleep(5000);
			turn();
		}
		expect_got(&users[0], "k");
		put(0, "hello");
		usleep(10000);
		expect_said(fd, "hello");
		close(fd);
		for (int n = 0; n < 200 && users[0].closed < i; n++) {
			usleep(5000);
			turn();
		}
		ck_assert_uint_eq(users[0].closed, i);
	}
}
END_TEST

/* Standard input and output on a pty of ours; in a session of its own, whose terminal that is. */
static void use_a_terminal(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	ck_assert_int_ge(master, 0);
	ck_assert(grantpt(master) == 0 && unlockpt(master) == 0);
	setsid();
	int slave = open(ptsname(master), O_RDWR);
	ck_assert_int_ge(slave, 0);
	dup2(slave, STDIN_FILENO);
	dup2(slave, STDOUT_FILENO);
	struct termios before, meanwhile, after;
	ck_assert_int_eq(tcgetattr(slave, &before), 0);
	struct config_chardev config = {.id = (char *)"t", .kind = CONFIG_CHARDEV_STDIO};
	open_chardev(&config);
	attach(0);
	tcgetattr(slave, &meanwhile);
	ck_assert(!(meanwhile.c_lflag & (ICANON | ECHO | ISIG)));
	/* The shell's descriptor keeps blocking. */
	ck_assert_int_eq(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK, 0);
	say(master, "\x03q");
	for (int n = 0; n < 100 && users[0].nr_got < 2; n++) {
		usleep(5000);
		turn();
	}
	expect_got(&users[0], "\x03q");
	put(0, "out");
	expect_said(master, "out");
	chardev_close(chardev);
	chardev = NULL;
	tcgetattr(slave, &after);
	ck_assert_uint_eq(after.c_lflag, before.c_lflag);
	ck_assert_uint_eq(after.c_iflag, before.c_iflag);
}

/* Runs in a child, which unlike the test's own process may become a session's leader. */
static int status_of_child(void (*run)(void))
{
	int status = -1;
	pid_t child = fork();
	if (child == 0) {
		ev_loop_fork(loop);
		run();
		_exit(0);
	}
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

START_TEST(a_terminal_is_raw_meanwhile_and_restored_after)
{
	ck_assert_int_eq(status_of_child(use_a_terminal), 0);
}
END_TEST

static void die_on_a_terminal(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	ck_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	setsid();
	int slave = open(ptsname(master), O_RDWR);
	dup2(slave, STDIN_FILENO);
	dup2(slave, STDOUT_FILENO);
	struct termios before, meanwhile, after;
	tcgetattr(slave, &before);
	/* A child in the foreground dies; the terminal must be as before. */
	pid_t child = fork();
	if (child == 0) {
		/* Check has a handler of its own. */
		signal(SIGTERM, SIG_DFL);
		ev_loop_fork(loop);
		struct config_chardev config = {.id = (char *)"t", .kind = CONFIG_CHARDEV_STDIO};
		open_chardev(&config);
		tcgetattr(slave, &meanwhile);
		if (meanwhile.c_lflag == before.c_lflag)
			_exit(1);
		raise(SIGTERM);
		_exit(2);
	}
	int status = 0;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	tcgetattr(slave, &after);
	ck_assert_uint_eq(after.c_lflag, before.c_lflag);
}

START_TEST(a_terminal_is_restored_when_a_signal_kills)
{
	ck_assert_int_eq(status_of_child(die_on_a_terminal), 0);
}
END_TEST

START_TEST(the_end_of_standard_input_leaves_the_output_open)
{
	int in = open("/dev/null", O_RDONLY), out[2];
	ck_assert_int_eq(pipe(out), 0);
	dup2(in, STDIN_FILENO);
	dup2(out[1], STDOUT_FILENO);
	struct config_chardev config = {.id = (char *)"t", .kind = CONFIG_CHARDEV_STDIO};
	open_chardev(&config);
	attach(0);
	turn();
	ck_assert_uint_eq(users[0].closed, 0);
	put(0, "still");
	expect_said(out[0], "still");
}
END_TEST

static _Atomic bool stop_writers;

static void *write_much(void *arg)
{
	while (!atomic_load(&stop_writers))
		chardev_write(arg, "0123456789", 10);
	return NULL;
}

START_TEST(threads_write_while_peers_come_and_go)
{
	struct config_chardev config = {.id = (char *)"s", .kind = CONFIG_CHARDEV_UNIX, .path = path, .server = true};
	pthread_t threads[2];
	char buf[65536];
	open_chardev(&config);
	attach(0);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, write_much, &users[0].user);
	for (int i = 0; i < 50; i++) {
		int fd = connect_to(path);
		for (int n = 0; n < 10; n++) {
			turn();
			ssize_t len = read(fd, buf, sizeof(buf));
			(void)len;
		}
		close(fd);
		turn();
	}
	atomic_store(&stop_writers, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_gt(users[0].opened, 10);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("chardev");
	TCase *tc = tcase_create("chardev");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, null_takes_all_and_gives_nothing);
	tcase_add_test(tc, a_file_is_written_anew_or_appended_to);
	tcase_add_test(tc, what_cannot_be_opened_is_named);
	tcase_add_test(tc, a_server_talks_to_one_client_after_another);
	tcase_add_test(tc, a_client_that_meets_a_shortage_of_descriptors_is_taken_later);
	tcase_add_test(tc, a_client_connects_and_notices_the_end);
	tcase_add_test(tc, a_server_that_waits_opens_with_its_client);
	tcase_add_test(tc, tcp_works_like_unix_sockets);
	tcase_add_test(tc, an_inherited_listening_socket_needs_server_on);
	tcase_add_test(tc, input_waits_for_room);
	tcase_add_test(tc, input_waits_for_a_user);
	tcase_add_test(tc, a_slow_peer_fills_the_buffer_and_then_is_waited_for);
	tcase_add_test(tc, a_peer_that_reads_now_and_then_does_not_hold_up_the_end);
	tcase_add_test(tc, a_peer_that_breaks_is_noticed_by_writing);
	tcase_add_test(tc, one_user_is_all_without_mux);
	tcase_add_test(tc, a_mux_gives_input_to_the_focus_and_output_from_all);
	tcase_add_test(tc, the_escape_can_be_sent_and_explained);
	tcase_add_test(tc, the_escape_works_when_the_guest_does_not_listen);
	tcase_add_test(tc, the_escape_ends_the_vmm);
	tcase_add_test(tc, a_user_that_leaves_a_mux_hands_the_focus_on);
	tcase_add_test(tc, a_pty_is_there_for_whoever_opens_it);
	tcase_add_test(tc, a_terminal_is_raw_meanwhile_and_restored_after);
	tcase_add_test(tc, a_terminal_is_restored_when_a_signal_kills);
	tcase_add_test(tc, the_end_of_standard_input_leaves_the_output_open);
	tcase_add_test(tc, threads_write_while_peers_come_and_go);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
