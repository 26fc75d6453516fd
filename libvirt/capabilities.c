/* See capabilities.h. What the host is comes of the CPU itself, of its topology, and of the kernel's files; what guests can be, of the VMM's limits. */
#include "libvirt/capabilities.h"

#include <cpuid.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvirt/xml_tree.h"

#define MOST_VCPUS 255
#define MACHINE "pagoda"

static void set_number(struct xml_tree *tree, xmlNode *node, const char *name, uint64_t number)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, number);
	xml_set_attribute(tree, node, name, text);
}

static xmlNode *add_number(struct xml_tree *tree, xmlNode *parent, const char *name, uint64_t number)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, number);
	return xml_add(tree, parent, name, text);
}

/* --- the host's CPUs --- */

struct cpu_place {
	int package, die, core; /* 0 where the kernel does not say */
	char siblings[64];
};

static bool read_line(const char *sys, unsigned cpu, const char *name, char *line, size_t size)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/devices/system/cpu/cpu%u/topology/%s", sys, cpu, name);
	FILE *file = fopen(path, "re");
	if (!file)
		return false;
	bool got = fgets(line, (int)size, file) != NULL;
	fclose(file);
	if (got)
		line[strcspn(line, "\n")] = '\0';
	return got;
}

static int read_number(const char *sys, unsigned cpu, const char *name)
{
	char line[32];
	int number = read_line(sys, cpu, name, line, sizeof(line)) ? atoi(line) : 0;
	return number > 0 ? number : 0;
}

static void find_place(const char *sys, unsigned cpu, struct cpu_place *place)
{
	place->package = read_number(sys, cpu, "physical_package_id");
	place->die = read_number(sys, cpu, "die_id");
	place->core = read_number(sys, cpu, "core_id");
	if (!read_line(sys, cpu, "thread_siblings_list", place->siblings, sizeof(place->siblings)) || !*place->siblings)
		snprintf(place->siblings, sizeof(place->siblings), "%u", cpu);
}

/* Sockets, dies in each, cores in each, threads of each: as if all were alike. */
struct cpu_counts {
	unsigned cpus, packages, dies, cores;
};

static void count_cpus(const struct topology *t, const char *sys, struct cpu_counts *counts)
{
	/* The first CPU of each is the one whose like was not seen before: a kernel numbers them so that a few bits tell them apart. */
	static const unsigned most = 4096;
	uint64_t packages[64] = {0}, dies[64] = {0};
	*counts = (struct cpu_counts){0};
	for (unsigned n = 0; n < t->nr_nodes; n++)
		for (unsigned cpu = 0; cpu < TOPOLOGY_MOST_CPUS; cpu++) {
			struct cpu_place place;
			if (!topology_has_cpu(&t->nodes[n], cpu))
				continue;
			find_place(sys, cpu, &place);
			unsigned package = (unsigned)place.package % most, die = (package * 8 + (unsigned)place.die) % most;
			counts->cpus++;
			counts->packages += !(packages[package / 64] >> package % 64 & 1);
			counts->dies += !(dies[die / 64] >> die % 64 & 1);
			counts->cores += (unsigned)atoi(place.siblings) == cpu;
			packages[package / 64] |= 1ull << package % 64;
			dies[die / 64] |= 1ull << die % 64;
		}
}

static const char *level_of_cpu(void)
{
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
	    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
		return "x86-64-v4";
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
	    __builtin_cpu_supports("fma"))
		return "x86-64-v3";
	return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt") ? "x86-64-v2" : "x86-64-v1";
}

/* As libvirt calls the two that everybody knows. */
static void vendor_of_cpu(char *vendor)
{
	unsigned eax, b = 0, c = 0, d = 0;
	if (!__get_cpuid(0, &eax, &b, &c, &d))
		b = 0;
	memcpy(vendor, &b, 4);
	memcpy(vendor + 4, &d, 4);
	memcpy(vendor + 8, &c, 4);
	vendor[12] = '\0';
	if (!strcmp(vendor, "GenuineIntel"))
		strcpy(vendor, "Intel");
	else if (!strcmp(vendor, "AuthenticAMD"))
		strcpy(vendor, "AMD");
}

