/*
 * Disks. See domain_parts.h. <disk type="file"> and "block" are a path; "network" is an NBD server, whose parts become the address that the
 * definition has: "nbd://host:port/export" or "nbd+unix:///export?socket=path". An address that cannot be taken apart so is
 * the source's name as it is, and the host says nothing. Only virtio disks are disks here; a drive for CDs is taken out while it is empty.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvirt/domain_parts.h"
#include "libvirt/xml_values.h"

#define MOST_ADDRESS 1024
#define NBD_PORT "10809"
#define TCP "nbd://"
#define UNIX "nbd+unix:///"
#define SOCKET "?socket="

/* What stands for itself in an address. */
static bool is_plain(const char *text, size_t len, const char *besides)
{
	for (size_t i = 0; i < len; i++)
		if (!isascii(text[i]) || (!isalnum((unsigned char)text[i]) && (!text[i] || !strchr(besides, text[i]))))
			return false;
	return true;
}

static bool is_verbatim(const char *name)
{
	return !strncmp(name, "nbd:", 4) || !strncmp(name, "nbd+unix:", 9);
}

/* --- reading --- */

static int read_nbd(const xmlNode *source, char *address, size_t size, struct error *err)
{
	const char *name = xml_attribute(source, "name"), *protocol = xml_attribute(source, "protocol");
	const xmlNode *host = xml_child(source, "host");
	if (!protocol || strcmp(protocol, "nbd") != 0)
		return xml_refuse(
			source, err,
			"protocol=\"%.20s\" is not to be had here: serve the disk by nbdkit or qemu-nbd, and give protocol=\"nbd\"",
			protocol ? protocol : "");
	if (!name)
		name = "";
	if (!host && !is_verbatim(name))
		return xml_refuse(source, err, "there is no <host> that serves it");
	if (is_verbatim(name)) {
		if (strlen(name) >= size)
			return xml_refuse(source, err, "its address is longer than %zu bytes", size - 1);
		strcpy(address, name);
		return 0;
	}
	const char *transport = xml_attribute(host, "transport"), *socket = xml_attribute(host, "socket");
	const char *server = xml_attribute(host, "name"), *port = xml_attribute(host, "port");
	int len;
	if (xml_next(host, "host"))
		return xml_refuse(source, err, "one <host> serves a disk here: leave the others out");
	if (!is_plain(name, strlen(name), "._-~/"))
		return xml_refuse(source, err, "name=\"%.60s\": exports have letters, digits and ._-~/ in their names here", name);
	if (transport && !strcmp(transport, "unix")) {
		if (!socket || *socket != '/' || !is_plain(socket, strlen(socket), "._-~/"))
			return xml_refuse(host, err, "\"socket\" must be an absolute path of letters, digits and ._-~/");
		len = snprintf(address, size, UNIX "%s" SOCKET "%s", name, socket);
	} else if (!transport || !strcmp(transport, "tcp")) {
		bool v6 = server && strchr(server, ':');
		if (!server || !*server || !is_plain(server, strlen(server), v6 ? ".:" : ".-_"))
			return xml_refuse(host, err, "\"name\" must be a host's name or address");
		if (port &&
		    (!*port || strlen(port) > 5 || !is_plain(port, strlen(port), "") || atoi(port) < 1 || atoi(port) > 65535))
			return xml_refuse(host, err, "port=\"%.20s\" is no port", port);
		len = snprintf(address, size, TCP "%s%s%s:%d/%s", v6 ? "[" : "", server, v6 ? "]" : "",
			       port ? atoi(port) : atoi(NBD_PORT), name);
	} else {
		return xml_refuse(host, err, "transport=\"%.20s\" is not to be had here; there are tcp and unix", transport);
	}
	return (size_t)len < size ? 0 : xml_refuse(source, err, "its address is longer than %zu bytes", size - 1);
}

static int read_source(const xmlNode *disk, json_t *drive, struct error *err)
{
	const xmlNode *source = xml_child(disk, "source");
	const char *type = xml_attribute(disk, "type"), *path;
	char address[MOST_ADDRESS + 1];
	if (!type)
		type = "file";
	if (!source)
		return xml_refuse(disk, err, "there is no <source>: say where the disk's image is");
	if (!strcmp(type, "file"))
		path = xml_attribute(source, "file");
	else if (!strcmp(type, "block"))
		path = xml_attribute(source, "dev");
	else if (!strcmp(type, "network")) {
		int ret = read_nbd(source, address, sizeof(address), err);
		return ret ? ret : domain_put(drive, "file", json_string(address), err);
	} else
		return xml_refuse(disk, err, "type=\"%.20s\" is not to be had here; there are file, block, and network with NBD",
				  type);
	if (!path || *path != '/' || strlen(path) > MOST_ADDRESS)
		return xml_refuse(source, err, "it must have the absolute path of an image, in \"%s\"",
				  !strcmp(type, "file") ? "file" : "dev");
	return domain_put(drive, "file", json_string(path), err);
}

