/* Polled drivers for virtio devices on PCI (virtio 1.2, 2.7 split queues, 4.1 PCI). One vCPU at a time per queue. */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pci.h"

enum virtio_type {
	VIRTIO_NET = 1,
	VIRTIO_BLK = 2,
	VIRTIO_CONSOLE = 3,
	VIRTIO_RNG = 4,
	VIRTIO_BALLOON = 5,
	VIRTIO_VSOCK = 19,
};

enum {
	VIRTIO_ACKNOWLEDGE = 1,
	VIRTIO_DRIVER = 2,
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 64,
	VIRTIO_FAILED = 128,
};

#define VIRTIO_F_INDIRECT (1ull << 28)
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1 (1ull << 32)
#define VIRTIO_F_PACKED (1ull << 34)

/* Registers of the common configuration. */
enum {
	VIRTIO_C_DEVICE_FEATURE_SELECT = 0,
	VIRTIO_C_DEVICE_FEATURE = 4,
	VIRTIO_C_DRIVER_FEATURE_SELECT = 8,
	VIRTIO_C_DRIVER_FEATURE = 12,
	VIRTIO_C_CONFIG_VECTOR = 16,
	VIRTIO_C_NUM_QUEUES = 18,
	VIRTIO_C_STATUS = 20,
	VIRTIO_C_GENERATION = 21,
	VIRTIO_C_QUEUE_SELECT = 22,
	VIRTIO_C_QUEUE_SIZE = 24,
	VIRTIO_C_QUEUE_VECTOR = 26,
	VIRTIO_C_QUEUE_ENABLE = 28,
	VIRTIO_C_QUEUE_NOTIFY_OFF = 30,
	VIRTIO_C_QUEUE_DESC = 32,
	VIRTIO_C_QUEUE_DRIVER = 40,
	VIRTIO_C_QUEUE_DEVICE = 48,
	VIRTIO_C_SIZE = 56,
};

struct virtio_device {
	struct pci_device pci;
	enum virtio_type type;
	uint64_t common, notify, isr, config; /* gpa; 0 where there is none */
	uint32_t common_size, notify_size, config_size;
	uint32_t notify_multiplier;
	uint64_t features; /* negotiated */
};

/* The nth device of that type, its BARs open. */
bool virtio_find(enum virtio_type type, unsigned nth, struct virtio_device *dev);
/* The nth virtio device of any type. */
bool virtio_find_any(unsigned nth, struct virtio_device *dev);

uint8_t virtio_status(const struct virtio_device *dev);
/* Writes 0 and waits until the device is reset. False if it does not come to rest within a second. */
bool virtio_reset(struct virtio_device *dev);
uint64_t virtio_offered(const struct virtio_device *dev);
/* Resets, then negotiates what of wanted is offered (VERSION_1 is added). Fails the guest if the device refuses. */
void virtio_negotiate(struct virtio_device *dev, uint64_t wanted);
void virtio_driver_ok(struct virtio_device *dev);
unsigned virtio_nr_queues(const struct virtio_device *dev);

struct virtq_desc {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};
enum { VIRTQ_NEXT = 1, VIRTQ_WRITE = 2, VIRTQ_INDIRECT = 4 };

struct virtq {
	struct virtio_device *dev;
	unsigned index, size;
	volatile struct virtq_desc *desc;
	volatile uint16_t *avail; /* flags, index, ring[size], used_event */
	volatile uint16_t *used;  /* flags, index, then elements from byte 4 on, avail_event */
	uint64_t doorbell;
	uint16_t avail_index, used_index, kicked_index;
	uint16_t free_head, nr_free;
	struct virtq_token {
		void *token;
		uint32_t writable;   /* bytes that the device may write */
		uint16_t nr_desc;    /* 0: not in flight */
	} * tokens;                  /* by head */
	struct virtq_desc *indirect; /* VIRTQ_MOST_BUFFERS for each head */
};
enum { VIRTQ_MOST_BUFFERS = 16 };

struct virtq_buffer {
	const void *data;
	uint32_t length;
};

/*
 * Between virtio_negotiate() and virtio_driver_ok(). size 0, or more than the device has: the device's size, at most 1024. Memory is taken for good.
 * False where the device has no such queue.
 */
bool virtq_open(struct virtq *q, struct virtio_device *dev, unsigned index, unsigned size);
/*
 * Offers nr_out buffers for the device to read, and then nr_in to write, at most VIRTQ_MOST_BUFFERS together. indirect is only used where it
 * was negotiated. Returns false when the queue is full. The device looks after virtq_kick().
 */
bool virtq_add(struct virtq *q, const struct virtq_buffer *buffers, unsigned nr_out, unsigned nr_in, bool indirect, void *token);
/* Rings the doorbell unless the device asked not to. Returns whether it rang. */
bool virtq_kick(struct virtq *q);
/* Takes one finished request: its token, and bytes written. NULL when there is none. A used ring that is wrong fails the guest. */
void *virtq_poll(struct virtq *q, uint32_t *written);
/* Polls until something is there, or timeout_us is over (NULL). */
void *virtq_wait(struct virtq *q, uint32_t *written, uint64_t timeout_us);

/* Device configuration; size 1, 2, 4 (offset aligned), or 8 by two halves under one generation. */
uint64_t virtio_config(const struct virtio_device *dev, unsigned offset, unsigned size);

#endif
