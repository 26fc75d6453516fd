/* Capabilities say what the host is, by its topology and a tree like the kernel's, and what guests can be. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libvirt/capabilities.h"
#include "libvirt/xml_tree.h"
#include "tests/unit/suite.h"

static struct topology topology;
static char sys[64];
static const unsigned nr_cpus = 8;

static void path_of(char *path, size_t size, const char *folder, const char *file)
{
	snprintf(path, size, "%s%s%s%s", sys, folder, *file ? "/" : "", file);
}

static void write_cpu(unsigned cpu, const char *name, unsigned value, const char *more)
{
	char folder[80], path[200];
	snprintf(folder, sizeof(folder), "/devices/system/cpu/cpu%u/topology", cpu);
	path_of(path, sizeof(path), folder, name);
	FILE *file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	fprintf(file, "%u%s\n", value, more);
	fclose(file);
}

/* Two sockets of two cores with two threads: CPU n and n + 4 share a core. */
static void set_up(void)
{
	static const char nodes[] =
		"node 0 cpus 0-1,4-5 memory 64G distance 10 21\nnode 3 cpus 2-3,6-7 memory 32G distance 21 10\n";
	static const char *const folders[] = {"/devices", "/devices/system", "/devices/system/cpu"};
	char path[200], more[16];
	ck_assert_int_eq(topology_parse(nodes, strlen(nodes), &topology, NULL), 0);
	strcpy(sys, "/tmp/pagoda-capabilities-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(sys));
	for (size_t i = 0; i < 3; i++) {
		path_of(path, sizeof(path), folders[i], "");
		ck_assert_int_eq(mkdir(path, 0700), 0);
	}
	for (unsigned cpu = 0; cpu < nr_cpus; cpu++) {
		snprintf(path, sizeof(path), "%s/devices/system/cpu/cpu%u", sys, cpu);
		ck_assert_int_eq(mkdir(path, 0700), 0);
		strcat(path, "/topology");
		ck_assert_int_eq(mkdir(path, 0700), 0);
		snprintf(more, sizeof(more), ",%u", cpu % 4 + 4);
		write_cpu(cpu, "physical_package_id", cpu % 4 / 2, "");
		write_cpu(cpu, "die_id", 0, "");
		write_cpu(cpu, "core_id", cpu % 2, "");
		write_cpu(cpu, "thread_siblings_list", cpu % 4, more);
	}
}

static void tear_down(void)
{
	static const char *const files[] = {"topology/physical_package_id",  "topology/die_id", "topology/core_id",
					    "topology/thread_siblings_list", "topology",        ""};
	static const char *const folders[] = {"/devices/system/cpu", "/devices/system", "/devices", ""};
	char folder[80], path[200];
	for (unsigned cpu = 0; cpu < nr_cpus; cpu++)
		for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
			snprintf(folder, sizeof(folder), "/devices/system/cpu/cpu%u", cpu);
			path_of(path, sizeof(path), folder, files[i]);
			ck_assert_int_eq(remove(path), 0);
		}
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		path_of(path, sizeof(path), folders[i], "");
		ck_assert_int_eq(rmdir(path), 0);
	}
}

static void open_text(char *text, const char *root, struct xml_tree *tree)
{
	struct error err = {.code = 0};
	ck_assert_ptr_nonnull(text);
	ck_assert_msg(xml_tree_parse(text, strlen(text), root, tree, &err) == 0, "%s", err.text);
	free(text);
}

static void check_attributes(const xmlNode *node, const char *const (*pairs)[2], size_t nr)
{
	ck_assert_ptr_nonnull(node);
	for (size_t i = 0; i < nr; i++)
		ck_assert_msg(xml_attribute_is(node, pairs[i][0], pairs[i][1]), "%s of %s is %s", pairs[i][0],
			      (const char *)node->name, xml_attribute(node, pairs[i][0]));
}

