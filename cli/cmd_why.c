/* Commands that explain and foretell: why a target is what it is, how many more guests fit, who shares with whom. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/words.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static int asked(struct cli *cli, const char *command, json_t *arguments, json_t **result)
{
	int status = cli_ask(cli, command, arguments, result);
	if (status == EXIT_OK && cli->json) {
		status = output_json(*result) ? EXIT_REFUSED : EXIT_OK;
		json_decref(*result);
		*result = NULL;
	} else if (status) {
		*result = NULL;
	}
	return status;
}

/* A sentence, in lines of at most 100 columns. */
static void print_wrapped(const char *text, const char *indent)
{
	enum { WIDTH = 100 };
	size_t column = 0;
	char *copy = strdup(text), *rest = NULL;
	for (char *word = copy ? strtok_r(copy, " ", &rest) : NULL; word; word = strtok_r(NULL, " ", &rest)) {
		if (column && column + 1 + strlen(word) > WIDTH) {
			puts("");
			column = 0;
		}
		printf("%s%s", column ? " " : indent, word);
		column += strlen(word) + (column ? 1 : strlen(indent));
	}
	puts("");
	free(copy);
}

/* Where it lies, on a host with several nodes. */
static void print_placement(const json_t *placement)
{
	const json_t *part, *on, *move = json_object_get(placement, "move");
	char text[OUTPUT_SIZE];
	size_t i, k;
	if (!placement)
		return;
	puts("its nodes:");
	print_wrapped(output_string(placement, "why"), "  ");
	json_array_foreach(json_object_get(placement, "parts"), i, part)
	{
		printf("  part %zu, %.0f vCPUs, %s: on node %.0f; resident", i, output_number(part, "vcpus"),
		       output_size(output_number(part, "memory"), text), output_number(part, "node"));
		if (json_array_size(json_object_get(part, "resident")) == 0)
			printf(" nowhere");
		json_array_foreach(json_object_get(part, "resident"), k, on)
			printf("%s %s on node %.0f", k ? "," : "", output_size(output_number(on, "bytes"), text),
			       output_number(on, "node"));
		puts("");
	}
	if (json_is_object(move))
		printf("  %s are still to be moved from node %.0f\n", output_size(output_number(move, "behind"), text),
		       output_number(move, "from"));
}

