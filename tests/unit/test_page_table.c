/* The page table of states against a plain model, and the queue of limbo runs. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memmgr/limbo_queue.h"
#include "memmgr/os.h"
#include "memmgr/page_table.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { MOST_PAGES = 4096 };

/* The n-th allocation or mapping fails; -1: none. */
static int fail_in = -1;
static int live;

static bool fails(void)
{
	return fail_in >= 0 && fail_in-- == 0;
}

void *mem_calloc(size_t nr, size_t size)
{
	void *memory = fails() ? NULL : calloc(nr, size);
	live += memory != NULL;
	return memory;
}

void mem_free(void *memory)
{
	live -= memory != NULL;
	free(memory);
}

void *mem_map(size_t len)
{
	return fails() ? NULL : mem_map_kernel(len);
}

/* Regions whose ends lie within chunks: the first 640 KiB, a node's end at an odd megabyte, and RAM above 4 GiB. */
static struct guest_ram *make_ram(void)
{
	static const struct guest_ram_region regions[] = {
		{.gpa = 0, .size = 0xa0000},
		{.gpa = 1 << 20, .size = 5 << 20},
		{.gpa = 6 << 20, .size = 3 << 20},
		{.gpa = 4ull << 30, .size = 2 << 20},
	};
	struct guest_ram *ram;
	struct error err;
	ck_assert_int_eq(guest_ram_create(regions, 4, &ram, &err), 0);
	return ram;
}

START_TEST(every_page_is_found_by_both_addresses_and_no_other_is)
{
	struct guest_ram *ram = make_ram();
	struct page_table pt = {.chunks = NULL};
	struct error err;
	size_t nr_regions;
	uint32_t page, total = 0, before = 0;
	ck_assert_int_eq(page_table_create(ram, &pt, &err), 0);
	const struct guest_ram_region *regions = guest_ram_regions(ram, &nr_regions);
	for (size_t r = 0; r < nr_regions; r++) {
		for (uint64_t at = 0; at < regions[r].size; at += GUEST_PAGE_SIZE) {
			uint32_t by_hva, by_gpa;
			ck_assert(page_table_find(&pt, (uint64_t)(uintptr_t)regions[r].hva + at, &by_hva));
			ck_assert(page_table_find_gpa(&pt, regions[r].gpa + at, &by_gpa));
			ck_assert_uint_eq(by_hva, by_gpa);
			ck_assert(total == 0 || by_hva > before);
			ck_assert_ptr_eq(page_hva(&pt, by_hva), regions[r].hva + at);
			/* Huge pages of guest and limbo match. */
			ck_assert_uint_eq((uintptr_t)page_limbo(&pt, by_hva) % CHUNK_SIZE,
					  (uintptr_t)page_hva(&pt, by_hva) % CHUNK_SIZE);
			ck_assert_uint_eq((uintptr_t)page_chunk(&pt, by_hva)->hva % CHUNK_SIZE, 0);
			ck_assert_int_eq(page_state(pt.entries[by_hva]), PAGE_RESIDENT);
			before = by_hva;
			total++;
		}
		ck_assert(!page_table_find(&pt, (uint64_t)(uintptr_t)regions[r].hva + regions[r].size, &page) ||
			  r + 1 < nr_regions);
	}
	ck_assert_uint_eq(pt.nr_pages, total);
	ck_assert_uint_eq(pt.counts[PAGE_RESIDENT], total);
	ck_assert(!page_table_find_gpa(&pt, 0xa0000, &page));
	ck_assert(!page_table_find_gpa(&pt, (4ull << 30) - 1, &page));
	ck_assert(!page_table_find(&pt, 0, &page));
	/* Pages that do not exist say so. */
	uint32_t absent = 0;
	for (uint32_t i = 0; i < pt.nr_chunks * CHUNK_PAGES; i++)
		absent += page_state(pt.entries[i]) == PAGE_ABSENT;
	ck_assert_uint_eq(absent + total, pt.nr_chunks * CHUNK_PAGES);
	page_table_destroy(&pt);
	guest_ram_destroy(ram);
}
END_TEST

