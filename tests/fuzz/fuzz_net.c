/*
 * Fuzzes virtio-net: the input becomes descriptors, headers, buffers and avail entries of all three queues of a driver that breaks every
 * rule, and bytes that a peer sends on the backend's stream. After each input the device is reset, and must carry one good frame each way.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "virtio/net.h"
#include "virtio/net_header.h"
#include "virtio/net_stream.h"

#define RAM_SIZE (4u << 20)
#define QUEUE_SIZE 64u
#define NR_QUEUES 3u
#define RING_GPA(queue) (0x1000u + (queue)*0x4000u) /* descriptors; avail and used a page further each */
#define DATA_GPA 0x10000u
#define FRAME_LEN 60u
#define PATIENCE_NS 5000000000ll

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at;
	size_t left;
};

static struct guest_ram *ram;
static uint8_t *bytes;
static struct virtio_device *dev;
static int peer = -1;

static uint64_t take(struct input *in, unsigned nr)
{
	uint64_t value = 0;
	if (nr > in->left)
		nr = (unsigned)in->left;
	memcpy(&value, in->at, nr);
	in->at += nr;
	in->left -= nr;
	return value;
}

static void need(bool condition)
{
	if (!condition)
		abort();
}

static long long now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* A device on a new pair of sockets: a peer that broke the stream has lost its link for good. */
static void make_device(void)
{
	int pair[2];
	struct net_backend *backend;
	need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
	need(net_stream_create(pair[0], "fuzz", &backend, NULL) == 0);
	/* Offloads that a stream would never get, so that headers are looked at. */
	backend->features = NET_HOST_OFFLOADS | NET_GUEST_OFFLOADS;
	struct virtio_net_params params = {.name = "fuzz", .mac = {2}, .queue_size = QUEUE_SIZE, .backend = backend};
	need(virtio_net_create(&params, ram, &dev, NULL) == 0);
	peer = pair[1];
}

static void set_up(void)
{
	log_open("fuzz", 0);
	struct guest_ram_region region = {.size = RAM_SIZE};
	need(guest_ram_create(&region, 1, &ram, NULL) == 0);
	bytes = guest_ram_at(ram, 0, RAM_SIZE);
	make_device();
}

static struct vring ring_of(unsigned queue)
{
	struct vring ring;
	vring_init(&ring, QUEUE_SIZE, bytes + RING_GPA(queue), 4096);
	ring.avail = (struct vring_avail *)(bytes + RING_GPA(queue) + 0x1000);
	ring.used = (struct vring_used *)(bytes + RING_GPA(queue) + 0x2000);
	return ring;
}

static void start(uint64_t features)
{
	memset(bytes + RING_GPA(0), 0, RING_GPA(NR_QUEUES) - RING_GPA(0));
	features = (features & dev->features_offered) | NET_BIT(VIRTIO_F_VERSION_1);
	virtio_device_set_status(dev, 0);
	virtio_device_ack_features(dev, 0, (uint32_t)features);
	virtio_device_ack_features(dev, 1, (uint32_t)(features >> 32));
	virtio_device_set_status(dev, VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned i = 0; i < NR_QUEUES; i++) {
		dev->queues[i].size = QUEUE_SIZE;
		dev->queues[i].desc_gpa = RING_GPA(i);
		dev->queues[i].avail_gpa = RING_GPA(i) + 0x1000;
		dev->queues[i].used_gpa = RING_GPA(i) + 0x2000;
		virtio_device_enable_queue(dev, i);
	}
}

