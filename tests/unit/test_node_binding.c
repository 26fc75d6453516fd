/* A binding to host nodes outlives the mappings of guest RAM: pages that leave the pool, stages, and what the pool itself keeps out of. */
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>

#include "memmgr/node_binding.h"
#include "memmgr/share.h"
#include "tests/unit/memmgr_world.h"

static int pool_file;
static uint8_t *pool;
static uint64_t node; /* one that the host has */
static int bind_error;

int mem_mbind(void *start, size_t len, int mode, uint64_t nodes)
{
	return bind_error ? -bind_error : mem_mbind_kernel(start, len, mode, nodes);
}

/* The policy by which the next page at the address gets its memory, as the kernel has it. */
static int policy_at(const void *at)
{
	int mode = -1;
	unsigned long nodes[16] = {0};
	if (syscall(SYS_get_mempolicy, &mode, nodes, sizeof(nodes) * 8, at, MPOL_F_ADDR) != 0)
		return -errno;
	return mode;
}

static void bind_to(uint64_t nodes, enum numa_policy policy)
{
	struct error err;
	struct memmgr_node look;
	ck_assert_msg(memmgr_bind_node(world.mm, 0, nodes, policy, 0, &err) == 0, "%s", err.text);
	ck_assert_int_eq(memmgr_look_at_node(world.mm, 0, &look), 0);
	ck_assert_uint_eq(look.host_nodes, nodes);
	ck_assert_uint_eq(look.bytes, world.nr_pages * (uint64_t)PAGE);
	ck_assert(!look.moving);
	ck_assert_int_eq(memmgr_look_at_node(world.mm, 1, &look), -ENOENT);
}

