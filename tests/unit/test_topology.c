/* The host's topology, from files, from trees like the kernel's, and from this machine's kernel; and what is not one. */
#include <check.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/topology.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

static char directory[64];
static struct topology topology;
static struct error err;

static void set_up(void)
{
	strcpy(directory, "/tmp/pagoda-topology-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	memset(&topology, 0, sizeof(topology));
}

static void tear_down(void)
{
	char command[96];
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
}

static int parse(const char *text)
{
	return topology_parse(text, strlen(text), &topology, &err);
}

START_TEST(a_file_says_all_of_a_host)
{
	ck_assert_msg(parse("# two\nnode 0 cpus 0-3,8 memory 64G free 60g distance 10 21 \r\n"
			    "\n  node 3 memory 1024M distance 21 10 # far") == 0,
		      "%s", err.text);
	ck_assert_uint_eq(topology.nr_nodes, 2);
	const struct topology_node *node = topology.nodes;
	ck_assert_uint_eq(node[0].nr_cpus, 5);
	ck_assert(topology_has_cpu(&node[0], 8) && !topology_has_cpu(&node[0], 4) && !topology_has_cpu(&node[0], 1 << 30));
	ck_assert_uint_eq(node[0].nr_pages, 64ull << 18);
	ck_assert_uint_eq(node[0].free_pages, 60ull << 18);
	ck_assert_uint_eq(node[1].id, 3);
	ck_assert_uint_eq(node[1].nr_cpus, 0);
	ck_assert_uint_eq(node[1].free_pages, 256 * 1024);
	ck_assert_uint_eq(node[0].distance[1], 21);
	ck_assert_int_eq(topology_find(&topology, 3), 1);
	ck_assert_int_eq(topology_find(&topology, 1), -1);
	/* Distances may be left out, the last newline too. */
	ck_assert_int_eq(parse("node 0 memory 1G\nnode 1 memory 1G"), 0);
	ck_assert_uint_eq(topology.nodes[1].distance[0], 20);
	ck_assert_uint_eq(topology.nodes[1].distance[1], 10);
}
END_TEST

START_TEST(what_is_no_topology_is_refused_with_its_line)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"", "no node"},
		{"# nothing\n\n", "no node"},
		{"nodes 0", "line 1"},
		{"node 0 memory 1G\nnode", "line 2"},
		{"node 64 memory 1G", "0 to 63"},
		{"node -1 memory 1G", "0 to 63"},
		{"node 0", "memory is missing"},
		{"node 0 memory", "takes a size"},
		{"node 0 memory 1Gi", "takes a size"},
		{"node 0 memory 99999999999999999999", "takes a size"},
		{"node 0 memory 70000T", "takes a size"},
		{"node 0 memory 1G memory 1G", "each once"},
		{"node 0 memory 1G free x", "free takes"},
		{"node 0 memory 1G free 2G", "more free"},
		{"node 0 memory 0", "no node has memory"},
		{"node 0 memory 1G cpus", "cpus takes"},
		{"node 0 memory 1G cpus 3-1", "cpus takes"},
		{"node 0 memory 1G cpus 1,1", "cpus takes"},
		{"node 0 memory 1G cpus 1,", "cpus takes"},
		{"node 0 memory 1G cpus 0-4096", "cpus takes"},
		{"node 0 memory 1G cpus 0-18446744073709551616", "cpus takes"},
		{"node 0 memory 1G cpus 1\nnode 1 memory 1G cpus 1", "two nodes"},
		{"node 1 memory 1G\nnode 0 memory 1G", "ascend"},
		{"node 1 memory 1G\nnode 1 memory 1G", "ascend"},
		{"node 0 memory 1G distance", "distance takes"},
		{"node 0 memory 1G distance 9", "distance takes"},
		{"node 0 memory 1G distance 256", "distance takes"},
		{"node 0 memory 1G distance 10 20", "there are 1 nodes"},
		{"node 0 memory 1G distance 20", "to itself"},
	};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_msg(parse(cases[i].text) == -EINVAL, "%s", cases[i].text);
		ck_assert_msg(strstr(err.text, cases[i].says) != NULL, "%s: %s", cases[i].text, err.text);
	}
	char many[65 * 24] = "";
	for (unsigned i = 0; i < 65; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), "node %u memory 1G\n", i < 64 ? i : 63);
	ck_assert_int_eq(parse(many), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "line 65"));
}
END_TEST

