/* The swap file: extents against a model, seals that hold, and a file of which nothing is left. Its I/O is in test_swap_io.c. */
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"
#include "tests/unit/swap_file_doors.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

/* --- doors --- */

static bool no_aes;

/* Stands in for libsodium's own. */
int crypto_aead_aes256gcm_is_available(void)
{
	return !no_aes && sodium_runtime_has_aesni() && sodium_runtime_has_pclmul();
}

/* The page of the key, mapped a second time if files may be made. */
static void *key_page, *key_view;
static bool no_key_view;

void *mem_map(size_t len)
{
	if (!may_allocate())
		return NULL;
	if (no_key_view)
		return mem_map_kernel(len);
	int fd = memfd_create("key", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(fd, (off_t)len), 0);
	if (key_view)
		munmap(key_view, len);
	key_page = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	key_view = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	return key_page;
}

/* Extents in use, by block of the file: 0, or 1 + the number of the extent. */
#define MODEL_BLOCKS (96u << 8)
static uint16_t *owner;
static int fallocate_error;
static _Atomic unsigned nr_fallocates;

int mem_fallocate(int fd, int mode, off_t offset, off_t len)
{
	bool unused = true;
	nr_fallocates++;
	for (off_t at = offset; owner && at < offset + len; at += SWAP_ALIGNMENT)
		unused = unused && owner[at / SWAP_ALIGNMENT] == 0;
	ck_assert_msg(unused, "a block in use is discarded");
	return fallocate_error ? fallocate_error : mem_fallocate_kernel(fd, mode, offset, len);
}

static void set_up(void)
{
	make_directory();
	allocations_left = -1;
	no_tmpfile = no_direct = no_aes = no_key_view = false;
	fallocate_error = 0;
	nr_fallocates = 0;
	nr_live = 0;
	owner = NULL;
}

static void tear_down(void)
{
	ck_assert_int_eq(nr_live, 0);
	free(owner);
	owner = NULL;
	remove_directory();
}

/* --- extents --- */

static unsigned blocks_of(size_t len)
{
	return (unsigned)((len + SWAP_ALIGNMENT - 1) / SWAP_ALIGNMENT);
}

static void model_mark(const struct swap_extent *extent, uint16_t from, uint16_t to)
{
	uint64_t first = extent->offset / SWAP_ALIGNMENT;
	bool same = true;
	ck_assert_uint_eq(extent->offset % SWAP_ALIGNMENT, 0);
	ck_assert_uint_le(first + blocks_of(extent->len), MODEL_BLOCKS);
	for (unsigned i = 0; i < blocks_of(extent->len); i++) {
		same = same && owner[first + i] == from;
		owner[first + i] = to;
	}
	ck_assert_msg(same, "extents overlap");
}

static size_t random_len(void)
{
	switch (random_below(4)) {
	case 0:
		return SWAP_EXTENT_MAX;
	case 1:
		return 1 + random_below(SWAP_EXTENT_MAX);
	case 2:
		return 1 + random_below(16 * KIB);
	default:
		return 4096 * (1 + random_below(16));
	}
}

START_TEST(random_extents_follow_the_model)
{
	enum { NR = 2000 };
	static struct swap_extent extents[NR];
	const uint64_t limit = 40 * MIB + 12288;
	struct swap_file *sf = open_swap(limit);
	uint64_t used = 0;
	uint64_t peak = 0;
	uint64_t last_serial = 0;
	unsigned nr_refused = 0;
	random_start();
	owner = calloc(MODEL_BLOCKS, sizeof(*owner));
	memset(extents, 0, sizeof(extents));
	fallocate_error = _i ? -EOPNOTSUPP : 0;
	for (unsigned step = 0; step < 60000; step++) {
		unsigned i = (unsigned)random_below(step / 10000 % 2 ? NR / 4 : NR);
		if (extents[i].len) {
			struct swap_extent gone = extents[i];
			model_mark(&gone, (uint16_t)(i + 1), 0);
			extents[i].len = 0;
			used -= gone.len;
			swap_file_free(sf, &gone);
		} else {
			size_t len = random_len();
			uint64_t bytes = (uint64_t)blocks_of(len) * SWAP_ALIGNMENT;
			int ret = swap_file_allocate(sf, len, &extents[i]);
			if (ret) {
				ck_assert_int_eq(ret, -ENOSPC);
				/* With discards the limit is the only reason. */
				ck_assert(_i || used + bytes > limit);
				nr_refused++;
			} else {
				ck_assert_uint_le(used + bytes, limit);
				ck_assert_uint_eq(extents[i].len, bytes);
				ck_assert_uint_gt(extents[i].serial, last_serial);
				last_serial = extents[i].serial;
				model_mark(&extents[i], 0, (uint16_t)(i + 1));
				used += bytes;
			}
			peak = used > peak ? used : peak;
		}
		ck_assert_uint_eq(swap_file_used(sf), used);
	}
	ck_assert_uint_gt(nr_refused, 0);
	struct swap_file_stats stats;
	swap_file_get_stats(sf, &stats);
	ck_assert_uint_eq(stats.used_bytes, used);
	ck_assert_uint_eq(stats.peak_bytes, peak);
	if (_i) {
		ck_assert_uint_eq(nr_fallocates, 1); /* not asked again */
		ck_assert_uint_eq(stats.discards, 0);
	} else {
		ck_assert_uint_eq(stats.discards, nr_fallocates);
	}
	swap_file_close(sf);
}
END_TEST

