/* See device_change.h. */
#include "libvirt/device_change.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "libvirt/xml_tree.h"

/* What tells a device of a kind from others of it: an attribute of a child. */
static const struct {
	const char *child, *attribute;
} keys[] = {{"target", "dev"}, {"mac", "address"}, {"source", "file"}, {"source", "dev"}, {"alias", "name"}};
enum { NR_KEYS = sizeof(keys) / sizeof(keys[0]) };

static const char *key_of(const xmlNode *device, size_t i)
{
	const xmlNode *child = xml_child(device, keys[i].child);
	return child ? xml_attribute(child, keys[i].attribute) : NULL;
}

/* All that the wanted one says of itself is so; and, unless anything will do, it says something. */
static bool is_meant(const xmlNode *device, const xmlNode *wanted, bool anything)
{
	bool says = anything;
	if (!xml_is(device, (const char *)wanted->name))
		return false;
	for (size_t i = 0; i < NR_KEYS; i++) {
		const char *want = key_of(wanted, i), *has = key_of(device, i);
		if (want && (!has || strcasecmp(want, has) != 0))
			return false;
		says |= want != NULL;
	}
	return says;
}

/* The place that a new device would take: a disk's or a tap's name, a card's address. */
static xmlNode *taken_by(const xmlNode *devices, const xmlNode *wanted)
{
	for (xmlNode *device = xml_child(devices, (const char *)wanted->name); device;
	     device = xml_next(device, (const char *)wanted->name))
		for (size_t i = 0; i < 2; i++) {
			const char *want = key_of(wanted, i), *has = key_of(device, i);
			if (want && has && !strcasecmp(want, has))
				return device;
		}
	return NULL;
}

/* Of several of a kind the one that is meant must be told; of one it need not. *found stays NULL with -EINVAL. */
static int find(const xmlNode *devices, const xmlNode *wanted, enum device_change change, xmlNode **found, struct error *err)
{
	const char *name = (const char *)wanted->name;
	xmlNode *first = xml_child(devices, name);
	bool one = first && !xml_next(first, name);
	unsigned nr = 0;
	if (change == DEVICE_REPLACE && (key_of(wanted, 0) || key_of(wanted, 1))) {
		/* Another source is what a disk is changed to; its name, or a card's address, says which one it is. */
		*found = taken_by(devices, wanted);
		nr = *found != NULL;
	} else {
		for (xmlNode *device = first; device; device = xml_next(device, name))
			if (is_meant(device, wanted, one)) {
				*found = device;
				nr++;
			}
	}
	if (nr == 1)
		return 0;
	*found = NULL;
	return error_set(err, EINVAL, "the guest has %s <%.20s> like that: give its <target dev=...>, or <mac address=...>",
			 nr ? "more than one" : "no", name);
}

static int change_tree(struct xml_tree *domain, xmlNode *device, enum device_change change, struct error *err)
{
	xmlNode *devices = xml_need(domain, domain->root, "devices"), *old = NULL;
	if (!devices)
		return error_set(err, ENOMEM, "out of memory");
	if (change == DEVICE_ADD && taken_by(devices, device))
		return error_set(err, EINVAL, "the guest has a <%.20s> of that name or address already",
				 (const char *)device->name);
	int ret = change == DEVICE_ADD ? 0 : find(devices, device, change, &old, err);
	if (ret)
		return ret;
	if (change != DEVICE_REMOVE) {
		xmlNode *copy = xmlDocCopyNode(device, domain->doc, 1);
		if (!copy || !(old ? xmlAddNextSibling(old, copy) : xmlAddChild(devices, copy))) {
			xmlFreeNode(copy);
			return error_set(err, ENOMEM, "out of memory");
		}
	}
	if (old)
		xml_remove(old);
	return 0;
}

int device_change(const char *domain, const char *device, enum device_change change, char **out, struct error *err)
{
	struct xml_tree whole, part;
	int ret = xml_tree_parse(domain, strlen(domain), "domain", &whole, err);
	if (ret)
		return ret;
	ret = xml_tree_parse(device, strlen(device), NULL, &part, err);
	if (ret == 0) {
		ret = change_tree(&whole, part.root, change, err);
		xml_tree_free(&part);
	}
	if (ret == 0) {
		*out = xml_tree_text(&whole);
		ret = *out ? 0 : error_set(err, ENOMEM, "out of memory");
	}
	xml_tree_free(&whole);
	return ret;
}
