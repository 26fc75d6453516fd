/* -numa: nodes with memory and vCPUs, and the distances between them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/options.h"

#define LOCAL_DISTANCE 10
#define REMOTE_DISTANCE 20
#define MAX_BYTES (4ull << 40)

static const struct property node_rows[] = {
	PROPERTY_ROW_STRING(struct option_numa, kind, "type", NULL),
	PROPERTY_ROW_NUMBER(struct option_numa, nodeid, "nodeid", 0, CONFIG_MAX_NODES - 1, NULL),
	PROPERTY_ROW_LIST(struct option_numa, cpus, "cpus", "FIRST or FIRST-LAST; may be given several times"),
	PROPERTY_ROW_STRING(struct option_numa, memdev, "memdev", "id of an -object memory-backend-ram"),
	PROPERTY_ROW_MEBIBYTES(struct option_numa, mem, "mem", 0, MAX_BYTES, NULL),
};
static const struct property_table node_table = PROPERTY_TABLE("-numa node", node_rows);

static const struct property dist_rows[] = {
	PROPERTY_ROW_STRING(struct option_numa, kind, "type", NULL),
	PROPERTY_ROW_NUMBER(struct option_numa, src, "src", 0, CONFIG_MAX_NODES - 1, NULL),
	PROPERTY_ROW_NUMBER(struct option_numa, dst, "dst", 0, CONFIG_MAX_NODES - 1, NULL),
	PROPERTY_ROW_NUMBER(struct option_numa, val, "val", LOCAL_DISTANCE, 255, "10 is local, 20 the default, 255 out of reach"),
};
static const struct property_table dist_table = PROPERTY_TABLE("-numa dist", dist_rows);

static const struct property cpu_rows[] = {
	PROPERTY_ROW_STRING(struct option_numa, kind, "type", NULL),
	PROPERTY_ROW_NUMBER(struct option_numa, node_id, "node-id", 0, CONFIG_MAX_NODES - 1, NULL),
	PROPERTY_ROW_NUMBER(struct option_numa, socket_id, "socket-id", 0, CONFIG_MAX_CPUS - 1, NULL),
	PROPERTY_ROW_NUMBER(struct option_numa, die_id, "die-id", 0, CONFIG_MAX_CPUS - 1, NULL),
	PROPERTY_ROW_NUMBER(struct option_numa, core_id, "core-id", 0, CONFIG_MAX_CPUS - 1, NULL),
	PROPERTY_ROW_NUMBER(struct option_numa, thread_id, "thread-id", 0, CONFIG_MAX_CPUS - 1, NULL),
};
static const struct property_table cpu_table = PROPERTY_TABLE("-numa cpu", cpu_rows);

int options_numa(struct options *o, const char *argument, struct error *err)
{
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "type", &kv, err);
	if (ret)
		return ret;
	static const struct property_table *const tables[] = {&node_table, &dist_table, &cpu_table};
	const char *kind = keyvals_get(kv, "type");
	int index = kind ? options_word_index("node|dist|cpu", kind) : -1;
	if (index < 0)
		return error_set(err, EINVAL, "\"%.60s\": we have node, dist and cpu", kind ? kind : "");
	if (o->nr_numa == OPTIONS_MAX_NUMA_LINES)
		return error_set(err, EINVAL, "more than %d times", OPTIONS_MAX_NUMA_LINES);
	struct option_numa *grown = realloc(o->numa, (o->nr_numa + 1) * sizeof(*grown));
	if (!grown)
		return error_set(err, ENOMEM, "out of memory");
	o->numa = grown;
	struct option_numa *line = &grown[o->nr_numa];
	*line = (struct option_numa){.kind = NULL};
	ret = options_apply(tables[index], kv, line, err);
	if (!ret)
		o->nr_numa++;
	return ret;
}

static bool is_kind(const struct option_numa *line, const char *kind)
{
	return !strcmp(line->kind, kind);
}

/* Gives vCPU index to a node; each belongs to one. */
static int give_cpu(struct config *c, unsigned cpu, unsigned node, struct error *err)
{
	for (unsigned i = 0; i < c->nr_nodes; i++)
		if (c->nodes[i].cpus[cpu / 64] >> (cpu % 64) & 1)
			return error_set(err, EINVAL, "-numa: vCPU %u is given to a node twice", cpu);
	c->nodes[node].cpus[cpu / 64] |= 1ull << (cpu % 64);
	return 0;
}

static int give_cpu_range(struct config *c, const char *range, unsigned node, struct error *err)
{
	char first_text[16];
	uint64_t first, last;
	size_t len = strcspn(range, "-");
	if (len >= sizeof(first_text))
		return error_set(err, EINVAL, "-numa node: cpus=%.40s is not a range of vCPUs", range);
	memcpy(first_text, range, len);
	first_text[len] = '\0';
	int ret = options_parse_number(first_text, 0, c->nr_cpus - 1, &first, err);
	last = first;
	if (!ret && range[len])
		ret = options_parse_number(range + len + 1, 0, c->nr_cpus - 1, &last, err);
	if (ret) {
		error_prefix(err, "-numa node: cpus");
		return ret;
	}
	if (last < first)
		return error_set(err, EINVAL, "-numa node: cpus=%.40s: the last is before the first", range);
	for (uint64_t cpu = first; !ret && cpu <= last; cpu++)
		ret = give_cpu(c, (unsigned)cpu, node, err);
	return ret;
}

