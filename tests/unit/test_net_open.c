/* What a -netdev names, opened or refused; and the program behind user networking. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "vmm/net_open.h"
#include "vmm/net_user.h"

static const char *forward(const char *hostfwd, char *option)
{
	static char argument[40];
	struct error err = {0};
	int ret = net_user_forward(hostfwd, option, argument, sizeof(argument), &err);
	if (ret) {
		ck_assert_int_eq(ret, -EINVAL);
		ck_assert_ptr_nonnull(strstr(err.text, hostfwd));
		return NULL;
	}
	return argument;
}

START_TEST(forwarded_ports_are_translated_for_passt)
{
	char option;
	ck_assert_str_eq(forward("tcp::2222-:22", &option), "2222:22");
	ck_assert_int_eq(option, 't');
	ck_assert_str_eq(forward("udp:127.0.0.1:5353-10.0.2.15:53", &option), "127.0.0.1/5353:53");
	ck_assert_int_eq(option, 'u');
	ck_assert_str_eq(forward("::65535-:1", &option), "65535:1");
	ck_assert_int_eq(option, 't');
}
END_TEST

START_TEST(bad_forwarded_ports_are_refused)
{
	static const char *const bad[] = {
		"",
		":",
		"tcp",
		"tcp:",
		"tcp::",
		"tcp::22",
		"tcp::22-22",
		"tcp::22-:",
		"tcp::-:22",
		"tcp::0-:22",
		"tcp::65536-:22",
		"tcp::22-:123456",
		"tcp::2 2-:22",
		"sctp::22-:22",
		"tcp:localhost:22-:22",
		"tcp:1.2.3.4.5:22-:22",
		"tcp:111.111.111.1111111111111111111:22-:22",
		"tcp::22-10.0.2.16:22",
		"tcp::22-:22,x",
	};
	char option;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!forward(bad[i], &option), "%s was taken", bad[i]);
}
END_TEST

START_TEST(a_missing_passt_is_named_with_the_package_to_install)
{
	struct config_nic nic = {.id = (char *)"n0", .kind = CONFIG_NET_USER};
	struct net_backend *backend;
	struct error err = {0};
	setenv("PATH", "/nonexistent", 1);
	ck_assert_int_eq(net_open(&nic, &backend, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "apt install passt"));
	ck_assert_ptr_nonnull(strstr(err.text, "n0"));
}
END_TEST

/* A stand-in for passt, so that its failures can be had at will. */
static void install_fake(char *dir, const char *script)
{
	char path[100];
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/passt", dir);
	FILE *f = fopen(path, "w");
	fprintf(f, "#!/bin/sh\n%s\n", script);
	fclose(f);
	chmod(path, 0755);
	setenv("PATH", dir, 1);
}

static void remove_fake(const char *dir)
{
	char path[100];
	snprintf(path, sizeof(path), "%s/passt", dir);
	unlink(path);
	rmdir(dir);
}

START_TEST(the_reason_why_passt_failed_is_passed_on)
{
	char dir[] = "/tmp/pagoda-test-XXXXXX";
	struct config_nic nic = {.id = (char *)"n0", .kind = CONFIG_NET_USER};
	struct net_backend *backend;
	struct error err = {0};
	install_fake(
		dir,
		"echo 'Failed to send 3 bytes to syslog' >&2; echo 'the moon is full' >&2; echo 'Failed to send 9' >&2; exit 1");
	ck_assert_int_eq(net_open(&nic, &backend, &err), -EIO);
	ck_assert_ptr_nonnull(strstr(err.text, "the moon is full"));
	remove_fake(dir);
}
END_TEST

START_TEST(passt_gets_the_socket_and_the_forwarded_ports)
{
	char dir[] = "/tmp/pagoda-test-XXXXXX";
	struct config_nic nic = {.id = (char *)"n0", .kind = CONFIG_NET_USER, .nr_hostfwds = 2};
	nic.hostfwd[0] = (char *)"tcp::2222-:22";
	nic.hostfwd[1] = (char *)"udp::53-:53";
	struct error err = {0};
	char said[1000] = "";
	int fd;
	install_fake(dir, "for a; do last=$fd; [ \"$p\" = --fd ] && fd=$a; p=$a; done; eval \"echo \\\"$*\\\" >&$fd\"");
	ck_assert_msg(net_user_start(&nic, &fd, &err) == 0, "%s", err.text);
	ck_assert_int_gt(read(fd, said, sizeof(said) - 1), 0);
	ck_assert_ptr_nonnull(strstr(said, "--tcp-ports 2222:22 --udp-ports 53:53"));
	ck_assert_ptr_nonnull(strstr(said, "--address 10.0.2.15"));
	/* Its end was the only other one: nothing of ours keeps it open. */
	ck_assert_int_eq(read(fd, said, sizeof(said)), 0);
	close(fd);
	remove_fake(dir);
}
END_TEST

