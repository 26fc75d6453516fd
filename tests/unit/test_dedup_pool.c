/* The pool of shared pages against a plain model: references, space, what VMMs can do to its file, and what a daemon takes back. */
#include <check.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dedup/pool.h"
#include "dedup/sharing.h"
#include "memmgr/os.h"
#include "tests/unit/dedup_doors.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { PAGE = PAGE_HASH_BYTES, MOST_SLOTS = 20000 };

static const uint8_t salt[PAGE_HASH_SALT] = "pool";

static struct pool *make_pool(void)
{
	struct pool *p;
	struct error err;
	ck_assert_int_eq(pool_create(MOST_SLOTS, -1, &p, &err), 0);
	return p;
}

static void make_page(uint8_t page[PAGE], uint64_t content)
{
	for (unsigned at = 0; at < PAGE; at += 8)
		memcpy(page + at, &content, 8);
}

static uint64_t content_of(const struct pool *p, uint32_t slot)
{
	uint64_t quads[PAGE / 8];
	unsigned wrong = 0; /* an assertion each would take its time */
	ck_assert_int_eq(pool_read(p, slot, quads), 0);
	for (unsigned i = 1; i < PAGE / 8; i++)
		wrong += quads[i] != quads[0];
	ck_assert_uint_eq(wrong, 0);
	return quads[0];
}

static uint32_t fill_one(struct pool *p, struct pool_run *run, bool sequential, uint64_t content)
{
	static uint8_t page[PAGE];
	uint32_t slot;
	make_page(page, content);
	ck_assert_int_eq(pool_next_slot(p, run, sequential, &slot), 0);
	ck_assert_int_eq(pool_fill(p, slot, 1, page, &(struct page_hash){~content, content}), 0);
	return slot;
}

START_TEST(references_are_counted_as_a_plain_table_would)
{
	enum { CLIENTS = 40, STEPS = 200000, SLOTS = 300 };
	static uint32_t model[SLOTS][CLIENTS], slots[SLOTS];
	uint64_t references = 0;
	struct pool_run run = {0};
	struct pool_stats stats;
	struct pool *p = make_pool();
	random_start();
	for (unsigned i = 0; i < SLOTS; i++)
		slots[i] = fill_one(p, &run, true, i + 1);
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned s = (unsigned)random_below(SLOTS), c = (unsigned)random_below(CLIENTS);
		uint32_t nr = 1 + (uint32_t)random_below(3);
		if (random_below(2)) {
			ck_assert_int_eq(pool_hold(p, slots[s], (uint16_t)(c * 100), nr), 0);
			model[s][c] += nr;
			references += nr;
		} else {
			int left = 0;
			int ret = pool_release(p, slots[s], (uint16_t)(c * 100), nr);
			if (model[s][c] < nr) {
				ck_assert_int_eq(ret, -ENOENT);
				continue;
			}
			model[s][c] -= nr;
			references -= nr;
			for (unsigned i = 0; i < CLIENTS; i++)
				left += model[s][i] > 0;
			ck_assert_int_eq(ret, left);
		}
		ck_assert_uint_eq(pool_held(p, slots[s], (uint16_t)(c * 100)), model[s][c]);
	}
	uint64_t unclaimed = 0;
	for (unsigned s = 0; s < SLOTS; s++) {
		size_t nr, at = 0;
		const struct pool_holder *holders = pool_holders(p, slots[s], &nr);
		for (unsigned c = 0; c < CLIENTS; c++) {
			if (!model[s][c])
				continue;
			ck_assert_uint_lt(at, nr);
			ck_assert_uint_eq(holders[at].client, c * 100);
			ck_assert_uint_eq(holders[at++].nr, model[s][c]);
		}
		ck_assert_uint_eq(at, nr);
		unclaimed += nr == 0;
	}
	for (unsigned c = 0; c < CLIENTS; c++) {
		struct pool_client has = {0};
		for (unsigned s = 0; s < SLOTS; s++) {
			uint64_t all = 0;
			for (unsigned i = 0; i < CLIENTS; i++)
				all += i != c && model[s][i];
			has.references += model[s][c];
			has.slots += model[s][c] > 0;
			has.alone += model[s][c] && !all;
		}
		ck_assert_uint_eq(pool_client(p, (uint16_t)(c * 100))->references, has.references);
		ck_assert_uint_eq(pool_client(p, (uint16_t)(c * 100))->slots, has.slots);
		ck_assert_uint_eq(pool_client(p, (uint16_t)(c * 100))->alone, has.alone);
	}
	pool_stats(p, &stats);
	ck_assert_uint_eq(stats.references, references);
	ck_assert_uint_eq(stats.slots, SLOTS);
	ck_assert_uint_eq(stats.unclaimed, unclaimed);
	pool_destroy(p);
	ck_assert_int_eq(live, 0);
}
END_TEST

