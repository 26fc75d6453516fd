/*
 * A desktop whose guest is a plain thread: the same model (desktop.h) over the same memory manager and scanner as in pagoda-vmm, or over plain memory that
 * KSM may merge; without KVM, so that nothing is paid for leaving a vCPU. One process each, as VMMs are.
 *
 * Takes the commands of tests/guests/desktop.c on standard input;
 *
 *   balloon                               gives up what is zero, as that guest does by its balloon: "desktop: given pages="
 *
 * and with side=ours
 *
 *   stats                                 "desktop: stats used= active= stored= stored_taken= shared= faults= stall_ns= full_scans="
 *   tell target=BYTES cpu=PERCENT sample=PAGES/S   what the arbiter has decided: "desktop: told"
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/thread_cpu.h"
#include "bench/density/desktop.h"
#include "bench/memory/options.h"
#include "dedup/scanner.h"
#include "memmgr/memmgr.h"
#include "tests/guests/lib/latency.h"
#include "vmm/ksm.h"

#define OPTION_NAME(name, otherwise) #name " "
#define OPTION_USAGE(name, otherwise) "[" #name "=" #otherwise "] "
#define USAGE \
	"desktop_thread [side=ours|kernel] [tier=own|kernel] [socket=PATH] [name=d] [logon_ms=8000] " DESKTOP_OPTIONS(OPTION_USAGE)

enum { LINE = 160, LOGON_STEP_MS = 10, SAMPLE_RATE = 50, SCANNER_PERCENT = 10 }; /* as pagodad has it */

struct program {
	struct options options;
	struct guest_ram *ram;
	struct memmgr *mm;       /* NULL with the kernel */
	struct scanner *scanner; /* likewise */
	pthread_mutex_t lock;    /* guards all below: held during a request */
	struct desktop desktop;
	struct latency latency; /* in ns */
	uint64_t busy_ns;
};

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
	struct timespec end = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
		;
}

static void memory_failed(struct memmgr_owner *owner, enum memmgr_failure failure, const char *detail)
{
	(void)owner;
	fprintf(stderr, "desktop: memory has failed: %s: %s\n", memmgr_failure_name(failure), detail);
	_exit(3);
}

static void memory_recovered(struct memmgr_owner *owner)
{
	(void)owner;
}

static int open_manager(struct program *p, struct error *err)
{
	static struct memmgr_owner owner = {memory_failed, memory_recovered};
	struct memmgr_params params = {.ram = p->ram, .owner = &owner, .swap_fd = -1};
	memmgr_settings_init(&params.settings);
	params.settings.sample_rate = SAMPLE_RATE;
	params.settings.kernel_tier = !strcmp(option_text(&p->options, "tier", "own"), "kernel");
	int ret = memmgr_create(&params, &p->mm, err);
	if (ret)
		return ret;
	struct scanner_params scanner = {
		.mm = p->mm,
		.socket = option_text(&p->options, "socket", ""),
		.domain = "bench",
		.guest = option_text(&p->options, "name", "d"),
		.node = -1,
	};
	scanner_settings_init(&scanner.settings);
	scanner.settings.cpu_percent = SCANNER_PERCENT;
	return scanner_create(&scanner, &p->scanner, err);
}

/* --- the guest --- */

static void log_on(struct program *p)
{
	uint64_t pages = p->desktop.options.pages, steps = option_number(&p->options, "logon_ms", 8000) / LOGON_STEP_MS + 1,
		 page = 0;
	for (uint64_t step = 1, begin = now_ns(); step <= steps; step++) {
		for (; page < pages * step / steps; page++)
			desktop_write(&p->desktop, page);
		sleep_until(begin + step * LOGON_STEP_MS * 1000000);
	}
}

static void serve(struct program *p, uint64_t due)
{
	pthread_mutex_lock(&p->lock);
	uint64_t start = now_ns(), thought, end;
	desktop_request(&p->desktop);
	for (thought = now_ns(); (end = now_ns()) - thought < p->desktop.options.think_us * 1000;)
		;
	latency_add(&p->latency, end - due);
	p->busy_ns += end - start;
	pthread_mutex_unlock(&p->lock);
}

static void *work(void *argument)
{
	struct program *p = argument;
	thread_cpu_publish(); /* as a vCPU's thread does */
	log_on(p);
	printf("desktop: ready gpa=0\n");
	fflush(stdout);
	for (uint64_t begin = now_ns();;) {
		uint64_t due = begin + desktop_next_ns(&p->desktop);
		sleep_until(due);
		serve(p, due);
	}
	return NULL;
}

/* --- commands --- */

static void tell_window(struct program *p)
{
	struct latency *l = &p->latency;
	printf("desktop: window requests=%llu p50_us=%.3f p99_us=%.3f max_us=%.3f mean_us=%.3f busy_us=%.3f wrong=%llu\n",
	       (unsigned long long)l->nr, (double)latency_quantile(l, 500000) / 1e3, (double)latency_quantile(l, 990000) / 1e3,
	       (double)l->most / 1e3, l->nr ? (double)l->total / (double)l->nr / 1e3 : 0, (double)p->busy_ns / 1e3,
	       (unsigned long long)p->desktop.wrong);
	latency_reset(l);
	p->busy_ns = 0;
}

static void verify_all(struct program *p)
{
	for (uint64_t page = 0; page < p->desktop.options.pages; page++)
		desktop_verify(&p->desktop, page);
	printf("desktop: verified wrong=%llu\n", (unsigned long long)p->desktop.wrong);
}

