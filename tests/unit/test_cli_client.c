/* The CLI's connection beside a server that does what a daemon must not: it may belong to anybody. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/client.h"
#include "tests/unit/suite.h"

#define GREETING "{\"pagoda\": {\"version\": \"0.1\", \"api\": 1, \"access\": \"read-write\"}}\n"

static char directory[64], path[100];
static struct client *client;
static struct error err;
static json_t *result;
static int listener;
static pthread_t server;

/* What the server does: says something, reads a line, says the next, ... and hangs up. */
static const char *sayings[5];
static char heard[4096];

static void say(int fd, const char *text)
{
	for (size_t len = strlen(text); len;) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

static void *serve(void *arg)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	(void)arg;
	for (const char **next = sayings; fd >= 0 && *next; next++) {
		if (next != sayings) {
			size_t len = 0;
			while (len < sizeof(heard) - 1 && recv(fd, heard + len, 1, 0) == 1 && heard[len] != '\n')
				len++;
			heard[len] = '\0';
		}
		say(fd, *next);
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

static void set_up(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(directory, "/tmp/pagoda-client-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/api", directory);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listener, 4), 0);
	client = NULL;
	result = NULL;
	err = (struct error){0};
}

static void tear_down(void)
{
	client_close(client);
	json_decref(result);
	close(listener);
	pthread_join(server, NULL);
	unlink(path);
	rmdir(directory);
}

static int open_beside(const char *const *what)
{
	for (unsigned i = 0; i < 5 && (i == 0 || sayings[i - 1]); i++)
		sayings[i] = what[i];
	ck_assert_int_eq(pthread_create(&server, NULL, serve, NULL), 0);
	return client_open(path, &client, &err);
}

#define SAYS(...) ((const char *const[]){__VA_ARGS__, NULL})

START_TEST(answers_come_with_their_questions)
{
	ck_assert_int_eq(
		open_beside(SAYS(GREETING,
				 "{\"event\": \"e\", \"data\": {}}\n{\"return\": 5, \"id\": 99}\n{\"return\": [1], \"id\": 1}\n")),
		0);
	ck_assert(client_may_write(client));
	ck_assert_int_eq(client_ask(client, "list", json_pack("{s:s}", "a", "b"), &result, &err), 0);
	ck_assert(json_is_array(result));
	json_t *event = NULL;
	ck_assert_int_eq(client_event(client, 0, &event, &err), 0);
	ck_assert_str_eq(json_string_value(json_object_get(event, "event")), "e");
	json_decref(event);
	ck_assert_ptr_nonnull(strstr(heard, "\"execute\":\"list\""));
	ck_assert_ptr_nonnull(strstr(heard, "\"arguments\":{\"a\":\"b\"}"));
}
END_TEST

START_TEST(what_the_daemon_refuses_is_said_in_its_words)
{
	ck_assert_int_eq(
		open_beside(
			SAYS(GREETING,
			     "{\"error\": {\"class\": \"NotFound\", \"desc\": \"web2: there is no such guest\"}, \"id\": 1}\n")),
		0);
	ck_assert_int_eq(client_ask(client, "show", NULL, &result, &err), -EREMOTE);
	ck_assert_str_eq(err.text, "web2: there is no such guest");
	ck_assert_str_eq(client_error_class(client), "NotFound");
}
END_TEST

START_TEST(errors_without_words_are_errors)
{
	ck_assert_int_eq(open_beside(SAYS(GREETING, "{\"id\": 1}\n", "{\"error\": 7, \"id\": 2}\n")), 0);
	ck_assert_int_eq(client_ask(client, "a", NULL, &result, &err), -EREMOTE);
	ck_assert_int_eq(client_ask(client, "b", NULL, &result, &err), -EREMOTE);
	ck_assert_str_eq(client_error_class(client), "Failed");
}
END_TEST

START_TEST(a_daemon_that_hangs_up_is_noticed)
{
	ck_assert_int_eq(open_beside(SAYS(GREETING, "")), 0);
	ck_assert_int_eq(client_ask(client, "list", NULL, &result, &err), -ECONNRESET);
	ck_assert_ptr_nonnull(strstr(err.text, "hung up"));
	/* and once more, on a connection that is over */
	ck_assert_int_lt(client_ask(client, "list", NULL, &result, &err), 0);
}
END_TEST

START_TEST(what_is_no_json_ends_the_connection)
{
	ck_assert_int_eq(open_beside(SAYS(GREETING, "{\"return\": \n")), 0);
	ck_assert_int_eq(client_ask(client, "list", NULL, &result, &err), -EPROTO);
}
END_TEST

static const struct {
	const char *says;
	int error;
	const char *part;
} greetings[] = {
	{"", ECONNRESET, "hung up"},
	{"hello\n", EPROTO, "connection"},
	{"[]\n", EPROTO, "connection"},
	{"{}\n", EPROTO, "not pagodad"},
	{"{\"pagoda\": {\"api\": 2, \"access\": \"read-only\"}}\n", EPROTO, "upgrade"},
	{"{\"pagoda\": {\"api\": \"1\", \"access\": 3}}\n", EPROTO, "not pagodad"},
	{"{\"error\": {\"class\": \"Busy\", \"desc\": \"64 clients are connected\"}}\n", EBUSY, "64 clients"},
	{"{\"QMP\": {}}\n", EPROTO, "not pagodad"},
};

START_TEST(a_greeting_that_is_none_is_refused)
{
	ck_assert_int_eq(open_beside(SAYS(greetings[_i].says)), -greetings[_i].error);
	ck_assert_msg(strstr(err.text, greetings[_i].part), "%s", err.text);
	client = NULL;
}
END_TEST

START_TEST(long_answers_are_read_whole)
{
	enum { LEN = 3000000 };
	static char text[LEN + 100];
	strcpy(text, "{\"id\": 1, \"return\": \"");
	size_t len = strlen(text);
	memset(text + len, 'x', LEN);
	strcpy(text + len + LEN, "\"}\n");
	ck_assert_int_eq(open_beside(SAYS(GREETING, text)), 0);
	ck_assert_int_eq(client_ask(client, "log", NULL, &result, &err), 0);
	ck_assert_uint_eq(json_string_length(result), LEN);
}
END_TEST

START_TEST(without_a_daemon_the_error_says_what_to_do)
{
	ck_assert_int_eq(client_open("/no/such/socket", &client, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "systemctl start pagodad"));
	char lengthy[300];
	memset(lengthy, 'x', sizeof(lengthy));
	lengthy[299] = '\0';
	ck_assert_int_eq(client_open(lengthy, &client, &err), -ENAMETOOLONG);
	client = NULL;
	/* for tear_down */
	ck_assert_int_eq(open_beside(SAYS(GREETING)), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cli_client");
	TCase *tests = tcase_create("client");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, answers_come_with_their_questions);
	tcase_add_test(tests, what_the_daemon_refuses_is_said_in_its_words);
	tcase_add_test(tests, errors_without_words_are_errors);
	tcase_add_test(tests, a_daemon_that_hangs_up_is_noticed);
	tcase_add_test(tests, what_is_no_json_ends_the_connection);
	tcase_add_loop_test(tests, a_greeting_that_is_none_is_refused, 0, sizeof(greetings) / sizeof(greetings[0]));
	tcase_add_test(tests, long_answers_are_read_whole);
	tcase_add_test(tests, without_a_daemon_the_error_says_what_to_do);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