static void add_host_cpu(struct xml_tree *tree, xmlNode *parent, const struct cpu_counts *counts)
{
	char vendor[13];
	vendor_of_cpu(vendor);
	xmlNode *cpu = xml_add(tree, parent, "cpu", NULL);
	xml_add(tree, cpu, "arch", "x86_64");
	xml_add(tree, cpu, "model", level_of_cpu());
	xml_add(tree, cpu, "vendor", vendor);
	xmlNode *topology = xml_add(tree, cpu, "topology", NULL);
	unsigned packages = counts->packages ? counts->packages : 1, dies = counts->dies / packages ? counts->dies / packages : 1;
	unsigned cores = counts->cores / (packages * dies) ? counts->cores / (packages * dies) : 1;
	unsigned threads = counts->cpus / (packages * dies * cores);
	set_number(tree, topology, "sockets", packages);
	set_number(tree, topology, "dies", dies);
	set_number(tree, topology, "cores", cores);
	set_number(tree, topology, "threads", threads ? threads : 1);
	xmlNode *pages = xml_add(tree, cpu, "pages", NULL);
	xml_set_attribute(tree, pages, "unit", "KiB");
	xml_set_attribute(tree, pages, "size", "4");
}

static void add_cell(struct xml_tree *tree, xmlNode *cells, const struct topology *t, unsigned n, const char *sys)
{
	const struct topology_node *node = &t->nodes[n];
	xmlNode *cell = xml_add(tree, cells, "cell", NULL);
	set_number(tree, cell, "id", node->id);
	xml_set_attribute(tree, add_number(tree, cell, "memory", node->nr_pages * 4), "unit", "KiB");
	xmlNode *pages = add_number(tree, cell, "pages", node->nr_pages);
	xml_set_attribute(tree, pages, "unit", "KiB");
	xml_set_attribute(tree, pages, "size", "4");
	xmlNode *distances = xml_add(tree, cell, "distances", NULL);
	for (unsigned i = 0; i < t->nr_nodes; i++) {
		xmlNode *sibling = xml_add(tree, distances, "sibling", NULL);
		set_number(tree, sibling, "id", t->nodes[i].id);
		set_number(tree, sibling, "value", node->distance[i]);
	}
	xmlNode *cpus = xml_add(tree, cell, "cpus", NULL);
	set_number(tree, cpus, "num", node->nr_cpus);
	for (unsigned i = 0; i < TOPOLOGY_MOST_CPUS; i++) {
		struct cpu_place place;
		if (!topology_has_cpu(node, i))
			continue;
		find_place(sys, i, &place);
		xmlNode *cpu = xml_add(tree, cpus, "cpu", NULL);
		set_number(tree, cpu, "id", i);
		set_number(tree, cpu, "socket_id", (uint64_t)place.package);
		set_number(tree, cpu, "die_id", (uint64_t)place.die);
		set_number(tree, cpu, "core_id", (uint64_t)place.core);
		xml_set_attribute(tree, cpu, "siblings", place.siblings);
	}
}

static void add_guest(struct xml_tree *tree, const char *arch, uint64_t bits, const char *vmm)
{
	static const char *const always[] = {"acpi", "apic"};
	xmlNode *guest = xml_add(tree, tree->root, "guest", NULL);
	xml_add(tree, guest, "os_type", "hvm");
	xmlNode *node = xml_add(tree, guest, "arch", NULL);
	xml_set_attribute(tree, node, "name", arch);
	add_number(tree, node, "wordsize", bits);
	xml_add(tree, node, "emulator", vmm);
	set_number(tree, xml_add(tree, node, "machine", MACHINE), "maxCpus", MOST_VCPUS);
	xml_set_attribute(tree, xml_add(tree, node, "domain", NULL), "type", "kvm");
	xmlNode *features = xml_add(tree, guest, "features", NULL);
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++) {
		xmlNode *feature = xml_add(tree, features, always[i], NULL);
		xml_set_attribute(tree, feature, "default", "on");
		xml_set_attribute(tree, feature, "toggle", "no");
	}
}

char *capabilities_xml(const struct capabilities_host *host)
{
	struct xml_tree tree;
	struct cpu_counts counts;
	if (xml_tree_make("capabilities", &tree) < 0)
		return NULL;
	count_cpus(host->topology, host->sys, &counts);
	xmlNode *node = xml_add(&tree, tree.root, "host", NULL);
	if (host->uuid)
		xml_add(&tree, node, "uuid", host->uuid);
	add_host_cpu(&tree, node, &counts);
	xml_set_attribute(&tree, xml_add(&tree, node, "iommu", NULL), "support", "no");
	xmlNode *cells = xml_add(&tree, xml_add(&tree, node, "topology", NULL), "cells", NULL);
	set_number(&tree, cells, "num", host->topology->nr_nodes);
	for (unsigned n = 0; n < host->topology->nr_nodes; n++)
		add_cell(&tree, cells, host->topology, n, host->sys);
	add_guest(&tree, "i686", 32, host->vmm);
	add_guest(&tree, "x86_64", 64, host->vmm);
	char *text = xml_tree_text(&tree);
	xml_tree_free(&tree);
	return text;
}

