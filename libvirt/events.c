/*
 * See events.h. A client registers for a kind of event, of one guest or of all, and gets a number, which comes back in each event. What is announced in the daemon's words
 * becomes one of libvirt's events, or none.
 */
#include "libvirt/events.h"

#include <stdlib.h>
#include <string.h>

#include "libvirt/call.h"
#include "libvirt/procedures.h"

#define MOST_OF_A_CLIENT 128

enum kind {
	KIND_LIFECYCLE = 0,
	KIND_REBOOT = 1,
	KIND_BALLOON_CHANGE = 13,
	KIND_TUNABLE = 17,
	NR_KINDS = 64, /* more than there are: those that we do not know do not come */
};

/* The procedure numbers of events. */
enum message {
	MESSAGE_LIFECYCLE = 318,
	MESSAGE_REBOOT = 319,
	MESSAGE_BALLOON_CHANGE = 331,
	MESSAGE_TUNABLE = 346,
};

enum lifecycle {
	LIFECYCLE_DEFINED = 0,
	LIFECYCLE_UNDEFINED = 1,
	LIFECYCLE_STARTED = 2,
	LIFECYCLE_SUSPENDED = 3,
	LIFECYCLE_RESUMED = 4,
	LIFECYCLE_STOPPED = 5,
};

enum {
	DEFINED_ADDED = 0,
	DEFINED_UPDATED = 1,
	STOPPED_SHUT_DOWN = 0,
	STOPPED_DESTROYED = 1,
	STOPPED_CRASHED = 2,
	STOPPED_FAILED = 5,
};

struct libvirt_subscription {
	struct libvirt_subscription *next;
	struct rpc_client *client;
	int number;
	enum kind kind;
	bool of_one;
	uint8_t uuid[LIBVIRT_UUID_BYTES];
};

/* --- telling --- */

/* Calls for each who wants this; more is what comes behind the guest, NULL: nothing. */
static void tell(struct libvirt_server *s, const struct guest *g, enum kind kind, enum message message,
		 const struct xdr_writer *more)
{
	uint8_t uuid[LIBVIRT_UUID_BYTES];
	libvirt_uuid_bytes(g->definition->uuid, uuid);
	for (const struct libvirt_subscription *sub = s->subscriptions; sub; sub = sub->next) {
		struct xdr_writer w = {.data = NULL};
		if (sub->kind != kind || (sub->of_one && memcmp(sub->uuid, uuid, sizeof(uuid)) != 0))
			continue;
		rpc_begin(&w);
		xdr_put_i32(&w, sub->number);
		libvirt_put_guest(&w, g);
		if (more) {
			xdr_put_fixed(&w, more->data, more->len);
			w.failed = w.failed || more->failed;
		}
		rpc_send_event(sub->client, message, &w);
	}
}

static void tell_lifecycle(struct libvirt_server *s, const struct guest *g, enum lifecycle event, int detail)
{
	struct xdr_writer more = {.data = NULL};
	xdr_put_u32(&more, event);
	xdr_put_i32(&more, detail);
	tell(s, g, KIND_LIFECYCLE, MESSAGE_LIFECYCLE, &more);
	xdr_writer_free(&more);
}

static void tell_state(struct libvirt_server *s, const struct guest *g, const char *before)
{
	bool was_starting = !strcmp(before, guest_state_name(GUEST_STARTING));
	if (was_starting && (g->state == GUEST_RUNNING || g->state == GUEST_PAUSED))
		tell_lifecycle(s, g, LIFECYCLE_STARTED, 0);
	if (g->state == GUEST_PAUSED)
		tell_lifecycle(s, g, LIFECYCLE_SUSPENDED, 0);
	else if (g->state == GUEST_RUNNING && !strcmp(before, guest_state_name(GUEST_PAUSED)))
		tell_lifecycle(s, g, LIFECYCLE_RESUMED, 0);
	else if (g->state == GUEST_STOPPED)
		tell_lifecycle(s, g, LIFECYCLE_STOPPED, g->forced ? STOPPED_DESTROYED : STOPPED_SHUT_DOWN);
	else if (g->state == GUEST_CRASHED)
		tell_lifecycle(s, g, LIFECYCLE_STOPPED, was_starting ? STOPPED_FAILED : STOPPED_CRASHED);
}

static bool has_word(const json_t *words, const char *wanted)
{
	const json_t *word;
	size_t i;
	json_array_foreach(words, i, word)
	{
		if (!strcmp(json_string_value(word), wanted))
			return true;
	}
	return false;
}

static void tell_maximum(struct libvirt_server *s, const struct guest *g)
{
	struct xdr_writer more = {.data = NULL};
	xdr_put_u64(&more, guest_in_force(g)->maximum >> 10);
	tell(s, g, KIND_BALLOON_CHANGE, MESSAGE_BALLOON_CHANGE, &more);
	xdr_writer_free(&more);
}

