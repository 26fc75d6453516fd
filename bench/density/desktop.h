/*
 * A desktop: what lies in its memory, and what its user does with it. All of it follows from a few numbers and seeds, so that every byte can be verified at
 * any time, and so that a program can say what a set of desktops would need at best (oracle.c). docs/DENSITY.md has the model in words.
 *
 * Shared by the micro-guest tests/guests/desktop.c and the thread form bench/density/desktop_thread.c: no dependence on anything but the guests' library.
 *
 *   memory = units of 16 pages = pairs of objects of 8 pages
 *   unit   = of the image (the same in all desktops of that image, but in another place in each) | zero | private and compressible | private and not
 *
 * A request touches some objects, drawn by a Zipf law over all objects that are not zero; it verifies every byte of their pages and rewrites some of the
 * private ones. Which objects of the image are popular is the same in all desktops of that image: they run the same programs.
 */
#ifndef BENCH_DENSITY_DESKTOP_H
#define BENCH_DENSITY_DESKTOP_H

#include <stdbool.h>
#include <stdint.h>

#include "../../tests/guests/lib/pattern.h"
#include "../../tests/guests/lib/prng.h"
#include "../../tests/guests/lib/zipf.h"

enum {
	DESKTOP_OBJECT = 8, /* pages that are used together: 32 KiB of a file or of a heap */
	DESKTOP_UNIT = 16,  /* pages of content that follow each other wherever it lies */
	DESKTOP_UNIT_OBJECTS = DESKTOP_UNIT / DESKTOP_OBJECT,
};

enum desktop_kind { DESKTOP_IMAGE, DESKTOP_ZERO, DESKTOP_SOFT, DESKTOP_HARD }; /* private: soft ones compress, hard ones do not */

/* As options of the same names say; desktop_defaults[] has the rest. */
struct desktop_options {
	uint64_t pages, seed, image_seed;
	uint64_t image, zero, hard; /* percent of the units; the rest is soft */
	uint64_t image_hard;        /* 1: the image does not compress, either */
	uint64_t objects;           /* that a request touches */
	uint64_t writes;            /* percent of touched private pages that it rewrites */
	uint64_t skew;              /* of the Zipf law, in hundredths */
	uint64_t think_us;          /* that it computes beside */
	uint64_t rate;              /* requests a second in a burst, at random times */
	uint64_t burst_ms, idle_ms; /* mean length of bursts, and of what is between them; each is half to one and a half of it */
};

#define DESKTOP_OPTIONS(X) \
	X(pages, 12288)    \
	X(seed, 1)         \
	X(image_seed, 1)   \
	X(image, 55)       \
	X(zero, 10)        \
	X(hard, 10)        \
	X(image_hard, 0) X(objects, 4) X(writes, 12) X(skew, 120) X(think_us, 300) X(rate, 15) X(burst_ms, 2000) X(idle_ms, 4000)

struct desktop {
	struct desktop_options options;
	struct pattern zero, image, soft, hard;
	uint64_t nr_units, nr_image, nr_zero, nr_hard; /* units: content is numbered image first, then zero, hard, soft */
	uint64_t nr_objects;                           /* that are touched */
	uint16_t *content;                             /* nr_units: which content lies at each place */
	uint16_t *place;                               /* nr_units: and where each lies */
	uint32_t *popular;                             /* nr_objects: objects of content, most popular first */
	uint64_t *keys;                                /* nr_objects, to sort them by */
	uint16_t *generation;                          /* pages: how often each was rewritten */
	uint8_t *memory;
	struct zipf zipf;
	struct prng draws; /* of requests */
	struct prng times; /* of their starts */
	uint64_t next_ns, burst_end_ns;
	uint64_t wrong; /* pages */
};

/* Bytes of the arrays for so many pages, in the order of the structure, each aligned to 8. */
static inline uint64_t desktop_table_bytes(uint64_t pages)
{
	uint64_t units = pages / DESKTOP_UNIT, objects = pages / DESKTOP_OBJECT;

	return ((units * 2 + 7) & ~7ull) * 2 + ((objects * 4 + 7) & ~7ull) + objects * 8 + pages * 2;
}

