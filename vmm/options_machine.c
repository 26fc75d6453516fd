/* The options about the machine as a whole: memory, vCPUs, names, and what happens at its end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/cpuid.h"
#include "vmm/options.h"

#define MIN_MEMORY (1ull << 20)
#define MAX_MEMORY (4ull << 40)
#define DEFAULT_MEMORY (128ull << 20)

static const struct property memory_rows[] = {
	PROPERTY_ROW_MEBIBYTES(struct option_memory, size, "size", MIN_MEMORY, MAX_MEMORY, "the guest's RAM"),
	PROPERTY_ROW_NUMBER(struct option_memory, slots, "slots", 0, 0, "memory is not hot-pluggable"),
	PROPERTY_ROW_MEBIBYTES(struct option_memory, maxmem, "maxmem", MIN_MEMORY, MAX_MEMORY, "the same as size"),
};
static const struct property_table memory_table = PROPERTY_TABLE("-m", memory_rows);

int options_memory(struct options *o, const char *argument, struct error *err)
{
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "size", &kv, err);
	return ret ? ret : options_apply(&memory_table, kv, &o->memory, err);
}

static const struct property smp_rows[] = {
	PROPERTY_ROW_NUMBER(struct option_smp, cpus, "cpus", 1, CONFIG_MAX_CPUS, "vCPUs"),
	PROPERTY_ROW_NUMBER(struct option_smp, sockets, "sockets", 1, CONFIG_MAX_CPUS, NULL),
	PROPERTY_ROW_NUMBER(struct option_smp, dies, "dies", 1, CONFIG_MAX_CPUS, "in a socket"),
	PROPERTY_ROW_NUMBER(struct option_smp, cores, "cores", 1, CONFIG_MAX_CPUS, "in a die"),
	PROPERTY_ROW_NUMBER(struct option_smp, threads, "threads", 1, CONFIG_MAX_CPUS, "in a core"),
	PROPERTY_ROW_NUMBER(struct option_smp, maxcpus, "maxcpus", 1, CONFIG_MAX_CPUS,
			    "the same as cpus: vCPUs are not hot-pluggable"),
};
static const struct property_table smp_table = PROPERTY_TABLE("-smp", smp_rows);

int options_smp(struct options *o, const char *argument, struct error *err)
{
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "cpus", &kv, err);
	return ret ? ret : options_apply(&smp_table, kv, &o->smp, err);
}

int options_cpu(struct options *o, const char *argument, struct error *err)
{
	if (!strcmp(argument, "help") || !strcmp(argument, "?")) {
		const char *name;
		printf("CPU models:\n");
		for (size_t i = 0; (name = hv_cpuid_model_name(i)) != NULL; i++)
			printf("  %s\n", name);
		printf("Features are added and taken by MODEL,+FEATURE,-FEATURE.\n");
		*o->done = true;
		return 0;
	}
	if (!*argument || *argument == ',')
		return error_set(err, EINVAL, "no CPU model is named; -cpu help lists them");
	if (strlen(argument) > 1024)
		return error_set(err, EINVAL, "longer than 1024 bytes");
	o->cpu = argument;
	return 0;
}

static const struct property machine_rows[] = {
	PROPERTY_ROW_STRING(struct option_machine, type, "type", "pagoda"),
	PROPERTY_ROW_STRING(struct option_machine, accel, "accel", "kvm"),
	PROPERTY_ROW_STRING(struct option_machine, memory_backend, "memory-backend", "id of an -object memory-backend-ram"),
	/* In the order of struct config_dedup. */
	PROPERTY_ROW_WORD(struct option_machine, mem_merge, "mem-merge", "on|off|ksm",
			  "who merges equal pages: -dedup, nobody, or the kernel"),
	PROPERTY_ROW_FIXED("kernel-irqchip", "on", NULL),
	PROPERTY_ROW_FIXED("usb", "off", NULL),
	PROPERTY_ROW_FIXED("graphics", "off", NULL),
	PROPERTY_ROW_FIXED("hpet", "off", NULL),
	PROPERTY_ROW_FIXED("smm", "off", NULL),
	PROPERTY_ROW_FIXED("vmport", "off", NULL),
	PROPERTY_ROW_FIXED("acpi", "on", NULL),
};
static const struct property_table machine_table = PROPERTY_TABLE("-machine", machine_rows);

static int check_accelerator(const char *accel, struct error *err)
{
	/* QEMU takes a list by preference, "kvm:tcg". The first is what we can do, or nothing is. */
	size_t first = strcspn(accel, ":");
	if (first != 3 || strncmp(accel, "kvm", 3) != 0)
		return error_set(err, EINVAL, "accelerator \"%.60s\": we have kvm only", accel);
	return 0;
}

