/* Commands that show what there is: guests, the host, nodes, what happens. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/version.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/words.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* Asks; with --json that is all. Returns whether there is something to be printed; else *status is to be returned. */
static bool ask(struct cli *cli, const char *command, json_t *arguments, json_t **result, int *status)
{
	*status = cli_ask(cli, command, arguments, result);
	if (*status)
		return false;
	if (!cli->json)
		return true;
	*status = output_json(*result) ? EXIT_REFUSED : EXIT_OK;
	json_decref(*result);
	return false;
}

static bool runs(const json_t *row)
{
	return json_object_get(row, "use") != NULL;
}

int cmd_list(struct cli *cli, int argc, char **argv)
{
	static const char *const headers[] = {"NAME",    "STATE",  ">MEMORY",  ">GRANTED",  ">TARGET", ">ACTIVE",
					      ">SHARED", ">COMPR", ">SWAPPED", ">FAULTS/s", ">UPTIME"};
	bool all = false;
	const struct word_option options[] = {{"--all", &all, NULL}, {NULL, NULL, NULL}};
	struct table t;
	json_t *rows, *row;
	size_t i, left_out = 0;
	int status;
	if (words_take(argc, argv, options) < 0)
		return EXIT_USAGE;
	if (!ask(cli, "list", NULL, &rows, &status))
		return status;
	table_init(&t, headers, COUNT_OF(headers));
	json_array_foreach(rows, i, row)
	{
		const json_t *use = json_object_get(row, "use");
		const char *state = output_string(row, "state");
		char text[OUTPUT_SIZE];
		if (!all && (!strcmp(state, "defined") || !strcmp(state, "stopped"))) {
			left_out++;
			continue;
		}
		table_add(&t, "%s", output_string(row, "name"));
		table_add(&t, "%s", output_string(row, "state"));
		table_add_size(&t, output_number(row, "memory"));
		if (use) {
			static const char *const members[] = {"granted", "target", "active", "shared", "compressed", "swapped"};
			for (unsigned m = 0; m < COUNT_OF(members); m++) {
				double value = output_number(use, members[m]);
				/* Without a target it has no limit, rather than nothing. */
				if (value == 0 && !strcmp(members[m], "target"))
					table_add(&t, "-");
				else
					table_add_size(&t, value);
			}
			table_add(&t, "%.0f", output_number(use, "faults"));
			table_add(&t, "%s", output_duration(output_number(row, "uptime"), text));
		}
		table_end_row(&t);
	}
	table_print(&t, stdout);
	json_array_foreach(rows, i, row)
	{
		const char *state = output_string(row, "state"), *reason = output_string(row, "reason");
		if (*reason && (all || strcmp(state, "stopped") != 0))
			printf("%s is %s: %s\n", output_string(row, "name"), state, reason);
	}
	if (left_out)
		printf("%zu more %s not run: pagoda list --all\n", left_out, left_out == 1 ? "does" : "do");
	json_decref(rows);
	return EXIT_OK;
}

static void print_sizes(const json_t *object, const char *const names[], size_t nr)
{
	char text[OUTPUT_SIZE];
	for (size_t i = 0; i < nr; i++)
		if (json_object_get(object, names[i]))
			printf("  %-20s %s\n", names[i], output_size(output_number(object, names[i]), text));
}

static void print_time(const char *name, double when)
{
	char text[64];
	time_t seconds = (time_t)when;
	struct tm tm;
	if (localtime_r(&seconds, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm))
		printf("%-22s %s\n", name, text);
}

/* Members one by one, as they are. */
static void print_object(const char *title, const json_t *object)
{
	const char *name;
	json_t *value;
	if (!json_object_size(object))
		return;
	printf("%s\n", title);
	json_object_foreach((json_t *)object, name, value)
	{
		if (json_is_string(value) && strchr(json_string_value(value), '\n')) {
			printf("  %-20s a text of %zu bytes\n", name, json_string_length(value));
			continue;
		}
		char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
		printf("  %-20s %s\n", name, json_is_string(value) ? json_string_value(value) : text ? text : "");
		free(text);
	}
}

