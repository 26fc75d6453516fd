/*
 * See vsock_conn.h. Invariants:
 *  1. received - forwarded == buffer_len <= VSOCK_CONN_BUFFER: the guest never has more on its way than we have room for.
 *  2. sent - guest_forwarded <= guest_alloc after each packet of data, by the guest's own last words.
 */
#include "virtio/vsock_conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct vsock_conn *vsock_conn_new(struct vsock *vsock, int fd, enum vsock_conn_state state)
{
	struct vsock_conn *conn = calloc(1, sizeof(*conn));
	if (!conn)
		return NULL;
	conn->vsock = vsock;
	conn->fd = fd;
	conn->state = state;
	return conn;
}

void vsock_conn_free(struct vsock_conn *conn)
{
	if (conn->fd >= 0)
		close(conn->fd);
	free(conn->buffer);
	free(conn);
}

/* --- credit --- */

void vsock_conn_credit(struct vsock_conn *conn, const struct virtio_vsock_hdr *hdr)
{
	conn->guest_alloc = hdr->buf_alloc;
	conn->guest_forwarded = hdr->fwd_cnt;
}

uint32_t vsock_conn_guest_room(const struct vsock_conn *conn)
{
	uint32_t on_its_way = conn->sent - conn->guest_forwarded;
	/* A guest that forwarded more than it got, or shrank its buffer, gets nothing until its numbers add up. */
	return on_its_way < conn->guest_alloc ? conn->guest_alloc - on_its_way : 0;
}

bool vsock_conn_credit_is_due(const struct vsock_conn *conn)
{
	/* Once the guest believes that half of our buffer is full, and it is not. A guest that waits for room always gets here. */
	return conn->forwarded != conn->forwarded_told && conn->received - conn->forwarded_told > VSOCK_CONN_BUFFER / 2;
}

void vsock_conn_header(struct vsock_conn *conn, struct virtio_vsock_hdr *hdr)
{
	hdr->src_port = conn->host_port;
	hdr->dst_port = conn->guest_port;
	hdr->type = VIRTIO_VSOCK_TYPE_STREAM;
	hdr->buf_alloc = VSOCK_CONN_BUFFER;
	hdr->fwd_cnt = conn->forwarded;
	conn->forwarded_told = conn->forwarded;
	conn->owed &= ~(unsigned)VSOCK_OWED_CREDIT;
}

/* --- bytes --- */

unsigned vsock_iov_slice(struct iovec *slice, const struct iovec *iov, unsigned nr, size_t offset, size_t len)
{
	unsigned used = 0;
	for (unsigned i = 0; i < nr && len; i++) {
		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		size_t part = iov[i].iov_len - offset;
		if (part > len)
			part = len;
		slice[used++] = (struct iovec){.iov_base = (uint8_t *)iov[i].iov_base + offset, .iov_len = part};
		len -= part;
		offset = 0;
	}
	return used;
}

