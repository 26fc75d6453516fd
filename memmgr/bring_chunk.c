/*
 * How a whole chunk of 2 MiB comes back at once: for streams that bring most of it anyway.
 *
 * Its pages are put together in a huge page of our own (the stage), which is then moved into the guest: one huge mapping instead of
 * 512 small ones, for the host and for KVM alike, at a third of the cost of single pages. What the guest has of the chunk is moved
 * out first (to the places in limbo of these pages, which are free) and copied. The chunk is armed and locked meanwhile: who
 * touches it waits and is woken at the end.
 *
 *   begin --> gather_resident --> assemble --> place --> settle
 *                  |                  |          |
 *                  +------------------+----------+--> what was not placed stays what it was; what was moved out is in LIMBO
 *
 * Invariants of bring.c hold at the end, also when a step fails: entries are changed for pages that are in place, and for no
 * others.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "memmgr/memmgr_internal.h"
#include "memmgr/os.h"
#include "memmgr/page_scan.h"
#include "memmgr/uffd.h"

enum {
	TRIES = 100,
	RUN_PAGES = 24, /* pages that can be copied in while one run is moved out */
};

/* One chunk on its way. */
struct whole {
	struct memmgr *mm;
	struct chunk *c;
	uint32_t first; /* page */
	uint8_t *stage;
	uint64_t moved;        /* bytes that have left the stage by a move; the rest is in it still */
	bool out[CHUNK_PAGES]; /* was resident, and lies in limbo now */
};

int bring_stage_init(struct bring_stage *stage)
{
	*stage = (struct bring_stage){.mapping = mem_map(2 * CHUNK_SIZE)};
	if (!stage->mapping)
		return -ENOMEM;
	uint64_t skip = (CHUNK_SIZE - (uint64_t)(uintptr_t)stage->mapping % CHUNK_SIZE) % CHUNK_SIZE;
	stage->chunk = stage->mapping + skip;
	/* Advice only: without huge pages it works with small ones. */
	mem_madvise(stage->chunk, CHUNK_SIZE, MADV_HUGEPAGE);
	return 0;
}

void bring_stage_fini(struct bring_stage *stage)
{
	if (stage->mapping)
		munmap(stage->mapping, 2 * CHUNK_SIZE);
	stage->mapping = NULL;
}

/*
 * Whether at least half of the chunk's pages are missing and like this one (used again since they were first taken, or never), and
 * what the guest has of it can be moved out in few runs: each takes a move and an interrupt of all CPUs that run the guest. And none is in
 * the balloon.
 */
static bool is_worth_it(const struct memmgr *mm, uint32_t page)
{
	uint32_t first = page - page % CHUNK_PAGES;
	bool used = mm->pt.order[page] != 0, in_run = false;
	unsigned alike = 0, runs = 0;
	for (uint32_t i = first; i < first + CHUNK_PAGES; i++) {
		enum page_state state = page_state(mm->pt.entries[i]);
		bool missing = state == PAGE_COMPRESSED || state == PAGE_ZERO || state == PAGE_LIMBO;
		if (state == PAGE_BALLOONED)
			return false; /* it would get memory again */
		alike += missing && (mm->pt.order[i] != 0) == used;
		runs += !missing && !in_run;
		in_run = !missing;
	}
	return alike >= CHUNK_PAGES / 2 && runs <= alike / RUN_PAGES;
}

/* Whether some of the chunk can only be had from disk. A hint: a cluster may be written out the next moment. */
static bool lies_on_disk(const struct memmgr *mm, uint32_t page)
{
	uint32_t first = page - page % CHUNK_PAGES;
	store_ref looked_at = 0;
	for (uint32_t i = first; mm->swap && i < first + CHUNK_PAGES; i++) {
		store_ref ref = page_ref(mm->pt.entries[i]);
		if (page_state(mm->pt.entries[i]) != PAGE_COMPRESSED || ref >> STORE_SLOT_BITS == looked_at)
			continue;
		looked_at = ref >> STORE_SLOT_BITS;
		if (store_is_on_disk(mm->store, ref))
			return true;
	}
	return false;
}

/*
 * Moves what the guest has of the chunk out of it: all that is mapped, also zero pages, which a write would turn into others
 * without telling us, and what the host has swapped out. From then on nothing can appear there but by us. Returns 0, or -errno:
 * something is held fast. */
static int gather_resident(struct whole *w)
{
	struct memmgr *mm = w->mm;
	struct page_scan_run runs[CHUNK_PAGES / 2 + 1];
	int nr = page_scan(mm->pagemap, w->c->hva, CHUNK_PAGES, PAGE_SCAN_MAPPED, runs, CHUNK_PAGES / 2 + 1);
	for (int r = 0; r < nr; r++) {
		for (uint32_t at = runs[r].first, end = at + runs[r].nr; at < end;) {
			uint64_t offset = (uint64_t)at * GUEST_PAGE_SIZE;
			int64_t ret = uffd_move(mm->uffd, mm->pagemap, w->c->limbo + offset, w->c->hva + offset,
						(uint64_t)(end - at) * GUEST_PAGE_SIZE, false);
			if (ret <= 0)
				return ret ? (int)ret : -EAGAIN;
			for (uint64_t i = 0; i < (uint64_t)ret / GUEST_PAGE_SIZE; i++)
				w->out[at++] = true;
		}
	}
	return nr < 0 ? nr : 0;
}

