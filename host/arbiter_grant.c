/* See arbiter_grant.h. */
#include "host/arbiter_grant.h"

#include <math.h>

enum { DEADBAND = 128, MARGIN = 64, SLOWLY = 32 };

static double target_before(const struct arbiter_past *p)
{
	return arbiter_pages(p->target);
}

/* The goal, or the last target where that is as good (invariant 3). */
static double settled(const struct arbiter_work *w, const struct arbiter_past *p)
{
	double before = target_before(p);
	bool same = !w->fresh && !w->fixed && !w->pressed && fabs(w->goal - before) <= before / DEADBAND;
	return same && before >= w->least && before <= w->most ? before : w->goal;
}

static double shrink(const struct arbiter_work *w, double before, double reach, enum arbiter_state state)
{
	/* What it has been allowed and does not use. */
	double unused = arbiter_max(w->goal, arbiter_min(before, w->used + w->used / MARGIN));
	if (state == ARBITER_HIGH)
		return unused;
	if (state == ARBITER_SOFT)
		return arbiter_min(unused, w->goal + reach);
	/* One that was pressed gives slowly, or it would be pressed again, and take again, for ever. */
	return w->lately ? arbiter_max(w->goal, arbiter_min(before, w->used) * (1 - 1.0 / SLOWLY)) : w->goal;
}

/* Gives guests of one kind (in a hurry, or not) what they lack, or their part of room. */
static void grow(struct arbiter_work work[], size_t nr, bool hurry, double *room)
{
	double lacking = 0, given = 0;
	for (size_t i = 0; i < nr; i++) {
		if ((work[i].pressed || work[i].fresh) == hurry)
			lacking += arbiter_max(work[i].goal - work[i].target, 0);
	}
	if (lacking <= 0)
		return;
	double part = arbiter_clamp(*room / lacking, 0, 1);
	for (size_t i = 0; i < nr; i++) {
		struct arbiter_work *w = &work[i];
		if ((w->pressed || w->fresh) != hurry || w->goal <= w->target)
			continue;
		double more = (w->goal - w->target) * part;
		w->target += more;
		given += more;
	}
	*room -= given;
}

struct arbiter_grant_result arbiter_grant(struct arbiter_work work[], const struct arbiter_past past[], const double reach[],
					  size_t nr, const struct arbiter_grant_input *in)
{
	struct arbiter_grant_result result = {0};
	double sum = 0, committed = 0;
	for (size_t i = 0; i < nr; i++)
		sum += settled(&work[i], &past[i]);
	bool fits = sum <= in->supply + in->slack;
	for (size_t i = 0; i < nr; i++) {
		struct arbiter_work *w = &work[i];
		double before = target_before(&past[i]);
		if (fits)
			w->goal = settled(w, &past[i]);
		/* What it already uses of its goal takes no room: so a guest that was found running keeps its memory. */
		double has = arbiter_min(w->used, w->goal);
		if (w->fixed)
			w->target = w->least;
		else if (!w->fresh && w->goal < before)
			w->target = arbiter_max(shrink(w, before, reach[i], in->state), w->least);
		else
			w->target = arbiter_max(arbiter_max(before, has), w->least);
		/* A maximum that was lowered holds at once, however much memory there is. */
		if (!w->fixed)
			w->target = arbiter_min(w->target, arbiter_max(w->most, w->least));
		committed += arbiter_max(w->used, w->target);
	}
	double room = arbiter_max(in->limit - committed, 0);
	grow(work, nr, true, &room);
	grow(work, nr, false, &room);
	for (size_t i = 0; i < nr; i++) {
		double before = target_before(&past[i]);
		if (fabs(work[i].target - before) > before / DEADBAND || work[i].used > work[i].target + work[i].target / 32)
			result.moving = true;
		if (work[i].pressed && work[i].target < work[i].goal - work[i].goal / MARGIN)
			result.waits = true;
	}
	return result;
}
