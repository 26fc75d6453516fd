/* The human monitor's commands about the guest's memory. Lines have 80 columns at most. */
#include <errno.h>
#include <string.h>

#include "vmm/hmp.h"
#include "vmm/memory_settings.h"
#include "vmm/options.h"
#include "vmm/qmp.h"

#define BAR_COLUMNS 30
#define MAX_POINTS 64
#define SHOWN_POINTS 5

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void print_error(struct hmp_call *call, const struct error *err)
{
	monitor_text_printf(call->out, "Error: %s\n", err->text);
}

/* --- info memory --- */

static void print_host(struct hmp_call *call, const struct memmgr_stats *s)
{
	char bar[BAR_COLUMNS + 1];
	uint64_t used = s->used_pages * GUEST_PAGE_SIZE, target = s->target_pages * GUEST_PAGE_SIZE;
	uint64_t limit = target ? target : s->total_pages * GUEST_PAGE_SIZE;
	uint64_t full = limit ? used * BAR_COLUMNS / limit : 0;
	memset(bar, '.', BAR_COLUMNS);
	memset(bar, '#', full < BAR_COLUMNS ? full : BAR_COLUMNS);
	bar[BAR_COLUMNS] = '\0';
	monitor_text_printf(call->out, "host memory [%s] %.1f of %.1f MiB, %.0f %%%s\n", bar, mib(used), mib(limit),
			    percent(used, limit), target ? "" : ", no target");
}

static void print_row(struct hmp_call *call, const struct memmgr_stats *s, const char *name, uint64_t pages)
{
	monitor_text_printf(call->out, "  %-12s %10.1f MiB %5.1f %%", name, mib(pages * GUEST_PAGE_SIZE),
			    percent(pages, s->total_pages));
}

static void print_rows(struct hmp_call *call, const struct memmgr_stats *s)
{
	uint64_t known = s->resident_pages + s->limbo_pages + s->compressed_pages + s->swap_pages + s->zero_pages +
			 s->shared_pages + s->balloon_pages;
	monitor_text_printf(call->out, "guest memory %.1f MiB, of which\n", mib(s->total_pages * GUEST_PAGE_SIZE));
	print_row(call, s, "resident", s->resident_pages);
	monitor_text_printf(call->out, "\n");
	print_row(call, s, "limbo", s->limbo_pages);
	monitor_text_printf(call->out, "\n");
	print_row(call, s, "compressed", s->compressed_pages);
	if (s->compressed_bytes)
		monitor_text_printf(call->out, "  in %.1f MiB, %.1f : 1", mib(s->compressed_bytes),
				    (double)s->compressed_pages * GUEST_PAGE_SIZE / (double)s->compressed_bytes);
	monitor_text_printf(call->out, "\n");
	print_row(call, s, "swap", s->swap_pages);
	if (s->swap_bytes)
		monitor_text_printf(call->out, "  in a file of %.1f MiB", mib(s->swap_bytes));
	monitor_text_printf(call->out, "\n");
	print_row(call, s, "zero", s->zero_pages);
	monitor_text_printf(call->out, "\n");
	if (s->shared_pages) {
		print_row(call, s, "shared", s->shared_pages);
		monitor_text_printf(call->out, "\n");
	}
	print_row(call, s, "balloon", s->balloon_pages);
	monitor_text_printf(call->out, "\n");
	print_row(call, s, "never used", known < s->total_pages ? s->total_pages - known : 0);
	monitor_text_printf(call->out, "\n");
}

static void print_rates(struct hmp_call *call, const struct machine_memory_sample *now, const struct machine_memory_sample *before)
{
	const struct memmgr_stats *n = &now->stats, *b = &before->stats;
	double seconds = (double)(now->time_ns - before->time_ns) / 1e9;
	uint64_t faults = n->faults - b->faults;
	if (seconds < 0.001)
		seconds = 0.001;
#define RATE(field) ((double)(n->field - b->field) / seconds)
	monitor_text_printf(call->out, "pages a second, over %.1f s\n", seconds);
	monitor_text_printf(call->out, "  evicted      %10.1f   back from limbo %10.1f   compressed %10.1f\n", RATE(evicted),
			    RATE(copied_from_limbo), RATE(decompressed));
	monitor_text_printf(call->out, "  swapped out  %10.1f   swapped in      %10.1f   prefetched %10.1f\n", RATE(swap_out),
			    RATE(swap_in), RATE(prefetched));
	monitor_text_printf(call->out, "  faults       %10.1f   from disk       %10.1f   mean stall %7.1f us\n", RATE(faults),
			    RATE(major_faults), faults ? (double)(n->stall_ns - b->stall_ns) / (double)faults / 1e3 : 0.0);
#undef RATE
}