/* Fills the stage. Returns 0, -EAGAIN when something lies on disk, or what store_get() says. */
static int assemble(struct whole *w)
{
	struct memmgr *mm = w->mm;
	for (uint32_t i = 0; i < CHUNK_PAGES; i++) {
		page_entry e = mm->pt.entries[w->first + i];
		uint64_t offset = (uint64_t)i * GUEST_PAGE_SIZE;
		if (page_state(e) == PAGE_COMPRESSED) {
			int ret = store_get(mm->store, page_ref(e), w->stage + offset);
			if (ret)
				return ret;
		} else if (page_state(e) == PAGE_LIMBO || w->out[i]) {
			memcpy(w->stage + offset, w->c->limbo + offset, GUEST_PAGE_SIZE);
		}
	}
	return 0;
}

/* Moves the stage into the guest. Returns pages that are in place, the first ones. */
static uint32_t place(struct whole *w)
{
	struct memmgr *mm = w->mm;
	uint64_t done = 0;
	/*
	 * Nothing is mapped there (gather_resident); without a table of small pages the huge page can move as one (Linux 6.14,
	 * PT_RECLAIM).
	 */
	mem_madvise(w->c->hva, CHUNK_SIZE, MADV_DONTNEED);
	for (unsigned tries = 0; done < CHUNK_SIZE;) {
		int64_t ret = uffd_move(mm->uffd, mm->pagemap, w->c->hva + done, w->stage + done, CHUNK_SIZE - done, false);
		if (ret > 0) {
			done += (uint64_t)ret;
			w->moved += (uint64_t)ret;
		} else if (ret == -EAGAIN && tries++ < TRIES) {
			COUNT(mm, retried, 1);
		} else {
			ret = uffd_copy(mm->uffd, w->c->hva + done, w->stage + done, CHUNK_SIZE - done, true);
			if (ret <= 0)
				break;
			done += (uint64_t)ret;
		}
	}
	return (uint32_t)(done / GUEST_PAGE_SIZE);
}

/* Writes down that pages are in place. Returns how many came back. */
static size_t settle(struct whole *w, uint32_t placed)
{
	struct memmgr *mm = w->mm;
	size_t brought = 0;
	bool busy = false;
	for (uint32_t i = 0; i < placed; i++) {
		uint32_t page = w->first + i;
		page_entry e = mm->pt.entries[page];
		enum page_state state = page_state(e);
		busy |= (e & PAGE_BUSY) != 0;
		if (state == PAGE_RESIDENT || state == PAGE_BALLOONED)
			continue;
		page_table_note_use(&mm->pt, page, atomic_fetch_add_explicit(&mm->order, 1, memory_order_relaxed) + 1);
		page_table_set(&mm->pt, page, PAGE_RESIDENT | (e & PAGE_BUSY) | PAGE_PREFETCHED);
		if (page_store_ref(e))
			store_drop(mm->store, page_store_ref(e));
		if (e & PAGE_SAMPLED)
			sample_lost(mm, page);
		brought++;
	}
	/* What lies in limbo still of placed pages is not needed, but for what a compressor reads, which drops it itself. */
	if (!busy && placed == CHUNK_PAGES) {
		mem_madvise(w->c->limbo, CHUNK_SIZE, MADV_DONTNEED);
		w->c->limbo_huge = false;
	} else {
		for (uint32_t i = 0; i < placed; i++)
			if (!(mm->pt.entries[w->first + i] & PAGE_BUSY))
				mem_madvise(w->c->limbo + (uint64_t)i * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE, MADV_DONTNEED);
	}
	/* Pages that were moved out, and could not be placed, go back; or stay in limbo until they are touched. */
	for (uint32_t i = placed; i < CHUNK_PAGES; i++) {
		uint64_t offset = (uint64_t)i * GUEST_PAGE_SIZE;
		if (w->out[i] &&
		    uffd_move(mm->uffd, mm->pagemap, w->c->hva + offset, w->c->limbo + offset, GUEST_PAGE_SIZE, false) <= 0)
			page_table_set(&mm->pt, w->first + i, PAGE_LIMBO);
	}
	return brought;
}

size_t bring_chunk(struct memmgr *mm, struct bring_stage *stage, uint32_t page)
{
	struct whole w = {.mm = mm, .c = page_chunk(&mm->pt, page), .first = page - page % CHUNK_PAGES, .stage = stage->chunk};
	size_t brought = 0;
	if (w.c->first != 0 || w.c->end != CHUNK_PAGES)
		return 0;
	/* Gets the huge page before anybody waits, and from the guest's node. */
	node_binding_stage(mm, page, stage);
	*(volatile uint8_t *)stage->chunk = 0;
	lock_take(&w.c->lock);
	if (w.c->armed && !w.c->in_pool && !w.c->owed && is_worth_it(mm, page) && !lies_on_disk(mm, page)) {
		atomic_store(&w.c->whole, true);
		uint32_t placed = 0;
		if (gather_resident(&w) == 0 && assemble(&w) == 0)
			placed = place(&w);
		brought = settle(&w, placed);
		atomic_store(&w.c->whole, false);
		/* Also those whose fault a handler left to us. */
		uffd_wake(mm->uffd, w.c->hva, CHUNK_SIZE);
		/* Where the next chunk has zero pages, nothing is written: what is left of this one must go. */
		if (w.moved != CHUNK_SIZE && mem_madvise(stage->chunk, CHUNK_SIZE, MADV_DONTNEED) != 0)
			memset(stage->chunk, 0, CHUNK_SIZE);
	}
	lock_release(&w.c->lock);
	atomic_fetch_sub_explicit(&mm->headroom, (int64_t)brought, memory_order_relaxed);
	COUNT(mm, prefetched, brought);
	return brought;
}
