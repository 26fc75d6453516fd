/*
 * Write tracking and residency on this machine's kernel, against models of what was written; with threads that write while it is harvested, and with every
 * ioctl failing once.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memmgr/guest_ram.h"
#include "memmgr/os.h"
#include "memmgr/page_residency.h"
#include "memmgr/page_scan.h"
#include "memmgr/uffd.h"
#include "memmgr/write_track.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { HUGE_PAGES = 512, PAGES = 4 * HUGE_PAGES, MOST_RUNS = 64 };
#define HUGE_BYTES ((size_t)HUGE_PAGES * GUEST_PAGE_SIZE)

/* The n-th ioctl fails; -1: none does. */
static int fail_in = -1;

int mem_ioctl(int fd, unsigned long request, void *arg)
{
	return fail_in >= 0 && fail_in-- == 0 ? -EIO : mem_ioctl_kernel(fd, request, arg);
}

/* --- a range that is tracked --- */

struct range {
	int uffd, pagemap;
	uint8_t *hva;
	uint64_t nr;
};

/* huge: in huge pages where the kernel has some. */
static void make(struct range *r, uint64_t nr, bool huge)
{
	struct error err;
	size_t len = nr * GUEST_PAGE_SIZE + HUGE_BYTES;
	uint8_t *at = mem_map_kernel(len);
	ck_assert_ptr_nonnull(at);
	*r = (struct range){.nr = nr, .hva = at + HUGE_BYTES - (uintptr_t)at % HUGE_BYTES};
	ck_assert_int_eq(madvise(r->hva, nr * GUEST_PAGE_SIZE, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE), 0);
	r->uffd = uffd_open(&err);
	ck_assert_msg(r->uffd >= 0, "%s", err.text);
	ck_assert_int_eq(uffd_register(r->uffd, r->hva, nr * GUEST_PAGE_SIZE, UFFD_TRACK), 0);
	r->pagemap = page_scan_open();
	ck_assert_int_ge(r->pagemap, 0);
}

static void unmake(struct range *r)
{
	page_scan_close(r->pagemap);
	close(r->uffd);
	munmap(r->hva, r->nr * GUEST_PAGE_SIZE);
}

static void write_page(const struct range *r, uint64_t page, uint32_t value)
{
	__atomic_store_n((uint32_t *)(r->hva + page * GUEST_PAGE_SIZE), value, __ATOMIC_RELAXED);
}

static uint32_t read_page(const struct range *r, uint64_t page)
{
	return __atomic_load_n((uint32_t *)(r->hva + page * GUEST_PAGE_SIZE), __ATOMIC_RELAXED);
}

/* Marks what a whole harvest, or peek, reports, with an array of max runs. Returns pages. */
static uint64_t collect(const struct range *r, bool peek, unsigned max, bool *seen)
{
	struct write_run runs[MOST_RUNS + 1];
	uint64_t at = 0, pages = 0, end = 0;
	while (at < r->nr) {
		runs[max] = (struct write_run){1234, 5678, 9};
		int nr = peek ? write_track_peek(r->pagemap, r->hva, r->nr, &at, runs, max)
			      : write_track_harvest(r->pagemap, r->hva, r->nr, &at, runs, max);
		ck_assert_int_ge(nr, 0);
		ck_assert_int_le(nr, (int)max);
		ck_assert_uint_eq(runs[max].first, 1234);
		for (int i = 0; i < nr; i++) {
			ck_assert_uint_ge(runs[i].first, end);
			ck_assert_uint_gt(runs[i].nr, 0);
			end = runs[i].first + runs[i].nr;
			ck_assert_uint_le(end, r->nr);
			pages += runs[i].nr;
			for (uint64_t p = runs[i].first; seen && p < end; p++)
				seen[p] = true;
		}
	}
	ck_assert_uint_eq(at, r->nr);
	return pages;
}

static uint64_t harvest(const struct range *r)
{
	return collect(r, false, MOST_RUNS, NULL);
}

