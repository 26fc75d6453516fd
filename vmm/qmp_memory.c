/* QMP's commands about the guest's memory and its manager. All but query-memory-size-summary are our own. */
#include <errno.h>
#include <string.h>

#include "vmm/memory_settings.h"
#include "vmm/qmp.h"

#define MAX_POINTS 64

static json_t *number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *settings_object(const struct memmgr_settings *settings)
{
	json_t *object = json_object();
	for (size_t i = 0; i < MEMORY_NR_SETTINGS; i++) {
		const struct memory_setting *setting = &memory_settings[i];
		uint64_t value = memory_setting_get(setting, settings);
		qmp_set(&object, setting->name, setting->kind == MEMORY_SETTING_SWITCH ? json_boolean(value) : number(value));
	}
	return object;
}

static json_t *stats_object(const struct memmgr_stats *stats)
{
	json_t *object = json_object();
	for (size_t i = 0; i < MEMMGR_STATS_NR; i++) {
		const struct memmgr_stats_field *field = &memmgr_stats_fields[i];
		uint64_t value;
		memcpy(&value, (const char *)stats + field->offset, sizeof(value));
		qmp_set(&object, field->name, number(value));
	}
	return object;
}

static int query_memory(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	struct memmgr_settings settings;
	struct machine_memory_sample now;
	char detail[160];
	(void)arguments;
	int ret = machine_memory_settings(m, &settings, err);
	if (ret == 0)
		ret = machine_memory_sample(m, &now, NULL, err);
	if (ret)
		return ret;
	enum memmgr_failure failure = machine_memory_failure(m, detail, sizeof(detail));
	json_t *object = json_object();
	qmp_set(&object, "settings", settings_object(&settings));
	qmp_set(&object, "stats", stats_object(&now.stats));
	qmp_set(&object, "failure", json_string(memmgr_failure_name(failure)));
	if (*detail)
		qmp_set(&object, "detail", qmp_string(detail));
	return qmp_answer(object, result, err);
}

static int query_size_summary(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	json_t *object = json_object();
	(void)arguments;
	qmp_set(&object, "base-memory", number(machine_config(m)->memory_bytes));
	qmp_set(&object, "plugged-memory", number(0));
	return qmp_answer(object, result, err);
}

