/*
 * See cpuid.h. Builds the leaves of a guest in steps:
 *
 *    what KVM offers here ("host")  -> the model: all of it, or a table's  -> feature words  -> is all of it on this host?
 *    -> leaf 0xd to match the features  -> topology
 *
 * "host" leaves out what is of no use to a guest of this VMM (SGX, SEV), what ties it to this host (an invariant TSC), and nested
 * virtualization; the last two can be asked for by name. AMX is offered if the kernel permits it to this process: the permission is
 * asked for only if the guest shall have AMX, as it makes the FPU state of every vCPU 8 KiB larger.
 */
#include "hv/cpuid.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/cpuid_internal.h"
#include "hv/os.h"

#define MAX_ENTRIES (sizeof(((struct hv_cpuid *)0)->entries) / sizeof(struct kvm_cpuid_entry2))
#define MAX_APIC_ID 254u /* 255 is the broadcast of xAPIC; what is above needs interrupt remapping */
#define KVM_LEAF 0x40000000u
#define TIMING_LEAF 0x40000010u
#define LAPIC_BUS_KHZ 1000000u /* KVM's LAPIC timers count nanoseconds */
#define XTILE_DATA 18u
#define XFEATURE_MASK_X87_SSE 3ull

struct kvm_cpuid_entry2 *hv_cpuid_entry(struct hv_cpuid *cpuid, uint32_t leaf, uint32_t subleaf)
{
	for (size_t i = 0; i < cpuid->nr; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		if (entry->function == leaf && (entry->index == subleaf || !(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return entry;
	}
	return NULL;
}

const struct kvm_cpuid_entry2 *hv_cpuid_find(const struct hv_cpuid *cpuid, uint32_t leaf, uint32_t subleaf)
{
	return hv_cpuid_entry((struct hv_cpuid *)(uintptr_t)cpuid, leaf, subleaf);
}

static bool has_subleaves(uint32_t leaf)
{
	switch (leaf) {
	case 0x4:
	case 0x7:
	case 0xb:
	case 0xd:
	case 0x1f:
	case 0x8000001d:
		return true;
	default:
		return false;
	}
}

struct kvm_cpuid_entry2 *hv_cpuid_entry_add(struct hv_cpuid *cpuid, uint32_t leaf, uint32_t subleaf)
{
	struct kvm_cpuid_entry2 *entry = hv_cpuid_entry(cpuid, leaf, subleaf);
	if (entry)
		return entry;
	if (cpuid->nr == MAX_ENTRIES)
		return NULL;
	entry = &cpuid->entries[cpuid->nr++];
	*entry = (struct kvm_cpuid_entry2){
		.function = leaf,
		.index = subleaf,
		.flags = has_subleaves(leaf) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
	};
	return entry;
}

void hv_cpuid_remove(struct hv_cpuid *cpuid, uint32_t leaf, uint32_t first_subleaf)
{
	size_t kept = 0;
	for (size_t i = 0; i < cpuid->nr; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		if (entry->function != leaf || entry->index < first_subleaf)
			cpuid->entries[kept++] = *entry;
	}
	cpuid->nr = kept;
}

uint32_t *hv_cpuid_reg(struct kvm_cpuid_entry2 *entry, enum hv_cpuid_reg reg)
{
	switch (reg) {
	case HV_EAX:
		return &entry->eax;
	case HV_EBX:
		return &entry->ebx;
	case HV_ECX:
		return &entry->ecx;
	default:
		return &entry->edx;
	}
}

bool hv_cpuid_is_amd(const struct hv_cpuid *cpuid)
{
	const struct kvm_cpuid_entry2 *leaf0 = hv_cpuid_find(cpuid, 0, 0);
	if (!leaf0)
		return false;
	char vendor[12];
	memcpy(vendor, &leaf0->ebx, 4);
	memcpy(vendor + 4, &leaf0->edx, 4);
	memcpy(vendor + 8, &leaf0->ecx, 4);
	return memcmp(vendor, "AuthenticAMD", 12) == 0 || memcmp(vendor, "HygonGenuine", 12) == 0;
}

unsigned hv_cpuid_phys_bits(const struct hv_cpuid *cpuid)
{
	const struct kvm_cpuid_entry2 *sizes = hv_cpuid_find(cpuid, 0x80000008, 0);
	if (!sizes)
		return 0;
	/* Where nested paging reaches less far than the processor's addresses, KVM says how far. */
	unsigned bits = sizes->eax & 0xff, reach = sizes->eax >> 16 & 0xff;
	return reach && reach < bits ? reach : bits;
}

void hv_cpuid_set_tsc_khz(struct hv_cpuid *cpuid, uint32_t tsc_khz)
{
	struct kvm_cpuid_entry2 *kvm = hv_cpuid_entry(cpuid, KVM_LEAF, 0);
	if (!kvm)
		return;
	struct kvm_cpuid_entry2 *timing = hv_cpuid_entry_add(cpuid, TIMING_LEAF, 0);
	if (!timing)
		return;
	timing->eax = tsc_khz;
	timing->ebx = LAPIC_BUS_KHZ;
	if (kvm->eax < TIMING_LEAF)
		kvm->eax = TIMING_LEAF;
}

uint64_t hv_cpuid_xfeatures(const struct hv_cpuid *cpuid)
{
	const struct kvm_cpuid_entry2 *leaf = hv_cpuid_find(cpuid, 0xd, 0);
	return (leaf ? (uint64_t)leaf->edx << 32 | leaf->eax : 0) | XFEATURE_MASK_X87_SSE;
}

bool hv_cpuid_has_nested(const struct hv_cpuid *cpuid)
{
	return hv_feature_is_set(cpuid, "vmx") || hv_feature_is_set(cpuid, "svm");
}

static int get_supported(const struct hv_kvm *kvm, struct hv_cpuid *cpuid, struct error *err)
{
	struct kvm_cpuid2 *table = hv_calloc(1, sizeof(*table) + MAX_ENTRIES * sizeof(table->entries[0]));
	if (!table)
		return error_set(err, ENOMEM, "CPU model: out of memory");
	table->nent = MAX_ENTRIES;
	int ret = hv_ioctl(hv_kvm_fd(kvm), KVM_GET_SUPPORTED_CPUID, table);
	if (ret < 0) {
		ret = error_set(err, -ret, "CPU model: KVM does not say which CPUID it supports: %s", strerror(-ret));
	} else {
		cpuid->nr = table->nent < MAX_ENTRIES ? table->nent : MAX_ENTRIES;
		memcpy(cpuid->entries, table->entries, cpuid->nr * sizeof(cpuid->entries[0]));
		ret = 0;
	}
	free(table);
	return ret;
}

/* Space for other leaves is needed: what is all zero says as much as no entry. */
static void drop_empty(struct hv_cpuid *cpuid)
{
	size_t kept = 0;
	for (size_t i = 0; i < cpuid->nr; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		/* Leaf 4 ends with an empty subleaf. */
		if (entry->eax || entry->ebx || entry->ecx || entry->edx || entry->function == 7 || entry->function == 4)
			cpuid->entries[kept++] = *entry;
	}
	cpuid->nr = kept;
}

/* What KVM offers on this host to guests of this VMM, be it by a word only. */
static int get_host(const struct hv_kvm *kvm, bool wants_amx, struct hv_cpuid *host, struct error *err)
{
	int ret = get_supported(kvm, host, err);
	if (ret)
		return ret;
	if (wants_amx && hv_feature_is_set(host, "amx-tile") && hv_request_guest_xfeature(XTILE_DATA) == 0) {
		ret = get_supported(kvm, host, err);
		if (ret)
			return ret;
	}
	if (!(hv_cpuid_xfeatures(host) >> XTILE_DATA & 1)) {
		hv_feature_remove(host, "amx-tile");
		hv_feature_remove(host, "xfd");
	}
	/* Emulated by KVM whatever it lists: older kernels leave these two to the VMM. hv_kvm_open() has seen the timer's capability. */
	hv_feature_add(host, "tsc-deadline");
	hv_feature_add(host, "hypervisor");
	hv_feature_remove(host, "monitor");
	hv_feature_remove(host, "sgx");
	hv_feature_remove(host, "sgxlc");
	hv_cpuid_remove(host, 0x12, 0);
	hv_cpuid_remove(host, 0x8000001f, 0);
	drop_empty(host);
	return 0;
}

static void take_all_of_host(const struct hv_cpuid *host, struct hv_cpuid *cpuid)
{
	*cpuid = *host;
	hv_feature_remove(cpuid, "vmx");
	hv_feature_remove(cpuid, "svm");
	hv_feature_remove(cpuid, "invtsc");
	hv_cpuid_remove(cpuid, 0x8000000a, 0);
}

/* One of "name", "+name", "-name", "name=on", "name=off", "phys-bits=N". */
struct feature_word {
	enum { WORD_ADD, WORD_REMOVE, WORD_PHYS_BITS } kind;
	char name[40];
	unsigned phys_bits;
};

static int parse_word(const char *text, size_t len, struct feature_word *word, struct error *err)
{
	char copy[64];
	if (len == 0 || len >= sizeof(copy))
		return error_set(err, EINVAL, "CPU model: '%.*s' is no feature word; write name, +name or -name",
				 (int)(len < 80 ? len : 80), text);
	memcpy(copy, text, len);
	copy[len] = '\0';
	const char *name = copy;
	word->kind = WORD_ADD;
	if (*name == '+' || *name == '-')
		word->kind = *name++ == '-' ? WORD_REMOVE : WORD_ADD;
	char *value = strchr(copy, '=');
	if (value)
		*value++ = '\0';
	if (value && strcmp(copy, "phys-bits") == 0) {
		char *end;
		unsigned long bits = strtoul(value, &end, 10);
		if (*end || end == value || bits < 32 || bits > 52)
			return error_set(err, EINVAL, "CPU model: phys-bits=%s; must be 32 to 52", value);
		word->kind = WORD_PHYS_BITS;
		word->phys_bits = (unsigned)bits;
		return 0;
	}
	if (value && strcmp(value, "off") == 0)
		word->kind = WORD_REMOVE;
	else if (value && strcmp(value, "on") != 0)
		return error_set(err, EINVAL, "CPU model: feature %s is on or off, not '%s'", name, value);
	if ((value && name != copy) || strlen(name) >= sizeof(word->name))
		return error_set(err, EINVAL, "CPU model: '%.*s' is no feature word; write name, +name or -name", (int)len, text);
	memcpy(word->name, name, strlen(name) + 1);
	if (!hv_feature_known(word->name) && strcmp(word->name, "pmu") != 0)
		return error_set(err, EINVAL, "CPU model: feature '%s' is not known; names are those of QEMU's -cpu", word->name);
	return 0;
}

/* Calls of parse_word() for all of them; *rest moves on. Returns 1 with a word, 0 at the end, or -EINVAL. */
static int next_word(const char **rest, struct feature_word *word, struct error *err)
{
	if (!**rest)
		return 0;
	const char *text = *rest + 1; /* after the comma */
	size_t len = strcspn(text, ",");
	*rest = text + len;
	int ret = parse_word(text, len, word, err);
	return ret ? ret : 1;
}

/* The last word about AMX decides; without one, what the model has. */
static int wants_amx(const char *words, bool by_default, bool *wanted, struct error *err)
{
	struct feature_word word = {0};
	int ret;
	*wanted = by_default;
	while ((ret = next_word(&words, &word, err)) > 0) {
		if (word.kind == WORD_ADD && strncmp(word.name, "amx", 3) == 0)
			*wanted = true;
		else if (word.kind == WORD_REMOVE && strncmp(word.name, "amx", 3) == 0 && strstr(word.name, "tile"))
			*wanted = false;
	}
	return ret;
}

static void copy_leaf(struct hv_cpuid *cpuid, const struct hv_cpuid *host, uint32_t leaf)
{
	const struct kvm_cpuid_entry2 *from = hv_cpuid_find(host, leaf, 0);
	struct kvm_cpuid_entry2 *to = from ? hv_cpuid_entry_add(cpuid, leaf, 0) : NULL;
	if (to)
		*to = *from;
}

static void remove_pmu(struct hv_cpuid *cpuid)
{
	hv_cpuid_remove(cpuid, 0xa, 0);
	hv_cpuid_remove(cpuid, 0x23, 0);
	hv_cpuid_remove(cpuid, 0x80000022, 0);
	hv_feature_remove(cpuid, "perfctr-core");
	hv_feature_remove(cpuid, "pdcm");
}

static void apply_word(const struct feature_word *word, const struct hv_cpuid *host, struct hv_cpuid *cpuid)
{
	if (word->kind == WORD_PHYS_BITS) {
		struct kvm_cpuid_entry2 *sizes = hv_cpuid_entry_add(cpuid, 0x80000008, 0);
		if (sizes)
			sizes->eax = (sizes->eax & 0xff00) | word->phys_bits;
	} else if (strcmp(word->name, "pmu") == 0) {
		if (word->kind == WORD_REMOVE)
			remove_pmu(cpuid);
		else
			copy_leaf(cpuid, host, 0xa);
	} else if (word->kind == WORD_REMOVE) {
		hv_feature_remove(cpuid, word->name);
	} else {
		hv_feature_add(cpuid, word->name);
		if (hv_feature_is_set(cpuid, "svm"))
			copy_leaf(cpuid, host, 0x8000000a);
	}
}

/* A leaf that a feature word has added lies perhaps above the highest leaf that the model claims. */
static void raise_max_leaf(struct hv_cpuid *cpuid)
{
	struct kvm_cpuid_entry2 *basic = hv_cpuid_entry(cpuid, 0, 0), *extended = hv_cpuid_entry(cpuid, 0x80000000, 0);
	for (size_t i = 0; i < cpuid->nr; i++) {
		uint32_t leaf = cpuid->entries[i].function;
		if (basic && leaf < KVM_LEAF && leaf > basic->eax)
			basic->eax = leaf;
		if (extended && leaf >= 0x80000000 && leaf > extended->eax)
			extended->eax = leaf;
		if (leaf == 7 && cpuid->entries[i].index) {
			struct kvm_cpuid_entry2 *first = hv_cpuid_entry(cpuid, 7, 0);
			if (first && first->eax < cpuid->entries[i].index)
				first->eax = cpuid->entries[i].index;
		}
	}
}

/* Lists the features of cpuid that host lacks. Returns how many. */
static unsigned list_missing(const struct hv_cpuid *cpuid, const struct hv_cpuid *host, char *text, size_t room)
{
	unsigned nr = 0;
	size_t nr_words, used = 0;
	const struct hv_feature_word *word = hv_feature_words(&nr_words);
	for (; nr_words; nr_words--, word++) {
		struct kvm_cpuid_entry2 own = {0}, theirs = {0};
		const struct kvm_cpuid_entry2 *entry = hv_cpuid_find(cpuid, word->leaf, word->subleaf);
		if (entry)
			own = *entry;
		entry = hv_cpuid_find(host, word->leaf, word->subleaf);
		if (entry)
			theirs = *entry;
		uint32_t missing = *hv_cpuid_reg(&own, word->reg) & ~*hv_cpuid_reg(&theirs, word->reg);
		for (unsigned bit = 0; bit < 32; bit++) {
			size_t len;
			const char *name = missing >> bit & 1 ? hv_feature_name(word, bit, &len) : NULL;
			if (!name)
				continue;
			nr++;
			if (used + len + 3 < room)
				used += (size_t)snprintf(text + used, room - used, "%s%.*s", used ? ", " : "", (int)len, name);
		}
	}
	return nr;
}

static int check_against_host(const char *model, const struct hv_cpuid *cpuid, const struct hv_cpuid *host, struct error *err)
{
	char missing[200] = "";
	unsigned nr = list_missing(cpuid, host, missing, sizeof(missing));
	if (nr)
		return error_set(
			err, ENOTSUP,
			"CPU model %s: KVM on this host lacks %s; take these away (-name), or choose a lower model or 'host'",
			model, missing);
	unsigned own = hv_cpuid_phys_bits(cpuid), theirs = hv_cpuid_phys_bits(host);
	if (own > theirs)
		return error_set(err, ENOTSUP, "CPU model %s: it has %u bits of physical address, this host %u; add phys-bits=%u",
				 model, own, theirs, theirs);
	return 0;
}

/* Component of the state, and the feature that brings it. */
static const struct {
	unsigned component;
	const char *feature;
	bool is_supervisor; /* by the MSR XSS instead of XCR0 */
} xsave_components[] = {
	{2, "avx", false},      {3, "mpx", false},       {4, "mpx", false},       {5, "avx512f", false}, {6, "avx512f", false},
	{7, "avx512f", false},  {8, "intel-pt", true},   {9, "pku", false},       {11, "shstk", true},   {12, "shstk", true},
	{15, "arch-lbr", true}, {17, "amx-tile", false}, {18, "amx-tile", false},
};

/* Size and place of a component in the uncompacted image. */
static void add_component(struct hv_cpuid *cpuid, const struct hv_cpuid *host, unsigned component, uint32_t *end)
{
	const struct kvm_cpuid_entry2 *from = hv_cpuid_find(host, 0xd, component);
	struct kvm_cpuid_entry2 *to = from ? hv_cpuid_entry_add(cpuid, 0xd, component) : NULL;
	if (!to)
		return;
	*to = *from;
	if (to->ebx + to->eax > *end)
		*end = to->ebx + to->eax;
}

void hv_cpuid_set_xsave(struct hv_cpuid *cpuid, const struct hv_cpuid *host)
{
	const struct kvm_cpuid_entry2 *host_main = hv_cpuid_find(host, 0xd, 0), *host_more = hv_cpuid_find(host, 0xd, 1);
	const struct kvm_cpuid_entry2 *own_more = hv_cpuid_find(cpuid, 0xd, 1);
	uint32_t instructions = own_more ? own_more->eax : 0;
	hv_cpuid_remove(cpuid, 0xd, 0);
	if (!hv_feature_is_set(cpuid, "xsave") || !host_main)
		return;
	const uint64_t host_user = (uint64_t)host_main->edx << 32 | host_main->eax;
	const uint64_t host_supervisor = host_more ? (uint64_t)host_more->edx << 32 | host_more->ecx : 0;
	uint64_t user = XFEATURE_MASK_X87_SSE, supervisor = 0;
	uint32_t end = 512 + 64, supervisor_end = 0;
	for (size_t i = 0; i < sizeof(xsave_components) / sizeof(xsave_components[0]); i++) {
		unsigned component = xsave_components[i].component;
		bool is_supervisor = xsave_components[i].is_supervisor;
		if (!((is_supervisor ? host_supervisor : host_user) >> component & 1) ||
		    !hv_feature_is_set(cpuid, xsave_components[i].feature))
			continue;
		*(is_supervisor ? &supervisor : &user) |= 1ull << component;
		add_component(cpuid, host, component, is_supervisor ? &supervisor_end : &end);
	}
	struct kvm_cpuid_entry2 *main = hv_cpuid_entry_add(cpuid, 0xd, 0), *more = hv_cpuid_entry_add(cpuid, 0xd, 1);
	if (!main || !more)
		return;
	/* KVM keeps EBX of both at what the guest has enabled. */
	main->eax = (uint32_t)user;
	main->edx = (uint32_t)(user >> 32);
	main->ebx = 512 + 64;
	main->ecx = end;
	more->eax = instructions;
	more->ecx = (uint32_t)supervisor;
	more->edx = (uint32_t)(supervisor >> 32);
}

/*
 * The processor itself executes XSAVE, so its image has the host's layout, whatever the model. Intel and AMD put AVX at the same
 * place, and AVX-512 at different ones: there a named model holds to Intel's, its own vendor's.
 */
static int check_xsave_layout(const char *model, const struct hv_cpuid *cpuid, struct error *err)
{
	static const struct {
		unsigned component, size, offset;
	} expected[] = {{2, 0x100, 0x240}, {5, 0x40, 0x440}, {6, 0x200, 0x480}, {7, 0x400, 0x680}};
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		const struct kvm_cpuid_entry2 *entry = hv_cpuid_find(cpuid, 0xd, expected[i].component);
		if (entry && (entry->eax != expected[i].size || entry->ebx != expected[i].offset))
			return error_set(
				err, ENOTSUP,
				"CPU model %s: this host's processor keeps component %u of its extended state elsewhere; choose "
				"x86-64-v3 or 'host'",
				model, expected[i].component);
	}
	return 0;
}

static int check_topology(const struct hv_kvm *kvm, const struct hv_cpu_topology *t, struct error *err)
{
	const unsigned parts[] = {t->sockets, t->dies, t->cores, t->threads};
	uint64_t nr = 1;
	for (size_t i = 0; i < 4; i++) {
		if (parts[i] == 0 || parts[i] > 256)
			return error_set(err, EINVAL, "CPU topology: sockets, dies, cores and threads must each be 1 to 256");
		nr *= parts[i];
	}
	if (nr > hv_kvm_max_vcpus(kvm))
		return error_set(err, EINVAL, "CPU topology: %llu vCPUs, but KVM here runs at most %u in a VM",
				 (unsigned long long)nr, hv_kvm_max_vcpus(kvm));
	if (nr > MAX_APIC_ID + 1 || hv_cpuid_apic_id(t, (unsigned)nr - 1) > MAX_APIC_ID)
		return error_set(err, EINVAL,
				 "CPU topology: the last vCPU's APIC id is above %u; use fewer, or powers of two for %s",
				 MAX_APIC_ID, "dies, cores and threads");
	return 0;
}

static int build(const struct hv_kvm *kvm, const char *model, const char *words, const struct hv_cpu_topology *topology,
		 struct hv_cpuid *host, struct hv_cpuid *cpuid, struct error *err)
{
	bool is_host = strcmp(model, "host") == 0 || strcmp(model, "max") == 0, amx;
	const struct hv_cpu_model *named = is_host ? NULL : hv_cpu_model_find(model);
	if (!is_host && !named)
		return error_set(err, EINVAL, "CPU model '%s' is not known; choose host, or x86-64-v1 to x86-64-v4", model);
	int ret = wants_amx(words, is_host, &amx, err);
	if (ret)
		return ret;
	ret = get_host(kvm, amx, host, err);
	if (ret)
		return ret;
	if (is_host)
		take_all_of_host(host, cpuid);
	else
		hv_cpu_model_fill(named, cpuid);
	struct feature_word word = {0};
	while ((ret = next_word(&words, &word, err)) > 0)
		apply_word(&word, host, cpuid);
	if (!ret)
		ret = check_against_host(model, cpuid, host, err);
	if (ret)
		return ret;
	hv_cpuid_set_xsave(cpuid, host);
	if (named)
		ret = check_xsave_layout(model, cpuid, err);
	if (ret)
		return ret;
	raise_max_leaf(cpuid);
	ret = hv_cpuid_set_topology(cpuid, topology);
	return ret ? error_set(err, -ret, "CPU model %s: too many CPUID leaves", model) : 0;
}

int hv_cpuid_build(const struct hv_kvm *kvm, const char *model, const struct hv_cpu_topology *topology, struct hv_cpuid *cpuid,
		   struct error *err)
{
	int ret = check_topology(kvm, topology, err);
	if (ret)
		return ret;
	char name[32];
	size_t len = strcspn(model, ",");
	if (len >= sizeof(name))
		return error_set(err, EINVAL, "CPU model '%.40s' is not known; choose host, or x86-64-v1 to x86-64-v4", model);
	memcpy(name, model, len);
	name[len] = '\0';
	/* Written to *cpuid on success only. */
	struct hv_cpuid *both = hv_calloc(2, sizeof(*both));
	if (!both)
		return error_set(err, ENOMEM, "CPU model: out of memory");
	ret = build(kvm, name, model + len, topology, &both[0], &both[1], err);
	if (!ret)
		*cpuid = both[1];
	free(both);
	return ret;
}
