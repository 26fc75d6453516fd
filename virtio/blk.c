/* See blk.h. The device: options, features, config space, life cycle. Its work is done in blk_io.c and blk_request.c. */
#include "virtio/blk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/blk_io.h"

#define QUEUE_SIZE_DEFAULT 256u
#define QUEUE_SIZE_MIN 4u
#define BLOCK_SIZE_MAX 65536u
/* Longer than storage takes for a flush, and shorter than people wait for a monitor. */
#define PATIENCE_S_DEFAULT 30u

static struct blk *to_blk(struct virtio_device *dev)
{
	return (struct blk *)dev;
}

static const struct blk *to_const_blk(const struct virtio_device *dev)
{
	return (const struct blk *)dev;
}

/* --- the write cache --- */

/* Virtio 1.2, 5.2.5.2: the driver's bit decides if it knows it; else whether it knows of flushes. */
static void decide_write_cache(struct blk *blk)
{
	const struct virtio_device *dev = &blk->dev;
	if (virtio_device_has(dev, VIRTIO_BLK_F_CONFIG_WCE))
		blk->write_cache = dev->config[offsetof(struct virtio_blk_config, wce)] & 1;
	else
		blk->write_cache = virtio_device_has(dev, VIRTIO_BLK_F_FLUSH);
}

static void config_written(struct virtio_device *dev, uint32_t offset, uint32_t len)
{
	(void)offset;
	(void)len;
	struct blk *blk = to_blk(dev);
	struct virtio_blk_config config = blk->config;
	/* Of all that the driver (or a saved state) may have put there, wce alone is its to choose. */
	lock_take(&dev->config_lock);
	if (dev->features_offered >> VIRTIO_BLK_F_CONFIG_WCE & 1)
		config.wce = dev->config[offsetof(struct virtio_blk_config, wce)] & 1;
	memcpy(dev->config, &config, dev->config_len);
	lock_release(&dev->config_lock);
	decide_write_cache(blk);
}

/* --- life cycle --- */

static int start(struct virtio_device *dev)
{
	struct blk *blk = to_blk(dev);
	decide_write_cache(blk);
	for (unsigned i = 0; i < blk->nr_threads; i++)
		blk_io_start(blk->threads[i]);
	return 0;
}

static void stop(struct virtio_device *dev)
{
	struct blk *blk = to_blk(dev);
	for (unsigned i = 0; i < blk->nr_threads; i++)
		blk_io_stop(blk->threads[i]);
}

static void reset(struct virtio_device *dev)
{
	struct blk *blk = to_blk(dev);
	lock_take(&dev->config_lock);
	memcpy(dev->config, &blk->config, dev->config_len);
	lock_release(&dev->config_lock);
}

static void save(struct virtio_device *dev, struct state_writer *w)
{
	const struct blk *blk = to_blk(dev);
	state_put(w, "capacity", blk->config.capacity);
	state_put(w, "block_size", blk->block_size);
	state_put(w, "read_only", blk->read_only);
}

static void load(struct virtio_device *dev, struct state_reader *r)
{
	const struct blk *blk = to_blk(dev);
	uint64_t capacity = state_get(r, "capacity", 0, UINT64_MAX);
	if (capacity != blk->config.capacity)
		state_reject(r, "the image has another size than when the guest was saved");
	state_get(r, "block_size", blk->block_size, blk->block_size);
	state_get(r, "read_only", blk->read_only, blk->read_only);
}

static void destroy(struct virtio_device *dev)
{
	struct blk *blk = to_blk(dev);
	for (unsigned i = 0; i < blk->nr_threads; i++)
		blk_io_destroy(blk->threads[i]);
	disk_close(blk->disk);
	virtio_device_fini(dev);
	free(blk);
}

static const struct virtio_device_ops blk_ops = {
	.config_written = config_written,
	.start = start,
	.stop = stop,
	.reset = reset,
	.save = save,
	.load = load,
	.destroy = destroy,
};

/* --- making one --- */

