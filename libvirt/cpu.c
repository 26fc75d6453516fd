/* A guest's vCPUs: how many, what they do, where they may run. Placement chooses CPUs; clients can look, and keep a guest on nodes (numatune). */
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "libvirt/call.h"
#include "libvirt/cpu_time.h"
#include "libvirt/procedures.h"

#define IMPACT (LIBVIRT_LIVE | LIBVIRT_CONFIG)
#define VCPU_MAXIMUM 4u
#define VCPU_RUNNING 1
#define VCPU_BLOCKED 2
#define MOST_VCPUS 255
#define MOST_MAP_BYTES 2048
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
	cpu_time_of_vcpus(g, times, nr);
	put_maps(&call->out, times, nr, (uint32_t)bytes);
	xdr_put_i32(&call->out, (int32_t)nr);
	rpc_answer(call);
}

static void run_emulator_pin_info(struct rpc_call *call)
{
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	int32_t bytes = xdr_get_i32(&call->in);
	uint32_t flags = xdr_get_u32(&call->in);
	const struct guest *g = libvirt_find(call, &d);
	if (!g || !libvirt_check_flags(call, flags, IMPACT) || !check_map(call, 1, bytes))
		return;
	const struct cpu_time time = {.thread = guest_has_vmm(g) ? (int)g->process.pid : 0};
	put_maps(&call->out, &time, 1, (uint32_t)bytes);
	xdr_put_i32(&call->out, 1);
	rpc_answer(call);
}

/* Whatever the arguments are. */
static void run_no_pinning(struct rpc_call *call)
{
	libvirt_refuse_text(call, RPC_UNSUPPORTED, "placement chooses CPUs; numatune keeps a guest on nodes");
}

/* --- scheduler, of which there is nothing to set --- */

static void run_scheduler(struct rpc_call *call)
{
	if (!libvirt_guest(call))
		return;
	xdr_put_string(&call->out, "posix");
	xdr_put_i32(&call->out, 0);
	rpc_answer(call);
}

static void answer_no_parameters(struct rpc_call *call, bool has_flags)
{
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	(void)xdr_get_i32(&call->in);
	if (has_flags)
		(void)xdr_get_u32(&call->in);
	if (!libvirt_find(call, &d))
		return;
	xdr_put_u32(&call->out, 0);
	rpc_answer(call);
}

static void run_scheduler_parameters(struct rpc_call *call)
{
	answer_no_parameters(call, false);
}

static void run_scheduler_parameters_flags(struct rpc_call *call)
{
	answer_no_parameters(call, true);
}

static void run_no_scheduler(struct rpc_call *call)
{
	libvirt_refuse_text(call, RPC_UNSUPPORTED, "the host's scheduler has no settings for a guest here");
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
	{.number = 26, .name = "pin-vcpu", .changes = true, .run = run_no_pinning},
	{.number = 32, .name = "set-vcpus", .changes = true, .run = run_set_vcpus},
	{.number = 56, .name = "scheduler", .run = run_scheduler},
	{.number = 57, .name = "scheduler-parameters", .run = run_scheduler_parameters},
	{.number = 58, .name = "set-scheduler-parameters", .changes = true, .run = run_no_scheduler},
	{.number = 199, .name = "set-vcpus", .changes = true, .run = run_set_vcpus_flags},
	{.number = 200, .name = "get-vcpus", .run = run_get_vcpus},
	{.number = 219, .name = "set-scheduler-parameters", .changes = true, .run = run_no_scheduler},
	{.number = 223, .name = "scheduler-parameters", .run = run_scheduler_parameters_flags},
	{.number = 225, .name = "pin-vcpu", .changes = true, .run = run_no_pinning},
	{.number = 230, .name = "pin-info", .run = run_pin_info},
	{.number = 262, .name = "cpu-stats", .run = run_cpu_stats},
	{.number = 279, .name = "pin-emulator", .changes = true, .run = run_no_pinning},
	{.number = 280, .name = "emulator-pin-info", .run = run_emulator_pin_info},
};
const struct libvirt_procedures libvirt_cpu_procedures = LIBVIRT_PROCEDURES(procedures);
