/*
 * Where the threads that serve faults run, and in which scheduling class.
 *
 * A thread that faults sleeps until it is served. A handler on its CPU starts with a plain switch; one on another CPU with an
 * interrupt between CPUs, which costs several times as much (much more in a virtual machine). So each handler is bound to a CPU from
 * which faults come (follow.h). What can go wrong with that:
 *
 *   - The scheduler wakes a thread on an idle CPU rather than where a handler has just woken it: the two part at each fault. A CPU that
 *     runs nothing but SCHED_IDLE counts as idle. So on a calm host, which has no more runnable threads than CPUs, handlers are
 *     SCHED_IDLE: they give way to the thread that they wake, at once, and it stays where it is.
 *   - On a host that is not calm, SCHED_IDLE would starve: handlers are then like any thread, and none is bound to a CPU where it has to
 *     wait for long.
 *   - A CPU that counts as idle attracts others. The manager's own threads that work for long are kept off the CPUs of handlers that
 *     give way; what else is woken there mostly runs for a moment.
 *   - The thread moves nevertheless. Threads that publish their CPU (base/thread_cpu.h) are followed at their next fault, others within
 *     some dozens of faults.
 */
#ifndef MEMMGR_HANDLER_PLACE_H
#define MEMMGR_HANDLER_PLACE_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "memmgr/follow.h"

enum { MAX_HANDLERS = 8, PLACE_SEEN_THREADS = 256, PLACE_BACKGROUND = 2 };

/* Of one handler, which alone uses it. */
struct handler_place {
	int cpu;                 /* where it is bound to, -1: nowhere */
	bool gives_way;          /* it is SCHED_IDLE: who it wakes runs at once */
	uint64_t last_ns;        /* its last fault */
	uint64_t looked_ns;      /* when it looked last, */
	unsigned turns_since;    /* and faults since that followed each other */
	uint64_t moved_ns;       /* when a thread was last found to have moved */
	uint64_t wait_ns, turns; /* what follow_own_wait() said last */
	uint64_t free_until_ns;  /* it has waited too long where it was bound */
	uint64_t stays_until_ns; /* it does not give way: it was late when it did */
};

/* Of all handlers; memmgr.fault_lock guards it, but for what is atomic. */
struct handler_places {
	int cpus[MAX_HANDLERS]; /* where they are to be bound to, -1: anywhere */
	struct follow follow;
	cpu_set_t allowed; /* where the process was allowed to run when the handlers were started: they stay there */
	bool may_give_way; /* SCHED_IDLE can be left again: needs RLIMIT_NICE or CAP_SYS_NICE */
	int loadavg;       /* /proc/loadavg, -1: not there */
	uint64_t load_ns;  /* when it was read */
	unsigned calm;     /* looks that have found the host calm, less those that have not */
	bool give_way;     /* handlers shall be SCHED_IDLE */
	_Atomic int background[PLACE_BACKGROUND]; /* numbers of threads that work for long, 0: none */
	unsigned kept_off;                        /* of how many CPUs they are kept off now */
	/* The CPU that a thread published at its last fault, by the thread's number; two threads may share a place. */
	_Atomic int seen[PLACE_SEEN_THREADS];
};

/* Before the handlers start, and after they have ended. */
void handler_places_open(struct handler_places *places);
void handler_places_close(struct handler_places *places);
/* The calling thread works for long; until it says that it ends. */
void handler_places_enter_background(struct handler_places *places);
void handler_places_leave_background(struct handler_places *places);
/* A handler begins. */
void handler_place_begin(struct handler_place *at);
/* The handler does not give way, for so long. */
void handler_place_stay(struct handler_place *at, uint64_t ns);
/* Whether this text of /proc/loadavg says that at most nr threads are runnable. */
bool handler_places_is_calm(const char *loadavg, unsigned nr);

#endif
