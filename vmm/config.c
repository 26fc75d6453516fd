/*
 * The command line: which options there are, and the three steps that make a struct config of them (see options.h). An option's
 * meaning is in the file of its subject; here is only the table.
 */
#include "vmm/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/options.h"
#include "vmm/version.h"

static option_handler set_kernel, set_initrd, set_append, set_pidfile, set_display, set_vga, set_daemonize, set_no_reboot,
	set_no_shutdown, set_paused, set_nographic, set_nodefaults, accept_what_is, print_help, print_version;

struct option {
	const char *name;
	const char *argument; /* NULL: it takes none */
	option_handler *handler;
	const char *help; /* NULL: another spelling, not listed */
};

static const struct option options[] = {
	{"name", "[guest=]NAME", options_name, "the guest's name"},
	{"uuid", "UUID", options_uuid, "the guest's UUID"},
	{"machine", "[type=]pagoda[,accel=kvm][,mem-merge=on|off|ksm]", options_machine_type, "the machine"},
	{"M", "pagoda", options_machine_type, NULL},
	{"accel", "kvm", options_accel, "the accelerator"},
	{"enable-kvm", NULL, accept_what_is, "the same as -accel kvm, and the default"},
	{"cpu", "MODEL[,+FEATURE][,-FEATURE]", options_cpu, "CPU model; -cpu help lists them"},
	{"smp", "[cpus=]N[,sockets=N][,dies=N][,cores=N][,threads=N]", options_smp, "vCPUs"},
	{"m", "[size=]MIB", options_memory, "memory; 512M, 4G"},
	{"memory", "target=SIZE,swap=DIRECTORY,...", options_memory_manager, "the manager of the guest's memory; -memory help"},
	{"dedup", "[domain=]NAME[,socket=PATH],...", options_dedup, "share equal pages with other guests, by pagodad; -dedup help"},
	{"numa", "node|dist|cpu,...", options_numa, "nodes, their distances and vCPUs"},
	{"object", "TYPE,id=ID,...", options_object, "an object; -object help"},
	{"kernel", "FILE", set_kernel, "Linux bzImage, or an ELF kernel with a PVH entry"},
	{"initrd", "FILE", set_initrd, "initial RAM disk"},
	{"append", "TEXT", set_append, "kernel command line"},
	{"drive", "file=FILE,if=virtio,format=raw,...", options_drive, "a disk; -drive help"},
	{"blockdev", "driver=DRIVER,node-name=NAME,...", options_blockdev, "a disk's node, for -device virtio-blk-pci"},
	{"netdev", "tap|user|stream,id=ID,...", options_netdev, "a network's end on the host; -netdev help"},
	{"nic", "tap|user|stream[,mac=MAC],...", options_nic, "a network with its card"},
	{"net", "none", options_net, NULL},
	{"device", "DRIVER,...", options_device, "a device; -device help, -device DRIVER,help"},
	{"chardev", "BACKEND,id=ID,...", options_chardev, "a stream of bytes; -chardev help"},
	{"serial", "STREAM", options_serial,
	 "serial port: stdio, file:PATH, unix:PATH,server=on, tcp:HOST:PORT, pty, null, none, chardev:ID, mon:stdio"},
	{"parallel", "none", options_parallel, NULL},
	{"monitor", "STREAM", options_monitor, "monitor for people; as -serial"},
	{"qmp", "STREAM", options_qmp, "monitor for programs (QMP); as -serial"},
	{"qmp-pretty", "STREAM", options_qmp_pretty, "the same, on many lines"},
	{"mon", "[chardev=]ID[,mode=readline|control][,pretty=on]", options_mon, "monitor on a -chardev"},
	{"nographic", NULL, set_nographic, "serial port and monitor on the terminal"},
	{"display", "none", set_display, "no display; the serial port then goes nowhere unless said"},
	{"vga", "none", set_vga, NULL},
	{"nodefaults", NULL, set_nodefaults, "no serial port unless asked for"},
	{"no-user-config", NULL, accept_what_is, NULL},
	{"rtc", "base=utc", options_rtc, "the clock"},
	{"boot", "order=c", options_boot, NULL},
	{"S", NULL, set_paused, "do not start; wait for cont in a monitor"},
	{"no-reboot", NULL, set_no_reboot, "exit when the guest reboots"},
	{"no-shutdown", NULL, set_no_shutdown, "pause when the guest powers off"},
	{"action", "[reboot=reset|shutdown][,shutdown=poweroff|pause]", options_action, "the same, in other words"},
	{"pidfile", "FILE", set_pidfile, "write the process id there"},
	{"daemonize", NULL, set_daemonize, "go to the background when the guest is ready"},
	{"help", NULL, print_help, "this text"},
	{"h", NULL, print_help, NULL},
	{"version", NULL, print_version, "the version"},
};
#define NR_OPTIONS (sizeof(options) / sizeof(options[0]))

