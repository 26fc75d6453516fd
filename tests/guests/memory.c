/*
 * Fills memory with patterns, then rereads and rewrites it, and verifies every byte.
 *
 * Options: seed= (1), pages= (0: all free ones; suffixes allowed), skip= (0, free pages to leave alone
 * before them), rounds= (2), until_key (no more rounds
 * when a byte has come to the serial port), order=sequential|random|zipf (sequential), skew= (100: the
 * Zipf exponent in hundredths), touches= (pages, for random and zipf), write= (30, percent of touches that rewrite the page),
 * mix=ZERO,TEXT,BINARY,RANDOM in percent (25 each), idle_ms= (0, sleep between rounds), quiet.
 */
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/cmdline.h"
#include "lib/guest.h"
#include "lib/memmap.h"
#include "lib/pattern.h"
#include "lib/print.h"
#include "lib/zipf.h"

enum order { SEQUENTIAL, RANDOM, ZIPF };

static struct pattern pattern;
static uint32_t *generations; /* of each page; 0 until filled */
static uint64_t nr_pages, skip, wrong_pages;

static void verify(uint64_t index, unsigned round)
{
	uint64_t gpa = memmap_free_gpa(skip + index);
	struct pattern_mismatch m;

	if (pattern_verify(&pattern, gpa, generations[index], (const void *)gpa, &m))
		return;
	if (wrong_pages++ < 10)
		print("memory: wrong byte: round %u gpa 0x%lx offset %u expected 0x%02x got 0x%02x, %u wrong in the page of kind "
		      "%d\n",
		      round, gpa, m.offset, m.expected, m.got, m.wrong_bytes, (int)pattern_kind(&pattern, gpa));
}

static void rewrite(uint64_t index)
{
	uint64_t gpa = memmap_free_gpa(skip + index);

	pattern_fill(&pattern, gpa, ++generations[index], (void *)gpa);
}

static struct pattern_mix read_mix(void)
{
	struct pattern_mix mix = pattern_even_mix;
	char text[32];
	const char *at;
	unsigned kind = 0, percent = 0;

	at = cmdline_text("mix", "", text, sizeof(text));
	for (; *at && kind < PATTERN_KINDS; at++) {
		if (*at == ',') {
			mix.percent[kind++] = (uint8_t)percent;
			percent = 0;
		} else {
			percent = percent * 10 + (unsigned)(*at - '0');
		}
	}
	if (at != text && kind < PATTERN_KINDS)
		mix.percent[kind] = (uint8_t)percent;
	return mix;
}

static void report(const char *what, uint64_t pages, uint64_t start)
{
	uint64_t ns = clock_ns(tsc_read() - start);

	if (!cmdline_has("quiet"))
		print("memory: %s %lu pages in %lu us, %lu ns a page\n", what, pages, ns / 1000, ns / (pages ? pages : 1));
}

static void touch(enum order order, uint64_t touches, unsigned percent, unsigned round)
{
	struct prng prng = {prng_mix(pattern.seed) + round};
	struct zipf zipf;
	uint64_t i, index, rank;

	zipf_init(&zipf, nr_pages, (double)cmdline_number("skew", 100) / 100);
	for (i = 0; i < touches; i++) {
		index = i % nr_pages;
		if (order == RANDOM) {
			index = prng_below(&prng, nr_pages);
		} else if (order == ZIPF) {
			/* Popular pages lie scattered, and elsewhere for another seed. */
			rank = zipf_next(&zipf, &prng);
			index = prng_mix(rank ^ pattern.seed) % nr_pages;
		}
		verify(index, round);
		if (prng_below(&prng, 100) < percent)
			rewrite(index);
	}
}

int guest_main(void)
{
	unsigned round, rounds = (unsigned)cmdline_number("rounds", 2), percent = (unsigned)cmdline_number("write", 30);
	uint64_t start, i, touches;
	bool until_key = cmdline_has("until_key");
	enum order order;
	char text[16];

	pattern.seed = cmdline_number("seed", 1);
	pattern.mix = read_mix();
	cmdline_text("order", "sequential", text, sizeof(text));
	order = !strcmp(text, "random") ? RANDOM : !strcmp(text, "zipf") ? ZIPF : SEQUENTIAL;
	generations = memmap_take((memmap_free_pages() * sizeof(*generations) + PAGE_SIZE - 1) / PAGE_SIZE, 1);
	skip = cmdline_number("skip", 0);
	if (skip >= memmap_free_pages())
		guest_fail("only %lu free pages", memmap_free_pages());
	nr_pages = cmdline_number("pages", 0);
	if (!nr_pages || nr_pages > memmap_free_pages() - skip)
		nr_pages = memmap_free_pages() - skip;
	touches = cmdline_number("touches", nr_pages);
	print("memory: seed %lu, %lu pages from 0x%lx on, %u rounds, order %s\n", pattern.seed, nr_pages, memmap_free_gpa(skip),
	      rounds, text);

	start = tsc_read();
	for (i = 0; i < nr_pages; i++)
		rewrite(i);
	report("filled", nr_pages, start);
	for (round = 0; round < rounds && !(until_key && serial_read() >= 0); round++) {
		clock_sleep_us(cmdline_number("idle_ms", 0) * 1000);
		start = tsc_read();
		touch(order, touches, percent, round);
		report("touched", touches, start);
	}
	start = tsc_read();
	for (i = 0; i < nr_pages; i++)
		verify(i, rounds);
	report("verified", nr_pages, start);
	print("memory: %lu wrong pages\n", wrong_pages);
	return wrong_pages ? 2 : 0;
}
