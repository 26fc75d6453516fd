/*
 * virtio-blk (virtio 1.2, 5.2): a disk for the guest.
 *
 * One I/O thread (or a few) serves the queues of a device. It is made with the device and sleeps in its io_uring: while the device is
 * stopped it is parked there. So programs that fork to the background do that before they create devices.
 */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "memmgr/guest_ram.h"
#include "virtio/device.h"
#include "virtio/disk.h"

#define VIRTIO_BLK_SERIAL_LEN 20

struct virtio_blk_params {
	const char *name;             /* "virtio-blk0" */
	struct disk *disk;            /* owned by the device once it was created */
	const char *serial;           /* at most VIRTIO_BLK_SERIAL_LEN bytes; NULL: none */
	bool read_only;               /* also if the disk is not */
	bool write_through;           /* no volatile write cache: each write is durable before it completes */
	unsigned nr_queues;           /* 0: 1 */
	unsigned queue_size;          /* a power of two, 4 to 1024; 0: 256 */
	unsigned nr_threads;          /* at most nr_queues; 0: 1 */
	uint32_t logical_block_size;  /* a power of two, 512 to 65536, no less than the disk demands; 0: what it demands */
	uint32_t physical_block_size; /* no less than the logical one; 0: what the disk prefers */
	unsigned patience_s;          /* how long a stop waits for the disk before it gives up on requests; 0: 30 */
};

/* Returns 0, or -errno with a sentence; then disk is still the caller's. */
int virtio_blk_create(const struct virtio_blk_params *params, const struct guest_ram *ram, struct virtio_device **dev,
		      struct error *err);

/* Since the device was made, by enum disk_op. Callable from any thread, at any time. */
struct virtio_blk_stats {
	uint64_t ops[DISK_WRITE_ZEROES + 1]; /* completed well */
	uint64_t bytes[DISK_WRITE_ZEROES + 1];
	uint64_t errors[DISK_WRITE_ZEROES + 1]; /* the disk failed them */
	uint64_t invalid;                       /* requests that the guest may not make, of whatever kind */
};
void virtio_blk_get_stats(const struct virtio_device *dev, struct virtio_blk_stats *stats);

/* What it runs on: for `query-block` and `info block`. */
const struct disk *virtio_blk_disk(const struct virtio_device *dev);
bool virtio_blk_read_only(const struct virtio_device *dev);
/* Whether completed writes may still be lost until a flush: as configured, and as the driver then chose. */
bool virtio_blk_write_cache(const struct virtio_device *dev);

#endif