/* Options of QEMU that we lack, where another way leads there that their names do not suggest. */
static const struct {
	const char *name, *instead;
} other_ways[] = {
	{"hda", "use -drive file=FILE,if=virtio,format=raw"},
	{"hdb", "use -drive file=FILE,if=virtio,format=raw"},
	{"cdrom", "use -drive file=FILE,if=virtio,format=raw,readonly=on"},
	{"sd", "use -drive file=FILE,if=virtio,format=raw"},
	{"snapshot", "make an overlay: qemu-img create -f qcow2 -b, and serve it by qemu-nbd"},
	{"bios", "there is no firmware; boot a kernel with -kernel"},
	{"pflash", "there is no firmware; boot a kernel with -kernel"},
	{"virtfs", "use -drive, or a network file system"},
	{"vnc", "there is no display; use a serial port"},
	{"spice", "there is no display; use a serial port"},
	{"curses", "there is no display; use -nographic"},
	{"usb", "there is no USB; devices are virtio"},
	{"usbdevice", "there is no USB; devices are virtio"},
	{"soundhw", "there is no sound"},
	{"audiodev", "there is no sound"},
	{"no-acpi", "ACPI is always there; append acpi=off to the kernel's command line"},
	{"no-hpet", "there is no HPET; leave it out"},
	{"readconfig", "give options on the command line"},
	{"loadvm", "snapshots are not there yet"},
	{"incoming", "migration is not there yet"},
	{"fsdev", "use -drive, or a network file system"},
	{"sandbox", "leave it out"},
	{"dtb", "the machine has ACPI"},
};

static int set_kernel(struct options *o, const char *argument, struct error *err)
{
	if (!*argument)
		return error_set(err, EINVAL, "the file has no name");
	o->kernel = argument;
	return 0;
}

static int set_initrd(struct options *o, const char *argument, struct error *err)
{
	if (!*argument)
		return error_set(err, EINVAL, "the file has no name");
	o->initrd = argument;
	return 0;
}

static int set_append(struct options *o, const char *argument, struct error *err)
{
	(void)err;
	o->append = argument;
	return 0;
}

static int set_pidfile(struct options *o, const char *argument, struct error *err)
{
	if (!*argument)
		return error_set(err, EINVAL, "the file has no name");
	o->pidfile = argument;
	return 0;
}

static int set_display(struct options *o, const char *argument, struct error *err)
{
	if (strcmp(argument, "none") != 0)
		return error_set(err, EINVAL, "there is no display but none; guests talk over serial ports and networks");
	o->no_display = true;
	return 0;
}

static int set_vga(struct options *o, const char *argument, struct error *err)
{
	(void)o;
	return strcmp(argument, "none")
		       ? error_set(err, EINVAL, "there is no display but none; guests talk over serial ports and networks")
		       : 0;
}

static int set_daemonize(struct options *o, const char *argument, struct error *err)
{
	(void)argument, (void)err;
	o->config->daemonize = true;
	return 0;
}

static int set_no_reboot(struct options *o, const char *argument, struct error *err)
{
	(void)argument, (void)err;
	o->config->no_reboot = true;
	return 0;
}

static int set_no_shutdown(struct options *o, const char *argument, struct error *err)
{
	(void)argument, (void)err;
	o->config->no_shutdown = true;
	return 0;
}

static int set_paused(struct options *o, const char *argument, struct error *err)
{
	(void)argument, (void)err;
	o->config->start_paused = true;
	return 0;
}

static int set_nographic(struct options *o, const char *argument, struct error *err)
{
	(void)argument, (void)err;
	o->nographic = true;
	return 0;
}

static int set_nodefaults(struct options *o, const char *argument, struct error *err)
{
	(void)argument, (void)err;
	o->nodefaults = true;
	return 0;
}

/* For options that say how we are anyway. */
static int accept_what_is(struct options *o, const char *argument, struct error *err)
{
	(void)o, (void)argument, (void)err;
	return 0;
}

static int print_help(struct options *o, const char *argument, struct error *err)
{
	(void)argument, (void)err;
	printf("usage: pagoda-vmm -kernel FILE [options]\n\n");
	for (size_t i = 0; i < NR_OPTIONS; i++)
		if (options[i].help)
			printf("-%s%s%s\n        %s\n", options[i].name, options[i].argument ? " " : "",
			       options[i].argument ? options[i].argument : "", options[i].help);
	printf("\nOptions, their properties and values are QEMU's; see pagoda-vmm(1).\n");
	*o->done = true;
	return 0;
}

static int print_version(struct options *o, const char *argument, struct error *err)
{
	(void)argument, (void)err;
	printf("pagoda-vmm %s\n", PAGODA_VERSION);
	*o->done = true;
	return 0;
}

