/*
 * Touches memory as it is told, and times each touch: for benchmarks of the memory manager (bench/memory).
 *
 * Commands are lines on the serial port, answered by one line "pager: ...":
 *
 *   fill                writes every page, in the next generation
 *   touch               order=sequential|random|zipf, touches= (all pages), draw= (another order for another number), skew= (100), stall_ns= (0: touches
 *                       that take less are not counted as stalls), gap_us= (0); vCPUs share the touches where there are several. The first touches' start and
 *                       end (TSC) are at the address that "ready" tells as stamps=
 *   run                 touches pages= of the first pages of the order that draw= names, again and again for ms= (1000)
 *   stream              reads all pages in address order, rounds= (1) times
 *   chase               reads touches= words at random, each telling where the next one is
 *   verify              compares every byte
 *   quit
 *
 * Options: pages= (65536), seed= (1), mix=ZERO,TEXT,BINARY,RANDOM in percent (25 each).
 */
#include "../../bench/memory/order.h"
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/cmdline.h"
#include "lib/command.h"
#include "lib/guest.h"
#include "lib/memmap.h"
#include "lib/pattern.h"
#include "lib/print.h"
#include "lib/smp.h"

enum { LINE = 160, MOST_STALLS = 1 << 20, MOST_STAMPS = 4096, HUGE_PAGES = 512, POLL_US = 300 };

/* A vCPU's part of a touch. */
struct part {
	uint64_t first, touches, end_cycles; /* when it was done */
	uint64_t nr_stalls, total_cycles;
} __attribute__((aligned(64)));

static struct pattern pattern;
static uint8_t *region;
static uint64_t nr_pages, generation;
static uint32_t *permutation, *stalls; /* cycles of each stall; the parts of vCPUs follow each other */
static uint64_t max_stalls, stall_cycles, gap_cycles;
static struct order order;
static struct part parts[SMP_MOST_CPUS];
static uint64_t stamps[MOST_STAMPS][2];

static inline uint8_t *page_at(uint64_t page)
{
	return region + page * PAGE_SIZE;
}

static inline void touch_page(uint64_t page)
{
	(void)*(volatile uint64_t *)(page_at(page) + (page * 40 & 0xff8));
}

static void sift(uint32_t *values, size_t at, size_t nr)
{
	uint32_t value = values[at];
	size_t child;

	for (; (child = at * 2 + 1) < nr; at = child) {
		if (child + 1 < nr && values[child + 1] > values[child])
			child++;
		if (values[child] <= value)
			break;
		values[at] = values[child];
	}
	values[at] = value;
}

static void sort(uint32_t *values, size_t nr)
{
	size_t i;
	uint32_t value;

	for (i = nr / 2; i-- > 0;)
		sift(values, i, nr);
	for (i = nr; i-- > 1;) {
		value = values[0];
		values[0] = values[i];
		values[i] = value;
		sift(values, 0, i);
	}
}

static void open_order(const char *line)
{
	const char *kind = command_text(line, "order");

	order_open(&order,
		   kind && !strncmp(kind, "random", 6) ? ORDER_RANDOM
		   : kind && !strncmp(kind, "zipf", 4) ? ORDER_ZIPF
						       : ORDER_SEQUENTIAL,
		   nr_pages, pattern.seed, command_number(line, "draw", 0), (double)command_number(line, "skew", 100) / 100,
		   permutation);
}

/* One vCPU's part; its order starts where the part does. */
static void touch_part(unsigned cpu)
{
	struct part *part = &parts[cpu];
	struct order own = order;
	uint32_t *noted = stalls + part->first % max_stalls;
	uint64_t i, start, end = 0;

	own.next = part->first;
	own.prng.state += cpu;
	for (i = 0; i < part->touches; i++) {
		uint64_t page = order_next(&own);

		start = tsc_read();
		touch_page(page);
		end = tsc_read();
		if (end - start >= stall_cycles) {
			noted[part->nr_stalls++] = end - start > UINT32_MAX ? UINT32_MAX : (uint32_t)(end - start);
			part->total_cycles += end - start;
		}
		if (!cpu && i < MOST_STAMPS) {
			stamps[i][0] = start;
			stamps[i][1] = end;
		}
		while (gap_cycles && tsc_read() - end < gap_cycles)
			;
	}
	part->end_cycles = end;
}

static void print_us(const char *name, uint64_t cycles)
{
	uint64_t ns = clock_ns(cycles);

	print(" %s=%lu.%03lu", name, ns / 1000, ns % 1000);
}

static void touch(const char *line)
{
	uint64_t touches = command_number(line, "touches", nr_pages), start, end = 0, total = 0, nr = 0;
	unsigned cpu, nr_cpus = smp_cpus();

	if (touches > max_stalls)
		touches = max_stalls;
	open_order(line);
	stall_cycles = command_number(line, "stall_ns", 0) * clock_tsc_khz() / 1000000;
	gap_cycles = command_number(line, "gap_us", 0) * clock_tsc_khz() / 1000;
	for (cpu = 0; cpu < nr_cpus; cpu++)
		parts[cpu] = (struct part){.first = touches * cpu / nr_cpus,
					   .touches = touches * (cpu + 1) / nr_cpus - touches * cpu / nr_cpus};
	start = tsc_read();
	if (nr_cpus > 1)
		smp_run(touch_part);
	else
		touch_part(0);
	for (cpu = 0; cpu < nr_cpus; cpu++) {
		end = parts[cpu].end_cycles > end ? parts[cpu].end_cycles : end;
		total += parts[cpu].total_cycles;
		memmove(stalls + nr, stalls + parts[cpu].first, parts[cpu].nr_stalls * sizeof(*stalls));
		nr += parts[cpu].nr_stalls;
	}
	sort(stalls, nr);
	print("pager: touched touches=%lu stalls=%lu", touches, nr);
	print_us("wall_us", end - start);
	print_us("total_us", total);
	print_us("mean_us", nr ? total / nr : 0);
	print_us("p10_us", nr ? stalls[nr / 10] : 0);
	print_us("p50_us", nr ? stalls[nr / 2] : 0);
	print_us("p90_us", nr ? stalls[nr * 9 / 10] : 0);
	print_us("p99_us", nr ? stalls[nr * 99 / 100] : 0);
	print_us("max_us", nr ? stalls[nr - 1] : 0);
	print("\n");
}

