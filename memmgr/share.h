/*
 * Pages of the guest that map slots of a pool shared with other guests, copy-on-write, and their way back.
 *
 *                share_pages                           the guest writes, share_collect
 *   RESIDENT ──────────────────────> SHARED ─────────────────────────────────────────> RESIDENT, in a mapping of the pool
 *   (or LIMBO)  out, compared, mapped   │                                                        │
 *        ^                              │ share_restore (its chunk), memmgr_drop                 │ share_restore, memmgr_drop
 *        └──────────────────────────────┴────────────────────────────────────────────────────────┘
 *
 * The pool is a file whose pages (slots) nobody changes as long as a reference to them is held; who holds references, and which
 * slot is like which page, is not this module's concern (dedup/). It trusts neither: a page is moved out of the guest, so that nobody can
 * change it, and compared with the slot byte by byte, before the slot is mapped in its place.
 *
 * The kernel breaks a mapping at the first write, and tells nobody; share_collect() finds what was broken. The page then is the
 * guest's own, but lies in a mapping of the pool, from which it cannot be moved out. share_restore() makes a chunk of 2 MiB one
 * anonymous mapping again, which is also how mappings go: the kernel has no more than vm.max_map_count for a process.
 *
 * Pages are numbered as in the page table. All functions may be called from any thread.
 */
#ifndef MEMMGR_SHARE_H
#define MEMMGR_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memmgr;

/*
 * The pool from now on: slot s lies at s * 4096 of fd, which is duplicated, open for reading alone, and can only grow. Pages that
 * map another pool stay as they are. Returns 0 or -errno.
 */
int share_set_pool(struct memmgr *mm, int fd);

/* Nothing is to be shared for a while: gives back what comparing took (page tables, mostly). */
void share_rest(struct memmgr *mm);

struct share_item {
	uint32_t page, slot;
};

enum share_result {
	SHARE_DONE,    /* the page maps the slot: the caller's reference is the page's now, until share_collect() returns it */
	SHARE_DIFFERS, /* other bytes, or no such slot */
	SHARE_BUSY,    /* the page is on disk, in use by a device, or the kernel refuses: perhaps later */
};
/*
 * Lets pages map slots: resident ones, those in limbo and in the compressed tier, and such as had mapped one and were written since.
 * Give them in the order of pages: up to 64 that follow each other are taken in one step, and slots that follow each other
 * become one mapping. Returns how many are SHARE_DONE.
 */
size_t share_pages(struct memmgr *mm, const struct share_item *items, size_t nr, enum share_result *results);
/* Mappings of the kernel's that shared pages take now, at most: it has no more than vm.max_map_count for a process. */
uint32_t share_mappings(struct memmgr *mm);

/* Drops those of the pages that are resident and all zero: they are untouched memory then. Returns how many. */
size_t share_drop_zeroes(struct memmgr *mm, const uint32_t *pages, size_t nr);

/*
 * Finds pages from *at on, before end, that do not map their slot any more: written, dropped, restored. Each is reported once, and its
 * reference is the caller's again. broken: also looks for those that were written, which takes time for each mapping; else only for what
 * the memory manager did itself. Fills at most max (> 0) items, returns how many, and moves *at on; to end when all was
 * seen. end: a multiple of 512, or beyond the guest's pages.
 */
size_t share_collect(struct memmgr *mm, uint32_t *at, uint32_t end, bool broken, struct share_item *out, size_t max);

/*
 * Pages from *at on for which a reference to a slot is held: that map it, or that share_collect() would report. Fills at most max (> 0)
 * items, returns how many, and moves *at on, as that does; changes nothing.
 */
size_t share_held(struct memmgr *mm, uint32_t *at, struct share_item *out, size_t max);

/*
 * Makes the page's chunk ordinary memory: every page of it resident and the guest's own. Takes up to a millisecond, in which writers
 * of the chunk wait. Returns pages that had mapped slots, 0: it has none in mappings of the pool, -EAGAIN: something of it lies
 * on disk or is held, -ENOMEM.
 */
int share_restore(struct memmgr *mm, uint32_t page);

#endif