START_TEST(space_is_found_again_after_fragmentation)
{
	const uint64_t limit = 64 * MIB;
	const unsigned nr = (unsigned)(limit / 4096);
	struct swap_file *sf = open_swap(limit);
	struct swap_extent *extents = calloc(nr, sizeof(*extents));
	struct swap_extent big;
	owner = calloc(MODEL_BLOCKS, sizeof(*owner));
	for (unsigned i = 0; i < nr; i++) {
		ck_assert_int_eq(swap_file_allocate(sf, 1, &extents[i]), 0);
		model_mark(&extents[i], 0, 1);
	}
	ck_assert_int_eq(swap_file_allocate(sf, 1, &big), -ENOSPC);
	for (unsigned i = 0; i < nr; i += 2) {
		model_mark(&extents[i], 1, 0);
		swap_file_free(sf, &extents[i]);
	}
	/* Now no two free blocks lie side by side, and the file has to grow. */
	ck_assert_int_eq(swap_file_allocate(sf, 8192, &big), 0);
	ck_assert_uint_ge(big.offset, limit);
	model_mark(&big, 0, 1);
	model_mark(&big, 1, 0);
	swap_file_free(sf, &big);
	for (unsigned i = 1; i < nr; i += 2) {
		model_mark(&extents[i], 1, 0);
		swap_file_free(sf, &extents[i]);
	}
	ck_assert_uint_eq(swap_file_used(sf), 0);
	for (unsigned i = 0; i < limit / SWAP_EXTENT_MAX; i++) {
		ck_assert_int_eq(swap_file_allocate(sf, SWAP_EXTENT_MAX, &big), 0);
		ck_assert_uint_lt(big.offset, limit);
		model_mark(&big, 0, 1);
	}
	ck_assert_int_eq(swap_file_allocate(sf, 1, &big), -ENOSPC);
	free(extents);
	swap_file_close(sf);
}
END_TEST

