/* A guest from its start to its end, and its name. What is defined by XML is in xml.c. */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "libvirt/call.h"
#include "libvirt/lifecycle.h"
#include "libvirt/procedures.h"

#define SHUTDOWN_BY_BUTTON 1u
#define DESTROY_GRACEFUL 1u

/* --- starting --- */

static void on_started(struct guest_wait *wait, struct guest *g, const struct error *err)
{
	struct libvirt_call *c = container_of(wait, struct libvirt_call, wait);
	if (err->code) {
		libvirt_refuse(&c->rpc, err);
		return;
	}
	if (c->flag)
		libvirt_put_guest(&c->rpc.out, g);
	rpc_answer(&c->rpc);
}

static void wait_for_start(struct rpc_call *call, struct guest *g, bool answer_guest)
{
	struct libvirt_call *c = libvirt_call(call);
	c->wait.done = on_started;
	c->flag = answer_guest;
	guest_wait(g, &c->wait, false);
}

void libvirt_start(struct rpc_call *call, struct guest *g, uint32_t flags, bool answer_guest)
{
	struct error err;
	if (guest_start(g, flags & LIBVIRT_START_PAUSED, &err))
		libvirt_refuse(call, &err);
	else
		wait_for_start(call, g, answer_guest);
}

void libvirt_start_defined(struct rpc_call *call, struct guest *g, uint32_t flags, bool made)
{
	struct error err, none;
	if (guest_start(g, flags & LIBVIRT_START_PAUSED, &err) == 0) {
		wait_for_start(call, g, true);
		return;
	}
	if (made && guest_undefine(g, &none))
		log_warning("%s", none.text);
	libvirt_refuse(call, &err);
}

static void run_create(struct rpc_call *call)
{
	struct guest *g = libvirt_guest(call);
	if (g)
		libvirt_start(call, g, 0, false);
}

static void run_create_flags(struct rpc_call *call)
{
	uint32_t flags;
	struct guest *g = libvirt_guest_flags(call, LIBVIRT_START_FLAGS, &flags);
	if (g)
		libvirt_start(call, g, flags, true);
}

/* --- ending --- */

/* A guest that is on its way through a reboot: whoever asked for it has been answered. */
struct libvirt_reboot {
	struct guest_wait wait;
	struct libvirt_server *server;
	struct guest *guest;
	struct libvirt_reboot *next;
};

void libvirt_forget_reboots(struct libvirt_server *s, const struct guest *g)
{
	for (struct libvirt_reboot **at = &s->reboots; *at;) {
		struct libvirt_reboot *reboot = *at;
		if (g && reboot->guest != g) {
			at = &reboot->next;
			continue;
		}
		*at = reboot->next;
		guest_forget_wait(reboot->guest, &reboot->wait);
		free(reboot);
	}
}

static void on_ended(struct guest_wait *wait, struct guest *g, const struct error *err)
{
	struct libvirt_call *c = container_of(wait, struct libvirt_call, wait);
	(void)g;
	libvirt_done(&c->rpc, err->code ? -1 : 0, err);
}

static void destroy(struct rpc_call *call, struct guest *g)
{
	struct libvirt_call *c = libvirt_call(call);
	struct error err;
	libvirt_forget_reboots(libvirt_server_of(call), g);
	if (guest_stop(g, 0, &err)) {
		libvirt_refuse(call, &err);
		return;
	}
	c->wait.done = on_ended;
	guest_wait(g, &c->wait, true);
}

static void run_destroy(struct rpc_call *call)
{
	struct guest *g = libvirt_guest(call);
	if (g)
		destroy(call, g);
}

static void run_destroy_flags(struct rpc_call *call)
{
	uint32_t flags;
	struct guest *g = libvirt_guest_flags(call, DESTROY_GRACEFUL, &flags);
	if (g)
		destroy(call, g);
}

/* Who wants it off does not want it on again, whatever was wanted before. */
static void shut_down(struct rpc_call *call, struct guest *g)
{
	struct error err;
	libvirt_forget_reboots(libvirt_server_of(call), g);
	libvirt_done(call, guest_shutdown(g, &err), &err);
}

static void run_shutdown(struct rpc_call *call)
{
	struct guest *g = libvirt_guest(call);
	if (g)
		shut_down(call, g);
}

static void run_shutdown_flags(struct rpc_call *call)
{
	uint32_t flags;
	struct guest *g = libvirt_guest_flags(call, SHUTDOWN_BY_BUTTON, &flags);
	if (g)
		shut_down(call, g);
}

static void on_rebooting(struct guest_wait *wait, struct guest *g, const struct error *err)
{
	struct libvirt_reboot *reboot = container_of(wait, struct libvirt_reboot, wait);
	struct libvirt_reboot **at = &reboot->server->reboots;
	struct error failure;
	while (*at != reboot)
		at = &(*at)->next;
	*at = reboot->next;
	if (err->code == 0 && guest_start(g, false, &failure))
		log_error("%s: cannot be started again: %s", g->definition->name, failure.text);
	free(reboot);
}

