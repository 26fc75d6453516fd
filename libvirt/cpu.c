/* A guest's vCPUs: how many, what they do, on which CPUs they may run. Who is not pinned runs where placement says. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/pins.h"
#include "libvirt/call.h"
#include "libvirt/cpu_time.h"
#include "libvirt/procedures.h"

#define IMPACT (LIBVIRT_LIVE | LIBVIRT_CONFIG)
#define VCPU_MAXIMUM 4u
#define VCPU_RUNNING 1
#define VCPU_BLOCKED 2
#define MOST_VCPUS 255
#define MOST_MAP_BYTES 2048
#define MOST_PARAMETERS 16
#define CPU_SHARES "cpu_shares"
#define USUAL_SHARES 1024 /* what everybody has who was given none */
#define TOTAL (-1)

static void run_max_vcpus(struct rpc_call *call)
{
	const struct guest *g = libvirt_guest(call);
	if (g)
		libvirt_answer_i32(call, (int32_t)guest_in_force(g)->vcpus);
}

static void run_get_vcpus(struct rpc_call *call)
{
	uint32_t flags;
	const struct guest *g = libvirt_guest_flags(call, IMPACT | VCPU_MAXIMUM, &flags);
	const struct definition *d = g ? libvirt_look(call, g, flags) : NULL;
	if (d)
		libvirt_answer_i32(call, (int32_t)d->vcpus);
}

static void set_vcpus(struct rpc_call *call, struct guest *g, uint32_t nr, uint32_t flags)
{
	if (flags & LIBVIRT_LIVE || (!(flags & LIBVIRT_CONFIG) && guest_has_vmm(g)))
		libvirt_refuse_text(call, RPC_OPERATION_INVALID, "%s: its number of vCPUs changes at its next start; use --config",
				    g->definition->name);
	else
		libvirt_tune(call, g, json_pack("{s:I}", "vcpus", (json_int_t)nr), LIBVIRT_CONFIG);
}

static void run_set_vcpus(struct rpc_call *call)
{
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	uint32_t nr = xdr_get_u32(&call->in);
	struct guest *g = libvirt_find(call, &d);
	if (g)
		set_vcpus(call, g, nr, 0);
}

static void run_set_vcpus_flags(struct rpc_call *call)
{
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	uint32_t nr = xdr_get_u32(&call->in), flags = xdr_get_u32(&call->in);
	struct guest *g = libvirt_find(call, &d);
	if (g && libvirt_check_flags(call, flags, IMPACT | VCPU_MAXIMUM))
		set_vcpus(call, g, nr, flags);
}

/* --- where they run --- */

/* The CPUs that a thread may use (0: all there are), in a map of so many bytes. */
static void fill_map(uint8_t *map, int thread, uint32_t bytes)
{
	uint32_t nr = (uint32_t)sysconf(_SC_NPROCESSORS_CONF);
	cpu_set_t set;
	bool known = thread && sched_getaffinity(thread, sizeof(set), &set) == 0;
	for (uint32_t i = 0; i < nr && i < 8 * bytes; i++)
		if (!known || i >= CPU_SETSIZE || CPU_ISSET(i, &set))
			map[i / 8] |= (uint8_t)(1u << i % 8);
}

/* A map for each of nr, one behind another, as one item. */
static void put_maps(struct xdr_writer *out, const struct cpu_time times[], uint32_t nr, uint32_t bytes)
{
	uint8_t *maps = calloc(nr + 1, bytes + 1);
	if (!maps) {
		out->failed = true;
		return;
	}
	for (uint32_t i = 0; i < nr; i++)
		fill_map(maps + (size_t)i * bytes, times[i].thread, bytes);
	xdr_put_opaque(out, maps, (size_t)nr * bytes);
	free(maps);
}

static bool check_map(struct rpc_call *call, int32_t nr, int32_t bytes)
{
	if (nr >= 0 && bytes >= 0 && bytes <= MOST_MAP_BYTES)
		return true;
	libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "%s: %d maps of %d bytes cannot be", call->procedure->name, nr, bytes);
	return false;
}

static void run_vcpus(struct rpc_call *call)
{
	struct cpu_time times[MOST_VCPUS];
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	int32_t most = xdr_get_i32(&call->in), bytes = xdr_get_i32(&call->in);
	const struct guest *g = libvirt_find(call, &d);
	if (!g || !check_map(call, most, bytes))
		return;
	if (!guest_has_vmm(g)) {
		libvirt_refuse_text(call, RPC_OPERATION_INVALID, "%s: is not running", g->definition->name);
		return;
	}
	uint32_t nr = (uint32_t)guest_in_force(g)->vcpus;
	if (nr > (uint32_t)most)
		nr = (uint32_t)most;
	cpu_time_of_vcpus(g, times, nr);
	xdr_put_u32(&call->out, nr);
	for (uint32_t i = 0; i < nr; i++) {
		xdr_put_u32(&call->out, i);
		xdr_put_i32(&call->out, times[i].running ? VCPU_RUNNING : VCPU_BLOCKED);
		xdr_put_u64(&call->out, times[i].user_ns + times[i].system_ns);
		xdr_put_i32(&call->out, times[i].cpu);
	}
	put_maps(&call->out, times, nr, (uint32_t)bytes);
	rpc_answer(call);
}

