/*
 * Benchmark of the arbiter: CPU time of one decision over 1,000 guests, and guest-seconds under pressure beside MOM's rules on the same
 * traces. One line a figure, for bench/arbiter/arbiter.py:
 *   decision_ms VALUE
 *   pressure TRACE VARIATION OURS THEIRS THEIRS_WITH_ZRAM     variation 0: the trace as it is
 * With a second argument it plays one trace under the arbiter, and writes what tests/unit/arbiter_trace.h says for a plot.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/arbiter_trace.h"

enum { GUESTS = 1000, RUNS = 15, DECISIONS = 20, VARIATIONS = 20 };
/* Variations 1 to 20 were looked at while the policy was written; those after this one were not. */
#define HELD_OUT 1000u

static double cpu_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void decide(void)
{
	struct sim *sim = sim_create(SIM_ARBITER, 3, GUESTS * 150.0);
	for (int i = 0; i < GUESTS; i++) {
		struct sim_guest *g = sim_add(sim, "g", 512, 32, 0, (uint32_t)(500 + i % 4 * 500));
		sim_load(g, 60 + sim_random(sim) * 150, 100);
	}
	sim_run(sim, 30); /* until there are working sets, curves, and a shortage */
	for (int run = 0; run < RUNS; run++) {
		double start = cpu_ms();
		for (int i = 0; i < DECISIONS; i++) {
			sim->host.now_ns += 250000000;
			if (arbiter_decide(sim->arbiter, &sim->host, sim->seen, sim->nr_seen, &sim->decision, sim->decisions))
				abort();
		}
		printf("decision_ms %.4f\n", (cpu_ms() - start) / DECISIONS);
	}
	sim_destroy(sim);
}

static double play(const char *path, const struct arbiter_trace_run *run)
{
	struct sim *sim;
	struct error err = {0};
	if (arbiter_trace_play(path, run, &sim, &err)) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	double pressure = sim_pressure_s(sim);
	sim_destroy(sim);
	return pressure;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "plot") == 0) {
		play(argv[2], &(struct arbiter_trace_run){.plot = stdout});
		return 0;
	}
	decide();
	for (int i = 1; i < argc; i++) {
		for (uint64_t nth = 0; nth <= VARIATIONS; nth++) {
			uint64_t v = nth ? HELD_OUT + nth : 0;
			double ours = play(argv[i], &(struct arbiter_trace_run){.policy = SIM_ARBITER, .variation = v});
			double theirs = play(argv[i], &(struct arbiter_trace_run){.policy = SIM_MOM, .variation = v});
			double zram =
				play(argv[i], &(struct arbiter_trace_run){.policy = SIM_MOM, .variation = v, .mom_zram = true});
			printf("pressure %s %u %.2f %.2f %.2f\n", argv[i], (unsigned)v, ours, theirs, zram);
		}
	}
	return 0;
}
