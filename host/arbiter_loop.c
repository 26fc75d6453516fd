/* See arbiter_loop.h. */
#include "host/arbiter_loop.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container_of.h"
#include "base/log.h"
#include "dedup/protocol.h"
#include "host/admission.h"
#include "host/arbiter_common.h"
#include "host/arbiter_why.h"
#include "host/dedup_server.h"
#include "host/guest_group.h"
#include "host/guest_words.h"
#include "host/host_memory.h"

enum {
	PAGE_BYTES = 4096,
	CURVE_S = 15,   /* between questions for a miss-ratio curve, which costs the VMM a look at its histograms */
	BALLOON_S = 5,  /* and for what the guest's balloon driver says */
	CALM_TIMES = 4, /* so many times as long while memory is far from short: nothing would be done with the answers */
	YOUNG_S = 60,   /* but not of a guest that has just begun: its drivers come */
	STALE_S = 5,    /* counters that are older are not of now */
	SMALL_STEP_BYTES = 1 << 20, /* a target that moves by less is left as it is */
	TEXT_BYTES = 8192,
	CALM_SAMPLE_RATE = 10, /* pages/s while memory is not short: plans need curves then, too */
	WAYS_TOLD = 1,         /* of told_ways: something was told; what */
	WAYS_SWAP = 2,
	WAYS_SAMPLE = 4,
	WAYS_HOLD = 8,
};

/* --- who takes part --- */

static struct arbiter_seat *find(const struct guest *guest)
{
	return guest->seat && guest->seat->id == guest->vmm_id ? guest->seat : NULL;
}

static struct arbiter_seat *add_seat(struct arbiter_loop *a, struct guest *guest)
{
	struct arbiter_seat *s = calloc(1, sizeof(*s)), **at = &a->seats;
	if (!s)
		return NULL;
	*s = (struct arbiter_seat){.guest = guest,
				   .id = guest->vmm_id,
				   .guest_available_pages = ARBITER_UNKNOWN,
				   .guest_swap_ins = ARBITER_UNKNOWN,
				   .told_cpu = UINT_MAX,
				   .since = ev_time()};
	while (*at && (*at)->id < s->id)
		at = &(*at)->next;
	s->next = *at;
	*at = s;
	guest->seat = s;
	a->nr_seats++;
	return s;
}

/* VMMs that have come get a seat; seats of those that have gone are taken away, once nobody answers to them any more. */
static void find_guests(struct arbiter_loop *a)
{
	for (struct arbiter_seat *s = a->seats; s; s = s->next)
		s->seen = false;
	for (struct guest *g = a->guests->first; g; g = g->next) {
		bool has_vmm = guest_has_vmm(g) && g->started;
		/* No guest keeps a seat that is not seen: those are freed below. */
		g->seat = has_vmm ? find(g) : NULL;
		struct arbiter_seat *s = has_vmm && !g->seat ? add_seat(a, g) : g->seat;
		if (s)
			s->seen = true;
	}
	for (struct arbiter_seat **at = &a->seats; *at;) {
		struct arbiter_seat *s = *at;
		if (s->seen || s->asking_curve || s->asking_balloon) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		a->nr_seats--;
		free(s);
	}
}

static int make_room(struct arbiter_loop *a)
{
	size_t room = a->room ? a->room * 2 : 64;
	if (a->nr_seats <= a->room)
		return 0;
	while (room < a->nr_seats)
		room *= 2;
	struct arbiter_guest *inputs = realloc(a->inputs, room * sizeof(*inputs));
	if (inputs)
		a->inputs = inputs;
	struct arbiter_guest_decision *decisions = realloc(a->decisions, room * sizeof(*decisions));
	if (decisions)
		a->decisions = decisions;
	if (!inputs || !decisions || arbiter_reserve(a->arbiter, room) != 0)
		return -ENOMEM;
	a->room = room;
	return 0;
}

/* --- what they say --- */

