/*
 * Disks behind NBD servers: opening one, and the connection.
 *
 * The library's socket is watched by one-shot polls in the I/O thread's ring, so that one loop drives all. A lost connection is made
 * anew for as long as the disk lives; meanwhile requests wait, at most reconnect_delay_s, then fail:
 *
 *      disk_nbd_open --> UP --lose--> DOWN --tick, connect--> CONNECTING --connected--> UP
 *                                      ^                          | refused, broken, or another disk: lose
 *                                      +--------------------------+
 *
 * Each handle has a generation, which is part of its polls' user_data: an event of an older one is dropped.
 */
#include "virtio/disk_nbd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"

#define TICK_S 1
#define TRANSFER_MAX (32u << 20) /* what every server takes (NBD protocol, "Block size constraints") */

/* user_data of our events: bit 0 clear (disk_owns_event), kind, generation. */
enum event_kind { EVENT_IN = 1, EVENT_OUT, EVENT_TICK, EVENT_REMOVED };
#define EVENT_KIND_SHIFT 1
#define EVENT_KIND_MASK 7u
#define EVENT_GENERATION_SHIFT 8

static const struct disk_ops nbd_ops;

bool disk_nbd_is_uri(const char *filename)
{
	return strncmp(filename, "nbd://", 6) == 0 || strncmp(filename, "nbds://", 7) == 0 ||
	       strncmp(filename, "nbd+unix://", 11) == 0 || strncmp(filename, "nbds+unix://", 12) == 0;
}

/* --- opening --- */

static struct nbd_handle *new_handle(const struct nbd_lib *nbd)
{
	struct nbd_handle *handle = nbd->create();
	/* A failed read fails as a whole, so buffers need no clearing beforehand. */
	if (handle)
		nbd->set_pread_initialize(handle, false);
	return handle;
}

/* Learns what the export is. */
static int examine(struct disk_nbd *disk, const struct disk_params *params, struct error *err)
{
	const struct nbd_lib *nbd = disk->nbd;
	struct nbd_handle *handle = disk->opened;
	struct disk *base = &disk->disk;
	int64_t size = nbd->get_size(handle);
	if (size < 0)
		return error_set(err, EIO, "disk %s: cannot tell its size: %s", base->name, nbd->get_error());
	if (nbd->is_read_only(handle) != 0 && !params->read_only)
		return error_set(err, EROFS, "disk %s: its server exports it read-only; say readonly=on", base->name);

	int64_t minimum = nbd->get_block_size(handle, LIBNBD_SIZE_MINIMUM);
	int64_t preferred = nbd->get_block_size(handle, LIBNBD_SIZE_PREFERRED);
	int64_t maximum = nbd->get_block_size(handle, LIBNBD_SIZE_MAXIMUM);
	base->block_size = minimum > (int64_t)DISK_SECTOR ? (uint32_t)minimum : DISK_SECTOR;
	if (base->block_size > 65536 || (base->block_size & (base->block_size - 1)))
		return error_set(err, EINVAL, "disk %s: its server wants blocks of %u bytes, more than a guest can use", base->name,
				 base->block_size);
	base->physical_block_size = base->block_size;
	if (preferred > base->block_size && preferred <= 65536 && (preferred & (preferred - 1)) == 0)
		base->physical_block_size = (uint32_t)preferred;
	disk->max_transfer = maximum >= base->block_size && maximum < TRANSFER_MAX ? (uint32_t)maximum : TRANSFER_MAX;
	base->size = (uint64_t)size - (uint64_t)size % base->block_size;
	if (base->size != (uint64_t)size)
		log_warning("disk %s: its last %llu bytes are not used: the size, %lld, is no multiple of %u", base->name,
			    (unsigned long long)((uint64_t)size - base->size), (long long)size, base->block_size);

	disk->can_fua = nbd->can_fua(handle) == 1;
	disk->can_trim = nbd->can_trim(handle) == 1;
	base->can_flush = nbd->can_flush(handle) == 1;
	base->can_discard = disk->can_trim && params->discard && !params->read_only;
	base->can_write_zeroes = nbd->can_zero(handle) == 1 && !params->read_only;
	return 0;
}

