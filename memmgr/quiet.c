/*
 * See quiet.h.
 *
 * What PAGEMAP_SCAN is to track must be registered; what is not, the kernel says (EPERM), and it is registered then: all of it that is
 * there counts as written once.
 *
 * Pages are read with the chunk locked: they can neither be taken away nor dropped meanwhile. One that is not there must not be touched
 * then, since the thread that would bring it waits for the lock; so what is resident is looked up in the kernel's page tables first.
 */
#include "memmgr/quiet.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "memmgr/memmgr_internal.h"
#include "memmgr/os.h"
#include "memmgr/page_scan.h"
#include "memmgr/uffd.h"
#include "memmgr/write_track.h"

_Static_assert(QUIET_PAGES == CHUNK_PAGES, "a chunk is a chunk");

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

enum { APART = 16 }; /* pages: a step costs about what it costs a guest to fault one in again */

uint32_t quiet_chunks(const struct memmgr *mm)
{
	return mm->pt.nr_chunks;
}

static void set_run(uint64_t bits[QUIET_WORDS], uint64_t first, uint64_t nr)
{
	for (uint64_t i = first; i < first + nr; i++)
		quiet_set(bits, (uint32_t)i);
}

/* Returns 1: the chunk is one huge page, written or not, 0, or -errno. */
static int is_huge(struct memmgr *mm, struct chunk *c)
{
	struct page_scan_run run;
	return page_scan(mm->pagemap, c->hva, CHUNK_PAGES, PAGE_SCAN_HUGE, &run, 1);
}

/* Writes down what was written of nr pages from at on, and protects them again. runs: room. Returns 0 or -errno. */
static int harvest(struct memmgr *mm, struct chunk *c, uint32_t at, uint32_t nr, struct write_run *runs,
		   uint64_t written[QUIET_WORDS])
{
	uint64_t from = 0;
	int found = write_track_harvest(mm->pagemap, c->hva + (uint64_t)at * GUEST_PAGE_SIZE, nr, &from, runs, nr);
	for (int i = 0; i < found; i++)
		set_run(written, at + runs[i].first, runs[i].nr);
	return found < 0 ? found : 0;
}

/*
 * The same after a look that found nr_seen runs. Those that lie apart are protected apart: of all that is protected in one step KVM drops
 * what it has mapped, and the guest faults it in again, also what it only reads.
 */
