/*
 * See device.h. The status register drives everything: set_status_locked() decides which of the driver's wishes come true.
 *
 * Invariants:
 *  1. running implies DRIVER_OK in status and not paused; ops->start and ops->stop alternate.
 *  2. FEATURES_OK in status implies VERSION_1 in features_acked and features_acked within features_offered; neither changes then
 *     until reset.
 *  3. Queues are enabled only before DRIVER_OK, so a running device's set of enabled queues does not change.
 */
#include "virtio/device.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"

#define CORE_FEATURES ((1ull << VIRTIO_F_VERSION_1) | (1ull << VIRTIO_RING_F_EVENT_IDX) | (1ull << VIRTIO_RING_F_INDIRECT_DESC))

/* What a driver may set; NEEDS_RESET is ours alone. */
#define STATUS_OF_DRIVER                                                                                                  \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK | \
	 VIRTIO_CONFIG_S_FAILED)

#define STATE_VERSION 1

static void close_kick_fds(struct virtio_device *dev, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		close(dev->kick_fds[i]);
		dev->kick_fds[i] = -1;
	}
}

int virtio_device_init(struct virtio_device *dev, const struct virtio_device_ops *ops, enum virtio_device_id id, const char *name,
		       const struct guest_ram *ram, uint64_t features, unsigned nr_queues, uint16_t queue_size, uint32_t config_len,
		       struct error *err)
{
	if (strlen(name) >= sizeof(dev->name))
		return error_set(err, EINVAL, "%.40s...: a device's name has at most %zu bytes", name, sizeof(dev->name) - 1);
	if (nr_queues == 0 || nr_queues > VIRTIO_MAX_QUEUES)
		return error_set(err, EINVAL, "%s: %u queues, must be 1 to %d", name, nr_queues, VIRTIO_MAX_QUEUES);
	if (queue_size == 0 || queue_size > VIRTQ_MAX_SIZE || (queue_size & (queue_size - 1)))
		return error_set(err, EINVAL, "%s: queue size %u is not a power of two up to %d", name, queue_size, VIRTQ_MAX_SIZE);
	if (config_len > VIRTIO_CONFIG_MAX)
		return error_set(err, EINVAL, "%s: %u bytes of config space, at most %d", name, config_len, VIRTIO_CONFIG_MAX);

	for (unsigned i = 0; i < nr_queues; i++) {
		dev->kick_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (dev->kick_fds[i] < 0) {
			int code = errno;
			close_kick_fds(dev, i);
			return error_set(err, code, "%s: cannot make an eventfd: %s; raise the limit of open files (ulimit -n)",
					 name, strerror(code));
		}
	}
	dev->ops = ops;
	dev->id = id;
	snprintf(dev->name, sizeof(dev->name), "%s", name);
	dev->ram = ram;
	dev->transport = NULL;
	lock_init(&dev->lock, LOCK_VIRTIO_DEVICE);
	dev->features_offered = features | CORE_FEATURES;
	dev->features_acked = 0;
	dev->status = 0;
	dev->running = false;
	dev->paused = false;
	lock_init(&dev->config_lock, LOCK_VIRTIO_CONFIG);
	memset(dev->config, 0, sizeof(dev->config));
	dev->config_len = config_len;
	dev->config_generation = 0;
	dev->nr_queues = nr_queues;
	for (unsigned i = 0; i < nr_queues; i++) {
		dev->queues[i].size_max = queue_size;
		virtq_reset(&dev->queues[i]);
	}
	return 0;
}

void virtio_device_fini(struct virtio_device *dev)
{
	close_kick_fds(dev, dev->nr_queues);
	lock_fini(&dev->config_lock);
	lock_fini(&dev->lock);
}

bool virtio_device_has(const struct virtio_device *dev, unsigned bit)
{
	return dev->features_acked >> bit & 1;
}

/* --- start, stop, reset --- */