static void on_curve(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct arbiter_seat *s = container_of(question, struct arbiter_seat, curve_question);
	const json_t *point;
	size_t i;
	(void)err;
	s->asking_curve = false;
	if (!json_is_array(result))
		return;
	s->nr_points = 0;
	json_array_foreach(result, i, point)
	{
		json_int_t bytes = json_integer_value(json_object_get(point, "bytes"));
		double faults = json_number_value(json_object_get(point, "faults-per-second"));
		if (s->nr_points < ARBITER_CURVE_POINTS && bytes >= 0 && faults >= 0)
			s->curve[s->nr_points++] =
				(struct arbiter_point){.pages = (uint64_t)bytes / PAGE_BYTES, .faults_per_s = faults};
	}
}

static uint64_t stat_of(const json_t *stats, const char *name, uint64_t unit)
{
	const json_t *value = json_object_get(stats, name);
	return json_is_integer(value) && json_integer_value(value) >= 0 ? (uint64_t)json_integer_value(value) / unit
									: ARBITER_UNKNOWN;
}

static void on_balloon(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct arbiter_seat *s = container_of(question, struct arbiter_seat, balloon_question);
	(void)err;
	s->asking_balloon = false;
	s->has_balloon = json_is_true(json_object_get(result, "driver"));
	const json_t *stats = json_object_get(result, "stats");
	s->guest_available_pages = stat_of(stats, "available-memory", PAGE_BYTES);
	s->guest_swap_ins = stat_of(stats, "swap-in", PAGE_BYTES);
}

/* Those it is time for. A VMM that does not answer is asked again when its time comes. */
static void ask(const struct arbiter_loop *a, struct arbiter_seat *s)
{
	double now = clock_now_s();
	/* Samples are wanted as soon as what is wanted comes near to what there is. */
	bool calm = a->decision.state == ARBITER_HIGH && !s->decision.sample && now >= s->guest->started_at + YOUNG_S;
	double times = calm ? CALM_TIMES : 1;
	if (s->guest->state != GUEST_RUNNING)
		return;
	if (!s->asking_curve && now >= s->curve_at + CURVE_S * times) {
		s->curve_at = now;
		s->curve_question.answered = on_curve;
		s->asking_curve = guest_ask(s->guest, "query-memory-curve", NULL, &s->curve_question, NULL) == 0;
	}
	if (s->guest->started->balloon && !s->asking_balloon && now >= s->balloon_at + BALLOON_S * times) {
		s->balloon_at = now;
		s->balloon_question.answered = on_balloon;
		s->asking_balloon = guest_ask(s->guest, "query-balloon-stats", NULL, &s->balloon_question, NULL) == 0;
	}
}

/* Whether its pages are taken together with those of others (shared_group.h). */
static bool is_in_common(const struct arbiter_seat *s)
{
	return s->guest->is_shared && !guest_group_is_single(s->guest->started);
}

static void describe(const struct arbiter_seat *s, uint64_t now_ns, struct arbiter_guest *x)
{
	const struct definition *d = s->guest->started;
	struct memmgr_stats now;
	uint64_t written_ns;
	*x = (struct arbiter_guest){
		.id = s->id,
		.size_pages = d->memory / PAGE_BYTES,
		.min_pages = d->minimum / PAGE_BYTES,
		.max_pages = d->maximum / PAGE_BYTES,
		.shares = d->shares > ARBITER_MOST_SHARES ? ARBITER_MOST_SHARES : (uint32_t)d->shares,
		.pinned = d->pinned,
		.no_swap = !d->swap,
		.no_sharing = d->merge != DEFINITION_MERGE_ON,
		.guest_available_pages = s->guest_available_pages,
		.guest_swap_ins = s->guest_swap_ins,
		.curve = s->nr_points ? s->curve : NULL,
		.nr_points = s->nr_points,
	};
	if (!guest_stats_look(&s->guest->stats, &now, &written_ns))
		return;
	/* Not before its counters say how much is in it: a guest that was found running may have given up a lot. */
	x->has_balloon = s->has_balloon;
	/* A guest that is paused writes none, and uses what it did. */
	x->has_stats = s->guest->state != GUEST_RUNNING || now_ns < written_ns + STALE_S * 1000000000ull;
	x->in_common = is_in_common(s);
	x->used_pages = now.used_pages;
	x->active_pages = now.active_pages;
	x->stored_pages = now.compressed_pages + now.swap_pages + now.kernel_swap_pages;
	x->stored_taken_pages = (now.compressed_bytes + now.kernel_swap_bytes) / PAGE_BYTES;
	x->shared_pages = now.shared_pages;
	x->divergence_pages = now.shared_pages; /* at worst: each was the last that had its page in common */
	x->faults = now.faults;
	x->stall_ns = now.stall_ns;
	x->balloon_pages = now.balloon_pages;
}

