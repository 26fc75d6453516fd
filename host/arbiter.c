/*
 * See arbiter.h. One decision goes through these steps, each a file:
 *
 *   arbiter_demand  what each guest needs and has in use             counters -> need, hot
 *   arbiter_shares  what each is to have in the end                  need, shares, supply -> goal
 *   arbiter_state   how short memory is                              free memory, PSI, who waits -> state
 *   arbiter_grant   what each may take now                           goal, state, what is free -> target
 *   arbiter_means   how it gives what it has too much                goal, state -> balloon, swap
 *
 * Invariants:
 *  1. No target is below the guest's minimum, or above its maximum where that is not below what it cannot do without.
 *  2. Goals together are at most the supply, unless minimums and pinned guests alone are more, or guests that are pressed lack memory: then as
 *     much more as half the reserve leaves.
 *  3. The outcome depends on guests' numbers and ids, not on their number of before: guests are matched by id.
 */
#include "host/arbiter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/arbiter_demand.h"
#include "host/arbiter_grant.h"
#include "host/arbiter_means.h"
#include "host/arbiter_shares.h"
#include "host/arbiter_state.h"

enum {
	STEP_MOST_MS = 4000, /* a longer time is taken as that: a suspended host, a daemon that was away */
	SAMPLE_MS = 60000,   /* samples are taken so long after memory was last short */
	PSI_TIGHT = 50,
	SHORT_MS = 1000, /* so long, and pages may go to disk, */
	SHORT_MOST_MS = 8000,
};
#define LARGER_S 4.0 /* the host is believed to have more memory again */
#define NOT_LOW 0.3  /* of the reserve: with so much free the state is not low, nor stays so (arbiter_state.c) */

struct arbiter {
	struct arbiter_settings settings;
	size_t capacity, nr; /* of arrays; guests of the last decision */
	struct arbiter_past *past, *next;
	struct arbiter_work *work;
	double *reach;
	bool started;
	uint64_t last_ns;
	double mean_loss, host_pages; /* what the host has for guests */
	struct arbiter_state_memory state;
	uint64_t waiting_ms, sample_ms;
	uint64_t short_ms; /* so long guests have needed more than there is for them; runs down when none does */
};

void arbiter_settings_init(struct arbiter_settings *s)
{
	*s = (struct arbiter_settings){
		.idle_tax_percent = 75,
		.divergence_percent = 25,
		.balloon_most_percent = 65,
		.bend_percent = 2,
		.dedup_cpu_percent = {10, 20, 100, 100},
		.balance_ms = 1000,
		.hurry_ms = 250,
	};
}

static int check_range(const char *what, unsigned value, unsigned least, unsigned most, struct error *err)
{
	if (value >= least && value <= most)
		return 0;
	return error_set(err, EINVAL, "%s is %u: it must be %u to %u", what, value, least, most);
}

int arbiter_settings_check(const struct arbiter_settings *s, struct error *err)
{
	int rc = check_range("idle-tax", s->idle_tax_percent, 0, 99, err);
	if (rc == 0)
		rc = check_range("reserve", s->reserve_percent, 0, 50, err);
	if (rc == 0)
		rc = check_range("divergence-reserve", s->divergence_percent, 0, 100, err);
	if (rc == 0)
		rc = check_range("balloon-most", s->balloon_most_percent, 0, 95, err);
	if (rc == 0)
		rc = check_range("bend", s->bend_percent, 0, 20, err);
	for (unsigned i = 0; rc == 0 && i < sizeof(s->dedup_cpu_percent) / sizeof(s->dedup_cpu_percent[0]); i++)
		rc = check_range("dedup-cpu", s->dedup_cpu_percent[i], 0, 100, err);
	if (rc == 0)
		rc = check_range("balance-ms", s->balance_ms, 10, 60000, err);
	return rc ? rc : check_range("hurry-ms", s->hurry_ms, 10, s->balance_ms, err);
}

int arbiter_create(const struct arbiter_settings *settings, struct arbiter **arbiter, struct error *err)
{
	struct arbiter *a = calloc(1, sizeof(*a));
	if (!a)
		return error_set(err, ENOMEM, "no memory for the arbiter");
	arbiter_settings_init(&a->settings);
	int rc = settings ? arbiter_configure(a, settings, err) : 0;
	if (rc) {
		free(a);
		return rc;
	}
	*arbiter = a;
	return 0;
}

