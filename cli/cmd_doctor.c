/* `pagoda doctor`: prints what doctor.h finds. */
#include <stdio.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/doctor.h"
#include "cli/output.h"
#include "cli/words.h"

#define SWAP_DIRECTORY "/var/lib/pagoda/swap"

static int print_json(const struct doctor_finding *findings, size_t nr)
{
	json_t *array = json_array();
	for (size_t i = 0; i < nr; i++)
		json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:s}", "check", findings[i].check, "grade",
						       doctor_grade_name(findings[i].grade), "found", findings[i].found, "advice",
						       findings[i].advice));
	int ret = output_json(array);
	json_decref(array);
	return ret;
}

static void print_text(const struct doctor_finding *findings, size_t nr)
{
	static const char *const colours[] = {"\033[32m", "\033[36m", "\033[33m", "\033[31m"};
	bool colour = isatty(STDOUT_FILENO);
	for (size_t i = 0; i < nr; i++) {
		const struct doctor_finding *f = &findings[i];
		printf("%s%-8s%s %-14s %s\n", colour ? colours[f->grade] : "", doctor_grade_name(f->grade), colour ? "\033[0m" : "",
		       f->check, f->found);
		if (*f->advice)
			printf("%24s%s\n", "-> ", f->advice);
	}
}

int cmd_doctor(struct cli *cli, int argc, char **argv)
{
	const char *swap = SWAP_DIRECTORY, *root = "";
	const struct word_option options[] = {{"--swap=", NULL, &swap}, {"--root=", NULL, &root}, {NULL, NULL, NULL}};
	struct doctor_finding findings[DOCTOR_MOST_FINDINGS];
	struct doctor_facts facts;
	unsigned counts[4] = {0};
	int left = words_take(argc, argv, options);
	if (left)
		return left < 0 ? EXIT_USAGE : cli_usage("doctor", "%s: nothing follows this command", argv[1]);
	doctor_gather(root, swap, cli->socket ? cli->socket : API, &facts);
	size_t nr = doctor_judge(&facts, findings);
	for (size_t i = 0; i < nr; i++)
		counts[findings[i].grade]++;
	if (cli->json) {
		print_json(findings, nr);
	} else {
		print_text(findings, nr);
		printf("%u checks: %u ok, %u to note, %u warnings, %u failures\n", (unsigned)nr, counts[DOCTOR_OK],
		       counts[DOCTOR_NOTE], counts[DOCTOR_WARNING], counts[DOCTOR_FAILURE]);
	}
	return counts[DOCTOR_FAILURE] ? EXIT_REFUSED : EXIT_OK;
}
