/* Reads traces (tests/traces/README.md) and plays them in the simulator. */
#ifndef TESTS_UNIT_ARBITER_TRACE_H
#define TESTS_UNIT_ARBITER_TRACE_H

#include <stdio.h>

#include "base/error.h"
#include "tests/unit/arbiter_sim.h"

/*
 * Plays the trace under a policy. plot: NULL, or where a line a second is written to: time, and of each guest demand, use and target in
 * MiB. Returns 0 with the simulator as it is at the end, which the caller destroys; or -errno with a sentence.
 */
int arbiter_trace_play(const char *path, enum sim_policy policy, bool mom_zram, FILE *plot, struct sim **sim, struct error *err);

#endif
