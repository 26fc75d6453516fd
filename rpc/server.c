/* See server.h. */
#include "rpc/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/container_of.h"
#include "base/log.h"
#include "rpc/tls.h"

#define MOST_OUT XDR_MOST_OUT
#define FULL (256u << 10)
#define READ_BYTES RPC_TLS_RECORD_BYTES
#define WHO_BYTES (RPC_TLS_NAME_BYTES + 80)
#define ACCEPT_RETRY_SECONDS 1.
#define PING 1
#define PONG 2

struct rpc_client {
	struct rpc_server *server;
	struct rpc_client *next;
	bool read_only;           /* as it is treated */
	bool counts_as_read_only; /* as it came */
	bool outside;             /* and patience runs */
	ev_timer patience;
	int fd;
	struct rpc_tls *tls; /* NULL: bytes go as they are */
	char who[WHO_BYTES];
	struct rpc_input in;
	uint8_t *out;
	size_t out_start, out_len, out_size; /* bytes that wait are those from start to len */
	ev_io readable, writable;
	struct rpc_call *calls;
	unsigned nr_calls;
	bool lost, busy; /* busy: its messages are being handled */
	bool was_full;
};

/* --- clients --- */

/* It is in no list any more. */
static void free_client(struct rpc_client *c)
{
	struct rpc_server *s = c->server;
	c->lost = true;
	s->program->gone(c);
	for (struct rpc_call *call = c->calls; call; call = call->next)
		call->client = NULL;
	s->nr_clients--;
	s->nr_read_only -= c->counts_as_read_only;
	s->nr_outside -= c->outside;
	ev_timer_stop(s->loop, &c->patience);
	ev_io_stop(s->loop, &c->readable);
	ev_io_stop(s->loop, &c->writable);
	if (c->tls)
		rpc_tls_end(c->tls);
	close(c->fd);
	log_debug("a client of libvirt's protocol has gone: %s", c->who);
	rpc_input_free(&c->in);
	free(c->out);
	free(c);
}

static void settle(struct rpc_client *c)
{
	if (c->busy || !c->lost)
		return;
	struct rpc_client **at = &c->server->clients;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	free_client(c);
}

/* From the loop, not from here: whoever calls has the client in hand (invariant 3). */
static void lose(struct rpc_client *c)
{
	c->lost = true;
	ev_feed_event(c->server->loop, &c->writable, EV_WRITE);
}

/* Puts bytes behind those that wait. Returns false when memory is short. */
static bool append(struct rpc_client *c, const struct xdr_writer *message)
{
	size_t waiting = c->out_len - c->out_start;
	if (message->len > c->out_size - c->out_len) {
		memmove(c->out, c->out + c->out_start, waiting);
		c->out_start = 0;
		c->out_len = waiting;
	}
	if (message->len > c->out_size - c->out_len) {
		size_t size = c->out_len + message->len + c->out_len / 2;
		uint8_t *more = realloc(c->out, size);
		if (!more)
			return false;
		c->out = more;
		c->out_size = size;
	}
	memcpy(c->out + c->out_len, message->data, message->len);
	c->out_len += message->len;
	return true;
}

/* What is there is sent as it is. */
static void adopt(struct rpc_client *c, struct xdr_writer *message)
{
	free(c->out);
	c->out = message->data;
	c->out_start = 0;
	c->out_len = message->len;
	c->out_size = message->size;
	message->data = NULL;
}

/* Takes the bytes over. */
static void send_message(struct rpc_client *c, struct xdr_writer *message)
{
	size_t waiting = c->out_len - c->out_start;
	bool fits = !message->failed && message->len <= MOST_OUT - waiting;
	if (!c->lost && !fits)
		log_warning("a client of libvirt's protocol, %s, does not read, and is hung up on", c->who);
	if (fits && !c->lost && waiting)
		fits = append(c, message);
	else if (fits && !c->lost)
		adopt(c, message);
	xdr_writer_free(message);
	if (c->lost)
		return;
	if (!fits) {
		lose(c);
		return;
	}
	ev_io_start(c->server->loop, &c->writable);
	c->was_full = c->was_full || rpc_is_full(c);
}

bool rpc_is_full(const struct rpc_client *c)
{
	return c->out_len - c->out_start >= FULL;
}

void rpc_send_event(struct rpc_client *c, uint32_t procedure, struct xdr_writer *message)
{
	const struct rpc_header header = {RPC_PROGRAM, RPC_VERSION, procedure, RPC_EVENT, 0, RPC_OK};
	rpc_end(message, &header);
	send_message(c, message);
}

