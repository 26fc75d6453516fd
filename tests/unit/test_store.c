/* The store of compressed pages: whatever happens to clusters, what is read is what was put, or an error. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memmgr/os.h"
#include "memmgr/store.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

#define PAGE 4096u
#define NR_PAGES 6000u

/* --- the doors, which fail when a test wants it --- */

static atomic_long countdown = -1; /* so many calls succeed, then one fails; -1: all succeed */
static atomic_long live;           /* allocations that were not freed */
static atomic_int io_fails;        /* -errno for transfers; */
static atomic_int io_percent;      /* so many of a hundred of them */
static atomic_bool io_damages;     /* reads bring wrong bytes instead */

static atomic_bool has_failed; /* the countdown has come to its end */

static bool fails(void)
{
	bool now = atomic_load(&countdown) >= 0 && atomic_fetch_sub(&countdown, 1) == 0;
	if (now)
		atomic_store(&has_failed, true);
	return now;
}

void *mem_calloc(size_t nr, size_t size)
{
	void *memory = fails() ? NULL : calloc(nr, size);
	atomic_fetch_add(&live, memory != NULL);
	return memory;
}

void mem_free(void *memory)
{
	atomic_fetch_sub(&live, memory != NULL);
	free(memory);
}

void *mem_map(size_t len)
{
	return fails() ? NULL : mem_map_kernel(len);
}

int mem_madvise(void *start, size_t len, int advice)
{
	return fails() ? -ENOMEM : mem_madvise_kernel(start, len, advice);
}

int mem_io_result(int is_write, void *data, size_t len, int res)
{
	static atomic_uint calls;
	unsigned call = atomic_fetch_add(&calls, 1);
	if (call * 61 % 100 >= (unsigned)atomic_load(&io_percent))
		return res;
	if (!is_write && atomic_load(&io_damages)) {
		for (size_t i = call % 97; i < len; i += 97)
			((uint8_t *)data)[i] ^= 0x10;
		return res;
	}
	return atomic_load(&io_fails) ? atomic_load(&io_fails) : res;
}

/* --- content --- */

