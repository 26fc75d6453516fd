/*
 * The working set, estimated from pages that were taken away and come back when they are touched.
 *
 * What is sampled. Let F(t) be the fraction of all pages whose next touch is at most t away, seen from a random moment. Then W(t) =
 * nr_pages * F(t) is Denning's working set, the distinct pages touched in a window of t, and dW/dt is the rate of faults of a
 * memory that holds just the working set of window t (Denning, Schwartz, "Properties of the working-set model", CACM 15:3, 1972).
 * LRU with W(t) pages behaves nearly the same. A sample that was taken at a random moment and touched at age t is one observation
 * of F; VMware ESX samples so with one window (Waldspurger, "Memory resource management in VMware ESX Server", OSDI 2002), here all
 * ages are kept.
 *
 * Which pages. Page numbers are cut into strata of equal size, a round visits them in random order and takes one random page of
 * each. The rate is kept by a credit that grows with time and is capped, so that no burst follows a pause. A page that is out
 * already is sampled again without being taken again: leaving it out would prefer pages that are touched. It then has several
 * entries, which one touch ends.
 *
 * How long. Samples wait in two rings: most of them for 10 s, a few each second for 164 s, in the order in which they were taken.
 * Ages fall into buckets whose upper edges double from 10 ms. Each ring has a hand for each edge:
 *
 *   working_set_taken() --> tail ... hand 0 ... hand 1 ... last hand ... head --> working_set_expire()
 *                           young                                          told, and free
 *
 *  1. Hand k stands at the oldest entry that is younger than edge k.
 *  2. When hand k passes an entry, its fate in bucket k is counted, once: touched in it, or survived it; if it ended before, nothing. So both are counted
 *     at the same age, and a sample whose time has not come biases nothing.
 *  3. An entry is in the table of pages, or in the chain of a younger entry of its page that is, if and only if it is OUT.
 *  4. Entries between head and tail are in use: at most a ring's size, so memory is bounded; a full ring takes no samples.
 *
 * The estimate is the product-limit one (Kaplan, Meier, "Nonparametric estimation from incomplete observations", JASA 53, 1958)
 * with Greenwood's variance: the chance to survive all buckets is the product of the chances to survive each. What is counted goes
 * into epochs of 5 s by the time of counting, and up to 32 epochs are added up. At the end of each, every way to split them into
 * older and newer ones is tried: where the two differ by more than chance explains, the older ones are forgotten (after Bifet,
 * Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007). So a steady guest is known exactly, and a change
 * is seen at once.
 *
 * Evicted pages are not sampled; their refaults are all known instead. One of age a is a touch that each memory with a window below
 * a would have missed: it adds 1 to the faults of windows below a, and min(t, a) page seconds to W(t) (Little's law).
 */
#include "memmgr/working_set.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "memmgr/os.h"

#define NR_BUCKETS WORKING_SET_POINTS

enum {
	FIRST_EDGE_MS = 10,
	RING_SIZE = 4096,
	NR_RINGS = 2,
	TABLE_BITS = 14, /* twice as many places as entries */
	TABLE_SIZE = 1 << TABLE_BITS,
	NR_STRATA = 1024,
	EPOCH_MS = 5000,
	NR_EPOCHS = 33,  /* the current one and 32 whole ones */
	SHORT_EDGE = 10, /* the last edge of the first ring: 10.24 s */
	LONG_PER_S = 20, /* samples that go into the second: 164 s of them fit */
	BOOST_MOST = 4,
	STEP_MOST_MS = 1000,
	CREDIT_MS = 250,
};
#define IDLE_FRACTION 0.05 /* below it more samples would not pay */
#define CHANGE_SIGMAS 5.0  /* some hundred splits are tried each minute */

enum fate {
	FATE_TOUCHED = 0,    /* + bucket */
	FATE_FORGOTTEN = 16, /* + bucket */
	FATE_OUT = 32,       /* nothing happened yet */
};

