/*
 * A virtio-blk driver over plain memory: what a guest's kernel does, in the thread of the test. It keeps to the rules unless a test
 * makes it break them, kicks only when the device asks for it, and sleeps until it is interrupted, so that lost notifications and lost
 * interrupts show as timeouts.
 *
 * RAM: one page each for descriptors, avail and used ring of a queue; one page per slot (header, status, indirect table); then data.
 */
#ifndef TEST_BLK_DRIVER_H
#define TEST_BLK_DRIVER_H

#include <check.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "virtio/blk.h"

#define GUEST_QUEUE_MAX 4
#define GUEST_SLOTS 128 /* size of each queue */
#define GUEST_RAM_SIZE (32u << 20)
#define GUEST_RING_GPA(queue, page) (0x10000ull + (queue)*0x8000ull + (page)*0x1000ull)
#define GUEST_SLOT_GPA(queue, slot) (0x100000ull + ((queue)*GUEST_SLOTS + (slot)) * 0x1000ull)
#define GUEST_DATA_GPA 0x800000ull /* data of tests */
#define GUEST_TIMEOUT_S 30

struct guest_queue {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx, used_seen, kicked_at;
	bool busy[GUEST_SLOTS]; /* slots under way */
	unsigned nr_busy;
};

struct guest {
	struct virtio_transport transport; /* first */
	struct guest_ram *ram;
	uint8_t *bytes; /* of RAM, from gpa 0 */
	struct virtio_device *dev;
	bool event_idx, indirect;
	unsigned nr_queues;
	struct guest_queue queues[GUEST_QUEUE_MAX];
	sem_t interrupts;
	atomic_uint nr_interrupts, nr_config_interrupts;
	unsigned nr_kicks;
	atomic_uint fence;
};

/* A data buffer of a request. */
struct guest_buf {
	uint64_t gpa;
	uint32_t len;
};

static inline void guest_queue_interrupt(struct virtio_transport *transport, unsigned queue)
{
	(void)queue;
	struct guest *g = (struct guest *)transport;
	g->nr_interrupts++;
	sem_post(&g->interrupts);
}

static inline void guest_config_interrupt(struct virtio_transport *transport)
{
	struct guest *g = (struct guest *)transport;
	g->nr_config_interrupts++;
	sem_post(&g->interrupts);
}

static const struct virtio_transport_ops guest_transport_ops = {guest_queue_interrupt, guest_config_interrupt};

static inline struct guest_ram *guest_make_ram(void)
{
	struct guest_ram_region region = {.gpa = 0, .size = GUEST_RAM_SIZE};
	struct guest_ram *ram = NULL;
	struct error err = {0};
	ck_assert_msg(guest_ram_create(&region, 1, &ram, &err) == 0, "%s", err.text);
	return ram;
}

