/*
 * Writes garbage wherever a guest can write, in a seeded random order, and expects the VMM to survive it: devices ask for a reset, and
 * work again after one.
 *
 * Options: seed= (1), rounds= (20), ops= (300, accesses a round in the first four modes), mode=all|config|registers|ports|mmio|rings (all),
 * deadly (also what may reset or power off the machine, which then is a good end, too), verbose (names each scenario before it runs).
 */
#include "lib/acpi.h"
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/cmdline.h"
#include "lib/guest.h"
#include "lib/io.h"
#include "lib/memmap.h"
#include "lib/print.h"
#include "lib/prng.h"
#include "lib/virtio.h"

enum { MOST_DEVICES = 32, SANDBOX_PAGES = 64, SETTLE_US = 300 };

static struct prng prng;
static uint8_t *sandbox; /* the only RAM that devices are let loose on */
static uint64_t ram_end; /* of RAM under 4 GiB */
static unsigned ops, power_port, smi_port;
static bool is_deadly, is_verbose;

static struct saved {
	struct pci_device pci;
	uint32_t config[64];
	struct pci_bar bars[6];
} devices[MOST_DEVICES];
static unsigned nr_devices;

static struct {
	uint64_t scenarios, needs_reset, resets, recovered;
} count;

static uint64_t below(uint64_t bound)
{
	return prng_below(&prng, bound);
}

static uint32_t pick_size(void)
{
	return 1u << below(3);
}

/* Values that break things: extremes, single bits, and anything. */
static uint64_t garbage(void)
{
	switch (below(6)) {
	case 0:
		return 0;
	case 1:
		return ~0ull;
	case 2:
		return 1ull << below(64);
	case 3:
		return (1ull << below(64)) - 1;
	case 4:
		return below(256);
	default:
		return prng_next(&prng);
	}
}

/* Guest-physical addresses that break things. What a device writes to inside RAM stays in the sandbox, or in the last page. */
static uint64_t garbage_address(void)
{
	uint64_t inside = (uint64_t)sandbox + below(SANDBOX_PAGES * PAGE_SIZE);

	switch (below(10)) {
	case 0:
		return ~below(4096);
	case 1:
		return ram_end - below(64);
	case 2:
		return ram_end + below(4096);
	case 3:
		return 0xc0000000 + below(0x3e000000);
	case 4:
		return 0xfec00000 + below(0x400000);
	case 5:
		return prng_next(&prng) | 1ull << 40;
	case 6:
		return inside & ~0xfffull;
	case 7:
		return inside & ~0xfull;
	case 8:
		return nr_devices ? devices[below(nr_devices)].bars[below(6)].address + below(4096) + (1ull << 41) * (below(2))
				  : ~0ull;
	default:
		return inside;
	}
}

static uint32_t garbage_length(void)
{
	switch (below(6)) {
	case 0:
		return 0;
	case 1:
		return ~(uint32_t)below(16);
	case 2:
		return 1u << below(32);
	case 3:
		return (uint32_t)below(64);
	default:
		return (uint32_t)below(SANDBOX_PAGES * PAGE_SIZE / 2);
	}
}

/* --- What firmware set up, kept and put back --- */

static void save_devices(void)
{
	struct saved *d;
	unsigned i;

	for (nr_devices = 0; nr_devices < MOST_DEVICES && pci_find(nr_devices, &devices[nr_devices].pci); nr_devices++) {
		d = &devices[nr_devices];
		for (i = 0; i < 6; i++)
			if (!(d->pci.class_code >> 16 == 6) && !pci_bar_open(&d->pci, i, &d->bars[i]))
				d->bars[i].size = 0;
		for (i = 0; i < 64; i++)
			d->config[i] = pci_read(&d->pci, i * 4, 4);
	}
}

static void restore_devices(void)
{
	unsigned n, i;

	for (n = 0; n < nr_devices; n++) {
		/* The command register, with decoding on, comes last. */
		for (i = 63; i >= 4; i--)
			pci_write(&devices[n].pci, i * 4, 4, devices[n].config[i]);
		pci_write(&devices[n].pci, 12, 4, devices[n].config[3]);
		pci_write(&devices[n].pci, PCI_COMMAND, 2, devices[n].config[1] & 0xffff);
	}
}

