/*
 * How pages come back: the one place where a page that was taken returns to the guest.
 *
 *   LIMBO       moved back (bring_limbo); copied while a compressor reads it (BUSY), who then drops the limbo page
 *   COMPRESSED  decompressed into a buffer, copied into place
 *   ZERO        the kernel's zero page, or a new page for a write; so do RESIDENT and BALLOONED pages that are not there, in an armed chunk
 *
 * Invariants (the chunk's lock is held wherever entries are read or changed):
 *   1. A page has bytes in the limbo mapping if and only if it is in LIMBO or BUSY.
 *   2. A page in ZERO, LIMBO or COMPRESSED has nothing at its place in the guest, and its chunk is armed: whoever touches it waits for us.
 *   3. The entry changes to RESIDENT only after the page is in place. So a fault told later finds RESIDENT and a page: it is woken, and
 *      tries again.
 *   4. A reference to the store is dropped once, by who changes the entry away from it.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "memmgr/heat.h"
#include "memmgr/memmgr_internal.h"
#include "memmgr/os.h"
#include "memmgr/uffd.h"

enum { LOCKED_RUN = 8 }; /* pages brought while a chunk's lock is held: faults wait for it */
enum { TRIES = 100 };    /* of an ioctl that says EAGAIN: somebody else holds the page for a moment */

static const uint8_t zeros[GUEST_PAGE_SIZE] __attribute__((aligned(GUEST_PAGE_SIZE)));

int bring_buffer_init(struct bring_buffer *b)
{
	b->pages = mem_map(BRING_BATCH * GUEST_PAGE_SIZE);
	return b->pages ? 0 : -ENOMEM;
}

void bring_buffer_fini(struct bring_buffer *b)
{
	if (b->pages)
		munmap(b->pages, BRING_BATCH * GUEST_PAGE_SIZE);
	b->pages = NULL;
}

/* --- one page --- */

/* Copies len bytes into missing pages. Returns bytes that are in place, whole pages from the first on, or -errno when none is. */
static int64_t copy_in(struct memmgr *mm, uint8_t *to, const void *from, uint64_t len, bool wake)
{
	uint64_t done = 0;
	for (unsigned tries = 0; done < len;) {
		int64_t ret = uffd_copy(mm->uffd, to + done, (const uint8_t *)from + done, len - done, wake);
		if (ret > 0) {
			done += (uint64_t)ret;
		} else if (ret == -EAGAIN && tries++ < TRIES) {
			COUNT(mm, retried, 1);
		} else {
			return done ? (int64_t)done : ret;
		}
	}
	return (int64_t)done;
}

static int copy_page_in(struct memmgr *mm, uint32_t page, const void *from, bool wake)
{
	int64_t ret = copy_in(mm, page_hva(&mm->pt, page), from, GUEST_PAGE_SIZE, wake);
	return ret > 0 ? 0 : (int)ret;
}

static int zero_in(struct memmgr *mm, uint32_t page, bool is_write, bool wake)
{
	uint8_t *to = page_hva(&mm->pt, page);
	/* A write would break the kernel's zero page in a second fault. */
	int ret = is_write ? copy_page_in(mm, page, zeros, wake) : uffd_zero(mm->uffd, to, GUEST_PAGE_SIZE, wake);
	for (unsigned tries = 0; ret == -EAGAIN && tries < TRIES; tries++) {
		COUNT(mm, retried, 1);
		ret = uffd_zero(mm->uffd, to, GUEST_PAGE_SIZE, wake);
	}
	return ret;
}

static int bring_limbo(struct memmgr *mm, uint32_t page, page_entry e, bool wake)
{
	uint8_t *to = page_hva(&mm->pt, page), *from = page_limbo(&mm->pt, page);
	if (e & PAGE_BUSY)
		return copy_page_in(mm, page, from, wake);
	for (unsigned tries = 0; tries < TRIES; tries++) {
		int64_t ret = uffd_move(mm->uffd, mm->pagemap, to, from, GUEST_PAGE_SIZE, wake);
		if (ret > 0)
			return 0;
		if (ret != -EAGAIN && ret != -EBUSY)
			return (int)ret;
		COUNT(mm, retried, 1);
	}
	/* The kernel will not let go of the page where it is. */
	int ret = copy_page_in(mm, page, from, wake);
	if (ret == 0)
		mem_madvise(from, GUEST_PAGE_SIZE, MADV_DONTNEED);
	return ret;
}

static int bring_compressed(struct memmgr *mm, struct bring_buffer *b, uint32_t page, page_entry e)
{
	int ret = store_get(mm->store, page_ref(e), b->pages);
	if (ret)
		return ret == -EIO ? -EBADMSG : ret;
	return copy_page_in(mm, page, b->pages, !b->wake_later);
}

