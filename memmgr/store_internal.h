/*
 * What the files of the store share: clusters, and who may touch what of them. The algorithm and its invariants are at the top of
 * store.c.
 */
#ifndef MEMMGR_STORE_INTERNAL_H
#define MEMMGR_STORE_INTERNAL_H

#include <stdatomic.h>

#include "base/lock.h"
#include "memmgr/compress.h"
#include "memmgr/store.h"

#define PAGE_BYTES 4096u
/*
 * Data and table of slots of a cluster in RAM. Its records on disk take a tag each: so much further apart are the clusters'
 * buffers.
 */
#define CLUSTER_BYTES 65536u
#define CLUSTER_STRIDE (CLUSTER_BYTES + PAGE_BYTES)

/*
 * A slot, in one word: whether the page lives (bit 0), how it is compressed (3 bits), bytes - 1 (12), offset in the cluster's data
 * (16), page (32). Only the first bit changes once the page is in.
 */
typedef _Atomic uint64_t slot_word;
#define SLOT_LIVE 1ull
#define SLOT_HOW_SHIFT 1
#define SLOT_LEN_SHIFT 4
#define SLOT_OFFSET_SHIFT 16
#define SLOT_PAGE_SHIFT 32
#define SLOT_HOW_MASK 7u
#define SLOT_NO_RECORD 7u /* instead of how: dead when the cluster was written, so that it has no record on disk */

static inline unsigned slot_how(uint64_t word)
{
	return word >> SLOT_HOW_SHIFT & SLOT_HOW_MASK;
}

static inline uint32_t slot_len(uint64_t word)
{
	return slot_how(word) == COMPRESSION_ZERO ? 0 : (uint32_t)(word >> SLOT_LEN_SHIFT & 0xfff) + 1;
}

/* Whether the slot has a record on disk (invariant 7). */
static inline bool slot_has_record(uint64_t word)
{
	return slot_how(word) != SLOT_NO_RECORD && slot_how(word) != COMPRESSION_ZERO;
}

/* Whether it is of a chain: its page needs those of the slots before it that are, down to the first COMPRESSION_ZSTD (invariant 8). */
static inline bool slot_is_chained(uint64_t word)
{
	return slot_how(word) == COMPRESSION_ZSTD || slot_how(word) == COMPRESSION_ZSTD_CHAIN;
}

static inline uint32_t slot_offset(uint64_t word)
{
	return word >> SLOT_OFFSET_SHIFT & 0xffff;
}

enum cluster_state {
	CLUSTER_FREE,
	CLUSTER_OPEN,      /* a writer appends to it */
	CLUSTER_RAM,       /* closed */
	CLUSTER_WRITING,   /* being written from a copy */
	CLUSTER_BOTH,      /* in the swap file, and its records as they are there in RAM */
	CLUSTER_DISK,      /* in the swap file alone */
	CLUSTER_LOADING,   /* being read */
	CLUSTER_RELEASING, /* its RAM is given back: not for readers, nor to be loaded */
};

/* In struct cluster.word: pins of readers, and above them the state. */
#define CLUSTER_STATE_SHIFT 24
#define CLUSTER_PINS ((1u << CLUSTER_STATE_SHIFT) - 1)

enum cluster_queue {
	QUEUE_FAST,  /* by STORE_FAST, in RAM alone */
	QUEUE_DENSE, /* by STORE_DENSE, or by STORE_FAST and store_pick_cold() had them */
	QUEUE_RAW,   /* by STORE_RAW */
	QUEUE_BOTH,  /* loaded */
	NR_QUEUES,
	QUEUE_NONE = NR_QUEUES,
};

enum cluster_link { LINK_ORDER, LINK_AGE, LINK_SPARSE, NR_LINKS };

/* Clusters are numbered from 1; 0 is none. All but the atomics is guarded by store.lock. */
struct cluster {
	_Atomic uint32_t word;
	uint16_t nr_slots, nr_live;
	uint32_t data_len, live_bytes;
	_Atomic(slot_word *) slots; /* the writer's while open; behind the data; of a struct disk_table */
	uint32_t opened_ms, mark;
	struct {
		uint32_t next, prev;
	} links[NR_LINKS];       /* a free cluster's next of LINK_ORDER is the next free one */
	uint8_t queue;           /* enum cluster_queue: in which of store.ages it is */
	uint8_t bucket;          /* in which of store.sparse, 0: in none */
	uint8_t method;          /* enum store_method of its pages */
	_Atomic uint32_t serial; /* store.opened when it was opened */
};

/* What is known of a cluster that has an extent. */
struct disk_table {
	struct swap_extent extent; /* len 0: none (a write has failed) */
	slot_word slots[];
};

struct cluster_list {
	uint32_t first, last;
};

