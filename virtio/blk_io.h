/* What the parts of virtio-blk share: blk.c (the device), blk_request.c (what the guest asks), blk_io.c (the thread). */
#ifndef VIRTIO_BLK_IO_H
#define VIRTIO_BLK_IO_H

#include <linux/virtio_blk.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "base/lock.h"
#include "virtio/blk.h"

/* Buffers of the usual request: kept in the request itself. */
#define BLK_INLINE_IOV 8
/* Of the largest: a whole queue's worth, header and status, and two that lie across a border of RAM regions. */
#define BLK_MAX_IOV (VIRTQ_MAX_SIZE + 4)

/* A request on its way through the disk. */
struct blk_request {
	struct disk_request disk; /* first: the disk knows only this */
	uint16_t queue, head;
	uint32_t in_len;     /* of all writable buffers, status included */
	struct iovec status; /* one byte of guest RAM */
	struct iovec *vec;   /* start of disk.iov: inline_iov, or allocated */
	struct blk_request *next_free;
	bool pinned; /* the kernel fills the guest's pages themselves: */
	struct guest_ram_pins pins;
	struct iovec inline_iov[BLK_INLINE_IOV];
};

/* Written by one thread, read by any. */
struct blk_counters {
	_Atomic uint64_t ops[DISK_WRITE_ZEROES + 1];
	_Atomic uint64_t bytes[DISK_WRITE_ZEROES + 1];
	_Atomic uint64_t errors[DISK_WRITE_ZEROES + 1];
	_Atomic uint64_t invalid;
};

struct blk_queue {
	unsigned in_flight; /* requests with the disk */
	uint16_t staged;    /* used elements filled, but not yet published */
};

enum blk_io_state {
	BLK_IO_STARTING, /* the thread makes its ring */
	BLK_IO_PARKED,   /* touches neither queues nor guest RAM */
	BLK_IO_RUNNING,
	BLK_IO_GONE,
};

/* One I/O thread: serves queues index, index + nr_threads, ... */
struct blk_io {
	struct blk *blk;
	unsigned index;
	pthread_t thread;
	int control_fd; /* an eventfd: wanted changed */

	struct lock lock;
	pthread_cond_t changed;           /* of state */
	_Atomic enum blk_io_state wanted; /* written with lock held */
	enum blk_io_state state;          /* guarded by lock */
	struct error *start_error;        /* guarded by lock: where a thread that cannot start says why */

	/* The thread's own. */
	struct io_uring ring;
	struct disk_channel *channel;
	unsigned in_flight;
	struct blk_request *free;
	struct iovec scratch[BLK_MAX_IOV];

	struct blk_counters counters;
};

struct blk {
	struct virtio_device dev; /* first */
	struct disk *disk;
	bool read_only;
	uint32_t block_size;
	unsigned patience_s;
	uint16_t max_iov;
	uint8_t serial[VIRTIO_BLK_SERIAL_LEN];
	struct virtio_blk_config config;            /* what dev.config holds, but for wce */
	_Atomic bool write_cache;                   /* as the driver sees it; decided at start and by writes to wce */
	struct blk_queue queues[VIRTIO_MAX_QUEUES]; /* each its thread's own */
	unsigned nr_threads;
	struct blk_io *threads[];
};

/* --- blk_request.c --- */

enum blk_verdict { BLK_TO_DISK, BLK_ANSWERED };

/*
 * Reads what the chain asks for. Gives BLK_TO_DISK when req->disk is ready to be submitted, BLK_ANSWERED with *status when all is done,
 * and -EPROTO when the chain has no room for header or status. req->vec is the caller's to free either way.
 */
int blk_request_parse(struct blk *blk, struct virtq_chain *chain, struct blk_request *req, uint8_t *status);

/* --- blk_io.c --- */

/* Makes the thread and its ring; it is parked when this returns. Returns 0, or -errno with a sentence. */
int blk_io_create(struct blk *blk, unsigned index, struct blk_io **io, struct error *err);
void blk_io_start(struct blk_io *io);
/* Returns when all that was taken from the queues is answered, and the thread is parked. A disk that answers nothing is given up. */
void blk_io_stop(struct blk_io *io);
/* Ends the thread; stopped. io may be NULL. */
void blk_io_destroy(struct blk_io *io);

static inline void blk_count(_Atomic uint64_t *counter, uint64_t n)
{
	/* One writer: no locked instruction needed. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

#endif
