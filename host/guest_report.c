/* See guest_report.h. */
#include "host/guest_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

#define STALE_SECONDS 5. /* rates of a guest that has stood still so long are none */

enum use_kind { SIZE, RATE };

const struct guest_use_field guest_use_fields[GUEST_USE_NR] = {
#define FIELD(member, name, field, factor, kind, text) \
	{name, (kind) == RATE, offsetof(struct guest_use, member), offsetof(struct memmgr_stats, field), factor, text},
	GUEST_USE_FIELDS(FIELD)
#undef FIELD
};

bool guest_use(const struct guest *g, struct guest_use *use)
{
	const struct guest_stats *s = &g->stats;
	if (!s->now_ns)
		return false;
	use->age = clock_now_s() - (double)s->now_ns / 1e9;
	if (use->age < 0)
		use->age = 0;
	for (size_t i = 0; i < GUEST_USE_NR; i++) {
		const struct guest_use_field *f = &guest_use_fields[i];
		uint64_t value;
		memcpy(&value, (const char *)&s->now + f->stats_offset, sizeof(value));
		double *to = (double *)(void *)((char *)use + f->offset);
		if (f->is_rate)
			*to = use->age > STALE_SECONDS ? 0 : guest_stats_rate(s, f->stats_offset) * f->factor;
		else
			*to = (double)value * f->factor;
	}
	/* Swap on zram is a compressed tier, too. */
	use->compressed += use->kernel_swapped;
	use->compressed_memory += (double)s->now.kernel_swap_bytes;
	return true;
}

/* --- JSON --- */

/* Sets a member, taking the reference. *object becomes NULL when memory is short. */
static void set(json_t **object, const char *name, json_t *value)
{
	if (*object && json_object_set_new(*object, name, value) == 0)
		return;
	if (!*object)
		json_decref(value);
	json_decref(*object);
	*object = NULL;
}

static json_t *size(double bytes)
{
	return json_integer(bytes < 9e18 ? (json_int_t)bytes : INT64_MAX);
}

static json_t *use_object(const struct guest_use *use)
{
	json_t *object = json_object();
	for (size_t i = 0; i < GUEST_USE_NR; i++) {
		double value;
		memcpy(&value, (const char *)use + guest_use_fields[i].offset, sizeof(value));
		set(&object, guest_use_fields[i].name, guest_use_fields[i].is_rate ? json_real(value) : size(value));
	}
	set(&object, "age", json_real(use->age));
	return object;
}

static json_t *node_list(uint64_t nodes)
{
	json_t *list = json_array();
	for (int n = 0; list && n < 64; n++)
		if (nodes >> n & 1 && json_array_append_new(list, json_integer(n)) < 0) {
			json_decref(list);
			list = NULL;
		}
	return list;
}

json_t *guest_report_row(const struct guest *g)
{
	const struct definition *d = guest_in_force(g);
	struct guest_use use;
	json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:f, s:I, s:I, s:s, s:b, s:o, s:I, s:I, s:I}", "name", d->name, "uuid",
				d->uuid, "state", guest_state_name(g->state), "reason", g->reason, "since", g->since, "memory",
				(json_int_t)d->memory, "vcpus", (json_int_t)d->vcpus, "domain", d->domain, "autostart",
				g->definition->autostart, "nodes", node_list(d->nodes), "minimum", (json_int_t)d->minimum,
				"maximum", (json_int_t)d->maximum, "shares", (json_int_t)d->shares);
	if (guest_has_vmm(g)) {
		set(&row, "pid", json_integer(g->process.pid));
		/* Its start is in ticks after boot, 100 a second on x86. */
		struct timespec boot;
		clock_gettime(CLOCK_BOOTTIME, &boot);
		double uptime = (double)boot.tv_sec + (double)boot.tv_nsec / 1e9 - (double)g->process.start / 100;
		set(&row, "uptime", json_real(uptime > 0 ? uptime : 0));
		if (guest_use(g, &use))
			set(&row, "use", use_object(&use));
	}
	return row;
}

json_t *guest_report_details(const struct guest *g, const json_t *settings)
{
	const struct host_options *options = g->guests->options;
	json_t *row = guest_report_row(g);
	char path[500];
	set(&row, "definition", json_deep_copy(g->definition->json));
	set(&row, "changes-at-next-start", g->started ? definition_difference(g->started, g->definition) : json_array());
	set(&row, "restarts", json_integer(g->restarts));
	if (ev_is_active(&g->restart))
		set(&row, "restart-in", json_real(ev_timer_remaining(g->guests->loop, (ev_timer *)&g->restart)));
	json_t *files = json_object();
	snprintf(path, sizeof(path), "%s/%s.json", g->guests->store.path, g->definition->name);
	set(&files, "definition", json_string(path));
	snprintf(path, sizeof(path), "%s/console", g->run.path);
	set(&files, "console", json_string(path));
	snprintf(path, sizeof(path), "%s/qmp", g->run.path);
	set(&files, "qmp", json_string(path));
	snprintf(path, sizeof(path), "%s/%s.log", options->logs, g->definition->name);
	set(&files, "log", json_string(path));
	set(&row, "files", files);
	if (g->words)
		set(&row, "command", json_deep_copy(g->words));
	if (settings)
		set(&row, "memory-settings", json_deep_copy(settings));
	return row;
}

json_t *guest_report_stats(const struct guest *g)
{
	const struct guest_stats *s = &g->stats;
	json_t *counters = json_object(), *rates = json_object();
	struct guest_use use;
	for (size_t i = 0; i < MEMMGR_STATS_NR; i++) {
		const struct memmgr_stats_field *f = &memmgr_stats_fields[i];
		uint64_t value;
		memcpy(&value, (const char *)&s->now + f->offset, sizeof(value));
		set(&counters, f->name, json_integer(value < INT64_MAX ? (json_int_t)value : INT64_MAX));
		if (f->is_count)
			set(&rates, f->name, json_real(guest_stats_rate(s, f->offset)));
	}
	json_t *object = json_pack("{s:s, s:f, s:f, s:o, s:o}", "guest", g->definition->name, "time", (double)s->now_ns / 1e9,
				   "interval", guest_stats_interval(s), "counters", counters, "rates", rates);
	if (guest_use(g, &use))
		set(&object, "use", use_object(&use));
	return object;
}
