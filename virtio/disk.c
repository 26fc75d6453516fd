/* See disk.h: what all kinds of disks share. */
#include "virtio/disk.h"

#include <errno.h>
#include <string.h>

int disk_open(const struct disk_params *params, struct disk **disk, struct error *err)
{
	if (params->fd < 0 && disk_nbd_is_uri(params->filename))
		return disk_nbd_open(params, disk, err);
	return disk_file_open(params, disk, err);
}

void disk_close(struct disk *disk)
{
	if (disk)
		disk->ops->close(disk);
}

int disk_attach(struct disk *disk, struct io_uring *ring, struct disk_channel **channel, struct error *err)
{
	return disk->ops->attach(disk, ring, channel, err);
}

void disk_detach(struct disk_channel *channel)
{
	if (channel)
		channel->disk->ops->detach(channel);
}

void disk_submit(struct disk_channel *channel, struct disk_request *req)
{
	req->result = 0;
	req->next = NULL;
	req->done = 0;
	req->parts = 0;
	req->step = 0;
	req->tries = 0;
	req->bounce = NULL;
	channel->disk->ops->submit(channel, req);
}

void disk_event(struct disk_channel *channel, uint64_t user_data, int result)
{
	channel->disk->ops->event(channel, user_data, result);
}

void disk_give_up(struct disk_channel *channel)
{
	if (channel->disk->ops->give_up)
		channel->disk->ops->give_up(channel);
}

struct disk_request *disk_next_done(struct disk_channel *channel)
{
	struct disk_request *req = channel->done;
	if (req) {
		channel->done = req->next;
		if (!channel->done)
			channel->done_tail = &channel->done;
		req->next = NULL;
	}
	return req;
}

void disk_channel_init(struct disk_channel *channel, struct disk *disk, struct io_uring *ring)
{
	channel->disk = disk;
	channel->ring = ring;
	channel->done = NULL;
	channel->done_tail = &channel->done;
}

const char *disk_op_name(enum disk_op op)
{
	switch (op) {
	case DISK_READ:
		return "read";
	case DISK_WRITE:
		return "write";
	case DISK_FLUSH:
		return "flush";
	case DISK_DISCARD:
		return "discard";
	case DISK_WRITE_ZEROES:
		return "write of zeroes";
	}
	return "request";
}

static const char *advice(int code)
{
	switch (code) {
	case ENOSPC:
	case EDQUOT:
		return "; the guest gets I/O errors until there is room on the file system (or in the quota) that holds it";
	case EFBIG:
		return "; raise the file size limit (ulimit -f)";
	case ENODATA:
		return "; it became shorter while in use: restore its size, then restart the guest";
	case ENOTCONN:
	case EPIPE:
	case ESHUTDOWN:
	case ECONNRESET:
		return "; see that its server runs and can be reached";
	case EIO:
	case EREMOTEIO:
	case EBADMSG:
		return "; look in the host's kernel log or the server's log for the cause";
	default:
		return "";
	}
}

void disk_complete(struct disk_channel *channel, struct disk_request *req, int result)
{
	unsigned skipped;
	if (result && log_limit_pass(&channel->disk->failures, &skipped)) {
		log_warning("disk %s: %s of %llu bytes at %llu failed: %s%s", channel->disk->name, disk_op_name(req->op),
			    (unsigned long long)req->length, (unsigned long long)req->offset, strerror(-result), advice(-result));
		if (skipped)
			log_warning("disk %s: %u more failures before that", channel->disk->name, skipped);
	}
	req->result = result;
	req->next = NULL;
	*channel->done_tail = req;
	channel->done_tail = &req->next;
}

struct io_uring_sqe *disk_sqe(struct disk_channel *channel)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(channel->ring);
	if (!sqe) {
		io_uring_submit(channel->ring);
		sqe = io_uring_get_sqe(channel->ring);
	}
	return sqe;
}

void disk_request_advance(struct disk_request *req, size_t n)
{
	while (n && req->nr_iov) {
		struct iovec *iov = req->iov;
		if (n < iov->iov_len) {
			iov->iov_base = (char *)iov->iov_base + n;
			iov->iov_len -= n;
			return;
		}
		n -= iov->iov_len;
		req->iov++;
		req->nr_iov--;
	}
}