void arbiter_destroy(struct arbiter *a)
{
	if (!a)
		return;
	free(a->past);
	free(a->next);
	free(a->work);
	free(a->reach);
	free(a);
}

int arbiter_configure(struct arbiter *a, const struct arbiter_settings *settings, struct error *err)
{
	int rc = arbiter_settings_check(settings, err);
	if (rc == 0)
		a->settings = *settings;
	return rc;
}

const struct arbiter_settings *arbiter_get_settings(const struct arbiter *a)
{
	return &a->settings;
}

int arbiter_reserve(struct arbiter *a, size_t nr)
{
	if (nr > ARBITER_MOST_GUESTS)
		return -EINVAL;
	if (nr <= a->capacity)
		return 0;
	size_t capacity = nr + nr / 2 + 16;
	struct arbiter_past *past = calloc(capacity, sizeof(*past)), *next = calloc(capacity, sizeof(*next));
	struct arbiter_work *work = calloc(capacity, sizeof(*work));
	double *reach = calloc(capacity, sizeof(*reach));
	if (!past || !next || !work || !reach) {
		free(past);
		free(next);
		free(work);
		free(reach);
		return -ENOMEM;
	}
	if (a->nr)
		memcpy(past, a->past, a->nr * sizeof(*past));
	free(a->past);
	free(a->next);
	free(a->work);
	free(a->reach);
	a->past = past;
	a->next = next;
	a->work = work;
	a->reach = reach;
	a->capacity = capacity;
	return 0;
}

/* What is remembered of these guests, in their order; all zero of new ones. */
static void match(struct arbiter *a, const struct arbiter_guest guests[], size_t nr)
{
	size_t before = 0;
	for (size_t i = 0; i < nr; i++) {
		while (before < a->nr && a->past[before].id < guests[i].id)
			before++;
		if (before < a->nr && a->past[before].id == guests[i].id)
			a->next[i] = a->past[before];
		else
			a->next[i] = (struct arbiter_past){.id = guests[i].id, .loss = -1};
	}
	struct arbiter_past *was = a->past;
	a->past = a->next;
	a->next = was;
	a->nr = nr;
}

/* Memory has been too short for so long that disks are worth their cost. */
static bool is_short_for_long(const struct arbiter *a)
{
	return a->short_ms >= SHORT_MS;
}

/* What is compressed has been paid for, and is not taxed, save for what could be freed of it: by the balloon, or to disk. */
static void spare_stored(struct arbiter *a, size_t i, const struct arbiter_guest *guest)
{
	struct arbiter_work *w = &a->work[i];
	if (is_short_for_long(a) && !guest->no_swap)
		return;
	double stored = arbiter_min(arbiter_pages(guest->stored_taken_pages), arbiter_max(w->used - w->hot, 0));
	w->hot += arbiter_max(stored - a->reach[i], 0);
}

static void learn(struct arbiter *a, const struct arbiter_host *host, const struct arbiter_guest guests[], double step_s)
{
	double sum = 0;
	size_t nr_curves = 0;
	for (size_t i = 0; i < a->nr; i++) {
		struct arbiter_past *p = &a->past[i];
		arbiter_demand(p, &guests[i], host->now_ns, step_s, a->mean_loss, a->settings.bend_percent, &a->work[i]);
		arbiter_balloon_watch(p, &guests[i], (uint64_t)(step_s * 1000));
		a->reach[i] = arbiter_balloon_reach(p, &guests[i], &a->work[i], a->settings.balloon_most_percent);
		spare_stored(a, i, &guests[i]);
		if (p->loss >= 0) {
			sum += p->loss;
			nr_curves++;
		}
	}
	a->mean_loss = nr_curves ? sum / (double)nr_curves : 0;
}

/* Sums over guests. */
struct totals {
	double used, wanted, least, divergence;
};

static struct totals add_up(const struct arbiter *a, const struct arbiter_guest guests[])
{
	struct totals t = {0};
	for (size_t i = 0; i < a->nr; i++) {
		const struct arbiter_work *w = &a->work[i];
		t.used += w->used;
		t.wanted += w->fixed ? w->least : arbiter_clamp(w->want, w->least, w->most);
		t.least += w->least;
		t.divergence += arbiter_pages(guests[i].divergence_pages);
	}
	return t;
}

