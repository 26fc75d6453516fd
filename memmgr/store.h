/*
 * The tiers below RAM's pages: compressed pages of one guest, gathered in clusters that lie in RAM, in the swap file, or in both.
 *
 * A page that is put is compressed and appended to an open cluster (CLUSTER_BYTES); its reference (cluster and slot) is kept in the
 * page table and never changes while the cluster moves between RAM and disk. Pages put one after the other lie beside each other,
 * so that what was evicted together comes back together. A cluster knows of each slot which page it holds, how many of its bytes
 * live, and is freed with its last page. Sparse clusters are emptied by putting their live pages again (store_pick_sparse).
 *
 * The page table decides which references are alive. For one reference store_get(), store_drop() and what repeats a page must not
 * race (the caller's chunk lock); otherwise everything may be called from any thread.
 */
#ifndef MEMMGR_STORE_H
#define MEMMGR_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "memmgr/swap_file.h"

struct store;
struct store_writer;

/* A page in the store: 40 bits, never 0. */
typedef uint64_t store_ref;
#define STORE_REF_BITS 40

enum store_method {
	STORE_FAST,  /* LZ4 */
	STORE_DENSE, /* zstd: for what stays cold */
	STORE_RAW,   /* as it is: for incompressible pages that go to disk */
};

struct store_params {
	uint64_t nr_pages;      /* of the guest: pages are numbered below that */
	uint64_t ram_limit;     /* bytes that clusters in RAM and their metadata may take; 0: no limit */
	struct swap_file *swap; /* NULL: no disk tier. Owned by the caller, outlives the store */
};

int store_create(const struct store_params *params, struct store **store, struct error *err);
void store_destroy(struct store *s);
void store_set_ram_limit(struct store *s, uint64_t bytes);

/* For a thread that puts pages: its open clusters, and the compressor's memory. One thread at a time uses a writer. */
int store_writer_create(struct store *s, struct store_writer **writer);
void store_writer_destroy(struct store_writer *w);
/* Closes its clusters, so that all that was put can be written to disk, or put again. */
void store_writer_flush(struct store_writer *w);

/*
 * Compresses the page (4096 bytes, aligned to 8, which nobody changes meanwhile) and keeps it. Returns 0 with *ref, -E2BIG when it
 * does not compress to less than STORE_WORTHWHILE bytes (not with STORE_RAW), -ENOSPC over the limit, -ENOMEM. A page of zeroes
 * takes its slot and no bytes.
 */
#define STORE_WORTHWHILE 3584
int store_put(struct store_writer *w, uint32_t page_nr, const void *page, enum store_method method, store_ref *ref);

/*
 * The page's bytes. Returns 0, -EAGAIN when its cluster lies on disk alone (store_load_begin), -EIO when the data is damaged,
 * -ENOMEM.
 */
int store_get(struct store *s, store_ref ref, void *page);
/* Tells that the page is not needed any more. */
void store_drop(struct store *s, store_ref ref);
/* Bytes that the page takes, compressed. */
size_t store_size(const struct store *s, store_ref ref);

/* A live or dead slot: whoever acts on it checks the page table under its lock. */
struct store_item {
	uint32_t page_nr;
	store_ref ref;
};
/*
 * The slots of ref's cluster, in the order in which they were put; *self is ref's own place among them. Returns how many, at most
 * max.
 */
#define STORE_CLUSTER_SLOTS 256
size_t store_cluster_items(struct store *s, store_ref ref, struct store_item *items, size_t max, size_t *self);

/*
 * Clusters in the order in which they were opened for putting (clusters that are freed are left out): any ref of the next or
 * previous one, 0 when there is none. The pager brings pages back in this order. Cheap (no locks that are held long); ref may be of
 * a cluster that has just died: then 0.
 */
#define STORE_SLOT_BITS 8 /* ref >> STORE_SLOT_BITS is the same for all slots of a cluster, and differs between clusters */
store_ref store_cluster_next(struct store *s, store_ref ref);
store_ref store_cluster_prev(struct store *s, store_ref ref);
store_ref store_cluster_last(struct store *s);
/* A word of each cluster for the pager; 0 when the cluster is new. */
uint32_t store_get_mark(struct store *s, store_ref ref);
void store_set_mark(struct store *s, store_ref ref, uint32_t mark);
/* Whether the cluster lies on disk alone. */
bool store_is_on_disk(struct store *s, store_ref ref);

