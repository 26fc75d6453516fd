/* See arbiter_demand.h. */
#include "host/arbiter_demand.h"

#include <string.h>

enum {
	PRESSED_FAULTS = 400, /* a second; sampling the working set causes up to 350 */
	COMFORT_FAULTS = 100, /* that a guest may have where its curve says what it needs */
	PRESSED_SWAPS = 50,   /* pages a second that a guest swaps in by itself */
	MOST_POINTS = 64,
};
#define LATELY_NS 1000000000ull /* so long a guest that was pressed is as good as pressed */
#define PRESSED_STALL 0.02      /* of its time */
#define THRASHING 0.5           /* of its time */
#define RATE_S 0.5              /* rates are seen through so much time */
#define LEAST_STEP_S 0.25       /* what a guest has taken at once is no rate */
#define AHEAD_S 0.5             /* a guest that grows is given what it will have taken by then */
#define WARM_S 4.0              /* so long what was just taken, or faulted for, is hot: samples do not show it sooner */
#define COOL_S 1.0              /* then it cools */
#define BEND_S 10.0
#define MOST_RATE 1e9

static double fraction_of(double step_s, double time_s)
{
	return step_s / (step_s + time_s);
}

/* --- curves --- */

static double sane_faults(double faults)
{
	return faults > 0 && faults < MOST_RATE ? faults : 0; /* also for a NaN */
}

double arbiter_curve_at(const struct arbiter_point *curve, size_t nr, double pages)
{
	for (size_t i = 0; i + 1 < nr; i++) {
		double high = arbiter_pages(curve[i].pages), low = arbiter_pages(curve[i + 1].pages);
		if (pages < low)
			continue;
		double at_high = sane_faults(curve[i].faults_per_s), at_low = sane_faults(curve[i + 1].faults_per_s);
		return pages >= high || high <= low ? at_high : at_low + (at_high - at_low) * (pages - low) / (high - low);
	}
	return sane_faults(curve[nr - 1].faults_per_s);
}

/* The least size that the curve promises few faults for; 0: it knows none. */
static double curve_need(const struct arbiter_point *curve, size_t nr)
{
	double need = 0;
	for (size_t i = 0; i < nr && sane_faults(curve[i].faults_per_s) <= COMFORT_FAULTS; i++)
		need = arbiter_pages(curve[i].pages);
	return need;
}

/* What taking a page would cost it, against what that costs others. */
static void bend(struct arbiter_past *p, const struct arbiter_guest *guest, size_t nr, double step_s, double mean_loss)
{
	double toward = 0, at = arbiter_pages(p->target);
	p->loss = -1;
	if (nr >= 2 && at > 0) {
		double lost = arbiter_curve_at(guest->curve, nr, at * 0.95) - arbiter_curve_at(guest->curve, nr, at * 1.05);
		p->loss = arbiter_max(lost, 0) / (at * 0.1);
		if (p->loss + mean_loss > 0)
			toward = 2 * p->loss / (p->loss + mean_loss) - 1;
	}
	p->bend = arbiter_clamp(p->bend + (toward - p->bend) * fraction_of(step_s, BEND_S), -1, 1);
}

/* --- rates --- */

static double rate_of(double before, uint64_t now, uint64_t last, double step_s, double unit)
{
	double rate = arbiter_min((double)arbiter_over(now, last) * unit / step_s, MOST_RATE);
	return before + (rate - before) * fraction_of(step_s, RATE_S);
}

static void learn_rates(struct arbiter_past *p, const struct arbiter_guest *guest, double step_s)
{
	bool tells = guest->guest_swap_ins != ARBITER_UNKNOWN;
	if (p->known && step_s > 0) {
		p->faults_per_s = rate_of(p->faults_per_s, guest->faults, p->faults, step_s, 1);
		p->stall = rate_of(p->stall, guest->stall_ns, p->stall_ns, step_s, 1e-9);
		p->swaps_per_s =
			tells && p->has_swap_ins ? rate_of(p->swaps_per_s, guest->guest_swap_ins, p->swap_ins, step_s, 1) : 0;
	}
	/* While the clock stands still nothing is forgotten: what was counted then is seen with the next step. */
	if (!p->known || step_s > 0) {
		p->faults = guest->faults;
		p->stall_ns = guest->stall_ns;
		p->swap_ins = guest->guest_swap_ins;
		p->has_swap_ins = tells;
	}
}

/* --- needs --- */

/* What the guest could have by itself: RAM that is not in its balloon. */
static double visible_pages(const struct arbiter_guest *guest)
{
	return arbiter_max(arbiter_pages(guest->size_pages) - arbiter_pages(guest->balloon_pages), 0);
}

/* Short inside, and its balloon is to blame. */
static bool is_short_inside(const struct arbiter_past *p, const struct arbiter_guest *guest)
{
	if (!guest->has_balloon || guest->balloon_pages == 0)
		return false;
	bool none = guest->guest_available_pages != ARBITER_UNKNOWN &&
		    arbiter_pages(guest->guest_available_pages) < visible_pages(guest) / 32;
	return none || p->swaps_per_s >= PRESSED_SWAPS;
}

/* Pages in use now, as far as anybody can tell. */
static double seen_in_use(const struct arbiter_guest *guest, double used)
{
	if (guest->active_pages)
		return arbiter_min(arbiter_pages(guest->active_pages), used);
	if (guest->guest_available_pages == ARBITER_UNKNOWN)
		return used;
	/* Of what it could still get, pages that it never touched take no memory. */
	double untouched = arbiter_untouched(guest, used);
	double idle = arbiter_max(arbiter_pages(guest->guest_available_pages) - untouched, 0);
	return arbiter_max(used - idle, 0);
}

