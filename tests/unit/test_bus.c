/* The address spaces of devices: against a plain model, and with threads that access while ranges move. */
#include <check.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"
#include "vmm/bus.h"

/* A range that keeps what was done to it last, and answers reads with its number. */
struct probe {
	struct bus_range range; /* first */
	uint8_t number;
	bool added; /* the model's view */
	uint64_t offset;
	unsigned size, nr_reads, nr_writes;
};

static void probe_read(struct bus_range *self, uint64_t offset, void *data, unsigned size)
{
	struct probe *p = (struct probe *)self;
	p->offset = offset;
	p->size = size;
	p->nr_reads++;
	memset(data, p->number, size);
}

static void probe_write(struct bus_range *self, uint64_t offset, const void *data, unsigned size)
{
	struct probe *p = (struct probe *)self;
	(void)data;
	p->offset = offset;
	p->size = size;
	p->nr_writes++;
}

static const struct bus_ops probe_ops = {.read = probe_read, .write = probe_write};

#define NR_PROBES 200
static struct bus bus;
static struct probe probes[NR_PROBES];

static void set_up(void)
{
	bus_init(&bus);
	memset(probes, 0, sizeof(probes));
	for (unsigned i = 0; i < NR_PROBES; i++) {
		probes[i].range.ops = &probe_ops;
		probes[i].number = (uint8_t)i;
	}
}

static void tear_down(void)
{
	bus_fini(&bus);
}

static uint64_t read_byte(uint64_t address)
{
	uint8_t byte = 0;
	bus_read(&bus, address, &byte, 1);
	return byte;
}

START_TEST(what_nobody_claims_reads_as_ones)
{
	uint64_t value = 0;
	bus_read(&bus, 0x3f8, &value, 4);
	ck_assert_uint_eq(value, 0xffffffff);
	bus_write(&bus, UINT64_MAX, &value, 1);
	bus_remove(&bus, &probes[0].range); /* never added */
	bus_read(&bus, UINT64_MAX - 1, &value, 8);
	ck_assert_uint_eq(value, UINT64_MAX);
}
END_TEST

START_TEST(accesses_across_an_edge_reach_nobody)
{
	uint32_t value = 0;
	ck_assert_int_eq(bus_add(&bus, &probes[1].range, 0x100, 8), 0);
	ck_assert_int_eq(bus_add(&bus, &probes[2].range, 0x108, 8), 0);
	for (unsigned at = 0xf8; at < 0x118; at++) {
		bool whole = (at >= 0x100 && at + 4 <= 0x108) || (at >= 0x108 && at + 4 <= 0x110);
		value = 0;
		bus_read(&bus, at, &value, 4);
		ck_assert_uint_eq(value == 0xffffffff, !whole);
		bus_write(&bus, at, &value, 4);
	}
	ck_assert_uint_eq(probes[1].nr_writes, 5);
	ck_assert_uint_eq(probes[2].nr_writes, 5);
}
END_TEST

START_TEST(the_top_of_the_address_space_is_like_any_other)
{
	ck_assert_int_eq(bus_add(&bus, &probes[1].range, UINT64_MAX - 15, 16), 0);
	ck_assert_int_eq(bus_add(&bus, &probes[2].range, UINT64_MAX - 15, 17), -EINVAL);
	ck_assert_int_eq(bus_add(&bus, &probes[2].range, UINT64_MAX, 1), -EEXIST);
	ck_assert_int_eq(bus_add(&bus, &probes[2].range, 0, UINT64_MAX - 15), 0);
	ck_assert_int_eq(bus_add(&bus, &probes[3].range, 5, 0), -EINVAL);
	ck_assert_uint_eq(read_byte(UINT64_MAX), 1);
	ck_assert_uint_eq(probes[1].offset, 15);
	ck_assert_uint_eq(read_byte(UINT64_MAX - 16), 2);
	uint64_t value = 0;
	bus_read(&bus, UINT64_MAX - 3, &value, 8);
	ck_assert_uint_eq(value, UINT64_MAX);
}
END_TEST

START_TEST(a_full_bus_says_so)
{
	static struct probe many[BUS_MAX_RANGES + 1];
	for (unsigned i = 0; i < BUS_MAX_RANGES; i++)
		ck_assert_int_eq(bus_add(&bus, &many[i].range, 1000 - i, 1), 0);
	ck_assert_int_eq(bus_add(&bus, &many[BUS_MAX_RANGES].range, 5, 1), -ENOSPC);
	bus_remove(&bus, &many[17].range);
	ck_assert_int_eq(bus_add(&bus, &many[BUS_MAX_RANGES].range, 5, 1), 0);
}
END_TEST

