/*
 * The threads that serve faults: they read who waits for which page, and bring it back.
 *
 * One handler serves until faults come from several CPUs; then as many are awake as there are such CPUs, each bound to one of them
 * (handler_place.h). The others sleep on a condition, since the kernel wakes every reader of the descriptor for each fault. A handler
 * takes only locks of the memory manager and touches no memory of the guest, so that whoever faults, holding whatever lock, is
 * served.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "memmgr/handler_place.h"
#include "memmgr/memmgr_internal.h"
#include "memmgr/uffd.h"

#define WAKE_SIGNAL SIGUSR2 /* ends a handler's read(2); its own handler does nothing */
enum { READ_BATCH = 8, LOOKS = 8, STREAM_STAY_NS = 20000000 };

static void do_nothing(int signal)
{
	(void)signal;
}

/* --- one fault --- */

/* Whoever reads from disk sleeps as long as that takes: another handler must be awake meanwhile. Returns whether one is. */
static bool begin_reading(struct memmgr *mm)
{
	lock_take(&mm->fault_lock);
	bool can = mm->reading + 1 < mm->nr_handlers;
	if (can && ++mm->reading >= mm->active_handlers) {
		mm->active_handlers = mm->reading + 1;
		pthread_cond_broadcast(&mm->more_handlers);
	}
	lock_release(&mm->fault_lock);
	return can;
}

static bool load_at_once(struct handler *h, uint32_t page)
{
	if (!begin_reading(h->mm))
		return false;
	bool served = bring_from_disk(h->mm, &h->buffer, page);
	atomic_fetch_sub(&h->mm->reading, 1);
	return served;
}

/* is_alone: no other fault waits meanwhile, as far as is known. */
static void serve(struct handler *h, const struct uffd_fault *fault, bool is_alone)
{
	struct memmgr *mm = h->mm;
	/* The clock costs as much as a lock: one in LOOKS stands for the others. */
	bool looked_at = h->served++ % LOOKS == 0;
	uint64_t start = looked_at ? clock_now_ns() : 0;
	uint32_t page;
	COUNT(mm, faults, 1);
	if (!page_table_find(&mm->pt, fault->hva, &page)) {
		/* A place in limbo, which nobody but us should touch. */
		log_guest_error("memory: a fault outside guest memory, at %#llx", (unsigned long long)fault->hva);
		return;
	}
	struct chunk *c = page_chunk(&mm->pt, page);
	uint64_t ref = page_store_ref(__atomic_load_n(&mm->pt.entries[page], __ATOMIC_RELAXED)); /* a hint, without the lock */
	unsigned clusters = 1;
	enum pager_hint hint = ref ? pager_touched(mm, page, ref, &clusters) : PAGER_ALONE;
	/* What follows takes long, and others wait for what is locked meanwhile: as SCHED_IDLE it would wait for whoever is woken. */
	if (hint != PAGER_ALONE)
		handler_place_stay(&h->place, STREAM_STAY_NS);
	if (hint == PAGER_SURE && bring_chunk(mm, &h->stage, page) > 0)
		return;
	if (atomic_load(&c->whole))
		return; /* it comes with its chunk: bring_chunk() wakes the waiters after it has taken this back */
	lock_take_soon(&c->lock);
	page_entry e = mm->pt.entries[page];
	/* Who is woken may take the CPU from a handler that gives way: not while it holds the lock. */
	bool wake_later = h->place.gives_way;
	h->buffer.wake_later = wake_later;
	int ret = bring_page(mm, &h->buffer, page, BRING_FAULT, fault->is_write);
	h->buffer.wake_later = false;
	if (ret)
		page_table_set(&mm->pt, page, mm->pt.entries[page] | PAGE_LOADING);
	else if (page_state(e) == PAGE_LIMBO && !(e & PAGE_SAMPLED) && mm->prefetch)
		bring_limbo_around(mm, page);
	lock_release(&c->lock);
	if (wake_later && ret == 0)
		uffd_wake(mm->uffd, page_hva(&mm->pt, page), GUEST_PAGE_SIZE);
	if (ret == -EAGAIN && page_state(e) == PAGE_COMPRESSED) {
		COUNT(mm, major_faults, 1);
		/* Not while others wait to be served, nor where a stream brings it soon. */
		bool at_once = is_alone && (hint == PAGER_ALONE || hint == PAGER_NEAR);
		if (!at_once || !load_at_once(h, page))
			pager_load(mm, page);
	} else if (ret) {
		pager_failed(mm, page, ret);
	}
	if (looked_at)
		COUNT(mm, stall_ns, (clock_now_ns() - start) * LOOKS);
	if (e & PAGE_SAMPLED || (mm->sampling && page_state(e) != PAGE_RESIDENT && page_state(e) != PAGE_BALLOONED))
		sample_touched(mm, page, e);
	/* What follows it is wanted next, sooner than the pager gets there. */
	if (hint != PAGER_ALONE)
		pager_bring_companions(mm, &h->buffer, ref, hint, clusters);
}

