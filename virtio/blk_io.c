/*
 * The I/O thread of virtio-blk.
 *
 * All that it waits for comes through one io_uring: the guest's notifications (multishot polls of the kick eventfds, which are never
 * read: each write to them makes an event), the disk's completions, and orders to run, park or go (a poll of control_fd). So a turn of
 * the loop costs one system call, however many requests it takes and answers:
 *
 *         +-> take_requests       all that wait in the queues, to the disk's channel
 *         |   collect_answers     what the disk has done, to the used rings (staged)
 *         |   publish             one used index and at most one interrupt a queue
 *         |   ask_for_kicks       and look once more
 *         |   submit and wait     the one system call; without waiting if there is more to do
 *         +-- take_events         of the ring
 *
 *   STARTING --thread_main--> PARKED --blk_io_start--> RUNNING --blk_io_stop, nothing in flight--> PARKED --blk_io_destroy--> GONE
 *
 * Invariants:
 *  1. A queue has at most q->size requests in flight, whatever its avail ring claims; so memory is bounded, and completions fit the
 *     ring's completion queue.
 *  2. PARKED: nothing is in flight or staged, and the thread touches neither queues nor guest RAM.
 *  3. The thread does not sleep while RUNNING unless each of its queues has asked for kicks after it was seen empty, or is full
 *     (then a completion will wake it), or is broken.
 */
#include "virtio/blk_io.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread_cpu.h"

#define SQ_ENTRIES 128u
#define CQ_ENTRIES_MAX 4096u
#define CQ_SPARE 64u
/* More than any guest or disk driver of ours needs, and too little for a huge page. */
#define STACK_SIZE (256u << 10)

/* user_data of the thread's own entries: bit 0 set (disk_owns_event), then what it is, then for kicks the queue. */
#define EVENT_CONTROL 1u
#define EVENT_KICK 3u
#define EVENT_KIND 3u
#define EVENT_QUEUE_SHIFT 2

/* --- requests --- */

static struct blk_request *get_request(struct blk_io *io)
{
	struct blk_request *req = io->free;
	if (req)
		io->free = req->next_free;
	else
		req = malloc(sizeof(*req));
	return req;
}

static void put_request(struct blk_io *io, struct blk_request *req)
{
	if (req->vec != req->inline_iov)
		free(req->vec);
	req->vec = req->inline_iov;
	req->next_free = io->free;
	io->free = req;
}

/* Puts the answer into the guest's buffers and stages it in the used ring. */
static void answer(struct blk_io *io, const struct blk_request *req, uint8_t status)
{
	struct blk *blk = io->blk;
	struct blk_queue *bq = &blk->queues[req->queue];
	iov_write(&req->status, 1, 0, &status, 1);
	/* What a failed read left in the buffers does not count. */
	uint32_t written = status == VIRTIO_BLK_S_OK || req->in_len == 1 ? req->in_len : 0;
	virtq_fill(&blk->dev.queues[req->queue], req->head, written, bq->staged++);
}

/* Takes one request. Returns whether there was one. */
static bool take_request(struct blk_io *io, unsigned queue)
{
	struct blk *blk = io->blk;
	struct virtq_chain chain;
	int ret = virtq_pop(&blk->dev.queues[queue], io->scratch, blk->max_iov, &chain);
	if (ret == 0)
		return false;
	if (ret < 0) {
		virtio_device_fail(&blk->dev, "the driver broke queue %u", queue);
		return false;
	}
	struct blk_request *req = get_request(io);
	if (!req) {
		virtio_device_fail(&blk->dev, "out of memory");
		return false;
	}
	uint8_t status;
	req->queue = (uint16_t)queue;
	ret = blk_request_parse(blk, &chain, req, &status);
	if (ret == BLK_TO_DISK) {
		blk->queues[queue].in_flight++;
		io->in_flight++;
		req->pinned = blk->disk->direct && req->disk.op == DISK_READ;
		if (req->pinned)
			guest_ram_pin(blk->dev.ram, req->disk.iov, req->disk.nr_iov, &req->pins);
		disk_submit(io->channel, &req->disk);
		return true;
	}
	if (ret < 0) {
		virtio_device_fail(&blk->dev, "a request in queue %u has no room for header or status", queue);
	} else {
		if (status != VIRTIO_BLK_S_OK)
			blk_count(&io->counters.invalid, 1);
		answer(io, req, status);
	}
	put_request(io, req);
	return ret >= 0;
}

