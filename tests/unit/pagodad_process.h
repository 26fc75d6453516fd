/* A real pagodad, started by a test: killed, started again, asked. Include it once in a test program. */
#ifndef TESTS_UNIT_PAGODAD_PROCESS_H
#define TESTS_UNIT_PAGODAD_PROCESS_H

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dedup/protocol.h"

static char pagodad_directory[64], pagodad_socket[96], pagodad_state[96], pagodad_run[96], pagodad_definitions[96],
	pagodad_logs[96];
static pid_t pagodad_pid;
/* More of its command line, for tests that need more than one option; NULL behind the last. */
static const char *pagodad_more[12];

static void pagodad_set_up(void)
{
	strcpy(pagodad_directory, "/tmp/pagodad-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(pagodad_directory));
	snprintf(pagodad_socket, sizeof(pagodad_socket), "%s/socket", pagodad_directory);
	snprintf(pagodad_state, sizeof(pagodad_state), "%s/state", pagodad_directory);
	snprintf(pagodad_run, sizeof(pagodad_run), "%s/run", pagodad_directory);
	snprintf(pagodad_definitions, sizeof(pagodad_definitions), "%s/definitions", pagodad_directory);
	snprintf(pagodad_logs, sizeof(pagodad_logs), "%s/logs", pagodad_directory);
}

static int pagodad_try(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, pagodad_socket);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* A connection; waits until the daemon listens. */
static int pagodad_connect(void)
{
	for (unsigned tries = 0; tries < 2000; tries++) {
		int fd = pagodad_try();
		if (fd >= 0)
			return fd;
		usleep(10000);
	}
	ck_abort_msg("the daemon does not listen");
	return -1;
}

static void pagodad_find(char *program, size_t size)
{
	ssize_t len = readlink("/proc/self/exe", program, size - 100);
	ck_assert_int_gt(len, 0);
	program[len] = '\0';
	for (unsigned i = 0; i < 3; i++)
		*strrchr(program, '/') = '\0';
	strcat(program, "/pagodad");
}

/* Becomes the daemon; for a child. option: one more for its command line, or NULL. */
static inline void pagodad_exec(const char *option)
{
	char program[512], options[5][128];
	pagodad_find(program, sizeof(program));
	snprintf(options[0], sizeof(options[0]), "--socket=%s", pagodad_socket);
	snprintf(options[1], sizeof(options[1]), "--state=%s", pagodad_state);
	snprintf(options[2], sizeof(options[2]), "--run=%s", pagodad_run);
	snprintf(options[3], sizeof(options[3]), "--definitions=%s", pagodad_definitions);
	snprintf(options[4], sizeof(options[4]), "--logs=%s", pagodad_logs);
	const char *words[24] = {program,    options[0],    options[1],          options[2],        options[3],
				 options[4], "--swap=none", "--pool-limit=256M", "--index-limit=8M"};
	unsigned nr = 9;
	for (unsigned i = 0; i < sizeof(pagodad_more) / sizeof(pagodad_more[0]) && pagodad_more[i]; i++)
		words[nr++] = pagodad_more[i];
	words[nr] = option;
	execv(program, (char *const *)words);
	_exit(127);
}

static inline void pagodad_start(const char *option)
{
	pagodad_pid = fork();
	ck_assert_int_ge(pagodad_pid, 0);
	if (pagodad_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pagodad_exec(option);
	}
	close(pagodad_connect());
}

/* Returns its wait status. */
static int pagodad_end(int signal)
{
	int status = 0;
	kill(pagodad_pid, signal);
	ck_assert_int_eq(waitpid(pagodad_pid, &status, 0), pagodad_pid);
	pagodad_pid = 0;
	return status;
}

static void pagodad_tear_down(void)
{
	char command[128];
	if (pagodad_pid > 0)
		pagodad_end(SIGKILL);
	snprintf(command, sizeof(command), "rm -rf %s", pagodad_directory);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
}

/* Sends and receives one message, within ten seconds. Returns its length, 0 at the connection's end. */
static inline ssize_t pagodad_ask(int fd, const void *message, size_t len, void *answer, size_t room)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	if (len && send(fd, message, len, MSG_NOSIGNAL) != (ssize_t)len)
		return 0;
	ck_assert_int_eq(poll(&p, 1, 10000), 1);
	ssize_t got = recv(fd, answer, room, 0);
	return got < 0 ? 0 : got;
}

static inline struct protocol_status pagodad_status(void)
{
	struct protocol_header question = {.type = PROTOCOL_ASK_STATUS, .number = 7};
	struct {
		struct protocol_header header;
		struct protocol_status status;
	} answer;
	int fd = pagodad_connect();
	ck_assert_int_eq(pagodad_ask(fd, &question, sizeof(question), &answer, sizeof(answer)), sizeof(answer));
	ck_assert_uint_eq(answer.header.number, 7);
	close(fd);
	return answer.status;
}

#endif