/* What the guest takes or, while it does not say that, what it takes at least. */
static uint64_t taken_pages(const struct guest *g)
{
	struct memmgr_stats now;
	uint64_t written_ns;
	return guest_stats_look(&g->stats, &now, &written_ns) ? now.used_pages : g->image_bytes / PAGE_BYTES;
}

static bool is_starting(const struct guest *g)
{
	return guest_waits_for_room(g) || (guest_has_vmm(g) && !g->stats.page);
}

static uint64_t starting_pages(const struct guests *guests)
{
	uint64_t pages = 0;
	for (const struct guest *g = guests->first; g; g = g->next)
		pages += is_starting(g) ? g->image_bytes / PAGE_BYTES : 0;
	return pages;
}

static void describe_host(const struct arbiter_loop *a, struct arbiter_host *host)
{
	struct protocol_status status = {.pages_shared = 0};
	struct host_memory memory;
	*host = (struct arbiter_host){
		.now_ns = clock_now_ns(), .budget_pages = a->guests->budget / PAGE_BYTES, .free_pages = ARBITER_UNKNOWN};
	if (a->dedup)
		dedup_server_status(a->dedup, &status);
	host->pool_pages = status.pages_shared + status.slots_unclaimed + status.slots_stale;
	host->starting_pages = starting_pages(a->guests);
	if (host_memory_read(&memory) != 0)
		return;
	host->free_pages = memory.available / PAGE_BYTES;
	if (memory.has_psi) {
		host->psi_some_permille = (unsigned)(memory.some_avg10 * 10);
		host->psi_full_permille = (unsigned)(memory.full_avg10 * 10);
	}
}

/* --- what is done --- */

static void set_target(struct arbiter_seat *s, uint64_t bytes)
{
	struct guest *g = s->guest;
	uint64_t before = g->target, step = before > bytes ? before - bytes : bytes - before;
	struct error err;
	/* All that it can have is no limit: the memory manager then leaves everything alone. */
	if (bytes >= g->started->memory || g->started->pinned)
		bytes = 0;
	/* Its maximum is a promise to the byte. */
	if (bytes == before || (bytes && before && step < SMALL_STEP_BYTES && bytes != g->started->maximum))
		return;
	if (guest_set_target(g, bytes, &err) != 0) {
		log_debug("%s", err.text); /* it is tried again at the next decision */
		return;
	}
	s->since = ev_time();
	guest_announce(g, "guest-target",
		       json_pack("{s:I, s:I, s:s}", "target", (json_int_t)bytes, "before",
				 (json_int_t)(before == UINT64_MAX ? 0 : before), "rule", arbiter_why_name(s->decision.why)));
}

static void set_balloon(struct arbiter_seat *s)
{
	struct guest *g = s->guest;
	uint64_t taken = s->decision.balloon_pages * PAGE_BYTES,
		 bytes = g->started->memory > taken ? g->started->memory - taken : 0;
	uint64_t step = bytes > s->told_balloon ? bytes - s->told_balloon : s->told_balloon - bytes;
	/* Nothing is in it, and nothing is to be; unless a daemon before this one has asked for it. */
	bool idle = s->told_balloon == 0 && taken == 0 && s->input.balloon_pages == 0;
	if (!s->input.has_balloon || bytes == 0 || idle || step == 0 || (step < SMALL_STEP_BYTES && taken))
		return;
	json_t *arguments = json_pack("{s:I}", "value", (json_int_t)bytes);
	if (arguments && guest_order(g, "balloon", arguments, NULL) == 0)
		s->told_balloon = bytes;
	json_decref(arguments);
}

