/*
 * Counters of guests: all kinds of all guests in one answer, and those of single disks and interfaces. What only a VMM knows (its disks, what its balloon was told) it is
 * asked for; the answer goes out when the last VMM has said it. One that is known to be stuck is not asked, and none takes longer than half a minute.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/guest_report.h"
#include "libvirt/call.h"
#include "libvirt/cpu_time.h"
#include "libvirt/devices.h"
#include "libvirt/guest_state.h"
#include "libvirt/memory_stats.h"
#include "libvirt/procedures.h"

#define MOST_GUESTS 16384
#define MOST_VCPUS 255
#define STUCK_SECONDS 5.
#define STRINGS 4u

/* Kinds of statistics, by the protocol's bits. */
enum kind {
	KIND_STATE = 1 << 0,
	KIND_CPU = 1 << 1,
	KIND_BALLOON = 1 << 2,
	KIND_VCPU = 1 << 3,
	KIND_INTERFACE = 1 << 4,
	KIND_BLOCK = 1 << 5,
	KIND_ALL = (1 << 6) - 1,
};

enum filter {
	FILTER_ACTIVE = 1 << 0,
	FILTER_INACTIVE = 1 << 1,
	FILTER_PERSISTENT = 1 << 2,
	FILTER_TRANSIENT = 1 << 3,
	FILTER_RUNNING = 1 << 4,
	FILTER_PAUSED = 1 << 5,
	FILTER_SHUT_OFF = 1 << 6,
	FILTER_OTHER = 1 << 7,
};
#define FLAG_NO_WAIT (1u << 29)

/* One guest of an answer, until all are known. It is found by its UUID when the answer is written: it may have gone. */
struct record {
	struct job *job;
	uint8_t uuid[LIBVIRT_UUID_BYTES];
	struct guest_qmp_question disks_question, balloon_question;
	json_t *disks, *balloon;
};

struct job {
	struct rpc_call *call;
	uint32_t kinds;
	size_t nr;
	unsigned waits; /* questions that are open */
	struct record records[];
};

/* --- writing --- */

__attribute__((format(printf, 3, 4))) static void put(struct rpc_parameters *list, uint64_t value, const char *format, ...)
{
	char name[RPC_PARAMETER_NAME_BYTES];
	va_list values;
	va_start(values, format);
	vsnprintf(name, sizeof(name), format, values);
	va_end(values);
	rpc_put_ullong(list, name, value);
}

static void put_state(struct rpc_parameters *list, const struct guest *g)
{
	struct libvirt_guest_state state;
	libvirt_guest_state(g, &state);
	rpc_put_int(list, "state.state", (int32_t)state.state);
	rpc_put_int(list, "state.reason", state.reason);
}

static void put_cpu(struct rpc_parameters *list, const struct guest *g)
{
	struct cpu_time time;
	if (!guest_has_vmm(g))
		return;
	cpu_time_of_guest(g, &time);
	rpc_put_ullong(list, "cpu.time", time.user_ns + time.system_ns);
	rpc_put_ullong(list, "cpu.user", time.user_ns);
	rpc_put_ullong(list, "cpu.system", time.system_ns);
}

static void put_balloon(struct rpc_parameters *list, const struct guest *g, const json_t *balloon)
{
	struct libvirt_memory_stat stats[LIBVIRT_MEMORY_STATS];
	const struct definition *d = guest_in_force(g);
	rpc_put_ullong(list, "balloon.maximum", d->memory >> 10);
	unsigned nr = guest_has_vmm(g) ? libvirt_memory_stats(g, balloon, stats) : 0;
	if (!nr)
		rpc_put_ullong(list, "balloon.current", d->maximum >> 10);
	for (unsigned i = 0; i < nr; i++)
		put(list, stats[i].value, "balloon.%s", libvirt_memory_stat_name(stats[i].tag));
}

static void put_vcpus(struct rpc_parameters *list, const struct guest *g)
{
	struct cpu_time times[MOST_VCPUS];
	char name[40];
	unsigned nr = (unsigned)guest_in_force(g)->vcpus;
	rpc_put_uint(list, "vcpu.current", nr);
	rpc_put_uint(list, "vcpu.maximum", nr);
	if (!cpu_time_of_vcpus(g, times, nr))
		return;
	for (unsigned i = 0; i < nr; i++) {
		snprintf(name, sizeof(name), "vcpu.%u.state", i);
		rpc_put_int(list, name, times[i].running ? 1 : 2);
		put(list, times[i].user_ns + times[i].system_ns, "vcpu.%u.time", i);
	}
}