START_TEST(slots_come_go_and_keep_their_content)
{
	enum { STEPS = 40000 };
	static uint64_t model[MOST_SLOTS + 8192];
	struct pool_run run = {0};
	struct pool_stats stats;
	uint64_t filled = 0;
	struct pool *p = make_pool();
	random_start();
	for (unsigned step = 0; step < STEPS; step++) {
		if (random_below(STEPS) > step / 2 && filled < MOST_SLOTS - 100) {
			uint32_t slot = fill_one(p, &run, random_below(4), step + 1);
			ck_assert_uint_lt(slot, MOST_SLOTS);
			ck_assert_uint_eq(model[slot], 0);
			model[slot] = step + 1;
			filled++;
		} else {
			uint32_t slot = (uint32_t)random_below(pool_end(p) + 1);
			uint64_t hash;
			ck_assert_int_eq(pool_hash(p, slot, &hash), model[slot] != 0);
			if (model[slot]) {
				ck_assert_uint_eq(hash, model[slot]);
				ck_assert_uint_eq(content_of(p, slot), model[slot]);
				pool_free(p, slot);
				model[slot] = 0;
				filled--;
			}
		}
		if (step % 1000 == 0)
			pool_trim(p, 8);
	}
	pool_end_run(p, &run);
	for (uint32_t slot = 0; slot < pool_end(p); slot++)
		if (model[slot])
			ck_assert_uint_eq(content_of(p, slot), model[slot]);
	/* What is free goes back to the kernel to the last page. */
	while (pool_trim(p, 100))
		;
	struct stat st;
	ck_assert_int_eq(fstat(pool_readonly_fd(p), &st), 0);
	ck_assert_uint_eq((uint64_t)st.st_blocks * 512, filled * PAGE);
	pool_stats(p, &stats);
	ck_assert_uint_eq(stats.slots, filled);
	ck_assert_uint_eq(stats.stale, 0);
	pool_destroy(p);
}
END_TEST

START_TEST(sequences_get_sequences_of_slots)
{
	struct pool_run a = {0}, b = {0};
	struct pool *p = make_pool();
	uint32_t last_a = 0, last_b = 0, breaks = 0;
	for (unsigned i = 0; i < 640; i++) {
		uint32_t slot_a = fill_one(p, &a, true, i + 1), slot_b = fill_one(p, &b, true, i + 1);
		breaks += i && slot_a != last_a + 1;
		breaks += i && slot_b != last_b + 1;
		last_a = slot_a;
		last_b = slot_b;
	}
	ck_assert_uint_le(breaks, 2 * 640 / 64);
	pool_destroy(p);
}
END_TEST

START_TEST(the_pool_ends_where_it_was_told_to)
{
	struct pool *p;
	struct error err;
	struct pool_run run = {0};
	uint32_t slot, nr = 0;
	ck_assert_int_eq(pool_create(1000, -1, &p, &err), 0);
	while (pool_next_slot(p, &run, true, &slot) == 0) {
		ck_assert_uint_lt(slot, 1000);
		nr++;
	}
	ck_assert_uint_eq(nr, 1000);
	ck_assert_int_eq(pool_next_slot(p, &run, false, &slot), -ENOSPC);
	pool_free(p, 500);
	ck_assert_int_eq(pool_next_slot(p, &run, true, &slot), 0);
	ck_assert_uint_eq(slot, 500);
	pool_destroy(p);
}
END_TEST