START_TEST(what_was_written_is_reported_once_and_nothing_else_is)
{
	static bool model[PAGES], seen[PAGES];
	static const unsigned sizes[] = {1, 2, 7, MOST_RUNS};
	struct range r;
	random_start();
	memset(model, 0, sizeof(model));
	make(&r, PAGES, _i);
	for (uint64_t p = 0; p < PAGES; p += 1 + random_below(3))
		write_page(&r, p, 1);
	ck_assert_int_eq(write_track_begin(r.pagemap, r.hva, r.nr), 0);
	for (int step = 0; step < 300; step++) {
		for (uint64_t n = random_below(random_below(2) ? 4 : 200); n; n--) {
			uint64_t page = random_below(PAGES), run = random_below(8) ? 1 : random_below(40);
			uint64_t end = page + run < PAGES ? page + run : PAGES;
			switch (random_below(8)) {
			case 0:
				/* Reading says nothing, whatever is there. */
				for (uint64_t p = page; p < end; p++)
					(void)read_page(&r, p);
				break;
			case 1:
				/* Gone; it was not written since unless somebody writes it again. */
				ck_assert_int_eq(madvise(r.hva + page * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE, MADV_DONTNEED), 0);
				model[page] = false;
				break;
			default:
				for (uint64_t p = page; p < end; p++) {
					write_page(&r, p, (uint32_t)step);
					model[p] = true;
				}
			}
		}
		for (int again = 0; again < 3; again++) {
			bool peek = again < (int)random_below(3);
			memset(seen, 0, sizeof(seen));
			collect(&r, peek, sizes[random_below(4)], seen);
			for (uint64_t p = 0; p < PAGES; p++) {
				/* Where huge pages are, the neighbours of a first write appear with it. */
				if (_i && seen[p] && !model[p])
					continue;
				ck_assert_msg(seen[p] == model[p], "step %d: page %lu is %s", step, (unsigned long)p,
					      model[p] ? "not reported" : "reported");
			}
			if (!peek)
				memset(model, 0, sizeof(model));
		}
	}
	unmake(&r);
}
END_TEST

/* --- pages are written while they are harvested: a copy that follows the reports must end up the same --- */

enum { WRITERS = 3 };

struct writer {
	pthread_t thread;
	const struct range *range;
	uint64_t seed;
	_Atomic bool *stop;
	uint64_t written;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;
	uint64_t x = w->seed * 2 + 1;
	while (!*w->stop || w->written < 1000) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		write_page(w->range, (x >> 33) % w->range->nr, (uint32_t)(x >> 20));
		w->written++;
	}
	return NULL;
}

/* Copies what is reported. */
static void follow(const struct range *r, uint32_t *copy, unsigned max)
{
	struct write_run runs[MOST_RUNS];
	uint64_t at = 0;
	while (at < r->nr) {
		int nr = write_track_harvest(r->pagemap, r->hva, r->nr, &at, runs, max);
		ck_assert_int_ge(nr, 0);
		for (int i = 0; i < nr; i++)
			for (uint64_t p = runs[i].first; p < runs[i].first + runs[i].nr; p++)
				copy[p] = read_page(r, p);
	}
}

START_TEST(no_write_is_lost_while_threads_write)
{
	static uint32_t copy[PAGES];
	struct range r;
	struct writer writers[WRITERS];
	_Atomic bool stop = false;
	random_start();
	make(&r, PAGES, _i);
	for (uint64_t p = 0; p < PAGES; p += 2)
		write_page(&r, p, 1);
	ck_assert_int_eq(write_track_begin(r.pagemap, r.hva, r.nr), 0);
	for (uint64_t p = 0; p < PAGES; p++)
		copy[p] = read_page(&r, p);
	for (int i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){.range = &r, .seed = random_bits(), .stop = &stop};
		ck_assert_int_eq(pthread_create(&writers[i].thread, NULL, write_on, &writers[i]), 0);
	}
	for (int round = 0; round < 200; round++) {
		follow(&r, copy, round % 2 ? MOST_RUNS : 3);
		if (round % 16 == 0)
			usleep(1000);
	}
	stop = true;
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
	follow(&r, copy, MOST_RUNS);
	for (uint64_t p = 0; p < PAGES; p++)
		ck_assert_msg(copy[p] == read_page(&r, p), "page %lu was written without being reported", (unsigned long)p);
	ck_assert_uint_eq(harvest(&r), 0);
	unmake(&r);
}
END_TEST

