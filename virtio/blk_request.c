/*
 * What a chain of buffers asks for (virtio 1.2, 5.2.6). The guest may split it as it likes:
 *
 *   readable   16 bytes of header: type, reserved, sector; then data to write, or one segment of a discard or write-zeroes
 *   writable   data that is read; then, as the very last byte, the status
 *
 * A chain without room for header and status is a broken driver: there is nowhere to say so. Anything else that is wrong gets a
 * status: VIRTIO_BLK_S_IOERR for requests that this disk cannot do, VIRTIO_BLK_S_UNSUPP for those that no disk of ours can.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/blk_io.h"

/* Takes the last byte, the status, off the writable buffers. */
static bool cut_status(struct virtq_chain *chain, struct iovec *status)
{
	if (chain->in_len == 0)
		return false;
	struct iovec *last = &chain->in[chain->nr_in - 1];
	*status = (struct iovec){.iov_base = (uint8_t *)last->iov_base + last->iov_len - 1, .iov_len = 1};
	last->iov_len--;
	if (last->iov_len == 0)
		chain->nr_in--;
	chain->in_len--;
	return true;
}

/* Takes the header off the readable buffers. */
static bool cut_header(struct virtq_chain *chain, struct virtio_blk_outhdr *header)
{
	size_t left = sizeof(*header);
	if (iov_read(chain->out, chain->nr_out, 0, header, left) != left)
		return false;
	chain->out_len -= left;
	while (left >= chain->out->iov_len) {
		left -= chain->out->iov_len;
		chain->out++;
		chain->nr_out--;
		if (!left)
			return true;
	}
	chain->out->iov_base = (uint8_t *)chain->out->iov_base + left;
	chain->out->iov_len -= left;
	return true;
}

/* Whether sectors lie on the disk, and at multiples of its block size. */
static bool range_is_good(const struct blk *blk, uint64_t sector, uint64_t nr_sectors)
{
	uint64_t capacity = blk->config.capacity;
	uint64_t block = blk->block_size / DISK_SECTOR;
	return sector <= capacity && nr_sectors <= capacity - sector && sector % block == 0 && nr_sectors % block == 0;
}

/* The request outlives the array in which its buffers were found. */
static bool keep_buffers(struct blk_request *req, const struct iovec *iov, unsigned nr)
{
	if (nr > BLK_INLINE_IOV) {
		req->vec = malloc(nr * sizeof(*iov));
		if (!req->vec)
			return false;
	}
	memcpy(req->vec, iov, nr * sizeof(*iov));
	req->disk.iov = req->vec;
	req->disk.nr_iov = nr;
	return true;
}

static int answer(uint8_t *status, uint8_t value)
{
	*status = value;
	return BLK_ANSWERED;
}

static int parse_transfer(struct blk *blk, const struct virtq_chain *chain, enum disk_op op, uint64_t sector,
			  struct blk_request *req, uint8_t *status)
{
	const struct iovec *iov = op == DISK_READ ? chain->in : chain->out;
	unsigned nr = op == DISK_READ ? chain->nr_in : chain->nr_out;
	size_t len = op == DISK_READ ? chain->in_len : chain->out_len;
	if (len % DISK_SECTOR || !range_is_good(blk, sector, len / DISK_SECTOR) || (op == DISK_WRITE && blk->read_only))
		return answer(status, VIRTIO_BLK_S_IOERR);
	if (len == 0)
		return answer(status, VIRTIO_BLK_S_OK);
	if (!keep_buffers(req, iov, nr))
		return answer(status, VIRTIO_BLK_S_IOERR);
	req->disk.op = op;
	req->disk.durable = op == DISK_WRITE && !blk->write_cache;
	req->disk.offset = sector * DISK_SECTOR;
	req->disk.length = len;
	return BLK_TO_DISK;
}

/* Discard and write-zeroes: max_..._seg says that there is one segment. */
static int parse_range(struct blk *blk, const struct virtq_chain *chain, enum disk_op op, struct blk_request *req, uint8_t *status)
{
	bool can = op == DISK_DISCARD ? blk->disk->can_discard : blk->disk->can_write_zeroes;
	if (!can || blk->read_only)
		return answer(status, VIRTIO_BLK_S_UNSUPP);
	struct virtio_blk_discard_write_zeroes segment;
	if (chain->out_len != sizeof(segment))
		return answer(status, VIRTIO_BLK_S_IOERR);
	iov_read(chain->out, chain->nr_out, 0, &segment, sizeof(segment));
	uint32_t known = op == DISK_DISCARD ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	if (segment.flags & ~known)
		return answer(status, VIRTIO_BLK_S_UNSUPP);
	if (segment.num_sectors > DISK_RANGE_MAX / DISK_SECTOR || !range_is_good(blk, segment.sector, segment.num_sectors))
		return answer(status, VIRTIO_BLK_S_IOERR);
	if (segment.num_sectors == 0)
		return answer(status, VIRTIO_BLK_S_OK);
	req->disk.op = op;
	req->disk.durable = op == DISK_WRITE_ZEROES && !blk->write_cache;
	req->disk.may_unmap = segment.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	req->disk.offset = segment.sector * DISK_SECTOR;
	req->disk.length = (uint64_t)segment.num_sectors * DISK_SECTOR;
	return BLK_TO_DISK;
}

static int parse_flush(const struct blk *blk, struct blk_request *req, uint8_t *status)
{
	if (!blk->disk->can_flush || blk->read_only)
		return answer(status, VIRTIO_BLK_S_OK);
	req->disk.op = DISK_FLUSH;
	return BLK_TO_DISK;
}

static int parse_get_id(const struct blk *blk, const struct virtq_chain *chain, uint8_t *status)
{
	if (chain->in_len == 0)
		return answer(status, VIRTIO_BLK_S_IOERR);
	iov_write(chain->in, chain->nr_in, 0, blk->serial, sizeof(blk->serial));
	return answer(status, VIRTIO_BLK_S_OK);
}

int blk_request_parse(struct blk *blk, struct virtq_chain *chain, struct blk_request *req, uint8_t *status)
{
	struct virtio_blk_outhdr header;
	req->head = chain->head;
	req->in_len = (uint32_t)chain->in_len;
	req->vec = req->inline_iov;
	req->disk = (struct disk_request){.iov = req->vec};
	if (!cut_status(chain, &req->status) || !cut_header(chain, &header))
		return -EPROTO;
	switch (header.type) {
	case VIRTIO_BLK_T_IN:
		return parse_transfer(blk, chain, DISK_READ, header.sector, req, status);
	case VIRTIO_BLK_T_OUT:
		return parse_transfer(blk, chain, DISK_WRITE, header.sector, req, status);
	case VIRTIO_BLK_T_FLUSH:
		return parse_flush(blk, req, status);
	case VIRTIO_BLK_T_GET_ID:
		return parse_get_id(blk, chain, status);
	case VIRTIO_BLK_T_DISCARD:
		return parse_range(blk, chain, DISK_DISCARD, req, status);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return parse_range(blk, chain, DISK_WRITE_ZEROES, req, status);
	default:
		return answer(status, VIRTIO_BLK_S_UNSUPP);
	}
}
