/*
 * How pages go: from the guest into limbo, from limbo into the store, from the store's RAM to disk.
 *
 *   evict_by_clock, evict_run    RESIDENT -> LIMBO: UFFDIO_MOVE, nothing is copied. A touch brings the page back (second chance).
 *   evict_compress               LIMBO -> COMPRESSED or ZERO, for pages that stayed there long enough
 *   evict_store_raw              LIMBO -> COMPRESSED as it is: incompressible pages, on their way to disk
 *   evict_write                  clusters of the store to disk
 *
 * Victims are found by a clock (second chance): its hand goes round over all pages and takes those that did not come back since it
 * passed last; limbo is what tells of reads, which nothing else in user space does.
 *
 * A page is compressed without its chunk's lock: it is marked BUSY first, which makes a fault copy it instead of moving it away
 * (bring.c, invariant 1), and the limbo page is dropped after the entry has changed. Pages are put into the store in the order in
 * which the guest once used them (page_table.order), so that they come back in that order, too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "memmgr/compress.h"
#include "memmgr/heat.h"
#include "memmgr/memmgr_internal.h"
#include "memmgr/os.h"
#include "memmgr/page_scan.h"
#include "memmgr/uffd.h"

enum {
	SLICE = CHUNK_PAGES, /* pages compressed between two looks at their entries: a huge page is dropped as a whole */
	GATHER = 16384,      /* pages that are put in order together */
	MOVE_TRIES = 20,
	WRITE_BATCH = 16,  /* clusters in flight */
	RETRY_ROUNDS = 16, /* of the clock, until a page that did not compress is tried again */
};

struct victim {
	uint32_t order, page;
};

struct evictor {
	uint32_t hand;   /* the clock's: a page */
	uint32_t rounds; /* that it has made */
	struct limbo_queue queue;
	struct limbo_queue raw; /* incompressible ones, found so */
	struct store_writer *writer;
	struct store_io *io;        /* NULL without a disk tier */
	struct victim *victims;     /* GATHER of them */
	struct bring_buffer buffer; /* for repacking */
};

int evictor_create(struct memmgr *mm, struct evictor **out)
{
	struct evictor *e = mem_calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->victims = mem_calloc(GATHER, sizeof(*e->victims));
	int ret = !e->victims ? -ENOMEM : bring_buffer_init(&e->buffer);
	if (ret == 0)
		ret = store_writer_create(mm->store, &e->writer);
	if (ret == 0 && mm->swap)
		ret = store_io_create(mm->store, &e->io, NULL);
	if (ret)
		evictor_destroy(e);
	else
		*out = e;
	return ret;
}

void evictor_destroy(struct evictor *e)
{
	if (!e)
		return;
	store_io_destroy(e->io);
	store_writer_destroy(e->writer);
	bring_buffer_fini(&e->buffer);
	limbo_queue_fini(&e->queue);
	limbo_queue_fini(&e->raw);
	mem_free(e->victims);
	mem_free(e);
}

/* --- into limbo --- */

/* Moves resident pages of a locked, armed chunk that are there and follow each other. Returns pages moved. */
static size_t move_out(struct memmgr *mm, uint32_t first, uint32_t nr, page_entry entry)
{
	uint32_t at = 0;
	size_t moved = 0;
	for (unsigned tries = 0; at < nr;) {
		int64_t ret = uffd_move(mm->uffd, mm->pagemap, page_limbo(&mm->pt, first + at), page_hva(&mm->pt, first + at),
					(uint64_t)(nr - at) * GUEST_PAGE_SIZE, false);
		if (ret > 0) {
			for (uint32_t i = 0; i < ret / GUEST_PAGE_SIZE; i++)
				page_table_set(&mm->pt, first + at + i, entry);
			moved += (size_t)ret / GUEST_PAGE_SIZE;
			if (ret == (int64_t)CHUNK_SIZE)
				page_chunk(&mm->pt, first)->limbo_huge = true;
			at += (uint32_t)(ret / GUEST_PAGE_SIZE);
			continue;
		}
		if (ret == -EAGAIN && tries++ < MOVE_TRIES) {
			COUNT(mm, retried, 1);
			continue;
		}
		if (ret == -ENOMEM)
			break;
		/* Pinned (direct I/O, a device), gone meanwhile, or its place in limbo is not free yet: not this one. */
		if (ret == -EBUSY)
			COUNT(mm, pinned, 1);
		at++;
		tries = 0;
	}
	return moved;
}

