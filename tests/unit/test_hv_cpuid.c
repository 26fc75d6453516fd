/* CPUID: topology, models, feature words. KVM is played by hv_ioctl() below, on hosts that are made up. No /dev/kvm needed. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/cpuid_internal.h"
#include "hv/os.h"
#include "tests/unit/suite.h"

/* What the KVM of the moment offers. */
static struct hv_cpuid host;
static bool amx_permitted, amx_requested;
static unsigned max_vcpus;

int hv_ioctl(int fd, unsigned long request, void *arg)
{
	(void)fd;
	switch (request) {
	case KVM_GET_API_VERSION:
		return KVM_API_VERSION;
	case KVM_CHECK_EXTENSION:
		return (uintptr_t)arg == KVM_CAP_MAX_VCPUS ? (int)max_vcpus : 1;
	case KVM_GET_MSR_INDEX_LIST:
		((struct kvm_msr_list *)arg)->nmsrs = 0;
		return 0;
	case KVM_GET_SUPPORTED_CPUID: {
		struct kvm_cpuid2 *table = arg;
		if (table->nent < host.nr)
			return -E2BIG;
		table->nent = (uint32_t)host.nr;
		memcpy(table->entries, host.entries, host.nr * sizeof(host.entries[0]));
		/* Tile data appears with the permission. */
		for (size_t i = 0; i < host.nr; i++) {
			if (table->entries[i].function == 0xd && table->entries[i].index == 0 && !(amx_permitted && amx_requested))
				table->entries[i].eax &= ~(3u << 17);
		}
		return 0;
	}
	default:
		return -ENOTTY;
	}
}

int hv_request_guest_xfeature(unsigned component)
{
	ck_assert_uint_eq(component, 18);
	amx_requested = true;
	return amx_permitted ? 0 : -EPERM;
}

static struct kvm_cpuid_entry2 *host_leaf(uint32_t leaf, uint32_t subleaf)
{
	struct kvm_cpuid_entry2 *entry = hv_cpuid_entry_add(&host, leaf, subleaf);
	ck_assert_ptr_nonnull(entry);
	return entry;
}

static void set_leaf(uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	struct kvm_cpuid_entry2 *entry = host_leaf(leaf, subleaf);
	entry->eax = eax;
	entry->ebx = ebx;
	entry->ecx = ecx;
	entry->edx = edx;
}

