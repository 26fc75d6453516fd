/*
 * See vsock_device.h: packets (virtio 1.2, 5.10.6) between the queues and the connections they belong to. Only this file touches the
 * queues. A packet that makes no sense is answered with a reset; a queue that makes no sense fails the device.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/log.h"
#include "virtio/vsock_device.h"

#define MAX_BUFFERS 64
/* Packets in one go, before the loop looks at other events. */
#define BATCH 64
#define HEADER ((uint32_t)sizeof(struct virtio_vsock_hdr))

/* --- to the guest --- */

static void stray_reset(struct vsock *vs, const struct virtio_vsock_hdr *hdr)
{
	if (hdr->op == VIRTIO_VSOCK_OP_RST)
		return; /* nobody answers a reset */
	struct vsock_stray *stray = &vs->strays[(vs->first_stray + vs->nr_strays) % VSOCK_MAX_STRAYS];
	*stray = (struct vsock_stray){
		.src_cid = hdr->dst_cid, .src_port = hdr->dst_port, .dst_port = hdr->src_port, .type = hdr->type};
	vs->nr_strays++; /* vsock_serve_tx() saw that there is room */
}

static void send_stray(struct vsock *vs, struct virtio_vsock_hdr *hdr)
{
	const struct vsock_stray *stray = &vs->strays[vs->first_stray];
	*hdr = (struct virtio_vsock_hdr){
		.src_cid = stray->src_cid,
		.dst_cid = vs->guest_cid,
		.src_port = stray->src_port,
		.dst_port = stray->dst_port,
		.type = stray->type,
		.op = VIRTIO_VSOCK_OP_RST,
	};
	vs->first_stray = (vs->first_stray + 1) % VSOCK_MAX_STRAYS;
	vs->nr_strays--;
}

/* The packet that a connection owes first: the lowest bit. 0: none, what is left is data. */
static unsigned next_owed(const struct vsock_conn *conn)
{
	return conn->owed & -conn->owed;
}

static bool has_data_to_send(const struct vsock_conn *conn)
{
	return vsock_is_readable(conn) && conn->has_data && conn->state == VSOCK_CONN_OPEN;
}

/* The host's end has nothing more to say. If it is gone altogether, so is what the guest wants to tell it. */
static void host_ended(struct vsock_conn *conn)
{
	struct pollfd p = {.fd = conn->fd};
	conn->host_shut = VIRTIO_VSOCK_SHUTDOWN_SEND;
	if (poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR))) {
		conn->host_shut |= VIRTIO_VSOCK_SHUTDOWN_RCV;
		conn->state = VSOCK_CONN_CLOSING;
		conn->buffer_len = 0;
		vsock_close_socket(conn);
	}
	conn->has_data = false;
	vsock_owe(conn, VSOCK_OWED_SHUTDOWN);
	vsock_watch(conn);
}

/* Bytes of the socket into the guest's buffers behind the header. Returns their count; 0 when there is no packet to send after all. */
static uint32_t read_data(struct vsock_conn *conn, const struct virtq_chain *chain)
{
	uint32_t room = vsock_conn_guest_room(conn);
	size_t most = chain->in_len - HEADER;
	if (most > room)
		most = room;
	if (most > VSOCK_CONN_BUFFER)
		most = VSOCK_CONN_BUFFER;
	struct iovec slice[MAX_BUFFERS];
	unsigned nr = vsock_iov_slice(slice, chain->in, chain->nr_in, HEADER, most);
	ssize_t got = vsock_conn_read(conn, slice, nr);
	if (got > 0)
		return (uint32_t)got;
	if (got == -EAGAIN) {
		conn->has_data = false;
		vsock_watch(conn);
	} else if (got == 0 || got == -ECONNRESET) {
		host_ended(conn);
	} else {
		vsock_abort_conn(conn);
	}
	return 0;
}

