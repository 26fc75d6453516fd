/* What a guest is, and how it is. */
#include <stdlib.h>

#include "libvirt/call.h"
#include "libvirt/cpu_time.h"
#include "libvirt/guest_state.h"
#include "libvirt/procedures.h"

static void run_info(struct rpc_call *call)
{
	struct libvirt_guest_state state;
	struct cpu_time time;
	const struct guest *g = libvirt_guest(call);
	if (!g)
		return;
	const struct definition *d = guest_in_force(g);
	libvirt_guest_state(g, &state);
	cpu_time_of_guest(g, &time);
	xdr_put_u32(&call->out, (uint32_t)state.state);
	xdr_put_u64(&call->out, d->memory >> 10);
	xdr_put_u64(&call->out, d->maximum >> 10);
	xdr_put_u32(&call->out, (uint32_t)d->vcpus);
	xdr_put_u64(&call->out, time.user_ns + time.system_ns);
	rpc_answer(call);
}

static void run_state(struct rpc_call *call)
{
	struct libvirt_guest_state state;
	uint32_t flags;
	const struct guest *g = libvirt_guest_flags(call, 0, &flags);
	if (!g)
		return;
	libvirt_guest_state(g, &state);
	xdr_put_i32(&call->out, state.state);
	xdr_put_i32(&call->out, state.reason);
	rpc_answer(call);
}

static void run_control_info(struct rpc_call *call)
{
	uint32_t flags;
	const struct guest *g = libvirt_guest_flags(call, 0, &flags);
	if (!g)
		return;
	if (!guest_has_vmm(g)) {
		libvirt_refuse_text(call, RPC_OPERATION_INVALID, "%s: is not running", g->definition->name);
		return;
	}
	/* It takes commands while its VMM is connected; else its monitor is what is wrong. */
	xdr_put_u32(&call->out, g->qmp.ready ? 0 : 3);
	xdr_put_u32(&call->out, g->qmp.ready ? 0 : 2);
	xdr_put_u64(&call->out, 0);
	rpc_answer(call);
}

static void run_os_type(struct rpc_call *call)
{
	if (libvirt_guest(call))
		libvirt_answer_string(call, "hvm");
}

static void run_is_active(struct rpc_call *call)
{
	const struct guest *g = libvirt_guest(call);
	if (g)
		libvirt_answer_i32(call, guest_has_vmm(g));
}

static void run_is_persistent(struct rpc_call *call)
{
	if (libvirt_guest(call))
		libvirt_answer_i32(call, 1);
}

/* Whether the next start brings changes. */
static void run_is_updated(struct rpc_call *call)
{
	const struct guest *g = libvirt_guest(call);
	json_t *changes = g && g->started ? definition_difference(g->started, g->definition) : NULL;
	if (g)
		libvirt_answer_i32(call, json_array_size(changes) > 0);
	json_decref(changes);
}

static void run_autostart(struct rpc_call *call)
{
	const struct guest *g = libvirt_guest(call);
	if (g)
		libvirt_answer_i32(call, g->definition->autostart);
}

static void run_no_labels(struct rpc_call *call)
{
	if (!libvirt_guest(call))
		return;
	xdr_put_u32(&call->out, 0);
	xdr_put_i32(&call->out, 0);
	rpc_answer(call);
}

/* Why it is as it is, if there is more to say than its state. */
static void run_messages(struct rpc_call *call)
{
	uint32_t flags;
	const struct guest *g = libvirt_guest_flags(call, UINT32_MAX, &flags);
	if (!g)
		return;
	xdr_put_u32(&call->out, *g->reason != '\0');
	if (*g->reason)
		xdr_put_string(&call->out, g->reason);
	rpc_answer(call);
}

static const struct rpc_procedure procedures[] = {
	{.number = 15, .name = "get-autostart", .run = run_autostart},
	{.number = 16, .name = "info", .run = run_info},
	{.number = 19, .name = "os-type", .run = run_os_type},
	{.number = 150, .name = "is-active", .run = run_is_active},
	{.number = 151, .name = "is-persistent", .run = run_is_persistent},
	{.number = 202, .name = "is-updated", .run = run_is_updated},
	{.number = 212, .name = "state", .run = run_state},
	{.number = 229, .name = "control-info", .run = run_control_info},
	{.number = 278, .name = "security-labels", .run = run_no_labels},
	{.number = 426, .name = "messages", .run = run_messages},
};
const struct libvirt_procedures libvirt_info_procedures = LIBVIRT_PROCEDURES(procedures);
