/* The API's commands about single guests. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container_of.h"
#include "host/api.h"
#include "host/guest_log.h"
#include "host/guest_report.h"

#define MOST_LINES 1000
#define MOST_TIMEOUT 86400.

#define TABLE(t) .arguments = (t), .nr_arguments = sizeof(t) / sizeof((t)[0])

static const struct api_argument guest_only[] = {{"guest", API_STRING, false}};

/* NULL: there is none, and the request is answered. */
static struct guest *find(struct api_request *r, const json_t *arguments)
{
	struct error err;
	struct guest *g = guests_find(r->api->guests, json_string_value(json_object_get(arguments, "guest")), &err);
	if (!g)
		api_refuse(r, &err);
	return g;
}

static bool flag(const json_t *arguments, const char *name, bool fallback)
{
	const json_t *value = json_object_get(arguments, name);
	return value ? json_is_true(value) : fallback;
}

/* --- defining --- */

static const struct api_argument define_arguments[] = {{"definition", API_OBJECT, false}, {"replace", API_BOOLEAN, true}};

static void run_define(struct api_request *r, const json_t *arguments)
{
	struct error err;
	struct guest *g;
	if (guests_define(r->api->guests, json_object_get(arguments, "definition"), flag(arguments, "replace", false), &g, &err))
		api_refuse(r, &err);
	else
		api_answer(r, json_pack("{s:s, s:s}", "name", g->definition->name, "uuid", g->definition->uuid));
}

static void run_undefine(struct api_request *r, const json_t *arguments)
{
	struct error err;
	struct guest *g = find(r, arguments);
	if (g)
		api_done(r, guest_undefine(g, &err), &err);
}

static const struct api_argument tune_arguments[] = {
	{"guest", API_STRING, false}, {"set", API_OBJECT, false}, {"persistent", API_BOOLEAN, true}, {"live", API_BOOLEAN, true}};

static void run_tune(struct api_request *r, const json_t *arguments)
{
	struct error err;
	json_t *result;
	struct guest *g = find(r, arguments);
	if (!g)
		return;
	if (guest_tune(g, json_object_get(arguments, "set"), flag(arguments, "live", true), flag(arguments, "persistent", true),
		       &result, &err))
		api_refuse(r, &err);
	else
		api_answer(r, result);
}

/* --- starting and stopping --- */

static void answer_pid(struct api_request *r, const struct guest *g)
{
	api_answer(r, json_pack("{s:i}", "pid", (int)g->process.pid));
}

static void on_started(struct guest_wait *wait, struct guest *g, const struct error *err)
{
	struct api_request *r = container_of(wait, struct api_request, wait);
	if (err->code)
		api_refuse(r, err);
	else
		answer_pid(r, g);
}

static void start(struct api_request *r, struct guest *g, bool paused)
{
	struct error err;
	if (guest_start(g, paused, &err)) {
		api_refuse(r, &err);
		return;
	}
	r->wait.done = on_started;
	guest_wait(g, &r->wait, false);
}

static const struct api_argument start_arguments[] = {{"guest", API_STRING, false}, {"paused", API_BOOLEAN, true}};

static void run_start(struct api_request *r, const json_t *arguments)
{
	struct guest *g = find(r, arguments);
	if (g)
		start(r, g, flag(arguments, "paused", false));
}

static void on_stopped(struct guest_wait *wait, struct guest *g, const struct error *err)
{
	struct api_request *r = container_of(wait, struct api_request, wait);
	if (err->code)
		api_refuse(r, err);
	else if (r->start_again)
		start(r, g, false);
	else
		api_answer(r, json_pack("{s:s}", "how", g->forced ? "forced" : "powered-off"));
}

static void stop(struct api_request *r, const json_t *arguments, bool again)
{
	struct error err;
	const json_t *timeout = json_object_get(arguments, "timeout");
	double seconds = json_number_value(timeout);
	struct guest *g = find(r, arguments);
	if (!g)
		return;
	int ret = 0;
	if (timeout && !(seconds >= 0.1 && seconds <= MOST_TIMEOUT))
		ret = error_set(&err, EINVAL, "timeout: must be seconds, 0.1 to 86400; force ends a guest at once");
	if (!timeout)
		seconds = guest_in_force(g)->stop_timeout;
	if (ret == 0)
		ret = guest_stop(g, flag(arguments, "force", false) ? 0 : seconds, &err);
	if (ret) {
		api_refuse(r, &err);
		return;
	}
	r->start_again = again;
	r->wait.done = on_stopped;
	guest_wait(g, &r->wait, true);
}

static const struct api_argument stop_arguments[] = {
	{"guest", API_STRING, false}, {"force", API_BOOLEAN, true}, {"timeout", API_NUMBER, true}};
static const struct api_argument reboot_arguments[] = {{"guest", API_STRING, false}, {"timeout", API_NUMBER, true}};

static void run_stop(struct api_request *r, const json_t *arguments)
{
	stop(r, arguments, false);
}

static void run_reboot(struct api_request *r, const json_t *arguments)
{
	stop(r, arguments, true);
}

static void run_shutdown(struct api_request *r, const json_t *arguments)
{
	struct error err;
	struct guest *g = find(r, arguments);
	if (g)
		api_done(r, guest_shutdown(g, &err), &err);
}