static void put_interfaces(struct rpc_parameters *list, const struct guest *g)
{
	static const char *const counts[] = {"rx.bytes", "rx.pkts", "rx.errs", "rx.drop",
					     "tx.bytes", "tx.pkts", "tx.errs", "tx.drop"};
	const char *names[LIBVIRT_MOST_INTERFACES];
	char name[40];
	if (!guest_has_vmm(g))
		return;
	unsigned nr = libvirt_taps(guest_in_force(g), names);
	rpc_put_uint(list, "net.count", nr);
	for (unsigned i = 0; i < nr; i++) {
		struct libvirt_traffic traffic;
		snprintf(name, sizeof(name), "net.%u.name", i);
		rpc_put_text(list, name, names[i]);
		if (libvirt_tap_traffic(names[i], &traffic))
			for (unsigned k = 0; k < 8; k++)
				put(list, traffic.counts[k], "net.%u.%s", i, counts[k]);
	}
}

/* A counter of the i-th disk, of what query-blockstats returned; 0 when it is not known. */
static uint64_t disk_count(const json_t *disks, unsigned i, const char *name)
{
	json_int_t value = json_integer_value(json_object_get(json_object_get(json_array_get(disks, i), "stats"), name));
	return value > 0 ? (uint64_t)value : 0;
}

#define ALL_DISKS UINT32_MAX

/* The same of one or of all. */
static uint64_t disks_count(const json_t *disks, uint32_t which, const char *name)
{
	uint64_t sum = 0;
	if (which != ALL_DISKS)
		return disk_count(disks, which, name);
	for (size_t i = 0; i < json_array_size(disks); i++)
		sum += disk_count(disks, (unsigned)i, name);
	return sum;
}

static void put_disks(struct rpc_parameters *list, const struct guest *g, const json_t *counts)
{
	static const struct {
		const char *ours, *theirs;
	} fields[] = {{"rd_operations", "rd.reqs"},
		      {"rd_bytes", "rd.bytes"},
		      {"wr_operations", "wr.reqs"},
		      {"wr_bytes", "wr.bytes"},
		      {"flush_operations", "fl.reqs"}};
	struct libvirt_disk disks[LIBVIRT_MOST_DISKS];
	char name[40];
	unsigned nr = libvirt_disks(guest_in_force(g), disks);
	rpc_put_uint(list, "block.count", nr);
	for (unsigned i = 0; i < nr; i++) {
		struct libvirt_disk_size size;
		snprintf(name, sizeof(name), "block.%u.name", i);
		rpc_put_text(list, name, disks[i].name);
		snprintf(name, sizeof(name), "block.%u.path", i);
		rpc_put_text(list, name, disks[i].file);
		for (size_t k = 0; counts && k < sizeof(fields) / sizeof(fields[0]); k++)
			put(list, disk_count(counts, i, fields[k].ours), "block.%u.%s", i, fields[k].theirs);
		if (libvirt_disk_size(disks[i].file, &size)) {
			put(list, size.allocation, "block.%u.allocation", i);
			put(list, size.capacity, "block.%u.capacity", i);
			put(list, size.physical, "block.%u.physical", i);
		}
	}
}

static void put_record(struct xdr_writer *out, const struct guest *g, const struct record *r, uint32_t kinds)
{
	libvirt_put_guest(out, g);
	struct rpc_parameters list = rpc_parameters_begin(out);
	if (kinds & KIND_STATE)
		put_state(&list, g);
	if (kinds & KIND_CPU)
		put_cpu(&list, g);
	if (kinds & KIND_BALLOON)
		put_balloon(&list, g, r->balloon);
	if (kinds & KIND_VCPU)
		put_vcpus(&list, g);
	if (kinds & KIND_INTERFACE)
		put_interfaces(&list, g);
	if (kinds & KIND_BLOCK)
		put_disks(&list, g, r->disks);
	rpc_parameters_end(&list);
}

/* --- asking --- */

/* One that was waited for has come; the last writes the answer. */
static void settle(struct job *job)
{
	struct rpc_call *call = job->call;
	if (--job->waits)
		return;
	uint32_t nr = 0;
	size_t place = xdr_put_later(&call->out);
	for (size_t i = 0; i < job->nr; i++) {
		struct record *r = &job->records[i];
		const struct guest *g = call->client ? libvirt_guest_of_uuid(libvirt_server_of(call)->guests, r->uuid) : NULL;
		if (g) {
			put_record(&call->out, g, r, job->kinds);
			nr++;
		}
		json_decref(r->disks);
		json_decref(r->balloon);
	}
	xdr_set_u32(&call->out, place, nr);
	free(job);
	rpc_answer(call);
}

static void on_disks(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct record *r = container_of(question, struct record, disks_question);
	(void)err;
	r->disks = json_deep_copy(result);
	settle(r->job);
}

static void on_balloon(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct record *r = container_of(question, struct record, balloon_question);
	(void)err;
	r->balloon = json_deep_copy(result);
	settle(r->job);
}

