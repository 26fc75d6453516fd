/*
 * A desktop with a session, for the benchmark of density (bench/density). The model is bench/density/desktop.h; the same runs as a plain thread in
 * bench/density/desktop_thread.c.
 *
 * It logs on (writes all its memory, a part every 10 ms, logon_ms= (8000) in all), says "desktop: ready", and works until it is told to end. Requests come when they are due,
 * whether those before them are done or not: a latency is counted from when a request was due. Commands are lines on the serial port, looked for between bursts:
 *
 *   window              what has been measured since the last window: "desktop: window requests= p50_us= p99_us= max_us= mean_us= busy_us= wrong="
 *   balloon             gives what is zero, its free memory, to the balloon, as far as the host asks for it: "desktop: given pages="
 *   verify              compares every byte: "desktop: verified wrong="
 *   quit
 *
 * Options: those of DESKTOP_OPTIONS (desktop.h), and logon_ms=.
 */
#include "../../bench/density/desktop.h"
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/cmdline.h"
#include "lib/command.h"
#include "lib/guest.h"
#include "lib/latency.h"
#include "lib/memmap.h"
#include "lib/print.h"
#include "lib/virtio.h"

enum { LINE = 80, BALLOON_TIMEOUT_US = 10000000, HUGE_PAGES = 512, LOGON_STEP_US = 10000, LISTEN_US = 250000 };

static struct desktop desktop;
static struct latency latency;
static uint64_t busy_cycles;
static char line[LINE];
static uint64_t line_len;
static struct virtio_device balloon;
static struct virtq inflateq, deflateq;
static uint32_t pfns[DESKTOP_UNIT];
static uint64_t next_unit, nr_given;

static void open_balloon(void)
{
	if (!virtio_find(VIRTIO_BALLOON, 0, &balloon))
		return;
	virtio_negotiate(&balloon, 0);
	if (!virtq_open(&inflateq, &balloon, 0, 0) || !virtq_open(&deflateq, &balloon, 1, 0))
		guest_fail("the balloon lacks a queue");
	virtio_driver_ok(&balloon);
}

/* Free memory is never used again, so that nothing is taken back. */
static void give(void)
{
	uint64_t asked = balloon.config ? virtio_config(&balloon, 0, 4) : 0, i;
	struct virtq_buffer buffer = {pfns, sizeof(pfns)};
	uint32_t written;

	for (; nr_given + DESKTOP_UNIT <= asked && next_unit < desktop.nr_units; next_unit++) {
		if (desktop_kind(&desktop, desktop.content[next_unit]) != DESKTOP_ZERO)
			continue;
		for (i = 0; i < DESKTOP_UNIT; i++)
			pfns[i] = (uint32_t)((uint64_t)desktop_page(&desktop, next_unit * DESKTOP_UNIT + i) / PAGE_SIZE);
		if (!virtq_add(&inflateq, &buffer, 1, 0, false, &inflateq))
			guest_fail("the balloon's queue is full");
		virtq_kick(&inflateq);
		if (!virtq_wait(&inflateq, &written, BALLOON_TIMEOUT_US))
			guest_fail("the balloon does not answer");
		nr_given += DESKTOP_UNIT;
	}
	if (balloon.config)
		mmio_write32(balloon.config + 4, (uint32_t)nr_given);
	print("desktop: given pages=%lu\n", nr_given);
}

static void log_on(uint64_t ms)
{
	uint64_t pages = desktop.options.pages, steps = ms * 1000 / LOGON_STEP_US + 1, step, page = 0;

	for (step = 1; step <= steps; step++) {
		for (; page < pages * step / steps; page++)
			desktop_write(&desktop, page);
		clock_sleep_us(LOGON_STEP_US);
	}
}

static void print_us(const char *name, uint64_t cycles)
{
	uint64_t ns = clock_ns(cycles);

	print(" %s=%lu.%03lu", name, ns / 1000, ns % 1000);
}