struct entry {
	uint32_t page;
	uint32_t taken_ms; /* of the estimator's own time, wrapping */
	uint16_t older;    /* index + 1 of another entry of the page, 0: none */
	uint8_t fate;
};

/* Positions only grow; position % RING_SIZE is the entry's place. */
struct ring {
	uint32_t head, tail;
	uint32_t hands[NR_BUCKETS];
};
static const unsigned nr_hands[NR_RINGS] = {SHORT_EDGE + 1, NR_BUCKETS};

struct epoch {
	/* Counted in halves: who was lost sight of in the bucket counts as one, all others as two. */
	uint32_t at_risk[NR_BUCKETS];
	uint32_t touched[NR_BUCKETS];
	uint32_t taken, absent;
	uint32_t refaults[NR_BUCKETS + 1]; /* by the bucket of their age; the last: older than the horizon */
	uint32_t ms;
};

struct working_set {
	uint32_t nr_pages;
	uint64_t random_state;
	uint64_t seen_ns; /* the caller's clock when it was last seen; 0: never */
	uint64_t time_ns; /* our own: without gaps and steps back */

	uint32_t rate;
	uint32_t taking;     /* pages/s: rate, boosted and bounded */
	uint64_t credit;     /* pages * 1e9 */
	uint32_t stratum;    /* the next one, in the order of strata */
	uint32_t until_long; /* samples until one goes into the second ring */
	uint16_t strata[NR_STRATA];

	struct epoch epochs[NR_EPOCHS]; /* a ring */
	unsigned epoch, nr_past;        /* the current one, and how many before it count */
	uint64_t sampled_ms;            /* since the rate was set */

	unsigned nr_out;
	struct ring rings[NR_RINGS];
	uint16_t table[TABLE_SIZE]; /* open addressing; index + 1 of the page's youngest entry */
	struct entry entries[NR_RINGS * RING_SIZE];
};

/* Where bucket k begins and ends. */
static uint32_t start_ms(unsigned k)
{
	return k ? (uint32_t)FIRST_EDGE_MS << (k - 1) : 0;
}

static uint32_t edge_ms(unsigned k)
{
	return (uint32_t)FIRST_EDGE_MS << k;
}

static unsigned bucket_of(uint32_t age_ms)
{
	unsigned k = 0;
	while (k < NR_BUCKETS && age_ms >= edge_ms(k))
		k++;
	return k;
}

static uint32_t random_below(struct working_set *ws, uint32_t below)
{
	/* SplitMix64 (Steele, Lea, Flood, 2014). */
	uint64_t z = ws->random_state += 0x9e3779b97f4a7c15ull;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	z ^= z >> 31;
	return (uint32_t)((z >> 32) * below >> 32);
}

/* --- the table of pages that are out: linear probing, closed up when one leaves (Knuth, TAOCP 3, 6.4 R) --- */

static uint32_t home(uint32_t page)
{
	return page * 2654435769u >> (32 - TABLE_BITS);
}

/* The page's place in the table, or the free one where it belongs. */
static uint32_t find(const struct working_set *ws, uint32_t page)
{
	uint32_t at = home(page);
	while (ws->table[at] && ws->entries[ws->table[at] - 1].page != page)
		at = (at + 1) % TABLE_SIZE;
	return at;
}

static void free_place(struct working_set *ws, uint32_t at)
{
	uint32_t hole = at;
	for (uint32_t next = (at + 1) % TABLE_SIZE; ws->table[next]; next = (next + 1) % TABLE_SIZE) {
		uint32_t from = home(ws->entries[ws->table[next] - 1].page);
		/* It may move to the hole unless it belongs somewhere after it. */
		if ((next - from) % TABLE_SIZE < (next - hole) % TABLE_SIZE)
			continue;
		ws->table[hole] = ws->table[next];
		hole = next;
	}
	ws->table[hole] = 0;
}

