/*
 * CPU time and time that it takes to evict guest memory. Each round fills all pages anew, evicts all of them, and reads them back verified;
 * only the eviction is timed, with what still runs in the background in the 100 ms after it. Costs are by page that was to go: the kernel keeps incompressible
 * ones in zram, ours gives them back (left).
 */
#include <stdio.h>
#include <unistd.h>

#include "bench/memory/place.h"

#define USAGE "evict " PLACE_USAGE " [rounds=3]"

static int run_round(struct place *place, unsigned round)
{
	struct memmgr_stats since;
	place_fill(place);
	place_stats(place, &since);
	usleep(100000);
	uint64_t cpu = place_cpu_ns(), start = place_now_ns();
	int64_t out = place_evict(place, 0, place->nr_pages);
	uint64_t wall = place_now_ns() - start;
	usleep(100000);
	cpu = place_cpu_ns() - cpu;
	if (out <= 0) {
		fprintf(stderr, "no page was evicted\n");
		return 1;
	}
	printf("evict: round=%u pages=%lld left=%llu cpu_us=%.3f wall_us=%.3f", round, (long long)out,
	       (unsigned long long)place->nr_pages - (unsigned long long)out, (double)cpu / 1e3 / (double)place->nr_pages,
	       (double)wall / 1e3 / (double)place->nr_pages);
	place_print_stats(place, &since);
	uint64_t wrong = place_verify(place);
	printf(" wrong=%llu\n", (unsigned long long)wrong);
	fflush(stdout);
	return wrong != 0;
}

int main(int argc, char **argv)
{
	struct options options;
	struct place place;
	if (options_open(&options, argc, argv, PLACE_OPTIONS " rounds", USAGE))
		return 2;
	if (place_open(&place, &options))
		return 1;
	int failed = 0;
	for (unsigned round = 0; !failed && round < option_number(&options, "rounds", 3); round++)
		failed = run_round(&place, round);
	place_close(&place);
	return failed;
}
