/* -device and -object: what there is, by name; and those devices that no other options file resolves: rng, consoles, vsock, balloon. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/options.h"

#define MAX_BYTES (4ull << 40)
#define DEFAULT_RNG_PERIOD_MS 65536
#define MAX_CONSOLES 4

/* In every PCI device's table. Words say what our devices are in any case. */
#define PCI_ROWS                                                                                                     \
	PROPERTY_ROW_STRING(struct option_device, driver, "driver", NULL),                                           \
		PROPERTY_ROW_STRING(struct option_device, id, "id", NULL),                                           \
		PROPERTY_ROW_ADDRESS(struct option_device, address, "addr", "on PCI bus 0"),                         \
		PROPERTY_ROW_FIXED("bus", "pcie.0|pci.0", NULL), PROPERTY_ROW_FIXED("multifunction", "off", NULL),   \
		PROPERTY_ROW_FIXED("disable-legacy", "on", NULL), PROPERTY_ROW_FIXED("disable-modern", "off", NULL), \
		PROPERTY_ROW_FIXED("romfile", "", NULL), PROPERTY_ROW_FIXED("rombar", "0", NULL)

static const struct property blk_rows[] = {
	PCI_ROWS,
	PROPERTY_ROW_STRING(struct option_device, blk.drive, "drive", "id of a -drive, or node-name of a -blockdev"),
	PROPERTY_ROW_STRING(struct option_device, blk.serial, "serial", "20 bytes at most"),
	PROPERTY_ROW_NUMBER(struct option_device, blk.nr_queues, "num-queues", 1, 64, "one a vCPU by default"),
	PROPERTY_ROW_NUMBER(struct option_device, blk.queue_size, "queue-size", 2, 1024, "a power of two"),
	PROPERTY_ROW_NUMBER(struct option_device, blk.logical_block_size, "logical_block_size", 512, 4096, "512 or 4096"),
	PROPERTY_ROW_NUMBER(struct option_device, blk.physical_block_size, "physical_block_size", 512, 4096, "512 or 4096"),
	PROPERTY_ROW_NUMBER(struct option_device, blk.bootindex, "bootindex", 0, INT32_MAX, "without effect: the kernel is given"),
	PROPERTY_ROW_BOOL(struct option_device, blk.write_cache, "write-cache", NULL),
	PROPERTY_ROW_BOOL(struct option_device, blk.discard, "discard", NULL),
};
static const struct property net_rows[] = {
	PCI_ROWS,
	PROPERTY_ROW_STRING(struct option_device, net.netdev, "netdev", "id of a -netdev"),
	PROPERTY_ROW_MAC(struct option_device, net.mac, "mac", NULL),
	PROPERTY_ROW_NUMBER(struct option_device, net.mtu, "host_mtu", 68, 65535, "announced to the guest"),
	PROPERTY_ROW_NUMBER(struct option_device, net.rx_queue_size, "rx_queue_size", 64, 1024, "a power of two"),
	PROPERTY_ROW_NUMBER(struct option_device, net.tx_queue_size, "tx_queue_size", 64, 1024, "the same as rx_queue_size"),
	PROPERTY_ROW_NUMBER(struct option_device, net.bootindex, "bootindex", 0, INT32_MAX, "without effect: the kernel is given"),
	PROPERTY_ROW_FIXED("mq", "off", NULL),
};
static const struct property rng_rows[] = {
	PCI_ROWS,
	PROPERTY_ROW_STRING(struct option_device, rng.rng, "rng", "id of an -object; by default the kernel's getrandom"),
	PROPERTY_ROW_NUMBER(struct option_device, rng.max_bytes, "max-bytes", 1, INT64_MAX, "a period"),
	PROPERTY_ROW_NUMBER(struct option_device, rng.period, "period", 1, INT32_MAX, "ms"),
};
static const struct property serial_rows[] = {PCI_ROWS, PROPERTY_ROW_FIXED("max_ports", "4|31", NULL)};
static const struct property console_rows[] = {
	PROPERTY_ROW_STRING(struct option_device, driver, "driver", NULL),
	PROPERTY_ROW_STRING(struct option_device, id, "id", NULL),
	PROPERTY_ROW_STRING(struct option_device, console.chardev, "chardev", "its id"),
	PROPERTY_ROW_STRING(struct option_device, console.bus, "bus", "the virtio-serial-pci: ID.0"),
	PROPERTY_ROW_NUMBER(struct option_device, console.nr, "nr", 0, MAX_CONSOLES - 1, "the port"),
};
static const struct property vsock_rows[] = {
	PCI_ROWS,
	PROPERTY_ROW_NUMBER(struct option_device, vsock.cid, "guest-cid", 3, UINT32_MAX - 1, NULL),
	PROPERTY_ROW_STRING(struct option_device, vsock.path, "uds", "the unix socket that stands for the guest on the host"),
};

