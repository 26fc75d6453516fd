/*
 * See chardev.h. Output is written at once, from whatever thread; what the peer does not take goes to a queue of 64 KiB, which the main
 * thread empties. Input is read by the main thread when a user has room for it.
 *
 *   no peer --chardev_connect--> connected --chardev_disconnect--> no peer
 *
 * Invariants:
 *   1. out_fd, connected, broken and output change under lock only, so that a thread in chardev_write() never uses a closed descriptor.
 *   2. Users are called without the lock, on the main thread.
 *   3. The queue holds bytes only while there is a peer.
 */
#include "vmm/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container_of.h"
#include "vmm/chardev_internal.h"

#define READ_SIZE 4096
/* What is still to be sent gets that long when a chardev is closed. */
#define FLUSH_TIMEOUT_MS 300

static const char disconnected_mark[] = "disconnected:";

/* --- queue --- */

size_t chardev_queue_put(struct chardev_queue *q, const char *data, size_t len)
{
	if (len == 0)
		return 0;
	if (!q->data) {
		q->data = malloc(CHARDEV_BUFFER_SIZE);
		q->head = q->count = 0;
		if (!q->data)
			return 0;
	}
	size_t room = CHARDEV_BUFFER_SIZE - q->count, taken = len < room ? len : room;
	size_t tail = (q->head + q->count) % CHARDEV_BUFFER_SIZE, run = CHARDEV_BUFFER_SIZE - tail;
	if (run > taken)
		run = taken;
	memcpy(q->data + tail, data, run);
	memcpy(q->data, data + run, taken - run);
	q->count += taken;
	return taken;
}

size_t chardev_queue_front(const struct chardev_queue *q, const char **data)
{
	size_t run = CHARDEV_BUFFER_SIZE - q->head;
	*data = q->data + (q->data ? q->head : 0);
	return run < q->count ? run : q->count;
}

void chardev_queue_drop(struct chardev_queue *q, size_t len)
{
	q->head = (q->head + len) % CHARDEV_BUFFER_SIZE;
	q->count -= len;
	if (q->count == 0)
		chardev_queue_clear(q);
}

void chardev_queue_clear(struct chardev_queue *q)
{
	free(q->data);
	*q = (struct chardev_queue){.data = NULL};
}

/* --- output --- */

/* write(2) that raises no SIGPIPE for sockets. Returns bytes, or 0 when the peer is slow, or -errno. */
static ssize_t write_some(int fd, const char *data, size_t len)
{
	ssize_t n;
	do {
		n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == ENOTSOCK)
			n = write(fd, data, len);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	return errno == EAGAIN ? 0 : -errno;
}

/* Under lock. Returns bytes written or queued; all of them once the peer is broken. */
static size_t output(struct chardev *c, const char *data, size_t len)
{
	size_t taken = 0;
	while (c->output.count == 0 && taken < len && !c->broken) {
		ssize_t n = write_some(c->out_fd, data + taken, len - taken);
		if (n == 0)
			break;
		if (n < 0)
			c->broken = true;
		else
			taken += (size_t)n;
	}
	if (c->broken)
		return len;
	return taken + chardev_queue_put(&c->output, data + taken, len - taken);
}

static struct chardev_place *place_of(struct chardev *c, const struct chardev_user *user)
{
	for (unsigned i = 0; i < CHARDEV_MAX_USERS; i++)
		if (c->places[i].user == user)
			return &c->places[i];
	return NULL;
}

size_t chardev_write(struct chardev_user *user, const void *data, size_t len)
{
	struct chardev *c = user->chardev;
	if (!c)
		return len;
	lock_take(&c->lock);
	size_t taken = len;
	if (c->connected && c->out_fd >= 0)
		taken = output(c, data, len);
	struct chardev_place *place = taken < len ? place_of(c, user) : NULL;
	if (place)
		place->blocked = true;
	bool wake = c->broken || c->output.count > 0;
	lock_release(&c->lock);
	if (wake)
		ev_async_send(c->loop, &c->wake);
	return taken;
}

void chardev_print(struct chardev *c, const char *text)
{
	lock_take(&c->lock);
	if (c->connected && c->out_fd >= 0)
		output(c, text, strlen(text));
	lock_release(&c->lock);
	ev_async_send(c->loop, &c->wake);
}