static void start_locked(struct virtio_device *dev)
{
	if (dev->running || dev->paused || !(dev->status & VIRTIO_CONFIG_S_DRIVER_OK) || virtio_device_failed(dev))
		return;
	for (unsigned i = 0; i < dev->nr_queues; i++)
		dev->queues[i].event_idx = virtio_device_has(dev, VIRTIO_RING_F_EVENT_IDX);
	dev->running = true; /* invariant 1; before start, whose threads may ask */
	int ret = dev->ops->start(dev);
	if (ret) {
		dev->running = false;
		virtio_device_fail(dev, "cannot start: %s", strerror(-ret));
		return;
	}
	for (unsigned i = 0; i < dev->nr_queues; i++) {
		if (dev->queues[i].enabled)
			virtio_device_kick(dev, i);
	}
}

static void stop_locked(struct virtio_device *dev)
{
	if (!dev->running)
		return;
	dev->ops->stop(dev);
	dev->running = false;
}

static void reset_locked(struct virtio_device *dev)
{
	stop_locked(dev);
	if (dev->ops->reset)
		dev->ops->reset(dev);
	for (unsigned i = 0; i < dev->nr_queues; i++)
		virtq_reset(&dev->queues[i]);
	dev->features_acked = 0;
	dev->status = 0;
}

/* --- for transports --- */

uint8_t virtio_device_get_status(struct virtio_device *dev)
{
	return dev->status;
}

static bool features_are_good(const struct virtio_device *dev)
{
	return !(dev->features_acked & ~dev->features_offered) && virtio_device_has(dev, VIRTIO_F_VERSION_1);
}

static void set_status_locked(struct virtio_device *dev, uint8_t status)
{
	if (status == 0) {
		reset_locked(dev);
		return;
	}
	/* A driver only adds bits (virtio 1.2, 2.1.1): one that leaves some out has not taken them back. */
	uint8_t add = status & STATUS_OF_DRIVER & (uint8_t)~dev->status;
	if ((add & VIRTIO_CONFIG_S_FEATURES_OK) && !features_are_good(dev)) {
		log_guest_error("%s: the driver chose features %#llx, of %#llx offered", dev->name,
				(unsigned long long)dev->features_acked, (unsigned long long)dev->features_offered);
		add &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK; /* invariant 2; the driver reads status back and sees it */
	}
	if ((add & VIRTIO_CONFIG_S_DRIVER_OK) && !((dev->status | add) & VIRTIO_CONFIG_S_FEATURES_OK)) {
		log_guest_error("%s: the driver skipped feature negotiation", dev->name);
		add &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	}
	atomic_fetch_or(&dev->status, add); /* not a store: NEEDS_RESET may be set meanwhile */
	if (add & VIRTIO_CONFIG_S_DRIVER_OK)
		start_locked(dev);
}

void virtio_device_set_status(struct virtio_device *dev, uint8_t status)
{
	lock_take(&dev->lock);
	set_status_locked(dev, status);
	lock_release(&dev->lock);
}

/* How many of len bytes at offset lie in config space. */
static uint32_t config_room(const struct virtio_device *dev, uint32_t offset, uint32_t len)
{
	if (offset >= dev->config_len)
		return 0;
	return len < dev->config_len - offset ? len : dev->config_len - offset;
}

void virtio_device_config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
	uint32_t room = config_room(dev, offset, len);
	memset(data, 0, len);
	lock_take(&dev->config_lock);
	memcpy(data, dev->config + (room ? offset : 0), room);
	lock_release(&dev->config_lock);
}

/* Merges what fits; returns how much that was. */
static uint32_t merge_config(struct virtio_device *dev, uint32_t offset, const void *data, uint32_t len)
{
	uint32_t room = config_room(dev, offset, len);
	if (!room)
		return 0;
	lock_take(&dev->config_lock);
	memcpy(dev->config + offset, data, room);
	lock_release(&dev->config_lock);
	return room;
}