START_TEST(a_holder_of_the_descriptor_can_read_and_nothing_else)
{
	struct pool_run run = {0};
	struct pool *p = make_pool();
	uint32_t slot = fill_one(p, &run, false, 77);
	int fd = pool_readonly_fd(p);
	struct stat st;
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	ck_assert_int_lt(pwrite(fd, "x", 1, 0), 0);
	ck_assert_ptr_eq(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	ck_assert_int_lt(ftruncate(fd, 0), 0);
	ck_assert_int_lt(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), 0);
	ck_assert_int_lt(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0400);
	/* Not even who may write can make it shorter under the readers. */
	int writable = dedup_reopen_kernel(fd, O_RDWR);
	if (writable >= 0) {
		ck_assert_int_lt(ftruncate(writable, 0), 0);
		close(writable);
	}
	/* Private: the reader's own copy breaks, the slot stays. */
	uint64_t *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, (off_t)slot * PAGE);
	ck_assert_ptr_ne(at, MAP_FAILED);
	ck_assert_uint_eq(at[3], 77);
	at[3] = 1;
	ck_assert_uint_eq(content_of(p, slot), 77);
	munmap(at, PAGE);
	pool_destroy(p);
}
END_TEST

START_TEST(the_next_daemon_takes_the_pool_back_with_all_its_content)
{
	enum { NR = 9000 };
	static uint64_t model[MOST_SLOTS + 8192];
	static uint32_t slots[512];
	static struct page_hash hashes[512];
	uint8_t page[PAGE];
	struct pool_run run = {0};
	struct pool_stats stats;
	struct page_hasher hasher;
	struct error err;
	struct pool *p = make_pool(), *next;
	random_start();
	page_hasher_init(&hasher, salt);
	for (unsigned i = 0; i < NR; i++)
		model[fill_one(p, &run, true, i + 1)] = i + 1;
	for (unsigned i = 0; i < NR / 2; i++) {
		uint32_t slot = (uint32_t)random_below(NR);
		if (!model[slot])
			continue;
		pool_free(p, slot);
		model[slot] = 0;
	}
	while (pool_trim(p, 100))
		;
	struct pool_identity identity = *pool_identity(p);
	int fd = dup(pool_readonly_fd(p));
	pool_destroy(p);

	ck_assert_int_eq(pool_take_back(fd, &identity, MOST_SLOTS, -1, &next, &err), 0);
	ck_assert(pool_identity_equal(pool_identity(next), &identity));
	uint64_t nr = 0;
	uint32_t cursor = 0;
	for (size_t got = 512; got == 512;) {
		got = pool_take_back_step(next, &hasher, &cursor, 512, slots, hashes);
		for (size_t i = 0; i < got; i++) {
			struct page_hash expected;
			ck_assert_int_eq(pool_read(next, slots[i], page), 0);
			page_hash_run(&hasher, page, 1, &expected);
			ck_assert(page_hash_equal(hashes[i], expected));
			ck_assert(model[slots[i]] && content_of(next, slots[i]) == model[slots[i]]);
		}
		nr += got;
	}
	pool_stats(next, &stats);
	ck_assert_uint_eq(stats.slots, nr);
	ck_assert_uint_eq(stats.unclaimed, nr);
	/* New content comes into holes, and leaves the rest alone. */
	run = (struct pool_run){0};
	for (unsigned i = 0; i < 2000; i++) {
		uint32_t slot = fill_one(next, &run, i % 2, 100000 + i);
		ck_assert_uint_eq(model[slot], 0);
		model[slot] = 100000 + i;
	}
	uint32_t unclaimed = 0;
	for (uint32_t slot = 0; (slot = pool_next_unclaimed(next, slot)) != POOL_SLOT_NONE; slot++) {
		ck_assert_uint_eq(content_of(next, slot), model[slot]);
		unclaimed++;
	}
	ck_assert_uint_eq(unclaimed, nr + 2000);
	ck_assert_int_eq(pool_hold(next, slots[0], 3, 2), 0);
	ck_assert_int_eq(fcntl(pool_readonly_fd(next), F_GETFL) & O_ACCMODE, O_RDONLY);
	pool_destroy(next);
	close(fd);
}
END_TEST