int options_resolve_binding(const struct option_object *backend, struct config_binding *binding, struct error *err)
{
	for (unsigned i = 0; i < backend->host_nodes.nr; i++) {
		const char *range = backend->host_nodes.items[i];
		unsigned first, last;
		int used = 0;
		if (sscanf(range, "%2u%n", &first, &used) != 1 || used == 0) /* NOLINT(cert-err34-c) */
			used = 0;
		last = first;
		if (used && range[used] == '-') {
			int more = 0;
			if (sscanf(range + used + 1, "%2u%n", &last, &more) != 1) /* NOLINT(cert-err34-c) */
				more = 0;
			used = more ? used + 1 + more : 0;
		}
		if (!used || range[used] || first > last || last >= 64)
			return error_set(
				err, EINVAL,
				"-object memory-backend-ram,id=%s: host-nodes=%.40s is not a node, or a range of nodes, below 64",
				backend->id, range);
		binding->host_nodes |= (last == 63 ? ~0ull : (1ull << (last + 1)) - 1) & ~((1ull << first) - 1);
	}
	static const int policies[] = {CONFIG_POLICY_DEFAULT, CONFIG_POLICY_PREFERRED, CONFIG_POLICY_BIND,
				       CONFIG_POLICY_INTERLEAVE};
	binding->policy = policies[backend->policy.set ? backend->policy.value : 0];
	if (!binding->host_nodes != (binding->policy == CONFIG_POLICY_DEFAULT))
		return error_set(
			err, EINVAL,
			"-object memory-backend-ram,id=%s: host-nodes and a policy (preferred, bind or interleave) go together",
			backend->id);
	return 0;
}

static int resolve_node(struct options *o, const struct option_numa *line, unsigned node, struct error *err)
{
	struct config_node *n = &o->config->nodes[node];
	if (line->memdev && line->mem.set)
		return error_set(err, EINVAL, "-numa node: mem and memdev exclude each other");
	if (line->memdev) {
		const struct option_object *backend = options_use_object(o, line->memdev, err);
		if (!backend)
			return error_prefix(err, "-numa node: memdev");
		if (strcmp(backend->kind, "memory-backend-ram") != 0)
			return error_set(err, EINVAL, "-numa node: memdev=%s: that is a %s", backend->id, backend->kind);
		n->memory_bytes = backend->size.value;
		int bound = options_resolve_binding(backend, &n->binding, err);
		if (bound)
			return bound;
	} else {
		n->memory_bytes = line->mem.value;
	}
	if (n->memory_bytes % 4096)
		return error_set(err, EINVAL, "-numa node: the memory of node %u is not a multiple of 4096 bytes", node);
	int ret = 0;
	for (unsigned i = 0; !ret && i < line->cpus.nr; i++)
		ret = give_cpu_range(o->config, line->cpus.items[i], node, err);
	return ret;
}

static int resolve_nodes(struct options *o, struct error *err)
{
	struct config *c = o->config;
	const struct option_numa *of_node[CONFIG_MAX_NODES] = {NULL};
	bool any_memory = false;
	unsigned next = 0;
	for (size_t i = 0; i < o->nr_numa; i++) {
		const struct option_numa *line = &o->numa[i];
		if (!is_kind(line, "node"))
			continue;
		unsigned node = line->nodeid.set ? (unsigned)line->nodeid.value : next;
		if (node >= CONFIG_MAX_NODES)
			return error_set(err, EINVAL, "-numa node: more than %d nodes", CONFIG_MAX_NODES);
		if (of_node[node])
			return error_set(err, EINVAL, "-numa node: nodeid=%u is given twice", node);
		of_node[node] = line;
		any_memory |= line->memdev || line->mem.set;
		next = node + 1;
		if (c->nr_nodes < next)
			c->nr_nodes = next;
	}
	for (unsigned node = 0; node < c->nr_nodes; node++) {
		if (!of_node[node])
			return error_set(err, EINVAL, "-numa node: nodeid=%u is missing; ids must follow each other from 0", node);
		int ret = resolve_node(o, of_node[node], node, err);
		if (ret)
			return ret;
	}
	if (!c->nr_nodes)
		return 0;
	uint64_t sum = 0;
	for (unsigned node = 0; !any_memory && node < c->nr_nodes; node++) {
		/* Even parts of whole MiB; the last takes the rest. */
		uint64_t part = (c->memory_bytes / c->nr_nodes) & ~((1ull << 20) - 1);
		c->nodes[node].memory_bytes = node + 1 < c->nr_nodes ? part : c->memory_bytes - part * node;
	}
	for (unsigned node = 0; node < c->nr_nodes; node++)
		sum += c->nodes[node].memory_bytes;
	if (sum != c->memory_bytes)
		return error_set(err, EINVAL, "-numa node: the nodes have %llu bytes of memory together, but -m says %llu",
				 (unsigned long long)sum, (unsigned long long)c->memory_bytes);
	return 0;
}

