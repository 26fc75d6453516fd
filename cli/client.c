/* See client.h. */
#include "cli/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/unix_socket.h"

enum {
	GREETING_MS = 10000,
	API_VERSION = 1,
	MOST_EVENTS = 10000, /* that are kept while an answer is awaited; the oldest goes first */
};

struct client {
	int fd;
	bool may_write;
	long long next_id;
	char error_class[40];
	json_t *events; /* that came early */
	char *buffer;
	size_t len, room, searched; /* bytes that were read; of those, bytes in which there is no end of a line */
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
};

static int lost(struct client *c, int code, struct error *err)
{
	return error_set(err, code, "the connection to pagodad at %s is over: %s", c->path,
			 code == ECONNRESET ? "it hung up; its log says why (journalctl -u pagodad)" : strerror(code));
}

static int make_room(struct client *c)
{
	size_t room = c->room ? c->room * 2 : 1 << 16;
	if (c->len < c->room)
		return 0;
	if (room > CLIENT_MOST_LINE)
		return -EMSGSIZE;
	char *more = realloc(c->buffer, room);
	if (!more)
		return -ENOMEM;
	c->buffer = more;
	c->room = room;
	return 0;
}

/* A whole line of what was read, parsed. 0: there is none yet. */
static int take_line(struct client *c, json_t **message)
{
	char *end = c->len > c->searched ? memchr(c->buffer + c->searched, '\n', c->len - c->searched) : NULL;
	c->searched = c->len;
	if (!end)
		return 0;
	size_t line = (size_t)(end - c->buffer);
	*message = json_loadb(c->buffer, line, JSON_REJECT_DUPLICATES, NULL);
	c->len -= line + 1;
	memmove(c->buffer, end + 1, c->len);
	c->searched = 0;
	if (!json_is_object(*message)) {
		json_decref(*message);
		return -EPROTO;
	}
	return 1;
}

/* The next message. Returns 1, 0: none in time, or -errno. */
static int receive(struct client *c, int timeout_ms, json_t **message)
{
	long long end = (long long)clock_now_ms() + timeout_ms;
	for (;;) {
		int ret = take_line(c, message);
		if (ret)
			return ret;
		if ((ret = make_room(c)) < 0)
			return ret;
		long long left = timeout_ms < 0 ? -1 : end - (long long)clock_now_ms();
		struct pollfd fd = {.fd = c->fd, .events = POLLIN};
		ret = poll(&fd, 1, timeout_ms < 0 ? -1 : left > 0 ? (int)left : 0);
		if (ret < 0 && errno != EINTR)
			return -errno;
		if (ret == 0 || (ret < 0 && timeout_ms >= 0))
			return 0;
		if (ret < 0)
			continue;
		ssize_t got = recv(c->fd, c->buffer + c->len, c->room - c->len, 0);
		if (got == 0)
			return -ECONNRESET;
		if (got < 0 && errno != EINTR)
			return -errno;
		c->len += got > 0 ? (size_t)got : 0;
	}
}

static int greet(struct client *c, struct error *err)
{
	json_t *message = NULL;
	int ret = receive(c, GREETING_MS, &message);
	if (ret < 0)
		return lost(c, -ret, err);
	if (ret == 0)
		return error_set(err, ETIMEDOUT,
				 "pagodad at %s does not answer; is it stopped or busy? See systemctl status pagodad", c->path);
	const json_t *greeting = json_object_get(message, "pagoda"), *refusal = json_object_get(message, "error");
	const char *access = json_string_value(json_object_get(greeting, "access"));
	long long api = json_integer_value(json_object_get(greeting, "api"));
	ret = 0;
	if (refusal) {
		const char *desc = json_string_value(json_object_get(refusal, "desc"));
		ret = error_set(err, EBUSY, "pagodad at %s: %s", c->path, desc ? desc : "it refuses");
	} else if (!access || api < 1) {
		ret = error_set(err, EPROTO, "what listens at %s is not pagodad's API", c->path);
	} else if (api > API_VERSION) {
		ret = error_set(err, EPROTO, "pagodad at %s speaks version %lld of its API, and this program only %d: upgrade it",
				c->path, api, API_VERSION);
	} else {
		c->may_write = !strcmp(access, "read-write");
	}
	json_decref(message);
	return ret;
}