START_TEST(limbo_is_memory_of_its_own)
{
	struct guest_ram *ram = make_ram();
	struct page_table pt = {.chunks = NULL};
	struct error err;
	ck_assert_int_eq(page_table_create(ram, &pt, &err), 0);
	for (uint32_t i = 0; i < pt.nr_chunks * CHUNK_PAGES; i++)
		if (page_state(pt.entries[i]) == PAGE_RESIDENT)
			*(uint32_t *)page_hva(&pt, i) = ~i;
	for (uint32_t i = 0; i < pt.nr_chunks * CHUNK_PAGES; i++)
		if (page_state(pt.entries[i]) == PAGE_RESIDENT)
			*(uint32_t *)page_limbo(&pt, i) = i;
	for (uint32_t i = 0; i < pt.nr_chunks * CHUNK_PAGES; i++) {
		if (page_state(pt.entries[i]) != PAGE_RESIDENT)
			continue;
		ck_assert_uint_eq(*(uint32_t *)page_limbo(&pt, i), i);
		ck_assert_uint_eq(*(uint32_t *)page_hva(&pt, i), ~i);
	}
	page_table_destroy(&pt);
	guest_ram_destroy(ram);
}
END_TEST

START_TEST(counts_are_right_whatever_becomes_of_pages)
{
	static enum page_state model[MOST_PAGES];
	struct guest_ram *ram = make_ram();
	struct page_table pt = {.chunks = NULL};
	struct error err;
	random_start();
	ck_assert_int_eq(page_table_create(ram, &pt, &err), 0);
	uint32_t nr = pt.nr_chunks * CHUNK_PAGES;
	ck_assert(nr > 0 && nr <= MOST_PAGES);
	for (uint32_t i = 0; i < nr; i++)
		model[i] = page_state(pt.entries[i]);
	for (unsigned step = 0; step < 200000; step++) {
		uint32_t page = (uint32_t)random_below(nr);
		if (model[page] == PAGE_ABSENT)
			continue;
		enum page_state to = (enum page_state)random_below(PAGE_ABSENT);
		page_entry flags = random_bits() & PAGE_FLAGS_MASK;
		uint64_t ref = random_bits() >> PAGE_REF_SHIFT;
		page_table_set(&pt, page, (page_entry)to | flags | ref << PAGE_REF_SHIFT);
		model[page] = to;
		ck_assert_int_eq(page_state(pt.entries[page]), to);
		ck_assert_uint_eq(page_ref(pt.entries[page]), ref);
		ck_assert_uint_eq(pt.entries[page] & PAGE_FLAGS_MASK, flags);
	}
	uint64_t counts[PAGE_NR_STATES] = {0};
	for (uint32_t c = 0; c < pt.nr_chunks; c++) {
		unsigned missing = 0, limbo = 0;
		for (uint32_t i = 0; i < CHUNK_PAGES; i++) {
			enum page_state s = model[c * CHUNK_PAGES + i];
			counts[s]++;
			missing += s == PAGE_ZERO || s == PAGE_LIMBO || s == PAGE_COMPRESSED;
			limbo += s == PAGE_LIMBO;
		}
		ck_assert_uint_eq(pt.chunks[c].missing, missing);
		ck_assert_uint_eq(pt.chunks[c].in_limbo, limbo);
	}
	for (int s = 0; s < PAGE_ABSENT; s++)
		ck_assert_uint_eq(pt.counts[s], counts[s]);
	page_table_destroy(&pt);
	guest_ram_destroy(ram);
}
END_TEST

START_TEST(a_page_costs_at_most_16_bytes)
{
	static const struct guest_ram_region region = {.gpa = 0, .size = 64 << 20};
	struct guest_ram *ram;
	struct page_table pt = {.chunks = NULL};
	struct error err;
	ck_assert_int_eq(guest_ram_create(&region, 1, &ram, &err), 0);
	ck_assert_int_eq(page_table_create(ram, &pt, &err), 0);
	ck_assert_uint_le(page_table_bytes(&pt), 16 * (uint64_t)pt.nr_pages);
	page_table_destroy(&pt);
	guest_ram_destroy(ram);
}
END_TEST

START_TEST(a_table_that_cannot_be_made_leaves_nothing)
{
	struct guest_ram *ram = make_ram();
	for (int n = 0;; n++) {
		struct page_table pt = {.chunks = NULL};
		struct error err = {.code = 0};
		fail_in = n;
		int ret = page_table_create(ram, &pt, &err);
		bool failed = fail_in < 0;
		fail_in = -1;
		if (ret == 0) {
			ck_assert(!failed);
			ck_assert_int_gt(n, 4);
			page_table_destroy(&pt);
			break;
		}
		ck_assert_int_eq(ret, -ENOMEM);
		ck_assert_ptr_nonnull(strstr(err.text, "manager=off"));
		ck_assert_int_eq(live, 0);
	}
	ck_assert_int_eq(live, 0);
	guest_ram_destroy(ram);
}
END_TEST

