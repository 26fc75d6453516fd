/*
 * See share.h.
 *
 * Invariants (the chunk's lock is held wherever entries are read or changed, and mappings of the chunk are replaced):
 *   1. A page lies in a mapping of the pool if and only if its entry says so (page_is_in_pool); all else of a guest's RAM is anonymous.
 *   2. What is anonymous of an armed chunk is registered with userfaultfd before anything of it is taken (chunk_arm); what lies in the
 *      pool has its slot below it, and never misses.
 *   3. A page is SHARED only after all its bytes were found equal to the slot's while it was out of the guest's reach.
 *   4. The reference to a slot is in the page's entry from SHARE_DONE until share_collect() has returned it, whatever becomes of the
 *      page.
 *
 * Why share_restore() loses no write: pages in the pool are write-protected by a userfaultfd of its own before they are copied, so that
 * who writes waits; anonymous ones are moved out of an armed chunk, so that who touches them waits; then one mremap(2) puts the whole
 * chunk in place, and all are woken.
 */
#include "memmgr/share.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memmgr/memmgr_internal.h"
#include "memmgr/os.h"
#include "memmgr/page_scan.h"
#include "memmgr/uffd.h"

#define PAGE_BYTES ((uint64_t)GUEST_PAGE_SIZE)
enum { MOVE_TRIES = 100 }; /* of one that says EAGAIN: somebody else holds the page for a moment */

/* --- the pool --- */

int share_open(struct share *share)
{
	int fd = uffd_open_waiting();
	if (fd < 0)
		return fd;
	*share = (struct share){.is_open = true, .fd = -1, .uffd = fd};
	lock_init(&share->lock, LOCK_MEMMGR_SHARE);
	return 0;
}

void share_close(struct share *share)
{
	if (!share->is_open)
		return;
	if (share->view)
		munmap(share->view, share->view_len);
	if (share->fd >= 0)
		close(share->fd);
	close(share->uffd);
	lock_fini(&share->lock);
	share->is_open = false;
}

int share_set_pool(struct memmgr *mm, int fd)
{
	struct share *share = &mm->share;
	/* A pool that could shrink would end a comparison with SIGBUS. */
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return seals < 0 ? -errno : -EPERM;
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own < 0)
		return -errno;
	lock_take(&share->lock);
	if (share->view)
		munmap(share->view, share->view_len);
	if (share->fd >= 0)
		close(share->fd);
	share->view = NULL;
	share->view_len = 0;
	share->fd = own;
	lock_release(&share->lock);
	return 0;
}

/* The slot's bytes, NULL: the pool has no such slot. The share's lock is held. */
static const uint8_t *slot_bytes(struct share *share, uint32_t slot)
{
	uint64_t end = (slot + 1ull) * PAGE_BYTES;
	struct stat st;
	if (end <= share->view_len)
		return share->view + (end - PAGE_BYTES);
	if (share->fd < 0 || fstat(share->fd, &st) != 0 || (uint64_t)st.st_size < end)
		return NULL;
	uint64_t len = (uint64_t)st.st_size & ~(PAGE_BYTES - 1);
	void *view = mmap(NULL, len, PROT_READ, MAP_SHARED, share->fd, 0);
	if (view == MAP_FAILED)
		return NULL;
	if (share->view)
		munmap(share->view, share->view_len);
	share->view = view;
	share->view_len = len;
	return share->view + (end - PAGE_BYTES);
}

/* --- into the pool --- */

/* Registers what has become anonymous of an armed chunk, now or before anything of the chunk is taken again (invariant 2). */
static void register_anonymous(struct memmgr *mm, struct chunk *c, uint32_t first, uint32_t nr)
{
	if (c->armed && uffd_register(mm->uffd, page_hva(&mm->pt, first), nr * PAGE_BYTES, UFFD_TRACK_MISSING) != 0)
		c->arm_again = true;
}

static bool is_free_to_go(page_entry e)
{
	return page_state(e) == PAGE_RESIDENT && !(e & (PAGE_BUSY | PAGE_LOADING)) && !(page_ref(e) & PAGE_REF_SHARE);
}

static bool is_in_limbo(page_entry e)
{
	return page_state(e) == PAGE_LIMBO && !(e & (PAGE_BUSY | PAGE_SAMPLED));
}