static void set_scanner(struct arbiter_seat *s, const struct arbiter_scan *scan)
{
	const struct definition *d = s->guest->started;
	unsigned cpu = s->decision.dedup_cpu_percent;
	if (d->merge != DEFINITION_MERGE_ON)
		return;
	if (cpu > d->merge_cpu)
		cpu = (unsigned)d->merge_cpu;
	if (cpu == s->told_cpu && scan->pages == s->told_scan.pages && scan->sleep_ms == s->told_scan.sleep_ms)
		return;
	json_t *arguments = json_pack("{s:I, s:I, s:I}", "cpu", (json_int_t)cpu, "batch", (json_int_t)scan->pages, "pass",
				      (json_int_t)scan->sleep_ms);
	if (arguments && guest_order(s->guest, "set-dedup", arguments, NULL) == 0) {
		s->told_cpu = cpu;
		s->told_scan = *scan;
	}
	json_decref(arguments);
}

static bool is_kept_by_kernel(const struct arbiter_seat *s)
{
	struct memmgr_stats now;
	uint64_t written_ns;
	return guest_stats_look(&s->guest->stats, &now, &written_ns) && now.kernel_swap_pages;
}

/* How memory is taken, and how closely it is looked at. A guest that its own maximum binds may swap at any time: nothing else would keep it there. */
static void set_ways(struct arbiter_seat *s)
{
	const struct definition *d = s->guest->started;
	bool swap = s->decision.swap_allowed || (d->maximum < d->memory && s->decision.why == ARBITER_MAXIMUM);
	/* Where the kernel chooses the pages, samples are all that takes hot ones away: few will do. */
	bool sample = s->decision.sample && !is_kept_by_kernel(s);
	unsigned ways = WAYS_TOLD | (swap ? WAYS_SWAP : 0) | (sample ? WAYS_SAMPLE : 0) | (s->decision.hold ? WAYS_HOLD : 0);
	if (ways == s->told_ways || d->pinned)
		return;
	json_t *arguments =
		json_pack("{s:b, s:i}", "swap-out", swap, "sample-rate", sample ? GUEST_WORDS_SAMPLE_RATE : CALM_SAMPLE_RATE);
	/* What a guest is held back from: being brought pages that it has not asked for. A daemon before may have left it so. */
	if (arguments && (!s->told_ways || (ways | s->told_ways) & WAYS_HOLD))
		json_object_set_new(arguments, "prefetch", json_boolean(!s->decision.hold));
	if (arguments && guest_order(s->guest, "set-memory", arguments, NULL) == 0)
		s->told_ways = ways;
	json_decref(arguments);
}

static void carry_out(const struct arbiter_loop *a, struct arbiter_seat *s)
{
	if (s->guest->state != GUEST_RUNNING)
		return;
	if (s->input.has_stats)
		set_target(s, is_in_common(s) ? 0 : s->decision.target_pages * PAGE_BYTES);
	set_balloon(s);
	set_scanner(s, &a->scan);
	set_ways(s);
}

static void announce_state(struct arbiter_loop *a, enum arbiter_state before)
{
	if (a->decision.state == before)
		return;
	a->state_since = ev_time();
	log_info("host: memory is %s, was %s%s", arbiter_state_name(a->decision.state), arbiter_state_name(before),
		 a->decision.by_psi ? ", as tasks stall for it" : "");
	guests_announce(a->guests, "host-state",
			json_pack("{s:s, s:s}", "state", arbiter_state_name(a->decision.state), "before",
				  arbiter_state_name(before)));
}

static int decide(struct arbiter_loop *a)
{
	enum arbiter_state before = a->decision.state;
	size_t i = 0;
	find_guests(a);
	int ret = make_room(a);
	if (ret)
		return ret;
	describe_host(a, &a->host);
	for (struct arbiter_seat *s = a->seats; s; s = s->next)
		if (s->seen)
			describe(s, a->host.now_ns, &a->inputs[i++]);
	ret = arbiter_decide(a->arbiter, &a->host, a->inputs, i, &a->decision, a->decisions);
	if (ret)
		return ret;
	i = 0;
	for (struct arbiter_seat *s = a->seats; s; s = s->next) {
		if (!s->seen)
			continue;
		s->input = a->inputs[i];
		s->decision = a->decisions[i++];
		carry_out(a, s);
		ask(a, s);
	}
	uint64_t excess = arbiter_common_excess(a->inputs, a->decisions, i);
	if (excess && a->guests->shared)
		shared_group_ask(a->guests->shared, excess * PAGE_BYTES);
	announce_state(a, a->decided ? before : a->decision.state);
	a->decided = true;
	return 0;
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events)
{
	struct arbiter_loop *a = container_of(w, struct arbiter_loop, timer);
	uint64_t cpu = clock_thread_cpu_ns();
	(void)events;
	int ret = decide(a);
	if (ret)
		log_warning("memory was not divided anew: %s", strerror(-ret));
	a->cpu_ms = (double)(clock_thread_cpu_ns() - cpu) / 1e6;
	double again = ret || !a->decision.again_ms ? 1 : a->decision.again_ms / 1e3;
	ev_timer_set(w, again, 0);
	ev_timer_start(loop, w);
}