/* Takes one entry out of its page's chain. Returns whether it was the last one. */
static bool unlink_entry(struct working_set *ws, uint16_t index)
{
	uint32_t at = find(ws, ws->entries[index].page);
	uint16_t *link = &ws->table[at];
	while (*link != index + 1)
		link = &ws->entries[*link - 1].older;
	uint16_t older = ws->entries[index].older;
	if (link == &ws->table[at] && !older) {
		free_place(ws, at);
		return true;
	}
	*link = older;
	return false;
}

/* --- time --- */

static struct epoch *past_epoch(struct working_set *ws, unsigned ago)
{
	return &ws->epochs[(ws->epoch + NR_EPOCHS - ago) % NR_EPOCHS];
}

/* The fate of one entry in bucket k, which it has just left (invariant 2). */
static void count(struct epoch *e, uint8_t fate, unsigned k)
{
	if (fate == FATE_OUT) {
		e->at_risk[k] += 2;
	} else if (fate >= FATE_FORGOTTEN) {
		unsigned bucket = fate - FATE_FORGOTTEN;
		e->at_risk[k] += bucket > k ? 2 : bucket == k;
	} else if (fate >= k) {
		e->at_risk[k] += 2;
		e->touched[k] += 2 * (fate == k);
	}
}

static void move_hands(struct working_set *ws, uint32_t now_ms)
{
	struct epoch *e = past_epoch(ws, 0);
	for (unsigned r = 0; r < NR_RINGS; r++) {
		struct ring *ring = &ws->rings[r];
		for (unsigned k = 0; k < nr_hands[r]; k++) {
			for (; ring->hands[k] != ring->tail; ring->hands[k]++) {
				const struct entry *entry = &ws->entries[r * RING_SIZE + ring->hands[k] % RING_SIZE];
				if (now_ms - entry->taken_ms < edge_ms(k))
					break;
				count(e, entry->fate, k);
			}
		}
	}
}

static void epoch_ends(struct working_set *ws);

static void advance(struct working_set *ws, uint64_t now_ns)
{
	uint64_t step = now_ns > ws->seen_ns && ws->seen_ns ? now_ns - ws->seen_ns : 0;
	if (now_ns > ws->seen_ns)
		ws->seen_ns = now_ns;
	if (step > STEP_MOST_MS * 1000000ull)
		step = STEP_MOST_MS * 1000000ull;
	uint64_t before_ms = ws->time_ns / 1000000;
	ws->time_ns += step;
	uint32_t ms = (uint32_t)(ws->time_ns / 1000000 - before_ms);
	if (!ws->rate)
		return;
	uint64_t most = ws->taking * (uint64_t)CREDIT_MS * 1000000;
	if (most < 1000000000)
		most = 1000000000;
	ws->credit += step * ws->taking;
	if (ws->credit > most)
		ws->credit = most;
	if (ms == 0)
		return;
	move_hands(ws, (uint32_t)(ws->time_ns / 1000000));
	ws->sampled_ms += ms;
	past_epoch(ws, 0)->ms += ms;
	if (past_epoch(ws, 0)->ms >= EPOCH_MS)
		epoch_ends(ws);
}

/* --- estimates --- */

/* Adds an epoch to a sum, or takes it away again (sign -1, modulo 2^32). */
static void add(struct epoch *sum, const struct epoch *e, uint32_t sign)
{
	for (unsigned k = 0; k < NR_BUCKETS; k++) {
		sum->at_risk[k] += sign * e->at_risk[k];
		sum->touched[k] += sign * e->touched[k];
		sum->refaults[k] += sign * e->refaults[k];
	}
	sum->refaults[NR_BUCKETS] += sign * e->refaults[NR_BUCKETS];
	sum->taken += sign * e->taken;
	sum->absent += sign * e->absent;
	sum->ms += sign * e->ms;
}