static bool is_worth_asking(const struct guest *g)
{
	struct guest_use use;
	return guest_has_vmm(g) && g->qmp.ready && (!guest_use(g, &use) || use.age < STUCK_SECONDS || g->state == GUEST_PAUSED);
}

static void ask(struct job *job, struct record *r, struct guest *g, uint32_t flags)
{
	struct error err;
	r->job = job;
	libvirt_uuid_bytes(g->definition->uuid, r->uuid);
	if (flags & FLAG_NO_WAIT || !is_worth_asking(g))
		return;
	r->disks_question.answered = on_disks;
	r->balloon_question.answered = on_balloon;
	job->waits++;
	if (!(job->kinds & KIND_BLOCK) || guest_ask(g, "query-blockstats", NULL, &r->disks_question, &err))
		job->waits--;
	job->waits++;
	if (!(job->kinds & KIND_BALLOON) || guest_ask(g, "query-balloon-stats", NULL, &r->balloon_question, &err))
		job->waits--;
}

static bool is_wanted(const struct guest *g, uint32_t flags)
{
	bool active = guest_has_vmm(g);
	uint32_t is = FILTER_PERSISTENT | (active ? FILTER_ACTIVE : FILTER_INACTIVE);
	is |= !active                     ? FILTER_SHUT_OFF
	      : g->state == GUEST_RUNNING ? FILTER_RUNNING
	      : g->state == GUEST_PAUSED  ? FILTER_PAUSED
					  : FILTER_OTHER;
	static const uint32_t groups[] = {FILTER_ACTIVE | FILTER_INACTIVE, FILTER_PERSISTENT | FILTER_TRANSIENT,
					  FILTER_RUNNING | FILTER_PAUSED | FILTER_SHUT_OFF | FILTER_OTHER};
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (flags & groups[i] && !(flags & groups[i] & is))
			return false;
	return true;
}

/* Guests that the call names, or all that its flags let through; room for most. */
static size_t choose(struct rpc_call *call, const struct libvirt_domain *named, uint32_t nr, uint32_t flags, struct guest **chosen,
		     size_t most)
{
	struct guests *guests = libvirt_server_of(call)->guests;
	size_t found = 0;
	for (uint32_t i = 0; i < nr && found < most; i++) {
		chosen[found] = libvirt_guest_of_uuid(guests, named[i].uuid);
		found += chosen[found] != NULL;
	}
	for (struct guest *g = nr ? NULL : guests->first; g && found < most; g = g->next)
		if (is_wanted(g, flags))
			chosen[found++] = g;
	return found;
}

static void begin(struct rpc_call *call, struct guest **chosen, size_t nr, uint32_t kinds, uint32_t flags)
{
	struct job *job = calloc(1, sizeof(*job) + nr * sizeof(struct record));
	if (!job) {
		rpc_refuse(call, RPC_NO_MEMORY, "out of memory");
		return;
	}
	job->call = call;
	job->kinds = kinds ? kinds & KIND_ALL : KIND_ALL;
	job->nr = nr;
	job->waits = 1;
	for (size_t i = 0; i < nr; i++)
		ask(job, &job->records[i], chosen[i], flags);
	settle(job);
}

static void run_all(struct rpc_call *call)
{
	uint32_t named = xdr_get_count(&call->in, MOST_GUESTS, LIBVIRT_DOMAIN_LEAST_BYTES);
	size_t most = named ? named : MOST_GUESTS;
	struct libvirt_domain *domains = calloc(named + 1, sizeof(*domains));
	struct guest **chosen = calloc(most, sizeof(*chosen));
	for (uint32_t i = 0; domains && i < named && !call->in.bad; i++)
		libvirt_get_domain(&call->in, &domains[i]);
	uint32_t kinds = xdr_get_u32(&call->in), flags = xdr_get_u32(&call->in);
	if (!domains || !chosen)
		rpc_refuse(call, RPC_NO_MEMORY, "out of memory");
	else if (libvirt_arguments_end(call))
		begin(call, chosen, choose(call, domains, named, flags, chosen, most), kinds, flags);
	free(domains);
	free(chosen);
}

/* --- one disk --- */

static void on_one_disk(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct libvirt_call *c = container_of(question, struct libvirt_call, question);
	static const char *const names[] = {"rd_operations", "rd_bytes", "wr_operations", "wr_bytes"};
	if (!result) {
		libvirt_refuse(&c->rpc, err);
		return;
	}
	for (unsigned i = 0; i < 4; i++)
		xdr_put_u64(&c->rpc.out, disks_count(result, c->number, names[i]));
	xdr_put_u64(&c->rpc.out, UINT64_MAX); /* errors: not counted */
	rpc_answer(&c->rpc);
}