/* --- questions to the VMM --- */

static void on_asked(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct api_request *r = container_of(question, struct api_request, question);
	if (!result)
		api_refuse(r, err);
	else
		api_answer(r, r->is_done ? json_object() : json_deep_copy(result));
}

static void ask(struct api_request *r, struct guest *g, const char *command, const json_t *command_arguments, bool is_done)
{
	struct error err;
	r->question.answered = on_asked;
	r->is_done = is_done;
	if (guest_ask(g, command, command_arguments, &r->question, &err))
		api_refuse(r, &err);
}

static void run_reset(struct api_request *r, const json_t *arguments)
{
	struct guest *g = find(r, arguments);
	if (g)
		ask(r, g, "system_reset", NULL, true);
}

static void run_pause(struct api_request *r, const json_t *arguments)
{
	struct guest *g = find(r, arguments);
	if (g)
		ask(r, g, "stop", NULL, true);
}

static void run_resume(struct api_request *r, const json_t *arguments)
{
	struct guest *g = find(r, arguments);
	if (g)
		ask(r, g, "cont", NULL, true);
}

static const struct api_argument qmp_arguments[] = {
	{"guest", API_STRING, false}, {"command", API_STRING, false}, {"arguments", API_OBJECT, true}};

static void run_qmp(struct api_request *r, const json_t *arguments)
{
	struct guest *g = find(r, arguments);
	if (g)
		ask(r, g, json_string_value(json_object_get(arguments, "command")), json_object_get(arguments, "arguments"), false);
}

/* --- looking --- */

static void run_list(struct api_request *r, const json_t *arguments)
{
	json_t *list = json_array();
	(void)arguments;
	for (const struct guest *g = r->api->guests->first; list && g; g = g->next)
		if (json_array_append_new(list, guest_report_row(g)) < 0) {
			json_decref(list);
			list = NULL;
		}
	api_answer(r, list);
}

static void on_settings(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct api_request *r = container_of(question, struct api_request, question);
	(void)err;
	/* A VMM that does not answer is shown without. */
	api_answer(r, guest_report_details(r->guest, json_object_get(result, "settings")));
}

static void run_show(struct api_request *r, const json_t *arguments)
{
	struct error err;
	struct guest *g = find(r, arguments);
	if (!g)
		return;
	r->question.answered = on_settings;
	r->guest = g;
	if (guest_ask(g, "query-memory", NULL, &r->question, &err))
		api_answer(r, guest_report_details(g, NULL));
}

static void run_console(struct api_request *r, const json_t *arguments)
{
	struct error err;
	const struct guest *g = find(r, arguments);
	if (!g)
		return;
	if (!guest_has_vmm(g)) {
		error_set(&err, EBADFD, "%s: is not running; it is %s", g->definition->name, guest_state_name(g->state));
		api_refuse(r, &err);
		return;
	}
	json_t *path = json_sprintf("%s/console", g->run.path);
	api_answer(r, json_pack("{s:o, s:s}", "path", path, "kind", "unix"));
}

static const struct api_argument log_arguments[] = {{"guest", API_STRING, false}, {"lines", API_INTEGER, true}};

static void run_log(struct api_request *r, const json_t *arguments)
{
	struct error err;
	const json_t *lines = json_object_get(arguments, "lines");
	json_int_t most = lines ? json_integer_value(lines) : 50;
	const struct guest *g = find(r, arguments);
	if (!g)
		return;
	if (most < 1 || most > MOST_LINES) {
		error_set(&err, EINVAL, "lines: must be 1 to %d", MOST_LINES);
		api_refuse(r, &err);
		return;
	}
	const char *directory = r->api->options->logs, *name = g->definition->name;
	json_t *path = json_sprintf("%s/%s.log", directory, name);
	api_answer(r, json_pack("{s:o, s:o}", "path", path, "lines", guest_log_lines(directory, name, (size_t)most)));
}

static const struct api_command commands[] = {
	{.name = "define", .run = run_define, TABLE(define_arguments)},
	{.name = "undefine", .run = run_undefine, TABLE(guest_only)},
	{.name = "start", .run = run_start, TABLE(start_arguments)},
	{.name = "stop", .run = run_stop, TABLE(stop_arguments)},
	{.name = "shutdown", .run = run_shutdown, TABLE(guest_only)},
	{.name = "reboot", .run = run_reboot, TABLE(reboot_arguments)},
	{.name = "reset", .run = run_reset, TABLE(guest_only)},
	{.name = "pause", .run = run_pause, TABLE(guest_only)},
	{.name = "resume", .run = run_resume, TABLE(guest_only)},
	{.name = "list", .run = run_list, .read_only = true},
	{.name = "show", .run = run_show, .read_only = true, TABLE(guest_only)},
	{.name = "tune", .run = run_tune, TABLE(tune_arguments)},
	{.name = "console", .run = run_console, TABLE(guest_only)},
	{.name = "log", .run = run_log, .read_only = true, TABLE(log_arguments)},
	{.name = "qmp", .run = run_qmp, TABLE(qmp_arguments)},
};
const struct api_command_table api_guest_commands = {commands, sizeof(commands) / sizeof(commands[0])};
