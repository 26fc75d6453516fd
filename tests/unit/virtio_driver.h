/*
 * The guest's half of a split virtqueue for tests: as plain as the standard's text, with its own layout arithmetic, so that a mistake on
 * our side of the ring has no twin here. Works on struct guest_ram; the test chooses what lies where.
 */
#ifndef TESTS_UNIT_VIRTIO_DRIVER_H
#define TESTS_UNIT_VIRTIO_DRIVER_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "memmgr/guest_ram.h"
#include "virtio/device.h"

enum { DRIVER_NEXT = 1, DRIVER_WRITE = 2, DRIVER_INDIRECT = 4 };

struct driver_queue {
	const struct guest_ram *ram;
	uint16_t size;
	uint64_t desc, avail, used; /* guest-physical */
	uint16_t avail_idx;         /* next to publish */
	uint16_t last_used;         /* next to look at */
};

static inline uint64_t driver_queue_bytes(uint16_t size)
{
	return (16ull * size + 6 + 2ull * size + 2 + 6 + 8ull * size + 63) & ~63ull;
}

/* Lays the rings out at gpa (16-byte aligned), used ring last. */
static inline void driver_queue_init(struct driver_queue *dq, const struct guest_ram *ram, uint64_t gpa, uint16_t size)
{
	*dq = (struct driver_queue){.ram = ram, .size = size};
	dq->desc = gpa;
	dq->avail = gpa + 16ull * size;
	dq->used = (dq->avail + 6 + 2ull * size + 3) & ~3ull;
	memset(guest_ram_at(ram, gpa, driver_queue_bytes(size)), 0, driver_queue_bytes(size));
}

static inline void driver_put_desc(const struct guest_ram *ram, uint64_t table, uint32_t index, uint64_t addr, uint32_t len,
				   uint16_t flags, uint16_t next)
{
	uint8_t bytes[16];
	memcpy(bytes, &addr, 8);
	memcpy(bytes + 8, &len, 4);
	memcpy(bytes + 12, &flags, 2);
	memcpy(bytes + 14, &next, 2);
	guest_ram_write(ram, table + 16ull * index, bytes, sizeof(bytes));
}

static inline void driver_desc(struct driver_queue *dq, uint32_t index, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	driver_put_desc(dq->ram, dq->desc, index, addr, len, flags, next);
}

static inline uint16_t *driver_word(const struct driver_queue *dq, uint64_t gpa)
{
	return guest_ram_at(dq->ram, gpa, 2);
}

/* avail->idx says n more than we have put there: for lies. */
static inline void driver_publish(struct driver_queue *dq, uint16_t idx)
{
	dq->avail_idx = idx;
	__atomic_store_n(driver_word(dq, dq->avail + 2), idx, __ATOMIC_RELEASE);
}

static inline void driver_offer(struct driver_queue *dq, uint16_t head)
{
	*driver_word(dq, dq->avail + 4 + 2ull * (dq->avail_idx % dq->size)) = head;
	driver_publish(dq, (uint16_t)(dq->avail_idx + 1));
}

static inline uint16_t driver_used_idx(const struct driver_queue *dq)
{
	return __atomic_load_n(driver_word(dq, dq->used + 2), __ATOMIC_ACQUIRE);
}

/* Takes one used element. Returns whether there was one. */
static inline bool driver_take(struct driver_queue *dq, uint32_t *id, uint32_t *len)
{
	if (driver_used_idx(dq) == dq->last_used)
		return false;
	uint64_t at = dq->used + 4 + 8ull * (dq->last_used % dq->size);
	guest_ram_read(dq->ram, at, id, 4);
	guest_ram_read(dq->ram, at + 4, len, 4);
	dq->last_used++;
	return true;
}

static inline void driver_set_avail_flags(struct driver_queue *dq, uint16_t flags)
{
	__atomic_store_n(driver_word(dq, dq->avail), flags, __ATOMIC_SEQ_CST);
}

static inline void driver_set_used_event(struct driver_queue *dq, uint16_t event)
{
	__atomic_store_n(driver_word(dq, dq->avail + 4 + 2ull * dq->size), event, __ATOMIC_SEQ_CST);
}

static inline uint16_t driver_used_flags(const struct driver_queue *dq)
{
	return __atomic_load_n(driver_word(dq, dq->used), __ATOMIC_SEQ_CST);
}

static inline uint16_t driver_avail_event(const struct driver_queue *dq)
{
	return __atomic_load_n(driver_word(dq, dq->used + 4 + 8ull * dq->size), __ATOMIC_SEQ_CST);
}

/* --- a whole device --- */

enum { DRIVER_ACK = 1, DRIVER_DRIVER = 2, DRIVER_OK = 4, DRIVER_FEATURES_OK = 8, DRIVER_NEEDS_RESET = 64, DRIVER_FAILED = 128 };

static inline void driver_negotiate(struct virtio_device *dev, uint64_t features)
{
	virtio_device_set_status(dev, 0);
	virtio_device_set_status(dev, DRIVER_ACK);
	virtio_device_set_status(dev, DRIVER_ACK | DRIVER_DRIVER);
	virtio_device_ack_features(dev, 0, (uint32_t)features);
	virtio_device_ack_features(dev, 1, (uint32_t)(features >> 32));
	virtio_device_set_status(dev, DRIVER_ACK | DRIVER_DRIVER | DRIVER_FEATURES_OK);
}

static inline void driver_enable_queue(struct virtio_device *dev, unsigned queue, const struct driver_queue *dq)
{
	dev->queues[queue].size = dq->size;
	dev->queues[queue].desc_gpa = dq->desc;
	dev->queues[queue].avail_gpa = dq->avail;
	dev->queues[queue].used_gpa = dq->used;
	virtio_device_enable_queue(dev, queue);
}

static inline void driver_ok(struct virtio_device *dev)
{
	virtio_device_set_status(dev, DRIVER_ACK | DRIVER_DRIVER | DRIVER_FEATURES_OK | DRIVER_OK);
}

static inline long long driver_now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

/* Waits up to 10 s for a used element. */
static inline bool driver_wait(struct driver_queue *dq, uint32_t *id, uint32_t *len)
{
	long long end = driver_now_ms() + 10000;
	while (!driver_take(dq, id, len)) {
		if (driver_now_ms() > end)
			return false;
		usleep(100);
	}
	return true;
}

static inline bool driver_wait_failed(struct virtio_device *dev)
{
	long long end = driver_now_ms() + 10000;
	while (!virtio_device_failed(dev)) {
		if (driver_now_ms() > end)
			return false;
		usleep(100);
	}
	return true;
}

/* --- seeded randomness --- */

struct dice {
	uint64_t state;
};

/* 0 to sides - 1. */
static inline uint32_t dice_roll(struct dice *dice, uint32_t sides)
{
	if (sides == 0)
		abort();
	/* xorshift64* */
	dice->state ^= dice->state >> 12;
	dice->state ^= dice->state << 25;
	dice->state ^= dice->state >> 27;
	return (uint32_t)((dice->state * 0x2545f4914f6cdd1dull) >> 32) % sides;
}

/* PAGODA_SEED if set, else the clock. The caller prints it when a check fails. */
static inline uint64_t dice_seed(void)
{
	const char *text = getenv("PAGODA_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();
	return seed ? seed : 1;
}

#endif