/* For a reader while it decompresses. */
struct seat {
	atomic_bool busy;
	struct decompressor *decompressor; /* the holder's; made when first needed */
	/* Which page it decompressed last, if that was one of a chain: the next one of the chain needs no other then. */
	uint32_t number, serial; /* 0: none */
	unsigned slot, place;
	uint64_t opened; /* store.opened then */
	_Atomic uint64_t gets, damaged;
	_Atomic size_t bytes;
	char apart[64]; /* so that no two share a line of the cache, wherever the store lies */
};

#define NR_SEATS 8
#define NR_BUCKETS 16

struct store {
	struct cluster *clusters; /* [max_clusters], from number 1 on; touched up to next_new */
	uint8_t *buffers;
	uint64_t nr_pages;
	uint32_t max_clusters;
	struct swap_file *swap;
	struct seat seats[NR_SEATS];
	_Atomic size_t writer_bytes; /* compressors */
	_Atomic uint64_t opened;     /* clusters, ever */
	_Atomic uint64_t incompressible;

	struct lock lock; /* LOCK_STORE: all below */
	uint64_t ram_limit;
	uint32_t next_new, first_free;
	uint32_t first_warm, nr_warm; /* free numbers whose buffers still have their RAM: live_bytes says how much */
	struct cluster_list order, ages[NR_QUEUES], sparse[NR_BUCKETS];
	size_t cluster_bytes, table_bytes; /* RAM of clusters' buffers, and of disk tables */
	uint64_t pages_ram, pages_disk, data_bytes;
	uint64_t puts, drops, clusters_written, clusters_read, pages_written, pages_read, compacted, io_errors;
	int write_error; /* of the last write, until store_write_begin() has told */
};

static inline store_ref cluster_ref(uint32_t number, unsigned slot)
{
	return (store_ref)number << STORE_SLOT_BITS | slot;
}

static inline uint32_t ref_cluster(store_ref ref)
{
	return (uint32_t)(ref >> STORE_SLOT_BITS);
}

static inline unsigned ref_slot(store_ref ref)
{
	return ref & ((1u << STORE_SLOT_BITS) - 1);
}

static inline uint8_t *cluster_buffer(const struct store *s, uint32_t number)
{
	return s->buffers + (size_t)(number - 1) * CLUSTER_STRIDE;
}

static inline struct cluster *cluster_of(const struct store *s, uint32_t number)
{
	return &s->clusters[number - 1];
}

static inline enum cluster_state cluster_state(const struct cluster *c)
{
	return (enum cluster_state)(atomic_load(&c->word) >> CLUSTER_STATE_SHIFT);
}

static inline size_t whole_pages(size_t bytes)
{
	return (bytes + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1);
}

/* With the lock held. */
void cluster_set_state(struct cluster *c, enum cluster_state state);
void cluster_list_append(struct store *s, struct cluster_list *list, enum cluster_link which, uint32_t number);
void cluster_list_remove(struct store *s, struct cluster_list *list, enum cluster_link which, uint32_t number);
/*
 * Puts the cluster into the queue, or takes it out of all (QUEUE_NONE); and into the bucket that its dead bytes say, if it is in
 * RAM alone.
 */
void cluster_enqueue(struct store *s, uint32_t number, enum cluster_queue queue);
void cluster_update_bucket(struct store *s, uint32_t number);
enum cluster_queue cluster_home_queue(const struct cluster *c);
/* The table of a cluster that has an extent, or had one that could not be written; else NULL. */
struct disk_table *cluster_disk_table(const struct store *s, const struct cluster *c);
/* Bytes of RAM that the buffer of a closed cluster takes. */
size_t cluster_ram(const struct store *s, uint32_t number);
size_t store_ram_bytes(const struct store *s);
/*
 * A number that is free, or 0: there is none, or no RAM for it. Its buffer counts as CLUSTER_BYTES from then on, and holds any
 * bytes.
 */
uint32_t cluster_allocate(struct store *s, bool limited);
/*
 * Frees a number whose buffer counts as len bytes of RAM. The next cluster may get them (keep), else the kernel: then the lock is
 * released meanwhile.
 */
void cluster_free(struct store *s, uint32_t number, size_t len, bool keep);

/* With the lock held, which they release. The cluster is not pinned by the caller. */

/* Frees a cluster whose pages are all dead. */
void cluster_release(struct store *s, uint32_t number);
/* Gives back the RAM of a cluster that its extent holds, too: it is on disk alone afterwards, or freed when it has no page left. */
void cluster_give_back(struct store *s, uint32_t number);

/*
 * Waits until no reader is within the cluster's buffer or table. Without the lock, in a state or after a change that keeps new ones
 * from what matters.
 */
void cluster_wait_unpinned(struct cluster *c);

uint32_t store_now_ms(void);

/* Where slot's record begins in the extent (invariant 7). */
size_t store_record_offset(const struct disk_table *table, unsigned slot);

#endif
