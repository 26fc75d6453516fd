/* See tls_door.h. */
#include "rpc/tls_door.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/container_of.h"
#include "base/log.h"

#define ACCEPT_RETRY_SECONDS 1.
/* A machine that has vanished is found out after two minutes. */
#define ALIVE_IDLE_SECONDS 60
#define ALIVE_PROBE_SECONDS 15
#define ALIVE_PROBES 4

struct handshake {
	struct rpc_tls_door *door;
	struct handshake *next; /* it came before */
	int fd;
	struct rpc_tls *tls;
	ev_io ready;
	ev_timer patience;
	char peer[80];
};

struct rpc_tls_door {
	struct ev_loop *loop;
	struct rpc_server *server;
	struct rpc_tls_identity *identity;
	int fd;
	double patience;
	ev_io acceptor;
	ev_timer pause;
	struct handshake *handshakes; /* the last that came is first */
	unsigned nr;
};

/* --- one handshake --- */

/* The descriptor and the session stay. */
static void forget(struct handshake *h)
{
	struct rpc_tls_door *door = h->door;
	struct handshake **at = &door->handshakes;
	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	door->nr--;
	ev_io_stop(door->loop, &h->ready);
	ev_timer_stop(door->loop, &h->patience);
	free(h);
}

static void hang_up(struct handshake *h)
{
	rpc_tls_end(h->tls);
	close(h->fd);
	forget(h);
}

static void come_in(struct handshake *h)
{
	char peer[sizeof(h->peer)];
	struct rpc_server *server = h->door->server;
	struct rpc_tls *tls = h->tls;
	int fd = h->fd;
	memcpy(peer, h->peer, sizeof(peer));
	forget(h);
	log_info("a client of libvirt's protocol comes by TLS: %s from %s", rpc_tls_name(tls), peer);
	int ret = rpc_server_take_tls(server, fd, tls, peer);
	if (ret)
		log_warning("a client of libvirt's protocol from %s is turned away: %s", peer,
			    ret == -EBUSY ? "there are too many" : strerror(-ret));
}

static void on_ready(struct ev_loop *loop, ev_io *w, int events)
{
	struct handshake *h = container_of(w, struct handshake, ready);
	struct error err;
	bool for_writing = false;
	(void)events;
	int ret = rpc_tls_shake(h->tls, &for_writing, &err);
	if (ret == -EAGAIN) {
		ev_io_stop(loop, w);
		ev_io_set(w, h->fd, for_writing ? EV_WRITE : EV_READ);
		ev_io_start(loop, w);
	} else if (ret) {
		log_guest_error("a client of libvirt's protocol from %s is refused: %s", h->peer, err.text);
		hang_up(h);
	} else {
		come_in(h);
	}
}

static void on_patience(struct ev_loop *loop, ev_timer *w, int events)
{
	struct handshake *h = container_of(w, struct handshake, patience);
	(void)loop, (void)events;
	log_debug("a client of libvirt's protocol from %s does not come to the end of its handshake", h->peer);
	hang_up(h);
}

/* --- the door --- */

static void name_peer(const struct sockaddr_storage *address, socklen_t len, char *name, size_t size)
{
	char host[INET6_ADDRSTRLEN + 20], port[8];
	if (getnameinfo((const struct sockaddr *)address, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(name, size, "an unknown address");
	else
		snprintf(name, size, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static void set_up_socket(int fd)
{
	static const int yes = 1, idle = ALIVE_IDLE_SECONDS, probe = ALIVE_PROBE_SECONDS, probes = ALIVE_PROBES;
	/* It works without them, only not as well. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &probe, sizeof(probe));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

/* Invariant 1. */
static void make_room(struct rpc_tls_door *door)
{
	struct handshake *oldest = door->handshakes;
	if (door->nr < RPC_TLS_MOST_SHAKING)
		return;
	while (oldest->next)
		oldest = oldest->next;
	log_guest_error("many shake hands at the door for TLS: one from %s loses its place", oldest->peer);
	hang_up(oldest);
}

static void begin(struct rpc_tls_door *door, int fd, const struct sockaddr_storage *address, socklen_t len)
{
	make_room(door);
	struct handshake *h = calloc(1, sizeof(*h));
	int ret = h ? rpc_tls_begin(door->identity, fd, &h->tls) : -ENOMEM;
	if (ret) {
		log_warning("a client of libvirt's protocol is turned away: %s", strerror(-ret));
		free(h);
		close(fd);
		return;
	}
	set_up_socket(fd);
	name_peer(address, len, h->peer, sizeof(h->peer));
	h->door = door;
	h->fd = fd;
	h->next = door->handshakes;
	door->handshakes = h;
	door->nr++;
	ev_io_init(&h->ready, on_ready, fd, EV_READ);
	ev_timer_init(&h->patience, on_patience, door->patience, 0.);
	ev_io_start(door->loop, &h->ready);
	ev_timer_start(door->loop, &h->patience);
}

static void on_acceptable(struct ev_loop *loop, ev_io *w, int events)
{
	struct rpc_tls_door *door = container_of(w, struct rpc_tls_door, acceptor);
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	(void)events;
	int fd = accept4(door->fd, (struct sockaddr *)&address, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int error = fd < 0 ? errno : 0;
	if (error == EAGAIN || error == EINTR || error == ECONNABORTED)
		return;
	if (error)
		log_warning("a client of libvirt's protocol cannot be accepted: %s", strerror(error));
	else
		begin(door, fd, &address, len);
	/* Invariant 2; and without descriptors who waits would keep the loop busy. */
	ev_io_stop(loop, w);
	ev_timer_set(&door->pause, error ? ACCEPT_RETRY_SECONDS : RPC_TLS_PAUSE_SECONDS, 0.);
	ev_timer_start(loop, &door->pause);
}

static void on_paused(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)events;
	ev_io_start(loop, &container_of(w, struct rpc_tls_door, pause)->acceptor);
}

int rpc_tls_door_create(struct rpc_server *server, int fd, struct rpc_tls_identity *identity, double patience,
			struct rpc_tls_door **out)
{
	struct rpc_tls_door *door = calloc(1, sizeof(*door));
	if (!door)
		return -ENOMEM;
	*door = (struct rpc_tls_door){.loop = server->loop, .server = server, .identity = identity, .fd = fd, .patience = patience};
	ev_io_init(&door->acceptor, on_acceptable, fd, EV_READ);
	ev_timer_init(&door->pause, on_paused, RPC_TLS_PAUSE_SECONDS, 0.);
	ev_io_start(door->loop, &door->acceptor);
	*out = door;
	return 0;
}

void rpc_tls_door_destroy(struct rpc_tls_door *door)
{
	if (!door)
		return;
	for (struct handshake *h = door->handshakes, *next; h; h = next) {
		next = h->next;
		hang_up(h);
	}
	ev_io_stop(door->loop, &door->acceptor);
	ev_timer_stop(door->loop, &door->pause);
	close(door->fd);
	rpc_tls_unload(door->identity);
	free(door);
}

unsigned rpc_tls_door_nr_shaking(const struct rpc_tls_door *door)
{
	return door->nr;
}