void rpc_send_stream(struct rpc_client *c, uint32_t procedure, uint32_t serial, enum rpc_status status, const void *data,
		     size_t len)
{
	struct xdr_writer w = {.data = NULL};
	const struct rpc_header header = {RPC_PROGRAM, RPC_VERSION, procedure, RPC_STREAM, serial, status};
	rpc_begin(&w);
	/* Its bytes are the only thing in the protocol that is not padded. */
	size_t padding = (4 - len % 4) % 4;
	xdr_put_fixed(&w, data, len);
	w.len -= w.failed ? 0 : padding;
	rpc_end(&w, &header);
	send_message(c, &w);
}

void rpc_break_stream(struct rpc_client *c, uint32_t procedure, uint32_t serial, enum rpc_error code, const char *text)
{
	struct xdr_writer w = {.data = NULL};
	const struct rpc_header header = {RPC_PROGRAM, RPC_VERSION, procedure, RPC_STREAM, serial, RPC_ERROR};
	rpc_begin(&w);
	rpc_put_error(&w, code, text);
	rpc_end(&w, &header);
	send_message(c, &w);
}

struct rpc_server *rpc_client_server(const struct rpc_client *c)
{
	return c->server;
}

bool rpc_is_read_only(const struct rpc_client *c)
{
	return c->read_only;
}

void rpc_make_read_only(struct rpc_client *c)
{
	c->read_only = true;
}

bool rpc_is_outside(const struct rpc_client *c)
{
	return c->outside;
}

void rpc_let_in(struct rpc_client *c)
{
	c->server->nr_outside -= c->outside;
	c->outside = false;
	ev_timer_stop(c->server->loop, &c->patience);
}

int rpc_client_socket(const struct rpc_client *c)
{
	return c->fd;
}

const char *rpc_client_who(const struct rpc_client *c)
{
	return c->who;
}

/* --- calls --- */

static void finish(struct rpc_call *call, enum rpc_status status)
{
	struct rpc_client *c = call->client;
	if (c) {
		const struct rpc_header header = {RPC_PROGRAM, RPC_VERSION,  call->procedure->number,
						  RPC_REPLY,   call->serial, status};
		struct rpc_call **at = &c->calls;
		while (*at != call)
			at = &(*at)->next;
		*at = call->next;
		rpc_end(&call->out, &header);
		send_message(c, &call->out);
		/* There may be messages that had to wait. */
		if (c->nr_calls-- == RPC_MOST_CALLS && !c->busy)
			ev_feed_event(c->server->loop, &c->readable, EV_CUSTOM);
	}
	xdr_writer_free(&call->out);
	free(call);
}

void rpc_answer(struct rpc_call *call)
{
	if (call->out.failed)
		rpc_refuse(call, RPC_NO_MEMORY, "the answer is too long, or memory is short");
	else
		finish(call, RPC_OK);
}

void rpc_refuse(struct rpc_call *call, enum rpc_error code, const char *text)
{
	rpc_begin(&call->out);
	rpc_put_error(&call->out, code, text);
	finish(call, RPC_ERROR);
}

/* To a message for which there is no call. */
static void refuse_message(struct rpc_client *c, const struct rpc_header *h, enum rpc_error code, const char *text)
{
	struct xdr_writer w = {.data = NULL};
	const struct rpc_header header = {h->program, h->version, h->procedure, RPC_REPLY, h->serial, RPC_ERROR};
	rpc_begin(&w);
	rpc_put_error(&w, code, text);
	rpc_end(&w, &header);
	send_message(c, &w);
}

static void begin_call(struct rpc_client *c, const struct rpc_header *h, const struct xdr_reader *payload)
{
	char text[120];
	const struct rpc_procedure *procedure = c->server->program->find(h->procedure);
	if (!procedure) {
		snprintf(text, sizeof(text), "procedure %u of libvirt's protocol is not supported", h->procedure);
		refuse_message(c, h, RPC_NO_SUPPORT, text);
		return;
	}
	if (c->outside && !procedure->outside) {
		snprintf(text, sizeof(text), "%s: who you are has not been asked yet", procedure->name);
		refuse_message(c, h, RPC_AUTH_FAILED, text);
		return;
	}
	if (c->read_only && procedure->changes) {
		snprintf(text, sizeof(text), "%s: changes something, which a read-only connection may not", procedure->name);
		refuse_message(c, h, RPC_OPERATION_DENIED, text);
		return;
	}
	struct rpc_call *call = calloc(1, c->server->program->call_bytes);
	if (!call) {
		refuse_message(c, h, RPC_NO_MEMORY, "out of memory");
		return;
	}
	*call = (struct rpc_call){
		.server = c->server, .client = c, .next = c->calls, .procedure = procedure, .serial = h->serial, .in = *payload};
	rpc_begin(&call->out);
	c->calls = call;
	c->nr_calls++;
	procedure->run(call);
}