/* Takes resident pages that follow each other out of the guest's reach. Returns how many, the first ones. */
static uint32_t take_out(struct memmgr *mm, uint32_t first, uint32_t nr)
{
	uint32_t out = 0;
	for (unsigned tries = 0; out < nr;) {
		int64_t moved = uffd_move(mm->uffd, page_limbo(&mm->pt, first + out), page_hva(&mm->pt, first + out),
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

/* Gives pages back that were taken out; what cannot go back waits in limbo until it is touched. */
static void put_back(struct memmgr *mm, uint32_t first, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		if (uffd_move(mm->uffd, page_hva(&mm->pt, first + i), page_limbo(&mm->pt, first + i), PAGE_BYTES, true) > 0)
			page_table_set(&mm->pt, first + i, PAGE_RESIDENT | PAGE_REFERENCED);
}

/* Pages in limbo, found equal to slots that follow each other: maps those. The locks are held. */
static bool map_slots(struct memmgr *mm, uint32_t first, uint32_t slot, uint32_t nr)
{
	if (mem_map_over(page_hva(&mm->pt, first), nr * PAGE_BYTES, mm->share.fd, (off_t)(slot * PAGE_BYTES)) != 0)
		return false;
	for (uint32_t i = 0; i < nr; i++) {
		uint64_t ref = PAGE_REF_SHARE | PAGE_REF_IN_POOL | PAGE_REF_OWED | (slot + i);
		/* BUSY until its bytes in limbo are dropped. */
		page_table_set(&mm->pt, first + i, PAGE_SHARED | PAGE_BUSY | ref << PAGE_REF_SHIFT);
	}
	evict_drop_limbo(mm, first, nr);
	uffd_wake(mm->uffd, page_hva(&mm->pt, first), nr * PAGE_BYTES);
	return true;
}

/*
 * Pages that follow each other, with slots that do: takes out, compares, maps. Returns how many of them have their result, the first
 * ones, of which *done map slots. The chunk's lock is held.
 */
static uint32_t share_run(struct memmgr *mm, const struct share_item *items, uint32_t nr, enum share_result *results,
			  uint32_t *done)
{
	uint32_t first = items[0].page, there = 0;
	while (there < nr) {
		page_entry e = mm->pt.entries[first + there];
		uint32_t n = 0;
		if (is_in_limbo(e)) {
			there++;
			continue;
		}
		while (there + n < nr && is_free_to_go(mm->pt.entries[first + there + n]))
			n++;
		uint32_t out = n ? take_out(mm, first + there, n) : 0;
		there += out;
		if (out < n || n == 0)
			break;
	}
	for (uint32_t i = 0; i < nr; i++)
		results[i] = SHARE_BUSY;
	lock_take(&mm->share.lock);
	uint32_t equal = 0;
	while (equal < there) {
		const uint8_t *slot = slot_bytes(&mm->share, items[equal].slot);
		if (!slot || memcmp(slot, page_limbo(&mm->pt, first + equal), PAGE_BYTES) != 0) {
			results[equal] = SHARE_DIFFERS;
			break;
		}
		equal++;
	}
	bool mapped = equal && map_slots(mm, first, items[0].slot, equal);
	lock_release(&mm->share.lock);
	for (uint32_t i = 0; i < equal; i++)
		results[i] = mapped ? SHARE_DONE : SHARE_BUSY;
	*done = mapped ? equal : 0;
	put_back(mm, first + *done, there - *done);
	/* One that differs, or is busy, ends a run, and those behind it are tried again; not where the kernel refuses to map. */
	return equal && !mapped ? nr : equal < nr ? equal + 1 : nr;
}

size_t share_pages(struct memmgr *mm, const struct share_item *items, size_t nr, enum share_result *results, size_t *mappings)
{
	size_t done = 0;
	for (size_t i = 0; i < nr;) {
		struct chunk *c = page_chunk(&mm->pt, items[i].page);
		uint32_t n = 1;
		while (i + n < nr && items[i + n].page == items[i].page + n && items[i + n].slot == items[i].slot + n &&
		       items[i + n].page % CHUNK_PAGES != 0)
			n++;
		uint32_t tried = n, run = 0;
		for (uint32_t k = 0; k < n; k++)
			results[i + k] = SHARE_BUSY;
		lock_take(&c->lock);
		/* Only in whole chunks, which share_restore() can put together. */
		if (c->first == 0 && c->end == CHUNK_PAGES && chunk_arm(mm, c) == 0) {
			tried = share_run(mm, items + i, n, results + i, &run);
			chunk_disarm_if_whole(mm, c);
		}
		lock_release(&c->lock);
		done += run;
		*mappings += run > 0;
		i += tried;
	}
	COUNT(mm, merged, done);
	return done;
}

/* --- out of it --- */

int share_leave_pool(struct memmgr *mm, uint32_t first, uint32_t nr)
{
	struct chunk *c = page_chunk(&mm->pt, first);
	int ret = 0;
	for (uint32_t at = 0; ret == 0 && c->in_pool && at < nr;) {
		uint32_t n = 0;
		while (at + n < nr && page_is_in_pool(mm->pt.entries[first + at + n]))
			n++;
		if (n) {
			ret = mem_map_over(page_hva(&mm->pt, first + at), n * PAGE_BYTES, -1, 0);
			if (ret)
				break;
			for (uint32_t i = first + at; i < first + at + n; i++) {
				page_entry e = mm->pt.entries[i];
				enum page_state state = page_state(e) == PAGE_SHARED ? PAGE_RESIDENT : page_state(e);
				page_table_set(&mm->pt, i, state | (e & PAGE_FLAGS_MASK) | share_owed(e));
			}
			guest_ram_advise(page_hva(&mm->pt, first + at), n * PAGE_BYTES);
			register_anonymous(mm, c, first + at, n);
		}
		at += n ? n : 1;
	}
	return ret;
}

/* A page's entry without its slot, which the caller is told of. */
static struct share_item collect_page(struct memmgr *mm, uint32_t page)
{
	page_entry e = mm->pt.entries[page];
	uint64_t ref = page_ref(e);
	uint32_t slot = (uint32_t)ref;
	ref = ref & PAGE_REF_IN_POOL ? PAGE_REF_SHARE | PAGE_REF_IN_POOL : 0;
	enum page_state state = page_state(e) == PAGE_SHARED ? PAGE_RESIDENT : page_state(e);
	page_table_set(&mm->pt, page, state | (e & (PAGE_FLAGS_MASK | PAGE_TIME_MASK)) | ref << PAGE_REF_SHIFT);
	COUNT(mm, unmerged, 1);
	return (struct share_item){page, slot};
}

/* The chunk's lock is held. */
static size_t collect_chunk(struct memmgr *mm, struct chunk *c, uint32_t *at, struct share_item *out, size_t max)
{
	uint32_t first = *at - *at % CHUNK_PAGES;
	struct page_scan_run runs[CHUNK_PAGES / 2 + 1];
	size_t found = 0;
	int nr = c->in_pool ? page_scan(mm->pagemap, c->hva, CHUNK_PAGES, PAGE_SCAN_PRIVATE, runs, CHUNK_PAGES / 2 + 1) : 0;
	/* What the kernel does not tell now is found the next time. */
	bool broken[CHUNK_PAGES] = {false};
	for (int r = 0; r < nr; r++)
		memset(broken + runs[r].first, true, runs[r].nr);
	for (; *at < first + CHUNK_PAGES && found < max; ++*at) {
		page_entry e = mm->pt.entries[*at];
		if (page_owes_slot(e) || (page_state(e) == PAGE_SHARED && broken[*at % CHUNK_PAGES]))
			out[found++] = collect_page(mm, *at);
	}
	return found;
}

size_t share_collect(struct memmgr *mm, uint32_t *at, struct share_item *out, size_t max)
{
	uint32_t nr_pages = mm->pt.nr_chunks * CHUNK_PAGES;
	size_t found = 0;
	while (*at < nr_pages && found < max) {
		struct chunk *c = page_chunk(&mm->pt, *at);
		uint32_t next = *at - *at % CHUNK_PAGES + CHUNK_PAGES;
		lock_take(&c->lock);
		if (c->in_pool || c->owed)
			found += collect_chunk(mm, c, at, out + found, max - found);
		else
			*at = next;
		lock_release(&c->lock);
	}
	return found;
}

/* --- a chunk becomes ordinary memory --- */

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
	for (uint32_t at = r->first, end = at + CHUNK_PAGES; ret == 0 && at < end;) {
		uint32_t n = 0;
		while (at + n < end && page_is_in_pool(r->mm->pt.entries[at + n]))
			n++;
		if (n)
			ret = what(r, at, n);
		at += n ? n : 1;
	}
	return ret;
}

static int protect_run(struct restore *r, uint32_t first, uint32_t nr)
{
	/* Arming may have registered it with the other userfaultfd. */
	uffd_unregister(r->mm->uffd, page_hva(&r->mm->pt, first), nr * PAGE_BYTES);
	return uffd_protect(r->mm->share.uffd, page_hva(&r->mm->pt, first), nr * PAGE_BYTES);
}

static int release_run(struct restore *r, uint32_t first, uint32_t nr)
{
	uffd_unprotect(r->mm->share.uffd, page_hva(&r->mm->pt, first), nr * PAGE_BYTES);
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
				int64_t moved = uffd_move(mm->uffd, r->c->limbo + (at + done) * PAGE_BYTES,
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

/* What was taken out goes back; or waits in limbo until it is touched. */
static void undo(struct restore *r)
{
	struct memmgr *mm = r->mm;
	for (uint32_t i = 0; i < CHUNK_PAGES; i++) {
		if (!r->out[i])
			continue;
		if (uffd_move(mm->uffd, r->c->hva + i * PAGE_BYTES, r->c->limbo + i * PAGE_BYTES, PAGE_BYTES, true) <= 0)
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
		/* A ballooned page has memory now, until it is dropped again. */
		page_table_set(&mm->pt, r->first + i, (state == PAGE_BALLOONED ? PAGE_BALLOONED : PAGE_RESIDENT) | share_owed(e));
	}
	mem_madvise(r->c->limbo, CHUNK_SIZE, MADV_DONTNEED);
	r->c->limbo_huge = false;
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
	int ret = for_pool_runs(r, protect_run);
	if (ret == 0)
		ret = take_out_rest(r);
	if (ret == 0)
		ret = fill_stage(r);
	if (ret == 0)
		ret = mem_move_over(r->stage.chunk, CHUNK_SIZE, r->c->hva);
	if (ret) {
		undo(r);
		chunk_disarm_if_whole(mm, r->c);
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
	*(volatile uint8_t *)r.stage.chunk = 0; /* gets the huge page before anybody waits */
	lock_take(&mm->evict_lock);
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
