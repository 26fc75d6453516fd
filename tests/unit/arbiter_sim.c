/* See arbiter_sim.h. */
#include "tests/unit/arbiter_sim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_S (SIM_STEP_MS / 1e3)
/* Pages a second of one guest, unless said otherwise. */
#define ALLOCATE 60000.0   /* first touches: 240 MiB/s */
#define BRING_BACK 16000.0 /* from the compressed tier: 60 us each */
#define READ_BACK 3000.0   /* from disk */
#define WRITE_OUT 25000.0
#define BALLOON 120000.0
#define BREAK 100000.0   /* copies of shared pages: 10 us each */
#define EVICT 100000.0   /* evict and compress */
#define RECLAIM 200000.0 /* of all guests together: two CPUs' worth */
#define COMPRESSED 0.35  /* of a page */
#define MISTAKES 0.05    /* of victims are hot */
#define LIMBO_NS 60000
#define DISK_NS 300000

static double least(double a, double b)
{
	return a < b ? a : b;
}

static double most(double a, double b)
{
	return a > b ? a : b;
}

double sim_random(struct sim *sim)
{
	/* SplitMix64 (Steele, Lea, Flood, 2014). */
	uint64_t z = sim->seed += 0x9e3779b97f4a7c15ull;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0;
}

struct sim *sim_create(enum sim_policy policy, uint64_t seed, double budget_mib)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	if (!sim || arbiter_create(NULL, &sim->arbiter, NULL) || arbiter_reserve(sim->arbiter, SIM_MOST_GUESTS))
		abort();
	sim->policy = policy;
	sim->seed = seed;
	sim->now_ms = 1000;
	sim->budget = budget_mib * SIM_MIB;
	sim->mom.total = sim->budget;
	sim->reclaim_per_s = RECLAIM;
	return sim;
}

void sim_destroy(struct sim *sim)
{
	arbiter_destroy(sim->arbiter);
	free(sim);
}

struct sim_guest *sim_add(struct sim *sim, const char *name, double size_mib, double min_mib, double max_mib, uint32_t shares)
{
	if (sim->nr == SIM_MOST_GUESTS)
		abort();
	struct sim_guest *g = &sim->guests[sim->nr];
	memset(g, 0, sizeof(*g));
	snprintf(g->name, sizeof(g->name), "%s", name);
	g->id = ++sim->nr;
	g->size = size_mib * SIM_MIB;
	g->min = min_mib * SIM_MIB;
	g->max = max_mib * SIM_MIB;
	g->shares = shares;
	g->running = true;
	g->cache = 0.5;
	return g;
}

struct sim_guest *sim_find(struct sim *sim, const char *name)
{
	for (size_t i = 0; i < sim->nr; i++) {
		if (strcmp(sim->guests[i].name, name) == 0)
			return &sim->guests[i];
	}
	return NULL;
}

void sim_load(struct sim_guest *g, double ws_mib, double cold_mib)
{
	g->ws = ws_mib * SIM_MIB;
	g->cold = cold_mib * SIM_MIB;
}

void sim_stop(struct sim_guest *g)
{
	g->running = false;
	g->hot_in = g->hot_out = g->hot_disk = g->cold_in = g->cold_out = g->cold_disk = g->shared = g->balloon = g->missing = 0;
}

static double compressed(const struct sim_guest *g)
{
	return g->incompressible ? 1 : COMPRESSED;
}

double sim_used(const struct sim_guest *g)
{
	return g->hot_in + g->cold_in + (g->hot_out + g->cold_out) * compressed(g);
}

double sim_pressure_s(const struct sim *sim)
{
	double sum = 0;
	for (size_t i = 0; i < sim->nr; i++)
		sum += sim->guests[i].pressure_s;
	return sum;
}

/* --- a guest's own doing --- */

static double hot_of(const struct sim_guest *g)
{
	return g->hot_in + g->hot_out + g->hot_disk;
}

