/*
 * See share.h: the pool, and pages that leave it. share_merge.c has how they come, share_restore.c how a whole chunk goes.
 *
 * Invariants (the chunk's lock is held wherever entries are read or changed, and mappings of the chunk are replaced):
 *   1. A page lies in a mapping of the pool if and only if its entry says so (page_is_in_pool); all else of a guest's RAM is anonymous.
 *   2. What is anonymous of an armed chunk is registered with userfaultfd before anything of it is taken (chunk_arm); what lies in the
 *      pool has its slot below it, and never misses.
 *   3. A page is SHARED only after all its bytes were found equal to the slot's while it was out of the guest's reach.
 *   4. The reference to a slot is in the page's entry from SHARE_DONE until share_collect() has returned it, whatever becomes of the
 *      page.
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

static void drop_view(struct share *share)
{
	if (share->view)
		munmap(share->view, share->view_len);
	share->view = NULL;
	share->view_len = share->file_len = 0;
}

void share_close(struct share *share)
{
	if (!share->is_open)
		return;
	drop_view(share);
	if (share->fd >= 0)
		close(share->fd);
	close(share->uffd);
	lock_fini(&share->lock);
	share->is_open = false;
}

int share_set_pool(struct memmgr *mm, int fd)
{
	struct share *share = &mm->share;
	/* A pool that could shrink would end whoever reads a shared page, with SIGBUS. */
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return seals < 0 ? -errno : -EPERM;
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own < 0)
		return -errno;
	lock_take(&share->lock);
	drop_view(share);
	if (share->fd >= 0)
		close(share->fd);
	share->fd = own;
	lock_release(&share->lock);
	return 0;
}

void share_rest(struct memmgr *mm)
{
	lock_take(&mm->share.lock);
	drop_view(&mm->share);
	lock_release(&mm->share.lock);
}

const uint8_t *share_slot_bytes(struct share *share, uint32_t slot)
{
	uint64_t end = (slot + 1ull) * PAGE_BYTES;
	struct stat st;
	if (end <= share->file_len)
		return share->view + (end - PAGE_BYTES);
	if (share->fd < 0 || fstat(share->fd, &st) != 0 || (uint64_t)st.st_size < end)
		return NULL;
	uint64_t len = (uint64_t)st.st_size & ~(PAGE_BYTES - 1);
	/* The file grows: what lies behind its end is mapped, and not touched. */
	if (len > share->view_len) {
		void *view = mmap(NULL, len * 2, PROT_READ, MAP_SHARED | MAP_NORESERVE, share->fd, 0);
		if (view == MAP_FAILED)
			return NULL;
		drop_view(share);
		share->view = view;
		share->view_len = len * 2;
	}
	share->file_len = len;
	return share->view + (end - PAGE_BYTES);
}

/*
 * How many mappings the chunk is, but for one: mappings of slots, and what is anonymous between them. A private copy of a slot lies in
 * one with its neighbours, and is taken for one of its own: its slot is not known any more.
 */
static uint16_t chunk_mappings(const struct memmgr *mm, const struct chunk *c)
{
	const page_entry *e = mm->pt.entries + (c - mm->pt.chunks) * CHUNK_PAGES;
	uint16_t nr = 0;
	for (uint32_t i = 1; c->in_pool && i < CHUNK_PAGES; i++)
		nr += page_is_in_pool(e[i]) ? page_ref(e[i]) != page_ref(e[i - 1]) + 1 : page_is_in_pool(e[i - 1]);
	return nr;
}

void share_count_mappings(struct memmgr *mm, struct chunk *c)
{
	uint16_t now = chunk_mappings(mm, c);
	atomic_fetch_add(&mm->share.mappings, now - c->mappings);
	c->mappings = now;
}

uint32_t share_mappings(struct memmgr *mm)
{
	return (uint32_t)atomic_load(&mm->share.mappings);
}

uint32_t share_next_run(const struct memmgr *mm, const struct chunk *c, bool in_pool, uint32_t *at)
{
	const page_entry *e = mm->pt.entries + (c - mm->pt.chunks) * CHUNK_PAGES;
	uint32_t n = 0;
	while (*at < CHUNK_PAGES && page_is_in_pool(e[*at]) != in_pool)
		++*at;
	while (*at + n < CHUNK_PAGES && page_is_in_pool(e[*at + n]) == in_pool)
		n++;
	return n;
}

