/*
 * QMP's commands about the balloon: QEMU's own, and query-balloon-stats, which tells all that is known at once. QEMU shows the guest's
 * statistics as properties of a device: qom-get and qom-set know these two, and no others.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/qmp.h"

#define PERIPHERAL "/machine/peripheral/"
#define POLLING "guest-stats-polling-interval"

static json_t *number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

/* What the guest has said, by QEMU's names behind prefix. */
static json_t *stats_object(const struct balloon_info *info, const char *prefix)
{
	json_t *object = json_object();
	for (unsigned i = 0; i < BALLOON_NR_STATS; i++) {
		char name[64];
		if (!info->has_stats || !balloon_stats_has(&info->stats, (enum balloon_stat)i))
			continue;
		snprintf(name, sizeof(name), "%s%s", prefix, balloon_stat_fields[i].name);
		qmp_set(&object, name, number(info->stats.values[i]));
	}
	return object;
}

static const struct qmp_argument set_arguments[] = {{"value", QMP_ARGUMENT_INTEGER, false}};

static int set_balloon(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	json_int_t value = json_integer_value(json_object_get(arguments, "value"));
	(void)result;
	return machine_balloon_set(m, value > 0 ? (uint64_t)value : 0, err);
}

static int query_balloon(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	struct machine_balloon_info info;
	(void)arguments;
	int ret = machine_balloon_info(m, &info, err);
	return ret ? ret : qmp_answer(json_pack("{s:o}", "actual", number(info.actual_bytes)), result, err);
}

static int query_stats(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	struct machine_balloon_info info;
	(void)arguments;
	int ret = machine_balloon_info(m, &info, err);
	if (ret)
		return ret;
	json_t *object = json_pack("{s:b, s:b, s:o, s:o, s:o, s:o}", "driver", info.device.has_driver, "hinting",
				   info.device.hinting, "memory", number(info.memory_bytes), "target", number(info.target_bytes),
				   "actual", number(info.actual_bytes), POLLING, number(info.device.poll_seconds));
	const struct {
		const char *name;
		uint64_t value;
	} counts[] = {{"inflated-pages", info.device.inflated},
		      {"deflated-pages", info.device.deflated},
		      {"reported-pages", info.device.reported},
		      {"hinted-pages", info.device.hinted},
		      {"spared-pages", info.device.spared}};
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		qmp_set(&object, counts[i].name, number(counts[i].value));
	if (info.device.has_stats) {
		qmp_set(&object, "stats", stats_object(&info.device, ""));
		qmp_set(&object, "last-update", json_integer(info.device.stats_time));
	}
	return qmp_answer(object, result, err);
}

static int hint(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	(void)arguments, (void)result;
	return machine_balloon_hint(m, err);
}

/* --- as properties --- */

/* The balloon, named by its path; -ENODEV when that is another's. */
static int find(struct machine *m, const json_t *arguments, struct machine_balloon_info *info, const char **property,
		struct error *err)
{
	const char *path = json_string_value(json_object_get(arguments, "path"));
	*property = json_string_value(json_object_get(arguments, "property"));
	if (machine_balloon_info(m, info, NULL) || !info->id || strncmp(path, PERIPHERAL, strlen(PERIPHERAL)) != 0 ||
	    strcmp(path + strlen(PERIPHERAL), info->id) != 0)
		return error_set(err, ENODEV,
				 "Device '%.100s' not found: there is none but " PERIPHERAL "ID of a virtio-balloon-pci with an id",
				 path);
	return 0;
}

static int no_property(const char *property, struct error *err)
{
	return error_set(err, EINVAL, "Property '.%.100s' not found: there are guest-stats and " POLLING, property);
}

static const struct qmp_argument get_property_arguments[] = {
	{"path", QMP_ARGUMENT_STRING, false},
	{"property", QMP_ARGUMENT_STRING, false},
};

static int get_property(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	struct machine_balloon_info info;
	const char *property;
	int ret = find(m, arguments, &info, &property, err);
	if (ret)
		return ret;
	if (!strcmp(property, POLLING))
		return qmp_answer(number(info.device.poll_seconds), result, err);
	if (strcmp(property, "guest-stats") != 0)
		return no_property(property, err);
	json_t *stats = stats_object(&info.device, "stat-");
	return qmp_answer(json_pack("{s:o, s:I}", "stats", stats, "last-update", (json_int_t)info.device.stats_time), result, err);
}

static const struct qmp_argument set_property_arguments[] = {
	{"path", QMP_ARGUMENT_STRING, false},
	{"property", QMP_ARGUMENT_STRING, false},
	{"value", QMP_ARGUMENT_INTEGER, false},
};

static int set_property(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	struct machine_balloon_info info;
	const char *property;
	json_int_t value = json_integer_value(json_object_get(arguments, "value"));
	(void)result;
	int ret = find(m, arguments, &info, &property, err);
	if (ret)
		return ret;
	if (strcmp(property, POLLING) != 0)
		return no_property(property, err);
	if (value < 0 || value > UINT32_MAX)
		return error_set(err, EINVAL, POLLING ": must be seconds, 0 to %u", UINT32_MAX);
	return machine_balloon_set_polling(m, (uint32_t)value, err);
}

static const struct qmp_command commands[] = {
	{.name = "balloon", .run = set_balloon, .arguments = set_arguments, .nr_arguments = 1},
	{.name = "query-balloon", .run = query_balloon},
	{.name = "query-balloon-stats", .run = query_stats},
	{.name = "balloon-hint", .run = hint},
	{.name = "qom-get", .run = get_property, .arguments = get_property_arguments, .nr_arguments = 2},
	{.name = "qom-set", .run = set_property, .arguments = set_property_arguments, .nr_arguments = 3},
};
const struct qmp_command_table qmp_balloon_commands = {commands, sizeof(commands) / sizeof(commands[0])};
