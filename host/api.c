/*
 * See api.h. A client's life:
 *
 *   accepted --greeting--> lines are read, at most 64 requests open --end of file--> no more is read; what is open is answered --> closed
 *
 * 1. A request knows its client until that is closed; one that waits longer is answered to nobody. Neither ever points to what was freed.
 * 2. What waits to be sent is bounded: a client that does not read is closed. Closing is put off to close_lost() while one of its lines is handled.
 */
#include "host/api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container_of.h"
#include "base/log.h"
#include "base/version.h"
#include "host/door.h"

#define MOST_CLIENTS 64
#define MOST_READ_ONLY 32
#define MOST_REQUESTS 64
#define MOST_WATCHED 1024
#define MOST_OUT (4u << 20)
#define READ_BYTES 16384
#define OUT_STEP 16384
#define ACCEPT_RETRY_SECONDS 1.

struct api_client {
	struct api *api;
	struct api_client *next;
	enum api_access access;
	int fd;
	struct ucred who;
	struct api_lines in;
	char *out;
	size_t out_len, out_size;
	ev_io readable, writable;
	struct api_request *requests;
	unsigned nr_requests;
	bool ended, lost;
	bool busy; /* its lines are being handled */
	bool watching;
	json_t *watched; /* names; NULL: all */
};

static const struct api_command_table *const tables[] = {&api_guest_commands, &api_host_commands, &api_why_commands};

const struct api_command *api_command_at(size_t index)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (index < tables[i]->nr)
			return &tables[i]->commands[index];
		index -= tables[i]->nr;
	}
	return NULL;
}

/* --- clients --- */

/* It is in no list any more. */
static void free_client(struct api_client *c)
{
	struct api *api = c->api;
	api->nr_clients[c->access]--;
	for (struct api_request *r = c->requests; r; r = r->next)
		r->client = NULL;
	ev_io_stop(api->loop, &c->readable);
	ev_io_stop(api->loop, &c->writable);
	close(c->fd);
	api_lines_free(&c->in);
	json_decref(c->watched);
	free(c->out);
	free(c);
}

static void close_client(struct api_client *c)
{
	struct api_client **at = &c->api->clients;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	free_client(c);
}

/* Closes a client that is to be closed, unless its lines are being handled. */
static void settle(struct api_client *c)
{
	if (!c->busy && (c->lost || (c->ended && !c->nr_requests && !c->out_len)))
		close_client(c);
}

static void send_json(struct api_client *c, const json_t *message)
{
	char *text = c->lost ? NULL : json_dumps(message, JSON_COMPACT | JSON_REAL_PRECISION(15));
	size_t len = text ? strlen(text) : 0;
	if (!text || c->out_len + len + 1 > MOST_OUT) {
		if (!c->lost)
			log_warning("a client, process %d, does not read its answers, and is hung up on", (int)c->who.pid);
		c->lost = true;
		free(text);
		/* From the loop, not from here: whoever calls has the client in hand. */
		ev_feed_event(c->api->loop, &c->writable, EV_WRITE);
		return;
	}
	if (c->out_len + len + 1 > c->out_size) {
		char *more = realloc(c->out, c->out_len + len + 1 + OUT_STEP);
		if (!more) {
			c->lost = true;
			free(text);
			ev_feed_event(c->api->loop, &c->writable, EV_WRITE);
			return;
		}
		c->out = more;
		c->out_size = c->out_len + len + 1 + OUT_STEP;
	}
	memcpy(c->out + c->out_len, text, len);
	c->out[c->out_len + len] = '\n';
	c->out_len += len + 1;
	free(text);
	ev_io_start(c->api->loop, &c->writable);
}

static json_t *error_object(const struct error *err)
{
	/* What a file or a VMM said may be no UTF-8. */
	json_t *desc = json_string(err->text);
	return json_pack("{s:s, s:o}", "class", api_error_class(err->code), "desc", desc ? desc : json_string("(not UTF-8)"));
}