static int read_driver(const xmlNode *driver, json_t *drive, struct error *err)
{
	const char *cache = xml_attribute(driver, "cache"), *discard = xml_attribute(driver, "discard"),
		   *format = xml_attribute(driver, "type");
	if (format && strcmp(format, "raw") != 0)
		return xml_refuse(driver, err,
				  "type=\"%.20s\": images are raw here; convert it by qemu-img, or serve it by qemu-nbd and give "
				  "its NBD address",
				  format);
	int ret = xml_attribute_check(driver, "cache", "default|writeback|none|writethrough|directsync|unsafe", err);
	if (ret == 0)
		ret = xml_attribute_check(driver, "discard", "ignore|unmap", err);
	if (ret == 0)
		ret = xml_attribute_check(driver, "copy_on_read", "off", err);
	if (ret == 0)
		ret = xml_attribute_check(driver, "detect_zeroes", "off", err);
	if (ret == 0 && cache && strcmp(cache, "default") != 0)
		ret = domain_put(drive, "cache", json_string(cache), err);
	if (ret == 0 && discard)
		ret = domain_put(drive, "discard", json_string(discard), err);
	return ret;
}

static int read_disk(const xmlNode *disk, json_t *drive, struct error *err)
{
	const xmlNode *target = xml_child(disk, "target"), *driver = xml_child(disk, "driver"), *serial = xml_child(disk, "serial");
	const char *bus = target ? xml_attribute(target, "bus") : NULL, *device = target ? xml_attribute(target, "dev") : NULL;
	if (!device)
		return xml_refuse(disk, err, "there is no <target dev=\"...\">: give vda, vdb, ...");
	if (bus ? strcmp(bus, "virtio") != 0 : strncmp(device, "vd", 2) != 0)
		return xml_refuse(target, err,
				  "disks are on the bus virtio here, so that the guest finds this one under another name: give "
				  "bus=\"virtio\"");
	int ret = xml_attribute_check(disk, "device", "disk", err);
	if (ret == 0)
		ret = xml_attribute_check(disk, "model", "virtio|virtio-transitional|virtio-non-transitional", err);
	if (ret == 0)
		ret = xml_attribute_check(disk, "rawio", "no", err);
	if (ret == 0)
		ret = read_source(disk, drive, err);
	if (ret == 0 && driver)
		ret = read_driver(driver, drive, err);
	if (ret == 0 && xml_child(disk, "readonly"))
		ret = domain_put(drive, "readonly", json_true(), err);
	else if (ret == 0 && xml_child(disk, "shareable"))
		ret = xml_refuse(xml_child(disk, "shareable"), err,
				 "guests share an image only if none of them writes to it: give <readonly/>, too");
	if (ret == 0 && serial)
		ret = domain_put_text(drive, "serial", xml_word(serial), err);
	return ret;
}

bool domain_disks_is_empty_tray(const xmlNode *disk)
{
	const char *device = xml_attribute(disk, "device");
	return device && (!strcmp(device, "cdrom") || !strcmp(device, "floppy")) && !xml_child(disk, "source");
}

/* The first of this one and those behind it that is a drive. */
static xmlNode *drive_from(xmlNode *disk)
{
	while (disk && domain_disks_is_empty_tray(disk))
		disk = xml_next(disk, "disk");
	return disk;
}

xmlNode *domain_disks_first(const xmlNode *domain)
{
	return drive_from(xml_at(domain, "devices/disk"));
}

xmlNode *domain_disks_next(const xmlNode *disk)
{
	return drive_from(xml_next(disk, "disk"));
}

int domain_disks_read(const xmlNode *domain, json_t *members, struct error *err)
{
	json_t *drives = json_array();
	int ret = domain_put(members, "drives", drives, err);
	for (xmlNode *disk = domain_disks_first(domain); ret == 0 && disk; disk = domain_disks_next(disk)) {
		json_t *drive = json_object();
		if (json_array_append_new(drives, drive) < 0)
			ret = error_set(err, ENOMEM, "out of memory");
		if (ret == 0)
			ret = read_disk(disk, drive, err);
	}
	return ret;
}

/* --- writing --- */

