/*
 * See share.h: how a chunk becomes ordinary memory again.
 *
 * Why no write is lost: pages in the pool are write-protected by a userfaultfd of its own before they are copied, so that who writes
 * waits; anonymous ones are moved out of an armed chunk, so that who touches them waits; then one mremap(2) puts the whole chunk in
 * place, and all are woken. A device that fills a page itself (direct I/O) is not made to wait by that: a chunk with such a page is left
 * alone.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "memmgr/memmgr_internal.h"
#include "memmgr/os.h"
#include "memmgr/page_scan.h"
#include "memmgr/uffd.h"

#define PAGE_BYTES ((uint64_t)GUEST_PAGE_SIZE)
enum { MOVE_TRIES = 100 };

/* One on its way. */
struct restore {
	struct memmgr *mm;
	struct chunk *c;
	uint32_t first;
	struct bring_stage stage;
	bool moved;            /* the stage is the chunk now */
	bool out[CHUNK_PAGES]; /* was resident, and was taken out */
};

/* Calls what for each run of pages of the chunk that lie in the pool. */
static int for_pool_runs(struct restore *r, int (*what)(struct restore *r, uint32_t first, uint32_t nr))
{
	int ret = 0;
	for (uint32_t at = 0, n; ret == 0 && (n = share_next_run(r->mm, r->c, true, &at)) > 0; at += n)
		ret = what(r, r->first + at, n);
	return ret;
}

static int hold_run(struct restore *r, uint32_t first, uint32_t nr)
{
	return share_hold(r->mm, first, nr);
}

static int release_run(struct restore *r, uint32_t first, uint32_t nr)
{
	share_release(r->mm, first, nr);
	return 0;
}

/* Takes out all anonymous memory that is there, also zero pages and what the host has swapped out. */
static int take_out_rest(struct restore *r)
{
	struct memmgr *mm = r->mm;
	struct page_scan_run runs[CHUNK_PAGES / 2 + 1];
	int nr = page_scan(mm->pagemap, r->c->hva, CHUNK_PAGES, PAGE_SCAN_MAPPED, runs, CHUNK_PAGES / 2 + 1);
	for (int i = 0; i < nr; i++) {
		for (uint32_t at = runs[i].first, end = at + runs[i].nr; at < end;) {
			uint32_t n = 0;
			while (at + n < end && !page_is_in_pool(mm->pt.entries[r->first + at + n]))
				n++;
			/* Their entries do not change: they are RESIDENT, or BALLOONED, and here again in a moment. */
			for (uint32_t done = 0, tries = 0; done < n;) {
				/* Bytes that the kernel would not drop may be left there. Nothing of ours lies in limbo beside LIMBO. */
				int64_t moved = uffd_move(mm->uffd, mm->pagemap, r->c->limbo + (at + done) * PAGE_BYTES,
							  r->c->hva + (at + done) * PAGE_BYTES, (n - done) * PAGE_BYTES, false);
				if (moved == -EEXIST &&
				    mem_madvise(r->c->limbo + (at + done) * PAGE_BYTES, PAGE_BYTES, MADV_DONTNEED) == 0 &&
				    tries++ < MOVE_TRIES)
					continue;
				if (moved <= 0)
					return moved ? (int)moved : -EAGAIN;
				for (uint32_t k = 0; k < moved / (int64_t)PAGE_BYTES; k++)
					r->out[at + done + k] = true;
				done += (uint32_t)(moved / (int64_t)PAGE_BYTES);
			}
			at += n ? n : 1;
		}
	}
	return nr < 0 ? nr : 0;
}

/* From the guest's own place, where writers wait; ThreadSanitizer does not know of that. */
__attribute__((no_sanitize_thread)) static void copy_protected(uint8_t *to, const uint8_t *from)
{
	for (uint32_t i = 0; i < GUEST_PAGE_SIZE / sizeof(uint64_t); i++)
		((uint64_t *)to)[i] = ((const volatile uint64_t *)from)[i];
}

static int fill_stage(struct restore *r)
{
	struct memmgr *mm = r->mm;
	for (uint32_t i = 0; i < CHUNK_PAGES; i++) {
		page_entry e = mm->pt.entries[r->first + i];
		uint8_t *to = r->stage.chunk + i * PAGE_BYTES;
		if (page_state(e) == PAGE_COMPRESSED) {
			int ret = store_get(mm->store, page_ref(e), to);
			if (ret)
				return ret;
		} else if (page_is_in_pool(e)) {
			copy_protected(to, r->c->hva + i * PAGE_BYTES); /* and never missing (invariant 2) */
		} else if (page_state(e) == PAGE_LIMBO || r->out[i]) {
			memcpy(to, r->c->limbo + i * PAGE_BYTES, PAGE_BYTES);
		}
	}
	return 0;
}

/* What is in the balloon gets no memory: where it cannot be dropped it has some, until it is dropped again. */
static void leave_out_ballooned(struct restore *r)
{
	for (uint32_t at = 0, n; at < CHUNK_PAGES; at += n ? n : 1) {
		for (n = 0;
		     at + n < CHUNK_PAGES && !r->out[at + n] && page_state(r->mm->pt.entries[r->first + at + n]) == PAGE_BALLOONED;
		     n++)
			;
		if (n)
			mem_madvise(r->stage.chunk + at * PAGE_BYTES, n * PAGE_BYTES, MADV_DONTNEED);
	}
}

