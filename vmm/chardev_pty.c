/*
 * The chardev on a pseudo-terminal, whose name is logged for people to open (screen /dev/pts/5).
 *
 * A pty says when its last opener has gone (reading fails with EIO), but not when the next one comes, and until then epoll reports a hang-up
 * all the time. So while nobody has it open it is not watched; inotify on its name tells of opens, or a timer where inotify has no
 * instance left.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <termios.h>
#include <unistd.h>

#include "base/container_of.h"
#include "base/log.h"
#include "vmm/chardev_internal.h"

#define POLL_SECONDS 1.0

static bool somebody_has_it(const struct chardev *c)
{
	struct pollfd master = {.fd = c->pty_fd, .events = POLLIN};
	return poll(&master, 1, 0) >= 0 && !(master.revents & POLLHUP);
}

static void connect_if_opened(struct chardev *c)
{
	if (c->connected || !somebody_has_it(c))
		return;
	int fd = fcntl(c->pty_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return;
	ev_timer_stop(c->loop, &c->poller);
	ev_io_stop(c->loop, &c->acceptor);
	chardev_connect(c, fd, fd);
}

static void on_opened(struct ev_loop *loop, ev_io *w, int revents)
{
	struct chardev *c = container_of(w, struct chardev, acceptor);
	char events[1024];
	(void)loop, (void)revents;
	/* What it says is known: the watch is on opens of one name. */
	ssize_t n = read(c->listen_fd, events, sizeof(events));
	(void)n;
	connect_if_opened(c);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop, (void)revents;
	connect_if_opened(container_of(w, struct chardev, poller));
}

static void pty_hung_up(struct chardev *c)
{
	if (c->listen_fd >= 0)
		ev_io_start(c->loop, &c->acceptor);
	else
		ev_timer_again(c->loop, &c->poller);
	/* Somebody may have come in between. */
	connect_if_opened(c);
}

static void pty_close(struct chardev *c)
{
	ev_timer_stop(c->loop, &c->poller);
	if (c->listen_fd >= 0) {
		ev_io_stop(c->loop, &c->acceptor);
		close(c->listen_fd);
	}
	if (c->pty_fd >= 0)
		close(c->pty_fd);
}

/* Opens both ends: the other one once, for its mode, and for the first hang-up. Returns 0 or -errno. */
static int open_pair(struct chardev *c, char *name, size_t size)
{
	struct termios mode;
	c->pty_fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (c->pty_fd < 0 || grantpt(c->pty_fd) < 0 || unlockpt(c->pty_fd) < 0)
		return -errno;
	int ret = ptsname_r(c->pty_fd, name, size);
	if (ret)
		return -ret;
	int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	if (tcgetattr(slave, &mode) == 0) {
		cfmakeraw(&mode);
		tcsetattr(slave, TCSANOW, &mode);
	}
	close(slave);
	return 0;
}

int chardev_pty_open(struct chardev *c, const struct config_chardev *config, struct error *err)
{
	static const struct chardev_kind_ops ops = {.hung_up = pty_hung_up, .close = pty_close, .ends_with_input = true};
	char name[64];
	(void)config;
	c->ops = &ops;
	ev_timer_init(&c->poller, on_timer, POLL_SECONDS, POLL_SECONDS);
	int ret = open_pair(c, name, sizeof(name));
	if (ret)
		return error_set(err, -ret, "chardev \"%s\": cannot make a pty: %s", c->label, strerror(-ret));
	ret = chardev_describe(c, err, "pty:%s", name);
	if (ret)
		return ret;
	c->listen_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (c->listen_fd >= 0 && inotify_add_watch(c->listen_fd, name, IN_OPEN) < 0) {
		close(c->listen_fd);
		c->listen_fd = -1;
	}
	ev_io_init(&c->acceptor, on_opened, c->listen_fd, EV_READ);
	log_warning("chardev \"%s\" is %s", c->label, name);
	pty_hung_up(c);
	return 0;
}