START_TEST(the_first_write_to_a_huge_page_is_reported_as_one_small_page)
{
	struct range r;
	struct page_residency counts;
	struct write_run run;
	uint64_t at = 0;
	make(&r, PAGES, true);
	for (uint64_t p = 0; p < PAGES; p++)
		write_page(&r, p, 1);
	ck_assert_int_eq(page_residency(r.pagemap, r.hva, r.nr, &counts), 0);
	ck_assert_uint_eq(counts.present, PAGES);
	if (counts.huge < PAGES) {
		printf("skipped: the kernel gave huge pages for %lu of %d pages\n", (unsigned long)counts.huge, PAGES);
		unmake(&r);
		return;
	}
	ck_assert_int_eq(write_track_peek(r.pagemap, r.hva, r.nr, &at, &run, 1), 1);
	ck_assert_uint_eq(run.nr, PAGES);
	ck_assert_uint_eq(run.flags, WRITE_RUN_HUGE);
	ck_assert_int_eq(write_track_begin(r.pagemap, r.hva, r.nr), 0);
	ck_assert_int_eq(page_residency(r.pagemap, r.hva, r.nr, &counts), 0);
	ck_assert_uint_eq(counts.huge, PAGES);
	ck_assert_uint_eq(harvest(&r), 0);
	write_page(&r, HUGE_PAGES + 77, 2);
	at = 0;
	ck_assert_int_eq(write_track_harvest(r.pagemap, r.hva, r.nr, &at, &run, 1), 1);
	ck_assert_uint_eq(run.first, HUGE_PAGES + 77);
	ck_assert_uint_eq(run.nr, 1);
	ck_assert_uint_eq(run.flags, 0);
	/* That one is mapped by small pages from then on; the others are not. */
	ck_assert_int_eq(page_residency(r.pagemap, r.hva, r.nr, &counts), 0);
	ck_assert_uint_eq(counts.huge, PAGES - HUGE_PAGES);
	ck_assert_uint_eq(counts.present, PAGES);
	unmake(&r);
}
END_TEST

static unsigned long page_table_kib(void)
{
	char line[256];
	unsigned long kib = 0;
	FILE *status = fopen("/proc/self/status", "re");
	ck_assert_ptr_nonnull(status);
	while (fgets(line, sizeof(line), status))
		if (strncmp(line, "VmPTE:", 6) == 0)
			kib = strtoul(line + 6, NULL, 10);
	ck_assert_int_eq(fclose(status), 0);
	return kib;
}

START_TEST(holes_are_neither_protected_nor_reported)
{
	/* 64 GiB: markers in all of its holes would take 128 MiB of page tables. */
	struct range r;
	struct page_residency counts;
	make(&r, 64ull << 18, false);
	write_page(&r, 5, 1);
	write_page(&r, r.nr - 3, 1);
	unsigned long before = page_table_kib();
	ck_assert_int_eq(write_track_begin(r.pagemap, r.hva, r.nr), 0);
	ck_assert_uint_eq(harvest(&r), 0);
	ck_assert_uint_le(page_table_kib(), before + 64);
	/* The neighbours within a page table are holes still: neither swapped nor present. */
	ck_assert_int_eq(page_residency(r.pagemap, r.hva, r.nr, &counts), 0);
	ck_assert_uint_eq(counts.present, 2);
	ck_assert_uint_eq(counts.swapped, 0);
	write_page(&r, r.nr / 2, 1);
	write_page(&r, 6, 1);
	ck_assert_uint_eq(harvest(&r), 2);
	ck_assert_uint_eq(harvest(&r), 0);
	unmake(&r);
}
END_TEST

START_TEST(zero_pages_are_clean_until_they_are_written)
{
	struct range r;
	struct page_residency counts;
	make(&r, PAGES, _i);
	ck_assert_int_eq(write_track_begin(r.pagemap, r.hva, r.nr), 0);
	for (uint64_t p = 0; p < PAGES; p += 2)
		ck_assert_uint_eq(read_page(&r, p), 0);
	ck_assert_int_eq(page_residency(r.pagemap, r.hva, r.nr, &counts), 0);
	ck_assert_uint_ge(counts.present, PAGES / 2);
	ck_assert_uint_eq(counts.zero, counts.present);
	ck_assert_uint_eq(harvest(&r), 0);
	write_page(&r, 4, 1);
	uint64_t written = harvest(&r);
	if (_i == 0)
		ck_assert_uint_eq(written, 1);
	else
		ck_assert_uint_ge(written, 1);
	ck_assert_int_eq(page_residency(r.pagemap, r.hva, r.nr, &counts), 0);
	ck_assert_uint_eq(counts.zero, counts.present - written);
	unmake(&r);
}
END_TEST