/* Packets without payload. conn may be gone afterwards. */
static void send_owed(struct vsock *vs, struct vsock_conn *conn, unsigned what, struct virtio_vsock_hdr *hdr)
{
	*hdr = (struct virtio_vsock_hdr){.src_cid = VSOCK_HOST_CID, .dst_cid = vs->guest_cid};
	vsock_conn_header(conn, hdr);
	conn->owed &= ~what;
	switch ((enum vsock_conn_owed)what) {
	case VSOCK_OWED_RST:
		hdr->op = VIRTIO_VSOCK_OP_RST;
		vsock_destroy_conn(conn);
		return;
	case VSOCK_OWED_REQUEST:
		hdr->op = VIRTIO_VSOCK_OP_REQUEST;
		return;
	case VSOCK_OWED_RESPONSE:
		hdr->op = VIRTIO_VSOCK_OP_RESPONSE;
		return;
	case VSOCK_OWED_CREDIT:
		hdr->op = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
		return;
	case VSOCK_OWED_CREDIT_REQUEST:
		hdr->op = VIRTIO_VSOCK_OP_CREDIT_REQUEST;
		return;
	case VSOCK_OWED_SHUTDOWN:
		hdr->op = VIRTIO_VSOCK_OP_SHUTDOWN;
		hdr->flags = conn->host_shut;
		return;
	}
}

/* Makes a packet of what the first ready connection has. Returns its length, or 0 when it had none: the list is then shorter. */
static uint32_t make_packet(struct vsock *vs, const struct virtq_chain *chain, struct virtio_vsock_hdr *hdr)
{
	struct vsock_conn *conn = TAILQ_FIRST(&vs->ready);
	vsock_leave_ready(conn);
	unsigned what = next_owed(conn);
	if (what) {
		if (what != VSOCK_OWED_RST && (conn->owed != what || has_data_to_send(conn)))
			vsock_make_ready(conn);
		send_owed(vs, conn, what, hdr);
		return HEADER;
	}
	if (!has_data_to_send(conn))
		return 0;
	if (vsock_conn_guest_room(conn) == 0) {
		/* Waits for the guest's credit: packet_for() makes it ready again. */
		if (!conn->credit_asked)
			vsock_owe(conn, VSOCK_OWED_CREDIT_REQUEST);
		conn->credit_asked = true;
		return 0;
	}
	uint32_t len = read_data(conn, chain);
	if (len == 0)
		return 0;
	vsock_make_ready(conn);
	*hdr = (struct virtio_vsock_hdr){.src_cid = VSOCK_HOST_CID, .dst_cid = vs->guest_cid, .op = VIRTIO_VSOCK_OP_RW, .len = len};
	vsock_conn_header(conn, hdr);
	return HEADER + len;
}

static bool has_work_for_rx(const struct vsock *vs)
{
	return vs->nr_strays || !TAILQ_EMPTY(&vs->ready);
}

/* Takes the next buffer for a packet: 1, 0 or -EPROTO after failing the device. */
static int pop_rx(struct vsock *vs, struct iovec iov[MAX_BUFFERS], struct virtq_chain *chain)
{
	struct virtq *q = &vs->dev.queues[VSOCK_RX];
	int ret;
	do {
		virtq_notify_off(q);
		ret = virtq_pop(q, iov, MAX_BUFFERS, chain);
	} while (ret == 0 && virtq_notify_on(q));
	if (ret < 0)
		virtio_device_fail(&vs->dev, "the receive queue is broken");
	if (ret > 0 && chain->in_len <= HEADER) {
		virtio_device_fail(&vs->dev, "a receive buffer of %zu bytes holds no packet", chain->in_len);
		return -EPROTO;
	}
	return ret;
}