/* Whether a run has pages in limbo that were taken with it. */
static bool is_in_limbo(void *arg, const struct limbo_run *run)
{
	struct memmgr *mm = arg;
	uint64_t stamp = memmgr_time_stamp(run->taken_ns);
	bool found = false;
	for (uint32_t page = run->first, end = page + run->nr; !found && page < end;) {
		struct chunk *c = page_chunk(&mm->pt, page);
		uint32_t next = page - page % CHUNK_PAGES + CHUNK_PAGES;
		lock_take(&c->lock);
		for (; !found && page < end && page < next; page++) {
			page_entry e = mm->pt.entries[page];
			found = page_state(e) == PAGE_LIMBO && (!run->taken_ns || (e & PAGE_TIME_MASK) >> PAGE_TIME_SHIFT == stamp);
		}
		lock_release(&c->lock);
	}
	return found;
}

/* A page that the kernel was given, and that is there again, was touched. */
static bool was_given(page_entry e)
{
	return (e & PAGE_TIME_MASK) != 0;
}

/* Gives pages of a locked chunk to the kernel's swap. Returns pages given. */
static size_t page_out(struct memmgr *mm, uint32_t first, uint32_t nr, uint64_t now_ns)
{
	if (mem_madvise(page_hva(&mm->pt, first), (uint64_t)nr * GUEST_PAGE_SIZE, MADV_PAGEOUT) != 0)
		return 0;
	for (uint32_t i = 0; i < nr; i++) {
		page_entry e = mm->pt.entries[first + i];
		page_table_set(&mm->pt, first + i, (e & ~PAGE_TIME_MASK) | (memmgr_time_stamp(now_ns) | 1) << PAGE_TIME_SHIFT);
	}
	return nr;
}

/* Which pages are taken of those that are there. */
enum choice {
	CHOOSE_ALL,
	CHOOSE_UNUSED, /* not those that were touched since the hand passed: they are spared once */
	CHOOSE_COLD,   /* nor hot ones (heat.h) */
};

/* The chunk's lock is held. */
static bool is_victim(struct memmgr *mm, uint32_t page, enum choice choice)
{
	page_entry e = mm->pt.entries[page];
	/* One that is there is in use, though the guest has given it up: it would never be taken otherwise. */
	if (page_state(e) == PAGE_BALLOONED) {
		e = (e & ~PAGE_STATE_MASK) | PAGE_RESIDENT;
		page_table_set(&mm->pt, page, e);
	}
	/* Nor one that lies in a mapping of the pool, which cannot be moved out, or whose slot somebody waits to hear of. */
	if (page_state(e) != PAGE_RESIDENT || e & (PAGE_BUSY | PAGE_LOADING) || page_ref(e) & PAGE_REF_SHARE)
		return false;
	if (was_given(e)) {
		e = (e & ~PAGE_TIME_MASK) | PAGE_REFERENCED;
		page_table_set(&mm->pt, page, e);
	}
	if (choice == CHOOSE_ALL)
		return true;
	if (choice == CHOOSE_COLD && heat_spares(mm->pt.heat[page], page, mm->evictor->rounds))
		return false;
	if (e & PAGE_REFERENCED || (e & (PAGE_PREFETCHED | PAGE_SPARED)) == PAGE_PREFETCHED) {
		page_table_set(&mm->pt, page, (e & ~(uint64_t)PAGE_REFERENCED) | (e & PAGE_PREFETCHED ? PAGE_SPARED : 0));
		return false;
	}
	/* Nothing is gained by taking it, unless there is a disk; or the guest has written something else, which nobody tells. */
	return !(e & PAGE_INCOMPRESSIBLE) || mm->swap || (page + mm->evictor->rounds) % RETRY_ROUNDS == 0;
}

