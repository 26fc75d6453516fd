/*
 * The names of CPU features, where their bits are, and which needs which.
 *
 * Names are those of QEMU's command line, which users type, and so mostly those of /proc/cpuinfo. Bits are Intel's (SDM 2A, CPUID) and
 * AMD's (APM 3, appendix E); those of leaf 0x40000001 are KVM's (Documentation/virt/kvm/x86/cpuid.rst).
 */
#include <ctype.h>
#include <string.h>

#include "hv/cpuid_internal.h"

static const struct hv_feature_word words[] = {
	{0x1, 0, HV_EDX,
	 "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - ds acpi mmx fxsr sse sse2 ss - tm "
	 "- pbe"},
	{0x1, 0, HV_ECX,
	 "sse3 pclmulqdq dtes64 monitor ds-cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4.1 sse4.2 x2apic "
	 "movbe popcnt tsc-deadline aes xsave - avx f16c rdrand hypervisor"},
	{0x6, 0, HV_EAX, "- - arat"},
	{0x7, 0, HV_EBX,
	 "fsgsbase tsc-adjust sgx bmi1 hle avx2 fdp-excptn-only smep bmi2 erms invpcid rtm cqm zero-fcs-fds mpx rdt-a avx512f "
	 "avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel-pt avx512pf avx512er avx512cd sha-ni avx512bw avx512vl"},
	{0x7, 0, HV_ECX,
	 "prefetchwt1 avx512vbmi umip pku - waitpkg avx512vbmi2 shstk gfni vaes vpclmulqdq avx512vnni avx512bitalg tme "
	 "avx512-vpopcntdq - la57 - - - - - rdpid - bus-lock-detect cldemote - movdiri movdir64b enqcmd sgxlc pks"},
	{0x7, 0, HV_EDX,
	 "- - avx512-4vnniw avx512-4fmaps fsrm uintr - - avx512-vp2intersect srbds-ctrl md-clear rtm-always-abort - "
	 "tsx-force-abort "
	 "serialize hybrid tsx-ldtrk - pconfig arch-lbr ibt - amx-bf16 avx512-fp16 amx-tile amx-int8 spec-ctrl stibp flush-l1d "
	 "arch-capabilities core-capability ssbd"},
	{0x7, 1, HV_EAX,
	 "sha512 sm3 sm4 rao-int avx-vnni avx512-bf16 lass cmpccxadd - - fzrm fsrs fsrc - - - - fred lkgs wrmsrns nmi-source "
	 "amx-fp16 "
	 "hreset avx-ifma - - lam msrlist - - - movrs"},
	{0x7, 1, HV_EDX, "- - - - avx-vnni-int8 avx-ne-convert - - amx-complex - avx-vnni-int16 - - - prefetchiti - - - - avx10"},
	{0x7, 2, HV_EDX, "psfd ipred-ctrl rrsba-ctrl ddpd-u bhi-ctrl mcdt-no"},
	{0xd, 1, HV_EAX, "xsaveopt xsavec xgetbv1 xsaves xfd"},
	{0x80000001, 0, HV_ECX,
	 "lahf-lm - svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid-msr "
	 "- "
	 "tbm topoext perfctr-core perfctr-nb - - perftsc perfctr-llc mwaitx"},
	{0x80000001, 0, HV_EDX,
	 "- - - - - - - - - - - syscall - - - - - - - - nx - mmxext - - fxsr-opt pdpe1gb rdtscp - lm 3dnowext 3dnow"},
	{0x80000007, 0, HV_EDX, "- - - - - - - - invtsc"},
	{0x80000008, 0, HV_EBX,
	 "clzero - xsaveerptr - - - - - - wbnoinvd - - ibpb - ibrs amd-stibp - stibp-always-on - - - - - - amd-ssbd virt-ssbd "
	 "amd-no-ssb "
	 "- amd-psfd"},
	{0x80000021, 0, HV_EAX, "no-nested-data-bp - lfence-always-serializing - - - null-sel-clr-base - auto-ibrs"},
	/* kvmclock has two bits: MSRs of the first and of the second kind. */
	{0x40000001, 0, HV_EAX,
	 "kvmclock kvm-nopiodelay - kvmclock kvm-asyncpf kvm-steal-time kvm-pv-eoi kvm-pv-unhalt - kvm-pv-tlb-flush "
	 "kvm-asyncpf-vmexit "
	 "kvm-pv-ipi kvm-poll-control kvm-pv-sched-yield kvm-asyncpf-int - - - - - - - - - kvmclock-stable-bit"},
};