static void send_answer(struct api_client *c, const char *kind, json_t *value, json_t *id)
{
	json_t *message = json_pack("{s:o, s:O*}", kind, value, "id", id);
	if (!message)
		message = json_pack("{s:{s:s, s:s}, s:O*}", "error", "class", "Failed", "desc", "out of memory", "id", id);
	if (message)
		send_json(c, message);
	else
		c->lost = true;
	json_decref(message);
}

/* --- requests --- */

static void handle_lines(struct api_client *c);

static void finish(struct api_request *r, const char *kind, json_t *value)
{
	struct api_client *c = r->client;
	if (c) {
		send_answer(c, kind, value, r->id);
		for (struct api_request **at = &c->requests; *at; at = &(*at)->next)
			if (*at == r) {
				*at = r->next;
				break;
			}
		/* There may be lines that had to wait. */
		if (c->nr_requests-- == MOST_REQUESTS && !c->busy)
			ev_feed_event(c->api->loop, &c->readable, EV_CUSTOM);
		if (c->ended && !c->nr_requests)
			ev_io_start(c->api->loop, &c->writable);
	} else {
		json_decref(value);
	}
	json_decref(r->id);
	free(r);
}

void api_answer(struct api_request *r, json_t *result)
{
	finish(r, "return", result);
}

void api_refuse(struct api_request *r, const struct error *err)
{
	finish(r, "error", error_object(err));
}

void api_done(struct api_request *r, int ret, const struct error *err)
{
	if (ret)
		api_refuse(r, err);
	else
		api_answer(r, json_object());
}

static const struct api_command *find_command(const char *name)
{
	const struct api_command *command;
	for (size_t i = 0; (command = api_command_at(i)) != NULL; i++)
		if (!strcmp(command->name, name))
			return command;
	return NULL;
}

static int check_request(const struct api_client *c, const struct api_message *m, const struct api_command **command,
			 struct error *err)
{
	*command = find_command(m->execute);
	if (!*command)
		return error_set(err, ENOSYS, "%.60s: there is no such command; \"commands\" lists all", m->execute);
	if (c->access == API_READ_ONLY && !(*command)->read_only)
		return error_set(err, EROFS, "%s: changes something, which this socket does not allow; use %s/api", m->execute,
				 c->api->options->run);
	return api_arguments_check(m->arguments, (*command)->arguments, (*command)->nr_arguments, err);
}

static void note(const struct api_client *c, const struct api_command *command, const json_t *arguments)
{
	const char *guest = json_string_value(json_object_get(arguments, "guest"));
	if (!command->read_only)
		log_info("%s%s%.60s: asked for by user %u, process %d", command->name, guest ? " " : "", guest ? guest : "",
			 (unsigned)c->who.uid, (int)c->who.pid);
}

static void handle_line(struct api_client *c, const char *line, size_t len)
{
	struct api_message m;
	struct error err = {.code = 0};
	const struct api_command *command;
	int ret = api_message_parse(line, len, &m, &err);
	if (ret == -EINVAL)
		err.code = EBADMSG;
	if (ret == 0)
		ret = check_request(c, &m, &command, &err);
	struct api_request *r = ret ? NULL : calloc(1, sizeof(*r));
	if (ret == 0 && !r)
		ret = error_set(&err, ENOMEM, "out of memory");
	if (ret) {
		send_answer(c, "error", error_object(&err), m.id);
	} else {
		*r = (struct api_request){.api = c->api, .client = c, .next = c->requests, .id = json_incref(m.id)};
		c->requests = r;
		c->nr_requests++;
		note(c, command, m.arguments);
		command->run(r, m.arguments);
	}
	api_message_free(&m);
}