START_TEST(what_is_written_is_read_again)
{
	static struct topology again;
	random_start();
	for (unsigned round = 0; round < 50; round++) {
		char *text;
		size_t len;
		memset(&topology, 0, sizeof(topology));
		memset(&again, 0, sizeof(again));
		topology.nr_nodes = 1 + (unsigned)random_below(64);
		for (unsigned i = 0; i < topology.nr_nodes; i++) {
			struct topology_node *node = &topology.nodes[i];
			node->id = i;
			node->nr_pages = 1 + random_below(1 << 30);
			node->free_pages = random_below(node->nr_pages + 1);
			for (unsigned cpu = i; cpu < TOPOLOGY_MOST_CPUS && random_below(3); cpu += 64 * (1 + random_below(2))) {
				node->cpus.bits[cpu / 64] |= 1ull << (cpu % 64);
				node->nr_cpus++;
			}
			for (unsigned j = 0; j < topology.nr_nodes; j++)
				node->distance[j] = i == j ? 10 : (uint8_t)(10 + random_below(246));
		}
		FILE *file = open_memstream(&text, &len);
		ck_assert_int_eq(topology_write(&topology, file), 0);
		fclose(file);
		ck_assert_msg(topology_parse(text, len, &again, &err) == 0, "%s", err.text);
		ck_assert_mem_eq(&topology, &again, sizeof(again));
		free(text);
	}
	FILE *full = fopen("/dev/full", "we");
	ck_assert_int_eq(topology_write(&topology, full), -EIO);
	fclose(full);
}
END_TEST

/* --- a tree like the kernel's --- */

static void write_file(const char *name, const char *text)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/devices/system/node/%s", directory, name);
	FILE *file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

static void make_directory(const char *name)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void make_tree(void)
{
	make_directory("devices");
	make_directory("devices/system");
	make_directory("devices/system/node");
	make_directory("devices/system/node/node0");
	make_directory("devices/system/node/node2");
	write_file("online", "0,2\n");
	write_file("node0/cpulist", "0-1\n");
	write_file("node2/cpulist", "\n");
	write_file("node0/distance", "10 17\n");
	write_file("node2/distance", "28 10\n");
	write_file("node0/meminfo", "Node 0 MemTotal:       16384 kB\nNode 0 MemFree:        8192 kB\nNode 0 MemUsed: 8192 kB\n");
	write_file("node2/meminfo", "\nNode 2 MemTotal:       4096 kB\nNode 2 MemFree:        5000 kB\n");
}

static int read_tree(void)
{
	return topology_read_host(directory, &topology, &err);
}

START_TEST(the_kernels_tree_is_read)
{
	make_tree();
	ck_assert_msg(read_tree() == 0, "%s", err.text);
	ck_assert_uint_eq(topology.nr_nodes, 2);
	ck_assert_uint_eq(topology.nodes[0].nr_pages, 4096);
	ck_assert_uint_eq(topology.nodes[0].free_pages, 2048);
	ck_assert_uint_eq(topology.nodes[0].nr_cpus, 2);
	ck_assert_uint_eq(topology.nodes[0].distance[1], 17);
	ck_assert_uint_eq(topology.nodes[1].id, 2);
	ck_assert_uint_eq(topology.nodes[1].nr_cpus, 0);
	ck_assert_uint_eq(topology.nodes[1].distance[0], 28);
	/* Memory came free between two lines. */
	ck_assert_uint_eq(topology.nodes[1].free_pages, 1024);
}
END_TEST

