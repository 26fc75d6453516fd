/*
 * See balloon.h: the device, its config space, which queue is which, statistics. give.c has the requests about pages.
 *
 * Statistics go the other way round: the driver leaves a buffer with them, and the device keeps it. Returning it asks for the next ones. So
 * a driver that stalls has its old ones shown, with their time.
 *
 * Free page hints: the host gives a number to the round (config space), the driver repeats it in the queue, then gives pages, then says
 * STOP; the device says DONE, and the driver may use its pages again.
 */
#include "balloon/balloon.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "balloon/balloon_internal.h"
#include "base/container_of.h"
#include "base/log.h"
#include "memmgr/discard.h"

#define QUEUE_SIZE 128
#define STATS_BYTES 4096u
#define FIRST_HINT_ID 0x80000000u
/* Steps in one go, before the loop looks at other events: a guest cannot keep us from stopping. */
#define BATCH 16

#define TARGET_OFFSET offsetof(struct virtio_balloon_config, num_pages)
#define ACTUAL_OFFSET offsetof(struct virtio_balloon_config, actual)
#define HINT_OFFSET offsetof(struct virtio_balloon_config, free_page_hint_cmd_id)
#define POISON_OFFSET offsetof(struct virtio_balloon_config, poison_val)

static struct balloon *from_device(struct virtio_device *dev)
{
	return (struct balloon *)dev; /* the first member */
}

/* --- config space --- */

static uint32_t get_config(struct virtio_device *dev, uint32_t offset)
{
	uint32_t value;
	virtio_device_config_read(dev, offset, &value, sizeof(value));
	return le32toh(value);
}

static void set_config(struct virtio_device *dev, uint32_t offset, uint32_t value)
{
	value = htole32(value);
	virtio_device_update_config(dev, offset, &value, sizeof(value));
}

/* As far as the guest may know it: the round's number, or that there is none. */
static uint32_t hint_command(const struct balloon *b)
{
	if (b->hints != HINTS_NONE)
		return b->hint_id;
	return b->hint_id ? VIRTIO_BALLOON_CMD_ID_DONE : VIRTIO_BALLOON_CMD_ID_STOP;
}

/* Puts back what is ours to say. */
static void repair_config(struct balloon *b)
{
	struct virtio_device *dev = &b->dev;
	lock_take(&b->lock);
	uint32_t target = htole32(b->target_pages), hint = htole32(hint_command(b));
	lock_take(&dev->config_lock);
	memcpy(dev->config + TARGET_OFFSET, &target, sizeof(target));
	memcpy(dev->config + HINT_OFFSET, &hint, sizeof(hint));
	lock_release(&dev->config_lock);
	lock_release(&b->lock);
}

static void config_written(struct virtio_device *dev, uint32_t offset, uint32_t len)
{
	struct balloon *b = from_device(dev);
	repair_config(b);
	if (offset >= ACTUAL_OFFSET + sizeof(uint32_t) || offset + len <= ACTUAL_OFFSET)
		return;
	uint32_t actual = get_config(dev, ACTUAL_OFFSET);
	if (atomic_exchange(&b->actual_pages, actual) != actual && b->owner)
		b->owner->balloon_changed(b->owner);
}

/* --- statistics --- */

static void keep_stats(struct balloon *b, const struct virtq_chain *chain)
{
	uint8_t bytes[STATS_BYTES];
	struct balloon_stats stats;
	size_t len = iov_read(chain->out, chain->nr_out, 0, bytes, sizeof(bytes));
	balloon_stats_parse(bytes, len, &stats);
	lock_take(&b->lock);
	b->stats = stats;
	b->has_stats = true;
	b->stats_time = time(NULL);
	lock_release(&b->lock);
}

/* Takes the buffer, if there is none in hand. A driver that gives several has them wait. */
static int serve_stats(struct balloon_queue *bq)
{
	struct balloon *b = bq->balloon;
	if (bq->taken)
		return 0;
	int ret = virtq_pop(&b->dev.queues[bq->index], bq->iov, BALLOON_MAX_BUFFERS, &bq->chain);
	if (ret < 0)
		virtio_device_fail(&b->dev, "the statistics queue is broken");
	if (ret <= 0)
		return ret;
	bq->taken = true;
	if (!b->stats_kept)
		keep_stats(b, &bq->chain);
	b->stats_kept = false;
	return 1;
}

static struct balloon_queue *find_role(struct balloon *b, enum balloon_role role)
{
	for (unsigned i = 0; i < BALLOON_NR_ROLES; i++)
		if (b->queues[i].role == role)
			return &b->queues[i];
	return NULL;
}

