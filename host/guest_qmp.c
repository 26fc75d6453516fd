/*
 * See guest_qmp.h. A line is an answer ("return" or "error" with our id), an event, or at the start the greeting.
 *
 *   connect --greeting--> send qmp_capabilities --its answer--> ready --end, or anything wrong--> lost --a second later--> connect
 */
#include "host/guest_qmp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container_of.h"
#include "base/unix_socket.h"

#define MOST_IN (4u << 20)
#define MOST_OUT (4u << 20)
#define MOST_QUESTIONS 128
#define READ_BYTES 65536
#define RETRY_SECONDS 1.
#define PATIENCE_SECONDS 30.
#define LOOK_SECONDS 1.

static void lose(struct guest_qmp *q, const char *why);

/* --- questions --- */

static void finish(struct guest_qmp_question *question, const json_t *result, int code, const char *why)
{
	struct error err = {.code = 0};
	if (!result)
		error_set(&err, code, "%s", why);
	question->answered(question, result, &err);
}

static void end_all(struct guest_qmp *q, const char *why)
{
	struct guest_qmp_question *question = q->first;
	q->first = NULL;
	q->last = &q->first;
	q->nr_questions = 0;
	while (question) {
		struct guest_qmp_question *next = question->next;
		finish(question, NULL, EIO, why);
		question = next;
	}
}

static struct guest_qmp_question *take_question(struct guest_qmp *q, uint64_t id)
{
	for (struct guest_qmp_question **at = &q->first; *at; at = &(*at)->next) {
		struct guest_qmp_question *question = *at;
		if (question->id != id)
			continue;
		*at = question->next;
		if (q->last == &question->next)
			q->last = at;
		q->nr_questions--;
		return question;
	}
	return NULL;
}

static void on_patience(struct ev_loop *loop, ev_timer *w, int events)
{
	struct guest_qmp *q = container_of(w, struct guest_qmp, patience);
	(void)events;
	/* They are asked in order and have equal time, so the first is the one that waits longest. */
	while (q->first && q->first->deadline <= clock_now_s())
		finish(take_question(q, q->first->id), NULL, ETIMEDOUT, "its VMM does not answer");
	if (!q->first)
		ev_timer_stop(loop, w);
}

/* --- sending --- */

