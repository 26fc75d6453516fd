/*
 * Memory that other guests have, too: for benchmarks of deduplication (bench/dedup). What lies where follows from seeds alone, so
 * that bench/dedup/oracle.py can say for any set of guests and any moment which pages are equal.
 *
 * Commands are lines on the serial port, answered by one line "twins: ...":
 *
 *   fill                writes every page
 *   churn               rewrites percent_x100= (100) of 10000 pages each second, for ms= (1000), at random places, a few each step_ms= (5);
 *                       own= (0) percent get content of the guest's own, the others common content that was nowhere before: the nth rewrite since
 *                       the guest's start gets the same in all guests, each at another place
 *   verify              compares every byte
 *   ops                 operations for ms= (1000), gap_us= (0) from one's end to the next: each touches touches= (1) random pages of
 *                       hot= (100) percent of all, which lie in runs of 16; writes= (0) percent of them by writing back what was read, which breaks a shared page and leaves it equal; each operation is timed; draw= (0)
 *   quit
 *
 * Options: pages= (65536), seed= (1, the guest's own), common_seed= (1), common= (100, percent of pages that are in the common set),
 * zero= (0, percent), the rest being the guest's own; run= (1): pages of common content that follow each other follow each other in
 * all guests, by so many, and the runs lie in another order in each guest; 0: no other order, common pages first, then zero, then
 * own ones; twins= (1): how often each common content is in this guest.
 */
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/cmdline.h"
#include "lib/command.h"
#include "lib/guest.h"
#include "lib/latency.h"
#include "lib/memmap.h"
#include "lib/pattern.h"
#include "lib/print.h"
#include "lib/prng.h"

enum { LINE = 160, HUGE_PAGES = 512, POLL_US = 5000, HOT_RUN = 16 };

/* What a page contains: zeros, or a number of one of the two sets. */
#define ZERO 0u
#define OWN 0x80000000u         /* and the number */
#define COMMON 1u               /* plus the number */
#define ALL_GUESTS (1ull << 63) /* keeps what is drawn by common_seed apart from what is drawn by seed */

static const struct pattern_mix zero_mix = {{100, 0, 0, 0}}, memory_mix = {{0, 34, 33, 33}};
static struct pattern zero, own, common;
static uint64_t seed, common_seed, nr_pages, nr_common, run_pages, rewrites;
static uint8_t *region;
static uint32_t *contents;
static struct latency latency;

static inline uint8_t *page_at(uint64_t page)
{
	return region + page * PAGE_SIZE;
}

static const struct pattern *set_of(uint32_t content, uint64_t *gpa)
{
	*gpa = (uint64_t)(content & OWN ? content & ~OWN : content - COMMON) * PAGE_SIZE;
	return content == ZERO ? &zero : content & OWN ? &own : &common;
}

static void write_page(uint64_t page, uint32_t content)
{
	uint64_t gpa;
	const struct pattern *set = set_of(content, &gpa);

	contents[page] = content;
	pattern_fill(set, gpa, 0, page_at(page));
}

static uint64_t percent_of(const char *name, uint64_t otherwise)
{
	uint64_t unit = run_pages ? run_pages : 1;

	return nr_pages * cmdline_number(name, otherwise) / 100 / unit * unit;
}

/* Lays the contents out in order, then shuffles runs of them. */
static void lay_out(void)
{
	uint64_t twins = cmdline_number("twins", 1), nr_zero, i, j, k, unit = run_pages ? run_pages : 1;
	struct prng prng = {seed};
	uint32_t swapped;

	if (nr_pages % unit || !twins)
		guest_fail("pages=%lu are no whole number of runs of run=%lu, or twins=0", nr_pages, unit);
	nr_zero = percent_of("zero", 0);
	nr_common = percent_of("common", 100) / unit / twins * unit; /* contents; each on twins pages */
	if (nr_zero + nr_common * twins > nr_pages)
		nr_zero = nr_pages - nr_common * twins;
	for (i = 0; i < nr_pages; i++)
		contents[i] = i < nr_common * twins             ? COMMON + (uint32_t)(i % nr_common)
			      : i < nr_common * twins + nr_zero ? ZERO
								: OWN | (uint32_t)i;
	for (i = run_pages ? nr_pages / unit : 0; i-- > 1;) {
		j = prng_below(&prng, i + 1);
		for (k = 0; k < unit; k++) {
			swapped = contents[i * unit + k];
			contents[i * unit + k] = contents[j * unit + k];
			contents[j * unit + k] = swapped;
		}
	}
}

static void print_us(const char *name, uint64_t cycles)
{
	uint64_t ns = clock_ns(cycles);

	print(" %s=%lu.%03lu", name, ns / 1000, ns % 1000);
}

static void fill(void)
{
	uint64_t i, start = tsc_read();

	for (i = 0; i < nr_pages; i++)
		write_page(i, contents[i]);
	print("twins: filled pages=%lu", nr_pages);
	print_us("wall_us", tsc_read() - start);
	print("\n");
}

