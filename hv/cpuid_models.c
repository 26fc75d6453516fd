/*
 * Named CPU models: what a guest sees depends on the name, the topology and the feature words alone, never on the host.
 *
 * The features are those of the levels of the x86-64 psABI (System V ABI, AMD64 supplement, 3.1.1), what any 64-bit kernel wants
 * beside them, and what every KVM emulates. Vendor, family and model are those of the first Intel line of each level, so that
 * software that looks at them picks its usual paths, and guards against more flaws of processors rather than fewer.
 */
#include <string.h>

#include "hv/cpuid_internal.h"

#define KVM_LEAF 0x40000000u
#define KVM_FEATURES_LEAF 0x40000001u
#define MAX_BASIC_LEAF 0xdu
#define MAX_EXTENDED_LEAF 0x80000008u

/* Lists of names, separated by spaces. */
static const char level_1[] = "fpu fxsr mmx sse sse2 cmov cx8 syscall";
static const char level_2[] = "cx16 lahf-lm popcnt sse3 ssse3 sse4.1 sse4.2";
static const char level_3[] = "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave";
static const char level_4[] = "avx512f avx512bw avx512cd avx512dq avx512vl";
/* What 64-bit kernels expect without asking, or are lost without. */
static const char kernel[] = "de pse tsc msr pae mce apic sep mtrr pge mca pat pse36 clflush nx lm";
/* Same on all hosts, as KVM makes it. */
static const char emulated[] =
	"x2apic tsc-deadline hypervisor arat kvmclock kvm-nopiodelay kvm-asyncpf kvm-asyncpf-int kvm-steal-time "
	"kvm-pv-eoi kvm-pv-unhalt kvm-pv-tlb-flush kvm-pv-ipi kvm-poll-control kvm-pv-sched-yield "
	"kvmclock-stable-bit";

static const struct hv_cpu_model models[] = {
	{
		.name = "x86-64-v1",
		.brand = "x86-64-v1 virtual CPU",
		.family = 15,
		.model = 6,
		.stepping = 1,
		.phys_bits = 40,
		.features = {kernel, emulated, level_1},
	},
	{
		.name = "x86-64-v2",
		.brand = "x86-64-v2 virtual CPU",
		.family = 6,
		.model = 26,
		.stepping = 3,
		.phys_bits = 40,
		.features = {kernel, emulated, level_1, level_2},
	},
	{
		.name = "x86-64-v3",
		.brand = "x86-64-v3 virtual CPU",
		.family = 6,
		.model = 60,
		.stepping = 4,
		.phys_bits = 40,
		.features = {kernel, emulated, level_1, level_2, level_3},
	},
	{
		.name = "x86-64-v4",
		.brand = "x86-64-v4 virtual CPU",
		.family = 6,
		.model = 85,
		.stepping = 4,
		.phys_bits = 40,
		.features = {kernel, emulated, level_1, level_2, level_3, level_4},
	},
	{.name = "qemu64", .alias_of = "x86-64-v1"},
	{.name = "kvm64", .alias_of = "x86-64-v1"},
};

static const struct hv_cpu_cache caches[] = {
	{.level = 1, .type = 1, .size_kib = 32, .ways = 8},
	{.level = 1, .type = 2, .size_kib = 32, .ways = 8},
	{.level = 2, .type = 3, .size_kib = 1024, .ways = 16},
	{.level = 3, .type = 3, .size_kib = 16384, .ways = 16},
};

const struct hv_cpu_model *hv_cpu_model_find(const char *name)
{
	for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
		if (strcmp(models[i].name, name) == 0)
			return models[i].alias_of ? hv_cpu_model_find(models[i].alias_of) : &models[i];
	}
	return NULL;
}

const char *hv_cpuid_model_name(size_t index)
{
	static const char *const open_ended[] = {"host", "max"};
	const size_t nr_open = sizeof(open_ended) / sizeof(open_ended[0]);
	if (index < nr_open)
		return open_ended[index];
	index -= nr_open;
	return index < sizeof(models) / sizeof(models[0]) ? models[index].name : NULL;
}