int cmd_show(struct cli *cli, int argc, char **argv)
{
	static const char *const uses[] = {
		"granted",        "target", "active",     "resident",          "shared",  "zero",           "balloon",
		"balloon-target", "limbo",  "compressed", "compressed-memory", "swapped", "kernel-swapped", "overhead"};
	json_t *row, *value;
	size_t i;
	int status;
	if (argc != 2)
		return cli_usage("show", "name one guest");
	if (!ask(cli, "show", json_pack("{s:s}", "guest", argv[1]), &row, &status))
		return status;
	const json_t *use = json_object_get(row, "use");
	printf("%-22s %s\n%-22s %s\n%-22s %s%s%s\n", "name", output_string(row, "name"), "uuid", output_string(row, "uuid"),
	       "state", output_string(row, "state"), *output_string(row, "reason") ? ": " : "", output_string(row, "reason"));
	print_time("since", output_number(row, "since"));
	if (runs(row))
		printf("%-22s %.0f\n", "pid", output_number(row, "pid"));
	if (json_object_get(row, "restart-in"))
		printf("%-22s in %.0f s\n", "starts again", output_number(row, "restart-in"));
	if (use) {
		puts("memory");
		print_sizes(use, uses, COUNT_OF(uses));
		printf("  %-20s %.0f/s, %.0f/s of them from disk\n", "faults", output_number(use, "faults"),
		       output_number(use, "major-faults"));
		printf("  %-20s %.2f %%\n", "stall", output_number(use, "stall") * 100);
	}
	print_object("definition", json_object_get(row, "definition"));
	json_array_foreach(json_object_get(row, "changes-at-next-start"), i, value)
		printf("%s%s", i ? ", " : "at the next start     ", json_string_value(value));
	if (json_array_size(json_object_get(row, "changes-at-next-start")))
		puts("");
	print_object("files", json_object_get(row, "files"));
	json_decref(row);
	return EXIT_OK;
}

int cmd_log(struct cli *cli, int argc, char **argv)
{
	const char *lines = NULL;
	const struct word_option options[] = {{"--lines=", NULL, &lines}, {NULL, NULL, NULL}};
	json_t *log, *line;
	size_t i;
	int status, nr = words_take(argc, argv, options);
	if (nr != 1)
		return nr < 0 ? EXIT_USAGE : cli_usage("log", "name one guest");
	json_t *arguments = json_pack("{s:s}", "guest", argv[1]);
	if (lines) {
		char *end;
		long long wanted = strtoll(lines, &end, 10);
		if (end == lines || *end) {
			json_decref(arguments);
			return cli_usage("log", "--lines: \"%s\" is not a number", lines);
		}
		json_object_set_new(arguments, "lines", json_integer(wanted));
	}
	if (!ask(cli, "log", arguments, &log, &status))
		return status;
	json_array_foreach(json_object_get(log, "lines"), i, line) puts(json_string_value(line) ? json_string_value(line) : "");
	json_decref(log);
	return EXIT_OK;
}

static void print_event(const json_t *event)
{
	char text[64] = "";
	const char *name;
	json_t *value, *data = json_object_get(event, "data");
	time_t seconds = (time_t)output_number(event, "time");
	struct tm tm;
	if (localtime_r(&seconds, &tm))
		strftime(text, sizeof(text), "%H:%M:%S", &tm);
	printf("%s %-20s", text, output_string(event, "event"));
	json_object_foreach(data, name, value)
	{
		char *shown = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
		printf(" %s=%s", name, json_is_string(value) ? json_string_value(value) : shown ? shown : "");
		free(shown);
	}
	puts("");
}

int cmd_events(struct cli *cli, int argc, char **argv)
{
	json_t *arguments = json_object(), *result;
	struct error err = {0};
	if (argc > 1) {
		json_t *guests = json_array();
		for (int i = 1; i < argc; i++)
			json_array_append_new(guests, json_string(argv[i]));
		json_object_set_new(arguments, "guests", guests);
	}
	int ret = cli_ask(cli, "watch", arguments, &result);
	if (ret)
		return ret;
	json_decref(result);
	for (;;) {
		json_t *event;
		if (client_event(cli->client, -1, &event, &err) != 0)
			return cli_fail(&err);
		if (event && cli->json)
			ret = json_dumpf(event, stdout, JSON_COMPACT) || puts("") < 0;
		else if (event)
			print_event(event);
		json_decref(event);
		if (ret || fflush(stdout) != 0)
			return EXIT_REFUSED;
	}
}

