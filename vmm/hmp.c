/* See hmp.h. */
#include "vmm/hmp.h"

#include <errno.h>
#include <string.h>

#include "base/nearest.h"
#include "vmm/dedup_settings.h"
#include "vmm/qmp.h"

#define MAX_LINE 1024
#define NR(array) (sizeof(array) / sizeof((array)[0]))

static void run_help(struct hmp_call *call);
static void run_info(struct hmp_call *call);

static void run_stop(struct hmp_call *call)
{
	int ret = machine_pause(call->machine);
	if (ret)
		monitor_text_printf(call->out, "Error: %s\n", strerror(-ret));
}

static void run_cont(struct hmp_call *call)
{
	struct error err = {.code = 0};
	if (machine_resume(call->machine, &err))
		monitor_text_printf(call->out, "Error: %s\n", err.text);
}

static void run_powerdown(struct hmp_call *call)
{
	machine_powerdown(call->machine);
}

static void run_reset(struct hmp_call *call)
{
	int ret = machine_reset(call->machine);
	if (ret)
		monitor_text_printf(call->out, "Error: %s\n", strerror(-ret));
}

static void run_quit(struct hmp_call *call)
{
	machine_quit(call->machine, "host-qmp-quit");
}

static void run_set_link(struct hmp_call *call)
{
	struct error err = {.code = 0};
	bool on = !strcmp(call->words[1], "on");
	if (!on && strcmp(call->words[1], "off") != 0)
		monitor_text_printf(call->out, "Error: \"%s\" is neither on nor off\n", call->words[1]);
	else if (qmp_set_link(call->machine, call->words[0], on, &err))
		monitor_text_printf(call->out, "Error: %s\n", err.text);
}

static const struct hmp_command commands[] = {
	{"balloon", "SIZE", "ask the guest to make do with so much memory, in MiB", 1, 1, {0}, hmp_balloon},
	{"balloon_hint", "", "ask the guest which memory it does not use, and take that first", 0, 0, {0}, hmp_balloon_hint},
	{"cont", "", "go on after a stop", 0, 0, {0}, run_cont},
	{"c", "", NULL, 0, 0, {0}, run_cont},
	{"dedup_set",
	 "SETTING VALUE",
	 "change how pages are shared: cpu, pass, batch, huge, huge-percent, most-mappings",
	 2,
	 2,
	 {HMP_COMPLETE_DEDUP},
	 hmp_dedup_set},
	{"help", "[COMMAND]", "what there is, or what a command does", 0, 2, {HMP_COMPLETE_COMMAND, HMP_COMPLETE_TOPIC}, run_help},
	{"?", "[COMMAND]", NULL, 0, 2, {HMP_COMPLETE_COMMAND, HMP_COMPLETE_TOPIC}, run_help},
	{"info", "TOPIC", "show something; help info lists topics", 0, 1, {HMP_COMPLETE_TOPIC}, run_info},
	{"memory_evict",
	 "[SIZE [limbo|compressed|disk]]",
	 "take so much memory from the guest at once; all of it, into the compressed tier",
	 0,
	 2,
	 {HMP_COMPLETE_NOTHING, HMP_COMPLETE_TIER},
	 hmp_memory_evict},
	{"memory_prewarm", "", "bring back what the guest used last", 0, 0, {0}, hmp_memory_prewarm},
	{"memory_target", "SIZE", "host memory that the guest may take, in MiB; 0: no limit", 1, 1, {0}, hmp_memory_target},
	{"quit", "", "end the guest at once, and the VMM", 0, 0, {0}, run_quit},
	{"q", "", NULL, 0, 0, {0}, run_quit},
	{"set_link",
	 "NAME on|off",
	 "plug a network cable in, or pull it",
	 2,
	 2,
	 {HMP_COMPLETE_NIC, HMP_COMPLETE_SWITCH},
	 run_set_link},
	{"stop", "", "pause the guest", 0, 0, {0}, run_stop},
	{"s", "", NULL, 0, 0, {0}, run_stop},
	{"system_powerdown", "", "press the guest's power button", 0, 0, {0}, run_powerdown},
	{"system_reset", "", "reset the guest", 0, 0, {0}, run_reset},
};

