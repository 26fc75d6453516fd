/* A spinlock and a barrier for vCPUs. All zero is the initial state of both. */
#ifndef GUEST_LOCK_H
#define GUEST_LOCK_H

#include "io.h"

/* Tickets, so that no vCPU starves. */
struct lock {
	uint32_t next, serving;
};

static inline void lock_take(struct lock *lock)
{
	uint32_t ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);

	/* Pairs with the release in lock_drop(). */
	while (__atomic_load_n(&lock->serving, __ATOMIC_ACQUIRE) != ticket)
		cpu_relax();
}

static inline void lock_drop(struct lock *lock)
{
	__atomic_store_n(&lock->serving, lock->serving + 1, __ATOMIC_RELEASE);
}

struct barrier {
	uint32_t arrived, round;
};

/* Returns when nr_cpus vCPUs have come; usable again at once. */
static inline void barrier_wait(struct barrier *barrier, uint32_t nr_cpus)
{
	uint32_t round = __atomic_load_n(&barrier->round, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&barrier->arrived, 1, __ATOMIC_ACQ_REL) == nr_cpus) {
		__atomic_store_n(&barrier->arrived, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&barrier->round, round + 1, __ATOMIC_RELEASE);
		return;
	}
	/* Pairs with the release above. */
	while (__atomic_load_n(&barrier->round, __ATOMIC_ACQUIRE) == round)
		cpu_relax();
}

#endif