static struct probe *model_find(uint64_t address, unsigned size)
{
	for (unsigned i = 0; i < NR_PROBES; i++) {
		const struct bus_range *r = &probes[i].range;
		if (probes[i].added && address >= r->base && address + size <= r->base + r->size)
			return &probes[i];
	}
	return NULL;
}

static int model_add(uint64_t base, uint64_t size)
{
	if (size == 0)
		return -EINVAL;
	for (unsigned i = 0; i < NR_PROBES; i++) {
		const struct bus_range *r = &probes[i].range;
		if (probes[i].added && base < r->base + r->size && r->base < base + size)
			return -EEXIST;
	}
	return 0;
}

START_TEST(random_ranges_follow_a_model)
{
	random_start();
	for (unsigned round = 0; round < 60000; round++) {
		struct probe *p = &probes[random_below(NR_PROBES)];
		uint64_t address = random_below(2000), size = random_below(24);
		switch (random_below(4)) {
		case 0:
			if (p->added)
				break;
			int want = model_add(address, size);
			ck_assert_int_eq(bus_add(&bus, &p->range, address, size), want);
			p->added = want == 0;
			break;
		case 1:
			bus_remove(&bus, &p->range);
			p->added = false;
			break;
		default: {
			unsigned width = 1u << random_below(4);
			uint8_t data[8] = {0};
			struct probe *owner = model_find(address, width);
			unsigned before = owner ? owner->nr_reads : 0;
			bus_read(&bus, address, data, width);
			for (unsigned i = 0; i < width; i++)
				ck_assert_uint_eq(data[i], owner ? owner->number : 0xff);
			if (owner) {
				ck_assert_uint_eq(owner->nr_reads, before + 1);
				ck_assert_uint_eq(owner->offset, address - owner->range.base);
				ck_assert_uint_eq(owner->size, width);
			}
		}
		}
	}
}
END_TEST

/* --- threads --- */

#define NR_MOVERS 2
#define NR_READERS 2
static atomic_bool stop;

static void shared_read(struct bus_range *self, uint64_t offset, void *data, unsigned size)
{
	struct probe *p = (struct probe *)self;
	/* The offset must be of this range, wherever it lies now: all have 64 bytes. */
	if (offset + size > 64)
		abort();
	memset(data, p->number, size);
}

static void shared_write(struct bus_range *self, uint64_t offset, const void *data, unsigned size)
{
	(void)self;
	(void)data;
	if (offset + size > 64)
		abort();
}

static const struct bus_ops shared_ops = {.read = shared_read, .write = shared_write};

static void *reader(void *arg)
{
	uint64_t address = (uintptr_t)arg, value;
	while (!stop) {
		address = (address * 5 + 7) % 1024;
		bus_read(&bus, address, &value, 8);
		bus_write(&bus, address, &value, 4);
	}
	return NULL;
}

static void *mover(void *arg)
{
	struct probe *p = arg;
	for (unsigned i = 0; i < 20000; i++) {
		bus_add(&bus, &p->range, i * 61 % 960, 64);
		bus_remove(&bus, &p->range);
	}
	return NULL;
}

START_TEST(ranges_move_while_others_access)
{
	pthread_t readers[NR_READERS], movers[NR_MOVERS];
	stop = false;
	for (uintptr_t i = 0; i < NR_READERS; i++)
		pthread_create(&readers[i], NULL, reader, (void *)i);
	for (unsigned i = 0; i < NR_MOVERS; i++) {
		probes[i].range.ops = &shared_ops;
		pthread_create(&movers[i], NULL, mover, &probes[i]);
	}
	for (unsigned i = 0; i < NR_MOVERS; i++)
		pthread_join(movers[i], NULL);
	stop = true;
	for (unsigned i = 0; i < NR_READERS; i++)
		pthread_join(readers[i], NULL);
	ck_assert_uint_eq(bus.nr_ranges, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("bus");
	TCase *tests = tcase_create("bus");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, what_nobody_claims_reads_as_ones);
	tcase_add_test(tests, accesses_across_an_edge_reach_nobody);
	tcase_add_test(tests, the_top_of_the_address_space_is_like_any_other);
	tcase_add_test(tests, a_full_bus_says_so);
	tcase_add_test(tests, random_ranges_follow_a_model);
	tcase_add_test(tests, ranges_move_while_others_access);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