static uint64_t scatter(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* A page of which the seed says everything: random, hardly compressible, words, records, nearly empty. */
static void fill(uint64_t seed, uint8_t *page)
{
	static const char words[8][9] = {"memory  ", "cluster ", "offset  ", "kernel  ",
					 "sealed  ", "writer  ", "page    ", "the     "};
	uint64_t x = scatter(seed + 1), *quads = (uint64_t *)page;
	for (unsigned i = 0; i < PAGE / 8; i++) {
		x = scatter(x + i);
		switch (seed % 8) {
		case 0:
			quads[i] = x;
			break;
		case 1:
			quads[i] = i % 2 ? x : 0;
			break;
		case 2:
		case 3:
		case 4:
			memcpy(page + 8 * i, words[x & 7], 8);
			if (x >> 60 == 0)
				page[8 * i] = (uint8_t)(x >> 8);
			break;
		case 5:
		case 6:
			quads[i] = i % 3 == 0 ? 0xffff888000000000ull | (x & 0xfffff8) : i % 3 == 1 ? (x & 0xff) : 0;
			break;
		default:
			quads[i] = i == 100 && seed & 8 ? x : 0; /* or empty */
		}
	}
}

static bool is_page(uint64_t seed, const uint8_t *page)
{
	static __thread uint64_t expected[PAGE / 8];
	fill(seed, (uint8_t *)expected);
	return memcmp(expected, page, PAGE) == 0;
}

/* --- fixture --- */

static struct store *s;
static struct store_writer *writer;
static struct swap_file *swap;
static struct store_io *io;
static struct error err;

static void open_swap(void)
{
	struct swap_file_params params = {.directory = NULL, .fd = memfd_create("store", MFD_CLOEXEC)};
	ck_assert_int_ge(params.fd, 0);
	ck_assert_msg(swap_file_open(&params, &swap, &err) == 0, "%s", err.text);
}

static void start(bool disk)
{
	swap = NULL;
	io = NULL;
	if (disk)
		open_swap();
	struct store_params params = {.nr_pages = NR_PAGES * 4, .swap = swap};
	ck_assert_msg(store_create(&params, &s, &err) == 0, "%s", err.text);
	ck_assert_int_eq(store_writer_create(s, &writer), 0);
	if (disk)
		ck_assert_msg(store_io_create(s, &io, &err) == 0, "%s", err.text);
}

static void stop(void)
{
	store_io_destroy(io);
	store_writer_destroy(writer);
	store_destroy(s);
	if (swap) {
		ck_assert_uint_eq(swap_file_used(swap), 0);
		swap_file_close(swap);
	}
	ck_assert_int_eq(atomic_load(&live), 0);
}

static void reset_doors(void)
{
	atomic_store(&countdown, -1);
	atomic_store(&live, 0);
	atomic_store(&io_fails, 0);
	atomic_store(&io_percent, 0);
	atomic_store(&io_damages, false);
}

/* --- the model: which page is where, and its content --- */

struct model_page {
	store_ref ref; /* 0: not in the store */
	uint64_t seed;
};

static struct model_page model[NR_PAGES];
static uint8_t buffer[PAGE] __attribute__((aligned(8)));
static uint8_t disk_buffer[STORE_DISK_BUFFER] __attribute__((aligned(PAGE)));
static uint64_t from_disk; /* pages that were read by themselves */

static void put(uint32_t page_nr, uint64_t seed, enum store_method method)
{
	struct model_page *m = &model[page_nr];
	store_ref ref = 0;
	fill(seed, buffer);
	int ret = store_put(writer, page_nr, buffer, method, &ref);
	ck_assert_msg(ret == (seed % 8 == 0 && method != STORE_RAW ? -E2BIG : 0), "page %u, kind %u, method %u: %d", page_nr,
		      (unsigned)(seed % 8), method, ret);
	if (ret)
		return;
	ck_assert_uint_ne(ref, 0);
	ck_assert_uint_eq(ref >> STORE_REF_BITS, 0);
	ck_assert_uint_le(store_size(s, ref), method == STORE_RAW ? PAGE : STORE_WORTHWHILE - 1);
	if (m->ref)
		store_drop(s, m->ref);
	*m = (struct model_page){ref, seed};
}

static struct store_done done[64];

static size_t reap(bool wait)
{
	return store_io_reap(io, wait, done, 64);
}

static void settle(void)
{
	while (store_io_pending(io))
		reap(true);
}

/* Reads the page, from disk if it must be; what comes is right, or -EIO. */
static int get(uint32_t page_nr)
{
	const struct model_page *m = &model[page_nr];
	for (unsigned tries = 0; tries < 100; tries++) {
		memset(buffer, 0xee, sizeof(buffer));
		int ret = store_get(s, m->ref, buffer);
		if (ret == 0)
			ck_assert_msg(is_page(m->seed, buffer), "page %u has wrong bytes", page_nr);
		if (ret != -EAGAIN)
			return ret;
		ck_assert_ptr_nonnull(io);
		if (random_below(2)) {
			ret = store_get_from_disk(s, m->ref, disk_buffer, buffer, &(uint32_t){0});
			ck_assert_msg(ret || is_page(m->seed, buffer), "page %u from disk has wrong bytes", page_nr);
			ck_assert(ret == 0 || ret == -EAGAIN || ret == -EIO);
			from_disk += ret == 0;
			if (ret == 0)
				return 0;
		}
		ret = store_load_begin(io, m->ref);
		ck_assert(ret == 0 || ret == -EALREADY || ret == -EBUSY);
		size_t nr = reap(true);
		for (size_t i = 0; i < nr; i++)
			if (done[i].result && !done[i].is_write && done[i].ref >> STORE_SLOT_BITS == m->ref >> STORE_SLOT_BITS)
				return done[i].result;
	}
	return -ETIMEDOUT;
}

static void drop(uint32_t page_nr)
{
	store_drop(s, model[page_nr].ref);
	model[page_nr].ref = 0;
}

/* What store_pick_*() returned: live pages, each of which is put again. */
static void put_again(const struct store_item *items, size_t nr, enum store_method method)
{
	for (size_t i = 0; i < nr; i++) {
		ck_assert_uint_lt(items[i].page_nr, NR_PAGES);
		struct model_page *m = &model[items[i].page_nr];
		ck_assert_uint_eq(m->ref, items[i].ref);
		ck_assert_int_eq(get(items[i].page_nr), 0);
		if (m->seed % 8 != 0)
			put(items[i].page_nr, m->seed, method);
	}
}

static void check_all(void)
{
	struct store_stats stats;
	uint64_t live_pages = 0, bytes = 0;
	for (uint32_t i = 0; i < NR_PAGES; i++) {
		if (!model[i].ref)
			continue;
		live_pages++;
		ck_assert_int_eq(get(i), 0);
		bytes += store_size(s, model[i].ref);
	}
	if (io)
		settle();
	store_get_stats(s, &stats);
	ck_assert_uint_eq(stats.pages_ram + stats.pages_disk, live_pages);
	if (!stats.pages_disk)
		ck_assert_uint_eq(stats.data_bytes, bytes);
	ck_assert_uint_ge(stats.ram_bytes, stats.data_bytes);
}

/* Each cluster is met once when going from the last to the first, and back. */
static void check_order(void)
{
	size_t forward = 0, backward = 0;
	store_ref first = 0;
	for (store_ref at = store_cluster_last(s); at; at = store_cluster_prev(s, at), backward++)
		first = at;
	for (store_ref at = first; at; at = store_cluster_next(s, at))
		forward++;
	ck_assert_uint_eq(forward, backward);
}

static void random_operations(unsigned nr, bool disk)
{
	static struct store_item items[STORE_CLUSTER_SLOTS];
	for (unsigned round = 0; round < nr; round++) {
		uint32_t page_nr = (uint32_t)random_below(NR_PAGES);
		unsigned draw = (unsigned)random_below(100);
		if (draw < 45) {
			unsigned method = (unsigned)random_below(16);
			put(page_nr, random_bits(), method < 6 ? STORE_DENSE : method == 6 ? STORE_RAW : STORE_FAST);
		} else if (draw < 70 && model[page_nr].ref) {
			ck_assert_int_eq(get(page_nr), 0);
		} else if (draw < 90 && model[page_nr].ref) {
			drop(page_nr);
		} else if (draw == 90) {
			enum store_method method = STORE_FAST;
			size_t picked = store_pick_sparse(s, 30, items, STORE_CLUSTER_SLOTS, &method);
			put_again(items, picked, method);
		} else if (draw == 91 && random_below(8) == 0) {
			put_again(items, store_pick_cold(s, 0, items, STORE_CLUSTER_SLOTS), STORE_DENSE);
		} else if (draw == 92 && model[page_nr].ref) {
			size_t self, of_cluster = store_cluster_items(s, model[page_nr].ref, items, STORE_CLUSTER_SLOTS, &self);
			ck_assert_uint_lt(self, of_cluster);
			ck_assert_uint_eq(items[self].ref, model[page_nr].ref);
			ck_assert_uint_eq(items[self].page_nr, page_nr);
		} else if (draw == 93 && random_below(8) == 0) {
			store_writer_flush(writer);
		} else if (draw >= 94 && draw < 97 && disk) {
			ck_assert_int_ge(store_write_begin(io, 1 + (unsigned)random_below(4)), 0);
		} else if (draw >= 97 && disk) {
			reap(false);
		}
	}
}

/* --- tests --- */

static void set_up(void)
{
	reset_doors();
	memset(model, 0, sizeof(model));
	random_start();
}

START_TEST(what_was_put_is_read)
{
	start(false);
	random_operations(60000, false);
	check_all();
	check_order();
	stop();
}
END_TEST

START_TEST(what_was_written_to_disk_is_read)
{
	start(true);
	random_operations(60000, true);
	check_all();
	check_order();
	for (uint32_t i = 0; i < NR_PAGES; i++)
		if (model[i].ref)
			drop(i);
	settle();
	struct store_stats stats;
	store_get_stats(s, &stats);
	ck_assert_uint_eq(stats.pages_ram + stats.pages_disk + stats.data_bytes, 0);
	ck_assert_uint_gt(stats.clusters_written, 0);
	ck_assert_uint_gt(stats.clusters_read, 0);
	ck_assert_uint_gt(from_disk, 0);
	stop();
}
END_TEST

START_TEST(all_of_it_can_go_to_disk_and_come_back)
{
	struct store_stats stats;
	start(true);
	for (uint32_t i = 0; i < NR_PAGES; i++)
		put(i, random_bits(), i % 8 == 7 ? STORE_RAW : STORE_FAST);
	store_get_stats(s, &stats);
	uint64_t before = stats.ram_bytes;
	store_writer_flush(writer);
	while (store_write_begin(io, 8) > 0)
		reap(true);
	settle();
	store_get_stats(s, &stats);
	ck_assert_uint_eq(stats.pages_ram, 0);
	ck_assert_uint_eq(stats.data_bytes, 0);
	ck_assert_uint_lt(stats.ram_bytes, before / 2);
	for (uint32_t i = 0; i < NR_PAGES; i++)
		ck_assert(!model[i].ref || store_is_on_disk(s, model[i].ref));
	check_all();
	/* All are loaded now: their RAM is given back without writing. */
	uint64_t written = stats.clusters_written;
	while (store_write_begin(io, 8) > 0)
		;
	store_get_stats(s, &stats);
	ck_assert_uint_eq(stats.clusters_written, written);
	ck_assert_uint_eq(stats.pages_ram, 0);
	check_all();
	stop();
}
END_TEST

START_TEST(one_page_comes_from_disk_by_itself)
{
	struct swap_file_stats before, after;
	unsigned read = 0;
	start(true);
	for (uint32_t i = 0; i < NR_PAGES; i++)
		put(i, 8 * i + i % 8, i % 8 == 0 ? STORE_RAW : i % 8 == 1 ? STORE_DENSE : STORE_FAST);
	/* What is in RAM, or nowhere, is not on disk. */
	ck_assert_int_eq(store_get_from_disk(s, model[1].ref, disk_buffer, buffer, &(uint32_t){0}), -EAGAIN);
	ck_assert_int_eq(store_get_from_disk(s, 0, disk_buffer, buffer, &(uint32_t){0}), -EAGAIN);
	store_writer_flush(writer);
	while (store_write_begin(io, 8) > 0)
		reap(true);
	settle();
	swap_file_get_stats(swap, &before);
	for (uint32_t i = 0; i < NR_PAGES; i++) {
		int ret = store_get_from_disk(s, model[i].ref, disk_buffer, buffer, &(uint32_t){0});
		ck_assert(ret == 0 || ret == -EAGAIN);
		if (ret)
			continue;
		read++;
		ck_assert_msg(is_page(model[i].seed, buffer), "page %u has wrong bytes", i);
		ck_assert(store_is_on_disk(s, model[i].ref));
	}
	swap_file_get_stats(swap, &after);
	ck_assert_uint_gt(read, NR_PAGES / 2);
	ck_assert_uint_le(after.read_bytes - before.read_bytes, (uint64_t)read * STORE_DISK_BUFFER);
	/* Damage is never taken for bytes. */
	atomic_store(&io_damages, true);
	atomic_store(&io_percent, 100);
	unsigned refused = 0;
	for (uint32_t i = 0; i < NR_PAGES; i++) {
		int ret = store_get_from_disk(s, model[i].ref, disk_buffer, buffer, &(uint32_t){0});
		ck_assert(ret || is_page(model[i].seed, buffer));
		refused += ret == -EIO;
	}
	ck_assert_uint_gt(refused, 0);
	atomic_store(&io_percent, 0);
	check_all();
	stop();
}
END_TEST

START_TEST(the_limit_holds)
{
	start(false);
	uint64_t limit = 4 << 20;
	store_set_ram_limit(s, limit);
	int ret = 0;
	store_ref ref;
	uint32_t i;
	for (i = 0; i < NR_PAGES && !ret; i++) {
		fill(8 * i + 2, buffer);
		ret = store_put(writer, i, buffer, STORE_FAST, &ref);
		if (!ret)
			model[i] = (struct model_page){ref, 8 * i + 2};
	}
	ck_assert_int_eq(ret, -ENOSPC);
	struct store_stats stats;
	store_get_stats(s, &stats);
	ck_assert_uint_le(stats.ram_bytes, limit);
	check_all();
	store_set_ram_limit(s, 0);
	put(i, 8 * i + 2, STORE_FAST);
	check_all();
	stop();
}
END_TEST

START_TEST(little_is_lost_beside_the_data)
{
	start(false);
	for (uint32_t i = 0; i < NR_PAGES; i++)
		put(i, 8 * i + 2 + i % 5, STORE_FAST);
	store_writer_flush(writer);
	struct store_stats stats;
	store_get_stats(s, &stats);
	/* 8 bytes a page, 64 a cluster, the rest of whole pages; and once: compressor. */
	ck_assert_uint_le(stats.ram_bytes, stats.data_bytes + stats.data_bytes / 20 + 8 * NR_PAGES + (400 << 10));
	stop();
}
END_TEST

START_TEST(pages_outlive_those_of_their_chain)
{
	for (unsigned disk = 0; disk < 2; disk++) {
		memset(model, 0, sizeof(model));
		start(disk);
		for (uint32_t i = 0; i < NR_PAGES; i++)
			put(i, 8 * i + 2 + i % 5, STORE_DENSE);
		store_writer_flush(writer);
		for (uint32_t i = 0; i < NR_PAGES; i++)
			if (i % 7 != 3)
				drop(i);
		while (disk && store_write_begin(io, 8) > 0)
			reap(true);
		if (disk)
			settle();
		check_all();
		/* Those that are left, in an order that no chain has. */
		for (uint32_t i = 0; i < NR_PAGES; i++) {
			uint32_t page_nr = i * 1009 % NR_PAGES;
			if (model[page_nr].ref)
				ck_assert_int_eq(get(page_nr), 0);
		}
		stop();
	}
}
END_TEST

START_TEST(a_sparse_cluster_tells_how_it_was_put)
{
	static struct store_item items[STORE_CLUSTER_SLOTS];
	static const enum store_method methods[] = {STORE_FAST, STORE_DENSE, STORE_RAW};
	for (unsigned i = 0; i < 3; i++) {
		enum store_method method = methods[(i + 1) % 3];
		start(false);
		for (uint32_t page_nr = 0; page_nr < 500; page_nr++)
			put(page_nr, 8 * page_nr + 2, methods[i]);
		store_writer_flush(writer);
		for (uint32_t page_nr = 0; page_nr < 500; page_nr++)
			if (page_nr % 2)
				drop(page_nr);
		ck_assert_uint_gt(store_pick_sparse(s, 10, items, STORE_CLUSTER_SLOTS, &method), 0);
		ck_assert_int_eq(method, methods[i]);
		check_all();
		stop();
		memset(model, 0, sizeof(model));
	}
}
END_TEST

START_TEST(damaged_records_never_give_wrong_bytes)
{
	start(true);
	for (uint32_t i = 0; i < NR_PAGES; i++)
		put(i, 8 * i + 1 + i % 7, i % 50 == 0 ? STORE_RAW : i % 3 ? STORE_FAST : STORE_DENSE);
	store_writer_flush(writer);
	while (store_write_begin(io, 8) > 0)
		reap(true);
	settle();
	atomic_store(&io_damages, true);
	atomic_store(&io_percent, 50);
	unsigned damaged = 0;
	for (uint32_t i = 0; i < NR_PAGES; i++) {
		int ret = get(i);
		ck_assert(ret == 0 || ret == -EIO);
		damaged += ret == -EIO;
	}
	ck_assert_uint_gt(damaged, 0);
	/* It was the transfer: the next one brings what was written. */
	atomic_store(&io_percent, 0);
	check_all();
	stop();
}
END_TEST

START_TEST(failed_transfers_change_nothing)
{
	start(true);
	for (uint32_t i = 0; i < NR_PAGES; i++)
		put(i, 8 * i + 1 + i % 7, STORE_FAST);
	store_writer_flush(writer);
	atomic_store(&io_fails, -EIO);
	atomic_store(&io_percent, 40);
	unsigned failed = 0;
	for (unsigned round = 0; round < 200; round++) {
		int ret = store_write_begin(io, 8);
		ck_assert(ret >= 0 || ret == -EIO);
		failed += ret == -EIO;
		reap(true);
	}
	settle();
	ck_assert_uint_gt(failed, 0);
	unsigned unread = 0;
	for (uint32_t i = 0; i < NR_PAGES; i++) {
		int ret = get(i);
		ck_assert(ret == 0 || ret == -EIO);
		unread += ret == -EIO;
	}
	ck_assert_uint_gt(unread, 0);
	struct store_stats stats;
	store_get_stats(s, &stats);
	ck_assert_uint_gt(stats.io_errors, 0);
	atomic_store(&io_percent, 0);
	store_write_begin(io, 0);
	check_all();
	stop();
}
END_TEST

START_TEST(a_full_file_is_told_and_costs_nothing)
{
	start(true);
	swap_file_set_limit(swap, 256 << 10);
	for (uint32_t i = 0; i < NR_PAGES; i++)
		put(i, 8 * i + 1 + i % 7, STORE_FAST);
	store_writer_flush(writer);
	int ret = 0;
	for (unsigned round = 0; round < 50 && ret >= 0; round++) {
		ret = store_write_begin(io, 4);
		settle();
	}
	ck_assert_int_eq(ret, -ENOSPC);
	check_all();
	stop();
}
END_TEST

/* A life of the store in which an allocation, mapping or advice may fail: whatever does not succeed says so, and nothing else is lost. */
static void live_with_failures(void)
{
	struct store_params params = {.nr_pages = NR_PAGES, .swap = swap};
	s = NULL;
	writer = NULL;
	io = NULL;
	memset(model, 0, sizeof(model));
	if (store_create(&params, &s, &err)) {
		ck_assert_msg(strstr(err.text, "compressed memory") != NULL, "%s", err.text);
		return;
	}
	int ret = store_writer_create(s, &writer);
	if (!ret)
		ret = store_io_create(s, &io, &err);
	if (ret)
		goto out;
	for (uint32_t i = 0; i < 160; i++) {
		store_ref ref;
		fill(8 * i + 1 + i % 7, buffer);
		ret = store_put(writer, i, buffer, i % 8 == 7 ? STORE_DENSE : STORE_FAST, &ref);
		ck_assert(ret == 0 || ret == -ENOMEM || ret == -ENOSPC);
		if (!ret)
			model[i] = (struct model_page){ref, 8 * i + 1 + i % 7};
	}
	store_writer_flush(writer);
	for (unsigned round = 0; round < 8; round++) {
		ret = store_write_begin(io, 2);
		ck_assert(ret >= 0 || ret == -ENOMEM || ret == -ENOSPC);
		settle();
	}
	for (uint32_t i = 0; i < 160; i++) {
		ret = model[i].ref ? get(i) : 0;
		ck_assert_msg(ret == 0 || ret == -ENOMEM, "%d", ret);
		if (model[i].ref && i % 2)
			drop(i);
	}
	atomic_store(&countdown, -1);
	check_all();
out:
	atomic_store(&countdown, -1);
	store_io_destroy(io);
	store_writer_destroy(writer);
	store_destroy(s);
}

START_TEST(every_allocation_and_advice_may_fail)
{
	open_swap();
	long allocated = atomic_load(&live), n = 0;
	do {
		atomic_store(&has_failed, false);
		atomic_store(&countdown, n++);
		live_with_failures();
		ck_assert_int_eq(atomic_load(&live), allocated);
		ck_assert_uint_eq(swap_file_used(swap), 0);
	} while (atomic_load(&has_failed));
	ck_assert_int_gt(n, 20);
	swap_file_close(swap);
}
END_TEST

START_TEST(references_that_never_were_are_refused)
{
	start(true);
	static const store_ref bad[] = {0, 1, 255, 0xffffffffffull, 1 << 8, 500 << 8, ~0ull};
	struct store_item items[4];
	size_t self;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_int_eq(store_get(s, bad[i], buffer), -EINVAL);
		ck_assert_int_eq(store_load_begin(io, bad[i]), -EINVAL);
		ck_assert_uint_eq(store_cluster_next(s, bad[i]), 0);
		ck_assert_uint_eq(store_cluster_items(s, bad[i], items, 4, &self), 0);
	}
	struct store_params none = {.nr_pages = 0};
	struct store *other;
	ck_assert_int_eq(store_create(&none, &other, &err), -EINVAL);
	store_destroy(NULL);
	store_writer_destroy(NULL);
	store_io_destroy(NULL);
	stop();
}
END_TEST