static void handle_lines(struct api_client *c)
{
	const char *line;
	size_t len;
	int more = 0;
	c->busy = true;
	while (!c->lost && c->nr_requests < MOST_REQUESTS && (more = api_lines_next(&c->in, &line, &len)) > 0)
		if (len && !(len == 1 && *line == '\r'))
			handle_line(c, line, len);
	c->busy = false;
	if (more < 0) {
		struct error err;
		error_set(&err, EBADMSG, "a line has more than %u bytes", API_MOST_LINE);
		send_answer(c, "error", error_object(&err), NULL);
		c->ended = true;
		ev_io_stop(c->api->loop, &c->readable);
	} else if (c->nr_requests >= MOST_REQUESTS) {
		ev_io_stop(c->api->loop, &c->readable);
	} else if (!c->ended && !c->lost) {
		ev_io_start(c->api->loop, &c->readable);
	}
}

static void on_readable(struct ev_loop *loop, ev_io *w, int events)
{
	struct api_client *c = container_of(w, struct api_client, readable);
	if (events & EV_READ && c->nr_requests < MOST_REQUESTS && !c->ended) {
		char *room = api_lines_room(&c->in, READ_BYTES);
		ssize_t got = room ? recv(c->fd, room, READ_BYTES, MSG_DONTWAIT) : -1;
		if (got > 0)
			api_lines_add(&c->in, (size_t)got);
		else if (got == 0)
			c->ended = true;
		else if (!room || (errno != EAGAIN && errno != EINTR))
			c->lost = true;
		if (c->ended)
			ev_io_stop(loop, w);
	}
	if (!c->lost)
		handle_lines(c);
	settle(c);
}

static void on_writable(struct ev_loop *loop, ev_io *w, int events)
{
	struct api_client *c = container_of(w, struct api_client, writable);
	(void)events;
	ssize_t put = c->out_len && !c->lost ? send(c->fd, c->out, c->out_len, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
	if (put < 0 && errno != EAGAIN && errno != EINTR)
		c->lost = true;
	if (put > 0) {
		c->out_len -= (size_t)put;
		memmove(c->out, c->out + put, c->out_len);
	}
	if (!c->out_len) {
		ev_io_stop(loop, w);
		free(c->out);
		c->out = NULL;
		c->out_size = 0;
	}
	settle(c);
}

/* --- events --- */

int api_watch(struct api_request *r, const json_t *names, bool on)
{
	struct api_client *c = r->client;
	json_t *copy = names ? json_deep_copy(names) : NULL;
	if (names && !copy)
		return -ENOMEM;
	json_decref(c->watched);
	c->watched = copy;
	c->watching = on;
	return 0;
}

static bool wants(const struct api_client *c, const json_t *data)
{
	const json_t *guest = json_object_get(data, "guest"), *name;
	size_t i;
	if (!c->watching || c->lost || c->ended)
		return false;
	if (!c->watched || !guest)
		return true;
	json_array_foreach(c->watched, i, name)
	{
		if (json_equal(name, guest))
			return true;
	}
	return false;
}

static void on_event(struct guests_listener *listener, const char *event, const json_t *data)
{
	struct api *api = container_of(listener, struct api, listener);
	json_t *message = json_pack("{s:s, s:f, s:O}", "event", event, "time", ev_time(), "data", data);
	for (struct api_client *c = api->clients; message && c; c = c->next)
		if (wants(c, data))
			send_json(c, message);
	json_decref(message);
}

/* --- accepting --- */

static void turn_away(int fd)
{
	static const char text[] =
		"{\"error\":{\"class\":\"Busy\",\"desc\":\"too many clients are connected; try again later\"}}\n";
	if (send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("a client that is one too many has gone");
	close(fd);
}

static void greet(struct api_client *c)
{
	json_t *greeting = json_pack("{s:{s:s, s:i, s:s, s:i}}", "pagoda", "version", PAGODA_VERSION, "api", API_VERSION, "access",
				     c->access == API_READ_ONLY ? "read-only" : "read-write", "pid", (int)getpid());
	if (greeting)
		send_json(c, greeting);
	else
		c->lost = true;
	json_decref(greeting);
}

static void take(struct api_door *door, int fd)
{
	struct api *api = door->api;
	socklen_t len = sizeof(struct ucred);
	unsigned all = api->nr_clients[API_READ_WRITE] + api->nr_clients[API_READ_ONLY];
	bool full = all >= MOST_CLIENTS || (door->access == API_READ_ONLY && api->nr_clients[API_READ_ONLY] >= MOST_READ_ONLY);
	struct api_client *c = full ? NULL : calloc(1, sizeof(*c));
	if (!c || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->who, &len) < 0) {
		free(c);
		turn_away(fd);
		return;
	}
	c->api = api;
	c->access = door->access;
	c->fd = fd;
	ev_io_init(&c->readable, on_readable, fd, EV_READ);
	ev_io_init(&c->writable, on_writable, fd, EV_WRITE);
	ev_io_start(api->loop, &c->readable);
	c->next = api->clients;
	api->clients = c;
	api->nr_clients[door->access]++;
	greet(c);
}

static void on_acceptable(struct ev_loop *loop, ev_io *w, int events)
{
	struct api_door *door = container_of(w, struct api_door, acceptor);
	(void)events;
	int fd = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		take(door, fd);
	} else if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
		/* Without descriptors who waits would keep the loop busy. */
		log_warning("a client cannot be accepted: %s", strerror(errno));
		ev_io_stop(loop, w);
		ev_timer_again(loop, &door->api->accept_again);
	}
}

