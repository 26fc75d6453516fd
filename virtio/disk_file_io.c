/*
 * Requests on raw images, by io_uring.
 *
 * Each request is one entry of the ring at a time; its completion either ends it or queues its next step:
 *
 *   submit --> TRANSFER ----------------> done      reads and writes straight from and to the guest's buffers
 *          --> BOUNCE --> (copy) -------> done      the same in pieces of one aligned buffer, where direct I/O would refuse the guest's
 *          --> PUNCH_HOLE --> (SYNC) ---> done      discard, and zeroes that may free space
 *          --> ZERO_RANGE --> (SYNC) ---> done      zeroes that stay allocated
 *                 `- EOPNOTSUPP --> WRITE_ZEROES    zeroes where the file system cannot do it by itself
 *          --> SYNC --------------------> done      flush
 *
 * A short transfer repeats its step with what is left. So do EINTR and EAGAIN, a bounded number of times in a row.
 *
 * Bounce buffers are few, made when first needed and kept; requests wait in line for them.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "virtio/disk_file.h"
#include "virtio/queue.h"

#define NR_BOUNCES 4
#define BOUNCE_SIZE (128u << 10)
#define ZEROES_SIZE (128u << 10)
#define TRIES_MAX 64

enum step { STEP_TRANSFER = 1, STEP_BOUNCE, STEP_PUNCH_HOLE, STEP_ZERO_RANGE, STEP_WRITE_ZEROES, STEP_SYNC };

struct file_channel {
	struct disk_channel base;
	struct disk_file *file;
	uint8_t *bounces[NR_BOUNCES]; /* free ones; nr_free first */
	unsigned nr_free, nr_made;
	struct disk_request *waiting, **waiting_tail; /* for a bounce buffer */
};

/* Never written: reading it costs no memory. */
static uint8_t zeroes[ZEROES_SIZE] __attribute__((aligned(4096)));

static size_t min_size(uint64_t a, uint64_t b)
{
	return (size_t)(a < b ? a : b);
}

static bool buffers_aligned(const struct disk_file *file, const struct disk_request *req)
{
	if (file->mem_align == 1)
		return true;
	for (unsigned i = 0; i < req->nr_iov; i++) {
		if (((uintptr_t)req->iov[i].iov_base & (file->mem_align - 1)) ||
		    (req->iov[i].iov_len & (file->disk.block_size - 1)))
			return false;
	}
	return true;
}

static void issue_transfer(struct file_channel *ch, struct disk_request *req, struct io_uring_sqe *sqe)
{
	uint64_t offset = req->offset + req->done;
	int fd = ch->file->fd;
	/* One buffer, the usual case, saves the kernel a look at the vector. Longer than 1 GiB counts as a short transfer. */
	if (req->nr_iov == 1) {
		unsigned len = (unsigned)min_size(req->iov->iov_len, 1u << 30);
		if (req->op == DISK_READ)
			io_uring_prep_read(sqe, fd, req->iov->iov_base, len, offset);
		else
			io_uring_prep_write(sqe, fd, req->iov->iov_base, len, offset);
	} else if (req->op == DISK_READ) {
		io_uring_prep_readv(sqe, fd, req->iov, req->nr_iov, offset);
	} else {
		io_uring_prep_writev(sqe, fd, req->iov, req->nr_iov, offset);
	}
}

static void issue_bounce(struct file_channel *ch, struct disk_request *req, struct io_uring_sqe *sqe)
{
	unsigned len = (unsigned)min_size(req->length - req->done, BOUNCE_SIZE);
	uint64_t offset = req->offset + req->done;
	if (req->op == DISK_READ) {
		io_uring_prep_read(sqe, ch->file->fd, req->bounce, len, offset);
	} else {
		iov_read(req->iov, req->nr_iov, 0, req->bounce, len);
		io_uring_prep_write(sqe, ch->file->fd, req->bounce, len, offset);
	}
}

static void finish(struct file_channel *ch, struct disk_request *req, int result);

static void issue(struct file_channel *ch, struct disk_request *req)
{
	struct io_uring_sqe *sqe = disk_sqe(&ch->base);
	if (!sqe) {
		finish(ch, req, -EBUSY);
		return;
	}
	int fd = ch->file->fd;
	uint64_t offset = req->offset + req->done;
	uint64_t left = req->length - req->done;
	switch ((enum step)req->step) {
	case STEP_TRANSFER:
		issue_transfer(ch, req, sqe);
		break;
	case STEP_BOUNCE:
		issue_bounce(ch, req, sqe);
		break;
	case STEP_PUNCH_HOLE:
		io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)left);
		break;
	case STEP_ZERO_RANGE:
		io_uring_prep_fallocate(sqe, fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)left);
		break;
	case STEP_WRITE_ZEROES:
		io_uring_prep_write(sqe, fd, zeroes, (unsigned)min_size(left, ZEROES_SIZE), offset);
		break;
	case STEP_SYNC:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	}
	bool writes = req->op == DISK_WRITE || req->step == STEP_WRITE_ZEROES;
	if (writes && req->durable && !ch->file->no_flush)
		sqe->rw_flags = RWF_DSYNC;
	if (req->tries)
		sqe->flags |= IOSQE_ASYNC; /* refused without blocking before: let a kernel thread block */
	io_uring_sqe_set_data(sqe, req);
}

static void go_to(struct file_channel *ch, struct disk_request *req, enum step step)
{
	req->step = step;
	req->tries = 0;
	issue(ch, req);
}

/* --- bounce buffers --- */

