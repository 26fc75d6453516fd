/*
 * Networks. See domain_parts.h.
 *
 *   <interface type="user">                                      kind user; <portForward> is hostfwd
 *   <interface type="ethernet"><target dev="tap7"/>              kind tap
 *   <interface type="user"> with a path in Pagoda's <metadata>   kind stream: libvirt has no word for one on a unix socket
 *
 * Forwards that <portForward> cannot say are in Pagoda's <metadata>, too; both are found there by the card's address (domain_metadata.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvirt/domain_parts.h"
#include "libvirt/xml_values.h"

/* --- reading --- */

/* A range becomes a forward for each of its ports. */
static int read_forward(const xmlNode *forward, json_t *forwards, struct error *err)
{
	const char *protocol = xml_attribute(forward, "proto"), *address = xml_attribute(forward, "address");
	char text[128];
	int ret = xml_attribute_check(forward, "proto", "tcp|udp", err);
	if (ret == 0 && (!protocol || !xml_child(forward, "range")))
		ret = xml_refuse(forward, err, "it must have proto=\"tcp\" or \"udp\", and a <range>");
	if (ret == 0 && address && (strlen(address) > 45 || address[strspn(address, "0123456789.")]))
		ret = xml_refuse(forward, err, "address=\"%.50s\" is no IPv4 address of the host", address);
	for (const xmlNode *range = xml_child(forward, "range"); ret == 0 && range; range = xml_next(range, "range")) {
		uint64_t start = 0, end = 0, to = 0;
		if (!xml_attribute(range, "start"))
			ret = xml_refuse(range, err, "it has no \"start\", the first port");
		if (ret == 0)
			ret = xml_attribute_number(range, "start", 65535, 0, &start, err);
		if (ret == 0)
			ret = xml_attribute_number(range, "end", 65535, start, &end, err);
		if (ret == 0)
			ret = xml_attribute_number(range, "to", 65535, start, &to, err);
		if (ret == 0 && (!start || !to || end < start || end - start > 15 || to + (end - start) > 65535))
			ret = xml_refuse(range, err, "these are no ports that can be forwarded: 1 to 65535, and 16 at most");
		for (uint64_t port = 0; ret == 0 && port <= end - start; port++) {
			snprintf(text, sizeof(text), "%s:%s:%d-:%d", protocol, address ? address : "", (int)(start + port),
				 (int)(to + port));
			if (json_array_append_new(forwards, json_string(text)) < 0)
				ret = error_set(err, ENOMEM, "out of memory");
		}
	}
	return ret;
}

static int read_forwards(const xmlNode *interface, json_t *netdev, struct error *err)
{
	const xmlNode *forward = xml_child(interface, "portForward");
	if (!forward)
		return 0;
	json_t *forwards = json_array();
	int ret = domain_put(netdev, "hostfwd", forwards, err);
	for (; ret == 0 && forward; forward = xml_next(forward, "portForward"))
		ret = read_forward(forward, forwards, err);
	return ret;
}

static int read_kind(const xmlNode *interface, json_t *netdev, struct error *err)
{
	const char *type = xml_attribute(interface, "type");
	const xmlNode *target = xml_child(interface, "target");
	const char *device = target ? xml_attribute(target, "dev") : NULL;
	if (type && !strcmp(type, "user")) {
		int ret = domain_put(netdev, "kind", json_string("user"), err);
		return ret ? ret : read_forwards(interface, netdev, err);
	}
	if (type && !strcmp(type, "ethernet")) {
		if (xml_child(interface, "portForward"))
			return xml_refuse(xml_child(interface, "portForward"), err, "only type=\"user\" has it");
		if (!device)
			return xml_refuse(interface, err,
					  "there is no <target dev=\"...\">: name the tap that the guest is to use");
		int ret = domain_put(netdev, "kind", json_string("tap"), err);
		return ret ? ret : domain_put(netdev, "ifname", json_string(device), err);
	}
	return xml_refuse(interface, err,
			  "type=\"%.20s\" is not to be had here; there are user, and ethernet with <target dev=\"tap7\" "
			  "managed=\"no\"/> for a tap, which may be a "
			  "port of a bridge",
			  type ? type : "");
}

static int read_interface(const xmlNode *interface, json_t *netdev, struct error *err)
{
	const xmlNode *mac = xml_child(interface, "mac"), *model = xml_child(interface, "model"),
		      *link = xml_child(interface, "link");
	const xmlNode *backend = xml_child(interface, "backend");
	const char *address = mac ? xml_attribute(mac, "address") : NULL;
	int ret = read_kind(interface, netdev, err);
	if (ret == 0 && model)
		ret = xml_attribute_check(model, "type", "virtio|virtio-transitional|virtio-non-transitional", err);
	if (ret == 0 && link)
		ret = xml_attribute_check(link, "state", "up", err);
	if (ret == 0 && backend)
		ret = xml_attribute_check(backend, "type", "passt|default", err);
	if (ret == 0 && address)
		ret = domain_put(netdev, "mac", json_string(address), err);
	return ret;
}

