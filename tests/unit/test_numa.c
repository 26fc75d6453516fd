/* NUMA placement, on four nodes that are played by the test, and on the node that every machine has. */
#include <check.h>
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memmgr/numa.h"
#include "memmgr/os.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

/* --- a host of four nodes --- */

#define NR_PAGES 20000u
#define TARGET 2
enum page_state { ABSENT = -1 };

static bool is_played;
static int where[NR_PAGES];        /* node, or ABSENT */
static uint8_t busy_for[NR_PAGES]; /* attempts that fail with -EBUSY; 255: all */
static uint64_t host_nodes;
static unsigned nr_calls, nr_asked, nr_attempts;
static int call_error;    /* of calls that move */
static int ask_error;     /* of calls that ask */
static unsigned room;     /* pages that the target still takes */
static bool room_by_page; /* told as a page's status, or as the call's result */
static bool is_huge;      /* pages move in groups of 16 */
static struct {
	void *start;
	size_t len;
	int mode;
	uint64_t nodes;
	int error;
	unsigned nr;
} bound;

static uint8_t *const base = (uint8_t *)0x100000000; /* nobody looks there */

uint64_t mem_host_nodes(void)
{
	return is_played ? host_nodes : mem_host_nodes_kernel();
}

int mem_mbind(void *start, size_t len, int mode, uint64_t nodes)
{
	if (!is_played)
		return mem_mbind_kernel(start, len, mode, nodes);
	bound.start = start;
	bound.len = len;
	bound.mode = mode;
	bound.nodes = nodes;
	bound.nr++;
	return bound.error;
}

static size_t page_of(const void *at)
{
	size_t page = (size_t)((const uint8_t *)at - base) / 4096;
	if ((const uint8_t *)at < base || page >= NR_PAGES)
		ck_abort_msg("a page outside of the range"); /* no assertion a page: they take time when they hold, too */
	return page;
}

/* One page's turn. Returns its status. */
static int play_move(size_t page, int node)
{
	if (where[page] == ABSENT)
		return -ENOENT;
	if (busy_for[page]) {
		busy_for[page] -= busy_for[page] != 255;
		return -EBUSY;
	}
	if (room == 0)
		return -ENOMEM;
	room--;
	where[page] = node;
	return node;
}

int mem_move_pages(size_t nr, void **pages, const int *nodes, int *status)
{
	if (!is_played)
		return mem_move_pages_kernel(nr, pages, nodes, status);
	int nr_stayed = 0;
	nr_calls++;
	if (!nodes) {
		nr_asked += (unsigned)nr;
		for (size_t i = 0; i < nr && !ask_error; i++)
			status[i] = where[page_of(pages[i])] == ABSENT ? -ENOENT : where[page_of(pages[i])];
		return ask_error;
	}
	nr_attempts += (unsigned)nr;
	if (call_error)
		return call_error;
	for (size_t i = 0; i < nr; i++) {
		size_t page = page_of(pages[i]);
		if (where[page] == ABSENT)
			ck_abort_msg("an absent page is moved");
		/* One of a huge page takes the others along, which are called busy then. */
		int result = is_huge && page % 16 && where[page] == nodes[i] ? -EBUSY : play_move(page, nodes[i]);
		for (size_t k = page - page % 16; is_huge && result >= 0 && k < page - page % 16 + 16; k++)
			where[k] = nodes[i];
		if (result == -ENOMEM && !room_by_page)
			return -ENOMEM; /* as the kernel: the rest is not answered */
		nr_stayed += result < 0;
		status[i] = result;
	}
	return nr_stayed;
}

static void set_up(void)
{
	is_played = true;
	is_huge = room_by_page = false;
	host_nodes = 0xf;
	nr_calls = nr_asked = nr_attempts = 0;
	call_error = ask_error = 0;
	room = NR_PAGES;
	memset(&bound, 0, sizeof(bound));
	memset(busy_for, 0, sizeof(busy_for));
	memset(where, 0, sizeof(where));
}

static const struct numa_range whole = {.hva = base, .len = NR_PAGES * 4096ull};

static void scatter_pages(void)
{
	random_start();
	for (unsigned i = 0; i < NR_PAGES; i++)
		where[i] = random_below(5) == 0 ? ABSENT : (int)random_below(4);
}

static unsigned pages_on(int node)
{
	unsigned nr = 0;
	for (unsigned i = 0; i < NR_PAGES; i++)
		nr += where[i] == node;
	return nr;
}

/* --- binding --- */

