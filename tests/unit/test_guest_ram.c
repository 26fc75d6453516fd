/* Guest RAM: nothing outside it is reached, whatever address and length a guest thinks of. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

/* The file under test is compiled in here, with mmap and calloc that fail when a test wants them to. */
static int allocations_left = -1; /* -1: no limit */
static long mapped_bytes;

static int may_allocate(void)
{
	return allocations_left < 0 || allocations_left-- > 0;
}

static void *counting_calloc(size_t nr, size_t size)
{
	return may_allocate() ? calloc(nr, size) : NULL;
}

static void *counting_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
	if (!may_allocate()) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	void *mapped = mmap(at, len, protection, flags, fd, offset);
	mapped_bytes += mapped == MAP_FAILED ? 0 : (long)len;
	return mapped;
}

static int counting_munmap(void *at, size_t len)
{
	mapped_bytes -= (long)len;
	return munmap(at, len);
}

#define calloc counting_calloc
#define mmap counting_mmap
#define munmap counting_munmap
#include "memmgr/guest_ram.c" /* NOLINT(bugprone-suspicious-include) */
#undef calloc
#undef mmap
#undef munmap

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* Two nodes that touch, a hole, and memory above it that does not begin at a huge page. */
static const struct guest_ram_region regions[] = {
	{.gpa = 0, .size = 1 * MIB + 4096, .node = 0},
	{.gpa = 1 * MIB + 4096, .size = 3 * MIB, .node = 1},
	{.gpa = 4 * GIB + 12288, .size = 2 * MIB, .node = 1},
};
#define NR_REGIONS (sizeof(regions) / sizeof(regions[0]))

static struct guest_ram *ram;
static struct error err;

static void set_up(void)
{
	allocations_left = -1;
	mapped_bytes = 0;
	memset(&err, 0, sizeof(err));
	ck_assert_int_eq(guest_ram_create(regions, NR_REGIONS, &ram, &err), 0);
}

static void tear_down(void)
{
	guest_ram_destroy(ram);
	ck_assert_int_eq(mapped_bytes, 0);
}

static bool all_are(const uint8_t *bytes, uint64_t len, uint8_t value)
{
	for (uint64_t i = 0; i < len; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

START_TEST(memory_is_zero_and_lies_as_its_addresses_do)
{
	size_t nr;
	const struct guest_ram_region *made = guest_ram_regions(ram, &nr);
	ck_assert_uint_eq(nr, NR_REGIONS);
	ck_assert_uint_eq(guest_ram_size(ram), 6 * MIB + 4096);
	for (size_t i = 0; i < nr; i++) {
		ck_assert_uint_eq(made[i].gpa, regions[i].gpa);
		ck_assert_uint_eq(made[i].size, regions[i].size);
		ck_assert_uint_eq(made[i].node, regions[i].node);
		ck_assert_uint_eq(((uintptr_t)made[i].hva - made[i].gpa) % (2 * MIB), 0);
		ck_assert(all_are(made[i].hva, made[i].size, 0));
	}
}
END_TEST

/* By the regions as they were asked for: whether all of it is RAM, and whether of one region. */
static bool model(uint64_t gpa, uint64_t len, bool *one)
{
	uint64_t left = len;
	*one = false;
	for (size_t i = 0; i < NR_REGIONS; i++) {
		const struct guest_ram_region *r = &regions[i];
		if (gpa < r->gpa || gpa >= r->gpa + r->size)
			continue;
		uint64_t run = r->gpa + r->size - gpa;
		*one = left == len && run >= len;
		if (run >= left)
			return true;
		left -= run;
		gpa += run;
	}
	return false;
}

static void try(uint64_t gpa, uint64_t len)
{
	bool one, all = model(gpa, len, &one);
	uint8_t *at = guest_ram_at(ram, gpa, len);
	ck_assert_msg((at != NULL) == one, "%#llx + %#llx", (unsigned long long)gpa, (unsigned long long)len);
	static uint8_t buf[16384];
	if (len > sizeof(buf))
		return;
	memset(buf, 0xee, len);
	ck_assert_int_eq(guest_ram_write(ram, gpa, buf, len), all ? 0 : -EFAULT);
	memset(buf, 0x11, len);
	ck_assert_int_eq(guest_ram_read(ram, gpa, buf, len), all ? 0 : -EFAULT);
	ck_assert(all_are(buf, len, all ? 0xee : 0));
	if (at && len) {
		at[0] = 1;
		at[len - 1] = 2;
	}
}

START_TEST(every_edge_is_kept)
{
	static const uint64_t lengths[] = {1,
					   2,
					   3,
					   8,
					   4095,
					   4096,
					   4097,
					   8192,
					   1 * MIB,
					   3 * MIB,
					   5 * MIB,
					   GIB,
					   1ull << 52,
					   1ull << 63,
					   UINT64_MAX - 4096,
					   UINT64_MAX - 1,
					   UINT64_MAX};
	for (size_t i = 0; i < NR_REGIONS; i++) {
		for (unsigned end = 0; end < 2; end++) {
			uint64_t edge = regions[i].gpa + (end ? regions[i].size : 0);
			for (int64_t by = -9; by <= 9; by++)
				for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++)
					try(edge + (uint64_t)by, lengths[k]);
		}
	}
	for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
		try(UINT64_MAX, lengths[k]);
		try(UINT64_MAX - 4095, lengths[k]);
		try(1ull << 63, lengths[k]);
		try(0 - lengths[k], lengths[k]);
	}
}
END_TEST

