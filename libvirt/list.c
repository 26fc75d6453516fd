/* Which guests there are, and which one is meant. */
#include "libvirt/call.h"
#include "libvirt/procedures.h"

#define MOST_GUESTS 16384

/* Filters of the list, in groups: a guest is listed if it is in one of each group that is named. */
enum filter {
	ACTIVE = 1 << 0,
	INACTIVE = 1 << 1,
	PERSISTENT = 1 << 2,
	TRANSIENT = 1 << 3,
	RUNNING = 1 << 4,
	PAUSED = 1 << 5,
	SHUT_OFF = 1 << 6,
	OTHER = 1 << 7,
	SAVED = 1 << 8,
	NOT_SAVED = 1 << 9,
	AUTOSTART = 1 << 10,
	NO_AUTOSTART = 1 << 11,
	SNAPSHOT = 1 << 12,
	NO_SNAPSHOT = 1 << 13,
	CHECKPOINT = 1 << 14,
	NO_CHECKPOINT = 1 << 15,
	ALL_FILTERS = (1 << 16) - 1,
};

static uint32_t properties(const struct guest *g)
{
	uint32_t is = PERSISTENT | NOT_SAVED | NO_SNAPSHOT | NO_CHECKPOINT;
	is |= guest_has_vmm(g) ? ACTIVE : INACTIVE;
	is |= g->definition->autostart ? AUTOSTART : NO_AUTOSTART;
	if (!guest_has_vmm(g))
		is |= SHUT_OFF;
	else if (g->state == GUEST_RUNNING)
		is |= RUNNING;
	else if (g->state == GUEST_PAUSED)
		is |= PAUSED;
	else
		is |= OTHER;
	return is;
}

static bool is_listed(const struct guest *g, uint32_t filters)
{
	static const uint32_t groups[] = {
		ACTIVE | INACTIVE,        PERSISTENT | TRANSIENT, RUNNING | PAUSED | SHUT_OFF | OTHER, SAVED | NOT_SAVED,
		AUTOSTART | NO_AUTOSTART, SNAPSHOT | NO_SNAPSHOT, CHECKPOINT | NO_CHECKPOINT,
	};
	uint32_t is = properties(g);
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (filters & groups[i] && !(filters & groups[i] & is))
			return false;
	return true;
}

static void run_list_all(struct rpc_call *call)
{
	uint32_t nr = 0, wants = xdr_get_u32(&call->in), filters = xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call) || !libvirt_check_flags(call, filters, ALL_FILTERS))
		return;
	size_t place = xdr_put_later(&call->out);
	for (const struct guest *g = libvirt_server_of(call)->guests->first; g && nr < MOST_GUESTS; g = g->next)
		if (is_listed(g, filters)) {
			nr++;
			if (wants)
				libvirt_put_guest(&call->out, g);
		}
	xdr_set_u32(&call->out, place, wants ? nr : 0);
	xdr_put_u32(&call->out, nr);
	rpc_answer(call);
}

static void run_list_ids(struct rpc_call *call)
{
	int32_t nr = 0, most = xdr_get_i32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	size_t place = xdr_put_later(&call->out);
	for (const struct guest *g = libvirt_server_of(call)->guests->first; g && nr < most && nr < MOST_GUESTS; g = g->next)
		if (guest_has_vmm(g)) {
			nr++;
			xdr_put_i32(&call->out, libvirt_id(g));
		}
	xdr_set_u32(&call->out, place, (uint32_t)nr);
	rpc_answer(call);
}

static void run_list_defined(struct rpc_call *call)
{
	int32_t nr = 0, most = xdr_get_i32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	size_t place = xdr_put_later(&call->out);
	for (const struct guest *g = libvirt_server_of(call)->guests->first; g && nr < most && nr < MOST_GUESTS; g = g->next)
		if (!guest_has_vmm(g)) {
			nr++;
			xdr_put_string(&call->out, g->definition->name);
		}
	xdr_set_u32(&call->out, place, (uint32_t)nr);
	rpc_answer(call);
}

static void count(struct rpc_call *call, bool active)
{
	int32_t nr = 0;
	if (!libvirt_arguments_end(call))
		return;
	for (const struct guest *g = libvirt_server_of(call)->guests->first; g; g = g->next)
		nr += guest_has_vmm(g) == active;
	libvirt_answer_i32(call, nr);
}

static void run_count(struct rpc_call *call)
{
	count(call, true);
}

static void run_count_defined(struct rpc_call *call)
{
	count(call, false);
}

/* --- looking one up --- */

static void answer_guest(struct rpc_call *call, const struct guest *g, const char *name)
{
	if (!g) {
		libvirt_refuse_text(call, RPC_NO_DOMAIN, "%.60s: there is no such guest", name);
		return;
	}
	libvirt_put_guest(&call->out, g);
	rpc_answer(call);
}

static void run_by_name(struct rpc_call *call)
{
	char name[LIBVIRT_NAME_BYTES];
	xdr_get_string(&call->in, name, sizeof(name));
	if (!libvirt_arguments_end(call))
		return;
	struct error err;
	const struct guest *g = guests_find(libvirt_server_of(call)->guests, name, &err);
	answer_guest(call, g, name);
}

static void run_by_id(struct rpc_call *call)
{
	int32_t id = xdr_get_i32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	const struct guest *g = libvirt_server_of(call)->guests->first;
	while (g && (id < 0 || libvirt_id(g) != id))
		g = g->next;
	answer_guest(call, g, "a guest of that number");
}

static void run_by_uuid(struct rpc_call *call)
{
	uint8_t uuid[LIBVIRT_UUID_BYTES];
	xdr_get_fixed(&call->in, uuid, sizeof(uuid));
	if (libvirt_arguments_end(call))
		answer_guest(call, libvirt_guest_of_uuid(libvirt_server_of(call)->guests, uuid), "a guest of that UUID");
}

static const struct rpc_procedure procedures[] = {
	{.number = 21, .name = "list-defined-domains", .run = run_list_defined},
	{.number = 22, .name = "lookup-by-id", .run = run_by_id},
	{.number = 23, .name = "lookup-by-name", .run = run_by_name},
	{.number = 24, .name = "lookup-by-uuid", .run = run_by_uuid},
	{.number = 25, .name = "num-of-defined-domains", .run = run_count_defined},
	{.number = 37, .name = "list-domains", .run = run_list_ids},
	{.number = 51, .name = "num-of-domains", .run = run_count},
	{.number = 273, .name = "list-all-domains", .run = run_list_all},
};
const struct libvirt_procedures libvirt_list_procedures = LIBVIRT_PROCEDURES(procedures);
