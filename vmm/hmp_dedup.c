/* The human monitor's commands about pages that the guest shares with others. Lines have 80 columns at most. */
#include <stdlib.h>
#include <string.h>

#include "vmm/dedup_settings.h"
#include "vmm/hmp.h"

#define MOST_TEXT 79 /* of a sentence in one line */

static double mib(int64_t bytes)
{
	return (double)bytes / (1 << 20);
}

/* Sentences may be longer than a line: broken at a blank. */
static void print_text(struct hmp_call *call, const char *text)
{
	size_t len = strlen(text);
	while (len > MOST_TEXT) {
		size_t cut = MOST_TEXT;
		while (cut && text[cut] != ' ')
			cut--;
		if (!cut)
			cut = MOST_TEXT;
		monitor_text_printf(call->out, "%.*s\n", (int)cut, text);
		text += cut;
		text += strspn(text, " ");
		len = strlen(text);
	}
	if (len)
		monitor_text_printf(call->out, "%s\n", text);
}

/* --- info dedup: Pagoda's --- */

static void print_row(struct hmp_call *call, const char *name, uint64_t pages)
{
	uint64_t total = machine_config(call->machine)->memory_bytes, bytes = pages * GUEST_PAGE_SIZE;
	monitor_text_printf(call->out, "  %-13s %10.1f MiB %5.1f %%", name, mib((int64_t)bytes),
			    total ? 100.0 * (double)bytes / (double)total : 0.0);
}

static void print_pages(struct hmp_call *call, const struct scanner_stats *s)
{
	monitor_text_printf(call->out, "guest memory %.1f MiB, of which\n",
			    mib((int64_t)machine_config(call->machine)->memory_bytes));
	print_row(call, "shared", s->pages_sharing);
	monitor_text_printf(call->out, "  in %llu of %llu mappings\n", (unsigned long long)s->mappings,
			    (unsigned long long)s->most_mappings);
	print_row(call, "without twin", s->pages_unshared);
	monitor_text_printf(call->out, "\n");
	print_row(call, "just written", s->pages_volatile);
	monitor_text_printf(call->out, "\n");
	print_row(call, "in huge pages", s->pages_skipped);
	monitor_text_printf(call->out, "  that are not to be broken\n");
	monitor_text_printf(call->out, "saved %.1f MiB, with what it costs taken off; scanning takes %.1f MiB here\n",
			    mib((int64_t)s->general_profit), mib((int64_t)s->metadata_bytes));
}

/* Pages, in columns of 11 digits: 400 TiB. */
static void print_counts(struct hmp_call *call, const struct scanner_stats *s)
{
#define N(field) ((unsigned long long)s->field)
	monitor_text_printf(call->out, "pages since the start, in %llu passes\n", N(full_scans));
	monitor_text_printf(call->out, "  scanned  %12llu   merged   %12llu   written to %12llu\n", N(pages_scanned),
			    N(pages_merged), N(pages_broken));
	monitor_text_printf(call->out, "  sent     %12llu   zero     %12llu   no gain    %12llu\n", N(sent), N(ksm_zero_pages),
			    N(no_gain));
	monitor_text_printf(call->out, "  differed %12llu   busy     %12llu   restored   %12llu chunks\n", N(differed), N(busy),
			    N(restored));
	monitor_text_printf(call->out, "CPU time %.1f s, last pass %.1f ms; connected %llu times\n", (double)s->cpu_us / 1e6,
			    (double)s->pass_cpu_us / 1e3, N(connections));
#undef N
}

static void print_settings(struct hmp_call *call, const struct scanner_settings *s)
{
	monitor_text_printf(call->out, "set");
	for (size_t i = 0; i < DEDUP_NR_SETTINGS; i++) {
		uint32_t value = dedup_setting_get(&dedup_settings[i], s);
		if (i == DEDUP_NR_SETTINGS / 2)
			monitor_text_printf(call->out, "\n   "); /* 80 columns */
		if (dedup_settings[i].is_word)
			monitor_text_printf(call->out, " %s=%s", dedup_settings[i].name, dedup_huge_name((enum scanner_huge)value));
		else
			monitor_text_printf(call->out, " %s=%u", dedup_settings[i].name, value);
	}
	monitor_text_printf(call->out, "\n");
}

