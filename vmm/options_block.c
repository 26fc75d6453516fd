/*
 * Disks: -drive (image and device in one), -blockdev (nodes: a protocol, and a format above it), and -device virtio-blk-pci, which
 * names one of either. All end as a struct config_disk.
 *
 * Images are raw files, block devices, or whatever speaks NBD. Other formats come through qemu-nbd or nbdkit, and the error for one
 * gives the command.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/image_format.h"
#include "vmm/options.h"

enum {
	CACHE_WRITEBACK,
	CACHE_NONE,
	CACHE_WRITETHROUGH,
	CACHE_DIRECTSYNC,
	CACHE_UNSAFE,
};
#define CACHE_WORDS "writeback|none|writethrough|directsync|unsafe"

enum {
	AIO_THREADS,
	AIO_NATIVE,
	AIO_IO_URING,
};
#define AIO_WORDS "threads|native|io_uring"

enum {
	DISCARD_IGNORE,
	DISCARD_OFF,
	DISCARD_UNMAP,
	DISCARD_ON,
};
#define DISCARD_WORDS "ignore|off|unmap|on"

enum {
	INTERFACE_VIRTIO,
	INTERFACE_NONE,
};

#define MAX_QUEUES 64
/* More queues than that cost memory and bring nothing. */
#define DEFAULT_MAX_QUEUES 16
#define DEFAULT_QUEUE_SIZE 256

/* In every table of a disk. What the words say is what we do in any case: errors are reported to the guest. */
#define CACHE_ROWS(s)                                                                                  \
	PROPERTY_ROW_BOOL(s, caches.direct, "cache.direct", "O_DIRECT"),                               \
		PROPERTY_ROW_BOOL(s, caches.no_flush, "cache.no-flush", "ignore the guest's flushes"), \
		PROPERTY_ROW_FIXED("detect-zeroes", "off", NULL), PROPERTY_ROW_FIXED("copy-on-read", "off", NULL)

static const struct property drive_rows[] = {
	PROPERTY_ROW_STRING(struct option_drive, file, "file", "an image, a block device, or an NBD URI"),
	PROPERTY_ROW_WORD(struct option_drive, interface, "if", "virtio|none", "none: for a -device that names it"),
	PROPERTY_ROW_STRING(struct option_drive, format_name, "format", "raw"),
	PROPERTY_ROW_STRING(struct option_drive, id, "id", NULL),
	PROPERTY_ROW_NUMBER(struct option_drive, index, "index", 0, CONFIG_MAX_DISKS - 1, "the order of if=virtio drives"),
	PROPERTY_ROW_WORD(struct option_drive, media, "media", "disk", NULL),
	PROPERTY_ROW_WORD(struct option_drive, cache, "cache", CACHE_WORDS, NULL),
	PROPERTY_ROW_BOOL(struct option_drive, caches.writeback, "cache.writeback", NULL),
	CACHE_ROWS(struct option_drive),
	PROPERTY_ROW_WORD(struct option_drive, aio, "aio", AIO_WORDS, "io_uring is used in any case"),
	PROPERTY_ROW_WORD(struct option_drive, discard, "discard", DISCARD_WORDS, "give space back that the guest discards"),
	PROPERTY_ROW_BOOL(struct option_drive, read_only, "readonly", NULL),
	PROPERTY_ROW_BOOL(struct option_drive, read_only, "read-only", NULL),
	PROPERTY_ROW_STRING(struct option_drive, serial, "serial", "20 bytes at most"),
	PROPERTY_ROW_FIXED("werror", "report", NULL),
	PROPERTY_ROW_FIXED("rerror", "report", NULL),
	PROPERTY_ROW_FIXED("snapshot", "off", NULL),
};
static const struct property_table drive_table = PROPERTY_TABLE("-drive", drive_rows);

#define NODE_ROWS                                                                    \
	PROPERTY_ROW_STRING(struct option_node, driver, "driver", NULL),             \
		PROPERTY_ROW_STRING(struct option_node, name, "node-name", NULL),    \
		PROPERTY_ROW_BOOL(struct option_node, read_only, "read-only", NULL), \
		PROPERTY_ROW_FIXED("auto-read-only", "on|off", NULL),                \
		PROPERTY_ROW_WORD(struct option_node, discard, "discard", DISCARD_WORDS, NULL), CACHE_ROWS(struct option_node)

