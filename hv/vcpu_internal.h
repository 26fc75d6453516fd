/* The inside of struct hv_vcpu, and a vCPU's state as KVM hands it out, for the vcpu files alone. */
#ifndef HV_VCPU_INTERNAL_H
#define HV_VCPU_INTERNAL_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/vcpu.h"

#define HV_MSR_TSC 0x10u
#define HV_MSR_FEATURE_CONTROL 0x3au
#define HV_MSR_MISC_ENABLE 0x1a0u
#define HV_MSR_MTRR_DEFAULT_TYPE 0x2ffu
#define HV_MSR_MC0_CTL 0x400u
#define HV_MSR_TSC_DEADLINE 0x6e0u
#define HV_NR_MCE_BANKS 10u

/*
 * Everything that a running guest could tell two vCPUs apart by. What KVM hands out in structures stays in them; what is optional
 * (nested) or large (xsave) is a pointer, owned by this structure.
 */
struct hv_vcpu_state {
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	struct kvm_regs regs;
	struct kvm_sregs2 sregs;
	struct kvm_debugregs debug;
	struct kvm_lapic_state lapic;
	bool has_xcr0;
	uint64_t xcr0;
	uint64_t tsc;
	size_t nr_msrs; /* as many as vcpu->nr_msrs, in the same order */
	struct kvm_msr_entry *msrs;
	struct kvm_xsave *xsave;         /* vm->xsave_size bytes; NULL stands for the initial state of all components */
	struct kvm_nested_state *nested; /* vm->nested_size bytes; NULL where the guest sees no VMX or SVM */
};

struct hv_vcpu {
	struct hv_vm *vm; /* borrowed */
	int fd;
	unsigned index;
	uint32_t apic_id;
	uint32_t tsc_khz;
	uint64_t xfeatures; /* components that leaf 0xd offers: what XCR0 may hold */
	bool has_nested;
	bool exit_unfinished; /* the last exit was at a port or in MMIO, and KVM has not been back since. Of the owning thread. */

	/* Shared with KVM. Of the owning thread, but for immediate_exit (see vcpu.c). */
	struct kvm_run *run;
	size_t run_size;

	/* Set by kickers, cleared by the runner; see vcpu.c. */
	atomic_bool kicked;
	/* The thread that runs this vCPU; 0 before hv_vcpu_attach_thread(). */
	atomic_int tid;

	/* The MSRs that can be read here, without the TSC; constant after creation. */
	size_t nr_msrs;
	uint32_t *msrs;
	struct hv_vcpu_state power_on;
};

/* Chooses vcpu->msrs. Returns 0 or -errno. */
int hv_vcpu_select_msrs(struct hv_vcpu *vcpu);

/* KVM_GET_MSRS or KVM_SET_MSRS for all entries at once. Returns 0, -ENXIO where KVM takes only some, or -errno. */
int hv_vcpu_move_msrs(struct hv_vcpu *vcpu, unsigned long request, struct kvm_msr_entry *entries, size_t nr);

/* Allocates what state points to; with_xsave false leaves xsave NULL. Returns 0 or -ENOMEM; free it in both cases. */
int hv_vcpu_state_init(const struct hv_vcpu *vcpu, bool with_xsave, struct hv_vcpu_state *state);
void hv_vcpu_state_free(struct hv_vcpu_state *state);

/* Reads all of the vCPU into state, or writes it. On failure *what names the part that failed. Return 0 or -errno. */
int hv_vcpu_state_get(struct hv_vcpu *vcpu, struct hv_vcpu_state *state, const char **what);
int hv_vcpu_state_set(struct hv_vcpu *vcpu, const struct hv_vcpu_state *state, bool with_tsc, const char **what);

/* The MSRs as firmware would leave them, and the machine-check banks. Before the power-on state is captured. Returns 0 or -errno. */
int hv_vcpu_set_up_msrs(struct hv_vcpu *vcpu, const char **what);
/* Takes whatever KVM still owes to an instruction at a port or in MMIO, with answers that nobody will see. Returns 0 or -errno. */
int hv_vcpu_drop_exit(struct hv_vcpu *vcpu);

#endif
