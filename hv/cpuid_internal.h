/* Tables and helpers that the cpuid files share. Everything here is a pure function over struct hv_cpuid. */
#ifndef HV_CPUID_INTERNAL_H
#define HV_CPUID_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/cpuid.h"

enum hv_cpuid_reg { HV_EAX, HV_EBX, HV_ECX, HV_EDX };

/* 32 bits of one leaf. names holds a word for each bit from 0 on, "-" where none has a name; the list may end early. */
struct hv_feature_word {
	uint32_t leaf, subleaf;
	enum hv_cpuid_reg reg;
	const char *names;
};
const struct hv_feature_word *hv_feature_words(size_t *nr);
/* The name of a bit of that word, with its length; NULL where it has none. */
const char *hv_feature_name(const struct hv_feature_word *word, unsigned bit, size_t *len);

/* Feature names compare without regard to '-', '_', '.' and case: "sse4.1", "sse4_1" and "SSE4-1" are one. */
bool hv_feature_known(const char *name);
/* Whether all bits of that name are set. */
bool hv_feature_is_set(const struct hv_cpuid *cpuid, const char *name);
/* Sets it and all that it needs, or clears it and all that needs it. Unknown names do nothing. */
void hv_feature_add(struct hv_cpuid *cpuid, const char *name);
void hv_feature_remove(struct hv_cpuid *cpuid, const char *name);

/* Named models. */
struct hv_cpu_cache {
	unsigned level;
	unsigned type; /* 1 data, 2 instructions, 3 both */
	unsigned size_kib, ways;
};
struct hv_cpu_model {
	const char *name;
	const char *alias_of; /* another model's name; nothing else is set then */
	const char *brand;    /* at most 47 characters */
	unsigned family, model, stepping;
	unsigned phys_bits;
	const char *features[6]; /* lists of names, ended by NULL: each level's own, and those of the levels below */
};
/* NULL where there is no such model. Follows aliases. */
const struct hv_cpu_model *hv_cpu_model_find(const char *name);
/* All leaves of a model for one vCPU; topology comes later. */
void hv_cpu_model_fill(const struct hv_cpu_model *model, struct hv_cpuid *cpuid);

/* Entries. */
struct kvm_cpuid_entry2 *hv_cpuid_entry(struct hv_cpuid *cpuid, uint32_t leaf, uint32_t subleaf);
/* The entry, zeroed and added where it is not there yet; NULL when the table is full. */
struct kvm_cpuid_entry2 *hv_cpuid_entry_add(struct hv_cpuid *cpuid, uint32_t leaf, uint32_t subleaf);
/* Removes the entries of a leaf, all of its subleaves from the given one on. */
void hv_cpuid_remove(struct hv_cpuid *cpuid, uint32_t leaf, uint32_t first_subleaf);
uint32_t *hv_cpuid_reg(struct kvm_cpuid_entry2 *entry, enum hv_cpuid_reg reg);
/* Whether the processor's vendor is AMD, or Hygon, whose leaves are AMD's. */
bool hv_cpuid_is_amd(const struct hv_cpuid *cpuid);

/* Writes the leaves that say how processors share packages, cores and caches, for vCPU 0. */
int hv_cpuid_set_topology(struct hv_cpuid *cpuid, const struct hv_cpu_topology *topology);
/* Makes leaf 0xd say what the features need; layout comes from host, which is KVM's own. */
void hv_cpuid_set_xsave(struct hv_cpuid *cpuid, const struct hv_cpuid *host);

#endif
