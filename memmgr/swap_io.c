/*
 * Transfers of a swap file, by an io_uring of one thread.
 *
 *   swap_io_read(), swap_io_write() --> QUEUED --swap_io_submit()--> IN FLIGHT --(completion)--> reaped
 *                                         ^                              |
 *                                         `------ EINTR, EAGAIN, --------'
 *                                                 a write that was cut short
 *
 * A write is cut short where the disk is full or fails; the rest is tried again, for its error says which. A read that is cut short
 * ends in -EIO: the file was as long as its extents when they were made.
 *
 * The kernel may refuse to take what is queued for want of memory: then it stays queued. If it refuses for good (a filter of
 * system calls that was set later), what is queued fails with -EIO, as does all that follows; the ring is not used for new
 * transfers then, so that nothing of it comes back to buffers that have been given up.
 *
 * Invariant: queued + in flight + failed = nr_pending <= depth, which is what the ring holds.
 */
#include <errno.h>
#include <liburing.h>
#include <linux/ioprio.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "memmgr/os.h"
#include "memmgr/swap_file_internal.h"

#define TRIES_MAX 64
/* How often the kernel is asked again, 1 ms apart, when it takes nothing and nothing is on its way that would free memory. */
#define REFUSALS_MAX 100

struct transfer {
	uint64_t token;
	uint8_t *buffer;
	uint64_t offset;
	uint32_t len, done; /* bytes */
	bool is_write, is_ahead;
	bool is_refused; /* by a broken ring */
	unsigned tries;
	struct transfer *next; /* free ones */
};

struct swap_io {
	struct swap_file *sf;
	struct io_uring ring;
	unsigned depth, nr_pending;
	bool is_broken; /* the kernel refuses the ring for good */
	bool is_ahead;  /* reads are, from now on */
	struct transfer *free;
	struct transfer transfers[]; /* depth */
};

int swap_io_create(struct swap_file *sf, unsigned depth, struct swap_io **out, struct error *err)
{
	if (depth == 0 || depth > 4096)
		return error_set(err, EINVAL, "%s: %u transfers at a time are not possible; choose 1 to 4096", swap_file_name(sf),
				 depth);
	struct swap_io *io = mem_calloc(1, sizeof(*io) + depth * sizeof(io->transfers[0]));
	if (!io)
		return error_set(err, ENOMEM, "%s: out of memory", swap_file_name(sf));
	io->sf = sf;
	io->depth = depth;
	for (unsigned i = depth; i-- > 0;) {
		io->transfers[i].next = io->free;
		io->free = &io->transfers[i];
	}
	int ret = mem_ring_create(depth, &io->ring);
	if (ret) {
		mem_free(io);
		if (ret == -EPERM || ret == -ENOSYS)
			return error_set(err, -ret,
					 "%s: the kernel refuses io_uring, which it needs: %s; allow it (sysctl "
					 "kernel.io_uring_disabled=0, the "
					 "container's seccomp profile), or go without a swap file",
					 swap_file_name(sf), strerror(-ret));
		return error_set(err, -ret, "%s: cannot make an io_uring: %s; raise the limits of memory and open files",
				 swap_file_name(sf), strerror(-ret));
	}
	*out = io;
	return 0;
}

int swap_io_fd(const struct swap_io *io)
{
	return io->ring.ring_fd;
}

unsigned swap_io_pending(const struct swap_io *io)
{
	return io->nr_pending;
}

/* --- queueing --- */

static void queue(struct swap_io *io, struct transfer *t)
{
	t->is_refused = io->is_broken;
	if (io->is_broken)
		return;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring); /* there is one: the ring has depth */
	int fd = swap_file_descriptor(io->sf);
	uint32_t left = t->len - t->done;
	if (t->is_write)
		io_uring_prep_write(sqe, fd, t->buffer + t->done, left, t->offset + t->done);
	else
		io_uring_prep_read(sqe, fd, t->buffer + t->done, left, t->offset + t->done);
	/* Schedulers that sort by place (mq-deadline) would let one who waits wait for a whole stream. */
	if (t->is_ahead)
		sqe->ioprio = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0);
	if (t->tries)
		sqe->flags |= IOSQE_ASYNC; /* refused without blocking before: let a kernel thread block */
	io_uring_sqe_set_data(sqe, t);
}

static int add(struct swap_io *io, const struct swap_extent *extent, uint8_t *buffer, uint64_t token, bool is_write)
{
	struct transfer *t = io->free;
	if (!t)
		return -EBUSY;
	io->free = t->next;
	io->nr_pending++;
	*t = (struct transfer){
		.token = token,
		.buffer = buffer,
		.offset = extent->offset,
		.len = extent->len,
		.is_write = is_write,
		.is_ahead = !is_write && io->is_ahead,
	};
	queue(io, t);
	return 0;
}

int swap_io_read(struct swap_io *io, const struct swap_extent *extent, void *buffer, uint64_t token)
{
	return add(io, extent, buffer, token, false);
}

void swap_io_set_ahead(struct swap_io *io, bool is_ahead)
{
	io->is_ahead = is_ahead;
}

int swap_io_write(struct swap_io *io, const struct swap_extent *extent, const void *buffer, uint64_t token)
{
	return add(io, extent, (uint8_t *)buffer, token, true); /* only read from */
}

/* --- handing over --- */

static bool is_lasting(int ret)
{
	return ret != -EINTR && ret != -EAGAIN && ret != -EBUSY && ret != -ENOMEM;
}