/* The current epoch and those before it, nr in all. */
static struct epoch sum_epochs(const struct working_set *ws, unsigned nr)
{
	struct epoch sum = {.ms = 0};
	for (unsigned ago = 0; ago < nr; ago++)
		add(&sum, &ws->epochs[(ws->epoch + NR_EPOCHS - ago) % NR_EPOCHS], 1);
	return sum;
}

/* Buckets from the first on of which something is known: all of them once nothing survives. */
static unsigned known_buckets(const struct epoch *e)
{
	for (unsigned k = 0; k < NR_BUCKETS; k++) {
		if (e->at_risk[k] == 0)
			return k;
		if (e->touched[k] == e->at_risk[k])
			return NR_BUCKETS;
	}
	return NR_BUCKETS;
}

struct estimate {
	double fraction; /* of all pages */
	double variance;
};

/* F(t). Buckets of which nothing is known count as survived, with all that survived in doubt. */
static struct estimate estimate(const struct epoch *e, uint32_t t_ms)
{
	double survive = 1, greenwood = 0, doubt = 0;
	/* The variance sees half a touch more: where none was seen, or nothing else, it is not zero. */
	double survive_about = 1;
	for (unsigned k = 0; k < NR_BUCKETS && t_ms > start_ms(k) && survive > 0; k++) {
		double part = t_ms >= edge_ms(k) ? 1 : (double)(t_ms - start_ms(k)) / (edge_ms(k) - start_ms(k));
		double n = e->at_risk[k] / 2.0, d = e->touched[k] / 2.0;
		if (n == 0) {
			doubt = survive;
			break;
		}
		double hazard = (d + 0.5) / (n + 1);
		survive *= part == 1 || d == n ? 1 - part * d / n : pow(1 - d / n, part);
		survive_about *= part == 1 ? 1 - hazard : pow(1 - hazard, part);
		greenwood += part * part * hazard / (n * (1 - hazard));
	}
	double absent = e->taken ? (double)e->absent / e->taken : 0;
	double absent_about = (e->absent + 0.5) / (e->taken + 1.0);
	double present = 1 - absent;
	return (struct estimate){
		.fraction = present * (1 - survive),
		.variance = present * present * (survive_about * survive_about * greenwood + doubt * doubt / 12) +
			    (1 - survive) * (1 - survive) * absent_about * (1 - absent_about) / (e->taken + 1.0),
	};
}

/* How many standard deviations two times differ at most, at several ages that both know. */
static double difference(const struct epoch *older, const struct epoch *newer)
{
	static const unsigned edges[] = {4, 7, SHORT_EDGE};
	unsigned known = known_buckets(older), most = known_buckets(newer);
	double worst = 0;
	if (known < most)
		most = known;
	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]) && edges[i] < most; i++) {
		struct estimate a = estimate(older, edge_ms(edges[i])), b = estimate(newer, edge_ms(edges[i]));
		double sigmas = fabs(a.fraction - b.fraction) / sqrt(a.variance + b.variance);
		if (sigmas > worst)
			worst = sigmas;
	}
	return worst;
}

static void set_taking(struct working_set *ws, double boost)
{
	double taking = ws->rate * boost;
	/* Of a tiny guest not all pages should be out all the time. */
	double most = ws->nr_pages / 4.0 + 1;
	if (most > WORKING_SET_MOST_PER_S)
		most = WORKING_SET_MOST_PER_S;
	ws->taking = (uint32_t)(taking < most ? taking : most);
}