void virtio_device_config_write(struct virtio_device *dev, uint32_t offset, const void *data, uint32_t len)
{
	if (!dev->ops->config_written)
		return;
	lock_take(&dev->lock);
	uint32_t merged = merge_config(dev, offset, data, len);
	if (merged)
		dev->ops->config_written(dev, offset, merged);
	lock_release(&dev->lock);
}

void virtio_device_ack_features(struct virtio_device *dev, uint32_t half, uint32_t bits)
{
	if (half > 1)
		return;
	lock_take(&dev->lock);
	if (!(dev->status & VIRTIO_CONFIG_S_FEATURES_OK)) { /* invariant 2 */
		dev->features_acked &= ~(0xffffffffull << 32 * half);
		dev->features_acked |= (uint64_t)bits << 32 * half;
	}
	lock_release(&dev->lock);
}

void virtio_device_enable_queue(struct virtio_device *dev, unsigned queue)
{
	if (queue >= dev->nr_queues)
		return;
	lock_take(&dev->lock);
	struct virtq *q = &dev->queues[queue];
	if (!q->enabled && !(dev->status & VIRTIO_CONFIG_S_DRIVER_OK)) { /* invariant 3 */
		if (virtq_enable(q, dev->ram, virtio_device_has(dev, VIRTIO_RING_F_EVENT_IDX)))
			virtio_device_fail(
				dev, "the driver set up queue %u wrongly: size %u, descriptors %#llx, avail %#llx, used %#llx",
				queue, q->size, (unsigned long long)q->desc_gpa, (unsigned long long)q->avail_gpa,
				(unsigned long long)q->used_gpa);
	}
	lock_release(&dev->lock);
}

void virtio_device_kick(struct virtio_device *dev, unsigned queue)
{
	if (queue >= dev->nr_queues)
		return;
	/* Fails only when 2^64 - 2 kicks wait, which is as good as one. */
	uint64_t one = 1;
	ssize_t ignored = write(dev->kick_fds[queue], &one, sizeof(one));
	(void)ignored;
}

/* --- for devices --- */