static void restore_ports(void)
{
	static const uint8_t words[2][4] = {{0x11, 0x20, 0x04, 0x01}, {0x11, 0x28, 0x02, 0x01}};
	unsigned i;

	for (i = 0; i < 2; i++) {
		io_out8((uint16_t)(i ? 0xa0 : 0x20), words[i][0]);
		io_out8((uint16_t)(i ? 0xa1 : 0x21), words[i][1]);
		io_out8((uint16_t)(i ? 0xa1 : 0x21), words[i][2]);
		io_out8((uint16_t)(i ? 0xa1 : 0x21), words[i][3]);
		io_out8((uint16_t)(i ? 0xa1 : 0x21), 0xff);
	}
	serial_open();
}

/* --- Accesses without sense --- */

static void attack_config(void)
{
	struct pci_device d = {.devfn = 0};
	unsigned i, size, offset;

	for (i = 0; i < ops; i++) {
		if (nr_devices && below(8))
			d = devices[below(nr_devices)].pci;
		else
			d.devfn = (uint8_t)below(256);
		/* The memory controller and power management of a real chipset can take RAM away: not a device's fault. */
		if (!is_deadly && d.vendor == 0x8086)
			continue;
		size = pick_size();
		offset = (unsigned)below(256) & ~(size - 1);
		if (below(3))
			pci_write(&d, offset, size, (uint32_t)garbage());
		else
			pci_read(&d, offset, size);
	}
}

static void access(uint64_t gpa)
{
	static uint64_t sink[2];

	switch (below(9)) {
	case 0:
		mmio_write8(gpa, (uint8_t)garbage());
		break;
	case 1:
		mmio_write16(gpa, (uint16_t)garbage());
		break;
	case 2:
		mmio_write32(gpa, (uint32_t)garbage());
		break;
	case 3:
		mmio_write64(gpa, garbage());
		break;
	case 4:
		mmio_read8(gpa);
		break;
	case 5:
		mmio_read16(gpa);
		break;
	case 6:
		mmio_read32(gpa);
		break;
	case 7:
		mmio_read64(gpa);
		break;
	default:
		__asm__ volatile("movups (%0), %%xmm0; movups %%xmm0, (%1)" : : "r"(gpa), "r"(sink) : "xmm0", "memory");
		break;
	}
}

static void attack_registers(void)
{
	const struct saved *d;
	const struct pci_bar *bar;
	uint64_t offset;
	unsigned i;

	for (i = 0; nr_devices && i < ops; i++) {
		d = &devices[below(nr_devices)];
		bar = &d->bars[below(6)];
		if (!bar->size || bar->is_port)
			continue;
		/* Most registers lie at the beginning of a page; accesses also hang over the end, and are seldom aligned. */
		offset = below(bar->size);
		if (below(3))
			offset = (offset & ~0xfffull) + below(96);
		if (below(2))
			offset &= ~7ull;
		if (offset > bar->size - 16)
			offset = bar->size - 16 + below(9);
		access(bar->address + offset);
	}
}

static bool is_port_deadly(unsigned port, unsigned size, bool is_write)
{
	unsigned end = port + size;

	if (!is_write)
		return false;
	if (port <= 0xcf9 && end > 0xcf9 && !(port == 0xcf8 && size == 4))
		return true;
	if ((port <= 0x64 && end > 0x64) || (port <= 0x92 && end > 0x92))
		return true;
	if (power_port && port < power_port + 4 && end > power_port)
		return true;
	return smi_port && port < smi_port + 2 && end > smi_port;
}

static void attack_ports(void)
{
	static const uint16_t known[] = {0x20,  0x40,  0x43,  0x60,  0x61,  0x64,  0x70,  0x71,  0x80,  0x92,  0xa0,  0x1f0, 0x2f8,
					 0x3f8, 0x3f9, 0x3fa, 0x3fc, 0x4d0, 0x510, 0x600, 0x604, 0x608, 0xcf8, 0xcfc, 0xc000};
	uint64_t len;
	void *at;
	unsigned i, port, size;
	uint32_t value;
	bool is_write;

	for (i = 0; i < ops; i++) {
		port = below(2) ? known[below(sizeof(known) / sizeof(*known))] + (unsigned)below(4) : (unsigned)below(0x10000);
		size = pick_size();
		is_write = below(2);
		value = (uint32_t)garbage();
		if (port + size > 0x10000 || (!is_deadly && is_port_deadly(port, size, is_write)))
			continue;
		if (!below(8)) {
			/* Strings: many items in one instruction. */
			at = sandbox;
			len = 1 + below(32);
			if (is_write)
				__asm__ volatile("rep outsb" : "+S"(at), "+c"(len) : "d"(port) : "memory");
			else
				__asm__ volatile("rep insb" : "+D"(at), "+c"(len) : "d"(port) : "memory");
		} else if (is_write) {
			if (size == 1)
				io_out8((uint16_t)port, (uint8_t)value);
			else if (size == 2)
				io_out16((uint16_t)port, (uint16_t)value);
			else
				io_out32((uint16_t)port, value);
		} else if (size == 1) {
			io_in8((uint16_t)port);
		} else if (size == 2) {
			io_in16((uint16_t)port);
		} else {
			io_in32((uint16_t)port);
		}
	}
}