START_TEST(the_file_stays_short_under_random_sizes)
{
	enum { NR = 2048 };
	static struct swap_extent extents[NR];
	char path[160];
	struct stat st;
	snprintf(path, sizeof(path), "%s/f", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
	ck_assert_int_ge(fd, 0);
	unlink(path);
	int twin = dup(fd);
	struct swap_file *sf = NULL;
	ck_assert_int_eq(swap_file_open(&(struct swap_file_params){.fd = fd}, &sf, &err), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_APPEND, 0);
	random_start();
	memset(extents, 0, sizeof(extents));
	for (unsigned step = 0; step < 100000; step++) {
		struct swap_extent *extent = &extents[random_below(NR)];
		if (extent->len)
			swap_file_free(sf, extent);
		ck_assert_int_eq(swap_file_allocate(sf, random_len(), extent), 0);
	}
	ck_assert_int_eq(fstat(twin, &st), 0);
	struct swap_file_stats stats;
	swap_file_get_stats(sf, &stats);
	printf("file of %lld MiB for at most %llu MiB\n", (long long)st.st_size >> 20, (unsigned long long)stats.peak_bytes >> 20);
	ck_assert_uint_le((uint64_t)st.st_size, stats.peak_bytes * 5 / 4 + 32 * MIB);
	swap_file_close(sf);
	close(twin);
}
END_TEST

/* Where nothing can be given back, the file itself is kept within the limit. */
START_TEST(without_discards_the_file_keeps_the_limit)
{
	enum { NR = 48 * 4 };
	static struct swap_extent extents[NR + 1];
	struct swap_file *sf = open_swap(48 * MIB);
	fallocate_error = -EOPNOTSUPP;
	for (unsigned round = 0; round < 2; round++) {
		unsigned nr = round ? NR : NR / 4;
		for (unsigned i = 0; i < nr; i++) {
			ck_assert_int_eq(swap_file_allocate(sf, SWAP_EXTENT_MAX, &extents[i]), 0);
			ck_assert_uint_le(extents[i].offset + SWAP_EXTENT_MAX, 48 * MIB);
		}
		ck_assert(round == 0 || swap_file_allocate(sf, 1, &extents[NR]) == -ENOSPC);
		for (unsigned i = 0; i < nr; i++)
			swap_file_free(sf, &extents[i]);
	}
	ck_assert_uint_eq(nr_fallocates, 1);
	swap_file_close(sf);
}
END_TEST

START_TEST(the_limit_can_be_moved)
{
	struct swap_file *sf = open_swap(8192);
	struct swap_extent a, b, none;
	ck_assert_int_eq(swap_file_allocate(sf, 4097, &a), 0);
	ck_assert_int_eq(swap_file_allocate(sf, 1, &none), -ENOSPC);
	swap_file_set_limit(sf, 12288);
	ck_assert_int_eq(swap_file_allocate(sf, 1, &b), 0);
	swap_file_set_limit(sf, 4096);
	swap_file_free(sf, &b);
	ck_assert_int_eq(swap_file_allocate(sf, 1, &none), -ENOSPC);
	swap_file_set_limit(sf, 0);
	ck_assert_int_eq(swap_file_allocate(sf, SWAP_EXTENT_MAX, &b), 0);
	ck_assert_int_eq(swap_file_allocate(sf, 0, &none), -EINVAL);
	ck_assert_int_eq(swap_file_allocate(sf, SWAP_EXTENT_MAX + 1, &none), -EINVAL);
	swap_file_close(sf);
	swap_file_close(NULL);
}
END_TEST

START_TEST(what_is_freed_twice_ends_the_process)
{
	struct swap_file *sf = open_swap(0);
	struct swap_extent extent;
	ck_assert_int_eq(swap_file_allocate(sf, 8192, &extent), 0);
	swap_file_free(sf, &extent);
	pid_t child = fork();
	if (child == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0});
		signal(SIGABRT, SIG_DFL);
		swap_file_free(sf, &extent);
		_exit(0);
	}
	int status;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	swap_file_close(sf);
}
END_TEST

/* --- space on disk --- */

