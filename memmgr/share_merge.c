/*
 * See share.h: how pages come to map slots.
 *
 *     take: out of the guest's reach, wherever the page is ──> compare, all bytes ──> map the slots ──> forget the old bytes
 *       RESIDENT: moved to limbo                                     │
 *       LIMBO, COMPRESSED: out of it already                         └── differs: back to where it was
 *       private copy in a mapping of the pool: writers wait
 *
 * Pages that follow each other are taken and forgotten together, as many as can be merged in half a millisecond: whoever touches one of them waits
 * meanwhile. Slots that follow each other become one mapping.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "memmgr/compress.h"
#include "memmgr/memmgr_internal.h"
#include "memmgr/os.h"
#include "memmgr/uffd.h"

#define PAGE_BYTES ((uint64_t)GUEST_PAGE_SIZE)
enum {
	MOVE_TRIES = 100, /* of one that says EAGAIN: somebody else holds the page for a moment */
	MOST_NS = 500000, /* that pages are out of reach, about: */
	PAGE_NS = 700,    /* for each of them, */
	MAP_NS = 7000,    /* and for each mapping */
};

/* Where the bytes are that a slot may replace. */
enum place { NOWHERE, IN_GUEST, IN_LIMBO, IN_STORE, IN_POOL };

static enum place place_of(page_entry e)
{
	if (e & (PAGE_BUSY | PAGE_LOADING | PAGE_SAMPLED) || page_holds_slot(e))
		return NOWHERE;
	switch (page_state(e)) {
	case PAGE_RESIDENT:
		return page_is_in_pool(e) ? IN_POOL : IN_GUEST;
	case PAGE_LIMBO:
		return IN_LIMBO;
	case PAGE_COMPRESSED:
		return IN_STORE;
	default:
		return NOWHERE;
	}
}

/* Pages of one chunk that follow each other and lie in one kind of place. The chunk's lock is held. */
struct run {
	struct memmgr *mm;
	enum place place;
	uint32_t first, nr;
	const struct share_item *items;
	enum share_result *results;
	uint8_t plain[GUEST_PAGE_SIZE]; /* of a page of the store */
};

/* Takes resident pages out of the guest's reach. Returns how many, the first ones. */
static uint32_t take_out(struct memmgr *mm, uint32_t first, uint32_t nr)
{
	uint32_t out = 0;
	nr = uffd_are_there(mm->pagemap, page_hva(&mm->pt, first), nr);
	for (unsigned tries = 0; out < nr;) {
		int64_t moved = uffd_move(mm->uffd, mm->pagemap, page_limbo(&mm->pt, first + out), page_hva(&mm->pt, first + out),
					  (nr - out) * PAGE_BYTES, false);
		if (moved == -EAGAIN && tries++ < MOVE_TRIES) {
			COUNT(mm, retried, 1);
			continue;
		}
		if (moved <= 0)
			break;
		for (uint32_t i = 0; i < moved / (int64_t)PAGE_BYTES; i++)
			page_table_set(&mm->pt, first + out + i, PAGE_LIMBO);
		if (moved == (int64_t)CHUNK_SIZE)
			page_chunk(&mm->pt, first)->limbo_huge = true;
		out += (uint32_t)(moved / (int64_t)PAGE_BYTES);
	}
	return out;
}

/* Gives back pages that were taken out; what cannot go back waits in limbo until it is touched. */
static void put_back(struct memmgr *mm, uint32_t first, uint32_t nr)
{
	for (uint32_t done = 0; done < nr;) {
		int64_t moved = uffd_move(mm->uffd, mm->pagemap, page_hva(&mm->pt, first + done), page_limbo(&mm->pt, first + done),
					  (nr - done) * PAGE_BYTES, true);
		uint32_t pages = moved > 0 ? (uint32_t)(moved / (int64_t)PAGE_BYTES) : 0;
		for (uint32_t i = 0; i < pages; i++)
			page_table_set(&mm->pt, first + done + i, PAGE_RESIDENT | PAGE_REFERENCED);
		done += pages ? pages : 1;
	}
}

/* Nobody writes to the pages, or sees them change, from then on. Returns how many, the first ones. */
static uint32_t take(struct run *r)
{
	struct memmgr *mm = r->mm;
	if (r->place == IN_GUEST)
		return take_out(mm, r->first, r->nr);
	if (r->place != IN_POOL)
		return r->nr;
	if (share_hold(mm, r->first, r->nr) == 0)
		return r->nr;
	share_release(mm, r->first, r->nr);
	return 0;
}

