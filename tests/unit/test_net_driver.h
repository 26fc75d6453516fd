/*
 * A guest's network driver over plain memory, for tests of the real device: rings, buffers, waiting. What a test wants to break, it
 * writes to the rings itself.
 */
#ifndef TEST_NET_DRIVER_H
#define TEST_NET_DRIVER_H

#include <check.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "memmgr/guest_ram.h"
#include "virtio/net.h"
#include "virtio/net_header.h"
#include "virtio/net_stream.h"

#define RAM_SIZE (32u << 20)
#define RING_SIZE 256
#define Q_RX 0
#define Q_TX 1
#define Q_CTRL 2
#define WAIT_MS 10000

struct ring {
	struct vring vring;
	uint64_t gpa;
	uint16_t next_desc; /* descriptors are used round robin: no test has more than a ring in flight */
	uint16_t avail_idx, used_seen;
};

struct driver {
	struct virtio_transport transport; /* first */
	_Atomic unsigned interrupts[3], config_interrupts;
	struct guest_ram *ram;
	struct virtio_device *dev;
	struct ring rings[3];
	unsigned ring_size;
	bool event_idx;
	uint64_t next_gpa; /* memory not handed out yet */
	int peer;          /* our end of the backend's socket */
};

static inline void driver_queue_interrupt(struct virtio_transport *t, unsigned queue)
{
	((struct driver *)t)->interrupts[queue]++;
}

static inline void driver_config_interrupt(struct virtio_transport *t)
{
	((struct driver *)t)->config_interrupts++;
}

static const struct virtio_transport_ops driver_transport_ops = {driver_queue_interrupt, driver_config_interrupt};
static const uint8_t driver_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

static inline void pause_ms(unsigned ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
	nanosleep(&ts, NULL);
}

static inline unsigned driver_seed(void)
{
	const char *text = getenv("PAGODA_SEED");
	unsigned seed = text ? (unsigned)strtoul(text, NULL, 0) : (unsigned)time(NULL);
	/* Check keeps the output of tests that pass as well: it is one line. */
	fprintf(stderr, "seed: PAGODA_SEED=%u\n", seed);
	return seed;
}

static inline uint64_t driver_alloc(struct driver *d, size_t len)
{
	uint64_t gpa = d->next_gpa;
	d->next_gpa += (len + 63) & ~(uint64_t)63;
	ck_assert_uint_le(d->next_gpa, RAM_SIZE);
	return gpa;
}

static inline void *driver_at(struct driver *d, uint64_t gpa, size_t len)
{
	void *p = guest_ram_at(d->ram, gpa, len);
	ck_assert_ptr_nonnull(p);
	return p;
}

/* Makes the device on this backend, with no driver at work yet. */
static inline void driver_create(struct driver *d, struct net_backend *backend)
{
	struct guest_ram_region region = {.gpa = 0, .size = RAM_SIZE};
	struct error err = {0};
	memset(d, 0, sizeof(*d));
	d->transport.ops = &driver_transport_ops;
	d->peer = -1;
	d->next_gpa = 4096;
	ck_assert_int_eq(guest_ram_create(&region, 1, &d->ram, &err), 0);
	struct virtio_net_params params = {.name = "virtio-net0", .queue_size = RING_SIZE, .mtu = 1500, .backend = backend};
	memcpy(params.mac, driver_mac, 6);
	ck_assert_msg(virtio_net_create(&params, d->ram, &d->dev, &err) == 0, "%s", err.text);
	d->dev->transport = &d->transport;
}

static inline void driver_create_stream(struct driver *d)
{
	int pair[2];
	struct net_backend *backend;
	struct error err = {0};
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_int_eq(net_stream_create(pair[0], "stream", &backend, &err), 0);
	driver_create(d, backend);
	d->peer = pair[1];
}