static uint64_t bytes_on_disk(int fd)
{
	struct stat st;
	ck_assert_int_eq(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

START_TEST(freed_blocks_are_given_back)
{
	enum { NR = 192 };
	static struct swap_extent extents[NR];
	static uint8_t bytes[SWAP_EXTENT_MAX];
	int fd = open(dir, O_TMPFILE | O_RDWR, 0600);
	if (fd < 0) {
		fprintf(stderr, "skipped: no O_TMPFILE in %s\n", dir);
		return;
	}
	int twin = dup(fd);
	struct swap_file *sf = NULL;
	no_direct = true;
	ck_assert_int_eq(swap_file_open(&(struct swap_file_params){.fd = fd}, &sf, &err), 0);
	memset(bytes, 1, sizeof(bytes));
	for (unsigned i = 0; i < NR; i++) {
		ck_assert_int_eq(swap_file_allocate(sf, SWAP_EXTENT_MAX, &extents[i]), 0);
		ck_assert_int_eq(pwrite(twin, bytes, sizeof(bytes), (off_t)extents[i].offset), sizeof(bytes));
	}
	ck_assert_int_eq(fsync(twin), 0);
	ck_assert_uint_ge(bytes_on_disk(twin), 48 * MIB);
	for (unsigned i = 0; i < NR; i++)
		swap_file_free(sf, &extents[i]);
	ck_assert_int_eq(fsync(twin), 0);
	if (nr_fallocates == 1)
		fprintf(stderr, "skipped: no holes in files of %s\n", dir);
	else
		ck_assert_uint_le(bytes_on_disk(twin), 17 * MIB);
	/* Neighbours go together: 16 MiB of stale blocks at the first time. */
	ck_assert_uint_le(nr_fallocates, NR - 64);
	swap_file_close(sf);
	close(twin);
}
END_TEST

START_TEST(holes_wait_while_somebody_reads)
{
	enum { NR = 96 };
	static struct swap_extent extents[NR];
	static uint8_t bytes[SWAP_ALIGNMENT] __attribute__((aligned(SWAP_ALIGNMENT)));
	struct swap_file *sf = NULL;
	ck_assert_int_eq(swap_file_open(&(struct swap_file_params){.directory = dir}, &sf, &err), 0);
	for (unsigned i = 0; i < NR; i++)
		ck_assert_int_eq(swap_file_allocate(sf, SWAP_EXTENT_MAX, &extents[i]), 0);
	unsigned before = nr_fallocates;
	/* 24 MiB are freed, each time right after a read: more than is kept, less than eight times that. */
	for (unsigned i = 1; i < NR; i++) {
		ck_assert_int_eq(swap_file_read(sf, &extents[0], 0, SWAP_ALIGNMENT, bytes), 0);
		swap_file_free(sf, &extents[i]);
	}
	ck_assert_uint_eq(nr_fallocates, before);
	ck_assert(swap_file_wants_trim(sf));
	ck_assert(!swap_file_trim(sf));
	usleep(80000);
	while (swap_file_trim(sf))
		;
	ck_assert_uint_gt(nr_fallocates, before);
	if (swap_file_wants_trim(sf))
		fprintf(stderr, "skipped: no holes in files of %s\n", dir);
	swap_file_free(sf, &extents[0]);
	swap_file_close(sf);
}
END_TEST

START_TEST(a_discard_that_fails_does_no_harm)
{
	struct swap_file *sf = open_swap(16 * MIB);
	struct swap_extent extents[64];
	fallocate_error = -EIO;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 64; i++)
			ck_assert_int_eq(swap_file_allocate(sf, SWAP_EXTENT_MAX, &extents[i]), 0);
		for (unsigned i = 0; i < 64; i++)
			swap_file_free(sf, &extents[i]);
	}
	ck_assert_uint_gt(nr_fallocates, 3 * 50); /* tried again each time */
	struct swap_file_stats stats;
	swap_file_get_stats(sf, &stats);
	ck_assert_uint_eq(stats.discards, 0);
	swap_file_close(sf);
}
END_TEST

/* Beyond RLIMIT_FSIZE a write raises SIGXFSZ, which ends a process: also Check's own, so nothing is asserted meanwhile. */
START_TEST(the_limit_of_files_is_kept)
{
	static const size_t blocks[] = {4, 2, 1, 1};
	struct swap_extent extents[4];
	int results[4] = {0};
	struct rlimit old;
	struct swap_file *sf = NULL;
	struct swap_file *none = NULL;
	struct swap_file_params params = {.directory = dir};
	no_key_view = true;
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	setrlimit(RLIMIT_FSIZE, &(struct rlimit){5 * 4096 + 100, old.rlim_max});
	int opened = swap_file_open(&params, &sf, &err);
	for (unsigned i = 0; sf && i < 4; i++)
		results[i] = swap_file_allocate(sf, blocks[i] * 4096, &extents[i]);
	setrlimit(RLIMIT_FSIZE, &(struct rlimit){100, old.rlim_max});
	int refused = swap_file_open(&params, &none, &err);
	setrlimit(RLIMIT_FSIZE, &old);

	ck_assert_int_eq(opened, 0);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], -ENOSPC);
	ck_assert_int_eq(results[2], 0);
	ck_assert_uint_eq(extents[2].offset, 4 * 4096);
	ck_assert_int_eq(results[3], -ENOSPC);
	ck_assert_int_eq(refused, -ENOSPC);
	ck_assert_msg(strstr(err.text, dir) && strstr(err.text, "ulimit -f"), "%s", err.text);
	/* Lifted: the file grows again. */
	ck_assert_int_eq(swap_file_allocate(sf, SWAP_EXTENT_MAX, &extents[1]), 0);
	swap_file_close(sf);
}
END_TEST

/* --- the file --- */

START_TEST(each_way_to_make_the_file_works)
{
	no_tmpfile = _i & 1;
	no_direct = _i & 2;
	struct swap_file *sf = open_swap(0);
	ck_assert_uint_eq(entries_in_directory(), 0);
	ck_assert(!(no_direct && swap_file_is_direct(sf)));
	swap_file_close(sf);
}
END_TEST

