/*
 * See vcpus.h. One lock and two conditions: threads wait on `go` while the group is paused, the main thread waits on `idle` until
 * nobody runs.
 *
 * Invariants:
 *   1. A thread runs guest code only while counted in nr_running.
 *   2. wanted is changed only with the lock held, and a change away from RUN kicks every vCPU after it: a thread that read RUN before
 *      is made to leave KVM_RUN (hv_vcpu_kick is not lost between the look and the run).
 */
#include "vmm/vcpus.h"
#include "base/lock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread_cpu.h"

enum wanted { WANT_PAUSE, WANT_RUN, WANT_END };

struct vcpu {
	struct vcpus *group;
	unsigned index;
	struct hv_vcpu *hv;
	pthread_t thread;
	bool started;
	_Atomic int thread_id;
	bool parked; /* guarded by the group's lock; set by its own thread */
};

struct vcpus {
	struct bus *ports, *memory;
	struct vcpu_owner *owner;
	struct lock lock; /* guards wanted, nr_running, parked */
	pthread_cond_t go, idle;
	enum wanted wanted;
	unsigned nr_running;
	unsigned nr;
	struct vcpu cpus[];
};

/* The vCPU whose exit this thread handles. */
static __thread bool park_current;

void vcpus_park_current(void)
{
	park_current = true;
}

static void dispatch(struct vcpu *cpu, const struct hv_exit *e)
{
	struct bus *bus = e->reason == HV_EXIT_PORT_IN || e->reason == HV_EXIT_PORT_OUT ? cpu->group->ports : cpu->group->memory;
	bool read = e->reason == HV_EXIT_PORT_IN || e->reason == HV_EXIT_MMIO_READ;
	for (unsigned i = 0; i < e->count; i++) {
		if (read)
			bus_read(bus, e->address, e->data + (size_t)i * e->size, e->size);
		else
			bus_write(bus, e->address, e->data + (size_t)i * e->size, e->size);
	}
}

static void report(struct vcpu *cpu, enum vcpu_event event, const char *detail)
{
	park_current = true;
	cpu->group->owner->vcpu_event(cpu->group->owner, cpu->index, event, detail);
}

/* Runs until somebody wants something else, or the guest ended it. */
static void run_guest(struct vcpu *cpu)
{
	struct hv_exit e;
	park_current = false;
	for (;;) {
		hv_vcpu_run(cpu->hv, &e);
		switch (e.reason) {
		case HV_EXIT_INTERRUPTED:
			return;
		case HV_EXIT_PORT_IN:
		case HV_EXIT_PORT_OUT:
		case HV_EXIT_MMIO_READ:
		case HV_EXIT_MMIO_WRITE:
			dispatch(cpu, &e);
			break;
		case HV_EXIT_SHUTDOWN:
		case HV_EXIT_RESET:
			report(cpu, VCPU_EVENT_RESET, e.detail);
			break;
		case HV_EXIT_POWER_OFF:
			report(cpu, VCPU_EVENT_POWER_OFF, e.detail);
			break;
		case HV_EXIT_CRASHED:
			report(cpu, VCPU_EVENT_CRASHED, e.detail);
			break;
		case HV_EXIT_FAILED:
			report(cpu, VCPU_EVENT_FAILED, e.detail);
			break;
		}
		if (park_current)
			return;
	}
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *cpu = arg;
	struct vcpus *v = cpu->group;
	cpu->thread_id = (int)syscall(SYS_gettid);
	thread_cpu_publish();
	hv_vcpu_attach_thread(cpu->hv);
	lock_take(&v->lock);
	while (v->wanted != WANT_END) {
		if (v->wanted == WANT_PAUSE || cpu->parked) {
			lock_wait(&v->lock, &v->go);
			continue;
		}
		v->nr_running++;
		lock_release(&v->lock);
		run_guest(cpu);
		/* One that is parked in the middle of a string instruction may refuse: it is reset next, or gone. */
		hv_vcpu_finish_exit(cpu->hv);
		lock_take(&v->lock);
		cpu->parked = park_current;
		v->nr_running--;
		if (v->nr_running == 0)
			pthread_cond_signal(&v->idle);
	}
	lock_release(&v->lock);
	return NULL;
}