START_TEST(a_slot_that_cannot_be_read_stays_with_its_holders_alone)
{
	uint32_t slots[4], cursor = 0;
	struct page_hash hashes[4];
	struct pool_run run = {0};
	struct page_hasher hasher;
	struct error err;
	struct pool *p = make_pool(), *next;
	uint64_t high, page[PAGE / 8];
	page_hasher_init(&hasher, salt);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(fill_one(p, &run, true, i + 1), i);
	struct pool_identity identity = *pool_identity(p);
	int fd = dup(pool_readonly_fd(p));
	pool_destroy(p);
	ck_assert_int_eq(pool_take_back(fd, &identity, MOST_SLOTS, -1, &next, &err), 0);
	fail_in = 1;
	ck_assert_uint_eq(pool_take_back_step(next, &hasher, &cursor, 4, slots, hashes), 2);
	ck_assert(fail_in < 0 && slots[0] == 0 && slots[1] == 2);
	ck_assert(!pool_hash(next, 1, &high));
	ck_assert_int_eq(pool_hold(next, 1, 3, 1), 0);
	ck_assert_int_eq(pool_release(next, 1, 3, 1), 0);
	pool_free(next, 1);
	fail_in = 0;
	ck_assert_int_eq(pool_read(next, 2, page), -EIO);
	ck_assert_uint_eq(content_of(next, 2), 3);
	pool_destroy(next);
	close(fd);
}
END_TEST

/* The policy of a slot's next memory, as the kernel has it; -1: it has no NUMA, or does not tell. */
static int policy_of(const struct pool *p, uint32_t slot)
{
	int mode = -1;
	unsigned long nodes[16] = {0};
	void *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, pool_readonly_fd(p), (off_t)slot * PAGE);
	ck_assert(page != MAP_FAILED);
	if (syscall(SYS_get_mempolicy, &mode, nodes, sizeof(nodes) * 8, page, MPOL_F_ADDR) < 0)
		mode = -1;
	munmap(page, PAGE);
	return mode;
}

START_TEST(a_nodes_pool_is_bound_to_it_for_whoever_maps_it_and_after_a_restart)
{
	struct pool *p = make_pool(), *next;
	struct pool_run run = {0};
	struct error err;
	int node = __builtin_ctzll(mem_host_nodes());
	uint32_t slot = fill_one(p, &run, false, 1);
	int plain = policy_of(p, slot);
	pool_destroy(p);
	if (plain < 0) {
		fprintf(stderr, "skipped: the kernel does not tell memory policies\n");
		return;
	}
	ck_assert_int_eq(plain, MPOL_DEFAULT);
	ck_assert_int_eq(pool_create(MOST_SLOTS, node, &p, &err), 0);
	/* Groups of slots, one after the other. */
	for (unsigned i = 0; i < 10000; i++) {
		slot = fill_one(p, &run, false, i + 1);
		ck_assert_int_eq(policy_of(p, slot), MPOL_PREFERRED);
	}
	int fd = dup(pool_readonly_fd(p));
	struct pool_identity identity = *pool_identity(p);
	pool_destroy(p);
	ck_assert_msg(pool_take_back(fd, &identity, MOST_SLOTS, node, &next, &err) == 0, "%s", err.text);
	ck_assert_int_eq(policy_of(next, slot), MPOL_PREFERRED);
	pool_destroy(next);
	close(fd);
	/* A node that the host has not: it works without. */
	ck_assert_int_eq(pool_create(MOST_SLOTS, 63, &p, &err), 0);
	run = (struct pool_run){0};
	slot = fill_one(p, &run, false, 7);
	ck_assert_uint_eq(content_of(p, slot), 7);
	pool_destroy(p);
}
END_TEST

