/*
 * See discard.h, and memmgr_drop() and memmgr_deflate() in memmgr.h.
 *
 *   RESIDENT     dropped from the guest, as one range of the chunk together with its neighbours; a huge page that goes whole stays huge till then
 *   SHARED       its mapping of the pool is replaced by anonymous memory; the slot is told of by share_collect()
 *   LIMBO        its bytes in the limbo mapping are dropped; while a compressor reads them (BUSY), it does that
 *   COMPRESSED   its reference to the store is dropped, wherever the cluster lies; who waits for the disk is woken, and finds a zero page
 *   ZERO         its place in the order is given up
 *
 * Invariants (the chunk's lock is held):
 *   1. An entry changes only after what the guest has at the page's place is dropped: a page that the kernel refuses to drop stays what it was.
 *   2. BALLOONED says nothing of the page's place: it is untouched memory, as of a RESIDENT page that was never touched. A guest that uses
 *      it finds zeroes, be the chunk armed or not; it is RESIDENT again when a fault or the evictor sees that.
 */
#include "memmgr/discard.h"

#include <errno.h>
#include <sys/mman.h>

#include "memmgr/memmgr_internal.h"
#include "memmgr/os.h"
#include "memmgr/uffd.h"

/* Whether the page's bytes lie in limbo, and nobody else will drop them. */
static bool has_limbo(page_entry e)
{
	return page_state(e) == PAGE_LIMBO && !(e & PAGE_BUSY);
}

/* One page's content is not needed, and is gone from its place. */
static void forget_page(struct memmgr *mm, uint32_t page, enum page_state state)
{
	page_entry e = mm->pt.entries[page];
	if (page_store_ref(e))
		store_drop(mm->store, page_store_ref(e));
	page_table_set(&mm->pt, page, state | (e & PAGE_BUSY) | share_owed(e));
	if (e & PAGE_SAMPLED)
		sample_lost(mm, page);
	if (e & PAGE_LOADING)
		uffd_wake(mm->uffd, page_hva(&mm->pt, page), GUEST_PAGE_SIZE);
}

/* Pages of a locked chunk that follow each other. */
static int drop_run(struct memmgr *mm, uint32_t first, uint32_t nr, enum page_state state)
{
	int ret = share_leave_pool(mm, first, nr);
	if (ret == 0)
		ret = mem_madvise(page_hva(&mm->pt, first), (uint64_t)nr * GUEST_PAGE_SIZE, MADV_DONTNEED);
	if (ret)
		return ret; /* invariant 1 */
	for (uint32_t at = first, end = first + nr, n; at < end; at += n) {
		bool limbo = has_limbo(mm->pt.entries[at]);
		for (n = 0; at + n < end && has_limbo(mm->pt.entries[at + n]) == limbo; n++)
			forget_page(mm, at + n, state);
		/* Bytes that the kernel does not let go of are nobody's: the next page that comes there takes their place. */
		if (limbo)
			evict_drop_limbo(mm, at, n);
	}
	return 0;
}

static int drop(struct memmgr *mm, uint32_t first, uint32_t end, enum page_state state, bool spare_pinned)
{
	int ret = 0;
	for (uint32_t n; first < end; first += n) {
		struct chunk *c = page_chunk(&mm->pt, first);
		n = CHUNK_PAGES - first % CHUNK_PAGES;
		if (n > end - first)
			n = end - first;
		lock_take(&c->lock);
		int dropped = spare_pinned && guest_ram_is_pinned(mm->ram, page_hva(&mm->pt, first)) ? -EBUSY : 0;
		if (dropped == 0)
			dropped = drop_run(mm, first, n, state);
		lock_release(&c->lock);
		if (dropped && (ret == 0 || ret == -EBUSY))
			ret = dropped;
	}
	return ret;
}

int memmgr_drop(struct memmgr *mm, uint64_t gpa, uint64_t len, bool ballooned)
{
	uint32_t first, end;
	if (!page_table_find_range(&mm->pt, gpa, len, &first, &end))
		return -EINVAL;
	return drop(mm, first, end, ballooned ? PAGE_BALLOONED : PAGE_RESIDENT, false);
}

int memmgr_discard(struct memmgr *mm, uint64_t gpa, uint64_t len, enum discard_why why)
{
	uint32_t first, end;
	if (!page_table_find_range(&mm->pt, gpa, len, &first, &end))
		return -EINVAL;
	return drop(mm, first, end, why == DISCARD_BALLOON ? PAGE_BALLOONED : PAGE_RESIDENT, true);
}

static void deflate(struct memmgr *mm, uint32_t first, uint32_t end)
{
	while (first < end) {
		struct chunk *c = page_chunk(&mm->pt, first);
		uint32_t next = first - first % CHUNK_PAGES + CHUNK_PAGES;
		if (next > end)
			next = end;
		lock_take(&c->lock);
		for (; first < next; first++) {
			page_entry e = mm->pt.entries[first];
			/* Who waits for it because the kernel would not fill it (LOADING) is still waiting. */
			if (page_state(e) == PAGE_BALLOONED)
				page_table_set(&mm->pt, first, PAGE_RESIDENT | (e & (PAGE_BUSY | PAGE_LOADING)) | share_owed(e));
		}
		lock_release(&c->lock);
	}
}

int memmgr_deflate(struct memmgr *mm, uint64_t gpa, uint64_t len)
{
	uint32_t first, end;
	if (!page_table_find_range(&mm->pt, gpa, len, &first, &end))
		return -EINVAL;
	deflate(mm, first, end);
	return 0;
}

void memmgr_deflate_all(struct memmgr *mm)
{
	if (mm->pt.counts[PAGE_BALLOONED])
		deflate(mm, 0, mm->pt.nr_chunks * CHUNK_PAGES);
}

int discard_unmanaged(const struct guest_ram *ram, uint64_t gpa, uint64_t len)
{
	uint8_t *at = guest_ram_at(ram, gpa, len);
	if (!at || gpa % GUEST_PAGE_SIZE || len % GUEST_PAGE_SIZE)
		return -EINVAL;
	int ret = 0;
	for (uint64_t n; len; gpa += n, at += n, len -= n) {
		n = CHUNK_SIZE - gpa % CHUNK_SIZE;
		if (n > len)
			n = len;
		int dropped = guest_ram_is_pinned(ram, at) ? -EBUSY : mem_madvise(at, n, MADV_DONTNEED);
		if (dropped && (ret == 0 || ret == -EBUSY))
			ret = dropped;
	}
	return ret;
}
