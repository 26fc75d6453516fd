/*
 * The vCPU threads of a machine: they run the guest, dispatch its exits to the buses, and stop and go together.
 *
 *   created --vcpus_start--> paused --vcpus_run--> running --vcpus_pause--> paused --vcpus_destroy--> gone
 *                                                    |  ^
 *                              guest ends it (event) v  | vcpus_run, after a reset
 *                                                   parked (this vCPU alone)
 */
#ifndef VMM_VCPUS_H
#define VMM_VCPUS_H

#include <stdbool.h>

#include "base/error.h"
#include "hv/vcpu.h"
#include "vmm/bus.h"

struct vcpus;

enum vcpu_event {
	VCPU_EVENT_RESET, /* triple fault, or KVM asks for one */
	VCPU_EVENT_POWER_OFF,
	VCPU_EVENT_CRASHED, /* the guest said so */
	VCPU_EVENT_FAILED,  /* KVM cannot go on; detail says why */
};

/* Hears what a vCPU ended with; called on its thread, which then is parked. */
struct vcpu_owner {
	void (*vcpu_event)(struct vcpu_owner *owner, unsigned index, enum vcpu_event event, const char *detail);
};

struct vcpu_params {
	struct hv_vm *vm;
	const struct hv_cpuid *cpuid;
	const struct hv_cpu_topology *topology;
	uint32_t tsc_khz; /* 0: unknown */
	unsigned nr;
	struct bus *ports, *memory;
	struct vcpu_owner *owner;
};

/* Creates the vCPUs in KVM; no threads yet. */
int vcpus_create(const struct vcpu_params *params, struct vcpus **vcpus, struct error *err);
/* Ends and joins the threads. */
void vcpus_destroy(struct vcpus *v);
/* Starts the threads, paused. name is the guest's, for thread names. */
int vcpus_start(struct vcpus *v, struct error *err);

void vcpus_run(struct vcpus *v);
/*
 * Asks for a pause, and waits so long at most until no vCPU runs guest code or handles an exit, and exits are complete. Returns whether that is
 * so. A vCPU that does not come runs no guest code any more: it waits in its exit for something, or in KVM for a page of the guest's
 * memory, and pauses right after. Both may be repeated, and are for the main thread.
 */
bool vcpus_pause(struct vcpus *v, unsigned timeout_ms);
/* Whether they were asked to pause, and do. */
bool vcpus_are_paused(struct vcpus *v);

/* Called from an exit being handled: this vCPU shall not run on behind it. Elsewhere it does nothing. */
void vcpus_park_current(void);

unsigned vcpus_nr(const struct vcpus *v);
/* For state and information; use it only while paused. */
struct hv_vcpu *vcpus_get(struct vcpus *v, unsigned index);
/* Linux thread id; 0 before the start. */
int vcpus_thread_id(const struct vcpus *v, unsigned index);

#endif
