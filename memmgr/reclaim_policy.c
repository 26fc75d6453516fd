/*
 * The policy of the reclaimer.
 *
 * A guest whose use passes its target is pushed 1/64 below it, then left alone until it passes the target again. The way down has
 * three steps, of which only the last two give memory back: pages are taken into limbo, which tells whether they are in use; those
 * that nobody touched are compressed; what must, goes to disk.
 *
 *   BELOW (stay_below) -- used > target --> TAKING (go_down) -- no gain, no disk --> FUTILE (probe)
 *     ^                                      |      ^                                |    |
 *     |                                      |      +-- a probe gains, a disk comes -+    |
 *     +------- used <= target - 1/64 --------+--------------------------------------------+
 *
 * How much. Each page taken is expected to give back its gain, what compression saves, times the chance that it does not come back
 * from limbo first; pages that wait in limbo are counted with what they will give. So no more is taken than needed, and no more
 * compressed than needed: the target is not overshot however long limbo lasts.
 *
 * How long in limbo. All of limbo_ms near the target, none when 1/16 above it: memory is short then, and a wrong victim is cheaper
 * than waiting. A working set larger than the target would come back from limbo for ever: so the hurry grows while the target is
 * not kept, to all of it in 10 s, and goes in a minute. The target then holds at the cost of the guest's faults, which is what the
 * one who set it has asked for.
 *
 * When not. Pages that do not compress, where no disk takes them, gain nothing: then 256 pages are tried after a second, after two,
 * and so on up to 64. Nothing is looked at without a target; below it, seldom: what a guest could fill at 1 GiB/s decides, or a
 * second.
 *
 * Invariants:
 *  1. Pages are never taken below the floor, nor while used <= target - target / 64.
 *  2. More use never means fewer pages taken, or longer limbo.
 */
#include "memmgr/reclaim_policy.h"

#include <stddef.h>

enum {
	PAGE_BYTES = 4096,
	BELOW_SHIFT = 6, /* how far below the target it stops: 1/64 */
	HURRY_SHIFT = 4, /* above the target by 1/16: no time in limbo */
	HURRY_UP_MS = 10000,
	HURRY_DOWN_MS = 60000,
	TAKE_MOST = 16384, /* at once; of a small guest 1/16 of the target */
	TAKE_SHIFT = 4,
	PROBE_PAGES = 256,
	GAIN_PAGES = 1024,
	FUTILE_FIRST_MS = 1000,
	FUTILE_MOST_MS = 64000,
	PAUSE_FIRST_MS = 20,
	PAUSE_MOST_MS = 1000,
	BELOW_MOST_MS = 10000,
	FILL_PER_S = 262144, /* pages that a guest fills at most, about: 1 GiB/s */
	BUSY_MS = 10,
	LIMITED_MS = 50,
	WAIT_MOST_MS = 200,
	LEARN_PAGES = 1024,         /* so many make a half of what is believed */
	DENSE_RETURNS_PER_S = 1000, /* more than that come back: no time for zstd */
	STEP_MOST_MS = 1000,
	DISK_AGAIN_MS = 30000,
	DISK_PROBE_RAW = 64,
	DISK_PROBE_BYTES = 256 << 10,
};
#define LEAST_GAIN (1.0 / 16) /* of a page: less is none */
/* A page that saves less is kept as it is; a tier that seems to save less has holes, which are closed. */
#define WORTHWHILE_GAIN (1.0 / 8)
#define LEAST_STAYING (1.0 / 8) /* of taken pages: no more than eight are taken to keep one */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static double min_double(double a, double b)
{
	return a < b ? a : b;
}

static double max_double(double a, double b)
{
	return a > b ? a : b;
}