START_TEST(the_host_has_its_sockets_and_nodes)
{
	static const char *const counts[][2] = {{"sockets", "2"}, {"dies", "1"}, {"cores", "2"}, {"threads", "2"}};
	static const char *const last[][2] = {
		{"id", "7"}, {"socket_id", "1"}, {"die_id", "0"}, {"core_id", "1"}, {"siblings", "3,7"}};
	static const char *const sibling[][2] = {{"id", "0"}, {"value", "21"}};
	struct capabilities_host host = {.uuid = "the-host", .vmm = "/usr/bin/vmm", .topology = &topology, .sys = sys};
	struct xml_tree tree;
	open_text(capabilities_xml(&host), "capabilities", &tree);
	check_attributes(xml_at(tree.root, "host/cpu/topology"), counts, 4);
	char *text = xml_text(xml_at(tree.root, "host/uuid"));
	ck_assert_str_eq(text, "the-host");
	free(text);
	const xmlNode *cells = xml_at(tree.root, "host/topology/cells"), *second = xml_next(xml_child(cells, "cell"), "cell");
	ck_assert(xml_attribute_is(cells, "num", "2"));
	ck_assert(xml_attribute_is(second, "id", "3"));
	text = xml_text(xml_child(second, "memory"));
	ck_assert_str_eq(text, "33554432");
	free(text);
	check_attributes(xml_at(second, "distances/sibling"), sibling, 2);
	const xmlNode *cpu = xml_at(second, "cpus/cpu");
	ck_assert(xml_attribute_is(xml_child(second, "cpus"), "num", "4"));
	for (int i = 0; i < 3; i++)
		cpu = xml_next(cpu, "cpu");
	check_attributes(cpu, last, 5);
	ck_assert_ptr_null(xml_next(cpu, "cpu"));
	xml_tree_free(&tree);
}
END_TEST

START_TEST(guests_are_hvm_on_kvm_with_our_machine)
{
	static const char *const arches[] = {"i686", "x86_64"};
	/* A kernel that says nothing of CPUs. */
	struct capabilities_host host = {.vmm = "/usr/bin/a&b", .topology = &topology, .sys = "/nowhere"};
	struct xml_tree tree;
	open_text(capabilities_xml(&host), "capabilities", &tree);
	ck_assert_ptr_null(xml_at(tree.root, "host/uuid"));
	const xmlNode *guest = xml_child(tree.root, "guest");
	for (size_t i = 0; i < 2; i++, guest = xml_next(guest, "guest")) {
		ck_assert_ptr_nonnull(guest);
		ck_assert(xml_attribute_is(xml_child(guest, "arch"), "name", arches[i]));
		ck_assert(xml_attribute_is(xml_at(guest, "arch/domain"), "type", "kvm"));
		char *text = xml_text(xml_at(guest, "arch/emulator"));
		ck_assert_str_eq(text, "/usr/bin/a&b");
		free(text);
	}
	ck_assert_ptr_null(guest);
	xml_tree_free(&tree);
}
END_TEST

START_TEST(domains_have_virtio_disks_and_no_display)
{
	static const struct {
		const char *path, *supported;
	} parts[] = {
		{"devices/disk", "yes"},   {"devices/rng", "yes"},       {"devices/graphics", "no"}, {"devices/video", "no"},
		{"devices/hostdev", "no"}, {"devices/filesystem", "no"}, {"devices/tpm", "no"},      {"os", "yes"},
		{"os/loader", "no"},       {"memoryBacking", "yes"},     {"cpu/mode", "yes"},
	};
	struct capabilities_host host = {.vmm = "/usr/bin/vmm", .topology = &topology, .sys = sys};
	struct xml_tree tree;
	open_text(domain_capabilities_xml(&host), "domainCapabilities", &tree);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		const xmlNode *node = xml_at(tree.root, parts[i].path);
		ck_assert_msg(node && xml_attribute_is(node, "supported", parts[i].supported), "%s", parts[i].path);
	}
	const xmlNode *bus = xml_next(xml_at(tree.root, "devices/disk/enum"), "enum");
	ck_assert(xml_attribute_is(bus, "name", "bus"));
	char *text = xml_text(xml_child(bus, "value"));
	ck_assert_str_eq(text, "virtio");
	free(text);
	ck_assert_ptr_null(xml_next(xml_child(bus, "value"), "value"));
	ck_assert(xml_attribute_is(xml_child(tree.root, "vcpu"), "max", "255"));
	xml_tree_free(&tree);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("capabilities");
	TCase *tests = tcase_create("capabilities");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, the_host_has_its_sockets_and_nodes);
	tcase_add_test(tests, guests_are_hvm_on_kvm_with_our_machine);
	tcase_add_test(tests, domains_have_virtio_disks_and_no_display);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