static const struct property file_rows[] = {
	NODE_ROWS,
	PROPERTY_ROW_STRING(struct option_node, filename, "filename", NULL),
	PROPERTY_ROW_WORD(struct option_node, aio, "aio", AIO_WORDS, "io_uring is used in any case"),
	PROPERTY_ROW_FIXED("locking", "auto|on|off", NULL),
};
static const struct property_table file_table = PROPERTY_TABLE("-blockdev driver=file", file_rows);

static const struct property raw_rows[] = {
	NODE_ROWS,
	PROPERTY_ROW_STRING(struct option_node, file, "file", "the node-name below"),
};
static const struct property_table raw_table = PROPERTY_TABLE("-blockdev driver=raw", raw_rows);

static const struct property nbd_rows[] = {
	NODE_ROWS,
	PROPERTY_ROW_WORD(struct option_node, server_type, "server.type", "inet|unix", NULL),
	PROPERTY_ROW_STRING(struct option_node, server_path, "server.path", NULL),
	PROPERTY_ROW_STRING(struct option_node, server_host, "server.host", NULL),
	PROPERTY_ROW_STRING(struct option_node, server_port, "server.port", NULL),
	PROPERTY_ROW_STRING(struct option_node, export, "export", NULL),
};
static const struct property_table nbd_table = PROPERTY_TABLE("-blockdev driver=nbd", nbd_rows);

static int refuse_format(const char *format, const char *file, struct error *err)
{
	static const char known[] = "qcow2|qcow|vmdk|vdi|vhdx|vpc|qed|parallels|luks|bochs|cloop|dmg";
	if (options_word_index(known, format) < 0)
		return error_set(err, EINVAL, "format \"%.40s\": we have raw", format);
	return image_format_refuse(format, file, err);
}

int options_drive(struct options *o, const char *argument, struct error *err)
{
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, NULL, &kv, err);
	if (ret)
		return ret;
	if (keyvals_want_help(kv)) {
		options_print_properties(&drive_table);
		*o->done = true;
		return 0;
	}
	if (o->nr_drives == CONFIG_MAX_DISKS)
		return error_set(err, EINVAL, "more than %d drives", CONFIG_MAX_DISKS);
	struct option_drive *drive = &o->drives[o->nr_drives];
	*drive = (struct option_drive){.file = NULL};
	ret = options_apply(&drive_table, kv, drive, err);
	if (ret)
		return ret;
	if (!drive->file || !*drive->file)
		return error_set(err, EINVAL, "needs file=: an empty drive cannot be filled later");
	if (drive->format_name && strcmp(drive->format_name, "raw") != 0)
		return refuse_format(drive->format_name, drive->file, err);
	ret = drive->id ? options_check_id(drive->id, err) : 0;
	if (!ret)
		o->nr_drives++;
	return ret;
}

/* A child inside another node ("file.driver=...") gets a name that nobody can type. */
static int add_node(struct options *o, struct keyvals *kv, const char *name, unsigned depth, struct error *err);

static int add_inline_child(struct options *o, struct keyvals *kv, const char **name, unsigned depth, struct error *err)
{
	struct keyvals *child, *text;
	char unique[32];
	*name = NULL;
	int ret = keyvals_split(o, kv, "file.", &child, err);
	if (ret || !child)
		return ret;
	if (depth == 4)
		return error_set(err, EINVAL, "nodes nested too deep");
	snprintf(unique, sizeof(unique), "#block%zu.%u", o->nr_nodes, depth);
	ret = keyvals_parse(o, unique, "name", &text, err);
	if (ret)
		return ret;
	*name = keyvals_get(child, "node-name");
	if (!*name)
		*name = text->items[0].value;
	return add_node(o, child, *name, depth + 1, err);
}

static const struct option_node *find_node(const struct options *o, const char *name)
{
	for (size_t i = 0; i < o->nr_nodes; i++)
		if (!strcmp(o->nodes[i].name, name))
			return &o->nodes[i];
	return NULL;
}

