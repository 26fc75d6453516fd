/* Random numbers for tests that compare with a model: repeatable by PAGODA_SEED, which each such test program prints. */
#ifndef TESTS_UNIT_RANDOM_TEST_H
#define TESTS_UNIT_RANDOM_TEST_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t random_state;

/* Starts the sequence. Each test calls it, so that it can be run alone with the same result. */
static inline void random_start(void)
{
	const char *fixed = getenv("PAGODA_SEED");
	uint64_t seed = fixed ? strtoull(fixed, NULL, 10) : (uint64_t)time(NULL);
	printf("PAGODA_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	random_state = seed * 0x9e3779b97f4a7c15ull + 1;
}

static inline uint64_t random_bits(void)
{
	/* SplitMix64 (Steele, Lea, Flood, 2014). */
	uint64_t z = random_state += 0x9e3779b97f4a7c15ull;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* 0 to below - 1. */
static inline uint64_t random_below(uint64_t below)
{
	return random_bits() % below;
}

#endif