static double cold_of(const struct sim_guest *g)
{
	return g->cold_in + g->cold_out + g->cold_disk;
}

static double free_of(const struct sim_guest *g)
{
	return most(g->size - g->balloon - hot_of(g) - cold_of(g) - g->shared, 0);
}

/* Moves up to n from one count to another; returns how many. */
static double move(double *from, double *to, double n)
{
	n = most(least(n, *from), 0);
	*from -= n;
	*to += n;
	return n;
}

static void drop_cold(struct sim_guest *g, double n)
{
	double nowhere = 0;
	n -= move(&g->cold_in, &nowhere, n);
	n -= move(&g->cold_out, &nowhere, n);
	move(&g->cold_disk, &nowhere, n);
}

static void cool(struct sim_guest *g, double n)
{
	n -= move(&g->hot_in, &g->cold_in, n);
	n -= move(&g->hot_out, &g->cold_out, n);
	move(&g->hot_disk, &g->cold_disk, n);
}

/* Returns pages of its working set that the guest finds no room for, its balloon being so large. */
static double live(struct sim_guest *g)
{
	/* Shared pages are in use, as far as the working set goes. */
	double wanted = most(g->ws - g->shared, 0), short_inside = 0;
	if (hot_of(g) > wanted)
		cool(g, (hot_of(g) - wanted) * STEP_S * 2); /* within half a second, about */
	double grow = least(wanted - hot_of(g), ALLOCATE * STEP_S);
	if (grow > 0 && !g->hold) {
		if (free_of(g) < grow)
			drop_cold(g, least(grow - free_of(g), cold_of(g) * g->cache));
		double got = least(grow, free_of(g));
		g->hot_in += got;
		if (got < grow * 0.999)
			short_inside = wanted - hot_of(g);
	} else if (grow > 0) {
		short_inside = wanted - hot_of(g);
	}
	if (cold_of(g) > g->cold)
		drop_cold(g, (cold_of(g) - g->cold) * STEP_S); /* processes end, caches age */
	else if (hot_of(g) >= wanted * 0.98)
		g->cold_in += least(least(g->cold - cold_of(g), free_of(g)), ALLOCATE / 4 * STEP_S);
	/* Room that the balloon took from the working set: the guest swaps by itself. */
	double inside = hot_of(g) + cold_of(g) + g->shared - (g->size - g->balloon);
	if (inside > 1) {
		drop_cold(g, least(inside, cold_of(g)));
		inside = hot_of(g) + g->shared - (g->size - g->balloon);
		if (inside > 0) {
			double nowhere = 0;
			move(&g->hot_in, &nowhere, inside);
			short_inside = most(short_inside, wanted - hot_of(g));
		}
	}
	if (short_inside > 0)
		g->swap_ins += (uint64_t)least(short_inside, 4000 * STEP_S);
	return short_inside;
}

static void write_shared(struct sim *sim, struct sim_guest *g)
{
	double n = least(least(g->breaking, g->shared), BREAK * STEP_S), shared = 0;
	g->breaking = most(g->breaking - n, 0);
	g->shared -= n;
	g->hot_in += n;
	for (size_t i = 0; i < sim->nr; i++)
		shared += sim->guests[i].shared;
	sim->pool = least(sim->pool, shared); /* a slot goes when its last sharer has */
}

static void bring_back(struct sim_guest *g)
{
	double n = move(&g->hot_out, &g->hot_in, BRING_BACK * STEP_S);
	double disk = move(&g->hot_disk, &g->hot_in, READ_BACK * STEP_S);
	g->faults += (uint64_t)(n + disk);
	g->stall_ns += (uint64_t)(n * LIMBO_NS + disk * DISK_NS);
}