int cmd_host(struct cli *cli, int argc, char **argv)
{
	static const char *const members[] = {"memory",  "available", "budget",   "free",         "granted",    "pool",
					      "saved",   "reserve",   "minimums", "guest-memory", "compressed", "compressed-memory",
					      "swapped", "balloon",   "zero",     "overhead"};
	json_t *host;
	int status;
	if (argc != 1)
		return cli_usage(argv[0], "%s: nothing follows this command", argv[1]);
	if (!ask(cli, "host", NULL, &host, &status))
		return status;
	const json_t *psi = json_object_get(host, "psi"), *guests = json_object_get(host, "guests");
	printf("%-22s %s\n", "state", output_string(host, "state"));
	print_sizes(host, members, COUNT_OF(members));
	if (psi)
		printf("  %-20s some %.2f %%, full %.2f %% of the last 10 s\n", "pressure (PSI)", output_number(psi, "some-avg10"),
		       output_number(psi, "full-avg10"));
	printf("  %-20s %.0f %%\n", "idle-tax", output_number(host, "idle-tax"));
	printf("%-22s %.0f running, %.0f paused, %.0f defined, %.0f crashed\n", "guests", output_number(guests, "running"),
	       output_number(guests, "paused"), output_number(guests, "defined"), output_number(guests, "crashed"));
	json_decref(host);
	return EXIT_OK;
}

/* Which guest has how much on which node. */
static void print_guests_on_nodes(const json_t *nodes)
{
	static const char *const headers[] = {">NODE", "GUEST", ">RESIDENT", "HOME", ">TO MOVE", "WHY"};
	const json_t *node, *guest;
	struct table t;
	size_t i, k, nr = 0;
	json_array_foreach(nodes, i, node) nr += json_array_size(json_object_get(node, "guests"));
	if (nr == 0)
		return;
	puts("");
	table_init(&t, headers, COUNT_OF(headers));
	json_array_foreach(nodes, i, node)
	{
		json_array_foreach(json_object_get(node, "guests"), k, guest)
		{
			const json_t *move = json_object_get(guest, "move");
			bool leaves = json_is_object(move) && output_number(move, "from") == output_number(node, "node");
			table_add(&t, "%.0f", output_number(node, "node"));
			table_add(&t, "%s", output_string(guest, "guest"));
			table_add_size(&t, output_number(guest, "resident"));
			table_add(&t, "%s", json_is_true(json_object_get(guest, "home")) ? "yes" : "no");
			table_add_size(&t, leaves ? output_number(move, "behind") : 0);
			table_add(&t, "%s", json_object_get(guest, "why") ? output_string(guest, "why") : "");
			table_end_row(&t);
		}
	}
	table_print(&t, stdout);
}

int cmd_nodes(struct cli *cli, int argc, char **argv)
{
	static const char *const headers[] = {">NODE", ">MEMORY", ">FREE", "CPUS", ">GUESTS", ">RESIDENT", ">POOL"};
	struct table t;
	json_t *nodes, *node, *guest;
	size_t i, k;
	int status;
	if (argc != 1)
		return cli_usage(argv[0], "%s: nothing follows this command", argv[1]);
	if (!ask(cli, "nodes", NULL, &nodes, &status))
		return status;
	table_init(&t, headers, COUNT_OF(headers));
	json_array_foreach(nodes, i, node)
	{
		double resident = 0;
		json_array_foreach(json_object_get(node, "guests"), k, guest) resident += output_number(guest, "resident");
		table_add(&t, "%.0f", output_number(node, "node"));
		table_add_size(&t, output_number(node, "memory"));
		table_add_size(&t, output_number(node, "free"));
		table_add(&t, "%s", output_string(node, "cpus"));
		table_add(&t, "%zu", json_array_size(json_object_get(node, "guests")));
		table_add_size(&t, resident);
		table_add_size(&t, output_number(node, "pool"));
		table_end_row(&t);
	}
	table_print(&t, stdout);
	print_guests_on_nodes(nodes);
	json_decref(nodes);
	return EXIT_OK;
}

int cmd_version(struct cli *cli, int argc, char **argv)
{
	json_t *version;
	int status;
	(void)argc;
	(void)argv;
	if (!cli->json)
		puts("pagoda " PAGODA_VERSION);
	if (!ask(cli, "version", NULL, &version, &status))
		return status;
	printf("pagodad %s, API %.0f, process %.0f\n", output_string(version, "version"), output_number(version, "api"),
	       output_number(version, "pid"));
	json_decref(version);
	return EXIT_OK;
}