static void run(void)
{
	virtio_device_set_status(dev, VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* One descriptor, wild or nearly right. */
static void fuzz_descriptor(struct input *in, struct vring_desc *d)
{
	unsigned how = (unsigned)take(in, 1);
	d->addr = how & 1 ? take(in, 8) : DATA_GPA + take(in, 2) * 16;
	d->len = how & 2 ? (uint32_t)take(in, 4) : (uint32_t)take(in, 2) % 3000;
	d->flags = how & 4 ? (uint16_t)take(in, 2) : how >> 3 & (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE);
	d->next = (uint16_t)(take(in, 1) % (how & 0x80 ? 256 : QUEUE_SIZE));
}

static void fuzz_queue(struct input *in, unsigned queue)
{
	struct vring ring = ring_of(queue);
	unsigned nr = 1 + (unsigned)take(in, 1) % QUEUE_SIZE;
	unsigned waiting = (unsigned)take(in, 1);
	for (unsigned i = 0; i < nr && in->left; i++) {
		fuzz_descriptor(in, &ring.desc[i]);
		ring.avail->ring[i] = (uint16_t)(waiting & 0x80 ? take(in, 1) : i);
	}
	__atomic_store_n(&ring.avail->idx, (uint16_t)(waiting & 0x7f), __ATOMIC_RELEASE);
}

static void wait_idle(unsigned queue)
{
	/* Only so that most inputs are looked at before they are gone: whatever comes out is right. */
	struct vring ring = ring_of(queue);
	long long end = now_ns() + 300000;
	uint16_t idx = __atomic_load_n(&ring.avail->idx, __ATOMIC_RELAXED);
	while (__atomic_load_n(&ring.used->idx, __ATOMIC_ACQUIRE) != idx && !virtio_device_failed(dev) && now_ns() < end)
		sched_yield();
}

static void drain_peer(void)
{
	uint8_t junk[65536];
	while (recv(peer, junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
}

static bool used_up(unsigned queue)
{
	struct vring ring = ring_of(queue);
	long long end = now_ns() + PATIENCE_NS;
	while (__atomic_load_n(&ring.used->idx, __ATOMIC_ACQUIRE) == 0) {
		if (now_ns() > end)
			return false;
		sched_yield();
	}
	return true;
}

/* A frame each way, on a device that was reset after whatever happened. */
static void probe(void)
{
	static const uint8_t length[4] = {0, 0, 0, FRAME_LEN};
	uint8_t frame[4 + FRAME_LEN] = {0};
	virtio_device_set_status(dev, 0);
	/* What the input left half said on the stream cannot be taken back. */
	virtio_device_destroy(dev);
	close(peer);
	make_device();
	start(NET_BIT(VIRTIO_NET_F_MRG_RXBUF));
	struct vring rx = ring_of(0);
	struct vring tx = ring_of(1);
	rx.desc[0] = (struct vring_desc){.addr = DATA_GPA, .len = 2000, .flags = VRING_DESC_F_WRITE};
	memset(bytes + DATA_GPA + 4096, 0, NET_HEADER_LEN + FRAME_LEN);
	tx.desc[0] = (struct vring_desc){.addr = DATA_GPA + 4096, .len = NET_HEADER_LEN + FRAME_LEN};
	rx.avail->idx = tx.avail->idx = 1;
	run();
	memcpy(frame, length, sizeof(length));
	need(send(peer, frame, sizeof(frame), MSG_NOSIGNAL) == sizeof(frame));
	need(used_up(0) && used_up(1));
	need(rx.used->ring[0].len == NET_HEADER_LEN + FRAME_LEN);
	/* The buffers are returned once the backend has the frame, and it writes at the end of the batch. */
	virtio_device_set_status(dev, 0);
	need(recv(peer, frame, sizeof(frame), 0) == sizeof(frame) && !memcmp(frame, length, sizeof(length)));
	need(!virtio_device_failed(dev));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!dev)
		set_up();
	struct input in = {data, size};
	uint64_t features = take(&in, 1) & 1 ? UINT64_MAX : take(&in, 8);
	start(features);
	/* Headers and commands to point at. */
	size_t nr = take(&in, 1) * 4;
	nr = nr < in.left ? nr : in.left;
	memcpy(bytes + DATA_GPA, in.at, nr);
	in.at += nr;
	in.left -= nr;
	for (unsigned queue = 0; queue < NR_QUEUES; queue++)
		fuzz_queue(&in, queue);
	bool wild = take(&in, 1) & 1;
	if (!wild && in.left) {
		/* One good frame around the rest. */
		uint32_t word = __builtin_bswap32((uint32_t)in.left);
		need(send(peer, &word, sizeof(word), MSG_NOSIGNAL) == sizeof(word));
	}
	if (in.left && send(peer, in.at, in.left, MSG_NOSIGNAL) < 0)
		abort();
	run();
	for (unsigned queue = 0; queue < NR_QUEUES; queue++)
		wait_idle(queue);
	if (!virtio_device_failed(dev)) {
		virtio_device_pause(dev);
		virtio_device_resume(dev);
	}
	drain_peer();
	probe();
	return 0;
}
