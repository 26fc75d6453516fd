/* Commands that change guests: their definitions, whether they run, their settings. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/members.h"
#include "cli/output.h"
#include "cli/words.h"

static json_t *about(const char *guest)
{
	return json_pack("{s:s}", "guest", guest);
}

/* A definition from a file; "-": standard input. NULL after it said why not. */
static json_t *load_definition(const char *file)
{
	json_error_t why;
	bool is_stdin = !strcmp(file, "-");
	json_t *definition;
	if (is_stdin)
		definition = json_loadf(stdin, JSON_REJECT_DUPLICATES, &why);
	else
		definition = json_load_file(file, JSON_REJECT_DUPLICATES, &why);
	if (json_is_object(definition))
		return definition;
	if (definition)
		fprintf(stderr, "pagoda: %s: a definition is an object: {\"name\": ..., \"memory\": ...}\n", file);
	else if (why.line > 0)
		fprintf(stderr, "pagoda: %s, line %d: %s\n", is_stdin ? "standard input" : file, why.line, why.text);
	else
		fprintf(stderr, "pagoda: %s\n", why.text);
	json_decref(definition);
	return NULL;
}

/* From NAME SETTING=VALUE... NULL after it said why not. */
static json_t *make_definition(int nr, char **words)
{
	json_t *definition = json_pack("{s:s}", "name", words[0]);
	struct error err = {0};
	int ret = definition ? 0 : error_set(&err, EINVAL, "the name \"%.60s\" is no text in UTF-8", words[0]);
	for (int i = 1; ret == 0 && i < nr; i++)
		ret = member_add(definition, words[i], &err);
	if (ret == 0)
		return definition;
	cli_fail(&err);
	json_decref(definition);
	return NULL;
}

static bool is_file(const char *word)
{
	size_t len = strlen(word);
	return !strcmp(word, "-") || strchr(word, '/') || (len > 5 && !strcmp(word + len - 5, ".json"));
}

/* Defines what the words say. Returns a status, and the guest's name, which the caller frees. */
static int define(struct cli *cli, int nr, char **words, bool replace, char **name)
{
	json_t *definition = nr == 1 && is_file(words[0]) ? load_definition(words[0]) : make_definition(nr, words), *result;
	if (!definition)
		return EXIT_USAGE;
	int ret = cli_ask(cli, "define", json_pack("{s:o, s:b}", "definition", definition, "replace", (int)replace), &result);
	if (ret)
		return ret;
	*name = strdup(output_string(result, "name"));
	json_decref(result);
	return *name ? EXIT_OK : EXIT_REFUSED;
}

int cmd_define(struct cli *cli, int argc, char **argv)
{
	bool replace = false;
	const struct word_option options[] = {{"--replace", &replace, NULL}, {NULL, NULL, NULL}};
	char *name = NULL;
	int nr = words_take(argc, argv, options);
	if (nr < 1)
		return nr < 0 ? EXIT_USAGE : cli_usage("define", "a name or a file is missing");
	int ret = define(cli, nr, argv + 1, replace, &name);
	if (ret == EXIT_OK && cli->json)
		printf("{\"name\": \"%s\"}\n", name);
	else if (ret == EXIT_OK)
		printf("%s is defined; start it with: pagoda start %s\n", name, name);
	free(name);
	return ret;
}

/* The guest is started, but does nothing before its console is ours: what a short one says would be lost. */
static int start_at_console(struct cli *cli, const char *name)
{
	int fd, ret = cli_do(cli, "start", json_pack("{s:s, s:b}", "guest", name, "paused", 1), NULL);
	if (ret)
		return ret;
	ret = console_open(cli, name, &fd);
	int resumed = cli_do(cli, "resume", about(name), NULL);
	if (ret == EXIT_OK && resumed == EXIT_OK)
		console_join(name, fd);
	else if (ret == EXIT_OK)
		close(fd);
	return ret ? ret : resumed;
}

int cmd_run(struct cli *cli, int argc, char **argv)
{
	bool console = false, replace = false;
	const struct word_option options[] = {{"--console", &console, NULL}, {"--replace", &replace, NULL}, {NULL, NULL, NULL}};
	char *name = NULL, text[120];
	int nr = words_take(argc, argv, options);
	if (nr < 1)
		return nr < 0 ? EXIT_USAGE : cli_usage("run", "a name is missing");
	int ret = define(cli, nr, argv + 1, replace, &name);
	if (ret == EXIT_OK) {
		snprintf(text, sizeof(text), "%s runs", name);
		ret = console && !cli->json ? start_at_console(cli, name) : cli_do(cli, "start", about(name), text);
		if (ret)
			fprintf(stderr, "pagoda: %s is defined all the same; try again with: pagoda start %s\n", name, name);
	}
	free(name);
	return ret;
}

/* The command for each guest; goes on with the next when one fails. */
static int for_each(struct cli *cli, const char *command, int nr, char **guests, const json_t *arguments, const char *what)
{
	int status = EXIT_OK;
	for (int i = 0; i < nr; i++) {
		char text[160];
		json_t *all = json_deep_copy(arguments);
		json_object_set_new(all, "guest", json_string(guests[i]));
		snprintf(text, sizeof(text), "%.100s %s", guests[i], what);
		int ret = cli_do(cli, command, all, text);
		status = ret ? ret : status;
	}
	return status;
}