/* Negotiates and starts with rings of ring_size. */
static inline void driver_start(struct driver *d, uint64_t features, unsigned ring_size)
{
	struct virtio_device *dev = d->dev;
	features |= NET_BIT(VIRTIO_F_VERSION_1);
	d->event_idx = features & NET_BIT(VIRTIO_RING_F_EVENT_IDX);
	d->ring_size = ring_size;
	virtio_device_set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	virtio_device_ack_features(dev, 0, (uint32_t)features);
	virtio_device_ack_features(dev, 1, (uint32_t)(features >> 32));
	virtio_device_set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
	ck_assert(virtio_device_get_status(dev) & VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned i = 0; i < 3; i++) {
		struct ring *r = &d->rings[i];
		size_t size = vring_size(ring_size, 4096);
		memset(r, 0, sizeof(*r));
		d->next_gpa = (d->next_gpa + 4095) & ~4095ull;
		r->gpa = driver_alloc(d, size);
		void *memory = driver_at(d, r->gpa, size);
		memset(memory, 0, size);
		vring_init(&r->vring, ring_size, memory, 4096);
		dev->queues[i].size = (uint16_t)ring_size;
		dev->queues[i].desc_gpa = r->gpa;
		dev->queues[i].avail_gpa = r->gpa + (uint64_t)((uint8_t *)r->vring.avail - (uint8_t *)memory);
		dev->queues[i].used_gpa = r->gpa + (uint64_t)((uint8_t *)r->vring.used - (uint8_t *)memory);
		virtio_device_enable_queue(dev, i);
	}
	virtio_device_set_status(dev, 0xf);
	ck_assert(!virtio_device_failed(dev));
}

static inline void driver_reset(struct driver *d)
{
	virtio_device_set_status(d->dev, 0);
}

static inline void driver_destroy(struct driver *d)
{
	virtio_device_destroy(d->dev);
	guest_ram_destroy(d->ram);
	if (d->peer >= 0)
		close(d->peer);
}

struct buffer {
	uint64_t gpa;
	uint32_t len;
	bool in;
};

/* Makes one chain available, without a kick. Returns its head. */
static inline uint16_t ring_add(struct driver *d, unsigned queue, const struct buffer *buffers, unsigned nr)
{
	struct ring *r = &d->rings[queue];
	uint16_t mask = (uint16_t)(d->ring_size - 1);
	uint16_t head = r->next_desc & mask;
	for (unsigned i = 0; i < nr; i++) {
		uint16_t at = r->next_desc & mask;
		r->vring.desc[at].addr = buffers[i].gpa;
		r->vring.desc[at].len = buffers[i].len;
		r->vring.desc[at].flags =
			(uint16_t)((buffers[i].in ? VRING_DESC_F_WRITE : 0) | (i + 1 < nr ? VRING_DESC_F_NEXT : 0));
		r->next_desc++;
		r->vring.desc[at].next = r->next_desc & mask;
	}
	__atomic_store_n(&r->vring.avail->ring[r->avail_idx & mask], head, __ATOMIC_RELAXED);
	r->avail_idx++;
	__atomic_store_n(&r->vring.avail->idx, r->avail_idx, __ATOMIC_RELEASE);
	return head;
}

static inline void ring_kick(struct driver *d, unsigned queue)
{
	virtio_device_kick(d->dev, queue);
}

