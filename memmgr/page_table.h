/*
 * What has become of each page of a guest: the page table of states.
 *
 * Pages are numbered over all regions of RAM. Numbers are given so that 512 pages with one quotient lie in one 2 MiB chunk of the
 * host's address space, which is the unit of arming and of locking; where a region starts or ends within a chunk, numbers of pages
 * that do not exist are left out. An entry is 8 bytes, a page's place in the recorded order 4, its heat 1; with the chunks it makes
 * 13.3 bytes a page.
 *
 *   RESIDENT --evict--> LIMBO --evict_compress--> COMPRESSED (in RAM, on disk or both: where its cluster lies, see store.h)
 *      ^                  |  \------------------> ZERO
 *      +--- bring_page ---+------- bring_page ------+
 *   any --memmgr_discard--> BALLOONED or RESIDENT (untouched: the kernel fills it with zeroes)
 */
#ifndef MEMMGR_PAGE_TABLE_H
#define MEMMGR_PAGE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/lock.h"
#include "memmgr/guest_ram.h"

#define CHUNK_PAGES 512u
#define CHUNK_SIZE (CHUNK_PAGES * (uint64_t)GUEST_PAGE_SIZE)

enum page_state {
	PAGE_RESIDENT,   /* private page, or never touched: the kernel zero-fills it, or the handler where its chunk is armed */
	PAGE_ZERO,       /* content is all zero: dropped */
	PAGE_SHARED,     /* maps a slot of the pool, copy-on-write */
	PAGE_LIMBO,      /* taken from the guest, bytes in the limbo mapping */
	PAGE_COMPRESSED, /* in the store: its RAM tier, or SWAPPED when its cluster lies on disk alone */
	PAGE_BALLOONED,  /* given up by the guest */
	PAGE_ABSENT,     /* no such page */
	PAGE_NR_STATES,
};

enum page_flags {
	PAGE_BUSY = 1 << 3,           /* its bytes in the limbo mapping are being read, and will be dropped by the reader */
	PAGE_LOADING = 1 << 4,        /* somebody waits for it to come from disk */
	PAGE_INCOMPRESSIBLE = 1 << 5, /* did not compress when it was last tried */
	PAGE_REFERENCED = 1 << 6,     /* touched since the hand of the clock last passed */
	PAGE_SAMPLED = 1 << 7,        /* taken as a sample of the working set */
	PAGE_PREFETCHED = 1 << 8,     /* brought back untouched */
	PAGE_SPARED = 1 << 9,         /* such a page, which the hand has passed once since */
};

/*
 * state: bits 0 to 2; flags: 3 to 9; 10 to 23: when it was evicted (0.25 s units, wrapping); 24 to 63: a store_ref, or
 * with PAGE_REF_SHARE what is known of the page's slot of the pool (no store has so many clusters that its references have the bit).
 * Of a RESIDENT page the time is 0, or says that it was given to the kernel's swap (evict_kernel.h).
 */
typedef uint64_t page_entry;
#define PAGE_STATE_MASK 7ull
#define PAGE_FLAGS_MASK 0x3f8ull
#define PAGE_TIME_SHIFT 10
#define PAGE_TIME_MASK (0x3fffull << PAGE_TIME_SHIFT)
#define PAGE_REF_SHIFT 24

#define PAGE_REF_SHARE (1ull << 39)   /* it is no reference to the store: */
#define PAGE_REF_IN_POOL (1ull << 38) /* the page lies in a mapping of the pool */
#define PAGE_REF_OWED (1ull << 37)    /* a reference to the slot in the low 32 bits is held for this page */

static inline enum page_state page_state(page_entry e)
{
	return (enum page_state)(e & PAGE_STATE_MASK);
}

static inline uint64_t page_ref(page_entry e)
{
	return e >> PAGE_REF_SHIFT;
}

/* The store_ref, 0: there is none. */
static inline uint64_t page_store_ref(page_entry e)
{
	return page_ref(e) & PAGE_REF_SHARE ? 0 : page_ref(e);
}

static inline bool page_is_in_pool(page_entry e)
{
	return (page_ref(e) & (PAGE_REF_SHARE | PAGE_REF_IN_POOL)) == (PAGE_REF_SHARE | PAGE_REF_IN_POOL);
}

static inline bool page_holds_slot(page_entry e)
{
	return (page_ref(e) & (PAGE_REF_SHARE | PAGE_REF_OWED)) == (PAGE_REF_SHARE | PAGE_REF_OWED);
}

/* Not SHARED any more, but its slot was not reported yet. */
static inline bool page_owes_slot(page_entry e)
{
	return page_state(e) != PAGE_SHARED && page_holds_slot(e);
}