void vsock_serve_rx(struct vsock *vs)
{
	struct virtq *q = &vs->dev.queues[VSOCK_RX];
	bool strays_were_full = vs->nr_strays == VSOCK_MAX_STRAYS;
	unsigned pushed = 0;
	if (virtio_device_failed(&vs->dev))
		return;
	for (unsigned i = 0; has_work_for_rx(vs); i++) {
		if (i == BATCH) {
			virtio_device_kick(&vs->dev, VSOCK_RX); /* go on after other events */
			break;
		}
		struct iovec iov[MAX_BUFFERS];
		struct virtq_chain chain;
		if (pop_rx(vs, iov, &chain) <= 0)
			break;
		struct virtio_vsock_hdr hdr;
		uint32_t len = HEADER;
		if (vs->nr_strays)
			send_stray(vs, &hdr);
		else
			len = make_packet(vs, &chain, &hdr);
		if (len == 0) {
			virtq_unpop(q);
			continue;
		}
		iov_write(chain.in, chain.nr_in, 0, &hdr, sizeof(hdr));
		virtq_push(q, chain.head, len);
		pushed++;
	}
	if (pushed)
		virtio_device_notify_guest(&vs->dev, VSOCK_RX);
	if (strays_were_full && vs->nr_strays < VSOCK_MAX_STRAYS)
		virtio_device_kick(&vs->dev, VSOCK_TX); /* the guest's packets waited for that */
}

void vsock_serve_event(struct vsock *vs)
{
	struct virtq *q = &vs->dev.queues[VSOCK_EVENT];
	if (!vs->reset_event || virtio_device_failed(&vs->dev))
		return;
	struct iovec iov[MAX_BUFFERS];
	struct virtq_chain chain;
	const struct virtio_vsock_event event = {.id = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET};
	int ret = virtq_pop(q, iov, MAX_BUFFERS, &chain);
	if (ret < 0 || (ret > 0 && chain.in_len < sizeof(event))) {
		virtio_device_fail(&vs->dev, "the event queue is broken");
		return;
	}
	if (ret == 0) {
		if (virtq_notify_on(q))
			virtio_device_kick(&vs->dev, VSOCK_EVENT);
		return;
	}
	iov_write(chain.in, chain.nr_in, 0, &event, sizeof(event));
	virtq_push(q, chain.head, sizeof(event));
	vs->reset_event = false;
	virtio_device_notify_guest(&vs->dev, VSOCK_EVENT);
}

/* --- packets of the guest --- */

/* The guest connects to a port of the host. */
static void guest_connects(struct vsock *vs, const struct virtio_vsock_hdr *hdr)
{
	int fd = vs->nr_conns < VSOCK_MAX_CONNS ? vsock_host_connect(vs->path, hdr->dst_port) : -EMFILE;
	struct vsock_conn *conn = fd < 0 ? NULL : vsock_new_conn(vs, fd, VSOCK_CONN_OPEN);
	if (!conn) {
		stray_reset(vs, hdr);
		return;
	}
	vsock_enter_bucket(conn, hdr->src_port, hdr->dst_port);
	vsock_conn_credit(conn, hdr);
	vsock_owe(conn, VSOCK_OWED_RESPONSE);
	vsock_watch(conn);
}

/* The guest accepted a connection of ours. conn may be gone afterwards. */
static void guest_responds(struct vsock_conn *conn)
{
	if (conn->state != VSOCK_CONN_REQUESTED || (conn->owed & VSOCK_OWED_REQUEST) || vsock_conn_welcome(conn)) {
		vsock_abort_conn(conn);
		return;
	}
	ev_timer_stop(conn->vsock->worker.loop, &conn->timeout);
	conn->state = VSOCK_CONN_OPEN;
	vsock_watch(conn);
}

/* conn may be gone afterwards. */
static void guest_sends(struct vsock_conn *conn, const struct virtio_vsock_hdr *hdr, const struct virtq_chain *chain)
{
	if (conn->state != VSOCK_CONN_OPEN || (conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)) {
		vsock_abort_conn(conn);
		return;
	}
	struct iovec slice[MAX_BUFFERS];
	unsigned nr = vsock_iov_slice(slice, chain->out, chain->nr_out, HEADER, hdr->len);
	vsock_written(conn, vsock_conn_take(conn, slice, nr, hdr->len));
}