/* Asks for the next ones, if the driver has answered last time. */
static void on_poll(struct ev_loop *loop, ev_timer *watcher, int revents)
{
	struct balloon *b = container_of(watcher, struct balloon, poll);
	struct balloon_queue *bq = find_role(b, BALLOON_STATS_QUEUE);
	(void)loop;
	(void)revents;
	if (!bq || !bq->taken || virtio_device_failed(&b->dev))
		return;
	bq->taken = false;
	virtq_push(&b->dev.queues[bq->index], bq->chain.head, 0);
	virtio_device_notify_guest(&b->dev, bq->index);
	/* Others that the driver has left there, though it should not. */
	virtio_device_kick(&b->dev, bq->index);
}

static void set_poll_timer(struct balloon *b)
{
	lock_take(&b->lock);
	uint32_t seconds = b->poll_seconds;
	lock_release(&b->lock);
	ev_timer_stop(b->worker.loop, &b->poll);
	if (!seconds)
		return;
	ev_now_update(b->worker.loop);
	ev_timer_set(&b->poll, 0, seconds);
	ev_timer_start(b->worker.loop, &b->poll);
}

static void on_polling_changed(struct ev_loop *loop, ev_async *watcher, int revents)
{
	(void)loop;
	(void)revents;
	set_poll_timer(container_of(watcher, struct balloon, polling_changed));
}

/* --- hints --- */

void balloon_hint_command(struct balloon *b, uint32_t id)
{
	bool is_over = false;
	lock_take(&b->lock);
	if (b->hints != HINTS_NONE && id == b->hint_id) {
		b->hints = HINTS_COMING;
	} else if (b->hints == HINTS_COMING && id == VIRTIO_BALLOON_CMD_ID_STOP) {
		b->hints = HINTS_NONE;
		is_over = true;
	}
	lock_release(&b->lock);
	if (is_over)
		set_config(&b->dev, HINT_OFFSET, VIRTIO_BALLOON_CMD_ID_DONE);
}

bool balloon_hints_are_coming(struct balloon *b)
{
	lock_take(&b->lock);
	bool are = b->hints == HINTS_COMING;
	lock_release(&b->lock);
	return are;
}

int virtio_balloon_ask_hints(struct virtio_device *dev, struct error *err)
{
	struct balloon *b = from_device(dev);
	int ret = 0;
	if (!(dev->features_offered >> VIRTIO_BALLOON_F_FREE_PAGE_HINT & 1))
		return error_set(err, ENOTSUP, "%s: it was made without free-page-hint=on", dev->name);
	lock_take(&dev->lock);
	if (!(dev->status & VIRTIO_CONFIG_S_DRIVER_OK) || !virtio_device_has(dev, VIRTIO_BALLOON_F_FREE_PAGE_HINT))
		ret = error_set(err, ENODEV, "%s: the guest has no driver that gives hints of free pages", dev->name);
	lock_take(&b->lock);
	if (ret == 0 && b->hints != HINTS_NONE)
		ret = error_set(err, EBUSY, "%s: the guest has been asked for free pages already", dev->name);
	if (ret == 0) {
		b->hint_id = b->hint_id >= FIRST_HINT_ID && b->hint_id < UINT32_MAX ? b->hint_id + 1 : FIRST_HINT_ID;
		b->hints = HINTS_ASKED;
	}
	uint32_t id = b->hint_id;
	lock_release(&b->lock);
	if (ret == 0)
		set_config(dev, HINT_OFFSET, id);
	lock_release(&dev->lock);
	return ret;
}

/* --- queues --- */

static void serve(struct balloon_queue *bq)
{
	struct virtio_device *dev = &bq->balloon->dev;
	struct virtq *q = &dev->queues[bq->index];
	int ret = 0;
	if (virtio_device_failed(dev) || bq->role == BALLOON_NO_ROLE)
		return;
	uint16_t before = q->used_idx;
	virtq_notify_off(q);
	for (unsigned steps = 0; steps < BATCH; steps++) {
		ret = bq->role == BALLOON_STATS_QUEUE ? serve_stats(bq) : balloon_give(bq);
		if (ret <= 0)
			break;
	}
	if (q->used_idx != before)
		virtio_device_notify_guest(dev, bq->index);
	if (ret < 0)
		return;
	/* The buffer with statistics is in hand, or a device holds memory: a timer goes on. */
	bool waits = ret == 0 && bq->taken;
	if ((virtq_notify_on(q) || ret > 0) && !waits)
		virtio_device_kick(dev, bq->index);
}

static void on_kick(struct ev_loop *loop, ev_io *watcher, int revents)
{
	struct balloon_queue *bq = container_of(watcher, struct balloon_queue, kick);
	uint64_t kicks;
	(void)loop;
	(void)revents;
	ssize_t ignored = read(watcher->fd, &kicks, sizeof(kicks));
	(void)ignored;
	if (!ev_is_active(&bq->again))
		serve(bq);
}