static void inflate(struct sim_guest *g)
{
	if (g->no_balloon || g->stuck_balloon)
		return;
	double n = least(most(g->balloon_target - g->balloon, -BALLOON * STEP_S), BALLOON * STEP_S);
	if (n < 0) {
		g->balloon += n;
		return;
	}
	double from_free = least(n, free_of(g));
	g->balloon += from_free;
	double from_cache = least(n - from_free, cold_of(g) * g->cache);
	drop_cold(g, from_cache);
	g->balloon += from_cache;
	/* The rest the guest swaps out for, slowly; live() sees what that does to it. */
	g->balloon += least(n - from_free - from_cache, WRITE_OUT * STEP_S);
	g->balloon = least(g->balloon, g->size * 0.95);
}

/* --- the memory manager, or a kernel --- */

static double evict(struct sim_guest *g, double n)
{
	double hot_part = g->cold_in > 0 ? least(MISTAKES * g->hot_in / (g->hot_in + g->cold_in + 1), 1) : 1;
	double hot = move(&g->hot_in, &g->hot_out, n * hot_part);
	double cold = move(&g->cold_in, &g->cold_out, n - hot);
	return hot + cold + move(&g->hot_in, &g->hot_out, n - hot - cold);
}

/* Writes so many pages' worth of what is compressed (or cannot be) to disk, cold first. */
static void write_out(struct sim *sim, struct sim_guest *g, double pages)
{
	double n = least(pages / compressed(g), WRITE_OUT * STEP_S), cold = move(&g->cold_out, &g->cold_disk, n);
	n = cold + move(&g->hot_out, &g->hot_disk, n - cold);
	if (sim->decision.state == ARBITER_HIGH)
		sim->swapped_while_free += n;
}

static void reclaim(struct sim *sim, struct sim_guest *g, double *left)
{
	double excess = sim_used(g) - g->target + g->target / 64;
	if (excess <= g->target / 64 || g->target == 0)
		return;
	/* As memmgr/reclaim_policy.c: the tier in RAM gets no larger than a quarter of the target where there is a disk. */
	double tier = (g->hot_out + g->cold_out) * compressed(g);
	if (g->swap_allowed && tier > g->target / 4)
		write_out(sim, g, least(tier - g->target / 4, excess));
	excess = sim_used(g) - g->target + g->target / 64;
	if (excess > 0 && !g->incompressible)
		*left -= evict(g, least(least(excess / (1 - compressed(g)), EVICT * STEP_S), *left));
	excess = sim_used(g) - g->target;
	if (excess <= 0 || !g->swap_allowed)
		return;
	if (g->incompressible)
		evict(g, least(excess, WRITE_OUT * STEP_S));
	write_out(sim, g, excess);
}

/* A kernel that is out of memory takes the coldest pages of all. */
static void swap_out_coldest(struct sim *sim)
{
	double excess = sim->used - sim->budget, cold = 0, hot = 0;
	if (excess <= 0)
		return;
	for (size_t i = 0; i < sim->nr; i++) {
		cold += sim->guests[i].cold_in;
		hot += sim->guests[i].hot_in;
	}
	double n = sim->mom_zram ? least(excess / (1 - COMPRESSED), sim->reclaim_per_s * STEP_S) : excess;
	double by_mistake = least(n * MISTAKES * hot / (hot + cold + 1), hot), from_cold = least(n - by_mistake, cold);
	double from_hot = least(n - from_cold, hot);
	for (size_t i = 0; i < sim->nr; i++) {
		struct sim_guest *g = &sim->guests[i];
		if (cold > 0)
			move(&g->cold_in, sim->mom_zram ? &g->cold_out : &g->cold_disk, from_cold * g->cold_in / cold);
		if (hot > 0)
			move(&g->hot_in, sim->mom_zram ? &g->hot_out : &g->hot_disk, from_hot * g->hot_in / hot);
	}
}

/* --- policies --- */

static uint64_t noise(struct sim *sim)
{
	double kind = sim_random(sim);
	return kind < 0.3 ? UINT64_MAX - 1 : kind < 0.6 ? 0 : (uint64_t)(sim_random(sim) * 1e12);
}