START_TEST(random_accesses_follow_the_model)
{
	random_start();
	for (unsigned round = 0; round < 20000; round++) {
		uint64_t gpa = regions[random_below(NR_REGIONS)].gpa + random_below(4 * MIB);
		uint64_t len = 1 + random_below(random_below(2) ? 16 : 4 * MIB);
		bool one;
		model(gpa, len, &one);
		ck_assert_int_eq(guest_ram_at(ram, gpa, len) != NULL, one);
	}
	for (unsigned round = 0; round < 2000; round++)
		try(regions[random_below(NR_REGIONS)].gpa + random_below(4 * MIB), 1 + random_below(8192));
}
END_TEST

START_TEST(copies_of_nothing_succeed_anywhere)
{
	ck_assert_ptr_null(guest_ram_at(ram, 0, 0));
	ck_assert_int_eq(guest_ram_read(ram, UINT64_MAX, NULL, 0), 0);
	ck_assert_int_eq(guest_ram_write(ram, 2 * GIB, NULL, 0), 0);
}
END_TEST

START_TEST(a_failed_write_changes_nothing)
{
	uint8_t buf[8192], back[4096];
	memset(buf, 0xaa, sizeof(buf));
	ck_assert_int_eq(guest_ram_write(ram, 4 * MIB, buf, sizeof(buf)), -EFAULT);
	ck_assert_int_eq(guest_ram_read(ram, 4 * MIB, back, 4096), 0);
	ck_assert(all_are(back, sizeof(back), 0));
}
END_TEST

