/*
 * The kernel's swap as the compressed tier: our victims, the kernel's fault path.
 *
 * Handing a fault to another thread costs more than all the rest of it where leaving a vCPU is dear; a page that the kernel has
 * swapped out comes back without that. So victims can be given to the kernel's swap (MADV_PAGEOUT) instead, which should be zram:
 * compressed RAM. What is lost: the recorded order, streams and whole chunks, dense packing, the disk tier, a limit per guest, and
 * the kernel's swap is the host's, shared by all.
 *
 * The page stays RESIDENT in the page table, marked PAGED_OUT. Found present again, it was touched: that is the second chance.
 */
#ifndef MEMMGR_EVICT_KERNEL_H
#define MEMMGR_EVICT_KERNEL_H

#include <stdint.h>

#include "base/error.h"

/* Whether swap on zram is there. Returns 0, or -ENODEV with a sentence that says how to make it. */
int kernel_swap_check(struct error *err);
/* Pages of this process that the kernel has swapped out (proc(5), VmSwap), and the RAM that zram takes for so many, in bytes. */
void kernel_swap_usage(uint64_t *pages, uint64_t *ram_bytes);

#endif
