/* The commands of `pagoda`. Each gets the words that follow its name, and returns an exit status. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/client.h"

enum { EXIT_OK = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2 };

/* The daemon's API: for who may change things, and for who may only look. */
#define API "/run/pagoda/api"
#define API_READ_ONLY "/run/pagoda/api-ro"

struct cli {
	const char *socket; /* NULL: the usual places are tried */
	bool json;          /* answers as JSON, for programs */
	struct client *client;
};

struct command {
	const char *name, *usage; /* usage: what follows the name */
	const char *text;         /* what it does, in a line */
	int (*run)(struct cli *cli, int argc, char **argv);
};

/* All, in the order of the help; the last one has no name. */
extern const struct command commands[];
const struct command *command_find(const char *name);

/* Prints "pagoda: ..." and returns EXIT_REFUSED, or EXIT_USAGE with the command's usage. */
int cli_fail(const struct error *err);
int cli_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Connects at the first use; asks (client_ask()); says what went wrong. arguments: the reference is taken. Returns EXIT_OK and *result, a new
 * reference, or an exit status.
 */
int cli_ask(struct cli *cli, const char *command, json_t *arguments, json_t **result);
/* cli_ask() about a guest, whose answer is of interest only with --json; prints text otherwise, if there is one. */
int cli_do(struct cli *cli, const char *command, json_t *arguments, const char *text);

/* --- cmd_guest.c: guests begin, run, end --- */
int cmd_define(struct cli *cli, int argc, char **argv);
int cmd_run(struct cli *cli, int argc, char **argv);
int cmd_undefine(struct cli *cli, int argc, char **argv);
int cmd_start(struct cli *cli, int argc, char **argv);
int cmd_stop(struct cli *cli, int argc, char **argv);
int cmd_simple(struct cli *cli, int argc, char **argv); /* reboot reset pause resume */
int cmd_tune(struct cli *cli, int argc, char **argv);

/* --- cmd_show.c: what there is --- */
int cmd_list(struct cli *cli, int argc, char **argv);
int cmd_show(struct cli *cli, int argc, char **argv);
int cmd_log(struct cli *cli, int argc, char **argv);
int cmd_events(struct cli *cli, int argc, char **argv);
int cmd_host(struct cli *cli, int argc, char **argv);
int cmd_nodes(struct cli *cli, int argc, char **argv);
int cmd_version(struct cli *cli, int argc, char **argv);

/* --- cmd_why.c: why it is so, and what if --- */
int cmd_explain(struct cli *cli, int argc, char **argv);
int cmd_plan(struct cli *cli, int argc, char **argv);
int cmd_map(struct cli *cli, int argc, char **argv);

/* --- console.c, top.c, cmd_doctor.c --- */
int cmd_console(struct cli *cli, int argc, char **argv);
int cmd_top(struct cli *cli, int argc, char **argv);
int cmd_doctor(struct cli *cli, int argc, char **argv);
/* Connects to a guest's serial port. Returns EXIT_OK and *fd, which the caller closes or gives to console_join(), or an exit status. */
int console_open(struct cli *cli, const char *guest, int *fd);
/* Joins it to this terminal until either ends, says why, and closes fd. */
void console_join(const char *guest, int fd);

#endif
