/*
 * How a guest's processors share packages, dies, cores and caches, and which number each has.
 *
 * An APIC id is made of fields, package to thread from the top, each wide enough for its count rounded up to a power of two (Intel
 * SDM 3A, 9.9.3; AMD APM 3, appendix E.4.8): with 3 cores the ids of the second package begin at 4. Software takes the widths from
 * leaf 0xb or 0x1f, older software from leaves 1 and 4, and AMD's from 0x80000008 and 0x8000001e. All are told the same here.
 */
#include <errno.h>
#include <string.h>

#include "hv/cpuid_internal.h"

#define LEVEL_INVALID 0u
#define LEVEL_THREAD 1u
#define LEVEL_CORE 2u
#define LEVEL_DIE 5u

/* Bits that n values need. */
static unsigned width(unsigned n)
{
	unsigned bits = 0;
	while (bits < 31 && 1u << bits < n)
		bits++;
	return bits;
}

static unsigned core_shift(const struct hv_cpu_topology *t)
{
	return width(t->threads);
}

static unsigned die_shift(const struct hv_cpu_topology *t)
{
	return core_shift(t) + width(t->cores);
}

static unsigned package_shift(const struct hv_cpu_topology *t)
{
	return die_shift(t) + width(t->dies);
}

uint32_t hv_cpuid_apic_id(const struct hv_cpu_topology *t, unsigned index)
{
	unsigned thread = index % t->threads;
	unsigned core = index / t->threads % t->cores;
	unsigned die = index / t->threads / t->cores % t->dies;
	unsigned package = index / t->threads / t->cores / t->dies;
	return package << package_shift(t) | die << die_shift(t) | core << core_shift(t) | thread;
}

static unsigned at_most(unsigned value, unsigned most)
{
	return value < most ? value : most;
}

static void set_leaf_1(struct hv_cpuid *cpuid, const struct hv_cpu_topology *t)
{
	struct kvm_cpuid_entry2 *leaf1 = hv_cpuid_entry(cpuid, 1, 0);
	struct kvm_cpuid_entry2 *extended = hv_cpuid_entry(cpuid, 0x80000001, 0);
	unsigned threads = t->dies * t->cores * t->threads;
	bool is_amd = hv_cpuid_is_amd(cpuid);
	/* Intel counts the ids that a package sets aside, AMD the threads that it has. */
	unsigned logical = is_amd ? threads : 1u << package_shift(t);
	if (leaf1) {
		leaf1->ebx = (leaf1->ebx & 0x0000ff00) | at_most(logical, 255) << 16;
		leaf1->edx &= ~(1u << 28);
		if (threads > 1)
			leaf1->edx |= 1u << 28; /* HTT: the count above is valid */
	}
	if (extended) {
		extended->ecx &= ~2u;
		if (threads > 1 && is_amd)
			extended->ecx |= 2; /* CmpLegacy: these are cores, not threads of one */
	}
}

/* Who shares a cache: levels 1 and 2 belong to a core, all others to a die. */
static unsigned sharers_shift(const struct hv_cpu_topology *t, unsigned level)
{
	return level <= 2 ? core_shift(t) : die_shift(t);
}

static void set_caches(struct hv_cpuid *cpuid, const struct hv_cpu_topology *t)
{
	unsigned cores_shift = package_shift(t) - core_shift(t);
	for (size_t i = 0; i < cpuid->nr; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		bool is_intel_cache = entry->function == 4, is_amd_cache = entry->function == 0x8000001d;
		if ((!is_intel_cache && !is_amd_cache) || !(entry->eax & 31))
			continue;
		unsigned sharers = at_most(1u << sharers_shift(t, entry->eax >> 5 & 7), 4096);
		entry->eax = (entry->eax & 0x3fff) | (sharers - 1) << 14;
		if (is_intel_cache)
			entry->eax |= at_most((1u << cores_shift) - 1, 63) << 26;
	}
}

static int add_level(struct hv_cpuid *cpuid, uint32_t leaf, unsigned subleaf, unsigned type, unsigned shift, unsigned threads)
{
	struct kvm_cpuid_entry2 *entry = hv_cpuid_entry_add(cpuid, leaf, subleaf);
	if (!entry)
		return -E2BIG;
	entry->eax = shift;
	entry->ebx = threads;
	entry->ecx = type << 8 | subleaf;
	return 0;
}