static void answer_ping(struct rpc_client *c)
{
	struct xdr_writer w = {.data = NULL};
	const struct rpc_header header = {RPC_KEEPALIVE_PROGRAM, RPC_VERSION, PONG, RPC_EVENT, 0, RPC_OK};
	rpc_begin(&w);
	rpc_end(&w, &header);
	send_message(c, &w);
}

static void handle_message(struct rpc_client *c, const struct rpc_header *h, struct xdr_reader *payload)
{
	if (h->program == RPC_KEEPALIVE_PROGRAM && h->version == RPC_VERSION && h->type == RPC_EVENT) {
		if (h->procedure == PING)
			answer_ping(c);
	} else if (h->program != RPC_PROGRAM || h->version != RPC_VERSION) {
		refuse_message(c, h, RPC_BROKEN, "there is no such program here, or not in that version");
	} else if (h->type == RPC_CALL && h->status == RPC_OK) {
		begin_call(c, h, payload);
	} else if (h->type == RPC_STREAM && h->status <= RPC_CONTINUE && !c->outside) {
		c->server->program->stream(c, h, payload);
	} else {
		log_debug("a client of libvirt's protocol, %s, breaks its rules, and is hung up on", c->who);
		lose(c);
	}
}

static void handle_messages(struct rpc_client *c)
{
	struct rpc_header header;
	struct xdr_reader payload;
	int more = 0;
	c->busy = true;
	while (!c->lost && c->nr_calls < RPC_MOST_CALLS && (more = rpc_input_next(&c->in, &header, &payload)) > 0)
		handle_message(c, &header, &payload);
	c->busy = false;
	if (more < 0)
		c->lost = true;
	else if (c->nr_calls >= RPC_MOST_CALLS)
		ev_io_stop(c->server->loop, &c->readable);
	else if (!c->lost)
		ev_io_start(c->server->loop, &c->readable);
}

/* Bytes, 0 at the end, or -errno. */
static ssize_t receive(struct rpc_client *c, uint8_t *room, size_t size)
{
	if (c->tls)
		return rpc_tls_receive(c->tls, room, size);
	ssize_t got = recv(c->fd, room, size, MSG_DONTWAIT);
	return got < 0 ? -errno : got;
}

static ssize_t transmit(struct rpc_client *c, const uint8_t *data, size_t len)
{
	if (c->tls)
		return rpc_tls_send(c->tls, data, len);
	ssize_t put = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	return put < 0 ? -errno : put;
}

static bool is_passing(ssize_t ret)
{
	return ret == -EAGAIN || ret == -EINTR;
}

static void on_readable(struct ev_loop *loop, ev_io *w, int events)
{
	struct rpc_client *c = container_of(w, struct rpc_client, readable);
	(void)loop;
	if (events & EV_READ && c->nr_calls < RPC_MOST_CALLS && !c->lost) {
		uint8_t *room = rpc_input_room(&c->in, READ_BYTES);
		ssize_t got = room ? receive(c, room, READ_BYTES) : -ENOMEM;
		if (got > 0)
			rpc_input_add(&c->in, (size_t)got);
		else if (!is_passing(got))
			c->lost = true;
	}
	if (!c->lost)
		handle_messages(c);
	settle(c);
}

static void on_writable(struct ev_loop *loop, ev_io *w, int events)
{
	struct rpc_client *c = container_of(w, struct rpc_client, writable);
	size_t waiting = c->out_len - c->out_start;
	(void)events;
	ssize_t put = waiting && !c->lost ? transmit(c, c->out + c->out_start, waiting) : 0;
	if (put < 0 && !is_passing(put))
		c->lost = true;
	if (put > 0)
		c->out_start += (size_t)put;
	if (c->out_start == c->out_len) {
		ev_io_stop(loop, w);
		free(c->out);
		c->out = NULL;
		c->out_start = c->out_len = c->out_size = 0;
	}
	if (c->was_full && !c->lost && !rpc_is_full(c)) {
		c->was_full = false;
		c->busy = true;
		c->server->program->drained(c);
		c->busy = false;
	}
	settle(c);
}

/* --- doors --- */

static void on_patience(struct ev_loop *loop, ev_timer *w, int events)
{
	struct rpc_client *c = container_of(w, struct rpc_client, patience);
	(void)loop, (void)events;
	c->lost = true;
	settle(c);
}

/* Whoever there is room for. Otherwise returns -errno and leaves fd alone. */
static int admit(struct rpc_server *s, int fd, enum rpc_access access, struct rpc_client **client)
{
	bool read_only = access == RPC_READ_ONLY;
	if (s->nr_clients >= RPC_MOST_CLIENTS || (read_only && s->nr_read_only >= RPC_MOST_READ_ONLY))
		return -EBUSY;
	struct rpc_client *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->server = s;
	c->read_only = c->counts_as_read_only = read_only;
	c->fd = fd;
	ev_io_init(&c->readable, on_readable, fd, EV_READ);
	ev_io_init(&c->writable, on_writable, fd, EV_WRITE);
	ev_timer_init(&c->patience, on_patience, RPC_OUTSIDE_SECONDS, 0.);
	*client = c;
	return 0;
}