static void check_refused(struct swap_file_params params, int code, const char *said)
{
	struct swap_file *none = NULL;
	ck_assert_int_eq(swap_file_open(&params, &none, &err), -code);
	ck_assert_ptr_null(none);
	ck_assert_msg(strstr(err.text, said) != NULL, "%s", err.text);
	ck_assert_int_eq(err.code, code);
}

START_TEST(files_that_will_not_do_are_refused_with_a_sentence)
{
	char path[160];
	int fds[2];
	check_refused((struct swap_file_params){.directory = "/nowhere/at/all"}, ENOENT, "/nowhere/at/all");
	check_refused((struct swap_file_params){.directory = "/dev/null"}, ENOTDIR, "name a directory that exists");
	static char deep[5000];
	memset(deep, '/', sizeof(deep) - 1);
	no_tmpfile = true;
	check_refused((struct swap_file_params){.directory = deep}, ENAMETOOLONG, "another directory");
	check_refused((struct swap_file_params){.directory = "/nowhere"}, ENOENT, "/nowhere");
	no_tmpfile = false;
	check_refused((struct swap_file_params){.fd = -1}, EBADF, "pass an open file");
	ck_assert_int_eq(pipe(fds), 0);
	check_refused((struct swap_file_params){.fd = fds[0]}, EINVAL, "regular file");
	close(fds[0]);
	close(fds[1]);
	snprintf(path, sizeof(path), "%s/f", dir);
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	check_refused((struct swap_file_params){.fd = fd}, EEXIST, "not empty");
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	int reader = open(path, O_RDONLY);
	check_refused((struct swap_file_params){.fd = reader}, EBADF, "O_RDWR");
	close(reader);
	unlink(path);
	close(fd);
	fd = memfd_create("sealed", MFD_ALLOW_SEALING);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	check_refused((struct swap_file_params){.fd = fd}, EPERM, "seals");
	ck_assert_int_eq(close(fd), 0); /* still ours */
}
END_TEST

START_TEST(every_allocation_may_fail)
{
	struct swap_file *sf = NULL;
	struct swap_file_params params = {.directory = dir};
	int left = 0;
	for (allocations_left = 0; swap_file_open(&params, &sf, &err); allocations_left = ++left) {
		ck_assert_int_eq(err.code, ENOMEM);
		ck_assert_ptr_null(sf);
		ck_assert_int_eq(nr_live, 0);
	}
	ck_assert_int_ge(left, 4);
	/* Growth: refused for want of memory, and fine when it is back. */
	struct swap_extent extent;
	unsigned nr_refused = 0;
	for (unsigned i = 0; i < 2300; i++) {
		allocations_left = i % 4 ? (int)(i % 4) - 1 : 0;
		int ret = swap_file_allocate(sf, SWAP_EXTENT_MAX, &extent);
		nr_refused += ret != 0;
		if (ret) {
			ck_assert_int_eq(ret, -ENOMEM);
			allocations_left = -1;
			ck_assert_int_eq(swap_file_allocate(sf, SWAP_EXTENT_MAX, &extent), 0);
		}
		ck_assert_uint_eq(extent.offset, (uint64_t)i * SWAP_EXTENT_MAX);
	}
	ck_assert_uint_gt(nr_refused, 0);
	swap_file_close(sf);
}
END_TEST

START_TEST(nothing_is_left_after_a_kill)
{
	if (!mount_small(16 * MIB))
		return;
	unsigned long before = free_blocks();
	for (int way = 0; way < 2; way++) {
		int fds[2];
		ck_assert_int_eq(pipe(fds), 0);
		pid_t child = fork();
		if (child == 0) {
			no_tmpfile = way;
			struct swap_file *sf = open_swap(0);
			struct swap_extent extent;
			/* The descriptor is not ours to know: the highest regular file is it. */
			int fd = 1023;
			for (struct stat st; fd > 2 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 0); fd--)
				;
			static uint8_t bytes[SWAP_EXTENT_MAX];
			char ok = swap_file_allocate(sf, SWAP_EXTENT_MAX, &extent) == 0 &&
				  pwrite(fd, bytes, sizeof(bytes), (off_t)extent.offset) == sizeof(bytes);
			if (write(fds[1], &ok, 1) == 1)
				pause();
			_exit(1);
		}
		char ok = 0;
		ck_assert_int_eq(read(fds[0], &ok, 1), 1);
		ck_assert_int_eq(ok, 1);
		ck_assert_uint_eq(entries_in_directory(), 0);
		ck_assert_uint_le(free_blocks(), before - SWAP_EXTENT_MAX / 4096);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		close(fds[0]);
		close(fds[1]);
		ck_assert_uint_eq(entries_in_directory(), 0);
		ck_assert_uint_eq(free_blocks(), before);
	}
	umount(dir);
}
END_TEST