/* A host with every feature that has a name. */
static void make_host(const char *vendor, unsigned phys_bits)
{
	uint32_t v[3];
	size_t nr;
	memset(&host, 0, sizeof(host));
	memcpy(v, vendor, 12);
	set_leaf(0, 0, 0x20, v[0], v[2], v[1]);
	set_leaf(0x80000000, 0, 0x80000021, v[0], v[2], v[1]);
	set_leaf(1, 0, 0x000806f8, 0x7f200800, 0, 0);
	set_leaf(4, 0, 0xfc004121, 0x02c0003f, 0x3f, 0);
	set_leaf(4, 1, 0xfc004143, 0x03c0003f, 0x7ff, 0);
	set_leaf(4, 2, 0xfc1fc163, 0x03c0003f, 0x7fff, 4);
	set_leaf(4, 3, 0, 0, 0, 0);
	set_leaf(0xa, 0, 0x08300805, 0, 0, 0x603);
	set_leaf(0xb, 0, 1, 2, 0x100, 0x55);
	set_leaf(0xb, 1, 7, 64, 0x201, 0x55);
	set_leaf(0x1f, 0, 1, 2, 0x100, 0x55);
	set_leaf(0x12, 0, 1, 0, 0, 0);
	set_leaf(0xd, 0, 0x602e7, 0xa88, 0x2b00, 0);
	set_leaf(0xd, 1, 0, 0, 0x1800, 0);
	set_leaf(0xd, 2, 0x100, 0x240, 0, 0);
	set_leaf(0xd, 5, 0x40, 0x440, 0, 0);
	set_leaf(0xd, 6, 0x200, 0x480, 0, 0);
	set_leaf(0xd, 7, 0x400, 0x680, 0, 0);
	set_leaf(0xd, 9, 8, 0xa80, 0, 0);
	set_leaf(0xd, 11, 0x10, 0, 1, 0);
	set_leaf(0xd, 12, 0x18, 0, 1, 0);
	set_leaf(0xd, 17, 0x40, 0xac0, 2, 0);
	set_leaf(0xd, 18, 0x2000, 0xb00, 6, 0);
	set_leaf(0x40000000, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
	set_leaf(0x80000008, 0, 57u << 8 | phys_bits, 0, 0x7fff, 0);
	set_leaf(0x8000001d, 0, 0x121, 0, 0, 0);
	set_leaf(0x8000001d, 1, 0x7163, 0, 0, 0);
	set_leaf(0x8000001e, 0, 9, 9, 9, 9);
	const struct hv_feature_word *words = hv_feature_words(&nr);
	for (size_t i = 0; i < nr; i++) {
		for (unsigned bit = 0; bit < 32; bit++) {
			size_t len;
			if (hv_feature_name(&words[i], bit, &len))
				*hv_cpuid_reg(host_leaf(words[i].leaf, words[i].subleaf), words[i].reg) |= 1u << bit;
		}
	}
}

/* The seed of the random tests, which PAGODA_SEED fixes. */
static unsigned seed(void)
{
	const char *fixed = getenv("PAGODA_SEED");
	return fixed ? (unsigned)strtoul(fixed, NULL, 10) : 1;
}

static const char intel[] = "GenuineIntel", amd[] = "AuthenticAMD";
static const struct hv_cpu_topology single = {1, 1, 1, 1};
static struct hv_kvm *kvm;
static struct hv_cpuid cpuid;
static struct error err;

static void set_up(void)
{
	make_host(intel, 46);
	amx_permitted = amx_requested = false;
	max_vcpus = 1024;
	ck_assert_int_eq(hv_kvm_open("/dev/null", &kvm, &err), 0);
}

static void tear_down(void)
{
	hv_kvm_close(kvm);
}

static void build(const char *model, const struct hv_cpu_topology *topology)
{
	ck_assert_msg(hv_cpuid_build(kvm, model, topology, &cpuid, &err) == 0, "%s: %s", model, err.text);
}

static void refuse(const char *model, int code, const char *said)
{
	ck_assert_msg(hv_cpuid_build(kvm, model, &single, &cpuid, &err) == -code, "%s: %s", model, err.text);
	ck_assert_msg(strstr(err.text, said) != NULL, "%s", err.text);
}

static const struct kvm_cpuid_entry2 *leaf(uint32_t function, uint32_t subleaf)
{
	const struct kvm_cpuid_entry2 *entry = hv_cpuid_find(&cpuid, function, subleaf);
	ck_assert_msg(entry != NULL, "no leaf %#x", function);
	return entry;
}

START_TEST(apic_ids_leave_gaps_up_to_powers_of_two)
{
	const struct hv_cpu_topology plain = {1, 1, 16, 1}, odd = {2, 1, 3, 2}, dies = {2, 2, 2, 1};
	static const uint32_t odd_ids[] = {0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13};
	for (unsigned i = 0; i < 16; i++)
		ck_assert_uint_eq(hv_cpuid_apic_id(&plain, i), i);
	for (unsigned i = 0; i < 12; i++)
		ck_assert_uint_eq(hv_cpuid_apic_id(&odd, i), odd_ids[i]);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_uint_eq(hv_cpuid_apic_id(&dies, i), i);
}
END_TEST

/* Every id differs, and cutting fields off by the shifts of leaf 0x1f or 0xb groups vCPUs as the topology says. */
START_TEST(the_leaves_of_levels_agree_with_the_apic_ids)
{
	srand(seed());
	for (unsigned round = 0; round < 300; round++) {
		const struct hv_cpu_topology t = {1 + (unsigned)rand() % 2, 1 + (unsigned)rand() % 3, 1 + (unsigned)rand() % 5,
						  1 + (unsigned)rand() % 3};
		unsigned nr = t.sockets * t.dies * t.cores * t.threads;
		struct hv_cpuid a, b;
		build("x86-64-v2", &t);
		const uint32_t levels = t.dies > 1 ? 0x1f : 0xb;
		unsigned i = (unsigned)rand() % nr, k = (unsigned)rand() % nr;
		hv_cpuid_for_vcpu(&cpuid, &t, i, 0, &a);
		hv_cpuid_for_vcpu(&cpuid, &t, k, 0, &b);
		uint32_t id_a = hv_cpuid_find(&a, levels, 0)->edx, id_b = hv_cpuid_find(&b, levels, 0)->edx;
		ck_assert_uint_eq(id_a, hv_cpuid_apic_id(&t, i));
		ck_assert_uint_eq(hv_cpuid_find(&a, 1, 0)->ebx >> 24, id_a);
		ck_assert_int_eq(id_a == id_b, i == k);
		unsigned core_shift = hv_cpuid_find(&a, levels, 0)->eax, die_shift = hv_cpuid_find(&a, levels, 1)->eax;
		unsigned package_shift = hv_cpuid_find(&a, 0xb, 1)->eax;
		ck_assert_int_eq(id_a >> core_shift == id_b >> core_shift, i / t.threads == k / t.threads);
		ck_assert_int_eq(id_a >> die_shift == id_b >> die_shift, i / t.threads / t.cores == k / t.threads / t.cores);
		ck_assert_int_eq(id_a >> package_shift == id_b >> package_shift, i / (nr / t.sockets) == k / (nr / t.sockets));
		ck_assert_uint_eq(hv_cpuid_find(&a, 0xb, 1)->ebx, nr / t.sockets);
		/* Old software counts the ids of a package in leaf 1, and its cores in leaf 4. */
		ck_assert_uint_eq(hv_cpuid_find(&a, 1, 0)->ebx >> 16 & 0xff, 1u << package_shift);
		ck_assert_uint_eq(hv_cpuid_find(&a, 4, 0)->eax >> 26, (1u << (package_shift - core_shift)) - 1);
		ck_assert_uint_eq(hv_cpuid_find(&a, 4, 0)->eax >> 14 & 0xfff, (1u << core_shift) - 1);
		ck_assert_int_eq(hv_cpuid_find(&a, 1, 0)->edx >> 28 & 1, nr / t.sockets > 1);
	}
}
END_TEST

START_TEST(amd_leaves_tell_cores_threads_and_nodes)
{
	const struct hv_cpu_topology t = {2, 2, 3, 2};
	struct hv_cpuid own;
	make_host(amd, 48);
	build("host", &t);
	hv_cpuid_for_vcpu(&cpuid, &t, 23, 0, &own);
	const struct kvm_cpuid_entry2 *identity = hv_cpuid_find(&own, 0x8000001e, 0);
	ck_assert_uint_eq(identity->eax, hv_cpuid_apic_id(&t, 23));
	ck_assert_uint_eq(identity->ebx, 6 | 1 << 8); /* die 1, core 2 of four places; two threads */
	ck_assert_uint_eq(identity->ecx, 3 | 1 << 8); /* the fourth node; two in a package */
	ck_assert_uint_eq(leaf(0x80000008, 0)->ecx, 11 | 4 << 12);
	ck_assert_uint_eq(leaf(1, 0)->ebx >> 16 & 0xff, 12);
	ck_assert_uint_eq(leaf(0x80000001, 0)->ecx >> 1 & 1, 1);
	ck_assert_uint_eq(leaf(0x8000001d, 0)->eax >> 14, 1);
	ck_assert_uint_eq(leaf(0x8000001d, 1)->eax >> 14, 7);
}
END_TEST

START_TEST(a_topology_that_cannot_be_numbered_is_refused)
{
	static const struct hv_cpu_topology bad[] = {
		{0, 1, 1, 1}, {1, 1, 1, 0}, {1, 1, 1000, 1}, {1, 1, 256, 1}, {3, 1, 65, 1}, {256, 256, 256, 256},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_int_eq(hv_cpuid_build(kvm, "x86-64-v1", &bad[i], &cpuid, &err), -EINVAL);
		ck_assert_ptr_nonnull(strstr(err.text, "topology"));
	}
	max_vcpus = 4;
	hv_kvm_close(kvm);
	ck_assert_int_eq(hv_kvm_open("/dev/null", &kvm, &err), 0);
	const struct hv_cpu_topology five = {1, 1, 5, 1};
	ck_assert_int_eq(hv_cpuid_build(kvm, "host", &five, &cpuid, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "at most 4"));
}
END_TEST

START_TEST(named_models_do_not_depend_on_the_host)
{
	static const char *const names[] = {"x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v2,+aes,-popcnt", "qemu64"};
	const struct hv_cpu_topology t = {1, 1, 2, 2};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		make_host(intel, 46);
		build(names[i], &t);
		struct hv_cpuid on_intel = cpuid;
		make_host(amd, 52);
		host_leaf(1, 0)->eax = 0x00a20f12;
		host_leaf(4, 0)->ecx = 0x7f;
		host_leaf(0x40000001, 0)->eax |= 1u << 16;
		hv_cpuid_remove(&host, 0xd, 9);
		build(names[i], &t);
		ck_assert_uint_eq(cpuid.nr, on_intel.nr);
		ck_assert_mem_eq(cpuid.entries, on_intel.entries, cpuid.nr * sizeof(cpuid.entries[0]));
	}
}
END_TEST