static int check_node(const struct options *o, const struct option_node *node, struct error *err)
{
	if (find_node(o, node->name))
		return options_duplicate_id(node->name, err);
	if (!strcmp(node->driver, "raw") && !node->file)
		return error_set(err, EINVAL, "driver=raw needs file=NODE");
	if ((!strcmp(node->driver, "file") || !strcmp(node->driver, "host_device")) && (!node->filename || !*node->filename))
		return error_set(err, EINVAL, "driver=%s needs filename=", node->driver);
	if (!strcmp(node->driver, "nbd")) {
		if (!node->server_type.set)
			return error_set(err, EINVAL, "driver=nbd needs server.type=inet or unix");
		if (node->server_type.value ? !node->server_path : !node->server_host || !node->server_port)
			return error_set(err, EINVAL,
					 "driver=nbd needs server.path, or server.host and server.port, as its server.type says");
	}
	return 0;
}

static int add_node(struct options *o, struct keyvals *kv, const char *name, unsigned depth, struct error *err)
{
	const char *driver = keyvals_get(kv, "driver"), *child;
	if (!driver)
		return error_set(err, EINVAL, "needs driver=");
	int index = options_word_index("file|host_device|raw|nbd", driver);
	if (index < 0) {
		if (options_word_index("qcow2|qcow|vmdk|vdi|vhdx|vpc|qed|luks", driver) >= 0)
			return refuse_format(driver, NULL, err);
		return error_set(err, EINVAL, "driver \"%.60s\": we have file, host_device, raw and nbd", driver);
	}
	int ret = index == 2 ? add_inline_child(o, kv, &child, depth, err) : 0;
	if (ret)
		return ret;
	if (o->nr_nodes == OPTIONS_MAX_NODES)
		return error_set(err, EINVAL, "more than %d nodes", OPTIONS_MAX_NODES);
	struct option_node *node = &o->nodes[o->nr_nodes];
	*node = (struct option_node){.name = name};
	ret = options_apply(index == 2 ? &raw_table : index == 3 ? &nbd_table : &file_table, kv, node, err);
	if (ret)
		return ret;
	if (index == 2 && child)
		node->file = child;
	if (!node->name)
		return error_set(err, EINVAL, "needs node-name=");
	ret = node->name == name ? 0 : options_check_id(node->name, err);
	if (!ret)
		ret = check_node(o, node, err);
	if (!ret)
		o->nr_nodes++;
	return ret;
}

int options_blockdev(struct options *o, const char *argument, struct error *err)
{
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "driver", &kv, err);
	return ret ? ret : add_node(o, kv, NULL, 0, err);
}

/* --- resolve --- */

static int out_of_memory(struct error *err)
{
	return error_set(err, ENOMEM, "out of memory");
}

/*
 * The forms of an image's name that have a colon: QEMU's nbd:HOST:PORT[:exportname=X] and nbd:unix:PATH[:exportname=X] become URIs,
 * URIs stay, file:PATH loses its prefix, and any other protocol is refused.
 */
static int resolve_source(const char *file, struct config_disk *disk, struct error *err)
{
	size_t len = strcspn(file, ":/");
	if (file[len] != ':')
		return options_copy(&disk->source, file, err);
	if (!strncmp(file, "file:", 5))
		return options_copy(&disk->source, file + (strncmp(file, "file://", 7) ? 5 : 7), err);
	disk->kind = CONFIG_DISK_NBD;
	static const char *const schemes[] = {"nbd://", "nbd+unix://", "nbds://", "nbds+unix://"};
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (!strncmp(file, schemes[i], strlen(schemes[i])))
			return options_copy(&disk->source, file, err);
	if (strncmp(file, "nbd:", 4) != 0)
		return error_set(err, EINVAL,
				 "file=%.80s: we have files, block devices and NBD (nbd://HOST:PORT/EXPORT, "
				 "nbd+unix:///EXPORT?socket=PATH); nbdkit speaks NBD for "
				 "many other protocols. A file with a colon in its name is written ./NAME",
				 file);
	const char *rest = file + 4, *mark = strstr(rest, ":exportname=");
	const char *export = mark ? mark + strlen(":exportname=") : "";
	int rest_len = mark ? (int)(mark - rest) : (int)strlen(rest);
	int written = strncmp(rest, "unix:", 5)
			      ? asprintf(&disk->source, "nbd://%.*s/%s", rest_len, rest, export)
			      : asprintf(&disk->source, "nbd+unix:///%s?socket=%.*s", export, rest_len - 5, rest + 5);
	if (written < 0) {
		disk->source = NULL;
		return out_of_memory(err);
	}
	return 0;
}