int disk_nbd_open(const struct disk_params *params, struct disk **out, struct error *err)
{
	struct disk_nbd *disk = calloc(1, sizeof(*disk));
	if (!disk)
		return error_set(err, ENOMEM, "disk %s: out of memory", params->filename);
	disk->disk.ops = &nbd_ops;
	disk->disk.driver = "nbd";
	snprintf(disk->disk.name, sizeof(disk->disk.name), "%s", params->filename);
	disk->disk.max_channels = 1;
	disk->disk.read_only = params->read_only;
	disk->discard = params->discard;
	disk->no_flush = params->no_flush;
	disk->reconnect_delay_s = params->reconnect_delay_s;

	int ret = -ENOMEM;
	disk->uri = strdup(params->filename);
	if (!disk->uri) {
		error_set(err, ENOMEM, "disk %s: out of memory", params->filename);
		goto free_disk;
	}
	ret = nbd_lib_load(&disk->nbd, err);
	if (ret) {
		error_prefix(err, "disk %s", params->filename);
		goto free_disk;
	}
	disk->opened = new_handle(disk->nbd);
	if (!disk->opened) {
		ret = error_set(err, ENOMEM, "disk %s: %s", params->filename, disk->nbd->get_error());
		goto free_disk;
	}
	if (disk->nbd->connect_uri(disk->opened, disk->uri)) {
		int code = disk->nbd->get_errno();
		ret = error_set(err, code ? code : EIO, "disk %s: cannot connect: %s; see that its server runs", params->filename,
				disk->nbd->get_error());
		goto close_handle;
	}
	ret = examine(disk, params, err);
	if (ret)
		goto close_handle;
	*out = &disk->disk;
	return 0;

close_handle:
	disk->nbd->close(disk->opened);
free_disk:
	free(disk->uri);
	free(disk);
	return ret;
}

static void nbd_disk_close(struct disk *base)
{
	struct disk_nbd *disk = (struct disk_nbd *)base;
	if (disk->opened)
		disk->nbd->close(disk->opened);
	free(disk->uri);
	free(disk);
}

/* --- events in the ring --- */

static uint64_t event_data(const struct nbd_channel *ch, enum event_kind kind)
{
	return (uint64_t)ch->generation << EVENT_GENERATION_SHIFT | (uint64_t)kind << EVENT_KIND_SHIFT;
}

/* Without a free entry in the ring nothing would wake us; the kernel has run out of memory then. */
static struct io_uring_sqe *need_sqe(struct nbd_channel *ch)
{
	struct io_uring_sqe *sqe = disk_sqe(&ch->base);
	if (!sqe)
		log_guest_error("disk %s: io_uring takes no more requests", ch->disk->disk.name);
	return sqe;
}

static void arm_poll(struct nbd_channel *ch, unsigned events, enum event_kind kind, bool *armed)
{
	struct io_uring_sqe *sqe;
	if (*armed || !(sqe = need_sqe(ch)))
		return;
	io_uring_prep_poll_add(sqe, ch->disk->nbd->aio_get_fd(ch->handle), events);
	io_uring_sqe_set_data64(sqe, event_data(ch, kind));
	*armed = true;
}

/* Watches for what the library waits for. */
static void arm_polls(struct nbd_channel *ch)
{
	if (!ch->handle)
		return;
	unsigned direction = ch->disk->nbd->aio_get_direction(ch->handle);
	if (direction & LIBNBD_AIO_DIRECTION_READ)
		arm_poll(ch, POLLIN, EVENT_IN, &ch->polling_in);
	if (direction & LIBNBD_AIO_DIRECTION_WRITE)
		arm_poll(ch, POLLOUT, EVENT_OUT, &ch->polling_out);
}

/* Polls hold on to their socket until they end. */
static void remove_poll(struct nbd_channel *ch, enum event_kind kind, bool *armed)
{
	struct io_uring_sqe *sqe;
	if (!*armed || !(sqe = need_sqe(ch)))
		return;
	io_uring_prep_poll_remove(sqe, event_data(ch, kind));
	io_uring_sqe_set_data64(sqe, event_data(ch, EVENT_REMOVED));
	*armed = false;
}

static void arm_tick(struct nbd_channel *ch)
{
	static struct __kernel_timespec second = {.tv_sec = TICK_S};
	struct io_uring_sqe *sqe;
	if (ch->ticking || !(sqe = need_sqe(ch)))
		return;
	io_uring_prep_timeout(sqe, &second, 0, 0);
	io_uring_sqe_set_data64(sqe, event_data(ch, EVENT_TICK));
	ch->ticking = true;
}

