/* QMP's commands about pages that the guest shares with others, query-dedup and set-dedup. They are our own. */
#include <errno.h>

#include "vmm/dedup_settings.h"
#include "vmm/qmp.h"

/* Counters that may be negative are kept as 64 bits without a sign; none of the others comes near 2^63. */
static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static json_t *settings_object(const struct scanner_settings *settings)
{
	json_t *object = json_object();
	for (size_t i = 0; i < DEDUP_NR_SETTINGS; i++) {
		const struct dedup_setting *setting = &dedup_settings[i];
		uint32_t value = dedup_setting_get(setting, settings);
		qmp_set(&object, setting->name,
			setting->is_word ? json_string(dedup_huge_name((enum scanner_huge)value)) : number(value));
	}
	return object;
}

static void add_pagoda(json_t **object, const struct machine_dedup_info *info)
{
#define ADD(name, text) qmp_set(object, #name, number(info->stats.name));
	SCANNER_STATS(ADD)
#undef ADD
	qmp_set(object, "settings", settings_object(&info->settings));
	qmp_set(object, "socket", qmp_string(info->socket));
	qmp_set(object, "domain", qmp_string(info->domain));
	qmp_set(object, "guest", qmp_string(info->guest));
	qmp_set(object, "node", json_integer(info->node));
}

static void add_known(json_t **object, const char *const *names, const struct ksm_counter *counters, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (counters[i].known)
			qmp_set(object, names[i], json_integer(counters[i].value));
}

static void add_ksm(json_t **object, const struct ksm_stats *stats)
{
	json_t *process = json_object();
	add_known(object, ksm_global_names, stats->global, KSM_NR_GLOBAL);
	add_known(&process, ksm_process_names, stats->process, KSM_NR_PROCESS);
	qmp_set(object, "process", process);
}

static int query_dedup(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	struct machine_dedup_info info;
	json_t *object = json_object();
	(void)arguments;
	machine_dedup_info(m, &info);
	qmp_set(&object, "engine", json_string(machine_merger_name(info.merger)));
	qmp_set(&object, "connected", json_boolean(info.connected));
	qmp_set(&object, "trouble", qmp_string(info.trouble));
	if (info.merger == MACHINE_MERGER_PAGODA)
		add_pagoda(&object, &info);
	else if (info.merger == MACHINE_MERGER_KSM)
		add_ksm(&object, &info.ksm);
	return qmp_answer(object, result, err);
}

static const struct qmp_argument set_arguments[] = {
	{"cpu", QMP_ARGUMENT_INTEGER, true},           {"pass", QMP_ARGUMENT_INTEGER, true},
	{"huge", QMP_ARGUMENT_STRING, true},           {"huge-percent", QMP_ARGUMENT_INTEGER, true},
	{"most-mappings", QMP_ARGUMENT_INTEGER, true}, {"batch", QMP_ARGUMENT_INTEGER, true},
};

static int set_dedup(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	struct machine_dedup_info info;
	(void)result;
	machine_dedup_info(m, &info);
	int ret = 0;
	for (size_t i = 0; ret == 0 && i < DEDUP_NR_SETTINGS; i++) {
		const struct dedup_setting *setting = &dedup_settings[i];
		const json_t *value = json_object_get(arguments, setting->name);
		if (json_is_string(value))
			ret = dedup_setting_parse(setting, &info.settings, json_string_value(value), err);
		else if (value && json_integer_value(value) < 0)
			ret = error_set(err, EINVAL, "%s: %lld is negative", setting->name, (long long)json_integer_value(value));
		else if (value)
			ret = dedup_setting_set(setting, &info.settings, (uint64_t)json_integer_value(value), err);
	}
	return ret ? ret : machine_dedup_configure(m, &info.settings, err);
}

static const struct qmp_command commands[] = {
	{.name = "query-dedup", .run = query_dedup},
	{.name = "set-dedup",
	 .run = set_dedup,
	 .arguments = set_arguments,
	 .nr_arguments = sizeof(set_arguments) / sizeof(set_arguments[0])},
};
const struct qmp_command_table qmp_dedup_commands = {commands, sizeof(commands) / sizeof(commands[0])};
