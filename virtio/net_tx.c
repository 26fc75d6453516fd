/*
 * Frames from the guest: each chain is a header, which is copied and checked, and a frame, which the backend takes from the guest's
 * buffers. A frame that is refused is dropped and counted; only a chain that cannot be understood breaks the device.
 *
 * While we drain the ring the guest need not notify us; its used buffers are published and the interrupt is decided on once a batch.
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <sched.h>

#include "virtio/net_device.h"
#include "virtio/net_header.h"

/* Buffers returned before they are published at the latest, so that a guest in need of room gets on. */
#define PUBLISH_AFTER 16

/*
 * Replaces the guest's header at the front of the chain by ours: returns the index of the first iovec to send. Slot 0 is free, so
 * there is always one before the frame.
 */
static int put_header(struct iovec *iov, int end, struct virtio_net_hdr_v1 *header)
{
	int i = 1;
	size_t skip = sizeof(*header);
	while (i < end && skip >= iov[i].iov_len)
		skip -= iov[i++].iov_len;
	if (skip) {
		iov[i].iov_base = (uint8_t *)iov[i].iov_base + skip;
		iov[i].iov_len -= skip;
	}
	iov[i - 1] = (struct iovec){.iov_base = header, .iov_len = sizeof(*header)};
	return i - 1;
}

/* Returns 0 when the chain is done with, -EAGAIN when its frame must wait, -EPROTO. */
static int transmit(struct net_device *n, const struct virtq_chain *chain)
{
	struct virtio_net_hdr_v1 header;
	if (chain->nr_in || iov_read(chain->out, chain->nr_out, 0, &header, sizeof(header)) < sizeof(header))
		return -EPROTO;
	size_t len = chain->out_len - sizeof(header);
	int end = 1 + chain->nr_out;
	bool good = len >= ETH_HLEN && len <= NET_FRAME_MAX && net_link_up(n) && net_header_check_tx(&header, len, n->features);
	if (good) {
		int first = put_header(n->tx.iov, end, &header);
		int ret = n->backend->ops->send(n->backend, n->tx.iov + first, end - first);
		if (ret == -EAGAIN)
			return -EAGAIN;
		good = ret == 0;
	}
	if (good) {
		net_count(&n->tx_count.packets, 1);
		net_count(&n->tx_count.bytes, len);
	} else {
		net_count(&n->tx_count.dropped, 1);
	}
	return 0;
}

/* Ends the batch at the backend, and watches whether it can take more if it could not take all. */
static void flush(struct net_device *n)
{
	int ret = n->backend->ops->flush && !n->lost ? n->backend->ops->flush(n->backend) : 0;
	if (ret == -EAGAIN || n->tx.blocked)
		ev_io_start(n->worker.loop, &n->writable);
	else if (ret)
		net_lost(n, -ret);
	else
		ev_io_stop(n->worker.loop, &n->writable);
}

static void publish(struct virtq *q, uint16_t *staged)
{
	if (*staged)
		virtq_flush(q, *staged);
	*staged = 0;
}

/* Returns 1 when the budget is used up, 0 when all is sent, -EAGAIN, -EPROTO. */
static int drain(struct net_device *n)
{
	struct virtq *q = &n->dev.queues[NET_QUEUE_TX];
	uint16_t staged = 0;
	unsigned budget = NET_BUDGET;
	bool sent = false; /* since we last gave way */
	int ret;
	for (;;) {
		struct virtq_chain chain;
		ret = virtq_pop(q, n->tx.iov + 1, VIRTQ_MAX_SIZE, &chain);
		if (ret < 0)
			break;
		if (ret == 0) {
			publish(q, &staged);
			/* A guest that shares our CPU gets the chance to queue more, which spares it the next notification. */
			if (sent) {
				sent = false;
				sched_yield();
				continue;
			}
			if (!virtq_notify_on(q))
				break;
			virtq_notify_off(q);
			continue;
		}
		ret = transmit(n, &chain);
		if (ret) {
			virtq_unpop(q);
			break;
		}
		sent = true;
		virtq_fill(q, chain.head, 0, staged++);
		if (staged == PUBLISH_AFTER)
			publish(q, &staged);
		if (!--budget) {
			ret = 1;
			break;
		}
	}
	publish(q, &staged);
	return ret;
}

void net_tx_run(struct net_device *n)
{
	struct virtq *q = &n->dev.queues[NET_QUEUE_TX];
	if (n->tx.blocked || !q->enabled)
		return;
	virtq_notify_off(q);
	int ret = drain(n);
	n->tx.blocked = ret == -EAGAIN;
	flush(n);
	virtio_device_notify_guest(&n->dev, NET_QUEUE_TX);
	if (ret == -EPROTO)
		net_broken(n, "the guest broke the transmit queue");
	else if (ret == 1)
		virtio_device_kick(&n->dev, NET_QUEUE_TX);
}

void net_tx_writable(struct net_device *n)
{
	n->tx.blocked = false;
	ev_io_stop(n->worker.loop, &n->writable);
	net_tx_run(n);
}