static void print_curve(struct hmp_call *call, const struct memmgr_stats *s)
{
	struct memmgr_curve_point points[MAX_POINTS];
	struct error err = {.code = 0};
	uint64_t resident = s->resident_pages * GUEST_PAGE_SIZE;
	unsigned shown = 0;
	if (s->active_pages)
		monitor_text_printf(call->out, "working set about %.1f MiB, %.0f %% of the guest's memory\n",
				    mib(s->active_pages * GUEST_PAGE_SIZE), percent(s->active_pages, s->total_pages));
	else
		monitor_text_printf(call->out, "working set not known: not sampled\n");
	ssize_t nr = machine_memory_curve(call->machine, points, MAX_POINTS, &err), smaller = 0;
	while (smaller < nr && points[smaller].bytes >= resident)
		smaller++;
	/* Some of those that are smaller than now, in even steps. */
	ssize_t step = (nr - smaller + SHOWN_POINTS - 1) / SHOWN_POINTS;
	for (ssize_t i = smaller; i < nr && shown < SHOWN_POINTS; i += step, shown++)
		monitor_text_printf(call->out, "  with %.1f MiB less: about %.1f faults/s\n", mib(resident - points[i].bytes),
				    points[i].faults_per_s);
}

void hmp_info_memory(struct hmp_call *call)
{
	struct machine_memory_sample now, before;
	struct error err = {.code = 0};
	char detail[160];
	if (machine_memory_sample(call->machine, &now, &before, &err)) {
		monitor_text_printf(call->out, "%s\n", err.text);
		return;
	}
	print_host(call, &now.stats);
	print_rows(call, &now.stats);
	print_rates(call, &now, &before);
	print_curve(call, &now.stats);
	enum memmgr_failure failure = machine_memory_failure(call->machine, detail, sizeof(detail));
	if (failure)
		monitor_text_printf(call->out, "memory cannot be brought back: %s (%.50s)\n", memmgr_failure_name(failure), detail);
}

/* --- commands --- */

static int parse_size(struct hmp_call *call, const char *word, uint64_t *bytes)
{
	struct error err = {.code = 0};
	int ret = options_parse_size(word, 1 << 20, 0, MEMORY_SETTINGS_MAX_BYTES, bytes, &err);
	if (ret)
		print_error(call, &err);
	return ret;
}

void hmp_memory_target(struct hmp_call *call)
{
	const struct memory_setting *target = &memory_settings[0];
	struct memmgr_settings settings;
	struct error err = {.code = 0};
	uint64_t bytes;
	if (parse_size(call, call->words[0], &bytes))
		return;
	int ret = machine_memory_settings(call->machine, &settings, &err);
	if (ret == 0)
		ret = memory_setting_set(target, &settings, bytes, &err);
	if (ret == 0)
		ret = memory_settings_check(&settings, machine_config(call->machine)->memory_bytes, &err);
	if (ret == 0)
		ret = machine_memory_configure(call->machine, &settings, &err);
	if (ret)
		print_error(call, &err);
}

void hmp_memory_evict(struct hmp_call *call)
{
	enum memmgr_tier tier = MEMMGR_TIER_COMPRESSED;
	struct error err = {.code = 0};
	uint64_t bytes = 0, taken;
	bool complete;
	if (call->nr_words > 0 && parse_size(call, call->words[0], &bytes))
		return;
	int ret = call->nr_words > 1 ? qmp_memory_tier(call->words[1], &tier, &err) : 0;
	if (ret == 0)
		ret = machine_memory_evict(call->machine, bytes, tier, &taken, &complete, &err);
	if (ret)
		print_error(call, &err);
	else
		monitor_text_printf(call->out, "%.1f MiB taken%s\n", mib(taken), complete ? "" : "; repeat the command for more");
}

void hmp_memory_prewarm(struct hmp_call *call)
{
	struct error err = {.code = 0};
	if (machine_memory_prewarm(call->machine, &err))
		print_error(call, &err);
}
