/*
 * See arbiter_loop.h.
 *
 *   on_tick: look --> decide --> tell VMMs --> wait as long as the arbiter says --> on_tick
 *
 * A VMM is told its target only when that has moved by some part of what it was told before: each telling wakes it. A guest that may have all it can take
 * gets no target at all, which costs it nothing.
 */
#include "host/arbiter_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/container_of.h"
#include "base/log.h"
#include "dedup/protocol.h"
#include "host/arbiter.h"
#include "host/arbiter_why.h"
#include "host/dedup_server.h"
#include "host/host_memory.h"
#include "host/whole_file.h"

#define PAGE_BYTES 4096
#define SETTINGS_FILE "host"
#define MOST_SETTINGS_BYTES 65536
#define STALE_NS 10000000000ull /* counters that are older say nothing about now */
#define FIRST_TICK_SECONDS 0.2
#define STEP_DIVISOR 64 /* targets move by this part at least */
#define MOST_TEXT 4096
#define LEAST_BUDGET (16ll << 20)

struct arbiter_loop {
	struct ev_loop *loop;
	struct guests *guests;
	const struct dedup_server *dedup;
	struct arbiter *arbiter;
	ev_timer tick;
	json_t *settings; /* what host-tune has set */
	/* The last decision, and of what it was made; by rising vmm_id. */
	struct arbiter_host host;
	struct arbiter_decision decision;
	struct guest **order;
	struct arbiter_guest *inputs;
	struct arbiter_guest_decision *decisions;
	size_t nr, room;
	bool decided;
	double loop_ms, since;
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* --- looking --- */

static int make_room(struct arbiter_loop *l, size_t nr)
{
	if (nr <= l->room)
		return 0;
	size_t room = nr + nr / 2 + 16;
	struct guest **order = calloc(room, sizeof(*order));
	struct arbiter_guest *inputs = calloc(room, sizeof(*inputs));
	struct arbiter_guest_decision *decisions = calloc(room, sizeof(*decisions));
	if (!order || !inputs || !decisions || arbiter_reserve(l->arbiter, room)) {
		free(order);
		free(inputs);
		free(decisions);
		return -ENOMEM;
	}
	free(l->order);
	free(l->inputs);
	free(l->decisions);
	l->order = order;
	l->inputs = inputs;
	l->decisions = decisions;
	l->room = room;
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t left = (*(struct guest *const *)a)->vmm_id, right = (*(struct guest *const *)b)->vmm_id;
	return left < right ? -1 : left > right;
}

static void look_at_guest(const struct guest *g, uint64_t now_ns, struct arbiter_guest *in)
{
	const struct definition *d = guest_in_force(g);
	const struct memmgr_stats *s = &g->stats.now;
	*in = (struct arbiter_guest){
		.id = g->vmm_id,
		.size_pages = d->memory / PAGE_BYTES,
		.min_pages = d->minimum / PAGE_BYTES,
		.max_pages = d->maximum < d->memory ? d->maximum / PAGE_BYTES : 0,
		.shares = (uint32_t)d->shares,
		.pinned = d->pinned,
		.no_swap = !d->swap,
		.no_sharing = d->merge != DEFINITION_MERGE_ON,
		.guest_available_pages = ARBITER_UNKNOWN,
		.guest_swap_ins = ARBITER_UNKNOWN,
	};
	/* A guest that is paused writes none, and uses what it did. */
	if (!g->stats.now_ns || (g->state == GUEST_RUNNING && now_ns > g->stats.now_ns + STALE_NS))
		return;
	in->has_stats = true;
	in->used_pages = s->used_pages;
	in->active_pages = s->active_pages;
	in->shared_pages = s->shared_pages;
	in->divergence_pages = s->shared_pages;
	in->faults = s->faults;
	in->stall_ns = s->stall_ns;
}

static int look(struct arbiter_loop *l)
{
	struct host_memory m;
	struct protocol_status pool;
	size_t nr = 0;
	for (const struct guest *g = l->guests->first; g; g = g->next)
		nr += guest_has_vmm(g);
	int ret = make_room(l, nr);
	if (ret)
		return ret;
	l->nr = 0;
	for (struct guest *g = l->guests->first; g; g = g->next)
		if (guest_has_vmm(g))
			l->order[l->nr++] = g;
	if (l->nr)
		qsort(l->order, l->nr, sizeof(*l->order), compare);
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	for (size_t i = 0; i < l->nr; i++)
		look_at_guest(l->order[i], now, &l->inputs[i]);
	dedup_server_status(l->dedup, &pool);
	l->host = (struct arbiter_host){.now_ns = now,
					.budget_pages = l->guests->budget / PAGE_BYTES,
					.pool_pages = pool.pages_shared,
					.free_pages = ARBITER_UNKNOWN};
	if (host_memory_read(&m) == 0) {
		l->host.free_pages = m.available / PAGE_BYTES;
		l->host.psi_some_permille = m.has_psi ? (unsigned)(m.some_avg10 * 10) : 0;
		l->host.psi_full_permille = m.has_psi ? (unsigned)(m.full_avg10 * 10) : 0;
	}
	return 0;
}

/* --- telling --- */

static bool is_step(uint64_t before, uint64_t now)
{
	uint64_t difference = before > now ? before - now : now - before;
	return difference && (before == 0 || now == 0 || difference > before / STEP_DIVISOR);
}

static void tell(struct guest *g, const struct arbiter_guest *in, const struct arbiter_guest_decision *out)
{
	uint64_t before = g->target, target = out->target_pages >= in->size_pages ? 0 : out->target_pages * PAGE_BYTES;
	struct error err;
	if (in->pinned || !g->qmp.ready || !is_step(before, target) || guest_set_target(g, target, &err))
		return;
	guest_announce(g, "guest-target",
		       json_pack("{s:I, s:I, s:s}", "target", (json_int_t)target, "before",
				 (json_int_t)(before == UINT64_MAX ? 0 : before), "rule", arbiter_why_name(out->why)));
}

static void on_tick(struct ev_loop *loop, ev_timer *w, int events)
{
	struct arbiter_loop *l = container_of(w, struct arbiter_loop, tick);
	enum arbiter_state before = l->decision.state;
	uint64_t start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	unsigned again_ms = 1000;
	(void)events;
	int ret = look(l);
	if (ret == 0)
		ret = arbiter_decide(l->arbiter, &l->host, l->inputs, l->nr, &l->decision, l->decisions);
	if (ret) {
		log_guest_error("memory cannot be divided: %s", strerror(-ret));
		l->nr = 0;
		l->decided = false;
	} else {
		l->decided = true;
		again_ms = l->decision.again_ms;
		if (l->decision.state != before) {
			json_t *data = json_pack("{s:s, s:s}", "state", arbiter_state_name(l->decision.state), "before",
						 arbiter_state_name(before));
			log_info("memory of the host: %s, was %s", arbiter_state_name(l->decision.state),
				 arbiter_state_name(before));
			l->since = ev_time();
			if (data)
				l->guests->listener->event(l->guests->listener, "host-state", data);
			json_decref(data);
		}
		for (size_t i = 0; i < l->nr; i++)
			tell(l->order[i], &l->inputs[i], &l->decisions[i]);
	}
	l->loop_ms = (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - start) / 1e6;
	ev_timer_stop(loop, w);
	ev_timer_set(w, again_ms > 50 ? again_ms / 1000. : 0.05, 0.);
	ev_timer_start(loop, w);
}

/* --- settings --- */

/* Returns -EINVAL with a sentence, and changes nothing, when one of them is wrong. */
static int apply(struct arbiter_loop *l, const json_t *settings, struct error *err)
{
	const char *key;
	json_t *value;
	uint64_t budget = l->guests->options->budget;
	struct arbiter_settings s;
	arbiter_settings_init(&s);
	json_object_foreach((json_t *)settings, key, value)
	{
		json_int_t n = json_integer_value(value);
		if (!strcmp(key, "budget") && json_is_integer(value) && n >= LEAST_BUDGET && n % PAGE_BYTES == 0)
			budget = (uint64_t)n;
		else if (!strcmp(key, "idle-tax") && json_is_integer(value) && n >= 0 && n <= 99)
			s.idle_tax_percent = (unsigned)n;
		else if (!strcmp(key, "budget"))
			return error_set(err, EINVAL, "budget: must be a number of bytes, 16 MiB at least, a multiple of 4096");
		else if (!strcmp(key, "idle-tax"))
			return error_set(err, EINVAL, "idle-tax: must be 0 to 99 percent");
		else
			return error_set(err, EINVAL, "%.60s: the host has no such setting; there are budget and idle-tax", key);
	}
	int ret = arbiter_configure(l->arbiter, &s, err);
	if (ret == 0)
		l->guests->budget = budget;
	return ret;
}

int arbiter_loop_tune(struct arbiter_loop *l, const json_t *set, struct error *err)
{
	json_t *settings = json_copy(l->settings), *value;
	const char *key;
	int ret = settings ? 0 : -ENOMEM;
	json_object_foreach((json_t *)set, key, value)
	{
		if (ret == 0 && json_is_null(value))
			json_object_del(settings, key);
		else if (ret == 0)
			ret = json_object_set(settings, key, value) < 0 ? -ENOMEM : 0;
	}
	char *text = ret == 0 ? json_dumps(settings, JSON_INDENT(2)) : NULL;
	if (!text)
		ret = error_set(err, ENOMEM, "out of memory");
	if (ret == 0)
		ret = apply(l, settings, err);
	if (ret == 0 && text) {
		ret = whole_file_write(l->guests->store.dir_fd, SETTINGS_FILE, text, strlen(text));
		if (ret) {
			error_set(err, -ret, "%s/" SETTINGS_FILE ": cannot be written: %s", l->guests->store.path, strerror(-ret));
			apply(l, l->settings, NULL);
		}
	}
	free(text);
	if (ret) {
		json_decref(settings);
		return ret;
	}
	json_decref(l->settings);
	l->settings = settings;
	return 0;
}

/* A file that is damaged is said, and what the command line says is taken: no guest waits for it. */
static void load(struct arbiter_loop *l)
{
	char *text;
	size_t len;
	struct error err = {.code = 0};
	int ret = whole_file_read(l->guests->store.dir_fd, SETTINGS_FILE, MOST_SETTINGS_BYTES, &text, &len);
	if (ret == -ENOENT)
		return;
	json_t *settings = ret ? NULL : json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (ret == 0)
		free(text);
	if (json_is_object(settings) && apply(l, settings, &err) == 0) {
		json_decref(l->settings);
		l->settings = settings;
		return;
	}
	json_decref(settings);
	ret = whole_file_rename(l->guests->store.dir_fd, SETTINGS_FILE, SETTINGS_FILE ".damaged");
	log_error("%s/" SETTINGS_FILE ": damaged (%s)%s; the command line's settings are taken", l->guests->store.path,
		  *err.text ? err.text : "no JSON object", ret ? "" : ", set aside as " SETTINGS_FILE ".damaged");
}

/* --- reports --- */

static int find(const struct arbiter_loop *l, const struct guest *g)
{
	for (size_t i = 0; l->decided && guest_has_vmm(g) && i < l->nr; i++)
		if (l->inputs[i].id == g->vmm_id)
			return (int)i;
	return -1;
}

static json_t *size(uint64_t pages)
{
	return json_integer(pages < INT64_MAX / PAGE_BYTES ? (json_int_t)(pages * PAGE_BYTES) : INT64_MAX);
}

void arbiter_loop_report(const struct arbiter_loop *l, json_t *line)
{
	if (!line)
		return;
	/* What there is no memory for is left out. */
	json_object_set_new(line, "state", json_string(arbiter_state_name(l->decision.state)));
	json_object_set_new(line, "state-since", json_real(l->since));
	json_object_set_new(line, "reserve", size(l->decision.reserve_pages));
	json_object_set_new(line, "divergence", size(l->decision.divergence_pages));
	json_object_set_new(line, "wanted", size(l->decision.wanted_pages));
	json_object_set_new(line, "idle-tax", json_integer(arbiter_get_settings(l->arbiter)->idle_tax_percent));
	json_object_set_new(line, "loop-ms", json_real(l->loop_ms));
}

static json_t *sentences(char *text)
{
	json_t *list = json_array();
	char *rest = NULL;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		json_array_append_new(list, json_string(line));
	return list;
}

int arbiter_loop_explain(const struct arbiter_loop *l, const struct guest *g, json_t **answer, struct error *err)
{
	char text[MOST_TEXT];
	int i = find(l, g);
	if (i < 0)
		return error_set(err, EBADFD, "%s: has no target; it is %s", g->definition->name,
				 guest_has_vmm(g) ? "not decided about yet" : guest_state_name(g->state));
	const struct arbiter_guest *in = &l->inputs[i];
	const struct arbiter_guest_decision *out = &l->decisions[i];
	arbiter_explain_guest(arbiter_get_settings(l->arbiter), &l->decision, in, out, text, sizeof(text));
	json_t *list = sentences(text);
	arbiter_explain_host(arbiter_get_settings(l->arbiter), &l->host, &l->decision, text, sizeof(text));
	json_t *host = sentences(text);
	json_t *inputs =
		json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:I, s:f}", "memory",
			  size(in->size_pages), "minimum", size(in->min_pages), "maximum",
			  size(in->max_pages ? in->max_pages : in->size_pages), "granted", size(in->used_pages), "active",
			  size(in->active_pages), "shared", size(in->shared_pages), "divergence", size(in->divergence_pages),
			  "shares", (int)in->shares, "goal", size(out->goal_pages), "fair", size(out->fair_pages), "need",
			  size(out->need_pages), "supply", size(l->decision.supply_pages), "budget", size(l->host.budget_pages),
			  "faults", (json_int_t)out->faults_per_s, "stall", out->stall_permille / 1000.);
	*answer = json_pack("{s:s, s:o, s:s, s:o, s:o, s:o}", "guest", g->definition->name, "target",
			    size(out->target_pages >= in->size_pages ? 0 : out->target_pages), "rule", arbiter_why_name(out->why),
			    "sentences", list, "host", host, "inputs", inputs);
	return *answer ? 0 : error_set(err, ENOMEM, "out of memory");
}

/* --- life --- */

int arbiter_loop_create(struct ev_loop *loop, struct guests *guests, const struct dedup_server *dedup, struct arbiter_loop **out,
			struct error *err)
{
	struct arbiter_loop *l = calloc(1, sizeof(*l));
	if (!l)
		return error_set(err, ENOMEM, "out of memory");
	*l = (struct arbiter_loop){.loop = loop, .guests = guests, .dedup = dedup, .settings = json_object(), .since = ev_time()};
	ev_timer_init(&l->tick, on_tick, FIRST_TICK_SECONDS, 0.);
	int ret = l->settings ? arbiter_create(NULL, &l->arbiter, err) : error_set(err, ENOMEM, "out of memory");
	if (ret) {
		arbiter_loop_destroy(l);
		return ret;
	}
	load(l);
	ev_timer_start(loop, &l->tick);
	*out = l;
	return 0;
}

void arbiter_loop_destroy(struct arbiter_loop *l)
{
	if (!l)
		return;
	ev_timer_stop(l->loop, &l->tick);
	if (l->arbiter)
		arbiter_destroy(l->arbiter);
	json_decref(l->settings);
	free(l->order);
	free(l->inputs);
	free(l->decisions);
	free(l);
}
