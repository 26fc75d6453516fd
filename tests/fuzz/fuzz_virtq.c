/*
 * Queues under a guest that writes anything: the input fills guest RAM and then acts, word by word, on a bare queue and on an entropy
 * device and a console that stand on real queues (their workers run between the steps of the main thread, as they do in a machine).
 *
 * Rings are laid out where bytes of the input decide, so that both sensible rings full of odd descriptors and rings on top of each
 * other come up. What must hold: nothing but RAM is handed out, each pop ends, no sanitizer speaks.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "memmgr/guest_ram.h"
#include "virtio/console.h"
#include "virtio/queue.h"
#include "virtio/rng.h"

#define RAM_SIZE (256u << 10)
#define MAX_IOV 64
#define MAX_STEPS 200

struct input {
	const uint8_t *data;
	size_t len;
};

static uint32_t take(struct input *in, unsigned bytes)
{
	uint32_t value = 0;
	for (unsigned i = 0; i < bytes && in->len; i++) {
		value = value << 8 | *in->data++;
		in->len--;
	}
	return value;
}

static struct guest_ram *ram;
static struct virtio_device *rng, *console;

static size_t drop(struct virtio_console_backend *backend, const void *data, size_t len)
{
	(void)backend;
	/* Reads every byte, so that the address sanitizer sees it, and is slow now and then. */
	uint8_t sum = 0;
	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + ((const uint8_t *)data)[i]);
	return sum % 16 == 0 ? len / 2 : len;
}

static const struct virtio_console_backend_ops drop_ops = {.write = drop};
static struct virtio_console_backend backend = {&drop_ops};

static void set_up(void)
{
	const struct guest_ram_region regions[] = {{.gpa = 0, .size = RAM_SIZE / 2}, {.gpa = RAM_SIZE / 2, .size = RAM_SIZE / 2}};
	const struct virtio_rng_params rng_params = {.name = "rng0"};
	const struct virtio_console_port_params ports[2] = {{.is_console = true, .backend = &backend},
							    {.name = "p", .backend = &backend}};
	const struct virtio_console_params console_params = {
		.name = "console0", .nr_ports = 2, .ports = ports, .cols = 80, .rows = 25};
	log_open("fuzz", LOG_LEVEL_ERROR);
	if (guest_ram_create(regions, 2, &ram, NULL) || virtio_rng_create(&rng_params, ram, &rng, NULL) ||
	    virtio_console_create(&console_params, ram, &console, NULL))
		abort();
}

/* Fills RAM from the input: a byte of page number, two of place, one of length, then the bytes; until a page 0xff. */
static void fill_ram(struct input *in)
{
	while (in->len) {
		uint32_t page = take(in, 1);
		if (page == 0xff)
			return;
		uint32_t gpa = (page * 4096 + take(in, 2)) % RAM_SIZE;
		for (uint32_t len = take(in, 1); len && in->len; len--) {
			uint8_t byte = (uint8_t)take(in, 1);
			guest_ram_write(ram, gpa, &byte, 1);
			gpa = (gpa + 1) % RAM_SIZE;
		}
	}
}

static void place_queue(struct virtq *q, struct input *in)
{
	uint32_t where = take(in, 1);
	q->size = (uint16_t)(1u << where % 8);
	/* Mostly where fill_ram() writes with small page numbers. */
	q->desc_gpa = where & 0x80 ? take(in, 4) : (take(in, 1) % 4) * 4096;
	q->avail_gpa = where & 0x40 ? take(in, 4) : 0x4000 + (take(in, 1) % 4) * 64;
	q->used_gpa = where & 0x20 ? take(in, 4) : 0x5000 + (take(in, 1) % 4) * 64;
}

static void check_iov(const struct iovec *iov, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		size_t nr_regions;
		const struct guest_ram_region *regions = guest_ram_regions(ram, &nr_regions);
		const uint8_t *base = iov[i].iov_base;
		bool inside = false;
		for (size_t k = 0; k < nr_regions; k++)
			inside |= base >= regions[k].hva && base < regions[k].hva + regions[k].size &&
				  iov[i].iov_len <= (size_t)(regions[k].hva + regions[k].size - base);
		if (!inside || iov[i].iov_len == 0)
			abort();
	}
}