int options_machine_type(struct options *o, const char *argument, struct error *err)
{
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "type", &kv, err);
	if (ret)
		return ret;
	if (keyvals_want_help(kv)) {
		printf("Machines:\n  pagoda  PCI Express, ACPI, virtio devices (the default, and the only one)\n");
		*o->done = true;
		return 0;
	}
	ret = options_apply(&machine_table, kv, &o->machine, err);
	if (ret)
		return ret;
	if (o->machine.type && strcmp(o->machine.type, "pagoda") != 0)
		return error_set(
			err, EINVAL,
			"machine type \"%.60s\": we have one machine, pagoda (PCI Express, ACPI, virtio); leave the type out",
			o->machine.type);
	return o->machine.accel ? check_accelerator(o->machine.accel, err) : 0;
}

int options_accel(struct options *o, const char *argument, struct error *err)
{
	static const struct property rows[] = {
		PROPERTY_ROW_STRING(struct option_machine, accel, "accel", "kvm"),
		PROPERTY_ROW_FIXED("kernel-irqchip", "on", NULL),
	};
	static const struct property_table table = PROPERTY_TABLE("-accel", rows);
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "accel", &kv, err);
	if (ret)
		return ret;
	if (keyvals_want_help(kv)) {
		printf("Accelerators:\n  kvm\n");
		*o->done = true;
		return 0;
	}
	ret = options_apply(&table, kv, &o->machine, err);
	if (ret)
		return ret;
	return o->machine.accel ? check_accelerator(o->machine.accel, err) : error_set(err, EINVAL, "no accelerator is named");
}

int options_name(struct options *o, const char *argument, struct error *err)
{
	static const struct property rows[] = {
		PROPERTY_ROW_STRING(struct option_name, guest, "guest", "the guest's name"),
		/* Threads carry their names always. */
		PROPERTY_ROW_FIXED("debug-threads", "on|off", NULL),
	};
	static const struct property_table table = PROPERTY_TABLE("-name", rows);
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "guest", &kv, err);
	if (!ret)
		ret = options_apply(&table, kv, &o->name, err);
	if (!ret && o->name.guest && strlen(o->name.guest) > 255)
		ret = error_set(err, EINVAL, "longer than 255 bytes");
	return ret;
}

int options_uuid(struct options *o, const char *argument, struct error *err)
{
	unsigned bytes[16];
	int used = 0;
	/* %2x would take signs and blanks, so that what the text is made of is checked first. */
	if (strlen(argument) != 36 || strspn(argument, "0123456789abcdefABCDEF-") != 36 ||
	    sscanf(argument, "%2x%2x%2x%2x-%2x%2x-%2x%2x-%2x%2x-%2x%2x%2x%2x%2x%2x%n", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
		   &bytes[4], &bytes[5], &bytes[6], &bytes[7], &bytes[8], &bytes[9], &bytes[10], &bytes[11], &bytes[12], &bytes[13],
		   &bytes[14], &bytes[15], &used) != 16 ||
	    used != 36)
		return error_set(err, EINVAL, "\"%.60s\" is not a UUID; write it as 550e8400-e29b-41d4-a716-446655440000",
				 argument);
	for (int i = 0; i < 16; i++)
		o->config->uuid[i] = (uint8_t)bytes[i];
	o->config->has_uuid = true;
	return 0;
}

int options_rtc(struct options *o, const char *argument, struct error *err)
{
	static const struct property rows[] = {
		PROPERTY_ROW_FIXED("base", "utc", "the clock that the guest finds at its start"),
		PROPERTY_ROW_FIXED("clock", "host", NULL),
		PROPERTY_ROW_FIXED("driftfix", "none", NULL),
	};
	static const struct property_table table = PROPERTY_TABLE("-rtc", rows);
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, NULL, &kv, err);
	return ret ? ret : options_apply(&table, kv, o, err);
}

int options_boot(struct options *o, const char *argument, struct error *err)
{
	/* A kernel is always given, so that the order of disks means nothing. */
	static const struct property rows[] = {
		PROPERTY_ROW_FIXED("order", "c", NULL),
		PROPERTY_ROW_FIXED("menu", "off", NULL),
		PROPERTY_ROW_FIXED("strict", "on|off", NULL),
	};
	static const struct property_table table = PROPERTY_TABLE("-boot", rows);
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "order", &kv, err);
	return ret ? ret : options_apply(&table, kv, o, err);
}

int options_action(struct options *o, const char *argument, struct error *err)
{
	struct option_action {
		struct option_number reboot, shutdown;
	} action = {.reboot.set = false};
	static const struct property rows[] = {
		PROPERTY_ROW_WORD(struct option_action, reboot, "reboot", "reset|shutdown", "when the guest reboots"),
		PROPERTY_ROW_WORD(struct option_action, shutdown, "shutdown", "poweroff|pause", "when the guest powers off"),
	};
	static const struct property_table table = PROPERTY_TABLE("-action", rows);
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, NULL, &kv, err);
	if (!ret)
		ret = options_apply(&table, kv, &action, err);
	if (ret)
		return ret;
	if (action.reboot.set)
		o->config->no_reboot = action.reboot.value == 1;
	if (action.shutdown.set)
		o->config->no_shutdown = action.shutdown.value == 1;
	return 0;
}

