/* QMP's query-* commands. Members are QEMU's; those that QEMU makes optional and we know nothing about are left out. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/chardev.h"
#include "vmm/qmp.h"

/* Appends, taking the reference. *array becomes NULL when memory is short. */
static void append(json_t **array, json_t *element)
{
	if (*array && json_array_append_new(*array, element) == 0)
		return;
	if (!*array)
		json_decref(element);
	json_decref(*array);
	*array = NULL;
}

/* Sets an optional member that is there. *object becomes NULL when memory is short. */
static void set_string(json_t **object, const char *name, const char *text)
{
	if (!*object || !text || json_object_set_new(*object, name, qmp_string(text)) == 0)
		return;
	json_decref(*object);
	*object = NULL;
}

static json_int_t number(uint64_t value)
{
	return value > INT64_MAX ? INT64_MAX : (json_int_t)value;
}

static int query_status(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	enum run_state state = machine_run_state(m);
	(void)arguments;
	return qmp_answer(json_pack("{s:s, s:b, s:b}", "status", run_state_name(state), "singlestep", 0, "running",
				    state == RUN_STATE_RUNNING),
			  result, err);
}

static int query_version(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	(void)m, (void)arguments;
	return qmp_answer(qmp_version(), result, err);
}

static int query_name(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	json_t *object = json_object();
	(void)arguments;
	set_string(&object, "name", machine_config(m)->name);
	return qmp_answer(object, result, err);
}

static int query_uuid(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	const uint8_t *u = machine_config(m)->uuid;
	char text[40];
	(void)arguments;
	snprintf(text, sizeof(text), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2], u[3],
		 u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
	return qmp_answer(json_pack("{s:s}", "UUID", text), result, err);
}

static int query_kvm(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	(void)m, (void)arguments;
	return qmp_answer(json_pack("{s:b, s:b}", "enabled", 1, "present", 1), result, err);
}

static int query_cpus_fast(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	json_t *list = json_array();
	bool has_nodes = machine_config(m)->nr_nodes > 0;
	(void)arguments;
	for (unsigned i = 0; i < machine_nr_cpus(m); i++) {
		struct machine_cpu_info cpu;
		char path[64];
		machine_cpu_info(m, i, &cpu);
		snprintf(path, sizeof(path), "/machine/cpu[%u]", i);
		json_t *props = json_pack("{s:i, s:i, s:i, s:i}", "socket-id", (int)cpu.socket, "die-id", (int)cpu.die, "core-id",
					  (int)cpu.core, "thread-id", (int)cpu.thread);
		if (props && has_nodes && json_object_set_new(props, "node-id", json_integer(cpu.node)) < 0) {
			json_decref(props);
			props = NULL;
		}
		append(&list, json_pack("{s:i, s:i, s:s, s:s, s:o}", "cpu-index", (int)cpu.index, "thread-id", cpu.thread_id,
					"qom-path", path, "target", "x86_64", "props", props));
	}
	return qmp_answer(list, result, err);
}

static json_t *inserted(const struct machine_disk_info *disk, const struct config_disk *config)
{
	json_t *image = json_pack("{s:o, s:s, s:I}", "filename", qmp_string(disk->source), "format", "raw", "virtual-size",
				  number(disk->bytes));
	json_t *cache = json_pack("{s:b, s:b, s:b}", "writeback", config->write_cache, "direct", disk->direct, "no-flush",
				  config->no_flush);
	/* Throttles, encryption and backing files: QEMU always says that there are none. */
	json_t *object = json_pack("{s:o, s:o, s:s, s:b, s:b, s:i, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "file",
				   qmp_string(disk->source), "node-name", qmp_string(disk->id), "drv", "raw", "ro", disk->read_only,
				   "encrypted", 0, "backing_file_depth", 0, "detect_zeroes", "off", "write_threshold", 0, "bps", 0,
				   "bps_rd", 0, "bps_wr", 0, "iops", 0, "iops_rd", 0, "iops_wr", 0, "image", image, "cache", cache);
	return object;
}

static int query_block(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	json_t *list = json_array();
	(void)arguments;
	for (unsigned i = 0; i < machine_nr_disks(m); i++) {
		struct machine_disk_info disk;
		machine_disk_info(m, i, &disk);
		json_t *object =
			json_pack("{s:o, s:b, s:b, s:s, s:s, s:o}", "device", qmp_string(disk.id), "locked", 0, "removable", 0,
				  "type", "unknown", "io-status", "ok", "inserted", inserted(&disk, &machine_config(m)->disks[i]));
		set_string(&object, "qdev", disk.qdev);
		append(&list, object);
	}
	return qmp_answer(list, result, err);
}

static int query_blockstats(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	json_t *list = json_array();
	(void)arguments;
	for (unsigned i = 0; i < machine_nr_disks(m); i++) {
		struct machine_disk_info disk;
		machine_disk_info(m, i, &disk);
		json_t *stats = json_pack("{s:I, s:I, s:I, s:I, s:I}", "rd_bytes", number(disk.read_bytes), "wr_bytes",
					  number(disk.write_bytes), "rd_operations", number(disk.read_ops), "wr_operations",
					  number(disk.write_ops), "flush_operations", number(disk.flush_ops));
		json_t *object = json_pack("{s:o, s:o, s:o}", "device", qmp_string(disk.id), "node-name", qmp_string(disk.id),
					   "stats", stats);
		set_string(&object, "qdev", disk.qdev);
		append(&list, object);
	}
	return qmp_answer(list, result, err);
}

static int query_chardev(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	json_t *list = json_array();
	(void)arguments;
	for (unsigned i = 0; i < machine_config(m)->nr_chardevs; i++) {
		const struct chardev *chardev = machine_chardev(m, i);
		append(&list, json_pack("{s:o, s:o, s:b}", "label", qmp_string(chardev_label(chardev)), "filename",
					qmp_string(chardev_description(chardev)), "frontend-open", chardev_is_open(chardev)));
	}
	return qmp_answer(list, result, err);
}

static int query_commands(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	json_t *list = json_pack("[{s:s}]", "name", "qmp_capabilities");
	const struct qmp_command *command;
	(void)m, (void)arguments;
	for (size_t i = 0; (command = qmp_command_at(i)) != NULL; i++)
		append(&list, json_pack("{s:s}", "name", command->name));
	return qmp_answer(list, result, err);
}

static const struct qmp_command commands[] = {
	{.name = "query-status", .run = query_status},   {.name = "query-version", .run = query_version},
	{.name = "query-name", .run = query_name},       {.name = "query-uuid", .run = query_uuid},
	{.name = "query-kvm", .run = query_kvm},         {.name = "query-cpus-fast", .run = query_cpus_fast},
	{.name = "query-block", .run = query_block},     {.name = "query-blockstats", .run = query_blockstats},
	{.name = "query-chardev", .run = query_chardev}, {.name = "query-commands", .run = query_commands},
};
const struct qmp_command_table qmp_query_commands = {commands, sizeof(commands) / sizeof(commands[0])};