/* The nth rewrite: its place is this guest's, its content everybody's. */
static void rewrite(uint64_t n, uint64_t own_percent)
{
	uint64_t draw = prng_mix(prng_mix(seed + 1) + n), page = (uint64_t)((unsigned __int128)draw * nr_pages >> 64);
	bool is_own = prng_mix(prng_mix(common_seed + ALL_GUESTS) + n) % 100 < own_percent;

	write_page(page, (is_own ? OWN : COMMON + (uint32_t)nr_common) + (uint32_t)((is_own ? nr_pages : 0) + n));
}

static void churn(const char *line)
{
	uint64_t ms = command_number(line, "ms", 1000), rate = nr_pages * command_number(line, "percent_x100", 100),
		 first = rewrites, own_percent = command_number(line, "own", 0),
		 step_us = command_number(line, "step_ms", 5) * 1000, start = tsc_read(), elapsed_us, due;

	do {
		elapsed_us = clock_ns(tsc_read() - start) / 1000;
		elapsed_us = elapsed_us > ms * 1000 ? ms * 1000 : elapsed_us;
		for (due = first + rate * elapsed_us / 1000000 / 10000; rewrites < due; rewrites++)
			rewrite(rewrites, own_percent);
		clock_sleep_us(step_us);
	} while (elapsed_us < ms * 1000);
	print("twins: churned rewrites=%lu", rewrites);
	print_us("wall_us", tsc_read() - start);
	print("\n");
}

static uint64_t verify(void)
{
	struct pattern_mismatch m;
	uint64_t i, gpa, wrong = 0;

	for (i = 0; i < nr_pages; i++) {
		const struct pattern *set = set_of(contents[i], &gpa);

		if (pattern_verify(set, gpa, 0, page_at(i), &m))
			continue;
		if (wrong++ < 5)
			print("wrong byte: page %lu of content 0x%x offset %u expected 0x%02x got 0x%02x, %u wrong in the page\n",
			      i, contents[i], m.offset, m.expected, m.got, m.wrong_bytes);
	}
	print("twins: verified wrong=%lu\n", wrong);
	return wrong;
}

static bool is_hot(uint64_t page, uint64_t hot)
{
	return prng_mix(page / HOT_RUN ^ seed) % 100 < hot;
}

static void operate(struct prng *prng, uint64_t touches, uint64_t writes, uint64_t hot)
{
	uint64_t i, page;
	volatile uint64_t *at;

	for (i = 0; i < touches; i++) {
		do
			page = prng_below(prng, nr_pages);
		while (!is_hot(page, hot));
		at = (volatile uint64_t *)(page_at(page) + (page * 40 & 0xff8));
		if (prng_below(prng, 100) < writes)
			*at = *at;
		else
			(void)*at;
	}
}

static void ops(const char *line)
{
	uint64_t cycles = command_number(line, "ms", 1000) * clock_tsc_khz(), touches = command_number(line, "touches", 1),
		 writes = command_number(line, "writes", 0), hot = command_number(line, "hot", 100),
		 gap = command_number(line, "gap_us", 0) * clock_tsc_khz() / 1000, start, end;
	struct prng prng = {prng_mix(seed + 2) + command_number(line, "draw", 0)};
	const uint64_t first = tsc_read();

	latency_reset(&latency);
	for (end = first; end - first < cycles;) {
		start = tsc_read();
		operate(&prng, touches, writes, hot);
		end = tsc_read();
		latency_add(&latency, end - start);
		while (gap && tsc_read() - end < gap)
			;
	}
	print("twins: operated ops=%lu", latency.nr);
	print_us("mean_us", latency.total / latency.nr);
	print_us("p50_us", latency_quantile(&latency, 500000));
	print_us("p99_us", latency_quantile(&latency, 990000));
	print_us("p999_us", latency_quantile(&latency, 999000));
	print_us("max_us", latency.most);
	print("\n");
}

int guest_main(void)
{
	char line[LINE];
	uint64_t wrong = 0;

	nr_pages = cmdline_number("pages", 65536);
	run_pages = cmdline_number("run", 1);
	seed = cmdline_number("seed", 1);
	common_seed = cmdline_number("common_seed", 1);
	zero.mix = zero_mix;
	own = (struct pattern){.seed = prng_mix(seed + 3), .mix = memory_mix};
	common = (struct pattern){.seed = prng_mix(common_seed + ALL_GUESTS + 1), .mix = memory_mix};
	contents = memmap_take((nr_pages * sizeof(*contents) + PAGE_SIZE - 1) / PAGE_SIZE, 1);
	region = memmap_take(nr_pages, HUGE_PAGES);
	lay_out();
	print("twins: ready gpa=%lu pages=%lu\n", (uint64_t)region, nr_pages);
	for (;;) {
		command_read(line, sizeof(line), POLL_US);
		if (command_is(line, "fill"))
			fill();
		else if (command_is(line, "churn"))
			churn(line);
		else if (command_is(line, "verify"))
			wrong += verify();
		else if (command_is(line, "ops"))
			ops(line);
		else if (command_is(line, "quit"))
			return wrong ? 2 : 0;
		else
			print("twins: unknown: %s\n", line);
	}
}