/* Intel SDM 2A, CPUID, leaf 1 EAX: families above 15 and models above 15 have extended fields; no model here is above family 15. */
static uint32_t signature(const struct hv_cpu_model *model)
{
	return (model->model >> 4) << 16 | model->family << 8 | (model->model & 15) << 4 | model->stepping;
}

static void add_leaf(struct hv_cpuid *cpuid, uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx, uint32_t ecx,
		     uint32_t edx)
{
	struct kvm_cpuid_entry2 *entry = hv_cpuid_entry_add(cpuid, leaf, subleaf);
	if (!entry)
		return;
	entry->eax = eax;
	entry->ebx = ebx;
	entry->ecx = ecx;
	entry->edx = edx;
}

static uint32_t four_bytes(const char *text)
{
	uint32_t value;
	memcpy(&value, text, sizeof(value));
	return value;
}

static void add_caches(struct hv_cpuid *cpuid)
{
	const unsigned line = 64;
	/* All in leaf 4; no prefetch hint but its size. */
	add_leaf(cpuid, 2, 0, 0x00feff01, 0xf0, 0, 0);
	unsigned i;
	for (i = 0; i < sizeof(caches) / sizeof(caches[0]); i++) {
		const struct hv_cpu_cache *cache = &caches[i];
		unsigned sets = cache->size_kib * 1024 / line / cache->ways;
		/* Bit 8: self-initializing. Who shares it is filled in with the topology. */
		add_leaf(cpuid, 4, i, 1u << 8 | cache->level << 5 | cache->type, (cache->ways - 1) << 22 | (line - 1), sets - 1, 0);
	}
	add_leaf(cpuid, 4, i, 0, 0, 0, 0);
	/* Size in KiB, 16 ways (code 8), bytes a line. */
	add_leaf(cpuid, 0x80000006, 0, 0, 0, 1024u << 16 | 8u << 12 | line, 0);
}

static void add_features(struct hv_cpuid *cpuid, const char *list)
{
	while (*list) {
		char name[32];
		size_t len = strcspn(list, " ");
		if (len < sizeof(name)) {
			memcpy(name, list, len);
			name[len] = '\0';
			hv_feature_add(cpuid, name);
		}
		list += len;
		list += strspn(list, " ");
	}
}

void hv_cpu_model_fill(const struct hv_cpu_model *model, struct hv_cpuid *cpuid)
{
	memset(cpuid, 0, sizeof(*cpuid));
	add_leaf(cpuid, 0, 0, MAX_BASIC_LEAF, four_bytes("Genu"), four_bytes("ntel"), four_bytes("ineI"));
	add_leaf(cpuid, 1, 0, signature(model), 8u << 8, 0, 0); /* CLFLUSH: 8 times 8 bytes */
	add_caches(cpuid);
	add_leaf(cpuid, 7, 0, 0, 0, 0, 0);
	add_leaf(cpuid, KVM_LEAF, 0, KVM_FEATURES_LEAF, four_bytes("KVMK"), four_bytes("VMKV"), four_bytes("M\0\0"));
	add_leaf(cpuid, KVM_FEATURES_LEAF, 0, 0, 0, 0, 0);
	add_leaf(cpuid, 0x80000000, 0, MAX_EXTENDED_LEAF, 0, 0, 0);
	char brand[48] = "";
	memcpy(brand, model->brand, strnlen(model->brand, sizeof(brand) - 1));
	for (unsigned i = 0; i < 3; i++) {
		const char *part = brand + i * 16;
		add_leaf(cpuid, 0x80000002 + i, 0, four_bytes(part), four_bytes(part + 4), four_bytes(part + 8),
			 four_bytes(part + 12));
	}
	add_leaf(cpuid, 0x80000008, 0, 48u << 8 | model->phys_bits, 0, 0, 0);
	for (size_t i = 0; i < sizeof(model->features) / sizeof(model->features[0]) && model->features[i]; i++)
		add_features(cpuid, model->features[i]);
}