START_TEST(each_policy_reaches_the_kernel)
{
	static const struct {
		enum numa_policy policy;
		uint64_t nodes;
		int mode;
	} cases[] = {
		{NUMA_POLICY_DEFAULT, 0, MPOL_DEFAULT},
		{NUMA_POLICY_BIND, 2, MPOL_BIND},
		{NUMA_POLICY_BIND, 15, MPOL_BIND},
		{NUMA_POLICY_PREFER, 8, MPOL_PREFERRED},
		{NUMA_POLICY_PREFER, 9, MPOL_PREFERRED_MANY},
		{NUMA_POLICY_INTERLEAVE, 6, MPOL_INTERLEAVE},
	};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(numa_range_bind(&whole, cases[i].nodes, cases[i].policy, NULL), 0);
		ck_assert_int_eq(bound.mode, cases[i].mode);
		ck_assert_uint_eq(bound.nodes, cases[i].nodes);
		ck_assert(bound.start == base && bound.len == whole.len);
	}
}
END_TEST

START_TEST(bad_bindings_are_refused_with_a_sentence)
{
	struct error err;
	ck_assert_int_eq(numa_range_bind(&whole, 0x36, NUMA_POLICY_BIND, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, "nodes 1-2,4-5:") && strstr(err.text, "nodes 0-3;"), "%s", err.text);
	ck_assert_int_eq(numa_range_bind(&whole, 1ull << 63, NUMA_POLICY_BIND, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, "nodes 63:") != NULL, "%s", err.text);
	ck_assert_int_eq(numa_range_bind(&whole, 1, NUMA_POLICY_DEFAULT, &err), -EINVAL);
	ck_assert_int_eq(numa_range_bind(&whole, 0, NUMA_POLICY_BIND, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, "name at least one") != NULL, "%s", err.text);
	static const struct numa_range bad[] = {{(uint8_t *)0x100000001, 4096},
						{(uint8_t *)0x100000000, 4095},
						{(uint8_t *)0x100000000, 0},
						{(uint8_t *)-4096, 8192}};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct numa_count count;
		struct numa_mover mover;
		ck_assert_int_eq(numa_range_bind(&bad[i], 1, NUMA_POLICY_BIND, &err), -EINVAL);
		ck_assert_int_eq(numa_range_count(&bad[i], 0, &count), -EINVAL);
		ck_assert_int_eq(numa_mover_init(&mover, &bad[i], 0, 1), -EINVAL);
	}
	ck_assert_uint_eq(bound.nr, 0);
	bound.error = -ENOMEM;
	ck_assert_int_eq(numa_range_bind(&whole, 1, NUMA_POLICY_BIND, &err), -ENOMEM);
	ck_assert_msg(strstr(err.text, "78 MiB") != NULL, "%s", err.text);
	bound.error = -EPERM;
	ck_assert_int_eq(numa_range_bind(&whole, 1, NUMA_POLICY_BIND, &err), -EPERM);
	ck_assert_msg(strstr(err.text, "seccomp") != NULL, "%s", err.text);
	/* A kernel without NUMA: all memory is where it was asked to be. */
	bound.error = -ENOSYS;
	ck_assert_int_eq(numa_range_bind(&whole, 1, NUMA_POLICY_BIND, &err), 0);
}
END_TEST

/* --- counting --- */

START_TEST(a_full_count_is_exact)
{
	struct numa_count count;
	scatter_pages();
	ck_assert_int_eq(numa_range_count(&whole, _i ? NR_PAGES * 2ull : 0, &count), 0);
	for (int node = 0; node < NUMA_HOST_NODES; node++)
		ck_assert_uint_eq(count.nr_pages[node], pages_on(node));
	ck_assert_uint_eq(count.nr_absent, pages_on(ABSENT));
	ck_assert_uint_eq(count.nr_looked_at, NR_PAGES);
	ck_assert_uint_eq(nr_asked, NR_PAGES);
	ck_assert_uint_le(nr_calls, NR_PAGES / 256 + 1);
}
END_TEST

START_TEST(a_sampled_count_is_near_and_bounded)
{
	struct numa_count count;
	scatter_pages();
	/* Also where the guest's pattern has the stride of the parts: every tenth page on node 3, the others on 1. */
	for (unsigned i = 0; _i && i < NR_PAGES; i++)
		where[i] = i % 10 ? 1 : 3;
	ck_assert_int_eq(numa_range_count(&whole, 2000, &count), 0);
	ck_assert_uint_eq(count.nr_looked_at, 2000);
	ck_assert_uint_eq(nr_asked, 2000);
	for (int node = 0; node < 4; node++) {
		uint64_t real = pages_on(node);
		uint64_t off = real > count.nr_pages[node] ? real - count.nr_pages[node] : count.nr_pages[node] - real;
		ck_assert_msg(off < NR_PAGES / 20, "node %d: %llu, in truth %llu", node, (unsigned long long)count.nr_pages[node],
			      (unsigned long long)real);
	}
	ck_assert_int_eq(numa_range_count(&(struct numa_range){base, 4096}, 2000, &count), 0);
	ck_assert_uint_eq(count.nr_looked_at, 1);
	count.nr_absent = 77;
	ask_error = -ENOMEM;
	ck_assert_int_eq(numa_range_count(&whole, 2000, &count), -ENOMEM);
	ck_assert_uint_eq(count.nr_absent, 77);
	ask_error = -ENOSYS;
	ck_assert_int_eq(numa_range_count(&whole, 0, &count), 0);
	ck_assert_uint_eq(count.nr_pages[0], NR_PAGES);
}
END_TEST

