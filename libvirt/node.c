/* The host's memory and CPUs, and the knobs of shared pages. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/dedup_server.h"
#include "host/host_memory.h"
#include "host/host_report.h"
#include "host/host_settings.h"
#include "libvirt/call.h"
#include "libvirt/procedures.h"

#define MOST_NODES 64
#define MOST_CPUS 4096
#define MOST_SIZES 16
#define MODEL_BYTES 32
#define ALL (-1)

static uint32_t nr_cpus(void)
{
	long nr = sysconf(_SC_NPROCESSORS_CONF);
	return nr < 1 ? 1 : nr > MOST_CPUS ? MOST_CPUS : (uint32_t)nr;
}

static uint32_t read_mhz(void)
{
	char line[256];
	double mhz = 0;
	FILE *file = fopen("/proc/cpuinfo", "re");
	while (file && mhz <= 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, "cpu MHz", 7) && strchr(line, ':'))
			mhz = strtod(strchr(line, ':') + 1, NULL);
	if (file)
		fclose(file);
	return mhz > 0 && mhz < 1e6 ? (uint32_t)mhz : 0;
}

/* Clients take nodes * sockets * cores * threads for the number of CPUs, and that is what must be right. */
static void run_info(struct rpc_call *call)
{
	static const char model[MODEL_BYTES] = "x86_64";
	struct host_memory memory = {.total = 0};
	struct host_node nodes[MOST_NODES];
	if (!libvirt_arguments_end(call))
		return;
	uint32_t cpus = nr_cpus(), nr = host_nodes_read(nodes, MOST_NODES);
	if (nr < 1 || cpus % nr)
		nr = 1;
	host_memory_read(&memory);
	for (unsigned i = 0; i < MODEL_BYTES; i++)
		xdr_put_u32(&call->out, (uint8_t)model[i]);
	xdr_put_u64(&call->out, memory.total >> 10);
	xdr_put_u32(&call->out, cpus);
	xdr_put_u32(&call->out, read_mhz());
	xdr_put_u32(&call->out, nr);
	xdr_put_u32(&call->out, 1);
	xdr_put_u32(&call->out, cpus / nr);
	xdr_put_u32(&call->out, 1);
	rpc_answer(call);
}

static void run_cpu_map(struct rpc_call *call)
{
	uint8_t map[MOST_CPUS / 8] = {0};
	uint32_t online = 0, nr = nr_cpus(), wants = xdr_get_u32(&call->in), wants_online = xdr_get_u32(&call->in);
	char path[80], digit;
	(void)xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	for (uint32_t i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", i);
		FILE *file = fopen(path, "re");
		/* The first one often has no such file, and cannot be switched off. */
		bool is = !file || fscanf(file, "%c", &digit) != 1 || digit != '0';
		if (file)
			fclose(file);
		online += is;
		map[i / 8] |= (uint8_t)(is << i % 8);
	}
	xdr_put_opaque(&call->out, map, wants ? (nr + 7) / 8 : 0);
	xdr_put_u32(&call->out, wants_online ? online : 0);
	xdr_put_i32(&call->out, (int32_t)nr);
	rpc_answer(call);
}

static void run_security_model(struct rpc_call *call)
{
	if (!libvirt_arguments_end(call))
		return;
	xdr_put_u32(&call->out, 0);
	xdr_put_u32(&call->out, 0);
	rpc_answer(call);
}

/* --- memory --- */

static void run_free_memory(struct rpc_call *call)
{
	struct host_memory memory = {.total = 0};
	if (!libvirt_arguments_end(call))
		return;
	host_memory_read(&memory);
	xdr_put_u64(&call->out, memory.available);
	rpc_answer(call);
}

/* The host's nodes from number first on, most at most: free memory of each. */
static void run_free_cells(struct rpc_call *call)
{
	struct host_node nodes[MOST_NODES];
	int32_t first = xdr_get_i32(&call->in), most = xdr_get_i32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	unsigned nr = host_nodes_read(nodes, MOST_NODES);
	if (first < 0 || most < 1 || nr < 1 || (uint32_t)first > nodes[nr - 1].node) {
		libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "there is no node %d on this host", first);
		return;
	}
	uint32_t written = 0;
	size_t place = xdr_put_later(&call->out);
	for (unsigned i = 0; i < nr && written < (uint32_t)most; i++)
		if (nodes[i].node >= (uint32_t)first) {
			xdr_put_u64(&call->out, nodes[i].free);
			written++;
		}
	xdr_set_u32(&call->out, place, written);
	rpc_answer(call);
}

