/* The API's commands about what the arbiter decides: why, what if, and its settings; and who shares with whom. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/api.h"
#include "host/arbiter_loop.h"
#include "host/host_settings.h"
#include "host/map_report.h"
#include "host/placement_loop.h"
#include "host/plan.h"

#define TABLE(t) .arguments = (t), .nr_arguments = sizeof(t) / sizeof((t)[0])
#define PAGE_BYTES 4096
#define USUAL_RISK 0.05

static const struct api_argument guest_only[] = {{"guest", API_STRING, false}};

static void run_explain(struct api_request *r, const json_t *arguments)
{
	struct error err;
	const struct guest *g = guests_find(r->api->guests, json_string_value(json_object_get(arguments, "guest")), &err);
	if (g && (!r->api->arbiter || !arbiter_loop_seat(r->api->arbiter, g))) {
		error_set(&err, EBADFD, "%s: is %s; only a guest that runs has a target", g->definition->name,
			  guest_state_name(g->state));
		g = NULL;
	}
	if (!g) {
		api_refuse(r, &err);
		return;
	}
	json_t *why = arbiter_loop_explain(r->api->arbiter, g), *placement = placement_loop_explain(r->api->placement, g);
	if (why && placement && json_object_set(why, "placement", placement) < 0) {
		json_decref(why);
		why = NULL;
	}
	json_decref(placement);
	api_answer(r, why);
}

/* --- plan --- */

static const struct api_argument plan_arguments[] = {
	{"like", API_STRING, true}, {"definition", API_OBJECT, true}, {"risk", API_NUMBER, true}};

/* A guest that is not there yet: it will use all it may, as far as anybody knows. */
static int describe_definition(const json_t *json, struct arbiter_guest *like, struct error *err)
{
	struct definition *d;
	json_t *whole = json_deep_copy(json);
	if (!whole)
		return error_set(err, ENOMEM, "out of memory");
	if (!json_object_get(whole, "name"))
		json_object_set_new(whole, "name", json_string("planned"));
	if (!json_object_get(whole, "kernel"))
		json_object_set_new(whole, "kernel", json_string("/"));
	int ret = definition_parse(whole, &d, err);
	json_decref(whole);
	if (ret)
		return error_prefix(err, "definition");
	*like = (struct arbiter_guest){.size_pages = d->memory / PAGE_BYTES,
				       .min_pages = d->minimum / PAGE_BYTES,
				       .max_pages = d->maximum / PAGE_BYTES,
				       .shares = (uint32_t)(d->shares > ARBITER_MOST_SHARES ? ARBITER_MOST_SHARES : d->shares),
				       .pinned = d->pinned,
				       .no_swap = !d->swap,
				       .used_pages = d->memory / PAGE_BYTES,
				       .active_pages = d->memory / PAGE_BYTES};
	definition_free(d);
	return 0;
}

static json_t *plan_report(const struct plan *plan, double risk, const char *about)
{
	json_t *points = json_array();
	for (size_t i = 0; i < plan->nr_points; i++) {
		const struct plan_point *p = &plan->points[i];
		json_array_append_new(points, json_pack("{s:i, s:I, s:f, s:I}", "guests", (int)p->guests, "granted",
							(json_int_t)p->granted_pages * PAGE_BYTES, "stall", p->stall, "free",
							(json_int_t)p->free_pages * PAGE_BYTES));
	}
	return json_pack("{s:i, s:f, s:s, s:s, s:o, s:[s, s, s]}", "fit", (int)plan->fit, "risk", risk, "limit",
			 plan_limit_name(plan->limit), "refusal", plan->refusal.text, "points", points, "assumptions", about,
			 "Guests that run go on as they do now.",
			 "A fault takes as long as it did lately, or 100 us where none was seen.");
}

