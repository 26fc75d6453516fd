/* Reads traces (tests/traces/README.md) and plays them in the simulator. */
#ifndef TESTS_UNIT_ARBITER_TRACE_H
#define TESTS_UNIT_ARBITER_TRACE_H

#include <stdio.h>

#include "base/error.h"
#include "tests/unit/arbiter_sim.h"

struct arbiter_trace_run {
	enum sim_policy policy;
	bool mom_zram; /* as struct sim has it */
	/* 0: the trace as it is. Else a seed: all loads are up to a tenth smaller or larger, each of them once more, and come up to 3 s later. */
	uint64_t variation;
	FILE *plot; /* NULL, or where a line a second is written to: time, and of each guest demand, use and target in MiB */
};

/* Plays the trace. Returns 0 with the simulator as it is at the end, which the caller destroys; or -errno with a sentence. */
int arbiter_trace_play(const char *path, const struct arbiter_trace_run *run, struct sim **sim, struct error *err);

#endif
