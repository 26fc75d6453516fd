/*
 * What so many desktops would need at best: of equal pages one, of zeros none; pages that somebody touches within a window as they are, all others
 * compressed, each page by itself; nothing for VMMs, tables and spare room. Prints for the cap how many fit, and for that many where the memory would be.
 *
 * A desktop touches object k of its ranking with the probability p(k) of the Zipf law; over a window it draws M objects, so that the object is hot with
 * 1 - (1 - p)^M; an object of the image with 1 - the product of that over all desktops that have it. Compressed sizes are LZ4's, of pages of each kind.
 */
#include <lz4.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/density/desktop.h"
#include "bench/memory/options.h"

#define OPTION_NAME(name, otherwise) #name " "
#define OPTION_USAGE(name, otherwise) "[" #name "=" #otherwise "] "
#define USAGE "oracle [mib=512] [images=1] [window_ms=30000] " DESKTOP_OPTIONS(OPTION_USAGE)

enum { MOST = 4096, SAMPLES = 512 };

struct oracle {
	struct desktop_options base;
	uint64_t images, draws; /* draws: of objects in a window */
	double *weights;        /* p(k) */
	double *chance;         /* images x objects of content: log of the chance that nobody touches it */
	double bytes[4];        /* a page of each desktop_kind, compressed */
	double hot, cold;       /* private pages of all desktops so far */
	uint64_t nr, nr_content;
};

static void *take(size_t size)
{
	void *memory = calloc(1, size);
	if (!memory) {
		perror("oracle");
		exit(1);
	}
	return memory;
}

static double compressed_bytes(const struct pattern *pattern, uint64_t first)
{
	uint64_t page[PATTERN_PAGE / 8], sum = 0;
	char out[LZ4_COMPRESSBOUND(PATTERN_PAGE)];
	for (uint64_t i = 0; i < SAMPLES; i++) {
		pattern_fill(pattern, (first + i) * PATTERN_PAGE, 0, page);
		int size = LZ4_compress_default((const char *)page, out, PATTERN_PAGE, (int)sizeof(out));
		sum += size > 0 && size < (int)PATTERN_PAGE ? (uint64_t)size : PATTERN_PAGE;
	}
	return (double)sum / SAMPLES;
}

static void weigh(struct oracle *o, const struct desktop *d)
{
	double sum = 0, skew = (double)o->base.skew / 100;
	for (uint64_t k = 0; k < d->nr_objects; k++)
		sum += o->weights[k] = pow((double)k + 1, -skew);
	for (uint64_t k = 0; k < d->nr_objects; k++)
		o->weights[k] /= sum;
	o->bytes[DESKTOP_IMAGE] = compressed_bytes(&d->image, 0);
	o->bytes[DESKTOP_SOFT] = compressed_bytes(&d->soft, 0);
	o->bytes[DESKTOP_HARD] = compressed_bytes(&d->hard, 0);
}

/* One desktop more. */
static void add(struct oracle *o)
{
	struct desktop d = {.options = o->base};
	uint8_t *tables = take(desktop_table_bytes(d.options.pages));
	d.options.seed += o->nr;
	d.options.image_seed += o->nr % o->images;
	desktop_open(&d, tables, NULL);
	if (!o->nr)
		weigh(o, &d);
	for (uint64_t k = 0; k < d.nr_objects; k++) {
		double untouched = (double)o->draws * log1p(-o->weights[k]);
		enum desktop_kind kind = desktop_kind(&d, d.popular[k] / DESKTOP_UNIT_OBJECTS);
		if (kind == DESKTOP_IMAGE) {
			o->chance[o->nr % o->images * o->nr_content + d.popular[k]] += untouched;
		} else {
			o->hot += -expm1(untouched) * DESKTOP_OBJECT * PATTERN_PAGE;
			o->cold += exp(untouched) * DESKTOP_OBJECT * o->bytes[kind];
		}
	}
	o->nr++;
	free(tables);
}

/* Bytes of the images, hot and cold. */
static void images(const struct oracle *o, double *hot, double *cold)
{
	uint64_t of_image = o->base.pages / DESKTOP_UNIT * o->base.image / 100 * DESKTOP_UNIT_OBJECTS;
	*hot = *cold = 0;
	for (uint64_t i = 0; i < o->images && i < o->nr; i++)
		for (uint64_t object = 0; object < of_image; object++) {
			double untouched = exp(o->chance[i * o->nr_content + object]);
			*hot += (1 - untouched) * DESKTOP_OBJECT * PATTERN_PAGE;
			*cold += untouched * DESKTOP_OBJECT * o->bytes[DESKTOP_IMAGE];
		}
}

int main(int argc, char **argv)
{
	struct options options;
	if (options_open(&options, argc, argv, "mib images window_ms " DESKTOP_OPTIONS(OPTION_NAME), USAGE))
		return 2;
	struct oracle o = {.images = option_number(&options, "images", 1)};
#define TAKE(name, otherwise) o.base.name = option_number(&options, #name, otherwise);
	DESKTOP_OPTIONS(TAKE)
	double cap = (double)(option_number(&options, "mib", 512) << 20);
	double window_s = (double)option_number(&options, "window_ms", 30000) / 1e3;
	double busy = (double)o.base.burst_ms / (double)(o.base.burst_ms + o.base.idle_ms);
	if (!o.images || o.base.pages < DESKTOP_UNIT || o.base.pages / DESKTOP_UNIT > UINT16_MAX) {
		fprintf(stderr, "oracle: images= must be 1 or more, pages= 16 to %u\nusage: %s\n", UINT16_MAX * DESKTOP_UNIT,
			USAGE);
		return 2;
	}
	o.draws = (uint64_t)(window_s * busy * (double)o.base.rate * (double)o.base.objects);
	o.nr_content = o.base.pages / DESKTOP_OBJECT;
	o.weights = take(o.nr_content * sizeof(*o.weights));
	o.chance = take(o.images * o.nr_content * sizeof(*o.chance));

	double hot = 0, cold = 0, image_hot = 0, image_cold = 0, own_hot = 0, own_cold = 0;
	uint64_t fit = 0;
	while (o.nr < MOST) {
		add(&o);
		images(&o, &hot, &cold);
		if (hot + cold + o.hot + o.cold > cap)
			break;
		fit = o.nr;
		image_hot = hot;
		image_cold = cold;
		own_hot = o.hot;
		own_cold = o.cold;
	}
	printf("oracle: desktops=%llu image_hot_mib=%.1f image_cold_mib=%.1f private_hot_mib=%.1f private_cold_mib=%.1f "
	       "soft_page=%.0f "
	       "image_page=%.0f draws=%llu\n",
	       (unsigned long long)fit, image_hot / 1048576, image_cold / 1048576, own_hot / 1048576, own_cold / 1048576,
	       o.bytes[DESKTOP_SOFT], o.bytes[DESKTOP_IMAGE], (unsigned long long)o.draws);
	free(o.weights);
	free(o.chance);
	return 0;
}