/* conn may be gone afterwards. */
static void guest_shuts(struct vsock_conn *conn, uint32_t flags)
{
	if (conn->state != VSOCK_CONN_OPEN) {
		if (conn->state != VSOCK_CONN_CLOSING || (flags & VSOCK_SHUTDOWN_BOTH) == VSOCK_SHUTDOWN_BOTH)
			vsock_abort_conn(conn);
		return;
	}
	conn->guest_shut |= flags & VSOCK_SHUTDOWN_BOTH;
	if (conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		conn->has_data = false;
		shutdown(conn->fd, SHUT_RD);
	}
	vsock_written(conn, 0);
}

/* conn may be gone afterwards. */
static void packet_for(struct vsock_conn *conn, const struct virtio_vsock_hdr *hdr, const struct virtq_chain *chain)
{
	if (conn->state == VSOCK_CONN_DEAD && hdr->op != VIRTIO_VSOCK_OP_RST)
		return; /* it will hear of that */
	vsock_conn_credit(conn, hdr);
	if (vsock_conn_guest_room(conn)) {
		conn->credit_asked = false;
		conn->owed &= ~(unsigned)VSOCK_OWED_CREDIT_REQUEST;
		if (has_data_to_send(conn))
			vsock_make_ready(conn);
	}
	switch (hdr->op) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		guest_responds(conn);
		break;
	case VIRTIO_VSOCK_OP_RST:
		vsock_finish_conn(conn, true);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		guest_shuts(conn, hdr->flags);
		break;
	case VIRTIO_VSOCK_OP_RW:
		guest_sends(conn, hdr, chain);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		vsock_owe(conn, VSOCK_OWED_CREDIT);
		break;
	default: /* also a REQUEST for ports that are in use */
		vsock_abort_conn(conn);
		break;
	}
}

static void handle_packet(struct vsock *vs, const struct virtio_vsock_hdr *hdr, const struct virtq_chain *chain)
{
	if (hdr->src_cid != vs->guest_cid) {
		log_guest_error("%s: a packet from CID %llu, which is not the guest's", vs->dev.name,
				(unsigned long long)hdr->src_cid);
		return;
	}
	if (hdr->dst_cid != VSOCK_HOST_CID || hdr->type != VIRTIO_VSOCK_TYPE_STREAM) {
		stray_reset(vs, hdr);
		return;
	}
	struct vsock_conn *conn = vsock_find(vs, hdr->src_port, hdr->dst_port);
	if (conn)
		packet_for(conn, hdr, chain);
	else if (hdr->op == VIRTIO_VSOCK_OP_REQUEST)
		guest_connects(vs, hdr);
	else
		stray_reset(vs, hdr);
}

void vsock_serve_tx(struct vsock *vs)
{
	struct virtq *q = &vs->dev.queues[VSOCK_TX];
	if (virtio_device_failed(&vs->dev))
		return;
	virtq_notify_off(q);
	unsigned served = 0;
	int ret = 0;
	while (served < BATCH && vs->nr_strays < VSOCK_MAX_STRAYS) {
		struct iovec iov[MAX_BUFFERS];
		struct virtq_chain chain;
		ret = virtq_pop(q, iov, MAX_BUFFERS, &chain);
		if (ret <= 0)
			break;
		struct virtio_vsock_hdr hdr;
		if (iov_read(chain.out, chain.nr_out, 0, &hdr, sizeof(hdr)) != sizeof(hdr) || hdr.len > chain.out_len - HEADER) {
			ret = -EPROTO;
			break;
		}
		handle_packet(vs, &hdr, &chain);
		virtq_push(q, chain.head, 0);
		served++;
	}
	if (served)
		virtio_device_notify_guest(&vs->dev, VSOCK_TX);
	if (ret < 0) {
		virtio_device_fail(&vs->dev, "the transmit queue or a packet in it is broken");
		return;
	}
	vsock_serve_rx(vs);
	/* While strays fill their list, vsock_serve_rx() brings us back. */
	if (vs->nr_strays < VSOCK_MAX_STRAYS && virtq_notify_on(q))
		virtio_device_kick(&vs->dev, VSOCK_TX);
}
