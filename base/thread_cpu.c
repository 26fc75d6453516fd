/* See thread_cpu.h. */
#include "base/thread_cpu.h"

#include <linux/rseq.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/lock.h"

enum { BUCKETS = 64 };

struct published {
	int thread_id; /* 0: not in the table */
	const uint32_t *cpu;
	struct published *next;
};

static _Thread_local struct published self;
static struct published *table[BUCKETS];
/* Held while another thread's area is read, so that the thread cannot end meanwhile. */
static struct lock table_lock;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_exit;

static void withdraw(void *arg)
{
	struct published *p = arg;
	lock_take(&table_lock);
	for (struct published **at = &table[p->thread_id % BUCKETS]; *at; at = &(*at)->next) {
		if (*at == p) {
			*at = p->next;
			break;
		}
	}
	p->thread_id = 0;
	lock_release(&table_lock);
}

static void init(void)
{
	lock_init(&table_lock, LOCK_THREAD_CPU);
	pthread_key_create(&at_exit, withdraw);
}

void thread_cpu_publish(void)
{
	/* The area may lie in memory that the kernel does not fill, when something else has registered one first. */
	if (self.thread_id || __rseq_size == 0)
		return;
	pthread_once(&once, init);
	const struct rseq *area = (const struct rseq *)((const char *)__builtin_thread_pointer() + __rseq_offset);
	/* Set first: without the end of the thread being told, its area must not be in the table. */
	if (pthread_setspecific(at_exit, &self) != 0)
		return;
	self.thread_id = (int)syscall(SYS_gettid);
	self.cpu = &area->cpu_id;
	lock_take(&table_lock);
	self.next = table[self.thread_id % BUCKETS];
	table[self.thread_id % BUCKETS] = &self;
	lock_release(&table_lock);
}

int thread_cpu_of(int thread_id)
{
	int cpu = -1;
	if (thread_id <= 0)
		return -1;
	pthread_once(&once, init);
	lock_take(&table_lock);
	for (const struct published *p = table[thread_id % BUCKETS]; p; p = p->next) {
		if (p->thread_id == thread_id) {
			cpu = (int)__atomic_load_n(p->cpu, __ATOMIC_RELAXED);
			break;
		}
	}
	lock_release(&table_lock);
	return cpu;
}