/* a - b, or 0. */
static uint64_t over(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* --- what is learnt --- */

/* Moves a fraction towards hits of nr, the more of them the further. */
static void learn_fraction(double *fraction, uint64_t hits, uint64_t nr)
{
	if (nr == 0)
		return;
	double seen = min_double((double)hits / (double)nr, 1);
	*fraction += (seen - *fraction) * (double)nr / (double)(nr + LEARN_PAGES);
}

static double learn(struct reclaim_policy *p, const struct reclaim_input *in)
{
	if (!p->started) {
		*p = (struct reclaim_policy){
			.started = true, .compressible = 1, .last_ns = in->now_ns, .last_used = in->used_pages};
	} else {
		uint64_t compressed = over(in->compressed, p->compressed),
			 incompressible = over(in->incompressible, p->incompressible);
		uint64_t evicted = over(in->evicted, p->evicted), returned = over(in->limbo_returns, p->limbo_returns);
		learn_fraction(&p->compressible, compressed, compressed + incompressible);
		learn_fraction(&p->returning, returned, evicted > returned ? evicted : returned);
	}
	double step_s = min_double((double)over(in->now_ns, p->last_ns) / 1e9, STEP_MOST_MS / 1e3);
	if (step_s > 0) {
		double per_s = (double)over(in->store_returns, p->store_returns) / step_s;
		p->store_returns_per_s += (per_s - p->store_returns_per_s) * step_s / (step_s + 1);
	}
	p->last_ns = in->now_ns > p->last_ns ? in->now_ns : p->last_ns;
	p->compressed = in->compressed;
	p->incompressible = in->incompressible;
	p->limbo_returns = in->limbo_returns;
	p->store_returns = in->store_returns;
	return step_s;
}

/* What of a page that compresses is given back. */
static double gain_of_compressible(const struct reclaim_input *in)
{
	/* Clusters that are open or half empty say little. The best is believed until then, so that not too much is compressed. */
	if (in->compressed_pages < GAIN_PAGES)
		return 1;
	double bytes = (double)in->compressed_bytes / (double)in->compressed_pages;
	return max_double(1 - bytes / PAGE_BYTES, WORTHWHILE_GAIN);
}

/* --- below the target --- */

static void grow_pause(struct reclaim_policy *p)
{
	uint32_t next = 2 * p->pause_ms;
	p->pause_ms = next < PAUSE_FIRST_MS ? PAUSE_FIRST_MS : next < PAUSE_MOST_MS ? next : PAUSE_MOST_MS;
}

static void stay_below(struct reclaim_policy *p, const struct reclaim_input *in, struct reclaim_decision *out)
{
	uint64_t room = over(in->target_pages, in->used_pages);
	uint64_t fill_ms = min_u64(room * 1000 / FILL_PER_S, BELOW_MOST_MS);
	if (in->used_pages > p->last_used + room / 32 + 16)
		p->pause_ms = 0;
	grow_pause(p);
	out->why = RECLAIM_BELOW;
	out->headroom_pages = (int64_t)room;
	out->again_ms = fill_ms > p->pause_ms ? (uint32_t)fill_ms : p->pause_ms;
	/* Near the target there is a use for memory, and time. */
	out->dense = in->dense && room < in->target_pages / 8 && p->store_returns_per_s < DENSE_RETURNS_PER_S;
}

/* --- above it --- */

/* What a decision is made of. */
struct plan {
	uint64_t excess;   /* pages to give back */
	uint64_t takeable; /* pages above the floor */
	double gain;       /* of a page that is compressed, in RAM alone */
	double gain_all;   /* with what the disk takes because it does not compress */
	uint64_t most;     /* that are taken, or compressed, at once */
	bool disk;
};

static struct plan make_plan(const struct reclaim_policy *p, const struct reclaim_input *in, uint64_t low)
{
	uint64_t limit = in->compressed_limit_bytes, most = in->target_pages >> TAKE_SHIFT;
	bool tier_full = limit && in->compressed_bytes >= limit - limit / 16;
	struct plan plan = {
		.excess = over(in->used_pages, low),
		.takeable = over(in->resident_pages, in->floor_pages),
		.disk = in->disk == RECLAIM_DISK_OK,
		.most = most < PROBE_PAGES ? PROBE_PAGES
			: most < TAKE_MOST ? most
					   : TAKE_MOST,
	};
	if (plan.disk || !tier_full)
		plan.gain = p->compressible * gain_of_compressible(in);
	plan.gain_all = plan.gain + (plan.disk ? 1 - p->compressible : 0);
	return plan;
}

/* A disk that is full, or has failed, is tried with a little now and then. */
static void probe_disk(struct reclaim_policy *p, const struct reclaim_input *in, struct reclaim_decision *out)
{
	if (in->disk != RECLAIM_DISK_FULL && in->disk != RECLAIM_DISK_FAILED) {
		p->disk_probe_ns = 0;
		return;
	}
	if (p->disk_probe_ns && in->now_ns >= p->disk_probe_ns) {
		out->store_raw_pages = min_u64(in->raw_pages, DISK_PROBE_RAW);
		out->write_bytes = DISK_PROBE_BYTES;
	}
	if (in->now_ns >= p->disk_probe_ns)
		p->disk_probe_ns = in->now_ns + DISK_AGAIN_MS * 1000000ull;
}

/* Pages' worth that the disk is to take. */
static uint64_t plan_write(const struct plan *plan, const struct reclaim_input *in, struct reclaim_decision *out)
{
	if (!plan->disk)
		return 0;
	uint64_t tier = in->compressed_bytes / PAGE_BYTES, most = in->target_pages / 4;
	if (in->compressed_limit_bytes)
		most = min_u64(most, in->compressed_limit_bytes / PAGE_BYTES / 8 * 7);
	out->store_raw_pages = min_u64(in->raw_pages, plan->excess);
	uint64_t write = over(tier, most);
	if (plan->takeable == 0 || plan->gain < LEAST_GAIN)
		write = tier;
	write = min_u64(write + out->store_raw_pages, plan->excess);
	out->write_bytes = write * PAGE_BYTES;
	return write;
}

/* Nothing is gained by taking: only a few, now and then, to see whether it still is so. Returns whether the probe is due. */
static bool probe(struct reclaim_policy *p, const struct reclaim_input *in, struct reclaim_decision *out)
{
	bool due = p->futile_ms == 0 || in->now_ns >= p->probe_ns;
	if (due) {
		p->futile_ms = p->futile_ms == 0               ? FUTILE_FIRST_MS
			       : p->futile_ms < FUTILE_MOST_MS ? 2 * p->futile_ms
							       : FUTILE_MOST_MS;
		p->probe_ns = in->now_ns + (uint64_t)p->futile_ms * 1000000;
	}
	uint64_t left_ms = (p->probe_ns - in->now_ns) / 1000000;
	out->why = RECLAIM_FUTILE;
	out->again_ms = left_ms < PAUSE_MOST_MS ? (uint32_t)left_ms + 1 : PAUSE_MOST_MS;
	return due;
}

/* Whole pages, at most as many as are taken or compressed at once. */
static uint64_t pages_of(double pages, uint64_t most)
{
	return pages >= (double)most ? most : pages > 0 ? (uint64_t)pages + 1 : 0;
}

/* Whether no victims were found when they were looked for: then that is left for a while, however often we are asked. */
static bool is_dry(struct reclaim_policy *p, const struct reclaim_input *in)
{
	if (p->asked && in->evicted == p->evicted) {
		p->dry_ms = p->dry_ms == 0 ? PAUSE_FIRST_MS : p->dry_ms < PAUSE_MOST_MS / 2 ? 2 * p->dry_ms : PAUSE_MOST_MS;
		p->rest_ns = in->now_ns + p->dry_ms * 1000000ull;
	} else if (p->asked) {
		p->dry_ms = 0;
		p->rest_ns = 0;
	}
	return in->now_ns < p->rest_ns;
}

/* What is to be taken and compressed, save for the rate. */
static void plan_taking(struct reclaim_policy *p, const struct reclaim_input *in, const struct plan *plan, uint64_t write,
			struct reclaim_decision *out)
{
	uint64_t waiting = over(in->limbo_pages, in->raw_pages), wanted = 0;
	if (plan->gain_all < LEAST_GAIN) {
		if (probe(p, in, out))
			wanted = PROBE_PAGES;
		out->compress_pages = min_u64(waiting + wanted, plan->most);
	} else {
		p->futile_ms = 0;
		double staying = max_double(1 - p->returning, LEAST_STAYING), needed = (double)(plan->excess - write);
		/* Long above the target, what waits in limbo is no excuse any more. */
		double expected = (double)waiting * plan->gain_all * staying * (1 - p->hurry);
		wanted = pages_of((needed - expected) / (plan->gain_all * staying), plan->most);
		out->compress_pages = pages_of(needed / plan->gain_all, plan->most);
		out->why = wanted ? RECLAIM_TAKING : RECLAIM_WAITING;
	}
	out->take_pages = is_dry(p, in) ? 0 : min_u64(wanted, plan->takeable);
}

/* When to ask again. */
static uint32_t plan_again(struct reclaim_policy *p, const struct reclaim_input *in, const struct plan *plan, uint64_t write,
			   struct reclaim_decision *out)
{
	uint64_t waiting = over(in->limbo_pages, in->raw_pages);
	if (out->why == RECLAIM_LIMITED) {
		p->pause_ms = 0;
		return LIMITED_MS;
	}
	if (out->take_pages == 0 && waiting == 0 && write == 0) {
		grow_pause(p);
		if (plan->takeable == 0)
			out->why = RECLAIM_FLOOR;
		return p->pause_ms;
	}
	p->pause_ms = 0;
	if (out->take_pages == plan->most)
		return 1;
	if (out->take_pages == 0 && write == 0 && out->limbo_ms > in->oldest_limbo_ms) {
		uint32_t left_ms = out->limbo_ms - in->oldest_limbo_ms;
		return left_ms < BUSY_MS ? BUSY_MS : left_ms < WAIT_MOST_MS ? left_ms : WAIT_MOST_MS;
	}
	return out->limbo_ms > WAIT_MOST_MS ? 5 * BUSY_MS : BUSY_MS;
}

static void go_down(struct reclaim_policy *p, const struct reclaim_input *in, uint64_t low, struct reclaim_decision *out)
{
	struct plan plan = make_plan(p, in, low);
	double urgency = (double)over(in->used_pages, in->target_pages) * (1 << HURRY_SHIFT) / (double)in->target_pages;
	double hurry = min_double(max_double(urgency, p->hurry), 1);

	out->headroom_pages = 0;
	out->limbo_ms = (uint32_t)(in->limbo_ms * (1 - hurry));
	probe_disk(p, in, out);
	uint64_t write = plan_write(&plan, in, out);
	plan_taking(p, in, &plan, write, out);
	/* In haste only when that is all that can be done: it takes time. */
	bool nothing_else = out->take_pages == 0 && in->limbo_pages <= in->raw_pages && write == 0;
	out->dense = in->dense && (hurry < 0.5 || nothing_else) && p->store_returns_per_s < DENSE_RETURNS_PER_S;
	if (in->evict_rate) {
		if ((double)out->take_pages > p->credit) {
			out->take_pages = (uint64_t)p->credit;
			out->why = out->why == RECLAIM_FUTILE ? RECLAIM_FUTILE : RECLAIM_LIMITED;
		}
		p->credit -= (double)out->take_pages;
	}
	if (out->why != RECLAIM_FUTILE)
		out->again_ms = plan_again(p, in, &plan, write, out);
}

void reclaim_decide(struct reclaim_policy *p, const struct reclaim_input *in, struct reclaim_decision *out)
{
	double step_s = learn(p, in);
	uint64_t low = in->target_pages - (in->target_pages >> BELOW_SHIFT);
	*out = (struct reclaim_decision){.why = RECLAIM_NO_TARGET, .again_ms = RECLAIM_NEVER, .headroom_pages = RECLAIM_NO_LIMIT};

	if (in->target_pages != p->last_target) {
		/* Another question: what was futile may not be. */
		p->pause_ms = p->futile_ms = p->dry_ms = 0;
		p->rest_ns = 0;
		p->last_target = in->target_pages;
	}
	p->credit = min_double(p->credit + step_s * in->evict_rate, in->evict_rate / 4.0 + 1);
	bool above = in->used_pages > in->target_pages;
	p->hurry += above ? step_s * 1000 / HURRY_UP_MS : -step_s * 1000 / HURRY_DOWN_MS;
	p->hurry = max_double(min_double(p->hurry, 1), 0);

	if (in->target_pages == 0) {
		p->reclaiming = false;
		p->hurry = 0;
	} else {
		if (above && !p->reclaiming)
			p->pause_ms = 0;
		p->reclaiming = above || (p->reclaiming && in->used_pages > low);
		if (p->reclaiming) {
			go_down(p, in, low, out);
		} else {
			stay_below(p, in, out);
		}
	}
	p->asked = out->take_pages;
	p->evicted = in->evicted;
	p->last_used = in->used_pages;
}

const char *reclaim_why_name(enum reclaim_why why)
{
	static const char *const names[] = {
		[RECLAIM_NO_TARGET] = "no-target",   [RECLAIM_BELOW] = "below-target", [RECLAIM_TAKING] = "taking",
		[RECLAIM_WAITING] = "waiting",       [RECLAIM_LIMITED] = "limited",    [RECLAIM_FLOOR] = "floor",
		[RECLAIM_FUTILE] = "incompressible",
	};
	return names[why];
}
