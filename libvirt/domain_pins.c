/*
 * Pins of vCPUs and of the VMM's other threads: cputune/vcpupin and cputune/emulatorpin, and vcpu/@cpuset for those that have none. See domain_parts.h, and host/pins.h for what comes of them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "host/pins.h"
#include "libvirt/domain_parts.h"
#include "libvirt/xml_values.h"

#define MOST_VCPU 254

static int read_cpuset(const xmlNode *node, struct topology_cpus *cpus, struct error *err)
{
	const char *list = xml_attribute(node, "cpuset");
	if (!list || pins_parse_cpus(list, cpus) != 0)
		return xml_refuse(node, err, "\"cpuset\" must be numbers of the host's CPUs, such as 0-3,8");
	return 0;
}

static int read_pin(const xmlNode *node, int who, json_t *members, struct error *err)
{
	struct topology_cpus cpus, before;
	const json_t *pins = json_object_get(members, "pins");
	int ret = read_cpuset(node, &cpus, err);
	if (ret)
		return ret;
	if (pins_find(pins, who, &before))
		return xml_refuse(node, err, "it is pinned already: leave one of the two out");
	return domain_put(members, "pins", pins_with(pins, who, &cpus), err);
}

/* All that have no pin of their own, the emulator among them, as libvirt has it. */
static int read_common_pin(const xmlNode *vcpu, json_t *members, struct error *err)
{
	struct topology_cpus cpus, own;
	int vcpus = (int)json_integer_value(json_object_get(members, "vcpus"));
	int ret = read_cpuset(vcpu, &cpus, err);
	for (int i = 0; ret == 0 && i <= vcpus; i++) {
		int who = i < vcpus ? i : PINS_EMULATOR;
		const json_t *pins = json_object_get(members, "pins");
		if (!pins_find(pins, who, &own))
			ret = domain_put(members, "pins", pins_with(pins, who, &cpus), err);
	}
	return ret;
}

int domain_pins_read(const xmlNode *domain, json_t *members, struct error *err)
{
	const xmlNode *tune = xml_child(domain, "cputune"), *node = tune ? xml_child(tune, "emulatorpin") : NULL;
	uint64_t vcpu;
	int ret = node ? read_pin(node, PINS_EMULATOR, members, err) : 0;
	for (node = tune ? xml_child(tune, "vcpupin") : NULL; ret == 0 && node; node = xml_next(node, "vcpupin")) {
		ret = xml_attribute_number(node, "vcpu", MOST_VCPU, UINT64_MAX, &vcpu, err);
		if (ret == 0 && vcpu == UINT64_MAX)
			ret = xml_refuse(node, err, "\"vcpu\" must be the number of a vCPU");
		if (ret == 0)
			ret = read_pin(node, (int)vcpu, members, err);
	}
	node = xml_child(domain, "vcpu");
	return ret == 0 && node && xml_attribute(node, "cpuset") ? read_common_pin(node, members, err) : ret;
}

static void write_pin(struct xml_tree *tree, const json_t *pins, int who)
{
	char list[PINS_CPUS_BYTES], number[16];
	struct topology_cpus cpus;
	if (!pins_find(pins, who, &cpus))
		return;
	xmlNode *tune = xml_need(tree, tree->root, "cputune");
	xmlNode *node = xml_add(tree, tune, who == PINS_EMULATOR ? "emulatorpin" : "vcpupin", NULL);
	topology_list_cpus(&cpus, list, sizeof(list));
	snprintf(number, sizeof(number), "%d", who);
	xml_set_attribute(tree, node, "vcpu", who == PINS_EMULATOR ? NULL : number);
	xml_set_attribute(tree, node, "cpuset", list);
}

void domain_pins_write(struct xml_tree *tree, const struct definition *was, const struct definition *now)
{
	const json_t *pins = json_object_get(now->json, "pins");
	xmlNode *tune = xml_child(tree->root, "cputune");
	xmlNode *all = xml_child(tree->root, "vcpu");
	if (!domain_differs(was, now, "pins"))
		return;
	if (all)
		xml_set_attribute(tree, all, "cpuset", NULL);
	while (tune && xml_child(tune, "vcpupin"))
		xml_remove(xml_child(tune, "vcpupin"));
	if (tune)
		xml_remove(xml_child(tune, "emulatorpin"));
	for (int vcpu = 0; vcpu <= MOST_VCPU; vcpu++)
		write_pin(tree, pins, vcpu);
	write_pin(tree, pins, PINS_EMULATOR);
	tune = xml_child(tree->root, "cputune");
	if (tune && !xml_child(tune, NULL))
		xml_remove(tune);
}
