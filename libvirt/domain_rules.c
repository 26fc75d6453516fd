/*
 * See domain_rules.h. One table of paths below <domain>. Whoever asks for something must either get it or be told that he does not: so
 * what is not in the table is refused, too, and what is KEEP has been found to change nothing that a guest or its owner could miss. What
 * clients give every guest unasked, and no guest here has, is ABSENT: nobody would get a guest into being if it were refused, and nobody shall be
 * shown it as if it were there. So it is taken out, and said to be.
 */
#include "libvirt/domain_rules.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libvirt/domain_parts.h"

#define NO_HOTPLUG \
	"memory cannot be plugged into a guest here: give it in <memory>, and what it is to begin with in <currentMemory>"
#define NO_IOTHREADS "each disk has a thread of its own here, which <emulatorpin> pins: leave it out"
#define NO_SHARES "CPU time is not divided by libvirt's elements here: leave it out"
#define NO_FIRMWARE "there is no firmware here: the guest's kernel is started at once, by <os><kernel>; leave it out"
#define NO_SUCH_DEVICE "there is no such device here: leave it out"
#define NO_LIMITS "there is no limit on the rate of disks and networks here: leave it out"
#define NO_TABLES "there is no such table for guests here: leave it out"
#define NO_PASSING "devices of the host are not passed to guests here: leave it out"
#define FILTER "the host's own network has to do this: leave it out"

enum how {
	ENTER,  /* once; attributes are those listed, children have rows of their own */
	MANY,   /* the same, any number of times */
	KEEP,   /* with all below it, any number of times */
	ONE,    /* the same, once */
	ABSENT, /* with all below it, any number of times: taken out */
	REFUSE,
};

struct rule {
	const char *path;
	enum how how;
	const char *text; /* ENTER, MANY: attributes, "a|b". REFUSE: the sentence */
};