START_TEST(a_tap_that_is_none_is_refused_by_name)
{
	struct config_nic nic = {.id = (char *)"n0", .kind = CONFIG_NET_TAP, .fd = STDIN_FILENO};
	struct net_backend *backend;
	struct error err = {0};
	ck_assert_int_eq(net_open(&nic, &backend, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "-netdev n0: descriptor 0"));
	nic.ifname = (char *)"a-name-that-is-too-long";
	ck_assert_int_eq(net_open(&nic, &backend, &err), -EINVAL);
	nic.vhost = true;
	ck_assert_int_eq(net_open(&nic, &backend, &err), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.text, "vhost"));
}
END_TEST

START_TEST(a_tap_is_opened_by_the_name_of_its_interface)
{
	struct config_nic nic = {.id = (char *)"n0", .kind = CONFIG_NET_TAP, .fd = -1, .ifname = (char *)"tap7"};
	struct net_backend *backend, *second;
	struct error err = {0};
	if (unshare(CLONE_NEWNET) != 0) {
		printf("skipped: a network namespace needs root\n");
		return;
	}
	ck_assert_msg(net_open(&nic, &backend, &err) == 0, "%s", err.text);
	ck_assert_str_eq(backend->name, "tap,ifname=tap7");
	ck_assert_int_eq(net_open(&nic, &second, &err), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "in use"));
	net_backend_destroy(backend);
	nic.ifname = (char *)"lo";
	ck_assert_int_eq(net_open(&nic, &backend, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "no single-queue tap"));
}
END_TEST

START_TEST(a_stream_connects_to_its_socket_or_says_why_not)
{
	char path[] = "/tmp/pagoda-test-XXXXXX";
	ck_assert_ptr_nonnull(mkdtemp(path));
	char name[100];
	snprintf(name, sizeof(name), "%s/s", path);
	struct config_nic nic = {.id = (char *)"n0", .kind = CONFIG_NET_STREAM, .path = name};
	struct net_backend *backend;
	struct error err = {0};
	ck_assert_int_eq(net_open(&nic, &backend, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, name));
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", name);
	int server = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(server, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(server, 1), 0);
	ck_assert_msg(net_open(&nic, &backend, &err) == 0, "%s", err.text);
	net_backend_destroy(backend);
	close(server);
	unlink(name);
	rmdir(path);
}
END_TEST

/* Asks who has 10.0.2.2, as a guest would. */
static bool answers_arp(struct net_backend *b)
{
	static const uint8_t request[42] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 6, 0, 1, 8, 0,  6, 4, 0,
		1,    0x52, 0x54, 0,    0x12, 0x34, 0x56, 10,   0, 2,    15,   0,    0, 0, 0, 0, 0, 10, 0, 2, 2,
	};
	uint8_t header[12] = {0};
	uint8_t reply[2000];
	struct iovec out[2] = {{header, 12}, {(void *)(uintptr_t)request, sizeof(request)}};
	struct iovec in[2] = {{header, 12}, {reply, sizeof(reply)}};
	ck_assert_int_eq(b->ops->send(b, out, 2), 0);
	ck_assert_int_eq(b->ops->flush(b), 0);
	for (unsigned i = 0; i < 100; i++) {
		struct pollfd pfd = {.fd = b->fd, .events = POLLIN};
		poll(&pfd, 1, 100);
		ssize_t len = b->ops->receive(b, in, 2);
		if (len >= 42 && reply[12] == 8 && reply[13] == 6 && reply[21] == 2 && !memcmp(reply + 28, request + 38, 4))
			return true;
		if (len < 0 && len != -EAGAIN)
			return false;
	}
	return false;
}

START_TEST(the_real_passt_starts_and_answers_for_the_host)
{
	struct config_nic nic = {.id = (char *)"n0", .kind = CONFIG_NET_USER};
	struct net_backend *backend;
	struct error err = {0};
	int ret = net_open(&nic, &backend, &err);
	if (ret == -ENOENT || ret == -ENETUNREACH) {
		printf("skipped: %s\n", err.text);
		return;
	}
	ck_assert_msg(ret == 0, "%s", err.text);
	ck_assert_str_eq(backend->name, "user (passt)");
	ck_assert(answers_arp(backend));
	net_backend_destroy(backend);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("net_open");
	TCase *c = tcase_create("open");
	tcase_set_timeout(c, 60);
	tcase_add_test(c, forwarded_ports_are_translated_for_passt);
	tcase_add_test(c, bad_forwarded_ports_are_refused);
	tcase_add_test(c, a_missing_passt_is_named_with_the_package_to_install);
	tcase_add_test(c, the_reason_why_passt_failed_is_passed_on);
	tcase_add_test(c, passt_gets_the_socket_and_the_forwarded_ports);
	tcase_add_test(c, a_tap_that_is_none_is_refused_by_name);
	tcase_add_test(c, a_tap_is_opened_by_the_name_of_its_interface);
	tcase_add_test(c, a_stream_connects_to_its_socket_or_says_why_not);
	tcase_add_test(c, the_real_passt_starts_and_answers_for_the_host);
	suite_add_tcase(s, c);
	return suite_run(s);
}