/* --- the connection --- */

/* Lets go of the handle, broken or not wanted any more. */
static void drop_handle(struct nbd_channel *ch)
{
	remove_poll(ch, EVENT_IN, &ch->polling_in);
	remove_poll(ch, EVENT_OUT, &ch->polling_out);
	struct nbd_handle *handle = ch->handle;
	ch->handle = NULL;
	ch->link = NBD_DOWN;
	ch->generation++;
	ch->disk->nbd->close(handle); /* hands back commands that are left */
	nbd_io_collect(ch, true);
}

static void fail_if_too_late(struct nbd_channel *ch)
{
	if (clock_now_ns() >= ch->deadline_ns)
		nbd_io_fail_queued(ch, ENOTCONN);
}

/* The connection broke, or could not be made. */
static void lose(struct nbd_channel *ch)
{
	const struct disk_nbd *disk = ch->disk;
	if (ch->link == NBD_UP) {
		if (disk->reconnect_delay_s)
			log_warning("disk %s: lost the connection to its server; requests wait up to %u s for it to come back",
				    disk->disk.name, disk->reconnect_delay_s);
		else
			log_warning("disk %s: lost the connection to its server; requests fail until it comes back",
				    disk->disk.name);
		ch->deadline_ns = clock_now_ns() + disk->reconnect_delay_s * 1000000000ull;
		ch->refused = false;
	}
	drop_handle(ch);
	fail_if_too_late(ch);
	arm_tick(ch);
}

/* The disk must be the one that the guest knows. */
static bool is_same_disk(const struct nbd_channel *ch)
{
	const struct disk_nbd *disk = ch->disk;
	int64_t size = disk->nbd->get_size(ch->handle);
	return size >= 0 && (uint64_t)size - (uint64_t)size % disk->disk.block_size == disk->disk.size &&
	       (disk->disk.read_only || disk->nbd->is_read_only(ch->handle) == 0) &&
	       (!disk->disk.can_flush || disk->nbd->can_flush(ch->handle) == 1);
}

static void connected(struct nbd_channel *ch)
{
	struct disk_nbd *disk = ch->disk;
	if (!is_same_disk(ch)) {
		if (!ch->refused)
			log_error("disk %s: its server came back with another size, or read-only; waiting for the right one",
				  disk->disk.name);
		ch->refused = true;
		lose(ch);
		return;
	}
	disk->can_fua = disk->nbd->can_fua(ch->handle) == 1;
	disk->can_trim = disk->nbd->can_trim(ch->handle) == 1;
	ch->link = NBD_UP;
	log_warning("disk %s: connected again", disk->disk.name);
}

static void connect_again(struct nbd_channel *ch)
{
	const struct nbd_lib *nbd = ch->disk->nbd;
	ch->handle = new_handle(nbd);
	if (!ch->handle)
		return;
	ch->link = NBD_CONNECTING;
	if (nbd->aio_connect_uri(ch->handle, ch->disk->uri))
		drop_handle(ch);
}

/* Whatever happened, does all that can be done now. */
static void pump(struct nbd_channel *ch)
{
	const struct nbd_lib *nbd = ch->disk->nbd;
	for (;;) {
		if (ch->handle && (nbd->aio_is_dead(ch->handle) || nbd->aio_is_closed(ch->handle)))
			lose(ch);
		if (ch->link == NBD_CONNECTING && (nbd->aio_is_ready(ch->handle) || nbd->aio_is_processing(ch->handle)))
			connected(ch);
		nbd_io_collect(ch, false);
		if (ch->link != NBD_UP)
			break;
		nbd_io_send(ch);
		/* Sending may have ended commands at once, or shown that the connection is broken. */
		if (!ch->finished && !nbd->aio_is_dead(ch->handle) && !nbd->aio_is_closed(ch->handle))
			break;
	}
	arm_polls(ch);
}

