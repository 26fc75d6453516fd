/*
 * The CPU that a guest sees. See domain_parts.h. host-passthrough, host-model and maximum are what the VMM has by itself; a model of its own, and features
 * more or less, become the words "-cpu".
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvirt/domain_parts.h"
#include "libvirt/xml_values.h"

#define MOST_MODEL 1024

static bool is_plain(const char *text)
{
	size_t len = strlen(text);
	for (const char *c = text; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
			return false;
	return len >= 1 && len <= 40;
}

static int read_model(const xmlNode *cpu, char *model, size_t size, struct error *err)
{
	static const char *const levels[] = {"x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4"};
	const xmlNode *node = xml_child(cpu, "model");
	bool custom = node && (!xml_attribute(cpu, "mode") || xml_attribute_is(cpu, "mode", "custom"));
	snprintf(model, size, "host");
	if (!custom)
		return 0;
	char *text = xml_word(node);
	size_t i = 0;
	int ret = 0;
	while (text && i < 4 && strcmp(levels[i], text) != 0)
		i++;
	if (!text)
		ret = error_set(err, ENOMEM, "out of memory");
	else if (i == 4)
		ret = xml_refuse(
			node, err,
			"\"%.40s\" is no CPU that there is here: give x86-64-v1 to x86-64-v4, or <cpu mode=\"host-passthrough\"/>",
			text);
	else
		snprintf(model, size, "%s", levels[i]);
	free(text);
	return ret;
}

static int read_features(const xmlNode *cpu, char *model, size_t size, struct error *err)
{
	for (const xmlNode *node = xml_child(cpu, "feature"); node; node = xml_next(node, "feature")) {
		const char *policy = xml_attribute(node, "policy"), *name = xml_attribute(node, "name");
		bool more = !policy || !strcmp(policy, "require") || !strcmp(policy, "force");
		bool less = policy && (!strcmp(policy, "disable") || !strcmp(policy, "forbid"));
		size_t len = strlen(model);
		if (!more && !less)
			return xml_refuse(node, err,
					  "policy=\"%.20s\" is not to be had here; there are require, force, disable and forbid",
					  policy);
		if (!name || !is_plain(name))
			return xml_refuse(node, err, "\"name\" must be that of a feature of CPUs, such as aes");
		if (len + strlen(name) + 3 > size)
			return xml_refuse(node, err, "these are more features than can be told to the VMM: leave some out");
		snprintf(model + len, size - len, ",%c%s", more ? '+' : '-', name);
	}
	return 0;
}

static int check_topology(const xmlNode *cpu, const json_t *members, struct error *err)
{
	static const char *const ones[] = {"sockets", "dies", "clusters", "threads"};
	const xmlNode *node = xml_child(cpu, "topology");
	const json_t *count = json_object_get(members, "vcpus");
	uint64_t vcpus = count ? (uint64_t)json_integer_value(count) : 1, number;
	if (!node)
		return 0;
	int ret = xml_attribute_number(node, "cores", 255, vcpus, &number, err);
	bool same = number == vcpus;
	for (size_t i = 0; ret == 0 && i < sizeof(ones) / sizeof(ones[0]); i++) {
		ret = xml_attribute_number(node, ones[i], 255, 1, &number, err);
		same = same && number == 1;
	}
	if (ret == 0 && !same)
		ret = xml_refuse(node, err,
				 "a guest's vCPUs are the cores of one socket here: leave it out, or give sockets=\"1\" "
				 "cores=\"%llu\" threads=\"1\"",
				 (unsigned long long)vcpus);
	return ret;
}

int domain_cpu_read(const xmlNode *domain, json_t *members, struct error *err)
{
	char model[MOST_MODEL];
	const xmlNode *cpu = xml_child(domain, "cpu"), *numa, *bits;
	if (!cpu)
		return 0;
	int ret = xml_attribute_check(cpu, "mode", "host-passthrough|host-model|maximum|custom", err);
	if (ret == 0)
		ret = read_model(cpu, model, sizeof(model), err);
	if (ret == 0)
		ret = read_features(cpu, model, sizeof(model), err);
	if (ret == 0)
		ret = check_topology(cpu, members, err);
	numa = ret == 0 ? xml_at(cpu, "numa/cell") : NULL;
	if (numa && xml_next(numa, "cell"))
		ret = xml_refuse(xml_child(cpu, "numa"), err,
				 "the daemon itself gives a guest NUMA nodes, as it lies on those of the host: leave it out, or "
				 "give one cell");
	bits = ret == 0 ? xml_child(cpu, "maxphysaddr") : NULL;
	if (bits)
		ret = xml_attribute_check(bits, "mode", "passthrough", err);
	bits = ret == 0 ? xml_child(cpu, "cache") : NULL;
	if (bits)
		ret = xml_attribute_check(bits, "mode", "passthrough", err);
	if (ret || !strcmp(model, "host"))
		return ret;
	ret = domain_put_word(members, "-cpu", err);
	return ret ? ret : domain_put_word(members, model, err);
}
