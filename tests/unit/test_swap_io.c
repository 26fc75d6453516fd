/* Transfers of the swap file: what is written comes back, and what goes wrong is told. */
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"
#include "tests/unit/swap_file_doors.h"

#define DEPTH 8
#define NR_EXTENTS 64

/* --- doors --- */

static int ring_error;       /* of its creation */
static int submit_errors[8]; /* of the next submissions: 0 or -errno */
static unsigned nr_submit_errors;
static int submit_error_lasting;
static _Atomic int next_result; /* of a transfer, instead of the kernel's; 0: the kernel's */
static _Atomic bool damage;     /* what is read */
static int cqe_edits[4];        /* results that the next completions bring instead of their own, though they were done */
static unsigned nr_cqe_edits;
static _Atomic unsigned nr_results;

int mem_ring_create(unsigned entries, struct io_uring *ring)
{
	return ring_error ? ring_error : mem_ring_create_kernel(entries, ring);
}

static __thread struct io_uring *ring_seen;

/* Changes the result of the next completion, if there is one and it is to be changed. */
static void edit_completion(void)
{
	unsigned head = *ring_seen->cq.khead;
	if (nr_cqe_edits && head != atomic_load((_Atomic unsigned *)ring_seen->cq.ktail))
		ring_seen->cq.cqes[head & *ring_seen->cq.kring_mask].res = cqe_edits[--nr_cqe_edits];
}

int mem_ring_submit(struct io_uring *ring, unsigned nr_wait)
{
	if (submit_error_lasting)
		return submit_error_lasting;
	if (nr_submit_errors)
		return submit_errors[--nr_submit_errors];
	int ret = mem_ring_submit_kernel(ring, nr_wait);
	ring_seen = ring;
	edit_completion();
	return ret;
}

int mem_io_result(int is_write, void *data, size_t len, int res)
{
	nr_results++;
	if (damage && !is_write)
		((uint8_t *)data)[len / 2] ^= 1;
	int instead = atomic_exchange(&next_result, 0);
	return instead ? instead : res;
}

static void set_up(void)
{
	make_directory();
	no_direct = no_tmpfile = false;
	damage = false;
	ring_error = submit_error_lasting = 0;
	nr_submit_errors = nr_cqe_edits = 0;
	next_result = 0;
	nr_results = 0;
	allocations_left = -1;
	nr_live = 0;
}

static void tear_down(void)
{
	ck_assert_int_eq(nr_live, 0);
	remove_directory();
}

static struct swap_io *open_io(struct swap_file *sf)
{
	struct swap_io *io = NULL;
	ck_assert_msg(swap_io_create(sf, DEPTH, &io, &err) == 0, "%s", err.text);
	return io;
}

static uint8_t *make_buffer(size_t len)
{
	uint8_t *buffer = aligned_alloc(SWAP_ALIGNMENT, len);
	ck_assert_ptr_nonnull(buffer);
	memset(buffer, 0, len);
	return buffer;
}

static int reap_one(struct swap_io *io)
{
	struct swap_io_done done = {.result = 1};
	ck_assert_uint_eq(swap_io_reap(io, true, &done, 1), 1);
	return done.result;
}

static int write_one(struct swap_io *io, const struct swap_extent *extent, const void *buffer)
{
	ck_assert_int_eq(swap_io_write(io, extent, buffer, 1), 0);
	return reap_one(io);
}

static int read_one(struct swap_io *io, const struct swap_extent *extent, void *buffer)
{
	ck_assert_int_eq(swap_io_read(io, extent, buffer, 2), 0);
	return reap_one(io);
}

/* --- what is written comes back --- */

static void fill(uint8_t *buffer, size_t len, uint64_t serial)
{
	for (size_t i = 0; i < len; i += 8)
		memcpy(buffer + i, &(uint64_t){serial * 1000003 + i}, 8);
}

static void check_filled(const uint8_t *buffer, size_t len, uint64_t serial)
{
	bool same = true;
	for (size_t i = 0; i < len; i += 8)
		same = same && memcmp(buffer + i, &(uint64_t){serial * 1000003 + i}, 8) == 0;
	ck_assert_msg(same, "the bytes are not what was written");
}

struct slot {
	struct swap_extent extent;
	uint8_t *buffer;
	enum { EMPTY, WRITING, WRITTEN, READING } state;
};

