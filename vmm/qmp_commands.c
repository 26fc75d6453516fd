/* QMP's commands that do something, and the list of all. Those that only show are in qmp_query.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/hmp.h"
#include "vmm/qmp.h"
#include "vmm/version.h"

static int run_stop(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	(void)arguments, (void)result;
	int ret = machine_pause(m);
	return ret ? error_set(err, -ret, "Cannot pause the guest: %s", strerror(-ret)) : 0;
}

static int run_cont(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	(void)arguments, (void)result;
	return machine_resume(m, err);
}

static int run_powerdown(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	(void)arguments, (void)result, (void)err;
	machine_powerdown(m);
	return 0;
}

static int run_reset(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	(void)arguments, (void)result;
	int ret = machine_reset(m);
	return ret ? error_set(err, -ret, "Cannot reset the guest: %s", strerror(-ret)) : 0;
}

static int run_quit(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	(void)arguments, (void)result, (void)err;
	machine_quit(m, "host-qmp-quit");
	return 0;
}

static const struct qmp_argument human_arguments[] = {
	{"command-line", QMP_ARGUMENT_STRING, false},
	{"cpu-index", QMP_ARGUMENT_INTEGER, true},
};

static int run_human(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	struct monitor_text text = {.data = NULL};
	const json_t *cpu = json_object_get(arguments, "cpu-index");
	if (cpu && (json_integer_value(cpu) < 0 || json_integer_value(cpu) >= machine_nr_cpus(m)))
		return error_set(err, EINVAL, "Parameter 'cpu-index' expects a CPU number");
	hmp_execute(m, json_string_value(json_object_get(arguments, "command-line")), &text);
	*result = qmp_string(text.len ? text.data : "");
	monitor_text_free(&text);
	return *result ? 0 : error_set(err, ENOMEM, "out of memory");
}

int qmp_set_link(struct machine *m, const char *name, bool up, struct error *err)
{
	for (unsigned i = 0; i < machine_nr_nics(m); i++) {
		struct machine_nic_info nic;
		machine_nic_info(m, i, &nic);
		if (strcmp(nic.id, name) != 0 && (!nic.qdev || strcmp(nic.qdev, name) != 0))
			continue;
		int ret = machine_set_link(m, i, up);
		return ret ? error_set(err, -ret, "Cannot set the link of '%.100s': %s", name, strerror(-ret)) : 0;
	}
	return error_set(err, ENODEV, "Device '%.100s' not found", name);
}

static const struct qmp_argument link_arguments[] = {
	{"name", QMP_ARGUMENT_STRING, false},
	{"up", QMP_ARGUMENT_BOOLEAN, false},
};

static int run_set_link(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	(void)result;
	return qmp_set_link(m, json_string_value(json_object_get(arguments, "name")),
			    json_is_true(json_object_get(arguments, "up")), err);
}

static const struct qmp_command commands[] = {
	{.name = "stop", .run = run_stop},
	{.name = "cont", .run = run_cont},
	{.name = "system_powerdown", .run = run_powerdown, .answer_first = true},
	{.name = "system_reset", .run = run_reset, .answer_first = true},
	{.name = "quit", .run = run_quit, .answer_first = true},
	{.name = "human-monitor-command", .run = run_human, .arguments = human_arguments, .nr_arguments = 2},
	{.name = "set_link", .run = run_set_link, .arguments = link_arguments, .nr_arguments = 2},
};
const struct qmp_command_table qmp_control_commands = {commands, sizeof(commands) / sizeof(commands[0])};

/* --- all commands --- */

static const struct qmp_command_table *const tables[] = {
	&qmp_control_commands, &qmp_query_commands, &qmp_memory_commands, &qmp_dedup_commands, &qmp_balloon_commands,
};

const struct qmp_command *qmp_command_at(size_t index)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (index < tables[i]->nr)
			return &tables[i]->commands[index];
		index -= tables[i]->nr;
	}
	return NULL;
}

const struct qmp_command *qmp_find_command(const char *name)
{
	const struct qmp_command *command;
	for (size_t i = 0; (command = qmp_command_at(i)) != NULL; i++)
		if (!strcmp(command->name, name))
			return command;
	return NULL;
}

/* --- for those who write commands --- */

json_t *qmp_string(const char *text)
{
	if (!text)
		return NULL;
	json_t *string = json_string(text);
	if (string)
		return string;
	char *plain = strdup(text);
	if (!plain)
		return NULL;
	for (char *c = plain; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	string = json_string(plain);
	free(plain);
	return string;
}

int qmp_answer(json_t *built, json_t **result, struct error *err)
{
	*result = built;
	return built ? 0 : error_set(err, ENOMEM, "out of memory");
}

void qmp_set(json_t **object, const char *name, json_t *value)
{
	if (!*object) {
		json_decref(value);
	} else if (json_object_set_new(*object, name, value) < 0) {
		json_decref(*object);
		*object = NULL;
	}
}

json_t *qmp_version(void)
{
	return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "major", PAGODA_QEMU_MAJOR, "minor", PAGODA_QEMU_MINOR, "micro",
			 PAGODA_QEMU_MICRO, "package", "pagoda " PAGODA_VERSION);
}