/* Kicks as a real driver does: only if the device asked for it. Returns whether it did. */
static inline bool ring_kick_if_wanted(struct driver *d, unsigned queue, uint16_t before)
{
	struct ring *r = &d->rings[queue];
	static _Atomic unsigned turn;
	atomic_fetch_add(&turn, 1); /* a full barrier that the thread sanitizer understands */
	bool want;
	if (d->event_idx)
		want = vring_need_event(__atomic_load_n(&vring_avail_event(&r->vring), __ATOMIC_RELAXED), r->avail_idx, before);
	else
		want = !(__atomic_load_n(&r->vring.used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY);
	if (want)
		virtio_device_kick(d->dev, queue);
	return want;
}

/* The next used chain: true with head and length, false when there is none within wait_ms. */
static inline bool ring_get(struct driver *d, unsigned queue, uint32_t *head, uint32_t *len, unsigned wait_ms)
{
	struct ring *r = &d->rings[queue];
	for (unsigned spent = 0;; spent++) {
		if (__atomic_load_n(&r->vring.used->idx, __ATOMIC_ACQUIRE) != r->used_seen) {
			struct vring_used_elem *elem = &r->vring.used->ring[r->used_seen & (d->ring_size - 1)];
			*head = __atomic_load_n(&elem->id, __ATOMIC_RELAXED);
			*len = __atomic_load_n(&elem->len, __ATOMIC_RELAXED);
			r->used_seen++;
			return true;
		}
		if (spent >= wait_ms)
			return false;
		pause_ms(1);
	}
}

/* Sends a frame behind a header, in one buffer each; returns once the device took it. */
static inline void driver_send(struct driver *d, const struct virtio_net_hdr_v1 *header, const void *frame, size_t len)
{
	uint64_t gpa = driver_alloc(d, sizeof(*header) + len);
	uint32_t head, used;
	guest_ram_write(d->ram, gpa, header, sizeof(*header));
	guest_ram_write(d->ram, gpa + sizeof(*header), frame, len);
	struct buffer b[2] = {{gpa, sizeof(*header), false}, {gpa + sizeof(*header), (uint32_t)len, false}};
	uint16_t sent = ring_add(d, Q_TX, b, len ? 2 : 1);
	ring_kick(d, Q_TX);
	ck_assert(ring_get(d, Q_TX, &head, &used, WAIT_MS));
	ck_assert_uint_eq(head, sent);
	ck_assert_uint_eq(used, 0);
}

/* Gives nr receive buffers of len bytes each; remembers where they are in gpas[head]. */
static inline void driver_give(struct driver *d, unsigned nr, uint32_t len, uint64_t *gpas)
{
	for (unsigned i = 0; i < nr; i++) {
		struct buffer b = {driver_alloc(d, len), len, true};
		gpas[ring_add(d, Q_RX, &b, 1)] = b.gpa;
	}
	ring_kick(d, Q_RX);
}

/* Takes one frame out of the used ring, put together from as many buffers as the header says. Returns its length, -1 for none. */
static inline ssize_t driver_receive(struct driver *d, const uint64_t *gpas, struct virtio_net_hdr_v1 *header, uint8_t *frame,
				     unsigned wait_ms)
{
	uint32_t head, len;
	size_t total = 0;
	if (!ring_get(d, Q_RX, &head, &len, wait_ms))
		return -1;
	ck_assert_uint_ge(len, sizeof(*header));
	ck_assert_uint_lt(head, d->ring_size);
	guest_ram_read(d->ram, gpas[head], header, sizeof(*header));
	guest_ram_read(d->ram, gpas[head] + sizeof(*header), frame, len - sizeof(*header));
	total = len - sizeof(*header);
	ck_assert_uint_ge(header->num_buffers, 1);
	for (unsigned i = 1; i < header->num_buffers; i++) {
		ck_assert(ring_get(d, Q_RX, &head, &len, WAIT_MS));
		ck_assert_uint_lt(head, d->ring_size);
		guest_ram_read(d->ram, gpas[head], frame + total, len);
		total += len;
	}
	return (ssize_t)total;
}

/* The stream's other end. */
static inline void peer_send(struct driver *d, const void *frame, size_t len)
{
	uint8_t word[4] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};
	ck_assert_int_eq(send(d->peer, word, 4, MSG_NOSIGNAL), 4);
	ck_assert_int_eq(send(d->peer, frame, len, MSG_NOSIGNAL), (ssize_t)len);
}

static inline size_t peer_receive(struct driver *d, uint8_t *frame)
{
	uint8_t word[4];
	struct timeval limit = {.tv_sec = WAIT_MS / 1000};
	setsockopt(d->peer, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	ck_assert_int_eq(recv(d->peer, word, 4, MSG_WAITALL), 4);
	size_t len = (size_t)word[0] << 24 | (size_t)word[1] << 16 | (size_t)word[2] << 8 | word[3];
	ck_assert_uint_le(len, NET_FRAME_MAX);
	ck_assert_int_eq(recv(d->peer, frame, len, MSG_WAITALL), (ssize_t)len);
	return len;
}

static inline bool peer_has_nothing(struct driver *d)
{
	uint8_t byte;
	pause_ms(20);
	return recv(d->peer, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
}

/* Waits until the device failed. */
static inline bool driver_sees_failure(struct driver *d)
{
	for (unsigned i = 0; i < WAIT_MS; i++) {
		if (virtio_device_get_status(d->dev) & VIRTIO_CONFIG_S_NEEDS_RESET)
			return true;
		pause_ms(1);
	}
	return false;
}

/* Recognizable bytes behind an Ethernet header to the guest's address. */
static inline void fill_frame(uint8_t *frame, size_t len, unsigned tag)
{
	for (size_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(tag * 31 + i * 7 + (i >> 8));
	if (len >= 14) {
		memcpy(frame, driver_mac, 6);
		memcpy(frame + 6, "\x02\0\0\0\0\1\x88\xb5", 8);
	}
}

#endif
