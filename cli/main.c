/* pagoda: the admin's command. Words before the command are for all commands; docs/API.md has what it asks the daemon. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "base/version.h"
#include "cli/commands.h"
#include "cli/members.h"

static void help(FILE *to)
{
	fputs("usage: pagoda [--socket=PATH] [--json] COMMAND ...\n\n"
	      "Runs guests in less memory than they have, together with the daemon pagodad.\n\n",
	      to);
	for (const struct command *c = commands; c->name; c++)
		fprintf(to, "  %-10s %s\n", c->name, c->text);
	fputs("\n"
	      "  --socket=PATH   the daemon's API (" API "; " API_READ_ONLY ", for who may only look)\n"
	      "  --json          answers as JSON\n\n"
	      "`pagoda COMMAND --help` says more of one; so does pagoda(1).\n",
	      to);
}

static void help_command(const struct command *c)
{
	printf("usage: pagoda %s %s\n\n%c%s.\n", c->name, c->usage, c->text[0] - 'a' + 'A', c->text + 1);
	if (c->run == cmd_define || c->run == cmd_run || c->run == cmd_tune) {
		fputs("\nSettings:", stdout);
		for (unsigned i = 0; member_name(i); i++)
			printf(" %s", member_name(i));
		fputs("\nThe value \"default\" takes a setting back. pagoda(1) says what each is.\n", stdout);
	}
}

static int run(struct cli *cli, int argc, char **argv)
{
	const struct command *c = command_find(argv[0]);
	if (!c) {
		struct nearest nearest;
		char hint[100];
		nearest_start(&nearest, argv[0]);
		for (c = commands; c->name; c++)
			nearest_try(&nearest, c->name);
		fprintf(stderr, "pagoda: there is no command \"%s\"%s\nSee pagoda --help.\n", argv[0],
			nearest_hint(&nearest, "", hint, sizeof(hint)));
		return EXIT_USAGE;
	}
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--help")) {
			help_command(c);
			return EXIT_OK;
		}
	return c->run(cli, argc, argv);
}

int main(int argc, char **argv)
{
	struct cli cli = {.socket = getenv("PAGODA_SOCKET")};
	int i = 1, status;
	signal(SIGPIPE, SIG_IGN);
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--json")) {
			cli.json = true;
		} else if (!strncmp(argv[i], "--socket=", 9)) {
			cli.socket = argv[i] + 9;
		} else if (!strcmp(argv[i], "--socket") && i + 1 < argc) {
			cli.socket = argv[++i];
		} else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			help(stdout);
			return EXIT_OK;
		} else if (!strcmp(argv[i], "--version")) {
			puts("pagoda " PAGODA_VERSION);
			return EXIT_OK;
		} else {
			fprintf(stderr, "pagoda: %s: there is no such option; see pagoda --help\n", argv[i]);
			return EXIT_USAGE;
		}
	}
	if (i == argc) {
		help(stderr);
		return EXIT_USAGE;
	}
	/* --json is understood behind the command, too. */
	int nr = 0;
	for (int k = i; k < argc; k++) {
		if (!strcmp(argv[k], "--json"))
			cli.json = true;
		else
			argv[i + nr++] = argv[k];
	}
	argv[i + nr] = NULL;
	status = run(&cli, nr, argv + i);
	client_close(cli.client);
	if (fflush(stdout) != 0 && status == EXIT_OK) {
		fprintf(stderr, "pagoda: cannot write the output: %s\n", strerror(errno));
		status = EXIT_REFUSED;
	}
	return status;
}