static bool is_full(const struct blk *blk, unsigned queue)
{
	return blk->queues[queue].in_flight + blk->queues[queue].staged >= blk->dev.queues[queue].size; /* invariant 1 */
}

static void take_requests(struct blk_io *io)
{
	struct blk *blk = io->blk;
	for (unsigned queue = io->index; queue < blk->dev.nr_queues; queue += blk->nr_threads) {
		if (!blk->dev.queues[queue].enabled)
			continue;
		while (!is_full(blk, queue) && !virtio_device_failed(&blk->dev) && take_request(io, queue))
			;
	}
}

static void collect_answers(struct blk_io *io)
{
	struct disk_request *done;
	while ((done = disk_next_done(io->channel))) {
		struct blk_request *req = (struct blk_request *)done;
		io->blk->queues[req->queue].in_flight--;
		io->in_flight--;
		if (req->pinned)
			guest_ram_unpin(io->blk->dev.ram, &req->pins);
		if (done->result == 0) {
			blk_count(&io->counters.ops[done->op], 1);
			blk_count(&io->counters.bytes[done->op], done->length);
		} else {
			blk_count(&io->counters.errors[done->op], 1);
		}
		answer(io, req, done->result ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
		put_request(io, req);
	}
}

static void publish(struct blk_io *io)
{
	struct blk *blk = io->blk;
	for (unsigned queue = io->index; queue < blk->dev.nr_queues; queue += blk->nr_threads) {
		struct blk_queue *bq = &blk->queues[queue];
		if (!bq->staged)
			continue;
		virtq_flush(&blk->dev.queues[queue], bq->staged);
		bq->staged = 0;
		virtio_device_notify_guest(&blk->dev, queue);
	}
}

/* Keeps invariant 3. Returns whether some queue has more to do already. */
static bool ask_for_kicks(struct blk_io *io)
{
	struct blk *blk = io->blk;
	bool more = false;
	if (virtio_device_failed(&blk->dev))
		return false;
	for (unsigned queue = io->index; queue < blk->dev.nr_queues; queue += blk->nr_threads) {
		struct virtq *q = &blk->dev.queues[queue];
		if (q->enabled && !is_full(blk, queue) && virtq_notify_on(q))
			more = true;
	}
	return more;
}

static void silence_kicks(struct blk_io *io)
{
	struct blk *blk = io->blk;
	for (unsigned queue = io->index; queue < blk->dev.nr_queues; queue += blk->nr_threads)
		virtq_notify_off(&blk->dev.queues[queue]);
}

/* --- the ring --- */

static void poll_forever(struct blk_io *io, int fd, uint64_t user_data)
{
	struct io_uring_sqe *sqe = disk_sqe(io->channel);
	if (!sqe) {
		/* Only a kernel out of memory does that; the guest sees a device that stands still, and the admin why. */
		virtio_device_fail(&io->blk->dev, "io_uring takes no more requests");
		return;
	}
	io_uring_prep_poll_multishot(sqe, fd, POLLIN);
	io_uring_sqe_set_data64(sqe, user_data);
}

static void poll_control(struct blk_io *io)
{
	poll_forever(io, io->control_fd, EVENT_CONTROL);
}

static void poll_kicks(struct blk_io *io, unsigned queue)
{
	poll_forever(io, io->blk->dev.kick_fds[queue], (uint64_t)queue << EVENT_QUEUE_SHIFT | EVENT_KICK);
}

static void take_events(struct blk_io *io)
{
	struct io_uring_cqe *cqe;
	while (io_uring_peek_cqe(&io->ring, &cqe) == 0) {
		uint64_t user_data = io_uring_cqe_get_data64(cqe);
		int result = cqe->res;
		bool ended = !(cqe->flags & IORING_CQE_F_MORE);
		io_uring_cqe_seen(&io->ring, cqe);
		if (disk_owns_event(user_data))
			disk_event(io->channel, user_data, result);
		else if (ended && (user_data & EVENT_KIND) == EVENT_KICK)
			poll_kicks(io, (unsigned)(user_data >> EVENT_QUEUE_SHIFT));
		else if (ended)
			poll_control(io);
	}
}

static void check_submit(const struct blk_io *io, int ret)
{
	/* EINTR: a debugger. EBUSY, EAGAIN: completions must be taken first, which comes next. Anything else is a bug of ours. */
	if (ret < 0 && ret != -EINTR && ret != -EBUSY && ret != -EAGAIN && ret != -ETIME)
		log_guest_error("%s: io_uring: %s", io->blk->dev.name, strerror(-ret));
}

static void submit(struct blk_io *io, bool wait)
{
	check_submit(io, wait ? io_uring_submit_and_wait(&io->ring, 1) : io_uring_submit_and_get_events(&io->ring));
}

/*
 * Waits for what is in flight when told to stop. The main thread waits for us, and with it all monitors: a disk that answers nothing is
 * given up, each time that patience is over. give_up_s is when, 0 at first.
 */
static void drain(struct blk_io *io, int64_t *give_up_s)
{
	struct __kernel_timespec second = {.tv_sec = 1};
	struct io_uring_cqe *cqe;
	int64_t now = (int64_t)clock_now_s();
	if (*give_up_s && now >= *give_up_s) {
		disk_give_up(io->channel);
		*give_up_s = 0;
	}
	if (!*give_up_s)
		*give_up_s = now + io->blk->patience_s;
	check_submit(io, io_uring_submit_and_wait_timeout(&io->ring, &cqe, 1, &second, NULL));
}

/* RUNNING. Returns when told to stop and nothing is in flight (invariant 2). */
static void serve(struct blk_io *io)
{
	int64_t give_up_s = 0;
	for (;;) {
		bool running = io->wanted == BLK_IO_RUNNING;
		if (running)
			take_requests(io);
		collect_answers(io);
		publish(io);
		if (!running && io->in_flight == 0)
			return;
		if (running)
			submit(io, !ask_for_kicks(io));
		else
			drain(io, &give_up_s);
		silence_kicks(io);
		take_events(io);
	}
}

/* --- the thread --- */

static int ring_error(const struct blk_io *io, int code, struct error *err)
{
	const char *advice = "";
	if (code == EPERM || code == EACCES)
		advice = ": it is switched off; set sysctl kernel.io_uring_disabled=0, and let seccomp (in a container) allow it";
	else if (code == ENOSYS || code == EINVAL)
		advice = ": this kernel is too old or built without it; Linux 6.8 or newer is needed";
	else if (code == ENOMEM)
		advice = ": raise the limit of locked memory (ulimit -l)";
	else if (code == EMFILE || code == ENFILE)
		advice = ": raise the limit of open files (ulimit -n)";
	return error_set(err, code, "%s: cannot use io_uring: %s%s", io->blk->dev.name, strerror(code), advice);
}

/* All requests of all queues of this thread may complete at once (invariant 1). */
static unsigned completion_entries(const struct blk_io *io)
{
	unsigned nr = CQ_SPARE;
	for (unsigned queue = io->index; queue < io->blk->dev.nr_queues; queue += io->blk->nr_threads)
		nr += io->blk->dev.queues[queue].size_max;
	return nr < CQ_ENTRIES_MAX ? nr : CQ_ENTRIES_MAX; /* beyond that the kernel keeps the overflow */
}

static int open_ring(struct blk_io *io, struct error *err)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
		.cq_entries = completion_entries(io),
	};
	int ret = io_uring_queue_init_params(SQ_ENTRIES, &io->ring, &params);
	if (ret)
		return ring_error(io, -ret, err);
	io_uring_register_ring_fd(&io->ring); /* only saves time */
	ret = disk_attach(io->blk->disk, &io->ring, &io->channel, err);
	if (ret) {
		io_uring_queue_exit(&io->ring);
		return ret;
	}
	poll_control(io);
	for (unsigned queue = io->index; queue < io->blk->dev.nr_queues; queue += io->blk->nr_threads)
		poll_kicks(io, queue);
	return 0;
}

