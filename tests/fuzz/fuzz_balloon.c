/*
 * Fuzzes the balloon: the input becomes descriptors, page numbers, statistics and commands of a driver that breaks every rule, on all queues
 * at once, while settings change and the machine is paused. After each input the device is reset, and must serve one good request.
 */
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <sched.h>
#include <time.h>

#include "balloon/balloon.h"
#include "base/log.h"
#include "tests/fuzz/fuzz_input.h"

#define RAM_SIZE (8u << 20)
#define QUEUES 5u
#define QUEUE_SIZE 16u
#define RINGS_GPA(queue) (0x1000u + (queue)*0x1000u) /* descriptors, 0x400 further the avail ring, 0x800 the used one */
#define TABLE_GPA 0x8000u                            /* indirect tables */
#define DATA_GPA 0x10000u                            /* page numbers, statistics, commands: 64 KiB */
#define GIVEN_PAGE 1024u
#define PATIENCE_NS 9000000000ll

static struct guest_ram *ram;
static uint8_t *bytes;
static struct virtio_device *dev;

static void set_up(void)
{
	/* Two regions that touch. */
	const struct guest_ram_region regions[] = {{.size = 5u << 20}, {.gpa = 5u << 20, .size = RAM_SIZE - (5u << 20)}};
	const struct balloon_params params = {.name = "fuzz", .deflate_on_oom = true, .reporting = true, .hinting = true};
	log_open("fuzz", LOG_LEVEL_ERROR);
	fuzz_need(guest_ram_create(regions, 2, &ram, NULL) == 0);
	bytes = guest_ram_at(ram, 0, 5u << 20);
	fuzz_need(virtio_balloon_create(&params, ram, &dev, NULL) == 0);
}

static uint16_t *ring_word(uint32_t gpa)
{
	return (uint16_t *)(void *)(bytes + gpa);
}

static void probe(uint64_t features, uint8_t enabled)
{
	/* Until it is reset the device may write that it has used something. */
	virtio_device_set_status(dev, 0);
	memset(bytes + RINGS_GPA(0), 0, TABLE_GPA - RINGS_GPA(0));
	features &= dev->features_offered;
	features |= 1ull << VIRTIO_F_VERSION_1;
	virtio_device_ack_features(dev, 0, (uint32_t)features);
	virtio_device_ack_features(dev, 1, (uint32_t)(features >> 32));
	virtio_device_set_status(dev, VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned i = 0; i < QUEUES; i++) {
		if (!(enabled >> i & 1))
			continue;
		dev->queues[i].size = QUEUE_SIZE;
		dev->queues[i].desc_gpa = RINGS_GPA(i);
		dev->queues[i].avail_gpa = RINGS_GPA(i) + 0x400;
		dev->queues[i].used_gpa = RINGS_GPA(i) + 0x800;
		virtio_device_enable_queue(dev, i);
	}
	virtio_device_set_status(dev, VIRTIO_CONFIG_S_DRIVER_OK);
}

static uint64_t take_gpa(struct fuzz_input *in)
{
	uint64_t low = fuzz_take(in, 2);
	switch (fuzz_take(in, 1) % 8) {
	case 0:
		return RAM_SIZE - low % 9000;
	case 1:
		return fuzz_take(in, 8);
	case 2:
		return TABLE_GPA + low % 64 * 16;
	case 3:
		return RINGS_GPA(0) + low % 0x6000; /* the rings themselves */
	case 4:
		return GIVEN_PAGE * 4096 + low * 64;
	default:
		return DATA_GPA + low % 0x8000;
	}
}

static uint32_t take_len(struct fuzz_input *in)
{
	switch (fuzz_take(in, 1) % 8) {
	case 0:
		return (uint32_t)fuzz_take(in, 4);
	case 1:
		return 4;
	case 2:
		return (uint32_t)fuzz_take(in, 2);
	case 3:
		return 4096 * (uint32_t)(1 + fuzz_take(in, 1));
	case 4:
		return 10 * (uint32_t)fuzz_take(in, 1);
	default:
		return 4 * (uint32_t)fuzz_take(in, 1);
	}
}

