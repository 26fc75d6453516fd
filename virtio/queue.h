/*
 * A split virtqueue (virtio 1.2, 2.7), seen from the device. The rings lie in guest RAM and the guest may write there at any time:
 * every index, address, length and flag is copied once, checked, then used.
 *
 * A queue is used by one thread at a time: its device's worker between start and stop, else whoever holds the device's lock.
 * All functions that find the guest breaking the rules return -EPROTO; the caller then fails the device (virtio_device_fail).
 */
#ifndef VIRTIO_QUEUE_H
#define VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/state.h"
#include "memmgr/guest_ram.h"

#define VIRTQ_MAX_SIZE 1024

struct virtq {
	/* What the guest's driver sets before it enables the queue. */
	uint16_t size_max; /* set by the device: a power of two */
	uint16_t size;
	bool enabled;
	uint64_t desc_gpa, avail_gpa, used_gpa;

	/* Valid while enabled: the rings in our address space, checked once by virtq_enable(). */
	const struct guest_ram *ram;
	struct virtq_desc *desc;
	struct virtq_avail *avail;
	struct virtq_used *used;

	bool event_idx;      /* VIRTIO_F_EVENT_IDX was negotiated */
	uint16_t last_avail; /* next entry of the avail ring to take */
	uint16_t avail_seen; /* the guest's avail index when we last looked */
	uint16_t used_idx;   /* what we last published there */
	uint16_t signalled;  /* used_idx at the last interrupt decision */
	bool signalled_valid;
};

/* One request: buffers that the device reads (out), then buffers that it writes (in), in the order of the chain. */
struct virtq_chain {
	uint16_t head; /* names the request when it is returned */
	uint16_t nr_out, nr_in;
	struct iovec *out, *in; /* in the array given to virtq_pop */
	size_t out_len, in_len; /* sums; at most 4 GiB - 1 each */
};

/* Checks alignment and bounds of the rings against guest RAM. Returns 0, or -EPROTO (the queue stays disabled). */
int virtq_enable(struct virtq *q, const struct guest_ram *ram, bool event_idx);
/* Back to power-on; size_max stays. */
void virtq_reset(struct virtq *q);

/*
 * Takes the next request. iov has room for max entries. Returns 1 with *chain set, 0 when there is none, -EPROTO when the ring or
 * the chain is broken (bad index, loop, address outside RAM, writable before readable, empty buffer, nested indirect, more than
 * max buffers); nothing was taken then. A buffer that crosses RAM regions comes as several iovecs. A disabled queue is empty.
 */
int virtq_pop(struct virtq *q, struct iovec *iov, uint16_t max, struct virtq_chain *chain);
/* Un-takes the last virtq_pop(): for a device that cannot serve it yet (no receive data). */
void virtq_unpop(struct virtq *q);
/* Whether a request waits, without taking it: 1, 0 or -EPROTO. */
int virtq_pending(struct virtq *q);

/* Returns a request with written bytes in its in-buffers. virtq_fill() stages it at offset 0, 1, ... and virtq_flush() publishes n of them. */
void virtq_push(struct virtq *q, uint16_t head, uint32_t written);
void virtq_fill(struct virtq *q, uint16_t head, uint32_t written, uint16_t offset);
void virtq_flush(struct virtq *q, uint16_t n);

/* Whether the guest wants an interrupt for what was pushed since the last call (virtio 1.2, 2.7.7). Issues the full barrier. */
bool virtq_should_interrupt(struct virtq *q);

/*
 * Tells the guest not to notify us while we poll, and to notify again. After virtq_notify_on() returns true a request came in
 * between: go on popping.
 */
void virtq_notify_off(struct virtq *q);
bool virtq_notify_on(struct virtq *q);

/* Copies between a chain's buffers and ours, from byte offset on. Return bytes copied (less than len at the chain's end). */
size_t iov_read(const struct iovec *iov, size_t nr, size_t offset, void *buf, size_t len);
size_t iov_write(const struct iovec *iov, size_t nr, size_t offset, const void *buf, size_t len);

/*
 * Fields of a queue inside its device's section. After loading, enabled says that the queue was: the core then calls virtq_enable(),
 * which checks the rest; until then the queue must not be used.
 */
void virtq_save(const struct virtq *q, unsigned index, struct state_writer *w);
void virtq_load(struct virtq *q, unsigned index, struct state_reader *r);

#endif