/* What was taken out goes back; or waits in limbo until it is touched. */
static void undo(struct restore *r)
{
	struct memmgr *mm = r->mm;
	for (uint32_t i = 0; i < CHUNK_PAGES; i++) {
		if (!r->out[i])
			continue;
		if (uffd_move(mm->uffd, mm->pagemap, r->c->hva + i * PAGE_BYTES, r->c->limbo + i * PAGE_BYTES, PAGE_BYTES, true) <=
		    0)
			page_table_set(&mm->pt, r->first + i, PAGE_LIMBO | share_owed(mm->pt.entries[r->first + i]));
	}
	for_pool_runs(r, release_run);
}

/* The chunk is in place: writes it down. Returns pages that had mapped slots. */
static int settle(struct restore *r)
{
	struct memmgr *mm = r->mm;
	int shared = 0;
	for (uint32_t i = 0; i < CHUNK_PAGES; i++) {
		page_entry e = mm->pt.entries[r->first + i];
		enum page_state state = page_state(e);
		shared += state == PAGE_SHARED;
		if (page_store_ref(e))
			store_drop(mm->store, page_store_ref(e));
		if (state == PAGE_COMPRESSED || state == PAGE_ZERO || state == PAGE_LIMBO)
			page_table_note_use(&mm->pt, r->first + i, atomic_fetch_add(&mm->order, 1) + 1);
		if (e & PAGE_SAMPLED)
			sample_lost(mm, r->first + i);
		page_table_set(&mm->pt, r->first + i, (state == PAGE_BALLOONED ? PAGE_BALLOONED : PAGE_RESIDENT) | share_owed(e));
	}
	mem_madvise(r->c->limbo, CHUNK_SIZE, MADV_DONTNEED);
	r->c->limbo_huge = false;
	share_count_mappings(mm, r->c);
	return shared;
}

static bool may_restore(const struct restore *r)
{
	for (uint32_t i = r->first; i < r->first + CHUNK_PAGES; i++) {
		page_entry e = r->mm->pt.entries[i];
		if (e & PAGE_LOADING)
			return false; /* somebody waits for the disk */
		/* No compressor is at work now: the kernel would not drop its bytes in limbo before, and may do it now. */
		if (e & PAGE_BUSY && (page_state(e) == PAGE_LIMBO || evict_drop_limbo(r->mm, i, 1) != 0))
			return false;
	}
	return true;
}

/* The chunk's lock is held, and evict_lock. */
static int restore_chunk(struct restore *r)
{
	struct memmgr *mm = r->mm;
	if (!r->c->in_pool)
		return 0;
	if (!may_restore(r) || chunk_arm(mm, r->c) != 0)
		return -EAGAIN;
	int ret = for_pool_runs(r, hold_run);
	if (ret == 0)
		ret = take_out_rest(r);
	if (ret == 0)
		ret = fill_stage(r);
	if (ret == 0)
		leave_out_ballooned(r);
	if (ret == 0)
		ret = mem_move_over(r->stage.chunk, CHUNK_SIZE, r->c->hva);
	if (ret) {
		undo(r);
		return ret == -ENOMEM ? ret : -EAGAIN;
	}
	r->moved = true;
	/* The new mapping is registered with none. */
	ret = settle(r);
	uffd_unregister(mm->uffd, r->c->limbo, CHUNK_SIZE);
	r->c->armed = r->c->arm_again = false;
	COUNT(mm, armed_chunks, -1);
	guest_ram_advise(r->c->hva, CHUNK_SIZE);
	uffd_wake(mm->share.uffd, r->c->hva, CHUNK_SIZE);
	uffd_wake(mm->uffd, r->c->hva, CHUNK_SIZE);
	return ret;
}

int share_restore(struct memmgr *mm, uint32_t page)
{
	struct restore r = {.mm = mm, .c = page_chunk(&mm->pt, page), .first = page - page % CHUNK_PAGES};
	if (bring_stage_init(&r.stage) != 0)
		return -ENOMEM;
	lock_take(&mm->evict_lock);
	/* It becomes the guest's RAM: from its node, and bound there from then on. No other binding comes meanwhile. */
	node_binding_stage(mm, page, &r.stage);
	*(volatile uint8_t *)r.stage.chunk = 0; /* gets the huge page before anybody waits */
	lock_take(&r.c->lock);
	int ret = restore_chunk(&r);
	lock_release(&r.c->lock);
	lock_release(&mm->evict_lock);
	if (!r.moved) {
		bring_stage_fini(&r.stage);
		return ret;
	}
	/* Where the stage was, there may be somebody else's by now. */
	uint64_t head = (uint64_t)(r.stage.chunk - r.stage.mapping);
	if (head)
		munmap(r.stage.mapping, head);
	munmap(r.stage.chunk + CHUNK_SIZE, CHUNK_SIZE - head);
	return ret;
}
