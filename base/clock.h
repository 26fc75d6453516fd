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

static inline uint64_t clock_read_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_now_ns(void)
{
	return clock_read_ns(CLOCK_MONOTONIC);
}

static inline uint64_t clock_now_ms(void)
{
	return clock_now_ns() / 1000000;
}

static inline double clock_now_s(void)
{
	return (double)clock_now_ns() / 1e9;
}

/* CPU time of the calling thread. */
static inline uint64_t clock_thread_cpu_ns(void)
{
	return clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
}

#ifdef __SANITIZE_THREAD__
/* GCC 12's ThreadSanitizer knows of no other join with a time limit, and would miss that the thread has ended. */
#define CLOCK_OF_JOIN CLOCK_REALTIME
#define clock_join(thread, until) pthread_timedjoin_np(thread, NULL, until)
#else
#define CLOCK_OF_JOIN CLOCK_MONOTONIC
#define clock_join(thread, until) pthread_clockjoin_np(thread, NULL, CLOCK_OF_JOIN, until)
#endif

/* Joins a thread that ends within so many milliseconds. Returns whether it did. */
static inline bool thread_join_within(pthread_t thread, unsigned ms)
{
	uint64_t end = clock_read_ns(CLOCK_OF_JOIN) + ms * 1000000ull;
	struct timespec until = {.tv_sec = (time_t)(end / 1000000000ull), .tv_nsec = (long)(end % 1000000000ull)};
	return clock_join(thread, &until) == 0;
}

#endif
