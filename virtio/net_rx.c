/*
 * Frames to the guest, without a copy of ours: the backend writes straight into the guest's buffers.
 *
 * The length of a frame is known only after it was read, so buffers for the largest one are taken from the ring beforehand and held;
 * each frame uses up a few, and those are taken anew before the next. Behind them, the last iovec given to the backend is memory of
 * our own (pending), so that a frame that needs more than the guest has given is not cut off: it waits there.
 *
 *      ring --take_chains--> held --deliver--> used ring
 *                             |  ^
 *       frame too long: spill |  | deliver_pending, once enough is held
 *                             v  |
 *                           pending --drop--> (no merging of buffers, or the ring is full and yet too small)
 *
 * While the guest gives no buffers, the backend is not watched: wait_for_chains() turns to the guest's kicks instead.
 *
 * Invariants:
 *  1. Held chains are the last ones taken from the ring, in its order: net_rx_release() un-takes exactly them.
 *  2. held_len is the sum of their lengths, and iov[iov_first..iov_end) are their buffers; each chain has room for a header.
 *  3. While pending_len is not 0 nothing is read from the backend.
 *  4. Without merging at most one chain is held.
 */
#include <errno.h>
#include <string.h>

#include "virtio/net_device.h"
#include "virtio/net_header.h"

static unsigned nr_held(const struct net_rx *rx)
{
	return rx->held_end - rx->held_first;
}

static unsigned nr_iovs(const struct net_rx *rx)
{
	return rx->iov_end - rx->iov_first;
}

/* Moves the windows to the front when the next chain might not fit behind them. */
static void make_room(struct net_rx *rx)
{
	if (rx->iov_end + VIRTQ_MAX_SIZE > NET_RX_IOV_ROOM) {
		memmove(rx->iov, rx->iov + rx->iov_first, nr_iovs(rx) * sizeof(rx->iov[0]));
		rx->iov_end -= rx->iov_first;
		rx->iov_first = 0;
	}
	if (rx->held_end == sizeof(rx->held) / sizeof(rx->held[0])) {
		memmove(rx->held, rx->held + rx->held_first, nr_held(rx) * sizeof(rx->held[0]));
		rx->held_end -= rx->held_first;
		rx->held_first = 0;
	}
}

/* Holds chains for the largest frame, or what there is. Returns 0 or -EPROTO. */
static int take_chains(struct net_device *n)
{
	struct net_rx *rx = &n->rx;
	size_t wanted = net_has(n, VIRTIO_NET_F_MRG_RXBUF) ? NET_HEADER_LEN + NET_FRAME_MAX : 1; /* invariant 4 */
	while (rx->held_len < wanted && nr_iovs(rx) < NET_RX_HOLD_IOVS) {
		struct virtq_chain chain;
		make_room(rx);
		int ret = virtq_pop(&n->dev.queues[NET_QUEUE_RX], rx->iov + rx->iov_end, VIRTQ_MAX_SIZE, &chain);
		if (ret <= 0)
			return ret;
		if (chain.nr_out || chain.in_len < NET_HEADER_LEN)
			return -EPROTO; /* invariant 2; virtio 1.2, 5.1.6.3.1 */
		rx->held[rx->held_end++] = (struct net_rx_chain){
			.head = chain.head,
			.nr_iovs = chain.nr_in,
			.len = (uint32_t)chain.in_len,
		};
		rx->iov_end += chain.nr_in;
		rx->held_len += chain.in_len;
	}
	return 0;
}

void net_rx_release(struct net_device *n)
{
	for (unsigned i = nr_held(&n->rx); i; i--)
		virtq_unpop(&n->dev.queues[NET_QUEUE_RX]); /* invariant 1 */
	n->rx.held_first = n->rx.held_end = 0;
	n->rx.iov_first = n->rx.iov_end = 0;
	n->rx.held_len = 0;
}

void net_rx_forget(struct net_device *n)
{
	n->rx.held_first = n->rx.held_end = 0;
	n->rx.iov_first = n->rx.iov_end = 0;
	n->rx.held_len = 0;
	n->rx.pending_len = 0;
}

/* Hands over the chains that a frame of len bytes fills, whose bytes are there already, with its header. held_len is large enough. */
static void deliver(struct net_device *n, struct virtio_net_hdr_v1 *header, size_t len)
{
	struct net_rx *rx = &n->rx;
	struct virtq *q = &n->dev.queues[NET_QUEUE_RX];
	const struct net_rx_chain *first = &rx->held[rx->held_first];
	const struct iovec *first_iov = &rx->iov[rx->iov_first];
	uint16_t used = 0;
	size_t left = NET_HEADER_LEN + len;
	while (left) {
		const struct net_rx_chain *chain = &rx->held[rx->held_first++];
		uint32_t part = left < chain->len ? (uint32_t)left : chain->len;
		virtq_fill(q, chain->head, part, used++);
		rx->iov_first += chain->nr_iovs;
		rx->held_len -= chain->len;
		left -= part;
	}
	header->num_buffers = used; /* 1 without merging, as it must be (virtio 1.2, 5.1.6.4.1) */
	iov_write(first_iov, first->nr_iovs, 0, header, sizeof(*header));
	virtq_flush(q, used);
	net_count(&n->rx_count.packets, 1);
	net_count(&n->rx_count.bytes, len);
}

