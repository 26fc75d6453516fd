/*
 * Chardevs on unix and TCP sockets: servers, clients, and inherited descriptors. A server has one peer at a time; who else connects waits
 * until that one has gone. A client connects once, at the start.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/container_of.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "vmm/chardev_internal.h"

#define ACCEPT_RETRY_SECONDS 1.
static int fail(const struct chardev *c, struct error *err, const char *what)
{
	int code = errno;
	return error_set(err, code, "chardev \"%s\": cannot %s %.200s: %s", c->label, what,
			 c->description + strlen("disconnected:"), strerror(code));
}

/* Takes one waiting peer. Returns 0, or -errno when there is none. */
static int accept_peer(struct chardev *c)
{
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return -errno;
	int yes = 1;
	/* Fails for unix sockets, which have no such delay. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	ev_io_stop(c->loop, &c->acceptor);
	chardev_connect(c, fd, fd);
	return 0;
}

/* Who waits is there all the time, and would keep the main loop busy: without descriptors we look again later. */
static void on_acceptable(struct ev_loop *loop, ev_io *w, int revents)
{
	struct chardev *c = container_of(w, struct chardev, acceptor);
	(void)revents;
	int ret = accept_peer(c);
	if (ret == 0 || ret == -EAGAIN || ret == -ECONNABORTED || ret == -EINTR)
		return;
	log_guest_error("chardev \"%s\": cannot accept a connection: %s", c->label, strerror(-ret));
	ev_io_stop(loop, w);
	ev_timer_again(loop, &c->poller);
}

static void on_accept_again(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)revents;
	ev_timer_stop(loop, w);
	ev_io_start(loop, &container_of(w, struct chardev, poller)->acceptor);
}

static void socket_hung_up(struct chardev *c)
{
	if (c->listen_fd >= 0)
		ev_io_start(c->loop, &c->acceptor);
}

static void socket_close(struct chardev *c)
{
	if (c->listen_fd < 0)
		return;
	ev_io_stop(c->loop, &c->acceptor);
	ev_timer_stop(c->loop, &c->poller);
	close(c->listen_fd);
	if (c->path)
		unlink(c->path);
}

/* Blocks until somebody connects, or a signal comes. */
static int wait_for_peer(struct chardev *c, struct error *err)
{
	log_warning("waiting for a connection to %s", c->description + strlen("disconnected:"));
	struct pollfd listening = {.fd = c->listen_fd, .events = POLLIN};
	for (;;) {
		if (poll(&listening, 1, -1) < 0)
			return fail(c, err, "wait for a connection to");
		/* Who has connected may have gone before accept4. */
		int ret = accept_peer(c);
		if (ret != -EAGAIN && ret != -ECONNABORTED && ret != -EINTR) {
			errno = -ret;
			return ret ? fail(c, err, "accept a connection to") : 0;
		}
	}
}

static int serve(struct chardev *c, bool wait, struct error *err)
{
	fcntl(c->listen_fd, F_SETFL, fcntl(c->listen_fd, F_GETFL) | O_NONBLOCK);
	ev_timer_init(&c->poller, on_accept_again, 0., ACCEPT_RETRY_SECONDS);
	ev_io_init(&c->acceptor, on_acceptable, c->listen_fd, EV_READ);
	ev_io_start(c->loop, &c->acceptor);
	return wait ? wait_for_peer(c, err) : 0;
}

static int open_unix(struct chardev *c, const struct config_chardev *config, struct error *err)
{
	struct sockaddr_un address;
	struct stat st;
	if (!config->server) {
		int fd = unix_socket_connect(config->path, 0);
		if (fd < 0) {
			errno = -fd;
			return fail(c, err, "connect to");
		}
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		chardev_connect(c, fd, fd);
		return 0;
	}
	if (unix_socket_address(config->path, &address)) {
		errno = ENAMETOOLONG;
		return fail(c, err, "use");
	}
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(c, err, "make a socket for");
	c->listen_fd = fd;
	/* What a dead VMM left behind is in the way; anything but a socket is not ours to remove. */
	if (stat(config->path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(config->path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return fail(c, err, "bind");
	c->path = strdup(config->path);
	if (!c->path) {
		unlink(config->path);
		return error_set(err, ENOMEM, "out of memory");
	}
	if (listen(fd, 1) < 0)
		return fail(c, err, "listen on");
	return serve(c, config->wait, err);
}

static int try_address(const struct addrinfo *info, bool server)
{
	int yes = 1;
	int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC, info->ai_protocol);
	if (fd < 0)
		return -1;
	if (server) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
		if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, 1) == 0)
			return fd;
	} else if (connect(fd, info->ai_addr, info->ai_addrlen) == 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
		return fd;
	}
	int saved_errno = errno;
	close(fd);
	errno = saved_errno;
	return -1;
}

static int open_tcp(struct chardev *c, const struct config_chardev *config, struct error *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = config->server ? AI_PASSIVE : 0}, *list = NULL;
	const char *host = config->host && *config->host ? config->host : NULL;
	int why = getaddrinfo(host, config->port, &hints, &list);
	if (why)
		return error_set(err, EINVAL, "chardev \"%s\": host \"%.100s\", port \"%.40s\": %s", c->label, host ? host : "",
				 config->port, gai_strerror(why));
	int fd = -1;
	for (const struct addrinfo *info = list; info && fd < 0; info = info->ai_next)
		fd = try_address(info, config->server);
	int saved_errno = errno;
	freeaddrinfo(list);
	errno = saved_errno;
	if (fd < 0)
		return fail(c, err, config->server ? "listen on" : "connect to");
	if (config->server) {
		c->listen_fd = fd;
		return serve(c, config->wait, err);
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	chardev_connect(c, fd, fd);
	return 0;
}

static int open_inherited(struct chardev *c, const struct config_chardev *config, struct error *err)
{
	int type, listening = 0;
	socklen_t len = sizeof(type);
	if (getsockopt(config->fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return error_set(err, EINVAL, "chardev \"%s\": descriptor %d is not a stream socket", c->label, config->fd);
	len = sizeof(listening);
	getsockopt(config->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len);
	if (!listening != !config->server)
		return error_set(err, EINVAL, "chardev \"%s\": the socket %d %s, so it needs server=%s", c->label, config->fd,
				 listening ? "listens" : "does not listen", listening ? "on" : "off");
	fcntl(config->fd, F_SETFD, FD_CLOEXEC);
	if (listening) {
		c->listen_fd = config->fd;
		return serve(c, config->wait, err);
	}
	fcntl(config->fd, F_SETFL, fcntl(config->fd, F_GETFL) | O_NONBLOCK);
	chardev_connect(c, config->fd, config->fd);
	return 0;
}

int chardev_socket_open(struct chardev *c, const struct config_chardev *config, struct error *err)
{
	static const struct chardev_kind_ops ops = {.hung_up = socket_hung_up, .close = socket_close, .ends_with_input = true};
	const char *server = config->server ? ",server=on" : "";
	int ret;
	c->ops = &ops;
	switch (config->kind) {
	case CONFIG_CHARDEV_UNIX:
		ret = chardev_describe(c, err, "unix:%s%s", config->path, server);
		return ret ? ret : open_unix(c, config, err);
	case CONFIG_CHARDEV_TCP:
		ret = chardev_describe(c, err, "tcp:%s:%s%s", config->host ? config->host : "", config->port, server);
		return ret ? ret : open_tcp(c, config, err);
	default:
		ret = chardev_describe(c, err, "fd:%d%s", config->fd, server);
		return ret ? ret : open_inherited(c, config, err);
	}
}