/* Returns 0 or -errno. */
static int send_some(struct guest_qmp *q)
{
	ssize_t put = send(q->fd, q->out, q->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (put < 0)
		return -errno;
	memmove(q->out, q->out + put, q->out_len - (size_t)put);
	q->out_len -= (size_t)put;
	return 0;
}

static void on_writable(struct ev_loop *loop, ev_io *w, int events)
{
	struct guest_qmp *q = container_of(w, struct guest_qmp, writable);
	(void)events;
	int ret = send_some(q);
	if (ret && ret != -EAGAIN && ret != -EINTR) {
		lose(q, strerror(-ret));
		return;
	}
	if (!q->out_len)
		ev_io_stop(loop, w);
}

/* A whole line, or nothing. Returns 0, -ENOMEM or -EBUSY. */
static int send_line(struct guest_qmp *q, const char *text)
{
	size_t len = strlen(text);
	if (q->out_len + len + 1 > MOST_OUT)
		return -EBUSY;
	if (q->out_len + len + 1 > q->out_size) {
		char *more = realloc(q->out, q->out_len + len + 1 + READ_BYTES);
		if (!more)
			return -ENOMEM;
		q->out = more;
		q->out_size = q->out_len + len + 1 + READ_BYTES;
	}
	memcpy(q->out + q->out_len, text, len);
	q->out[q->out_len + len] = '\n';
	q->out_len += len + 1;
	/* Mostly it goes at once, and nobody needs to be woken. What went wrong shows when it is tried again, from the loop. */
	if (q->out_len == len + 1)
		send_some(q);
	if (q->out_len)
		ev_io_start(q->loop, &q->writable);
	return 0;
}

int guest_qmp_ask(struct guest_qmp *q, const char *command, const json_t *arguments, struct guest_qmp_question *question,
		  struct error *err)
{
	if (!q->ready)
		return error_set(err, ENOTCONN, "its VMM is not connected");
	if (q->nr_questions == MOST_QUESTIONS)
		return error_set(err, EBUSY, "too many questions wait for its VMM");
	uint64_t id = ++q->last_id;
	json_t *object = json_pack("{s:s, s:I, s:O*}", "execute", command, "id", (json_int_t)id, "arguments", arguments);
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	int ret = text ? send_line(q, text) : -ENOMEM;
	json_decref(object);
	free(text);
	if (ret)
		return error_set(err, -ret, "%s", ret == -EBUSY ? "too much waits for its VMM" : "out of memory");
	question->id = id;
	question->next = NULL;
	question->deadline = clock_now_s() + PATIENCE_SECONDS;
	*q->last = question;
	q->last = &question->next;
	q->nr_questions++;
	if (!ev_is_active(&q->patience))
		ev_timer_again(q->loop, &q->patience);
	return 0;
}

/* --- hearing --- */

static void hear_answer(struct guest_qmp *q, const json_t *message, const json_t *id)
{
	const json_t *result = json_object_get(message, "return");
	const json_t *desc = json_object_get(json_object_get(message, "error"), "desc");
	if (!json_is_integer(id))
		return;
	if (json_integer_value(id) == 0 && !q->ready) {
		if (!result) {
			lose(q, "it refuses qmp_capabilities");
			return;
		}
		q->ready = true;
		q->owner->ready(q->owner);
		return;
	}
	struct guest_qmp_question *question = take_question(q, (uint64_t)json_integer_value(id));
	if (question)
		finish(question, result, EIO, json_is_string(desc) ? json_string_value(desc) : "its VMM refuses");
}

/* Returns false when the connection is not there any more. */
static bool hear(struct guest_qmp *q, const char *line, size_t len)
{
	int fd = q->fd;
	json_t *message = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *event = json_object_get(message, "event"), *id = json_object_get(message, "id");
	if (!json_is_object(message))
		lose(q, "what it says is no JSON object");
	else if (json_object_get(message, "QMP") && send_line(q, "{\"execute\":\"qmp_capabilities\",\"id\":0}"))
		lose(q, "out of memory");
	else if (json_is_string(event))
		q->owner->event(q->owner, json_string_value(event), json_object_get(message, "data"));
	else if (id)
		hear_answer(q, message, id);
	json_decref(message);
	return q->fd == fd && fd >= 0;
}

static bool make_room(struct guest_qmp *q)
{
	if (q->in_size - q->in_len >= READ_BYTES)
		return true;
	char *more = realloc(q->in, q->in_len + READ_BYTES);
	if (!more)
		return false;
	q->in = more;
	q->in_size = q->in_len + READ_BYTES;
	return true;
}

static void on_readable(struct ev_loop *loop, ev_io *w, int events)
{
	struct guest_qmp *q = container_of(w, struct guest_qmp, readable);
	(void)loop, (void)events;
	if (!make_room(q)) {
		lose(q, "out of memory");
		return;
	}
	ssize_t got = recv(q->fd, q->in + q->in_len, READ_BYTES, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		lose(q, got == 0 ? "it has hung up" : strerror(errno));
		return;
	}
	q->in_len += (size_t)got;
	size_t start = 0;
	for (char *end; (end = memchr(q->in + start + q->scanned, '\n', q->in_len - start - q->scanned)) != NULL;) {
		size_t len = (size_t)(end - q->in) - start;
		q->scanned = 0;
		if (len > 1 && !hear(q, q->in + start, len))
			return;
		start += len + 1;
	}
	q->in_len -= start;
	memmove(q->in, q->in + start, q->in_len);
	q->scanned = q->in_len;
	if (q->in_len > MOST_IN)
		lose(q, "what it says has no end");
}

/* --- connection --- */

static void disconnect(struct guest_qmp *q)
{
	if (q->fd < 0)
		return;
	ev_io_stop(q->loop, &q->readable);
	ev_io_stop(q->loop, &q->writable);
	ev_timer_stop(q->loop, &q->patience);
	close(q->fd);
	q->fd = -1;
	q->ready = false;
	free(q->in);
	free(q->out);
	q->in = q->out = NULL;
	q->in_len = q->in_size = q->out_len = q->out_size = q->scanned = 0;
}

static void lose(struct guest_qmp *q, const char *why)
{
	char text[120];
	snprintf(text, sizeof(text), "%s", why);
	disconnect(q);
	ev_timer_again(q->loop, &q->retry);
	end_all(q, "the connection to its VMM is lost");
	if (q->path)
		q->owner->lost(q->owner, text);
}

static void on_retry(struct ev_loop *loop, ev_timer *w, int events)
{
	struct guest_qmp *q = container_of(w, struct guest_qmp, retry);
	int fd = unix_socket_connect(q->path, SOCK_NONBLOCK);
	(void)events;
	if (fd < 0)
		return; /* later */
	ev_timer_stop(loop, w);
	q->fd = fd;
	ev_io_set(&q->readable, fd, EV_READ);
	ev_io_set(&q->writable, fd, EV_WRITE);
	ev_io_start(loop, &q->readable);
}

int guest_qmp_open(struct guest_qmp *q, struct ev_loop *loop, struct guest_qmp_owner *owner, const char *path)
{
	struct sockaddr_un address;
	int ret = unix_socket_address(path, &address);
	if (ret)
		return ret;
	*q = (struct guest_qmp){.loop = loop, .owner = owner, .fd = -1};
	q->last = &q->first;
	q->path = strdup(path);
	if (!q->path)
		return -ENOMEM;
	ev_init(&q->readable, on_readable);
	ev_init(&q->writable, on_writable);
	ev_timer_init(&q->retry, on_retry, 0., RETRY_SECONDS);
	ev_timer_init(&q->patience, on_patience, 0., LOOK_SECONDS);
	/* At once, but from the loop; then once a second. */
	ev_timer_start(loop, &q->retry);
	return 0;
}

void guest_qmp_close(struct guest_qmp *q)
{
	if (!q->path)
		return;
	disconnect(q);
	ev_timer_stop(q->loop, &q->retry);
	free(q->path);
	q->path = NULL;
	end_all(q, "its VMM has ended");
}