/* --- the thread --- */

static void sleep_while_idle(struct handler *h)
{
	struct memmgr *mm = h->mm;
	lock_take(&mm->fault_lock);
	while (h->index >= mm->active_handlers && !mm->stopping)
		lock_wait(&mm->fault_lock, &mm->more_handlers);
	lock_release(&mm->fault_lock);
}

static void *handler_main(void *arg)
{
	struct handler *h = arg;
	struct memmgr *mm = h->mm;
	struct uffd_fault faults[READ_BATCH];
	handler_place_begin(&h->place);
	while (!mm->stopping) {
		if (h->index >= mm->active_handlers) {
			sleep_while_idle(h);
			continue;
		}
		int nr = uffd_read(mm->uffd, faults, READ_BATCH);
		if (nr < 0) {
			log_error("memory: userfaultfd: cannot be read: %s; the guest's memory faults are not served",
				  strerror(-nr));
			mm->owner->memory_failed(mm->owner, MEMMGR_FAILURE_KERNEL, strerror(-nr));
			break;
		}
		for (int i = 0; i < nr; i++)
			serve(h, &faults[i], nr == 1);
		if (nr)
			handler_place_after(h, faults[nr - 1].thread_id);
	}
	return NULL;
}

/* --- start and stop --- */

int fault_start(struct memmgr *mm, unsigned nr_handlers, struct error *err)
{
	struct sigaction action = {.sa_handler = do_nothing}; /* no SA_RESTART: read(2) shall end */
	sigset_t all, before;
	int ret = 0;
	sigaction(WAKE_SIGNAL, &action, NULL);
	sigfillset(&all);
	sigdelset(&all, WAKE_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	mm->active_handlers = 1;
	mm->nr_handlers = nr_handlers;
	for (unsigned i = 0; ret == 0 && i < nr_handlers; i++) {
		struct handler *h = &mm->handlers[i];
		h->mm = mm;
		h->index = i;
		ret = bring_buffer_init(&h->buffer);
		if (ret == 0)
			ret = bring_stage_init(&h->stage);
		if (ret == 0)
			ret = -pthread_create(&h->thread, NULL, handler_main, h);
		if (ret) {
			error_set(err, -ret, "guest memory: cannot start a thread that serves faults: %s", strerror(-ret));
			break;
		}
		h->started = true;
		char name[16];
		snprintf(name, sizeof(name), "mem-fault%u", i % 1000);
		pthread_setname_np(h->thread, name);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ret;
}

void fault_stop(struct memmgr *mm)
{
	lock_take(&mm->fault_lock);
	pthread_cond_broadcast(&mm->more_handlers);
	lock_release(&mm->fault_lock);
	for (unsigned i = 0; i < mm->nr_handlers; i++) {
		struct handler *h = &mm->handlers[i];
		/* The signal may come just before read(2) and be lost: again, until the thread has ended. */
		while (h->started) {
			pthread_kill(h->thread, WAKE_SIGNAL);
			h->started = !thread_join_within(h->thread, 5);
		}
		bring_stage_fini(&h->stage);
		bring_buffer_fini(&h->buffer);
	}
}
