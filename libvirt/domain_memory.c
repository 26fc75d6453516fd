/*
 * How much memory a guest has, and what the host may do with it. See domain_parts.h.
 *
 *   memory                                memory
 *   currentMemory, memtune/hard_limit     maximum, the smaller of the two: what the guest takes of the host is the same either way
 *   memtune/min_guarantee                 minimum
 *   memtune/swap_hard_limit               swap: false where it is no more than the maximum; it cannot be anything between that and the memory
 *   memoryBacking/nosharepages            mem-merge: off
 *   memoryBacking/locked                  pinned
 *   numatune/memory                       nodes
 *   devices/memballoon                    balloon
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvirt/domain_parts.h"
#include "libvirt/xml_values.h"

#define PAGE 4096ull
/* From here on memtune means "no limit": as many KiB as a long has bytes. */
#define UNLIMITED (9007199254740991ull << 10)

/* Whole pages, and no more than most. */
static uint64_t pages_up(uint64_t bytes, uint64_t most)
{
	return bytes >= most ? most : (bytes + PAGE - 1) / PAGE * PAGE;
}

static int read_limit(const xmlNode *domain, const char *path, uint64_t *bytes, struct error *err)
{
	const xmlNode *node = xml_at(domain, path);
	*bytes = UINT64_MAX;
	int ret = node ? xml_size(node, bytes, err) : 0;
	if (*bytes >= UNLIMITED)
		*bytes = UINT64_MAX;
	return ret;
}

static int read_sizes(const xmlNode *domain, json_t *members, struct error *err)
{
	const xmlNode *node = xml_child(domain, "memory"), *now = xml_child(domain, "currentMemory"),
		      *most = xml_child(domain, "maxMemory");
	uint64_t memory = 0, current, limit = 0, soft = 0, least = 0, swap = 0, room;
	if (!node)
		return xml_refuse(domain, err, "there is no <memory>: say how much the guest has");
	int ret = xml_size(node, &memory, err);
	if (ret)
		return ret;
	if (memory > UINT64_MAX - PAGE)
		return xml_refuse(node, err, "this is more memory than a guest can have");
	memory = pages_up(memory, UINT64_MAX);
	current = memory;
	room = memory;
	ret = now ? xml_size(now, &current, err) : 0;
	if (ret == 0 && current > memory)
		ret = xml_refuse(now, err, "it is more than <memory>, which is all that the guest can have");
	if (ret == 0 && most)
		ret = xml_size(most, &room, err);
	if (ret == 0 && room > memory)
		ret = xml_refuse(
			most, err,
			"memory cannot be plugged into a guest here: give all of it in <memory>, and what it is to begin with in "
			"<currentMemory>");
	if (ret == 0)
		ret = read_limit(domain, "memtune/hard_limit", &limit, err);
	if (ret == 0)
		ret = read_limit(domain, "memtune/soft_limit", &soft, err);
	if (ret == 0 && soft != UINT64_MAX)
		ret = xml_refuse(
			xml_at(domain, "memtune/soft_limit"), err,
			"the daemon itself decides who gives way when memory is short, by shares: leave it out, or use hard_limit");
	if (ret == 0)
		ret = read_limit(domain, "memtune/swap_hard_limit", &swap, err);
	if (ret)
		return ret;
	uint64_t maximum = pages_up(current < limit ? current : limit, memory);
	if (swap <= maximum)
		ret = domain_put(members, "swap", json_false(), err);
	else if (swap < memory)
		ret = xml_refuse(xml_at(domain, "memtune/swap_hard_limit"), err,
				 "swap is not limited by size here: give no more than the guest's limit of memory, for no swap, or "
				 "leave it out");
	/* Without this element the minimum is not asked for, which is something else than none where a guest is changed. */
	if (ret == 0 && xml_at(domain, "memtune/min_guarantee")) {
		ret = read_limit(domain, "memtune/min_guarantee", &least, err);
		if (ret == 0 && least > maximum && pages_up(least, UINT64_MAX - PAGE) > maximum)
			ret = xml_refuse(xml_at(domain, "memtune/min_guarantee"), err,
					 "it is more than the guest may have, by <memory>, <currentMemory> and hard_limit");
		if (ret == 0)
			ret = domain_put(members, "minimum", json_integer((json_int_t)pages_up(least, maximum)), err);
	}
	if (ret == 0 && memory > INT64_MAX)
		ret = xml_refuse(node, err, "this is more memory than a guest can have");
	if (ret == 0)
		ret = domain_put(members, "memory", json_integer((json_int_t)memory), err);
	if (ret == 0 && maximum < memory)
		ret = domain_put(members, "maximum", json_integer((json_int_t)maximum), err);
	return ret;
}