/* clang-format off */
static const struct rule rules[] = {
	{"name", ENTER, ""},
	{"uuid", ENTER, ""},
	{"title", ONE, NULL},
	{"description", ONE, NULL},
	{"metadata", ONE, NULL},
	{"genid", REFUSE, NO_TABLES},

	{"memory", ENTER, "unit|dumpCore"},
	{"currentMemory", ENTER, "unit"},
	{"maxMemory", ENTER, "unit|slots"},
	{"memtune", ENTER, ""},
	{"memtune/hard_limit", ENTER, "unit"},
	{"memtune/min_guarantee", ENTER, "unit"},
	{"memtune/swap_hard_limit", ENTER, "unit"},
	{"memtune/soft_limit", ENTER, "unit"},
	{"memoryBacking", ENTER, ""},
	{"memoryBacking/nosharepages", ENTER, ""},
	{"memoryBacking/locked", ENTER, ""},
	{"memoryBacking/discard", KEEP, NULL},
	{"memoryBacking/source", ENTER, "type"},
	{"memoryBacking/access", ENTER, "mode"},
	{"memoryBacking/allocation", ENTER, "mode|threads"},
	{"memoryBacking/hugepages", REFUSE, "memory is not set aside in huge pages here; the kernel gives them by itself where there is memory enough: leave it out"},
	{"numatune", ENTER, ""},
	{"numatune/memory", ENTER, "mode|nodeset|placement"},
	{"numatune/memnode", REFUSE, "the daemon itself decides which node of the guest lies where: leave it out, or use <memory> for all of the guest"},

	{"vcpu", ENTER, "placement|cpuset|current"},
	{"vcpus", ENTER, ""},
	{"vcpus/vcpu", MANY, "id|enabled|hotpluggable|order"},
	{"cputune", ENTER, ""},
	{"cputune/vcpupin", MANY, "vcpu|cpuset"},
	{"cputune/emulatorpin", ENTER, "cpuset"},
	{"cputune/iothreadpin", REFUSE, NO_IOTHREADS},
	{"cputune/vcpusched", REFUSE, NO_SHARES},
	{"cputune/emulatorsched", REFUSE, NO_SHARES},
	{"cputune/iothreadsched", REFUSE, NO_SHARES},
	{"cputune/shares", REFUSE, NO_SHARES " (shares of memory are in Pagoda's own <metadata>)"},
	{"cputune/period", REFUSE, NO_SHARES},
	{"cputune/quota", REFUSE, NO_SHARES},
	{"cputune/global_period", REFUSE, NO_SHARES},
	{"cputune/global_quota", REFUSE, NO_SHARES},
	{"cputune/emulator_period", REFUSE, NO_SHARES},
	{"cputune/emulator_quota", REFUSE, NO_SHARES},
	{"cputune/iothread_period", REFUSE, NO_SHARES},
	{"cputune/iothread_quota", REFUSE, NO_SHARES},
	{"cputune/cachetune", REFUSE, NO_SHARES},
	{"cputune/memorytune", REFUSE, NO_SHARES},
	{"iothreads", KEEP, NULL},
	{"iothreadids", KEEP, NULL},
	{"defaultiothread", KEEP, NULL},
	{"blkiotune", REFUSE, NO_LIMITS},
	{"resource", KEEP, NULL},

	{"cpu", ENTER, "mode|match|check|migratable|deprecated_features"},
	{"cpu/model", ENTER, "fallback|vendor_id"},
	{"cpu/vendor", KEEP, NULL},
	{"cpu/feature", MANY, "policy|name"},
	{"cpu/topology", ENTER, "sockets|dies|clusters|cores|threads"},
	{"cpu/cache", ENTER, "mode|level"},
	{"cpu/maxphysaddr", ENTER, "mode|bits|limit"},
	{"cpu/numa", ENTER, ""},
	{"cpu/numa/cell", MANY, "id|cpus|memory|unit|memAccess|discard"},
	{"cpu/numa/interconnects", REFUSE, NO_TABLES},
	{"cpu/numa/cell/distances", REFUSE, NO_TABLES},
	{"cpu/numa/cell/cache", REFUSE, NO_TABLES},

	{"os", ENTER, "firmware"},
	{"os/type", ENTER, "arch|machine"},
	{"os/kernel", ENTER, ""},
	{"os/initrd", ENTER, ""},
	{"os/cmdline", ENTER, ""},
	{"os/boot", KEEP, NULL},
	{"os/bootmenu", KEEP, NULL},
	{"os/bios", KEEP, NULL},
	{"os/loader", REFUSE, NO_FIRMWARE},
	{"os/nvram", REFUSE, NO_FIRMWARE},
	{"os/firmware", REFUSE, NO_FIRMWARE},
	{"os/dtb", REFUSE, NO_TABLES},
	{"os/acpi", REFUSE, NO_TABLES},
	{"os/smbios", REFUSE, NO_TABLES},
	{"sysinfo", REFUSE, NO_TABLES},
	{"bootloader", REFUSE, NO_FIRMWARE},
	{"bootloader_args", REFUSE, NO_FIRMWARE},
	{"features", KEEP, NULL},
	{"clock", ENTER, "offset|adjustment|basis|timezone|start"},
	{"clock/timer", KEEP, NULL},
	{"pm", KEEP, NULL},
	{"on_poweroff", ENTER, ""},
	{"on_reboot", ENTER, ""},
	{"on_crash", ENTER, ""},
	{"on_lockfailure", KEEP, NULL},
	{"seclabel", MANY, "type|model|relabel"},
	{"launchSecurity", REFUSE, "there are no encrypted guests here: leave it out"},
	{"keywrap", REFUSE, "there are no encrypted guests here: leave it out"},
	{"idmap", REFUSE, "this is for containers: leave it out"},
	{"perf", REFUSE, "libvirt's performance events are not counted here: leave it out"},

	{"devices", ENTER, ""},
	{"devices/emulator", KEEP, NULL},
	{"devices/controller", ABSENT, NULL},
	{"devices/input", ABSENT, NULL},
	{"devices/hub", ABSENT, NULL},
	{"devices/video", ABSENT, NULL},
	{"devices/audio", ABSENT, NULL},
	{"devices/sound", ABSENT, NULL},
	{"devices/redirdev", ABSENT, NULL},
	{"devices/redirfilter", ABSENT, NULL},
	{"devices/panic", ABSENT, NULL},
	{"devices/graphics", ABSENT, NULL},

	{"devices/disk", MANY, "type|device|model|snapshot|sgio|rawio"},
	{"devices/disk/driver", ENTER, "name|type|cache|io|discard|detect_zeroes|discard_no_unref|iothread|queues|queue_size|error_policy|rerror_policy|"
					"ioeventfd|event_idx|copy_on_read|packed|ats|iommu|page_per_vq"},
	{"devices/disk/driver/metadata_cache", KEEP, NULL},
	{"devices/disk/source", ENTER, "file|dev|protocol|name|index|startupPolicy"},
	{"devices/disk/source/host", MANY, "name|port|transport|socket"},
	{"devices/disk/source/seclabel", KEEP, NULL},
	{"devices/disk/source/encryption", REFUSE, "images are taken as they are: serve this one by qemu-nbd, and give its NBD address"},
	{"devices/disk/source/slices", REFUSE, "images are taken whole: serve this one by qemu-nbd, and give its NBD address"},
	{"devices/disk/source/auth", REFUSE, "NBD servers are not asked for with a password here: leave it out"},
	{"devices/disk/source/reservations", REFUSE, NO_SUCH_DEVICE},
	{"devices/disk/target", ENTER, "dev|bus|removable|rotation_rate|tray"},
	{"devices/disk/readonly", ENTER, ""},
	{"devices/disk/shareable", ENTER, ""},
	{"devices/disk/serial", ENTER, ""},
	{"devices/disk/boot", KEEP, NULL},
	{"devices/disk/alias", KEEP, NULL},
	{"devices/disk/address", KEEP, NULL},
	{"devices/disk/backingStore", KEEP, NULL},
	{"devices/disk/transient", REFUSE, "what a guest writes stays written: give it a copy of the image, or <readonly/>"},
	{"devices/disk/iotune", REFUSE, NO_LIMITS},
	{"devices/disk/blockio", REFUSE, "block sizes of disks are set by \"-device virtio-blk-pci\" in Pagoda's own <metadata> alone: leave it out"},
	{"devices/disk/geometry", REFUSE, NO_SUCH_DEVICE},
	{"devices/disk/encryption", REFUSE, "images are taken as they are: serve this one by qemu-nbd, and give its NBD address"},
	{"devices/disk/auth", REFUSE, "NBD servers are not asked for with a password here: leave it out"},
	{"devices/disk/mirror", REFUSE, "disks are not copied while a guest runs here: leave it out"},
	{"devices/disk/wwn", REFUSE, "virtio disks have a <serial>, and no name of that kind: leave it out"},
	{"devices/disk/vendor", REFUSE, NO_SUCH_DEVICE},
	{"devices/disk/product", REFUSE, NO_SUCH_DEVICE},

	{"devices/interface", MANY, "type|managed|trustGuestRxFilters"},
	{"devices/interface/mac", ENTER, "address|type|check"},
	{"devices/interface/source", ENTER, "network|portgroup|bridge|dev|mode|path|type|address|port"},
	{"devices/interface/target", ENTER, "dev|managed"},
	{"devices/interface/model", ENTER, "type"},
	{"devices/interface/driver", KEEP, NULL},
	{"devices/interface/backend", ENTER, "type|logFile"},
	{"devices/interface/portForward", MANY, "proto|address"},
	{"devices/interface/portForward/range", MANY, "start|end|to"},
	{"devices/interface/link", ENTER, "state"},
	{"devices/interface/boot", KEEP, NULL},
	{"devices/interface/rom", KEEP, NULL},
	{"devices/interface/alias", KEEP, NULL},
	{"devices/interface/address", KEEP, NULL},
	{"devices/interface/acpi", KEEP, NULL},
	{"devices/interface/mtu", REFUSE, "the guest takes the usual MTU of 1500 here: leave it out"},
	{"devices/interface/bandwidth", REFUSE, NO_LIMITS},
	{"devices/interface/filterref", REFUSE, FILTER},
	{"devices/interface/vlan", REFUSE, FILTER},
	{"devices/interface/virtualport", REFUSE, FILTER},
	{"devices/interface/port", REFUSE, FILTER},
	{"devices/interface/script", REFUSE, "scripts are never run: make the tap beforehand, and leave it out"},
	{"devices/interface/downscript", REFUSE, "scripts are never run: make the tap beforehand, and leave it out"},
	{"devices/interface/ip", REFUSE, FILTER},
	{"devices/interface/route", REFUSE, FILTER},
	{"devices/interface/guest", REFUSE, FILTER},
	{"devices/interface/tune", REFUSE, NO_LIMITS},
	{"devices/interface/coalesce", REFUSE, FILTER},
	{"devices/interface/teaming", REFUSE, NO_PASSING},

	{"devices/serial", MANY, "type|tty"},
	{"devices/serial/source", ENTER, "path"},
	{"devices/serial/target", KEEP, NULL},
	{"devices/serial/alias", KEEP, NULL},
	{"devices/serial/address", KEEP, NULL},
	{"devices/console", MANY, "type|tty"},
	{"devices/console/source", ENTER, "path"},
	{"devices/console/target", ENTER, "type|port"},
	{"devices/console/alias", KEEP, NULL},
	{"devices/console/address", KEEP, NULL},
	{"devices/channel", ABSENT, NULL},

	{"devices/memballoon", MANY, "model|autodeflate|freePageReporting"},
	{"devices/memballoon/stats", KEEP, NULL},
	{"devices/memballoon/driver", KEEP, NULL},
	{"devices/memballoon/alias", KEEP, NULL},
	{"devices/memballoon/address", KEEP, NULL},
	{"devices/rng", MANY, "model"},
	{"devices/rng/backend", ENTER, "model"},
	{"devices/rng/backend/source", ENTER, "mode|host|service"},
	{"devices/rng/driver", KEEP, NULL},
	{"devices/rng/alias", KEEP, NULL},
	{"devices/rng/address", KEEP, NULL},
	{"devices/rng/rate", REFUSE, "random numbers are not rationed here: leave it out"},
	{"devices/watchdog", REFUSE, NO_SUCH_DEVICE},

	{"devices/hostdev", REFUSE, NO_PASSING},
	{"devices/memory", REFUSE, NO_HOTPLUG},
	{"devices/filesystem", REFUSE, "directories of the host are not shared with guests here: give an image, or a network file system"},
	{"devices/vsock", REFUSE, "vsock has other settings here: give the words -device and virtio-vsock-pci,guest-cid=N,uds=PATH in Pagoda's own <metadata>"},
	{"devices/tpm", REFUSE, NO_SUCH_DEVICE},
	{"devices/shmem", REFUSE, NO_SUCH_DEVICE},
	{"devices/smartcard", REFUSE, NO_SUCH_DEVICE},
	{"devices/parallel", REFUSE, NO_SUCH_DEVICE},
	{"devices/iommu", REFUSE, NO_SUCH_DEVICE},
	{"devices/nvram", REFUSE, NO_FIRMWARE},
	{"devices/lease", REFUSE, NO_SUCH_DEVICE},
	{"devices/crypto", REFUSE, NO_SUCH_DEVICE},
	{"devices/pstore", REFUSE, NO_SUCH_DEVICE},
};
/* clang-format on */