static const struct hmp_command *find(const struct hmp_command *table, size_t nr, const char *name)
{
	for (size_t i = 0; i < nr; i++)
		if (!strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

static void print_help(struct hmp_call *call, const char *prefix, const struct hmp_command *command)
{
	if (command->help)
		monitor_text_printf(call->out, "%s%s%s%s -- %s\n", prefix, command->name, *command->arguments ? " " : "",
				    command->arguments, command->help);
}

static void print_topics(struct hmp_call *call)
{
	for (size_t i = 0; i < hmp_nr_topics; i++)
		print_help(call, "info ", &hmp_topics[i]);
}

static void unknown(struct hmp_call *call, const char *prefix, const struct hmp_command *table, size_t nr, const char *name)
{
	struct nearest nearest;
	char hint[100];
	nearest_start(&nearest, name);
	for (size_t i = 0; i < nr; i++)
		nearest_try(&nearest, table[i].name);
	monitor_text_printf(call->out, "unknown command: '%s%.100s'%s\n", prefix, name,
			    nearest_hint(&nearest, prefix, hint, sizeof(hint)));
}

static void run_help(struct hmp_call *call)
{
	const char *name = call->nr_words ? call->words[0] : NULL, *topic = call->nr_words == 2 ? call->words[1] : NULL;
	if (!name) {
		for (size_t i = 0; i < NR(commands); i++)
			print_help(call, "", &commands[i]);
		return;
	}
	if (!strcmp(name, "info") && topic) {
		const struct hmp_command *found = find(hmp_topics, hmp_nr_topics, topic);
		if (found)
			print_help(call, "info ", found);
		else
			unknown(call, "info ", hmp_topics, hmp_nr_topics, topic);
		return;
	}
	const struct hmp_command *command = find(commands, NR(commands), name);
	if (!command) {
		unknown(call, "", commands, NR(commands), name);
		return;
	}
	/* Short spellings are explained by the long ones, which have the same function. */
	for (size_t i = 0; i < NR(commands); i++)
		if (commands[i].run == command->run)
			print_help(call, "", &commands[i]);
	if (command->run == run_info)
		print_topics(call);
}

static void run_info(struct hmp_call *call)
{
	if (!call->nr_words) {
		print_topics(call);
		return;
	}
	const struct hmp_command *topic = find(hmp_topics, hmp_nr_topics, call->words[0]);
	if (topic)
		topic->run(call);
	else
		unknown(call, "info ", hmp_topics, hmp_nr_topics, call->words[0]);
}

/* Cuts line into words in place. Returns how many, or HMP_MAX_WORDS + 1 when there are too many. */
static unsigned split(char *line, const char *words[HMP_MAX_WORDS + 1])
{
	unsigned nr = 0;
	char *state = NULL;
	for (char *word = strtok_r(line, " \t", &state); word; word = strtok_r(NULL, " \t", &state)) {
		if (nr == HMP_MAX_WORDS)
			return HMP_MAX_WORDS + 1;
		words[nr++] = word;
	}
	return nr;
}

void hmp_execute(struct machine *m, const char *line, struct monitor_text *out)
{
	char copy[MAX_LINE];
	const char *words[HMP_MAX_WORDS + 1];
	struct monitor_text text = {.data = NULL};
	struct hmp_call call = {.machine = m, .out = &text};
	size_t len = strlen(line);
	unsigned nr = HMP_MAX_WORDS + 1;
	if (len < sizeof(copy)) {
		memcpy(copy, line, len + 1);
		nr = split(copy, words);
	}
	if (nr > HMP_MAX_WORDS) {
		monitor_text_printf(&text, "the line is too long\n");
	} else if (nr > 0) {
		const struct hmp_command *command = find(commands, NR(commands), words[0]);
		call.nr_words = nr - 1;
		for (unsigned i = 1; i < nr; i++)
			call.words[i - 1] = words[i];
		if (!command)
			unknown(&call, "", commands, NR(commands), words[0]);
		else if (call.nr_words < command->min_words || call.nr_words > command->max_words)
			monitor_text_printf(&text, "usage: %s %s\n", command->name, command->arguments);
		else
			command->run(&call);
	}
	monitor_text_add_lines(out, &text);
	monitor_text_free(&text);
}

/* --- completion --- */

static void offer(struct hmp_candidates *candidates, const char *start, const char *word)
{
	if (!strncmp(word, start, strlen(start)))
		candidates->add(candidates, word);
}

static void offer_kind(struct machine *m, enum hmp_completion kind, struct hmp_candidates *candidates, const char *start)
{
	switch (kind) {
	case HMP_COMPLETE_COMMAND:
		for (size_t i = 0; i < NR(commands); i++)
			if (commands[i].help)
				offer(candidates, start, commands[i].name);
		break;
	case HMP_COMPLETE_TOPIC:
		for (size_t i = 0; i < hmp_nr_topics; i++)
			offer(candidates, start, hmp_topics[i].name);
		break;
	case HMP_COMPLETE_NIC:
		for (unsigned i = 0; i < machine_nr_nics(m); i++) {
			struct machine_nic_info nic;
			machine_nic_info(m, i, &nic);
			offer(candidates, start, nic.id);
		}
		break;
	case HMP_COMPLETE_SWITCH:
		offer(candidates, start, "on");
		offer(candidates, start, "off");
		break;
	case HMP_COMPLETE_TIER:
		offer(candidates, start, "limbo");
		offer(candidates, start, "compressed");
		offer(candidates, start, "disk");
		break;
	case HMP_COMPLETE_DEDUP:
		for (size_t i = 0; i < DEDUP_NR_SETTINGS; i++)
			offer(candidates, start, dedup_settings[i].name);
		break;
	case HMP_COMPLETE_NOTHING:
		break;
	}
}

size_t hmp_complete(struct machine *m, const char *line, struct hmp_candidates *candidates)
{
	char copy[MAX_LINE];
	const char *words[HMP_MAX_WORDS + 1];
	size_t len = strlen(line);
	if (len >= sizeof(copy))
		return 0;
	memcpy(copy, line, len + 1);
	const char *start = line + len;
	while (start > line && start[-1] != ' ' && start[-1] != '\t')
		start--;
	copy[start - line] = '\0';
	unsigned nr = split(copy, words);
	const struct hmp_command *command = nr && nr <= HMP_MAX_WORDS ? find(commands, NR(commands), words[0]) : NULL;
	if (nr == 0)
		offer_kind(m, HMP_COMPLETE_COMMAND, candidates, start);
	else if (command && nr <= command->max_words && nr <= NR(command->completions))
		offer_kind(m, command->completions[nr - 1], candidates, start);
	return strlen(start);
}