static void give(struct program *p)
{
	uint64_t given = 0;
	for (uint64_t unit = 0; unit < p->desktop.nr_units; unit++) {
		if (desktop_kind(&p->desktop, p->desktop.content[unit]) != DESKTOP_ZERO)
			continue;
		if (madvise(desktop_page(&p->desktop, unit * DESKTOP_UNIT), DESKTOP_UNIT * GUEST_PAGE_SIZE, MADV_DONTNEED) == 0)
			given += DESKTOP_UNIT;
	}
	printf("desktop: given pages=%llu\n", (unsigned long long)given);
}

static void tell_stats(const struct program *p)
{
	struct memmgr_stats m = {0};
	struct scanner_stats s = {0};
	if (p->mm)
		memmgr_get_stats(p->mm, &m);
	if (p->scanner)
		scanner_get_stats(p->scanner, &s);
	printf("desktop: stats used=%llu active=%llu stored=%llu stored_taken=%llu shared=%llu faults=%llu stall_ns=%llu "
	       "full_scans=%llu\n",
	       (unsigned long long)m.used_pages, (unsigned long long)m.active_pages,
	       (unsigned long long)m.compressed_pages + m.swap_pages + m.kernel_swap_pages,
	       (unsigned long long)((m.compressed_bytes + m.kernel_swap_bytes) / GUEST_PAGE_SIZE),
	       (unsigned long long)m.shared_pages, (unsigned long long)m.faults, (unsigned long long)m.stall_ns,
	       (unsigned long long)s.full_scans);
}

static int configure(struct program *p, uint64_t target, uint32_t cpu, uint32_t sample_rate, struct error *err)
{
	struct memmgr_settings settings;
	struct scanner_settings scanner;
	memmgr_get_settings(p->mm, &settings);
	settings.target = target;
	settings.sample_rate = sample_rate;
	int ret = memmgr_configure(p->mm, &settings, err);
	if (ret)
		return ret;
	scanner_get_settings(p->scanner, &scanner);
	scanner.cpu_percent = cpu;
	return scanner_configure(p->scanner, &scanner, err);
}

static void obey(struct program *p, const char *line)
{
	unsigned long long target;
	unsigned cpu, sample_rate;
	struct error err = {0};
	if (!strcmp(line, "window")) {
		tell_window(p);
	} else if (!strcmp(line, "verify")) {
		verify_all(p);
	} else if (!strcmp(line, "balloon") && !p->mm) {
		give(p);
	} else if (!strcmp(line, "stats")) {
		tell_stats(p);
	} else if (p->mm && sscanf(line, "tell target=%llu cpu=%u sample=%u", &target, &cpu, &sample_rate) == 3) {
		if (configure(p, target, cpu, sample_rate, &err))
			fprintf(stderr, "desktop: %s\n", err.text);
		printf("desktop: told\n");
	} else {
		printf("desktop: unknown: %s\n", line);
	}
	fflush(stdout);
}

static int run(struct program *p)
{
	pthread_t thread;
	char line[LINE];
	int ret = pthread_create(&thread, NULL, work, p);
	if (ret) {
		fprintf(stderr, "desktop_thread: its thread cannot be started: %s\n", strerror(ret));
		return 1;
	}
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strcmp(line, "quit"))
			break;
		/* What does not touch the guest's memory, or the session, waits for nobody: the thread may stand in a fault. */
		bool waits = !strcmp(line, "window") || !strcmp(line, "verify") || !strcmp(line, "balloon");
		if (waits)
			pthread_mutex_lock(&p->lock);
		obey(p, line);
		if (waits)
			pthread_mutex_unlock(&p->lock);
	}
	/* The thread is not joined: memory goes with the process, as a killed VMM's does. */
	_exit(p->desktop.wrong ? 2 : 0);
}

int main(int argc, char **argv)
{
	static struct program p = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct error err = {0};
	if (options_open(&p.options, argc, argv, "side tier socket name logon_ms " DESKTOP_OPTIONS(OPTION_NAME), USAGE))
		return 2;
#define TAKE(name, otherwise) p.desktop.options.name = option_number(&p.options, #name, otherwise);
	DESKTOP_OPTIONS(TAKE)
	uint64_t pages = p.desktop.options.pages;
	if (!pages || pages % DESKTOP_UNIT || pages / DESKTOP_UNIT > UINT16_MAX || !p.desktop.options.rate) {
		fprintf(stderr, "desktop_thread: pages= must be a multiple of %d up to %u, and rate= more than 0\nusage: %s\n",
			DESKTOP_UNIT, UINT16_MAX * DESKTOP_UNIT, USAGE);
		return 2;
	}
	uint8_t *tables = calloc(1, desktop_table_bytes(pages));
	if (!tables) {
		fprintf(stderr, "desktop_thread: no memory for the desktop's tables\n");
		return 1;
	}
	struct guest_ram_region region = {.size = pages * GUEST_PAGE_SIZE};
	int ret = guest_ram_create(&region, 1, &p.ram, &err);
	if (!ret)
		ret = strcmp(option_text(&p.options, "side", "ours"), "kernel") ? open_manager(&p, &err) : ksm_enable(p.ram, &err);
	if (ret) {
		fprintf(stderr, "desktop_thread: %s\n", err.text);
		free(tables);
		return 1;
	}
	desktop_open(&p.desktop, tables, guest_ram_at(p.ram, 0, region.size));
	return run(&p);
}
