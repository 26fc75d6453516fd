/*
 * Devices that a guest has one of: its serial port, which is its console, and its source of random numbers. See domain_parts.h. <rng>
 * becomes the words "-device virtio-rng-pci".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libvirt/domain_parts.h"
#include "libvirt/xml_values.h"

static int read_serial(const xmlNode *devices, struct error *err)
{
	const xmlNode *serial = xml_child(devices, "serial"), *console = xml_child(devices, "console"), *target;
	int ret = 0;
	if (serial)
		ret = xml_attribute_check(serial, "type", "pty", err);
	if (ret == 0 && serial && xml_next(serial, "serial"))
		ret = xml_refuse(xml_next(serial, "serial"), err, "the definition has one serial port: leave this one out");
	if (ret == 0 && console)
		ret = xml_attribute_check(console, "type", "pty", err);
	target = ret == 0 && console ? xml_child(console, "target") : NULL;
	if (target)
		ret = xml_attribute_check(target, "type", "serial", err);
	if (ret == 0 && console && xml_next(console, "console"))
		ret = xml_refuse(xml_next(console, "console"), err, "a guest has one console, its serial port: leave this one out");
	return ret;
}

static int read_rng(const xmlNode *devices, json_t *members, struct error *err)
{
	const xmlNode *rng = xml_child(devices, "rng"), *backend = rng ? xml_child(rng, "backend") : NULL;
	if (!rng)
		return 0;
	if (!backend || !xml_attribute(backend, "model"))
		return xml_refuse(rng, err, "there is no <backend model=\"random\">");
	int ret = xml_attribute_check(rng, "model", "virtio|virtio-transitional|virtio-non-transitional", err);
	if (ret == 0)
		ret = xml_attribute_check(backend, "model", "random|builtin", err);
	if (ret == 0 && xml_next(rng, "rng"))
		ret = xml_refuse(xml_next(rng, "rng"), err, "a guest has one source of random numbers: leave this one out");
	char *file = ret == 0 ? xml_word(backend) : NULL;
	if (ret == 0 && !file)
		ret = error_set(err, ENOMEM, "out of memory");
	else if (ret == 0 && *file && strcmp(file, "/dev/urandom") != 0 && strcmp(file, "/dev/random") != 0)
		ret = xml_refuse(backend, err,
				 "\"%.60s\" is not to be had here; there are /dev/urandom and /dev/random, which are the same",
				 file);
	free(file);
	if (ret == 0)
		ret = domain_put_word(members, "-device", err);
	return ret ? ret : domain_put_word(members, "virtio-rng-pci", err);
}

int domain_devices_read(const xmlNode *domain, json_t *members, struct error *err)
{
	const xmlNode *devices = xml_child(domain, "devices");
	if (!devices)
		return 0;
	int ret = read_serial(devices, err);
	return ret ? ret : read_rng(devices, members, err);
}

/* Every guest has them, and clients look for them before they ask for a console. */
void domain_devices_write(struct xml_tree *tree)
{
	xmlNode *devices = xml_need(tree, tree->root, "devices");
	xmlNode *serial = xml_need(tree, devices, "serial"), *console = xml_need(tree, devices, "console");
	if (!serial || !console)
		return;
	xmlNode *port = xml_need(tree, serial, "target"), *target = xml_need(tree, console, "target");
	xml_set_attribute(tree, serial, "type", "pty");
	if (port && !xml_attribute(port, "port"))
		xml_set_attribute(tree, port, "port", "0");
	xml_set_attribute(tree, console, "type", "pty");
	xml_set_attribute(tree, target, "type", "serial");
	if (target && !xml_attribute(target, "port"))
		xml_set_attribute(tree, target, "port", "0");
}