static const struct {
	const char *name, *same;
} aliases[] = {
	{"pni", "sse3"},       {"lzcnt", "abm"}, {"pclmuldq", "pclmulqdq"}, {"i64", "lm"},
	{"ffxsr", "fxsr-opt"}, {"xd", "nx"},     {"osfxsr", "fxsr"},        {"cmpxchg16b", "cx16"},
};

/* What a processor with the feature always has, and what software that finds the feature takes for granted. */
static const struct {
	const char *name, *needs;
} needs[] = {
	{"sse2", "sse"},
	{"sse3", "sse2"},
	{"ssse3", "sse3"},
	{"sse4.1", "ssse3"},
	{"sse4.2", "sse4.1"},
	{"aes", "sse2"},
	{"pclmulqdq", "sse2"},
	{"invpcid", "pcid"},
	{"avx", "xsave"},
	{"avx", "sse4.2"},
	{"fma", "avx"},
	{"f16c", "avx"},
	{"fma4", "avx"},
	{"xop", "avx"},
	{"vaes", "avx"},
	{"vpclmulqdq", "avx"},
	{"avx2", "avx"},
	{"avx-vnni", "avx2"},
	{"avx-vnni-int8", "avx2"},
	{"avx-vnni-int16", "avx2"},
	{"avx-ne-convert", "avx2"},
	{"avx-ifma", "avx2"},
	{"sha512", "avx2"},
	{"sm3", "avx"},
	{"sm4", "avx2"},
	{"avx512f", "avx2"},
	{"avx512f", "fma"},
	{"avx512cd", "avx512f"},
	{"avx512dq", "avx512f"},
	{"avx512bw", "avx512f"},
	{"avx512vl", "avx512f"},
	{"avx512pf", "avx512f"},
	{"avx512er", "avx512f"},
	{"avx512ifma", "avx512f"},
	{"avx512vbmi", "avx512bw"},
	{"avx512vbmi2", "avx512bw"},
	{"avx512vnni", "avx512f"},
	{"avx512bitalg", "avx512bw"},
	{"avx512-vpopcntdq", "avx512f"},
	{"avx512-4vnniw", "avx512f"},
	{"avx512-4fmaps", "avx512f"},
	{"avx512-vp2intersect", "avx512f"},
	{"avx512-fp16", "avx512bw"},
	{"avx512-bf16", "avx512bw"},
	{"avx10", "avx512f"},
	{"xsaveopt", "xsave"},
	{"xsavec", "xsave"},
	{"xgetbv1", "xsave"},
	{"xsaves", "xsavec"},
	{"xfd", "xsave"},
	{"mpx", "xsave"},
	{"pku", "xsave"},
	{"shstk", "xsaves"},
	{"ibt", "xsaves"},
	{"arch-lbr", "xsaves"},
	{"amx-tile", "xfd"},
	{"amx-bf16", "amx-tile"},
	{"amx-int8", "amx-tile"},
	{"amx-fp16", "amx-tile"},
	{"amx-complex", "amx-tile"},
	{"kvm-asyncpf-int", "kvm-asyncpf"},
	{"kvm-asyncpf-vmexit", "kvm-asyncpf"},
	{"kvm-pv-tlb-flush", "kvm-steal-time"},
	{"kvm-pv-sched-yield", "kvm-steal-time"},
};

