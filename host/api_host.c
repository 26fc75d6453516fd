/* The API's commands about the host, and about all guests at once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"
#include "host/api.h"
#include "host/arbiter_loop.h"
#include "host/guest_report.h"
#include "host/host_report.h"
#include "host/placement_loop.h"

#define TABLE(t) .arguments = (t), .nr_arguments = sizeof(t) / sizeof((t)[0])
#define MOST_WATCHED 1024

static void run_version(struct api_request *r, const json_t *arguments)
{
	const struct host_options *o = r->api->options;
	(void)arguments;
	api_answer(r, json_pack("{s:s, s:i, s:i, s:f, s:s, s:s, s:s, s:s, s:s*}", "version", PAGODA_VERSION, "api", API_VERSION,
				"pid", (int)getpid(), "uptime", clock_now_s() - r->api->started, "vmm", o->vmm, "run", o->run,
				"definitions", o->definitions, "logs", o->logs, "swap", o->swap));
}

static void run_commands(struct api_request *r, const json_t *arguments)
{
	json_t *list = json_array();
	const struct api_command *command;
	(void)arguments;
	for (size_t i = 0; list && (command = api_command_at(i)) != NULL; i++)
		if (json_array_append_new(list, json_pack("{s:s, s:s}", "name", command->name, "access",
							  command->read_only ? "read-only" : "read-write")) < 0) {
			json_decref(list);
			list = NULL;
		}
	api_answer(r, list);
}

static const struct api_argument watch_arguments[] = {{"guests", API_ARRAY, true}, {"on", API_BOOLEAN, true}};

static void run_watch(struct api_request *r, const json_t *arguments)
{
	struct error err;
	const json_t *names = json_object_get(arguments, "guests"), *on = json_object_get(arguments, "on"), *name;
	size_t i;
	int ret = 0;
	if (json_array_size(names) > MOST_WATCHED)
		ret = error_set(&err, EINVAL, "guests: more than %d", MOST_WATCHED);
	json_array_foreach(names, i, name)
	{
		if (ret == 0 && !json_is_string(name))
			ret = error_set(&err, EINVAL, "guests[%zu]: must be a string", i);
	}
	if (ret == 0 && api_watch(r, names, !on || json_is_true(on)))
		ret = error_set(&err, ENOMEM, "out of memory");
	api_done(r, ret, &err);
}

static void run_host(struct api_request *r, const json_t *arguments)
{
	json_t *line = host_report_line(r->api->guests, r->api->dedup);
	(void)arguments;
	arbiter_loop_report(r->api->arbiter, line);
	api_answer(r, line);
}

static const struct api_argument stats_arguments[] = {{"guest", API_STRING, true}};

static void run_stats(struct api_request *r, const json_t *arguments)
{
	struct error err;
	const json_t *name = json_object_get(arguments, "guest");
	const struct guest *g = name ? guests_find(r->api->guests, json_string_value(name), &err) : NULL;
	if (name && g && !g->stats.now_ns) {
		error_set(&err, EBADFD, "%s: nothing is known of its memory yet; it is %s", g->definition->name,
			  guest_state_name(g->state));
		g = NULL;
	}
	if (name && !g) {
		api_refuse(r, &err);
		return;
	}
	if (g) {
		api_answer(r, guest_report_stats(g));
		return;
	}
	json_t *list = json_array();
	for (g = r->api->guests->first; list && g; g = g->next)
		if (g->stats.now_ns && json_array_append_new(list, guest_report_stats(g)) < 0) {
			json_decref(list);
			list = NULL;
		}
	api_answer(r, list);
}

static void run_nodes(struct api_request *r, const json_t *arguments)
{
	(void)arguments;
	api_answer(r, placement_loop_report(r->api->placement));
}

static void run_metrics(struct api_request *r, const json_t *arguments)
{
	char *text = host_report_metrics(r->api->guests, r->api->dedup);
	(void)arguments;
	api_answer(r, text ? json_pack("{s:s}", "text", text) : NULL);
	free(text);
}

static const struct api_command commands[] = {
	{.name = "version", .run = run_version, .read_only = true},
	{.name = "commands", .run = run_commands, .read_only = true},
	{.name = "watch", .run = run_watch, .read_only = true, TABLE(watch_arguments)},
	{.name = "host", .run = run_host, .read_only = true},
	{.name = "stats", .run = run_stats, .read_only = true, TABLE(stats_arguments)},
	{.name = "nodes", .run = run_nodes, .read_only = true},
	{.name = "metrics", .run = run_metrics, .read_only = true},
};
const struct api_command_table api_host_commands = {commands, sizeof(commands) / sizeof(commands[0])};
