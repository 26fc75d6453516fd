/*
 * All vCPUs attack the same virtio devices at once: status, queues, features, vectors, doorbells, BARs, MSI-X tables and the access window
 * change under each other's hands, and rings while devices read them. Ends well when all have done their work: the VMM must outlive it.
 *
 * Options: seed= (1), ops= (20000, for each vCPU).
 */
#include "lib/clock.h"
#include "lib/cmdline.h"
#include "lib/guest.h"
#include "lib/io.h"
#include "lib/lock.h"
#include "lib/memmap.h"
#include "lib/print.h"
#include "lib/prng.h"
#include "lib/smp.h"
#include "lib/virtio.h"

enum {
	MOST_DEVICES = 16,
	SANDBOX_PAGES = 16,
	BAR_DISTANCE = 1 << 24, /* behind all devices */
	MSIX_CONTROL = 2,
	WINDOW_BAR = 4,
	WINDOW_OFFSET = 8,
	WINDOW_LENGTH = 12,
	WINDOW_DATA = 16
};

static struct target {
	struct virtio_device dev;
	struct pci_bar registers, table;
	unsigned msix, window; /* capabilities */
	uint8_t *sandbox;      /* the only RAM that it is let loose on: one for each, as devices share none */
} targets[MOST_DEVICES];
static unsigned nr_targets;
static uint64_t ops, seed, done;
static struct lock config_ports; /* two ports make one access */

static uint32_t config_read(const struct target *t, unsigned offset, unsigned size)
{
	lock_take(&config_ports);
	uint32_t value = pci_read(&t->dev.pci, offset, size);
	lock_drop(&config_ports);
	return value;
}

static void config_write(const struct target *t, unsigned offset, unsigned size, uint32_t value)
{
	lock_take(&config_ports);
	pci_write(&t->dev.pci, offset, size, value);
	lock_drop(&config_ports);
}

static uint64_t somewhere(const struct target *t, struct prng *r)
{
	return (uint64_t)t->sandbox + prng_below(r, SANDBOX_PAGES) * PAGE_SIZE + (prng_below(r, 4) ? 0 : prng_below(r, 64) * 16);
}

static void change_status(const struct target *t, struct prng *r)
{
	static const uint8_t values[] = {0, 0, 1, 3, 11, 15, 15, 15, 128};

	mmio_write8(t->dev.common + VIRTIO_C_STATUS, values[prng_below(r, sizeof(values))]);
}

static void change_queue(const struct target *t, struct prng *r)
{
	static const unsigned addresses[] = {VIRTIO_C_QUEUE_DESC, VIRTIO_C_QUEUE_DRIVER, VIRTIO_C_QUEUE_DEVICE};
	unsigned i;

	mmio_write16(t->dev.common + VIRTIO_C_QUEUE_SELECT, (uint16_t)prng_below(r, 4));
	mmio_write16(t->dev.common + VIRTIO_C_QUEUE_SIZE, (uint16_t)(1u << prng_below(r, 8)));
	mmio_write16(t->dev.common + VIRTIO_C_QUEUE_VECTOR, (uint16_t)prng_below(r, 4));
	for (i = 0; i < 3; i++)
		mmio_write64(t->dev.common + addresses[i], somewhere(t, r) & ~0xfull);
	mmio_write16(t->dev.common + VIRTIO_C_QUEUE_ENABLE, 1);
}

static void change_features(const struct target *t, struct prng *r)
{
	uint32_t half = (uint32_t)prng_below(r, 2);

	mmio_write32(t->dev.common + VIRTIO_C_DEVICE_FEATURE_SELECT, half);
	uint32_t offered = mmio_read32(t->dev.common + VIRTIO_C_DEVICE_FEATURE);
	mmio_write32(t->dev.common + VIRTIO_C_DRIVER_FEATURE_SELECT, half);
	mmio_write32(t->dev.common + VIRTIO_C_DRIVER_FEATURE, prng_below(r, 4) ? offered : (uint32_t)prng_next(r));
}

/* Negotiates and starts as a driver would, but for the others. */
static void start_device(const struct target *t, struct prng *r)
{
	unsigned half;

	mmio_write8(t->dev.common + VIRTIO_C_STATUS, 0);
	mmio_write8(t->dev.common + VIRTIO_C_STATUS, 3);
	for (half = 0; half < 2; half++) {
		mmio_write32(t->dev.common + VIRTIO_C_DRIVER_FEATURE_SELECT, half);
		mmio_write32(t->dev.common + VIRTIO_C_DRIVER_FEATURE, half ? 1 : (uint32_t)prng_below(r, 2) << 29);
	}
	mmio_write8(t->dev.common + VIRTIO_C_STATUS, 11);
	change_queue(t, r);
	change_queue(t, r);
	mmio_write8(t->dev.common + VIRTIO_C_STATUS, 15);
}

