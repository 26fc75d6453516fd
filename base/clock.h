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
#ifdef __SANITIZE_THREAD__
	/* GCC 12's knows of no other join with a time limit, and would miss that the thread has ended. */
	const clockid_t clock = CLOCK_REALTIME;
#else
	const clockid_t clock = CLOCK_MONOTONIC;
#endif
	struct timespec until;
	clock_gettime(clock, &until);
	uint64_t end = (uint64_t)until.tv_sec * 1000000000ull + (uint64_t)until.tv_nsec + ms * 1000000ull;
	until = (struct timespec){.tv_sec = (time_t)(end / 1000000000ull), .tv_nsec = (long)(end % 1000000000ull)};
#ifdef __SANITIZE_THREAD__
	return pthread_timedjoin_np(thread, NULL, &until) == 0;
#else
	return pthread_clockjoin_np(thread, NULL, clock, &until) == 0;
#endif
}

#endif