int domain_interfaces_read(const xmlNode *domain, json_t *members, struct error *err)
{
	json_t *netdevs = json_array();
	int ret = domain_put(members, "netdevs", netdevs, err);
	for (const xmlNode *at = xml_at(domain, "devices/interface"); ret == 0 && at; at = xml_next(at, "interface")) {
		json_t *netdev = json_object();
		if (json_array_append_new(netdevs, netdev) < 0)
			ret = error_set(err, ENOMEM, "out of memory");
		if (ret == 0)
			ret = read_interface(at, netdev, err);
	}
	return ret;
}

/* --- writing --- */

/* "tcp:127.0.0.1:2222-:22" in its parts; false where <portForward> cannot say it, or would say it otherwise. */
static bool split_forward(const char *text, char *protocol, char *address, int *from, int *to)
{
	char again[128];
	int end = 0;
	*address = '\0';
	if (sscanf(text, "%3[a-z]:%45[0-9.]:%5d-:%5d%n", protocol, address, from, to, &end) != 4 || text[end]) {
		*address = '\0';
		if (sscanf(text, "%3[a-z]::%5d-:%5d%n", protocol, from, to, &end) != 3 || text[end])
			return false;
	}
	snprintf(again, sizeof(again), "%s:%s:%d-:%d", protocol, address, *from, *to);
	return !strcmp(again, text) && (!strcmp(protocol, "tcp") || !strcmp(protocol, "udp")) && *from >= 1 && *from <= 65535 &&
	       *to >= 1 && *to <= 65535;
}

bool domain_interfaces_can_say(const json_t *forwards)
{
	char protocol[4], address[46];
	int from, to;
	const json_t *forward;
	size_t i;
	json_array_foreach(forwards, i, forward)
	{
		if (!split_forward(json_string_value(forward), protocol, address, &from, &to))
			return false;
	}
	return true;
}

static void write_forwards(struct xml_tree *tree, xmlNode *interface, const json_t *forwards)
{
	char protocol[4], address[46], number[16];
	int from, to;
	const json_t *forward;
	size_t i;
	while (xml_child(interface, "portForward"))
		xml_remove(xml_child(interface, "portForward"));
	if (!domain_interfaces_can_say(forwards))
		return;
	json_array_foreach(forwards, i, forward)
	{
		split_forward(json_string_value(forward), protocol, address, &from, &to);
		xmlNode *node = xml_add(tree, interface, "portForward", NULL), *range = xml_add(tree, node, "range", NULL);
		xml_set_attribute(tree, node, "proto", protocol);
		if (*address)
			xml_set_attribute(tree, node, "address", address);
		snprintf(number, sizeof(number), "%d", from);
		xml_set_attribute(tree, range, "start", number);
		snprintf(number, sizeof(number), "%d", to);
		xml_set_attribute(tree, range, "to", number);
	}
}

static void write_interface(struct xml_tree *tree, xmlNode *interface, const json_t *netdev)
{
	const char *kind = json_string_value(json_object_get(netdev, "kind")),
		   *tap = json_string_value(json_object_get(netdev, "ifname"));
	if (!interface)
		return;
	xml_set_attribute(tree, interface, "type", !strcmp(kind, "tap") ? "ethernet" : "user");
	xml_set_attribute(tree, xml_need(tree, interface, "mac"), "address", json_string_value(json_object_get(netdev, "mac")));
	xml_set_attribute(tree, xml_need(tree, interface, "model"), "type", "virtio");
	write_forwards(tree, interface, json_object_get(netdev, "hostfwd"));
	xml_remove(xml_child(interface, "backend"));
	if (tap) {
		xmlNode *target = xml_need(tree, interface, "target");
		xml_set_attribute(tree, target, "dev", tap);
		xml_set_attribute(tree, target, "managed", "no");
	} else {
		xml_remove(xml_child(interface, "target"));
	}
}

void domain_interfaces_write(struct xml_tree *tree, const struct definition *was, const struct definition *now)
{
	xmlNode *devices = xml_need(tree, tree->root, "devices"), *interface = devices ? xml_child(devices, "interface") : NULL;
	const json_t *old = was ? json_object_get(was->json, "netdevs") : NULL, *netdev;
	size_t i;
	json_array_foreach(json_object_get(now->json, "netdevs"), i, netdev)
	{
		const json_t *before = json_array_get(old, i);
		bool there = interface && before;
		if (!there)
			interface = xml_add(tree, devices, "interface", NULL);
		if (!there || !json_equal(before, netdev))
			write_interface(tree, interface, netdev);
		interface = interface ? xml_next(interface, "interface") : NULL;
	}
	while (interface) {
		xmlNode *next = xml_next(interface, "interface");
		xml_remove(interface);
		interface = next;
	}
}