START_TEST(each_ioctl_may_fail_once)
{
	struct range r;
	struct write_run runs[MOST_RUNS];
	struct page_residency counts = {.present = 42};
	uint64_t at;
	make(&r, PAGES, false);
	for (uint64_t p = 0; p < PAGES; p += 2)
		write_page(&r, p, 1);
	/* More runs than fit into one ioctl. */
	int nr;
	for (nr = 0;; nr++) {
		fail_in = nr;
		int ret = write_track_begin(r.pagemap, r.hva, r.nr);
		bool failed = fail_in < 0;
		fail_in = -1;
		ck_assert_int_eq(ret, failed ? -EIO : 0);
		if (!failed)
			break;
		/* Nothing is known of the rest: written again, it all is tracked. */
		for (uint64_t p = 0; p < PAGES; p += 2)
			write_page(&r, p, 1);
	}
	ck_assert_int_ge(nr, 8);
	write_page(&r, 8, 1);
	for (int mode = 0; mode < 2; mode++) {
		at = 3;
		fail_in = 0;
		int ret = mode ? write_track_peek(r.pagemap, r.hva, r.nr, &at, runs, MOST_RUNS)
			       : write_track_harvest(r.pagemap, r.hva, r.nr, &at, runs, MOST_RUNS);
		ck_assert_int_eq(ret, -EIO);
		ck_assert_uint_eq(at, 3);
	}
	/* It failed before it reached the kernel, so that nothing is lost. */
	ck_assert_uint_eq(harvest(&r), 1);
	for (nr = 0;; nr++) {
		fail_in = nr;
		int ret = page_residency(r.pagemap, r.hva, r.nr, &counts);
		bool failed = fail_in < 0;
		fail_in = -1;
		if (!failed) {
			ck_assert_int_eq(ret, 0);
			break;
		}
		ck_assert_int_eq(ret, -EIO);
		ck_assert_uint_eq(counts.present, 42);
	}
	ck_assert_int_ge(nr, 8);
	ck_assert_uint_eq(counts.present, PAGES / 2);
	unmake(&r);
}
END_TEST

START_TEST(what_is_not_registered_is_refused)
{
	struct range r;
	struct write_run run;
	struct page_residency counts;
	uint64_t at = 0;
	make(&r, PAGES, false);
	uint8_t *other = mem_map_kernel(GUEST_PAGE_SIZE);
	ck_assert_ptr_nonnull(other);
	other[0] = 1;
	ck_assert_int_eq(write_track_begin(r.pagemap, other, 1), -EPERM);
	ck_assert_int_eq(write_track_harvest(r.pagemap, other, 1, &at, &run, 1), -EPERM);
	ck_assert_uint_eq(at, 0);
	/* What lies there can be counted nevertheless. */
	ck_assert_int_eq(page_residency(r.pagemap, other, 1, &counts), 0);
	ck_assert_uint_eq(counts.present, 1);
	ck_assert_int_eq(page_residency(-1, other, 1, &counts), -EBADF);
	ck_assert_int_eq(write_track_begin(-1, r.hva, r.nr), -EBADF);
	/* Nothing to do. */
	ck_assert_int_eq(write_track_begin(-1, r.hva, 0), 0);
	at = r.nr;
	ck_assert_int_eq(write_track_harvest(r.pagemap, r.hva, r.nr, &at, &run, 1), 0);
	munmap(other, GUEST_PAGE_SIZE);
	unmake(&r);
}
END_TEST

static atomic_bool stop_aging;
static uint8_t *aging[2];

static void *age_main(void *arg)
{
	struct range *r = arg;
	while (!stop_aging)
		for (unsigned i = 0; i < 2; i++)
			madvise(aging[i], r->nr * GUEST_PAGE_SIZE, MADV_COLD);
	return NULL;
}

