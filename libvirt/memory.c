/*
 * A guest's memory. What libvirt calls its maximum is the memory that the guest sees (`memory` of the definition, which changes at the next start); what it calls current, and
 * memtune's hard limit, is the host's memory that it may have of that (`maximum`, at once); memtune's guarantee is `minimum`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/host_memory.h"
#include "libvirt/call.h"
#include "libvirt/memory_stats.h"
#include "libvirt/node_list.h"
#include "libvirt/procedures.h"

#define IMPACT (LIBVIRT_LIVE | LIBVIRT_CONFIG)
#define MEMORY_MAXIMUM 4u
#define STRINGS 4u /* the client understands parameters that are strings */
#define MOST_PARAMETERS 16
#define MODE_STRICT 0
#define PAGE_KIB 4

static void run_max_memory(struct rpc_call *call)
{
	const struct guest *g = libvirt_guest(call);
	if (!g)
		return;
	xdr_put_u64(&call->out, guest_in_force(g)->memory >> 10);
	rpc_answer(call);
}

/* Bytes, rounded up to whole pages. What is too much for any guest stays too much. */
static json_int_t bytes(uint64_t kib)
{
	if (kib > INT64_MAX >> 11)
		return INT64_MAX & ~4095ll;
	json_int_t pages = (json_int_t)((kib + PAGE_KIB - 1) / PAGE_KIB);
	return pages * 4096;
}

/* What may be had of it goes with it: all stays all, and more than all cannot be. */
static void set_max_memory(struct rpc_call *call, struct guest *g, uint64_t kib, uint32_t flags)
{
	const struct definition *d = g->definition;
	json_int_t memory = bytes(kib);
	if (flags & LIBVIRT_LIVE) {
		libvirt_refuse_text(call, RPC_OPERATION_INVALID,
				    "%s: the memory that a guest sees changes at its next start; use --config",
				    g->definition->name);
		return;
	}
	json_t *set = json_pack("{s:I}", "memory", memory);
	if (set && (d->maximum == d->memory || d->maximum > (uint64_t)memory))
		json_object_set_new(set, "maximum", json_integer(memory));
	libvirt_tune(call, g, set, LIBVIRT_CONFIG);
}

static void set_memory(struct rpc_call *call, struct guest *g, uint64_t kib, uint32_t flags)
{
	const struct definition *d = flags & LIBVIRT_CONFIG ? g->definition : guest_in_force(g);
	if (kib > d->memory >> 10) {
		libvirt_refuse_text(call, RPC_INVALID_ARGUMENT,
				    "%s: has %llu KiB of memory, and cannot have more of the host's; setmaxmem changes that",
				    g->definition->name, (unsigned long long)d->memory >> 10);
		return;
	}
	libvirt_tune(call, g, json_pack("{s:I}", "maximum", bytes(kib)), flags & IMPACT);
}

/* Arguments that are a guest and a size; NULL as with libvirt_find(). */
static struct guest *find_and_size(struct rpc_call *call, uint64_t *kib)
{
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	*kib = xdr_get_u64(&call->in);
	return libvirt_find(call, &d);
}

static void run_set_max_memory(struct rpc_call *call)
{
	uint64_t kib;
	struct guest *g = find_and_size(call, &kib);
	if (g)
		set_max_memory(call, g, kib, 0);
}

static void run_set_memory(struct rpc_call *call)
{
	uint64_t kib;
	struct guest *g = find_and_size(call, &kib);
	if (g)
		set_memory(call, g, kib, 0);
}

static void run_set_memory_flags(struct rpc_call *call)
{
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	uint64_t kib = xdr_get_u64(&call->in);
	uint32_t flags = xdr_get_u32(&call->in);
	struct guest *g = libvirt_find(call, &d);
	if (!g || !libvirt_check_flags(call, flags, IMPACT | MEMORY_MAXIMUM))
		return;
	if (flags & MEMORY_MAXIMUM)
		set_max_memory(call, g, kib, flags);
	else
		set_memory(call, g, kib, flags);
}

/* --- memtune --- */

static void run_parameters(struct rpc_call *call)
{
	struct libvirt_domain domain;
	libvirt_get_domain(&call->in, &domain);
	int32_t nparams = xdr_get_i32(&call->in);
	uint32_t flags = xdr_get_u32(&call->in);
	const struct guest *g = libvirt_find(call, &domain);
	const struct definition *d = g && libvirt_check_flags(call, flags, IMPACT | STRINGS) ? libvirt_look(call, g, flags) : NULL;
	if (!d)
		return;
	struct rpc_parameters list = rpc_parameters_begin(&call->out);
	if (nparams > 0) {
		rpc_put_ullong(&list, "hard_limit", d->maximum < d->memory ? d->maximum >> 10 : LIBVIRT_UNLIMITED);
		rpc_put_ullong(&list, "soft_limit", LIBVIRT_UNLIMITED);
		rpc_put_ullong(&list, "min_guarantee", d->minimum >> 10);
		rpc_put_ullong(&list, "swap_hard_limit", d->swap ? LIBVIRT_UNLIMITED : d->maximum >> 10);
	}
	rpc_parameters_end(&list);
	xdr_put_i32(&call->out, 4);
	rpc_answer(call);
}

