/*
 * How a guest comes to its VMM.
 *
 *   guest_start() ──there is memory for its images──> launch ──> starting, with a VMM
 *        └──not yet──> starting, without one ──there is, or ROOM_SECONDS are over──> launch
 *
 * Kernel and initial RAM disk are in a guest's memory before anybody can take of it. Where memory is short others give that much first
 * (arbiter_loop.h), so that the budget holds at a start, too. Those who wait are started in their order.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/container_of.h"
#include "base/log.h"
#include "host/guest.h"
#include "host/guest_group.h"
#include "host/guest_log.h"

#define ROOM_SECONDS 20. /* then it is started as it is: others cannot give that much */
#define LOOK_SECONDS 0.1

/* Bytes of the files that a guest is started with. */
static uint64_t image_bytes(const struct definition *d)
{
	static const char *const members[] = {"kernel", "initrd"};
	uint64_t bytes = 0;
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		const char *path = json_string_value(json_object_get(d->json, members[i]));
		struct stat st;
		if (path && stat(path, &st) == 0 && st.st_size > 0)
			bytes += (uint64_t)st.st_size;
	}
	return bytes < d->memory ? bytes : d->memory;
}

/* A guest with many scattered pages that are shared needs a mapping for each. */
static void raise_mappings(uint64_t memory)
{
	static const char path[] = "/proc/sys/vm/max_map_count";
	unsigned long long now = 0, wanted = memory / 4096 + 65530;
	FILE *file = fopen(path, "re");
	bool known = file && fscanf(file, "%llu", &now) == 1;
	if (file)
		fclose(file);
	if (wanted > 0x7fffffff)
		wanted = 0x7fffffff;
	if (!known || now >= memory / 4096 || now >= wanted)
		return;
	file = fopen(path, "we");
	bool done = file && fprintf(file, "%llu\n", wanted) > 0;
	if (file && fclose(file))
		done = false;
	if (done)
		log_info("vm.max_map_count raised from %llu to %llu, for pages that are shared one by one", now, wanted);
}

static int launch(struct guest *g, bool paused, struct error *err)
{
	const struct host_options *options = g->guests->options;
	struct definition *d = NULL;
	struct process process;
	int ret = g->guests->admit(g->guests, g->definition, err);
	if (ret == 0)
		ret = definition_parse(g->definition->json, &d, err);
	struct placement_words placement = {.nr = 0};
	if (ret == 0)
		ret = g->guests->place(g->guests, g, d, &placement, err);
	if (ret) {
		definition_free(d);
		return ret;
	}
	raise_mappings(d->memory);
	struct guest_places places = {
		.vmm = options->vmm,
		.dedup_socket = options->socket,
		.swap = options->swap,
		.target = d->maximum < d->memory ? d->maximum : 0,
		.placement = &placement,
		.paused = paused,
	};
	struct memory_cgroup group = {.dir_fd = -1};
	int log_fd = guest_log_open(options->logs, d->name, err);
	ret = log_fd < 0 ? log_fd : guest_group_make(d, &g->guests->shared, &group, err);
	places.kernel_tier = ret == 1;
	places.group = group.dir_fd < 0 ? NULL : &group;
	if (ret >= 0)
		ret = guest_run_start(&g->run, d, &places, log_fd, &process, &g->words, &g->executed_fd, err);
	if (log_fd >= 0)
		close(log_fd);
	memory_cgroup_close(&group);
	placement_words_free(&placement);
	if (ret) {
		definition_free(d);
		return error_prefix(err, "%s", g->definition->name);
	}
	g->process = process;
	g->started = d;
	g->is_shared = places.group && !guest_group_is_single(d);
	g->target = places.target;
	return guest_watch_start(g, err);
}

/* --- waiting --- */

bool guest_waits_for_room(const struct guest *g)
{
	return ev_is_active(&g->room);
}

static bool is_first(const struct guest *g)
{
	for (const struct guest *other = g->guests->first; other; other = other->next)
		if (other != g && guest_waits_for_room(other) && other->wait_number < g->wait_number)
			return false;
	return true;
}

static void on_room(struct ev_loop *loop, ev_timer *w, int events)
{
	struct guest *g = container_of(w, struct guest, room);
	struct error err;
	(void)events;
	bool late = ev_now(loop) >= g->room_until;
	if (!late && !(is_first(g) && g->guests->has_room(g->guests, g)))
		return;
	ev_timer_stop(loop, w);
	if (late)
		log_warning("%s: is started although other guests have not given back the %llu MiB that its images take",
			    g->definition->name, (unsigned long long)(g->image_bytes >> 20));
	if (launch(g, g->start_paused, &err) && !guest_has_vmm(g) && g->state == GUEST_STARTING) {
		guest_enter(g, GUEST_CRASHED, err.text);
		guest_plan_restart(g);
	}
}

void guest_start_init(struct guest *g)
{
	ev_timer_init(&g->room, on_room, LOOK_SECONDS, LOOK_SECONDS);
}

static int begin(struct guest *g, bool paused, struct error *err)
{
	char reason[100];
	g->image_bytes = image_bytes(g->definition);
	g->wait_number = ++g->guests->last_wait_number;
	if (is_first(g) && g->guests->has_room(g->guests, g))
		return launch(g, paused, err);
	int ret = g->guests->admit(g->guests, g->definition, err);
	if (ret)
		return ret;
	g->start_paused = paused;
	g->room_until = ev_now(g->guests->loop) + ROOM_SECONDS;
	ev_timer_set(&g->room, LOOK_SECONDS, LOOK_SECONDS);
	ev_timer_start(g->guests->loop, &g->room);
	snprintf(reason, sizeof(reason), "other guests give back the %llu MiB that its images take",
		 (unsigned long long)(g->image_bytes >> 20));
	guest_enter(g, GUEST_STARTING, reason);
	return 0;
}

int guest_start(struct guest *g, bool paused, struct error *err)
{
	if (guest_has_vmm(g) || guest_waits_for_room(g))
		return error_set(err, EBADFD, "%s: is %s already", g->definition->name, guest_state_name(g->state));
	int ret = begin(g, paused, err);
	if (ret)
		return ret;
	ev_timer_stop(g->guests->loop, &g->restart);
	g->failures = 0;
	return 0;
}