/* The kernel ages pages while they are moved: then Linux 6.18 moves some, and says that something is in their place. */
START_TEST(what_was_moved_is_told_whatever_the_kernel_says)
{
	enum { NR = 8, ROUNDS = 30000 };
	struct range r;
	pthread_t ager;
	make(&r, NR, false);
	uint8_t *ends[2] = {r.hva, mem_map_kernel(NR * GUEST_PAGE_SIZE)};
	ck_assert_ptr_nonnull(ends[1]);
	for (uint32_t page = 0; page < NR; page++)
		write_page(&r, page, page + 1);
	for (unsigned i = 0; i < 2; i++) {
		madvise(ends[i], NR * GUEST_PAGE_SIZE, MADV_NOHUGEPAGE);
		ck_assert_int_eq(uffd_register(r.uffd, ends[i], NR * GUEST_PAGE_SIZE, UFFD_TRACK), 0);
	}
	memcpy(aging, ends, sizeof(aging));
	stop_aging = false;
	ck_assert_int_eq(pthread_create(&ager, NULL, age_main, &r), 0);
	for (unsigned round = 0; round < 2 * ROUNDS; round++) {
		uint8_t *from = ends[round % 2], *to = ends[!(round % 2)];
		for (uint64_t done = 0; done < NR * GUEST_PAGE_SIZE;) {
			int64_t ret = uffd_move(r.uffd, r.pagemap, to + done, from + done, NR * GUEST_PAGE_SIZE - done, false);
			ck_assert_msg(ret > 0 || ret == -EAGAIN || ret == -EBUSY, "%s", strerror((int)-ret));
			done += ret > 0 ? (uint64_t)ret : 0;
		}
		/* Only a page that was touched can age. */
		for (uint32_t page = 0; page < NR; page++)
			ck_assert_uint_eq(*(volatile uint32_t *)(to + (uint64_t)page * GUEST_PAGE_SIZE), page + 1);
	}
	stop_aging = true;
	pthread_join(ager, NULL);
	for (uint32_t page = 0; page < NR; page++)
		ck_assert_uint_eq(read_page(&r, page), page + 1);
	ck_assert_uint_eq(uffd_are_there(r.pagemap, r.hva, NR), NR);
	ck_assert_uint_eq(uffd_are_there(r.pagemap, ends[1], NR), 0);
	munmap(ends[1], NR * GUEST_PAGE_SIZE);
	unmake(&r);
}
END_TEST

START_TEST(a_page_that_was_moved_out_and_back_counts_as_written)
{
	struct range r;
	make(&r, PAGES, false);
	uint8_t *limbo = mem_map_kernel(GUEST_PAGE_SIZE);
	ck_assert_ptr_nonnull(limbo);
	for (int dirty = 0; dirty < 2; dirty++) {
		write_page(&r, 9, 77);
		ck_assert_int_eq(write_track_begin(r.pagemap, r.hva, r.nr), 0);
		if (dirty)
			write_page(&r, 9, 78);
		/* Both ends must be registered to be moved to. */
		ck_assert_int_eq(uffd_register(r.uffd, limbo, GUEST_PAGE_SIZE, UFFD_TRACK), 0);
		ck_assert_int_eq(uffd_move(r.uffd, r.pagemap, limbo, r.hva + 9ul * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE, true),
				 GUEST_PAGE_SIZE);
		/* While it is away, it cannot be reported. */
		ck_assert_uint_eq(harvest(&r), 0);
		ck_assert_int_eq(uffd_move(r.uffd, r.pagemap, r.hva + 9ul * GUEST_PAGE_SIZE, limbo, GUEST_PAGE_SIZE, true),
				 GUEST_PAGE_SIZE);
		ck_assert_uint_eq(harvest(&r), 1);
		ck_assert_uint_eq(read_page(&r, 9), dirty ? 78 : 77);
	}
	munmap(limbo, GUEST_PAGE_SIZE);
	unmake(&r);
}
END_TEST

int main(void)
{
	struct error err;
	int uffd = uffd_open(&err);
	if (uffd < 0) {
		printf("skipped: %s\n", err.text);
		return EXIT_SUCCESS;
	}
	close(uffd);
	Suite *suite = suite_create("write track");
	TCase *tests = tcase_create("tracking");
	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, what_was_written_is_reported_once_and_nothing_else_is, 0, 2);
	tcase_add_loop_test(tests, no_write_is_lost_while_threads_write, 0, 2);
	tcase_add_test(tests, the_first_write_to_a_huge_page_is_reported_as_one_small_page);
	tcase_add_test(tests, holes_are_neither_protected_nor_reported);
	tcase_add_loop_test(tests, zero_pages_are_clean_until_they_are_written, 0, 2);
	tcase_add_test(tests, each_ioctl_may_fail_once);
	tcase_add_test(tests, what_is_not_registered_is_refused);
	tcase_add_test(tests, what_was_moved_is_told_whatever_the_kernel_says);
	tcase_add_test(tests, a_page_that_was_moved_out_and_back_counts_as_written);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
