/* Seeded random numbers (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014, the SplitMix64 variant). */
#ifndef GUEST_PRNG_H
#define GUEST_PRNG_H

#include <stdint.h>

struct prng {
	uint64_t state;
};

/* Scatters a number over 64 bits; a bijection. */
static inline uint64_t prng_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static inline uint64_t prng_next(struct prng *prng)
{
	prng->state += 0x9e3779b97f4a7c15ull;
	return prng_mix(prng->state);
}

/* 0 to bound - 1; bound 0 gives 0. The bias of 2^-32 or so does not matter in tests. */
static inline uint64_t prng_below(struct prng *prng, uint64_t bound)
{
	return (uint64_t)((unsigned __int128)prng_next(prng) * bound >> 64);
}

/* 0 up to, not including, 1. */
static inline double prng_real(struct prng *prng)
{
	return (double)(prng_next(prng) >> 11) * 0x1p-53;
}

#endif