/*
 * Fills in the parts of the topology that were left out. As QEMU does since its 6.2: what is not said is one, but cores (or, when
 * those were said, sockets; or else threads), which take what remains.
 */
static int resolve_topology(struct options *o, struct error *err)
{
	const struct option_smp *smp = &o->smp;
	struct config *c = o->config;
	uint64_t cpus = smp->cpus.value, maxcpus = smp->maxcpus.set ? smp->maxcpus.value : cpus;
	uint64_t dies = smp->dies.set ? smp->dies.value : 1;
	uint64_t sockets = smp->sockets.value, cores = smp->cores.value, threads = smp->threads.value;
	if (!maxcpus) {
		sockets = sockets ? sockets : 1;
		cores = cores ? cores : 1;
		threads = threads ? threads : 1;
	} else if (!cores) {
		sockets = sockets ? sockets : 1;
		threads = threads ? threads : 1;
		cores = maxcpus / (sockets * dies * threads);
	} else if (!sockets) {
		threads = threads ? threads : 1;
		sockets = maxcpus / (dies * cores * threads);
	} else if (!threads) {
		threads = maxcpus / (sockets * dies * cores);
	}
	uint64_t product = sockets * dies * cores * threads;
	if (!maxcpus)
		maxcpus = product;
	if (!cpus)
		cpus = maxcpus;
	if (maxcpus != cpus)
		return error_set(err, EINVAL,
				 "-smp: maxcpus=%llu is not cpus=%llu; vCPUs cannot be added later, so leave maxcpus out",
				 (unsigned long long)maxcpus, (unsigned long long)cpus);
	if (product != cpus)
		return error_set(
			err, EINVAL,
			"-smp: sockets (%llu) * dies (%llu) * cores (%llu) * threads (%llu) is not the number of vCPUs, %llu",
			(unsigned long long)sockets, (unsigned long long)dies, (unsigned long long)cores,
			(unsigned long long)threads, (unsigned long long)cpus);
	if (cpus > CONFIG_MAX_CPUS)
		return error_set(err, EINVAL, "-smp: %llu vCPUs; at most %d", (unsigned long long)cpus, CONFIG_MAX_CPUS);
	c->nr_cpus = (unsigned)cpus;
	c->sockets = (unsigned)sockets;
	c->dies = (unsigned)dies;
	c->cores = (unsigned)cores;
	c->threads = (unsigned)threads;
	return 0;
}

static int resolve_memory(struct options *o, struct error *err)
{
	const struct option_memory *memory = &o->memory;
	uint64_t bytes = memory->size.set ? memory->size.value : DEFAULT_MEMORY;
	if (o->machine.memory_backend) {
		const struct option_object *backend = options_use_object(o, o->machine.memory_backend, err);
		if (!backend)
			return error_prefix(err, "-machine memory-backend");
		if (strcmp(backend->kind, "memory-backend-ram") != 0)
			return error_set(err, EINVAL, "-machine memory-backend=%s: that is a %s", backend->id, backend->kind);
		if (memory->size.set && backend->size.value != bytes)
			return error_set(err, EINVAL, "-machine memory-backend=%s: its size is not that of -m", backend->id);
		bytes = backend->size.value;
		int ret = options_resolve_binding(backend, &o->config->binding, err);
		if (ret)
			return ret;
	}
	if (memory->maxmem.set && memory->maxmem.value != bytes)
		return error_set(err, EINVAL, "-m: maxmem is not the size; memory cannot be added later, so leave maxmem out");
	o->config->memory_bytes = (bytes + 4095) & ~4095ull;
	return 0;
}

int options_resolve_machine(struct options *o, struct error *err)
{
	struct config *c = o->config;
	int ret = resolve_topology(o, err);
	if (!ret)
		ret = resolve_memory(o, err);
	if (ret)
		return ret;
	if (!o->kernel && o->initrd)
		return error_set(err, EINVAL, "-initrd needs -kernel");
	if (!o->kernel && o->append)
		return error_set(err, EINVAL, "-append needs -kernel");
	if (!o->kernel)
		return error_set(err, EINVAL, "nothing to boot: give -kernel FILE (there is no firmware to start from a disk)");
	struct {
		char **to;
		const char *from;
	} copies[] = {
		{&c->kernel, o->kernel},   {&c->initrd, o->initrd},   {&c->append, o->append},
		{&c->name, o->name.guest}, {&c->pidfile, o->pidfile}, {&c->cpu_model, o->cpu ? o->cpu : "host"},
	};
	for (size_t i = 0; !ret && i < sizeof(copies) / sizeof(copies[0]); i++)
		ret = options_copy(copies[i].to, copies[i].from, err);
	return ret;
}
