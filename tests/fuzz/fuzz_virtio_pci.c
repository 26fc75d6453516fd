/*
 * The PCI transport under a guest that reads and writes anywhere: the input is a program of BAR and window accesses, RAM writes and
 * machine events, run against an entropy device and a console. Wide values and offsets come from the input, with a bias to
 * registers that exist. What must hold: no sanitizer speaks, vectors raised exist, state saves and loads at any point.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "memmgr/guest_ram.h"
#include "virtio/console.h"
#include "virtio/pci.h"
#include "virtio/rng.h"

#define RAM_SIZE (256u << 10)
#define BAR 4
#define MAX_STEPS 300

struct input {
	const uint8_t *data;
	size_t len;
};

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < bytes && in->len; i++) {
		value = value << 8 | *in->data++;
		in->len--;
	}
	return value;
}

struct fake_host {
	struct virtio_pci_host host;
	unsigned nr_vectors;
	_Atomic bool enabled;
};

static void raise_vector(struct virtio_pci_host *host, unsigned vector)
{
	if (vector >= ((struct fake_host *)host)->nr_vectors)
		abort();
}

static bool is_enabled(struct virtio_pci_host *host)
{
	return ((struct fake_host *)host)->enabled;
}

static const struct virtio_pci_host_ops host_ops = {raise_vector, is_enabled};

struct function {
	struct virtio_device *dev;
	struct virtio_pci *vp;
	struct fake_host host;
};

static struct guest_ram *ram;
static struct function functions[2];

static void set_up(void)
{
	const struct guest_ram_region region = {.gpa = 0, .size = RAM_SIZE};
	const struct virtio_rng_params rng_params = {.name = "rng0"};
	const struct virtio_console_port_params port = {.is_console = true};
	const struct virtio_console_params console_params = {
		.name = "console0", .nr_ports = 1, .ports = &port, .cols = 80, .rows = 25};
	log_open("fuzz", LOG_LEVEL_ERROR);
	if (guest_ram_create(&region, 1, &ram, NULL) || virtio_rng_create(&rng_params, ram, &functions[0].dev, NULL) ||
	    virtio_console_create(&console_params, ram, &functions[1].dev, NULL))
		abort();
	for (unsigned i = 0; i < 2; i++) {
		struct function *f = &functions[i];
		uint8_t cap[32];
		f->host.host.ops = &host_ops;
		f->vp = virtio_pci_create(f->dev, &f->host.host);
		if (!f->vp)
			abort();
		f->host.nr_vectors = virtio_pci_nr_vectors(f->vp);
		for (unsigned k = 0; virtio_pci_capability(f->vp, k, BAR, cap); k++)
			;
	}
}

static void save_and_load(struct function *f)
{
	struct state_writer *w = state_writer_new();
	const void *data;
	size_t len;
	struct state_reader *r;
	virtio_device_pause(f->dev);
	virtio_device_save(f->dev, w);
	state_enter_new(w, "pci", 1);
	virtio_pci_save(f->vp, w);
	state_leave_new(w);
	if (state_writer_end(w, &data, &len) || state_reader_open(data, len, &r, NULL))
		abort();
	if (virtio_device_load(f->dev, r, NULL))
		abort();
	state_enter(r, "pci", 1);
	virtio_pci_load(f->vp, r);
	if (state_leave(r, NULL))
		abort();
	state_reader_free(r);
	state_writer_free(w);
	virtio_device_resume(f->dev);
}

/* A well-behaved driver's first steps, so that inputs need not find them. */
static void bring_up(struct function *f, struct input *in)
{
	static const uint8_t statuses[] = {0, 1, 3};
	for (unsigned i = 0; i < sizeof(statuses); i++)
		virtio_pci_bar_write(f->vp, 20, &statuses[i], 1);
	uint32_t one = 1;
	virtio_pci_bar_write(f->vp, 8, &one, 4);
	virtio_pci_bar_write(f->vp, 12, &one, 4);
	uint8_t status = 11;
	virtio_pci_bar_write(f->vp, 20, &status, 1);
	for (unsigned i = 0; i < f->dev->nr_queues; i++) {
		uint16_t queue = (uint16_t)i, size = (uint16_t)(1u << take(in, 1) % 8), yes = 1;
		uint64_t desc = 0x1000, avail = 0x2000, used = 0x3000;
		virtio_pci_bar_write(f->vp, 22, &queue, 2);
		virtio_pci_bar_write(f->vp, 24, &size, 2);
		virtio_pci_bar_write(f->vp, 26, &queue, 2);
		virtio_pci_bar_write(f->vp, 32, &desc, 8);
		virtio_pci_bar_write(f->vp, 40, &avail, 8);
		virtio_pci_bar_write(f->vp, 48, &used, 8);
		virtio_pci_bar_write(f->vp, 28, &yes, 2);
	}
	status = 15;
	virtio_pci_bar_write(f->vp, 20, &status, 1);
}

static uint32_t pick_offset(struct input *in, uint32_t op)
{
	if (op & 0x80)
		return (uint32_t)take(in, 4);
	uint32_t part = (uint32_t)take(in, 1);
	return (part >> 6) * 0x1000 + part % 64;
}

static void step(struct function *f, struct input *in)
{
	uint32_t op = (uint32_t)take(in, 1);
	unsigned size = 1u << (op >> 4) % 4;
	uint64_t value = 0;
	uint8_t window[4];
	uint32_t offset, gpa;
	switch (op % 12) {
	case 0:
	case 1:
	case 2:
	case 3:
		offset = pick_offset(in, op);
		value = take(in, size);
		virtio_pci_bar_write(f->vp, offset, &value, size);
		break;
	case 4:
	case 5:
		virtio_pci_bar_read(f->vp, pick_offset(in, op), &value, size);
		break;
	case 6:
		offset = pick_offset(in, op);
		memset(window, (int)take(in, 1), sizeof(window));
		virtio_pci_window_write(f->vp, op & 0x40 ? (uint8_t)take(in, 1) : BAR, offset, (uint32_t)take(in, 1), window);
		break;
	case 7:
		offset = pick_offset(in, op);
		virtio_pci_window_read(f->vp, op & 0x40 ? (uint8_t)take(in, 1) : BAR, offset, (uint32_t)take(in, 1), window);
		break;
	case 8:
	case 9:
		/* Rings lie in the first pages as often as not. */
		gpa = (uint32_t)take(in, 2) % (op & 0x80 ? RAM_SIZE : 0x4000);
		for (uint32_t len = (uint32_t)take(in, 1) % 64; len && gpa < RAM_SIZE; len--, gpa++) {
			uint8_t byte = (uint8_t)take(in, 1);
			guest_ram_write(ram, gpa, &byte, 1);
		}
		break;
	case 10:
		f->host.enabled = op & 0x10;
		if (op & 0x20)
			virtio_device_update_config(f->dev, take(in, 1) & 15, "abcd", 4);
		if (op & 0x40)
			save_and_load(f);
		if (f == &functions[1])
			virtio_console_receive(f->dev, 0, "typed", 5);
		break;
	default:
		bring_up(f, in);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!ram)
		set_up();
	memset(guest_ram_at(ram, 0, RAM_SIZE), 0, 0x8000);
	struct input in = {data, len};
	struct function *f = &functions[take(&in, 1) % 2];
	for (unsigned i = 0; i < MAX_STEPS && in.len; i++)
		step(f, &in);
	virtio_device_reset(f->dev);
	virtio_pci_reset(f->vp);
	return 0;
}