START_TEST(marks_and_cold_clusters_are_kept)
{
	static struct store_item items[STORE_CLUSTER_SLOTS];
	start(false);
	for (uint32_t i = 0; i < 500; i++)
		put(i, 8 * i + 2, STORE_FAST);
	store_set_mark(s, model[0].ref, 77);
	ck_assert_uint_eq(store_get_mark(s, model[0].ref), 77);
	ck_assert_uint_eq(store_pick_cold(s, 1u << 30, items, STORE_CLUSTER_SLOTS), 0);
	enum store_method method;
	ck_assert_uint_eq(store_pick_sparse(s, 10, items, STORE_CLUSTER_SLOTS, &method), 0);
	store_writer_flush(writer);
	size_t nr, moved = 0;
	while ((nr = store_pick_cold(s, 0, items, STORE_CLUSTER_SLOTS)) > 0) {
		put_again(items, nr, STORE_DENSE);
		moved += nr;
	}
	ck_assert_uint_eq(moved, 500);
	check_all();
	stop();
}
END_TEST

/* --- threads --- */

#define NR_LOCKS 64
static pthread_mutex_t page_locks[NR_LOCKS]; /* like those of the pager: page_nr % NR_LOCKS guards model[page_nr] */
static atomic_bool finished;
static atomic_ulong reads, loads;

