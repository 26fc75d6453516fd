/* See plan.h. */
#include "host/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/admission.h"

enum {
	ROUNDS = 40, /* decisions, a second apart, until targets have come to rest */
	USUAL_FAULT_US = 100,
};

/* Of a guest, before it was squeezed. */
struct plan_want {
	uint64_t most, needed; /* pages: that it takes when it may; that it works with */
};

const char *plan_limit_name(enum plan_limit limit)
{
	static const char *const names[] = {"nothing", "admission", "stall", "swap"};
	return names[limit];
}

/* Faults each second with so many pages: between two points in proportion; beyond the last one more in proportion to what is missing. */
static double faults_with(const struct arbiter_guest *g, uint64_t pages)
{
	const struct arbiter_point *p = g->curve;
	if (!p || g->nr_points == 0 || pages >= p[0].pages)
		return 0;
	for (size_t i = 1; i < g->nr_points; i++) {
		if (pages < p[i].pages)
			continue;
		double part = (double)(p[i - 1].pages - pages) / (double)(p[i - 1].pages - p[i].pages);
		return p[i - 1].faults_per_s + part * (p[i].faults_per_s - p[i - 1].faults_per_s);
	}
	const struct arbiter_point *last = &p[g->nr_points - 1];
	return pages ? last->faults_per_s * (double)last->pages / (double)pages : last->faults_per_s * (double)(last->pages + 1);
}

/* What the guest needs at least to work as it does; what it uses, where nothing else is known. */
static uint64_t need_of(const struct arbiter_guest *g)
{
	return g->active_pages && g->active_pages < g->used_pages ? g->active_pages : g->used_pages;
}

/* Lets the arbiter decide until nothing moves: guests take what they are given, and no more than they have taken before. */
static int settle(struct arbiter *arbiter, struct arbiter_host host, struct arbiter_guest guests[], const struct plan_want wants[],
		  size_t nr, struct arbiter_decision *decision, struct arbiter_guest_decision decisions[])
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t used = host.pool_pages;
		bool moved = false;
		int ret = arbiter_decide(arbiter, &host, guests, nr, decision, decisions);
		if (ret)
			return ret;
		for (size_t i = 0; i < nr; i++) {
			struct arbiter_guest *g = &guests[i];
			uint64_t gets = decisions[i].target_pages < wants[i].most ? decisions[i].target_pages : wants[i].most;
			moved |= !g->pinned && gets != g->used_pages;
			g->used_pages = g->pinned ? g->used_pages : gets;
			used += g->used_pages;
		}
		host.free_pages = host.budget_pages > used ? host.budget_pages - used : 0;
		host.now_ns += 1000000000;
		if (!moved && round > 2)
			break;
	}
	return 0;
}

/* One point. */
static void look(const struct arbiter_host *host, const struct arbiter_guest guests[], const struct plan_want wants[], size_t nr,
		 double fault_s, struct plan_point *point, bool *swaps)
{
	uint64_t granted = 0;
	*swaps = false;
	for (size_t i = 0; i < nr; i++) {
		double stall = faults_with(&guests[i], guests[i].used_pages) * fault_s;
		granted += guests[i].used_pages;
		point->stall = stall > point->stall ? stall : point->stall;
		/* Where no curve tells: pages beyond a third of what is needed, which is about what compression makes of them, go to disk. */
		*swaps |= !guests[i].pinned && guests[i].used_pages < wants[i].needed / 3;
	}
	point->granted_pages = granted;
	point->free_pages = host->budget_pages > granted + host->pool_pages ? host->budget_pages - granted - host->pool_pages : 0;
}

int plan_make(const struct arbiter_settings *settings, const struct arbiter_host *host, const struct arbiter_guest running[],
	      size_t nr, const struct arbiter_guest *like, double fault_s, double risk, struct plan *plan, struct error *err)
{
	size_t room = nr + PLAN_MOST_POINTS;
	struct arbiter_guest *guests = calloc(room, sizeof(*guests));
	struct arbiter_guest_decision *decisions = calloc(room, sizeof(*decisions));
	struct plan_want *wants = calloc(room, sizeof(*wants));
	struct arbiter_decision decision;
	struct arbiter_host calm = *host;
	struct admission admission;
	int ret = 0;
	if (!guests || !decisions || !wants) {
		free(guests);
		free(decisions);
		free(wants);
		return error_set(err, ENOMEM, "out of memory");
	}
	/* What the host is short of just now, other than guests' memory, is not for ever. */
	calm.psi_some_permille = calm.psi_full_permille = 0;
	if (fault_s <= 0)
		fault_s = USUAL_FAULT_US / 1e6;
	*plan = (struct plan){.limit = PLAN_NOTHING};
	for (unsigned more = 1; ret == 0 && more <= PLAN_MOST_POINTS && plan->limit == PLAN_NOTHING; more++) {
		struct plan_point *point = &plan->points[plan->nr_points];
		struct arbiter *arbiter = NULL;
		bool swaps;
		size_t all = nr + more;
		memcpy(guests, running, nr * sizeof(*guests));
		for (size_t i = 0; i < all; i++) {
			if (i >= nr)
				guests[i] = *like;
			guests[i].id = i + 1;
			guests[i].has_stats = true;
			wants[i] = (struct plan_want){.most = guests[i].used_pages, .needed = need_of(&guests[i])};
		}
		if (admission_check(settings, &calm, ARBITER_HIGH, guests, all - 1, &guests[all - 1], &admission, &plan->refusal) !=
		    0) {
			plan->limit = PLAN_ADMISSION;
			break;
		}
		ret = arbiter_create(settings, &arbiter, err);
		if (ret == 0 && (ret = arbiter_reserve(arbiter, all)) != 0)
			error_set(err, -ret, "out of memory");
		if (ret == 0 && (ret = settle(arbiter, calm, guests, wants, all, &decision, decisions)) != 0)
			error_set(err, -ret, "the arbiter cannot decide for these guests");
		arbiter_destroy(arbiter);
		if (ret)
			break;
		*point = (struct plan_point){.guests = more};
		look(&calm, guests, wants, all, fault_s, point, &swaps);
		plan->nr_points++;
		if (point->stall > risk)
			plan->limit = PLAN_STALL;
		else if (swaps)
			plan->limit = PLAN_SWAP;
		else
			plan->fit = more;
	}
	free(guests);
	free(decisions);
	free(wants);
	return ret;
}
