/*
 * Where the time of a fault goes: each microsecond of a touch that is served through userfaultfd, part by part, for a thread and for a KVM guest.
 *
 *   enter        from the touch until the handler has read the message: fault, (exit of the vCPU,) wake-up of the handler
 *   decompress   LZ4, a page of text, into a page that is new (move) or used before (copy)
 *   resolve      UFFDIO_MOVE without waking, UFFDIO_COPY (which wakes), UFFDIO_ZEROPAGE
 *   wake         UFFDIO_WAKE
 *   back         from resolved until the touch is over: (re-entry of the vCPU)
 *
 * Also, as bounds: a page that the kernel fills with zeroes by itself, and one that is there.
 */
#include "bench/memory/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/memory/options.h"
#include "bench/memory/stalls.h"
#include "memmgr/page_scan.h"
#include "memmgr/uffd.h"

#define USAGE "parts [nr=2000] [place=thread|kvm] [kernel=build/guests/pager.elf]"
#define PAGE_SIZE 4096u
enum { GAP_US = 150 };

void parts_bind(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (i == cpu || cpu < 0)
			CPU_SET(i, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *map(uint64_t len)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	madvise(at, len, MADV_NOHUGEPAGE);
	return at;
}

static void serve(struct parts *p, const struct uffd_fault *fault, struct parts_stamps *s)
{
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): an address that the kernel tells */
	void *to = (void *)(uintptr_t)(fault->hva & ~(uint64_t)(PAGE_SIZE - 1));
	uint8_t *staging = p->staging + (p->resolve == PARTS_MOVE ? p->handled + 1 : 0) * PAGE_SIZE;
	int64_t ret;
	if (p->resolve != PARTS_ZERO)
		LZ4_decompress_safe(p->compressed, (char *)staging, p->compressed_len, PAGE_SIZE);
	s->decompressed = stalls_cycles();
	switch (p->resolve) {
	case PARTS_COPY:
		ret = uffd_copy(p->uffd, to, staging, PAGE_SIZE, true);
		break;
	case PARTS_MOVE:
		ret = uffd_move(p->uffd, p->pagemap, to, staging, PAGE_SIZE, false);
		break;
	default:
		ret = uffd_zero(p->uffd, to, PAGE_SIZE, true);
		break;
	}
	s->resolved = stalls_cycles();
	if (ret < 0 && ret != -EEXIST)
		fprintf(stderr, "parts: resolve: %s\n", strerror((int)-ret));
	if (p->resolve == PARTS_MOVE)
		uffd_wake(p->uffd, to, PAGE_SIZE);
	s->woken = stalls_cycles();
}

static void *handle(void *argument)
{
	struct parts *p = argument;
	struct uffd_fault fault;
	parts_bind(p->handler_cpu);
	while (p->handled < p->nr) {
		int got = uffd_read(p->uffd, &fault, 1);
		struct parts_stamps *s = &p->stamps[p->handled];
		s->read = stalls_cycles();
		if (got == 0 || got == -EAGAIN)
			continue;
		if (got < 0) {
			fprintf(stderr, "parts: read: %s\n", strerror(-got));
			exit(1);
		}
		serve(p, &fault, s);
		p->handled++;
	}
	return NULL;
}

