/*
 * Fuzzes virtio-blk: the input becomes descriptors, request headers and avail entries of a driver that breaks every rule. The disk is
 * the fake one, which aborts when it is asked for bytes that it does not have. After each input the device is reset, and must serve
 * one good request.
 */
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <sched.h>
#include <time.h>

#include "base/log.h"
#include "tests/unit/test_blk_disk.h"
#include "virtio/blk.h"

#define RAM_SIZE (4u << 20)
#define DISK_SIZE (256u << 10)
#define QUEUE_SIZE 64u
#define DESC_GPA 0x1000u
#define AVAIL_GPA 0x2000u
#define USED_GPA 0x3000u
#define TABLE_GPA 0x4000u  /* indirect tables */
#define HEADER_GPA 0x8000u /* 64 request headers, 64 bytes each */
#define DATA_GPA 0x10000u
#define PATIENCE_NS 2000000000ll

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at;
	size_t left;
};

static struct guest_ram *ram;
static uint8_t *bytes;
static struct virtio_device *dev;
static struct fake_disk *fake;

static uint64_t take(struct input *in, unsigned nr)
{
	uint64_t value = 0;
	if (nr > in->left)
		nr = (unsigned)in->left;
	memcpy(&value, in->at, nr);
	in->at += nr;
	in->left -= nr;
	return value;
}

static void need(bool condition)
{
	if (!condition)
		abort();
}

static void set_up(void)
{
	log_open("fuzz", LOG_LEVEL_ERROR);
	struct guest_ram_region region = {.size = RAM_SIZE};
	need(guest_ram_create(&region, 1, &ram, NULL) == 0);
	bytes = guest_ram_at(ram, 0, RAM_SIZE);
	fake = fake_disk_new(DISK_SIZE);
	struct virtio_blk_params params = {.name = "fuzz", .disk = &fake->disk, .queue_size = QUEUE_SIZE, .serial = "fuzz"};
	need(virtio_blk_create(&params, ram, &dev, NULL) == 0);
}

static void probe(bool event_idx)
{
	memset(bytes + DESC_GPA, 0, DATA_GPA - DESC_GPA);
	uint64_t features = dev->features_offered & ~(1ull << VIRTIO_RING_F_EVENT_IDX);
	features |= event_idx ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0;
	virtio_device_set_status(dev, 0);
	virtio_device_ack_features(dev, 0, (uint32_t)features);
	virtio_device_ack_features(dev, 1, (uint32_t)(features >> 32));
	virtio_device_set_status(dev, VIRTIO_CONFIG_S_FEATURES_OK);
	dev->queues[0].size = QUEUE_SIZE;
	dev->queues[0].desc_gpa = DESC_GPA;
	dev->queues[0].avail_gpa = AVAIL_GPA;
	dev->queues[0].used_gpa = USED_GPA;
	virtio_device_enable_queue(dev, 0);
	virtio_device_set_status(dev, VIRTIO_CONFIG_S_DRIVER_OK);
}

static uint64_t take_gpa(struct input *in)
{
	uint64_t low = take(in, 2);
	switch (take(in, 1) % 8) {
	case 0:
		return RAM_SIZE - low % 1024;
	case 1:
		return take(in, 8);
	case 2:
		return TABLE_GPA + low % 64 * 16;
	case 3:
		return AVAIL_GPA + low % 8192; /* the rings themselves */
	case 4:
	case 5:
		return HEADER_GPA + low % 64 * 64;
	default:
		return DATA_GPA + low * 16;
	}
}

static uint32_t take_len(struct input *in)
{
	switch (take(in, 1) % 8) {
	case 0:
		return (uint32_t)take(in, 4);
	case 1:
		return 16;
	case 2:
		return 1;
	case 3:
		return (uint32_t)take(in, 2);
	case 4:
		return 32;
	default:
		return 512 * (uint32_t)(take(in, 1) % 16 + 1);
	}
}

static uint64_t take_sector(struct input *in)
{
	switch (take(in, 1) % 4) {
	case 0:
		return take(in, 8);
	case 1:
		return DISK_SIZE / 512 - take(in, 1) % 16;
	default:
		return take(in, 2) % (DISK_SIZE / 512);
	}
}