int share_register_rest(struct memmgr *mm, struct chunk *c)
{
	int ret = 0;
	for (uint32_t at = 0, n; ret == 0 && (n = share_next_run(mm, c, false, &at)) > 0; at += n)
		ret = uffd_register(mm->uffd, c->hva + at * PAGE_BYTES, n * PAGE_BYTES, UFFD_TRACK_MISSING);
	return ret;
}

int share_hold(struct memmgr *mm, uint32_t first, uint32_t nr)
{
	uint8_t *hva = page_hva(&mm->pt, first);
	/* Arming or tracking may have registered it with the other userfaultfd. */
	uffd_unregister(mm->uffd, hva, nr * PAGE_BYTES);
	int ret = uffd_protect(mm->share.uffd, hva, nr * PAGE_BYTES);
	return ret == 0 && guest_ram_is_pinned(mm->ram, hva) ? -EBUSY : ret;
}

void share_release(struct memmgr *mm, uint32_t first, uint32_t nr)
{
	uffd_unprotect(mm->share.uffd, page_hva(&mm->pt, first), nr * PAGE_BYTES);
}

/* --- out of it --- */

/* Registers what has become anonymous of an armed chunk, now or before anything of the chunk is taken again (invariant 2). */
static void register_anonymous(struct memmgr *mm, struct chunk *c, uint32_t first, uint32_t nr)
{
	if (c->armed && uffd_register(mm->uffd, page_hva(&mm->pt, first), nr * PAGE_BYTES, UFFD_TRACK_MISSING) != 0)
		c->arm_again = true;
}

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
			node_binding_apply(mm, first + at, page_hva(&mm->pt, first + at), n * PAGE_BYTES);
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
	share_count_mappings(mm, c);
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
static size_t collect_chunk(struct memmgr *mm, struct chunk *c, uint32_t *at, bool look, struct share_item *out, size_t max)
{
	uint32_t first = *at - *at % CHUNK_PAGES;
	struct page_scan_run runs[CHUNK_PAGES / 2 + 1], written;
	size_t found = 0;
	int nr = 0;
	if (look && c->in_pool) {
		nr = page_scan_private(mm->pagemap, c->hva, CHUNK_PAGES, runs, CHUNK_PAGES / 2 + 1, &written);
		c->looked = nr >= 0;
		c->written = (uint16_t)written.first;
		c->nr_written = (uint16_t)written.nr;
	}
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

size_t share_collect(struct memmgr *mm, uint32_t *at, uint32_t end, bool broken, struct share_item *out, size_t max)
{
	uint32_t nr_pages = mm->pt.nr_chunks * CHUNK_PAGES;
	size_t found = 0;
	if (end > nr_pages)
		end = nr_pages;
	while (*at < end && found < max) {
		struct chunk *c = page_chunk(&mm->pt, *at);
		uint32_t next = *at - *at % CHUNK_PAGES + CHUNK_PAGES;
		lock_take(&c->lock);
		if ((broken && c->in_pool) || c->owed)
			found += collect_chunk(mm, c, at, broken, out + found, max - found);
		else
			*at = next;
		lock_release(&c->lock);
	}
	return found;
}

size_t share_held(struct memmgr *mm, uint32_t *at, struct share_item *out, size_t max)
{
	uint32_t nr_pages = mm->pt.nr_chunks * CHUNK_PAGES;
	size_t found = 0;
	while (*at < nr_pages && found < max) {
		struct chunk *c = page_chunk(&mm->pt, *at);
		uint32_t end = *at - *at % CHUNK_PAGES + CHUNK_PAGES;
		lock_take(&c->lock);
		if (!c->in_pool && !c->owed)
			*at = end;
		for (; *at < end && found < max; ++*at)
			if (page_holds_slot(mm->pt.entries[*at]))
				out[found++] = (struct share_item){*at, (uint32_t)page_ref(mm->pt.entries[*at])};
		lock_release(&c->lock);
	}
	return found;
}
