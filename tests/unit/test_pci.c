/* The PCI bus as a guest sees it: configuration space by ports and by ECAM, BARs that move, reset, saved state. */
#include <check.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"
#include "vmm/layout.h"
#include "vmm/pci.h"

#define NR_CARDS 4
#define WINDOW_END (LAYOUT_PCI_WINDOW + LAYOUT_PCI_WINDOW_SIZE)

/* A function with BAR 0 of 16 KiB and BAR 2 of 4 KiB, which answers reads with its number and the BAR's. */
struct card {
	struct pci_function pci; /* first */
	uint8_t number;
	uint64_t mapped_at[PCI_NR_BARS]; /* as bar_mapped said; 0: nowhere */
	uint64_t offset;
	atomic_uint nr_accesses;
	unsigned nr_config_writes;
};

static void card_bar_read(struct pci_function *f, unsigned bar, uint64_t offset, void *data, unsigned size)
{
	struct card *card = (struct card *)f;
	if (offset + size > f->bars[bar].size)
		abort();
	memset(data, card->number * 16 + (int)bar, size);
	card->nr_accesses++;
}

static void card_bar_write(struct pci_function *f, unsigned bar, uint64_t offset, const void *data, unsigned size)
{
	struct card *card = (struct card *)f;
	(void)data;
	if (offset + size > f->bars[bar].size)
		abort();
	card->nr_accesses++;
}

static void card_bar_mapped(struct pci_function *f, unsigned bar, uint64_t address, bool mapped)
{
	struct card *card = (struct card *)f;
	/* Told in turns, and told the truth. */
	if (mapped ? card->mapped_at[bar] != 0 : card->mapped_at[bar] != address)
		abort();
	card->mapped_at[bar] = mapped ? address : 0;
}

static void card_config_written(struct pci_function *f, unsigned offset, unsigned size)
{
	(void)offset;
	(void)size;
	((struct card *)f)->nr_config_writes++;
}

static const struct pci_function_ops card_ops = {
	.bar_read = card_bar_read,
	.bar_write = card_bar_write,
	.bar_mapped = card_bar_mapped,
	.config_written = card_config_written,
};

static struct bus ports, memory;
static struct pci pci;
static struct card cards[NR_CARDS];
static struct error err;

static void plug(struct card *card, int slot, int function)
{
	static const uint8_t first[] = {1, 2, 3, 4, 5}, second[] = {9};
	card->number = (uint8_t)(card - cards + 1);
	pci_function_init(&card->pci, &card_ops, 0x1234, 0x5670 + card->number, 0x010203, 7, 0x4321);
	pci_function_add_bar(&card->pci, 0, 0x4000);
	pci_function_add_bar(&card->pci, 2, 0x1000);
	unsigned at = pci_function_add_capability(&card->pci, 9, first, sizeof(first));
	pci_function_make_writable(&card->pci, at + 4, 2);
	pci_function_add_capability(&card->pci, 0x11, second, sizeof(second));
	ck_assert_msg(pci_add(&pci, &card->pci, slot, function, &err) == 0, "%s", err.text);
}

static void build(void)
{
	memset(&err, 0, sizeof(err));
	memset(cards, 0, sizeof(cards));
	bus_init(&ports);
	bus_init(&memory);
	ck_assert_int_eq(pci_init(&pci, &ports, &memory, &err), 0);
}

static void set_up(void)
{
	build();
	plug(&cards[0], -1, 0); /* slot 1 */
	plug(&cards[1], 5, 0);
	plug(&cards[2], 5, 3);
	plug(&cards[3], -1, 0); /* slot 2 */
}

static void tear_down(void)
{
	pci_fini(&pci);
	bus_fini(&memory);
	bus_fini(&ports);
}

static void select_register(unsigned devfn, unsigned reg)
{
	uint32_t address = 0x80000000u | devfn << 8 | (reg & ~3u);
	bus_write(&ports, 0xcf8, &address, 4);
}

