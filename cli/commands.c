/* The table of commands, and how each asks the daemon and says what went wrong. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"

const struct command commands[] = {
	{"run", "NAME SETTING=VALUE... [--console] [--replace]", "define a guest and start it", cmd_run},
	{"define", "NAME SETTING=VALUE... | FILE.json  [--replace]", "define a guest, or change one", cmd_define},
	{"undefine", "GUEST", "forget a guest's definition; its disks stay", cmd_undefine},
	{"start", "GUEST... [--paused]", "start guests", cmd_start},
	{"stop", "GUEST... [--force] [--timeout=SECONDS]", "press the power button and wait; then end them", cmd_stop},
	{"reboot", "GUEST...", "stop and start guests", cmd_simple},
	{"reset", "GUEST...", "reset the machine, as its button does", cmd_simple},
	{"pause", "GUEST...", "stop the vCPUs; memory stays as it is", cmd_simple},
	{"resume", "GUEST...", "let paused guests go on", cmd_simple},
	{"list", "[--all]", "guests and their memory", cmd_list},
	{"show", "GUEST", "all that is known of a guest", cmd_show},
	{"console", "GUEST", "the guest's serial port; Ctrl-] leaves it", cmd_console},
	{"log", "GUEST [--lines=N]", "what the guest's VMM said last", cmd_log},
	{"events", "[GUEST...]", "what happens, line by line, until Ctrl-C", cmd_events},
	{"top", "[--batch] [--delay=SECONDS] [--count=N] [--sort=COLUMN]", "live table of host and guests", cmd_top},
	{"tune", "GUEST SETTING=VALUE... [--live] [--persistent] | host SETTING=VALUE...", "change settings, now and for later",
	 cmd_tune},
	{"host", "", "the host's memory, and where it is", cmd_host},
	{"nodes", "", "NUMA nodes and who lies on them", cmd_nodes},
	{"explain", "GUEST", "why its target is what it is", cmd_explain},
	{"plan", "GUEST | FILE.json  [--risk=STALL]", "how many more like it fit, at which risk", cmd_plan},
	{"map", "", "who shares how much memory with whom", cmd_map},
	{"doctor", "[--swap=DIRECTORY]", "check this host, and say what to change", cmd_doctor},
	{"version", "", "of this program and the daemon", cmd_version},
	{NULL, NULL, NULL, NULL},
};

const struct command *command_find(const char *name)
{
	for (const struct command *c = commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

int cli_fail(const struct error *err)
{
	fprintf(stderr, "pagoda: %s\n", err->text);
	return EXIT_REFUSED;
}

int cli_usage(const char *command, const char *fmt, ...)
{
	const struct command *c = command_find(command);
	va_list args;
	fprintf(stderr, "pagoda %s: ", command);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\nusage: pagoda %s %s\n", command, c ? c->usage : "");
	return EXIT_USAGE;
}

/* Who may not use the read-write socket may still look. */
static int connect_to_daemon(struct cli *cli, struct error *err)
{
	if (cli->client)
		return 0;
	int ret = client_open(cli->socket ? cli->socket : API, &cli->client, err);
	if ((ret == -EACCES || ret == -EPERM) && !cli->socket && client_open(API_READ_ONLY, &cli->client, NULL) == 0)
		ret = 0;
	return ret;
}

int cli_ask(struct cli *cli, const char *command, json_t *arguments, json_t **result)
{
	struct error err = {0};
	int ret = connect_to_daemon(cli, &err);
	if (ret)
		json_decref(arguments);
	else
		ret = client_ask(cli->client, command, arguments, result, &err);
	if (ret == 0)
		return EXIT_OK;
	if (cli->client && !strcmp(client_error_class(cli->client), "ReadOnly") && !cli->socket)
		error_set(
			&err, EACCES,
			"%s changes something, and you may only look: be root, or in the group that pagodad was given with --group",
			command);
	return cli_fail(&err);
}

int cli_do(struct cli *cli, const char *command, json_t *arguments, const char *text)
{
	json_t *result;
	int ret = cli_ask(cli, command, arguments, &result);
	if (ret)
		return ret;
	if (cli->json)
		ret = output_json(result) ? EXIT_REFUSED : EXIT_OK;
	else if (text)
		printf("%s\n", text);
	json_decref(result);
	return ret;
}