void arbiter_loop_hurry(struct arbiter_loop *a)
{
	ev_timer_stop(a->loop, &a->timer);
	ev_timer_set(&a->timer, 0, 0);
	ev_timer_start(a->loop, &a->timer);
}

/* --- life --- */

int arbiter_loop_create(struct ev_loop *loop, struct guests *guests, const struct dedup_server *dedup, struct arbiter_loop *a,
			struct error *err)
{
	*a = (struct arbiter_loop){.loop = loop, .guests = guests, .dedup = dedup, .state_since = ev_time()};
	a->scan.sleep_ms = ARBITER_SCAN_SLEEP_MS;
	int ret = arbiter_create(NULL, &a->arbiter, err);
	if (ret)
		return ret;
	ev_timer_init(&a->timer, on_timer, 0, 0);
	ev_timer_start(loop, &a->timer);
	return 0;
}

/* The guests are gone by then, and with them all questions. */
void arbiter_loop_destroy(struct arbiter_loop *a)
{
	if (!a->arbiter)
		return;
	ev_timer_stop(a->loop, &a->timer);
	while (a->seats) {
		struct arbiter_seat *next = a->seats->next;
		free(a->seats);
		a->seats = next;
	}
	arbiter_destroy(a->arbiter);
	free(a->inputs);
	free(a->decisions);
	*a = (struct arbiter_loop){.loop = NULL};
}

int arbiter_loop_set(struct arbiter_loop *a, unsigned idle_tax_percent, unsigned reserve_percent, struct error *err)
{
	struct arbiter_settings settings = *arbiter_get_settings(a->arbiter);
	settings.idle_tax_percent = idle_tax_percent;
	settings.reserve_percent = reserve_percent;
	int ret = arbiter_configure(a->arbiter, &settings, err);
	if (ret == 0)
		arbiter_loop_hurry(a);
	return ret;
}

void arbiter_loop_set_scan(struct arbiter_loop *a, const struct arbiter_scan *scan)
{
	a->scan = *scan;
	arbiter_loop_hurry(a);
}

const struct arbiter_seat *arbiter_loop_seat(const struct arbiter_loop *a, const struct guest *guest)
{
	struct arbiter_seat *s = a->decided ? find(guest) : NULL;
	return s && s->input.id ? s : NULL;
}

/* --- what people ask --- */

/* Lines as an array of strings. */
static void add_lines(json_t *array, char *text)
{
	char *rest = NULL;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		json_array_append_new(array, json_string(line));
}

static json_t *bytes_of(uint64_t pages)
{
	return json_integer(pages > INT64_MAX / PAGE_BYTES ? INT64_MAX : (json_int_t)(pages * PAGE_BYTES));
}