static int query_curve(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	struct memmgr_curve_point points[MAX_POINTS];
	(void)arguments;
	ssize_t nr = machine_memory_curve(m, points, MAX_POINTS, err);
	if (nr < 0)
		return (int)nr;
	json_t *list = json_array();
	for (ssize_t i = 0; list && i < nr; i++) {
		json_t *point = json_object();
		qmp_set(&point, "bytes", number(points[i].bytes));
		qmp_set(&point, "faults-per-second", json_real(points[i].faults_per_s));
		if (json_array_append_new(list, point) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return qmp_answer(list, result, err);
}

static const struct qmp_argument set_arguments[] = {
	{"target", QMP_ARGUMENT_INTEGER, true},
	{"floor", QMP_ARGUMENT_INTEGER, true},
	{"compressed-limit", QMP_ARGUMENT_INTEGER, true},
	{"swap-limit", QMP_ARGUMENT_INTEGER, true},
	{"evict-rate", QMP_ARGUMENT_INTEGER, true},
	{"limbo", QMP_ARGUMENT_INTEGER, true},
	{"cold", QMP_ARGUMENT_INTEGER, true},
	{"sample-rate", QMP_ARGUMENT_INTEGER, true},
	{"dense", QMP_ARGUMENT_BOOLEAN, true},
	{"kernel-tier", QMP_ARGUMENT_BOOLEAN, true},
	{"swap-out", QMP_ARGUMENT_BOOLEAN, true},
	{"prefetch", QMP_ARGUMENT_BOOLEAN, true},
};

static int set_memory(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	struct memmgr_settings settings;
	(void)result;
	int ret = machine_memory_settings(m, &settings, err);
	for (size_t i = 0; ret == 0 && i < MEMORY_NR_SETTINGS; i++) {
		const struct memory_setting *setting = &memory_settings[i];
		const json_t *value = json_object_get(arguments, setting->name);
		if (json_is_boolean(value))
			ret = memory_setting_set(setting, &settings, json_is_true(value), err);
		else if (value && json_integer_value(value) < 0)
			ret = error_set(err, EINVAL, "%s: %lld is negative", setting->name, (long long)json_integer_value(value));
		else if (value)
			ret = memory_setting_set(setting, &settings, (uint64_t)json_integer_value(value), err);
	}
	if (ret == 0)
		ret = memory_settings_check(&settings, machine_config(m)->memory_bytes, err);
	return ret ? ret : machine_memory_configure(m, &settings, err);
}

static int prewarm(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	(void)arguments, (void)result;
	return machine_memory_prewarm(m, err);
}

/* For the daemon, which opens it by /proc. */
static int query_stats_page(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	int fd = machine_memory_stats_fd(m, err);
	(void)arguments;
	return fd < 0 ? fd : qmp_answer(json_pack("{s:i}", "fd", fd), result, err);
}

static const struct qmp_argument evict_arguments[] = {
	{"bytes", QMP_ARGUMENT_INTEGER, true},
	{"tier", QMP_ARGUMENT_STRING, true},
};

static int evict(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	const json_t *bytes = json_object_get(arguments, "bytes"), *word = json_object_get(arguments, "tier");
	enum memmgr_tier tier = MEMMGR_TIER_COMPRESSED;
	uint64_t taken;
	bool complete;
	if (json_integer_value(bytes) < 0)
		return error_set(err, EINVAL, "bytes: %lld is negative", (long long)json_integer_value(bytes));
	int ret = word ? qmp_memory_tier(json_string_value(word), &tier, err) : 0;
	if (ret == 0)
		ret = machine_memory_evict(m, (uint64_t)json_integer_value(bytes), tier, &taken, &complete, err);
	return ret ? ret : qmp_answer(json_pack("{s:o, s:b}", "taken", number(taken), "complete", complete), result, err);
}

/* --- host nodes --- */

static const struct qmp_argument bind_arguments[] = {
	{"node", QMP_ARGUMENT_INTEGER, true},
	{"host-nodes", QMP_ARGUMENT_ARRAY, false},
	{"policy", QMP_ARGUMENT_STRING, true},
	{"migrate-rate", QMP_ARGUMENT_INTEGER, true},
};

static int bind_node(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	static const char *const names[] = {"default", "bind", "preferred", "interleave"};
	static const enum numa_policy policies[] = {NUMA_POLICY_DEFAULT, NUMA_POLICY_BIND, NUMA_POLICY_PREFER,
						    NUMA_POLICY_INTERLEAVE};
	const char *word = json_string_value(json_object_get(arguments, "policy"));
	json_int_t node = json_integer_value(json_object_get(arguments, "node"));
	json_int_t rate = json_integer_value(json_object_get(arguments, "migrate-rate"));
	const json_t *list = json_object_get(arguments, "host-nodes"), *item;
	enum numa_policy policy = NUMA_POLICY_BIND;
	uint64_t mask = 0;
	size_t i;
	(void)result;
	json_array_foreach(list, i, item)
	{
		if (!json_is_integer(item) || json_integer_value(item) < 0 || json_integer_value(item) >= NUMA_HOST_NODES)
			return error_set(err, EINVAL, "host-nodes: must be numbers of nodes, 0 to %d", NUMA_HOST_NODES - 1);
		mask |= 1ull << json_integer_value(item);
	}
	if (word) {
		for (i = 0; i < 4 && strcmp(word, names[i]) != 0; i++)
			;
		if (i == 4)
			return error_set(err, EINVAL,
					 "policy: \"%.40s\" is none; there are default, bind, preferred and interleave", word);
		policy = policies[i];
	}
	if (node < 0 || node >= CONFIG_MAX_NODES)
		return error_set(err, EINVAL, "node: must be 0 to %d", CONFIG_MAX_NODES - 1);
	if (rate < 0 || rate > UINT32_MAX)
		return error_set(err, EINVAL, "migrate-rate: must be pages/s, 0 to %u", UINT32_MAX);
	return machine_memory_bind_node(m, (unsigned)node, mask, policy, (uint32_t)rate, err);
}

static json_t *node_object(unsigned node, const struct memmgr_node *look, const struct numa_count *count)
{
	json_t *on = json_array(), *bound = json_array();
	for (unsigned n = 0; n < NUMA_HOST_NODES; n++) {
		if (look->host_nodes >> n & 1)
			json_array_append_new(bound, json_integer(n));
		if (count->nr_pages[n])
			json_array_append_new(on,
					      json_pack("{s:i, s:o}", "host-node", (int)n, "pages", number(count->nr_pages[n])));
	}
	return json_pack("{s:i, s:o, s:o, s:b, s:o, s:o}", "node", (int)node, "bytes", number(look->bytes), "host-nodes", bound,
			 "moving", look->moving, "on", on, "absent-pages", number(count->nr_absent));
}

static int query_nodes(struct machine *m, const json_t *arguments, json_t **result, struct error *err)
{
	unsigned nr = machine_config(m)->nr_nodes ? machine_config(m)->nr_nodes : 1;
	json_t *list = json_array();
	(void)arguments;
	for (unsigned node = 0; node < nr; node++) {
		struct numa_count count;
		struct memmgr_node look;
		int ret = machine_memory_look_at_node(m, node, &look, err);
		if (ret == 0)
			ret = machine_memory_count_node(m, node, &count, err);
		if (ret) {
			json_decref(list);
			return ret;
		}
		json_array_append_new(list, node_object(node, &look, &count));
	}
	return qmp_answer(list, result, err);
}

int qmp_memory_tier(const char *word, enum memmgr_tier *tier, struct error *err)
{
	static const char *const words[] = {
		[MEMMGR_TIER_LIMBO] = "limbo",
		[MEMMGR_TIER_COMPRESSED] = "compressed",
		[MEMMGR_TIER_DISK] = "disk",
	};
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcmp(word, words[i])) {
			*tier = (enum memmgr_tier)i;
			return 0;
		}
	}
	return error_set(err, EINVAL, "tier: \"%.60s\" is none; there are limbo, compressed and disk", word);
}

static const struct qmp_command commands[] = {
	{.name = "query-memory", .run = query_memory},
	{.name = "query-memory-curve", .run = query_curve},
	{.name = "query-memory-stats-page", .run = query_stats_page},
	{.name = "query-memory-size-summary", .run = query_size_summary},
	{.name = "set-memory",
	 .run = set_memory,
	 .arguments = set_arguments,
	 .nr_arguments = sizeof(set_arguments) / sizeof(set_arguments[0])},
	{.name = "memory-prewarm", .run = prewarm},
	{.name = "memory-bind-node", .run = bind_node, .arguments = bind_arguments, .nr_arguments = 4},
	{.name = "query-memory-nodes", .run = query_nodes},
	{.name = "memory-evict", .run = evict, .arguments = evict_arguments, .nr_arguments = 2},
};
const struct qmp_command_table qmp_memory_commands = {commands, sizeof(commands) / sizeof(commands[0])};
