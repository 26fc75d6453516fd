/*
 * What machine.c (wiring and life cycle), machine_memory.c (memory manager), machine_dedup.c (merging of pages), machine_balloon.c,
 * machine_state.c (save and
 * load) and machine_info.c (queries) share.
 */
#ifndef VMM_MACHINE_INTERNAL_H
#define VMM_MACHINE_INTERNAL_H

#include "balloon/balloon.h"
#include "base/lock.h"
#include "dedup/protocol.h"
#include "hv/cpuid.h"
#include "hv/kvm.h"
#include "hv/vm.h"
#include "memmgr/guest_ram.h"
#include "memmgr/memmgr.h"
#include "vmm/bus.h"
#include "vmm/chardev.h"
#include "vmm/loader.h"
#include "vmm/machine.h"
#include "vmm/monitor.h"
#include "vmm/pci.h"
#include "vmm/power.h"
#include "vmm/rtc.h"
#include "vmm/serial.h"
#include "vmm/vcpus.h"
#include "vmm/virtio_function.h"

#define MACHINE_MAX_FUNCTIONS (CONFIG_MAX_DISKS + CONFIG_MAX_NICS + 4)

/* What vCPU threads ask the main thread to do: bits. */
enum machine_request {
	REQUEST_RESET = 1,
	REQUEST_POWER_OFF = 2,
	REQUEST_CRASHED = 4,
	REQUEST_FAILED = 8,
};

/* Something that may touch guest RAM, or wait for who does. */
typedef int machine_work(struct machine *m, struct error *err);

/* What to do when a page that is waited for cannot be brought back. */
enum machine_patience {
	MACHINE_GIVE_UP,    /* leave off, and go on when the page is there */
	MACHINE_FORGET,     /* what the guest had there does not matter any more; but a device that waits for it is not let go */
	MACHINE_FORGET_ALL, /* nor does what a device does with zeros in its place */
	MACHINE_DROP,       /* nothing of the guest runs: all its memory is dropped */
};

struct machine_memory {
	struct memmgr *mm;     /* NULL: none */
	struct error why_none; /* then */
	struct memmgr_owner owner;
	struct lock lock; /* guards the next three, which threads of mm set */
	enum memmgr_failure failure;
	char detail[160];
	bool news;
	bool dropped;     /* machine_memory_drop() was called */
	ev_timer recheck; /* whether a retry has helped */
	struct machine_memory_sample last;
	uint64_t evict_gpa; /* where machine_memory_evict() goes on */

	/* The thread for machine_work. */
	pthread_t worker;
	bool working;        /* it was started and has not been joined */
	_Atomic bool worked; /* it is about to end */
	machine_work *work;
	int result;
	struct error err;
};

struct machine_dedup {
	enum machine_merger merger;
	struct scanner *scanner;         /* of MACHINE_MERGER_PAGODA */
	char guest[PROTOCOL_NAME_BYTES]; /* its name */
};

struct machine_balloon {
	struct virtio_device *dev; /* NULL: none */
	struct balloon_owner owner;
	ev_async changed;   /* the guest has told another size; */
	ev_timer quiet;     /* it was announced less than a second ago: */
	_Atomic bool muted; /* main need not be woken, it looks when that is over */
	uint32_t announced_pages;
};

struct machine {
	struct ev_loop *loop;
	struct config *config;
	enum run_state state;
	struct machine_listener *listeners;

	struct hv_kvm *kvm;
	struct hv_vm *vm;
	struct guest_ram *ram;
	struct machine_memory managed;
	struct machine_dedup dedup;
	struct machine_balloon balloon;
	struct hv_cpu_topology topology;
	struct hv_cpuid cpuid;
	struct bus ports, memory;
	struct pci pci;
	struct rtc rtc;
	struct power power;
	struct power_owner power_owner;
	struct serial serials[2];
	bool has_pci, has_rtc, has_power, has_serial[2];
	struct chardev *chardevs[CONFIG_MAX_CHARDEVS];
	struct console_backend *consoles[4];
	struct monitor *monitors[CONFIG_MAX_MONITORS];
	struct loader loader;
	bool has_loader;
	struct vcpu_owner vcpu_owner;
	struct vcpus *vcpus;

	/* Devices on the PCI bus, in the order of their making; those of a kind also by their number in the configuration. */
	struct virtio_function *functions[MACHINE_MAX_FUNCTIONS];
	unsigned nr_functions;
	struct virtio_device *disks[CONFIG_MAX_DISKS];
	struct virtio_device *nics[CONFIG_MAX_NICS];
	struct virtio_device *console;

	ev_async wake; /* requests are there */
	_Atomic unsigned requests;
	bool devices_stopped; /* while no work is done: set by the thread that does it */
	bool clock_stopped;
	uint64_t clock_ns; /* the guest's clock while paused */
};

/* --- machine.c --- */

void machine_announce(struct machine *m, const struct machine_event_info *info);
/* Makes threads run, or rest, as the state wants it; what cannot be had now is done when memory comes back. */
void machine_settle(struct machine *m);
/* Stops the vCPUs of a running guest, and waits for them a moment only. Devices are left to themselves. */
void machine_stop_vcpus(struct machine *m, enum run_state state);
/* Whether vCPUs and devices are stopped: not yet in an io-error. */
bool machine_at_rest(const struct machine *m);

/* --- machine_memory.c --- */

/* RAM is there, KVM is not told of it. */
int machine_memory_create(struct machine *m, struct error *err);
/* Binds RAM to host nodes as the configuration says; with a memory manager or without. */
int machine_memory_bind(struct machine *m, struct error *err);
/* No thread touches RAM any more. */
void machine_memory_destroy(struct machine *m);

/* Nothing of the guest runs: its memory, wherever it lies, becomes zero, and cannot fail. */
void machine_memory_drop(struct machine *m);

/* Main loop: a thread of the memory manager, or the worker, had something to say. */
void machine_memory_hear(struct machine *m);
/* Before the guest goes on: tries again what has failed. */
void machine_memory_retry(struct machine *m);

/*
 * For who waits for threads that may stand in a fault, now and then: whether to wait on. False when memory cannot be brought back, and
 * nobody is to forget it, or that did not help. *tries begins with 0.
 */
#define MACHINE_MEMORY_SLICE_MS 20
bool machine_memory_wait_on(struct machine *m, enum machine_patience patience, unsigned *tries);
/*
 * Runs work on a thread of its own and waits for it, and before that for what was left off earlier; at once and here where there is
 * no memory manager. Returns what work returned, or -EINPROGRESS when it was left off: machine_settle() is called when it is done.
 */
int machine_memory_run(struct machine *m, machine_work *work, enum machine_patience patience, struct error *err);

/* --- machine_balloon.c --- */

/* Makes the device, and gives it to plug in: m->balloon.dev. */
int machine_balloon_create(struct machine *m, struct error *err);
/* Before the device goes. */
void machine_balloon_destroy(struct machine *m);

/* --- machine_dedup.c --- */

/* The guest is built, and does not run yet. */
int machine_dedup_create(struct machine *m, struct error *err);
/* Nothing of the guest runs. Returns false when the scanner waits for memory that cannot be had: then it ends with the process. */
bool machine_dedup_destroy(struct machine *m);

#endif