static void lock_page(uint32_t page_nr)
{
	pthread_mutex_lock(&page_locks[page_nr % NR_LOCKS]);
}

static void unlock_page(uint32_t page_nr)
{
	pthread_mutex_unlock(&page_locks[page_nr % NR_LOCKS]);
}

static void *put_and_repack(void *arg)
{
	uint64_t x = (uint64_t)(uintptr_t)arg;
	static __thread struct store_item items[STORE_CLUSTER_SLOTS];
	static __thread uint64_t page[PAGE / 8];
	struct store_writer *w;
	if (store_writer_create(s, &w))
		abort();
	while (!atomic_load(&finished)) {
		x = scatter(x + 1);
		uint32_t page_nr = (uint32_t)(x >> 20) % NR_PAGES;
		store_ref ref;
		if (x % 64 == 0) {
			enum store_method method = STORE_DENSE;
			size_t nr = x >> 10 & 1 ? store_pick_sparse(s, 25, items, STORE_CLUSTER_SLOTS, &method)
						: store_pick_cold(s, 10, items, STORE_CLUSTER_SLOTS);
			for (size_t i = 0; i < nr; i++) {
				struct model_page *m = &model[items[i].page_nr];
				lock_page(items[i].page_nr);
				if (m->ref == items[i].ref && store_get(s, m->ref, page) == 0 &&
				    store_put(w, items[i].page_nr, page, method, &ref) == 0) {
					store_drop(s, m->ref);
					m->ref = ref;
				}
				unlock_page(items[i].page_nr);
			}
			continue;
		}
		uint64_t seed = x | 1;
		fill(seed, (uint8_t *)page);
		lock_page(page_nr);
		int ret = store_put(w, page_nr, page, STORE_FAST, &ref);
		if (ret && ret != -E2BIG)
			abort();
		if (!ret) {
			if (model[page_nr].ref)
				store_drop(s, model[page_nr].ref);
			model[page_nr] = (struct model_page){ref, seed};
		}
		unlock_page(page_nr);
	}
	store_writer_destroy(w);
	return NULL;
}