/* Pages of so many KiB that are free on a node: those of the usual size, and what the kernel keeps as huge pages. */
static uint64_t free_pages(const struct host_node *node, uint32_t kib)
{
	char path[120];
	unsigned long long nr = 0;
	if (kib == 4)
		return node->free >> 12;
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/hugepages/hugepages-%ukB/free_hugepages", node->node, kib);
	FILE *file = fopen(path, "re");
	if (file && fscanf(file, "%llu", &nr) != 1)
		nr = 0;
	if (file)
		fclose(file);
	return nr;
}

static void run_free_pages(struct rpc_call *call)
{
	struct host_node nodes[MOST_NODES];
	uint32_t sizes[MOST_SIZES], written = 0, nr_sizes = xdr_get_count(&call->in, MOST_SIZES, 4);
	for (uint32_t i = 0; i < nr_sizes; i++)
		sizes[i] = xdr_get_u32(&call->in);
	int32_t first = xdr_get_i32(&call->in);
	uint32_t nr_cells = xdr_get_u32(&call->in);
	(void)xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	unsigned nr = host_nodes_read(nodes, MOST_NODES);
	size_t place = xdr_put_later(&call->out);
	for (unsigned i = 0; i < nr; i++)
		for (uint32_t k = 0; first >= 0 && k < nr_sizes; k++)
			if (nodes[i].node >= (uint32_t)first && nodes[i].node - (uint32_t)first < nr_cells) {
				xdr_put_u64(&call->out, free_pages(&nodes[i], sizes[k]));
				written++;
			}
	xdr_set_u32(&call->out, place, written);
	if (written)
		rpc_answer(call);
	else
		libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "there are no such nodes on this host");
}

struct named_value {
	const char *name;
	uint64_t value;
};

/* nr of them; with nparams 0 only their number is asked for. */
static void answer_values(struct rpc_call *call, const struct named_value values[], uint32_t nr, int32_t nparams)
{
	uint32_t written = nparams < 0 ? 0 : (uint32_t)nparams < nr ? (uint32_t)nparams : nr;
	xdr_put_u32(&call->out, written);
	for (uint32_t i = 0; i < written; i++) {
		xdr_put_string(&call->out, values[i].name);
		xdr_put_u64(&call->out, values[i].value);
	}
	xdr_put_u32(&call->out, nr);
	rpc_answer(call);
}

/* A line of /proc/meminfo, in KiB. */
static uint64_t meminfo(const char *name)
{
	char line[256];
	unsigned long long value = 0;
	size_t len = strlen(name);
	FILE *file = fopen("/proc/meminfo", "re");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, len) && line[len] == ':')
			value = strtoull(line + len + 1, NULL, 10);
	if (file)
		fclose(file);
	return value;
}

static void run_memory_stats(struct rpc_call *call)
{
	struct host_node nodes[MOST_NODES];
	int32_t nparams = xdr_get_i32(&call->in), cell = xdr_get_i32(&call->in);
	(void)xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	if (cell == ALL) {
		const struct named_value all[] = {{"total", meminfo("MemTotal")},
						  {"free", meminfo("MemFree")},
						  {"buffers", meminfo("Buffers")},
						  {"cached", meminfo("Cached")}};
		answer_values(call, all, 4, nparams);
		return;
	}
	unsigned nr = host_nodes_read(nodes, MOST_NODES);
	for (unsigned i = 0; i < nr; i++)
		if (cell >= 0 && nodes[i].node == (uint32_t)cell) {
			const struct named_value one[] = {{"total", nodes[i].total >> 10}, {"free", nodes[i].free >> 10}};
			answer_values(call, one, 2, nparams);
			return;
		}
	libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "there is no node %d on this host", cell);
}

static void run_cpu_stats(struct rpc_call *call)
{
	char line[512], name[32] = "cpu";
	unsigned long long user = 0, nice = 0, kernel = 0, idle = 0, wait = 0;
	bool found = false;
	int32_t cpu = xdr_get_i32(&call->in), nparams = xdr_get_i32(&call->in);
	(void)xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	if (cpu != ALL)
		snprintf(name, sizeof(name), "cpu%d", cpu);
	size_t len = strlen(name);
	FILE *file = fopen("/proc/stat", "re");
	while (file && !found && fgets(line, sizeof(line), file))
		found = !strncmp(line, name, len) && line[len] == ' ' &&
			sscanf(line + len, "%llu %llu %llu %llu %llu", &user, &nice, &kernel, &idle, &wait) == 5;
	if (file)
		fclose(file);
	if (!found) {
		libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "there is no CPU %d on this host, or it is switched off", cpu);
		return;
	}
	uint64_t tick_ns = 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK);
	const struct named_value values[] = {{"kernel", kernel * tick_ns},
					     {"user", (user + nice) * tick_ns},
					     {"idle", idle * tick_ns},
					     {"iowait", wait * tick_ns}};
	answer_values(call, values, 4, nparams);
}