/* --- moving --- */

START_TEST(a_range_moves_in_steps)
{
	static int before[NR_PAGES];
	static const uint32_t sizes[] = {1000, 7, 64, 100000};
	uint32_t size = sizes[_i];
	struct numa_mover mover;
	struct numa_step step = {.nr_remaining = NR_PAGES};
	uint64_t moved = 0;
	scatter_pages();
	memcpy(before, where, sizeof(where));
	unsigned there = pages_on(TARGET);
	unsigned absent = pages_on(ABSENT);
	ck_assert_int_eq(numa_mover_init(&mover, &whole, TARGET, size), 0);
	while (step.nr_remaining) {
		uint64_t remaining = step.nr_remaining;
		unsigned attempts = nr_attempts;
		unsigned asked = nr_asked;
		ck_assert_int_eq(numa_mover_step(&mover, &step), 0);
		ck_assert_uint_lt(step.nr_remaining, remaining);
		ck_assert_uint_le(nr_attempts - attempts, size);
		ck_assert_uint_le(nr_asked - asked, 17 * (uint64_t)size);
		ck_assert_uint_eq(step.nr_failed, 0);
		moved += step.nr_moved;
	}
	ck_assert_uint_eq(moved, NR_PAGES - there - absent);
	ck_assert_uint_eq(pages_on(TARGET), there + moved);
	for (unsigned i = 0; i < NR_PAGES; i++) {
		if ((where[i] == ABSENT) != (before[i] == ABSENT))
			ck_abort_msg("a page came or went");
	}
	/* At its end it stays there. */
	ck_assert_int_eq(numa_mover_step(&mover, &step), 0);
	ck_assert_uint_eq(step.nr_moved + step.nr_failed + step.nr_remaining, 0);
}
END_TEST

START_TEST(busy_pages_are_tried_three_times)
{
	struct numa_mover mover;
	struct numa_step step = {.nr_remaining = 1};
	uint64_t moved = 0;
	uint64_t failed = 0;
	busy_for[5] = 1;
	busy_for[700] = 2;
	busy_for[19999] = 3;
	busy_for[8] = 255;
	ck_assert_int_eq(numa_mover_init(&mover, &whole, TARGET, 500), 0);
	while (step.nr_remaining) {
		ck_assert_int_eq(numa_mover_step(&mover, &step), 0);
		moved += step.nr_moved;
		failed += step.nr_failed;
	}
	ck_assert_uint_eq(moved, NR_PAGES - 2);
	ck_assert_uint_eq(failed, 1 + 2 + 3 + 3);
	ck_assert_int_eq(where[8], 0);
	ck_assert_int_eq(where[19999], 0);
	ck_assert_uint_eq(nr_attempts, NR_PAGES + 4 + 3);
}
END_TEST

START_TEST(huge_pages_that_move_whole_are_no_failures)
{
	struct numa_mover mover;
	struct numa_step step = {.nr_remaining = 1};
	uint64_t moved = 0;
	is_huge = true;
	ck_assert_int_eq(numa_mover_init(&mover, &whole, TARGET, 64), 0);
	while (step.nr_remaining) {
		ck_assert_int_eq(numa_mover_step(&mover, &step), 0);
		ck_assert_uint_eq(step.nr_failed, 0);
		moved += step.nr_moved;
	}
	ck_assert_uint_eq(moved, NR_PAGES);
	ck_assert_uint_eq(pages_on(TARGET), NR_PAGES);
}
END_TEST

START_TEST(a_full_target_stops_and_goes_on)
{
	struct numa_mover mover;
	struct numa_step step;
	room_by_page = _i;
	room = 1234;
	ck_assert_int_eq(numa_mover_init(&mover, &whole, TARGET, 1000), 0);
	ck_assert_int_eq(numa_mover_step(&mover, &step), 0);
	ck_assert_uint_eq(step.nr_moved, 1000);
	ck_assert_int_eq(numa_mover_step(&mover, &step), -ENOMEM);
	ck_assert_uint_eq(step.nr_moved, 234);
	ck_assert_uint_eq(step.nr_failed, 0);
	ck_assert_int_eq(numa_mover_step(&mover, &step), -ENOMEM);
	ck_assert_uint_eq(step.nr_moved, 0);
	ck_assert_uint_ge(step.nr_remaining, NR_PAGES - 1234);
	room = NR_PAGES;
	while (step.nr_remaining)
		ck_assert_int_eq(numa_mover_step(&mover, &step), 0);
	ck_assert_uint_eq(pages_on(TARGET), NR_PAGES);
}
END_TEST