static void epoch_ends(struct working_set *ws)
{
	/* Forgets what was before a change: where the difference is clearest. */
	unsigned cut = 0, nr = ws->nr_past + 1;
	struct epoch sum = sum_epochs(ws, nr), newer = {.ms = 0};
	double worst = CHANGE_SIGMAS;
	for (unsigned at = 1; at < nr; at++) {
		struct epoch older = sum;
		add(&newer, past_epoch(ws, at - 1), 1);
		add(&older, &newer, -1u);
		double sigmas = difference(&older, &newer);
		if (sigmas > worst) {
			worst = sigmas;
			cut = at;
		}
	}
	if (cut)
		nr = cut;
	ws->nr_past = nr < NR_EPOCHS - 1 ? nr : NR_EPOCHS - 1;

	/* What does not come back costs no fault, so there may be more of it. */
	sum = sum_epochs(ws, nr);
	double back = estimate(&sum, edge_ms(SHORT_EDGE)).fraction;
	set_taking(ws, back < IDLE_FRACTION || ws->sampled_ms < edge_ms(SHORT_EDGE) ? 1
		       : back > 1.0 / BOOST_MOST                                    ? 1 / back
										    : BOOST_MOST);

	ws->epoch = (ws->epoch + 1) % NR_EPOCHS;
	memset(past_epoch(ws, 0), 0, sizeof(struct epoch));
}

int working_set_active(const struct working_set *ws, uint32_t window_ms, uint64_t *pages, uint64_t *error_pages)
{
	if (window_ms > WORKING_SET_HORIZON_MS)
		window_ms = WORKING_SET_HORIZON_MS;
	struct epoch sum = sum_epochs(ws, ws->nr_past + 1);
	unsigned known = known_buckets(&sum);
	/* Where a bucket stays empty although samples are old enough, next to none survive until then. */
	if (sum.taken == 0 || (known < NR_BUCKETS && start_ms(known) < window_ms && ws->sampled_ms < window_ms + EPOCH_MS))
		return -EAGAIN;
	struct estimate e = estimate(&sum, window_ms);
	double refaulted = 0; /* pages * ms, per ms */
	for (unsigned k = 0; k <= NR_BUCKETS; k++) {
		uint32_t age_ms = k < NR_BUCKETS ? (start_ms(k) + edge_ms(k)) / 2 : start_ms(k);
		refaulted += (double)sum.refaults[k] * (age_ms < window_ms ? age_ms : window_ms) / (sum.ms ? sum.ms : 1);
	}
	double active = e.fraction * ws->nr_pages + refaulted;
	*pages = active < ws->nr_pages ? (uint64_t)(active + 0.5) : ws->nr_pages;
	*error_pages = (uint64_t)ceil(sqrt(e.variance) * ws->nr_pages);
	return 0;
}

/*
 * Makes slopes (per ms) fall, where chance has let them rise, by joining neighbours: pool adjacent violators (Ayer et al., 1955).
 */
static void make_fall(double *slopes, unsigned nr)
{
	double sums[NR_BUCKETS], widths[NR_BUCKETS];
	unsigned lengths[NR_BUCKETS], blocks = 0;
	for (unsigned k = 0; k < nr; k++) {
		widths[blocks] = edge_ms(k) - start_ms(k);
		sums[blocks] = slopes[k] * widths[blocks];
		lengths[blocks++] = 1;
		while (blocks > 1 && sums[blocks - 2] / widths[blocks - 2] < sums[blocks - 1] / widths[blocks - 1]) {
			blocks--;
			sums[blocks - 1] += sums[blocks];
			widths[blocks - 1] += widths[blocks];
			lengths[blocks - 1] += lengths[blocks];
		}
	}
	for (unsigned b = 0, k = 0; b < blocks; b++)
		for (unsigned i = 0; i < lengths[b]; i++)
			slopes[k++] = sums[b] / widths[b];
}