static const struct property balloon_rows[] = {
	PCI_ROWS,
	PROPERTY_ROW_BOOL(struct option_device, balloon.deflate_on_oom, "deflate-on-oom",
			  "the guest may take memory back when it has no other"),
	PROPERTY_ROW_BOOL(struct option_device, balloon.reporting, "free-page-reporting",
			  "memory comes back when the guest frees it"),
	PROPERTY_ROW_BOOL(struct option_device, balloon.hinting, "free-page-hint", "for the command balloon-hint"),
	PROPERTY_ROW_NUMBER(struct option_device, balloon.poll, "guest-stats-polling-interval", 0, UINT32_MAX,
			    "seconds; 0: statistics are asked for once"),
	PROPERTY_ROW_FIXED("page-poison", "on", NULL),
};

static const struct driver {
	const char *name;
	enum option_device_kind kind;
	struct property_table table;
	const char *help;
} drivers[] = {
	{"virtio-blk-pci", OPTION_DEVICE_BLK, PROPERTY_TABLE("virtio-blk-pci", blk_rows), "disk"},
	{"virtio-net-pci", OPTION_DEVICE_NET, PROPERTY_TABLE("virtio-net-pci", net_rows), "network card"},
	{"virtio-rng-pci", OPTION_DEVICE_RNG, PROPERTY_TABLE("virtio-rng-pci", rng_rows), "source of randomness"},
	{"virtio-serial-pci", OPTION_DEVICE_SERIAL, PROPERTY_TABLE("virtio-serial-pci", serial_rows), "controller of virtconsoles"},
	{"virtconsole", OPTION_DEVICE_CONSOLE, PROPERTY_TABLE("virtconsole", console_rows), "console (hvc0 in Linux)"},
	{"virtio-vsock-pci", OPTION_DEVICE_VSOCK, PROPERTY_TABLE("virtio-vsock-pci", vsock_rows), "sockets between guest and host"},
	{"virtio-balloon-pci", OPTION_DEVICE_BALLOON, PROPERTY_TABLE("virtio-balloon-pci", balloon_rows),
	 "memory that the guest gives up"},
};
#define NR_DRIVERS (sizeof(drivers) / sizeof(drivers[0]))

/* Other names that QEMU has for ours, and names of devices that one of ours stands in for. */
static const struct {
	const char *name, *ours;
	bool same;
} other_drivers[] = {
	{"virtio-blk", "virtio-blk-pci", true},
	{"virtio-blk-pci-non-transitional", "virtio-blk-pci", true},
	{"virtio-net", "virtio-net-pci", true},
	{"virtio-net-pci-non-transitional", "virtio-net-pci", true},
	{"virtio-rng", "virtio-rng-pci", true},
	{"virtio-rng-pci-non-transitional", "virtio-rng-pci", true},
	{"virtio-serial", "virtio-serial-pci", true},
	{"virtio-serial-pci-non-transitional", "virtio-serial-pci", true},
	{"virtio-balloon", "virtio-balloon-pci", true},
	{"virtio-balloon-pci-non-transitional", "virtio-balloon-pci", true},
	{"vhost-vsock-pci", "virtio-vsock-pci,guest-cid=CID,uds=PATH", false},
	{"virtserialport", "virtconsole", false},
	{"isa-serial", "-serial", false},
	{"e1000", "virtio-net-pci", false},
	{"e1000e", "virtio-net-pci", false},
	{"rtl8139", "virtio-net-pci", false},
	{"ide-hd", "virtio-blk-pci", false},
	{"scsi-hd", "virtio-blk-pci", false},
	{"virtio-scsi-pci", "virtio-blk-pci", false},
	{"nvme", "virtio-blk-pci", false},
};