static const struct rule *find(const char *path)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (!strcmp(rules[i].path, path))
			return &rules[i];
	return NULL;
}

static bool is_listed(const char *name, const char *list)
{
	size_t len = strlen(name);
	while (*list) {
		size_t one = strcspn(list, "|");
		if (one == len && !memcmp(list, name, len))
			return true;
		list += list[one] ? one + 1 : one;
	}
	return false;
}

static int check_attributes(const xmlNode *node, const char *list, struct error *err)
{
	for (const xmlAttr *a = node->properties; a; a = a->next)
		if (a->ns || !is_listed((const char *)a->name, list))
			return xml_refuse(node, err, "the attribute \"%.40s\" is not known here: leave it out",
					  (const char *)a->name);
	return 0;
}

static bool is_second(const xmlNode *node)
{
	const xmlNode *first = xml_child(node->parent, (const char *)node->name);
	return first != node;
}

static int check_one(const xmlNode *node, const struct rule *rule, struct error *err)
{
	if (!rule && node->ns && !strcmp((const char *)node->ns->href, "http://libvirt.org/schemas/domain/qemu/1.0"))
		return xml_refuse(node, err, "words for QEMU are not taken: words for pagoda-vmm are in Pagoda's own <metadata>");
	if (!rule)
		return xml_refuse(node, err,
				  "this element is not known here, nor what the guest would miss without it: leave it out");
	if (rule->how == REFUSE)
		return xml_refuse(node, err, "%s", rule->text);
	if ((rule->how == ENTER || rule->how == ONE) && is_second(node))
		return xml_refuse(node, err, "it is there twice: leave one of them out");
	return rule->how == ENTER || rule->how == MANY ? check_attributes(node, rule->text, err) : 0;
}