static void attack_mmio(void)
{
	uint64_t gpa;
	unsigned i;

	for (i = 0; i < ops; i++) {
		gpa = below(4) ? ram_end + below(0xfec00000 - ram_end) : 0xfec00000 + below(0x1400000 - 16);
		/* The local APIC could send INIT to ourselves, and KVM's own pages are none of ours. */
		if (!is_deadly && gpa >= 0xfedfff00 && gpa < 0xff000000)
			continue;
		access(gpa);
	}
}

/* --- Queues without sense --- */

struct rig {
	struct virtio_device dev;
	struct virtq q;
	unsigned queue;
};

static void doorbell(struct rig *r)
{
	r->q.kicked_index = r->q.avail_index;
	mmio_write16(r->q.doorbell, (uint16_t)r->q.index);
}

static void offer(struct rig *r, unsigned head)
{
	r->q.avail[2 + r->q.avail_index % r->q.size] = (uint16_t)head;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	r->q.avail[1] = ++r->q.avail_index;
}

static void describe(struct rig *r, unsigned i, uint64_t address, uint32_t length, unsigned flags, unsigned next)
{
	r->q.desc[i].address = address;
	r->q.desc[i].length = length;
	r->q.desc[i].flags = (uint16_t)flags;
	r->q.desc[i].next = (uint16_t)next;
}

/* The readable head of a request that the device would like; returns its flags for the chain to go on. */
static void describe_header(struct rig *r, unsigned i)
{
	uint32_t *header = (uint32_t *)sandbox;

	memset(header, 0, 64);
	if (r->dev.type == VIRTIO_BLK) {
		header[0] = (uint32_t)(below(4) ? below(15) : garbage());
		*(uint64_t *)(header + 2) = below(2) ? below(128) : garbage();
	} else {
		*(uint64_t *)header = garbage();
		*(uint64_t *)(header + 2) = garbage();
	}
	describe(r, i, (uint64_t)header, r->dev.type == VIRTIO_NET ? 12 : 16, VIRTQ_NEXT, i + 1);
}

static void bad_address(struct rig *r)
{
	describe_header(r, 0);
	describe(r, 1, garbage_address(), garbage_length(), (below(2) ? VIRTQ_WRITE : 0) | VIRTQ_NEXT, 2);
	describe(r, 2, garbage_address(), garbage_length(), VIRTQ_WRITE, 0);
	offer(r, 0);
	describe(r, 4, garbage_address(), garbage_length(), below(2) ? VIRTQ_WRITE : 0, 0);
	offer(r, 4);
}

static void loop(struct rig *r)
{
	unsigned i, len = 1 + (unsigned)below(r->q.size - 1);

	for (i = 0; i < len; i++)
		describe(r, i, (uint64_t)sandbox, 16, VIRTQ_NEXT | (below(2) ? VIRTQ_WRITE : 0),
			 i + 1 < len ? i + 1 : (unsigned)below(len));
	offer(r, (unsigned)below(len));
}

static void zero_length(struct rig *r)
{
	describe_header(r, 0);
	describe(r, 1, (uint64_t)sandbox, 0, VIRTQ_NEXT, 2);
	describe(r, 2, (uint64_t)sandbox + 4096, 0, VIRTQ_WRITE, 0);
	offer(r, below(2) ? 0 : 2);
}