static int unknown_driver(const char *name, struct error *err)
{
	struct nearest nearest;
	char hint[100];
	for (size_t i = 0; i < sizeof(other_drivers) / sizeof(other_drivers[0]); i++)
		if (!strcmp(name, other_drivers[i].name))
			return error_set(err, EINVAL, "there is no %s; we have %s", name, other_drivers[i].ours);
	nearest_start(&nearest, name);
	for (size_t i = 0; i < NR_DRIVERS; i++)
		nearest_try(&nearest, drivers[i].name);
	return error_set(err, EINVAL, "there is no device \"%.60s\"%s%s", name, nearest_hint(&nearest, "", hint, sizeof(hint)),
			 nearest_name(&nearest) ? "" : "; -device help lists ours");
}

static const struct driver *find_driver(const char *name)
{
	for (size_t i = 0; i < sizeof(other_drivers) / sizeof(other_drivers[0]); i++)
		if (other_drivers[i].same && !strcmp(name, other_drivers[i].name))
			name = other_drivers[i].ours;
	for (size_t i = 0; i < NR_DRIVERS; i++)
		if (!strcmp(name, drivers[i].name))
			return &drivers[i];
	return NULL;
}

struct option_device *options_add_device(struct options *o, const char *name, struct error *err)
{
	const struct driver *driver = find_driver(name);
	if (!driver) {
		unknown_driver(name, err);
		return NULL;
	}
	if (o->nr_devices == OPTIONS_MAX_DEVICES) {
		error_set(err, EINVAL, "more than %d devices", OPTIONS_MAX_DEVICES);
		return NULL;
	}
	struct option_device *device = &o->devices[o->nr_devices++];
	*device = (struct option_device){.driver = driver->name, .kind = driver->kind, .address = {.slot = -1}};
	return device;
}

int options_device(struct options *o, const char *argument, struct error *err)
{
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "driver", &kv, err);
	if (ret)
		return ret;
	const char *name = keyvals_get(kv, "driver");
	const struct driver *driver = name ? find_driver(name) : NULL;
	if (keyvals_want_help(kv) && (driver || kv->nr == 1)) {
		if (driver)
			options_print_properties(&driver->table);
		else
			printf("Devices (-device NAME,help lists the properties of one):\n");
		for (size_t i = 0; !driver && i < NR_DRIVERS; i++)
			printf("  %-18s %s\n", drivers[i].name, drivers[i].help);
		*o->done = true;
		return 0;
	}
	if (!name)
		return error_set(err, EINVAL, "no device is named; -device help lists ours");
	struct option_device *device = options_add_device(o, name, err);
	if (!device)
		return -EINVAL;
	device->argument = argument;
	ret = options_apply(&driver->table, kv, device, err);
	if (!ret && device->id)
		ret = options_check_id(device->id, err);
	for (size_t i = 0; !ret && device->id && &o->devices[i] != device; i++)
		if (o->devices[i].id && !strcmp(o->devices[i].id, device->id))
			ret = options_duplicate_id(device->id, err);
	return ret;
}

/* --- -object --- */

static const struct property rng_random_rows[] = {
	PROPERTY_ROW_STRING(struct option_object, kind, "qom-type", NULL),
	PROPERTY_ROW_STRING(struct option_object, id, "id", NULL),
	PROPERTY_ROW_STRING(struct option_object, filename, "filename", "/dev/urandom by default"),
};
static const struct property rng_builtin_rows[] = {
	PROPERTY_ROW_STRING(struct option_object, kind, "qom-type", NULL),
	PROPERTY_ROW_STRING(struct option_object, id, "id", NULL),
};
static const struct property memory_rows[] = {
	PROPERTY_ROW_STRING(struct option_object, kind, "qom-type", NULL),
	PROPERTY_ROW_STRING(struct option_object, id, "id", NULL),
	PROPERTY_ROW_SIZE(struct option_object, size, "size", 1, MAX_BYTES, NULL),
	PROPERTY_ROW_LIST(struct option_object, host_nodes, "host-nodes",
			  "N or N-M of the host's nodes; may be given several times"),
	PROPERTY_ROW_WORD(struct option_object, policy, "policy", "default|preferred|bind|interleave", "how host-nodes are used"),
	PROPERTY_ROW_FIXED("share", "off", NULL),
	PROPERTY_ROW_FIXED("prealloc", "off", NULL),
};
static const struct object_kind {
	const char *name;
	struct property_table table;
} object_kinds[] = {
	{"rng-random", PROPERTY_TABLE("-object rng-random", rng_random_rows)},
	{"rng-builtin", PROPERTY_TABLE("-object rng-builtin", rng_builtin_rows)},
	{"memory-backend-ram", PROPERTY_TABLE("-object memory-backend-ram", memory_rows)},
};
#define NR_OBJECT_KINDS (sizeof(object_kinds) / sizeof(object_kinds[0]))