static size_t take(struct memmgr *mm, uint32_t first, uint32_t nr, enum choice choice, bool sample)
{
	struct evictor *ev = mm->evictor;
	struct page_scan_run runs[CHUNK_PAGES / 2 + 1];
	struct chunk *c = page_chunk(&mm->pt, first);
	uint64_t now = clock_now_ns();
	page_entry entry = PAGE_LIMBO | memmgr_time_stamp(now) << PAGE_TIME_SHIFT | (sample ? PAGE_SAMPLED : 0);
	size_t taken = 0;

	/* Samples come back, most of them, and nobody takes them off the queue while memory is not short. */
	(void)limbo_queue_reserve_or_sweep(&ev->queue, is_in_limbo, mm);
	lock_take(&c->lock);
	bool to_kernel = mm->kernel_tier && !sample;
	if (!to_kernel && chunk_arm(mm, c) != 0) {
		lock_release(&c->lock);
		return 0;
	}
	/* Armed, and so nothing appears there any more but by us; or pages go to the kernel, which looks again itself. */
	int nr_runs = page_scan(mm->pagemap, page_hva(&mm->pt, first), nr, PAGE_SCAN_PRESENT, runs, CHUNK_PAGES / 2 + 1);
	for (int r = 0; r < nr_runs; r++) {
		uint32_t at = first + runs[r].first, end = at + runs[r].nr;
		while (at < end) {
			uint32_t n = 0;
			while (at + n < end && is_victim(mm, at + n, choice))
				n++;
			if (n && limbo_queue_reserve(&ev->queue) == 0) {
				uint64_t wasted = 0;
				for (uint32_t i = 0; i < n; i++)
					wasted += (mm->pt.entries[at + i] & PAGE_PREFETCHED) != 0;
				COUNT(mm, prefetch_wasted, wasted);
				size_t moved = to_kernel ? page_out(mm, at, n, now) : move_out(mm, at, n, entry);
				if (moved && !to_kernel)
					limbo_queue_push(&ev->queue, at, n, now);
				taken += moved;
			}
			at += n ? n : 1;
		}
	}
	c->around = 0;
	lock_release(&c->lock);
	COUNT(mm, evicted, taken);
	return taken;
}

size_t evict_run(struct memmgr *mm, uint32_t first, uint32_t nr, bool sample)
{
	return take(mm, first, nr, CHOOSE_ALL, sample);
}

size_t evict_by_clock(struct memmgr *mm, size_t nr)
{
	struct evictor *ev = mm->evictor;
	uint32_t nr_pages = mm->pt.nr_chunks * CHUNK_PAGES;
	size_t taken = 0;
	/* The first round may only find pages that were touched, and spare them, and the second only hot ones. */
	for (uint64_t seen = 0; taken < nr && seen < 3ull * nr_pages;) {
		enum choice choice = seen < 2ull * nr_pages ? CHOOSE_COLD : CHOOSE_UNUSED;
		uint32_t at = ev->hand;
		struct chunk *c = page_chunk(&mm->pt, at);
		uint32_t index = at % CHUNK_PAGES, end = c->end;
		if (index < c->first)
			index = c->first;
		lock_take(&c->lock);
		bool whole = c->missing == 0;
		lock_release(&c->lock);
		/* A chunk that is whole goes as a whole: it may be a huge page, which then moves as one. */
		if (nr - taken < end - index && !whole)
			end = index + (uint32_t)(nr - taken);
		if (index < end)
			taken += take(mm, at - at % CHUNK_PAGES + index, end - index, choice, false);
		uint32_t next = end < c->end ? at - at % CHUNK_PAGES + end : at - at % CHUNK_PAGES + CHUNK_PAGES;
		seen += next - at;
		ev->hand = next < nr_pages ? next : 0;
		ev->rounds += ev->hand == 0;
	}
	return taken;
}

/* --- into the store --- */

/* A page on its way: what it has become. */
struct put {
	uint32_t page;
	int result; /* of store_put() */
	bool zero;
	store_ref ref;
};

static int by_page(const void *a, const void *b)
{
	uint32_t x = ((const struct put *)a)->page, y = ((const struct put *)b)->page;
	return x < y ? -1 : x > y;
}

int evict_drop_limbo(struct memmgr *mm, uint32_t first, uint32_t nr)
{
	struct chunk *c = page_chunk(&mm->pt, first);
	/*
	 * A huge page of which parts are dropped keeps all its memory, unless it is split. Advising on a part of it does that, and
	 * nothing else (Linux, mm/madvise.c, madvise_cold_or_pageout_pte_range()).
	 */
	if (c->limbo_huge && nr < CHUNK_PAGES)
		mem_madvise(page_limbo(&mm->pt, first), GUEST_PAGE_SIZE, MADV_COLD);
	c->limbo_huge = false;
	int ret = mem_madvise(page_limbo(&mm->pt, first), (uint64_t)nr * GUEST_PAGE_SIZE, MADV_DONTNEED);
	for (uint32_t i = 0; ret == 0 && i < nr; i++)
		page_table_set(&mm->pt, first + i, mm->pt.entries[first + i] & ~(uint64_t)PAGE_BUSY);
	return ret;
}