static void random_step(struct swap_file *sf, struct swap_io *io, struct slot *slots)
{
	size_t i = random_below(NR_EXTENTS);
	struct slot *slot = &slots[i];
	bool busy = swap_io_pending(io) == DEPTH;
	int ret = 0;
	if (slot->state == EMPTY) {
		if (!slot->extent.len)
			ck_assert_int_eq(swap_file_allocate(sf, 1 + random_below(SWAP_EXTENT_MAX), &slot->extent), 0);
		fill(slot->buffer, slot->extent.len, slot->extent.serial);
		ret = swap_io_write(io, &slot->extent, slot->buffer, i);
		slot->state = ret ? EMPTY : WRITING;
	} else if (slot->state == WRITTEN && random_below(3)) {
		memset(slot->buffer, 0, slot->extent.len);
		ret = swap_io_read(io, &slot->extent, slot->buffer, i);
		slot->state = ret ? WRITTEN : READING;
	} else if (slot->state == WRITTEN) {
		swap_file_free(sf, &slot->extent);
		slot->extent.len = 0;
		slot->state = EMPTY;
	}
	ck_assert(ret == 0 || (ret == -EBUSY && busy));
}

static void random_reap(struct swap_io *io, struct slot *slots)
{
	struct swap_io_done done[5];
	unsigned before = swap_io_pending(io);
	bool wait = random_below(2);
	size_t nr = swap_io_reap(io, wait, done, 1 + random_below(5));
	ck_assert(nr > 0 || !wait || !before);
	ck_assert_uint_eq(swap_io_pending(io), before - nr);
	for (size_t i = 0; i < nr; i++) {
		struct slot *slot = &slots[done[i].token];
		ck_assert_int_eq(done[i].result, 0);
		ck_assert(slot->state == WRITING || slot->state == READING);
		if (slot->state == READING)
			check_filled(slot->buffer, slot->extent.len, slot->extent.serial);
		slot->state = WRITTEN;
	}
}

START_TEST(random_transfers_follow_the_model)
{
	static struct slot slots[NR_EXTENTS];
	no_direct = _i;
	struct swap_file *sf = open_swap(0);
	struct swap_io *io = open_io(sf);
	printf("%s\n", swap_file_is_direct(sf) ? "direct" : "buffered");
	random_start();
	memset(slots, 0, sizeof(slots));
	for (unsigned i = 0; i < NR_EXTENTS; i++)
		slots[i].buffer = make_buffer(SWAP_EXTENT_MAX);
	for (unsigned step = 0; step < 3000; step++) {
		random_step(sf, io, slots);
		if (random_below(8) == 0)
			ck_assert_int_eq(swap_io_submit(io), 0);
		if (random_below(4) == 0)
			random_reap(io, slots);
	}
	while (swap_io_pending(io))
		random_reap(io, slots);
	struct swap_file_stats stats;
	swap_file_get_stats(sf, &stats);
	ck_assert_uint_eq(stats.errors, 0);
	ck_assert_uint_eq(stats.reads + stats.writes, nr_results);
	ck_assert_uint_gt(stats.written_bytes, stats.writes * SWAP_ALIGNMENT);
	for (unsigned i = 0; i < NR_EXTENTS; i++)
		free(slots[i].buffer);
	swap_io_destroy(io);
	swap_file_close(sf);
}
END_TEST

START_TEST(the_queue_has_an_end)
{
	struct swap_file *sf = open_swap(0);
	struct swap_io *io = open_io(sf);
	struct swap_extent extent;
	struct swap_io_done done[DEPTH];
	uint8_t *buffer = make_buffer(4096);
	ck_assert_int_eq(swap_file_allocate(sf, 4096, &extent), 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < DEPTH; i++)
			ck_assert_int_eq(swap_io_write(io, &extent, buffer, i), 0);
		ck_assert_uint_eq(swap_io_pending(io), DEPTH);
		ck_assert_int_eq(swap_io_write(io, &extent, buffer, 99), -EBUSY);
		ck_assert_int_eq(swap_io_read(io, &extent, buffer, 99), -EBUSY);
		if (round == 1)
			ck_assert_int_eq(swap_io_submit(io), 0);
		ck_assert_uint_eq(swap_io_reap(io, true, done, 0), 0);
		unsigned seen = 0;
		while (swap_io_pending(io)) {
			size_t nr = swap_io_reap(io, true, done, DEPTH);
			for (size_t i = 0; i < nr; i++)
				seen |= 1u << done[i].token;
		}
		ck_assert_uint_eq(seen, (1u << DEPTH) - 1);
		ck_assert_uint_eq(swap_io_reap(io, true, done, DEPTH), 0);
	}
	/* What is pending is waited for. */
	ck_assert_int_eq(swap_io_write(io, &extent, buffer, 0), 0);
	swap_io_destroy(io);
	ck_assert_uint_eq(nr_results, 3 * DEPTH + 1);
	swap_io_destroy(NULL);
	free(buffer);
	swap_file_close(sf);
}
END_TEST