/* The page is in place: writes it down. */
static void note_brought(struct memmgr *mm, uint32_t page, page_entry e, enum bring_why why)
{
	/* BUSY stays: the reader of the limbo page has yet to drop it (invariant 1). */
	page_entry flags = (e & PAGE_BUSY) | (why == BRING_FAULT ? PAGE_REFERENCED : PAGE_PREFETCHED);
	page_table_note_use(&mm->pt, page, atomic_fetch_add_explicit(&mm->order, 1, memory_order_relaxed) + 1);
	page_table_set(&mm->pt, page, PAGE_RESIDENT | flags | share_owed(e));
	if (page_store_ref(e))
		store_drop(mm->store, page_store_ref(e));
	atomic_fetch_sub_explicit(&mm->headroom, 1, memory_order_relaxed);
	if (why == BRING_FAULT && page_state(e) == PAGE_LIMBO && !(e & PAGE_SAMPLED))
		mm->pt.heat[page] = heat_more(mm->pt.heat[page]);
	if (why == BRING_PREFETCH)
		COUNT(mm, prefetched, 1);
	if (why == BRING_PREFETCH && e & PAGE_SAMPLED)
		sample_lost(mm, page);
}

int bring_page(struct memmgr *mm, struct bring_buffer *b, uint32_t page, enum bring_why why, bool is_write)
{
	page_entry e = mm->pt.entries[page];
	int ret;
	switch (page_state(e)) {
	case PAGE_SHARED:
		/* The slot was mapped since the fault was told. */
		return why == BRING_FAULT ? uffd_wake(mm->uffd, page_hva(&mm->pt, page), GUEST_PAGE_SIZE) : 0;
	case PAGE_RESIDENT:
	case PAGE_BALLOONED:
		/* Never touched, or brought since the fault was told. */
		if (why != BRING_FAULT)
			return 0;
		ret = page_chunk(&mm->pt, page)->armed && !page_is_in_pool(e) ? zero_in(mm, page, is_write, !b->wake_later)
									      : -EEXIST;
		/* Or it lies in a new mapping that could not be registered (arm_again): there the kernel serves the fault itself. */
		if (ret == -EEXIST || ret == -ENOENT)
			ret = b->wake_later ? 0 : uffd_wake(mm->uffd, page_hva(&mm->pt, page), GUEST_PAGE_SIZE);
		else if (ret == 0)
			COUNT(mm, zero_filled, 1);
		/* Where there is one hole, there are more. */
		if (ret == 0)
			chunk_disarm_if_whole(mm, page_chunk(&mm->pt, page));
		/* The guest uses it, whatever it has said. */
		if (ret == 0 && page_state(e) == PAGE_BALLOONED)
			page_table_set(&mm->pt, page, (e & ~PAGE_STATE_MASK) | PAGE_RESIDENT);
		return ret;
	case PAGE_ZERO:
		ret = zero_in(mm, page, is_write, !b->wake_later);
		if (ret)
			return ret;
		COUNT(mm, zero_filled, 1);
		break;
	case PAGE_LIMBO:
		ret = bring_limbo(mm, page, e, !b->wake_later);
		if (ret)
			return ret;
		COUNT(mm, copied_from_limbo, 1);
		break;
	case PAGE_COMPRESSED:
		ret = bring_compressed(mm, b, page, e);
		if (ret)
			return ret;
		COUNT(mm, decompressed, 1);
		break;
	default:
		return -EFAULT;
	}
	note_brought(mm, page, e, why);
	return 0;
}

bool bring_from_disk(struct memmgr *mm, struct bring_buffer *b, uint32_t page)
{
	struct chunk *c = page_chunk(&mm->pt, page);
	uint32_t serial;
	page_entry before = __atomic_load_n(&mm->pt.entries[page], __ATOMIC_RELAXED); /* looked at again under the lock */
	if (page_state(before) != PAGE_COMPRESSED ||
	    store_get_from_disk(mm->store, page_ref(before), b->pages + GUEST_PAGE_SIZE, b->pages, &serial) != 0)
		return false;
	lock_take(&c->lock);
	page_entry e = mm->pt.entries[page];
	/* Where nobody waits for it any more, it was brought by the pager, or dropped. */
	bool served = !(e & PAGE_LOADING);
	if (!served && page_state(e) == PAGE_COMPRESSED && page_ref(e) == page_ref(before) &&
	    store_serial(mm->store, page_ref(e)) == serial && /* the same reference may have come again, with other bytes */
	    copy_page_in(mm, page, b->pages, false) == 0) {
		note_brought(mm, page, e, BRING_FAULT);
		COUNT(mm, decompressed, 1);
		COUNT(mm, swap_in, 1);
		served = true;
	}
	lock_release(&c->lock);
	if (served)
		uffd_wake(mm->uffd, page_hva(&mm->pt, page), GUEST_PAGE_SIZE);
	return served;
}

/* --- many --- */

