/* What is known of where a guest lies: what its VMM tells, what makes no sense, moves from their order to their end, and threads of its own. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/placement_seat.h"
#include "tests/unit/suite.h"

enum { MIB_PAGES = 256 };

static struct topology topology;
static struct placement_seat seat;

static void set_up(void)
{
	static const char text[] = "node 0 cpus 0 memory 4G\nnode 2 cpus 1 memory 4G\nnode 5 memory 4G\n";
	struct error err;
	ck_assert_int_eq(topology_parse(text, strlen(text), &topology, &err), 0);
	memset(&seat, 0, sizeof(seat));
}

static int hear(const char *text, uint64_t now_ms)
{
	json_t *answer = json_loads(text, JSON_DECODE_ANY, NULL);
	ck_assert_ptr_nonnull(answer);
	int ret = placement_seat_hear_nodes(&seat, &topology, answer, now_ms);
	json_decref(answer);
	return ret;
}

static int hear_vcpus(const char *text)
{
	json_t *answer = json_loads(text, JSON_DECODE_ANY, NULL);
	ck_assert_ptr_nonnull(answer);
	int ret = placement_seat_hear_vcpus(&seat, answer);
	json_decref(answer);
	return ret;
}

START_TEST(a_guest_that_is_found_is_where_its_vmm_says)
{
	struct placement_guest guest = {.nr_pages = 0};
	ck_assert_int_eq(hear("[{\"node\": 0, \"bytes\": 67108864, \"host-nodes\": [2], \"moving\": false,"
			      " \"on\": [{\"host-node\": 2, \"pages\": 300}, {\"host-node\": 0, \"pages\": 5}]}]",
			      1000),
			 0);
	ck_assert_int_eq(hear_vcpus("[{\"thread-id\": 7, \"props\": {}}, {\"thread-id\": 8, \"props\": {}}]"), 0);
	placement_seat_describe(&seat, &guest);
	ck_assert_uint_eq(guest.at.nr_vnodes, 1);
	ck_assert_uint_eq(guest.at.vnodes[0].node, 1);
	ck_assert_uint_eq(guest.at.vnodes[0].nr_pages, 64ull * MIB_PAGES);
	ck_assert_uint_eq(guest.at.vnodes[0].nr_vcpus, 2);
	ck_assert_uint_eq(guest.since_ms, 1000);
	ck_assert_uint_eq(guest.behind_pages, 0);
	ck_assert_uint_eq(placement_seat_resident(&seat, 1), 300);
	ck_assert_uint_eq(placement_seat_resident(&seat, 0), 5);
	ck_assert(placement_seat_is_on(&seat, 1) && !placement_seat_is_on(&seat, 0));
	ck_assert_str_eq(seat.why, "Found on node 2 when the daemon started.");
	/* One that is bound nowhere is where most of it is. */
	memset(&seat, 0, sizeof(seat));
	ck_assert_int_eq(hear("[{\"bytes\": 4096, \"host-nodes\": [], \"on\": [{\"host-node\": 5, \"pages\": 1}]}]", 1), 0);
	ck_assert_uint_eq(seat.at.vnodes[0].node, 2);
	ck_assert(!seat.elsewhere);
}
END_TEST

START_TEST(vcpus_belong_to_the_virtual_nodes_that_the_vmm_says)
{
	ck_assert_int_eq(
		hear_vcpus("[{\"thread-id\": 7, \"props\": {\"node-id\": 0}}, {\"thread-id\": 8, \"props\": {\"node-id\": 1}},"
			   " {\"thread-id\": 9, \"props\": {\"node-id\": 1}}]"),
		0);
	ck_assert_int_eq(
		hear("[{\"bytes\": 4096, \"host-nodes\": [0], \"on\": []}, {\"bytes\": 8192, \"host-nodes\": [5], \"on\": []}]", 1),
		0);
	ck_assert_uint_eq(seat.at.nr_vnodes, 2);
	ck_assert_uint_eq(seat.at.vnodes[0].nr_vcpus, 1);
	ck_assert_uint_eq(seat.at.vnodes[1].first_vcpu, 1);
	ck_assert_uint_eq(seat.at.vnodes[1].nr_vcpus, 2);
	ck_assert_int_eq(placement_vcpu_node(&seat.at, 2), 1);
}
END_TEST

