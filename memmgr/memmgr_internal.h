/*
 * What the parts of the memory manager share: memmgr.c (life, settings), fault.c, bring.c, prefetch.c (pager), evict.c, reclaim.c.
 */
#ifndef MEMMGR_MEMMGR_INTERNAL_H
#define MEMMGR_MEMMGR_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "memmgr/handler_place.h"
#include "memmgr/limbo_queue.h"
#include "memmgr/memmgr.h"
#include "memmgr/numa.h"
#include "memmgr/page_table.h"
#include "memmgr/reclaim_policy.h"
#include "memmgr/share.h"
#include "memmgr/store.h"
#include "memmgr/swap_file.h"
#include "memmgr/working_set.h"

#define BRING_BATCH 32 /* pages that are brought back together at most */

/* A thread's means to bring pages back. */
struct bring_buffer {
	uint8_t *pages;                /* BRING_BATCH pages to decompress into */
	bool wake_later;               /* it is left to the caller to wake who waits */
	uint32_t wake_first, wake_end; /* for which pages, with bring_begin_quietly() */
};

/* A huge page to put a chunk together in; one thread's. */
struct bring_stage {
	uint8_t *mapping, *chunk; /* chunk: aligned, within */
	uint64_t nodes;           /* where its memory comes from (node_binding_stage) */
	enum numa_policy policy;
};

/* A thread that serves faults. */
struct handler {
	struct memmgr *mm;
	unsigned index;
	pthread_t thread;
	bool started;
	struct bring_buffer buffer;
	struct bring_stage stage;
	unsigned served; /* faults, for those that are looked at closer */
	struct handler_place place;
};

/* share.c */
struct share {
	bool is_open;
	int uffd;         /* for writers that wait (uffd_open_waiting) */
	struct lock lock; /* guards the rest */
	int fd;           /* of the pool, -1: none */
	uint8_t *view;    /* of the pool, read-only: view_len bytes, of which file_len are known to be there */
	uint64_t view_len, file_len;
	_Atomic int64_t mappings; /* that pages in the pool make of guest RAM; not guarded */
};

struct pager;
struct evictor;

struct memmgr {
	struct guest_ram *ram;
	struct memmgr_owner *owner;
	struct page_table pt;
	int uffd;
	int pagemap; /* page_scan.h */
	struct swap_file *swap;
	struct store *store;

	/* Guards settings, and the condition below. */
	struct lock lock;
	struct memmgr_settings settings;
	pthread_cond_t wake_reclaimer;
	bool reclaim_now;

	atomic_bool stopping;
	struct memmgr_stats counters; /* the COUNT fields; relaxed atomics */
	_Atomic uint32_t order;       /* the last number given to a page that was brought back */
	_Atomic int64_t headroom;     /* pages that may be prefetched before the target is reached; set by the reclaimer */
	_Atomic bool prefetch;        /* settings.prefetch */
	_Atomic bool kernel_tier;     /* settings.kernel_tier */
	_Atomic bool sampling;        /* settings.sample_rate */

	struct handler handlers[MAX_HANDLERS];
	unsigned nr_handlers;
	struct lock fault_lock; /* guards the next two, and what places says */
	pthread_cond_t more_handlers;
	_Atomic unsigned reading;         /* handlers that wait for the disk */
	_Atomic unsigned active_handlers; /* handlers 0 to that - 1 serve; read without the lock */
	struct handler_places places;
	struct pager *pager;
	struct share share;

	/* The evictor is used by the reclaimer thread, and by who asks for evictions at once; under evict_lock. */
	struct lock evict_lock;
	struct evictor *evictor;
	struct numa_mover movers[GUEST_RAM_MAX_REGIONS]; /* node_binding.c; under evict_lock, as are the next two */
	bool moving[GUEST_RAM_MAX_REGIONS];
	uint32_t migrate_rate; /* pages/s */
	/* Where each region is bound to, 0: nowhere. Written under evict_lock, read by who makes new mappings or stages of its memory. */
	_Atomic uint64_t bound_nodes[GUEST_RAM_MAX_REGIONS];
	_Atomic(enum numa_policy) bound_policy[GUEST_RAM_MAX_REGIONS];
	pthread_t reclaimer;
	bool reclaimer_started;

	/* arming.c */
	_Atomic uint64_t looked_ns; /* when somebody looked for equal pages, 0: never */
	uint64_t next_calm_ns;      /* used by the reclaimer */
	_Atomic unsigned calm_ms;   /* between two looks at chunks that are whole again */

	struct lock sample_lock; /* guards working_set */
	struct working_set *working_set;
	struct bring_buffer sample_buffer; /* the reclaimer's, for samples that go back */

	int stats_fd;
	struct memmgr_stats_page *stats_page;
	struct lock stats_lock; /* writers of the page */
	uint64_t other_bytes;   /* anonymous memory of the process that is not the guest's, when the manager was made */
};

#define COUNT(mm, field, n) __atomic_fetch_add(&(mm)->counters.field, (uint64_t)(n), __ATOMIC_RELAXED)