static void on_accept_again(struct ev_loop *loop, ev_timer *w, int events)
{
	struct api *api = container_of(w, struct api, accept_again);
	(void)events;
	ev_timer_stop(loop, w);
	for (int i = 0; i < 2; i++)
		ev_io_start(loop, &api->doors[i].acceptor);
}

/* --- life --- */

static int open_door(struct api_door *door, const char *name, struct error *err)
{
	const struct host_options *options = door->api->options;
	bool for_group = door->access == API_READ_WRITE && options->group;
	if (asprintf(&door->path, "%s/%s", options->run, name) < 0) {
		door->path = NULL;
		return error_set(err, ENOMEM, "out of memory");
	}
	/* What a daemon before has left there may go: that it is gone, the lock says. */
	int fd = door_open("--run", door->path,
			   door->access == API_READ_ONLY ? 0666
			   : for_group                   ? 0660
							 : 0600,
			   for_group ? options->group : NULL, err);
	if (fd < 0)
		return fd;
	door->fd = fd;
	return 0;
}

int api_create(struct ev_loop *loop, const struct host_options *options, struct guests *guests, struct dedup_server *dedup,
	       const int inherited[2], struct api *api, struct error *err)
{
	static const char *const names[] = {"api", "api-ro"};
	int ret = 0;
	*api = (struct api){.loop = loop, .options = options, .guests = guests, .dedup = dedup, .started = clock_now_s()};
	ev_timer_init(&api->accept_again, on_accept_again, 0., ACCEPT_RETRY_SECONDS);
	api->listener.event = on_event;
	for (int i = 0; i < 2; i++)
		api->doors[i] = (struct api_door){.api = api, .access = (enum api_access)i, .fd = inherited[i]};
	for (int i = 0; ret == 0 && i < 2; i++) {
		struct api_door *door = &api->doors[i];
		if (door->fd < 0)
			ret = open_door(door, names[i], err);
		if (ret)
			break;
		ev_io_init(&door->acceptor, on_acceptable, door->fd, EV_READ);
		ev_io_start(loop, &door->acceptor);
	}
	if (ret) {
		api_destroy(api);
		return ret;
	}
	guests_listen(guests, &api->listener);
	return 0;
}

void api_destroy(struct api *api)
{
	if (!api->loop)
		return;
	while (api->clients) {
		struct api_client *c = api->clients;
		api->clients = c->next;
		free_client(c);
	}
	ev_timer_stop(api->loop, &api->accept_again);
	for (int i = 0; i < 2; i++) {
		struct api_door *door = &api->doors[i];
		if (door->fd >= 0) {
			ev_io_stop(api->loop, &door->acceptor);
			close(door->fd);
		}
		if (door->path)
			unlink(door->path);
		free(door->path);
	}
	api->loop = NULL;
}