START_TEST(the_descriptor_becomes_readable)
{
	struct swap_file *sf = open_swap(0);
	struct swap_io *io = open_io(sf);
	struct swap_extent extent;
	struct swap_io_done done;
	struct pollfd ready = {.fd = swap_io_fd(io), .events = POLLIN};
	uint8_t *buffer = make_buffer(65536);
	ck_assert_int_eq(swap_file_allocate(sf, 65536, &extent), 0);
	for (unsigned i = 0; i < 20; i++) {
		bool edited = false;
		ck_assert_int_eq(poll(&ready, 1, 0), 0);
		ck_assert_int_eq(swap_io_write(io, &extent, buffer, i), 0);
		ck_assert_int_eq(swap_io_submit(io), 0);
		while (swap_io_pending(io)) {
			ck_assert_int_eq(poll(&ready, 1, 5000), 1);
			/* Some are busy at first, and tried again by the owner, who waits once more. */
			if (i % 5 == 2 && !edited) {
				cqe_edits[0] = -EAGAIN;
				nr_cqe_edits = 1;
				edit_completion();
				edited = true;
			}
			if (swap_io_reap(io, false, &done, 1))
				ck_assert_int_eq(done.result, 0);
		}
	}
	free(buffer);
	swap_io_destroy(io);
	swap_file_close(sf);
}
END_TEST

/* --- errors --- */

START_TEST(results_are_told_apart)
{
	static const struct {
		int injected, told;
	} cases[] = {
		{-EIO, -EIO},       {-ENOSPC, -ENOSPC},  {-EDQUOT, -ENOSPC},   {-EFBIG, -ENOSPC},
		{-ENOMEM, -ENOMEM}, {-EOPNOTSUPP, -EIO}, {65536 - 4096, -EIO}, {1, -EIO},
	};
	struct swap_file *sf = open_swap(0);
	struct swap_io *io = open_io(sf);
	struct swap_extent extent;
	struct swap_file_stats stats;
	uint8_t *buffer = make_buffer(65536);
	ck_assert_int_eq(swap_file_allocate(sf, 65536, &extent), 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		next_result = cases[i].injected;
		ck_assert_int_eq(write_one(io, &extent, buffer), cases[i].told);
		next_result = cases[i].injected;
		ck_assert_int_eq(read_one(io, &extent, buffer), cases[i].told);
		ck_assert_int_eq(write_one(io, &extent, buffer), 0);
		ck_assert_int_eq(read_one(io, &extent, buffer), 0);
		swap_file_get_stats(sf, &stats);
		ck_assert_uint_eq(stats.errors, 2 * (i + 1));
		ck_assert_uint_eq(stats.writes, i + 1);
		ck_assert_uint_eq(stats.read_bytes, 65536 * (i + 1));
	}
	free(buffer);
	swap_io_destroy(io);
	swap_file_close(sf);
}
END_TEST