static void serve(struct rpc_client *c)
{
	struct rpc_server *s = c->server;
	c->next = s->clients;
	s->clients = c;
	s->nr_clients++;
	s->nr_read_only += c->read_only;
	s->nr_outside += c->outside;
	if (c->outside)
		ev_timer_start(s->loop, &c->patience);
	ev_io_start(s->loop, &c->readable);
	log_debug("a client of libvirt's protocol comes%s: %s", c->read_only ? ", to look only" : "", c->who);
}

int rpc_server_take(struct rpc_server *s, int fd, enum rpc_access access)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	struct rpc_client *c = NULL;
	int ret = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ? -errno : 0;
	bool outside = s->asks && access == RPC_READ_WRITE && ret == 0 && peer.uid != 0 && peer.uid != geteuid();
	if (ret == 0 && outside && s->nr_outside >= RPC_MOST_OUTSIDE)
		ret = -EBUSY;
	if (ret == 0)
		ret = admit(s, fd, access, &c);
	if (ret) {
		close(fd);
		return ret;
	}
	c->outside = outside;
	snprintf(c->who, sizeof(c->who), "user %u, process %d", (unsigned)peer.uid, (int)peer.pid);
	serve(c);
	return 0;
}

int rpc_server_take_tls(struct rpc_server *s, int fd, struct rpc_tls *tls, const char *peer)
{
	struct xdr_writer accepted = {.data = NULL};
	struct rpc_client *c = NULL;
	int ret = admit(s, fd, RPC_READ_WRITE, &c);
	if (ret) {
		rpc_tls_end(tls);
		close(fd);
		return ret;
	}
	c->tls = tls;
	snprintf(c->who, sizeof(c->who), "%.*s from %.70s", RPC_TLS_NAME_BYTES, rpc_tls_name(tls), peer);
	serve(c);
	/* The first byte that it hears is no part of a message. */
	xdr_put_u32(&accepted, 1u << 24);
	accepted.len -= accepted.failed ? 0 : 3;
	send_message(c, &accepted);
	/* What came in one piece with the handshake. */
	ev_feed_event(s->loop, &c->readable, EV_READ);
	return 0;
}

static void on_acceptable(struct ev_loop *loop, ev_io *w, int events)
{
	struct rpc_door *door = container_of(w, struct rpc_door, acceptor);
	(void)events;
	int fd = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		int ret = rpc_server_take(door->server, fd, door->access);
		if (ret)
			log_debug("a client of libvirt's protocol is turned away: %s", strerror(-ret));
	} else if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
		/* Without descriptors who waits would keep the loop busy. */
		log_warning("a client of libvirt's protocol cannot be accepted: %s", strerror(errno));
		ev_io_stop(loop, w);
		ev_timer_again(loop, &door->server->accept_again);
	}
}

static void on_accept_again(struct ev_loop *loop, ev_timer *w, int events)
{
	struct rpc_server *s = container_of(w, struct rpc_server, accept_again);
	(void)events;
	ev_timer_stop(loop, w);
	for (int i = 0; i < 2; i++)
		if (s->doors[i].fd >= 0)
			ev_io_start(loop, &s->doors[i].acceptor);
}

/* --- life --- */

void rpc_server_create(struct ev_loop *loop, const struct rpc_program *program, const int fds[2], struct rpc_server *s)
{
	*s = (struct rpc_server){.loop = loop, .program = program};
	ev_timer_init(&s->accept_again, on_accept_again, 0., ACCEPT_RETRY_SECONDS);
	for (int i = 0; i < 2; i++) {
		struct rpc_door *door = &s->doors[i];
		*door = (struct rpc_door){.server = s, .access = (enum rpc_access)i, .fd = fds[i]};
		ev_io_init(&door->acceptor, on_acceptable, fds[i], EV_READ);
		if (door->fd >= 0)
			ev_io_start(loop, &door->acceptor);
	}
}

void rpc_server_destroy(struct rpc_server *s)
{
	if (!s->loop)
		return;
	while (s->clients) {
		struct rpc_client *c = s->clients;
		s->clients = c->next;
		free_client(c);
	}
	ev_timer_stop(s->loop, &s->accept_again);
	for (int i = 0; i < 2; i++)
		if (s->doors[i].fd >= 0) {
			ev_io_stop(s->loop, &s->doors[i].acceptor);
			close(s->doors[i].fd);
		}
	s->loop = NULL;
}