/* Memory and swap together: no more than memory alone is no swap, as in domain XML; as much as all memory is no limit. It changes at the next start. */
static bool add_swap(json_t *set, uint64_t kib, const struct definition *d)
{
	bool swap = kib >= d->memory >> 10;
	if (!swap && kib > d->maximum >> 10)
		return false;
	return swap == d->swap || json_object_set_new(set, "swap", json_boolean(swap)) == 0;
}

/* Adds what a parameter asks for. Returns false when it cannot be had. */
static bool add_limit(json_t *set, const struct rpc_parameter *p, const struct definition *d)
{
	uint64_t memory = d->memory;
	bool none = p->number >= LIBVIRT_UNLIMITED;
	if (!strcmp(p->name, "hard_limit")) {
		json_int_t limit = none || p->number > memory >> 10 ? (json_int_t)memory : bytes(p->number);
		return json_object_set_new(set, "maximum", json_integer(limit)) == 0;
	}
	if (!strcmp(p->name, "min_guarantee"))
		return json_object_set_new(set, "minimum", json_integer(none ? 0 : bytes(p->number))) == 0;
	if (!strcmp(p->name, "swap_hard_limit"))
		return add_swap(set, none ? UINT64_MAX : p->number, d);
	return none && !strcmp(p->name, "soft_limit");
}

static void run_set_parameters(struct rpc_call *call)
{
	struct libvirt_domain domain;
	struct rpc_parameter wanted[4], p;
	char refused[RPC_PARAMETER_NAME_BYTES] = "";
	uint32_t kept = 0;
	libvirt_get_domain(&call->in, &domain);
	uint32_t nr = xdr_get_count(&call->in, MOST_PARAMETERS, RPC_PARAMETER_LEAST_BYTES);
	for (uint32_t i = 0; i < nr; i++) {
		rpc_get_parameter(&call->in, kept < 4 ? &wanted[kept++] : &p);
		if (i >= 4)
			memcpy(refused, p.name, sizeof(refused));
	}
	uint32_t flags = xdr_get_u32(&call->in);
	struct guest *g = libvirt_find(call, &domain);
	if (!g || !libvirt_check_flags(call, flags, IMPACT | STRINGS))
		return;
	const struct definition *d = flags & LIBVIRT_CONFIG ? g->definition : guest_in_force(g);
	json_t *set = json_object();
	for (uint32_t i = 0; set && i < kept && !*refused; i++)
		if (!add_limit(set, &wanted[i], d))
			memcpy(refused, wanted[i].name, sizeof(refused));
	if (*refused) {
		json_decref(set);
		libvirt_refuse_text(
			call, RPC_ARGUMENT_UNSUPPORTED,
			"%s: there are hard_limit, min_guarantee, and swap_hard_limit as no swap or no limit; the arbiter "
			"decides about the rest",
			refused);
		return;
	}
	libvirt_tune(call, g, set, flags & IMPACT);
}

/* --- numatune --- */

static void run_numa_parameters(struct rpc_call *call)
{
	char text[256];
	struct libvirt_domain domain;
	libvirt_get_domain(&call->in, &domain);
	int32_t nparams = xdr_get_i32(&call->in);
	uint32_t flags = xdr_get_u32(&call->in);
	const struct guest *g = libvirt_find(call, &domain);
	const struct definition *d = g && libvirt_check_flags(call, flags, IMPACT | STRINGS) ? libvirt_look(call, g, flags) : NULL;
	if (!d)
		return;
	bool strings = flags & STRINGS;
	struct rpc_parameters list = rpc_parameters_begin(&call->out);
	if (nparams > 0) {
		rpc_put_int(&list, "numa_mode", MODE_STRICT);
		node_list_text(d->nodes, text, sizeof(text));
		if (strings)
			rpc_put_text(&list, "numa_nodeset", text);
	}
	rpc_parameters_end(&list);
	xdr_put_i32(&call->out, strings ? 2 : 1);
	rpc_answer(call);
}

/* Whether the host has one of them at least; none at all is any. */
static bool has_node(uint64_t nodes)
{
	struct host_node of_host[DEFINITION_MOST_NODES];
	unsigned nr = host_nodes_read(of_host, DEFINITION_MOST_NODES);
	bool found = nodes == 0 || nr == 0;
	for (unsigned i = 0; i < nr; i++)
		found |= of_host[i].node < DEFINITION_MOST_NODES && nodes >> of_host[i].node & 1;
	return found;
}