START_TEST(errors_of_calls_are_told_and_got_over)
{
	static const int errors[] = {-EPERM, -ENODEV, -EACCES, -ENOMEM, -ENOSYS};
	struct numa_mover mover;
	struct numa_step step;
	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		set_up();
		ck_assert_int_eq(numa_mover_init(&mover, &whole, TARGET, 100), 0);
		call_error = errors[i];
		ck_assert_int_eq(numa_mover_step(&mover, &step), errors[i]);
		ck_assert_uint_eq(step.nr_moved, 0);
		ck_assert_uint_eq(step.nr_remaining, NR_PAGES);
		call_error = 0;
		ck_assert_int_eq(numa_mover_step(&mover, &step), 0);
		ck_assert_uint_eq(step.nr_moved, 100);
	}
	ask_error = -ENOMEM;
	ck_assert_int_eq(numa_mover_step(&mover, &step), -ENOMEM);
	ck_assert_uint_eq(step.nr_moved, 0);
	ck_assert_int_eq(numa_mover_init(&mover, &whole, 4, 100), -EINVAL);
	ck_assert_int_eq(numa_mover_init(&mover, &whole, 64, 100), -EINVAL);
	ck_assert_int_eq(numa_mover_init(&mover, &whole, 1, 0), -EINVAL);
}
END_TEST

/* --- this machine --- */

static unsigned lowest(uint64_t nodes)
{
	return (unsigned)__builtin_ctzll(nodes);
}

START_TEST(the_real_kernel_agrees)
{
	const size_t nr = 600;
	struct error err;
	struct numa_count count;
	struct numa_mover mover;
	struct numa_step step = {.nr_remaining = 1};
	is_played = false;
	uint64_t nodes = numa_host_nodes();
	ck_assert_uint_ne(nodes, 0);
	uint8_t *ram = mmap(NULL, nr * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(ram != MAP_FAILED);
	madvise(ram, nr * 4096, MADV_NOHUGEPAGE);
	struct numa_range range = {.hva = ram, .len = nr * 4096};
	int ret = numa_range_bind(&range, nodes & -nodes, NUMA_POLICY_BIND, &err);
	if (ret == -EPERM) {
		fprintf(stderr, "skipped: %s\n", err.text);
		munmap(ram, nr * 4096);
		return;
	}
	ck_assert_msg(ret == 0, "%s", err.text);
	for (size_t i = 0; i < nr; i += 3)
		ram[i * 4096] = 1;
	ck_assert_int_eq(numa_range_count(&range, 0, &count), 0);
	ck_assert_uint_eq(count.nr_pages[lowest(nodes)], nr / 3);
	ck_assert_uint_eq(count.nr_absent, nr - nr / 3);
	ck_assert_int_eq(numa_mover_init(&mover, &range, lowest(nodes), 64), 0);
	while (step.nr_remaining) {
		ck_assert_int_eq(numa_mover_step(&mover, &step), 0);
		ck_assert_uint_eq(step.nr_moved + step.nr_failed, 0);
	}
	for (enum numa_policy policy = NUMA_POLICY_DEFAULT; policy <= NUMA_POLICY_INTERLEAVE; policy++)
		ck_assert_msg(numa_range_bind(&range, policy == NUMA_POLICY_DEFAULT ? 0 : nodes, policy, &err) == 0, "%s",
			      err.text);
	/* A node that is not there, past our own look. */
	ck_assert_int_lt(mem_mbind_kernel(ram, nr * 4096, MPOL_BIND, 1ull << 63), 0);
	munmap(ram, nr * 4096);
	ck_assert_int_eq(numa_range_bind(&range, nodes & -nodes, NUMA_POLICY_BIND, &err) < 0, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("numa");
	TCase *tests = tcase_create("numa");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, each_policy_reaches_the_kernel);
	tcase_add_test(tests, bad_bindings_are_refused_with_a_sentence);
	tcase_add_loop_test(tests, a_full_count_is_exact, 0, 2);
	tcase_add_loop_test(tests, a_sampled_count_is_near_and_bounded, 0, 2);
	tcase_add_loop_test(tests, a_range_moves_in_steps, 0, 4);
	tcase_add_test(tests, busy_pages_are_tried_three_times);
	tcase_add_test(tests, huge_pages_that_move_whole_are_no_failures);
	tcase_add_loop_test(tests, a_full_target_stops_and_goes_on, 0, 2);
	tcase_add_test(tests, errors_of_calls_are_told_and_got_over);
	tcase_add_test(tests, the_real_kernel_agrees);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