static const struct option *find_option(const char *name)
{
	for (size_t i = 0; i < NR_OPTIONS; i++)
		if (!strcmp(options[i].name, name))
			return &options[i];
	return NULL;
}

static int unknown_option(const char *given, const char *name, struct error *err)
{
	for (size_t i = 0; i < sizeof(other_ways) / sizeof(other_ways[0]); i++)
		if (!strcmp(other_ways[i].name, name))
			return error_set(err, EINVAL, "%s: no such option; %s", given, other_ways[i].instead);
	struct nearest nearest;
	char hint[100];
	nearest_start(&nearest, name);
	for (size_t i = 0; i < NR_OPTIONS; i++)
		nearest_try(&nearest, options[i].name);
	return error_set(err, EINVAL, "%.60s: no such option%s%s", given, nearest_hint(&nearest, "-", hint, sizeof(hint)),
			 nearest_name(&nearest) ? "" : "; -help lists ours");
}

/* Reads argv from *at on: an option and its argument. */
static int read_option(struct options *o, int argc, char **argv, int *at, struct error *err)
{
	const char *given = argv[*at];
	if (given[0] != '-' || !given[1])
		return error_set(err, EINVAL,
				 "\"%.60s\" is not an option; a disk is given by -drive file=FILE,if=virtio,format=raw", given);
	const char *name = given + (given[1] == '-' ? 2 : 1);
	const struct option *option = find_option(name);
	if (!option)
		return unknown_option(given, name, err);
	const char *argument = "";
	if (option->argument) {
		if (++*at >= argc)
			return error_set(err, EINVAL, "%s needs an argument: %s %s", given, given, option->argument);
		argument = argv[*at];
	}
	int ret = option->handler(o, argument, err);
	if (ret)
		error_prefix(err, "%s%s%.120s", given, *argument ? " " : "", argument);
	return ret;
}

static int resolve(struct options *o, struct error *err)
{
	int (*const steps[])(struct options *, struct error *) = {
		options_resolve_machine, options_resolve_memory_manager, options_resolve_numa, options_resolve_dedup,
		options_resolve_char,    options_resolve_block,          options_resolve_net,  options_resolve_devices,
	};
	int ret = 0;
	for (size_t i = 0; !ret && i < sizeof(steps) / sizeof(steps[0]); i++)
		ret = steps[i](o, err);
	for (size_t i = 0; !ret && i < o->nr_objects; i++)
		if (!o->objects[i].used)
			ret = error_set(err, EINVAL, "-object %s,id=%s: nothing uses it", o->objects[i].kind, o->objects[i].id);
	return ret;
}

int config_parse(int argc, char **argv, struct config *config, bool *done, struct error *err)
{
	*config = (struct config){.serial = {-2, -2}, .memory.swap_fd = -1, .dedup.node = -1};
	config->console_address.slot = config->rng_address.slot = config->vsock_address.slot = config->balloon_address.slot = -1;
	*done = false;
	struct options *o = calloc(1, sizeof(*o));
	if (!o)
		return error_set(err, ENOMEM, "out of memory");
	o->config = config;
	o->done = done;
	int ret = 0;
	for (int at = 1; !ret && !*done && at < argc; at++)
		ret = read_option(o, argc, argv, &at, err);
	if (!ret && !*done)
		ret = resolve(o, err);
	while (o->kept) {
		struct keyvals *next = o->kept->next;
		free(o->kept->text);
		free(o->kept);
		o->kept = next;
	}
	free(o->numa);
	free(o);
	if (ret)
		config_free(config);
	return ret;
}

void config_free(struct config *config)
{
	for (unsigned i = 0; i < config->nr_disks; i++) {
		struct config_disk *disk = &config->disks[i];
		free(disk->id);
		free(disk->qdev);
		free(disk->source);
	}
	for (unsigned i = 0; i < config->nr_nics; i++) {
		struct config_nic *nic = &config->nics[i];
		free(nic->id);
		free(nic->qdev);
		free(nic->ifname);
		free(nic->path);
		for (unsigned j = 0; j < nic->nr_hostfwds; j++)
			free(nic->hostfwd[j]);
	}
	for (unsigned i = 0; i < config->nr_chardevs; i++) {
		struct config_chardev *chardev = &config->chardevs[i];
		free(chardev->id);
		free(chardev->path);
		free(chardev->host);
		free(chardev->port);
	}
	char *strings[] = {config->name,       config->pidfile,      config->cpu_model,
			   config->kernel,     config->initrd,       config->append,
			   config->rng_file,   config->vsock_path,   config->memory.swap_directory,
			   config->balloon_id, config->dedup.socket, config->dedup.domain,
			   config->dedup.guest};
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		free(strings[i]);
	*config = (struct config){.nr_disks = 0};
}
