/*
 * A disk in memory, for tests: counts, fails on demand, and completes at once, or later by events of the ring in an order that depends
 * on a seed.
 */
#ifndef TEST_BLK_DISK_H
#define TEST_BLK_DISK_H

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/disk.h"
#include "virtio/queue.h"

struct fake_disk {
	struct disk disk; /* first */
	uint8_t *bytes;
	bool deferred; /* complete by events, not within submit */
	unsigned seed;
	atomic_int fail_code; /* positive errno: fail what comes */
	atomic_uint nr[DISK_WRITE_ZEROES + 1];
	atomic_uint nr_durable, most_in_flight;
	atomic_bool *closed; /* set when the disk is closed */
};

struct fake_channel {
	struct disk_channel base; /* first */
	struct fake_disk *fake;
	struct disk_request *pending[4096];
	unsigned nr_pending;
};

static inline int fake_attach(struct disk *disk, struct io_uring *ring, struct disk_channel **out, struct error *err)
{
	struct fake_channel *ch = calloc(1, sizeof(*ch));
	if (!ch)
		return error_set(err, ENOMEM, "out of memory");
	disk_channel_init(&ch->base, disk, ring);
	ch->fake = (struct fake_disk *)disk;
	*out = &ch->base;
	return 0;
}

static inline void fake_detach(struct disk_channel *channel)
{
	free(channel);
}

static inline int fake_perform(struct fake_disk *fake, struct disk_request *req)
{
	fake->nr[req->op]++;
	fake->nr_durable += req->durable;
	if (fake->fail_code)
		return -fake->fail_code;
	if (req->op == DISK_FLUSH)
		return 0;
	if (req->length == 0 || req->offset > fake->disk.size || req->length > fake->disk.size - req->offset)
		abort(); /* virtio-blk must never ask for that */
	size_t n = req->length;
	switch (req->op) {
	case DISK_READ:
		n = iov_write(req->iov, req->nr_iov, 0, fake->bytes + req->offset, req->length);
		break;
	case DISK_WRITE:
		n = iov_read(req->iov, req->nr_iov, 0, fake->bytes + req->offset, req->length);
		break;
	case DISK_DISCARD:
	case DISK_WRITE_ZEROES:
		memset(fake->bytes + req->offset, 0, req->length);
		break;
	case DISK_FLUSH:
		break;
	}
	if (n != req->length)
		abort();
	return 0;
}

static inline void fake_submit(struct disk_channel *channel, struct disk_request *req)
{
	struct fake_channel *ch = (struct fake_channel *)channel;
	struct io_uring_sqe *sqe = ch->fake->deferred ? disk_sqe(channel) : NULL;
	if (!sqe) {
		disk_complete(channel, req, fake_perform(ch->fake, req));
		return;
	}
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data64(sqe, 0);
	ch->pending[ch->nr_pending++] = req;
	if (ch->nr_pending > ch->fake->most_in_flight)
		ch->fake->most_in_flight = ch->nr_pending;
}

/* One of the pending requests is done. */
static inline void fake_event(struct disk_channel *channel, uint64_t user_data, int result)
{
	(void)user_data;
	(void)result;
	struct fake_channel *ch = (struct fake_channel *)channel;
	ch->fake->seed = ch->fake->seed * 1103515245u + 12345u;
	unsigned which = (ch->fake->seed >> 16) % ch->nr_pending;
	struct disk_request *req = ch->pending[which];
	ch->pending[which] = ch->pending[--ch->nr_pending];
	disk_complete(channel, req, fake_perform(ch->fake, req));
}

static inline void fake_close(struct disk *disk)
{
	struct fake_disk *fake = (struct fake_disk *)disk;
	if (fake->closed)
		*fake->closed = true;
	free(fake->bytes);
	free(fake);
}

static const struct disk_ops fake_ops = {
	.attach = fake_attach,
	.detach = fake_detach,
	.submit = fake_submit,
	.event = fake_event,
	.close = fake_close,
};

static inline struct fake_disk *fake_disk_new(uint64_t size)
{
	struct fake_disk *fake = calloc(1, sizeof(*fake));
	if (!fake)
		abort();
	fake->bytes = calloc(1, size);
	if (!fake->bytes)
		abort();
	fake->disk = (struct disk){
		.ops = &fake_ops,
		.driver = "fake",
		.name = "fake",
		.size = size,
		.block_size = DISK_SECTOR,
		.physical_block_size = 4096,
		.can_flush = true,
		.can_discard = true,
		.can_write_zeroes = true,
	};
	return fake;
}

#endif
