/*
 * How long things took, for quantiles: a histogram of cycles in which each power of two has 128 steps, so that a value is known to
 * within 0.8 %, whatever its size and however many there are.
 */
#ifndef GUEST_LATENCY_H
#define GUEST_LATENCY_H

#include <stdint.h>

enum { LATENCY_STEPS = 128, LATENCY_POWERS = 40 };

struct latency {
	uint64_t nr, total, most;
	uint64_t counts[LATENCY_POWERS * LATENCY_STEPS];
};

void latency_reset(struct latency *l);
void latency_add(struct latency *l, uint64_t cycles);
/* Cycles that so many of a million took at most; 0 if there are none at all. */
uint64_t latency_quantile(const struct latency *l, uint64_t of_million);

#endif
