/*
 * What carries a network device's frames on the host: a tap (net_tap.c) or a stream of length-prefixed frames (net_stream.c).
 *
 * Frames travel as iovecs whose first element is always the 12-byte struct virtio_net_hdr_v1, in our own memory, and whose others
 * are the frame itself, in guest memory where possible: a backend that has such headers passes the whole array to the kernel, one
 * that has not works on the rest. One thread at a time.
 */
#ifndef VIRTIO_NET_BACKEND_H
#define VIRTIO_NET_BACKEND_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* The largest frame: 64 KiB of IP behind an Ethernet header with two VLAN tags. */
#define NET_FRAME_MAX (65536u + 22u)
#define NET_HEADER_LEN 12u

struct net_backend;

struct net_backend_ops {
	/*
	 * Takes the next frame: writes its header to iov[0] and its bytes to iov[1..nr-1], what exceeds them is lost. Returns the
	 * frame's length, -EAGAIN when there is none now, -EMSGSIZE when one was thrown away, any other error when the backend is lost.
	 */
	ssize_t (*receive)(struct net_backend *b, const struct iovec *iov, int nr);
	/*
	 * Sends one frame; the buffers are no longer needed when it returns. Returns 0, -EAGAIN when it must be offered again after
	 * b->fd became writable, or another error: the frame was refused.
	 */
	int (*send)(struct net_backend *b, const struct iovec *iov, int nr);
	/* Ends a batch of sends. Returns 0, -EAGAIN to be called again after b->fd became writable, or the error that lost the backend. NULL: nothing to do. */
	int (*flush)(struct net_backend *b);
	/* Which VIRTIO_NET_F_GUEST_* abilities received frames may use from now on. Returns 0 or -errno. NULL: never any. */
	int (*set_offloads)(struct net_backend *b, uint64_t features);
	/* Closes fd and frees b. */
	void (*destroy)(struct net_backend *b);
};

struct net_backend {
	const struct net_backend_ops *ops;
	int fd;            /* non-blocking; readable when receive has something to say */
	uint64_t features; /* VIRTIO_NET_F_* bits for checksum and segmentation offloads, both directions */
	char name[96];     /* for people: "tap,ifname=tap0" */
};

/* b may be NULL. */
void net_backend_destroy(struct net_backend *b);

#endif