/* Under lock: sends what is queued. */
static void flush(struct chardev *c)
{
	while (c->output.count > 0 && !c->broken) {
		const char *data;
		size_t len = chardev_queue_front(&c->output, &data);
		ssize_t n = write_some(c->out_fd, data, len);
		if (n == 0)
			break;
		if (n < 0)
			c->broken = true;
		else
			chardev_queue_drop(&c->output, (size_t)n);
	}
}

/* Calls the users who were refused, once half of the queue is free. */
static void tell_writable(struct chardev *c)
{
	for (unsigned i = 0; i < CHARDEV_MAX_USERS; i++) {
		struct chardev_place *place = &c->places[i];
		lock_take(&c->lock);
		bool tell = place->user && place->blocked && c->output.count <= CHARDEV_BUFFER_SIZE / 2;
		if (tell)
			place->blocked = false;
		lock_release(&c->lock);
		if (tell && place->user->ops->writable)
			place->user->ops->writable(place->user);
	}
}

static void on_writable(struct ev_loop *loop, ev_io *w, int revents)
{
	struct chardev *c = container_of(w, struct chardev, writer);
	(void)revents;
	lock_take(&c->lock);
	flush(c);
	bool broken = c->broken, empty = c->output.count == 0;
	lock_release(&c->lock);
	if (broken) {
		chardev_disconnect(c);
		return;
	}
	if (empty)
		ev_io_stop(loop, w);
	tell_writable(c);
}

/* Some thread left work for the main thread. */
static void on_wake(struct ev_loop *loop, ev_async *w, int revents)
{
	struct chardev *c = container_of(w, struct chardev, wake);
	(void)revents;
	lock_take(&c->lock);
	bool broken = c->broken, queued = c->output.count > 0;
	lock_release(&c->lock);
	if (broken)
		chardev_disconnect(c);
	else if (queued)
		ev_io_start(loop, &c->writer);
	else
		tell_writable(c);
	if (atomic_exchange(&c->accept_input, false)) {
		for (unsigned i = 0; c->mux && i < CHARDEV_MAX_USERS; i++)
			chardev_mux_deliver(c, &c->places[i]);
		chardev_update_reader(c);
	}
}

/* --- input --- */

/* A user without a receive function takes all, and it is dropped. */
static size_t user_room(const struct chardev_place *place)
{
	const struct chardev_user_ops *ops = place->user->ops;
	return ops->receive && ops->room ? ops->room(place->user) : READ_SIZE;
}

void chardev_update_reader(struct chardev *c)
{
	bool anybody = false;
	for (unsigned i = 0; i < CHARDEV_MAX_USERS; i++)
		anybody |= c->places[i].user != NULL;
	bool want = c->connected && c->in_fd >= 0 && !c->input_ended && anybody;
	/* A mux reads always: Ctrl-A must work when the guest does not listen. */
	if (want && !c->mux)
		want = user_room(&c->places[c->focus]) > 0;
	if (want)
		ev_io_start(c->loop, &c->reader);
	else
		ev_io_stop(c->loop, &c->reader);
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
	struct chardev *c = container_of(w, struct chardev, reader);
	struct chardev_place *place = &c->places[c->focus];
	char data[READ_SIZE];
	size_t room = sizeof(data);
	(void)revents;
	if (!c->mux)
		room = user_room(place);
	if (room == 0) {
		ev_io_stop(loop, w);
		return;
	}
	ssize_t n = read(c->in_fd, data, room < sizeof(data) ? room : sizeof(data));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		if (c->ops->ends_with_input) {
			chardev_disconnect(c);
		} else {
			c->input_ended = true;
			ev_io_stop(loop, w);
		}
		return;
	}
	if (c->mux)
		chardev_mux_input(c, data, (size_t)n);
	else if (place->user->ops->receive)
		place->user->ops->receive(place->user, data, (size_t)n);
}

void chardev_accept_input(struct chardev_user *user)
{
	struct chardev *c = user->chardev;
	if (!c)
		return;
	if (c->mux)
		chardev_mux_deliver(c, place_of(c, user));
	chardev_update_reader(c);
}