/* The budget, or what the host has in fact, where that is less: believed at once when it falls, slowly when it rises. */
static double budget_of(struct arbiter *a, const struct arbiter_host *host, double taken, double step_s)
{
	double budget = arbiter_pages(host->budget_pages);
	if (host->free_pages == ARBITER_UNKNOWN) {
		a->host_pages = budget;
		return budget;
	}
	double has = arbiter_min(taken + arbiter_pages(host->free_pages), budget);
	if (!a->started || has < a->host_pages)
		a->host_pages = has;
	else
		a->host_pages += (has - a->host_pages) * step_s / (step_s + LARGER_S);
	return arbiter_min(a->host_pages, budget);
}

static bool has_all_it_wants(const struct arbiter_work *w, double goal)
{
	return goal >= arbiter_clamp(w->want, w->least, w->most) * (1 - 1.0 / 128);
}

/* Whether a guest is short of memory, and is to have less than it needs. */
static bool any_lacks(const struct arbiter *a)
{
	for (size_t i = 0; i < a->nr; i++) {
		const struct arbiter_work *w = &a->work[i];
		if (w->pressed && w->goal < arbiter_min(w->want, w->most) * (1 - 1.0 / 64))
			return true;
	}
	return false;
}

static enum arbiter_why why_of(const struct arbiter_work *w, const struct arbiter_guest *guest, double level)
{
	double little = w->goal / 64 + 1;
	if (guest->pinned)
		return ARBITER_PINNED;
	if (w->blind && !w->fresh)
		return ARBITER_BLIND;
	if (w->target + little < w->goal)
		return ARBITER_WAITING;
	if (w->target > w->goal + little)
		return ARBITER_GIVING;
	if (guest->max_pages && arbiter_max(w->want, w->used + w->used / 16) >= w->most && w->goal >= w->most)
		return ARBITER_MAXIMUM;
	if (level == 0)
		return ARBITER_PLENTY;
	if (has_all_it_wants(w, w->goal))
		return ARBITER_NEED;
	if (w->goal <= w->least)
		return ARBITER_MINIMUM;
	return w->used > w->hot + w->used / 16 || w->goal > w->hot ? ARBITER_TAXED : ARBITER_SHARE;
}

static void say(struct arbiter *a, size_t i, const struct arbiter_guest *guest, enum arbiter_state state, double level,
		uint64_t step_ms, struct arbiter_guest_decision *d)
{
	struct arbiter_past *p = &a->past[i];
	const struct arbiter_work *w = &a->work[i];
	const struct arbiter_settings *s = &a->settings;
	*d = (struct arbiter_guest_decision){
		.target_pages = (uint64_t)arbiter_max(w->target, 1),
		.balloon_pages = arbiter_balloon_ask(p, guest, w, a->reach[i], state, s->balloon_most_percent),
		.dedup_cpu_percent = guest->no_sharing || guest->pinned ? 0 : s->dedup_cpu_percent[state],
		.swap_allowed = arbiter_may_swap(p, guest, w, state, is_short_for_long(a), step_ms),
		.sample = a->sample_ms > 0 && !guest->pinned,
		.hold = state == ARBITER_LOW && !guest->pinned && (w->pressed || w->used > w->target),
		.why = why_of(w, guest, level),
		.goal_pages = (uint64_t)w->goal,
		.fair_pages = (uint64_t)(level > 0 ? arbiter_min(w->shares * level, (double)ARBITER_MOST_PAGES) : w->goal),
		.need_pages = (uint64_t)w->need,
		.hot_pages = (uint64_t)arbiter_min(w->hot, w->used),
		.faults_per_s = (uint64_t)p->faults_per_s,
		.stall_permille = (unsigned)arbiter_min(p->stall * 1000, 1e6),
		.pressed = w->pressed,
		.balloon_stalls = p->stalled_ms > 0,
	};
	p->target = d->target_pages;
}

static int check_ids(const struct arbiter_guest guests[], size_t nr)
{
	for (size_t i = 1; i < nr; i++) {
		if (guests[i].id <= guests[i - 1].id)
			return -EINVAL;
	}
	return 0;
}

static double step_of(struct arbiter *a, uint64_t now_ns)
{
	uint64_t step_ms = a->started ? arbiter_over(now_ns, a->last_ns) / 1000000 : 0;
	a->last_ns = now_ns;
	return (double)(step_ms < STEP_MOST_MS ? step_ms : STEP_MOST_MS) / 1e3;
}

static double lacks(const struct arbiter_work *w)
{
	return w->pressed ? arbiter_max(arbiter_min(w->want, w->most) - w->goal, 0) : 0;
}