static void on_again(struct ev_loop *loop, ev_timer *watcher, int revents)
{
	(void)loop;
	(void)revents;
	serve(container_of(watcher, struct balloon_queue, again));
}

/*
 * Which queue is for what. The standard gives each its number (virtio 1.2, 5.5.2). Drivers of Linux number those that they use one after
 * the other instead. Both have as many queues enabled, and so are told apart by which; one that leaves some out follows the standard.
 */
static void assign_roles(struct balloon *b)
{
	static const unsigned features[BALLOON_NR_ROLES] = {
		[BALLOON_STATS_QUEUE] = VIRTIO_BALLOON_F_STATS_VQ,
		[BALLOON_HINT] = VIRTIO_BALLOON_F_FREE_PAGE_HINT,
		[BALLOON_REPORT] = VIRTIO_BALLOON_F_REPORTING,
	};
	enum balloon_role in_order[BALLOON_NR_ROLES] = {BALLOON_INFLATE};
	unsigned nr = 0;
	bool by_number = true, one_after_another = true;
	for (unsigned role = 0; role < BALLOON_NR_ROLES; role++) {
		bool used = role <= BALLOON_DEFLATE || virtio_device_has(&b->dev, features[role]);
		b->queues[role].role = used ? (enum balloon_role)role : BALLOON_NO_ROLE;
		by_number &= !used || b->dev.queues[role].enabled;
		if (used)
			in_order[nr++] = (enum balloon_role)role;
	}
	for (unsigned i = 0; i < nr; i++)
		one_after_another &= b->dev.queues[i].enabled;
	for (unsigned i = 0; !by_number && one_after_another && i < BALLOON_NR_ROLES; i++)
		b->queues[i].role = i < nr ? in_order[i] : BALLOON_NO_ROLE;
}

/* --- life --- */

static void stop_watchers(struct balloon *b)
{
	struct ev_loop *loop = b->worker.loop;
	for (unsigned i = 0; i < BALLOON_NR_ROLES; i++) {
		ev_io_stop(loop, &b->queues[i].kick);
		ev_timer_stop(loop, &b->queues[i].again);
	}
	ev_timer_stop(loop, &b->poll);
	ev_async_stop(loop, &b->polling_changed);
}

static int balloon_start(struct virtio_device *dev)
{
	struct balloon *b = from_device(dev);
	assign_roles(b);
	b->poison = virtio_device_has(dev, VIRTIO_BALLOON_F_PAGE_POISON) ? get_config(dev, POISON_OFFSET) : 0;
	for (unsigned i = 0; i < BALLOON_NR_ROLES; i++)
		ev_io_start(b->worker.loop, &b->queues[i].kick);
	ev_async_start(b->worker.loop, &b->polling_changed);
	set_poll_timer(b);
	int ret = worker_start(&b->worker, "virtio-balloon");
	if (ret)
		stop_watchers(b);
	return ret;
}

static void balloon_stop(struct virtio_device *dev)
{
	struct balloon *b = from_device(dev);
	worker_stop(&b->worker);
	stop_watchers(b);
	/* What is in hand goes back to its ring, where the kick that each start brings finds it. */
	for (unsigned i = 0; i < BALLOON_NR_ROLES; i++) {
		struct balloon_queue *bq = &b->queues[i];
		if (!bq->taken)
			continue;
		virtq_unpop(&dev->queues[i]);
		bq->taken = false;
		if (bq->role == BALLOON_STATS_QUEUE)
			b->stats_kept = true;
	}
}

/* The driver goes, and its guest perhaps begins anew: nothing is in the balloon any more. */
static void balloon_reset(struct virtio_device *dev)
{
	struct balloon *b = from_device(dev);
	b->stats_kept = false;
	lock_take(&b->lock);
	b->has_stats = false;
	b->hints = HINTS_NONE;
	b->hint_id = 0;
	lock_release(&b->lock);
	lock_take(&dev->config_lock);
	memset(dev->config + ACTUAL_OFFSET, 0, sizeof(uint32_t));
	memset(dev->config + POISON_OFFSET, 0, sizeof(uint32_t));
	lock_release(&dev->config_lock);
	repair_config(b);
	if (b->mm)
		memmgr_deflate_all(b->mm);
	if (atomic_exchange(&b->actual_pages, 0) && b->owner)
		b->owner->balloon_changed(b->owner);
}

static void balloon_save(struct virtio_device *dev, struct state_writer *w)
{
	struct balloon *b = from_device(dev);
	state_put(w, "target", b->target_pages);
	lock_take(&b->lock);
	state_put(w, "hints", b->hints);
	state_put(w, "hint_id", b->hint_id);
	lock_release(&b->lock);
}

