/* Errors with a sentence, the log, and unix sockets. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "tests/unit/suite.h"

START_TEST(an_error_holds_its_code_and_sentence)
{
	struct error err = {0};
	ck_assert_int_eq(error_set(&err, ENOENT, "%s: not there", "disk.img"), -ENOENT);
	ck_assert_int_eq(err.code, ENOENT);
	ck_assert_str_eq(err.text, "disk.img: not there");
	ck_assert_int_eq(error_prefix(&err, "-drive %d", 3), -ENOENT);
	ck_assert_str_eq(err.text, "-drive 3: disk.img: not there");
}
END_TEST

START_TEST(nobody_needs_to_ask_for_the_sentence)
{
	ck_assert_int_eq(error_set(NULL, EINVAL, "%s", "unheard"), -EINVAL);
	ck_assert_int_eq(error_prefix(NULL, "%s", "unheard"), -EIO);
}
END_TEST

START_TEST(long_sentences_are_cut_at_every_length)
{
	static char words[1000];
	for (size_t prefix = 0; prefix < 450; prefix++) {
		struct {
			struct error err;
			char guard[64];
		} it;
		memset(&it, 0x55, sizeof(it));
		memset(words, 'b', 399);
		words[399] = '\0';
		ck_assert_int_eq(error_set(&it.err, E2BIG, "%s", words), -E2BIG);
		ck_assert_uint_eq(strlen(it.err.text), 399);
		memset(words, 'a', prefix);
		words[prefix] = '\0';
		ck_assert_int_eq(error_prefix(&it.err, "%s", words), -E2BIG);
		ck_assert_uint_lt(strnlen(it.err.text, sizeof(it.err.text)), sizeof(it.err.text));
		ck_assert_uint_ge(strlen(it.err.text), 397);
		for (size_t i = 0; i < sizeof(it.guard); i++)
			ck_assert_int_eq(it.guard[i], 0x55);
	}
}
END_TEST

static int saved_stderr, pipe_fds[2];

static void catch_log(void)
{
	ck_assert_int_eq(pipe2(pipe_fds, O_NONBLOCK), 0);
	saved_stderr = dup(STDERR_FILENO);
	dup2(pipe_fds[1], STDERR_FILENO);
}

/* What was logged since. */
static const char *caught(void)
{
	static char text[65536];
	ssize_t n = read(pipe_fds[0], text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void let_go(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

START_TEST(a_message_is_a_line_under_the_name_of_the_guest)
{
	unsetenv("JOURNAL_STREAM");
	log_open("vm7", LOG_LEVEL_INFO);
	errno = ERANGE;
	log_info("%d disks", 2);
	log_debug("not asked for");
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_str_eq(caught(), "vm7: 2 disks\n");
	setenv("JOURNAL_STREAM", "1:2", 1);
	log_open("vm7", LOG_LEVEL_DEBUG);
	log_error("broken");
	log_debug("asked for");
	ck_assert_str_eq(caught(), "<3>broken\n<7>asked for\n");
	unsetenv("JOURNAL_STREAM");
}
END_TEST

START_TEST(a_long_message_is_cut_and_still_one_line)
{
	static char words[3000];
	char name[200];
	memset(words, 'x', sizeof(words) - 1);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	log_open(name, LOG_LEVEL_INFO);
	for (size_t len = 900; len < 1100; len++) {
		log_info("%.*s", (int)len, words);
		const char *text = caught();
		ck_assert_uint_le(strlen(text), 1024);
		ck_assert_uint_ge(strlen(text), 900);
		ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
	}
}
END_TEST

START_TEST(a_log_that_nobody_reads_stops_nobody)
{
	static char words[1000];
	memset(words, 'x', sizeof(words) - 1);
	log_open("vm7", LOG_LEVEL_INFO);
	ck_assert_int_eq(fcntl(pipe_fds[1], F_SETFL, 0), 0);
	errno = ERANGE;
	for (unsigned i = 0; i < 200; i++)
		log_info("%s", words);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_ptr_nonnull(strstr(caught(), words));
	log_info("heard again");
	ck_assert_ptr_nonnull(strstr(caught(), "heard again\n"));
}
END_TEST

static void *flood(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 1000; i++)
		log_guest_error("the guest did it");
	return NULL;
}

START_TEST(what_a_guest_provokes_is_logged_once_a_second)
{
	pthread_t threads[4];
	log_open("vm", LOG_LEVEL_INFO);
	for (unsigned i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, flood, NULL);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	unsigned lines = 0;
	for (const char *at = caught(); (at = strchr(at, '\n')); at++)
		lines++;
	ck_assert_uint_ge(lines, 1);
	ck_assert_uint_le(lines, 6); /* the seconds that a slow machine may take */
	/* The next one that gets through says how many did not. */
	struct log_limit limit = {0};
	unsigned skipped = 99;
	ck_assert(log_limit_pass(&limit, &skipped));
	ck_assert_uint_eq(skipped, 0);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(!log_limit_pass(&limit, &skipped));
	limit.next_ns = 0;
	ck_assert(log_limit_pass(&limit, &skipped));
	ck_assert_uint_eq(skipped, 3);
}
END_TEST

START_TEST(a_unix_socket_is_its_owners_alone_and_errors_are_told)
{
	char directory[] = "/tmp/pagoda-base-XXXXXX", path[60], too_long[200];
	struct stat st;
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/socket", directory);
	snprintf(too_long, sizeof(too_long), "%s/%0120d", directory, 0);
	ck_assert_int_eq(unix_socket_connect(path, 0), -ENOENT);
	ck_assert_int_eq(unix_socket_connect(too_long, 0), -ENAMETOOLONG);
	ck_assert_int_eq(unix_socket_listen(too_long, SOCK_STREAM, 1), -ENAMETOOLONG);
	umask(0);
	int listener = unix_socket_listen(path, SOCK_STREAM | SOCK_NONBLOCK, 1);
	ck_assert_int_ge(listener, 0);
	ck_assert_int_eq(umask(0), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(unix_socket_listen(path, SOCK_STREAM, 1), -EADDRINUSE);
	int fd = unix_socket_connect(path, SOCK_NONBLOCK);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	ck_assert_int_eq(fcntl(fd, F_GETFD) & fcntl(listener, F_GETFD), FD_CLOEXEC);
	close(fd);
	close(listener);
	ck_assert_int_eq(unix_socket_connect(path, 0), -ECONNREFUSED);
	unlink(path);
	rmdir(directory);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base");
	TCase *errors = tcase_create("errors"), *logs = tcase_create("log"), *sockets = tcase_create("unix_socket");
	tcase_add_test(errors, an_error_holds_its_code_and_sentence);
	tcase_add_test(errors, nobody_needs_to_ask_for_the_sentence);
	tcase_add_test(errors, long_sentences_are_cut_at_every_length);
	tcase_add_checked_fixture(logs, catch_log, let_go);
	tcase_add_test(logs, a_message_is_a_line_under_the_name_of_the_guest);
	tcase_add_test(logs, a_long_message_is_cut_and_still_one_line);
	tcase_add_test(logs, a_log_that_nobody_reads_stops_nobody);
	tcase_add_test(logs, what_a_guest_provokes_is_logged_once_a_second);
	suite_add_tcase(suite, errors);
	tcase_add_test(sockets, a_unix_socket_is_its_owners_alone_and_errors_are_told);
	suite_add_tcase(suite, logs);
	suite_add_tcase(suite, sockets);
	return suite_run(suite);
}