/* Gives limbo pages back for which there is no place but RAM: without a disk nothing is gained by keeping them. The chunk's lock is held. */
static void give_back(struct memmgr *mm, uint32_t first, uint32_t nr)
{
	int64_t moved = uffd_move(mm->uffd, mm->pagemap, page_hva(&mm->pt, first), page_limbo(&mm->pt, first),
				  (uint64_t)nr * GUEST_PAGE_SIZE, true);
	/* What could not be moved waits in limbo until it is touched. */
	for (uint32_t i = 0; moved > 0 && i < moved / GUEST_PAGE_SIZE; i++)
		page_table_set(&mm->pt, first + i, PAGE_RESIDENT | PAGE_INCOMPRESSIBLE);
}

/* Writes down what became of one page. Returns whether its limbo page is to be dropped. The chunk's lock is held. */
static bool finish(struct memmgr *mm, const struct put *p, size_t *left)
{
	page_entry e = mm->pt.entries[p->page];
	if (page_state(e) != PAGE_LIMBO) {
		/* Brought back meanwhile, by a copy. */
		if (p->result == 0)
			store_drop(mm->store, p->ref);
		return true;
	}
	if (p->result) {
		page_table_set(&mm->pt, p->page, (e & ~(uint64_t)PAGE_BUSY) | (p->result == -E2BIG ? PAGE_INCOMPRESSIBLE : 0));
		return false;
	}
	page_entry kept = e & (PAGE_BUSY | PAGE_SAMPLED | PAGE_LOADING | PAGE_TIME_MASK);
	mm->pt.heat[p->page] /= 2;
	page_table_set(&mm->pt, p->page, (p->zero ? PAGE_ZERO : PAGE_COMPRESSED) | kept | p->ref << PAGE_REF_SHIFT);
	*left += 1;
	return true;
}

static bool has_no_place(const struct memmgr *mm, const struct put *p)
{
	page_entry e = mm->pt.entries[p->page];
	return p->result == -E2BIG && !mm->swap && page_state(e) == PAGE_LIMBO && !(e & PAGE_SAMPLED);
}

static size_t finish_slice(struct memmgr *mm, struct put *puts, size_t nr)
{
	size_t left = 0;
	qsort(puts, nr, sizeof(*puts), by_page);
	for (size_t i = 0; i < nr;) {
		struct chunk *c = page_chunk(&mm->pt, puts[i].page);
		uint32_t first = 0, n = 0, back = 0, nr_back = 0;
		lock_take(&c->lock);
		for (; i < nr && page_chunk(&mm->pt, puts[i].page) == c; i++) {
			uint32_t page = puts[i].page;
			if (n && page != first + n) {
				evict_drop_limbo(mm, first, n); /* else they stay BUSY: never taken again, but right */
				n = 0;
			}
			if (nr_back && page != back + nr_back) {
				give_back(mm, back, nr_back);
				nr_back = 0;
			}
			if (finish(mm, &puts[i], &left)) {
				first = n ? first : page;
				n++;
			} else if (has_no_place(mm, &puts[i])) {
				back = nr_back ? back : page;
				nr_back++;
			}
		}
		if (n)
			evict_drop_limbo(mm, first, n);
		if (nr_back)
			give_back(mm, back, nr_back);
		lock_release(&c->lock);
	}
	return left;
}

/* Marks those of the victims BUSY that are in limbo still. */
static size_t mark_busy(struct memmgr *mm, const struct victim *victims, size_t nr, struct put *puts)
{
	size_t marked = 0;
	struct chunk *locked = NULL;
	for (size_t i = 0; i < nr; i++) {
		struct chunk *c = page_chunk(&mm->pt, victims[i].page);
		if (c != locked) {
			if (locked)
				lock_release(&locked->lock);
			lock_take(&c->lock);
			locked = c;
		}
		page_entry e = mm->pt.entries[victims[i].page];
		if (page_state(e) != PAGE_LIMBO || e & PAGE_BUSY || page_ref(e) & PAGE_REF_SHARE)
			continue;
		page_table_set(&mm->pt, victims[i].page, e | PAGE_BUSY);
		puts[marked++] = (struct put){.page = victims[i].page};
	}
	if (locked)
		lock_release(&locked->lock);
	return marked;
}

/* A page that cannot be put waits on in limbo: an incompressible one for the disk, others for room. */
static void wait_on(struct evictor *ev, uint32_t page, bool raw)
{
	struct limbo_queue *queue = raw ? &ev->raw : &ev->queue;
	/* Without memory for its place it waits until it is touched, or evicted by range. */
	if (limbo_queue_reserve(queue) == 0)
		limbo_queue_push(queue, page, 1, 0);
}

