/*
 * The kernel's own merging of equal pages (KSM), for guests that are given to it (-machine mem-merge=ksm) in place of Pagoda's. A
 * thread of the kernel, ksmd, looks through what processes have marked, whoever they are: there are no trust domains.
 */
#ifndef VMM_KSM_H
#define VMM_KSM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "memmgr/guest_ram.h"

#define KSM_SYSFS "/sys/kernel/mm/ksm"
#define KSM_PROCESS_FILE "/proc/self/ksm_stat"

/* Counters by the kernel's names (Documentation/admin-guide/mm/ksm.rst), in pages unless said otherwise. X(name) */
#define KSM_GLOBAL(X)                                                     \
	X(run)            /* 0: ksmd rests, 1: it runs, 2: it unmerges */ \
	X(pages_shared)   /* now: pages that others map as well */        \
	X(pages_sharing)  /* now: how many map them: what is saved */     \
	X(pages_unshared) /* now: without a twin */                       \
	X(pages_volatile) /* now: that change too fast */                 \
	X(pages_scanned)                                                  \
	X(pages_skipped)                                                  \
	X(full_scans) /* times that all was looked through */             \
	X(ksm_zero_pages)                                                 \
	X(general_profit) /* bytes that are saved, less ksmd's own; a signed number */
#define KSM_PROCESS(X)                                                    \
	X(ksm_rmap_items)                                                 \
	X(ksm_zero_pages)                                                 \
	X(ksm_merging_pages)  /* now: of this process, that are merged */ \
	X(ksm_process_profit) /* bytes that are saved here, less ksmd's own; a signed number */

enum ksm_global {
#define KSM_INDEX(name) KSM_GLOBAL_##name,
	KSM_GLOBAL(KSM_INDEX)
#undef KSM_INDEX
		KSM_NR_GLOBAL
};
enum ksm_process {
#define KSM_INDEX(name) KSM_PROCESS_##name,
	KSM_PROCESS(KSM_INDEX)
#undef KSM_INDEX
		KSM_NR_PROCESS
};
extern const char *const ksm_global_names[KSM_NR_GLOBAL], *const ksm_process_names[KSM_NR_PROCESS];

struct ksm_counter {
	bool known; /* this kernel has it, and we may read it */
	int64_t value;
};

struct ksm_stats {
	struct ksm_counter global[KSM_NR_GLOBAL];   /* of the whole host */
	struct ksm_counter process[KSM_NR_PROCESS]; /* of this one guest's VMM */
};

/* Marks all RAM of the guest for ksmd. Returns 0, or -errno with a sentence: -ENOTSUP when the kernel has no KSM. */
int ksm_enable(const struct guest_ram *ram, struct error *err);

/* Reads what there is; sysfs and process_file are KSM_SYSFS and KSM_PROCESS_FILE but in tests. */
void ksm_read_stats(const char *sysfs, const char *process_file, struct ksm_stats *stats);

/* Why nothing is merged now, in a sentence that says what to do; NULL while ksmd runs. */
const char *ksm_trouble(const struct ksm_stats *stats);

#endif