struct chunk {
	struct lock lock;    /* guards the rest, the entries of the chunk's pages, and their places in guest and limbo mapping */
	uint8_t *hva;        /* of page 0, aligned to 2 MiB, also where that page does not exist */
	uint8_t *limbo;      /* the same of the limbo mapping */
	uint16_t first, end; /* pages that exist: first to end - 1 */
	uint16_t missing;    /* pages whose content is kept elsewhere: ZERO, LIMBO, COMPRESSED */
	uint16_t in_limbo;   /* of those, pages in limbo */
	uint16_t in_pool;    /* pages that lie in a mapping of the pool: SHARED, or RESIDENT as a private copy (share.h) */
	uint16_t owed;       /* pages whose slot is no longer needed, which nobody was told yet */
	uint16_t mappings;   /* that its pages in the pool make of it, but for one */
	uint16_t
		written; /* what is known from a look at what was broken, if `looked`: nothing was written but some of nr_written pages, */
	uint16_t nr_written; /* from this one on */
	bool looked;
	uint8_t around;     /* touches of limbo since pages were taken: so many more come back with the next (1 << around) */
	bool limbo_huge;    /* its limbo mapping may hold a huge page */
	_Atomic bool whole; /* it is being brought back as a whole: whoever waits for a page of it is woken then */
	bool armed;         /* userfaultfd tells of missing pages; */
	bool calm;          /* nothing was missing when it was looked at, nor was taken since (arming.c) */
	bool merged;        /* pages of it came to map slots, or were dropped as zero, since it was last looked at */
	bool arm_again;     /* not of all that was mapped since: nothing more may be taken before it does */
};

struct page_table {
	struct chunk *chunks;
	uint32_t nr_chunks;
	uint32_t nr_pages;   /* that exist */
	page_entry *entries; /* of nr_chunks * CHUNK_PAGES pages */
	uint8_t *heat;       /* how often each page came back from limbo (heat.h). Guarded by the chunk's lock */
	uint32_t *
		order; /* when the page was last brought back, as a number that grows with each; 0: never. Guarded by the chunk's lock */
	_Atomic uint64_t counts[PAGE_NR_STATES]; /* pages in each state */
	_Atomic uint64_t nr_raw;                 /* pages in LIMBO that are INCOMPRESSIBLE */
	/* Address to page: regions as guest_ram has them. */
	size_t nr_regions;
	struct page_table_region {
		uint8_t *hva;
		uint64_t gpa, size;
		uint32_t first_page;
		uint8_t *limbo; /* mapping of the same size and alignment */
	} regions[GUEST_RAM_MAX_REGIONS];
};

/* All pages resident. Makes the limbo mappings, too. Returns 0 or -ENOMEM with a sentence. */
int page_table_create(const struct guest_ram *ram, struct page_table *pt, struct error *err);
void page_table_destroy(struct page_table *pt);
/* Bytes that the table takes. */
uint64_t page_table_bytes(const struct page_table *pt);

/* Changes state, flags and reference of one page, and counts. The chunk's lock is held. */
void page_table_set(struct page_table *pt, uint32_t page, page_entry entry);

/* The page at a host address, or at a guest-physical one; false when there is none. */
bool page_table_find(const struct page_table *pt, uint64_t hva, uint32_t *page);
bool page_table_find_gpa(const struct page_table *pt, uint64_t gpa, uint32_t *page);
/* A range as pages first to end - 1; false unless gpa and len are multiples of 4096, and all of it is RAM of one region. */
bool page_table_find_range(const struct page_table *pt, uint64_t gpa, uint64_t len, uint32_t *first, uint32_t *end);

/* Gives the page its place in the recorded order. The chunk's lock is held; others look at it without, for hints. */
static inline void page_table_note_use(struct page_table *pt, uint32_t page, uint32_t number)
{
	__atomic_store_n(&pt->order[page], number, __ATOMIC_RELAXED);
}

static inline struct chunk *page_chunk(const struct page_table *pt, uint32_t page)
{
	return &pt->chunks[page / CHUNK_PAGES];
}

static inline uint8_t *page_hva(const struct page_table *pt, uint32_t page)
{
	return page_chunk(pt, page)->hva + (uint64_t)(page % CHUNK_PAGES) * GUEST_PAGE_SIZE;
}

static inline uint8_t *page_limbo(const struct page_table *pt, uint32_t page)
{
	return page_chunk(pt, page)->limbo + (uint64_t)(page % CHUNK_PAGES) * GUEST_PAGE_SIZE;
}

#endif