void chardev_accept_input_async(struct chardev_user *user)
{
	struct chardev *c = user->chardev;
	if (!c)
		return;
	atomic_store(&c->accept_input, true);
	ev_async_send(c->loop, &c->wake);
}

/* --- peers --- */

static void tell_opened(struct chardev *c, struct chardev_place *place)
{
	struct chardev_user *user = place->user;
	if (user->ops->opened)
		user->ops->opened(user);
	if (c->mux && user->ops->focused && place == &c->places[c->focus])
		user->ops->focused(user, true);
}

void chardev_connect(struct chardev *c, int in_fd, int out_fd)
{
	lock_take(&c->lock);
	c->out_fd = out_fd;
	c->connected = true;
	c->broken = false;
	lock_release(&c->lock);
	c->in_fd = in_fd;
	c->input_ended = false;
	c->escape = false;
	ev_io_set(&c->reader, in_fd, EV_READ);
	ev_io_set(&c->writer, out_fd, EV_WRITE);
	for (unsigned i = 0; i < CHARDEV_MAX_USERS; i++)
		if (c->places[i].user)
			tell_opened(c, &c->places[i]);
	chardev_update_reader(c);
}

/* Closes both descriptors and forgets what was queued. */
static bool drop_peer(struct chardev *c)
{
	ev_io_stop(c->loop, &c->reader);
	ev_io_stop(c->loop, &c->writer);
	lock_take(&c->lock);
	bool was = c->connected;
	int out_fd = c->out_fd;
	c->connected = false;
	c->broken = false;
	c->out_fd = -1;
	chardev_queue_clear(&c->output);
	lock_release(&c->lock);
	if (c->in_fd >= 0)
		close(c->in_fd);
	if (out_fd >= 0 && out_fd != c->in_fd)
		close(out_fd);
	c->in_fd = -1;
	for (unsigned i = 0; i < CHARDEV_MAX_USERS; i++)
		chardev_queue_clear(&c->places[i].pending);
	return was;
}

void chardev_disconnect(struct chardev *c)
{
	if (!drop_peer(c))
		return;
	for (unsigned i = 0; i < CHARDEV_MAX_USERS; i++) {
		struct chardev_user *user = c->places[i].user;
		if (user && user->ops->closed)
			user->ops->closed(user);
	}
	if (c->ops->hung_up)
		c->ops->hung_up(c);
	tell_writable(c);
}

/* --- users --- */

int chardev_attach(struct chardev *c, struct chardev_user *user, struct error *err)
{
	struct chardev_place *place = NULL;
	bool first = true;
	for (unsigned i = CHARDEV_MAX_USERS; i > 0; i--) {
		if (c->places[i - 1].user)
			first = false;
		else
			place = &c->places[i - 1];
	}
	if (!place || (!first && !c->mux))
		return error_set(err, EBUSY, "chardev \"%s\" is in use%s", c->label,
				 c->mux ? "" : "; mux=on lets several share it");
	lock_take(&c->lock);
	*place = (struct chardev_place){.user = user};
	lock_release(&c->lock);
	user->chardev = c;
	if (first)
		c->focus = (unsigned)(place - c->places);
	if (c->connected)
		tell_opened(c, place);
	chardev_update_reader(c);
	return 0;
}

void chardev_detach(struct chardev_user *user)
{
	struct chardev *c = user->chardev;
	if (!c)
		return;
	struct chardev_place *place = place_of(c, user);
	chardev_queue_clear(&place->pending);
	lock_take(&c->lock);
	*place = (struct chardev_place){.user = NULL};
	lock_release(&c->lock);
	user->chardev = NULL;
	for (unsigned i = 0; i < CHARDEV_MAX_USERS && !c->places[c->focus].user; i++)
		c->focus = i;
	chardev_update_reader(c);
}

/* --- open, close --- */

static int open_null(struct chardev *c, struct error *err)
{
	int ret = chardev_describe(c, err, "null");
	if (!ret)
		chardev_connect(c, -1, -1);
	return ret;
}