static void resolve_caches(struct config_disk *disk, const struct option_cache *caches)
{
	if (caches->direct != OPTION_UNSET)
		disk->direct = caches->direct == OPTION_ON;
	if (caches->no_flush != OPTION_UNSET)
		disk->no_flush = caches->no_flush == OPTION_ON;
	if (caches->writeback != OPTION_UNSET)
		disk->write_cache = caches->writeback == OPTION_ON;
}

static int resolve_serial(struct config_disk *disk, const char *serial, struct error *err)
{
	if (!serial)
		return 0;
	if (strlen(serial) >= sizeof(disk->serial))
		return error_set(err, EINVAL, "serial=%.40s is longer than %zu bytes", serial, sizeof(disk->serial) - 1);
	snprintf(disk->serial, sizeof(disk->serial), "%s", serial);
	return 0;
}

static int disk_from_drive(const struct option_drive *drive, struct config_disk *disk, struct error *err)
{
	uint64_t cache = drive->cache.value;
	disk->direct = drive->cache.set && (cache == CACHE_NONE || cache == CACHE_DIRECTSYNC);
	disk->no_flush = drive->cache.set && cache == CACHE_UNSAFE;
	disk->write_cache = !drive->cache.set || (cache != CACHE_WRITETHROUGH && cache != CACHE_DIRECTSYNC);
	resolve_caches(disk, &drive->caches);
	disk->read_only = drive->read_only == OPTION_ON;
	disk->discard = drive->discard.value >= DISCARD_UNMAP;
	disk->format_guessed = !drive->format_name;
	if (drive->aio.set && drive->aio.value == AIO_NATIVE && !disk->direct)
		return error_set(err, EINVAL, "aio=native needs cache=none or cache.direct=on; without them leave aio out");
	int ret = resolve_serial(disk, drive->serial, err);
	if (!ret)
		ret = resolve_source(drive->file, disk, err);
	return ret;
}

/* Percent-encodes what is not unreserved in a URI (RFC 3986, 2.3), but '/'. */
static void append_encoded(char *uri, size_t size, const char *text)
{
	size_t at = strlen(uri);
	for (; *text && at + 4 <= size; text++) {
		bool plain = strchr("-._~/", *text) || (*text >= '0' && *text <= '9') || (*text >= 'A' && *text <= 'Z') ||
			     (*text >= 'a' && *text <= 'z');
		at += (size_t)snprintf(uri + at, size - at, plain ? "%c" : "%%%02X", (unsigned char)*text);
	}
}

static int nbd_uri(const struct option_node *node, struct config_disk *disk, struct error *err)
{
	const char *export = node->export ? node->export : "";
	const char *parts[] = {node->server_path, node->server_host, node->server_port, export};
	size_t size = 64;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		size += parts[i] ? 3 * strlen(parts[i]) : 0;
	char *uri = calloc(1, size);
	if (!uri)
		return out_of_memory(err);
	if (node->server_type.value == 0) {
		/* An IPv6 address stands in brackets. */
		bool ipv6 = strchr(node->server_host, ':') != NULL;
		snprintf(uri, size, "nbd://%s%s%s:%s/", ipv6 ? "[" : "", node->server_host, ipv6 ? "]" : "", node->server_port);
		append_encoded(uri, size, export);
	} else {
		snprintf(uri, size, "nbd+unix:///");
		append_encoded(uri, size, export);
		strcat(uri, "?socket=");
		append_encoded(uri, size, node->server_path);
	}
	disk->source = uri;
	disk->kind = CONFIG_DISK_NBD;
	return 0;
}

static int disk_from_node(struct options *o, const char *name, unsigned depth, struct config_disk *disk, struct error *err)
{
	struct option_node *node = (struct option_node *)find_node(o, name);
	if (!node)
		return error_set(err, EINVAL, "there is no -blockdev with node-name=%.60s", name);
	if (node->used)
		return error_set(err, EINVAL, "-blockdev %s is in use already", node->name);
	node->used = true;
	int ret = 0;
	disk->read_only |= node->read_only == OPTION_ON;
	/* A discard passes only if each node lets it. */
	bool discard = node->discard.value >= DISCARD_UNMAP;
	disk->discard = depth == 0 ? discard : disk->discard && discard;
	resolve_caches(disk, &node->caches);
	if (node->file && depth > OPTIONS_MAX_NODES)
		return error_set(err, EINVAL, "-blockdev %s: the chain of nodes is too long", node->name);
	if (node->file)
		ret = disk_from_node(o, node->file, depth + 1, disk, err);
	else if (node->filename)
		ret = options_copy(&disk->source, node->filename, err);
	else
		ret = nbd_uri(node, disk, err);
	if (!ret && node->aio.set && node->aio.value == AIO_NATIVE && !disk->direct)
		ret = error_set(err, EINVAL, "-blockdev %s: aio=native needs cache.direct=on", node->name);
	return ret;
}

