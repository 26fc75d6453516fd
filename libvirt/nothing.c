/*
 * Kinds of things of which there are none here: networks, interfaces, node devices, filters, secrets; snapshots and saved states of guests. Clients list them all, and want
 * to hear so. Events about them never come; who registers for some gets a number.
 */
#include "libvirt/call.h"
#include "libvirt/procedures.h"

/* A list of everything that may be filtered, and how many there are. */
static void run_no_items(struct rpc_call *call)
{
	(void)xdr_get_u32(&call->in);
	(void)xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	xdr_put_u32(&call->out, 0);
	xdr_put_u32(&call->out, 0);
	rpc_answer(call);
}

/* Names, at most so many. */
static void run_no_names(struct rpc_call *call)
{
	(void)xdr_get_i32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	xdr_put_u32(&call->out, 0);
	rpc_answer(call);
}

static void run_zero(struct rpc_call *call)
{
	if (libvirt_arguments_end(call))
		libvirt_answer_i32(call, 0);
}

static void run_no_devices(struct rpc_call *call)
{
	char kind[LIBVIRT_NAME_BYTES];
	xdr_get_optional_string(&call->in, kind, sizeof(kind));
	(void)xdr_get_u32(&call->in);
	if (libvirt_arguments_end(call))
		libvirt_answer_i32(call, 0);
}

static void run_no_device_names(struct rpc_call *call)
{
	char kind[LIBVIRT_NAME_BYTES];
	xdr_get_optional_string(&call->in, kind, sizeof(kind));
	(void)xdr_get_i32(&call->in);
	(void)xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	xdr_put_u32(&call->out, 0);
	rpc_answer(call);
}

/* --- of a guest --- */

static void run_guest_has_none(struct rpc_call *call)
{
	uint32_t flags;
	if (libvirt_guest_flags(call, UINT32_MAX, &flags))
		libvirt_answer_i32(call, 0);
}

static void run_no_snapshots(struct rpc_call *call)
{
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	(void)xdr_get_u32(&call->in);
	(void)xdr_get_u32(&call->in);
	if (!libvirt_find(call, &d))
		return;
	xdr_put_u32(&call->out, 0);
	xdr_put_i32(&call->out, 0);
	rpc_answer(call);
}

/* Snapshots' names; and addresses, which only the guest itself knows. */
static void run_guest_has_no_items(struct rpc_call *call)
{
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	(void)xdr_get_i32(&call->in);
	(void)xdr_get_u32(&call->in);
	if (!libvirt_find(call, &d))
		return;
	xdr_put_u32(&call->out, 0);
	rpc_answer(call);
}

static void run_no_job(struct rpc_call *call)
{
	if (!libvirt_guest(call))
		return;
	xdr_put_i32(&call->out, 0);
	for (int i = 0; i < 11; i++)
		xdr_put_u64(&call->out, 0);
	rpc_answer(call);
}

static void run_no_job_parameters(struct rpc_call *call)
{
	uint32_t flags;
	if (!libvirt_guest_flags(call, UINT32_MAX, &flags))
		return;
	xdr_put_i32(&call->out, 0);
	xdr_put_u32(&call->out, 0);
	rpc_answer(call);
}

/* --- events --- */

static void run_register(struct rpc_call *call)
{
	char name[LIBVIRT_NAME_BYTES];
	uint8_t uuid[LIBVIRT_UUID_BYTES];
	(void)xdr_get_i32(&call->in);
	uint32_t one = xdr_get_u32(&call->in);
	if (one > 1)
		call->in.bad = true;
	if (one)
		xdr_get_string(&call->in, name, sizeof(name));
	/* A node device has a name and nothing else. */
	if (one && call->procedure->number != 374)
		xdr_get_fixed(&call->in, uuid, sizeof(uuid));
	if (libvirt_arguments_end(call))
		libvirt_answer_i32(call, libvirt_next_subscription(libvirt_server_of(call)));
}

static void run_deregister(struct rpc_call *call)
{
	(void)xdr_get_i32(&call->in);
	if (libvirt_arguments_end(call))
		rpc_answer(call);
}

static const struct rpc_procedure procedures[] = {
	{.number = 36, .name = "list-defined-networks", .run = run_no_names},
	{.number = 38, .name = "list-networks", .run = run_no_names},
	{.number = 50, .name = "num-of-defined-networks", .run = run_zero},
	{.number = 52, .name = "num-of-networks", .run = run_zero},
	{.number = 111, .name = "num-of-node-devices", .run = run_no_devices},
	{.number = 112, .name = "list-node-devices", .run = run_no_device_names},
	{.number = 126, .name = "num-of-interfaces", .run = run_zero},
	{.number = 127, .name = "list-interfaces", .run = run_no_names},
	{.number = 137, .name = "num-of-defined-interfaces", .run = run_zero},
	{.number = 138, .name = "list-defined-interfaces", .run = run_no_names},
	{.number = 163, .name = "job-info", .run = run_no_job},
	{.number = 183, .name = "has-managed-save", .run = run_guest_has_none},
	{.number = 187, .name = "num-of-snapshots", .run = run_guest_has_none},
	{.number = 188, .name = "list-snapshots", .run = run_guest_has_no_items},
	{.number = 190, .name = "has-current-snapshot", .run = run_guest_has_none},
	{.number = 274, .name = "list-all-snapshots", .run = run_no_snapshots},
	{.number = 283, .name = "list-all-networks", .run = run_no_items},
	{.number = 284, .name = "list-all-interfaces", .run = run_no_items},
	{.number = 285, .name = "list-all-node-devices", .run = run_no_items},
	{.number = 286, .name = "list-all-filters", .run = run_no_items},
	{.number = 287, .name = "list-all-secrets", .run = run_no_items},
	{.number = 298, .name = "job-stats", .run = run_no_job_parameters},
	{.number = 313, .name = "register-network-event", .run = run_register},
	{.number = 314, .name = "deregister-network-event", .run = run_deregister},
	{.number = 353, .name = "interface-addresses", .run = run_guest_has_no_items},
	{.number = 368, .name = "register-pool-event", .run = run_register},
	{.number = 369, .name = "deregister-pool-event", .run = run_deregister},
	{.number = 374, .name = "register-device-event", .run = run_register},
	{.number = 375, .name = "deregister-device-event", .run = run_deregister},
};
const struct libvirt_procedures libvirt_nothing_procedures = LIBVIRT_PROCEDURES(procedures);