/* Leaf 0xb knows threads and cores; a package with several dies is told in leaf 0x1f. */
static int set_levels(struct hv_cpuid *cpuid, const struct hv_cpu_topology *t)
{
	struct kvm_cpuid_entry2 *leaf0 = hv_cpuid_entry(cpuid, 0, 0);
	unsigned threads = t->threads, in_die = threads * t->cores, in_package = in_die * t->dies;
	hv_cpuid_remove(cpuid, 0xb, 0);
	hv_cpuid_remove(cpuid, 0x1f, 0);
	hv_cpuid_remove(cpuid, 0x80000026, 0);
	if (!leaf0 || leaf0->eax < 0xb)
		return 0;
	int ret = add_level(cpuid, 0xb, 0, LEVEL_THREAD, core_shift(t), threads);
	if (!ret)
		ret = add_level(cpuid, 0xb, 1, LEVEL_CORE, package_shift(t), in_package);
	if (!ret)
		ret = add_level(cpuid, 0xb, 2, LEVEL_INVALID, 0, 0);
	if (ret || t->dies == 1 || hv_cpuid_is_amd(cpuid))
		return ret;
	leaf0 = hv_cpuid_entry(cpuid, 0, 0);
	if (leaf0->eax < 0x1f)
		leaf0->eax = 0x1f;
	ret = add_level(cpuid, 0x1f, 0, LEVEL_THREAD, core_shift(t), threads);
	if (!ret)
		ret = add_level(cpuid, 0x1f, 1, LEVEL_CORE, die_shift(t), in_die);
	if (!ret)
		ret = add_level(cpuid, 0x1f, 2, LEVEL_DIE, package_shift(t), in_package);
	if (!ret)
		ret = add_level(cpuid, 0x1f, 3, LEVEL_INVALID, 0, 0);
	return ret;
}

static void set_amd_leaves(struct hv_cpuid *cpuid, const struct hv_cpu_topology *t)
{
	struct kvm_cpuid_entry2 *sizes = hv_cpuid_entry(cpuid, 0x80000008, 0);
	if (!sizes)
		return;
	sizes->ecx = 0;
	if (hv_cpuid_is_amd(cpuid))
		sizes->ecx = at_most(t->dies * t->cores * t->threads - 1, 255) | package_shift(t) << 12;
}

/* Topology of one vCPU, where AMD's TOPOEXT offers it. A die is a node. */
static void set_amd_identity(struct hv_cpuid *cpuid, const struct hv_cpu_topology *t, unsigned index, uint32_t apic_id)
{
	struct kvm_cpuid_entry2 *identity = hv_cpuid_entry(cpuid, 0x8000001e, 0);
	if (!identity)
		return;
	identity->eax = identity->ebx = identity->ecx = identity->edx = 0;
	if (!hv_cpuid_is_amd(cpuid))
		return;
	unsigned core = (apic_id & ((1u << package_shift(t)) - 1)) >> core_shift(t);
	unsigned node = index / t->threads / t->cores;
	identity->eax = apic_id;
	identity->ebx = (core & 0xff) | (t->threads - 1) << 8;
	identity->ecx = (node & 0xff) | at_most(t->dies - 1, 7) << 8;
}

static void set_apic_id(struct hv_cpuid *cpuid, const struct hv_cpu_topology *t, unsigned index)
{
	uint32_t apic_id = hv_cpuid_apic_id(t, index);
	for (size_t i = 0; i < cpuid->nr; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		if (entry->function == 1)
			entry->ebx = (entry->ebx & 0x00ffffff) | apic_id << 24;
		else if (entry->function == 0xb || entry->function == 0x1f)
			entry->edx = apic_id;
	}
	set_amd_identity(cpuid, t, index, apic_id);
}

int hv_cpuid_set_topology(struct hv_cpuid *cpuid, const struct hv_cpu_topology *topology)
{
	set_leaf_1(cpuid, topology);
	set_caches(cpuid, topology);
	int ret = set_levels(cpuid, topology);
	if (ret)
		return ret;
	set_amd_leaves(cpuid, topology);
	if (hv_cpuid_is_amd(cpuid) && hv_feature_is_set(cpuid, "topoext") && !hv_cpuid_entry_add(cpuid, 0x8000001e, 0))
		return -E2BIG;
	set_apic_id(cpuid, topology, 0);
	return 0;
}

void hv_cpuid_for_vcpu(const struct hv_cpuid *common, const struct hv_cpu_topology *topology, unsigned index, uint32_t tsc_khz,
		       struct hv_cpuid *cpuid)
{
	*cpuid = *common;
	set_apic_id(cpuid, topology, index);
	if (tsc_khz)
		hv_cpuid_set_tsc_khz(cpuid, tsc_khz);
}
