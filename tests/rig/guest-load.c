/*
 * A guest's service and its load, driven over the serial console by moving_load.py; linked statically, since it runs in any system.
 *
 *   guest-load SEED SERVICE_MIB KEPT_MIB
 *
 *   ping N      touches pages of the service's memory, and answers `pong N WRONG`
 *   load MIB    from now on the load works on so much: verifies each page and writes it anew, one after the other; what is more than
 *               before is filled first, what is less is freed. 0 ends it. Answers `load MIB`, and `filled MIB` when all of it is there
 *   sums        verifies all memory, the kept too, which nobody has touched since the start. Answers `sums PASSES WRONG`: passes of the
 *               load so far, and pages that were ever found to be wrong
 *
 * Pages are half random, half not, so that they compress as programs' pages do. What a page must contain follows from its number and how
 * often it was written. The load is a process of its own, which gives way to the service; they share one page of counters.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
	PAGE_BYTES = 4096,
	PAGE_WORDS = PAGE_BYTES / 8,
	MIB_PAGES = 256,
	MOST_MIB = 512,
	PING_PAGES = 32,
	REST_NS = 100000000, /* of the load, after each pass: it works, but is not all that the host does */
};

/* A guest's memory of one kind. */
struct area {
	const char *name;
	uint64_t seed;
	uint64_t *words;
	uint32_t *written; /* how often, by page; 0: not yet */
	size_t nr_pages;
};

struct counters {
	volatile unsigned wanted_mib;
	volatile unsigned long passes, wrong;
	volatile unsigned check_asked, check_done;
};

static struct counters *counters;
static pid_t load_pid;
static sigset_t signals; /* SIGUSR1: something else is wanted of the load */
static uint64_t seed;    /* differs from guest to guest, or they would share all of it */

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The state that a page's words come from; never 0. */
static uint64_t seed_of(const struct area *a, size_t page)
{
	return (a->seed ^ page * 0x9e3779b97f4a7c15ull ^ (uint64_t)a->written[page] << 40) | 1;
}

static void write_page(struct area *a, size_t page)
{
	uint64_t *words = a->words + page * PAGE_WORDS;
	a->written[page]++;
	uint64_t state = seed_of(a, page), same = next_random(&state);
	for (size_t i = 0; i < PAGE_WORDS; i++)
		words[i] = i % 2 ? same : next_random(&state);
}

static void check_page(const struct area *a, size_t page)
{
	const uint64_t *words = a->words + page * PAGE_WORDS;
	uint64_t state = seed_of(a, page), same = next_random(&state), differs = 0;
	for (size_t i = 0; i < PAGE_WORDS; i++)
		differs |= words[i] ^ (i % 2 ? same : next_random(&state));
	if (!differs)
		return;
	__sync_fetch_and_add(&counters->wrong, 1);
	printf("guest: FAILED: %s: page %zu is not what was written\n", a->name, page);
	fflush(stdout);
}

static void *memory(size_t bytes, int flags)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		printf("guest: FAILED: no memory: %s\n", strerror(errno));
		exit(1);
	}
	return p;
}

static struct area area(const char *name, uint64_t kind, size_t mib)
{
	struct area a = {.name = name, .seed = (seed * 16 + kind) * 0x2545f4914f6cdd1dull, .nr_pages = mib * MIB_PAGES};
	a.words = memory(a.nr_pages * PAGE_BYTES, MAP_PRIVATE);
	a.written = memory(a.nr_pages * sizeof(*a.written), MAP_PRIVATE);
	return a;
}

/* --- the load --- */

static void check_all(const struct area *a)
{
	for (size_t page = 0; page < a->nr_pages && a->written[page]; page++)
		check_page(a, page);
}

/* Frees what is beyond so many pages. */
static void cut(struct area *a, size_t nr_pages)
{
	madvise(a->words + nr_pages * PAGE_WORDS, (a->nr_pages - nr_pages) * PAGE_BYTES, MADV_DONTNEED);
	memset(a->written + nr_pages, 0, (a->nr_pages - nr_pages) * sizeof(*a->written));
}

/* One pass; ends early when something else is wanted. */
static bool pass(struct area *a, unsigned mib)
{
	for (size_t page = 0; page < (size_t)mib * MIB_PAGES; page++) {
		if (a->written[page])
			check_page(a, page);
		write_page(a, page);
		if (counters->wanted_mib != mib || counters->check_asked != counters->check_done)
			return false;
	}
	return true;
}

static void work(void)
{
	struct area a = area("load", 1, MOST_MIB);
	const struct timespec rest = {.tv_nsec = REST_NS};
	unsigned had = 0, filled = 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpriority(PRIO_PROCESS, 0, 10);
	for (;;) {
		unsigned mib = counters->wanted_mib, asked = counters->check_asked;
		if (mib < had)
			cut(&a, (size_t)mib * MIB_PAGES);
		had = mib;
		if (asked != counters->check_done) {
			check_all(&a);
			counters->check_done = asked;
		}
		if (!pass(&a, mib))
			continue;
		counters->passes += mib > 0;
		if (filled != mib)
			printf("filled %u\n", mib);
		fflush(stdout);
		filled = mib;
		sigtimedwait(&signals, NULL, mib ? &rest : NULL);
	}
}

/* --- the service --- */

static void ping(struct area *service, const char *number)
{
	static uint64_t state = 12345;
	unsigned long wrong = counters->wrong;
	for (int i = 0; i < PING_PAGES; i++) {
		size_t page = next_random(&state) % service->nr_pages;
		check_page(service, page);
		write_page(service, page);
	}
	printf("pong %s %lu\n", number, counters->wrong - wrong);
}

static void sums(const struct area *service, const struct area *kept)
{
	counters->check_asked++;
	kill(load_pid, SIGUSR1);
	check_all(service);
	check_all(kept);
	while (counters->check_done != counters->check_asked)
		usleep(10000);
	printf("sums %lu %lu\n", counters->passes, counters->wrong);
}

static void take(struct area *service, const struct area *kept, char *line)
{
	char *save = NULL, *word = strtok_r(line, " \r\n", &save), *value = strtok_r(NULL, " \r\n", &save);
	if (word && !strcmp(word, "ping") && value) {
		ping(service, value);
	} else if (word && !strcmp(word, "load") && value) {
		unsigned long mib = strtoul(value, NULL, 10);
		counters->wanted_mib = mib < MOST_MIB ? (unsigned)mib : MOST_MIB;
		printf("load %u\n", counters->wanted_mib);
		kill(load_pid, SIGUSR1);
	} else if (word && !strcmp(word, "sums")) {
		sums(service, kept);
	} else if (word) {
		printf("guest: FAILED: \"%s\" is none of its commands\n", word);
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char line[128];
	if (argc != 4) {
		fprintf(stderr, "usage: guest-load SEED SERVICE_MIB KEPT_MIB\n");
		return 2;
	}
	seed = strtoull(argv[1], NULL, 10);
	setvbuf(stdout, NULL, _IOFBF, 4096); /* lines go out whole */
	counters = memory(PAGE_BYTES, MAP_SHARED);
	struct area service = area("service", 2, strtoul(argv[2], NULL, 10));
	struct area kept = area("kept", 3, strtoul(argv[3], NULL, 10));
	for (size_t page = 0; page < service.nr_pages; page++)
		write_page(&service, page);
	for (size_t page = 0; page < kept.nr_pages; page++)
		write_page(&kept, page);
	/* Blocked before the load is there, so that no signal to it is lost. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	load_pid = fork();
	if (load_pid == 0)
		work();
	printf("guest: serves\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		take(&service, &kept, line);
	return 0;
}
