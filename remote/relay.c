/* See relay.h. */
#include "remote/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One way. */
struct way {
	int from, to;
	bool ended; /* nothing more comes */
	size_t start, len;
	uint8_t bytes[RELAY_BYTES];
};

static bool is_passing(int error)
{
	return error == EAGAIN || error == EINTR;
}

static int take(struct way *w)
{
	if (w->start == w->len)
		w->start = w->len = 0;
	ssize_t got = read(w->from, w->bytes + w->len, sizeof(w->bytes) - w->len);
	if (got > 0)
		w->len += (size_t)got;
	else if (got == 0)
		w->ended = true;
	else if (!is_passing(errno))
		return -errno;
	return 0;
}

static int give(struct way *w)
{
	ssize_t put = write(w->to, w->bytes + w->start, w->len - w->start);
	if (put >= 0)
		w->start += (size_t)put;
	else if (!is_passing(errno))
		return -errno;
	return 0;
}

static bool has_room(const struct way *w)
{
	return !w->ended && (w->start == w->len || w->len < sizeof(w->bytes));
}

static int make_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int relay_run(int from, int to, int socket)
{
	static struct way in, out; /* too large for a stack, and once in a process */
	bool told = false;
	int broken = 0, ret = make_nonblocking(from);
	if (ret == 0)
		ret = make_nonblocking(to);
	if (ret == 0)
		ret = make_nonblocking(socket);
	in.from = from;
	in.to = out.from = socket;
	out.to = to;
	while (ret == 0 && !(out.ended && out.start == out.len)) {
		/* A descriptor of which nothing is wanted could say POLLHUP all the time, and is left out; but for the reader, whose going is the end. */
		struct pollfd p[] = {
			{has_room(&in) && !out.ended ? from : -1, POLLIN, 0},
			{to, out.start < out.len ? POLLOUT : 0, 0},
			{socket, (short)((has_room(&out) ? POLLIN : 0) | (in.start < in.len ? POLLOUT : 0)), 0},
		};
		if (out.ended || !p[2].events)
			p[2].fd = -1;
		if (poll(p, 3, -1) < 0) {
			ret = errno == EINTR ? 0 : -errno;
			continue;
		}
		if (p[1].revents & (POLLERR | POLLHUP | POLLNVAL))
			return 0;
		if (p[0].revents)
			ret = take(&in);
		/* What came before it broke is written all the same. */
		if (ret == 0 && p[2].revents & (POLLIN | POLLHUP | POLLERR) && has_room(&out) && (broken = take(&out)) < 0)
			out.ended = true;
		if (ret == 0 && p[1].revents & POLLOUT)
			ret = give(&out);
		/* It may have hung up, with words of farewell that are still to be read. */
		if (ret == 0 && p[2].revents & POLLOUT && give(&in) < 0) {
			in.ended = true;
			in.start = in.len = 0;
		}
		if (ret == 0 && in.ended && in.start == in.len && !told) {
			shutdown(socket, SHUT_WR);
			told = true;
		}
	}
	return ret ? ret : broken;
}