static void on_one_disk_parameters(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct libvirt_call *c = container_of(question, struct libvirt_call, question);
	static const char *const names[] = {"rd_operations", "rd_bytes", "wr_operations", "wr_bytes", "flush_operations"};
	if (!result) {
		libvirt_refuse(&c->rpc, err);
		return;
	}
	struct rpc_parameters list = rpc_parameters_begin(&c->rpc.out);
	for (unsigned i = 0; c->flag && i < 5; i++)
		put(&list, disks_count(result, c->number, names[i]), "%s", names[i]);
	rpc_parameters_end(&list);
	xdr_put_i32(&c->rpc.out, 5);
	rpc_answer(&c->rpc);
}

/* Which disk of a guest, which must run if it is to. -1: the call is answered. */
static int find_disk(struct rpc_call *call, const struct guest *g, const char *name)
{
	int index = libvirt_find_disk(guest_in_force(g), name);
	if (index < 0)
		libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "%s: has no disk %.80s", g->definition->name, name);
	return index;
}

static void ask_for_disk(struct rpc_call *call, struct guest *g, const char *name)
{
	struct libvirt_call *c = libvirt_call(call);
	struct error err;
	int index = *name ? find_disk(call, g, name) : 0;
	if (index < 0)
		return;
	c->number = *name ? (uint32_t)index : ALL_DISKS;
	if (guest_ask(g, "query-blockstats", NULL, &c->question, &err))
		libvirt_refuse(call, &err);
}

static void run_disk(struct rpc_call *call)
{
	char name[1024];
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	xdr_get_string(&call->in, name, sizeof(name));
	struct guest *g = libvirt_find(call, &d);
	if (!g)
		return;
	libvirt_call(call)->question.answered = on_one_disk;
	ask_for_disk(call, g, name);
}

static void run_disk_parameters(struct rpc_call *call)
{
	char name[1024];
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	xdr_get_string(&call->in, name, sizeof(name));
	int32_t nparams = xdr_get_i32(&call->in);
	uint32_t flags = xdr_get_u32(&call->in);
	struct guest *g = libvirt_find(call, &d);
	if (!g || !libvirt_check_flags(call, flags, STRINGS))
		return;
	libvirt_call(call)->question.answered = on_one_disk_parameters;
	libvirt_call(call)->flag = nparams > 0;
	ask_for_disk(call, g, name);
}

static void run_disk_info(struct rpc_call *call)
{
	char name[1024];
	struct libvirt_domain d;
	struct libvirt_disk disks[LIBVIRT_MOST_DISKS];
	struct libvirt_disk_size size;
	libvirt_get_domain(&call->in, &d);
	xdr_get_string(&call->in, name, sizeof(name));
	uint32_t flags = xdr_get_u32(&call->in);
	const struct guest *g = libvirt_find(call, &d);
	if (!g || !libvirt_check_flags(call, flags, 0))
		return;
	int index = find_disk(call, g, name);
	if (index < 0)
		return;
	libvirt_disks(guest_in_force(g), disks);
	if (!libvirt_disk_size(disks[index].file, &size)) {
		libvirt_refuse_text(call, RPC_OPERATION_FAILED, "%s: its size is not known here", disks[index].file);
		return;
	}
	xdr_put_u64(&call->out, size.allocation);
	xdr_put_u64(&call->out, size.capacity);
	xdr_put_u64(&call->out, size.physical);
	rpc_answer(call);
}

/* --- one interface --- */

static void run_interface(struct rpc_call *call)
{
	char name[64];
	struct libvirt_domain d;
	struct libvirt_traffic traffic;
	const char *taps[LIBVIRT_MOST_INTERFACES];
	libvirt_get_domain(&call->in, &d);
	xdr_get_string(&call->in, name, sizeof(name));
	const struct guest *g = libvirt_find(call, &d);
	if (!g)
		return;
	unsigned nr = libvirt_taps(guest_in_force(g), taps), i = 0;
	while (i < nr && strcmp(taps[i], name) != 0)
		i++;
	if (i == nr || !guest_has_vmm(g) || !libvirt_tap_traffic(name, &traffic)) {
		libvirt_refuse_text(call, i == nr ? RPC_INVALID_ARGUMENT : RPC_OPERATION_INVALID, "%s: %s: %s", g->definition->name,
				    name, i == nr ? "is no tap of this guest's" : "is not in use");
		return;
	}
	for (i = 0; i < 8; i++)
		xdr_put_u64(&call->out, traffic.counts[i]);
	rpc_answer(call);
}

static const struct rpc_procedure procedures[] = {
	{.number = 64, .name = "disk-statistics", .run = run_disk},
	{.number = 65, .name = "interface-statistics", .run = run_interface},
	{.number = 194, .name = "disk-info", .run = run_disk_info},
	{.number = 243, .name = "disk-statistics", .run = run_disk_parameters},
	{.number = 344, .name = "all-statistics", .run = run_all},
};
const struct libvirt_procedures libvirt_statistics_procedures = LIBVIRT_PROCEDURES(procedures);