START_TEST(no_other_file_is_taken_for_the_pool)
{
	struct error err = {0};
	struct pool *p = make_pool(), *other = make_pool(), *next = NULL;
	struct pool_identity identity = *pool_identity(p);
	ck_assert(!pool_identity_equal(&identity, pool_identity(other)));
	ck_assert_int_eq(pool_take_back(pool_readonly_fd(other), &identity, MOST_SLOTS, -1, &next, &err), -EPERM);
	ck_assert_ptr_nonnull(strstr(err.text, "not the pool"));

	/* One that a VMM has made to look like it. */
	int forged = memfd_create("pagoda-pool", MFD_ALLOW_SEALING);
	ck_assert_int_eq(ftruncate(forged, 32 << 20), 0);
	ck_assert_int_eq(fcntl(forged, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL), 0);
	ck_assert_int_eq(fchmod(forged, 0400), 0);
	ck_assert_int_eq(pool_take_back(forged, &identity, MOST_SLOTS, -1, &next, &err), -EPERM);
	close(forged);

	int file = open("/proc/self/exe", O_RDONLY);
	ck_assert_int_eq(pool_take_back(file, &identity, MOST_SLOTS, -1, &next, &err), -EPERM);
	close(file);
	int fds[2];
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(pool_take_back(fds[0], &identity, MOST_SLOTS, -1, &next, &err), -EPERM);
	close(fds[0]);
	close(fds[1]);

	/* Its own, whose mode somebody has opened to others. */
	ck_assert_int_eq(fchmod(pool_readonly_fd(p), 0666), 0);
	ck_assert_int_eq(pool_take_back(pool_readonly_fd(p), &identity, MOST_SLOTS, -1, &next, &err), -EPERM);
	ck_assert_int_eq(fchmod(pool_readonly_fd(p), 0400), 0);
	ck_assert_int_eq(pool_take_back(pool_readonly_fd(p), &identity, MOST_SLOTS, -1, &next, &err), 0);
	pool_destroy(next);
	/* A daemon that was told to make do with less does not take it. */
	struct pool_run run = {0};
	for (unsigned i = 0; i < 9000; i++)
		fill_one(p, &run, true, 1);
	ck_assert_int_eq(pool_take_back(pool_readonly_fd(p), &identity, 5000, -1, &next, &err), -ENOSPC);
	pool_destroy(p);
	pool_destroy(other);
	ck_assert_int_eq(live, 0);
}
END_TEST

START_TEST(the_sharing_map_is_what_counting_all_pages_gives)
{
	enum { CLIENTS = 6, SLOTS = 2000 };
	static uint32_t model[SLOTS][CLIENTS];
	static struct sharing map;
	struct pool_run run = {0};
	struct pool *p = make_pool();
	random_start();
	for (unsigned s = 0; s < SLOTS; s++) {
		uint32_t slot = fill_one(p, &run, true, s + 1);
		ck_assert_uint_eq(slot, s);
		for (unsigned c = 0; c < CLIENTS; c++) {
			model[s][c] = random_below(3) ? 0 : 1 + (uint32_t)random_below(3);
			if (model[s][c])
				ck_assert_int_eq(pool_hold(p, slot, (uint16_t)c, model[s][c]), 0);
		}
	}
	for (unsigned set = 0; set < 1 << CLIENTS; set++) {
		struct sharing expected = {.pages = 0};
		uint32_t cursor = 0;
		memset(&map, 0, sizeof(map));
		for (unsigned c = 0; c < CLIENTS; c++)
			if (set >> c & 1)
				sharing_ask_about(&map, (uint16_t)c);
		while (sharing_step(&map, p, &cursor, 300))
			;
		for (unsigned s = 0; s < SLOTS; s++) {
			uint64_t in = 0, who = 0, out = 0;
			for (unsigned c = 0; c < CLIENTS; c++) {
				in += set >> c & 1 ? model[s][c] : 0;
				who += set >> c & 1 && model[s][c];
				out += set >> c & 1 ? 0 : model[s][c];
			}
			if (!in)
				continue;
			expected.pages += in;
			expected.slots++;
			expected.within += in > 1;
			expected.across += out > 0;
			expected.saved += in - 1;
			/* Memory before: one page if nobody else has it, none on the set's account else; after: in. */
			expected.divergence += out ? in : in - 1;
			for (unsigned c = 0; c < CLIENTS; c++)
				expected.with[c] += model[s][c] && (!(set >> c & 1) || who > 1);
		}
		ck_assert_uint_eq(map.pages, expected.pages);
		ck_assert_uint_eq(map.slots, expected.slots);
		ck_assert_uint_eq(map.within, expected.within);
		ck_assert_uint_eq(map.across, expected.across);
		ck_assert_uint_eq(map.saved, expected.saved);
		ck_assert_uint_eq(map.divergence, expected.divergence);
		ck_assert_mem_eq(map.with, expected.with, sizeof(map.with));
	}
	pool_destroy(p);
}
END_TEST