/* Takes apart what read_nbd() puts together, and nothing else. */
static void write_nbd(struct xml_tree *tree, xmlNode *source, const char *address)
{
	char text[MOST_ADDRESS + 1];
	xml_set_attribute(tree, source, "protocol", "nbd");
	snprintf(text, sizeof(text), "%s", address);
	if (!strncmp(text, UNIX, strlen(UNIX))) {
		char *name = text + strlen(UNIX), *socket = strstr(name, SOCKET), *path = socket ? socket + strlen(SOCKET) : NULL;
		if (path && *path == '/' && is_plain(path, strlen(path), "._-~/") &&
		    is_plain(name, (size_t)(socket - name), "._-~/")) {
			*socket = '\0';
			xml_set_attribute(tree, source, "name", name);
			xmlNode *host = xml_add(tree, source, "host", NULL);
			xml_set_attribute(tree, host, "transport", "unix");
			xml_set_attribute(tree, host, "socket", path);
			return;
		}
	} else if (!strncmp(text, TCP, strlen(TCP))) {
		char *server = text + strlen(TCP), *slash = strchr(server, '/'),
		     *colon = slash ? memrchr(server, ':', (size_t)(slash - server)) : NULL;
		size_t digits = colon ? (size_t)(slash - colon) - 1 : 0, len = colon ? (size_t)(colon - server) : 0;
		bool port = digits >= 1 && digits <= 5 && strspn(colon + 1, "0123456789") == digits && colon[1] != '0' &&
			    atoi(colon + 1) <= 65535;
		bool v6 = port && len > 2 && *server == '[' && colon[-1] == ']' && memchr(server, ':', len);
		if (port && len && is_plain(slash + 1, strlen(slash + 1), "._-~/") &&
		    (v6 ? is_plain(server + 1, len - 2, ".:") : is_plain(server, len, ".-_"))) {
			*slash = *colon = '\0';
			if (v6) {
				colon[-1] = '\0';
				server++;
			}
			xml_set_attribute(tree, source, "name", slash + 1);
			xmlNode *host = xml_add(tree, source, "host", NULL);
			xml_set_attribute(tree, host, "name", server);
			xml_set_attribute(tree, host, "port", colon + 1);
			return;
		}
	}
	/* libvirt's schema wants a host, which says nothing here. */
	xml_set_attribute(tree, source, "name", address);
	xml_set_attribute(tree, xml_add(tree, source, "host", NULL), "name", "localhost");
}

static void set_there(struct xml_tree *tree, xmlNode *disk, const char *name, bool there)
{
	if (there)
		xml_need(tree, disk, name);
	else if (disk)
		xml_remove(xml_child(disk, name));
}

static void write_disk(struct xml_tree *tree, xmlNode *disk, const json_t *drive)
{
	const char *file = json_string_value(json_object_get(drive, "file")),
		   *serial = json_string_value(json_object_get(drive, "serial"));
	xmlNode *driver = xml_need(tree, disk, "driver");
	if (!disk || !driver)
		return;
	/* Where a block device is given as a file it is one all the same, and opened as what it is. */
	bool nbd = is_verbatim(file), block = !nbd && (xml_attribute_is(disk, "type", "block") || !strncmp(file, "/dev/", 5));
	xml_set_attribute(tree, disk, "type", nbd ? "network" : block ? "block" : "file");
	xml_set_attribute(tree, disk, "device", "disk");
	xml_set_attribute(tree, driver, "type", "raw");
	xml_set_attribute(tree, driver, "cache", json_string_value(json_object_get(drive, "cache")));
	xml_set_attribute(tree, driver, "discard", json_string_value(json_object_get(drive, "discard")));
	xml_remove(xml_child(disk, "source"));
	xmlNode *source = xml_add(tree, disk, "source", NULL);
	if (nbd && source)
		write_nbd(tree, source, file);
	else if (source)
		xml_set_attribute(tree, source, block ? "dev" : "file", file);
	set_there(tree, disk, "readonly", json_is_true(json_object_get(drive, "readonly")));
	set_there(tree, disk, "serial", serial != NULL);
	if (serial)
		xml_set_text(tree, xml_child(disk, "serial"), serial);
	if (!json_is_true(json_object_get(drive, "readonly")))
		set_there(tree, disk, "shareable", false);
}

/* A name that no disk of the tree has: vda, vdb, ... There are fewer disks than letters. */
static void name_disk(struct xml_tree *tree, xmlNode *disk)
{
	char name[4] = "vda";
	xmlNode *target = xml_need(tree, disk, "target");
	for (const xmlNode *other = xml_at(tree->root, "devices/disk"); other;) {
		const xmlNode *its = xml_child(other, "target");
		if (its && xml_attribute_is(its, "dev", name) && name[2] < 'z') {
			name[2]++;
			other = xml_at(tree->root, "devices/disk");
		} else {
			other = xml_next(other, "disk");
		}
	}
	xml_set_attribute(tree, target, "dev", name);
	xml_set_attribute(tree, target, "bus", "virtio");
}

void domain_disks_write(struct xml_tree *tree, const struct definition *was, const struct definition *now)
{
	xmlNode *devices = xml_need(tree, tree->root, "devices"), *disk = domain_disks_first(tree->root);
	const json_t *old = was ? json_object_get(was->json, "drives") : NULL, *drive;
	size_t i;
	json_array_foreach(json_object_get(now->json, "drives"), i, drive)
	{
		const json_t *before = json_array_get(old, i);
		if (!disk || !before) {
			disk = xml_add(tree, devices, "disk", NULL);
			write_disk(tree, disk, drive);
			name_disk(tree, disk);
		} else if (!json_equal(before, drive)) {
			write_disk(tree, disk, drive);
		}
		disk = disk ? domain_disks_next(disk) : NULL;
	}
	while (disk) {
		xmlNode *next = domain_disks_next(disk);
		xml_remove(disk);
		disk = next;
	}
}
