/*
 * See net_stream.h. System calls are few: one recv() fills a buffer with as many frames as have come, and frames to send are gathered
 * and written once a batch. The price is one copy of each frame.
 *
 * Invariants:
 *  1. in_start <= in_end <= IN_SIZE; in_start is the first byte of a length word.
 *  2. out_start <= out_end <= OUT_SIZE, and OUT_GATHER bytes or more wait only until the next send or flush.
 */
#include "virtio/net_stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virtio/queue.h"

#define LENGTH_WORD 4u
#define IN_SIZE (256u << 10)
#define OUT_GATHER (128u << 10)
#define OUT_SIZE (OUT_GATHER + LENGTH_WORD + NET_FRAME_MAX)

struct net_stream {
	struct net_backend backend; /* first */
	size_t in_start, in_end;
	size_t out_start, out_end;
	uint8_t in[IN_SIZE];
	uint8_t out[OUT_SIZE];
};

static struct net_stream *stream_of(struct net_backend *b)
{
	return (struct net_stream *)b;
}

/* Whether a whole frame lies at in_start, and its length. Returns 1, 0, or -EPROTO: the peer does not keep to frames. */
static int frame_waiting(const struct net_stream *s, size_t *len)
{
	uint32_t word;
	size_t have = s->in_end - s->in_start;
	if (have < LENGTH_WORD)
		return 0;
	memcpy(&word, s->in + s->in_start, sizeof(word));
	*len = ntohl(word);
	if (*len > NET_FRAME_MAX)
		return -EPROTO;
	return have - LENGTH_WORD >= *len;
}

/* Returns 0 when something came, -EAGAIN, or the error that ended the stream. */
static int fill_in(struct net_stream *s)
{
	if (s->in_start == s->in_end) {
		s->in_start = s->in_end = 0;
	} else if (s->in_start) {
		memmove(s->in, s->in + s->in_start, s->in_end - s->in_start);
		s->in_end -= s->in_start;
		s->in_start = 0;
	}
	/* There is room: less than one frame is left in the buffer, which holds several. */
	ssize_t len = recv(s->backend.fd, s->in + s->in_end, IN_SIZE - s->in_end, MSG_DONTWAIT);
	if (len < 0)
		return errno == EINTR || errno == EAGAIN ? -EAGAIN : -errno;
	if (len == 0)
		return -ECONNRESET;
	s->in_end += (size_t)len;
	return 0;
}

static ssize_t stream_receive(struct net_backend *b, const struct iovec *iov, int nr)
{
	struct net_stream *s = stream_of(b);
	size_t len;
	int waiting = frame_waiting(s, &len);
	if (waiting == 0) {
		int ret = fill_in(s);
		if (ret)
			return ret;
		waiting = frame_waiting(s, &len);
	}
	if (waiting <= 0)
		return waiting ? waiting : -EAGAIN;
	memset(iov[0].iov_base, 0, NET_HEADER_LEN);
	iov_write(iov + 1, (size_t)nr - 1, 0, s->in + s->in_start + LENGTH_WORD, len);
	s->in_start += LENGTH_WORD + len;
	return len ? (ssize_t)len : -EMSGSIZE;
}

static int stream_flush(struct net_backend *b)
{
	struct net_stream *s = stream_of(b);
	while (s->out_start < s->out_end) {
		ssize_t len = send(b->fd, s->out + s->out_start, s->out_end - s->out_start, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (len < 0 && errno != EINTR)
			return errno == EAGAIN ? -EAGAIN : -errno;
		if (len > 0)
			s->out_start += (size_t)len;
	}
	s->out_start = s->out_end = 0;
	return 0;
}

static int stream_send(struct net_backend *b, const struct iovec *iov, int nr)
{
	struct net_stream *s = stream_of(b);
	size_t len = 0;
	for (int i = 1; i < nr; i++)
		len += iov[i].iov_len;
	if (len > NET_FRAME_MAX)
		return -EMSGSIZE;
	if (s->out_end >= OUT_GATHER) {
		int ret = stream_flush(b);
		if (ret)
			return ret;
	}
	uint32_t word = htonl((uint32_t)len);
	memcpy(s->out + s->out_end, &word, sizeof(word));
	iov_read(iov + 1, (size_t)nr - 1, 0, s->out + s->out_end + LENGTH_WORD, len);
	s->out_end += LENGTH_WORD + len;
	return 0;
}

static void stream_destroy(struct net_backend *b)
{
	close(b->fd);
	free(stream_of(b));
}

static const struct net_backend_ops stream_ops = {
	.receive = stream_receive,
	.send = stream_send,
	.flush = stream_flush,
	.destroy = stream_destroy,
};

int net_stream_create(int fd, const char *name, struct net_backend **backend, struct error *err)
{
	int type;
	socklen_t size = sizeof(type);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM)
		return error_set(err, EINVAL, "%s: descriptor %d is no stream socket", name, fd);
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return error_set(err, errno, "%s: cannot set up descriptor %d: %s", name, fd, strerror(errno));
	struct net_stream *s = calloc(1, sizeof(*s));
	if (!s)
		return error_set(err, ENOMEM, "%s: out of memory", name);
	s->backend.ops = &stream_ops;
	s->backend.fd = fd;
	snprintf(s->backend.name, sizeof(s->backend.name), "%s", name);
	*backend = &s->backend;
	return 0;
}
