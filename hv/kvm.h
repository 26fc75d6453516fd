/* /dev/kvm: what this host's KVM can do. KVM's API is described in the kernel's Documentation/virt/kvm/api.rst. */
#ifndef HV_KVM_H
#define HV_KVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct hv_kvm;

/*
 * Opens path ("/dev/kvm"; a descriptor can be passed as "/dev/fd/N") and checks every capability that this VMM needs. On failure err
 * says in one line what is missing and what to do (load kvm-intel or kvm-amd, enable virtualization in the firmware, join group kvm,
 * a newer kernel). Returns 0, -ENOENT, -EACCES, -ENOSYS for an old kernel or a missing capability.
 */
int hv_kvm_open(const char *path, struct hv_kvm **kvm, struct error *err);
void hv_kvm_close(struct hv_kvm *kvm);

/* Most vCPUs that one VM may have here. */
unsigned hv_kvm_max_vcpus(const struct hv_kvm *kvm);
/* Whether the capability (KVM_CAP_...) is there, and its value. */
int hv_kvm_check(const struct hv_kvm *kvm, unsigned capability);
/* Whether the guest's TSC can run at a rate of our choice (migration between unlike hosts). */
bool hv_kvm_has_tsc_scaling(const struct hv_kvm *kvm);
/* The descriptor, and KVM's list of the MSRs that make up a vCPU's state. For the other files of hv/. */
int hv_kvm_fd(const struct hv_kvm *kvm);
const uint32_t *hv_kvm_msrs(const struct hv_kvm *kvm, size_t *nr);

#endif
