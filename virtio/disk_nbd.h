/* What disk_nbd.c (opening, and the connection) and disk_nbd_io.c (requests) share. */
#ifndef VIRTIO_DISK_NBD_H
#define VIRTIO_DISK_NBD_H

#include "virtio/disk.h"
#include "virtio/disk_nbd_lib.h"

#define NBD_PIECES_MAX 256u
#define NBD_BOUNCES_MAX 8u
#define NBD_BOUNCE_SIZE (128u << 10)

struct disk_nbd {
	struct disk disk; /* first */
	const struct nbd_lib *nbd;
	char *uri;
	unsigned reconnect_delay_s;
	bool discard, no_flush;
	bool can_fua, can_trim;
	uint32_t max_transfer;     /* bytes of one command */
	struct nbd_handle *opened; /* the first connection, until the channel takes it */
};

struct nbd_channel;

/* A command to the server: a request, or a part of one. */
struct nbd_piece {
	struct nbd_channel *channel;
	struct disk_request *req;
	uint64_t at;     /* of req's bytes */
	uint8_t *bounce; /* NULL: straight from and to the guest's buffer */
	size_t len;
	int error;
	struct nbd_piece *next;
};

enum nbd_link { NBD_UP, NBD_CONNECTING, NBD_DOWN };

struct nbd_channel {
	struct disk_channel base; /* first */
	struct disk_nbd *disk;
	struct nbd_handle *handle; /* NULL: NBD_DOWN */
	enum nbd_link link;
	uint32_t generation; /* of handle; tells events of older ones */
	bool polling_in, polling_out, ticking;
	bool refused;         /* the server that came back has another disk: said once */
	uint64_t deadline_ns; /* while not NBD_UP: until then requests wait */

	/* Requests not sent in full, in their order. */
	struct disk_request *unsent, **unsent_tail;
	/* Pieces that the library handed back, not yet looked at. */
	struct nbd_piece *finished;
	struct nbd_piece *free_pieces;
	unsigned nr_pieces; /* made */
	unsigned under_way; /* pieces sent, not yet looked at again */
	uint8_t *free_bounces[NBD_BOUNCES_MAX];
	unsigned nr_free_bounces, nr_bounces;
};

/* --- disk_nbd_io.c --- */

void nbd_io_init(struct nbd_channel *ch);
void nbd_io_fini(struct nbd_channel *ch);
/* Puts a request in line. */
void nbd_io_queue(struct nbd_channel *ch, struct disk_request *req);
/* Sends what it can. NBD_UP only. */
void nbd_io_send(struct nbd_channel *ch);
/*
 * Looks at the pieces that came back. With lost, the connection is gone: requests whose pieces failed with it go in line again.
 */
void nbd_io_collect(struct nbd_channel *ch, bool lost);
/* Fails all requests in line. */
void nbd_io_fail_queued(struct nbd_channel *ch, int code);

#endif