/* The CPUs that a definition leaves someone, in a map of so many bytes. */
static void fill_map_of(uint8_t *map, const struct definition *d, int who, uint32_t bytes)
{
	struct topology_cpus cpus;
	if (!pins_find(json_object_get(d->json, "pins"), who, &cpus)) {
		fill_map(map, 0, bytes);
		return;
	}
	for (uint32_t i = 0; i < TOPOLOGY_MOST_CPUS && i < 8 * bytes; i++)
		if (cpus.bits[i / 64] >> i % 64 & 1)
			map[i / 8] |= (uint8_t)(1u << i % 8);
}

/* As put_maps(), of what is to be at the next start: nr from number first on. */
static void put_maps_of(struct xdr_writer *out, const struct definition *d, int first, uint32_t nr, uint32_t bytes)
{
	uint8_t *maps = calloc(nr + 1, bytes + 1);
	if (!maps) {
		out->failed = true;
		return;
	}
	for (uint32_t i = 0; i < nr; i++)
		fill_map_of(maps + (size_t)i * bytes, d, first + (int)i, bytes);
	xdr_put_opaque(out, maps, (size_t)nr * bytes);
	free(maps);
}

static bool is_of_config(const struct guest *g, uint32_t flags)
{
	return flags & LIBVIRT_CONFIG || !guest_has_vmm(g);
}

static void run_pin_info(struct rpc_call *call)
{
	struct cpu_time times[MOST_VCPUS];
	struct libvirt_domain domain;
	libvirt_get_domain(&call->in, &domain);
	int32_t most = xdr_get_i32(&call->in), bytes = xdr_get_i32(&call->in);
	uint32_t flags = xdr_get_u32(&call->in);
	const struct guest *g = libvirt_find(call, &domain);
	if (!g || !libvirt_check_flags(call, flags, IMPACT) || !check_map(call, most, bytes))
		return;
	const struct definition *d = libvirt_look(call, g, flags);
	if (!d)
		return;
	uint32_t nr = (uint32_t)d->vcpus;
	if (nr > (uint32_t)most)
		nr = (uint32_t)most;
	if (is_of_config(g, flags)) {
		put_maps_of(&call->out, d, 0, nr, (uint32_t)bytes);
	} else {
		cpu_time_of_vcpus(g, times, nr);
		put_maps(&call->out, times, nr, (uint32_t)bytes);
	}
	xdr_put_i32(&call->out, (int32_t)nr);
	rpc_answer(call);
}

static void run_emulator_pin_info(struct rpc_call *call)
{
	struct libvirt_domain domain;
	libvirt_get_domain(&call->in, &domain);
	int32_t bytes = xdr_get_i32(&call->in);
	uint32_t flags = xdr_get_u32(&call->in);
	const struct guest *g = libvirt_find(call, &domain);
	if (!g || !libvirt_check_flags(call, flags, IMPACT) || !check_map(call, 1, bytes))
		return;
	const struct definition *d = libvirt_look(call, g, flags);
	if (!d)
		return;
	const struct cpu_time time = {.thread = (int)g->process.pid};
	if (is_of_config(g, flags))
		put_maps_of(&call->out, d, PINS_EMULATOR, 1, (uint32_t)bytes);
	else
		put_maps(&call->out, &time, 1, (uint32_t)bytes);
	xdr_put_i32(&call->out, 1);
	rpc_answer(call);
}

/* A map of CPUs. Returns how many of them there are where guests may run; *all: none of those is missing. */
static unsigned get_map(struct xdr_reader *r, struct topology_cpus *cpus, bool *all)
{
	struct topology_cpus host;
	size_t bytes;
	unsigned nr = 0;
	const uint8_t *map = xdr_get_opaque(r, MOST_MAP_BYTES, &bytes);
	memset(cpus, 0, sizeof(*cpus));
	for (size_t i = 0; map && i < 8 * bytes && i < TOPOLOGY_MOST_CPUS; i++)
		if (map[i / 8] >> i % 8 & 1)
			cpus->bits[i / 64] |= 1ull << i % 64;
	pins_host_cpus(&host);
	*all = true;
	for (size_t i = 0; i < sizeof(host.bits) / sizeof(host.bits[0]); i++) {
		nr += (unsigned)__builtin_popcountll(host.bits[i] & cpus->bits[i]);
		*all = *all && !(host.bits[i] & ~cpus->bits[i]);
	}
	return nr;
}