/* In the guest's own place, where writers wait; ThreadSanitizer does not know of that. */
__attribute__((no_sanitize_thread)) static bool equals_protected(const uint8_t *page, const uint8_t *slot)
{
	uint64_t differs = 0;
	for (uint32_t i = 0; i < GUEST_PAGE_SIZE / sizeof(uint64_t); i++)
		differs |= ((const volatile uint64_t *)page)[i] ^ ((const uint64_t *)slot)[i];
	return !differs;
}

static enum share_result compare(struct run *r, uint32_t page, const uint8_t *slot)
{
	struct page_table *pt = &r->mm->pt;
	bool equal;
	if (!slot)
		return SHARE_DIFFERS;
	if (r->place == IN_POOL) {
		equal = equals_protected(page_hva(pt, page), slot);
	} else if (r->place == IN_STORE) {
		if (store_get(r->mm->store, page_store_ref(pt->entries[page]), r->plain) != 0)
			return SHARE_BUSY; /* on disk, where it takes no memory */
		equal = memcmp(r->plain, slot, PAGE_BYTES) == 0;
	} else {
		equal = memcmp(page_limbo(pt, page), slot, PAGE_BYTES) == 0;
	}
	return equal ? SHARE_DONE : SHARE_DIFFERS;
}

/* Maps slots that follow each other over pages that were found equal to them. */
static bool map_slots(struct run *r, uint32_t first, uint32_t slot, uint32_t nr)
{
	struct memmgr *mm = r->mm;
	if (mem_map_over(page_hva(&mm->pt, first), nr * PAGE_BYTES, mm->share.fd, (off_t)(slot * PAGE_BYTES)) != 0)
		return false;
	for (uint32_t i = 0; i < nr; i++) {
		page_entry e = mm->pt.entries[first + i];
		uint64_t ref = PAGE_REF_SHARE | PAGE_REF_IN_POOL | PAGE_REF_OWED | (slot + i);
		if (page_store_ref(e))
			store_drop(mm->store, page_store_ref(e));
		/* BUSY until its bytes in limbo are dropped. */
		page_table_set(&mm->pt, first + i,
			       PAGE_SHARED | (page_state(e) == PAGE_LIMBO ? PAGE_BUSY : 0) | ref << PAGE_REF_SHIFT);
	}
	return true;
}

/* Maps what was found equal, and says BUSY where the kernel refuses. Returns pages. */
static uint32_t map_equal(struct run *r)
{
	uint32_t done = 0;
	for (uint32_t at = 0; at < r->nr;) {
		uint32_t n = 1;
		if (r->results[at] != SHARE_DONE) {
			at++;
			continue;
		}
		while (at + n < r->nr && r->results[at + n] == SHARE_DONE && r->items[at + n].slot == r->items[at].slot + n)
			n++;
		if (map_slots(r, r->first + at, r->items[at].slot, n)) {
			done += n;
		} else {
			for (uint32_t i = at; i < at + n; i++)
				r->results[i] = SHARE_BUSY;
		}
		at += n;
	}
	return done;
}

/* What was taken and maps no slot goes back; of the rest the old bytes are dropped. */
static void let_go(struct run *r)
{
	struct memmgr *mm = r->mm;
	for (uint32_t at = 0; at < r->nr;) {
		bool mapped = r->results[at] == SHARE_DONE;
		uint32_t first = r->first + at, n = 1;
		while (at + n < r->nr && (r->results[at + n] == SHARE_DONE) == mapped)
			n++;
		if (mapped && (r->place == IN_GUEST || r->place == IN_LIMBO))
			evict_drop_limbo(mm, first, n);
		else if (!mapped && r->place == IN_GUEST)
			put_back(mm, first, n);
		else if (!mapped && r->place == IN_POOL)
			share_release(mm, first, n);
		at += n;
	}
	uffd_wake(r->place == IN_POOL ? mm->share.uffd : mm->uffd, page_hva(&mm->pt, r->first), r->nr * PAGE_BYTES);
}

/* Returns pages that map slots now. */
static uint32_t merge_run(struct run *r)
{
	struct share *share = &r->mm->share;
	uint32_t taken = r->place == NOWHERE ? 0 : take(r);
	for (uint32_t i = taken; i < r->nr; i++)
		r->results[i] = SHARE_BUSY;
	r->nr = taken;
	if (taken == 0)
		return 0;
	lock_take(&share->lock);
	for (uint32_t i = 0; i < taken; i++)
		r->results[i] = compare(r, r->first + i, share_slot_bytes(share, r->items[i].slot));
	uint32_t done = map_equal(r);
	lock_release(&share->lock);
	let_go(r);
	return done;
}