/* Units of an entry's eviction time: 0.25 s, 14 bits. */
static inline uint64_t memmgr_time_stamp(uint64_t now_ns)
{
	return now_ns / 250000000ull & (PAGE_TIME_MASK >> PAGE_TIME_SHIFT);
}

/* --- bring.c: pages come back --- */

int bring_buffer_init(struct bring_buffer *b);
void bring_buffer_fini(struct bring_buffer *b);

/* --- bring_chunk.c: whole chunks come back --- */

int bring_stage_init(struct bring_stage *stage);
void bring_stage_fini(struct bring_stage *stage);
/*
 * Brings back the chunk of the page as a whole, if at least half of it is missing and like this page (recorded, or never used
 * again), and none of it on disk. Returns pages brought back.
 */
size_t bring_chunk(struct memmgr *mm, struct bring_stage *stage, uint32_t page);

enum bring_why { BRING_FAULT, BRING_PREFETCH };
/*
 * Brings one page back; its chunk's lock is held. Returns 0 when it is there (brought now, or before), -EAGAIN when it lies on disk
 * (its cluster is to be loaded), -EBADMSG when its content is lost, -ENOMEM, or what userfaultfd says.
 */
int bring_page(struct memmgr *mm, struct bring_buffer *b, uint32_t page, enum bring_why why, bool is_write);
/*
 * Brings back a page that lies on disk, and has LOADING, by reading it at once; without its chunk's lock, and wakes who waits.
 * Returns whether the fault is served; else the page still has LOADING.
 */
bool bring_from_disk(struct memmgr *mm, struct bring_buffer *b, uint32_t page);
/* Brings back those of the pages that can come without the disk, in this order; takes the locks itself. Returns pages brought. */
size_t bring_pages(struct memmgr *mm, struct bring_buffer *b, const struct store_item *items, size_t nr);
/*
 * Between the two, bring_pages() wakes nobody; the second wakes who waits for any of the pages. Who follows a stream would otherwise be
 * woken for each few pages, and wait again.
 */
void bring_begin_quietly(struct bring_buffer *b);
void bring_end_quietly(struct memmgr *mm, struct bring_buffer *b);
/*
 * A page was touched in limbo: brings back the limbo pages around it, one at the first touch since pages were taken from its chunk,
 * twice as many at each next. The chunk's lock is held.
 */
void bring_limbo_around(struct memmgr *mm, uint32_t page);

/* --- arming.c: when missing pages are told of; the chunk's lock is held --- */

/* Before pages are taken. Returns 0 or -errno. */
int chunk_arm(struct memmgr *mm, struct chunk *c);
void chunk_disarm_if_whole(struct memmgr *mm, struct chunk *c);
/* At a look: if it was whole at the last one, too. */
void chunk_disarm_if_calm(struct memmgr *mm, struct chunk *c);
/* All chunks, if it is time to; takes the locks itself. Returns whether it is to be called again, after mm->calm_ms. */
bool chunks_disarm_calm(struct memmgr *mm, uint64_t now_ns);

/* --- fault.c: the threads that serve faults --- */

int fault_start(struct memmgr *mm, unsigned nr_handlers, struct error *err);
void fault_stop(struct memmgr *mm);

/* --- handler_place.c: where they run --- */

/* The calling handler has served faults, the last one of that thread: looks now and then whether it runs in the right place. */
void handler_place_after(struct handler *h, int thread_id);

/* --- pager.c, streams.c: what lies on disk, and what comes back without a fault of its own --- */

int pager_start(struct memmgr *mm, struct error *err);
void pager_stop(struct memmgr *mm);
/* A page on disk is waited for. */
void pager_load(struct memmgr *mm, uint32_t page);
/* A page could not be brought back: tell the owner, try again. */
void pager_failed(struct memmgr *mm, uint32_t page, int error);
/*
 * A page of the store is touched by a fault: its companions may follow, in so many clusters. Called without locks. Says what is
 * known of it:
 */
enum pager_hint {
	PAGER_ALONE,    /* nothing */
	PAGER_NEAR,     /* it is part of a stream, but the guest does not follow its order: what lies near may be wanted */
	PAGER_FOLLOWED, /* it belongs to a stream: the rest of its cluster is wanted soon */
	PAGER_SURE,     /* to one that was followed for long: so is the rest of its chunk */
};
enum pager_hint pager_touched(struct memmgr *mm, uint32_t page, uint64_t ref, unsigned *clusters);
/* Brings back what follows in the cluster, and the next clusters. */
void pager_bring_companions(struct memmgr *mm, struct bring_buffer *b, uint64_t ref, enum pager_hint hint, unsigned clusters);
void pager_prewarm(struct memmgr *mm);
enum memmgr_failure pager_failure(struct memmgr *mm);
void pager_retry(struct memmgr *mm);
void pager_forget_failed(struct memmgr *mm);

/* --- evict.c: pages go --- */