static int add_object(struct options *o, const struct object_kind *kind, const struct keyvals *kv, struct error *err)
{
	if (o->nr_objects == OPTIONS_MAX_OBJECTS)
		return error_set(err, EINVAL, "more than %d objects", OPTIONS_MAX_OBJECTS);
	struct option_object *object = &o->objects[o->nr_objects];
	*object = (struct option_object){.kind = NULL};
	int ret = options_apply(&kind->table, kv, object, err);
	if (ret)
		return ret;
	object->kind = kind->name;
	if (!object->id)
		return error_set(err, EINVAL, "needs id=");
	ret = options_check_id(object->id, err);
	if (ret)
		return ret;
	for (size_t i = 0; i < o->nr_objects; i++)
		if (!strcmp(o->objects[i].id, object->id))
			return options_duplicate_id(object->id, err);
	if (!strcmp(kind->name, "memory-backend-ram") && !object->size.set)
		return error_set(err, EINVAL, "memory-backend-ram needs size=");
	o->nr_objects++;
	return 0;
}

int options_object(struct options *o, const char *argument, struct error *err)
{
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "qom-type", &kv, err);
	if (ret)
		return ret;
	if (keyvals_want_help(kv) && kv->nr == 1) {
		printf("Objects:\n");
		for (size_t i = 0; i < NR_OBJECT_KINDS; i++)
			printf("  %s\n", object_kinds[i].name);
		*o->done = true;
		return 0;
	}
	const char *name = keyvals_get(kv, "qom-type");
	struct nearest nearest;
	char hint[100];
	nearest_start(&nearest, name ? name : "");
	for (size_t i = 0; i < NR_OBJECT_KINDS; i++) {
		if (name && !strcmp(name, object_kinds[i].name))
			return add_object(o, &object_kinds[i], kv, err);
		nearest_try(&nearest, object_kinds[i].name);
	}
	return error_set(err, EINVAL, "object \"%.60s\": we have rng-random, rng-builtin and memory-backend-ram%s",
			 name ? name : "", nearest_hint(&nearest, "", hint, sizeof(hint)));
}

struct option_object *options_use_object(struct options *o, const char *id, struct error *err)
{
	for (size_t i = 0; i < o->nr_objects; i++) {
		struct option_object *object = &o->objects[i];
		if (strcmp(object->id, id) != 0)
			continue;
		if (object->used) {
			error_set(err, EINVAL, "object \"%.60s\" is in use already", id);
			return NULL;
		}
		object->used = true;
		return object;
	}
	error_set(err, EINVAL, "there is no -object \"%.60s\"", id);
	return NULL;
}

/* --- resolve --- */

static int resolve_rng(struct options *o, const struct option_device *device, struct error *err)
{
	struct config *c = o->config;
	const struct option_rng_device *rng = &device->rng;
	if (c->has_rng)
		return error_set(err, EINVAL, "there is one virtio-rng-pci already");
	c->has_rng = true;
	c->rng_address = device->address;
	c->rng_max_bytes = rng->max_bytes.value;
	c->rng_period_ms = rng->period.set ? (unsigned)rng->period.value : DEFAULT_RNG_PERIOD_MS;
	if (!rng->rng)
		return 0;
	const struct option_object *object = options_use_object(o, rng->rng, err);
	if (!object)
		return -EINVAL;
	if (!strcmp(object->kind, "rng-random"))
		return options_copy(&c->rng_file, object->filename ? object->filename : "/dev/urandom", err);
	return strcmp(object->kind, "rng-builtin") ? error_set(err, EINVAL, "rng=%s: that is a %s", object->id, object->kind) : 0;
}

