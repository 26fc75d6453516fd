/*
 * A machine without a guest, in place of vmm/machine*.c, for tests and fuzzers of monitors: it keeps what it was told, and announces what the
 * real one would. Define nothing else of machine.h in a program that includes it; once per program.
 */
#ifndef TESTS_UNIT_FAKE_MACHINE_H
#define TESTS_UNIT_FAKE_MACHINE_H

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/chardev.h"
#include "vmm/machine.h"

struct machine {
	enum run_state state;
	struct config config;
	struct machine_listener *listeners;
	struct chardev *chardevs[CONFIG_MAX_CHARDEVS];
	bool link_up[CONFIG_MAX_NICS];
	unsigned nr_resets, nr_powerdowns, nr_quits;

	bool no_manager;
	struct memmgr_settings settings;
	struct machine_memory_sample sample, last;
	struct memmgr_curve_point curve[8];
	size_t nr_points;
	enum memmgr_failure failure;
	unsigned nr_prewarms;
	uint64_t evicted; /* asked for */
	enum memmgr_tier evicted_to;

	struct machine_dedup_info dedup;
	bool dedup_refuses;

	bool has_balloon;
	struct machine_balloon_info balloon;
	unsigned nr_hints;
};

static void fake_announce(struct machine *m, enum machine_event event, bool guest, const char *reason)
{
	struct machine_event_info info = {.event = event, .guest = guest, .reason = reason};
	for (struct machine_listener *l = m->listeners; l; l = l->next)
		l->notify(l, &info);
}

const char *run_state_name(enum run_state state)
{
	static const char *const names[] = {"prelaunch",      "running",        "paused",  "shutdown",
					    "guest-panicked", "internal-error", "io-error"};
	return names[state];
}

int machine_pause(struct machine *m)
{
	if (m->state != RUN_STATE_RUNNING)
		return 0;
	m->state = RUN_STATE_PAUSED;
	fake_announce(m, MACHINE_EVENT_STOP, false, NULL);
	return 0;
}

int machine_resume(struct machine *m, struct error *err)
{
	if (m->state == RUN_STATE_INTERNAL_ERROR)
		return error_set(err, EPERM, "Resetting the Virtual Machine is required");
	if (m->state == RUN_STATE_RUNNING)
		return 0;
	m->state = RUN_STATE_RUNNING;
	fake_announce(m, MACHINE_EVENT_RESUME, false, NULL);
	return 0;
}

void machine_powerdown(struct machine *m)
{
	m->nr_powerdowns++;
	fake_announce(m, MACHINE_EVENT_POWERDOWN, false, NULL);
}

int machine_reset(struct machine *m)
{
	m->nr_resets++;
	fake_announce(m, MACHINE_EVENT_RESET, false, "host-qmp-system-reset");
	return 0;
}

void machine_quit(struct machine *m, const char *reason)
{
	m->nr_quits++;
	m->state = RUN_STATE_SHUTDOWN;
	fake_announce(m, MACHINE_EVENT_SHUTDOWN, false, reason);
}

enum run_state machine_run_state(const struct machine *m)
{
	return m->state;
}

const struct config *machine_config(const struct machine *m)
{
	return &m->config;
}

unsigned machine_nr_cpus(const struct machine *m)
{
	return m->config.nr_cpus;
}

void machine_cpu_info(const struct machine *m, unsigned index, struct machine_cpu_info *info)
{
	(void)m;
	*info = (struct machine_cpu_info){.index = index, .thread_id = 1000 + (int)index, .core = index};
}

unsigned machine_nr_disks(const struct machine *m)
{
	return m->config.nr_disks;
}

void machine_disk_info(const struct machine *m, unsigned index, struct machine_disk_info *info)
{
	const struct config_disk *disk = &m->config.disks[index];
	*info = (struct machine_disk_info){
		.id = disk->id,
		.qdev = disk->qdev,
		.source = disk->source,
		.driver = "file",
		.bytes = 1 << 30,
		.read_bytes = 4096,
		.read_ops = 1,
	};
}

unsigned machine_nr_nics(const struct machine *m)
{
	return m->config.nr_nics;
}

void machine_nic_info(const struct machine *m, unsigned index, struct machine_nic_info *info)
{
	const struct config_nic *nic = &m->config.nics[index];
	*info = (struct machine_nic_info){.id = nic->id, .qdev = nic->qdev, .link_up = m->link_up[index]};
	snprintf(info->backend, sizeof(info->backend), "tap,fd=%d", nic->fd);
	memcpy(info->mac, nic->mac, 6);
}

int machine_set_link(struct machine *m, unsigned index, bool up)
{
	m->link_up[index] = up;
	return 0;
}

static int fake_check_managed(const struct machine *m, struct error *err)
{
	return m->no_manager ? error_set(err, ENOTSUP, "This guest has no memory manager") : 0;
}