START_TEST(a_tree_that_is_none_is_refused_with_its_file)
{
	static const struct {
		const char *file, *text, *says;
	} cases[] = {
		{"online", "", "online"},
		{"online", "0,64\n", "online"},
		{"online", "0,2,\n", "online"},
		{"online", "0-63\n", "distance"}, /* more of them than distances */
		{"node0/cpulist", "0-\n", "node0/cpulist"},
		{"node0/cpulist", "0,4096\n", "node0/cpulist"},
		{"node2/cpulist", "1\n", "two nodes"},
		{"node0/distance", "10\n", "node0/distance"},
		{"node0/distance", "10 20 30\n", "node0/distance"},
		{"node0/distance", "", "node0/distance"},
		{"node0/distance", "11 20\n", "itself"},
		{"node2/meminfo", "", "node2/meminfo"},
		{"node2/meminfo", "Node 2 MemTotal: 1 MB\nNode 2 MemFree: 1 MB\n", "node2/meminfo"},
		{"node2/meminfo", "Node 2 MemTotal: 99999999999999999999 kB\n", "node2/meminfo"},
	};
	make_tree();
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char command[160];
		write_file(cases[i].file, cases[i].text);
		ck_assert_msg(read_tree() == -EINVAL, "%s: %s", cases[i].file, cases[i].text);
		ck_assert_msg(strstr(err.text, cases[i].says) != NULL, "%s: %s", cases[i].says, err.text);
		snprintf(command, sizeof(command), "rm -r %s/devices", directory);
		ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
		make_tree();
	}
	/* Longer than the kernel could write. */
	char *text = calloc(1, 20001);
	memset(text, ' ', 20000);
	write_file("node0/meminfo", text);
	ck_assert_int_eq(read_tree(), -EFBIG);
	free(text);
	write_file("online", "0,2-3\n");
	ck_assert_int_lt(read_tree(), 0);
	/* Without NUMA: one node. */
	strcat(directory, "/devices");
	ck_assert_int_eq(read_tree(), 0);
	ck_assert_uint_eq(topology.nr_nodes, 1);
	ck_assert_uint_gt(topology.nodes[0].nr_pages, 0);
	ck_assert_uint_gt(topology.nodes[0].nr_cpus, 0);
	directory[strlen(directory) - strlen("/devices")] = '\0';
}
END_TEST

START_TEST(this_machine_has_a_topology)
{
	ck_assert_msg(topology_read_host("/sys", &topology, &err) == 0, "%s", err.text);
	unsigned cpus = 0;
	for (unsigned i = 0; i < topology.nr_nodes; i++)
		cpus += topology.nodes[i].nr_cpus;
	ck_assert_uint_eq(cpus, (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
}
END_TEST

START_TEST(files_are_loaded_and_named_in_errors)
{
	char path[96];
	snprintf(path, sizeof(path), "%s/host", directory);
	ck_assert_int_eq(topology_load(path, &topology, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, path));
	FILE *file = fopen(path, "we");
	fputs("node 0 memory 1G\n", file);
	fflush(file);
	ck_assert_int_eq(topology_load(path, &topology, &err), 0);
	fputs("node 0\n", file);
	fflush(file);
	ck_assert_int_eq(topology_load(path, &topology, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, path));
	for (unsigned i = 0; i < 70000; i++)
		fputc('\n', file);
	fclose(file);
	ck_assert_int_eq(topology_load(path, &topology, &err), -EFBIG);
	ck_assert_int_eq(topology_load(directory, &topology, &err), -EISDIR);
}
END_TEST

START_TEST(lists_of_cpus_are_cut_to_their_room)
{
	char text[8];
	struct topology_cpus cpus = {{0}};
	topology_list_cpus(&cpus, text, sizeof(text));
	ck_assert_str_eq(text, "");
	cpus.bits[0] = 0xf0f;
	cpus.bits[63] = 1ull << 63;
	topology_list_cpus(&cpus, text, sizeof(text));
	ck_assert_str_eq(text, "0-3,8-1");
	topology_list_cpus(&cpus, text, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("topology");
	TCase *tests = tcase_create("topology");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_file_says_all_of_a_host);
	tcase_add_test(tests, what_is_no_topology_is_refused_with_its_line);
	tcase_add_test(tests, what_is_written_is_read_again);
	tcase_add_test(tests, the_kernels_tree_is_read);
	tcase_add_test(tests, a_tree_that_is_none_is_refused_with_its_file);
	tcase_add_test(tests, this_machine_has_a_topology);
	tcase_add_test(tests, files_are_loaded_and_named_in_errors);
	tcase_add_test(tests, lists_of_cpus_are_cut_to_their_room);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