static void print_pagoda(struct hmp_call *call, const struct machine_dedup_info *info)
{
	monitor_text_printf(call->out, "pages are shared by pagodad, %s\n", info->connected ? "connected" : "not connected");
	print_text(call, info->trouble);
	monitor_text_printf(call->out, "domain %s\nguest  %s\n", info->domain, info->guest);
	print_pages(call, &info->stats);
	print_counts(call, &info->stats);
	print_settings(call, &info->settings);
}

/* --- info dedup: KSM's --- */

static void print_known(struct hmp_call *call, const struct ksm_counter *counter, const char *name, int64_t unit, const char *rest)
{
	if (counter->known)
		monitor_text_printf(call->out, "  %-13s %10.1f MiB%s\n", name, mib(counter->value * unit), rest);
}

static void print_ksm(struct hmp_call *call, const struct machine_dedup_info *info)
{
	const struct ksm_counter *g = info->ksm.global, *p = info->ksm.process;
	monitor_text_printf(call->out, "pages are merged by the kernel (KSM), ksmd %s\n",
			    info->connected ? "runs" : "does not run");
	print_text(call, info->trouble);
	monitor_text_printf(call->out, "this guest\n");
	print_known(call, &p[KSM_PROCESS_ksm_merging_pages], "merged", GUEST_PAGE_SIZE, "");
	print_known(call, &p[KSM_PROCESS_ksm_process_profit], "saved", 1, "  with what it costs taken off");
	monitor_text_printf(call->out, "all processes of the host\n");
	print_known(call, &g[KSM_GLOBAL_pages_shared], "shared", GUEST_PAGE_SIZE, "");
	print_known(call, &g[KSM_GLOBAL_pages_sharing], "mapped again", GUEST_PAGE_SIZE, "");
	print_known(call, &g[KSM_GLOBAL_pages_unshared], "without twin", GUEST_PAGE_SIZE, "");
	print_known(call, &g[KSM_GLOBAL_pages_volatile], "just written", GUEST_PAGE_SIZE, "");
	print_known(call, &g[KSM_GLOBAL_general_profit], "saved", 1, "  with what it costs taken off");
	if (g[KSM_GLOBAL_full_scans].known)
		monitor_text_printf(call->out, "passes %lld\n", (long long)g[KSM_GLOBAL_full_scans].value);
}

void hmp_info_dedup(struct hmp_call *call)
{
	struct machine_dedup_info info;
	machine_dedup_info(call->machine, &info);
	switch (info.merger) {
	case MACHINE_MERGER_PAGODA:
		print_pagoda(call, &info);
		break;
	case MACHINE_MERGER_KSM:
		print_ksm(call, &info);
		break;
	case MACHINE_MERGER_NONE:
	default:
		print_text(call, info.trouble);
		break;
	}
}

/* --- commands --- */

void hmp_dedup_set(struct hmp_call *call)
{
	const struct dedup_setting *setting = dedup_setting_find(call->words[0]);
	struct machine_dedup_info info;
	struct error err = {.code = 0};
	if (!setting) {
		monitor_text_printf(call->out, "Error: there is no setting \"%.40s\"; there are", call->words[0]);
		for (size_t i = 0; i < DEDUP_NR_SETTINGS; i++)
			monitor_text_printf(call->out, "%s %s", i ? "," : "", dedup_settings[i].name);
		monitor_text_printf(call->out, "\n");
		return;
	}
	machine_dedup_info(call->machine, &info);
	int ret = dedup_setting_parse(setting, &info.settings, call->words[1], &err);
	if (ret == 0)
		ret = machine_dedup_configure(call->machine, &info.settings, &err);
	if (ret)
		monitor_text_printf(call->out, "Error: %s\n", err.text);
}