static void run_reboot(struct rpc_call *call)
{
	struct error err;
	uint32_t flags;
	struct guest *g = libvirt_guest_flags(call, SHUTDOWN_BY_BUTTON, &flags);
	if (!g)
		return;
	struct libvirt_server *s = libvirt_server_of(call);
	struct libvirt_reboot *reboot = calloc(1, sizeof(*reboot));
	if (!reboot) {
		rpc_refuse(call, RPC_NO_MEMORY, "out of memory");
		return;
	}
	int ret = 0;
	if (!guest_has_vmm(g))
		ret = error_set(&err, EBADFD, "%s: is not running", g->definition->name);
	if (ret == 0)
		ret = guest_stop(g, guest_in_force(g)->stop_timeout, &err);
	libvirt_done(call, ret, &err);
	if (ret) {
		free(reboot);
		return;
	}
	*reboot = (struct libvirt_reboot){.wait.done = on_rebooting, .server = s, .guest = g, .next = s->reboots};
	s->reboots = reboot;
	guest_wait(g, &reboot->wait, true);
}

/* --- orders to its VMM --- */

static void on_done(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct libvirt_call *c = container_of(question, struct libvirt_call, question);
	libvirt_done(&c->rpc, result ? 0 : -1, err);
}

static void order(struct rpc_call *call, struct guest *g, const char *command)
{
	struct libvirt_call *c = libvirt_call(call);
	struct error err;
	if (!g)
		return;
	c->question.answered = on_done;
	if (guest_ask(g, command, NULL, &c->question, &err))
		libvirt_refuse(call, &err);
}

static void run_suspend(struct rpc_call *call)
{
	order(call, libvirt_guest(call), "stop");
}

static void run_resume(struct rpc_call *call)
{
	order(call, libvirt_guest(call), "cont");
}

static void run_reset(struct rpc_call *call)
{
	uint32_t flags;
	order(call, libvirt_guest_flags(call, 0, &flags), "system_reset");
}

/* --- definitions --- */

static void run_undefine(struct rpc_call *call)
{
	struct error err;
	struct guest *g = libvirt_guest(call);
	if (g)
		libvirt_done(call, guest_undefine(g, &err), &err);
}

/* Flags say what is to go with it: saved states, snapshots, variables of firmware, of which there are none. */
static void run_undefine_flags(struct rpc_call *call)
{
	struct error err;
	uint32_t flags;
	struct guest *g = libvirt_guest_flags(call, 0x7f, &flags);
	if (g)
		libvirt_done(call, guest_undefine(g, &err), &err);
}

static void run_set_autostart(struct rpc_call *call)
{
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	uint32_t on = xdr_get_u32(&call->in);
	struct guest *g = libvirt_find(call, &d);
	if (g)
		libvirt_tune(call, g, json_pack("{s:b}", "autostart", on != 0), LIBVIRT_CONFIG);
}

static void run_rename(struct rpc_call *call)
{
	char name[LIBVIRT_NAME_BYTES];
	struct libvirt_domain d;
	struct error err;
	libvirt_get_domain(&call->in, &d);
	xdr_get_optional_string(&call->in, name, sizeof(name));
	uint32_t flags = xdr_get_u32(&call->in);
	struct guest *g = libvirt_find(call, &d);
	if (!g || !libvirt_check_flags(call, flags, 0))
		return;
	if (guest_rename(g, name, &err))
		libvirt_refuse(call, &err);
	else
		libvirt_answer_i32(call, 0);
}

static const struct rpc_procedure procedures[] = {
	{.number = 9, .name = "start", .changes = true, .run = run_create},
	{.number = 12, .name = "destroy", .changes = true, .run = run_destroy},
	{.number = 27, .name = "reboot", .changes = true, .run = run_reboot},
	{.number = 28, .name = "resume", .changes = true, .run = run_resume},
	{.number = 29, .name = "autostart", .changes = true, .run = run_set_autostart},
	{.number = 33, .name = "shutdown", .changes = true, .run = run_shutdown},
	{.number = 34, .name = "suspend", .changes = true, .run = run_suspend},
	{.number = 35, .name = "undefine", .changes = true, .run = run_undefine},
	{.number = 196, .name = "start", .changes = true, .run = run_create_flags},
	{.number = 231, .name = "undefine", .changes = true, .run = run_undefine_flags},
	{.number = 234, .name = "destroy", .changes = true, .run = run_destroy_flags},
	{.number = 245, .name = "reset", .changes = true, .run = run_reset},
	{.number = 258, .name = "shutdown", .changes = true, .run = run_shutdown_flags},
	{.number = 358, .name = "rename", .changes = true, .run = run_rename},
};
const struct libvirt_procedures libvirt_lifecycle_procedures = LIBVIRT_PROCEDURES(procedures);