static void bad_indirect(struct rig *r)
{
	struct virtq_desc *table = (struct virtq_desc *)(sandbox + 4096 * (1 + below(4)));
	unsigned i;

	for (i = 0; i < 64; i++)
		table[i] = (struct virtq_desc){below(3) ? (uint64_t)sandbox + below(8192) : garbage_address(), garbage_length(),
					       (uint16_t)below(8), (uint16_t)below(96)};
	switch (below(5)) {
	case 0: /* a table inside a table */
		table[0] = (struct virtq_desc){(uint64_t)table, 64, VIRTQ_INDIRECT, 0};
		describe(r, 0, (uint64_t)table, 64, VIRTQ_INDIRECT, 0);
		break;
	case 1: /* a length that is no multiple */
		describe(r, 0, (uint64_t)table, 1 + (uint32_t)below(100), VIRTQ_INDIRECT, 0);
		break;
	case 2: /* a table that goes on */
		describe(r, 0, (uint64_t)table, 64, VIRTQ_INDIRECT | VIRTQ_NEXT | (below(2) ? VIRTQ_WRITE : 0), 1);
		describe(r, 1, (uint64_t)table, 64, VIRTQ_INDIRECT, 0);
		break;
	case 3: /* a table that is nowhere, or longer than memory */
		describe(r, 0, garbage_address(), garbage_length() & ~15u, VIRTQ_INDIRECT, 0);
		break;
	default: /* a loop in the table */
		table[0].flags = table[1].flags = VIRTQ_NEXT;
		table[0].next = 1;
		table[1].next = 0;
		describe(r, 0, (uint64_t)table, 16 * (1 + (uint32_t)below(64)), VIRTQ_INDIRECT, 0);
		break;
	}
	offer(r, 0);
}

static void bad_next(struct rig *r)
{
	describe_header(r, 0);
	r->q.desc[0].next = (uint16_t)(r->q.size + below(65536 - r->q.size));
	offer(r, 0);
}

static void bad_index(struct rig *r)
{
	unsigned i;

	for (i = 0; i < r->q.size; i++)
		r->q.avail[2 + i] = (uint16_t)garbage();
	r->q.avail[1] = (uint16_t)(below(2) ? garbage() : r->q.size + 1 + below(8));
	r->q.avail_index = r->q.avail[1];
}

static void bad_order(struct rig *r)
{
	describe(r, 0, (uint64_t)sandbox, 16, VIRTQ_WRITE | VIRTQ_NEXT, 1);
	describe(r, 1, (uint64_t)sandbox + 64, 512, (below(2) ? VIRTQ_WRITE : 0) | VIRTQ_NEXT, 2);
	describe(r, 2, (uint64_t)sandbox + 1024, 1, 0, 0);
	offer(r, 0);
	/* Nothing but a header; nothing but a status; a header in pieces. */
	describe(r, 4, (uint64_t)sandbox, 16, 0, 0);
	offer(r, 4);
	describe(r, 5, (uint64_t)sandbox, 1, VIRTQ_WRITE, 0);
	offer(r, 5);
	describe(r, 6, (uint64_t)sandbox, (uint32_t)below(16), VIRTQ_NEXT, 7);
	describe(r, 7, (uint64_t)sandbox, 1, VIRTQ_WRITE, 0);
	offer(r, 6);
}

static void all_random(struct rig *r)
{
	unsigned i;

	for (i = 0; i < r->q.size; i++) {
		describe(r, i, garbage_address(), garbage_length(), (unsigned)below(8), (unsigned)below(r->q.size + 2));
		r->q.avail[2 + i] = (uint16_t)below(r->q.size + 2);
	}
	r->q.avail_index = (uint16_t)(r->q.avail_index + below(r->q.size));
	r->q.avail[1] = r->q.avail_index;
}

/* Descriptors change while the device reads them. */
static void moving(struct rig *r)
{
	uint64_t end = clock_now_ns() + 300000;
	unsigned i;

	for (i = 0; i + 3 < r->q.size && i < 48; i += 3) {
		describe_header(r, i);
		describe(r, i + 1, (uint64_t)sandbox + 4096, 4096, VIRTQ_NEXT | (below(2) ? VIRTQ_WRITE : 0), i + 2);
		describe(r, i + 2, (uint64_t)sandbox + 512, 1, VIRTQ_WRITE, 0);
		offer(r, i);
	}
	doorbell(r);
	while (clock_now_ns() < end) {
		i = (unsigned)below(48) % r->q.size;
		describe(r, i, garbage_address(), garbage_length(), (unsigned)below(8), (unsigned)below(r->q.size + 1));
		*(volatile uint32_t *)sandbox = (uint32_t)below(15);
	}
}

