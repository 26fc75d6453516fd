/* See handler_place.h. */
#include "memmgr/handler_place.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/thread_cpu.h"
#include "memmgr/memmgr_internal.h"

enum {
	DENSE_NS = 1000000,  /* between faults that count as following each other */
	LOOK_TURNS = 8,      /* of those between looks, */
	LOOK_NS = 1000000,   /* between looks, where nothing says that a thread has moved */
	MOVED_NS = 100000,   /* between looks because a thread has moved */
	CHECK_TURNS = 32,    /* turns on the CPU over which waiting is averaged */
	CROWDED_NS = 200000, /* waiting for each turn that is too much, */
	FREE_NS = 20000000,  /* and how long a handler is free then */
	STAY_NS = 500000000, /* how long one that came late does not give way again */
	SLICE_NS = 100000,
	LOAD_NS = 2000000, /* between looks at the host's load */
	CALM_LOOKS = 16,   /* that find it calm let handlers give way, */
	BUSY_LOOK = 3,     /* of which one that does not takes back so many, until none is left */
};

/* --- the host's load --- */

bool handler_places_is_calm(const char *loadavg, unsigned nr)
{
	/* "0.20 0.18 0.12 1/80 11206": runnable threads, the reader among them (proc(5)). */
	const char *at = loadavg;
	for (unsigned field = 0; at && field < 3; field++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	return at && strtoul(at, NULL, 10) <= nr;
}

/* Whether handlers shall give way now. fault_lock is held. */
static bool look_at_load(struct handler_places *places, uint64_t now_ns)
{
	char text[64];
	if (!places->may_give_way)
		return false;
	if (now_ns - places->load_ns >= LOAD_NS) {
		places->load_ns = now_ns;
		ssize_t len = pread(places->loadavg, text, sizeof(text) - 1, 0);
		text[len > 0 ? len : 0] = '\0';
		/* This handler and the thread that it has just woken share a CPU. */
		if (!handler_places_is_calm(text, (unsigned)CPU_COUNT(&places->allowed) + 1))
			places->calm -= places->calm < BUSY_LOOK ? places->calm : BUSY_LOOK;
		else if (places->calm < CALM_LOOKS)
			places->calm++;
		places->give_way = places->calm == CALM_LOOKS || (places->give_way && places->calm > 0);
	}
	return places->give_way;
}

/* struct sched_attr of the kernel; its header and the C library's <sched.h> cannot both be included (glibc 2.36). */
struct class_attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_ns, deadline_ns, period_ns;
};

/*
 * A handler needs the CPU for microseconds, and soon: as SCHED_OTHER it asks for the shortest slice, which lets it in before threads
 * with longer ones (Linux 6.12, Documentation/scheduler/sched-eevdf.rst; older ones do not look at it).
 */
static int set_class(int class)
{
	/* The nice value stays what the process was given. */
	struct class_attributes attr = {.size = sizeof(attr), .policy = (uint32_t) class, .nice = getpriority(PRIO_PROCESS, 0)};
	if (class == SCHED_OTHER)
		attr.runtime_ns = SLICE_NS;
	return (int)syscall(SYS_sched_setattr, 0, &attr, 0);
}

static void *try_class(void *arg)
{
	bool *works = arg;
	*works = set_class(SCHED_IDLE) == 0 && set_class(SCHED_OTHER) == 0;
	return NULL;
}

/* --- background threads --- */

static int own_id(void)
{
	return (int)syscall(SYS_gettid);
}

static void replace_background(struct handler_places *places, int old, int new)
{
	for (unsigned i = 0; i < PLACE_BACKGROUND; i++) {
		int expected = old;
		if (atomic_compare_exchange_strong(&places->background[i], &expected, new))
			return;
	}
}

void handler_places_enter_background(struct handler_places *places)
{
	replace_background(places, 0, own_id());
}

void handler_places_leave_background(struct handler_places *places)
{
	replace_background(places, own_id(), 0);
}

/* Keeps them off the CPUs of the first nr handlers, if another CPU is left. fault_lock is held. */
static void keep_off(struct handler_places *places, unsigned nr)
{
	cpu_set_t set = places->allowed;
	for (unsigned i = 0; i < nr; i++)
		if (places->cpus[i] >= 0)
			CPU_CLR((unsigned)places->cpus[i], &set);
	if (CPU_COUNT(&set) == 0)
		set = places->allowed;
	for (unsigned i = 0; i < PLACE_BACKGROUND; i++) {
		int id = atomic_load(&places->background[i]);
		if (id)
			sched_setaffinity(id, sizeof(set), &set);
	}
	places->kept_off = nr;
}

/* --- one handler --- */

/* Whether the CPU where it is bound makes the handler wait, as one that others use does: it then runs anywhere for a while. */
static bool is_crowded(struct handler_place *at, uint64_t now_ns)
{
	uint64_t wait_ns, turns;
	follow_own_wait(&wait_ns, &turns);
	/* Until the one who faults has gone to sleep, which is some microseconds, it always waits. One that gives way waits gladly. */
	if (at->cpu >= 0 && !at->gives_way && turns - at->turns >= CHECK_TURNS &&
	    (wait_ns - at->wait_ns) / (turns - at->turns) > CROWDED_NS)
		at->free_until_ns = now_ns + FREE_NS;
	at->wait_ns = wait_ns;
	at->turns = turns;
	return now_ns < at->free_until_ns;
}