int machine_memory_settings(struct machine *m, struct memmgr_settings *settings, struct error *err)
{
	*settings = m->settings;
	return fake_check_managed(m, err);
}

int machine_memory_configure(struct machine *m, const struct memmgr_settings *settings, struct error *err)
{
	int ret = fake_check_managed(m, err);
	if (ret == 0)
		m->settings = *settings;
	return ret;
}

int machine_memory_sample(struct machine *m, struct machine_memory_sample *now, struct machine_memory_sample *before,
			  struct error *err)
{
	*now = m->sample;
	if (before) {
		*before = m->last;
		m->last = m->sample;
	}
	return fake_check_managed(m, err);
}

ssize_t machine_memory_curve(struct machine *m, struct memmgr_curve_point *points, size_t max, struct error *err)
{
	size_t nr = m->nr_points < max ? m->nr_points : max;
	memcpy(points, m->curve, nr * sizeof(*points));
	return m->no_manager ? fake_check_managed(m, err) : (ssize_t)nr;
}

int machine_memory_bind_node(struct machine *m, unsigned node, uint64_t host_nodes, enum numa_policy policy, uint32_t rate,
			     struct error *err)
{
	(void)m, (void)policy, (void)rate;
	return node || host_nodes != 5 ? error_set(err, EINVAL, "memory: the guest has no node %u", node) : 0;
}

int machine_memory_look_at_node(struct machine *m, unsigned node, struct memmgr_node *look, struct error *err)
{
	(void)m, (void)node, (void)err;
	*look = (struct memmgr_node){.bytes = 1 << 20, .host_nodes = 1 << 2 | 1 << 5, .moving = true};
	return 0;
}

int machine_memory_count_node(struct machine *m, unsigned node, struct numa_count *count, struct error *err)
{
	(void)m, (void)node, (void)err;
	*count = (struct numa_count){.nr_pages = {[2] = 7}, .nr_absent = 3, .nr_looked_at = 10};
	return 0;
}

int machine_memory_stats_fd(struct machine *m, struct error *err)
{
	(void)m, (void)err;
	return 5;
}

int machine_memory_prewarm(struct machine *m, struct error *err)
{
	m->nr_prewarms++;
	return fake_check_managed(m, err);
}

int machine_memory_evict(struct machine *m, uint64_t bytes, enum memmgr_tier tier, uint64_t *taken, bool *complete,
			 struct error *err)
{
	m->evicted = bytes;
	m->evicted_to = tier;
	*taken = 4096;
	*complete = bytes != 0;
	return fake_check_managed(m, err);
}

enum memmgr_failure machine_memory_failure(struct machine *m, char *detail, size_t size)
{
	if (size)
		snprintf(detail, size, "%s", m->failure ? "Input/output error" : "");
	return m->failure;
}

const char *machine_merger_name(enum machine_merger merger)
{
	static const char *const names[] = {"none", "pagoda", "ksm"};
	return names[merger];
}

void machine_dedup_info(struct machine *m, struct machine_dedup_info *info)
{
	*info = m->dedup;
}

int machine_dedup_configure(struct machine *m, const struct scanner_settings *settings, struct error *err)
{
	if (m->dedup.merger != MACHINE_MERGER_PAGODA)
		return error_set(err, ENOTSUP, "This guest's pages are not shared");
	if (m->dedup_refuses)
		return error_set(err, EINVAL, "cpu: the scanner does not like it");
	m->dedup.settings = *settings;
	return 0;
}

static int fake_check_balloon(const struct machine *m, struct error *err)
{
	return m->has_balloon ? 0 : error_set(err, ENXIO, "No balloon device has been activated");
}

int machine_balloon_info(struct machine *m, struct machine_balloon_info *info, struct error *err)
{
	*info = m->balloon;
	return fake_check_balloon(m, err);
}

int machine_balloon_set(struct machine *m, uint64_t bytes, struct error *err)
{
	if (bytes == 0)
		return error_set(err, EINVAL, "Parameter 'value' expects a size");
	m->balloon.target_bytes = bytes;
	return fake_check_balloon(m, err);
}

int machine_balloon_set_polling(struct machine *m, uint32_t seconds, struct error *err)
{
	m->balloon.device.poll_seconds = seconds;
	return fake_check_balloon(m, err);
}

int machine_balloon_hint(struct machine *m, struct error *err)
{
	m->nr_hints++;
	return fake_check_balloon(m, err);
}

struct chardev *machine_chardev(const struct machine *m, unsigned index)
{
	return m->chardevs[index];
}

void machine_listen(struct machine *m, struct machine_listener *listener)
{
	listener->next = m->listeners;
	m->listeners = listener;
}

void machine_unlisten(struct machine *m, struct machine_listener *listener)
{
	for (struct machine_listener **at = &m->listeners; *at; at = &(*at)->next) {
		if (*at == listener) {
			*at = listener->next;
			return;
		}
	}
}

#endif
