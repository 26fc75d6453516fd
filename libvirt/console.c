/*
 * See console.h. The VMM's socket takes one client at a time; so a guest has one console here, and who wants to push another out says so.
 *
 *   run_open() --> open --the client finishes or breaks off, or goes--> closed
 *                   |
 *                   +--the VMM hangs up--> an empty packet says so, and the client finishes
 *
 * Nothing waits: while the client has much to read the socket is not read, and what a client types faster than the guest takes is kept up to MOST_TYPED bytes.
 */
#include "libvirt/console.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/unix_socket.h"
#include "libvirt/call.h"
#include "libvirt/procedures.h"

#define PROCEDURE 201
#define FORCE 1u
#define SAFE 2u
#define MOST_TYPED 65536
#define READ_BYTES 16384

struct libvirt_console {
	struct libvirt_server *server;
	struct libvirt_console *next;
	struct rpc_client *client;
	uint32_t serial;
	uint8_t uuid[LIBVIRT_UUID_BYTES];
	int fd; /* -1: the VMM has hung up */
	ev_io readable, writable;
	size_t typed_len;
	uint8_t typed[MOST_TYPED];
};

static void hang_up(struct libvirt_console *c)
{
	if (c->fd < 0)
		return;
	ev_io_stop(c->server->rpc.loop, &c->readable);
	ev_io_stop(c->server->rpc.loop, &c->writable);
	close(c->fd);
	c->fd = -1;
}

static void close_console(struct libvirt_console *c)
{
	struct libvirt_console **at = &c->server->consoles;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	hang_up(c);
	free(c);
}

static void on_readable(struct ev_loop *loop, ev_io *w, int events)
{
	struct libvirt_console *c = container_of(w, struct libvirt_console, readable);
	uint8_t bytes[READ_BYTES];
	(void)events;
	if (rpc_is_full(c->client)) {
		ev_io_stop(loop, w);
		return;
	}
	ssize_t got = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
		hang_up(c);
	rpc_send_stream(c->client, PROCEDURE, c->serial, RPC_CONTINUE, bytes, got > 0 ? (size_t)got : 0);
}

static void on_writable(struct ev_loop *loop, ev_io *w, int events)
{
	struct libvirt_console *c = container_of(w, struct libvirt_console, writable);
	(void)events;
	ssize_t put = c->typed_len ? send(c->fd, c->typed, c->typed_len, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
	if (put < 0 && errno != EAGAIN && errno != EINTR)
		c->typed_len = 0; /* that it has gone, reading tells */
	if (put > 0) {
		c->typed_len -= (size_t)put;
		memmove(c->typed, c->typed + put, c->typed_len);
	}
	if (!c->typed_len)
		ev_io_stop(loop, w);
}

static void open_console(struct rpc_call *call, const struct guest *g)
{
	struct libvirt_server *s = libvirt_server_of(call);
	char path[300];
	snprintf(path, sizeof(path), "%s/console", g->run.path);
	int fd = unix_socket_connect(path, SOCK_NONBLOCK);
	struct libvirt_console *c = fd < 0 ? NULL : calloc(1, sizeof(*c));
	if (!c) {
		libvirt_refuse_text(call, RPC_OPERATION_FAILED, "%s: %s", path, strerror(fd < 0 ? -fd : ENOMEM));
		if (fd >= 0)
			close(fd);
		return;
	}
	c->server = s;
	c->client = call->client;
	c->serial = call->serial;
	c->fd = fd;
	libvirt_uuid_bytes(g->definition->uuid, c->uuid);
	ev_io_init(&c->readable, on_readable, fd, EV_READ);
	ev_io_init(&c->writable, on_writable, fd, EV_WRITE);
	ev_io_start(s->rpc.loop, &c->readable);
	c->next = s->consoles;
	s->consoles = c;
	rpc_answer(call);
}

static void run_open(struct rpc_call *call)
{
	struct libvirt_server *s = libvirt_server_of(call);
	struct libvirt_domain d;
	char device[128];
	libvirt_get_domain(&call->in, &d);
	xdr_get_optional_string(&call->in, device, sizeof(device));
	uint32_t flags = xdr_get_u32(&call->in);
	const struct guest *g = libvirt_find(call, &d);
	if (!g || !libvirt_check_flags(call, flags, FORCE | SAFE))
		return;
	if (!guest_has_vmm(g)) {
		libvirt_refuse_text(call, RPC_OPERATION_INVALID, "%s: is not running", g->definition->name);
		return;
	}
	if (*device && strcmp(device, "serial0") != 0 && strcmp(device, "console0") != 0) {
		libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "%s: has serial0 and no other console", g->definition->name);
		return;
	}
	for (struct libvirt_console *c = s->consoles, *next; c; c = next) {
		next = c->next;
		if (memcmp(c->uuid, d.uuid, sizeof(d.uuid)) != 0)
			continue;
		if (!(flags & FORCE) && c->fd >= 0) {
			libvirt_refuse_text(call, RPC_OPERATION_FAILED, "%s: its console is in use; --force takes it over",
					    g->definition->name);
			return;
		}
		if (c->fd >= 0)
			rpc_break_stream(c->client, PROCEDURE, c->serial, RPC_OPERATION_FAILED,
					 "another has taken the console over");
		close_console(c);
	}
	open_console(call, g);
}

/* --- what clients send --- */

static void type(struct libvirt_console *c, struct xdr_reader *data)
{
	if (c->fd < 0)
		return;
	if (data->left > MOST_TYPED - c->typed_len) {
		rpc_break_stream(c->client, PROCEDURE, c->serial, RPC_OPERATION_FAILED, "the guest does not take what is typed");
		close_console(c);
		return;
	}
	memcpy(c->typed + c->typed_len, data->at, data->left);
	c->typed_len += data->left;
	if (c->typed_len)
		ev_io_start(c->server->rpc.loop, &c->writable);
}

void libvirt_console_packet(struct libvirt_server *s, struct rpc_client *client, const struct rpc_header *h,
			    struct xdr_reader *data)
{
	struct libvirt_console *c = s->consoles;
	while (c && (c->client != client || c->serial != h->serial))
		c = c->next;
	if (h->procedure != PROCEDURE)
		return;
	/* One that was closed from here may have packets on their way; and who says that it ends waits for an answer. */
	if (h->status != RPC_CONTINUE) {
		if (c)
			close_console(c);
		rpc_send_stream(client, PROCEDURE, h->serial, RPC_OK, NULL, 0);
	} else if (c) {
		type(c, data);
	}
}

void libvirt_console_resume(struct libvirt_server *s, const struct rpc_client *client)
{
	for (struct libvirt_console *c = s->consoles; c; c = c->next)
		if (c->client == client && c->fd >= 0)
			ev_io_start(s->rpc.loop, &c->readable);
}

void libvirt_console_forget(struct libvirt_server *s, const struct rpc_client *client)
{
	for (struct libvirt_console *c = s->consoles, *next; c; c = next) {
		next = c->next;
		if (c->client == client)
			close_console(c);
	}
}

static const struct rpc_procedure procedures[] = {
	{.number = PROCEDURE, .name = "console", .changes = true, .run = run_open},
};
const struct libvirt_procedures libvirt_console_procedures = LIBVIRT_PROCEDURES(procedures);