static bool deliver_pending(struct net_device *n)
{
	struct net_rx *rx = &n->rx;
	if (rx->held_len < NET_HEADER_LEN + rx->pending_len)
		return false;
	iov_write(rx->iov + rx->iov_first, nr_iovs(rx), NET_HEADER_LEN, rx->pending, rx->pending_len);
	deliver(n, &rx->pending_header, rx->pending_len);
	rx->pending_len = 0;
	return true;
}

/* Whether the guest can give no more buffers before it gets some of these back: its ring holds no further descriptors. */
static bool ring_is_full(const struct net_device *n)
{
	unsigned size = n->dev.queues[NET_QUEUE_RX].size;
	return nr_held(&n->rx) >= size || nr_iovs(&n->rx) >= size || nr_iovs(&n->rx) >= NET_RX_HOLD_IOVS;
}

/* Lists where a frame goes: header, held buffers behind the room for a header, spill. Returns the bytes before the spill. */
static size_t list_buffers(struct net_rx *rx, struct virtio_net_hdr_v1 *header, int *nr)
{
	struct iovec *call = rx->call;
	int end = 0;
	size_t room = 0;
	size_t skip = NET_HEADER_LEN;
	call[end++] = (struct iovec){.iov_base = header, .iov_len = sizeof(*header)};
	for (unsigned i = rx->iov_first; i < rx->iov_end && end < IOV_MAX - 1; i++) {
		struct iovec iov = rx->iov[i];
		if (skip) {
			size_t part = skip < iov.iov_len ? skip : iov.iov_len;
			iov.iov_base = (uint8_t *)iov.iov_base + part;
			iov.iov_len -= part;
			skip -= part;
			if (!iov.iov_len)
				continue;
		}
		room += iov.iov_len;
		call[end++] = iov;
	}
	if (room < sizeof(rx->pending))
		call[end++] = (struct iovec){.iov_base = rx->pending + room, .iov_len = sizeof(rx->pending) - room};
	*nr = end;
	return room;
}

static bool wanted(const struct net_device *n, struct virtio_net_hdr_v1 *header, const struct iovec *frame, int nr, size_t len)
{
	uint8_t destination[6] = {0};
	if (len < sizeof(destination) || iov_read(frame, (size_t)nr, 0, destination, sizeof(destination)) < sizeof(destination))
		return false;
	return net_link_up(n) && net_filter_wants(&n->filter, destination) && net_header_check_rx(header, n->offloads);
}

/* Takes one frame from the backend; a chain is held. Returns 0, -EAGAIN, or the error that lost the backend. */
static int receive_one(struct net_device *n)
{
	struct net_rx *rx = &n->rx;
	struct virtio_net_hdr_v1 header = {0};
	int nr;
	size_t room = list_buffers(rx, &header, &nr);
	ssize_t ret = n->backend->ops->receive(n->backend, rx->call, nr);
	if (ret < 0 && ret != -EMSGSIZE)
		return (int)ret;
	size_t len = ret < 0 ? 0 : (size_t)ret;
	if (!wanted(n, &header, rx->call + 1, nr - 1, len)) {
		net_count(&n->rx_count.dropped, 1);
	} else if (len <= room) {
		deliver(n, &header, len);
	} else if (net_has(n, VIRTIO_NET_F_MRG_RXBUF)) {
		iov_read(rx->call + 1, (size_t)nr - 1, 0, rx->pending, room);
		rx->pending_header = header;
		rx->pending_len = len;
	} else {
		net_count(&n->rx_count.dropped, 1); /* the guest's buffers are too small for what it negotiated */
	}
	return 0;
}

/* Watches for the guest's buffers instead of the backend's frames. False when buffers came meanwhile. */
static bool wait_for_chains(struct net_device *n)
{
	struct virtq *q = &n->dev.queues[NET_QUEUE_RX];
	if (virtq_notify_on(q)) {
		virtq_notify_off(q);
		return false;
	}
	ev_io_stop(n->worker.loop, &n->readable);
	return true;
}

/* False when there is nothing more to do now. */
static bool step(struct net_device *n)
{
	struct net_rx *rx = &n->rx;
	if (take_chains(n)) {
		net_broken(n, "the guest broke the receive queue");
		return false;
	}
	if (rx->pending_len) { /* invariant 3 */
		if (deliver_pending(n))
			return true;
		if (ring_is_full(n)) {
			rx->pending_len = 0;
			net_count(&n->rx_count.dropped, 1);
			return true;
		}
		return !wait_for_chains(n);
	}
	if (!nr_held(rx))
		return !wait_for_chains(n);
	int ret = receive_one(n);
	if (ret == -EAGAIN)
		ev_io_start(n->worker.loop, &n->readable);
	else if (ret)
		net_lost(n, -ret);
	return ret == 0;
}

void net_rx_run(struct net_device *n)
{
	if (n->lost || !n->dev.queues[NET_QUEUE_RX].enabled)
		return;
	virtq_notify_off(&n->dev.queues[NET_QUEUE_RX]);
	unsigned budget = NET_BUDGET;
	while (budget && step(n))
		budget--;
	virtio_device_notify_guest(&n->dev, NET_QUEUE_RX);
	if (!budget)
		virtio_device_kick(&n->dev, NET_QUEUE_RX); /* more may wait where no descriptor shows it */
}