START_TEST(every_call_may_fail_once_and_nothing_is_lost)
{
	static uint8_t page[PAGE] = {1};
	for (int n = 0;; n++) {
		struct pool *p = NULL;
		struct pool_run run = {0};
		struct error err = {0};
		uint32_t slot;
		bool failed = false;
		fail_in = n;
		int ret = pool_create(MOST_SLOTS, -1, &p, &err);
		if (ret == 0) {
			int fd = pool_readonly_fd(p);
			ret = pool_next_slot(p, &run, true, &slot);
			if (ret == 0) {
				ret = pool_fill(p, slot, 1, page, &(struct page_hash){1, 1});
				for (uint16_t c = 0; ret == 0 && c < 10; c++)
					ret = pool_hold(p, slot, c, 1);
				for (uint16_t c = 0; c < 10; c++)
					pool_release(p, slot, c, 1);
				pool_free(p, slot);
				pool_trim(p, 1);
				struct pool *again = NULL;
				if (ret == 0)
					ret = pool_take_back(fd, pool_identity(p), MOST_SLOTS, -1, &again, &err);
				pool_destroy(again);
			}
		}
		failed = fail_in < 0;
		fail_in = -1;
		pool_destroy(p);
		ck_assert_int_eq(live, 0);
		ck_assert(ret == 0 || failed);
		if (!failed)
			break;
		ck_assert_int_lt(n, 100);
	}
}
END_TEST

START_TEST(a_client_has_a_million_references_to_one_slot_at_most)
{
	struct pool_run run = {0};
	struct pool *p = make_pool();
	uint32_t slot = fill_one(p, &run, true, 1);
	ck_assert_int_eq(pool_hold(p, slot, 4095, POOL_MOST_REFERENCES + 1), -EOVERFLOW);
	ck_assert_int_eq(pool_hold(p, slot, 4095, POOL_MOST_REFERENCES), 0);
	ck_assert_int_eq(pool_hold(p, slot, 4095, 1), -EOVERFLOW);
	ck_assert_int_eq(pool_hold(p, slot, 4094, 1), 0);
	ck_assert_uint_eq(pool_held(p, slot, 4095), POOL_MOST_REFERENCES);
	ck_assert_int_eq(pool_release(p, slot, 4095, POOL_MOST_REFERENCES), 1);
	pool_destroy(p);
}
END_TEST

START_TEST(metadata_takes_29_bytes_a_slot)
{
	struct pool_run run = {0};
	struct pool_stats stats;
	struct pool *p = make_pool();
	for (unsigned i = 0; i < 16384; i++) {
		uint32_t slot = fill_one(p, &run, true, i + 1);
		ck_assert_int_eq(pool_hold(p, slot, 1, 1), 0);
		ck_assert_int_eq(pool_hold(p, slot, 2, 1), 0);
	}
	pool_stats(p, &stats);
	ck_assert_uint_lt(stats.bytes, 16384 * 29 + (70 << 10));
	pool_destroy(p);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pool of shared pages");
	TCase *tests = tcase_create("pool");
	tcase_add_test(tests, references_are_counted_as_a_plain_table_would);
	tcase_add_test(tests, slots_come_go_and_keep_their_content);
	tcase_add_test(tests, sequences_get_sequences_of_slots);
	tcase_add_test(tests, the_pool_ends_where_it_was_told_to);
	tcase_add_test(tests, a_holder_of_the_descriptor_can_read_and_nothing_else);
	tcase_add_test(tests, the_next_daemon_takes_the_pool_back_with_all_its_content);
	tcase_add_test(tests, a_slot_that_cannot_be_read_stays_with_its_holders_alone);
	tcase_add_test(tests, no_other_file_is_taken_for_the_pool);
	tcase_add_test(tests, the_sharing_map_is_what_counting_all_pages_gives);
	tcase_add_test(tests, a_nodes_pool_is_bound_to_it_for_whoever_maps_it_and_after_a_restart);
	tcase_add_test(tests, every_call_may_fail_once_and_nothing_is_lost);
	tcase_add_test(tests, a_client_has_a_million_references_to_one_slot_at_most);
	tcase_add_test(tests, metadata_takes_29_bytes_a_slot);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