int cmd_undefine(struct cli *cli, int argc, char **argv)
{
	char text[160];
	if (argc != 2)
		return cli_usage("undefine", "name one guest");
	snprintf(text, sizeof(text), "%.100s is defined no more; its disks are where they were", argv[1]);
	return cli_do(cli, "undefine", about(argv[1]), text);
}

int cmd_start(struct cli *cli, int argc, char **argv)
{
	bool paused = false;
	const struct word_option options[] = {{"--paused", &paused, NULL}, {NULL, NULL, NULL}};
	int nr = words_take(argc, argv, options);
	if (nr < 1)
		return nr < 0 ? EXIT_USAGE : cli_usage("start", "a guest is missing");
	json_t *arguments = json_pack("{s:b}", "paused", (int)paused);
	int ret = for_each(cli, "start", nr, argv + 1, arguments, paused ? "is started, and paused" : "runs");
	json_decref(arguments);
	return ret;
}

int cmd_stop(struct cli *cli, int argc, char **argv)
{
	bool force = false;
	const char *timeout = NULL;
	char *end = NULL;
	const struct word_option options[] = {{"--force", &force, NULL}, {"--timeout=", NULL, &timeout}, {NULL, NULL, NULL}};
	int nr = words_take(argc, argv, options);
	if (nr < 1)
		return nr < 0 ? EXIT_USAGE : cli_usage("stop", "a guest is missing");
	json_t *arguments = json_pack("{s:b}", "force", (int)force);
	double seconds = timeout ? strtod(timeout, &end) : 0;
	if (timeout && (end == timeout || *end || seconds < 0)) {
		json_decref(arguments);
		return cli_usage("stop", "--timeout: \"%s\" is not a number of seconds", timeout);
	}
	if (timeout)
		json_object_set_new(arguments, "timeout", json_real(seconds));
	int ret = for_each(cli, "stop", nr, argv + 1, arguments, "is stopped");
	json_decref(arguments);
	return ret;
}

int cmd_simple(struct cli *cli, int argc, char **argv)
{
	static const char *const done[][2] = {
		{"reboot", "runs again"}, {"reset", "is reset"}, {"pause", "is paused"}, {"resume", "goes on"}};
	const struct word_option options[] = {{NULL, NULL, NULL}};
	const char *what = "";
	int nr = words_take(argc, argv, options);
	if (nr < 1)
		return nr < 0 ? EXIT_USAGE : cli_usage(argv[0], "a guest is missing");
	for (unsigned i = 0; i < sizeof(done) / sizeof(done[0]); i++)
		what = !strcmp(argv[0], done[i][0]) ? done[i][1] : what;
	json_t *arguments = json_object();
	int ret = for_each(cli, argv[0], nr, argv + 1, arguments, what);
	json_decref(arguments);
	return ret;
}

/* --- tune --- */

static void print_names(const json_t *result, const char *member, const char *text)
{
	const json_t *names = json_object_get(result, member);
	for (size_t i = 0; i < json_array_size(names); i++)
		printf("%s%s", i ? ", " : "", json_string_value(json_array_get(names, i)));
	if (json_array_size(names))
		printf(": %s\n", text);
}

static int tune_host(struct cli *cli, int nr, char **words)
{
	json_t *set = json_object();
	struct error err = {0};
	int ret = 0;
	for (int i = 0; ret == 0 && i < nr; i++)
		ret = host_member_add(set, words[i], &err);
	if (ret) {
		json_decref(set);
		cli_fail(&err);
		return EXIT_USAGE;
	}
	return cli_do(cli, "host-tune", json_pack("{s:o}", "set", set), "set, now and for later");
}

int cmd_tune(struct cli *cli, int argc, char **argv)
{
	bool live = false, persistent = false;
	const struct word_option options[] = {{"--live", &live, NULL}, {"--persistent", &persistent, NULL}, {NULL, NULL, NULL}};
	json_t *set, *result;
	int nr = words_take(argc, argv, options), ret = 0;
	struct error err = {0};
	if (nr < 2)
		return nr < 0 ? EXIT_USAGE : cli_usage("tune", nr ? "a setting is missing" : "a guest is missing");
	if (!strcmp(argv[1], "host"))
		return tune_host(cli, nr - 1, argv + 2);
	set = json_object();
	for (int i = 2; ret == 0 && i <= nr; i++)
		ret = member_add(set, argv[i], &err);
	if (ret) {
		json_decref(set);
		cli_fail(&err);
		return EXIT_USAGE;
	}
	/* Neither given is both. */
	json_t *arguments = json_pack("{s:s, s:o, s:b, s:b}", "guest", argv[1], "set", set, "live", (int)(live || !persistent),
				      "persistent", (int)(persistent || !live));
	ret = cli_ask(cli, "tune", arguments, &result);
	if (ret)
		return ret;
	if (cli->json) {
		output_json(result);
	} else {
		print_names(result, "live", "in force now");
		print_names(result, "persistent", "kept for later");
		print_names(result, "next-start", "takes effect when the guest is started next");
	}
	json_decref(result);
	return EXIT_OK;
}