/* Puts victims into the store in their order. Returns pages that left limbo; *full is set when the store takes no more. */
static size_t put_victims(struct memmgr *mm, const struct victim *victims, size_t nr, enum store_method method, bool *full)
{
	struct evictor *ev = mm->evictor;
	struct put puts[SLICE];
	size_t left = 0, at = 0;
	for (; at < nr && !*full; at += SLICE) {
		size_t n = mark_busy(mm, victims + at, nr - at < SLICE ? nr - at : SLICE, puts);
		uint64_t compressed = 0, incompressible = 0;
		for (size_t i = 0; i < n; i++) {
			const uint8_t *bytes = page_limbo(&mm->pt, puts[i].page);
			puts[i].zero = page_is_zero(bytes);
			puts[i].result = *full ? -ENOSPC : store_put(ev->writer, puts[i].page, bytes, method, &puts[i].ref);
			if (puts[i].result == 0)
				compressed++;
			else if (puts[i].result == -E2BIG)
				incompressible++;
			else
				*full = true;
			if (puts[i].result && (puts[i].result != -E2BIG || mm->swap))
				wait_on(ev, puts[i].page, method == STORE_RAW || puts[i].result == -E2BIG);
		}
		COUNT(mm, compressed, compressed);
		COUNT(mm, incompressible, incompressible);
		left += finish_slice(mm, puts, n);
	}
	for (; at < nr; at++)
		wait_on(ev, victims[at].page, method == STORE_RAW);
	return left;
}

static int by_order(const void *a, const void *b)
{
	const struct victim *x = a, *y = b;
	if (x->order != y->order)
		return x->order < y->order ? -1 : 1;
	return x->page < y->page ? -1 : x->page > y->page;
}

static void sort_victims(struct victim *victims, size_t nr)
{
	for (size_t i = 1; i < nr; i++) {
		if (by_order(&victims[i - 1], &victims[i]) > 0) {
			qsort(victims, nr, sizeof(*victims), by_order);
			return;
		}
	}
}

/* Adds pages of one chunk that are in limbo to the victims. taken_ns 0: whenever they were taken. */
static size_t gather(struct memmgr *mm, uint32_t first, uint32_t nr, uint64_t taken_ns, bool raw, size_t at)
{
	struct chunk *c = page_chunk(&mm->pt, first);
	uint64_t stamp = memmgr_time_stamp(taken_ns);
	lock_take(&c->lock);
	for (uint32_t page = first; c->in_limbo && page < first + nr && at < GATHER; page++) {
		page_entry e = mm->pt.entries[page];
		/* Taken again since: it has a later run. */
		if (page_state(e) != PAGE_LIMBO || e & PAGE_BUSY || page_ref(e) & PAGE_REF_SHARE ||
		    !(e & PAGE_INCOMPRESSIBLE) == raw || (taken_ns && (e & PAGE_TIME_MASK) >> PAGE_TIME_SHIFT != stamp))
			continue;
		mm->evictor->victims[at++] = (struct victim){mm->pt.order[page], page};
	}
	lock_release(&c->lock);
	return at;
}

/* Takes due runs off the queue, up to max pages, into the victims. */
static size_t gather_due(struct memmgr *mm, struct limbo_queue *queue, uint64_t before_ns, size_t max, bool raw)
{
	const struct limbo_run *run;
	size_t nr = 0;
	if (max > GATHER)
		max = GATHER;
	while (nr < max && (run = limbo_queue_oldest(queue)) != NULL && run->taken_ns <= before_ns) {
		uint32_t n = run->nr, in_chunk = CHUNK_PAGES - run->first % CHUNK_PAGES;
		if (n > in_chunk)
			n = in_chunk;
		if (n > max - nr)
			n = (uint32_t)(max - nr);
		nr = gather(mm, run->first, n, run->taken_ns, raw, nr);
		limbo_queue_pop(queue, n);
	}
	return nr;
}

size_t evict_compress(struct memmgr *mm, uint64_t before_ns, size_t max, enum store_method method)
{
	bool full = false;
	size_t nr = gather_due(mm, &mm->evictor->queue, before_ns, max, false);
	sort_victims(mm->evictor->victims, nr);
	return put_victims(mm, mm->evictor->victims, nr, method, &full);
}