START_TEST(each_level_has_its_features_and_those_below)
{
	static const char *const levels[4][10] = {
		{"cmov", "cx8", "fpu", "fxsr", "mmx", "syscall", "sse", "sse2", "lm", "nx"},
		{"cx16", "lahf-lm", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2"},
		{"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"},
		{"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
	};
	static const char *const names[] = {"x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4"};
	static const uint64_t xfeatures[] = {3, 3, 7, 0xe7};
	static const uint32_t xsave_size[] = {0, 0, 0x340, 0xa80};
	for (unsigned model = 0; model < 4; model++) {
		build(names[model], &single);
		for (unsigned level = 0; level < 4; level++) {
			for (unsigned i = 0; i < 10 && levels[level][i]; i++)
				ck_assert_msg(hv_feature_is_set(&cpuid, levels[level][i]) == (level <= model), "%s %s",
					      names[model], levels[level][i]);
		}
		ck_assert(hv_feature_is_set(&cpuid, "hypervisor") && hv_feature_is_set(&cpuid, "x2apic"));
		ck_assert(hv_feature_is_set(&cpuid, "kvmclock") && hv_feature_is_set(&cpuid, "tsc-deadline"));
		ck_assert(!hv_feature_is_set(&cpuid, "invtsc") && !hv_cpuid_has_nested(&cpuid));
		ck_assert_uint_eq(hv_cpuid_xfeatures(&cpuid), xfeatures[model]);
		if (xsave_size[model])
			ck_assert_uint_eq(leaf(0xd, 0)->ecx, xsave_size[model]);
		ck_assert_uint_eq(hv_cpuid_phys_bits(&cpuid), 40);
	}
}
END_TEST

START_TEST(a_model_is_refused_by_the_names_of_what_is_missing)
{
	host_leaf(7, 0)->ebx &= ~(1u << 5 | 1u << 16); /* avx2, avx512f */
	refuse("x86-64-v3", ENOTSUP, "lacks avx2;");
	refuse("x86-64-v4", ENOTSUP, "avx2, avx512f");
	build("x86-64-v3,-avx2", &single);
	build("x86-64-v2", &single);
	make_host(intel, 39);
	refuse("x86-64-v2", ENOTSUP, "phys-bits=39");
	build("x86-64-v2,phys-bits=39", &single);
	ck_assert_uint_eq(hv_cpuid_phys_bits(&cpuid), 39);
	make_host(intel, 46);
	host_leaf(0xd, 5)->ebx = 832; /* where AMD has it */
	refuse("x86-64-v4", ENOTSUP, "component 5");
	build("x86-64-v3", &single);
	host_leaf(0x40000001, 0)->eax &= ~(1u << 5);
	refuse("x86-64-v1", ENOTSUP, "kvm-steal-time");
}
END_TEST

START_TEST(feature_words_bring_what_they_need_and_take_what_needs_them)
{
	build("x86-64-v1,+avx512vbmi", &single);
	ck_assert(hv_feature_is_set(&cpuid, "avx512bw") && hv_feature_is_set(&cpuid, "avx2") && hv_feature_is_set(&cpuid, "xsave"));
	ck_assert_uint_eq(hv_cpuid_xfeatures(&cpuid), 0xe7);
	build("host,-avx", &single);
	ck_assert(!hv_feature_is_set(&cpuid, "avx2") && !hv_feature_is_set(&cpuid, "avx512f") &&
		  !hv_feature_is_set(&cpuid, "vaes"));
	ck_assert_uint_eq(hv_cpuid_xfeatures(&cpuid), 3 | 1 << 9);
	build("host,-xsave", &single);
	ck_assert(!hv_feature_is_set(&cpuid, "pku") && !hv_feature_is_set(&cpuid, "xsaves"));
	ck_assert_ptr_null(hv_cpuid_find(&cpuid, 0xd, 0));
	/* The last word wins; spellings are many. */
	build("x86-64-v2,sse4_1=off,+sse4.2,AES=on", &single);
	ck_assert(hv_feature_is_set(&cpuid, "sse4.1") && hv_feature_is_set(&cpuid, "aes"));
	build("host,+invtsc,+vmx", &single);
	ck_assert(hv_feature_is_set(&cpuid, "invtsc") && hv_cpuid_has_nested(&cpuid));
	build("host,-pmu", &single);
	ck_assert_ptr_null(hv_cpuid_find(&cpuid, 0xa, 0));
	build("x86-64-v1,+fsgsbase,+avx-vnni", &single);
	ck_assert_uint_eq(leaf(7, 0)->eax, 1); /* the highest subleaf */
}
END_TEST

START_TEST(bad_words_are_refused_by_name)
{
	refuse("host,+warp", EINVAL, "'warp'");
	refuse("host,", EINVAL, "feature word");
	refuse("host,+", EINVAL, "''");
	refuse("host,avx=maybe", EINVAL, "'maybe'");
	refuse("host,+avx=on", EINVAL, "feature word");
	refuse("host,phys-bits=70", EINVAL, "phys-bits=70");
	refuse("host,phys-bits=", EINVAL, "phys-bits=");
	refuse("pentium", EINVAL, "'pentium'");
	refuse("", EINVAL, "''");
	refuse("a-name-that-is-much-longer-than-any-model-has-a-name", EINVAL, "not known");
	refuse("host,a-name-that-is-much-longer-than-any-feature-has-a-name-and-still-goes-on-and-on", EINVAL, "feature word");
}
END_TEST

START_TEST(the_host_model_leaves_out_what_would_tie_or_trouble_the_guest)
{
	build("host", &single);
	ck_assert(!hv_feature_is_set(&cpuid, "invtsc") && !hv_cpuid_has_nested(&cpuid) && !hv_feature_is_set(&cpuid, "sgx"));
	ck_assert_ptr_null(hv_cpuid_find(&cpuid, 0x12, 0));
	ck_assert(hv_feature_is_set(&cpuid, "avx512f"));
	ck_assert_ptr_null(hv_cpuid_find(&cpuid, 0x1f, 0)); /* one die */
	ck_assert_uint_eq(leaf(0xb, 0)->edx, 0);            /* not the host's APIC id */
	ck_assert_uint_eq(leaf(1, 0)->ebx >> 24, 0);
	struct hv_cpuid first = cpuid;
	build("max", &single);
	ck_assert_mem_eq(&cpuid, &first, sizeof(cpuid));
}
END_TEST

START_TEST(what_kvm_always_emulates_is_there_even_if_not_listed)
{
	host_leaf(1, 0)->ecx &= ~(1u << 31 | 1u << 24);
	build("host", &single);
	ck_assert(hv_feature_is_set(&cpuid, "hypervisor") && hv_feature_is_set(&cpuid, "tsc-deadline"));
	build("x86-64-v2", &single);
	ck_assert(hv_feature_is_set(&cpuid, "hypervisor") && hv_feature_is_set(&cpuid, "tsc-deadline"));
}
END_TEST

START_TEST(amx_is_offered_only_with_permission)
{
	build("host", &single);
	ck_assert(amx_requested && !hv_feature_is_set(&cpuid, "amx-tile") && !hv_feature_is_set(&cpuid, "amx-int8"));
	ck_assert_uint_eq(hv_cpuid_xfeatures(&cpuid) >> 17, 0);
	refuse("host,+amx-tile", ENOTSUP, "amx-tile");
	amx_permitted = true;
	build("host", &single);
	ck_assert(hv_feature_is_set(&cpuid, "amx-tile") && hv_feature_is_set(&cpuid, "amx-int8"));
	ck_assert_uint_eq(hv_cpuid_xfeatures(&cpuid) >> 17, 3);
	ck_assert_uint_eq(leaf(0xd, 0)->ecx, 0x2b00);
	/* Nobody asks for what nobody wants. */
	amx_requested = false;
	build("host,-amx-tile", &single);
	build("x86-64-v3", &single);
	ck_assert(!amx_requested);
}
END_TEST

START_TEST(the_tsc_frequency_has_its_leaf)
{
	struct hv_cpuid own;
	build("x86-64-v1", &single);
	hv_cpuid_for_vcpu(&cpuid, &single, 0, 2600000, &own);
	ck_assert_uint_eq(hv_cpuid_find(&own, 0x40000010, 0)->eax, 2600000);
	ck_assert_uint_eq(hv_cpuid_find(&own, 0x40000000, 0)->eax, 0x40000010);
	hv_cpuid_for_vcpu(&cpuid, &single, 0, 0, &own);
	ck_assert_ptr_null(hv_cpuid_find(&own, 0x40000010, 0));
}
END_TEST

START_TEST(the_table_of_names_is_sound)
{
	static const struct {
		const char *name;
		uint32_t leaf, subleaf;
		enum hv_cpuid_reg reg;
		unsigned bit;
	} known[] = {
		{"pbe", 1, 0, HV_EDX, 31},
		{"clflush", 1, 0, HV_EDX, 19},
		{"hypervisor", 1, 0, HV_ECX, 31},
		{"cx16", 1, 0, HV_ECX, 13},
		{"x2apic", 1, 0, HV_ECX, 21},
		{"avx", 1, 0, HV_ECX, 28},
		{"avx512vl", 7, 0, HV_EBX, 31},
		{"avx2", 7, 0, HV_EBX, 5},
		{"clwb", 7, 0, HV_EBX, 24},
		{"pks", 7, 0, HV_ECX, 31},
		{"la57", 7, 0, HV_ECX, 16},
		{"rdpid", 7, 0, HV_ECX, 22},
		{"ssbd", 7, 0, HV_EDX, 31},
		{"serialize", 7, 0, HV_EDX, 14},
		{"amx-tile", 7, 0, HV_EDX, 24},
		{"avx-ifma", 7, 1, HV_EAX, 23},
		{"fzrm", 7, 1, HV_EAX, 10},
		{"amx-fp16", 7, 1, HV_EAX, 21},
		{"prefetchiti", 7, 1, HV_EDX, 14},
		{"mcdt-no", 7, 2, HV_EDX, 5},
		{"xfd", 0xd, 1, HV_EAX, 4},
		{"lm", 0x80000001, 0, HV_EDX, 29},
		{"nx", 0x80000001, 0, HV_EDX, 20},
		{"rdtscp", 0x80000001, 0, HV_EDX, 27},
		{"topoext", 0x80000001, 0, HV_ECX, 22},
		{"mwaitx", 0x80000001, 0, HV_ECX, 29},
		{"invtsc", 0x80000007, 0, HV_EDX, 8},
		{"ibpb", 0x80000008, 0, HV_EBX, 12},
		{"amd-psfd", 0x80000008, 0, HV_EBX, 28},
		{"auto-ibrs", 0x80000021, 0, HV_EAX, 8},
		{"kvmclock-stable-bit", 0x40000001, 0, HV_EAX, 24},
		{"kvm-asyncpf-int", 0x40000001, 0, HV_EAX, 14},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		memset(&cpuid, 0, sizeof(cpuid));
		struct kvm_cpuid_entry2 *entry = hv_cpuid_entry_add(&cpuid, known[i].leaf, known[i].subleaf);
		*hv_cpuid_reg(entry, known[i].reg) = 1u << known[i].bit;
		ck_assert_msg(hv_feature_is_set(&cpuid, known[i].name), "%s", known[i].name);
	}
	size_t nr;
	const struct hv_feature_word *words = hv_feature_words(&nr);
	for (size_t i = 0; i < nr; i++) {
		size_t len;
		ck_assert_ptr_null(hv_feature_name(&words[i], 32, &len));
	}
	ck_assert(!hv_feature_known("-") && !hv_feature_known("") && !hv_feature_known("av"));
	for (size_t i = 0; hv_cpuid_model_name(i); i++)
		build(hv_cpuid_model_name(i), &single);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hv cpuid");
	TCase *tests = tcase_create("cpuid");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, apic_ids_leave_gaps_up_to_powers_of_two);
	tcase_add_test(tests, the_leaves_of_levels_agree_with_the_apic_ids);
	tcase_add_test(tests, amd_leaves_tell_cores_threads_and_nodes);
	tcase_add_test(tests, a_topology_that_cannot_be_numbered_is_refused);
	tcase_add_test(tests, named_models_do_not_depend_on_the_host);
	tcase_add_test(tests, each_level_has_its_features_and_those_below);
	tcase_add_test(tests, a_model_is_refused_by_the_names_of_what_is_missing);
	tcase_add_test(tests, feature_words_bring_what_they_need_and_take_what_needs_them);
	tcase_add_test(tests, bad_words_are_refused_by_name);
	tcase_add_test(tests, the_host_model_leaves_out_what_would_tie_or_trouble_the_guest);
	tcase_add_test(tests, what_kvm_always_emulates_is_there_even_if_not_listed);
	tcase_add_test(tests, amx_is_offered_only_with_permission);
	tcase_add_test(tests, the_tsc_frequency_has_its_leaf);
	tcase_add_test(tests, the_table_of_names_is_sound);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