/* Items from the first on that are one run, and can be merged in time. */
static uint32_t run_length(const struct memmgr *mm, const struct share_item *items, uint32_t nr, enum place place)
{
	uint32_t n = 1, ns = PAGE_NS + MAP_NS;
	for (; n < nr && items[n].page == items[0].page + n && place_of(mm->pt.entries[items[n].page]) == place; n++) {
		ns += PAGE_NS + (items[n].slot == items[n - 1].slot + 1 ? 0 : MAP_NS);
		if (ns > MOST_NS)
			break;
	}
	return n;
}

/* Items of one chunk, in the order of pages. */
static uint32_t merge_in_chunk(struct memmgr *mm, struct chunk *c, const struct share_item *items, uint32_t nr,
			       enum share_result *results)
{
	struct run r = {.mm = mm};
	uint32_t done = 0;
	for (uint32_t at = 0; at < nr; at += r.nr) {
		lock_take(&c->lock);
		r.place = place_of(mm->pt.entries[items[at].page]);
		r.first = items[at].page;
		r.items = items + at;
		r.results = results + at;
		r.nr = run_length(mm, items + at, nr - at, r.place);
		uint32_t tried = r.nr;
		/* Only in whole chunks, which share_restore() can put together. */
		if (c->first != 0 || c->end != CHUNK_PAGES || (r.place == IN_GUEST && chunk_arm(mm, c) != 0))
			r.place = NOWHERE;
		done += merge_run(&r);
		r.nr = tried;
		if (at + tried == nr) {
			share_count_mappings(mm, c);
			c->merged = true; /* there may be more to come: it stays armed until a look after the next (quiet.h) */
		}
		lock_release(&c->lock);
	}
	return done;
}

size_t share_pages(struct memmgr *mm, const struct share_item *items, size_t nr, enum share_result *results)
{
	size_t done = 0;
	for (size_t i = 0; i < nr;) {
		struct chunk *c = page_chunk(&mm->pt, items[i].page);
		uint32_t n = 1;
		while (i + n < nr && page_chunk(&mm->pt, items[i + n].page) == c && items[i + n].page > items[i + n - 1].page)
			n++;
		done += merge_in_chunk(mm, c, items + i, n, results + i);
		i += n;
	}
	COUNT(mm, merged, done);
	return done;
}

/* --- zero pages --- */

/* Of pages that were taken out: drops those that are zero, and puts the others back. */
static uint32_t drop_zeroes(struct memmgr *mm, uint32_t first, uint32_t nr)
{
	uint32_t dropped = 0;
	for (uint32_t at = 0; at < nr;) {
		bool zero = page_is_zero(page_limbo(&mm->pt, first + at));
		uint32_t n = 1;
		while (at + n < nr && page_is_zero(page_limbo(&mm->pt, first + at + n)) == zero)
			n++;
		if (zero && mem_madvise(page_limbo(&mm->pt, first + at), n * PAGE_BYTES, MADV_DONTNEED) == 0) {
			/* Untouched memory: the kernel fills it with zeroes when somebody comes. */
			for (uint32_t i = at; i < at + n; i++)
				page_table_set(&mm->pt, first + i, PAGE_RESIDENT);
			dropped += n;
		} else {
			put_back(mm, first + at, n);
		}
		at += n;
	}
	uffd_wake(mm->uffd, page_hva(&mm->pt, first), nr * PAGE_BYTES);
	return dropped;
}

size_t share_drop_zeroes(struct memmgr *mm, const uint32_t *pages, size_t nr)
{
	size_t dropped = 0;
	for (size_t i = 0; i < nr;) {
		struct chunk *c = page_chunk(&mm->pt, pages[i]);
		uint32_t n = 0;
		lock_take(&c->lock);
		while (i + n < nr && n < CHUNK_PAGES && pages[i + n] == pages[i] + n && page_chunk(&mm->pt, pages[i + n]) == c &&
		       place_of(mm->pt.entries[pages[i + n]]) == IN_GUEST)
			n++;
		if (n && chunk_arm(mm, c) == 0) {
			uint32_t out = take_out(mm, pages[i], n);
			if (out)
				dropped += drop_zeroes(mm, pages[i], out);
			c->merged = true;
		}
		lock_release(&c->lock);
		i += n ? n : 1;
	}
	return dropped;
}