/* path: of node, below <domain>; "" for the domain itself. Goes only as deep as the table. */
static int check_children(const xmlNode *node, const char *path, struct error *err)
{
	char below[128];
	int ret = 0;
	for (const xmlNode *child = xml_child(node, NULL); ret == 0 && child; child = xml_next(child, NULL)) {
		snprintf(below, sizeof(below), "%s%s%.60s", path, *path ? "/" : "", (const char *)child->name);
		const struct rule *rule = child->ns ? NULL : find(below);
		ret = check_one(child, rule, err);
		if (ret == 0 && rule && (rule->how == ENTER || rule->how == MANY))
			ret = check_children(child, below, err);
	}
	return ret;
}

int domain_rules_check(const xmlNode *domain, struct error *err)
{
	int ret = check_attributes(domain, "type|id", err);
	return ret ? ret : check_children(domain, "", err);
}

/* --- what is not there --- */

static bool is_absent(const xmlNode *device)
{
	char path[128];
	snprintf(path, sizeof(path), "devices/%.60s", (const char *)device->name);
	const struct rule *rule = device->ns ? NULL : find(path);
	return rule && (rule->how == ABSENT || (!strcmp(path, "devices/disk") && domain_disks_is_empty_tray(device)));
}

/* Each name once, as long as there is room. */
static void say(char *names, size_t size, const char *name)
{
	size_t used = strlen(names);
	if (!is_listed(name, names) && used + strlen(name) + 2 <= size)
		snprintf(names + used, size - used, "%s%s", used ? "|" : "", name);
}

void domain_rules_take_out(xmlNode *domain, char *names, size_t size)
{
	const xmlNode *devices = xml_child(domain, "devices");
	xmlNode *next;
	*names = '\0';
	for (xmlNode *device = devices ? xml_child(devices, NULL) : NULL; device; device = next) {
		next = xml_next(device, NULL);
		if (!is_absent(device))
			continue;
		const char *tray = xml_is(device, "disk") ? xml_attribute(device, "device") : NULL;
		say(names, size, tray ? tray : (const char *)device->name);
		xml_remove(device);
	}
}
