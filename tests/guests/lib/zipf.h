/* Zipf-distributed ranks: rank k of 1 to n has a probability proportional to k to the power of -s. */
#ifndef GUEST_ZIPF_H
#define GUEST_ZIPF_H

#include "prng.h"

struct zipf {
	uint64_t n;
	double s, h_first, h_last, shortcut;
};

/* n from 1; s from 0 (uniform) to 8, 1 included. */
void zipf_init(struct zipf *zipf, uint64_t n, double s);
/* 0 to n - 1, 0 the most frequent. */
uint64_t zipf_next(const struct zipf *zipf, struct prng *prng);

#endif
