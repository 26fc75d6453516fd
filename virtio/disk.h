/*
 * A disk as virtio-blk sees it: bytes behind an interface that starts requests and later hands them back.
 *
 *   disk           one image or export, opened once; knows its size and what it can do
 *   disk_channel   one I/O thread's way to it; used by that thread alone, and by whoever made it before the thread runs
 *   disk_request   one operation; the caller's until disk_submit(), the disk's until disk_next_done() hands it back
 *
 * All channels of a thread's devices sleep in the one io_uring of that thread: a channel queues entries there, the thread submits and
 * waits, and passes completions whose user_data is the disk's to disk_event(). Nothing here calls back: the thread drives.
 */
#ifndef VIRTIO_DISK_H
#define VIRTIO_DISK_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/log.h"

#define DISK_SECTOR 512u
/* The longest discard or write-zeroes of one request, in bytes. */
#define DISK_RANGE_MAX (1u << 30)

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_DISCARD, DISK_WRITE_ZEROES };

struct disk_request {
	enum disk_op op;
	bool durable;      /* writes, zeroes: on stable storage before it is handed back */
	bool may_unmap;    /* zeroes: may free the space */
	uint64_t offset;   /* in bytes, a multiple of the disk's block_size like length; inside the disk */
	uint64_t length;   /* not 0, but for a flush */
	struct iovec *iov; /* read, write: length bytes. The disk changes the array as it goes. */
	unsigned nr_iov;

	int result;                /* when handed back: 0 or -errno */
	struct disk_request *next; /* whoever holds the request may link it */

	/* How far the disk has got with it; its own business. */
	uint64_t done;
	unsigned parts; /* pieces under way */
	uint8_t step;
	uint8_t tries;
	uint8_t *bounce;
};

struct disk;
struct disk_channel;

/* Implemented by disk_file.c, disk_nbd.c and the fake disk of the tests. */
struct disk_ops {
	int (*attach)(struct disk *disk, struct io_uring *ring, struct disk_channel **channel, struct error *err);
	void (*detach)(struct disk_channel *channel);
	void (*submit)(struct disk_channel *channel, struct disk_request *req);
	void (*event)(struct disk_channel *channel, uint64_t user_data, int result);
	void (*give_up)(struct disk_channel *channel); /* NULL: what is under way cannot be called back */
	void (*close)(struct disk *disk);
};

/* Embedded as first member. Fixed once open. */
struct disk {
	const struct disk_ops *ops;
	const char *driver;           /* "file", "host_device", "nbd": as `query-block` says */
	char name[200];               /* path or URI, for messages and `info block` */
	uint64_t size;                /* in bytes, a multiple of block_size */
	uint32_t block_size;          /* what offsets and lengths must be multiples of: 512, or more where the storage demands it */
	uint32_t physical_block_size; /* what is written best; a power of two times block_size */
	unsigned max_channels;        /* how many threads may use it at once; 0: as many as wanted */
	bool read_only;
	bool direct; /* past the host's page cache */
	bool can_flush, can_discard, can_write_zeroes;
	struct log_limit failures; /* limits disk_complete()'s lines */
};

/* Embedded as first member. */
struct disk_channel {
	struct disk *disk;
	struct io_uring *ring;
	struct disk_request *done, **done_tail;
};

struct disk_params {
	const char *filename; /* path, or NBD URI (nbd://, nbds://, nbd+unix:///EXPORT?socket=PATH, ...) */
	int fd;               /* the file, opened by someone else (filename then is only its name), or -1. Taken on success. */
	bool read_only;
	bool direct;                /* cache.direct=on: O_DIRECT */
	bool no_flush;              /* cache.no-flush=on: flushes do nothing; data is lost when the host dies */
	bool discard;               /* discard=unmap */
	bool shared;                /* share-rw=on: no lock against other users of the file */
	unsigned reconnect_delay_s; /* NBD: how long requests wait for a lost server to come back before they fail */
};

/* Opens it. Returns 0, or -errno with a sentence. */
int disk_open(const struct disk_params *params, struct disk **disk, struct error *err);
/* No channel is left. disk may be NULL. */
void disk_close(struct disk *disk);

/*
 * Makes the calling thread's way to the disk. ring is lent until disk_detach() and has room in its completion queue for every request
 * that the caller will have under way and 8 more. Returns 0, or -errno with a sentence.
 */
int disk_attach(struct disk *disk, struct io_uring *ring, struct disk_channel **channel, struct error *err);
/* No request is under way. channel may be NULL. */
void disk_detach(struct disk_channel *channel);

/* Starts a request, or queues it: it goes to the kernel with the ring's next submission. */
void disk_submit(struct disk_channel *channel, struct disk_request *req);

/* The ring's entries are told apart by the lowest bit of user_data: set for the thread's own, clear for the disk's. */
static inline bool disk_owns_event(uint64_t user_data)
{
	return !(user_data & 1);
}
void disk_event(struct disk_channel *channel, uint64_t user_data, int result);

/* The thread has waited long for what is under way: fail it soon, if that is possible. May be repeated. */
void disk_give_up(struct disk_channel *channel);

/* A request that came to its end, or NULL: ask after each disk_submit() and disk_event() burst. */
struct disk_request *disk_next_done(struct disk_channel *channel);

/* --- for implementations --- */

/* The first half of opening: by kind. */
int disk_file_open(const struct disk_params *params, struct disk **disk, struct error *err);
int disk_nbd_open(const struct disk_params *params, struct disk **disk, struct error *err);
bool disk_nbd_is_uri(const char *filename);

void disk_channel_init(struct disk_channel *channel, struct disk *disk, struct io_uring *ring);
/* Queues req for disk_next_done(). A failure is logged, with what to do about it. */
void disk_complete(struct disk_channel *channel, struct disk_request *req, int result);
/* A free submission entry; submits what is queued when there is none. NULL when the kernel takes no more. */
struct io_uring_sqe *disk_sqe(struct disk_channel *channel);
/* Drops the first n bytes of req's iov, where n is at most what is left there. */
void disk_request_advance(struct disk_request *req, size_t n);
const char *disk_op_name(enum disk_op op);

#endif