/* --- records --- */

START_TEST(records_come_back_as_they_were)
{
	static uint8_t in[SWAP_EXTENT_MAX], sealed[SWAP_EXTENT_MAX + SWAP_TAG_BYTES], out[SWAP_EXTENT_MAX];
	struct swap_extent extent;
	no_aes = _i;
	struct swap_file *sf = open_swap(0);
	random_start();
	for (unsigned index = 0; index < 3000; index++) {
		size_t len = index < 600 ? index : random_below(index % 100 ? 5000 : sizeof(in));
		uint8_t *to = sealed + random_below(2);
		len = len + SWAP_TAG_BYTES + 1 > sizeof(sealed) ? 0 : len;
		if (index % 1000 == 0)
			ck_assert_int_eq(swap_file_allocate(sf, SWAP_EXTENT_MAX, &extent), 0);
		for (size_t i = 0; i < len; i++)
			in[i] = (uint8_t)random_bits();
		swap_file_seal(sf, &extent, index, in, len, to);
		ck_assert(len < 16 || memcmp(to, in, len) != 0);
		ck_assert_int_eq(swap_file_unseal(sf, &extent, index, to, len + SWAP_TAG_BYTES, out), 0);
		ck_assert(memcmp(in, out, len) == 0);
		/* In place, both ways. */
		memcpy(to, in, len);
		swap_file_seal(sf, &extent, index, to, len, to);
		ck_assert_int_eq(swap_file_unseal(sf, &extent, index, to, len + SWAP_TAG_BYTES, to), 0);
		ck_assert(memcmp(in, to, len) == 0);
	}
	swap_file_close(sf);
}
END_TEST

