/* A client of a real pagodad's API, for tests: connects, asks, expects. Include it after pagodad_process.h, once in a test program. */
#ifndef TESTS_UNIT_API_CLIENT_H
#define TESTS_UNIT_API_CLIENT_H

#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { API_PATIENCE_MS = 30000 };

struct api_connection {
	int fd;
	char *data;
	size_t len, size;
};

/* Returns -1 when nobody listens. */
static inline int api_try(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", pagodad_run, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* The next line as JSON; NULL when the daemon has hung up. Fails the test when nothing comes in time. */
static inline json_t *api_hear(struct api_connection *c)
{
	for (;;) {
		char *end = c->len ? memchr(c->data, '\n', c->len) : NULL;
		if (end) {
			json_t *message = json_loadb(c->data, (size_t)(end - c->data), 0, NULL);
			ck_assert_msg(message != NULL, "no JSON: %.*s", (int)(end - c->data), c->data);
			c->len -= (size_t)(end - c->data) + 1;
			memmove(c->data, end + 1, c->len);
			return message;
		}
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		ck_assert_msg(poll(&p, 1, API_PATIENCE_MS) == 1, "the daemon does not answer");
		if (c->size - c->len < 65536) {
			c->size = c->len + 65536;
			c->data = realloc(c->data, c->size);
			ck_assert_ptr_nonnull(c->data);
		}
		ssize_t got = recv(c->fd, c->data + c->len, c->size - c->len, 0);
		if (got <= 0)
			return NULL;
		c->len += (size_t)got;
	}
}

static inline void api_hang_up(struct api_connection *c)
{
	close(c->fd);
	free(c->data);
	*c = (struct api_connection){.fd = -1};
}

/*
 * Waits until the daemon listens; takes the greeting. A daemon that was killed while it started a VMM is heard for a moment yet: the child has its sockets
 * until it is executed.
 */
static inline struct api_connection api_connect(const char *name)
{
	for (unsigned tries = 0; tries < 2000; tries++) {
		struct api_connection c = {.fd = api_try(name)};
		json_t *greeting = c.fd < 0 ? NULL : api_hear(&c);
		if (greeting) {
			ck_assert_ptr_nonnull(json_object_get(greeting, "pagoda"));
			json_decref(greeting);
			return c;
		}
		if (c.fd >= 0)
			api_hang_up(&c);
		usleep(10000);
	}
	ck_abort_msg("the daemon does not listen");
	return (struct api_connection){.fd = -1};
}

/* Returns false when the daemon has gone. */
static inline bool api_say(struct api_connection *c, const char *text)
{
	size_t len = strlen(text);
	while (len) {
		ssize_t put = send(c->fd, text, len, MSG_NOSIGNAL);
		if (put <= 0)
			return false;
		text += put;
		len -= (size_t)put;
	}
	return true;
}

/* A command with arguments as they stand in JSON, such as "\"guest\": \"a\"". Returns the whole answer, or NULL when the daemon has gone. */
static inline json_t *api_ask(struct api_connection *c, const char *command, const char *format, va_list values)
{
	char arguments[4096], text[4400];
	vsnprintf(arguments, sizeof(arguments), format, values);
	snprintf(text, sizeof(text), "{\"execute\": \"%s\", \"arguments\": {%s}, \"id\": \"%s\"}\n", command, arguments, command);
	if (!api_say(c, text))
		return NULL;
	for (;;) {
		json_t *answer = api_hear(c);
		if (!answer || !json_object_get(answer, "event"))
			return answer;
		json_decref(answer);
	}
}

/* What it returns. Fails the test when it is an error. */
__attribute__((format(printf, 3, 4))) static inline json_t *api_get(struct api_connection *c, const char *command,
								    const char *format, ...)
{
	va_list values;
	va_start(values, format);
	json_t *answer = api_ask(c, command, format, values);
	va_end(values);
	ck_assert_msg(answer != NULL, "%s: the daemon has hung up", command);
	json_t *result = json_incref(json_object_get(answer, "return"));
	ck_assert_msg(result != NULL, "%s: %s", command,
		      json_string_value(json_object_get(json_object_get(answer, "error"), "desc")));
	ck_assert_str_eq(json_string_value(json_object_get(answer, "id")), command);
	json_decref(answer);
	return result;
}

#define api_do(c, ...) json_decref(api_get(c, __VA_ARGS__))

/* Expects an error of that class, with that in its sentence. */
__attribute__((format(printf, 5, 6))) static inline void api_fail(struct api_connection *c, const char *class, const char *part,
								  const char *command, const char *format, ...)
{
	va_list values;
	va_start(values, format);
	json_t *answer = api_ask(c, command, format, values);
	va_end(values);
	const json_t *error = json_object_get(answer, "error");
	ck_assert_msg(error != NULL, "%s: no error", command);
	const char *desc = json_string_value(json_object_get(error, "desc"));
	ck_assert_msg(!strcmp(json_string_value(json_object_get(error, "class")), class) && strstr(desc, part), "%s: %s: %s",
		      command, json_string_value(json_object_get(error, "class")), desc);
	json_decref(answer);
}

/* The string member of "show". */
static inline void api_expect(struct api_connection *c, const char *guest, const char *member, const char *value)
{
	json_t *row = api_get(c, "show", "\"guest\": \"%s\"", guest);
	ck_assert_str_eq(json_string_value(json_object_get(row, member)), value);
	json_decref(row);
}

#endif
