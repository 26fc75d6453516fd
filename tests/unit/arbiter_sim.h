/*
 * A host full of guests, as numbers: what the arbiter's policy is tried on, and what MOM's rules are tried on beside it. Time passes in
 * steps of 50 ms; all is repeatable by its seed. Pages of 4 KiB, as fractions: a guest's pages are not told apart, only counted by kind.
 *
 * A guest wants its working set (hot) and has pages that it does not touch (cold), part of which is cache that it can drop. Hot and cold pages
 * are resident, compressed, or on disk; hot ones that are not resident are brought back as fast as faults can be served. The memory
 * manager evicts what is above the target: cold pages first, but 1 of 20 is a mistake. A balloon moves as fast as it can, and takes
 * what is free, then cache. What a guest frees is free for the host at once (free page reporting), under both policies. Speeds are those
 * measured of the memory manager (docs/MEMORY.md), rounded down; the constants are in arbiter_sim.c.
 *
 * Under MOM's rules guests have no targets. When the host has no memory left it takes the coldest pages of all guests, with the same
 * mistakes, to disk; or, if mom_zram is set, into a swap that is as good as our compressed tier.
 *
 * A guest is under pressure at a moment if more than 2 % of the working set that it asks for is not there: not resident at the host, or
 * not even in the guest, because the balloon took its room. Pages that it is just about to touch for the first time, as fast as it can
 * allocate, do not count. The same for both policies.
 */
#ifndef TESTS_UNIT_ARBITER_SIM_H
#define TESTS_UNIT_ARBITER_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/arbiter.h"
#include "tests/unit/mom_rules.h"

enum { SIM_MOST_GUESTS = 1024, SIM_STEP_MS = 50, SIM_MIB = 256 };

enum sim_policy { SIM_ARBITER, SIM_MOM };

enum sim_lie {
	SIM_HONEST,
	SIM_SAYS_FREE,    /* says that all of its memory is available */
	SIM_SAYS_STARVED, /* says that nothing is, and that it swaps */
	SIM_SAYS_NOISE,   /* any numbers */
};

struct sim_guest {
	char name[16];
	/* As defined. */
	uint64_t id;
	double size, min, max;
	uint32_t shares;
	bool pinned, no_balloon, stuck_balloon, silent, incompressible, no_curve;
	enum sim_lie lie;
	/* What it does. */
	bool running;
	double ws, cold; /* wanted */
	double cache;    /* fraction of cold that it can drop */
	double breaking; /* shared pages that it is going to write to */
	/* What it has. */
	double hot_in, hot_out, hot_disk, cold_in, cold_out, cold_disk, shared;
	double balloon, balloon_target, target;
	double active; /* what samples say */
	uint64_t sampled_ms, faults, stall_ns, swap_ins;
	bool swap_allowed, sample, hold;
	struct arbiter_point curve[4];
	/* What came of it. */
	double missing;
	double pressure_s, running_s;
	double target_turned; /* sum of changes of its target's direction, in fractions of it */
	double last_swing, last_target;
	unsigned turns; /* changes of direction of more than 5 % */
};

struct sim {
	uint64_t seed, now_ms;
	int64_t clock_skew_ms; /* the arbiter's clock is so far from ours */
	double budget, pool;
	double reclaim_per_s; /* pages, all guests together */
	unsigned psi_full_permille;
	bool host_tight; /* free memory of the host is told */
	struct sim_guest guests[SIM_MOST_GUESTS];
	size_t nr;
	/* Policy. */
	enum sim_policy policy;
	struct arbiter *arbiter;
	uint64_t decide_ms;
	struct arbiter_host host;
	struct arbiter_guest seen[SIM_MOST_GUESTS];
	struct arbiter_decision decision;
	struct arbiter_guest_decision decisions[SIM_MOST_GUESTS];
	size_t index[SIM_MOST_GUESTS]; /* of seen[i] in guests[] */
	size_t nr_seen;
	struct mom_host mom;
	struct mom_guest mom_guests[SIM_MOST_GUESTS];
	/* What came of it. */
	double used, used_most;    /* by guests and the pool */
	bool mom_zram;             /* the kernel's swap under MOM's rules is compressed memory; else a disk */
	double swapped_while_free; /* pages that went to disk while the state was high */
	unsigned minimum_broken;   /* decisions below a minimum */
	uint64_t decisions_made;
	double state_s[4];
};

/* One in a heap block, since it is large. Aborts when there is no memory: tests only. */
struct sim *sim_create(enum sim_policy policy, uint64_t seed, double budget_mib);
void sim_destroy(struct sim *sim);
/* A guest that has nothing yet, and runs. Sizes in MiB. The name is cut. */
struct sim_guest *sim_add(struct sim *sim, const char *name, double size_mib, double min_mib, double max_mib, uint32_t shares);
struct sim_guest *sim_find(struct sim *sim, const char *name);
/* From now on it wants that, in MiB. */
void sim_load(struct sim_guest *g, double ws_mib, double cold_mib);
void sim_stop(struct sim_guest *g);
void sim_run(struct sim *sim, double seconds);

double sim_used(const struct sim_guest *g);
double sim_pressure_s(const struct sim *sim);
/* A guest's random number, 0 to 1. */
double sim_random(struct sim *sim);

#endif