START_TEST(runs_come_out_as_they_went_in)
{
	enum { MOST = 4000 };
	static uint32_t model[64 * MOST];
	size_t head = 0, tail = 0;
	struct limbo_queue q = {.runs = NULL};
	random_start();
	for (unsigned step = 0; step < 2 * MOST; step++) {
		if (random_below(2) && tail < 60ul * MOST) {
			uint32_t first = (uint32_t)random_below(1 << 20), nr = 1 + (uint32_t)random_below(30);
			ck_assert_int_eq(limbo_queue_reserve(&q), 0);
			limbo_queue_push(&q, first, nr, step);
			/* What goes on where the last one ended is one run with it. */
			if (random_below(2))
				limbo_queue_push(&q, first + nr, 1, step), model[tail + nr] = first + nr;
			else
				model[tail + nr] = UINT32_MAX;
			for (uint32_t i = 0; i < nr; i++)
				model[tail + i] = first + i;
			tail += nr + (model[tail + nr] != UINT32_MAX);
		}
		const struct limbo_run *run = limbo_queue_oldest(&q);
		ck_assert_int_eq(run == NULL, head == tail);
		if (run && random_below(2)) {
			uint32_t n = 1 + (uint32_t)random_below(run->nr);
			for (uint32_t i = 0; i < n; i++)
				ck_assert_uint_eq(run->first + i, model[head++]);
			limbo_queue_pop(&q, n);
		}
	}
	limbo_queue_fini(&q);
	fail_in = 0;
	ck_assert_int_eq(limbo_queue_reserve(&q), -ENOMEM);
	fail_in = -1;
}
END_TEST

static bool is_even(void *arg, const struct limbo_run *run)
{
	++*(unsigned *)arg;
	return run->first % 2 == 0;
}

/* As samples do: they go in, and nobody takes them out. */
START_TEST(a_queue_grows_by_runs_that_are_wanted_alone)
{
	struct limbo_queue q = {.runs = NULL};
	unsigned asked = 0, wanted = 0, popped = 0;
	for (uint32_t step = 0; step < 100000; step++) {
		bool keeps = step % 1000 == 0;
		ck_assert_int_eq(limbo_queue_reserve_or_sweep(&q, is_even, &asked), 0);
		limbo_queue_push(&q, keeps ? step * 2 : step * 2 + 1, 1, step);
		wanted += keeps;
		ck_assert_uint_le(q.size, 512);
	}
	/* A sweep halves it at least: so many questions for each run at most. */
	ck_assert_uint_le(asked, 2 * 100000);
	for (const struct limbo_run *run; (run = limbo_queue_oldest(&q)) != NULL; limbo_queue_pop(&q, run->nr))
		popped += run->first % 2 == 0;
	ck_assert_uint_eq(popped, wanted);
	/* All are wanted: it grows, and does not ask each time. */
	asked = 0;
	for (uint32_t step = 0; step < 5000; step++) {
		ck_assert_int_eq(limbo_queue_reserve_or_sweep(&q, is_even, &asked), 0);
		limbo_queue_push(&q, step * 4, 1, step);
	}
	ck_assert_uint_eq(q.nr, 5000);
	ck_assert_uint_le(asked, 2 * 8192);
	limbo_queue_fini(&q);
	fail_in = 0;
	ck_assert_int_eq(limbo_queue_reserve_or_sweep(&q, is_even, &asked), -ENOMEM);
	fail_in = -1;
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("page table");
	TCase *tests = tcase_create("states");
	tcase_add_test(tests, every_page_is_found_by_both_addresses_and_no_other_is);
	tcase_add_test(tests, limbo_is_memory_of_its_own);
	tcase_add_test(tests, counts_are_right_whatever_becomes_of_pages);
	tcase_add_test(tests, a_page_costs_at_most_16_bytes);
	tcase_add_test(tests, a_table_that_cannot_be_made_leaves_nothing);
	tcase_add_test(tests, runs_come_out_as_they_went_in);
	tcase_add_test(tests, a_queue_grows_by_runs_that_are_wanted_alone);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