/* The guest that new ones are to be like. about: what is taken for granted of them. */
static int find_like(const struct api *api, const json_t *arguments, struct arbiter_guest *like, const char **about,
		     struct error *err)
{
	const json_t *definition = json_object_get(arguments, "definition");
	const char *name = json_string_value(json_object_get(arguments, "like"));
	if (!name == !definition)
		return error_set(err, EINVAL, "like: give either like or definition");
	if (definition) {
		*about = "Nothing is known of how it will use its memory: it is taken to use all of it all the time.";
		return describe_definition(definition, like, err);
	}
	const struct guest *g = guests_find(api->guests, name, err);
	if (!g)
		return -ESRCH;
	const struct arbiter_seat *s = arbiter_loop_seat(api->arbiter, g);
	if (!s)
		return error_set(err, EBADFD, "%s: is %s; a plan needs one that runs", name, guest_state_name(g->state));
	*like = s->input;
	*about = "New guests use their memory as this one has lately, and share as much of it.";
	return 0;
}

/* Those that run, as the last decision had them; *fault_s: the longest mean time of a fault. NULL without memory. */
static struct arbiter_guest *list_guests(const struct arbiter_loop *a, size_t *nr, double *fault_s)
{
	struct arbiter_guest *guests = calloc(a->nr_seats + 1, sizeof(*guests));
	*nr = 0;
	*fault_s = 0;
	for (const struct arbiter_seat *s = guests ? a->seats : NULL; s; s = s->next) {
		if (!s->seen || !s->input.id)
			continue;
		double seconds = s->input.faults ? (double)s->input.stall_ns / (double)s->input.faults / 1e9 : 0;
		*fault_s = seconds > *fault_s ? seconds : *fault_s;
		guests[(*nr)++] = s->input;
	}
	return guests;
}

static json_t *make_plan(const struct api *api, const json_t *arguments, struct error *err)
{
	const struct arbiter_loop *a = api->arbiter;
	const json_t *risk = json_object_get(arguments, "risk");
	double most = risk ? json_number_value(risk) : USUAL_RISK, fault_s;
	struct arbiter_guest like, *guests;
	const char *about = "";
	json_t *report = NULL;
	size_t nr;
	if (!a || !a->decided) {
		error_set(err, EAGAIN, "nothing is known of this host yet; ask again in a second");
		return NULL;
	}
	if (!(most >= 0 && most <= 1000)) {
		error_set(err, EINVAL, "risk: must be 0 to 1000 seconds in each second");
		return NULL;
	}
	if (find_like(api, arguments, &like, &about, err) != 0)
		return NULL;
	struct plan *plan = calloc(1, sizeof(*plan));
	guests = list_guests(a, &nr, &fault_s);
	if (!plan || !guests)
		error_set(err, ENOMEM, "out of memory");
	else if (plan_make(arbiter_get_settings(a->arbiter), &a->host, guests, nr, &like, fault_s, most, plan, err) == 0)
		report = plan_report(plan, most, about);
	free(guests);
	free(plan);
	return report;
}

static void run_plan(struct api_request *r, const json_t *arguments)
{
	struct error err = {.code = ENOMEM, .text = "out of memory"};
	json_t *plan = make_plan(r->api, arguments, &err);
	if (plan)
		api_answer(r, plan);
	else
		api_refuse(r, &err);
}

/* --- map --- */

static void on_map(void *data, json_t *map)
{
	api_answer(data, map);
}

static void run_map(struct api_request *r, const json_t *arguments)
{
	struct error err;
	(void)arguments;
	if (map_report_start(r->api->dedup, on_map, r, &err) != 0)
		api_refuse(r, &err);
}

/* --- host-tune --- */

static const struct api_argument tune_arguments[] = {{"set", API_OBJECT, false}};

static void run_host_tune(struct api_request *r, const json_t *arguments)
{
	struct error err;
	int ret = host_settings_change(r->api->guests, r->api->arbiter, r->api->dedup, json_object_get(arguments, "set"), &err);
	api_done(r, ret, &err);
}

static const struct api_command commands[] = {
	{.name = "explain", .run = run_explain, .read_only = true, TABLE(guest_only)},
	{.name = "plan", .run = run_plan, .read_only = true, TABLE(plan_arguments)},
	{.name = "map", .run = run_map, .read_only = true},
	{.name = "host-tune", .run = run_host_tune, TABLE(tune_arguments)},
};
const struct api_command_table api_why_commands = {commands, sizeof(commands) / sizeof(commands[0])};