static void tell(struct sim *sim, const struct sim_guest *g, struct arbiter_guest *seen)
{
	*seen = (struct arbiter_guest){
		.id = g->id,
		.size_pages = (uint64_t)g->size,
		.min_pages = (uint64_t)g->min,
		.max_pages = (uint64_t)g->max,
		.shares = g->shares,
		.pinned = g->pinned,
		.has_stats = !g->silent,
		.used_pages = (uint64_t)sim_used(g),
		.active_pages = (uint64_t)g->active,
		.stored_pages = (uint64_t)(g->hot_out + g->hot_disk + g->cold_out + g->cold_disk),
		.stored_taken_pages = (uint64_t)((g->hot_out + g->cold_out) * compressed(g)),
		.shared_pages = (uint64_t)g->shared,
		.divergence_pages = (uint64_t)g->shared,
		.faults = g->faults,
		.stall_ns = g->stall_ns,
		.has_balloon = !g->no_balloon,
		.balloon_pages = (uint64_t)g->balloon,
		.guest_available_pages = g->no_balloon ? ARBITER_UNKNOWN : (uint64_t)(free_of(g) + cold_of(g) * g->cache),
		.guest_swap_ins = g->no_balloon ? ARBITER_UNKNOWN : g->swap_ins,
	};
	if (g->lie == SIM_SAYS_FREE) {
		seen->guest_available_pages = (uint64_t)g->size;
	} else if (g->lie == SIM_SAYS_STARVED) {
		seen->guest_available_pages = 0;
		seen->guest_swap_ins = sim->now_ms * 1000;
	} else if (g->lie == SIM_SAYS_NOISE) {
		seen->guest_available_pages = noise(sim);
		seen->guest_swap_ins = noise(sim);
		seen->balloon_pages = noise(sim);
	}
}

static void see_working_set(struct sim *sim, struct sim_guest *g, struct arbiter_guest *seen)
{
	double hot = g->hot_in;
	if (g->no_curve || g->active == 0)
		return;
	/* What is active faults if it is not there: once in three seconds, each page. */
	(void)sim;
	g->curve[0] = (struct arbiter_point){(uint64_t)(hot + g->cold_in), 0};
	g->curve[1] = (struct arbiter_point){(uint64_t)g->active, 50};
	g->curve[2] = (struct arbiter_point){(uint64_t)(g->active / 2), g->active / 2 / 3};
	g->curve[3] = (struct arbiter_point){0, g->active / 3};
	seen->curve = g->curve;
	seen->nr_points = 4;
}

static void note_target(struct sim_guest *g, double target)
{
	double change = target - g->last_target;
	/* A turn: from up to down, or back, by more than 5 %. Small steps the same way add up. */
	if (g->last_target > 0 && change != 0) {
		if ((change > 0) == (g->last_swing > 0)) {
			g->last_swing += change;
		} else {
			if (fabs(g->last_swing) > g->last_target / 20)
				g->turns++;
			g->last_swing = change;
		}
	}
	g->last_target = target;
}

static void decide(struct sim *sim)
{
	sim->nr_seen = 0;
	for (size_t i = 0; i < sim->nr; i++) {
		if (!sim->guests[i].running)
			continue;
		tell(sim, &sim->guests[i], &sim->seen[sim->nr_seen]);
		see_working_set(sim, &sim->guests[i], &sim->seen[sim->nr_seen]);
		sim->index[sim->nr_seen++] = i;
	}
	int64_t clock_ms = (int64_t)sim->now_ms + sim->clock_skew_ms;
	sim->host = (struct arbiter_host){
		.now_ns = clock_ms > 0 ? (uint64_t)clock_ms * 1000000 : 0,
		.budget_pages = (uint64_t)sim->budget,
		.pool_pages = (uint64_t)sim->pool,
		.free_pages = sim->host_tight ? (uint64_t)most(sim->budget - sim->used, 0) : ARBITER_UNKNOWN,
		.psi_full_permille = sim->psi_full_permille,
	};
	if (arbiter_decide(sim->arbiter, &sim->host, sim->seen, sim->nr_seen, &sim->decision, sim->decisions))
		abort();
	for (size_t i = 0; i < sim->nr_seen; i++) {
		struct sim_guest *g = &sim->guests[sim->index[i]];
		const struct arbiter_guest_decision *d = &sim->decisions[i];
		if ((double)d->target_pages < floor(g->min) || (double)d->balloon_pages > most(g->size - g->min, 0) + 1)
			sim->minimum_broken++;
		g->target = (double)d->target_pages;
		g->balloon_target = (double)d->balloon_pages;
		g->swap_allowed = d->swap_allowed;
		g->sample = d->sample;
		g->hold = false; /* prefetch and hot-plug are not modelled */
		note_target(g, g->target);
	}
	sim->decisions_made++;
	sim->decide_ms = sim->now_ms + sim->decision.again_ms;
}