static void write_descriptors(struct fuzz_input *in, uint32_t gpa, unsigned nr)
{
	struct vring_desc *table = (void *)(bytes + gpa);
	for (unsigned i = 0; i < nr && in->left; i++) {
		uint8_t what = (uint8_t)fuzz_take(in, 1);
		table[i].addr = take_gpa(in);
		table[i].len = take_len(in);
		table[i].flags = what & 7;
		table[i].next = what & 0x80 ? (uint16_t)fuzz_take(in, 1) : (uint16_t)(i + 1);
	}
}

static void write_data(struct fuzz_input *in)
{
	uint32_t *words = (void *)(bytes + DATA_GPA);
	unsigned nr = (unsigned)fuzz_take(in, 1);
	for (unsigned i = 0; i < nr && in->left; i++) {
		uint32_t value = (uint32_t)fuzz_take(in, 2);
		switch (fuzz_take(in, 1) % 4) {
		case 0:
			value = (uint32_t)fuzz_take(in, 4);
			break;
		case 1:
			value = RAM_SIZE / 4096 - value % 8;
			break;
		default:
			value = GIVEN_PAGE + value % 512;
		}
		words[i] = value;
	}
}

/* Until the queue has answered so many, or the device has failed. Requests may overwrite the rings, so that neither happens: not for long. */
static bool wait_for(unsigned queue, unsigned nr, long long patience_ns)
{
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		if (__atomic_load_n(ring_word(RINGS_GPA(queue) + 0x802), __ATOMIC_ACQUIRE) == (uint16_t)nr ||
		    virtio_device_failed(dev))
			return true;
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000000000ll + now.tv_nsec - start.tv_nsec < patience_ns);
	return false;
}

static void announce(unsigned queue, uint16_t idx)
{
	__atomic_store_n(ring_word(RINGS_GPA(queue) + 0x402), idx, __ATOMIC_RELEASE);
	virtio_device_kick(dev, queue);
}

static void good_request(void)
{
	probe(0, 3);
	struct vring_desc *desc = (void *)(bytes + RINGS_GPA(0));
	uint32_t pfn = GIVEN_PAGE;
	memcpy(bytes + DATA_GPA, &pfn, sizeof(pfn));
	bytes[GIVEN_PAGE * 4096] = 1;
	desc[0] = (struct vring_desc){.addr = DATA_GPA, .len = 4};
	announce(0, 1);
	fuzz_need(wait_for(0, 1, PATIENCE_NS) && !virtio_device_failed(dev));
	fuzz_need(bytes[GIVEN_PAGE * 4096] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!dev)
		set_up();
	struct fuzz_input in = {data, size};
	uint8_t mode = (uint8_t)fuzz_take(&in, 1);
	probe(fuzz_take(&in, 1) | (mode & 8 ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0) | 1ull << VIRTIO_RING_F_INDIRECT_DESC,
	      mode & 16 ? (uint8_t)fuzz_take(&in, 1) : 0x1f);
	if (mode & 1)
		virtio_balloon_ask_hints(dev, NULL);
	write_data(&in);
	write_descriptors(&in, TABLE_GPA, (unsigned)fuzz_take(&in, 1) % 64);
	for (unsigned queue = 0; queue < QUEUES && in.left; queue++) {
		unsigned nr_avail = (unsigned)fuzz_take(&in, 1) % (QUEUE_SIZE + 2);
		write_descriptors(&in, RINGS_GPA(queue), (unsigned)fuzz_take(&in, 1) % QUEUE_SIZE);
		for (unsigned i = 0; i < nr_avail && i < QUEUE_SIZE; i++)
			*ring_word(RINGS_GPA(queue) + 0x404 + 2 * i) = (uint16_t)(fuzz_take(&in, 1) % (QUEUE_SIZE + 1));
		announce(queue, (uint16_t)nr_avail);
		if (mode & 2)
			wait_for(queue, nr_avail, 2000000);
	}
	if (mode & 4) {
		uint8_t config[8];
		uint64_t value = fuzz_take(&in, 8);
		memcpy(config, &value, 8);
		virtio_device_config_write(dev, (uint32_t)fuzz_take(&in, 1), config, (uint32_t)fuzz_take(&in, 1) % 9);
		virtio_balloon_set_target(dev, (uint32_t)fuzz_take(&in, 4));
		virtio_balloon_set_polling(dev, (uint32_t)fuzz_take(&in, 1) % 3);
	}
	if (mode & 32) {
		virtio_device_pause(dev);
		virtio_device_resume(dev);
	}
	struct balloon_info info;
	virtio_balloon_get_info(dev, &info);
	good_request();
	return 0;
}