/* --- shared pages --- */

static void run_memory_parameters(struct rpc_call *call)
{
	const struct libvirt_server *s = libvirt_server_of(call);
	struct host_sums sums;
	int32_t nparams = xdr_get_i32(&call->in);
	(void)xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	struct rpc_parameters list = rpc_parameters_begin(&call->out);
	if (nparams > 0) {
		host_sums(s->guests, s->dedup, &sums);
		rpc_put_uint(&list, "shm_pages_to_scan", s->arbiter->scan.pages);
		rpc_put_uint(&list, "shm_sleep_millisecs", s->arbiter->scan.sleep_ms);
		rpc_put_uint(&list, "shm_merge_across_nodes", s->dedup && dedup_server_across(s->dedup));
		rpc_put_ullong(&list, "shm_pages_shared", (uint64_t)sums.pool >> 12);
		rpc_put_ullong(&list, "shm_pages_sharing", (uint64_t)sums.saved >> 12);
		rpc_put_ullong(&list, "shm_pages_unshared", (uint64_t)sums.without_twin >> 12);
	}
	rpc_parameters_end(&list);
	xdr_put_i32(&call->out, 6);
	rpc_answer(call);
}

/* Adds what a parameter asks for, in the words of the host's settings. Returns false when there is no such knob. */
static bool add_setting(json_t *set, const struct rpc_parameter *p)
{
	static const char *const names[][2] = {{"shm_pages_to_scan", "merge-pages"}, {"shm_sleep_millisecs", "merge-sleep"}};
	if (p->type == RPC_STRING || p->type == RPC_DOUBLE)
		return false;
	if (!strcmp(p->name, "shm_merge_across_nodes"))
		return json_object_set_new(set, "merge-across-nodes", json_boolean(p->number != 0)) == 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(p->name, names[i][0]))
			return json_object_set_new(set, names[i][1],
						   json_integer(p->number > INT64_MAX ? -1 : (json_int_t)p->number)) == 0;
	return false;
}

static void run_set_memory_parameters(struct rpc_call *call)
{
	struct libvirt_server *s = libvirt_server_of(call);
	struct rpc_parameter p;
	struct error err;
	char other[RPC_PARAMETER_NAME_BYTES] = "";
	json_t *set = json_object();
	uint32_t nr = xdr_get_count(&call->in, 64, RPC_PARAMETER_LEAST_BYTES);
	for (uint32_t i = 0; i < nr; i++) {
		rpc_get_parameter(&call->in, &p);
		if (!add_setting(set, &p))
			memcpy(other, p.name, sizeof(other));
	}
	(void)xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call)) {
		json_decref(set);
		return;
	}
	if (!set)
		libvirt_refuse_text(call, RPC_NO_MEMORY, "out of memory");
	else if (*other)
		libvirt_refuse_text(
			call, RPC_ARGUMENT_UNSUPPORTED,
			"%s: cannot be set; there are shm_pages_to_scan, shm_sleep_millisecs and shm_merge_across_nodes", other);
	else
		libvirt_done(call, host_settings_change(s->guests, s->arbiter, s->dedup, set, &err), &err);
	json_decref(set);
}

static const struct rpc_procedure procedures[] = {
	{.number = 6, .name = "node-info", .run = run_info},
	{.number = 101, .name = "cells-free-memory", .run = run_free_cells},
	{.number = 102, .name = "free-memory", .run = run_free_memory},
	{.number = 122, .name = "security-model", .run = run_security_model},
	{.number = 227, .name = "node-cpu-stats", .run = run_cpu_stats},
	{.number = 228, .name = "node-memory-stats", .run = run_memory_stats},
	{.number = 288, .name = "set-node-memory-parameters", .changes = true, .run = run_set_memory_parameters},
	{.number = 289, .name = "node-memory-parameters", .run = run_memory_parameters},
	{.number = 293, .name = "cpu-map", .run = run_cpu_map},
	{.number = 340, .name = "free-pages", .run = run_free_pages},
};
const struct libvirt_procedures libvirt_node_procedures = LIBVIRT_PROCEDURES(procedures);