static void write_descriptors(struct input *in, uint64_t gpa, unsigned nr)
{
	struct vring_desc *table = (void *)(bytes + gpa);
	for (unsigned i = 0; i < nr && in->left; i++) {
		uint8_t what = (uint8_t)take(in, 1);
		table[i].addr = take_gpa(in);
		table[i].len = take_len(in);
		table[i].flags = what & 7;
		table[i].next = what & 0x80 ? (uint16_t)take(in, 1) : (uint16_t)(i + 1);
	}
}

static void write_headers(struct input *in, unsigned nr)
{
	for (unsigned i = 0; i < nr && in->left; i++) {
		struct virtio_blk_outhdr header = {.type = (uint32_t)take(in, 1) % 16, .sector = take_sector(in)};
		struct virtio_blk_discard_write_zeroes segment = {
			.sector = take_sector(in),
			.num_sectors = take_len(in),
			.flags = (uint32_t)take(in, 1) % 4,
		};
		memcpy(bytes + HEADER_GPA + i * 64, &header, sizeof(header));
		memcpy(bytes + HEADER_GPA + i * 64 + 16, &segment, sizeof(segment));
	}
}

static uint16_t *ring_word(uint32_t gpa)
{
	return (uint16_t *)(void *)(bytes + gpa);
}

/* Until the device has answered nr requests, or given up. Requests may overwrite the rings, so that neither happens: not for long. */
static bool wait_for(unsigned nr, long long patience_ns)
{
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		if (__atomic_load_n(ring_word(USED_GPA + 2), __ATOMIC_ACQUIRE) == (uint16_t)nr || virtio_device_failed(dev))
			return true;
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000000000ll + now.tv_nsec - start.tv_nsec < patience_ns);
	return false;
}

static void announce(uint16_t idx)
{
	__atomic_store_n(ring_word(AVAIL_GPA + 2), idx, __ATOMIC_RELEASE);
	virtio_device_kick(dev, 0);
}

static void good_request(void)
{
	fake->fail_code = 0;
	fake->deferred = false;
	probe(true);
	struct vring_desc *desc = (void *)(bytes + DESC_GPA);
	desc[0] = (struct vring_desc){.addr = HEADER_GPA, .len = 16, .flags = VRING_DESC_F_NEXT, .next = 1};
	desc[1] = (struct vring_desc){.addr = DATA_GPA, .len = 513, .flags = VRING_DESC_F_WRITE};
	bytes[DATA_GPA + 512] = 0xff;
	announce(1);
	need(wait_for(1, PATIENCE_NS) && !virtio_device_failed(dev));
	need(bytes[DATA_GPA + 512] == VIRTIO_BLK_S_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!dev)
		set_up();
	struct input in = {data, size};
	uint8_t mode = (uint8_t)take(&in, 1);
	/* The disk is idle: the device was stopped by the reset that ended the last input. */
	virtio_device_set_status(dev, 0);
	fake->deferred = mode & 1;
	fake->fail_code = mode & 2 && mode & 4 ? EIO : 0;
	probe(mode & 8);
	unsigned nr_direct = (unsigned)take(&in, 1) % QUEUE_SIZE;
	unsigned nr_indirect = (unsigned)take(&in, 1) % 64;
	unsigned nr_headers = (unsigned)take(&in, 1) % 64;
	unsigned nr_avail = (unsigned)take(&in, 1) % (QUEUE_SIZE + 2);
	write_headers(&in, nr_headers);
	write_descriptors(&in, DESC_GPA, nr_direct);
	write_descriptors(&in, TABLE_GPA, nr_indirect);
	for (unsigned i = 0; i < nr_avail && i < QUEUE_SIZE; i++)
		*ring_word(AVAIL_GPA + 4 + 2 * i) = (uint16_t)(take(&in, 1) % (QUEUE_SIZE + 1));
	if (mode & 16) {
		uint8_t config[8];
		uint64_t value = take(&in, 8);
		memcpy(config, &value, 8);
		virtio_device_config_write(dev, (uint32_t)take(&in, 1), config, (uint32_t)take(&in, 1) % 9);
	}
	announce((uint16_t)nr_avail);
	wait_for(nr_avail, 20000000);
	if (mode & 32) {
		virtio_device_pause(dev);
		virtio_device_resume(dev);
	}
	virtio_device_set_status(dev, 0);
	good_request();
	return 0;
}