int vcpus_create(const struct vcpu_params *params, struct vcpus **out, struct error *err)
{
	struct vcpus *v = calloc(1, sizeof(*v) + params->nr * sizeof(v->cpus[0]));
	struct hv_cpuid *cpuid = malloc(sizeof(*cpuid));
	int ret = 0;
	if (!v || !cpuid) {
		free(v);
		free(cpuid);
		return error_set(err, ENOMEM, "vCPUs: out of memory");
	}
	v->ports = params->ports;
	v->memory = params->memory;
	v->owner = params->owner;
	lock_init(&v->lock, LOCK_VCPUS);
	pthread_cond_init(&v->go, NULL);
	pthread_cond_init(&v->idle, NULL);
	for (unsigned i = 0; ret == 0 && i < params->nr; i++) {
		v->cpus[i].group = v;
		v->cpus[i].index = i;
		hv_cpuid_for_vcpu(params->cpuid, params->topology, i, params->tsc_khz, cpuid);
		ret = hv_vcpu_create(params->vm, i, hv_cpuid_apic_id(params->topology, i), cpuid, &v->cpus[i].hv, err);
		if (ret == 0)
			v->nr = i + 1;
	}
	free(cpuid);
	if (ret)
		vcpus_destroy(v);
	else
		*out = v;
	return ret;
}

void vcpus_destroy(struct vcpus *v)
{
	if (!v)
		return;
	lock_take(&v->lock);
	v->wanted = WANT_END;
	pthread_cond_broadcast(&v->go);
	lock_release(&v->lock);
	for (unsigned i = 0; i < v->nr; i++) {
		if (v->cpus[i].started) {
			hv_vcpu_kick(v->cpus[i].hv);
			pthread_join(v->cpus[i].thread, NULL);
		}
	}
	for (unsigned i = 0; i < v->nr; i++)
		hv_vcpu_destroy(v->cpus[i].hv);
	pthread_cond_destroy(&v->go);
	pthread_cond_destroy(&v->idle);
	lock_fini(&v->lock);
	free(v);
}

int vcpus_start(struct vcpus *v, struct error *err)
{
	/* Signals other than the kick go to the main thread. */
	sigset_t all, before;
	sigfillset(&all);
	sigdelset(&all, HV_KICK_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int ret = 0;
	for (unsigned i = 0; ret == 0 && i < v->nr; i++) {
		ret = -pthread_create(&v->cpus[i].thread, NULL, vcpu_thread, &v->cpus[i]);
		if (ret) {
			error_set(err, -ret, "vCPU %u: cannot start its thread: %s", i, strerror(-ret));
			break;
		}
		v->cpus[i].started = true;
		char name[16];
		snprintf(name, sizeof(name), "CPU %u/KVM", i % 1000);
		pthread_setname_np(v->cpus[i].thread, name);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ret;
}

void vcpus_run(struct vcpus *v)
{
	lock_take(&v->lock);
	for (unsigned i = 0; i < v->nr; i++)
		v->cpus[i].parked = false;
	v->wanted = WANT_RUN;
	pthread_cond_broadcast(&v->go);
	lock_release(&v->lock);
}

bool vcpus_pause(struct vcpus *v, unsigned timeout_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	lock_take(&v->lock);
	v->wanted = WANT_PAUSE;
	for (unsigned i = 0; i < v->nr; i++)
		if (v->cpus[i].started)
			hv_vcpu_kick(v->cpus[i].hv);
	int ret = 0;
	while (v->nr_running && ret == 0)
		ret = pthread_cond_clockwait(&v->idle, &v->lock.mutex, CLOCK_MONOTONIC, &until);
	bool paused = v->nr_running == 0;
	lock_release(&v->lock);
	return paused;
}

bool vcpus_are_paused(struct vcpus *v)
{
	lock_take(&v->lock);
	bool paused = v->wanted == WANT_PAUSE && v->nr_running == 0;
	lock_release(&v->lock);
	return paused;
}

unsigned vcpus_nr(const struct vcpus *v)
{
	return v->nr;
}

struct hv_vcpu *vcpus_get(struct vcpus *v, unsigned index)
{
	return v->cpus[index].hv;
}

int vcpus_thread_id(const struct vcpus *v, unsigned index)
{
	return v->cpus[index].thread_id;
}