static inline enum desktop_kind desktop_kind(const struct desktop *d, uint64_t content)
{
	return content < d->nr_image                             ? DESKTOP_IMAGE
	       : content < d->nr_image + d->nr_zero              ? DESKTOP_ZERO
	       : content < d->nr_image + d->nr_zero + d->nr_hard ? DESKTOP_HARD
								 : DESKTOP_SOFT;
}

static inline const struct pattern *desktop_pattern(const struct desktop *d, uint64_t content)
{
	switch (desktop_kind(d, content)) {
	case DESKTOP_IMAGE:
		return &d->image;
	case DESKTOP_ZERO:
		return &d->zero;
	case DESKTOP_HARD:
		return &d->hard;
	default:
		return &d->soft;
	}
}

static inline void desktop_sift(uint64_t *keys, uint32_t *values, uint64_t at, uint64_t nr)
{
	uint64_t key = keys[at], child;
	uint32_t value = values[at];

	for (; (child = at * 2 + 1) < nr; at = child) {
		if (child + 1 < nr && keys[child + 1] > keys[child])
			child++;
		if (keys[child] <= key)
			break;
		keys[at] = keys[child];
		values[at] = values[child];
	}
	keys[at] = key;
	values[at] = value;
}

/* Orders objects by popularity: by the hash of what they are, which for the image's is the same in all its desktops. */
static inline void desktop_rank(struct desktop *d)
{
	uint64_t object, nr = 0, i, key;
	uint32_t value;

	for (object = 0; object < d->nr_units * DESKTOP_UNIT_OBJECTS; object++) {
		enum desktop_kind kind = desktop_kind(d, object / DESKTOP_UNIT_OBJECTS);
		if (kind == DESKTOP_ZERO)
			continue;
		d->keys[nr] =
			prng_mix(prng_mix(kind == DESKTOP_IMAGE ? d->options.image_seed + (1ull << 40) : d->options.seed) + object);
		d->popular[nr++] = (uint32_t)object;
	}
	d->nr_objects = nr;
	for (i = nr / 2; i-- > 0;)
		desktop_sift(d->keys, d->popular, i, nr);
	for (i = nr; i-- > 1;) {
		key = d->keys[0];
		value = d->popular[0];
		d->keys[0] = d->keys[i];
		d->popular[0] = d->popular[i];
		d->keys[i] = key;
		d->popular[i] = value;
		desktop_sift(d->keys, d->popular, 0, i);
	}
}

/* Shuffles content over places. */
static inline void desktop_lay_out(struct desktop *d)
{
	struct prng prng = {prng_mix(d->options.seed + 17)};
	uint64_t i, j;
	uint16_t swapped;

	for (i = 0; i < d->nr_units; i++)
		d->content[i] = (uint16_t)i;
	for (i = d->nr_units; i-- > 1;) {
		j = prng_below(&prng, i + 1);
		swapped = d->content[i];
		d->content[i] = d->content[j];
		d->content[j] = swapped;
	}
	for (i = 0; i < d->nr_units; i++)
		d->place[d->content[i]] = (uint16_t)i;
}

