/*
 * Requests on an NBD server, by libnbd's asynchronous commands.
 *
 * A command has one buffer where a guest's request has many. So a request becomes pieces, all under way together:
 *
 *   - a guest buffer that is long, or all that is left, is sent from and received into where it lies;
 *   - runs of short ones go through a bounce buffer: copying 4 KiB costs far less than a command of its own.
 *
 * Pieces and bounce buffers are bounded; a request that finds none left stays first in line. For queued requests `done` is how much has
 * been sent, and `parts` how many pieces are under way.
 *
 * Invariants:
 *  1. A request is either in line (unsent), or has parts under way, or both, then it is the first in line; it completes when it is
 *     neither.
 *  2. A piece is under way exactly while libnbd holds its completion callback.
 *  3. If a request waits in line while NBD_UP, some piece is under way, whose end sends more.
 */
#include "virtio/disk_nbd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/queue.h"

#define DIRECT_MIN (64u << 10) /* shorter buffers are bounced, unless alone */

enum step { STEP_DATA, STEP_SYNC };

void nbd_io_init(struct nbd_channel *ch)
{
	ch->unsent_tail = &ch->unsent;
}

void nbd_io_fini(struct nbd_channel *ch)
{
	while (ch->free_pieces) {
		struct nbd_piece *piece = ch->free_pieces;
		ch->free_pieces = piece->next;
		free(piece);
	}
	while (ch->nr_free_bounces)
		free(ch->free_bounces[--ch->nr_free_bounces]);
}

void nbd_io_queue(struct nbd_channel *ch, struct disk_request *req)
{
	req->next = NULL;
	*ch->unsent_tail = req;
	ch->unsent_tail = &req->next;
}

static void dequeue_first(struct nbd_channel *ch)
{
	ch->unsent = ch->unsent->next;
	if (!ch->unsent)
		ch->unsent_tail = &ch->unsent;
}

static bool has_data(const struct disk_request *req)
{
	return req->op == DISK_READ || req->op == DISK_WRITE;
}

/* --- pieces --- */

static struct nbd_piece *get_piece(struct nbd_channel *ch)
{
	struct nbd_piece *piece = ch->free_pieces;
	if (piece) {
		ch->free_pieces = piece->next;
	} else if (ch->nr_pieces < NBD_PIECES_MAX) {
		piece = malloc(sizeof(*piece));
		if (!piece)
			return NULL;
		ch->nr_pieces++;
	} else {
		return NULL;
	}
	*piece = (struct nbd_piece){.channel = ch};
	return piece;
}

static uint8_t *get_bounce(struct nbd_channel *ch)
{
	if (ch->nr_free_bounces)
		return ch->free_bounces[--ch->nr_free_bounces];
	if (ch->nr_bounces == NBD_BOUNCES_MAX)
		return NULL;
	uint8_t *bounce = malloc(NBD_BOUNCE_SIZE);
	if (bounce)
		ch->nr_bounces++;
	return bounce;
}

static void put_piece(struct nbd_channel *ch, struct nbd_piece *piece)
{
	if (piece->bounce)
		ch->free_bounces[ch->nr_free_bounces++] = piece->bounce;
	piece->next = ch->free_pieces;
	ch->free_pieces = piece;
}

/* The guest's buffer at byte `at` of req, from there on. */
static struct iovec buffer_at(const struct disk_request *req, uint64_t at)
{
	unsigned i = 0;
	while (at >= req->iov[i].iov_len)
		at -= req->iov[i++].iov_len;
	return (struct iovec){.iov_base = (uint8_t *)req->iov[i].iov_base + at, .iov_len = req->iov[i].iov_len - at};
}

/* Decides where the next piece's bytes lie. Returns that, or NULL when no bounce buffer is left. */
static uint8_t *place_piece(struct nbd_channel *ch, const struct disk_request *req, struct nbd_piece *piece)
{
	const struct disk_nbd *disk = ch->disk;
	uint64_t left = req->length - req->done;
	struct iovec buffer = buffer_at(req, req->done);
	if (buffer.iov_len > left)
		buffer.iov_len = left;
	if (buffer.iov_len == left || buffer.iov_len >= DIRECT_MIN) {
		size_t len = buffer.iov_len < disk->max_transfer ? buffer.iov_len : disk->max_transfer;
		piece->len = len - len % disk->disk.block_size;
		return buffer.iov_base;
	}
	piece->bounce = get_bounce(ch);
	piece->len = left < NBD_BOUNCE_SIZE ? left : NBD_BOUNCE_SIZE;
	if (piece->len > disk->max_transfer)
		piece->len = disk->max_transfer;
	if (piece->bounce && req->op == DISK_WRITE)
		iov_read(req->iov, req->nr_iov, req->done, piece->bounce, piece->len);
	return piece->bounce;
}