static void *read_and_drop(void *arg)
{
	uint64_t x = (uint64_t)(uintptr_t)arg;
	static __thread uint64_t page[PAGE / 8];
	static __thread uint8_t disk_page[STORE_DISK_BUFFER] __attribute__((aligned(PAGE)));
	struct store_done out[8];
	struct store_io *own = NULL;
	if (swap && store_io_create(s, &own, NULL))
		abort();
	while (!atomic_load(&finished)) {
		x = scatter(x + 1);
		uint32_t page_nr = (uint32_t)(x >> 20) % NR_PAGES;
		struct model_page *m = &model[page_nr];
		lock_page(page_nr);
		int ret = m->ref ? store_get(s, m->ref, page) : -ENOENT;
		if (ret == 0 && !is_page(m->seed, (uint8_t *)page)) {
			fprintf(stderr, "page %u has wrong bytes\n", page_nr);
			abort();
		}
		if (ret == 0 && x % 3 == 0) {
			store_drop(s, m->ref);
			m->ref = 0;
		}
		if (ret == -EAGAIN && own && x % 2) {
			ret = store_get_from_disk(s, m->ref, disk_page, page, &(uint32_t){0});
			if (ret == 0 && !is_page(m->seed, (uint8_t *)page)) {
				fprintf(stderr, "page %u from disk has wrong bytes\n", page_nr);
				abort();
			}
			/* It may have been loaded since. */
			if (ret == -EIO)
				ret = -EAGAIN;
		}
		if (ret == -EAGAIN && own && store_load_begin(own, m->ref) == 0)
			atomic_fetch_add(&loads, 1);
		unlock_page(page_nr);
		atomic_fetch_add(&reads, ret == 0);
		if (own && store_io_pending(own))
			store_io_reap(own, x % 4 == 0, out, 8);
		if (ret != 0 && ret != -EAGAIN && ret != -ENOENT)
			abort();
	}
	store_io_destroy(own);
	return NULL;
}

