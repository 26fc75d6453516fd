/*
 * The inside of the network device, shared by its files: net.c (life cycle), net_rx.c, net_tx.c, net_ctrl.c (queues).
 *
 * One thread, the worker, runs between start and stop and owns all that is not atomic here; otherwise whoever holds the device's lock
 * does. The queue files never block: they drain until there is nothing, or until their budget is used up and the others get their turn.
 */
#ifndef VIRTIO_NET_DEVICE_H
#define VIRTIO_NET_DEVICE_H

#include <ev.h>
#include <limits.h>
#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/device.h"
#include "virtio/net_backend.h"
#include "virtio/net_filter.h"
#include "virtio/worker.h"

enum { NET_QUEUE_RX, NET_QUEUE_TX, NET_QUEUE_CTRL, NET_NR_QUEUES };

/* Requests served in a row before other events get their turn. */
#define NET_BUDGET 64

/* Buffers of receive chains held: once there are so many, no other chain is taken; so that one more chain always fits. */
#define NET_RX_HOLD_IOVS 512u
#define NET_RX_IOV_ROOM (2 * VIRTQ_MAX_SIZE)

struct net_rx {
	/* Chains taken from the ring and not yet filled, oldest first: held[first..end), their buffers iov[iov_first..iov_end). */
	struct net_rx_chain {
		uint16_t head, nr_iovs;
		uint32_t len;
	} held[VIRTQ_MAX_SIZE];
	unsigned held_first, held_end;
	struct iovec iov[NET_RX_IOV_ROOM];
	unsigned iov_first, iov_end;
	size_t held_len; /* bytes in all of them */

	struct iovec call[IOV_MAX]; /* what the backend is given */
	/* A frame that the held chains could not take waits here for more of them: pending_len bytes, 0 for none. */
	struct virtio_net_hdr_v1 pending_header;
	size_t pending_len;
	uint8_t pending[NET_FRAME_MAX];
};

struct net_tx {
	bool blocked; /* a frame in the ring waits until the backend is writable */
	struct iovec iov[1 + VIRTQ_MAX_SIZE];
};

struct net_counters {
	_Atomic uint64_t packets, bytes, dropped;
};

struct net_device {
	struct virtio_device dev; /* first */
	struct net_backend *backend;
	uint8_t mac[6]; /* as configured */

	struct worker worker;
	ev_io kicks[NET_NR_QUEUES];
	ev_io readable, writable;

	_Atomic bool plugged; /* what virtio_net_set_link() said */
	_Atomic bool lost;    /* the backend is gone for good */
	struct net_counters rx_count, tx_count;

	uint64_t features; /* negotiated; a copy for the worker */
	uint64_t offloads; /* of them, the VIRTIO_NET_F_GUEST_* bits in force */
	bool offloads_set; /* offloads survive a pause, not a reset */
	struct net_filter filter;
	struct net_rx rx;
	struct net_tx tx;
};

static inline struct net_device *net_of(struct virtio_device *dev)
{
	return (struct net_device *)dev;
}

static inline bool net_has(const struct net_device *n, unsigned bit)
{
	return n->features >> bit & 1;
}

/* --- net.c --- */
bool net_link_up(const struct net_device *n);
/* The guest broke the rules on a queue: fails the device and serves nothing any more. */
void net_broken(struct net_device *n, const char *why);
/* The backend is gone: no link from now on. code is an errno value. */
void net_lost(struct net_device *n, int code);
/* Puts the offloads into force. Returns 0 or -errno. */
int net_apply_offloads(struct net_device *n, uint64_t offloads);

/* --- the queues; on the worker --- */
void net_rx_run(struct net_device *n);
void net_tx_run(struct net_device *n);
void net_ctrl_run(struct net_device *n);
/* The backend became writable. */
void net_tx_writable(struct net_device *n);

/* Gives held chains back to the ring; stopped. */
void net_rx_release(struct net_device *n);
/* Forgets chains and a waiting frame: the ring is gone. */
void net_rx_forget(struct net_device *n);

/* Adds to a counter that only this thread changes. */
static inline void net_count(_Atomic uint64_t *counter, uint64_t n)
{
	__atomic_store_n((uint64_t *)counter, __atomic_load_n((uint64_t *)counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

#endif
