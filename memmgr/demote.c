/*
 * What lies in the kernel's swap for long is packed denser: zstd in our own store, where zram has LZ4.
 *
 * The kernel's swap on zram is the tier for pages that come back, since its faults are cheap (evict_kernel.h). A page that was swapped
 * out at two looks, cold_ms apart, is not one of these. It is moved into limbo, where reading it swaps it in, compressed and dropped. Its next touch is a fault of
 * userfaultfd, several times dearer, but brings its companions along. Nothing tells of a page that came back and went again in between; it is
 * taken for a cold one. What does not compress goes back into the guest, for the kernel, and is left alone for some rounds.
 *
 * A round begins every cold_ms, if anything is swapped out then. In each tick it looks at some chunks, and packs no more than RATE pages a second, some percent of a CPU.
 */
#include <string.h>

#include "memmgr/evict_kernel.h"
#include "memmgr/memmgr_internal.h"
#include "memmgr/os.h"
#include "memmgr/page_scan.h"

enum {
	TICK_MS = 100,
	RATE = 1000,   /* pages/s, of 30 us each */
	AT_ONCE = 256, /* chunks looked at in a tick */
	WORDS = CHUNK_PAGES / 64,
};

/* Whether pages are in the kernel's swap at all: there is no look at page tables before. */
static bool has_swapped(void)
{
	uint64_t pages, bytes;
	kernel_swap_usage(&pages, &bytes);
	return pages > 0;
}

/* What is swapped out of the chunk now, of pages that could be packed. */
static void look(struct memmgr *mm, uint32_t chunk, uint64_t now[WORDS])
{
	struct page_scan_run runs[CHUNK_PAGES / 2 + 1];
	struct chunk *c = &mm->pt.chunks[chunk];
	for (unsigned i = 0; i < WORDS; i++)
		now[i] = 0;
	lock_take(&c->lock);
	int nr = page_scan(mm->pagemap, c->hva + (uint64_t)c->first * GUEST_PAGE_SIZE, c->end - c->first, PAGE_SCAN_SWAPPED, runs,
			   CHUNK_PAGES / 2 + 1);
	for (int r = 0; r < nr; r++)
		for (uint32_t i = c->first + runs[r].first, end = i + runs[r].nr; i < end; i++)
			now[i / 64] |= 1ull << i % 64;
	lock_release(&c->lock);
}

static void visit(struct memmgr *mm, struct demotion *d, const struct memmgr_settings *set, uint64_t now_ns)
{
	uint64_t now[WORDS], cold[WORDS], *before = d->swapped + (size_t)d->next * WORDS;
	uint32_t chunk = d->next++;
	bool any = false;
	look(mm, chunk, now);
	for (unsigned i = 0; i < WORDS; i++) {
		cold[i] = now[i] & before[i];
		any |= cold[i] != 0;
		before[i] = now[i];
	}
	if (!any)
		return;
	uint64_t cold_ns = set->cold_ms * 1000000ull;
	lock_take(&mm->evict_lock);
	d->credit -= (double)evict_dense(mm, chunk * CHUNK_PAGES, cold, now_ns > cold_ns ? now_ns - cold_ns : 0);
	lock_release(&mm->evict_lock);
}

/* Whether a round goes on, or begins now. */
static bool is_in_round(struct memmgr *mm, struct demotion *d, const struct memmgr_settings *set, uint64_t now_ns)
{
	size_t words = (size_t)mm->pt.nr_chunks * WORDS;
	if (d->swapped && d->next < mm->pt.nr_chunks)
		return true;
	if (now_ns < d->began_ns + set->cold_ms * 1000000ull)
		return false;
	d->began_ns = now_ns;
	if (!d->swapped)
		d->swapped = mem_calloc(words, sizeof(*d->swapped));
	if (!d->swapped)
		return false;
	d->next = mm->pt.nr_chunks;
	if (!has_swapped()) {
		memset(d->swapped, 0, words * sizeof(*d->swapped));
		return false;
	}
	d->next = 0;
	d->credit = 0;
	d->last_ns = now_ns - TICK_MS * 1000000ull;
	return true;
}

unsigned demote_step(struct memmgr *mm, struct demotion *d, const struct memmgr_settings *set)
{
	uint64_t now_ns = clock_now_ns();
	if (!set->kernel_tier || !set->dense)
		return 0;
	if (is_in_round(mm, d, set, now_ns)) {
		d->credit += (double)(now_ns - d->last_ns) / 1e9 * RATE;
		d->last_ns = now_ns;
		d->credit = d->credit < RATE ? d->credit : RATE;
		for (unsigned i = 0; i < AT_ONCE && d->next < mm->pt.nr_chunks && d->credit > 0 && !mm->stopping; i++)
			visit(mm, d, set, now_ns);
		return TICK_MS;
	}
	uint64_t next_ns = d->began_ns + set->cold_ms * 1000000ull;
	return next_ns > now_ns ? (unsigned)((next_ns - now_ns) / 1000000) + 1 : TICK_MS;
}

void demote_fini(struct demotion *d)
{
	mem_free(d->swapped);
	*d = (struct demotion){.swapped = NULL};
}