static void act_on_queue(struct virtq *q, struct input *in)
{
	uint16_t popped[VIRTQ_MAX_SIZE];
	unsigned nr_popped = 0;
	for (unsigned step = 0; step < MAX_STEPS && in->len; step++) {
		struct iovec iov[MAX_IOV];
		struct virtq_chain chain;
		uint8_t buf[256];
		uint32_t op = take(in, 1);
		switch (op % 8) {
		case 0:
		case 1:
			if (virtq_pop(q, iov, (uint16_t)(op / 8 * 2), &chain) == 1) {
				check_iov(iov, chain.nr_out + (unsigned)chain.nr_in);
				iov_read(chain.out, chain.nr_out, take(in, 1), buf, sizeof(buf));
				iov_write(chain.in, chain.nr_in, take(in, 1), buf, op);
				if (op & 0x80)
					virtq_unpop(q);
				else if (nr_popped < VIRTQ_MAX_SIZE)
					popped[nr_popped++] = chain.head;
			}
			break;
		case 2:
			if (nr_popped)
				virtq_push(q, popped[--nr_popped], op);
			break;
		case 3:
			virtq_should_interrupt(q);
			break;
		case 4:
			virtq_notify_off(q);
			break;
		case 5:
			virtq_notify_on(q);
			break;
		case 6:
			virtq_pending(q);
			break;
		default:
			fill_ram(in);
			break;
		}
	}
}

static void act_on_device(struct virtio_device *dev, struct input *in)
{
	uint32_t how = take(in, 1);
	virtio_device_set_status(dev, 0);
	virtio_device_set_status(dev, 3);
	virtio_device_ack_features(dev, 0, how & 1 ? (uint32_t)dev->features_offered : 0);
	virtio_device_ack_features(dev, 1, 1);
	virtio_device_set_status(dev, 11);
	for (unsigned i = 0; i < dev->nr_queues; i++) {
		if (how >> (1 + i % 6) & 1)
			continue;
		place_queue(&dev->queues[i], in);
		virtio_device_enable_queue(dev, i);
	}
	virtio_device_set_status(dev, 15);
	if (dev == console)
		virtio_console_receive(dev, how % 2, "input", how % 6);
	for (unsigned step = 0; step < 4 && in->len; step++) {
		fill_ram(in);
		virtio_device_kick(dev, take(in, 1) % 8);
	}
	virtio_device_pause(dev);
	if (how & 0x80) {
		/* What such a guest leaves behind can be saved, and loads again. */
		struct state_writer *w = state_writer_new();
		const void *data;
		size_t len;
		struct state_reader *r;
		virtio_device_save(dev, w);
		if (state_writer_end(w, &data, &len) == 0 && state_reader_open(data, len, &r, NULL) == 0) {
			if (virtio_device_load(dev, r, NULL))
				abort();
			state_reader_free(r);
		}
		state_writer_free(w);
	}
	virtio_device_resume(dev);
	virtio_device_set_status(dev, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!ram)
		set_up();
	memset(guest_ram_at(ram, 0, RAM_SIZE / 2), 0, 0x8000);
	struct input in = {data, len};
	uint32_t what = take(&in, 1);
	fill_ram(&in);
	if (what % 4 == 0) {
		act_on_device(rng, &in);
	} else if (what % 4 == 1) {
		act_on_device(console, &in);
	} else {
		struct virtq q = {.size_max = 128};
		virtq_reset(&q);
		q.last_avail = q.used_idx = (uint16_t)(what & 0x40 ? take(&in, 2) : 0);
		place_queue(&q, &in);
		if (virtq_enable(&q, ram, what & 0x80) == 0)
			act_on_queue(&q, &in);
	}
	return 0;
}