/* Others stay pinned as they are in that definition. */
static int tune_pin(struct guest *g, bool live, int who, const struct topology_cpus *cpus, struct error *err)
{
	const struct definition *d = live ? guest_in_force(g) : g->definition;
	json_t *pins = pins_with(json_object_get(d->json, "pins"), who, cpus);
	json_t *set = pins ? json_pack("{s:o}", "pins", pins) : NULL, *result = NULL;
	int ret = set ? guest_tune(g, set, live, !live, &result, err) : error_set(err, ENOMEM, "out of memory");
	json_decref(result);
	json_decref(set);
	return ret;
}

/* Pins one; all CPUs that there are unpin it. What it is now and what it is to be may differ in whom else they pin, and are changed one by one. */
static void pin(struct rpc_call *call, struct guest *g, int who, const struct topology_cpus *cpus, bool all, uint32_t flags)
{
	struct error err;
	bool live = flags & LIBVIRT_LIVE || (!(flags & IMPACT) && guest_has_vmm(g)), config = flags & LIBVIRT_CONFIG || !live;
	int ret = live ? tune_pin(g, true, who, all ? NULL : cpus, &err) : 0;
	if (ret == 0 && config)
		ret = tune_pin(g, false, who, all ? NULL : cpus, &err);
	libvirt_done(call, ret, &err);
}

/* has_vcpu: there is the number of a vCPU; else it is about the VMM's other threads. */
static void run_pin(struct rpc_call *call, bool has_vcpu, bool has_flags)
{
	struct libvirt_domain domain;
	struct topology_cpus cpus;
	bool all;
	libvirt_get_domain(&call->in, &domain);
	uint32_t vcpu = has_vcpu ? xdr_get_u32(&call->in) : 0;
	unsigned nr = get_map(&call->in, &cpus, &all);
	uint32_t flags = has_flags ? xdr_get_u32(&call->in) : 0;
	struct guest *g = libvirt_find(call, &domain);
	if (!g || !libvirt_check_flags(call, flags, IMPACT))
		return;
	const struct definition *d = libvirt_look(call, g, flags);
	if (!d)
		return;
	if (nr == 0)
		libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "%s: none of these CPUs is there for guests", g->definition->name);
	else if (has_vcpu && vcpu >= d->vcpus)
		libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "%s: has no vCPU %u, but %llu of them", g->definition->name, vcpu,
				    (unsigned long long)d->vcpus);
	else
		pin(call, g, has_vcpu ? (int)vcpu : PINS_EMULATOR, &cpus, all, flags);
}

static void run_pin_vcpu(struct rpc_call *call)
{
	run_pin(call, true, false);
}

static void run_pin_vcpu_flags(struct rpc_call *call)
{
	run_pin(call, true, true);
}

static void run_pin_emulator(struct rpc_call *call)
{
	run_pin(call, false, true);
}

/* --- I/O threads: each disk has one of its own, and they are not told apart from the emulator's --- */

static void run_iothread_info(struct rpc_call *call)
{
	uint32_t flags;
	const struct guest *g = libvirt_guest_flags(call, IMPACT, &flags);
	if (!g || !libvirt_look(call, g, flags))
		return;
	xdr_put_u32(&call->out, 0);
	xdr_put_u32(&call->out, 0);
	rpc_answer(call);
}

/* Whatever the arguments are. */
static void run_no_iothreads(struct rpc_call *call)
{
	libvirt_refuse_text(call, RPC_UNSUPPORTED,
			    "%s: there are no I/O threads to be set: each disk has a thread of its own, which emulatorpin pins",
			    call->procedure->name);
}

/* --- scheduler: to the kernel's all guests are alike, and that is all there is to see --- */

static void run_scheduler(struct rpc_call *call)
{
	if (!libvirt_guest(call))
		return;
	xdr_put_string(&call->out, "posix");
	xdr_put_i32(&call->out, 1);
	rpc_answer(call);
}

static void answer_scheduler_parameters(struct rpc_call *call, bool has_flags)
{
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	int32_t most = xdr_get_i32(&call->in);
	if (has_flags)
		(void)xdr_get_u32(&call->in);
	if (!libvirt_find(call, &d))
		return;
	struct rpc_parameters list = rpc_parameters_begin(&call->out);
	if (most > 0)
		rpc_put_ullong(&list, CPU_SHARES, USUAL_SHARES);
	rpc_parameters_end(&list);
	rpc_answer(call);
}

static void run_scheduler_parameters(struct rpc_call *call)
{
	answer_scheduler_parameters(call, false);
}

static void run_scheduler_parameters_flags(struct rpc_call *call)
{
	answer_scheduler_parameters(call, true);
}