int cmd_explain(struct cli *cli, int argc, char **argv)
{
	json_t *why, *value;
	const char *name;
	char text[OUTPUT_SIZE];
	size_t i;
	if (argc != 2)
		return cli_usage("explain", "name one guest");
	int status = asked(cli, "explain", json_pack("{s:s}", "guest", argv[1]), &why);
	if (!why)
		return status;
	double target = output_number(why, "target");
	printf("%s: %s%s (%s)\n", output_string(why, "guest"), target > 0 ? "target " : "no limit",
	       target > 0 ? output_size(target, text) : "", output_string(why, "rule"));
	json_array_foreach(json_object_get(why, "sentences"), i, value)
		print_wrapped(json_string_value(value) ? json_string_value(value) : "", "  ");
	print_placement(json_object_get(why, "placement"));
	puts("the host:");
	json_array_foreach(json_object_get(why, "host"), i, value)
		print_wrapped(json_string_value(value) ? json_string_value(value) : "", "  ");
	puts("from");
	json_object_foreach(json_object_get(why, "inputs"), name, value)
	{
		char *shown = json_is_number(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
		if (json_is_integer(value))
			printf("  %-20s %s\n", name, output_size((double)json_integer_value(value), text));
		else if (json_is_real(value))
			printf("  %-20s %g\n", name, json_real_value(value));
		else
			printf("  %-20s %s\n", name, shown ? shown : "");
		free(shown);
	}
	json_decref(why);
	return EXIT_OK;
}

static void print_limit(const json_t *plan)
{
	const char *limit = output_string(plan, "limit");
	char text[OUTPUT_SIZE + 400];
	if (!strcmp(limit, "admission"))
		snprintf(text, sizeof(text), "The next one would be refused: %s", output_string(plan, "refusal"));
	else if (!strcmp(limit, "stall"))
		snprintf(text, sizeof(text), "With one more, a guest would wait for memory for longer than that.");
	else if (!strcmp(limit, "swap"))
		snprintf(text, sizeof(text), "With one more, guests would need pages that have gone to disk.");
	else
		snprintf(text, sizeof(text), "More have not been tried.");
	print_wrapped(text, "");
}

int cmd_plan(struct cli *cli, int argc, char **argv)
{
	static const char *const headers[] = {">GUESTS", ">GRANTED", ">STALL", ">FREE", ""};
	const char *risk = NULL;
	const struct word_option options[] = {{"--risk=", NULL, &risk}, {NULL, NULL, NULL}};
	json_t *plan, *value, *arguments;
	json_error_t why;
	struct table t;
	size_t i;
	int nr = words_take(argc, argv, options);
	if (nr != 1)
		return nr < 0 ? EXIT_USAGE : cli_usage("plan", "name a guest, or a file with a definition");
	if (strchr(argv[1], '/') || strstr(argv[1], ".json")) {
		json_t *definition = json_load_file(argv[1], JSON_REJECT_DUPLICATES, &why);
		if (!definition) {
			fprintf(stderr, "pagoda: %s, line %d: %s\n", argv[1], why.line, why.text);
			return EXIT_USAGE;
		}
		arguments = json_pack("{s:o}", "definition", definition);
	} else {
		arguments = json_pack("{s:s}", "like", argv[1]);
	}
	if (risk) {
		char *end;
		double stall = strtod(risk, &end);
		if (end == risk || *end || stall < 0) {
			json_decref(arguments);
			return cli_usage("plan", "--risk: \"%s\" is not a stall, in seconds of each second, such as 0.05", risk);
		}
		json_object_set_new(arguments, "risk", json_real(stall));
	}
	int status = asked(cli, "plan", arguments, &plan);
	if (!plan)
		return status;
	double fit = output_number(plan, "fit");
	printf("%.0f more like %s fit, at a stall of at most %.1f %%.\n", fit, argv[1], output_number(plan, "risk") * 100);
	print_limit(plan);
	table_init(&t, headers, COUNT_OF(headers));
	json_array_foreach(json_object_get(plan, "points"), i, value)
	{
		table_add(&t, "+%.0f", output_number(value, "guests"));
		table_add_size(&t, output_number(value, "granted"));
		table_add(&t, "%.2f %%", output_number(value, "stall") * 100);
		table_add_size(&t, output_number(value, "free"));
		table_add(&t, "%s", output_number(value, "guests") <= fit ? "fits" : "");
		table_end_row(&t);
	}
	if (json_array_size(json_object_get(plan, "points")))
		table_print(&t, stdout);
	if (json_array_size(json_object_get(plan, "assumptions")))
		puts("assumed:");
	json_array_foreach(json_object_get(plan, "assumptions"), i, value)
		print_wrapped(json_string_value(value) ? json_string_value(value) : "", "  - ");
	json_decref(plan);
	return EXIT_OK;
}

int cmd_map(struct cli *cli, int argc, char **argv)
{
	static const char *const pool_headers[] = {"DOMAIN", ">NODE", ">PAGES", ">REFERENCES", ">SAVED"};
	json_t *map, *guest, *pool;
	struct table t;
	size_t i;
	if (argc != 1)
		return cli_usage(argv[0], "%s: nothing follows this command", argv[1]);
	int status = asked(cli, "map", NULL, &map);
	if (!map)
		return status;
	const json_t *guests = json_object_get(map, "guests"), *own = json_object_get(map, "own"),
		     *shared = json_object_get(map, "shared");
	size_t nr = json_array_size(guests);
	/* A row and a column for each guest: columns are numbered, as names are long. */
	char(*numbers)[24] = calloc(nr + 1, sizeof(*numbers));
	const char **headers = calloc(nr + 3, sizeof(*headers));
	if (numbers && headers) {
		headers[0] = ">";
		headers[1] = "GUEST";
		headers[2] = ">OWN";
		for (i = 0; i < nr; i++) {
			snprintf(numbers[i], sizeof(numbers[i]), ">%zu", i + 1);
			headers[i + 3] = numbers[i];
		}
		table_init(&t, headers, (unsigned)nr + 3);
		json_array_foreach(guests, i, guest)
		{
			table_add(&t, "%zu", i + 1);
			table_add(&t, "%s", json_string_value(guest) ? json_string_value(guest) : "");
			table_add_size(&t, json_number_value(json_array_get(own, i)));
			for (size_t k = 0; k < nr; k++) {
				double bytes = json_number_value(json_array_get(json_array_get(shared, i), k));
				if (i == k || bytes == 0)
					table_add(&t, "%s", i == k ? "-" : ".");
				else
					table_add_size(&t, bytes);
			}
			table_end_row(&t);
		}
		table_print(&t, stdout);
	}
	free(headers);
	free(numbers);
	if (json_array_size(json_object_get(map, "pools")))
		puts("");
	table_init(&t, pool_headers, COUNT_OF(pool_headers));
	json_array_foreach(json_object_get(map, "pools"), i, pool)
	{
		double node = output_number(pool, "node"), pages = output_number(pool, "pages"),
		       references = output_number(pool, "references");
		table_add(&t, "%s", output_string(pool, "domain"));
		if (node < 0)
			table_add(&t, "all");
		else
			table_add(&t, "%.0f", node);
		table_add(&t, "%.0f", pages);
		table_add(&t, "%.0f", references);
		table_add_size(&t, (references - pages) * 4096);
		table_end_row(&t);
	}
	table_print(&t, stdout);
	json_decref(map);
	return EXIT_OK;
}