static void run(const char *line)
{
	uint64_t pages = command_number(line, "pages", nr_pages), cycles = command_number(line, "ms", 1000) * clock_tsc_khz(),
		 start, touches = 0;
	struct prng prng = {7};
	unsigned i;

	if (!pages || pages > nr_pages)
		pages = nr_pages;
	order_open(&order, ORDER_RANDOM, nr_pages, pattern.seed, command_number(line, "draw", 0), 1, permutation);
	for (start = tsc_read(); tsc_read() - start < cycles; touches += 64)
		for (i = 0; i < 64; i++)
			touch_page(permutation[prng_below(&prng, pages)]);
	print("pager: ran pages=%lu touches=%lu\n", pages, touches);
}

static void stream(const char *line)
{
	uint64_t rounds = command_number(line, "rounds", 1), i, sum = 0, start = tsc_read(), end;
	const uint64_t *at, *last = (const uint64_t *)page_at(nr_pages);

	for (i = 0; i < rounds; i++)
		for (at = (const uint64_t *)region; at < last; at += 8)
			sum += at[0] ^ at[3] ^ at[5];
	end = tsc_read();
	print("pager: streamed sum=0x%lx", sum);
	print_us("wall_us", end - start);
	print("\n");
}

/* The content of pages takes part in where the chase goes on, so that no read starts before the last one has ended. */
static void chase(const char *line)
{
	uint64_t touches = command_number(line, "touches", 1000000), i, at = 0, start, end, mask = nr_pages * PAGE_SIZE / 8;
	const uint64_t *words = (const uint64_t *)region;
	struct prng prng = {command_number(line, "draw", 0)};

	start = tsc_read();
	for (i = 0; i < touches; i++) {
		at = words[at];
		prng.state += at & 1;
		at = prng_below(&prng, mask);
	}
	end = tsc_read();
	print("pager: chased at=%lu", at);
	print_us("wall_us", end - start);
	print("\n");
}

static uint64_t verify(void)
{
	struct pattern_mismatch m;
	uint64_t i, wrong = 0;

	for (i = 0; i < nr_pages; i++) {
		if (pattern_verify(&pattern, i * PAGE_SIZE, generation, page_at(i), &m))
			continue;
		if (wrong++ < 5)
			print("wrong byte: page %lu of kind %d offset %u expected 0x%02x got 0x%02x, %u wrong in the page\n", i,
			      (int)pattern_kind(&pattern, i * PAGE_SIZE), m.offset, m.expected, m.got, m.wrong_bytes);
	}
	print("pager: verified wrong=%lu\n", wrong);
	return wrong;
}

static void fill(void)
{
	uint64_t i, start = tsc_read();

	generation++;
	for (i = 0; i < nr_pages; i++)
		pattern_fill(&pattern, i * PAGE_SIZE, generation, page_at(i));
	print("pager: filled pages=%lu", nr_pages);
	print_us("wall_us", tsc_read() - start);
	print("\n");
}

static void arrive(unsigned cpu)
{
	(void)cpu;
}

static struct pattern_mix read_mix(void)
{
	struct pattern_mix mix = pattern_even_mix;
	char text[32];
	const char *at = cmdline_text("mix", "", text, sizeof(text));
	unsigned kind, percent;

	for (kind = 0; *at && kind < PATTERN_KINDS; kind++) {
		for (percent = 0; *at >= '0' && *at <= '9'; at++)
			percent = percent * 10 + (unsigned)(*at - '0');
		mix.percent[kind] = (uint8_t)percent;
		at += *at == ',';
	}
	return mix;
}

int guest_main(void)
{
	char line[LINE];
	uint64_t wrong = 0;

	pattern.seed = cmdline_number("seed", 1);
	pattern.mix = read_mix();
	nr_pages = cmdline_number("pages", 65536);
	/* The vCPUs' stacks come out of free memory: start all first. */
	if (smp_cpus() > 1)
		smp_run(arrive);
	permutation = memmap_take((nr_pages * sizeof(*permutation) + PAGE_SIZE - 1) / PAGE_SIZE, 1);
	max_stalls = nr_pages > MOST_STALLS ? nr_pages : MOST_STALLS;
	stalls = memmap_take((max_stalls * sizeof(*stalls) + PAGE_SIZE - 1) / PAGE_SIZE, 1);
	region = memmap_take(nr_pages, HUGE_PAGES);
	memset(stamps, 0, sizeof(stamps));
	print("pager: ready gpa=%lu pages=%lu cpus=%u stamps=%lu\n", (uint64_t)region, nr_pages, smp_cpus(), (uint64_t)stamps);
	for (;;) {
		command_read(line, sizeof(line), POLL_US);
		if (command_is(line, "fill"))
			fill();
		else if (command_is(line, "touch"))
			touch(line);
		else if (command_is(line, "run"))
			run(line);
		else if (command_is(line, "stream"))
			stream(line);
		else if (command_is(line, "chase"))
			chase(line);
		else if (command_is(line, "verify"))
			wrong += verify();
		else if (command_is(line, "quit"))
			return wrong ? 2 : 0;
		else
			print("pager: unknown: %s\n", line);
	}
}
