/* See arbiter_means.h. */
#include "host/arbiter_means.h"

enum {
	STALL_MS = 2000,
	STALLED_MS = 30000,
	OVER_SWAP_MS = 3000, /* above the target so long, although memory is hard up: compression does not suffice */
	MOST_MS = 3600000,
	LITTLE = 64, /* a 64th is not worth asking */
};

static double most_pages(const struct arbiter_guest *guest, const struct arbiter_work *w, unsigned most_percent)
{
	double size = arbiter_pages(guest->size_pages);
	return arbiter_max(arbiter_min(size / 100 * most_percent, size - w->least), 0);
}

void arbiter_balloon_watch(struct arbiter_past *p, const struct arbiter_guest *guest, uint64_t step_ms)
{
	uint32_t step = (uint32_t)(step_ms < MOST_MS ? step_ms : MOST_MS);
	p->stalled_ms = p->stalled_ms > step ? p->stalled_ms - step : 0;
	if (!guest->has_balloon) {
		p->has_asked = false;
		p->idle_ms = p->stalled_ms = 0;
		return;
	}
	bool owes = p->has_asked && guest->balloon_pages < p->asked;
	if (!owes || guest->balloon_pages > p->seen)
		p->idle_ms = 0;
	else if (p->idle_ms < STALL_MS)
		p->idle_ms += step < STALL_MS ? step : STALL_MS;
	p->seen = guest->balloon_pages;
	if (p->idle_ms >= STALL_MS) {
		p->stalled_ms = STALLED_MS;
		p->idle_ms = 0;
	}
}

double arbiter_balloon_reach(const struct arbiter_past *p, const struct arbiter_guest *guest, const struct arbiter_work *w,
			     unsigned most_percent)
{
	if (!guest->has_balloon || guest->pinned || p->stalled_ms)
		return 0;
	double given = arbiter_pages(guest->balloon_pages), visible = arbiter_pages(guest->size_pages) - given;
	/* What takes no memory the guest gives first, and the host gains nothing by it. */
	double room = most_pages(guest, w, most_percent) - given, untouched = arbiter_untouched(guest, w->used),
	       step = untouched + visible / 8;
	if (guest->guest_available_pages != ARBITER_UNKNOWN)
		step = arbiter_pages(guest->guest_available_pages) - visible / 16;
	return arbiter_max(arbiter_min(room, step) - untouched, 0);
}

uint64_t arbiter_balloon_ask(struct arbiter_past *p, const struct arbiter_guest *guest, const struct arbiter_work *w, double reach,
			     enum arbiter_state state, unsigned most_percent)
{
	if (!guest->has_balloon || guest->pinned)
		return 0;
	double given = arbiter_pages(guest->balloon_pages), ask = p->has_asked ? arbiter_pages(p->asked) : given;
	double little = w->used / LITTLE;
	if (p->stalled_ms)
		ask = arbiter_min(ask, given);
	if (w->goal > w->used + little)
		ask = arbiter_min(ask, given - (w->goal - w->used));
	else if (w->used > w->goal + little && state >= ARBITER_SOFT && !p->stalled_ms)
		ask = reach > 0 ? given + arbiter_untouched(guest, w->used) + arbiter_min(w->used - w->goal, reach) : ask;
	ask = arbiter_clamp(ask, 0, most_pages(guest, w, most_percent));
	p->asked = (uint64_t)ask;
	p->has_asked = true;
	return p->asked;
}

bool arbiter_may_swap(struct arbiter_past *p, const struct arbiter_guest *guest, const struct arbiter_work *w,
		      enum arbiter_state state, bool long_short, uint64_t step_ms)
{
	if (w->used <= w->target + w->target / 32)
		p->over_ms = 0;
	else if (p->over_ms < MOST_MS)
		p->over_ms += step_ms < MOST_MS ? step_ms : MOST_MS;
	if (guest->no_swap || guest->pinned)
		return false;
	return state == ARBITER_LOW || (state == ARBITER_HARD && (long_short || p->over_ms >= OVER_SWAP_MS));
}
