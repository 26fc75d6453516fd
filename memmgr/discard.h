/*
 * What the guest gives up: pages whose content does not matter any more are dropped from whichever tier holds them, and nothing is read,
 * decompressed or loaded for that. For the balloon and for free page reporting (memmgr_drop() in memmgr.h does the same for a reset).
 *
 * It needs no target, and arms nothing: where nothing of a chunk was taken, dropping is one madvise(2), and the kernel fills what is touched
 * later. Callable from any thread.
 */
#ifndef MEMMGR_DISCARD_H
#define MEMMGR_DISCARD_H

#include <stdint.h>

#include "memmgr/memmgr.h"

enum discard_why {
	DISCARD_BALLOON, /* given to the balloon: BALLOONED until memmgr_deflate(), or until it is seen in use */
	DISCARD_FREE,    /* free in the guest, which may use it again at any time, without a word */
};

/*
 * Drops len bytes at gpa, which read as zero from now on. Where devices may hold pages of a chunk (guest_ram_is_pinned) nothing of that
 * chunk is dropped, and -EBUSY is returned: the same call does the rest later. Returns 0, -EBUSY, -EINVAL unless gpa and len are
 * multiples of 4096 and all is RAM of one region, or what the kernel says; the rest is dropped all the same then.
 */
int memmgr_discard(struct memmgr *mm, uint64_t gpa, uint64_t len, enum discard_why why);

/* Ballooned pages, wherever they are, are ordinary ones again: the guest begins anew, and knows nothing of them. */
void memmgr_deflate_all(struct memmgr *mm);

/* The same as memmgr_discard() for a guest without a memory manager. */
int discard_unmanaged(const struct guest_ram *ram, uint64_t gpa, uint64_t len);

#endif
