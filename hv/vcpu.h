/*
 * A virtual CPU in KVM. Owned by one thread, which alone calls these functions, except hv_vcpu_kick(). Functions return 0 or -errno.
 */
#ifndef HV_VCPU_H
#define HV_VCPU_H

#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/state.h"
#include "hv/cpuid.h"
#include "hv/vm.h"

struct hv_vcpu;

/* The signal that kicks a vCPU thread out of KVM_RUN; hv_vcpu_create() installs an empty handler for it. */
#define HV_KICK_SIGNAL SIGUSR1

/*
 * index 0 is the boot CPU, with apic_id 0. apic_id also is KVM's id of it. cpuid is copied, and its leaf 0x40000010 filled with the
 * TSC's frequency. The MSRs are as firmware would leave them: fast strings on, memory write-back unless the page tables say otherwise.
 */
int hv_vcpu_create(struct hv_vm *vm, unsigned index, uint32_t apic_id, const struct hv_cpuid *cpuid, struct hv_vcpu **vcpu,
		   struct error *err);
void hv_vcpu_destroy(struct hv_vcpu *vcpu);

enum hv_exit_reason {
	HV_EXIT_INTERRUPTED, /* kicked, or a signal: look at your flags */
	HV_EXIT_PORT_IN,     /* fill data: count items of size bytes each */
	HV_EXIT_PORT_OUT,
	HV_EXIT_MMIO_READ, /* fill data[0..size) */
	HV_EXIT_MMIO_WRITE,
	HV_EXIT_SHUTDOWN, /* triple fault: the machine resets */
	HV_EXIT_RESET,    /* KVM_SYSTEM_EVENT_RESET, _SHUTDOWN, _CRASH */
	HV_EXIT_POWER_OFF,
	HV_EXIT_CRASHED,
	HV_EXIT_FAILED, /* KVM cannot go on: why is in detail */
};

/* What made a vCPU leave the guest. data points into memory shared with KVM: answers to reads are written there before the next run. */
struct hv_exit {
	enum hv_exit_reason reason;
	uint64_t address; /* port or guest-physical address */
	unsigned size;    /* 1, 2, 4 or 8 bytes */
	unsigned count;   /* items at ports: from 1; 1 for MMIO */
	uint8_t *data;
	char detail[160];
};

/* Runs the guest until it needs us. Returns 0 with *exit set; errors of KVM itself are HV_EXIT_FAILED. */
void hv_vcpu_run(struct hv_vcpu *vcpu, struct hv_exit *exit);

/*
 * Makes hv_vcpu_run() return soon, or at once when it is next called: sets immediate_exit and signals the thread that runs it.
 * From any thread; the vCPU must exist. The runner clears the wish when it returns HV_EXIT_INTERRUPTED.
 */
void hv_vcpu_kick(struct hv_vcpu *vcpu);
/* Says which thread runs it: the caller. Before the first run. */
void hv_vcpu_attach_thread(struct hv_vcpu *vcpu);
/*
 * Completes a pending port or MMIO answer without running guest code, so that the state can be saved. Nothing is pending after
 * HV_EXIT_INTERRUPTED. Returns 0, -EAGAIN where the same instruction now wants another answer (run it on: kick, then
 * hv_vcpu_run() until HV_EXIT_INTERRUPTED), or KVM's error.
 */
int hv_vcpu_finish_exit(struct hv_vcpu *vcpu);

/* Start states of the boot CPU. */
struct hv_start {
	enum {
		HV_START_LONG_MODE,      /* 64 bit, paging by cr3, flat segments 0x10 (code) and 0x18 (data) of gdt */
		HV_START_PROTECTED_MODE, /* 32 bit, no paging, the same flat segments */
	} mode;
	uint64_t entry, stack;
	uint64_t rbx, rsi; /* PVH: rbx holds start_info; Linux: rsi holds boot_params */
	uint64_t cr3;      /* long mode only */
	uint64_t gdt;      /* guest-physical address of the table that gdtr shall name */
	uint16_t gdt_limit;
};
int hv_vcpu_set_start(struct hv_vcpu *vcpu, const struct hv_start *start);
/* As after power-on: registers, MSRs, LAPIC, FPU; index 0 becomes runnable, others wait for INIT and SIPI. */
int hv_vcpu_reset(struct hv_vcpu *vcpu);

int hv_vcpu_get_regs(struct hv_vcpu *vcpu, struct kvm_regs *regs);
int hv_vcpu_set_regs(struct hv_vcpu *vcpu, const struct kvm_regs *regs);
int hv_vcpu_get_sregs(struct hv_vcpu *vcpu, struct kvm_sregs *sregs);
int hv_vcpu_set_sregs(struct hv_vcpu *vcpu, const struct kvm_sregs *sregs);
/* Whether the vCPU sleeps in HLT or waits for its start. For information: it may have changed already. */
bool hv_vcpu_is_halted(struct hv_vcpu *vcpu);
/* KVM_KVMCLOCK_CTRL: tells the guest that it was paused, so that its watchdogs stay quiet. */
void hv_vcpu_note_pause(struct hv_vcpu *vcpu);

/* Everything: registers, FPU (XSAVE), XCRs, MSRs, LAPIC, MP state, events, debug registers, TSC. Section "hv-vcpuN". */
int hv_vcpu_save(struct hv_vcpu *vcpu, struct state_writer *w);
int hv_vcpu_load(struct hv_vcpu *vcpu, struct state_reader *r, struct error *err);

#endif
