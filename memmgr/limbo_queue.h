/*
 * Which pages were taken into limbo, and when: runs of pages in the order of their taking. A run is a hint: pages of it may have
 * come back since, and the page table knows. Not thread-safe.
 */
#ifndef MEMMGR_LIMBO_QUEUE_H
#define MEMMGR_LIMBO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct limbo_run {
	uint32_t first, nr; /* pages; nr > 0 */
	uint64_t taken_ns;
};

struct limbo_queue {
	struct limbo_run *runs; /* a ring of size entries, a power of two */
	size_t size, head, nr;
};

/* All zero is an empty queue. */
void limbo_queue_fini(struct limbo_queue *q);
/* Makes room for one more run. Returns 0 or -ENOMEM. */
int limbo_queue_reserve(struct limbo_queue *q);
/* The same; runs that is_wanted() does not want are forgotten before the queue grows. */
int limbo_queue_reserve_or_sweep(struct limbo_queue *q, bool (*is_wanted)(void *arg, const struct limbo_run *run), void *arg);
/*
 * Adds at the end; joins with the last run where both touch and were taken at the same time. There is room (limbo_queue_reserve).
 */
void limbo_queue_push(struct limbo_queue *q, uint32_t first, uint32_t nr, uint64_t taken_ns);
/* The oldest run, or NULL; valid until the next change. */
const struct limbo_run *limbo_queue_oldest(const struct limbo_queue *q);
/* Takes away nr pages of the oldest run, from its front. */
void limbo_queue_pop(struct limbo_queue *q, uint32_t nr);

#endif