static void binding_set_up(void)
{
	set_up();
	bind_error = 0;
	node = 1ull << __builtin_ctzll(numa_host_nodes());
	for (uint32_t page = 0; page < world.nr_pages; page++)
		page_write(page);
	pool_file = memfd_create("pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ck_assert_int_eq(ftruncate(pool_file, REGION_PAGES * PAGE), 0);
	ck_assert_int_eq(fcntl(pool_file, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	pool = mmap(NULL, REGION_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, pool_file, 0);
	ck_assert(pool != MAP_FAILED);
	ck_assert_int_eq(share_set_pool(world.mm, pool_file), 0);
}

static void binding_tear_down(void)
{
	munmap(pool, REGION_PAGES * PAGE);
	close(pool_file);
	tear_down();
}

/* Lets pages map slots of their own numbers. */
static void share(uint32_t first, uint32_t nr)
{
	struct share_item returned[64];
	/* References of before are returned first. */
	for (uint32_t at = 0; at < world.nr_pages;)
		share_collect(world.mm, &at, UINT32_MAX, true, returned, 64);
	for (uint32_t page = first; page < first + nr; page++) {
		struct share_item item = {page, page};
		enum share_result result;
		memcpy(pool + page * PAGE, page_at(page), PAGE);
		ck_assert_uint_eq(share_pages(world.mm, &item, 1, &result), 1);
	}
}

static void check_bytes(void)
{
	for (uint32_t page = 0; page < world.nr_pages; page++)
		check_page(page);
}

/* The kernel has no NUMA, or does not let us ask. */
static bool cannot_ask(void)
{
	int ret = policy_at(pool);
	if (ret >= 0)
		return false;
	fprintf(stderr, "skipped: the kernel does not tell memory policies: %s\n", strerror(-ret));
	return true;
}

START_TEST(a_chunk_that_leaves_the_pool_is_bound_as_before)
{
	if (cannot_ask())
		return;
	bind_to(node, NUMA_POLICY_BIND);
	share(CHUNK_PAGES + 10, 20);
	ck_assert_int_eq(policy_at(page_at(CHUNK_PAGES)), MPOL_BIND);
	ck_assert_int_eq(policy_at(page_at(CHUNK_PAGES + 10)), MPOL_DEFAULT);
	ck_assert_int_eq(share_restore(world.mm, CHUNK_PAGES), 20);
	for (uint32_t page = CHUNK_PAGES - 1; page <= 2 * CHUNK_PAGES; page++)
		ck_assert_int_eq(policy_at(page_at(page)), MPOL_BIND);
	check_bytes();
}
END_TEST

START_TEST(pages_that_are_dropped_from_the_pool_are_bound_as_before)
{
	if (cannot_ask())
		return;
	bind_to(node, NUMA_POLICY_PREFER);
	share(CHUNK_PAGES, 4);
	ck_assert_int_ge(memmgr_drop(world.mm, page_gpa(CHUNK_PAGES + 1), 2 * PAGE, true), 0);
	ck_assert_int_eq(policy_at(page_at(CHUNK_PAGES)), MPOL_DEFAULT);
	ck_assert_int_eq(policy_at(page_at(CHUNK_PAGES + 1)), MPOL_PREFERRED);
	ck_assert_int_eq(policy_at(page_at(CHUNK_PAGES + 2)), MPOL_PREFERRED);
}
END_TEST

/* What a mapping of a file is bound to, the file is, for all who map it. */
START_TEST(a_new_binding_leaves_the_pool_alone_and_reaches_all_else)
{
	if (cannot_ask())
		return;
	share(CHUNK_PAGES + 10, 20);
	bind_to(node, NUMA_POLICY_BIND);
	for (uint32_t page = 0; page < world.nr_pages; page++) {
		bool shared = page >= CHUNK_PAGES + 10 && page < CHUNK_PAGES + 30;
		ck_assert_int_eq(policy_at(page_at(page)), shared ? MPOL_DEFAULT : MPOL_BIND);
		ck_assert_int_eq(policy_at(pool + page * PAGE), MPOL_DEFAULT);
	}
	bind_to(node, NUMA_POLICY_INTERLEAVE);
	ck_assert_int_eq(share_restore(world.mm, CHUNK_PAGES), 20);
	ck_assert_int_eq(policy_at(page_at(CHUNK_PAGES + 10)), MPOL_INTERLEAVE);
	bind_to(0, NUMA_POLICY_DEFAULT);
	share(CHUNK_PAGES + 10, 20);
	ck_assert_int_eq(share_restore(world.mm, CHUNK_PAGES), 20);
	for (uint32_t page = 0; page < world.nr_pages; page++)
		ck_assert_int_eq(policy_at(page_at(page)), MPOL_DEFAULT);
	check_bytes();
}
END_TEST

START_TEST(chunks_are_put_together_in_memory_of_the_guests_node)
{
	struct bring_stage stage;
	if (cannot_ask())
		return;
	ck_assert_int_eq(bring_stage_init(&stage), 0);
	for (enum numa_policy policy = NUMA_POLICY_BIND; policy <= NUMA_POLICY_PREFER; policy++) {
		bind_to(node, policy);
		ck_assert_int_gt(memmgr_evict_range(world.mm, page_gpa(CHUNK_PAGES), CHUNK_SIZE, MEMMGR_TIER_COMPRESSED), 0);
		ck_assert_uint_gt(bring_chunk(world.mm, &stage, CHUNK_PAGES), 0);
		ck_assert_int_eq(policy_at(stage.chunk), policy == NUMA_POLICY_BIND ? MPOL_BIND : MPOL_PREFERRED);
		check_bytes();
	}
	bring_stage_fini(&stage);
}
END_TEST

START_TEST(a_binding_that_the_kernel_refuses_is_not_kept)
{
	struct error err;
	if (cannot_ask())
		return;
	bind_to(node, NUMA_POLICY_PREFER);
	share(CHUNK_PAGES + 10, 20);
	bind_error = ENOMEM;
	ck_assert_int_eq(memmgr_bind_node(world.mm, 0, node, NUMA_POLICY_BIND, 0, &err), -ENOMEM);
	/* Nor does it keep a chunk in the pool. */
	ck_assert_int_eq(share_restore(world.mm, CHUNK_PAGES), 20);
	bind_error = 0;
	share(CHUNK_PAGES + 10, 20);
	ck_assert_int_eq(share_restore(world.mm, CHUNK_PAGES), 20);
	ck_assert_int_eq(policy_at(page_at(CHUNK_PAGES + 10)), MPOL_PREFERRED);
	check_bytes();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("node binding");
	TCase *tests = tcase_create("node binding");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, binding_set_up, binding_tear_down);
	suite_add_tcase(suite, tests);
	tcase_add_test(tests, a_chunk_that_leaves_the_pool_is_bound_as_before);
	tcase_add_test(tests, pages_that_are_dropped_from_the_pool_are_bound_as_before);
	tcase_add_test(tests, a_new_binding_leaves_the_pool_alone_and_reaches_all_else);
	tcase_add_test(tests, chunks_are_put_together_in_memory_of_the_guests_node);
	tcase_add_test(tests, a_binding_that_the_kernel_refuses_is_not_kept);
	return world_run_suite(suite);
}
