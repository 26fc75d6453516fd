/*
 * Time that only goes forward: for intervals and deadlines. Setting the machine's clock does not change it, and it is the same in all
 * processes of the machine until that starts anew (clock_gettime(2), CLOCK_MONOTONIC).
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t clock_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static inline double clock_now_s(void)
{
	return (double)clock_now_ns() / 1e9;
}

/* Joins a thread that ends within so many milliseconds. Returns whether it did. */
static inline bool thread_join_within(pthread_t thread, unsigned ms)
{
	uint64_t end = clock_now_ns() + ms * 1000000ull;
	struct timespec until = {.tv_sec = (time_t)(end / 1000000000ull), .tv_nsec = (long)(end % 1000000000ull)};
	return pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) == 0;
}

#endif