const struct hv_feature_word *hv_feature_words(size_t *nr)
{
	*nr = sizeof(words) / sizeof(words[0]);
	return words;
}

const char *hv_feature_name(const struct hv_feature_word *word, unsigned bit, size_t *len)
{
	const char *name = word->names;
	for (unsigned i = 0; i < bit; i++) {
		name += strcspn(name, " ");
		if (!*name)
			return NULL;
		name++;
	}
	*len = strcspn(name, " ");
	return *len == 0 || (*len == 1 && *name == '-') ? NULL : name;
}

static bool is_separator(char c)
{
	return c == '-' || c == '_' || c == '.';
}

/* Compares a, of that length, with the string b. */
static bool same_name(const char *a, size_t len, const char *b)
{
	const char *end = a + len;
	for (;;) {
		while (a < end && is_separator(*a))
			a++;
		while (is_separator(*b))
			b++;
		if (a == end || !*b)
			return a == end && !*b;
		if (tolower((unsigned char)*a++) != tolower((unsigned char)*b++))
			return false;
	}
}

static const char *resolve_alias(const char *name)
{
	for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
		if (same_name(aliases[i].name, strlen(aliases[i].name), name))
			return aliases[i].same;
	}
	return name;
}

/* The bits of that word which have the name. One walk over the list: this is most of the work of building a model. */
static uint32_t bits_named(const struct hv_feature_word *word, const char *name)
{
	const char *own = word->names;
	uint32_t bits = 0;
	for (unsigned bit = 0; *own; bit++) {
		size_t len = strcspn(own, " ");
		if (*own != '-' && tolower((unsigned char)*own) == tolower((unsigned char)*name) && same_name(own, len, name))
			bits |= 1u << bit;
		own += len;
		own += *own == ' ';
	}
	return bits;
}

bool hv_feature_known(const char *name)
{
	name = resolve_alias(name);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (bits_named(&words[i], name))
			return true;
	}
	return false;
}

bool hv_feature_is_set(const struct hv_cpuid *cpuid, const char *name)
{
	bool found = false;
	name = resolve_alias(name);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		uint32_t bits = bits_named(&words[i], name);
		if (!bits)
			continue;
		found = true;
		struct kvm_cpuid_entry2 *entry =
			hv_cpuid_entry((struct hv_cpuid *)(uintptr_t)cpuid, words[i].leaf, words[i].subleaf);
		if (!entry || (*hv_cpuid_reg(entry, words[i].reg) & bits) != bits)
			return false;
	}
	return found;
}

static void change(struct hv_cpuid *cpuid, const char *name, bool on)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		uint32_t bits = bits_named(&words[i], name);
		if (!bits)
			continue;
		struct kvm_cpuid_entry2 *entry = on ? hv_cpuid_entry_add(cpuid, words[i].leaf, words[i].subleaf)
						    : hv_cpuid_entry(cpuid, words[i].leaf, words[i].subleaf);
		if (!entry)
			continue;
		uint32_t *reg = hv_cpuid_reg(entry, words[i].reg);
		*reg = on ? *reg | bits : *reg & ~bits;
	}
}

void hv_feature_add(struct hv_cpuid *cpuid, const char *name)
{
	name = resolve_alias(name);
	change(cpuid, name, true);
	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
		if (same_name(needs[i].name, strlen(needs[i].name), name))
			hv_feature_add(cpuid, needs[i].needs); /* the table has no cycle */
	}
}

void hv_feature_remove(struct hv_cpuid *cpuid, const char *name)
{
	name = resolve_alias(name);
	change(cpuid, name, false);
	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
		if (same_name(needs[i].needs, strlen(needs[i].needs), name))
			hv_feature_remove(cpuid, needs[i].name); /* the table has no cycle */
	}
}