static int open_file(struct chardev *c, const struct config_chardev *config, struct error *err)
{
	/* O_NONBLOCK is for pipes and terminals under that name. */
	int fd = open(config->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (config->append ? O_APPEND : O_TRUNC),
		      0666);
	if (fd < 0)
		return error_set(err, errno, "chardev \"%s\": cannot write %.200s: %s", c->label, config->path,
				 errno == ENXIO ? "it is a pipe that nobody reads; start the reader first" : strerror(errno));
	int ret = chardev_describe(c, err, "file:%s", config->path);
	if (ret)
		close(fd);
	else
		chardev_connect(c, -1, fd);
	return ret;
}

static int open_kind(struct chardev *c, const struct config_chardev *config, struct error *err)
{
	switch (config->kind) {
	case CONFIG_CHARDEV_STDIO:
		return chardev_stdio_open(c, config, err);
	case CONFIG_CHARDEV_FILE:
		return open_file(c, config, err);
	case CONFIG_CHARDEV_PTY:
		return chardev_pty_open(c, config, err);
	case CONFIG_CHARDEV_UNIX:
	case CONFIG_CHARDEV_TCP:
	case CONFIG_CHARDEV_FD:
		return chardev_socket_open(c, config, err);
	case CONFIG_CHARDEV_NULL:
	default:
		return open_null(c, err);
	}
}

int chardev_open(struct ev_loop *loop, const struct config_chardev *config, struct chardev **chardev, struct error *err)
{
	static const struct chardev_kind_ops no_ops = {.ends_with_input = false};
	struct chardev *c = calloc(1, sizeof(*c));
	char *label = strdup(config->id ? config->id : "chardev");
	if (!c || !label) {
		free(c);
		free(label);
		return error_set(err, ENOMEM, "out of memory");
	}
	c->loop = loop;
	c->ops = &no_ops;
	c->label = label;
	c->mux = config->mux;
	c->in_fd = c->out_fd = c->listen_fd = c->pty_fd = -1;
	lock_init(&c->lock, LOCK_CHARDEV);
	ev_io_init(&c->reader, on_readable, -1, EV_READ);
	ev_io_init(&c->writer, on_writable, -1, EV_WRITE);
	ev_async_init(&c->wake, on_wake);
	ev_async_start(loop, &c->wake);
	int ret = open_kind(c, config, err);
	if (ret) {
		chardev_close(c);
		return ret;
	}
	*chardev = c;
	return 0;
}

/* A guest's last words should not be lost with the queue; but a peer that reads a little now and then does not keep us. */
static void flush_before_close(struct chardev *c)
{
	int64_t left_ms, end_ms = (int64_t)clock_now_ms() + FLUSH_TIMEOUT_MS;
	lock_take(&c->lock);
	flush(c);
	struct pollfd out = {.fd = c->out_fd, .events = POLLOUT};
	while (c->output.count > 0 && !c->broken && (left_ms = end_ms - (int64_t)clock_now_ms()) > 0 &&
	       poll(&out, 1, (int)left_ms) == 1 && !(out.revents & (POLLERR | POLLHUP)))
		flush(c);
	lock_release(&c->lock);
}

void chardev_close(struct chardev *c)
{
	if (!c)
		return;
	flush_before_close(c);
	for (unsigned i = 0; i < CHARDEV_MAX_USERS; i++)
		if (c->places[i].user)
			chardev_detach(c->places[i].user);
	drop_peer(c);
	if (c->ops->close)
		c->ops->close(c);
	ev_async_stop(c->loop, &c->wake);
	lock_fini(&c->lock);
	free(c->label);
	free(c->description);
	free(c->path);
	free(c);
}

int chardev_describe(struct chardev *c, struct error *err, const char *fmt, ...)
{
	char text[512];
	int at = snprintf(text, sizeof(text), "%s", disconnected_mark);
	va_list args;
	va_start(args, fmt);
	vsnprintf(text + at, sizeof(text) - (size_t)at, fmt, args);
	va_end(args);
	char *copy = strdup(text);
	if (!copy)
		return error_set(err, ENOMEM, "out of memory");
	free(c->description);
	c->description = copy;
	return 0;
}

const char *chardev_label(const struct chardev *c)
{
	return c->label;
}

const char *chardev_description(const struct chardev *c)
{
	return c->connected ? c->description + strlen(disconnected_mark) : c->description;
}

bool chardev_is_open(const struct chardev *c)
{
	return c->connected;
}

bool chardev_is_mux(const struct chardev *c)
{
	return c->mux;
}
