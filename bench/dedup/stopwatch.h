/* Time that has passed, for benchmark programs. */
#ifndef BENCH_DEDUP_STOPWATCH_H
#define BENCH_DEDUP_STOPWATCH_H

#include <stdint.h>
#include <time.h>

static inline uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* SplitMix64 (Steele, Lea, Flood, 2014): a number as good as random for each n. */
static inline uint64_t scramble(uint64_t n)
{
	uint64_t z = (n + 1) * 0x9e3779b97f4a7c15ull;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

#endif