/* The reserve is for bursts: guests that are pressed get of it what they lack, until others have given that. */
static void lend_reserve(struct arbiter *a, double extra)
{
	double lacking = 0;
	for (size_t i = 0; i < a->nr; i++)
		lacking += lacks(&a->work[i]);
	double part = lacking > extra ? extra / lacking : 1;
	for (size_t i = 0; i < a->nr; i++)
		a->work[i].goal += lacks(&a->work[i]) * part;
}

/* While guests lack memory an idle page costs twice as much: what nobody uses goes before what somebody does. */
static unsigned tax_now(const struct arbiter *a)
{
	unsigned tax = a->settings.idle_tax_percent;
	return tax > 0 && a->short_ms > 0 ? 100 - (100 - tax + 1) / 2 : tax;
}

int arbiter_decide(struct arbiter *a, const struct arbiter_host *host, const struct arbiter_guest guests[], size_t nr,
		   struct arbiter_decision *decision, struct arbiter_guest_decision decisions[])
{
	if (nr > a->capacity && nr > 0)
		return -ENOSPC;
	if (check_ids(guests, nr))
		return -EINVAL;
	double step_s = step_of(a, host->now_ns), pool = arbiter_pages(host->pool_pages), level;
	double starting = arbiter_pages(host->starting_pages);
	uint64_t step_ms = (uint64_t)(step_s * 1000);
	match(a, guests, nr);
	learn(a, host, guests, step_s);

	struct totals t = add_up(a, guests);
	double budget = budget_of(a, host, t.used + pool, step_s);
	double reserve = (double)arbiter_reserve_pages((uint64_t)budget, a->settings.reserve_percent);
	/* A quarter more than the reserve is left alone: what is in order must not look like the edge of a shortage. */
	double kept = host->psi_full_permille >= PSI_TIGHT ? 2 * reserve : reserve + reserve / 4;
	double supply = arbiter_max(budget - pool - kept - starting, 0), free_pages = arbiter_max(budget - pool - t.used, 0);
	double limit = arbiter_max(budget - pool - reserve / 2 - starting, 0);
	arbiter_divide(a->work, nr, supply, tax_now(a), &level);
	bool lack = level > 0 && any_lacks(a);
	lend_reserve(a, arbiter_max(limit - supply, 0));

	/* What is kept for a start is not free; but that alone must not be a state in which nothing starts. */
	double left = arbiter_max(free_pages - starting, free_pages < NOT_LOW * reserve ? free_pages : NOT_LOW * reserve);
	struct arbiter_state_input in = {
		.elapsed_ms = step_ms,
		.free_pages = (uint64_t)left,
		.reserve_pages = (uint64_t)reserve,
		.psi_some_permille = host->psi_some_permille,
		.psi_full_permille = host->psi_full_permille,
		.waiting_ms = a->waiting_ms,
	};
	bool by_psi;
	enum arbiter_state state = arbiter_state_next(&a->state, &in, &by_psi);
	struct arbiter_grant_input grant = {
		.state = state,
		.supply = supply,
		.slack = reserve / 8,
		.limit = limit,
	};
	struct arbiter_grant_result granted = arbiter_grant(a->work, a->past, a->reach, nr, &grant);
	bool waits = granted.waits;
	a->waiting_ms = waits || lack ? a->waiting_ms + (step_ms ? step_ms : 1) : 0;
	a->short_ms = lack ? a->short_ms + step_ms : arbiter_over(a->short_ms, step_ms);
	a->short_ms = a->short_ms < SHORT_MOST_MS ? a->short_ms : SHORT_MOST_MS;
	bool tight = state > ARBITER_HIGH || t.wanted > supply - supply / 8;
	a->sample_ms = tight ? SAMPLE_MS : arbiter_over(a->sample_ms, step_ms);
	for (size_t i = 0; i < nr; i++)
		say(a, i, &guests[i], state, level, step_ms, &decisions[i]);
	a->started = true;
	*decision = (struct arbiter_decision){
		.state = state,
		.by_psi = by_psi,
		.short_of_minimums = t.least > supply,
		.supply_pages = (uint64_t)supply,
		.reserve_pages = (uint64_t)reserve,
		.free_pages = (uint64_t)free_pages,
		.used_pages = (uint64_t)(t.used + pool),
		.wanted_pages = (uint64_t)t.wanted,
		.divergence_pages = (uint64_t)t.divergence,
		.level = level,
		.again_ms = granted.moving || waits || level > 0 || starting > 0 ? a->settings.hurry_ms : a->settings.balance_ms,
	};
	return 0;
}
