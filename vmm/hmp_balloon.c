/* The human monitor's commands about the balloon. Lines have 80 columns at most. */
#include <time.h>

#include "vmm/hmp.h"
#include "vmm/memory_settings.h"
#include "vmm/options.h"

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static void print_stats(struct hmp_call *call, const struct balloon_info *info)
{
	if (!info->has_stats) {
		monitor_text_printf(call->out, "the guest has said nothing of its memory\n");
		return;
	}
	int64_t age = (int64_t)time(NULL) - info->stats_time;
	monitor_text_printf(call->out, "the guest says, %lld s ago%s\n", (long long)(age > 0 ? age : 0),
			    info->poll_seconds ? "" : " (guest-stats-polling-interval is 0)");
	for (unsigned i = 0; i < BALLOON_NR_STATS; i++) {
		const struct balloon_stat_field *field = &balloon_stat_fields[i];
		uint64_t value = info->stats.values[i];
		if (!balloon_stats_has(&info->stats, (enum balloon_stat)i))
			continue;
		if (field->is_memory)
			monitor_text_printf(call->out, "  %-17s %12.1f MiB  %s\n", field->name, mib(value), field->text);
		else
			monitor_text_printf(call->out, "  %-17s %12llu      %s\n", field->name, (unsigned long long)value,
					    field->text);
	}
}

void hmp_info_balloon(struct hmp_call *call)
{
	struct machine_balloon_info info;
	struct error err = {.code = 0};
	if (machine_balloon_info(call->machine, &info, &err)) {
		monitor_text_printf(call->out, "%s\n", err.text);
		return;
	}
	/* The first line is QEMU's. */
	monitor_text_printf(call->out, "balloon: actual=%llu\n", (unsigned long long)(info.actual_bytes >> 20));
	monitor_text_printf(call->out, "the guest has %.1f of %.1f MiB, and is asked to have %.1f%s\n", mib(info.actual_bytes),
			    mib(info.memory_bytes), mib(info.target_bytes), info.device.has_driver ? "" : "; it has no driver");
	monitor_text_printf(call->out, "so far %.1f MiB given up, %.1f taken back, %.1f reported as free\n",
			    mib(info.device.inflated * GUEST_PAGE_SIZE), mib(info.device.deflated * GUEST_PAGE_SIZE),
			    mib(info.device.reported * GUEST_PAGE_SIZE));
	if (info.device.spared)
		monitor_text_printf(call->out, "of that %.1f MiB could not be had\n", mib(info.device.spared * GUEST_PAGE_SIZE));
	print_stats(call, &info.device);
}

void hmp_balloon(struct hmp_call *call)
{
	struct error err = {.code = 0};
	uint64_t bytes;
	int ret = options_parse_size(call->words[0], 1 << 20, 0, MEMORY_SETTINGS_MAX_BYTES, &bytes, &err);
	if (ret == 0)
		ret = machine_balloon_set(call->machine, bytes, &err);
	if (ret)
		monitor_text_printf(call->out, "Error: %s\n", err.text);
}

void hmp_balloon_hint(struct hmp_call *call)
{
	struct error err = {.code = 0};
	if (machine_balloon_hint(call->machine, &err))
		monitor_text_printf(call->out, "Error: %s\n", err.text);
}