static int harvest_seen(struct memmgr *mm, struct chunk *c, uint32_t at, const struct write_run *seen, int nr_seen,
			uint64_t written[QUIET_WORDS])
{
	struct write_run runs[CHUNK_PAGES];
	for (int i = 0; i < nr_seen;) {
		uint64_t first = seen[i].first, end = first + seen[i].nr;
		for (i++; i < nr_seen && seen[i].first - end < APART; i++)
			end = seen[i].first + seen[i].nr;
		int ret = harvest(mm, c, at + (uint32_t)first, (uint32_t)(end - first), runs, written);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * Pages from at on that are tracked together; returns how many. Mappings of slots cost time each, and are left out where no page of them
 * was written.
 */
static uint32_t next_tracked(const struct memmgr *mm, const struct chunk *c, const struct quiet_chunk *seen, uint32_t *at)
{
	bool all = seen->nr_in_pool == 0 || seen->nr_in_pool != seen->nr_shared;
	return all ? CHUNK_PAGES - *at : share_next_run(mm, c, false, at);
}

/* What was written of the chunk. What is not registered is. */
static int find_written(struct memmgr *mm, struct chunk *c, struct quiet_chunk *seen)
{
	struct write_run runs[CHUNK_PAGES];
	for (uint32_t at = 0, n; (n = next_tracked(mm, c, seen, &at)) > 0; at += n) {
		uint8_t *hva = c->hva + (uint64_t)at * GUEST_PAGE_SIZE;
		uint64_t from = 0;
		/* Where pages were merged there are new mappings, of pages that are shared; all others keep what is known of them. */
		int ret = c->merged && c->in_pool ? -EPERM : write_track_peek(mm->pagemap, hva, n, &from, runs, n);
		if (ret > 0) {
			ret = harvest_seen(mm, c, at, runs, ret, seen->written);
		} else if (ret == -EPERM) {
			seen->is_anew |= !(c->merged && c->in_pool);
			ret = uffd_register(mm->uffd, hva, (uint64_t)n * GUEST_PAGE_SIZE, UFFD_TRACK);
			if (ret == 0)
				ret = harvest(mm, c, at, n, runs, seen->written);
		}
		if (ret)
			return ret;
	}
	return 0;
}

/* The same, where somebody has just looked: only what may have been written needs to be protected again, in one step and without a look. */
static int find_written_again(struct memmgr *mm, struct chunk *c, struct quiet_chunk *seen)
{
	struct write_run runs[CHUNK_PAGES];
	uint32_t end = c->written + c->nr_written;
	for (uint32_t at = c->written, n; at < end && (n = next_tracked(mm, c, seen, &at)) > 0 && at < end; at += n) {
		n = n < end - at ? n : end - at;
		if (harvest(mm, c, at, n, runs, seen->written) != 0) {
			/* Something is not registered; what was protected before it was found is not told. */
			set_run(seen->written, c->written, c->nr_written);
			return find_written(mm, c, seen);
		}
	}
	return 0;
}

/*
 * Disarms a chunk that has come to rest (arming.c). The kernel forgets what it tracked with that; what is written between the look
 * before and the new beginning is not found until it is written again.
 */
static void disarm(struct memmgr *mm, struct chunk *c, const struct quiet_chunk *seen)
{
	chunk_disarm_if_calm(mm, c);
	if (c->armed)
		return;
	/* Nothing lies there: the kernel gives its page table back. */
	mem_madvise(c->limbo, CHUNK_SIZE, MADV_DONTNEED);
	for (uint32_t at = 0, n; (n = next_tracked(mm, c, seen, &at)) > 0; at += n) {
		uint8_t *hva = c->hva + (uint64_t)at * GUEST_PAGE_SIZE;
		/* Where that fails, all of it counts as written at the next look. */
		if (uffd_register(mm->uffd, hva, (uint64_t)n * GUEST_PAGE_SIZE, UFFD_TRACK) == 0)
			write_track_begin(mm->pagemap, hva, n);
	}
}

int quiet_look(struct memmgr *mm, uint32_t chunk, enum quiet_huge huge, struct quiet_chunk *found)
{
	struct chunk *c = &mm->pt.chunks[chunk];
	*found = (struct quiet_chunk){.nr_in_pool = 0};
	if (!c->hva || c->first != 0 || c->end != CHUNK_PAGES)
		return -ENXIO;
	atomic_store(&mm->looked_ns, clock_now_ns());
	lock_take(&c->lock);
	int ret = c->in_pool || c->missing ? 0 : is_huge(mm, c);
	found->is_huge = ret > 0;
	found->nr_in_pool = c->in_pool;
	for (uint32_t i = 0; c->in_pool && i < CHUNK_PAGES; i++) {
		if (page_state(mm->pt.entries[chunk * CHUNK_PAGES + i]) != PAGE_SHARED)
			continue;
		quiet_set(found->shared, i);
		found->nr_shared++;
	}
	if (ret == 0 || (ret > 0 && huge == QUIET_TAKE_HUGE))
		ret = c->looked && !c->merged ? find_written_again(mm, c, found) : find_written(mm, c, found);
	c->looked = false;
	if (c->armed && !c->merged)
		disarm(mm, c, found);
	c->merged = false;
	lock_release(&c->lock);
	return ret < 0 ? ret : 0;
}

/* Which of the pages are there and take memory of their own. */
static int find_present(struct memmgr *mm, struct chunk *c, uint32_t at, uint32_t nr, uint64_t present[QUIET_WORDS])
{
	struct page_scan_run runs[QUIET_READ];
	int found = page_scan(mm->pagemap, c->hva + (uint64_t)at * GUEST_PAGE_SIZE, nr, PAGE_SCAN_PRESENT, runs, QUIET_READ);
	for (int i = 0; i < found; i++)
		set_run(present, at + runs[i].first, runs[i].nr);
	return found < 0 ? found : 0;
}

/*
 * Lets the kernel bring those of the wanted pages back that it has swapped out: equal pages would be kept as often as they are swapped. The lock is not held: a page
 * that has left meanwhile in another way is brought by a thread that takes it. What cannot be brought is not read.
 */
static void swap_in(struct memmgr *mm, struct chunk *c, uint32_t at, uint32_t nr, uint64_t wanted)
{
	struct page_scan_run runs[QUIET_READ];
	int found = page_scan(mm->pagemap, c->hva + (uint64_t)at * GUEST_PAGE_SIZE, nr, PAGE_SCAN_SWAPPED, runs, QUIET_READ);
	for (int i = 0; i < found; i++)
		for (uint32_t page = at + runs[i].first, end = page + runs[i].nr; page < end; page++)
			if (wanted >> page % 64 & 1)
				mem_madvise(c->hva + (uint64_t)page * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE, MADV_POPULATE_READ);
}

/* The page's bytes, NULL: it cannot map a slot now, or must not be touched. plain: room for a page of the store. */
static const void *page_bytes(struct memmgr *mm, uint32_t page, bool present, uint8_t *plain)
{
	page_entry e = mm->pt.entries[page];
	if (e & (PAGE_BUSY | PAGE_LOADING | PAGE_SAMPLED) || page_holds_slot(e))
		return NULL;
	switch (page_state(e)) {
	case PAGE_RESIDENT:
		return present ? page_hva(&mm->pt, page) : NULL;
	case PAGE_LIMBO:
		return page_limbo(&mm->pt, page);
	case PAGE_COMPRESSED:
		return store_get(mm->store, page_store_ref(e), plain) == 0 ? plain : NULL;
	default:
		return NULL;
	}
}

int quiet_read(struct memmgr *mm, uint32_t chunk, uint64_t wanted[QUIET_WORDS], quiet_reader *read, void *arg)
{
	struct chunk *c = &mm->pt.chunks[chunk];
	uint8_t *plain = NULL;
	int ret = 0;
	for (uint32_t word = 0; ret == 0 && word < QUIET_WORDS; word++) {
		uint64_t present[QUIET_WORDS] = {0};
		uint32_t pages[QUIET_READ];
		const void *contents[QUIET_READ];
		size_t nr = 0;
		if (!wanted[word])
			continue;
		/* Mappings cost time each: no further than from the first page to the last. */
		uint32_t first = (uint32_t)__builtin_ctzll(wanted[word]), last = 63 - (uint32_t)__builtin_clzll(wanted[word]);
		if (mm->kernel_tier)
			swap_in(mm, c, word * 64 + first, last - first + 1, wanted[word]);
		lock_take(&c->lock);
		if (c->missing && !plain && !(plain = malloc(QUIET_READ * (size_t)GUEST_PAGE_SIZE)))
			ret = -ENOMEM;
		if (ret == 0)
			ret = find_present(mm, c, word * 64 + first, last - first + 1, present);
		for (uint64_t left = ret == 0 ? wanted[word] : 0; left; left &= left - 1) {
			uint32_t page = chunk * CHUNK_PAGES + word * 64 + (uint32_t)__builtin_ctzll(left);
			uint8_t *room = plain ? plain + nr * GUEST_PAGE_SIZE : NULL;
			contents[nr] = page_bytes(mm, page, quiet_bit(present, page), room);
			if (!contents[nr])
				continue;
			pages[nr++] = page;
			wanted[word] &= ~(left & -left);
		}
		if (nr)
			read(arg, pages, contents, nr);
		lock_release(&c->lock);
	}
	free(plain);
	return ret;
}
