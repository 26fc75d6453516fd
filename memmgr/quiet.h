/*
 * A guest's memory as whoever looks for equal pages sees it: chunk by chunk, which pages were written, and the bytes of those that were
 * not (write_track.h, page_table.h).
 *
 * Any thread, but one at a time for one guest: what quiet_look() tells, it tells once.
 */
#ifndef MEMMGR_QUIET_H
#define MEMMGR_QUIET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memmgr;

#define QUIET_PAGES 512u /* of a chunk; pages are numbered as in the page table */
#define QUIET_WORDS (QUIET_PAGES / 64)

/* Chunks of the guest, also such as cannot be looked at. */
uint32_t quiet_chunks(const struct memmgr *mm);

enum quiet_huge {
	QUIET_KEEP_HUGE, /* is left alone: tracking writes would map it by small pages, at the first write */
	QUIET_TAKE_HUGE,
};

struct quiet_chunk {
	uint64_t written[QUIET_WORDS]; /* since the last look, and there; the first look tells all that is there */
	uint64_t shared[QUIET_WORDS];  /* map their slot as far as is known: nr_shared pages */
	bool is_huge;                  /* one huge page; with QUIET_KEEP_HUGE nothing else is told, and nothing was tracked */
	bool is_anew;                  /* it was not tracked wholly: what is there counts as written, written or not */
	uint16_t nr_in_pool;           /* pages that lie in mappings of the pool, */
	uint16_t nr_shared;
};
/*
 * Looks at a chunk, and tracks its writes from then on. Returns 0, -ENXIO: it is no whole chunk of 2 MiB, and cannot share, or another
 * -errno: nothing is known of it this time, take all for written.
 */
int quiet_look(struct memmgr *mm, uint32_t chunk, enum quiet_huge huge, struct quiet_chunk *found);

/* Calls with up to QUIET_READ pages, in order. The bytes stay where they are during the call; the guest may write to them meanwhile. */
#define QUIET_READ 64u
typedef void quiet_reader(void *arg, const uint32_t pages[], const void *const contents[], size_t nr);
/*
 * Reads those of the chunk's pages that are wanted and could map a slot: resident, in limbo, or compressed in RAM; clears from wanted
 * what was read. The chunk is locked during each call. Returns 0 or -ENOMEM.
 */
int quiet_read(struct memmgr *mm, uint32_t chunk, uint64_t wanted[QUIET_WORDS], quiet_reader *read, void *arg);

static inline bool quiet_bit(const uint64_t bits[QUIET_WORDS], uint32_t page)
{
	return bits[page % QUIET_PAGES / 64] >> page % 64 & 1;
}

static inline void quiet_set(uint64_t bits[QUIET_WORDS], uint32_t page)
{
	bits[page % QUIET_PAGES / 64] |= 1ull << page % 64;
}

static inline void quiet_clear(uint64_t bits[QUIET_WORDS], uint32_t page)
{
	bits[page % QUIET_PAGES / 64] &= ~(1ull << page % 64);
}

#endif
