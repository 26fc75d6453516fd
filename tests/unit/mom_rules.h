/*
 * The balloon rules of MOM (Memory Overcommitment Manager, oVirt), written anew from their documentation
 * (https://www.ovirt.org/develop/sla/autoballooning-howto/mom-balloon.policy.html and mom-balloon.conf.html): a baseline for the arbiter.
 *
 * What they say: statistics are taken every 5 s, and averaged over the last 10; every 10 s the policy is asked. While less than 20 % of the
 * host's memory are free, all guests shrink, by at most 5 % each time, down to what they use and a part of free memory that falls with the
 * host's; with less than 5 % free, to below what they use. Else all guests grow by 5 %, or so far that 20 % of their memory are free.
 * Changes below a quarter of a percent are left out. A guest's guaranteed minimum holds, as in later versions. Sizes: any one unit.
 */
#ifndef TESTS_UNIT_MOM_RULES_H
#define TESTS_UNIT_MOM_RULES_H

#include <stddef.h>

enum { MOM_MONITOR_MS = 5000, MOM_POLICY_MS = 10000, MOM_HISTORY = 10 };

/* The last samples of one number. All zero: none. */
struct mom_average {
	double samples[MOM_HISTORY];
	size_t nr, next;
};
void mom_sample(struct mom_average *a, double value);
double mom_mean(const struct mom_average *a);

struct mom_host {
	double total;
	struct mom_average free;
};
struct mom_guest {
	double current, min, max; /* memory that is not in the balloon */
	struct mom_average current_average, unused;
};

/* What the guest is to have outside its balloon; its current size: no change. */
double mom_target(const struct mom_host *host, const struct mom_guest *guest);

#endif
