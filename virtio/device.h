/*
 * What all virtio devices have in common: status, features, queues, config space, and the life cycle between them and their guest.
 *
 *          status writes (virtio 1.2, 3.1)                   DRIVER_OK -> ops->start
 *   reset ----------------------------------> negotiated ----------------------------> running
 *     ^                                                                                  |  virtio_device_fail: NEEDS_RESET
 *     +------------------------- status = 0 -> ops->stop ---------------------------------+
 *
 * Pausing the machine also calls ops->stop and, to continue, ops->start: between them no thread touches queues or guest RAM, so state
 * can be saved. The core calls ops on vCPU threads or the main thread, with the device's lock held; start may be followed by stop at
 * any time. After each start all enabled queues are kicked, so a device need not look for requests that were there before.
 *
 * Locks: lock is taken before config_lock. A device's own threads never take lock (stop waits for them while it is held); what they
 * may call is marked "from any thread".
 */
#ifndef VIRTIO_DEVICE_H
#define VIRTIO_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/lock.h"
#include "base/state.h"
#include "memmgr/guest_ram.h"
#include "virtio/queue.h"

enum virtio_device_id {
	VIRTIO_ID_NET_DEVICE = 1,
	VIRTIO_ID_BLOCK_DEVICE = 2,
	VIRTIO_ID_CONSOLE_DEVICE = 3,
	VIRTIO_ID_ENTROPY_DEVICE = 4,
	VIRTIO_ID_BALLOON_DEVICE = 5,
	VIRTIO_ID_VSOCK_DEVICE = 19,
};

#define VIRTIO_MAX_QUEUES 64
#define VIRTIO_CONFIG_MAX 256

struct virtio_device;

struct virtio_device_ops {
	/*
	 * The driver wrote bytes of config space (already merged into dev->config): repair what it may not write, under config_lock. Also called with
	 * all of config after load, whose bytes are no better. NULL: config space is read-only, and is not saved by the core.
	 */
	void (*config_written)(struct virtio_device *dev, uint32_t offset, uint32_t len);
	/* Begins to serve enabled queues, on threads of its own. Returns 0, or -errno (nothing runs; the core fails the device). */
	int (*start)(struct virtio_device *dev);
	/*
	 * Ends that: returns once no thread of the device touches queues or guest RAM; requests taken from the rings have been
	 * returned, or are kept by the device for the next start or for save. Never called while stopped.
	 */
	void (*stop)(struct virtio_device *dev);
	/* The guest reset the device (stopped before): forget requests kept. May be NULL. */
	void (*reset)(struct virtio_device *dev);
	/* Fields beyond those of the core; stopped. May be NULL. Errors stay in writer and reader. */
	void (*save)(struct virtio_device *dev, struct state_writer *w);
	void (*load)(struct virtio_device *dev, struct state_reader *r);
	/* Frees the device and what it owns; stopped. */
	void (*destroy)(struct virtio_device *dev);
};

/* How a device reaches its guest: given by the transport. Callable from any thread. */
struct virtio_transport;
struct virtio_transport_ops {
	void (*queue_interrupt)(struct virtio_transport *transport, unsigned queue);
	void (*config_interrupt)(struct virtio_transport *transport);
};
struct virtio_transport {
	const struct virtio_transport_ops *ops;
};

/* Embedded as first member of each device. Set by the device's create function: see virtio_device_init(). */
struct virtio_device {
	const struct virtio_device_ops *ops;
	enum virtio_device_id id;
	char name[64]; /* "virtio-blk0": for logs and state sections */
	const struct guest_ram *ram;
	struct virtio_transport *transport; /* set by the transport before the guest runs */

	struct lock lock;          /* guards all below, but for config and, while running, the queues */
	uint64_t features_offered; /* VERSION_1, EVENT_IDX, INDIRECT_DESC are added by the core */
	uint64_t features_acked;
	bool running; /* between ops->start and ops->stop */
	bool paused;  /* the machine is paused: start is put off */

	struct lock config_lock; /* guards config; a leaf */
	uint8_t config[VIRTIO_CONFIG_MAX];
	uint32_t config_len;
	_Atomic uint8_t config_generation;
	_Atomic uint8_t status; /* VIRTIO_CONFIG_S_*; NEEDS_RESET is set by any thread */

	unsigned nr_queues;
	struct virtq queues[VIRTIO_MAX_QUEUES];
	int kick_fds[VIRTIO_MAX_QUEUES]; /* eventfds: the guest's notifications of each queue */
};

/* Sets up the common part and the eventfds. name is copied. Returns 0 or -errno with a sentence. */
int virtio_device_init(struct virtio_device *dev, const struct virtio_device_ops *ops, enum virtio_device_id id, const char *name,
		       const struct guest_ram *ram, uint64_t features, unsigned nr_queues, uint16_t queue_size, uint32_t config_len,
		       struct error *err);
/* Undoes it; for ops->destroy and failed creates. A device that virtio_device_init() refused needs none. */
void virtio_device_fini(struct virtio_device *dev);

/* Whether the driver accepted feature bit. */
bool virtio_device_has(const struct virtio_device *dev, unsigned bit);

/* --- for transports; take the lock themselves --- */
uint8_t virtio_device_get_status(struct virtio_device *dev);
void virtio_device_set_status(struct virtio_device *dev, uint8_t status); /* 0 resets */
/* Any offset and len: bytes past config space read as zero and are not written. config_read is callable from any thread. */
void virtio_device_config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len);
void virtio_device_config_write(struct virtio_device *dev, uint32_t offset, const void *data, uint32_t len);
/* The driver's choice of features 32 * half ... + 31. Ignored for half > 1 and once FEATURES_OK is set. */
void virtio_device_ack_features(struct virtio_device *dev, uint32_t half, uint32_t bits);
/* Checks and enables a queue whose size and addresses are set; a broken one fails the device. Ignored once DRIVER_OK is set. */
void virtio_device_enable_queue(struct virtio_device *dev, unsigned queue);
/* A notification that did not come by ioeventfd. */
void virtio_device_kick(struct virtio_device *dev, unsigned queue);

/* --- for devices, from any thread --- */
/* The guest broke the rules, or the device cannot go on: NEEDS_RESET and a config interrupt, logged once. Stops nothing by itself. */
void virtio_device_fail(struct virtio_device *dev, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool virtio_device_failed(const struct virtio_device *dev);
/* Interrupts if the guest wants to know of what was pushed to the queue. On the thread that uses the queue. */
void virtio_device_notify_guest(struct virtio_device *dev, unsigned queue);
/* Changes config bytes, bumps the generation and interrupts a driver that is at work. Reading: see virtio_device_config_read(). */
void virtio_device_update_config(struct virtio_device *dev, uint32_t offset, const void *data, uint32_t len);

/* --- for the machine, on the main thread; vCPUs are not running --- */
void virtio_device_pause(struct virtio_device *dev);
void virtio_device_resume(struct virtio_device *dev);
void virtio_device_reset(struct virtio_device *dev);
/* Section "NAME"; paused. A load that fails leaves the device reset. Features must be among those offered here. */
void virtio_device_save(struct virtio_device *dev, struct state_writer *w);
int virtio_device_load(struct virtio_device *dev, struct state_reader *r, struct error *err);
/* Calls ops->destroy. dev may be NULL. */
void virtio_device_destroy(struct virtio_device *dev);

#endif