static ssize_t send_iov(const struct vsock_conn *conn, const struct iovec *iov, unsigned nr)
{
	const struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = nr};
	ssize_t sent;
	do {
		sent = sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

/* Keeps len bytes of iov from offset on; there is room by invariant 1. */
static int store(struct vsock_conn *conn, const struct iovec *iov, unsigned nr, size_t offset, uint32_t len)
{
	if (!conn->buffer) {
		conn->buffer = malloc(VSOCK_CONN_BUFFER);
		if (!conn->buffer)
			return -ENOMEM;
	}
	for (unsigned i = 0; i < nr && len; i++) {
		const uint8_t *from = iov[i].iov_base;
		size_t skip = offset < iov[i].iov_len ? offset : iov[i].iov_len;
		size_t left = iov[i].iov_len - skip;
		offset -= skip;
		from += skip;
		while (left && len) {
			uint32_t end = (conn->buffer_start + conn->buffer_len) % VSOCK_CONN_BUFFER;
			size_t run = VSOCK_CONN_BUFFER - end;
			if (run > left)
				run = left;
			if (run > len)
				run = len;
			memcpy(conn->buffer + end, from, run);
			from += run;
			left -= run;
			len -= (uint32_t)run;
			conn->buffer_len += (uint32_t)run;
		}
	}
	return 0;
}

int vsock_conn_take(struct vsock_conn *conn, const struct iovec *iov, unsigned nr, uint32_t len)
{
	if (len > VSOCK_CONN_BUFFER - conn->buffer_len) /* invariant 1 */
		return -EPROTO;
	uint32_t done = 0;
	if (conn->buffer_len == 0 && len) {
		ssize_t sent = send_iov(conn, iov, nr);
		if (sent < 0 && sent != -EAGAIN)
			return (int)sent;
		if (sent > 0)
			done = (uint32_t)sent;
	}
	conn->received += len;
	conn->forwarded += done;
	return done < len ? store(conn, iov, nr, done, len - done) : 0;
}

int vsock_conn_flush(struct vsock_conn *conn)
{
	while (conn->buffer_len) {
		uint32_t run = VSOCK_CONN_BUFFER - conn->buffer_start;
		struct iovec iov[2] = {
			{.iov_base = conn->buffer + conn->buffer_start, .iov_len = run < conn->buffer_len ? run : conn->buffer_len},
			{.iov_base = conn->buffer, .iov_len = run < conn->buffer_len ? conn->buffer_len - run : 0},
		};
		ssize_t sent = send_iov(conn, iov, 2);
		if (sent < 0)
			return (int)sent;
		conn->forwarded += (uint32_t)sent;
		conn->buffer_start = (conn->buffer_start + (uint32_t)sent) % VSOCK_CONN_BUFFER;
		conn->buffer_len -= (uint32_t)sent;
	}
	return 0;
}

ssize_t vsock_conn_read(struct vsock_conn *conn, const struct iovec *iov, unsigned nr)
{
	ssize_t got;
	do {
		got = readv(conn->fd, iov, (int)nr);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	conn->sent += (uint32_t)got;
	return got;
}

/* --- the host's handshake --- */

static int parse_port(const char *line, uint32_t *port)
{
	static const char word[] = "CONNECT ";
	if (strncmp(line, word, sizeof(word) - 1) != 0)
		return -EPROTO;
	const char *digits = line + sizeof(word) - 1;
	uint64_t value = 0;
	size_t n = strspn(digits, "0123456789");
	if (n == 0 || n > 10)
		return -EPROTO;
	for (size_t i = 0; i < n; i++)
		value = value * 10 + (uint64_t)(digits[i] - '0');
	const char *rest = digits + n;
	if (*rest == '\r')
		rest++;
	if (*rest != '\n' || value >= UINT32_MAX)
		return -EPROTO;
	*port = (uint32_t)value;
	return 0;
}

int vsock_conn_hello(struct vsock_conn *conn, uint32_t *port)
{
	/* What follows the line is for the guest: look first, then take only up to the newline. */
	char *at = conn->line + conn->line_len;
	ssize_t seen = recv(conn->fd, at, VSOCK_CONN_LINE_MAX - conn->line_len, MSG_PEEK | MSG_DONTWAIT);
	if (seen < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (seen == 0)
		return -EPROTO; /* gone, or the line is too long */
	const char *newline = memchr(at, '\n', (size_t)seen);
	size_t len = newline ? (size_t)(newline - at) + 1 : (size_t)seen;
	ssize_t got = recv(conn->fd, at, len, MSG_DONTWAIT);
	if (got != (ssize_t)len)
		return -EIO;
	conn->line_len += len;
	if (!newline)
		return conn->line_len < VSOCK_CONN_LINE_MAX ? 0 : -EPROTO;
	conn->line[conn->line_len] = '\0';
	int ret = parse_port(conn->line, port);
	return ret ? ret : 1;
}

int vsock_conn_welcome(struct vsock_conn *conn)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "OK %u\n", conn->host_port);
	ssize_t sent = send(conn->fd, line, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0)
		return -errno;
	return sent == len ? 0 : -EIO;
}