static int resolve_vsock(struct options *o, const struct option_device *device, struct error *err)
{
	struct config *c = o->config;
	if (c->has_vsock)
		return error_set(err, EINVAL, "there is one virtio-vsock-pci already");
	if (!device->vsock.cid.set || !device->vsock.path || !*device->vsock.path)
		return error_set(err, EINVAL, "needs guest-cid= and uds=");
	/* Ports are appended to the path: "_" and ten digits. */
	if (strlen(device->vsock.path) > 107 - 11)
		return error_set(err, EINVAL, "uds: the path is longer than %d bytes", 107 - 11);
	c->has_vsock = true;
	c->vsock_cid = (uint32_t)device->vsock.cid.value;
	c->vsock_address = device->address;
	return options_copy(&c->vsock_path, device->vsock.path, err);
}

static int resolve_balloon(struct options *o, const struct option_device *device, struct error *err)
{
	struct config *c = o->config;
	const struct option_balloon_device *balloon = &device->balloon;
	if (c->has_balloon)
		return error_set(err, EINVAL, "there is one virtio-balloon-pci already");
	c->has_balloon = true;
	c->balloon_deflate_on_oom = balloon->deflate_on_oom == OPTION_ON;
	c->balloon_reporting = balloon->reporting == OPTION_ON;
	c->balloon_hinting = balloon->hinting == OPTION_ON;
	c->balloon_poll_s = (uint32_t)balloon->poll.value;
	c->balloon_address = device->address;
	return options_copy(&c->balloon_id, device->id, err);
}

static int resolve_console(struct options *o, const struct option_device *device, const struct option_device *controller,
			   struct error *err)
{
	struct config *c = o->config;
	const struct option_console_device *console = &device->console;
	if (!controller)
		return error_set(err, EINVAL, "needs -device virtio-serial-pci");
	if (!console->chardev)
		return error_set(err, EINVAL, "needs chardev=");
	size_t len = controller->id ? strlen(controller->id) : 0;
	if (console->bus && (!len || strncmp(console->bus, controller->id, len) != 0 || strcmp(console->bus + len, ".0") != 0))
		return error_set(err, EINVAL, "bus=%.60s: the virtio-serial-pci is not that", console->bus);
	if (c->nr_consoles == MAX_CONSOLES)
		return error_set(err, EINVAL, "more than %d consoles", MAX_CONSOLES);
	if (console->nr.set && console->nr.value != c->nr_consoles)
		return error_set(err, EINVAL, "nr=%llu: ports are numbered as they come, this is %u",
				 (unsigned long long)console->nr.value, c->nr_consoles);
	unsigned index = 0;
	int ret = options_use_chardev(o, console->chardev, "a virtconsole", &index, err);
	if (!ret)
		c->consoles[c->nr_consoles++] = (int)index;
	return ret;
}

static int check_addresses(const struct options *o, struct error *err)
{
	for (size_t i = 0; i < o->nr_devices; i++) {
		const struct option_device *a = &o->devices[i];
		if (a->address.slot < 0)
			continue;
		if (a->address.slot == 0)
			return error_set(err, EINVAL, "-device %.80s: PCI slot 0 is the host bridge's", a->argument);
		for (size_t j = 0; j < i; j++) {
			const struct option_device *b = &o->devices[j];
			if (a->address.slot == b->address.slot && a->address.function == b->address.function)
				return error_set(err, EINVAL, "-device %.80s and -device %.80s have the same PCI address",
						 b->argument, a->argument);
		}
	}
	return 0;
}

int options_resolve_devices(struct options *o, struct error *err)
{
	const struct option_device *controller = NULL;
	for (size_t i = 0; i < o->nr_devices; i++) {
		const struct option_device *device = &o->devices[i];
		int ret = 0;
		switch (device->kind) {
		case OPTION_DEVICE_RNG:
			ret = resolve_rng(o, device, err);
			break;
		case OPTION_DEVICE_VSOCK:
			ret = resolve_vsock(o, device, err);
			break;
		case OPTION_DEVICE_BALLOON:
			ret = resolve_balloon(o, device, err);
			break;
		case OPTION_DEVICE_SERIAL:
			ret = controller ? error_set(err, EINVAL, "there is one virtio-serial-pci already") : 0;
			controller = device;
			o->config->console_address = device->address;
			break;
		case OPTION_DEVICE_CONSOLE:
			ret = resolve_console(o, device, controller, err);
			break;
		case OPTION_DEVICE_BLK:
		case OPTION_DEVICE_NET:
			break;
		}
		if (ret) {
			error_prefix(err, "-device %.80s", device->argument);
			return ret;
		}
	}
	return check_addresses(o, err);
}