static void balloon_load(struct virtio_device *dev, struct state_reader *r)
{
	struct balloon *b = from_device(dev);
	uint64_t pages = guest_ram_size(dev->ram) / GUEST_PAGE_SIZE;
	b->target_pages = (uint32_t)state_get(r, "target", 0, pages < UINT32_MAX ? pages : UINT32_MAX);
	lock_take(&b->lock);
	uint64_t hints = state_get(r, "hints", HINTS_NONE, HINTS_COMING);
	b->hints = hints == HINTS_COMING ? HINTS_COMING : hints == HINTS_ASKED ? HINTS_ASKED : HINTS_NONE;
	b->hint_id = (uint32_t)state_get(r, "hint_id", b->hints == HINTS_NONE ? 0 : FIRST_HINT_ID, UINT32_MAX);
	lock_release(&b->lock);
	repair_config(b);
}

static void balloon_destroy(struct virtio_device *dev)
{
	struct balloon *b = from_device(dev);
	worker_fini(&b->worker);
	lock_fini(&b->lock);
	virtio_device_fini(dev);
	free(b);
}

static const struct virtio_device_ops balloon_ops = {
	.config_written = config_written,
	.start = balloon_start,
	.stop = balloon_stop,
	.reset = balloon_reset,
	.save = balloon_save,
	.load = balloon_load,
	.destroy = balloon_destroy,
};

int virtio_balloon_create(const struct balloon_params *params, const struct guest_ram *ram, struct virtio_device **dev,
			  struct error *err)
{
	struct balloon *b = calloc(1, sizeof(*b));
	if (!b)
		return error_set(err, ENOMEM, "%s: out of memory", params->name);
	uint64_t features = 1ull << VIRTIO_BALLOON_F_STATS_VQ | 1ull << VIRTIO_BALLOON_F_PAGE_POISON;
	if (params->deflate_on_oom)
		features |= 1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM;
	if (params->hinting)
		features |= 1ull << VIRTIO_BALLOON_F_FREE_PAGE_HINT;
	if (params->reporting)
		features |= 1ull << VIRTIO_BALLOON_F_REPORTING;
	int ret = virtio_device_init(&b->dev, &balloon_ops, VIRTIO_ID_BALLOON_DEVICE, params->name, ram, features, BALLOON_NR_ROLES,
				     QUEUE_SIZE, sizeof(struct virtio_balloon_config), err);
	if (ret)
		goto free_balloon;
	ret = worker_init(&b->worker);
	if (ret) {
		error_set(err, -ret, "%s: cannot make an event loop: %s", params->name, strerror(-ret));
		goto fini_device;
	}
	b->mm = params->mm;
	b->owner = params->owner;
	b->poll_seconds = params->poll_seconds;
	lock_init(&b->lock, LOCK_BALLOON);
	for (unsigned i = 0; i < BALLOON_NR_ROLES; i++) {
		struct balloon_queue *bq = &b->queues[i];
		bq->balloon = b;
		bq->index = i;
		bq->role = BALLOON_NO_ROLE;
		ev_io_init(&bq->kick, on_kick, b->dev.kick_fds[i], EV_READ);
		ev_timer_init(&bq->again, on_again, 0, 0);
	}
	ev_timer_init(&b->poll, on_poll, 0, 0);
	ev_async_init(&b->polling_changed, on_polling_changed);
	*dev = &b->dev;
	return 0;

fini_device:
	virtio_device_fini(&b->dev);
free_balloon:
	free(b);
	return ret;
}

/* --- from any thread --- */

void virtio_balloon_set_target(struct virtio_device *dev, uint32_t pages)
{
	struct balloon *b = from_device(dev);
	b->target_pages = pages;
	set_config(dev, TARGET_OFFSET, pages);
}

void virtio_balloon_set_polling(struct virtio_device *dev, uint32_t seconds)
{
	struct balloon *b = from_device(dev);
	lock_take(&b->lock);
	b->poll_seconds = seconds;
	lock_release(&b->lock);
	ev_async_send(b->worker.loop, &b->polling_changed);
}

void virtio_balloon_get_info(struct virtio_device *dev, struct balloon_info *info)
{
	struct balloon *b = from_device(dev);
	*info = (struct balloon_info){
		.has_driver = dev->status & VIRTIO_CONFIG_S_DRIVER_OK && !virtio_device_failed(dev),
		.target_pages = b->target_pages,
		.actual_pages = b->actual_pages,
		.inflated = b->inflated,
		.deflated = b->deflated,
		.reported = b->reported,
		.hinted = b->hinted,
		.spared = b->spared,
	};
	lock_take(&b->lock);
	info->poll_seconds = b->poll_seconds;
	info->hinting = b->hints != HINTS_NONE;
	info->has_stats = b->has_stats;
	info->stats = b->stats;
	info->stats_time = b->stats_time;
	lock_release(&b->lock);
}