uint64_t evict_oldest_ns(struct memmgr *mm)
{
	const struct limbo_run *run = limbo_queue_oldest(&mm->evictor->queue);
	return run ? run->taken_ns : UINT64_MAX;
}

size_t evict_compress_range(struct memmgr *mm, uint32_t first, uint32_t end, enum store_method method)
{
	size_t left = 0;
	bool full = false;
	while (first < end && !full) {
		size_t nr = 0;
		for (; first < end && nr + CHUNK_PAGES <= GATHER; first += CHUNK_PAGES - first % CHUNK_PAGES) {
			uint32_t n = CHUNK_PAGES - first % CHUNK_PAGES;
			nr = gather(mm, first, n < end - first ? n : end - first, 0, false, nr);
		}
		sort_victims(mm->evictor->victims, nr);
		left += put_victims(mm, mm->evictor->victims, nr, method, &full);
	}
	return left;
}

size_t evict_store_raw(struct memmgr *mm, size_t max)
{
	bool full = false;
	size_t nr = gather_due(mm, &mm->evictor->raw, UINT64_MAX, max, true);
	sort_victims(mm->evictor->victims, nr);
	return put_victims(mm, mm->evictor->victims, nr, STORE_RAW, &full);
}

/* --- within the store --- */

/* One page of the store that shall lie elsewhere. */
static bool repack(struct memmgr *mm, const struct store_item *item, enum store_method method)
{
	struct evictor *ev = mm->evictor;
	struct chunk *c = page_chunk(&mm->pt, item->page_nr);
	store_ref ref;
	lock_take(&c->lock);
	page_entry e = mm->pt.entries[item->page_nr];
	/* Not one that is waited for: the pager finds it by its cluster when that has come. */
	bool alive = page_store_ref(e) == item->ref && !(e & PAGE_LOADING) &&
		     (page_state(e) == PAGE_COMPRESSED || page_state(e) == PAGE_ZERO) &&
		     store_get(mm->store, item->ref, ev->buffer.pages) == 0;
	lock_release(&c->lock);
	if (!alive || store_put(ev->writer, item->page_nr, ev->buffer.pages, method, &ref) != 0)
		return false;
	lock_take(&c->lock);
	e = mm->pt.entries[item->page_nr];
	/* The old reference is alive as long as the entry has it, so that it cannot have been given to another page meanwhile. */
	alive = page_store_ref(e) == item->ref && !(e & PAGE_LOADING);
	if (alive)
		page_table_set(&mm->pt, item->page_nr, (e & ~(~0ull << PAGE_REF_SHIFT)) | ref << PAGE_REF_SHIFT);
	store_drop(mm->store, alive ? item->ref : ref);
	lock_release(&c->lock);
	return alive;
}

size_t evict_repack(struct memmgr *mm, const struct store_item *items, size_t nr, enum store_method method)
{
	size_t moved = 0;
	for (size_t i = 0; i < nr; i++)
		moved += repack(mm, &items[i], method);
	COUNT(mm, compacted, moved);
	return moved;
}

/* --- to disk --- */

/* Waits for some writes; *error is set by one that failed. */
static void reap_writes(struct evictor *ev, int *error)
{
	struct store_done done[WRITE_BATCH];
	size_t nr = store_io_reap(ev->io, true, done, WRITE_BATCH);
	for (size_t i = 0; i < nr; i++)
		if (done[i].result)
			*error = done[i].result;
}

int64_t evict_write(struct memmgr *mm, uint64_t bytes)
{
	struct evictor *ev = mm->evictor;
	struct store_stats before, now;
	int error = 0;
	if (!ev->io)
		return -ENODEV;
	/* What lies in open clusters is closed when all is wanted. */
	if (bytes == UINT64_MAX)
		store_writer_flush(ev->writer);
	store_get_stats(mm->store, &before);
	now = before;
	while (!error && before.ram_bytes - now.ram_bytes < bytes && !mm->stopping) {
		int begun = store_write_begin(ev->io, WRITE_BATCH);
		if (begun <= 0 && !store_io_pending(ev->io)) {
			error = begun;
			break;
		}
		reap_writes(ev, &error);
		store_get_stats(mm->store, &now);
		if (now.ram_bytes > before.ram_bytes)
			now.ram_bytes = before.ram_bytes;
	}
	while (store_io_pending(ev->io)) {
		reap_writes(ev, &error);
	}
	store_get_stats(mm->store, &now);
	if (now.ram_bytes >= before.ram_bytes)
		return error;
	return (int64_t)(before.ram_bytes - now.ram_bytes);
}