START_TEST(what_makes_no_sense_changes_nothing)
{
	static const char *const nodes[] = {
		"[]",
		"{}",
		"7",
		"[7]",
		"[{\"bytes\": -1, \"host-nodes\": []}]",
		"[{\"bytes\": 100, \"host-nodes\": []}]",
		"[{\"bytes\": 9223372036854775807, \"host-nodes\": []}]",
		"[{\"bytes\": 4096}]",
		"[{\"bytes\": 4096, \"host-nodes\": [0], \"on\": [{\"host-node\": 64, \"pages\": 1}]}]",
		"[{\"bytes\": 4096, \"host-nodes\": [0], \"on\": [{\"host-node\": 0, \"pages\": -1}]}]",
		"[{\"bytes\": 4096, \"host-nodes\": [0], \"on\": [3]}]",
		"[{},{},{},{},{},{},{},{},{}]",
	};
	static const char *const vcpus[] = {
		"[]",
		"{}",
		"[{\"thread-id\": 0}]",
		"[{\"thread-id\": 4294967297}]",
		"[{\"thread-id\": \"1\"}]",
		"[{\"thread-id\": 5, \"props\": {\"node-id\": 8}}]",
	};
	struct placement_seat before = seat;
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
		ck_assert_msg(hear(nodes[i], 1) == -EPROTO, "%s", nodes[i]);
	for (size_t i = 0; i < sizeof(vcpus) / sizeof(vcpus[0]); i++)
		ck_assert_msg(hear_vcpus(vcpus[i]) == -EPROTO, "%s", vcpus[i]);
	ck_assert_mem_eq(&seat, &before, sizeof(seat));
	/* Bound to several nodes, or to one that the host lacks: not ours to move. */
	ck_assert_int_eq(hear("[{\"bytes\": 4096, \"host-nodes\": [0, 2], \"on\": []}]", 1), 0);
	ck_assert(seat.elsewhere);
	ck_assert_int_eq(hear("[{\"bytes\": 4096, \"host-nodes\": [33], \"on\": []}]", 1), 0);
	ck_assert(seat.elsewhere);
	ck_assert_int_eq(hear("[{\"bytes\": 4096, \"host-nodes\": [-5], \"on\": []}]", 1), 0);
	ck_assert(seat.elsewhere);
	ck_assert_int_eq(hear("[{\"bytes\": 4096, \"host-nodes\": [2], \"on\": []}]", 1), 0);
	ck_assert(!seat.elsewhere);
}
END_TEST

static void put(void)
{
	struct placement at = {.nr_vnodes = 1, .vnodes = {{.node = 0, .nr_pages = 64ull * MIB_PAGES, .nr_vcpus = 1}}};
	placement_seat_put(&seat, &topology, &at, false, 1000);
	ck_assert_int_eq(hear("[{\"bytes\": 67108864, \"host-nodes\": [0], \"on\": [{\"host-node\": 0, \"pages\": 2560}]}]", 2000),
			 0);
	ck_assert_ptr_nonnull(strstr(seat.why, "Started on node 0"));
}

static const struct placement_move to_second = {.vnode = 0, .from = 0, .to = 1, .pages_per_second = 2560, .gain_pages = 512};

START_TEST(a_move_counts_from_its_order_to_its_end)
{
	struct placement_guest guest = {.nr_pages = 0};
	put();
	placement_seat_go(&seat, &topology, &to_second, 5000);
	placement_seat_describe(&seat, &guest);
	ck_assert_uint_eq(guest.at.vnodes[0].node, 1);
	ck_assert_uint_eq(guest.behind_pages, 2560);
	ck_assert_uint_eq(guest.behind_node, 0);
	ck_assert_str_eq(
		seat.why,
		"Moves from node 0 to node 2, 10 MiB, 10 MiB/s: guests then lie better by what 2 MiB of memory are worth.");
	ck_assert_int_eq(
		hear("[{\"bytes\": 67108864, \"host-nodes\": [2], \"moving\": true, \"on\": [{\"host-node\": 0, \"pages\": 100},"
		     " {\"host-node\": 2, \"pages\": 2460}]}]",
		     6000),
		0);
	placement_seat_describe(&seat, &guest);
	ck_assert_uint_eq(guest.behind_pages, 100);
	ck_assert_uint_eq(guest.since_ms, 5000);
	ck_assert_int_eq(hear("[{\"bytes\": 67108864, \"host-nodes\": [2], \"moving\": true, \"on\": [{\"host-node\": 2, "
			      "\"pages\": 2560}]}]",
			      7000),
			 0);
	/* It is under way until its VMM says otherwise. */
	placement_seat_describe(&seat, &guest);
	ck_assert_uint_eq(guest.behind_pages, 1);
	ck_assert_int_eq(hear("[{\"bytes\": 67108864, \"host-nodes\": [2], \"moving\": false, \"on\": [{\"host-node\": 2, "
			      "\"pages\": 2560}]}]",
			      8000),
			 0);
	placement_seat_describe(&seat, &guest);
	ck_assert_uint_eq(guest.behind_pages, 0);
	ck_assert_uint_eq(guest.since_ms, 8000);
	ck_assert_str_eq(seat.why, "Moved from node 0 to node 2.");
}
END_TEST