static bool is_power_of_two(uint32_t n)
{
	return n && (n & (n - 1)) == 0;
}

/* Fills in what was left to us. */
static int complete_params(struct virtio_blk_params *p, struct error *err)
{
	const struct disk *disk = p->disk;
	p->read_only |= disk->read_only;
	if (!p->nr_queues)
		p->nr_queues = 1;
	if (!p->queue_size)
		p->queue_size = QUEUE_SIZE_DEFAULT;
	if (!p->patience_s)
		p->patience_s = PATIENCE_S_DEFAULT;
	if (!p->nr_threads)
		p->nr_threads = 1;
	if (p->nr_threads > p->nr_queues)
		p->nr_threads = p->nr_queues;
	if (disk->max_channels && p->nr_threads > disk->max_channels)
		p->nr_threads = disk->max_channels;
	if (!p->logical_block_size)
		p->logical_block_size = disk->block_size;
	if (!p->physical_block_size)
		p->physical_block_size =
			disk->physical_block_size > p->logical_block_size ? disk->physical_block_size : p->logical_block_size;
	if (p->serial && strlen(p->serial) > VIRTIO_BLK_SERIAL_LEN)
		return error_set(err, EINVAL, "%s: serial=%s is longer than %d bytes", p->name, p->serial, VIRTIO_BLK_SERIAL_LEN);
	if (p->nr_queues > VIRTIO_MAX_QUEUES)
		return error_set(err, EINVAL, "%s: num-queues=%u, must be 1 to %d", p->name, p->nr_queues, VIRTIO_MAX_QUEUES);
	if (p->queue_size < QUEUE_SIZE_MIN || p->queue_size > VIRTQ_MAX_SIZE || !is_power_of_two(p->queue_size))
		return error_set(err, EINVAL, "%s: queue-size=%u, must be a power of two, %u to %d", p->name, p->queue_size,
				 QUEUE_SIZE_MIN, VIRTQ_MAX_SIZE);
	if (!is_power_of_two(p->logical_block_size) || p->logical_block_size < DISK_SECTOR ||
	    p->logical_block_size > BLOCK_SIZE_MAX)
		return error_set(err, EINVAL, "%s: logical_block_size=%u, must be a power of two, %u to %u", p->name,
				 p->logical_block_size, DISK_SECTOR, BLOCK_SIZE_MAX);
	if (p->logical_block_size < disk->block_size)
		return error_set(err, EINVAL,
				 "%s: logical_block_size=%u, but disk %s can only be used in blocks of %u: give that, or use "
				 "cache=writeback",
				 p->name, p->logical_block_size, disk->name, disk->block_size);
	if (!is_power_of_two(p->physical_block_size) || p->physical_block_size < p->logical_block_size)
		return error_set(err, EINVAL, "%s: physical_block_size=%u, must be a power of two, no less than %u", p->name,
				 p->physical_block_size, p->logical_block_size);
	return 0;
}

static uint64_t offered_features(const struct virtio_blk_params *p)
{
	uint64_t features = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE | 1ull << VIRTIO_BLK_F_TOPOLOGY;
	if (p->nr_queues > 1)
		features |= 1ull << VIRTIO_BLK_F_MQ;
	if (p->read_only)
		return features | 1ull << VIRTIO_BLK_F_RO;
	if (p->disk->can_flush && !p->write_through)
		features |= 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_CONFIG_WCE;
	if (p->disk->can_discard)
		features |= 1ull << VIRTIO_BLK_F_DISCARD;
	if (p->disk->can_write_zeroes)
		features |= 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
	return features;
}

