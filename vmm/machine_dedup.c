/*
 * The machine and what merges its pages with equal ones of other guests: Pagoda's scanner, the kernel's KSM, or nobody, as -dedup and
 * -machine mem-merge= say.
 *
 * The scanner reads guest RAM, and may stand in a page's fault like any other thread that does. So it is ended by a thread made for that
 * (machine_memory_run), when nothing of the guest runs: a page that cannot be brought back is forgotten then, and it goes on. It goes
 * before the memory manager, which it uses until its end.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/machine_internal.h"

#define WHY_NONE "This guest's pages are not shared: it was started without -dedup"
#define WHY_OFF "This guest's pages are not shared: it was started with -machine mem-merge=off"
#define WHY_KSM "This guest's pages are merged by the kernel: it was started with -machine mem-merge=ksm"

const char *machine_merger_name(enum machine_merger merger)
{
	static const char *const names[] = {
		[MACHINE_MERGER_NONE] = "none",
		[MACHINE_MERGER_PAGODA] = "pagoda",
		[MACHINE_MERGER_KSM] = "ksm",
	};
	return names[merger];
}

static int create_scanner(struct machine *m, struct error *err)
{
	const struct config_dedup *c = &m->config->dedup;
	struct machine_dedup *d = &m->dedup;
	if (!m->managed.mm)
		return error_set(err, ENOTSUP, "-dedup: it needs the memory manager. %s", m->managed.why_none.text);
	if (c->guest)
		snprintf(d->guest, sizeof(d->guest), "%s", c->guest);
	else
		snprintf(d->guest, sizeof(d->guest), "pid-%d", (int)getpid());
	struct scanner_params params = {
		.mm = m->managed.mm,
		.socket = c->socket,
		.domain = c->domain,
		.guest = d->guest,
		.node = c->node,
		.settings = c->settings,
	};
	int ret = scanner_create(&params, &d->scanner, err);
	if (ret) {
		d->scanner = NULL;
		if (!err->code)
			error_set(err, -ret, "the scanner cannot be started: %s", strerror(-ret));
		return error_prefix(err, "-dedup");
	}
	d->merger = MACHINE_MERGER_PAGODA;
	return 0;
}

static int create_ksm(struct machine *m, struct error *err)
{
	struct ksm_stats stats;
	int ret = ksm_enable(m->ram, err);
	if (ret)
		return ret;
	m->dedup.merger = MACHINE_MERGER_KSM;
	ksm_read_stats(KSM_SYSFS, KSM_PROCESS_FILE, &stats);
	const char *trouble = ksm_trouble(&stats);
	if (trouble)
		log_warning("-machine mem-merge=ksm: %s", trouble);
	return 0;
}

int machine_dedup_create(struct machine *m, struct error *err)
{
	const struct config_dedup *c = &m->config->dedup;
	if (c->merge == CONFIG_MERGE_KSM)
		return create_ksm(m, err);
	if (c->asked && c->merge == CONFIG_MERGE_ON)
		return create_scanner(m, err);
	if (c->asked)
		log_info("-dedup has no effect: -machine mem-merge=off keeps this guest's pages its own");
	return 0;
}

/* A machine_work. */
static int destroy_scanner(struct machine *m, struct error *err)
{
	(void)err;
	scanner_destroy(m->dedup.scanner);
	m->dedup.scanner = NULL;
	return 0;
}

bool machine_dedup_destroy(struct machine *m)
{
	return !m->dedup.scanner || machine_memory_run(m, destroy_scanner, MACHINE_FORGET, NULL) == 0;
}

/* --- what monitors ask --- */

static const char *why_none(const struct machine *m)
{
	if (m->config->dedup.merge == CONFIG_MERGE_KSM)
		return WHY_KSM;
	return m->config->dedup.merge == CONFIG_MERGE_OFF ? WHY_OFF : WHY_NONE;
}

void machine_dedup_info(struct machine *m, struct machine_dedup_info *info)
{
	const struct machine_dedup *d = &m->dedup;
	*info = (struct machine_dedup_info){.merger = d->merger, .node = -1};
	const char *trouble = NULL;
	switch (d->merger) {
	case MACHINE_MERGER_PAGODA:
		info->socket = m->config->dedup.socket;
		info->domain = m->config->dedup.domain;
		info->guest = d->guest;
		info->node = m->config->dedup.node;
		scanner_get_settings(d->scanner, &info->settings);
		scanner_get_stats(d->scanner, &info->stats);
		info->connected = info->stats.connected;
		trouble = info->stats.trouble;
		break;
	case MACHINE_MERGER_KSM:
		ksm_read_stats(KSM_SYSFS, KSM_PROCESS_FILE, &info->ksm);
		trouble = ksm_trouble(&info->ksm);
		info->connected = !trouble;
		break;
	case MACHINE_MERGER_NONE:
	default:
		trouble = why_none(m);
		break;
	}
	snprintf(info->trouble, sizeof(info->trouble), "%s", trouble ? trouble : "");
}

int machine_dedup_configure(struct machine *m, const struct scanner_settings *settings, struct error *err)
{
	if (m->dedup.merger != MACHINE_MERGER_PAGODA)
		return error_set(err, ENOTSUP, "%s", why_none(m));
	return scanner_configure(m->dedup.scanner, settings, err);
}
