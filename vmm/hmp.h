/* The human monitor's commands, apart from where they are typed: the readline monitor, or QMP's human-monitor-command. */
#ifndef VMM_HMP_H
#define VMM_HMP_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/machine.h"
#include "vmm/monitor_text.h"

#define HMP_MAX_WORDS 8

struct hmp_call {
	struct machine *machine;
	struct monitor_text *out; /* lines end in '\n' */
	unsigned nr_words;
	const char *words[HMP_MAX_WORDS]; /* without the command's own */
};

/* What Tab offers for a word. */
enum hmp_completion {
	HMP_COMPLETE_NOTHING,
	HMP_COMPLETE_COMMAND,
	HMP_COMPLETE_TOPIC, /* of info */
	HMP_COMPLETE_NIC,
	HMP_COMPLETE_SWITCH, /* on, off */
	HMP_COMPLETE_TIER,   /* limbo, compressed, disk */
	HMP_COMPLETE_DEDUP,  /* settings of deduplication */
};

struct hmp_command {
	const char *name;
	const char *arguments; /* as help shows them */
	const char *help;
	unsigned min_words, max_words;
	enum hmp_completion completions[2];
	void (*run)(struct hmp_call *call);
};

/* The topics of `info`: hmp_info.c. */
extern const struct hmp_command hmp_topics[];
extern const size_t hmp_nr_topics;

/* hmp_memory.c */
void hmp_info_memory(struct hmp_call *call);
void hmp_memory_target(struct hmp_call *call);
void hmp_memory_evict(struct hmp_call *call);
void hmp_memory_prewarm(struct hmp_call *call);

/* hmp_balloon.c */
void hmp_info_balloon(struct hmp_call *call);
void hmp_balloon(struct hmp_call *call);
void hmp_balloon_hint(struct hmp_call *call);

/* hmp_dedup.c */
void hmp_info_dedup(struct hmp_call *call);
void hmp_dedup_set(struct hmp_call *call);

/* Runs one line and adds what it prints, lines ended by "\r\n". */
void hmp_execute(struct machine *m, const char *line, struct monitor_text *out);

/*
 * What could follow line: calls back for each possible last word. Returns how many bytes of the last word are there already.
 */
struct hmp_candidates {
	void (*add)(struct hmp_candidates *self, const char *word);
};
size_t hmp_complete(struct machine *m, const char *line, struct hmp_candidates *candidates);

#endif