static int refused(const char *socket, int code, struct error *err)
{
	if (code == ENOENT || code == ECONNREFUSED)
		return error_set(err, code,
				 "no pagodad at %s: %s; start it (systemctl start pagodad), or name its socket with --socket",
				 socket, strerror(code));
	if (code == EACCES || code == EPERM)
		return error_set(err, code, "pagodad at %s: %s; be root, or in the group that pagodad was given with --group",
				 socket, strerror(code));
	if (code == ENAMETOOLONG)
		return error_set(err, code, "the socket's path %s is too long", socket);
	return error_set(err, code, "pagodad at %s: %s", socket, strerror(code));
}

int client_open(const char *socket_path, struct client **client, struct error *err)
{
	struct client *c = calloc(1, sizeof(*c));
	if (!c || !(c->events = json_array())) {
		free(c);
		return error_set(err, ENOMEM, "out of memory");
	}
	snprintf(c->path, sizeof(c->path), "%s", socket_path);
	c->fd = unix_socket_connect(socket_path, 0);
	int ret = c->fd < 0 ? refused(socket_path, -c->fd, err) : greet(c, err);
	if (ret)
		client_close(c);
	else
		*client = c;
	return ret;
}

void client_close(struct client *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	json_decref(c->events);
	free(c->buffer);
	free(c);
}

int client_fd(const struct client *c)
{
	return c->fd;
}

bool client_may_write(const struct client *c)
{
	return c->may_write;
}

const char *client_error_class(const struct client *c)
{
	return c->error_class;
}

static int send_all(struct client *c, const char *text, size_t len)
{
	for (size_t sent = 0; sent < len;) {
		ssize_t n = send(c->fd, text + sent, len - sent, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return -errno;
		sent += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static void keep_event(struct client *c, json_t *event)
{
	if (json_array_size(c->events) >= MOST_EVENTS)
		json_array_remove(c->events, 0);
	json_array_append_new(c->events, event);
}

/* What answers the request, or -errno. */
static int await_answer(struct client *c, long long id, json_t **answer)
{
	for (;;) {
		int ret = receive(c, -1, answer);
		if (ret < 0)
			return ret;
		if (json_object_get(*answer, "event")) {
			keep_event(c, *answer);
			continue;
		}
		const json_t *of = json_object_get(*answer, "id");
		/* A request that the daemon could not read has no number. */
		if (!of || json_integer_value(of) == id)
			return 0;
		json_decref(*answer);
	}
}

int client_ask(struct client *c, const char *command, json_t *arguments, json_t **result, struct error *err)
{
	long long id = ++c->next_id;
	json_t *answer = NULL, *request = json_pack("{s:s, s:I}", "execute", command, "id", (json_int_t)id);
	*c->error_class = '\0';
	if (request && arguments && json_object_set(request, "arguments", arguments) != 0) {
		json_decref(request);
		request = NULL;
	}
	json_decref(arguments);
	char *line = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_decref(request);
	if (!line)
		return error_set(err, ENOMEM, "out of memory");
	size_t len = strlen(line);
	line[len] = '\n'; /* in the place of its end: the length is known */
	int ret = send_all(c, line, len + 1);
	free(line);
	if (ret == 0)
		ret = await_answer(c, id, &answer);
	if (ret)
		return lost(c, -ret, err);
	const json_t *refusal = json_object_get(answer, "error");
	json_t *value = json_object_get(answer, "return");
	if (value) {
		*result = json_incref(value);
	} else {
		const char *class = json_string_value(json_object_get(refusal, "class"));
		const char *desc = json_string_value(json_object_get(refusal, "desc"));
		snprintf(c->error_class, sizeof(c->error_class), "%s", class ? class : "Failed");
		ret = error_set(err, EREMOTE, "%s", desc ? desc : "pagodad says no, and not why");
	}
	json_decref(answer);
	return ret;
}

int client_event(struct client *c, int timeout_ms, json_t **event, struct error *err)
{
	*event = NULL;
	if (json_array_size(c->events)) {
		*event = json_incref(json_array_get(c->events, 0));
		json_array_remove(c->events, 0);
		return 0;
	}
	json_t *message = NULL;
	int ret = receive(c, timeout_ms, &message);
	if (ret < 0)
		return lost(c, -ret, err);
	if (ret && json_object_get(message, "event"))
		*event = message;
	else if (ret)
		json_decref(message);
	return 0;
}