static int read_backing(const xmlNode *domain, json_t *members, struct error *err)
{
	const xmlNode *backing = xml_child(domain, "memoryBacking"), *node;
	int ret = 0;
	if (!backing)
		return 0;
	if ((node = xml_child(backing, "source")) != NULL)
		ret = xml_attribute_check(node, "type", "anonymous|memfd", err);
	if (ret == 0 && (node = xml_child(backing, "access")) != NULL)
		ret = xml_attribute_check(node, "mode", "private|shared", err);
	if (ret == 0 && (node = xml_child(backing, "allocation")) != NULL)
		ret = xml_attribute_check(node, "mode", "ondemand", err);
	if (ret == 0 && xml_child(backing, "nosharepages"))
		ret = domain_put(members, "mem-merge", json_string("off"), err);
	if (ret == 0 && xml_child(backing, "locked"))
		ret = domain_put(members, "pinned", json_true(), err);
	return ret;
}

static int read_nodes(const xmlNode *domain, json_t *members, struct error *err)
{
	const xmlNode *node = xml_at(domain, "numatune/memory");
	const char *text = node ? xml_attribute(node, "nodeset") : NULL;
	uint64_t set = 0;
	if (!node)
		return 0;
	int ret = xml_attribute_check(node, "placement", "static|auto", err);
	if (ret)
		return ret;
	if (!text || xml_attribute_is(node, "placement", "auto"))
		return 0;
	ret = xml_attribute_check(node, "mode", "strict|restrictive", err);
	if (ret)
		return ret;
	if (xml_set_parse(text, &set) < 0 || !set)
		return xml_refuse(node, err, "nodeset=\"%.40s\" is no set of nodes from 0 to 63, such as 0-1,3", text);
	json_t *nodes = json_array();
	for (unsigned n = 0; n < 64; n++)
		if (set >> n & 1 && json_array_append_new(nodes, json_integer(n)) < 0) {
			json_decref(nodes);
			nodes = NULL;
		}
	return domain_put(members, "nodes", nodes, err);
}

static int read_balloon(const xmlNode *domain, json_t *members, struct error *err)
{
	const xmlNode *node = xml_at(domain, "devices/memballoon");
	if (!node)
		return 0;
	int ret = xml_attribute_check(node, "model", "virtio|virtio-transitional|virtio-non-transitional|none", err);
	if (ret == 0)
		ret = xml_attribute_check(node, "autodeflate", "on", err);
	if (ret == 0)
		ret = xml_attribute_check(node, "freePageReporting", "on", err);
	if (ret == 0 && xml_next(node, "memballoon"))
		ret = xml_refuse(xml_next(node, "memballoon"), err, "a guest has one balloon at most: leave this one out");
	if (ret == 0 && xml_attribute_is(node, "model", "none"))
		ret = domain_put(members, "balloon", json_false(), err);
	return ret;
}

int domain_memory_read(const xmlNode *domain, json_t *members, struct error *err)
{
	int ret = read_sizes(domain, members, err);
	if (ret == 0)
		ret = read_backing(domain, members, err);
	if (ret == 0)
		ret = read_nodes(domain, members, err);
	if (ret == 0)
		ret = read_balloon(domain, members, err);
	return ret;
}

/* --- writing --- */

static void set_size(struct xml_tree *tree, xmlNode *node, uint64_t bytes)
{
	char text[24];
	/* Clients take what they find here for KiB, whatever the unit. */
	snprintf(text, sizeof(text), "%" PRIu64, bytes >> 10);
	if (node) {
		xml_set_text(tree, node, text);
		xml_set_attribute(tree, node, "unit", "KiB");
	}
}