static void tell_window(void)
{
	print("desktop: window requests=%lu", latency.nr);
	print_us("p50_us", latency_quantile(&latency, 500000));
	print_us("p99_us", latency_quantile(&latency, 990000));
	print_us("max_us", latency.most);
	print_us("mean_us", latency.nr ? latency.total / latency.nr : 0);
	print_us("busy_us", busy_cycles);
	print(" wrong=%lu\n", desktop.wrong);
	latency_reset(&latency);
	busy_cycles = 0;
}

static void verify_all(void)
{
	uint64_t page;

	for (page = 0; page < desktop.options.pages; page++)
		if (!desktop_verify(&desktop, page))
			print("desktop: wrong: page %lu of content %u, generation %u\n", page, desktop.content[page / DESKTOP_UNIT],
			      desktop.generation[page]);
	print("desktop: verified wrong=%lu\n", desktop.wrong);
}

/* Takes what has come of a command. Returns true when the guest is to end. */
static bool listen(void)
{
	int byte;

	while ((byte = serial_read()) >= 0) {
		if (byte != '\n') {
			if (line_len < LINE - 1)
				line[line_len++] = (char)byte;
			continue;
		}
		line[line_len] = '\0';
		line_len = 0;
		if (command_is(line, "window"))
			tell_window();
		else if (command_is(line, "balloon"))
			give();
		else if (command_is(line, "verify"))
			verify_all();
		else if (command_is(line, "quit"))
			return true;
		else
			print("desktop: unknown: %s\n", line);
	}
	return false;
}

static void work(void)
{
	const uint64_t begin = tsc_read(), khz = clock_tsc_khz();
	uint64_t due, start, end, now, think = desktop.options.think_us * khz / 1000;

	for (;;) {
		due = begin + desktop_next_ns(&desktop) / 1000 * khz / 1000;
		/* Commands are looked for in pauses, a quarter of a second before the next burst at the latest: each look leaves the guest. */
		while ((now = tsc_read()) < due && (due - now) * 1000 / khz > 2 * LISTEN_US) {
			if (listen())
				return;
			clock_sleep_us(LISTEN_US);
		}
		if (now < due)
			clock_sleep_us((due - now) * 1000 / khz);
		start = tsc_read();
		desktop_request(&desktop);
		for (now = tsc_read(); (end = tsc_read()) - now < think;)
			;
		latency_add(&latency, end > due ? end - due : 0);
		busy_cycles += end - start;
	}
}

/* Not by memmap_take(), which would write zeros everywhere at once: nobody logs on so fast. Nothing is taken afterwards. */
static uint8_t *find_memory(uint64_t pages)
{
	struct memmap_range range;
	uint64_t start;
	size_t i;

	for (i = 0; memmap_free_range(i, &range); i++) {
		start = (range.gpa + HUGE_PAGES * PAGE_SIZE - 1) & ~(HUGE_PAGES * PAGE_SIZE - 1);
		if (start + pages * PAGE_SIZE <= range.gpa + range.size)
			return (uint8_t *)start;
	}
	guest_fail("there are no %lu pages of memory that follow each other", pages);
}

int guest_main(void)
{
	uint64_t pages;
	uint8_t *tables;

#define TAKE(name, otherwise) desktop.options.name = cmdline_number(#name, otherwise);
	DESKTOP_OPTIONS(TAKE)
	pages = desktop.options.pages;
	if (!pages || pages % DESKTOP_UNIT || pages / DESKTOP_UNIT > UINT16_MAX || !desktop.options.rate)
		guest_fail("pages=%lu must be a multiple of %u up to %u, and rate= more than 0", pages, DESKTOP_UNIT,
			   UINT16_MAX * DESKTOP_UNIT);
	tables = memmap_take((desktop_table_bytes(pages) + PAGE_SIZE - 1) / PAGE_SIZE, 1);
	open_balloon();
	desktop_open(&desktop, tables, find_memory(pages));
	print("desktop: started gpa=%lu\n", (uint64_t)desktop.memory);
	log_on(cmdline_number("logon_ms", 8000));
	print("desktop: ready gpa=%lu\n", (uint64_t)desktop.memory);
	work();
	return desktop.wrong ? 2 : 0;
}