START_TEST(the_kernels_short_and_busy_answers_are_borne)
{
	static const struct {
		int first, second;
	} edits[] = {{-EAGAIN, -EINTR}, {4096, -EAGAIN}, {4096, 8192}, {5000, 100}, {100, 65535}};
	struct swap_file *sf = open_swap(0);
	struct swap_io *io = open_io(sf);
	struct swap_extent extent;
	uint8_t *buffer = make_buffer(65536);
	uint8_t *back = make_buffer(65536);
	ck_assert_int_eq(swap_file_allocate(sf, 65536, &extent), 0);
	for (unsigned i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
		fill(buffer, 65536, i);
		cqe_edits[1] = edits[i].first;
		cqe_edits[0] = edits[i].second;
		nr_cqe_edits = 2;
		ck_assert_int_eq(write_one(io, &extent, buffer), 0);
		ck_assert_uint_eq(nr_cqe_edits, 0);
		ck_assert_int_eq(read_one(io, &extent, back), 0);
		ck_assert(memcmp(buffer, back, 65536) == 0);
	}
	/* A write that is cut short tells why the rest failed; a read that is cut short has lost something. */
	cqe_edits[1] = 4096;
	cqe_edits[0] = -ENOSPC;
	nr_cqe_edits = 2;
	ck_assert_int_eq(write_one(io, &extent, buffer), -ENOSPC);
	cqe_edits[0] = 4096;
	nr_cqe_edits = 1;
	ck_assert_int_eq(read_one(io, &extent, back), -EIO);
	free(back);
	free(buffer);
	swap_io_destroy(io);
	swap_file_close(sf);
}
END_TEST

START_TEST(a_busy_kernel_is_asked_again)
{
	static const int errors[] = {-EINTR, -EAGAIN, -EINTR, -EBUSY, -ENOMEM};
	struct swap_file *sf = open_swap(0);
	struct swap_io *io = open_io(sf);
	struct swap_extent extent;
	uint8_t *buffer = make_buffer(8192);
	ck_assert_int_eq(swap_file_allocate(sf, 8192, &extent), 0);
	memcpy(submit_errors, errors, sizeof(errors));
	nr_submit_errors = 5;
	ck_assert_int_eq(write_one(io, &extent, buffer), 0);
	ck_assert_uint_eq(nr_submit_errors, 0);
	/* While it stays so, the transfer stays queued. */
	ck_assert_int_eq(swap_io_write(io, &extent, buffer, 1), 0);
	submit_error_lasting = -EAGAIN;
	ck_assert_int_eq(swap_io_submit(io), -EAGAIN);
	ck_assert_uint_eq(swap_io_pending(io), 1);
	submit_error_lasting = 0;
	ck_assert_int_eq(swap_io_submit(io), 0);
	ck_assert_int_eq(reap_one(io), 0);
	free(buffer);
	swap_io_destroy(io);
	swap_file_close(sf);
}
END_TEST

START_TEST(a_ring_that_is_forbidden_later_fails_all_transfers)
{
	struct swap_file *sf = open_swap(0);
	struct swap_io *io = open_io(sf);
	struct swap_extent extent;
	struct swap_io_done done[DEPTH];
	uint8_t *buffer = make_buffer(8192);
	ck_assert_int_eq(swap_file_allocate(sf, 8192, &extent), 0);
	/* Two are on their way, two are queued. */
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_int_eq(swap_io_write(io, &extent, buffer, i), 0);
		if (i == 1)
			ck_assert_int_eq(swap_io_submit(io), 0);
	}
	submit_error_lasting = -EPERM;
	ck_assert_int_eq(swap_io_submit(io), -EPERM);
	submit_error_lasting = 0; /* it is not asked any more */
	int results[4] = {1, 1, 1, 1};
	while (swap_io_pending(io)) {
		size_t nr = swap_io_reap(io, true, done, DEPTH);
		ck_assert_uint_gt(nr, 0);
		for (size_t i = 0; i < nr; i++)
			results[done[i].token] = done[i].result;
	}
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], 0);
	ck_assert_int_eq(results[2], -EIO);
	ck_assert_int_eq(results[3], -EIO);
	ck_assert_int_eq(write_one(io, &extent, buffer), -EIO);
	ck_assert_int_eq(swap_io_submit(io), -EIO);
	ck_assert_int_eq(swap_io_read(io, &extent, buffer, 0), 0);
	swap_io_destroy(io);
	free(buffer);
	swap_file_close(sf);
}
END_TEST