static void tick(struct nbd_channel *ch)
{
	ch->ticking = false;
	if (ch->link == NBD_UP)
		return;
	if (ch->link == NBD_DOWN) {
		connect_again(ch);
	} else {
		/* The library may have gone on to another address, and socket. */
		remove_poll(ch, EVENT_IN, &ch->polling_in);
		remove_poll(ch, EVENT_OUT, &ch->polling_out);
		ch->generation++;
	}
	fail_if_too_late(ch);
	arm_tick(ch);
}

static void nbd_event(struct disk_channel *channel, uint64_t user_data, int result)
{
	(void)result; /* the library finds out itself what is wrong with its socket */
	struct nbd_channel *ch = (struct nbd_channel *)channel;
	const struct nbd_lib *nbd = ch->disk->nbd;
	enum event_kind kind = (enum event_kind)(user_data >> EVENT_KIND_SHIFT & EVENT_KIND_MASK);
	bool ours = (uint32_t)(user_data >> EVENT_GENERATION_SHIFT) == ch->generation;
	if (kind == EVENT_TICK) {
		tick(ch);
	} else if (!ours || !ch->handle) {
		return;
	} else if (kind == EVENT_IN) {
		ch->polling_in = false;
		if (nbd->aio_get_direction(ch->handle) & LIBNBD_AIO_DIRECTION_READ)
			nbd->aio_notify_read(ch->handle);
	} else if (kind == EVENT_OUT) {
		ch->polling_out = false;
		if (nbd->aio_get_direction(ch->handle) & LIBNBD_AIO_DIRECTION_WRITE)
			nbd->aio_notify_write(ch->handle);
	}
	pump(ch);
}

static void nbd_submit(struct disk_channel *channel, struct disk_request *req)
{
	struct nbd_channel *ch = (struct nbd_channel *)channel;
	const struct disk_nbd *disk = ch->disk;
	if ((req->op == DISK_FLUSH && (disk->no_flush || !disk->disk.can_flush)) ||
	    (req->op == DISK_DISCARD && (!disk->discard || !disk->can_trim))) {
		disk_complete(channel, req, 0);
		return;
	}
	if (disk->no_flush)
		req->durable = false;
	nbd_io_queue(ch, req);
	if (ch->link != NBD_UP)
		fail_if_too_late(ch);
	else
		pump(ch);
}

/* A server that keeps its connection open and answers nothing, or one that does not come back. */
static void nbd_give_up(struct disk_channel *channel)
{
	struct nbd_channel *ch = (struct nbd_channel *)channel;
	if (ch->link != NBD_UP) {
		nbd_io_fail_queued(ch, ETIMEDOUT);
		return;
	}
	log_warning("disk %s: its server does not answer; the connection is given up", ch->disk->disk.name);
	/* The library finds its socket at the end, as if the server had gone: one way to lose a connection is enough. */
	shutdown(ch->disk->nbd->aio_get_fd(ch->handle), SHUT_RDWR);
}

static int nbd_attach(struct disk *base, struct io_uring *ring, struct disk_channel **out, struct error *err)
{
	struct disk_nbd *disk = (struct disk_nbd *)base;
	struct nbd_channel *ch = calloc(1, sizeof(*ch));
	if (!ch)
		return error_set(err, ENOMEM, "disk %s: out of memory", base->name);
	disk_channel_init(&ch->base, base, ring);
	nbd_io_init(ch);
	ch->disk = disk;
	ch->handle = disk->opened;
	disk->opened = NULL;
	if (ch->handle) {
		ch->link = NBD_UP;
		arm_polls(ch);
	} else {
		/* A second channel, after the first was detached. */
		ch->link = NBD_DOWN;
		ch->deadline_ns = clock_now_ns() + disk->reconnect_delay_s * 1000000000ull;
		connect_again(ch);
		arm_polls(ch);
		arm_tick(ch);
	}
	*out = &ch->base;
	return 0;
}

static void nbd_detach(struct disk_channel *channel)
{
	struct nbd_channel *ch = (struct nbd_channel *)channel;
	if (ch->handle) {
		ch->disk->nbd->aio_disconnect(ch->handle, 0);
		ch->disk->nbd->close(ch->handle);
	}
	nbd_io_fini(ch);
	free(ch);
}

static const struct disk_ops nbd_ops = {
	.attach = nbd_attach,
	.detach = nbd_detach,
	.submit = nbd_submit,
	.event = nbd_event,
	.give_up = nbd_give_up,
	.close = nbd_disk_close,
};