void handler_place_begin(struct handler_place *at)
{
	*at = (struct handler_place){.cpu = -1};
	/* Another class was given to the whole process (chrt): it stays. */
	if (sched_getscheduler(0) == SCHED_OTHER)
		set_class(SCHED_OTHER);
}

/* cpu -1: anywhere that the process may run. */
static void bind_to(const struct handler_places *places, struct handler_place *at, int cpu)
{
	cpu_set_t set = places->allowed;
	if (cpu >= 0 && !CPU_ISSET((unsigned)cpu, &set))
		cpu = -1;
	if (cpu == at->cpu)
		return;
	if (cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET((unsigned)cpu, &set);
	}
	/* Where it may not run there, it stays where it is. */
	sched_setaffinity(0, sizeof(set), &set);
	at->cpu = cpu;
}

/* Whether this thread publishes another CPU than when that was last found out. */
static bool has_moved(struct handler_places *places, struct handler_place *at, int thread_id, uint64_t now_ns)
{
	int cpu = thread_cpu_of(thread_id);
	_Atomic int *seen = &places->seen[(unsigned)thread_id % PLACE_SEEN_THREADS];
	if (cpu < 0 || cpu == atomic_load_explicit(seen, memory_order_relaxed))
		return false;
	if (now_ns - at->moved_ns < MOVED_NS)
		return false;
	at->moved_ns = now_ns;
	atomic_store_explicit(seen, cpu, memory_order_relaxed);
	return true;
}

void handler_place_stay(struct handler_place *at, uint64_t ns)
{
	if (at->gives_way && set_class(SCHED_OTHER) == 0) {
		at->gives_way = false;
		at->stays_until_ns = clock_now_ns() + ns;
	}
}

void handler_place_after(struct handler *h, int thread_id)
{
	struct memmgr *mm = h->mm;
	struct handler_places *places = &mm->places;
	struct handler_place *at = &h->place;
	uint64_t now_ns = clock_now_ns();
	/* Faults that come seldom are worth no looks: those would cost more than the faults. */
	bool is_dense = now_ns - at->last_ns < DENSE_NS, moved = is_dense && has_moved(places, at, thread_id, now_ns);
	at->last_ns = now_ns;
	at->turns_since += is_dense;
	/*
	 * Late, or just rare: on a CPU that anybody else uses, SCHED_IDLE waits for milliseconds at each turn, however calm the host is, and
	 * faults are then too rare to be looked at.
	 */
	if (!is_dense)
		handler_place_stay(at, STAY_NS);
	if (!moved && (at->turns_since < LOOK_TURNS || now_ns - at->looked_ns < LOOK_NS))
		return;
	at->turns_since = 0;
	at->looked_ns = now_ns;
	lock_take(&mm->fault_lock);
	follow_note(&places->follow, thread_id, now_ns);
	int cpus[MAX_HANDLERS];
	unsigned nr = follow_cpus(&places->follow, now_ns, moved, cpus, mm->nr_handlers);
	bool elsewhere = nr != places->kept_off;
	for (unsigned i = 0; i < nr; i++) {
		elsewhere |= places->cpus[i] != cpus[i];
		places->cpus[i] = cpus[i];
	}
	unsigned awake = nr > mm->reading ? nr : mm->reading + 1;
	if (nr && awake != mm->active_handlers) {
		if (awake > mm->active_handlers)
			pthread_cond_broadcast(&mm->more_handlers);
		mm->active_handlers = awake;
	}
	int cpu = places->cpus[h->index];
	bool calm = look_at_load(places, now_ns), give_way = calm && now_ns >= at->stays_until_ns;
	if (calm ? nr && elsewhere : places->kept_off > 0)
		keep_off(places, calm ? nr : 0);
	lock_release(&mm->fault_lock);
	if (give_way != at->gives_way && set_class(give_way ? SCHED_IDLE : SCHED_OTHER) == 0)
		at->gives_way = give_way;
	if (nr && is_crowded(at, now_ns))
		cpu = -1;
	if (nr || at->free_until_ns < now_ns)
		bind_to(places, at, cpu);
}

/* --- all of them --- */

void handler_places_open(struct handler_places *places)
{
	pthread_t thread;
	memset(places, 0, sizeof(*places));
	for (unsigned i = 0; i < MAX_HANDLERS; i++)
		places->cpus[i] = -1;
	for (unsigned i = 0; i < PLACE_SEEN_THREADS; i++)
		places->seen[i] = -1;
	if (sched_getaffinity(0, sizeof(places->allowed), &places->allowed) != 0)
		memset(&places->allowed, 0xff, sizeof(places->allowed));
	/* One look is enough for the first time. */
	places->calm = CALM_LOOKS - 1;
	places->loadavg = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	/* A thread that cannot leave the class again is lost: one of its own finds out. */
	if (places->loadavg >= 0 && sched_getscheduler(0) == SCHED_OTHER &&
	    pthread_create(&thread, NULL, try_class, &places->may_give_way) == 0)
		pthread_join(thread, NULL);
}

void handler_places_close(struct handler_places *places)
{
	if (places->loadavg >= 0)
		close(places->loadavg);
	places->loadavg = -1;
}