/* All pins in force, of which some are new. */
static void tell_pins(struct libvirt_server *s, const struct guest *g)
{
	struct xdr_writer more = {.data = NULL};
	struct rpc_parameters list = rpc_parameters_begin(&more);
	const json_t *pin;
	size_t i;
	json_array_foreach(json_object_get(guest_in_force(g)->json, "pins"), i, pin)
	{
		const char *who = json_string_value(pin), *cpus = strchr(who, ':');
		char name[RPC_PARAMETER_NAME_BYTES];
		if (!strncmp(who, "emulator:", strlen("emulator:")))
			(void)snprintf(name, sizeof(name), "cputune.emulatorpin");
		else
			(void)snprintf(name, sizeof(name), "cputune.vcpupin%.*s", (int)(cpus - who), who);
		rpc_put_text(&list, name, cpus + 1);
	}
	rpc_parameters_end(&list);
	tell(s, g, KIND_TUNABLE, MESSAGE_TUNABLE, &more);
	xdr_writer_free(&more);
}

static void tell_change(struct libvirt_server *s, const struct guest *g, const json_t *live)
{
	tell_lifecycle(s, g, LIFECYCLE_DEFINED, DEFINED_UPDATED);
	if (has_word(live, "maximum"))
		tell_maximum(s, g);
	if (has_word(live, "pins") && guest_has_vmm(g))
		tell_pins(s, g);
}

void libvirt_on_event(struct guests_listener *listener, const char *event, const json_t *data)
{
	struct libvirt_server *s = container_of(listener, struct libvirt_server, listener);
	const char *name = json_string_value(json_object_get(data, "guest"));
	const char *before = json_string_value(json_object_get(data, "before"));
	struct error err;
	const struct guest *g = name && s->subscriptions ? guests_find(s->guests, name, &err) : NULL;
	if (!g)
		return;
	if (!strcmp(event, "guest-defined"))
		tell_lifecycle(s, g, LIFECYCLE_DEFINED, DEFINED_ADDED);
	else if (!strcmp(event, "guest-undefined"))
		tell_lifecycle(s, g, LIFECYCLE_UNDEFINED, 0);
	else if (!strcmp(event, "guest-changed"))
		tell_change(s, g, json_object_get(data, "live"));
	else if (!strcmp(event, "guest-state") && before)
		tell_state(s, g, before);
	else if (!strcmp(event, "guest-reset"))
		tell(s, g, KIND_REBOOT, MESSAGE_REBOOT, NULL);
}

/* --- asking for them --- */

static void run_register(struct rpc_call *call)
{
	struct libvirt_server *s = libvirt_server_of(call);
	struct libvirt_domain d = {.id = -1};
	unsigned nr = 0;
	int32_t kind = xdr_get_i32(&call->in);
	uint32_t of_one = xdr_get_u32(&call->in);
	if (of_one > 1)
		call->in.bad = true;
	if (of_one == 1)
		libvirt_get_domain(&call->in, &d);
	if (!libvirt_arguments_end(call))
		return;
	for (const struct libvirt_subscription *sub = s->subscriptions; sub; sub = sub->next)
		nr += sub->client == call->client;
	if (kind < 0 || kind >= NR_KINDS || nr >= MOST_OF_A_CLIENT) {
		libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "events of kind %d: %s", kind,
				    nr >= MOST_OF_A_CLIENT ? "too many are asked for already" : "are not known");
		return;
	}
	struct libvirt_subscription *sub = calloc(1, sizeof(*sub));
	if (!sub) {
		rpc_refuse(call, RPC_NO_MEMORY, "out of memory");
		return;
	}
	*sub = (struct libvirt_subscription){.next = s->subscriptions,
					     .client = call->client,
					     .number = libvirt_next_subscription(s),
					     .kind = (enum kind)kind,
					     .of_one = of_one};
	memcpy(sub->uuid, d.uuid, sizeof(sub->uuid));
	s->subscriptions = sub;
	libvirt_answer_i32(call, sub->number);
}

static void run_deregister(struct rpc_call *call)
{
	struct libvirt_server *s = libvirt_server_of(call);
	int32_t number = xdr_get_i32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	for (struct libvirt_subscription **at = &s->subscriptions; *at; at = &(*at)->next)
		if ((*at)->client == call->client && (*at)->number == number) {
			struct libvirt_subscription *sub = *at;
			*at = sub->next;
			free(sub);
			rpc_answer(call);
			return;
		}
	libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "events with number %d were not asked for", number);
}

void libvirt_events_forget(struct libvirt_server *s, const struct rpc_client *client)
{
	struct libvirt_subscription **at = &s->subscriptions;
	while (*at) {
		struct libvirt_subscription *sub = *at;
		if (sub->client == client) {
			*at = sub->next;
			free(sub);
		} else {
			at = &sub->next;
		}
	}
}

static const struct rpc_procedure procedures[] = {
	{.number = 316, .name = "register-event", .run = run_register},
	{.number = 317, .name = "deregister-event", .run = run_deregister},
};
const struct libvirt_procedures libvirt_event_procedures = LIBVIRT_PROCEDURES(procedures);