/*
 * The live items of a closed cluster in RAM, to be put again and dropped: of the one whose dead bytes are the most, and more than percent
 * of it, with the method by which it was put; or of one that was put with STORE_FAST at least min_age_ms ago, for STORE_DENSE. Return
 * how many, 0 when there is none.
 */
size_t store_pick_sparse(struct store *s, unsigned percent, struct store_item *items, size_t max, enum store_method *method);
size_t store_pick_cold(struct store *s, uint64_t min_age_ms, struct store_item *items, size_t max);

/* --- disk --- */

/* A thread's own way to the disk: one swap_io. */
struct store_io;
int store_io_create(struct store *s, struct store_io **io, struct error *err);
void store_io_destroy(struct store_io *io);
/* Readable when something has completed: for poll(2). */
int store_io_fd(const struct store_io *io);
/* Loads and writes that were begun and have not been reaped. */
unsigned store_io_pending(const struct store_io *io);

/*
 * Begins to load the cluster of ref into RAM. Returns 0 when begun, -EALREADY when somebody is at it (ask store_get() again later),
 * -EEXIST when it is in RAM already, -EBUSY when the queue is full (reap first), -ENOMEM.
 */
int store_load_begin(struct store_io *io, store_ref ref);
/* Loads that begin from now on are ahead of need, or not: others of the disk then go first. */
void store_load_set_ahead(struct store_io *io, bool is_ahead);
/*
 * Begins to write up to max closed clusters that lie in RAM alone to the swap file, oldest first; or gives the RAM of those back at
 * once that the swap file still holds unchanged. Returns how many were begun or given back, -ENOSPC when the file is full, or -EIO
 * after writes have failed.
 */
int store_write_begin(struct store_io *io, unsigned max);
/*
 * The page's bytes by reading its record alone, at once, from a cluster that lies on disk; it stays there. buffer: STORE_DISK_BUFFER
 * bytes, aligned to a page. For one page for which somebody waits: the caller sleeps for as long as the disk takes, and store_drop()
 * of the cluster's last page waits for it. Returns 0, -EAGAIN: it does not lie on disk alone, or is not to be had by itself; -EIO: it
 * could not be read, or is damaged, which loading it will tell again. *serial: store_serial() of what was read. The caller has no lock, so
 * the reference may be dropped and given again meanwhile: it compares both before it believes the bytes.
 */
#define STORE_DISK_BUFFER (3u * 4096)
int store_get_from_disk(struct store *s, store_ref ref, void *buffer, void *page, uint32_t *serial);
/* Tells the clusters apart that have one number, one after the other: a reference may come again, for other bytes. */
uint32_t store_serial(const struct store *s, store_ref ref);
/* What completed: for loads any ref of the cluster. A written cluster's RAM has been given back when it is reported with 0. */
struct store_done {
	bool is_write;
	store_ref ref; /* of the cluster's first slot */
	int result;    /* 0, -EIO, -ENOSPC, -ENOMEM */
};
/*
 * Reaps up to max, waiting for one when wait and something is pending. Returns how many. Hands what was begun to the kernel first.
 */
size_t store_io_reap(struct store_io *io, bool wait, struct store_done *done, size_t max);

struct store_stats {
	uint64_t pages_ram, pages_disk; /* live pages by where they lie (ram: also those in both) */
	uint64_t data_bytes;            /* live compressed bytes in RAM */
	uint64_t ram_bytes;             /* all that the RAM tier takes: clusters with their holes, tables, dictionaries */
	uint64_t disk_bytes;            /* of the swap file */
	uint64_t puts, gets, drops, incompressible; /* pages */
	uint64_t clusters_written, clusters_read, compacted;
	uint64_t pages_written, pages_read; /* live ones of those clusters */
	uint64_t io_errors, damaged;
};
void store_get_stats(const struct store *s, struct store_stats *stats);

#endif