static uint8_t *take_bounce(struct file_channel *ch)
{
	if (ch->nr_free)
		return ch->bounces[--ch->nr_free];
	if (ch->nr_made == NR_BOUNCES)
		return NULL;
	void *buf = mmap(NULL, BOUNCE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		return NULL;
	ch->nr_made++;
	return buf;
}

static void start_bounced(struct file_channel *ch, struct disk_request *req)
{
	req->bounce = take_bounce(ch);
	if (req->bounce) {
		go_to(ch, req, STEP_BOUNCE);
	} else if (ch->nr_made == 0) {
		disk_complete(&ch->base, req, -ENOMEM); /* nobody would ever wake it */
	} else {
		*ch->waiting_tail = req;
		ch->waiting_tail = &req->next;
	}
}

static void end_bounced(struct file_channel *ch, struct disk_request *req)
{
	ch->bounces[ch->nr_free++] = req->bounce;
	req->bounce = NULL;
	struct disk_request *next = ch->waiting;
	if (next) {
		ch->waiting = next->next;
		if (!ch->waiting)
			ch->waiting_tail = &ch->waiting;
		start_bounced(ch, next);
	}
}

/* --- the life of a request --- */

static void finish(struct file_channel *ch, struct disk_request *req, int result)
{
	if (req->bounce)
		end_bounced(ch, req);
	disk_complete(&ch->base, req, result);
}

static void start_zeroes(struct file_channel *ch, struct disk_request *req)
{
	struct disk_file *file = ch->file;
	if (req->may_unmap && file->discard && !file->no_punch_hole)
		go_to(ch, req, STEP_PUNCH_HOLE);
	else if (!file->no_zero_range)
		go_to(ch, req, STEP_ZERO_RANGE);
	else
		go_to(ch, req, STEP_WRITE_ZEROES);
}

void disk_file_submit(struct disk_channel *channel, struct disk_request *req)
{
	struct file_channel *ch = (struct file_channel *)channel;
	struct disk_file *file = ch->file;
	switch (req->op) {
	case DISK_READ:
	case DISK_WRITE:
		if (buffers_aligned(file, req))
			go_to(ch, req, STEP_TRANSFER);
		else
			start_bounced(ch, req);
		break;
	case DISK_FLUSH:
		if (file->no_flush)
			disk_complete(channel, req, 0);
		else
			go_to(ch, req, STEP_SYNC);
		break;
	case DISK_DISCARD:
		if (!file->discard || file->no_punch_hole)
			disk_complete(channel, req, 0); /* a hint, which may be ignored */
		else
			go_to(ch, req, STEP_PUNCH_HOLE);
		break;
	case DISK_WRITE_ZEROES:
		start_zeroes(ch, req);
		break;
	}
}

static bool lacks_support(int result)
{
	return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENOTTY || result == -ENODEV;
}

/* The file system refused. Tries the next way; true if there is one. */
static bool fall_back(struct file_channel *ch, struct disk_request *req)
{
	switch (req->step) {
	case STEP_PUNCH_HOLE:
		ch->file->no_punch_hole = true;
		if (req->op == DISK_DISCARD)
			finish(ch, req, 0);
		else
			start_zeroes(ch, req);
		return true;
	case STEP_ZERO_RANGE:
		ch->file->no_zero_range = true;
		start_zeroes(ch, req);
		return true;
	default:
		return false;
	}
}

/* Bytes went over. */
static void transferred(struct file_channel *ch, struct disk_request *req, size_t n)
{
	if (n == 0) {
		/* Within the size that the image had when it was opened, nothing is there any more. */
		finish(ch, req, req->op == DISK_READ ? -ENODATA : -EIO);
		return;
	}
	if (req->step == STEP_BOUNCE && req->op == DISK_READ)
		iov_write(req->iov, req->nr_iov, 0, req->bounce, n);
	if (req->step != STEP_WRITE_ZEROES)
		disk_request_advance(req, n);
	req->done += n;
	if (req->done < req->length)
		go_to(ch, req, (enum step)req->step);
	else
		finish(ch, req, 0);
}

void disk_file_event(struct disk_channel *channel, uint64_t user_data, int result)
{
	struct file_channel *ch = (struct file_channel *)channel;
	struct disk_request *req = (struct disk_request *)(uintptr_t)user_data;
	if (result < 0) {
		if ((result == -EINTR || result == -EAGAIN) && req->tries < TRIES_MAX) {
			req->tries++;
			issue(ch, req);
		} else if (!lacks_support(result) || !fall_back(ch, req)) {
			finish(ch, req, result);
		}
		return;
	}
	switch ((enum step)req->step) {
	case STEP_TRANSFER:
	case STEP_BOUNCE:
	case STEP_WRITE_ZEROES:
		transferred(ch, req, (size_t)result);
		break;
	case STEP_PUNCH_HOLE:
	case STEP_ZERO_RANGE:
		if (req->durable && !ch->file->no_flush)
			go_to(ch, req, STEP_SYNC);
		else
			finish(ch, req, 0);
		break;
	case STEP_SYNC:
		finish(ch, req, 0);
		break;
	}
}

int disk_file_attach(struct disk *disk, struct io_uring *ring, struct disk_channel **out, struct error *err)
{
	struct file_channel *ch = calloc(1, sizeof(*ch));
	if (!ch)
		return error_set(err, ENOMEM, "disk %s: out of memory", disk->name);
	disk_channel_init(&ch->base, disk, ring);
	ch->file = (struct disk_file *)disk;
	ch->waiting_tail = &ch->waiting;
	*out = &ch->base;
	return 0;
}

void disk_file_detach(struct disk_channel *channel)
{
	struct file_channel *ch = (struct file_channel *)channel;
	while (ch->nr_free)
		munmap(ch->bounces[--ch->nr_free], BOUNCE_SIZE);
	free(ch);
}