START_TEST(a_ring_that_cannot_be_made_is_told_in_a_sentence)
{
	struct swap_file *sf = open_swap(0);
	struct swap_io *none = NULL;
	long before = nr_live;
	ring_error = -EPERM;
	ck_assert_int_eq(swap_io_create(sf, DEPTH, &none, &err), -EPERM);
	ck_assert_msg(strstr(err.text, dir) && strstr(err.text, "io_uring_disabled"), "%s", err.text);
	ring_error = -EMFILE;
	ck_assert_int_eq(swap_io_create(sf, DEPTH, &none, &err), -EMFILE);
	ck_assert_msg(strstr(err.text, "raise the limits") != NULL, "%s", err.text);
	ring_error = 0;
	allocations_left = 0;
	ck_assert_int_eq(swap_io_create(sf, DEPTH, &none, &err), -ENOMEM);
	allocations_left = -1;
	ck_assert_int_eq(swap_io_create(sf, 0, &none, &err), -EINVAL);
	ck_assert_int_eq(swap_io_create(sf, 1u << 20, &none, &err), -EINVAL);
	ck_assert_ptr_null(none);
	ck_assert_int_eq(nr_live, before);
	swap_file_close(sf);
}
END_TEST

START_TEST(damage_on_disk_is_noticed)
{
	struct swap_file *sf = open_swap(0);
	struct swap_io *io = open_io(sf);
	struct swap_extent extent, never;
	uint8_t *buffer = make_buffer(4096);
	uint8_t out[4096];
	ck_assert_int_eq(swap_file_allocate(sf, 4096, &extent), 0);
	ck_assert_int_eq(swap_file_allocate(sf, 4096, &never), 0);
	fill(out, sizeof(out), 1);
	swap_file_seal(sf, &extent, 0, out, 4096 - SWAP_TAG_BYTES, buffer);
	ck_assert_int_eq(write_one(io, &extent, buffer), 0);
	memset(buffer, 0, 4096);
	ck_assert_int_eq(read_one(io, &extent, buffer), 0);
	ck_assert_int_eq(swap_file_unseal(sf, &extent, 0, buffer, 4096, out), 0);
	damage = true;
	ck_assert_int_eq(read_one(io, &extent, buffer), 0);
	ck_assert_int_eq(swap_file_unseal(sf, &extent, 0, buffer, 4096, out), -EIO);
	damage = false;
	/* A hole, as a lost write leaves it. */
	ck_assert_int_eq(read_one(io, &never, buffer), 0);
	ck_assert_int_eq(swap_file_unseal(sf, &never, 0, buffer, 4096, out), -EIO);
	free(buffer);
	swap_io_destroy(io);
	swap_file_close(sf);
}
END_TEST

/* The limit of files was lowered after the extent was made. */
START_TEST(the_limit_of_files_counts_as_full)
{
	struct rlimit old;
	struct swap_extent extent;
	struct swap_io_done done = {.result = 1};
	struct swap_file *sf = open_swap(0);
	struct swap_io *io = open_io(sf);
	uint8_t *buffer = make_buffer(65536);
	ck_assert_int_eq(swap_file_allocate(sf, 65536, &extent), 0);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_IGN); /* as the VMM's threads, which block it */
	/* Nothing is asserted meanwhile: Check writes a file. */
	setrlimit(RLIMIT_FSIZE, &(struct rlimit){8192, old.rlim_max});
	int ret = swap_io_write(io, &extent, buffer, 1);
	swap_io_reap(io, true, &done, 1);
	setrlimit(RLIMIT_FSIZE, &old);
	ck_assert_int_eq(ret, 0);
	ck_assert_int_eq(done.result, -ENOSPC);
	ck_assert_int_eq(write_one(io, &extent, buffer), 0);
	free(buffer);
	swap_io_destroy(io);
	swap_file_close(sf);
}
END_TEST