START_TEST(a_move_that_the_vmm_refuses_is_none)
{
	struct placement_guest guest = {.nr_pages = 0};
	put();
	placement_seat_go(&seat, &topology, &to_second, 5000);
	placement_seat_stay(&seat, &topology, "no memory", 5500);
	placement_seat_describe(&seat, &guest);
	ck_assert_uint_eq(guest.at.vnodes[0].node, 0);
	ck_assert_uint_eq(guest.behind_pages, 0);
	ck_assert_uint_eq(guest.since_ms, 5500);
	ck_assert_str_eq(seat.why, "Could not be moved to node 2: no memory");
	/* Pages that stay behind are told. */
	placement_seat_go(&seat, &topology, &to_second, 6000);
	ck_assert_int_eq(
		hear("[{\"bytes\": 67108864, \"host-nodes\": [2], \"moving\": false, \"on\": [{\"host-node\": 0, \"pages\": 512},"
		     " {\"host-node\": 2, \"pages\": 2048}]}]",
		     7000),
		0);
	ck_assert_str_eq(seat.why, "Moved from node 0 to node 2; 2 MiB could not be moved, and stay.");
}
END_TEST

START_TEST(a_move_that_is_found_under_way_goes_on)
{
	struct placement_guest guest = {.nr_pages = 0};
	ck_assert_int_eq(
		hear("[{\"bytes\": 67108864, \"host-nodes\": [2], \"moving\": true, \"on\": [{\"host-node\": 0, \"pages\": 512},"
		     " {\"host-node\": 2, \"pages\": 2048}]}]",
		     7000),
		0);
	placement_seat_describe(&seat, &guest);
	ck_assert_uint_eq(guest.at.vnodes[0].node, 1);
	ck_assert_uint_eq(guest.behind_pages, 512);
	ck_assert_uint_eq(guest.behind_node, 0);
	ck_assert_str_eq(seat.why, "Found on its way from node 0 to node 2.");
}
END_TEST

/* --- threads --- */

static pthread_barrier_t begun, ended;
static pid_t other;

static void *be_a_vcpu(void *unused)
{
	other = (pid_t)syscall(SYS_gettid);
	pthread_barrier_wait(&begun);
	pthread_barrier_wait(&ended);
	return unused;
}

START_TEST(threads_of_the_process_get_the_cpus_of_their_node_and_no_others)
{
	pthread_t thread;
	cpu_set_t set;
	char text[100];
	pthread_barrier_init(&begun, NULL, 2);
	pthread_barrier_init(&ended, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, be_a_vcpu, NULL), 0);
	pthread_barrier_wait(&begun);
	/* Wherever this one may run, the first node has one CPU of these, and the second has them all. */
	ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	unsigned first = 0;
	while (!CPU_ISSET(first, &set))
		first++;
	memset(&topology.nodes[0].cpus, 0, sizeof(topology.nodes[0].cpus));
	topology.nodes[0].cpus.bits[first / 64] = 1ull << first % 64;
	memset(&topology.nodes[1].cpus, 0xff, sizeof(topology.nodes[1].cpus));
	put();
	snprintf(text, sizeof(text), "[{\"thread-id\": %d}, {\"thread-id\": 1}]", (int)other);
	ck_assert_int_eq(hear_vcpus(text), 0);
	bool has_more = CPU_COUNT(&set) > 1;
	/* Process 1 is not ours. */
	cpu_set_t init_before, init_after;
	ck_assert_int_eq(sched_getaffinity(1, sizeof(init_before), &init_before), 0);
	ck_assert_uint_eq(placement_seat_pin(&seat, &topology, getpid()), has_more);
	ck_assert_int_eq(sched_getaffinity(1, sizeof(init_after), &init_after), 0);
	ck_assert(CPU_EQUAL(&init_before, &init_after));
	ck_assert_int_eq(sched_getaffinity(other, sizeof(set), &set), 0);
	ck_assert_int_eq(CPU_COUNT(&set), 1);
	ck_assert(CPU_ISSET(first, &set));
	/* What is narrower than its node stays so. */
	seat.at.vnodes[0].node = 1;
	ck_assert_uint_eq(placement_seat_pin(&seat, &topology, getpid()), 0);
	/* A node without CPUs has none to give. */
	seat.at.vnodes[0].node = 2;
	ck_assert_uint_eq(placement_seat_pin(&seat, &topology, getpid()), 0);
	pthread_barrier_wait(&ended);
	pthread_join(thread, NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("where a guest lies");
	TCase *tests = tcase_create("seat");
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, a_guest_that_is_found_is_where_its_vmm_says);
	tcase_add_test(tests, vcpus_belong_to_the_virtual_nodes_that_the_vmm_says);
	tcase_add_test(tests, what_makes_no_sense_changes_nothing);
	tcase_add_test(tests, a_move_counts_from_its_order_to_its_end);
	tcase_add_test(tests, a_move_that_the_vmm_refuses_is_none);
	tcase_add_test(tests, a_move_that_is_found_under_way_goes_on);
	tcase_add_test(tests, threads_of_the_process_get_the_cpus_of_their_node_and_no_others);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