size_t working_set_curve(const struct working_set *ws, struct working_set_point *points, size_t max)
{
	struct epoch sum = sum_epochs(ws, ws->nr_past + 1);
	unsigned nr = known_buckets(&sum);
	double slopes[NR_BUCKETS], before = 0, size = 0, late = 0, late_pages = 0;
	struct working_set_point all[NR_BUCKETS];
	if (sum.taken == 0 || nr == 0)
		return 0;
	for (unsigned k = 0; k < nr; k++) {
		double fraction = estimate(&sum, edge_ms(k)).fraction;
		slopes[k] = (fraction - before) * ws->nr_pages / (edge_ms(k) - start_ms(k));
		before = fraction;
	}
	make_fall(slopes, nr);
	for (unsigned k = 0; k <= NR_BUCKETS; k++)
		late += (double)sum.refaults[k] / (sum.ms ? sum.ms : 1);
	for (unsigned k = 0; k < nr; k++) {
		double width = edge_ms(k) - start_ms(k);
		/* In the middle of the bucket, half of its own refaults are older. */
		double own = (double)sum.refaults[k] / (sum.ms ? sum.ms : 1), middle = late - own / 2;
		double pages = size + slopes[k] * width / 2 + late_pages + (late + middle) / 2 * width / 2;
		all[k] = (struct working_set_point){pages < ws->nr_pages ? (uint64_t)pages : ws->nr_pages,
						    (slopes[k] + middle) * 1000};
		size += slopes[k] * width;
		late_pages += middle * width;
		late -= own;
	}
	if (max > nr)
		max = nr;
	for (size_t i = 0; i < max; i++)
		points[i] = all[nr - 1 - i];
	return max;
}

/* --- samples --- */

int working_set_create(uint64_t nr_pages, uint64_t seed, struct working_set **out)
{
	if (nr_pages == 0 || nr_pages > UINT32_MAX)
		return -EINVAL;
	struct working_set *ws = mem_calloc(1, sizeof(*ws));
	if (!ws)
		return -ENOMEM;
	ws->nr_pages = (uint32_t)nr_pages;
	ws->random_state = seed;
	ws->stratum = NR_STRATA;
	*out = ws;
	return 0;
}

void working_set_destroy(struct working_set *ws)
{
	mem_free(ws);
}

/* Nothing more is learnt from what is out: it is told at the next chance. */
static void hurry(struct working_set *ws)
{
	for (unsigned r = 0; r < NR_RINGS; r++)
		for (unsigned k = 0; k < nr_hands[r]; k++)
			ws->rings[r].hands[k] = ws->rings[r].tail;
}

void working_set_set_rate(struct working_set *ws, uint32_t per_s)
{
	if (per_s == ws->rate)
		return;
	bool from_or_to_nothing = !per_s || !ws->rate;
	ws->rate = per_s;
	set_taking(ws, 1);
	if (!from_or_to_nothing)
		return;
	memset(ws->epochs, 0, sizeof(ws->epochs));
	ws->nr_past = 0;
	ws->sampled_ms = 0;
	ws->credit = 0;
	hurry(ws);
}

/* A random page of the round's next stratum. */
static uint32_t draw(struct working_set *ws)
{
	uint32_t first, end;
	/* A tiny guest has strata without pages. */
	do {
		if (ws->stratum == NR_STRATA) {
			/* A new round: a random order (Fisher, Yates). */
			for (uint32_t i = 0; i < NR_STRATA; i++) {
				uint32_t j = random_below(ws, i + 1);
				ws->strata[i] = ws->strata[j];
				ws->strata[j] = (uint16_t)i;
			}
			ws->stratum = 0;
		}
		uint64_t stratum = ws->strata[ws->stratum++];
		first = (uint32_t)(stratum * ws->nr_pages / NR_STRATA);
		end = (uint32_t)((stratum + 1) * ws->nr_pages / NR_STRATA);
	} while (first == end);
	return first + random_below(ws, end - first);
}

/* Entries that are free, whichever ring they go to. */
static uint32_t room(const struct working_set *ws)
{
	uint32_t used[NR_RINGS];
	for (unsigned r = 0; r < NR_RINGS; r++)
		used[r] = ws->rings[r].tail - ws->rings[r].head;
	return RING_SIZE - (used[0] > used[1] ? used[0] : used[1]);
}