START_TEST(a_full_file_system_is_told_and_got_over)
{
	struct swap_extent extents[64];
	unsigned written = 0;
	if (!mount_small(2 << 20))
		return;
	struct swap_file *sf = open_swap(0);
	struct swap_io *io = open_io(sf);
	uint8_t *buffer = make_buffer(SWAP_EXTENT_MAX);
	uint8_t *back = make_buffer(SWAP_EXTENT_MAX);
	int ret = 0;
	/* A block that is freed, and too small to be used again: kept until space is short. */
	struct swap_file_stats stats;
	struct swap_extent small;
	ck_assert_int_eq(swap_file_allocate(sf, 4096, &small), 0);
	ck_assert_int_eq(write_one(io, &small, buffer), 0);
	ck_assert_int_eq(swap_file_allocate(sf, 4096, &extents[0]), 0);
	swap_file_free(sf, &small);
	swap_file_get_stats(sf, &stats);
	ck_assert_uint_eq(stats.discards, 0);
	/* 240 KiB: the last one fits in part. */
	while (!ret) {
		ck_assert_uint_lt(written, 64);
		ck_assert_int_eq(swap_file_allocate(sf, 240 << 10, &extents[written]), 0);
		fill(buffer, 240 << 10, extents[written].serial);
		ret = write_one(io, &extents[written], buffer);
		written += ret == 0;
	}
	ck_assert_int_eq(ret, -ENOSPC);
	ck_assert_uint_eq(written, 8);
	swap_file_get_stats(sf, &stats);
	ck_assert_uint_eq(stats.discards, 1);
	for (unsigned i = 0; i < written; i++) {
		ck_assert_int_eq(read_one(io, &extents[i], back), 0);
		check_filled(back, 240 << 10, extents[i].serial);
	}
	/* Freed space is the file system's again at once, and serves the next. */
	swap_file_free(sf, &extents[written]);
	swap_file_free(sf, &extents[0]);
	ck_assert_uint_ge(free_blocks(), 60);
	ck_assert_int_eq(swap_file_allocate(sf, 240 << 10, &extents[0]), 0);
	ck_assert_int_eq(write_one(io, &extents[0], buffer), 0);
	free(back);
	free(buffer);
	swap_io_destroy(io);
	swap_file_close(sf);
	umount(dir);
}
END_TEST

/* --- threads --- */

static void *use_disk(void *argument)
{
	struct swap_file *sf = argument;
	struct swap_io *io = NULL;
	unsigned seed = (unsigned)(uintptr_t)&io;
	uint8_t *buffer = make_buffer(65536);
	uint8_t out[4096], in[4096];
	ck_assert_int_eq(swap_io_create(sf, DEPTH, &io, NULL), 0);
	for (unsigned step = 0; step < 60; step++) {
		struct swap_extent extent;
		size_t len = 1 + (size_t)rand_r(&seed) % 65536;
		unsigned nr = 0;
		ck_assert_int_eq(swap_file_allocate(sf, len, &extent), 0);
		fill(in, sizeof(in), extent.serial);
		for (; (nr + 1) * 4096 <= extent.len; nr++)
			swap_file_seal(sf, &extent, nr, in, 4096 - SWAP_TAG_BYTES, buffer + nr * 4096);
		ck_assert_int_eq(write_one(io, &extent, buffer), 0);
		memset(buffer, 0, 65536);
		ck_assert_int_eq(read_one(io, &extent, buffer), 0);
		while (nr-- > 0) {
			ck_assert_int_eq(swap_file_unseal(sf, &extent, nr, buffer + nr * 4096, 4096, out), 0);
			ck_assert(memcmp(in, out, 4096 - SWAP_TAG_BYTES) == 0);
		}
		swap_file_free(sf, &extent);
	}
	swap_io_destroy(io);
	free(buffer);
	return NULL;
}

START_TEST(threads_have_a_ring_each)
{
	struct swap_file *sf = open_swap(1 << 20);
	pthread_t threads[4];
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, use_disk, sf), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(swap_file_used(sf), 0);
	swap_file_close(sf);
}
END_TEST

int main(void)
{
	struct io_uring probe;
	int ret = mem_ring_create_kernel(1, &probe);
	if (ret) {
		printf("skipped: this kernel refuses io_uring: %s\n", strerror(-ret));
		return EXIT_SUCCESS;
	}
	io_uring_queue_exit(&probe);
	Suite *suite = suite_create("swap file I/O");
	TCase *tests = tcase_create("swap file I/O");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_loop_test(tests, random_transfers_follow_the_model, 0, 2);
	tcase_add_test(tests, the_queue_has_an_end);
	tcase_add_test(tests, the_descriptor_becomes_readable);
	tcase_add_test(tests, results_are_told_apart);
	tcase_add_test(tests, the_kernels_short_and_busy_answers_are_borne);
	tcase_add_test(tests, a_busy_kernel_is_asked_again);
	tcase_add_test(tests, a_ring_that_is_forbidden_later_fails_all_transfers);
	tcase_add_test(tests, a_ring_that_cannot_be_made_is_told_in_a_sentence);
	tcase_add_test(tests, damage_on_disk_is_noticed);
	tcase_add_test(tests, the_limit_of_files_counts_as_full);
	tcase_add_test(tests, a_full_file_system_is_told_and_got_over);
	tcase_add_test(tests, threads_have_a_ring_each);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