/* options is filled in; tables: desktop_table_bytes(), all zero; memory: the pages, or NULL for one that only counts. */
static inline void desktop_open(struct desktop *d, uint8_t *tables, uint8_t *memory)
{
	static const struct pattern_mix zero = {{100, 0, 0, 0}}, soft = {{0, 50, 50, 0}}, hard = {{0, 0, 0, 100}},
					image = {{0, 34, 33, 33}};
	const struct desktop_options *o = &d->options;
	uint64_t pages = o->pages, units = pages / DESKTOP_UNIT, objects = pages / DESKTOP_OBJECT;

	d->nr_units = units;
	d->nr_image = units * o->image / 100;
	d->nr_zero = units * o->zero / 100;
	d->nr_hard = units * o->hard / 100;
	d->content = (uint16_t *)tables;
	d->place = (uint16_t *)(tables += (units * 2 + 7) & ~7ull);
	d->popular = (uint32_t *)(tables += (units * 2 + 7) & ~7ull);
	d->keys = (uint64_t *)(tables += (objects * 4 + 7) & ~7ull);
	d->generation = (uint16_t *)(tables + objects * 8);
	d->memory = memory;
	d->zero = (struct pattern){.mix = zero};
	d->image = (struct pattern){.seed = prng_mix(o->image_seed + (1ull << 41)), .mix = o->image_hard ? hard : image};
	d->soft = (struct pattern){.seed = prng_mix(o->seed + 3), .mix = soft};
	d->hard = (struct pattern){.seed = prng_mix(o->seed + 4), .mix = hard};
	desktop_lay_out(d);
	desktop_rank(d);
	zipf_init(&d->zipf, d->nr_objects, (double)o->skew / 100);
	d->draws.state = prng_mix(o->seed + 5);
	d->times.state = prng_mix(o->seed + 6);
}

static inline uint8_t *desktop_page(const struct desktop *d, uint64_t page)
{
	return d->memory + page * PATTERN_PAGE;
}

/* The address that the pattern of a page is computed from: where the content lies in its own numbering. */
static inline uint64_t desktop_gpa(const struct desktop *d, uint64_t page)
{
	return ((uint64_t)d->content[page / DESKTOP_UNIT] * DESKTOP_UNIT + page % DESKTOP_UNIT) * PATTERN_PAGE;
}

static inline void desktop_write(struct desktop *d, uint64_t page)
{
	pattern_fill(desktop_pattern(d, d->content[page / DESKTOP_UNIT]), desktop_gpa(d, page), d->generation[page],
		     desktop_page(d, page));
}

static inline bool desktop_verify(struct desktop *d, uint64_t page)
{
	struct pattern_mismatch m;

	if (pattern_verify(desktop_pattern(d, d->content[page / DESKTOP_UNIT]), desktop_gpa(d, page), d->generation[page],
			   desktop_page(d, page), &m))
		return true;
	d->wrong++;
	return false;
}

/* Touches one object: an object of content. */
static inline void desktop_touch(struct desktop *d, uint64_t object)
{
	uint64_t content = object / DESKTOP_UNIT_OBJECTS;
	uint64_t page = (uint64_t)d->place[content] * DESKTOP_UNIT + object % DESKTOP_UNIT_OBJECTS * DESKTOP_OBJECT, end;
	bool is_private = desktop_kind(d, content) >= DESKTOP_SOFT;

	for (end = page + DESKTOP_OBJECT; page < end; page++) {
		desktop_verify(d, page);
		if (!is_private || prng_below(&d->draws, 100) >= d->options.writes)
			continue;
		d->generation[page]++;
		desktop_write(d, page);
	}
}

/* What a request does, without its think time. */
static inline void desktop_request(struct desktop *d)
{
	uint64_t i;

	for (i = 0; i < d->options.objects; i++)
		desktop_touch(d, d->popular[zipf_next(&d->zipf, &d->draws)]);
}

/* Half to one and a half of a mean, in ns. */
static inline uint64_t desktop_about(struct desktop *d, uint64_t mean_ms)
{
	return mean_ms * 500000 + prng_below(&d->times, mean_ms * 1000000 + 1);
}

/* When the next request is due, in ns since the session began; whether it comes or not. Within a burst, gaps are uniform with a mean of 1/rate. */
static inline uint64_t desktop_next_ns(struct desktop *d)
{
	d->next_ns += prng_below(&d->times, 2000000000ull / d->options.rate + 1);
	if (d->next_ns >= d->burst_end_ns) {
		d->next_ns = d->burst_end_ns + desktop_about(d, d->options.idle_ms);
		d->burst_end_ns = d->next_ns + desktop_about(d, d->options.burst_ms);
	}
	return d->next_ns;
}

#endif