static void fill_config(struct blk *blk, const struct virtio_blk_params *p, uint64_t features)
{
	struct virtio_blk_config *config = &blk->config;
	config->capacity = (p->disk->size & ~(uint64_t)(p->logical_block_size - 1)) / DISK_SECTOR;
	config->seg_max = p->queue_size - 2; /* header and status take the others */
	config->blk_size = p->logical_block_size;
	config->physical_block_exp = (uint8_t)__builtin_ctz(p->physical_block_size / p->logical_block_size);
	config->wce = features >> VIRTIO_BLK_F_FLUSH & 1;
	config->num_queues = (uint16_t)p->nr_queues;
	if (features >> VIRTIO_BLK_F_DISCARD & 1) {
		config->max_discard_sectors = DISK_RANGE_MAX / DISK_SECTOR;
		config->max_discard_seg = 1;
		config->discard_sector_alignment = p->physical_block_size / DISK_SECTOR;
	}
	if (features >> VIRTIO_BLK_F_WRITE_ZEROES & 1) {
		config->max_write_zeroes_sectors = DISK_RANGE_MAX / DISK_SECTOR;
		config->max_write_zeroes_seg = 1;
		config->write_zeroes_may_unmap = p->disk->can_discard;
	}
	memcpy(blk->dev.config, config, blk->dev.config_len);
}

int virtio_blk_create(const struct virtio_blk_params *params, const struct guest_ram *ram, struct virtio_device **dev,
		      struct error *err)
{
	struct virtio_blk_params p = *params;
	int ret = complete_params(&p, err);
	if (ret)
		return ret;
	struct blk *blk = calloc(1, sizeof(*blk) + p.nr_threads * sizeof(struct blk_io *));
	if (!blk)
		return error_set(err, ENOMEM, "%s: out of memory", p.name);
	uint64_t features = offered_features(&p);
	ret = virtio_device_init(&blk->dev, &blk_ops, VIRTIO_ID_BLOCK_DEVICE, p.name, ram, features, p.nr_queues,
				 (uint16_t)p.queue_size, offsetof(struct virtio_blk_config, max_secure_erase_sectors), err);
	if (ret)
		goto free_blk;
	blk->disk = p.disk;
	blk->read_only = p.read_only;
	blk->block_size = p.logical_block_size;
	blk->patience_s = p.patience_s;
	blk->max_iov = (uint16_t)(p.queue_size + BLK_MAX_IOV - VIRTQ_MAX_SIZE);
	if (p.serial)
		memcpy(blk->serial, p.serial, strlen(p.serial));
	fill_config(blk, &p, features);
	blk->write_cache = blk->config.wce;
	blk->nr_threads = p.nr_threads;
	for (unsigned i = 0; i < p.nr_threads; i++) {
		ret = blk_io_create(blk, i, &blk->threads[i], err);
		if (ret)
			goto destroy_threads;
	}
	*dev = &blk->dev;
	return 0;

destroy_threads:
	for (unsigned i = 0; i < p.nr_threads; i++)
		blk_io_destroy(blk->threads[i]);
	virtio_device_fini(&blk->dev);
free_blk:
	free(blk);
	return ret;
}

/* --- for the monitor --- */

void virtio_blk_get_stats(const struct virtio_device *dev, struct virtio_blk_stats *stats)
{
	const struct blk *blk = to_const_blk(dev);
	memset(stats, 0, sizeof(*stats));
	for (unsigned i = 0; i < blk->nr_threads; i++) {
		const struct blk_counters *counters = &blk->threads[i]->counters;
		for (unsigned op = DISK_READ; op <= DISK_WRITE_ZEROES; op++) {
			stats->ops[op] += atomic_load_explicit(&counters->ops[op], memory_order_relaxed);
			stats->bytes[op] += atomic_load_explicit(&counters->bytes[op], memory_order_relaxed);
			stats->errors[op] += atomic_load_explicit(&counters->errors[op], memory_order_relaxed);
		}
		stats->invalid += atomic_load_explicit(&counters->invalid, memory_order_relaxed);
	}
}

const struct disk *virtio_blk_disk(const struct virtio_device *dev)
{
	return to_const_blk(dev)->disk;
}

bool virtio_blk_read_only(const struct virtio_device *dev)
{
	return to_const_blk(dev)->read_only;
}

bool virtio_blk_write_cache(const struct virtio_device *dev)
{
	return to_const_blk(dev)->write_cache;
}