int parts_start(struct parts *p, void *memory, uint64_t len, uint64_t nr)
{
	struct pattern text = {.seed = 1, .mix = {{0, 100, 0, 0}}};
	uint64_t page[PAGE_SIZE / 8];
	struct error err = {0};

	p->nr = nr;
	p->handled = 0;
	p->stamps = calloc(nr, sizeof(*p->stamps));
	p->staging = map((nr + 1) * PAGE_SIZE);
	p->compressed = malloc(LZ4_COMPRESSBOUND(PAGE_SIZE));
	pattern_fill(&text, 0, 1, page);
	p->compressed_len = LZ4_compress_default((const char *)page, p->compressed, PAGE_SIZE, LZ4_COMPRESSBOUND(PAGE_SIZE));
	memset(p->staging, 1, PAGE_SIZE);
	p->pagemap = page_scan_open();
	p->uffd = uffd_open(&err);
	int ret = p->uffd < 0 ? p->uffd : p->pagemap < 0 ? p->pagemap : uffd_register(p->uffd, memory, len, UFFD_TRACK_MISSING);
	if (!ret && p->spin)
		ret = fcntl(p->uffd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	if (!ret)
		ret = -pthread_create(&p->thread, NULL, handle, p);
	if (ret)
		fprintf(stderr, "parts: %s\n", err.code ? err.text : strerror(-ret));
	return ret;
}

void parts_stop(struct parts *p)
{
	pthread_join(p->thread, NULL);
	close(p->uffd);
	page_scan_close(p->pagemap);
	munmap(p->staging, (p->nr + 1) * PAGE_SIZE);
	free(p->compressed);
}

void parts_free(struct parts *p)
{
	free(p->stamps);
}

static int compare(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
	return (left > right) - (left < right);
}

/* The median of to - from, named; not where one of both is not known. */
static void print_part(const struct parts *p, const char *name, size_t from, size_t to)
{
	int64_t *values = malloc(p->nr * sizeof(*values));
	uint64_t nr = 0;
	for (uint64_t i = 0; i < p->nr; i++) {
		uint64_t start = *(const uint64_t *)((const char *)&p->stamps[i] + from);
		uint64_t end = *(const uint64_t *)((const char *)&p->stamps[i] + to);
		if (start && end)
			values[nr++] = (int64_t)(end - start);
	}
	qsort(values, nr, sizeof(*values), compare);
	if (nr) {
		int64_t median = values[nr / 2];
		printf(" %s_us=%.2f", name, (double)median * stalls_ns_per_cycle() / 1e3);
	}
	free(values);
}

void parts_print(const struct parts *p, const char *place)
{
	static const char *const resolves[] = {"copy", "move", "zero"};
	printf("parts: place=%s handler=%s resolve=%s", place,
	       p->spin               ? "spinning"
	       : p->handler_cpu == 0 ? "same-cpu"
				     : "asleep",
	       resolves[p->resolve]);
	print_part(p, "total", offsetof(struct parts_stamps, touch), offsetof(struct parts_stamps, touched));
	print_part(p, "enter", offsetof(struct parts_stamps, touch), offsetof(struct parts_stamps, read));
	print_part(p, "decompress", offsetof(struct parts_stamps, read), offsetof(struct parts_stamps, decompressed));
	print_part(p, "resolve", offsetof(struct parts_stamps, decompressed), offsetof(struct parts_stamps, resolved));
	print_part(p, "wake", offsetof(struct parts_stamps, resolved), offsetof(struct parts_stamps, woken));
	print_part(p, "back", offsetof(struct parts_stamps, resolved), offsetof(struct parts_stamps, touched));
	printf("\n");
	fflush(stdout);
}

static void run_thread(struct parts *p, uint64_t nr)
{
	uint8_t *memory = map(nr * PAGE_SIZE);
	parts_bind(0);
	if (parts_start(p, memory, nr * PAGE_SIZE, nr))
		exit(1);
	double cycles_per_us = 1e3 / stalls_ns_per_cycle();
	for (uint64_t i = 0; i < nr; i++) {
		uint64_t start = stalls_cycles();
		(void)*(volatile uint8_t *)(memory + i * PAGE_SIZE);
		uint64_t end = stalls_cycles();
		p->stamps[i].touch = start;
		p->stamps[i].touched = end;
		/* The handler goes to sleep meanwhile, unless it has to share the CPU. */
		if (p->handler_cpu == 0)
			usleep(GAP_US);
		while (p->handler_cpu != 0 && (double)(stalls_cycles() - end) < GAP_US * cycles_per_us)
			;
	}
	parts_stop(p);
	parts_bind(-1);
	parts_print(p, "thread");
	parts_free(p);
	munmap(memory, nr * PAGE_SIZE);
}

/* What the kernel needs for a page by itself, and a page that is there. */
static void run_bounds(uint64_t nr)
{
	struct parts p = {.nr = nr, .stamps = calloc(nr, sizeof(*p.stamps))};
	uint8_t *memory = map(nr * PAGE_SIZE);
	for (unsigned pass = 0; pass < 2; pass++) {
		for (uint64_t i = 0; i < nr; i++) {
			p.stamps[i].touch = stalls_cycles();
			*(volatile uint8_t *)(memory + i * PAGE_SIZE) = 1;
			p.stamps[i].touched = stalls_cycles();
		}
		printf("parts: place=thread handler=none page=%s", pass ? "there" : "zeroed-by-kernel");
		print_part(&p, "total", offsetof(struct parts_stamps, touch), offsetof(struct parts_stamps, touched));
		printf("\n");
	}
	parts_free(&p);
	munmap(memory, nr * PAGE_SIZE);
}

int main(int argc, char **argv)
{
	struct options options;
	if (options_open(&options, argc, argv, "nr place kernel", USAGE))
		return 2;
	uint64_t nr = option_number(&options, "nr", 2000);
	struct parts_guest *guest = NULL;
	if (strcmp(option_text(&options, "place", "thread"), "kvm") == 0) {
		if (parts_guest_open(option_text(&options, "kernel", "build/guests/pager.elf"), &guest))
			return 1;
	} else {
		run_bounds(nr);
	}
	for (unsigned how = 0; how < 3; how++) {
		for (enum parts_resolve resolve = PARTS_COPY; resolve <= PARTS_ZERO; resolve++) {
			struct parts p = {.resolve = resolve, .spin = how == 1, .handler_cpu = how == 2 ? 0 : 1};
			if (!guest) {
				run_thread(&p, nr);
				continue;
			}
			if (parts_guest_run(guest, &p, nr, GAP_US))
				return 1;
			parts_print(&p, "kvm");
			parts_free(&p);
		}
	}
	if (guest)
		parts_guest_close(guest);
	return 0;
}