int evictor_create(struct memmgr *mm, struct evictor **e);
void evictor_destroy(struct evictor *e);
/* Functions of the evictor want evict_lock. */
/* Takes up to nr pages at the clock's hand into limbo. Returns pages taken, 0 after three rounds without a victim. */
size_t evict_by_clock(struct memmgr *mm, size_t nr);
/* Takes resident pages first to first + nr - 1 of one chunk, whether referenced or not; sample: as samples. Returns pages taken. */
size_t evict_run(struct memmgr *mm, uint32_t first, uint32_t nr, bool sample);
/* Compresses limbo pages that were taken before the given time, up to max. Returns pages that left limbo. */
size_t evict_compress(struct memmgr *mm, uint64_t before_ns, size_t max, enum store_method method);
/* The same for a range, at once. */
size_t evict_compress_range(struct memmgr *mm, uint32_t first, uint32_t end, enum store_method method);
/* Puts pages of the store again: denser, or to close holes. Returns pages. */
size_t evict_repack(struct memmgr *mm, const struct store_item *items, size_t nr, enum store_method method);
/* Puts incompressible limbo pages into the store as they are, for the disk. Returns pages. */
size_t evict_store_raw(struct memmgr *mm, size_t max);
/* When the oldest page in limbo that was not tried yet was taken; UINT64_MAX: there is none. */
uint64_t evict_oldest_ns(struct memmgr *mm);
/* Writes clusters to disk until about that many bytes are begun, and waits for them. Returns bytes given back, or -errno. */
int64_t evict_write(struct memmgr *mm, uint64_t bytes);

/*
 * The bytes that nr limbo pages of one chunk had are not needed any more: drops them, and BUSY. The chunk's lock is held. Returns 0
 * or -errno: they stay BUSY.
 */
int evict_drop_limbo(struct memmgr *mm, uint32_t first, uint32_t nr);

/* --- share.c, share_merge.c, share_restore.c: pages that map slots of the pool --- */

int share_open(struct share *share);
void share_close(struct share *share);
/* What stays in an entry of a page whose content is dropped: the slot that nobody was told of. */
static inline page_entry share_owed(page_entry e)
{
	return page_holds_slot(e) ? (page_ref(e) & ~PAGE_REF_IN_POOL) << PAGE_REF_SHIFT : 0;
}
/*
 * Makes those of nr pages of one chunk anonymous that lie in mappings of the pool; their content is lost, their entries are the
 * caller's to change (share_owed). The chunk's lock is held. Returns 0 or -errno.
 */
int share_leave_pool(struct memmgr *mm, uint32_t first, uint32_t nr);
/* The slot's bytes, NULL: the pool has no such slot. The share's lock is held. */
const uint8_t *share_slot_bytes(struct share *share, uint32_t slot);
/* Finds pages of the chunk from at on that lie, or do not lie, in mappings of the pool. Returns how many follow each other, 0: no more. */
uint32_t share_next_run(const struct memmgr *mm, const struct chunk *c, bool in_pool, uint32_t *at);
/* Registers all of the chunk that does not lie in mappings of the pool, for chunk_arm(). Its lock is held. */
int share_register_rest(struct memmgr *mm, struct chunk *c);
/*
 * Lets whoever writes to pages that lie in mappings of the pool wait, until share_release() or another mapping and a wake-up. Returns 0,
 * -EBUSY: a device may be filling one of the chunk itself, and would go on when something else is in its place, or another -errno;
 * share_release() undoes it all the same. The chunk's lock is held.
 */
int share_hold(struct memmgr *mm, uint32_t first, uint32_t nr);
void share_release(struct memmgr *mm, uint32_t first, uint32_t nr);
/* Pages of the chunk have come into the pool or left it: counts anew. Its lock is held. */
void share_count_mappings(struct memmgr *mm, struct chunk *c);

/* --- node_binding.c --- */

/* Moves some pages to where they are bound now, as many as tick_ms allow. Returns whether some are left. For the reclaimer. */
bool node_binding_step(struct memmgr *mm, unsigned tick_ms);
/* Gives memory that becomes the guest's, from this page on in its region, the binding of the region. The chunk's lock is held. */
void node_binding_apply(struct memmgr *mm, uint32_t page, uint8_t *memory, size_t len);
/* Gives it to a stage, which holds nothing, before that gets its memory. */
void node_binding_stage(struct memmgr *mm, uint32_t page, struct bring_stage *stage);

/* --- sample.c: samples of the working set --- */

/*
 * Ends old samples and takes new ones, as many as are due. keep_evicted: old ones are not brought back. Returns whether samples are
 * out. For the reclaimer.
 */
bool sample_step(struct memmgr *mm, bool keep_evicted);
/* A page that was away was touched; e is its entry before. No chunk's lock is held. */
void sample_touched(struct memmgr *mm, uint32_t page, page_entry e);
/* A sample came back by itself, or was dropped. Its chunk's lock is held. */
void sample_lost(struct memmgr *mm, uint32_t page);

/* --- reclaim.c: the thread that keeps the target --- */

int reclaim_start(struct memmgr *mm, struct error *err);
void reclaim_stop(struct memmgr *mm);
void reclaim_wake(struct memmgr *mm);
/* Anonymous memory of this process now, in bytes. */
uint64_t reclaim_process_anon(void);
void reclaim_fill_stats(struct memmgr *mm, struct memmgr_stats *stats);

#endif