static void note_broken(struct swap_io *io, int ret)
{
	log_error("%s: the kernel refuses its io_uring: %s; nothing more is read or written", swap_file_name(io->sf),
		  strerror(-ret));
	io->is_broken = true;
	/* What the kernel has not taken, and will not, since the ring is never submitted again. */
	const struct io_uring_sq *sq = &io->ring.sq;
	for (unsigned at = sq->sqe_tail - io_uring_sq_ready(&io->ring); at != sq->sqe_tail; at++) {
		struct transfer *t = (struct transfer *)(uintptr_t)sq->sqes[at & sq->ring_mask].user_data;
		t->is_refused = true;
	}
}

/* Hands over all that is queued; waits for nr completions. */
static int submit(struct swap_io *io, unsigned nr)
{
	if (io->is_broken)
		return -EIO;
	for (unsigned refusals = 0;;) {
		unsigned queued = io_uring_sq_ready(&io->ring);
		if (!queued && !nr)
			return 0;
		int ret = mem_ring_submit(&io->ring, nr);
		if (ret >= 0 && !io_uring_sq_ready(&io->ring))
			return 0;
		if (ret == -EINTR || ret > 0)
			continue; /* interrupted before or after some were taken */
		if (ret < 0 && is_lasting(ret)) {
			note_broken(io, ret);
			return ret;
		}
		if (io->nr_pending > queued || ++refusals == REFUSALS_MAX)
			return ret ? ret : -EAGAIN; /* a completion will call us again */
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
}

int swap_io_submit(struct swap_io *io)
{
	return submit(io, 0);
}

/* --- completions --- */

static int result_of(int res)
{
	switch (res) {
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
		return -ENOSPC;
	case -ENOMEM:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

static void finish(struct swap_io *io, struct transfer *t, int res, struct swap_io_done *done)
{
	res = mem_io_result(t->is_write, t->buffer, t->len, res);
	done->token = t->token;
	if (res == (int)t->len) {
		done->result = 0;
		swap_file_count_transfer(io->sf, t->is_write, t->len);
	} else {
		done->result = res < 0 ? result_of(res) : -EIO;
		swap_file_count_error(io->sf);
		log_guest_error("%s: %s of %u bytes at %#llx failed: %s", swap_file_name(io->sf),
				t->is_write ? "a write" : "a read", t->len, (unsigned long long)t->offset,
				res < 0 ? strerror(-res) : "it was cut short");
		if (done->result == -ENOSPC && t->is_write)
			swap_file_note_full(io->sf);
	}
	t->is_refused = false;
	t->next = io->free;
	io->free = t;
	io->nr_pending--;
}

/* A completion came. Returns true when the transfer is at its end, false when it is queued again. */
static bool complete(struct swap_io *io, struct transfer *t, int res, struct swap_io_done *done)
{
	if ((res == -EINTR || res == -EAGAIN) && t->tries < TRIES_MAX) {
		t->tries++;
		queue(io, t);
		return false;
	}
	uint32_t now = res > 0 ? (uint32_t)res : 0;
	if (t->is_write && now && t->done + now < t->len && t->tries < TRIES_MAX) {
		/* Whole blocks only, as direct I/O wants it. */
		t->done += now - now % SWAP_ALIGNMENT;
		t->tries += now < SWAP_ALIGNMENT;
		queue(io, t);
		return false;
	}
	finish(io, t, res < 0 ? res : (int)(t->done + now), done);
	return true;
}

static size_t take_completions(struct swap_io *io, struct swap_io_done *done, size_t max)
{
	size_t nr = 0;
	struct io_uring_cqe *cqe;
	while (nr < max && io_uring_peek_cqe(&io->ring, &cqe) == 0) {
		struct transfer *t = io_uring_cqe_get_data(cqe);
		int res = cqe->res;
		io_uring_cqe_seen(&io->ring, cqe);
		nr += complete(io, t, res, &done[nr]);
	}
	return nr;
}

/* The ring is broken: what the kernel never took has failed. */
static size_t take_failed(struct swap_io *io, struct swap_io_done *done, size_t max)
{
	size_t nr = 0;
	for (unsigned i = 0; i < io->depth && nr < max; i++) {
		if (io->transfers[i].is_refused)
			finish(io, &io->transfers[i], -EIO, &done[nr++]);
	}
	return nr;
}

size_t swap_io_reap(struct swap_io *io, bool wait, struct swap_io_done *done, size_t max)
{
	size_t nr = 0;
	if (max == 0)
		return 0;
	do {
		bool idle = wait && io->nr_pending && !io_uring_cq_ready(&io->ring);
		int ret = submit(io, idle ? 1 : 0);
		nr += take_completions(io, done + nr, max - nr);
		if (io->is_broken)
			nr += take_failed(io, done + nr, max - nr);
		else if (io_uring_sq_ready(&io->ring))
			(void)submit(io, 0); /* queued again: whoever polls the descriptor waits for it */
		if (wait && !nr && ret)
			(void)poll(&(struct pollfd){.fd = io->ring.ring_fd, .events = POLLIN}, 1, 10);
	} while (wait && !nr && io->nr_pending);
	return nr;
}

void swap_io_destroy(struct swap_io *io)
{
	if (!io)
		return;
	struct swap_io_done done[16];
	while (io->nr_pending)
		swap_io_reap(io, true, done, 16);
	io_uring_queue_exit(&io->ring);
	mem_free(io);
}