static uint32_t port_read(unsigned devfn, unsigned reg, unsigned size)
{
	uint32_t value = 0;
	select_register(devfn, reg);
	bus_read(&ports, 0xcfc + reg % 4, &value, size);
	return value;
}

static void port_write(unsigned devfn, unsigned reg, uint32_t value, unsigned size)
{
	select_register(devfn, reg);
	bus_write(&ports, 0xcfc + reg % 4, &value, size);
}

static uint64_t ecam_read(unsigned devfn, unsigned reg, unsigned size)
{
	uint64_t value = 0;
	bus_read(&memory, LAYOUT_ECAM + (devfn << 12) + reg, &value, size);
	return value;
}

static void ecam_write(unsigned devfn, unsigned reg, uint64_t value, unsigned size)
{
	bus_write(&memory, LAYOUT_ECAM + (devfn << 12) + reg, &value, size);
}

static void set_bar(struct card *card, unsigned bar, uint64_t address)
{
	port_write(card->pci.devfn, PCI_BASE_ADDRESS_0 + 4 * bar, (uint32_t)address, 4);
}

static uint8_t read_memory(uint64_t address)
{
	uint8_t value = 0;
	bus_read(&memory, address, &value, 1);
	return value;
}

/* Whether exactly that BAR answers there, and knows. */
static bool answers(struct card *card, unsigned bar, uint64_t address)
{
	return read_memory(address) == card->number * 16 + bar && card->mapped_at[bar] == address &&
	       read_memory(address + card->pci.bars[bar].size - 1) == card->number * 16 + bar;
}

