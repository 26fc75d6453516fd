/* What a guest's CPUID leaves say: the host's CPU, or a named model that stays the same on every host that can run it. */
#ifndef HV_CPUID_H
#define HV_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "hv/kvm.h"

/*
 * Models: "host" (all that KVM offers here), "max" (the same), and the levels of the x86-64 psABI: "x86-64-v1" to "x86-64-v4",
 * whose leaves depend on the name alone, so that a guest can move between hosts. "qemu64" and "kvm64" stand for x86-64-v1.
 */
struct hv_cpu_topology {
	unsigned sockets, dies, cores, threads; /* product = number of vCPUs */
};

struct hv_cpuid {
	size_t nr;
	struct kvm_cpuid_entry2 entries[256];
};

/* name may carry QEMU's feature words: "host,-avx512f,+invtsc". Fails by name of the feature that the host lacks, or that we do not know. */
int hv_cpuid_build(const struct hv_kvm *kvm, const char *model, const struct hv_cpu_topology *topology, struct hv_cpuid *cpuid,
		   struct error *err);
/*
 * The leaves that differ by vCPU (APIC id: leaves 1, 0xb, 0x1f, 0x8000001e). tsc_khz 0 leaves leaf 0x40000010 alone; hv_vcpu_create()
 * fills it in any case.
 */
void hv_cpuid_for_vcpu(const struct hv_cpuid *common, const struct hv_cpu_topology *topology, unsigned index, uint32_t tsc_khz,
		       struct hv_cpuid *cpuid);
/* The APIC id of vCPU index in that topology: fields rounded up to powers of two (Intel SDM 3A, 9.9.3). */
uint32_t hv_cpuid_apic_id(const struct hv_cpu_topology *topology, unsigned index);
/* Every model name, for help texts. */
const char *hv_cpuid_model_name(size_t index); /* NULL past the last */

/* Bits of a guest-physical address, 0 where the leaves do not say. Memory and devices must lie below 1 << this. */
unsigned hv_cpuid_phys_bits(const struct hv_cpuid *cpuid);
/* The entry of that leaf, or NULL. subleaf counts where the leaf has subleaves. */
const struct kvm_cpuid_entry2 *hv_cpuid_find(const struct hv_cpuid *cpuid, uint32_t leaf, uint32_t subleaf);
/* Leaf 0x40000010: the frequencies of TSC and LAPIC timer. Does nothing where KVM's leaves are not offered. */
void hv_cpuid_set_tsc_khz(struct hv_cpuid *cpuid, uint32_t tsc_khz);
/* The XSAVE components that XCR0 may enable (leaf 0xd). */
uint64_t hv_cpuid_xfeatures(const struct hv_cpuid *cpuid);
/* Whether the guest sees VMX or SVM. */
bool hv_cpuid_has_nested(const struct hv_cpuid *cpuid);

#endif
