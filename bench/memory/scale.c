/*
 * How the manager's work grows: with threads that fault at once, and with the size of the guest.
 *
 * what=faults: threads= touch pages of their own, all at random and evicted: faults per second of all together.
 * what=size: all pages are evicted and touched in address order: time and CPU time a page.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/thread_cpu.h"
#include "bench/memory/order.h"
#include "bench/memory/place.h"
#include "bench/memory/stalls.h"

#define USAGE "scale " PLACE_USAGE " [what=faults|size] [threads=1] [touches=16384, of all threads] [stall_ns=1000] [rounds=3]"
enum { MOST_THREADS = 64 };

struct toucher {
	const struct place *place;
	const uint32_t *pages;
	uint64_t nr;
	pthread_barrier_t *start;
	struct stalls stalls;
	uint64_t start_ns, end_ns;
	pthread_t thread;
};

static inline void touch(const struct place *place, uint64_t page)
{
	(void)*(volatile uint64_t *)(place_page(place, page) + (page * 40 & 0xff8));
}

static void *run_toucher(void *argument)
{
	struct toucher *t = argument;
	double ns_per_cycle = stalls_ns_per_cycle();
	thread_cpu_publish(); /* as a vCPU's thread does */
	pthread_barrier_wait(t->start);
	t->start_ns = place_now_ns();
	for (uint64_t i = 0; i < t->nr; i++) {
		uint64_t start = stalls_cycles();
		touch(t->place, t->pages[i]);
		stalls_note(&t->stalls, (uint64_t)((double)(stalls_cycles() - start) * ns_per_cycle));
	}
	t->end_ns = place_now_ns();
	return NULL;
}

static int run_faults(struct place *place, const uint32_t *pages, uint64_t touches, unsigned nr_threads, uint64_t stall_ns)
{
	static struct toucher touchers[MOST_THREADS];
	pthread_barrier_t start;
	unsigned i;
	pthread_barrier_init(&start, NULL, nr_threads);
	stalls_ns_per_cycle();
	for (i = 0; i < nr_threads; i++) {
		uint64_t first = touches * i / nr_threads;
		touchers[i] = (struct toucher){
			.place = place, .pages = pages + first, .nr = touches * (i + 1) / nr_threads - first, .start = &start};
		if (stalls_open(&touchers[i].stalls, touchers[i].nr, stall_ns) ||
		    pthread_create(&touchers[i].thread, NULL, run_toucher, &touchers[i])) {
			fprintf(stderr, "scale: no thread\n");
			exit(1);
		}
	}
	uint64_t first_ns = UINT64_MAX, last_ns = 0, stalls = 0, total_ns = 0;
	for (i = 0; i < nr_threads; i++) {
		struct toucher *t = &touchers[i];
		pthread_join(t->thread, NULL);
		first_ns = t->start_ns < first_ns ? t->start_ns : first_ns;
		last_ns = t->end_ns > last_ns ? t->end_ns : last_ns;
		stalls += t->stalls.nr;
		total_ns += t->stalls.total_ns;
		stalls_close(&t->stalls);
	}
	pthread_barrier_destroy(&start);
	printf(" threads=%u stalls=%llu faults_per_s=%.0f mean_us=%.3f", nr_threads, (unsigned long long)stalls,
	       (double)stalls * 1e9 / (double)(last_ns - first_ns), (double)total_ns / 1e3 / (double)(stalls ? stalls : 1));
	return 0;
}

static void run_size(struct place *place, uint64_t evict_ns, uint64_t evict_cpu_ns)
{
	uint64_t start = place_now_ns(), cpu = place_cpu_ns(), nr = place->nr_pages;
	for (uint64_t page = 0; page < nr; page++)
		touch(place, page);
	uint64_t back_ns = place_now_ns() - start, back_cpu_ns = place_cpu_ns() - cpu;
	printf(" evict_us=%.3f back_us=%.3f us_per_page=%.3f cpu_us=%.3f", (double)evict_ns / 1e3 / (double)nr,
	       (double)back_ns / 1e3 / (double)nr, (double)(evict_ns + back_ns) / 1e3 / (double)nr,
	       (double)(evict_cpu_ns + back_cpu_ns) / 1e3 / (double)nr);
}

int main(int argc, char **argv)
{
	struct options options;
	struct place place;
	struct order order;
	struct memmgr_stats since;

	if (options_open(&options, argc, argv, PLACE_OPTIONS " what threads touches stall_ns rounds", USAGE))
		return 2;
	unsigned nr_threads = (unsigned)option_number(&options, "threads", 1);
	uint64_t touches = option_number(&options, "touches", 16384), wrong = 0;
	bool is_size = !strcmp(option_text(&options, "what", "faults"), "size");
	if (nr_threads < 1 || nr_threads > MOST_THREADS) {
		fprintf(stderr, "scale: threads=1 to %d\n", MOST_THREADS);
		return 2;
	}
	if (place_open(&place, &options))
		return 1;
	uint32_t *permutation = calloc(place.nr_pages, sizeof(*permutation));
	for (unsigned round = 0; permutation && !wrong && round < option_number(&options, "rounds", 3); round++) {
		place_fill(&place);
		order_open(&order, ORDER_RANDOM, place.nr_pages, place.pattern.seed, round, 1, permutation);
		place_stats(&place, &since);
		uint64_t start = place_now_ns(), cpu = place_cpu_ns();
		if (place_evict(&place, 0, place.nr_pages) < 0) {
			wrong = place.nr_pages;
			break;
		}
		uint64_t evict_ns = place_now_ns() - start, evict_cpu_ns = place_cpu_ns() - cpu;
		printf("scale: round=%u pages=%llu", round, (unsigned long long)place.nr_pages);
		if (is_size)
			run_size(&place, evict_ns, evict_cpu_ns);
		else
			run_faults(&place, permutation, touches < place.nr_pages ? touches : place.nr_pages, nr_threads,
				   option_number(&options, "stall_ns", 1000));
		place_print_stats(&place, &since);
		wrong = place_verify(&place);
		printf(" wrong=%llu\n", (unsigned long long)wrong);
		fflush(stdout);
	}
	free(permutation);
	place_close(&place);
	return wrong != 0;
}
