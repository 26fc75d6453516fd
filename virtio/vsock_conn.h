/*
 * One stream between a port of the guest and a unix socket: its credit (virtio 1.2, 5.10.6.3), the bytes that the host's end has not
 * taken yet, and what the guest is owed. Knows no queues; the device's worker alone uses it.
 *
 *            vsock_host_accept                 "CONNECT port"                RESPONSE
 *   (host) ---------------------> HELLO ---------------------> REQUESTED ---------------> OPEN
 *   (guest: REQUEST) ------------------------------------------------------------------> OPEN
 *
 *   OPEN -- the host is gone, the guest is told -----> CLOSING -- guest closes --> DEAD
 *   any  -- error, or both ends closed --> DEAD -- RST is sent --> (freed)
 *   OPEN -- the guest is gone, bytes are left --> DRAINING -- the host took them --> (freed)
 */
#ifndef VIRTIO_VSOCK_CONN_H
#define VIRTIO_VSOCK_CONN_H

#include <ev.h>
#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <sys/uio.h>

/* What the guest may send ahead of the host's end: also the largest packet. */
#define VSOCK_CONN_BUFFER (128u << 10)
#define VSOCK_CONN_LINE_MAX 32

enum vsock_conn_state {
	VSOCK_CONN_HELLO,
	VSOCK_CONN_REQUESTED,
	VSOCK_CONN_OPEN,
	VSOCK_CONN_CLOSING,
	VSOCK_CONN_DRAINING,
	VSOCK_CONN_DEAD,
};

/* Packets that the guest is owed. Bits, not a queue: asking twice makes nothing grow. */
enum vsock_conn_owed {
	VSOCK_OWED_RST = 1 << 0,
	VSOCK_OWED_REQUEST = 1 << 1,
	VSOCK_OWED_RESPONSE = 1 << 2,
	VSOCK_OWED_CREDIT = 1 << 3,
	VSOCK_OWED_CREDIT_REQUEST = 1 << 4,
	VSOCK_OWED_SHUTDOWN = 1 << 5,
};

struct vsock;

struct vsock_conn {
	struct vsock *vsock; /* the device */
	LIST_ENTRY(vsock_conn) all;
	LIST_ENTRY(vsock_conn) bucket;
	TAILQ_ENTRY(vsock_conn) ready;
	bool in_bucket, is_ready;

	enum vsock_conn_state state;
	unsigned owed;
	uint32_t guest_port, host_port;
	int fd; /* -1: the host's end is closed */
	ev_io readable, writable;
	ev_timer timeout; /* of HELLO and REQUESTED */

	/* Free-running counts of bytes. */
	uint32_t sent, guest_alloc, guest_forwarded;  /* to the guest */
	uint32_t received, forwarded, forwarded_told; /* from the guest; told: in the last packet that we sent */
	bool credit_asked;

	bool has_data;                  /* the socket may be readable: its watcher is off */
	uint32_t guest_shut, host_shut; /* VIRTIO_VSOCK_SHUTDOWN_*: what each side will not do any more */
	uint8_t *buffer;                /* bytes for the host, a ring of VSOCK_CONN_BUFFER; NULL until needed */
	uint32_t buffer_start, buffer_len;
	char line[VSOCK_CONN_LINE_MAX + 1]; /* of HELLO */
	size_t line_len;
};

/* Takes fd. Returns NULL when memory is short (then fd remains the caller's). Watchers are the device's to set up and stop. */
struct vsock_conn *vsock_conn_new(struct vsock *vsock, int fd, enum vsock_conn_state state);
void vsock_conn_free(struct vsock_conn *conn);

/* Credit: what the guest said in a packet, and how many bytes it takes now (0 if what it said makes no sense). */
void vsock_conn_credit(struct vsock_conn *conn, const struct virtio_vsock_hdr *hdr);
uint32_t vsock_conn_guest_room(const struct vsock_conn *conn);
/* Whether the guest should hear that the host's end has taken bytes. */
bool vsock_conn_credit_is_due(const struct vsock_conn *conn);
/* Fills in ports, credit and type of a packet to the guest. CIDs, op, flags and len are the caller's. */
void vsock_conn_header(struct vsock_conn *conn, struct virtio_vsock_hdr *hdr);

/* Bytes from the guest, len in all. Returns 0, -EPROTO when that exceeds its credit, -ENOMEM, or the socket's -errno. */
int vsock_conn_take(struct vsock_conn *conn, const struct iovec *iov, unsigned nr, uint32_t len);
/* Writes what waits for the host. Returns 0 when nothing is left, -EAGAIN when the socket takes no more, or its -errno. */
int vsock_conn_flush(struct vsock_conn *conn);
/* Reads bytes of the host. Returns their count, 0 at the end, or -errno (-EAGAIN: none). */
ssize_t vsock_conn_read(struct vsock_conn *conn, const struct iovec *iov, unsigned nr);

/* Reads on in the line "CONNECT <port>\n", and not past it. Returns 1 with *port set, 0 for more, -EPROTO or the socket's -errno. */
int vsock_conn_hello(struct vsock_conn *conn, uint32_t *port);
/* Answers it. Returns 0 or -errno. */
int vsock_conn_welcome(struct vsock_conn *conn);

/* Part of an iovec: len bytes from offset on, into slice of nr entries. Returns entries used. */
unsigned vsock_iov_slice(struct iovec *slice, const struct iovec *iov, unsigned nr, size_t offset, size_t len);

#endif