/* --- what a domain may have --- */

static xmlNode *add_support(struct xml_tree *tree, xmlNode *parent, const char *name, bool supported)
{
	xmlNode *node = xml_add(tree, parent, name, NULL);
	xml_set_attribute(tree, node, "supported", supported ? "yes" : "no");
	return node;
}

/* values: "a|b". */
static void add_enum(struct xml_tree *tree, xmlNode *parent, const char *name, const char *values)
{
	char value[40];
	xmlNode *node = xml_add(tree, parent, "enum", NULL);
	xml_set_attribute(tree, node, "name", name);
	while (*values) {
		size_t len = strcspn(values, "|");
		snprintf(value, sizeof(value), "%.*s", (int)len, values);
		xml_add(tree, node, "value", value);
		values += values[len] ? len + 1 : len;
	}
}

const char *libvirt_cpu_level(unsigned i)
{
	static const char *const levels[] = {"x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4"};
	return i < sizeof(levels) / sizeof(levels[0]) ? levels[i] : NULL;
}

static void add_cpu_modes(struct xml_tree *tree)
{
	static const char *const modes[] = {"host-passthrough", "maximum", "host-model", "custom"};
	const char *best = level_of_cpu();
	xmlNode *cpu = xml_add(tree, tree->root, "cpu", NULL);
	for (size_t i = 0; i < 4; i++) {
		xmlNode *mode = add_support(tree, cpu, "mode", true);
		xml_set_attribute(tree, mode, "name", modes[i]);
		if (!strcmp(modes[i], "host-model"))
			xml_set_attribute(tree, xml_add(tree, mode, "model", best), "fallback", "forbid");
		for (unsigned k = 0; i == 3 && libvirt_cpu_level(k); k++) {
			xmlNode *model = xml_add(tree, mode, "model", libvirt_cpu_level(k));
			xml_set_attribute(tree, model, "usable", strcmp(libvirt_cpu_level(k), best) <= 0 ? "yes" : "no");
			xml_set_attribute(tree, model, "vendor", "unknown");
		}
	}
}

/* In the order of libvirt's schema. */
static void add_devices(struct xml_tree *tree)
{
	static const char models[] = "virtio|virtio-transitional|virtio-non-transitional";
	static const char *const names[] = {"disk",       "graphics", "video",    "hostdev", "rng",
					    "filesystem", "tpm",      "redirdev", "channel"};
	xmlNode *devices = xml_add(tree, tree->root, "devices", NULL);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		bool disk = !strcmp(names[i], "disk"), rng = !strcmp(names[i], "rng");
		xmlNode *device = add_support(tree, devices, names[i], disk || rng);
		if (disk) {
			add_enum(tree, device, "diskDevice", "disk");
			add_enum(tree, device, "bus", "virtio");
		}
		if (disk || rng)
			add_enum(tree, device, "model", models);
		if (rng)
			add_enum(tree, device, "backendModel", "random|builtin");
	}
}

char *domain_capabilities_xml(const struct capabilities_host *host)
{
	static const char *const none[] = {"gic", "vmcoreinfo", "genid", "backingStoreInput", "backup", "sev"};
	struct xml_tree tree;
	if (xml_tree_make("domainCapabilities", &tree) < 0)
		return NULL;
	xml_add(&tree, tree.root, "path", host->vmm);
	xml_add(&tree, tree.root, "domain", "kvm");
	xml_add(&tree, tree.root, "machine", MACHINE);
	xml_add(&tree, tree.root, "arch", "x86_64");
	set_number(&tree, xml_add(&tree, tree.root, "vcpu", NULL), "max", MOST_VCPUS);
	add_support(&tree, tree.root, "iothreads", false);
	xmlNode *os = add_support(&tree, tree.root, "os", true);
	add_enum(&tree, os, "firmware", "");
	add_support(&tree, os, "loader", false);
	add_cpu_modes(&tree);
	add_enum(&tree, add_support(&tree, tree.root, "memoryBacking", true), "sourceType", "anonymous|memfd");
	add_devices(&tree);
	xmlNode *features = xml_add(&tree, tree.root, "features", NULL);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		add_support(&tree, features, none[i], false);
	char *text = xml_tree_text(&tree);
	xml_tree_free(&tree);
	return text;
}
