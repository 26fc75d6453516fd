/*
 * How well the manager knows the working set: a thread touches set= pages, scattered over the place, again and again; the manager's estimate is read
 * once a second. Also what the sampling costs: CPU time of the process without that thread's.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "bench/memory/order.h"
#include "bench/memory/place.h"

#define USAGE "wss " PLACE_USAGE " [set=16384 (pages)] [settle_s=10] [seconds=10]; without sample= there is no estimate"
enum { BURST = 4096 };

struct worker {
	const struct place *place;
	const uint32_t *pages;
	uint64_t nr;
	atomic_bool stop;
	_Atomic uint64_t cpu_ns;
};

static void *work(void *argument)
{
	struct worker *w = argument;
	struct prng prng = {7};
	struct timespec cpu;
	while (!atomic_load_explicit(&w->stop, memory_order_relaxed)) {
		for (unsigned i = 0; i < BURST; i++)
			(void)*(volatile uint64_t *)place_page(w->place, w->pages[prng_below(&prng, w->nr)]);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
		atomic_store(&w->cpu_ns, (uint64_t)cpu.tv_sec * 1000000000u + (uint64_t)cpu.tv_nsec);
		usleep(1000);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct options options;
	struct place place;
	struct order order;
	struct memmgr_stats stats, since;
	pthread_t thread;

	if (options_open(&options, argc, argv, PLACE_OPTIONS " set settle_s seconds", USAGE))
		return 2;
	if (place_open(&place, &options))
		return 1;
	uint32_t *permutation = calloc(place.nr_pages, sizeof(*permutation));
	if (!permutation)
		return 1;
	order_open(&order, ORDER_RANDOM, place.nr_pages, place.pattern.seed, 0, 1, permutation);
	place_fill(&place);
	struct worker w = {.place = &place, .pages = permutation, .nr = option_number(&options, "set", 16384)};
	if (w.nr > place.nr_pages || pthread_create(&thread, NULL, work, &w)) {
		fprintf(stderr, "wss: no thread for %llu pages\n", (unsigned long long)w.nr);
		free(permutation);
		return 1;
	}
	sleep((unsigned)option_number(&options, "settle_s", 10));
	place_stats(&place, &since);
	uint64_t cpu = place_cpu_ns() - w.cpu_ns, start = place_now_ns(), sum = 0, seconds = option_number(&options, "seconds", 10);
	for (uint64_t i = 0; i < seconds; i++) {
		sleep(1);
		place_stats(&place, &stats);
		sum += stats.active_pages;
	}
	cpu = place_cpu_ns() - w.cpu_ns - cpu;
	printf("wss: set=%llu estimate=%.0f cpu_share=%.5f", (unsigned long long)w.nr,
	       (double)sum / (double)(seconds ? seconds : 1), (double)cpu / (double)(place_now_ns() - start));
	place_print_stats(&place, &since);
	atomic_store(&w.stop, true);
	pthread_join(thread, NULL);
	uint64_t wrong = place_verify(&place);
	printf(" wrong=%llu\n", (unsigned long long)wrong);
	place_close(&place);
	free(permutation);
	return wrong != 0;
}
