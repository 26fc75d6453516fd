/* How long single touches took. */
#ifndef BENCH_MEMORY_STALLS_H
#define BENCH_MEMORY_STALLS_H

#include <stddef.h>
#include <stdint.h>

/* Of one thread. Memory for all of them is there, and has been touched, before the first is noted. */
struct stalls {
	uint32_t *ns;
	size_t nr, max;
	uint64_t threshold_ns; /* a touch that takes less found the page present: not noted */
	uint64_t total_ns;
};

int stalls_open(struct stalls *stalls, size_t max, uint64_t threshold_ns);
void stalls_close(struct stalls *stalls);
static inline void stalls_note(struct stalls *stalls, uint64_t ns)
{
	if (ns < stalls->threshold_ns || stalls->nr == stalls->max)
		return;
	stalls->ns[stalls->nr++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
	stalls->total_ns += ns;
}
/* Prints " stalls= mean_us= p50_us= p90_us= p99_us= max_us= total_us=" without a newline. Sorts them. */
void stalls_print(struct stalls *stalls);

/* Cycles, and what they are worth. The first call of stalls_ns() takes 50 ms. */
static inline uint64_t stalls_cycles(void)
{
	uint32_t low, high;
	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}
double stalls_ns_per_cycle(void);

#endif