json_t *arbiter_loop_explain(const struct arbiter_loop *a, const struct guest *guest)
{
	const struct arbiter_seat *s = arbiter_loop_seat(a, guest);
	char *text = s ? malloc(TEXT_BYTES) : NULL;
	if (!text)
		return NULL;
	const struct arbiter_settings *settings = arbiter_get_settings(a->arbiter);
	const struct arbiter_guest_decision *d = &s->decision;
	json_t *sentences = json_array(), *host = json_array();
	arbiter_explain_guest(settings, &a->decision, &s->input, d, text, TEXT_BYTES);
	add_lines(sentences, text);
	arbiter_explain_host(settings, &a->host, &a->decision, text, TEXT_BYTES);
	add_lines(host, text);
	free(text);
	json_t *inputs =
		json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:f}", "memory",
			  bytes_of(s->input.size_pages), "minimum", bytes_of(s->input.min_pages), "maximum",
			  bytes_of(s->input.max_pages), "granted", bytes_of(s->input.used_pages), "active", bytes_of(d->hot_pages),
			  "shared", bytes_of(s->input.shared_pages), "divergence", bytes_of(s->input.divergence_pages), "need",
			  bytes_of(d->need_pages), "fair", bytes_of(d->fair_pages), "goal", bytes_of(d->goal_pages), "balloon",
			  bytes_of(s->input.balloon_pages), "supply", bytes_of(a->decision.supply_pages), "budget",
			  bytes_of(a->host.budget_pages), "shares", (double)s->input.shares, "faults", (double)d->faults_per_s,
			  "stall", d->stall_permille / 1000.0);
	return json_pack("{s:s, s:o, s:f, s:s, s:o, s:o, s:o}", "guest", guest->definition->name, "target",
			 json_integer(guest->target == UINT64_MAX ? 0 : (json_int_t)guest->target), "since", s->since, "rule",
			 arbiter_why_name(d->why), "sentences", sentences, "host", host, "inputs", inputs);
}

void arbiter_loop_report(const struct arbiter_loop *a, json_t *line)
{
	if (!line || !a->decided)
		return;
	/* What there is no memory for is left out. */
	json_object_set_new(line, "state", json_string(arbiter_state_name(a->decision.state)));
	json_object_set_new(line, "state-since", json_real(a->state_since));
	json_object_set_new(line, "reserve", bytes_of(a->decision.reserve_pages));
	json_object_set_new(line, "divergence", bytes_of(a->decision.divergence_pages));
	json_object_set_new(line, "wanted", bytes_of(a->decision.wanted_pages));
	json_object_set_new(line, "idle-tax", json_integer(arbiter_get_settings(a->arbiter)->idle_tax_percent));
	json_object_set_new(line, "merge-pages", json_integer(a->scan.pages));
	json_object_set_new(line, "merge-sleep", json_integer(a->scan.sleep_ms));
	json_object_set_new(line, "loop-ms", json_real(a->cpu_ms));
}

bool arbiter_loop_has_room(struct arbiter_loop *a, const struct guest *guest)
{
	struct arbiter_host host;
	uint64_t needed = guest->image_bytes / PAGE_BYTES;
	describe_host(a, &host);
	uint64_t used = host.pool_pages;
	for (const struct guest *g = a->guests->first; g; g = g->next)
		used += guest_has_vmm(g) ? taken_pages(g) : 0;
	if (needed <= host.free_pages && used + needed <= host.budget_pages)
		return true;
	/* The next decision takes it from others. */
	if (a->host.starting_pages < needed)
		arbiter_loop_hurry(a);
	return false;
}

int arbiter_loop_admit(const struct arbiter_loop *a, const struct definition *d, struct error *err)
{
	struct admission admission;
	struct arbiter_host host;
	struct error why = {0};
	struct arbiter_guest guest = {
		.id = UINT64_MAX,
		.size_pages = d->memory / PAGE_BYTES,
		.min_pages = d->minimum / PAGE_BYTES,
		.max_pages = d->maximum / PAGE_BYTES,
		.shares = d->shares > ARBITER_MOST_SHARES ? ARBITER_MOST_SHARES : (uint32_t)d->shares,
		.pinned = d->pinned,
	};
	size_t nr = 0;
	struct arbiter_guest *guests = calloc(a->nr_seats + 1, sizeof(*guests));
	if (!guests)
		return error_set(err, ENOMEM, "out of memory");
	describe_host(a, &host);
	/* Also those that have come since the last decision, of which there are no seats yet. */
	for (const struct guest *g = a->guests->first; g && nr <= a->nr_seats; g = g->next) {
		const struct arbiter_seat *s = g->started ? find(g) : NULL;
		if (s)
			describe(s, host.now_ns, &guests[nr++]);
	}
	int ret = admission_check(arbiter_get_settings(a->arbiter), &host, a->decided ? a->decision.state : ARBITER_HIGH, guests,
				  nr, &guest, &admission, &why);
	free(guests);
	return ret ? error_set(err, EDQUOT, "%s: %.300s", d->name, why.text) : 0;
}