/* A size that stays as it is, but in the usual unit. */
static void keep_size(struct xml_tree *tree, xmlNode *node)
{
	uint64_t bytes;
	int ret = node ? xml_size(node, &bytes, NULL) : -EINVAL;
	if (ret == 0)
		set_size(tree, node, bytes > UINT64_MAX - 1023 ? bytes : bytes + 1023);
	else if (ret == -ENOMEM)
		tree->failed = true;
}

static void write_sizes(struct xml_tree *tree, const struct definition *was, const struct definition *now)
{
	xmlNode *domain = tree->root, *tune = xml_child(domain, "memtune");
	set_size(tree, xml_need(tree, domain, "memory"), now->memory);
	set_size(tree, xml_need(tree, domain, "currentMemory"), now->maximum);
	if (xml_child(domain, "maxMemory"))
		set_size(tree, xml_child(domain, "maxMemory"), now->memory);
	static const char *const limits[] = {"hard_limit", "soft_limit", "swap_hard_limit", "min_guarantee"};
	for (size_t i = 0; tune && i < sizeof(limits) / sizeof(limits[0]); i++)
		keep_size(tree, xml_child(tune, limits[i]));
	/* The limit that was not the smaller one would be in the way of a larger maximum. */
	if (tune && domain_differs(was, now, "maximum"))
		xml_remove(xml_child(tune, "hard_limit"));
	/* What it says of swap depends on both limits; the metadata say it from then on. */
	if (tune && (domain_differs(was, now, "swap") || domain_differs(was, now, "maximum") || domain_differs(was, now, "memory")))
		xml_remove(xml_child(tune, "swap_hard_limit"));
	if (domain_differs(was, now, "minimum") && (now->minimum || xml_at(domain, "memtune/min_guarantee")))
		set_size(tree, xml_need(tree, xml_need(tree, domain, "memtune"), "min_guarantee"), now->minimum);
	tune = xml_child(domain, "memtune");
	if (tune && !xml_child(tune, NULL))
		xml_remove(tune);
}

static void set_flag(struct xml_tree *tree, const char *name, bool there)
{
	xmlNode *backing = xml_child(tree->root, "memoryBacking");
	if (there)
		xml_need(tree, xml_need(tree, tree->root, "memoryBacking"), name);
	else if (backing)
		xml_remove(xml_child(backing, name));
	backing = xml_child(tree->root, "memoryBacking");
	if (backing && !xml_child(backing, NULL))
		xml_remove(backing);
}

static void write_nodes(struct xml_tree *tree, uint64_t nodes)
{
	char text[256] = "";
	xmlNode *tune = xml_child(tree->root, "numatune");
	for (unsigned n = 0; n < 64; n++)
		if (nodes >> n & 1)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%u", *text ? "," : "", n);
	xml_remove(tune);
	if (!nodes)
		return;
	xmlNode *memory = xml_add(tree, xml_add(tree, tree->root, "numatune", NULL), "memory", NULL);
	xml_set_attribute(tree, memory, "mode", "strict");
	xml_set_attribute(tree, memory, "nodeset", text);
}

void domain_memory_write(struct xml_tree *tree, const struct definition *was, const struct definition *now)
{
	write_sizes(tree, was, now);
	if (domain_differs(was, now, "mem-merge"))
		set_flag(tree, "nosharepages", now->merge == DEFINITION_MERGE_OFF);
	if (domain_differs(was, now, "pinned"))
		set_flag(tree, "locked", now->pinned);
	if (domain_differs(was, now, "nodes"))
		write_nodes(tree, now->nodes);
	xmlNode *balloon = xml_need(tree, xml_need(tree, tree->root, "devices"), "memballoon");
	if (balloon && (domain_differs(was, now, "balloon") || !xml_attribute(balloon, "model"))) {
		xml_set_attribute(tree, balloon, "model", now->balloon ? "virtio" : "none");
		if (!now->balloon) {
			xml_set_attribute(tree, balloon, "autodeflate", NULL);
			xml_set_attribute(tree, balloon, "freePageReporting", NULL);
			xml_remove(xml_child(balloon, "stats"));
		}
	}
}