void bring_limbo_around(struct memmgr *mm, uint32_t page)
{
	struct chunk *c = page_chunk(&mm->pt, page);
	uint32_t size = 1u << c->around, at = page / CHUNK_PAGES * CHUNK_PAGES + page % CHUNK_PAGES / size * size, end = at + size;
	if (size < CHUNK_PAGES)
		c->around++;
	while (at < end && c->in_limbo) {
		uint32_t n = 0;
		while (at + n < end && (mm->pt.entries[at + n] & (PAGE_STATE_MASK | PAGE_BUSY | PAGE_SAMPLED)) == PAGE_LIMBO)
			n++;
		int64_t moved = n ? uffd_move(mm->uffd, mm->pagemap, page_hva(&mm->pt, at), page_limbo(&mm->pt, at),
					      (uint64_t)n * GUEST_PAGE_SIZE, true)
				  : 0;
		uint32_t there = moved > 0 ? (uint32_t)(moved / GUEST_PAGE_SIZE) : 0;
		for (uint32_t i = 0; i < there; i++)
			note_brought(mm, at + i, mm->pt.entries[at + i], BRING_PREFETCH);
		if (there < n)
			return; /* the rest comes when it is touched */
		at += n ? n : 1;
	}
}

/* As many pages of items as follow each other in one chunk, from the first on. */
static size_t run_length(const struct store_item *items, size_t nr)
{
	size_t n = 1;
	while (n < nr && n < LOCKED_RUN && items[n].page_nr == items[0].page_nr + n && items[n].page_nr % CHUNK_PAGES != 0)
		n++;
	return n;
}

static bool still_there(const struct memmgr *mm, const struct store_item *item)
{
	page_entry e = mm->pt.entries[item->page_nr];
	return page_ref(e) == item->ref && (page_state(e) == PAGE_COMPRESSED || page_state(e) == PAGE_ZERO) && !(e & PAGE_SAMPLED);
}

/* Pages of one chunk that follow each other: its lock is held. Compressed ones that are neighbours come by one copy. */
static size_t bring_run(struct memmgr *mm, struct bring_buffer *b, const struct store_item *items, size_t nr)
{
	size_t brought = 0;
	for (size_t i = 0; i < nr;) {
		uint32_t page = items[i].page_nr;
		if (!still_there(mm, &items[i])) {
			i++;
			continue;
		}
		if (page_state(mm->pt.entries[page]) == PAGE_ZERO) {
			brought += bring_page(mm, b, page, BRING_PREFETCH, false) == 0;
			i++;
			continue;
		}
		size_t n = 0;
		while (i + n < nr && still_there(mm, &items[i + n]) && page_state(mm->pt.entries[page + n]) == PAGE_COMPRESSED &&
		       store_get(mm->store, items[i + n].ref, b->pages + n * GUEST_PAGE_SIZE) == 0)
			n++;
		if (n == 0) {
			i++;
			continue;
		}
		int64_t placed = copy_in(mm, page_hva(&mm->pt, page), b->pages, n * GUEST_PAGE_SIZE, !b->wake_later);
		if (placed <= 0)
			break;
		n = (size_t)placed / GUEST_PAGE_SIZE;
		for (size_t k = 0; k < n; k++)
			note_brought(mm, page + (uint32_t)k, mm->pt.entries[page + k], BRING_PREFETCH);
		COUNT(mm, decompressed, n);
		brought += n;
		i += n;
	}
	return brought;
}

static void wake_noted(struct memmgr *mm, struct bring_buffer *b)
{
	if (b->wake_end)
		uffd_wake(mm->uffd, page_hva(&mm->pt, b->wake_first), (uint64_t)(b->wake_end - b->wake_first) * GUEST_PAGE_SIZE);
	b->wake_first = UINT32_MAX;
	b->wake_end = 0;
}

/* Of one chunk only: in the order of their use, pages may lie anywhere, and each chunk between them would take a call. */
static void note_wake(struct memmgr *mm, struct bring_buffer *b, uint32_t first, uint32_t nr)
{
	if (!b->wake_later)
		return;
	if (b->wake_end && first / CHUNK_PAGES != b->wake_first / CHUNK_PAGES)
		wake_noted(mm, b);
	if (first < b->wake_first)
		b->wake_first = first;
	if (first + nr > b->wake_end)
		b->wake_end = first + nr;
}

void bring_begin_quietly(struct bring_buffer *b)
{
	b->wake_later = true;
	b->wake_first = UINT32_MAX;
	b->wake_end = 0;
}

void bring_end_quietly(struct memmgr *mm, struct bring_buffer *b)
{
	b->wake_later = false;
	wake_noted(mm, b); /* who waits for another page between them asks again */
}

size_t bring_pages(struct memmgr *mm, struct bring_buffer *b, const struct store_item *items, size_t nr)
{
	size_t brought = 0;
	for (size_t i = 0; i < nr;) {
		size_t n = run_length(items + i, nr - i);
		note_wake(mm, b, items[i].page_nr, (uint32_t)n);
		struct chunk *c = page_chunk(&mm->pt, items[i].page_nr);
		lock_take_soon(&c->lock);
		brought += bring_run(mm, b, items + i, n);
		lock_release(&c->lock);
		i += n;
	}
	return brought;
}