START_TEST(bad_regions_are_refused)
{
	static const struct guest_ram_region bad[][2] = {
		{{.gpa = 0, .size = 0}, {.gpa = MIB, .size = MIB}},
		{{.gpa = 1, .size = MIB}, {.gpa = 2 * MIB, .size = MIB}},
		{{.gpa = 0, .size = 4097}, {.gpa = MIB, .size = MIB}},
		{{.gpa = 0, .size = MIB}, {.gpa = MIB - 4096, .size = MIB}},
		{{.gpa = MIB, .size = MIB}, {.gpa = 0, .size = MIB}},
		{{.gpa = 0, .size = MIB}, {.gpa = UINT64_MAX - 4095, .size = 4096}},
		{{.gpa = 0, .size = MIB}, {.gpa = UINT64_MAX - 4095, .size = 8192}},
		{{.gpa = 0, .size = MIB}, {.gpa = (1ull << 52) - 4096, .size = 8192}},
		/* So large that room for aligning it wraps. */
		{{.gpa = 0, .size = MIB}, {.gpa = MIB, .size = 0 - 2 * MIB + 4096}},
		{{.gpa = 0, .size = MIB}, {.gpa = MIB, .size = 0 - MIB - 4096}},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct guest_ram *none = NULL;
		long before = mapped_bytes;
		ck_assert_int_eq(guest_ram_create(bad[i], 2, &none, &err), -EINVAL);
		ck_assert_ptr_null(none);
		ck_assert_int_eq(mapped_bytes, before);
		ck_assert_msg(strstr(err.text, "guest RAM") != NULL, "%s", err.text);
	}
	static struct guest_ram_region many[GUEST_RAM_MAX_REGIONS + 1];
	struct guest_ram *all = NULL;
	for (size_t i = 0; i < GUEST_RAM_MAX_REGIONS + 1; i++)
		many[i] = (struct guest_ram_region){.gpa = i * 8192, .size = 4096};
	ck_assert_int_eq(guest_ram_create(many, 0, &all, &err), -EINVAL);
	ck_assert_int_eq(guest_ram_create(many, GUEST_RAM_MAX_REGIONS + 1, &all, &err), -EINVAL);
	ck_assert_int_eq(guest_ram_create(many, GUEST_RAM_MAX_REGIONS, &all, &err), 0);
	guest_ram_destroy(all);
}
END_TEST

START_TEST(too_much_memory_says_how_much)
{
	const struct guest_ram_region huge = {.gpa = 0, .size = 1ull << 50};
	struct guest_ram *none = NULL;
	ck_assert_int_eq(guest_ram_create(&huge, 1, &none, &err), -ENOMEM);
	ck_assert_msg(strstr(err.text, "1073741824 MiB") != NULL, "%s", err.text);
	ck_assert_ptr_null(none);
}
END_TEST

START_TEST(every_allocation_may_fail)
{
	for (int left = 0; left <= (int)NR_REGIONS; left++) {
		struct guest_ram *none = NULL;
		long before = mapped_bytes;
		allocations_left = left;
		ck_assert_int_eq(guest_ram_create(regions, NR_REGIONS, &none, &err), -ENOMEM);
		ck_assert_ptr_null(none);
		ck_assert_int_eq(mapped_bytes, before);
	}
	guest_ram_destroy(NULL);
}
END_TEST

START_TEST(pages_of_a_request_are_pinned_until_it_has_ended)
{
	struct guest_ram_region region = {.gpa = 0, .size = 16ull << 20};
	struct guest_ram *own = NULL;
	struct guest_ram_pins first, second;
	ck_assert_int_eq(guest_ram_create(&region, 1, &own, NULL), 0);
	uint8_t *hva = guest_ram_at(own, 0, 1);
	/* Two buffers, one of which lies across the border of chunks 2 and 3; and another request for chunk 3. */
	struct iovec both[2] = {{hva + (6 << 20) - 512, 1024}, {hva, 4096}}, one = {hva + (7 << 20), 1};
	guest_ram_pin(own, both, 2, &first);
	guest_ram_pin(own, &one, 1, &second);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(guest_ram_is_pinned(own, hva + (i << 21)), i == 0 || i == 2 || i == 3);
	guest_ram_unpin(own, &first);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(guest_ram_is_pinned(own, hva + (i << 21)), i == 3);
	guest_ram_unpin(own, &second);
	ck_assert(!guest_ram_is_pinned(own, hva + (7 << 20)));
	guest_ram_destroy(own);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guest ram");
	TCase *tests = tcase_create("guest ram");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, memory_is_zero_and_lies_as_its_addresses_do);
	tcase_add_test(tests, every_edge_is_kept);
	tcase_add_test(tests, random_accesses_follow_the_model);
	tcase_add_test(tests, copies_of_nothing_succeed_anywhere);
	tcase_add_test(tests, a_failed_write_changes_nothing);
	tcase_add_test(tests, bad_regions_are_refused);
	tcase_add_test(tests, too_much_memory_says_how_much);
	tcase_add_test(tests, every_allocation_may_fail);
	tcase_add_test(tests, pages_of_a_request_are_pinned_until_it_has_ended);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