static void ask_mom(struct sim *sim)
{
	if (sim->now_ms % MOM_MONITOR_MS == 0) {
		mom_sample(&sim->mom.free, most(sim->budget - sim->used, 0));
		for (size_t i = 0; i < sim->nr; i++) {
			struct sim_guest *g = &sim->guests[i];
			struct mom_guest *m = &sim->mom_guests[i];
			m->current = g->size - g->balloon;
			m->min = g->min;
			m->max = g->size;
			mom_sample(&m->current_average, m->current);
			mom_sample(&m->unused, free_of(g));
		}
	}
	if (sim->now_ms % MOM_POLICY_MS)
		return;
	for (size_t i = 0; i < sim->nr; i++) {
		struct sim_guest *g = &sim->guests[i];
		if (g->running && !g->pinned && sim->mom_guests[i].current_average.nr)
			g->balloon_target = g->size - mom_target(&sim->mom, &sim->mom_guests[i]);
	}
}

/* --- time --- */

static void watch_samples(struct sim *sim, struct sim_guest *g)
{
	g->sampled_ms = g->sample ? g->sampled_ms + SIM_STEP_MS : 0;
	if (g->sampled_ms < 10000) {
		g->active = 0;
	} else {
		double noisy = g->hot_in * (1 + (sim_random(sim) - 0.5) * 0.06);
		g->active = g->active == 0 ? noisy : g->active + (noisy - g->active) * STEP_S / 3;
		g->active = most(g->active, 1);
	}
}

static void account(struct sim *sim)
{
	sim->used = sim->pool;
	for (size_t i = 0; i < sim->nr; i++)
		sim->used += sim_used(&sim->guests[i]);
	if (sim->used > sim->used_most)
		sim->used_most = sim->used;
	sim->state_s[sim->decision.state] += STEP_S;
}

static void step(struct sim *sim)
{
	double left = sim->reclaim_per_s * STEP_S;
	sim->now_ms += SIM_STEP_MS;
	if (sim->policy == SIM_MOM)
		ask_mom(sim);
	else if (sim->now_ms >= sim->decide_ms)
		decide(sim);
	for (size_t i = 0; i < sim->nr; i++) {
		struct sim_guest *g = &sim->guests[i];
		if (!g->running)
			continue;
		double short_inside = live(g);
		write_shared(sim, g);
		inflate(g);
		if (sim->policy == SIM_ARBITER)
			reclaim(sim, g, &left);
		g->missing = g->hot_out + g->hot_disk + short_inside;
		bring_back(g);
		watch_samples(sim, g);
		g->running_s += STEP_S;
		if (g->missing > g->ws / 50 + 1)
			g->pressure_s += STEP_S;
	}
	account(sim);
	if (sim->policy == SIM_MOM) {
		swap_out_coldest(sim);
		account(sim);
	}
}

void sim_run(struct sim *sim, double seconds)
{
	uint64_t end = sim->now_ms + (uint64_t)(seconds * 1000);
	while (sim->now_ms < end)
		step(sim);
}