/* libnbd is done with a piece. Called from within its functions: only notes it. The type is the library's. */
static int piece_returned(void *user_data, int *error)
{
	struct nbd_piece *piece = user_data;
	piece->error = *error;
	piece->next = piece->channel->finished;
	piece->channel->finished = piece;
	return 1; /* libnbd forgets the command */
}

static int64_t start_command(struct nbd_channel *ch, struct nbd_piece *piece, uint8_t *data)
{
	const struct nbd_lib *nbd = ch->disk->nbd;
	const struct disk_request *req = piece->req;
	nbd_completion_callback callback;
	memset(&callback, 0, sizeof(callback));
	callback.callback = piece_returned;
	callback.user_data = piece;
	uint64_t offset = req->offset + piece->at;
	uint32_t flags = req->durable && ch->disk->can_fua ? LIBNBD_CMD_FLAG_FUA : 0;
	if (req->step == STEP_SYNC)
		return nbd->aio_flush(ch->handle, callback, 0);
	switch (req->op) {
	case DISK_READ:
		return nbd->aio_pread(ch->handle, data, piece->len, offset, callback, 0);
	case DISK_WRITE:
		return nbd->aio_pwrite(ch->handle, data, piece->len, offset, callback, flags);
	case DISK_FLUSH:
		return nbd->aio_flush(ch->handle, callback, 0);
	case DISK_DISCARD:
		return nbd->aio_trim(ch->handle, piece->len, offset, callback, 0);
	case DISK_WRITE_ZEROES:
		if (!req->may_unmap || !ch->disk->discard)
			flags |= LIBNBD_CMD_FLAG_NO_HOLE;
		return nbd->aio_zero(ch->handle, piece->len, offset, callback, flags);
	}
	return -1;
}

/* Sends one more piece of the first request in line. False: not now. */
static bool send_piece(struct nbd_channel *ch, struct disk_request *req)
{
	struct nbd_piece *piece = get_piece(ch);
	if (!piece)
		return false;
	piece->req = req;
	piece->at = req->done;
	piece->len = req->length;
	uint8_t *data = NULL;
	if (has_data(req) && req->step == STEP_DATA) {
		data = place_piece(ch, req, piece);
		if (!data) {
			put_piece(ch, piece);
			return false;
		}
	}
	req->parts++;
	ch->under_way++;
	if (start_command(ch, piece, data) < 0) {
		/* Refused, or the connection broke: then all come back, this one as well. */
		piece->error = ch->disk->nbd->get_errno();
		if (!piece->error)
			piece->error = EIO;
		piece->next = ch->finished;
		ch->finished = piece;
	}
	if (has_data(req) && req->step == STEP_DATA)
		req->done += piece->len;
	else
		req->done = req->length;
	return true;
}

void nbd_io_send(struct nbd_channel *ch)
{
	while (ch->unsent) {
		struct disk_request *req = ch->unsent;
		while (!req->result && send_piece(ch, req)) {
			if (req->done >= req->length)
				break;
		}
		if (!req->result && req->done < req->length) {
			if (ch->under_way)
				return;
			req->result = -ENOMEM; /* nobody's end would try again (invariant 3) */
		}
		dequeue_first(ch);
		if (req->result && !req->parts)
			disk_complete(&ch->base, req, req->result);
	}
}

/* --- completion --- */

/* All pieces of req are back. */
static void request_returned(struct nbd_channel *ch, struct disk_request *req, bool lost)
{
	bool needs_sync = req->durable && !ch->disk->can_fua && ch->disk->disk.can_flush && req->step == STEP_DATA;
	if (req->result && lost) {
		req->result = 0;
		req->done = 0;
		req->step = STEP_DATA;
		nbd_io_queue(ch, req);
	} else if (!req->result && needs_sync) {
		req->step = STEP_SYNC;
		req->done = 0;
		nbd_io_queue(ch, req);
	} else {
		disk_complete(&ch->base, req, req->result);
	}
}

void nbd_io_collect(struct nbd_channel *ch, bool lost)
{
	struct nbd_piece *piece;
	while ((piece = ch->finished)) {
		ch->finished = piece->next;
		struct disk_request *req = piece->req;
		if (piece->error && !req->result)
			req->result = -piece->error;
		if (!piece->error && piece->bounce && req->op == DISK_READ)
			iov_write(req->iov, req->nr_iov, piece->at, piece->bounce, piece->len);
		put_piece(ch, piece);
		req->parts--;
		ch->under_way--;
		if (req->parts == 0 && req != ch->unsent)
			request_returned(ch, req, lost);
	}
	/* The first in line may have lost a part before it was sent in full: it starts over, or fails. */
	struct disk_request *first = ch->unsent;
	if (first && first->result && first->parts == 0) {
		dequeue_first(ch);
		request_returned(ch, first, lost);
	}
}

void nbd_io_fail_queued(struct nbd_channel *ch, int code)
{
	while (ch->unsent) {
		struct disk_request *req = ch->unsent;
		dequeue_first(ch);
		disk_complete(&ch->base, req, -code);
	}
}
