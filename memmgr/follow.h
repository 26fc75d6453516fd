/* From which CPUs faults come lately, and how long a thread waits for its CPU. handler_place.c puts handlers there. */
#ifndef MEMMGR_FOLLOW_H
#define MEMMGR_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

enum { FOLLOW_MOST_THREADS = 8 };

/* Who has faulted lately. All zero is the start. One thread at a time uses it. */
struct follow {
	struct {
		int thread_id;
		uint64_t faults, last_ns;
	} threads[FOLLOW_MOST_THREADS]; /* thread_id 0: free */
	uint64_t checked_ns;
};

/* A fault of that thread was served. It need not be told of each. */
void follow_note(struct follow *f, int thread_id, uint64_t now_ns);
/*
 * The CPUs, each once, on which the threads that faulted within the last 100 ms ran last, those with most faults first; at most
 * max. Returns how many; 0 when it is not time to look again (each 5 ms: it costs a read of /proc for each thread; now: whenever it
 * was last).
 */
unsigned follow_cpus(struct follow *f, uint64_t now_ns, bool now, int *cpus, unsigned max);
/* The CPU where a thread of this process ran last, or -errno. */
int follow_thread_cpu(int thread_id);
/*
 * How long the calling thread has waited for a CPU in all, in ns, and how often it was given one (Linux,
 * Documentation/scheduler/sched-stats.rst); both 0 where the kernel does not tell.
 */
void follow_own_wait(uint64_t *wait_ns, uint64_t *turns);

#endif