/* A sample begins. at is the page's place in the table. */
static void insert(struct working_set *ws, uint32_t page, uint32_t at)
{
	unsigned r = 0;
	if (ws->until_long == 0) {
		r = 1;
		ws->until_long = (ws->taking + LONG_PER_S - 1) / LONG_PER_S;
	}
	struct ring *ring = &ws->rings[r];
	if (ring->tail - ring->head == RING_SIZE)
		return; /* only for one that was not asked for */
	past_epoch(ws, 0)->taken++;
	ws->until_long -= ws->until_long > 0;
	uint16_t index = (uint16_t)(r * RING_SIZE + ring->tail++ % RING_SIZE);
	ws->entries[index] = (struct entry){page, (uint32_t)(ws->time_ns / 1000000), ws->table[at], FATE_OUT};
	ws->table[at] = index + 1;
	ws->nr_out++;
}

size_t working_set_next(struct working_set *ws, uint64_t now_ns, uint32_t *pages, size_t max)
{
	size_t nr = 0;
	advance(ws, now_ns);
	while (ws->rate && ws->credit >= 1000000000 && nr < max && nr < room(ws)) {
		uint32_t page = draw(ws), at = find(ws, page);
		ws->credit -= 1000000000;
		if (ws->table[at])
			insert(ws, page, at);
		else
			pages[nr++] = page;
	}
	return nr;
}

void working_set_taken(struct working_set *ws, uint32_t page, uint64_t now_ns, bool watched)
{
	advance(ws, now_ns);
	uint32_t at = find(ws, page);
	if (watched || ws->table[at]) {
		insert(ws, page, at);
		return;
	}
	past_epoch(ws, 0)->taken++;
	past_epoch(ws, 0)->absent++;
}

/* All entries of a page end now. */
static void end_all(struct working_set *ws, uint32_t page, uint64_t now_ns, enum fate fate)
{
	advance(ws, now_ns);
	uint32_t at = find(ws, page);
	uint16_t link = ws->table[at];
	if (!link)
		return;
	free_place(ws, at);
	for (; link; link = ws->entries[link - 1].older) {
		struct entry *entry = &ws->entries[link - 1];
		/* At most one bucket more than there are, for one that waits to be collected. */
		entry->fate = (uint8_t)(fate + bucket_of((uint32_t)(ws->time_ns / 1000000) - entry->taken_ms));
		ws->nr_out--;
	}
}

void working_set_touched(struct working_set *ws, uint32_t page, uint64_t now_ns)
{
	end_all(ws, page, now_ns, FATE_TOUCHED);
}

void working_set_forget(struct working_set *ws, uint32_t page, uint64_t now_ns)
{
	end_all(ws, page, now_ns, FATE_FORGOTTEN);
}

size_t working_set_expire(struct working_set *ws, uint64_t now_ns, uint32_t *pages, size_t max)
{
	size_t nr = 0;
	advance(ws, now_ns);
	/* Hands stand still without a rate, and pages that were asked for before it was taken back may be taken after it. */
	if (!ws->rate)
		hurry(ws);
	for (unsigned r = 0; r < NR_RINGS; r++) {
		struct ring *ring = &ws->rings[r];
		for (; ring->head != ring->hands[nr_hands[r] - 1] && nr < max; ring->head++) {
			uint16_t index = (uint16_t)(r * RING_SIZE + ring->head % RING_SIZE);
			if (ws->entries[index].fate != FATE_OUT)
				continue;
			ws->nr_out--;
			/* A page that is sampled anew stays out. */
			if (unlink_entry(ws, index))
				pages[nr++] = ws->entries[index].page;
		}
	}
	return nr;
}

unsigned working_set_nr_out(const struct working_set *ws)
{
	return ws->nr_out;
}

void working_set_refault(struct working_set *ws, uint32_t age_ms, uint64_t now_ns)
{
	advance(ws, now_ns);
	if (ws->rate)
		past_epoch(ws, 0)->refaults[bucket_of(age_ms)]++;
}