START_TEST(devices_are_found_where_they_were_put)
{
	unsigned found = 0;
	for (unsigned devfn = 0; devfn < 256; devfn++) {
		uint32_t id = port_read(devfn, 0, 4);
		ck_assert_uint_eq(id, ecam_read(devfn, 0, 4));
		if (id != 0xffffffff)
			found++;
	}
	ck_assert_uint_eq(found, 1 + NR_CARDS);
	ck_assert_uint_eq(port_read(0, PCI_CLASS_DEVICE, 2), 0x0600);
	ck_assert_uint_eq(port_read(1 * 8, 0, 4), 0x56711234);
	ck_assert_uint_eq(port_read(5 * 8 + 3, 0, 4), 0x56731234);
	ck_assert_uint_eq(port_read(2 * 8, PCI_CLASS_REVISION, 4), 0x01020307);
	ck_assert_uint_eq(port_read(2 * 8, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x43211234);
	/* Only function 0 of a slot with several says so. */
	ck_assert_uint_eq(port_read(1 * 8, PCI_HEADER_TYPE, 1), 0);
	ck_assert_uint_eq(port_read(5 * 8, PCI_HEADER_TYPE, 1), 0x80);
}
END_TEST

START_TEST(places_that_cannot_be_are_refused)
{
	static struct card more[33];
	struct pci_function *f = &more[0].pci;
	pci_function_init(f, &card_ops, 1, 1, 0, 0, 0);
	ck_assert_int_eq(pci_add(&pci, f, 5, 0, &err), -EBUSY);
	ck_assert_msg(strstr(err.text, "5.0 is taken") != NULL, "%s", err.text);
	ck_assert_int_eq(pci_add(&pci, f, 0, 0, &err), -EBUSY);
	ck_assert_int_eq(pci_add(&pci, f, 7, 1, &err), -EINVAL);
	ck_assert_int_eq(pci_add(&pci, f, 32, 0, &err), -EINVAL);
	ck_assert_int_eq(pci_add(&pci, f, 3, 8, &err), -EINVAL);
	ck_assert_int_eq(pci_add(&pci, f, 3, -1, &err), -EINVAL);
	for (unsigned i = 0; i < 28; i++) {
		pci_function_init(&more[i].pci, &card_ops, 1, 1, 0, 0, 0);
		ck_assert_int_eq(pci_add(&pci, &more[i].pci, -1, 0, &err), 0);
	}
	pci_function_init(&more[28].pci, &card_ops, 1, 1, 0, 0, 0);
	ck_assert_int_eq(pci_add(&pci, &more[28].pci, -1, 0, &err), -EBUSY);
	/* A window that is full. */
	pci_function_init(&more[29].pci, &card_ops, 1, 1, 0, 0, 0);
	pci_function_add_bar(&more[29].pci, 0, 0x20000000);
	ck_assert_int_eq(pci_add(&pci, &more[29].pci, 5, 5, &err), -ENOSPC);
}
END_TEST

START_TEST(ports_and_ecam_show_the_same_bytes)
{
	for (unsigned reg = 0; reg < 256; reg++) {
		for (unsigned size = 1; size <= 4; size *= 2) {
			if (reg % 4 + size > 4)
				continue;
			uint64_t value = ecam_read(8, reg, size);
			ck_assert_uint_eq(port_read(8, reg, size), value);
			for (unsigned i = 0; i < size; i++)
				ck_assert_uint_eq((value >> 8 * i) & 0xff, cards[0].pci.config[reg + i]);
		}
	}
	ck_assert_uint_eq(ecam_read(8, 0, 8) >> 32, port_read(8, 4, 4));
}
END_TEST

START_TEST(odd_accesses_reach_nothing)
{
	uint32_t value;
	/* Past the end of configuration space, and across it. */
	ck_assert_uint_eq(ecam_read(8, 256, 4), 0xffffffff);
	ck_assert_uint_eq(ecam_read(8, 254, 4), 0xffffffff);
	ck_assert_uint_eq(ecam_read(8, 4095, 1), 0xff);
	ecam_write(8, 254, 0, 4);
	ecam_write(8, 4092, 0, 8); /* into the next function */
	/* Across the data port's end. */
	select_register(8, 0);
	value = 0;
	bus_read(&ports, 0xcfe, &value, 4);
	ck_assert_uint_eq(value, 0xffffffff);
	/* Not enabled; another bus. */
	value = 8 << 8;
	bus_write(&ports, 0xcf8, &value, 4);
	bus_read(&ports, 0xcfc, &value, 4);
	ck_assert_uint_eq(value, 0xffffffff);
	value = 0x80010000;
	bus_write(&ports, 0xcf8, &value, 4);
	bus_read(&ports, 0xcfc, &value, 4);
	ck_assert_uint_eq(value, 0xffffffff);
	/* The address register is one of 32 bits only. */
	select_register(8, 0x10);
	value = 0;
	bus_write(&ports, 0xcf8, &value, 2);
	bus_write(&ports, 0xcf9, &value, 1);
	bus_write(&ports, 0xcfb, &value, 1);
	bus_read(&ports, 0xcf8, &value, 4);
	ck_assert_uint_eq(value, 0x80000810);
	bus_read(&ports, 0xcf9, &value, 1);
	ck_assert_uint_eq(value & 0xff, 0xff);
}
END_TEST

static unsigned nr_reset_reads, nr_reset_writes;

static void reset_read(struct bus_range *self, uint64_t offset, void *data, unsigned size)
{
	(void)self;
	ck_assert_uint_eq(offset, 0);
	memset(data, 0x42, size);
	nr_reset_reads++;
}

static void reset_write(struct bus_range *self, uint64_t offset, const void *data, unsigned size)
{
	(void)self;
	(void)data;
	ck_assert_uint_eq(offset, 0);
	ck_assert_uint_eq(size, 1);
	nr_reset_writes++;
}

START_TEST(the_reset_port_lies_inside_the_address_register)
{
	static const struct bus_ops ops = {.read = reset_read, .write = reset_write};
	static struct bus_range range = {.ops = &ops};
	uint32_t value = 0x80000800;
	pci.reset_port = &range;
	bus_write(&ports, 0xcf8, &value, 4);
	bus_write(&ports, 0xcf9, &value, 1);
	bus_write(&ports, 0xcf9, &value, 2);
	bus_write(&ports, 0xcf8, &value, 1);
	ck_assert_uint_eq(nr_reset_writes, 1);
	value = 0;
	bus_read(&ports, 0xcf9, &value, 1);
	ck_assert_uint_eq(value, 0x42);
	ck_assert_uint_eq(nr_reset_reads, 1);
	bus_read(&ports, 0xcf8, &value, 4);
	ck_assert_uint_eq(value, 0x80000800);
}
END_TEST

START_TEST(read_only_bits_stay_whatever_is_written)
{
	uint8_t before[256], writable[256];
	struct pci_function *f = &cards[0].pci;
	memcpy(before, f->config, 256);
	memcpy(writable, f->writable, 256);
	for (unsigned value = 0; value < 256; value += 51) {
		for (unsigned reg = 0; reg < 256; reg++) {
			ecam_write(8, reg, value, 1);
			ck_assert_uint_eq(ecam_read(8, reg, 1), (before[reg] & ~writable[reg]) | (value & writable[reg]));
		}
	}
	for (unsigned reg = 0; reg < 256; reg += 8)
		ecam_write(8, reg, UINT64_MAX, 8);
	for (unsigned reg = 0; reg < 256; reg++)
		ck_assert_uint_eq(f->config[reg] & ~writable[reg], before[reg] & ~writable[reg]);
	/* Of the command register: memory, master, no INTx. */
	ck_assert_uint_eq(writable[PCI_COMMAND] | writable[PCI_COMMAND + 1] << 8, 0x0406);
	ck_assert_uint_eq(writable[PCI_STATUS] | writable[PCI_STATUS + 1], 0);
}
END_TEST

START_TEST(capabilities_form_a_list)
{
	unsigned at = port_read(8, PCI_CAPABILITY_LIST, 1), nr = 0;
	static const uint8_t ids[] = {9, 0x11};
	ck_assert_uint_ne(port_read(8, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
	ck_assert_uint_eq(port_read(0, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
	while (at) {
		ck_assert_uint_lt(nr, 2);
		ck_assert_uint_ge(at, 0x40);
		ck_assert_uint_eq(at % 4, 0);
		ck_assert_uint_eq(port_read(8, at, 1), ids[nr++]);
		at = port_read(8, at + 1, 1);
	}
	ck_assert_uint_eq(nr, 2);
	/* What has no room is refused, and harms nothing. */
	struct pci_function f;
	uint8_t data[256] = {0};
	pci_function_init(&f, &card_ops, 1, 1, 0, 0, 0);
	ck_assert_uint_eq(pci_function_add_capability(&f, 1, data, 256 - 0x40 - 1), 0);
	ck_assert_uint_eq(f.config[PCI_CAPABILITY_LIST], 0);
	ck_assert_uint_eq(pci_function_add_capability(&f, 1, data, 256 - 0x40 - 2), 0x40);
	ck_assert_uint_eq(pci_function_add_capability(&f, 1, data, 0), 0);
	ck_assert_uint_eq(f.config[0x41], 0);
}
END_TEST

START_TEST(bars_tell_their_size)
{
	for (unsigned bar = 0; bar < PCI_NR_BARS; bar++) {
		unsigned reg = PCI_BASE_ADDRESS_0 + 4 * bar;
		uint32_t old = port_read(8, reg, 4);
		uint32_t size = bar == 0 ? 0x4000 : bar == 2 ? 0x1000 : 0;
		ck_assert_uint_eq(old != 0, size != 0);
		port_write(8, reg, 0xffffffff, 4);
		ck_assert_uint_eq(port_read(8, reg, 4), size ? ~(size - 1) : 0);
		port_write(8, reg, old, 4);
		ck_assert_uint_eq(port_read(8, reg, 4), old);
		if (size)
			ck_assert(answers(&cards[0], bar, old));
	}
	port_write(8, PCI_ROM_ADDRESS, 0xffffffff, 4);
	ck_assert_uint_eq(port_read(8, PCI_ROM_ADDRESS, 4), 0);
}
END_TEST

START_TEST(bars_are_placed_before_the_guest_starts)
{
	for (unsigned i = 0; i < NR_CARDS; i++) {
		ck_assert_uint_eq(port_read(cards[i].pci.devfn, PCI_COMMAND, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
		for (unsigned bar = 0; bar <= 2; bar += 2) {
			uint64_t at = port_read(cards[i].pci.devfn, PCI_BASE_ADDRESS_0 + 4 * bar, 4);
			ck_assert_uint_eq(at % cards[i].pci.bars[bar].size, 0);
			ck_assert(answers(&cards[i], bar, at));
		}
	}
}
END_TEST

START_TEST(a_bar_answers_only_while_memory_is_decoded)
{
	uint64_t at = cards[0].mapped_at[0];
	port_write(8, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	ck_assert_uint_eq(read_memory(at), 0xff);
	ck_assert_uint_eq(cards[0].mapped_at[0], 0);
	set_bar(&cards[0], 0, LAYOUT_PCI_WINDOW + 0x1000000);
	ck_assert_uint_eq(cards[0].mapped_at[0], 0);
	port_write(8, PCI_COMMAND, PCI_COMMAND_MEMORY, 1);
	ck_assert(answers(&cards[0], 0, LAYOUT_PCI_WINDOW + 0x1000000));
}
END_TEST

START_TEST(a_bar_outside_the_window_answers_nowhere)
{
	static const uint64_t outside[] = {0,          0x1000,      0x9c000,       LAYOUT_PCI_WINDOW - 0x4000,
					   WINDOW_END, LAYOUT_ECAM, LAYOUT_IOAPIC, LAYOUT_LAPIC,
					   0xfeffc000, 0xffffc000,  0xfffff000};
	uint64_t home = cards[0].mapped_at[0];
	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		set_bar(&cards[0], 0, outside[i]);
		ck_assert_uint_eq(cards[0].mapped_at[0], 0);
		ck_assert_uint_eq(read_memory(home), 0xff);
		ck_assert(answers(&cards[1], 0, cards[1].mapped_at[0]));
	}
	/* Up to the very end of it is inside. */
	set_bar(&cards[0], 0, WINDOW_END - 0x4000);
	ck_assert(answers(&cards[0], 0, WINDOW_END - 0x4000));
	set_bar(&cards[0], 0, LAYOUT_PCI_WINDOW + 0x2000000);
	ck_assert(answers(&cards[0], 0, LAYOUT_PCI_WINDOW + 0x2000000));
	/* And configuration space is still there. */
	ck_assert_uint_eq(ecam_read(8, 0, 2), 0x1234);
}
END_TEST

START_TEST(a_bar_that_was_blocked_answers_once_the_place_is_free)
{
	uint64_t taken = cards[1].mapped_at[0];
	set_bar(&cards[0], 0, taken);
	ck_assert_uint_eq(cards[0].mapped_at[0], 0);
	ck_assert(answers(&cards[1], 0, taken));
	set_bar(&cards[1], 0, LAYOUT_PCI_WINDOW + 0x3000000);
	ck_assert(answers(&cards[1], 0, LAYOUT_PCI_WINDOW + 0x3000000));
	ck_assert(answers(&cards[0], 0, taken));
	/* Of the same function, the lower one waiting for the higher one. */
	uint64_t small = cards[2].mapped_at[2];
	set_bar(&cards[2], 0, small & ~0x3fffull);
	ck_assert_uint_eq(cards[2].mapped_at[0], 0);
	set_bar(&cards[2], 2, LAYOUT_PCI_WINDOW + 0x4000000);
	ck_assert_uint_eq(cards[2].mapped_at[2], LAYOUT_PCI_WINDOW + 0x4000000);
}
END_TEST

/* What the bus must show, from configuration space alone: no two mapped ones overlap, none that could be mapped is missing. */
static void check_bars(void)
{
	for (unsigned i = 0; i < NR_CARDS; i++) {
		for (unsigned bar = 0; bar <= 2; bar += 2) {
			struct pci_bar *b = &cards[i].pci.bars[bar];
			uint64_t at = port_read(cards[i].pci.devfn, PCI_BASE_ADDRESS_0 + 4 * bar, 4);
			bool decode = port_read(cards[i].pci.devfn, PCI_COMMAND, 2) & PCI_COMMAND_MEMORY;
			bool possible = decode && at >= LAYOUT_PCI_WINDOW && at + b->size <= WINDOW_END;
			ck_assert(!b->mapped || possible);
			ck_assert_uint_eq(cards[i].mapped_at[bar], b->mapped ? at : 0);
			if (b->mapped)
				ck_assert(answers(&cards[i], bar, at));
			bool blocked = false;
			for (unsigned k = 0; k < NR_CARDS * PCI_NR_BARS; k++) {
				struct pci_bar *other = &cards[k / PCI_NR_BARS].pci.bars[k % PCI_NR_BARS];
				blocked |= other != b && other->mapped && other->range.base < at + b->size &&
					   at < other->range.base + other->size;
			}
			ck_assert(b->mapped || !possible || blocked);
			ck_assert(!b->mapped || !blocked);
		}
	}
}

static void random_access(void)
{
	struct card *card = &cards[random_below(NR_CARDS)];
	unsigned bar = random_below(2) ? 2 : 0;
	switch (random_below(4)) {
	case 0:
		port_write(card->pci.devfn, PCI_COMMAND, (uint32_t)random_bits(), 1u << random_below(3));
		break;
	case 1:
		/* A byte of a BAR. */
		ecam_write(card->pci.devfn, PCI_BASE_ADDRESS_0 + 4 * bar + 1, random_bits() & 0xff, 1);
		break;
	default:
		set_bar(card, bar, LAYOUT_PCI_WINDOW - 0x8000 + random_below(0x20000));
	}
}

START_TEST(bars_that_move_at_random_never_overlap)
{
	random_start();
	for (unsigned round = 0; round < 1500; round++) {
		random_access();
		check_bars();
	}
	for (unsigned i = 0; i < NR_CARDS; i++)
		set_bar(&cards[i], 0, WINDOW_END - 0x4000);
	check_bars();
}
END_TEST

START_TEST(reset_puts_everything_back)
{
	uint8_t before[NR_CARDS][256];
	uint64_t at[NR_CARDS][2];
	for (unsigned i = 0; i < NR_CARDS; i++) {
		memcpy(before[i], cards[i].pci.config, 256);
		at[i][0] = cards[i].mapped_at[0];
		at[i][1] = cards[i].mapped_at[2];
	}
	random_start();
	for (unsigned round = 0; round < 300; round++)
		random_access();
	/* Two change places, which only works when both leave first. */
	set_bar(&cards[0], 0, at[1][0]);
	set_bar(&cards[1], 0, at[0][0]);
	pci_reset(&pci);
	for (unsigned i = 0; i < NR_CARDS; i++) {
		ck_assert_int_eq(memcmp(before[i], cards[i].pci.config, 256), 0);
		ck_assert(answers(&cards[i], 0, at[i][0]));
		ck_assert(answers(&cards[i], 2, at[i][1]));
	}
	ck_assert_uint_eq(port_read(5 * 8, PCI_HEADER_TYPE, 1), 0x80);
	check_bars();
	uint32_t value = 1;
	bus_write(&ports, 0xcf8, &value, 4);
	pci_reset(&pci);
	bus_read(&ports, 0xcf8, &value, 4);
	ck_assert_uint_eq(value, 0);
}
END_TEST

/* --- saved state --- */

static uint8_t *save(size_t *len)
{
	struct state_writer *w = state_writer_new();
	const void *data;
	pci_save(&pci, w);
	ck_assert_int_eq(state_writer_end(w, &data, len), 0);
	uint8_t *copy = malloc(*len);
	memcpy(copy, data, *len);
	state_writer_free(w);
	return copy;
}

static int load(const uint8_t *data, size_t len)
{
	struct state_reader *r;
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	int ret = pci_load(&pci, r, &err);
	if (ret == 0)
		ret = state_reader_finish(r, &err);
	state_reader_free(r);
	return ret;
}

START_TEST(a_saved_bus_is_loaded_into_another)
{
	uint8_t before[NR_CARDS][256];
	uint64_t at[NR_CARDS][PCI_NR_BARS];
	size_t len;
	random_start();
	for (unsigned round = 0; round < 200; round++)
		random_access();
	/* No two on one place: who gets it is not saved. */
	for (unsigned i = 0; i < NR_CARDS; i++) {
		set_bar(&cards[i], 0, LAYOUT_PCI_WINDOW + 0x100000 * (4 - i));
		set_bar(&cards[i], 2, LAYOUT_PCI_WINDOW + 0x100000 * (i + 8));
		memcpy(before[i], cards[i].pci.config, 256);
		memcpy(at[i], cards[i].mapped_at, sizeof(at[i]));
	}
	select_register(8, 0x44);
	uint8_t *data = save(&len);
	tear_down();
	set_up();
	unsigned written = cards[0].nr_config_writes;
	ck_assert_msg(load(data, len) == 0, "%s", err.text);
	for (unsigned i = 0; i < NR_CARDS; i++) {
		ck_assert_int_eq(memcmp(before[i], cards[i].pci.config, 256), 0);
		ck_assert_int_eq(memcmp(at[i], cards[i].mapped_at, sizeof(at[i])), 0);
	}
	check_bars();
	ck_assert_uint_gt(cards[0].nr_config_writes, written);
	uint32_t value;
	select_register(8, 0x44);
	bus_read(&ports, 0xcf8, &value, 4);
	ck_assert_uint_eq(value, 0x80000844);
	/* And again into the same. */
	ck_assert_int_eq(load(data, len), 0);
	check_bars();
	free(data);
}
END_TEST

START_TEST(another_device_in_its_place_is_refused)
{
	size_t len;
	uint8_t *data = save(&len);
	tear_down();
	build();
	plug(&cards[0], -1, 0);
	plug(&cards[1], 5, 0);
	plug(&cards[3], -1, 0);
	ck_assert_int_eq(load(data, len), -EINVAL); /* slot 5 was one of several functions */
	ck_assert_msg(strstr(err.text, "pci-5.0") != NULL, "%s", err.text);
	tear_down();
	build();
	plug(&cards[0], -1, 0);
	plug(&cards[1], 5, 0);
	plug(&cards[3], 5, 3);
	plug(&cards[2], -1, 0);
	ck_assert_int_eq(load(data, len), -EINVAL);
	ck_assert_msg(strstr(err.text, "another device") != NULL, "%s", err.text);
	tear_down();
	build();
	plug(&cards[0], -1, 0);
	plug(&cards[1], 5, 0);
	plug(&cards[2], 5, 3);
	ck_assert_int_eq(load(data, len), -EINVAL); /* one fewer */
	ck_assert_msg(strstr(err.text, "pci-2.0") != NULL, "%s", err.text);
	tear_down();
	build();
	plug(&cards[0], -1, 0);
	plug(&cards[1], 5, 0);
	plug(&cards[2], 5, 3);
	plug(&cards[3], 6, 0); /* elsewhere */
	ck_assert_int_eq(load(data, len), -EINVAL);
	free(data);
}
END_TEST

START_TEST(a_hostile_state_maps_nothing_outside_the_window)
{
	random_start();
	for (unsigned round = 0; round < 300; round++) {
		struct state_writer *w = state_writer_new();
		const void *data;
		size_t len;
		state_enter_new(w, "pci", 1);
		state_put(w, "address", (uint32_t)random_bits());
		state_leave_new(w);
		for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++) {
			struct pci_function *f = pci.functions[i];
			uint8_t config[256];
			char name[32];
			if (!f)
				continue;
			for (unsigned k = 0; k < 256; k++) {
				uint8_t bits = random_below(4) ? f->power_on[k] : (uint8_t)random_bits();
				config[k] = (uint8_t)((f->power_on[k] & ~f->writable[k]) | (bits & f->writable[k]));
			}
			if (random_below(40) == 0)
				config[random_below(256)] ^= 1;
			snprintf(name, sizeof(name), "pci-%x.%x", i / 8, i % 8);
			state_enter_new(w, name, 1);
			state_put_bytes(w, "config", config, 256);
			state_leave_new(w);
		}
		ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
		if (load(data, len) == 0)
			check_bars();
		state_writer_free(w);
	}
	pci_reset(&pci);
	check_bars();
}
END_TEST

/* --- threads --- */

static void *hammer(void *arg)
{
	uint64_t state = (uintptr_t)arg, value = 0;
	for (unsigned i = 0; i < 4000; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		unsigned devfn = state >> 40 & 1 ? 8 : 5 * 8;
		uint64_t at = LAYOUT_PCI_WINDOW + (state >> 20 & 0xf) * 0x1000;
		switch (state >> 60) {
		case 0:
			ecam_write(devfn, PCI_BASE_ADDRESS_0, at, 4);
			break;
		case 1:
			port_write(devfn, PCI_COMMAND, state >> 33 & 2, 2);
			break;
		case 2:
			ecam_read(devfn, (unsigned)(state >> 30 & 0xff), 1);
			break;
		default:
			bus_read(&memory, at, &value, 8);
			bus_write(&memory, at + 8, &value, 4);
		}
	}
	return NULL;
}

START_TEST(processors_move_bars_and_use_them_at_once)
{
	pthread_t threads[3];
	for (uintptr_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, hammer, (void *)(i + 1));
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	check_bars();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pci");
	TCase *tests = tcase_create("pci");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, devices_are_found_where_they_were_put);
	tcase_add_test(tests, places_that_cannot_be_are_refused);
	tcase_add_test(tests, ports_and_ecam_show_the_same_bytes);
	tcase_add_test(tests, odd_accesses_reach_nothing);
	tcase_add_test(tests, the_reset_port_lies_inside_the_address_register);
	tcase_add_test(tests, read_only_bits_stay_whatever_is_written);
	tcase_add_test(tests, capabilities_form_a_list);
	tcase_add_test(tests, bars_tell_their_size);
	tcase_add_test(tests, bars_are_placed_before_the_guest_starts);
	tcase_add_test(tests, a_bar_answers_only_while_memory_is_decoded);
	tcase_add_test(tests, a_bar_outside_the_window_answers_nowhere);
	tcase_add_test(tests, a_bar_that_was_blocked_answers_once_the_place_is_free);
	tcase_add_test(tests, bars_that_move_at_random_never_overlap);
	tcase_add_test(tests, reset_puts_everything_back);
	tcase_add_test(tests, a_saved_bus_is_loaded_into_another);
	tcase_add_test(tests, another_device_in_its_place_is_refused);
	tcase_add_test(tests, a_hostile_state_maps_nothing_outside_the_window);
	tcase_add_test(tests, processors_move_bars_and_use_them_at_once);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