static void close_ring(struct blk_io *io)
{
	disk_detach(io->channel);
	io_uring_queue_exit(&io->ring);
	while (io->free) {
		struct blk_request *req = io->free;
		io->free = req->next_free;
		free(req);
	}
}

static void set_state(struct blk_io *io, enum blk_io_state state)
{
	lock_take(&io->lock);
	io->state = state;
	pthread_cond_broadcast(&io->changed);
	lock_release(&io->lock);
}

/* Waits parked. Returns what is wanted instead. */
static enum blk_io_state wait_parked(struct blk_io *io)
{
	for (;;) {
		lock_take(&io->lock);
		enum blk_io_state wanted = io->wanted;
		if (wanted != BLK_IO_PARKED)
			io->state = wanted;
		lock_release(&io->lock);
		if (wanted != BLK_IO_PARKED)
			return wanted;
		submit(io, true);
		take_events(io);
	}
}

static void *thread_main(void *arg)
{
	struct blk_io *io = arg;
	char name[16];
	snprintf(name, sizeof(name), "%.15s", io->blk->dev.name);
	pthread_setname_np(pthread_self(), name);
	thread_cpu_publish();

	if (open_ring(io, io->start_error)) {
		set_state(io, BLK_IO_GONE);
		return NULL;
	}
	set_state(io, BLK_IO_PARKED);
	while (wait_parked(io) == BLK_IO_RUNNING) {
		serve(io);
		set_state(io, BLK_IO_PARKED);
	}
	close_ring(io);
	return NULL;
}