/* Seen at once when it begins. */
static void learn_growth(struct arbiter_past *p, double touched, double step_s)
{
	double rate = p->known && step_s > 0 ? arbiter_max(touched - p->touched, 0) / arbiter_max(step_s, LEAST_STEP_S) : 0;
	if (rate >= p->growth)
		p->growth = rate;
	else
		p->growth += (rate - p->growth) * fraction_of(step_s, RATE_S);
	p->touched = touched;
}

/* resident: of used, what is not compressed: that was not in use for long. */
static void learn_heat(struct arbiter_past *p, double used, double in_use, double resident, double step_s)
{
	/* What has just been taken is in use, long before samples show it. */
	if (p->known && used > p->used + p->used / 256) {
		p->hot += used - p->used;
		p->warm_s = WARM_S;
	}
	if (in_use >= p->hot || !p->known)
		p->hot = in_use;
	else if (p->warm_s <= 0)
		p->hot += (in_use - p->hot) * fraction_of(step_s, COOL_S);
	p->warm_s -= step_s;
	p->hot = arbiter_min(p->hot, resident);
}

static void set_bounds(const struct arbiter_guest *guest, struct arbiter_work *w)
{
	double size = arbiter_pages(guest->size_pages), all = size + size / 64 + 256; /* tables, holes of the compressed tier */
	w->least = arbiter_max(arbiter_min(arbiter_pages(guest->min_pages), all),
			       arbiter_min(arbiter_max(size, 1), ARBITER_LEAST_PAGES));
	w->most = guest->max_pages ? arbiter_min(arbiter_pages(guest->max_pages), all) : all;
	w->most = arbiter_max(w->most, w->least);
	if (guest->pinned)
		w->least = w->most = all;
	w->fixed = guest->pinned;
	w->used = arbiter_min(arbiter_pages(guest->used_pages), all);
}

/* Nothing is known: it keeps what it has; a guest that has nothing yet is believed to want all that it may have. */
static void assume(const struct arbiter_past *p, struct arbiter_work *w)
{
	w->blind = true;
	w->used = p->target ? arbiter_pages(p->target) : 0;
	w->hot = w->need = w->want = w->used;
	if (w->fresh) {
		w->hot = w->need = w->want = w->most;
	} else if (!w->fixed) {
		w->least = w->most = arbiter_clamp(w->used, w->least, w->most);
		w->fixed = true;
	}
}

void arbiter_demand(struct arbiter_past *p, const struct arbiter_guest *guest, uint64_t now_ns, double step_s, double mean_loss,
		    unsigned bend_percent, struct arbiter_work *w)
{
	memset(w, 0, sizeof(*w));
	set_bounds(guest, w);
	w->fresh = p->target == 0;
	w->shares = guest->shares < ARBITER_MOST_SHARES ? guest->shares : ARBITER_MOST_SHARES;
	if (p->pressed_ns > now_ns)
		p->pressed_ns = now_ns ? now_ns : 1;
	if (!guest->has_stats) {
		p->known = false;
		p->faults_per_s = p->stall = p->swaps_per_s = 0;
		p->loss = -1;
		assume(p, w);
		return;
	}
	size_t nr = !guest->curve ? 0 : guest->nr_points < MOST_POINTS ? guest->nr_points : MOST_POINTS;
	double in_use = seen_in_use(guest, w->used), target = arbiter_pages(p->target);
	learn_rates(p, guest, step_s);
	learn_growth(p, w->used - arbiter_pages(guest->stored_taken_pages) + arbiter_pages(guest->stored_pages), step_s);
	double resident = arbiter_max(w->used - arbiter_pages(guest->stored_taken_pages), 0);
	learn_heat(p, w->used, in_use, resident, step_s);
	bend(p, guest, nr, step_s, mean_loss);

	bool at_target = !w->fresh && w->used >= target - target / 16;
	bool stalls = at_target && (p->faults_per_s >= PRESSED_FAULTS || p->stall >= PRESSED_STALL);
	bool short_inside = is_short_inside(p, guest);
	/* Each page that faults is one more that is in use; half a second's worth is given at a time, so that few faults ask for little. */
	double more = stalls ? arbiter_min(p->faults_per_s / 2, w->used / 4) : 0;
	p->hot = arbiter_min(p->hot + more, resident);
	if (stalls)
		p->warm_s = WARM_S;
	if (short_inside)
		more = arbiter_max(more, arbiter_max(w->used, arbiter_pages(guest->balloon_pages)) / 16);
	w->pressed = stalls || short_inside;
	if (w->pressed)
		p->pressed_ns = now_ns ? now_ns : 1;
	w->lately = p->pressed_ns && now_ns - p->pressed_ns <= LATELY_NS;
	/* A curve tells of what was sampled, no more than all of it; where it says less than is seen in use, it is old. */
	double need = arbiter_max(p->hot + p->hot / 16, nr ? curve_need(guest->curve, nr) : 0);
	if (w->lately)
		need = arbiter_max(need, w->used + more);
	w->need = arbiter_max(arbiter_min(need, w->most), w->least);
	/* What it is about to take is in use, as what it brings back. */
	w->hot = p->hot + arbiter_max(more, p->growth * AHEAD_S);
	/* What is compressed comes back as fast as it goes, and nothing idle is left: all of it is in use. */
	if (w->lately && p->stall >= THRASHING && p->hot >= resident - resident / 8)
		w->hot = arbiter_max(w->hot, w->used);
	w->want = w->used + w->used / 64 + p->growth * AHEAD_S;
	if (w->lately || w->fresh)
		w->want = arbiter_max(w->want, w->need);
	p->known = true;
	p->used = w->used;
	w->shares *= 1 + p->bend * bend_percent / 100;
}