static struct config_disk *new_disk(struct options *o, struct error *err)
{
	struct config *c = o->config;
	if (c->nr_disks == CONFIG_MAX_DISKS) {
		error_set(err, EINVAL, "more than %d disks", CONFIG_MAX_DISKS);
		return NULL;
	}
	struct config_disk *disk = &c->disks[c->nr_disks++];
	*disk = (struct config_disk){
		.write_cache = true,
		.nr_queues = c->nr_cpus < DEFAULT_MAX_QUEUES ? c->nr_cpus : DEFAULT_MAX_QUEUES,
		.queue_size = DEFAULT_QUEUE_SIZE,
		.logical_block_size = 512,
		.physical_block_size = 512,
		.address = {.slot = -1},
	};
	return disk;
}

static struct option_drive *find_drive(struct options *o, const char *id)
{
	for (size_t i = 0; i < o->nr_drives; i++)
		if (o->drives[i].id && !strcmp(o->drives[i].id, id))
			return &o->drives[i];
	return NULL;
}

static int no_such_drive(struct options *o, const char *id, struct error *err)
{
	struct nearest nearest;
	char hint[100];
	nearest_start(&nearest, id);
	for (size_t i = 0; i < o->nr_drives; i++)
		if (o->drives[i].id)
			nearest_try(&nearest, o->drives[i].id);
	for (size_t i = 0; i < o->nr_nodes; i++)
		nearest_try(&nearest, o->nodes[i].name);
	return error_set(err, EINVAL, "drive=%.60s: there is no such -drive or -blockdev%s", id,
			 nearest_hint(&nearest, "", hint, sizeof(hint)));
}

static int check_block_sizes(struct config_disk *disk, const struct option_blk_device *blk, struct error *err)
{
	if (blk->logical_block_size.set)
		disk->logical_block_size = (unsigned)blk->logical_block_size.value;
	disk->physical_block_size = disk->logical_block_size;
	if (blk->physical_block_size.set)
		disk->physical_block_size = (unsigned)blk->physical_block_size.value;
	if ((disk->logical_block_size != 512 && disk->logical_block_size != 4096) ||
	    (disk->physical_block_size != 512 && disk->physical_block_size != 4096))
		return error_set(err, EINVAL, "block sizes are 512 or 4096");
	if (disk->physical_block_size < disk->logical_block_size)
		return error_set(err, EINVAL, "physical_block_size is less than logical_block_size");
	return 0;
}

static int resolve_blk_device(struct options *o, const struct option_device *device, struct error *err)
{
	const struct option_blk_device *blk = &device->blk;
	if (!blk->drive)
		return error_set(err, EINVAL, "needs drive=");
	struct option_drive *drive = find_drive(o, blk->drive);
	if (!drive && !find_node(o, blk->drive))
		return no_such_drive(o, blk->drive, err);
	if (drive && drive->taken_by)
		return error_set(err, EINVAL, "drive=%s is in use by %s%s", blk->drive, drive->taken_by,
				 drive->interface.value == INTERFACE_VIRTIO ? "; a drive for a -device has if=none" : "");
	struct config_disk *disk = new_disk(o, err);
	if (!disk)
		return -EINVAL;
	int ret = options_copy(&disk->id, blk->drive, err);
	if (!ret)
		ret = options_copy(&disk->qdev, device->id, err);
	if (!ret)
		ret = drive ? disk_from_drive(drive, disk, err) : disk_from_node(o, blk->drive, 0, disk, err);
	if (ret)
		return ret;
	if (drive)
		drive->taken_by = "an earlier -device";
	disk->address = device->address;
	if (blk->nr_queues.set)
		disk->nr_queues = (unsigned)blk->nr_queues.value;
	if (blk->queue_size.set)
		disk->queue_size = (unsigned)blk->queue_size.value;
	if (disk->queue_size & (disk->queue_size - 1))
		return error_set(err, EINVAL, "queue-size=%u is not a power of two", disk->queue_size);
	if (blk->write_cache != OPTION_UNSET)
		disk->write_cache = blk->write_cache == OPTION_ON;
	if (blk->discard == OPTION_OFF)
		disk->discard = false;
	ret = check_block_sizes(disk, blk, err);
	return ret ? ret : resolve_serial(disk, blk->serial, err);
}

