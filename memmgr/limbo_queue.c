/* See limbo_queue.h. */
#include "memmgr/limbo_queue.h"

#include <errno.h>

#include "memmgr/os.h"

enum { FIRST_SIZE = 256 };

void limbo_queue_fini(struct limbo_queue *q)
{
	mem_free(q->runs);
	*q = (struct limbo_queue){.runs = NULL};
}

static int grow(struct limbo_queue *q)
{
	size_t size = q->size ? 2 * q->size : FIRST_SIZE;
	struct limbo_run *runs = mem_calloc(size, sizeof(*runs));
	if (!runs)
		return -ENOMEM;
	for (size_t i = 0; i < q->nr; i++)
		runs[i] = q->runs[(q->head + i) & (q->size - 1)];
	mem_free(q->runs);
	q->runs = runs;
	q->size = size;
	q->head = 0;
	return 0;
}

int limbo_queue_reserve(struct limbo_queue *q)
{
	return q->nr < q->size ? 0 : grow(q);
}

int limbo_queue_reserve_or_sweep(struct limbo_queue *q, bool (*is_wanted)(void *arg, const struct limbo_run *run), void *arg)
{
	size_t kept = 0;
	if (q->nr < q->size)
		return 0;
	for (size_t i = 0; i < q->nr; i++) {
		struct limbo_run run = q->runs[(q->head + i) & (q->size - 1)];
		if (is_wanted(arg, &run))
			q->runs[(q->head + kept++) & (q->size - 1)] = run;
	}
	q->nr = kept;
	/* Half of it is free, or a sweep would come too soon again. */
	return kept <= q->size / 2 && q->size ? 0 : grow(q);
}

void limbo_queue_push(struct limbo_queue *q, uint32_t first, uint32_t nr, uint64_t taken_ns)
{
	if (q->nr) {
		struct limbo_run *last = &q->runs[(q->head + q->nr - 1) & (q->size - 1)];
		if (last->taken_ns == taken_ns && last->first + last->nr == first) {
			last->nr += nr;
			return;
		}
	}
	q->runs[(q->head + q->nr++) & (q->size - 1)] = (struct limbo_run){first, nr, taken_ns};
}

const struct limbo_run *limbo_queue_oldest(const struct limbo_queue *q)
{
	return q->nr ? &q->runs[q->head] : NULL;
}

void limbo_queue_pop(struct limbo_queue *q, uint32_t nr)
{
	struct limbo_run *run = &q->runs[q->head];
	run->first += nr;
	run->nr -= nr;
	if (run->nr == 0) {
		q->head = (q->head + 1) & (q->size - 1);
		q->nr--;
	}
}