static void *write_to_disk(void *arg)
{
	struct store_io *own;
	struct store_done out[16];
	struct store_stats stats;
	(void)arg;
	if (store_io_create(s, &own, NULL))
		abort();
	while (!atomic_load(&finished)) {
		store_get_stats(s, &stats);
		if (stats.pages_ram > NR_PAGES / 16)
			store_write_begin(own, 4);
		store_io_reap(own, true, out, 16);
		usleep(200);
	}
	store_io_destroy(own);
	return NULL;
}

static void run_threads(bool disk)
{
	pthread_t threads[5];
	start(disk);
	for (unsigned i = 0; i < NR_LOCKS; i++)
		pthread_mutex_init(&page_locks[i], NULL);
	atomic_store(&finished, false);
	void *seed[5];
	for (unsigned i = 0; i < 5; i++)
		seed[i] = (void *)(uintptr_t)(random_bits() | 1);
	pthread_create(&threads[0], NULL, put_and_repack, seed[0]);
	pthread_create(&threads[1], NULL, put_and_repack, seed[1]);
	pthread_create(&threads[2], NULL, read_and_drop, seed[2]);
	pthread_create(&threads[3], NULL, read_and_drop, seed[3]);
	pthread_create(&threads[4], NULL, disk ? write_to_disk : read_and_drop, seed[4]);
	for (unsigned seconds = 0;
	     seconds < 2 || (seconds < 100 && !atomic_load(&reads)) || (seconds < 100 && disk && !atomic_load(&loads)); seconds++)
		sleep(1);
	atomic_store(&finished, true);
	for (unsigned i = 0; i < 5; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_gt(atomic_load(&reads), 0);
	if (disk)
		ck_assert_uint_gt(atomic_load(&loads), 0);
	check_all();
	check_order();
	stop();
}

START_TEST(threads_do_not_disturb_each_other)
{
	run_threads(false);
}
END_TEST

START_TEST(threads_and_the_disk_do_not_disturb_each_other)
{
	run_threads(true);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store");
	TCase *tests = tcase_create("store");
	tcase_set_timeout(tests, 300);
	tcase_add_checked_fixture(tests, set_up, reset_doors);
	tcase_add_test(tests, what_was_put_is_read);
	tcase_add_test(tests, what_was_written_to_disk_is_read);
	tcase_add_test(tests, all_of_it_can_go_to_disk_and_come_back);
	tcase_add_test(tests, one_page_comes_from_disk_by_itself);
	tcase_add_test(tests, the_limit_holds);
	tcase_add_test(tests, little_is_lost_beside_the_data);
	tcase_add_test(tests, pages_outlive_those_of_their_chain);
	tcase_add_test(tests, a_sparse_cluster_tells_how_it_was_put);
	tcase_add_test(tests, damaged_records_never_give_wrong_bytes);
	tcase_add_test(tests, failed_transfers_change_nothing);
	tcase_add_test(tests, a_full_file_is_told_and_costs_nothing);
	tcase_add_test(tests, every_allocation_and_advice_may_fail);
	tcase_add_test(tests, references_that_never_were_are_refused);
	tcase_add_test(tests, marks_and_cold_clusters_are_kept);
	tcase_add_test(tests, threads_do_not_disturb_each_other);
	tcase_add_test(tests, threads_and_the_disk_do_not_disturb_each_other);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