static void storm(struct rig *r)
{
	unsigned i;

	for (i = 0; i < 20; i++)
		mmio_write16(r->dev.notify + (below(r->dev.notify_size) & ~1ull), (uint16_t)garbage());
	bad_address(r);
}

static const struct {
	const char *name;
	void (*prepare)(struct rig *r);
} scenarios[] = {
	{"bad address", bad_address}, {"loop", loop},
	{"zero length", zero_length}, {"bad indirect", bad_indirect},
	{"bad next", bad_next},       {"bad index", bad_index},
	{"bad order", bad_order},     {"all random", all_random},
	{"moving", moving},           {"doorbell storm", storm},
};

static void write_queue_address(struct rig *r, unsigned offset, uint64_t address)
{
	mmio_write32(r->dev.common + offset, (uint32_t)address);
	mmio_write32(r->dev.common + offset + 4, (uint32_t)(address >> 32));
}

/* Queues whose set-up is wrong already. */
static void attack_setup(struct rig *r)
{
	uint64_t offered;
	unsigned i, kind = (unsigned)below(5);

	if (is_verbose)
		print("hostile: device %u set-up %u\n", (unsigned)r->dev.pci.devfn, kind);
	if (!virtio_reset(&r->dev))
		guest_fail("device %u does not reset", (unsigned)r->dev.pci.devfn);
	if (kind == 0) {
		/* Features that nobody offered must not be accepted. */
		mmio_write8(r->dev.common + VIRTIO_C_STATUS, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
		offered = virtio_offered(&r->dev);
		for (i = 0; i < 4; i++) {
			mmio_write32(r->dev.common + VIRTIO_C_DRIVER_FEATURE_SELECT, i);
			mmio_write32(r->dev.common + VIRTIO_C_DRIVER_FEATURE, i == 1 ? ~(uint32_t)(offered >> 32) | 1 : ~0u);
		}
		mmio_write8(r->dev.common + VIRTIO_C_STATUS, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
		if (virtio_status(&r->dev) & VIRTIO_FEATURES_OK)
			guest_fail("device %u accepts features that it does not offer", (unsigned)r->dev.pci.devfn);
	} else {
		virtio_negotiate(&r->dev, ~VIRTIO_F_PACKED & (below(2) ? ~0ull : VIRTIO_F_INDIRECT) & ~(1ull << 33));
	}
	for (i = 0; kind && i < virtio_nr_queues(&r->dev); i++) {
		mmio_write16(r->dev.common + VIRTIO_C_QUEUE_SELECT, (uint16_t)(kind == 2 ? garbage() : i));
		if (kind != 1)
			mmio_write16(r->dev.common + VIRTIO_C_QUEUE_SIZE, (uint16_t)garbage());
		write_queue_address(r, VIRTIO_C_QUEUE_DESC, garbage_address());
		write_queue_address(r, VIRTIO_C_QUEUE_DRIVER, garbage_address());
		/* The last one in the local APIC, on our own BAR, or anywhere. */
		write_queue_address(r, VIRTIO_C_QUEUE_DEVICE,
				    kind == 3   ? 0xfee00300
				    : kind == 4 ? r->dev.common
						: garbage_address());
		mmio_write16(r->dev.common + VIRTIO_C_QUEUE_ENABLE, (uint16_t)(below(4) ? 1 : garbage()));
	}
	mmio_write8(r->dev.common + VIRTIO_C_STATUS, (uint8_t)(below(2) ? 0xf : garbage() | 4));
	for (i = 0; i < 8; i++)
		mmio_write16(r->dev.notify + (uint64_t)i * r->dev.notify_multiplier, (uint16_t)i);
	clock_delay_us(SETTLE_US);
	count.needs_reset += !!(virtio_status(&r->dev) & VIRTIO_NEEDS_RESET);
}

static void attack_queue(struct rig *r)
{
	unsigned i, which = (unsigned)below(sizeof(scenarios) / sizeof(*scenarios));

	virtio_negotiate(&r->dev, (below(2) ? VIRTIO_F_INDIRECT : 0) | (below(2) ? VIRTIO_F_EVENT_IDX : 0));
	r->queue = (unsigned)below(virtio_nr_queues(&r->dev));
	if (!virtq_open(&r->q, &r->dev, r->queue, 16u << below(4)))
		return;
	virtio_driver_ok(&r->dev);
	if (is_verbose)
		print("hostile: device %u queue %u %s\n", (unsigned)r->dev.pci.devfn, r->queue, scenarios[which].name);
	for (i = 1 + (unsigned)below(3); i; i--) {
		scenarios[which].prepare(r);
		doorbell(r);
	}
	clock_delay_us(SETTLE_US);
	count.needs_reset += !!(virtio_status(&r->dev) & VIRTIO_NEEDS_RESET);
}

/* After a reset the device must work as if nothing had been. */
static void recover(struct virtio_device *dev)
{
	static struct virtq q;
	uint64_t *request = (uint64_t *)sandbox;
	struct virtq_buffer pieces[3] = {{sandbox, 16}, {sandbox + 4096, 512}, {sandbox + 64, 1}};

	virtio_negotiate(dev, VIRTIO_F_INDIRECT);
	count.resets++;
	if (dev->type == VIRTIO_BLK) {
		if (!virtq_open(&q, dev, 0, 16))
			guest_fail("the disk lost its queue");
		virtio_driver_ok(dev);
		request[0] = request[1] = 0;
		/* Sector 0, of a block of 512 or 4096 bytes: either answer will do. */
		virtq_add(&q, pieces, 1, 2, false, sandbox);
	} else if (dev->type == VIRTIO_RNG) {
		if (!virtq_open(&q, dev, 0, 16))
			guest_fail("the entropy source lost its queue");
		virtio_driver_ok(dev);
		virtq_add(&q, pieces + 1, 0, 1, false, sandbox);
	} else {
		return;
	}
	virtq_kick(&q);
	if (!virtq_wait(&q, NULL, 5000000))
		guest_fail("device %u of type %d does not work after a reset, status 0x%x", (unsigned)dev->pci.devfn,
			   (int)dev->type, virtio_status(dev));
	virtio_reset(dev);
	count.recovered++;
}

static void attack_rings(void)
{
	static struct rig r;
	unsigned n;

	for (n = 0; virtio_find_any(n, &r.dev); n++) {
		count.scenarios++;
		memmap_mark();
		if (below(3))
			attack_queue(&r);
		else
			attack_setup(&r);
		recover(&r.dev);
		virtio_reset(&r.dev);
		memmap_release();
	}
}

static bool wants(const char *mode)
{
	char text[16];

	cmdline_text("mode", "all", text, sizeof(text));
	return !strcmp(text, "all") || !strcmp(text, mode);
}

int guest_main(void)
{
	static const struct {
		const char *name;
		void (*attack)(void);
	} modes[] = {
		{"config", attack_config}, {"registers", attack_registers}, {"ports", attack_ports},
		{"mmio", attack_mmio},     {"rings", attack_rings},
	};
	const struct acpi_header *fadt = acpi_table("FACP", 0);
	uint64_t round, rounds = cmdline_number("rounds", 20), seed = cmdline_number("seed", 1);
	struct memmap_range range;
	unsigned i;

	prng.state = prng_mix(seed);
	ops = (unsigned)cmdline_number("ops", 300);
	is_deadly = cmdline_has("deadly");
	is_verbose = cmdline_has("verbose");
	if (fadt && fadt->length >= 68) {
		power_port = *(const uint16_t *)((const uint8_t *)fadt + 64);
		smi_port = *(const uint16_t *)((const uint8_t *)fadt + 48);
	}
	for (i = 0; memmap_range(i, &range); i++)
		if (range.type == MEMMAP_RAM && range.gpa + range.size <= 1ull << 32)
			ram_end = range.gpa + range.size;
	sandbox = memmap_take(SANDBOX_PAGES, 1);
	save_devices();
	print("hostile: seed %lu, %lu rounds, %u PCI functions, RAM ends at 0x%lx\n", seed, rounds, nr_devices, ram_end);
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
			if (!wants(modes[i].name))
				continue;
			if (is_verbose)
				print("hostile: round %lu %s\n", round, modes[i].name);
			modes[i].attack();
			restore_ports();
			restore_devices();
		}
	}
	print("hostile: %lu queue scenarios, device asked for a reset in %lu, %lu resets, %lu requests answered after one\n",
	      count.scenarios, count.needs_reset, count.resets, count.recovered);
	return 0;
}
