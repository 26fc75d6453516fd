/* See lock.h. The ranks that a thread holds are bits of a word of its own. */
#include "base/lock.h"

#include <stdlib.h>

#include "base/log.h"

#ifdef DEBUG
static __thread unsigned held;

void lock_note_taken(enum lock_rank rank)
{
	if (held >> rank) {
		log_error("lock order: rank %d is taken while ranks %#x are held", (int)rank, held);
		abort();
	}
	held |= 1u << rank;
}

void lock_note_released(enum lock_rank rank)
{
	if (!(held >> rank & 1)) {
		log_error("lock order: rank %d is released, but not held", (int)rank);
		abort();
	}
	held &= ~(1u << rank);
}
#else
void lock_note_taken(enum lock_rank rank)
{
	(void)rank;
}

void lock_note_released(enum lock_rank rank)
{
	(void)rank;
}
#endif

enum { TRIES = 100, PAUSES = 8 }; /* about 30 us */

void lock_init(struct lock *lock, enum lock_rank rank)
{
	pthread_mutex_init(&lock->mutex, NULL);
	lock->rank = rank;
}

void lock_fini(struct lock *lock)
{
	pthread_mutex_destroy(&lock->mutex);
}

void lock_take(struct lock *lock)
{
	lock_note_taken(lock->rank);
	pthread_mutex_lock(&lock->mutex);
}

void lock_take_soon(struct lock *lock)
{
	lock_note_taken(lock->rank);
	for (unsigned tries = 0; tries < TRIES; tries++) {
		if (pthread_mutex_trylock(&lock->mutex) == 0)
			return;
		for (unsigned i = 0; i < PAUSES; i++)
			__builtin_ia32_pause();
	}
	pthread_mutex_lock(&lock->mutex);
}

void lock_release(struct lock *lock)
{
	pthread_mutex_unlock(&lock->mutex);
	lock_note_released(lock->rank);
}

void lock_wait(struct lock *lock, pthread_cond_t *condition)
{
	pthread_cond_wait(condition, &lock->mutex);
}