/* -numa cpu: all vCPUs at a place of the topology; a coordinate that is left out matches all. */
static int resolve_cpu_line(struct config *c, const struct option_numa *line, struct error *err)
{
	if (!line->node_id.set)
		return error_set(err, EINVAL, "-numa cpu needs node-id");
	if (line->node_id.value >= c->nr_nodes)
		return error_set(err, EINVAL, "-numa cpu: node-id=%llu: no such -numa node",
				 (unsigned long long)line->node_id.value);
	bool found = false;
	for (unsigned cpu = 0; cpu < c->nr_cpus; cpu++) {
		unsigned thread = cpu % c->threads, core = cpu / c->threads % c->cores;
		unsigned die = cpu / c->threads / c->cores % c->dies, socket = cpu / c->threads / c->cores / c->dies;
		if ((line->socket_id.set && line->socket_id.value != socket) || (line->die_id.set && line->die_id.value != die) ||
		    (line->core_id.set && line->core_id.value != core) || (line->thread_id.set && line->thread_id.value != thread))
			continue;
		int ret = give_cpu(c, cpu, (unsigned)line->node_id.value, err);
		if (ret)
			return ret;
		found = true;
	}
	return found ? 0 : error_set(err, EINVAL, "-numa cpu: there is no vCPU at that place of the -smp topology");
}

static int resolve_cpus(struct options *o, struct error *err)
{
	struct config *c = o->config;
	for (size_t i = 0; i < o->nr_numa; i++) {
		int ret = is_kind(&o->numa[i], "cpu") ? resolve_cpu_line(c, &o->numa[i], err) : 0;
		if (ret)
			return ret;
	}
	bool any = false, all = true;
	for (unsigned cpu = 0; cpu < c->nr_cpus; cpu++) {
		bool given = false;
		for (unsigned node = 0; node < c->nr_nodes; node++)
			given |= c->nodes[node].cpus[cpu / 64] >> (cpu % 64) & 1;
		any |= given;
		all &= given;
	}
	if (any && !all)
		return error_set(err, EINVAL,
				 "-numa: some vCPUs are given to nodes and some are not; give all, or none for an even spread");
	/* Sockets go round the nodes, as in QEMU. */
	unsigned per_socket = c->dies * c->cores * c->threads, nr_nodes = c->nr_nodes;
	for (unsigned cpu = 0; !any && nr_nodes && per_socket && cpu < c->nr_cpus; cpu++) {
		unsigned node = cpu / per_socket % nr_nodes;
		c->nodes[node].cpus[cpu / 64] |= 1ull << (cpu % 64);
	}
	return 0;
}

static int resolve_distances(struct options *o, struct error *err)
{
	struct config *c = o->config;
	for (size_t i = 0; i < o->nr_numa; i++) {
		const struct option_numa *line = &o->numa[i];
		if (!is_kind(line, "dist"))
			continue;
		if (!line->src.set || !line->dst.set || !line->val.set)
			return error_set(err, EINVAL, "-numa dist needs src, dst and val");
		if (line->src.value >= c->nr_nodes || line->dst.value >= c->nr_nodes)
			return error_set(err, EINVAL, "-numa dist: src=%llu, dst=%llu: no such -numa node",
					 (unsigned long long)line->src.value, (unsigned long long)line->dst.value);
		if ((line->src.value == line->dst.value) != (line->val.value == LOCAL_DISTANCE))
			return error_set(err, EINVAL, "-numa dist: %d is the distance from a node to itself, and to no other",
					 LOCAL_DISTANCE);
		c->nodes[line->src.value].distance[line->dst.value] = (uint8_t)line->val.value;
	}
	for (unsigned i = 0; i < c->nr_nodes; i++) {
		for (unsigned j = 0; j <= i; j++) {
			/* One way said: the way back is as long. */
			uint8_t *there = &c->nodes[i].distance[j], *back = &c->nodes[j].distance[i];
			uint8_t either = *there ? *there : *back ? *back : i == j ? LOCAL_DISTANCE : REMOTE_DISTANCE;
			*there = *there ? *there : either;
			*back = *back ? *back : either;
		}
	}
	return 0;
}

int options_resolve_numa(struct options *o, struct error *err)
{
	int ret = resolve_nodes(o, err);
	if (ret)
		return ret;
	if (!o->config->nr_nodes)
		return o->nr_numa ? error_set(err, EINVAL, "-numa: there is no -numa node") : 0;
	ret = resolve_cpus(o, err);
	return ret ? ret : resolve_distances(o, err);
}