static void ring_doorbells(const struct target *t, struct prng *r)
{
	unsigned i;

	for (i = 0; i < 8; i++)
		mmio_write16(t->dev.notify + prng_below(r, 8) * 4, (uint16_t)i);
}

/* Descriptors of the sandbox, and an avail index not far ahead, so that some chains are served. */
static void change_ring(const struct target *t, struct prng *r)
{
	volatile uint64_t *words = (volatile uint64_t *)(uintptr_t)(somewhere(t, r) & ~0xfffull);
	unsigned i;

	for (i = 0; i < 16; i++) {
		words[2 * i] = somewhere(t, r);
		words[2 * i + 1] = prng_below(r, 1024) | prng_below(r, 8) << 32 | prng_below(r, 16) << 48;
	}
	if (prng_below(r, 2))
		*(volatile uint32_t *)words = (uint32_t)prng_below(r, 32) << 16;
}

/* Messages go to an APIC that is not there. */
static void change_vectors(const struct target *t, struct prng *r)
{
	uint64_t entry = t->table.address + prng_below(r, 5) * 16;

	mmio_write32(entry, 0xfeefe000);
	mmio_write32(entry + 8, 0x40);
	mmio_write32(entry + 12, (uint32_t)prng_below(r, 2));
	mmio_read64(t->table.address + 0x800);
	config_write(t, t->msix + MSIX_CONTROL, 2, prng_below(r, 4) ? 0x8000 : 0xc000);
}

/* Away and back: doorbells move while others ring them. */
static void move_bars(const struct target *t, struct prng *r)
{
	config_write(t, PCI_BAR, 4, (uint32_t)t->registers.address + BAR_DISTANCE);
	config_write(t, PCI_COMMAND, 2, (uint32_t)prng_below(r, 2) * PCI_COMMAND_MEMORY);
	config_write(t, PCI_BAR, 4, (uint32_t)t->registers.address);
	config_write(t, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void use_window(const struct target *t, struct prng *r)
{
	if (!t->window)
		return;
	config_write(t, t->window + WINDOW_BAR, 1, (uint32_t)prng_below(r, 2));
	config_write(t, t->window + WINDOW_OFFSET, 4, (uint32_t)prng_below(r, 64));
	config_write(t, t->window + WINDOW_LENGTH, 4, 1u << prng_below(r, 4));
	if (prng_below(r, 2))
		config_write(t, t->window + WINDOW_DATA, 4, prng_below(r, 2) ? 0 : 15);
	else
		config_read(t, t->window + WINDOW_DATA, 4);
}

static void attack(unsigned cpu)
{
	struct prng r = {prng_mix(seed * 64 + cpu)};
	uint64_t i;

	for (i = 0; i < ops; i++) {
		const struct target *t = &targets[prng_below(&r, nr_targets)];
		switch (prng_below(&r, 16)) {
		case 0:
			change_status(t, &r);
			break;
		case 1:
			change_queue(t, &r);
			break;
		case 2:
			change_features(t, &r);
			break;
		case 3:
		case 4:
			start_device(t, &r);
			break;
		case 5:
			change_vectors(t, &r);
			break;
		case 6:
			move_bars(t, &r);
			break;
		case 7:
			use_window(t, &r);
			break;
		case 8:
			mmio_write32(t->dev.config ? t->dev.config + prng_below(&r, 16) * 4 : t->dev.isr, (uint32_t)prng_next(&r));
			break;
		case 9:
		case 10:
		case 11:
			ring_doorbells(t, &r);
			break;
		default:
			change_ring(t, &r);
			break;
		}
		__atomic_fetch_add(&done, 1, __ATOMIC_RELAXED);
	}
}

static void find_targets(void)
{
	unsigned at;

	while (nr_targets < MOST_DEVICES && virtio_find_any(nr_targets, &targets[nr_targets].dev)) {
		struct target *t = &targets[nr_targets++];
		if (!pci_bar_open(&t->dev.pci, 0, &t->registers) || !pci_bar_open(&t->dev.pci, 1, &t->table))
			guest_fail("device %u is not of this machine", (unsigned)t->dev.pci.devfn);
		t->sandbox = memmap_take(SANDBOX_PAGES, 1);
		t->msix = pci_capability(&t->dev.pci, PCI_CAP_MSIX, 0);
		for (at = 0; (at = pci_capability(&t->dev.pci, PCI_CAP_VENDOR, at));)
			if (pci_read(&t->dev.pci, at + 3, 1) == 5)
				t->window = at;
	}
}

int guest_main(void)
{
	seed = cmdline_number("seed", 1);
	ops = cmdline_number("ops", 20000);
	find_targets();
	if (!nr_targets)
		guest_fail("there is nothing to attack");
	print("brawl: seed %lu, %u vCPUs against %u devices\n", seed, smp_cpus(), nr_targets);
	smp_run(attack);
	print("brawl: %lu attacks\n", done);
	return 0;
}