START_TEST(records_that_are_not_the_same_are_refused)
{
	uint8_t in[100], sealed[100 + SWAP_TAG_BYTES], out[200];
	struct swap_extent extent, other, again;
	no_aes = _i;
	struct swap_file *sf = open_swap(0);
	struct swap_file *stranger = open_swap(0);
	memset(in, 7, sizeof(in));
	ck_assert_int_eq(swap_file_allocate(sf, 8192, &extent), 0);
	ck_assert_int_eq(swap_file_allocate(sf, 8192, &other), 0);
	swap_file_seal(sf, &extent, 5, in, sizeof(in), sealed);
	/* Damaged in any bit. */
	for (size_t bit = 0; bit < sizeof(sealed) * 8; bit++) {
		sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_int_eq(swap_file_unseal(sf, &extent, 5, sealed, sizeof(sealed), out), -EIO);
		sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	/* Of any other length, number, place or key. */
	for (size_t len = 0; len < sizeof(sealed); len++)
		ck_assert_int_eq(swap_file_unseal(sf, &extent, 5, sealed, len, out), -EIO);
	ck_assert_int_eq(swap_file_unseal(sf, &extent, 4, sealed, sizeof(sealed), out), -EIO);
	ck_assert_int_eq(swap_file_unseal(sf, &other, 5, sealed, sizeof(sealed), out), -EIO);
	ck_assert_int_eq(swap_file_unseal(stranger, &extent, 5, sealed, sizeof(sealed), out), -EIO);
	ck_assert_int_eq(swap_file_unseal(sf, &extent, 5, sealed, sizeof(sealed), out), 0);
	/* Old: what the extent's place held before. */
	swap_file_free(sf, &extent);
	ck_assert_int_eq(swap_file_allocate(sf, 8192, &again), 0);
	ck_assert_uint_eq(again.offset, extent.offset);
	ck_assert_int_eq(swap_file_unseal(sf, &again, 5, sealed, sizeof(sealed), out), -EIO);
	/* The same bytes never look the same. */
	uint8_t twin[sizeof(sealed)];
	swap_file_seal(sf, &again, 5, in, sizeof(in), twin);
	ck_assert(memcmp(twin, sealed, sizeof(twin)) != 0);
	swap_file_close(stranger);
	swap_file_close(sf);
}
END_TEST

/* Whether the kernel knows these flags of the mapping at addr (proc(5), VmFlags). */
static bool mapping_has(const void *addr, const char *flag)
{
	char line[512], start[32];
	bool here = false;
	bool found = false;
	snprintf(start, sizeof(start), "%lx-", (unsigned long)(uintptr_t)addr);
	FILE *smaps = fopen("/proc/self/smaps", "r");
	ck_assert_ptr_nonnull(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		if (strncmp(line, start, strlen(start)) == 0)
			here = true;
		if (here && strncmp(line, "VmFlags:", 8) == 0) {
			found = strstr(line, flag) != NULL;
			break;
		}
	}
	fclose(smaps);
	return found;
}

START_TEST(the_key_is_kept_apart_and_wiped)
{
	static const uint8_t nothing[4096];
	no_aes = _i;
	struct swap_file *sf = open_swap(0);
	ck_assert(memcmp(key_view, nothing, sizeof(nothing)) != 0);
	ck_assert_msg(mapping_has(key_page, " dd"), "the key is dumped");
	ck_assert_msg(mapping_has(key_page, " dc"), "the key is inherited");
	swap_file_close(sf);
	ck_assert_msg(memcmp(key_view, nothing, sizeof(nothing)) == 0, "the key is still there");
}
END_TEST

/* --- threads --- */

static void *use_extents(void *argument)
{
	struct swap_file *sf = argument;
	struct swap_extent extents[64] = {0};
	uint8_t in[256], sealed[256 + SWAP_TAG_BYTES];
	unsigned seed = (unsigned)(uintptr_t)&extents;
	for (unsigned step = 0; step < 4000; step++) {
		struct swap_extent *extent = &extents[rand_r(&seed) % 64];
		if (extent->len) {
			memset(in, (int)extent->serial, sizeof(in));
			swap_file_seal(sf, extent, 0, in, sizeof(in), sealed);
			ck_assert_int_eq(swap_file_unseal(sf, extent, 0, sealed, sizeof(sealed), in), 0);
			swap_file_free(sf, extent);
			extent->len = 0;
		} else if (swap_file_allocate(sf, 1 + (unsigned)rand_r(&seed) % SWAP_EXTENT_MAX, extent)) {
			extent->len = 0;
		}
		if (step % 100 == 0) {
			struct swap_file_stats stats;
			swap_file_get_stats(sf, &stats);
			ck_assert_uint_le(stats.used_bytes, 24 * MIB);
		}
	}
	for (unsigned i = 0; i < 64; i++) {
		if (extents[i].len)
			swap_file_free(sf, &extents[i]);
	}
	return NULL;
}

START_TEST(threads_share_a_file)
{
	struct swap_file *sf = open_swap(24 * MIB);
	pthread_t threads[4];
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, use_extents, sf), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(swap_file_used(sf), 0);
	ck_assert_uint_gt(nr_fallocates, 0);
	swap_file_close(sf);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("swap file");
	TCase *tests = tcase_create("swap file");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_loop_test(tests, random_extents_follow_the_model, 0, 2);
	tcase_add_test(tests, space_is_found_again_after_fragmentation);
	tcase_add_test(tests, the_file_stays_short_under_random_sizes);
	tcase_add_test(tests, without_discards_the_file_keeps_the_limit);
	tcase_add_test(tests, the_limit_can_be_moved);
	tcase_add_test(tests, what_is_freed_twice_ends_the_process);
	tcase_add_test(tests, freed_blocks_are_given_back);
	tcase_add_test(tests, holes_wait_while_somebody_reads);
	tcase_add_test(tests, a_discard_that_fails_does_no_harm);
	tcase_add_test(tests, the_limit_of_files_is_kept);
	tcase_add_loop_test(tests, each_way_to_make_the_file_works, 0, 4);
	tcase_add_test(tests, files_that_will_not_do_are_refused_with_a_sentence);
	tcase_add_test(tests, every_allocation_may_fail);
	tcase_add_test(tests, nothing_is_left_after_a_kill);
	tcase_add_loop_test(tests, records_come_back_as_they_were, 0, 2);
	tcase_add_loop_test(tests, records_that_are_not_the_same_are_refused, 0, 2);
	tcase_add_loop_test(tests, the_key_is_kept_apart_and_wiped, 0, 2);
	tcase_add_test(tests, threads_share_a_file);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