/* What a driver does from reset to DRIVER_OK. features: wanted beside VERSION_1 and all of blk's own that are offered. */
static inline void guest_probe(struct guest *g)
{
	struct virtio_device *dev = g->dev;
	uint64_t ring = 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC;
	uint64_t features = dev->features_offered & ~ring;
	features |= g->event_idx ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0;
	features |= g->indirect ? 1ull << VIRTIO_RING_F_INDIRECT_DESC : 0;
	virtio_device_set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	virtio_device_ack_features(dev, 0, (uint32_t)features);
	virtio_device_ack_features(dev, 1, (uint32_t)(features >> 32));
	virtio_device_set_status(dev, VIRTIO_CONFIG_S_FEATURES_OK);
	ck_assert(virtio_device_get_status(dev) & VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned i = 0; i < g->nr_queues; i++) {
		struct guest_queue *gq = &g->queues[i];
		memset(g->bytes + GUEST_RING_GPA(i, 0), 0, 3 * 4096);
		*gq = (struct guest_queue){
			.desc = (void *)(g->bytes + GUEST_RING_GPA(i, 0)),
			.avail = (void *)(g->bytes + GUEST_RING_GPA(i, 1)),
			.used = (void *)(g->bytes + GUEST_RING_GPA(i, 2)),
		};
		dev->queues[i].size = GUEST_SLOTS;
		dev->queues[i].desc_gpa = GUEST_RING_GPA(i, 0);
		dev->queues[i].avail_gpa = GUEST_RING_GPA(i, 1);
		dev->queues[i].used_gpa = GUEST_RING_GPA(i, 2);
		virtio_device_enable_queue(dev, i);
	}
	virtio_device_set_status(dev, VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Makes guest and device around disk, and probes it. */
static inline void guest_open_with(struct guest *g, struct virtio_blk_params params, bool event_idx, bool indirect)
{
	memset(g, 0, sizeof(*g));
	g->transport.ops = &guest_transport_ops;
	sem_init(&g->interrupts, 0, 0);
	g->ram = guest_make_ram();
	g->bytes = guest_ram_at(g->ram, 0, GUEST_RAM_SIZE);
	g->event_idx = event_idx;
	g->indirect = indirect;
	if (!params.name)
		params.name = "virtio-blk0";
	params.queue_size = GUEST_SLOTS;
	g->nr_queues = params.nr_queues ? params.nr_queues : 1;
	ck_assert(g->nr_queues <= GUEST_QUEUE_MAX);
	struct error err = {0};
	ck_assert_msg(virtio_blk_create(&params, g->ram, &g->dev, &err) == 0, "%s", err.text);
	g->dev->transport = &g->transport;
	guest_probe(g);
}

static inline void guest_open(struct guest *g, struct disk *disk)
{
	guest_open_with(g, (struct virtio_blk_params){.disk = disk}, true, true);
}

static inline void guest_close(struct guest *g)
{
	virtio_device_destroy(g->dev);
	guest_ram_destroy(g->ram);
	sem_destroy(&g->interrupts);
}

/* A full barrier, in a form that the thread sanitizer knows. */
static inline void guest_fence(struct guest *g)
{
	atomic_fetch_add(&g->fence, 1);
}

static inline uint16_t guest_load16(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* --- requests --- */

static inline uint8_t *guest_status(struct guest *g, unsigned queue, unsigned slot)
{
	return g->bytes + GUEST_SLOT_GPA(queue, slot) + 16;
}

/* Puts head into the avail ring. */
static inline void guest_announce(struct guest *g, unsigned queue, uint16_t head)
{
	struct guest_queue *gq = &g->queues[queue];
	gq->avail->ring[gq->avail_idx % GUEST_SLOTS] = head;
	gq->avail_idx++;
	__atomic_store_n(&gq->avail->idx, gq->avail_idx, __ATOMIC_RELEASE);
}

static inline void guest_kick(struct guest *g, unsigned queue)
{
	struct guest_queue *gq = &g->queues[queue];
	guest_fence(g);
	bool wanted;
	if (g->event_idx)
		wanted = vring_need_event(guest_load16((uint16_t *)&gq->used->ring[GUEST_SLOTS]), gq->avail_idx, gq->kicked_at);
	else
		wanted = !(guest_load16(&gq->used->flags) & VRING_USED_F_NO_NOTIFY);
	gq->kicked_at = gq->avail_idx;
	if (wanted) {
		g->nr_kicks++;
		virtio_device_kick(g->dev, queue);
	}
}

/*
 * Writes a request's descriptors into a table: header, data, status. Returns their count. Data is readable by the device for writes
 * and the like, writable for reads.
 */
static inline uint16_t guest_describe(struct guest *g, unsigned queue, unsigned slot, struct vring_desc *table, uint32_t type,
				      uint64_t sector, const struct guest_buf *bufs, unsigned nr)
{
	uint64_t gpa = GUEST_SLOT_GPA(queue, slot);
	struct virtio_blk_outhdr header = {.type = type, .sector = sector};
	memcpy(g->bytes + gpa, &header, sizeof(header));
	*guest_status(g, queue, slot) = 0xff;
	bool reads = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	uint16_t at = 0;
	table[at++] = (struct vring_desc){.addr = gpa, .len = sizeof(header)};
	for (unsigned i = 0; i < nr; i++)
		table[at++] = (struct vring_desc){.addr = bufs[i].gpa, .len = bufs[i].len, .flags = reads ? VRING_DESC_F_WRITE : 0};
	table[at++] = (struct vring_desc){.addr = gpa + 16, .len = 1, .flags = VRING_DESC_F_WRITE};
	for (uint16_t i = 0; i + 1 < at; i++) {
		table[i].flags |= VRING_DESC_F_NEXT;
		table[i].next = (uint16_t)(i + 1);
	}
	return at;
}

/* Announces a request without kicking. With indirect tables any number may be under way; else one at a time. Returns its slot. */
static inline unsigned guest_add(struct guest *g, unsigned queue, uint32_t type, uint64_t sector, const struct guest_buf *bufs,
				 unsigned nr)
{
	struct guest_queue *gq = &g->queues[queue];
	unsigned slot = 0;
	while (g->indirect && gq->busy[slot])
		slot++;
	ck_assert(slot < GUEST_SLOTS && !gq->busy[slot]);
	gq->busy[slot] = true;
	gq->nr_busy++;
	if (g->indirect) {
		uint64_t table_gpa = GUEST_SLOT_GPA(queue, slot) + 64;
		uint16_t count = guest_describe(g, queue, slot, (void *)(g->bytes + table_gpa), type, sector, bufs, nr);
		gq->desc[slot] = (struct vring_desc){.addr = table_gpa, .len = count * 16u, .flags = VRING_DESC_F_INDIRECT};
	} else {
		guest_describe(g, queue, slot, gq->desc, type, sector, bufs, nr);
	}
	guest_announce(g, queue, (uint16_t)slot);
	return slot;
}

/* Takes one returned request of the queue if there is one: sets its slot and length. */
static inline bool guest_take_used(struct guest *g, unsigned queue, unsigned *slot, uint32_t *len)
{
	struct guest_queue *gq = &g->queues[queue];
	if (guest_load16(&gq->used->idx) == gq->used_seen)
		return false;
	struct vring_used_elem elem = gq->used->ring[gq->used_seen % GUEST_SLOTS];
	gq->used_seen++;
	ck_assert_msg(elem.id < GUEST_SLOTS && gq->busy[elem.id], "the device returned %u, which it does not have", elem.id);
	gq->busy[elem.id] = false;
	gq->nr_busy--;
	*slot = elem.id;
	if (len)
		*len = elem.len;
	return true;
}

/* Asks for an interrupt at the next returned request of any queue, and sleeps unless one is there. */
static inline void guest_sleep(struct guest *g)
{
	for (unsigned i = 0; i < g->nr_queues; i++) {
		struct guest_queue *gq = &g->queues[i];
		if (g->event_idx)
			__atomic_store_n(&gq->avail->ring[GUEST_SLOTS], gq->used_seen, __ATOMIC_RELAXED);
	}
	guest_fence(g);
	for (unsigned i = 0; i < g->nr_queues; i++)
		if (guest_load16(&g->queues[i].used->idx) != g->queues[i].used_seen)
			return;
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += GUEST_TIMEOUT_S;
	while (sem_timedwait(&g->interrupts, &until))
		ck_assert_msg(errno == EINTR, "no interrupt within %d s", GUEST_TIMEOUT_S);
}

/* Waits for a request of one queue. */
static inline unsigned guest_wait(struct guest *g, unsigned queue, uint32_t *len)
{
	unsigned slot;
	while (!guest_take_used(g, queue, &slot, len))
		guest_sleep(g);
	return slot;
}

/* One request on queue 0 from beginning to end. Returns its status byte. */
static inline uint8_t guest_do(struct guest *g, uint32_t type, uint64_t sector, const struct guest_buf *bufs, unsigned nr)
{
	unsigned slot = guest_add(g, 0, type, sector, bufs, nr);
	guest_kick(g, 0);
	ck_assert_uint_eq(guest_wait(g, 0, NULL), slot);
	return *guest_status(g, 0, slot);
}

/* The same with one buffer of len bytes at GUEST_DATA_GPA. */
static inline uint8_t guest_do_one(struct guest *g, uint32_t type, uint64_t sector, uint32_t len)
{
	return guest_do(g, type, sector, &(struct guest_buf){GUEST_DATA_GPA, len}, len ? 1 : 0);
}

/* A discard or write-zeroes of one segment. */
static inline uint8_t guest_do_range(struct guest *g, uint32_t type, uint64_t sector, uint32_t nr_sectors, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes segment = {.sector = sector, .num_sectors = nr_sectors, .flags = flags};
	memcpy(g->bytes + GUEST_DATA_GPA, &segment, sizeof(segment));
	return guest_do_one(g, type, 0, sizeof(segment));
}

/* Waits until the device has given up on its driver, and said so. */
static inline void guest_wait_failed(struct guest *g)
{
	for (unsigned i = 0; i < GUEST_TIMEOUT_S * 1000 && !(virtio_device_failed(g->dev) && g->nr_config_interrupts); i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	ck_assert(virtio_device_failed(g->dev));
	ck_assert_uint_ge(g->nr_config_interrupts, 1);
}

#endif