/* What it is may be set; all else is refused by its name. */
static void set_scheduler(struct rpc_call *call, bool has_flags)
{
	struct libvirt_domain d;
	struct rpc_parameter p;
	char refused[RPC_PARAMETER_NAME_BYTES] = "";
	libvirt_get_domain(&call->in, &d);
	uint32_t nr = xdr_get_count(&call->in, MOST_PARAMETERS, RPC_PARAMETER_LEAST_BYTES);
	for (uint32_t i = 0; i < nr; i++) {
		rpc_get_parameter(&call->in, &p);
		if (strcmp(p.name, CPU_SHARES) != 0 || p.number != USUAL_SHARES)
			memcpy(refused, p.name, sizeof(refused));
	}
	if (has_flags)
		(void)xdr_get_u32(&call->in);
	if (!libvirt_find(call, &d))
		return;
	if (*refused)
		libvirt_refuse_text(call, RPC_ARGUMENT_UNSUPPORTED,
				    "%s: CPU time is not divided here: the kernel's scheduler treats all guests alike; vcpupin and "
				    "emulatorpin keep a guest to some CPUs, and tune's shares are of memory",
				    refused);
	else
		rpc_answer(call);
}

static void run_set_scheduler(struct rpc_call *call)
{
	set_scheduler(call, false);
}

static void run_set_scheduler_flags(struct rpc_call *call)
{
	set_scheduler(call, true);
}

/* --- CPU time --- */

static void run_cpu_stats(struct rpc_call *call)
{
	struct cpu_time time;
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	uint32_t nparams = xdr_get_u32(&call->in);
	int32_t first = xdr_get_i32(&call->in);
	(void)xdr_get_u32(&call->in);
	(void)xdr_get_u32(&call->in);
	const struct guest *g = libvirt_find(call, &d);
	if (!g)
		return;
	if (first != TOTAL || !guest_has_vmm(g)) {
		libvirt_refuse_text(call, first != TOTAL ? RPC_NO_SUPPORT : RPC_OPERATION_INVALID, "%s: %s", g->definition->name,
				    first != TOTAL ? "time on each of the host's CPUs is not known; ask for the total"
						   : "is not running");
		return;
	}
	cpu_time_of_guest(g, &time);
	struct rpc_parameters list = rpc_parameters_begin(&call->out);
	if (nparams) {
		rpc_put_ullong(&list, "cpu_time", time.user_ns + time.system_ns);
		rpc_put_ullong(&list, "user_time", time.user_ns);
		rpc_put_ullong(&list, "system_time", time.system_ns);
	}
	rpc_parameters_end(&list);
	xdr_put_i32(&call->out, 3);
	rpc_answer(call);
}

static const struct rpc_procedure procedures[] = {
	{.number = 18, .name = "max-vcpus", .run = run_max_vcpus},
	{.number = 20, .name = "vcpus", .run = run_vcpus},
	{.number = 26, .name = "pin-vcpu", .changes = true, .run = run_pin_vcpu},
	{.number = 32, .name = "set-vcpus", .changes = true, .run = run_set_vcpus},
	{.number = 56, .name = "scheduler", .run = run_scheduler},
	{.number = 57, .name = "scheduler-parameters", .run = run_scheduler_parameters},
	{.number = 58, .name = "set-scheduler-parameters", .changes = true, .run = run_set_scheduler},
	{.number = 199, .name = "set-vcpus", .changes = true, .run = run_set_vcpus_flags},
	{.number = 200, .name = "get-vcpus", .run = run_get_vcpus},
	{.number = 219, .name = "set-scheduler-parameters", .changes = true, .run = run_set_scheduler_flags},
	{.number = 223, .name = "scheduler-parameters", .run = run_scheduler_parameters_flags},
	{.number = 225, .name = "pin-vcpu", .changes = true, .run = run_pin_vcpu_flags},
	{.number = 230, .name = "pin-info", .run = run_pin_info},
	{.number = 262, .name = "cpu-stats", .run = run_cpu_stats},
	{.number = 279, .name = "pin-emulator", .changes = true, .run = run_pin_emulator},
	{.number = 280, .name = "emulator-pin-info", .run = run_emulator_pin_info},
	{.number = 351, .name = "iothread-info", .run = run_iothread_info},
	{.number = 352, .name = "pin-iothread", .changes = true, .run = run_no_iothreads},
	{.number = 355, .name = "add-iothread", .changes = true, .run = run_no_iothreads},
	{.number = 356, .name = "delete-iothread", .changes = true, .run = run_no_iothreads},
	{.number = 402, .name = "set-iothread", .changes = true, .run = run_no_iothreads},
};
const struct libvirt_procedures libvirt_cpu_procedures = LIBVIRT_PROCEDURES(procedures);