/* Names drives as QEMU does: "virtio0" by its index, "none0" without if. Sets index where it was left out. */
static int name_drives(struct options *o, struct error *err)
{
	const struct option_drive *by_index[CONFIG_MAX_DISKS] = {NULL};
	for (size_t i = 0; i < o->nr_drives; i++) {
		struct option_drive *drive = &o->drives[i];
		if (drive->interface.value != INTERFACE_VIRTIO) {
			if (drive->index.set)
				return error_set(err, EINVAL, "-drive index=%llu goes with if=virtio only",
						 (unsigned long long)drive->index.value);
			continue;
		}
		drive->taken_by = "a disk of its own";
		if (drive->index.set && by_index[drive->index.value])
			return error_set(err, EINVAL, "-drive index=%llu is given twice", (unsigned long long)drive->index.value);
		if (drive->index.set)
			by_index[drive->index.value] = drive;
	}
	for (size_t i = 0, next = 0; i < o->nr_drives; i++) {
		struct option_drive *drive = &o->drives[i];
		if (drive->interface.value != INTERFACE_VIRTIO || drive->index.set)
			continue;
		while (by_index[next])
			next++;
		by_index[next] = drive;
		drive->index = (struct option_number){.value = next, .set = true};
	}
	return 0;
}

static int check_drive_ids(struct options *o, struct error *err)
{
	for (size_t i = 0; i < o->nr_drives; i++) {
		const char *id = o->drives[i].id;
		if (id && (find_drive(o, id) != &o->drives[i] || find_node(o, id))) {
			options_duplicate_id(id, err);
			return error_prefix(err, "-drive");
		}
	}
	return 0;
}

static int resolve_virtio_drives(struct options *o, struct error *err)
{
	for (unsigned index = 0; index < CONFIG_MAX_DISKS; index++) {
		for (size_t i = 0; i < o->nr_drives; i++) {
			const struct option_drive *drive = &o->drives[i];
			if (drive->interface.value != INTERFACE_VIRTIO || drive->index.value != index)
				continue;
			char id[32];
			struct config_disk *disk = new_disk(o, err);
			if (!disk)
				return -EINVAL;
			snprintf(id, sizeof(id), "virtio%u", index);
			int ret = options_copy(&disk->id, drive->id ? drive->id : id, err);
			if (!ret)
				ret = disk_from_drive(drive, disk, err);
			if (ret) {
				error_prefix(err, "-drive file=%.60s", drive->file);
				return ret;
			}
		}
	}
	return 0;
}

/* Two devices that write one image would destroy it. */
static int check_shared_images(const struct config *c, struct error *err)
{
	for (unsigned i = 0; i < c->nr_disks; i++)
		for (unsigned j = 0; j < i; j++)
			if (!strcmp(c->disks[i].source, c->disks[j].source) && !(c->disks[i].read_only && c->disks[j].read_only))
				return error_set(err, EINVAL,
						 "disks \"%s\" and \"%s\" are the same image, %.100s; that goes only with "
						 "readonly=on for both",
						 c->disks[j].id, c->disks[i].id, c->disks[i].source);
	return 0;
}

int options_resolve_block(struct options *o, struct error *err)
{
	int ret = check_drive_ids(o, err);
	if (!ret)
		ret = name_drives(o, err);
	if (!ret)
		ret = resolve_virtio_drives(o, err);
	for (size_t i = 0; !ret && i < o->nr_devices; i++) {
		if (o->devices[i].kind != OPTION_DEVICE_BLK)
			continue;
		ret = resolve_blk_device(o, &o->devices[i], err);
		if (ret)
			error_prefix(err, "-device %.80s", o->devices[i].argument);
	}
	for (size_t i = 0; !ret && i < o->nr_drives; i++)
		if (!o->drives[i].taken_by)
			ret = error_set(err, EINVAL, "-drive file=%.60s,if=none: no -device has drive=%s", o->drives[i].file,
					o->drives[i].id ? o->drives[i].id : "(give it an id)");
	return ret ? ret : check_shared_images(o->config, err);
}