static int start_thread(struct blk_io *io)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int ret = pthread_create(&io->thread, &attr, thread_main, io);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -ret;
}

int blk_io_create(struct blk *blk, unsigned index, struct blk_io **out, struct error *err)
{
	struct blk_io *io = calloc(1, sizeof(*io));
	if (!io)
		return error_set(err, ENOMEM, "%s: out of memory", blk->dev.name);
	io->blk = blk;
	io->index = index;
	io->wanted = BLK_IO_PARKED;
	io->state = BLK_IO_STARTING;
	lock_init(&io->lock, LOCK_BLK);
	pthread_cond_init(&io->changed, NULL);

	struct error start_error = {0};
	io->start_error = &start_error;
	int ret = io->control_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ret < 0) {
		ret = error_set(err, errno, "%s: cannot make an eventfd: %s; raise the limit of open files (ulimit -n)",
				blk->dev.name, strerror(errno));
		goto free_io;
	}
	ret = start_thread(io);
	if (ret) {
		error_set(err, -ret, "%s: cannot make a thread: %s", blk->dev.name, strerror(-ret));
		goto close_control;
	}
	lock_take(&io->lock);
	while (io->state == BLK_IO_STARTING)
		lock_wait(&io->lock, &io->changed);
	bool gone = io->state == BLK_IO_GONE;
	io->start_error = NULL;
	lock_release(&io->lock);
	if (gone) {
		pthread_join(io->thread, NULL);
		ret = error_set(err, start_error.code, "%s", start_error.text);
		goto close_control;
	}
	*out = io;
	return 0;

close_control:
	close(io->control_fd);
free_io:
	pthread_cond_destroy(&io->changed);
	lock_fini(&io->lock);
	free(io);
	return ret;
}

static void order(struct blk_io *io, enum blk_io_state wanted)
{
	lock_take(&io->lock);
	io->wanted = wanted;
	lock_release(&io->lock);
	uint64_t one = 1;
	ssize_t ignored = write(io->control_fd, &one, sizeof(one));
	(void)ignored;
}

void blk_io_start(struct blk_io *io)
{
	order(io, BLK_IO_RUNNING);
}

void blk_io_stop(struct blk_io *io)
{
	order(io, BLK_IO_PARKED);
	lock_take(&io->lock);
	while (io->state != BLK_IO_PARKED)
		lock_wait(&io->lock, &io->changed);
	lock_release(&io->lock);
}

void blk_io_destroy(struct blk_io *io)
{
	if (!io)
		return;
	order(io, BLK_IO_GONE);
	pthread_join(io->thread, NULL);
	close(io->control_fd);
	pthread_cond_destroy(&io->changed);
	lock_fini(&io->lock);
	free(io);
}