static void run_set_numa_parameters(struct rpc_call *call)
{
	struct libvirt_domain domain;
	struct rpc_parameter p;
	uint64_t nodes = 0;
	bool good = true, has_nodes = false;
	libvirt_get_domain(&call->in, &domain);
	uint32_t nr = xdr_get_count(&call->in, MOST_PARAMETERS, RPC_PARAMETER_LEAST_BYTES);
	for (uint32_t i = 0; i < nr; i++) {
		rpc_get_parameter(&call->in, &p);
		if (!strcmp(p.name, "numa_nodeset") && p.type == RPC_STRING)
			has_nodes = good = good && node_list_parse(p.text, &nodes);
		else
			good = good && !strcmp(p.name, "numa_mode") && p.number == MODE_STRICT;
	}
	uint32_t flags = xdr_get_u32(&call->in);
	struct guest *g = libvirt_find(call, &domain);
	if (!g || !libvirt_check_flags(call, flags, IMPACT | STRINGS))
		return;
	if (!good) {
		libvirt_refuse_text(call, RPC_ARGUMENT_UNSUPPORTED, "%s: the mode must be strict, and nodes a list such as 0-1,3",
				    g->definition->name);
		return;
	}
	if (has_nodes && !has_node(nodes)) {
		libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "%s: this host has none of these nodes", g->definition->name);
		return;
	}
	json_t *set = json_object();
	if (set && has_nodes && json_object_set_new(set, "nodes", node_list_json(nodes)) < 0) {
		json_decref(set);
		set = NULL;
	}
	libvirt_tune(call, g, set, flags & IMPACT);
}

/* --- what the guest says of its memory --- */

static void on_stats(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct libvirt_call *c = container_of(question, struct libvirt_call, question);
	struct libvirt_memory_stat stats[LIBVIRT_MEMORY_STATS];
	(void)err; /* a guest without a balloon says nothing, and is known all the same */
	uint32_t nr = libvirt_memory_stats(c->guest, result, stats);
	if (nr > c->number)
		nr = c->number;
	xdr_put_u32(&c->rpc.out, nr);
	for (uint32_t i = 0; i < nr; i++) {
		xdr_put_u32(&c->rpc.out, stats[i].tag);
		xdr_put_u64(&c->rpc.out, stats[i].value);
	}
	rpc_answer(&c->rpc);
}

static void run_stats(struct rpc_call *call)
{
	struct libvirt_call *c = libvirt_call(call);
	struct libvirt_domain d;
	struct error err;
	libvirt_get_domain(&call->in, &d);
	c->number = xdr_get_u32(&call->in);
	(void)xdr_get_u32(&call->in);
	struct guest *g = libvirt_find(call, &d);
	if (!g)
		return;
	c->guest = g;
	c->question.answered = on_stats;
	if (guest_ask(g, "query-balloon-stats", NULL, &c->question, &err))
		libvirt_refuse(call, &err);
}

static void on_period(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct libvirt_call *c = container_of(question, struct libvirt_call, question);
	libvirt_done(&c->rpc, result ? 0 : -1, err);
}

static void run_set_period(struct rpc_call *call)
{
	struct libvirt_call *c = libvirt_call(call);
	struct libvirt_domain d;
	struct error err;
	libvirt_get_domain(&call->in, &d);
	int32_t seconds = xdr_get_i32(&call->in);
	uint32_t flags = xdr_get_u32(&call->in);
	struct guest *g = libvirt_find(call, &d);
	if (!g || !libvirt_check_flags(call, flags, IMPACT))
		return;
	if (flags & LIBVIRT_CONFIG) {
		libvirt_refuse_text(call, RPC_ARGUMENT_UNSUPPORTED, "%s: a period lasts until the guest ends; use --live",
				    g->definition->name);
		return;
	}
	json_t *arguments = json_pack("{s:s, s:s, s:i}", "path", "/machine/peripheral/balloon", "property",
				      "guest-stats-polling-interval", "value", (int)seconds);
	c->question.answered = on_period;
	if (guest_ask(g, "qom-set", arguments, &c->question, &err))
		libvirt_refuse(call, &err);
	json_decref(arguments);
}

static const struct rpc_procedure procedures[] = {
	{.number = 17, .name = "max-memory", .run = run_max_memory},
	{.number = 30, .name = "set-max-memory", .changes = true, .run = run_set_max_memory},
	{.number = 31, .name = "set-memory", .changes = true, .run = run_set_memory},
	{.number = 159, .name = "memory-stats", .run = run_stats},
	{.number = 197, .name = "set-memory-parameters", .changes = true, .run = run_set_parameters},
	{.number = 198, .name = "memory-parameters", .run = run_parameters},
	{.number = 204, .name = "set-memory", .changes = true, .run = run_set_memory_flags},
	{.number = 254, .name = "set-numa-parameters", .changes = true, .run = run_set_numa_parameters},
	{.number = 255, .name = "numa-parameters", .run = run_numa_parameters},
	{.number = 308, .name = "set-memory-stats-period", .changes = true, .run = run_set_period},
};
const struct libvirt_procedures libvirt_memory_procedures = LIBVIRT_PROCEDURES(procedures);