void virtio_device_fail(struct virtio_device *dev, const char *fmt, ...)
{
	if (atomic_fetch_or(&dev->status, VIRTIO_CONFIG_S_NEEDS_RESET) & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	char why[300];
	va_list args;
	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	/* A guest can reset and break its device as often as it likes. */
	log_guest_error("%s: %s; the device stops until the guest resets it", dev->name, why);
	/* Only a driver at work expects an interrupt (virtio 1.2, 2.1.2). */
	if (dev->transport && (dev->status & VIRTIO_CONFIG_S_DRIVER_OK))
		dev->transport->ops->config_interrupt(dev->transport);
}

bool virtio_device_failed(const struct virtio_device *dev)
{
	return dev->status & VIRTIO_CONFIG_S_NEEDS_RESET;
}

void virtio_device_notify_guest(struct virtio_device *dev, unsigned queue)
{
	if (virtq_should_interrupt(&dev->queues[queue]) && dev->transport)
		dev->transport->ops->queue_interrupt(dev->transport, queue);
}

void virtio_device_update_config(struct virtio_device *dev, uint32_t offset, const void *data, uint32_t len)
{
	uint32_t room = config_room(dev, offset, len);
	/* Under one lock, so that a driver that reads the same generation before and after has read one version (virtio 1.2, 2.5.1). */
	lock_take(&dev->config_lock);
	memcpy(dev->config + (room ? offset : 0), data, room);
	atomic_fetch_add(&dev->config_generation, 1);
	lock_release(&dev->config_lock);
	if (dev->transport && (dev->status & VIRTIO_CONFIG_S_DRIVER_OK))
		dev->transport->ops->config_interrupt(dev->transport);
}

/* --- for the machine --- */

void virtio_device_pause(struct virtio_device *dev)
{
	lock_take(&dev->lock);
	stop_locked(dev);
	dev->paused = true;
	lock_release(&dev->lock);
}

void virtio_device_resume(struct virtio_device *dev)
{
	lock_take(&dev->lock);
	dev->paused = false;
	start_locked(dev);
	lock_release(&dev->lock);
}

void virtio_device_reset(struct virtio_device *dev)
{
	lock_take(&dev->lock);
	reset_locked(dev);
	lock_release(&dev->lock);
}

void virtio_device_save(struct virtio_device *dev, struct state_writer *w)
{
	lock_take(&dev->lock);
	state_enter_new(w, dev->name, STATE_VERSION);
	state_put(w, "id", dev->id);
	state_put(w, "status", dev->status);
	state_put(w, "features", dev->features_acked);
	state_put(w, "config_generation", dev->config_generation);
	if (dev->ops->config_written) {
		uint8_t config[VIRTIO_CONFIG_MAX];
		virtio_device_config_read(dev, 0, config, dev->config_len);
		state_put_bytes(w, "config", config, dev->config_len);
	}
	state_put(w, "nr_queues", dev->nr_queues);
	for (unsigned i = 0; i < dev->nr_queues; i++)
		virtq_save(&dev->queues[i], i, w);
	if (dev->ops->save)
		dev->ops->save(dev, w);
	state_leave_new(w);
	lock_release(&dev->lock);
}

static void load_status(struct virtio_device *dev, struct state_reader *r)
{
	uint8_t status = (uint8_t)state_get(r, "status", 0, UINT8_MAX);
	if (status & ~(STATUS_OF_DRIVER | VIRTIO_CONFIG_S_NEEDS_RESET))
		state_reject(r, "the status has unknown bits");
	if ((status & VIRTIO_CONFIG_S_DRIVER_OK) && !(status & VIRTIO_CONFIG_S_FEATURES_OK))
		state_reject(r, "the driver runs without negotiated features");
	dev->features_acked = state_get(r, "features", 0, UINT64_MAX);
	/* Before FEATURES_OK the driver may have chosen nonsense: it is refused then. */
	if ((status & VIRTIO_CONFIG_S_FEATURES_OK) && !features_are_good(dev))
		state_reject(
			r,
			"the driver uses features that this device does not offer; give it the same options as when it was saved");
	dev->status = status;
}

static void load_locked(struct virtio_device *dev, struct state_reader *r)
{
	state_get(r, "id", dev->id, dev->id);
	load_status(dev, r);
	dev->config_generation = (uint8_t)state_get(r, "config_generation", 0, UINT8_MAX);
	if (dev->ops->config_written) {
		uint8_t config[VIRTIO_CONFIG_MAX];
		state_get_bytes(r, "config", config, dev->config_len);
		merge_config(dev, 0, config, dev->config_len);
		if (dev->config_len)
			dev->ops->config_written(dev, 0, dev->config_len);
	}
	state_get(r, "nr_queues", dev->nr_queues, dev->nr_queues);
	for (unsigned i = 0; i < dev->nr_queues; i++) {
		struct virtq *q = &dev->queues[i];
		virtq_load(q, i, r);
		bool wanted = q->enabled;
		q->enabled = false;
		if (wanted && virtq_enable(q, dev->ram, virtio_device_has(dev, VIRTIO_RING_F_EVENT_IDX)))
			state_reject(r, "a queue does not lie in the guest's RAM");
	}
	if (dev->ops->load)
		dev->ops->load(dev, r);
}

int virtio_device_load(struct virtio_device *dev, struct state_reader *r, struct error *err)
{
	lock_take(&dev->lock);
	reset_locked(dev);
	state_enter(r, dev->name, STATE_VERSION);
	load_locked(dev, r);
	int ret = state_leave(r, err);
	if (ret)
		reset_locked(dev);
	lock_release(&dev->lock);
	return ret;
}

void virtio_device_destroy(struct virtio_device *dev)
{
	if (!dev)
		return;
	lock_take(&dev->lock);
	stop_locked(dev);
	lock_release(&dev->lock);
	dev->ops->destroy(dev);
}
