/*
 * The kernel's swap as the compressed tier: our victims, the kernel's fault path.
 *
 * Handing a fault to another thread costs more than all the rest of it where leaving a vCPU is dear; a page that the kernel has
 * swapped out comes back without that. So victims can be given to the kernel's swap (MADV_PAGEOUT) instead, which should be zram:
 * compressed RAM. What is lost: the recorded order, streams and whole chunks, dense packing, the disk tier, a limit per guest, and
 * the kernel's swap is the host's, shared by all.
 *
 * Which pages go: the kernel's choice, where the process has a memory control group of its own. It knows which pages were used by a bit that the CPU sets, where we would
 * have to take a page away to hear of its use. Otherwise those that our clock finds (MADV_PAGEOUT): a page stays RESIDENT in the page table, with the time when
 * it was given; found present again, it was touched, and that is the second chance.
 */
#ifndef MEMMGR_EVICT_KERNEL_H
#define MEMMGR_EVICT_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory_cgroup.h"

/* Whether swap on zram is there. Returns 0, or -ENODEV with a sentence that says how to make it. */
int kernel_swap_check(struct error *err);
/* Pages of this process that the kernel has swapped out (proc(5), VmSwap), and the RAM that zram takes for so many, in bytes. */
void kernel_swap_usage(uint64_t *pages, uint64_t *ram_bytes);

/* The reclaimer's. All zero at first. */
struct kernel_reclaim {
	bool tried;
	struct memory_cgroup group;
};
/* Takes up to nr pages of this process, those that were not used for longest. Returns pages taken, or -ENOENT: it has no group of its own. */
int64_t kernel_reclaim(struct kernel_reclaim *k, size_t nr);
void kernel_reclaim_fini(struct kernel_reclaim *k);

#endif
