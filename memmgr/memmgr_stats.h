/*
 * What a guest's memory manager counts. Pages are 4 KiB; counters only grow, since the VMM's start. Other processes read them in
 * a shared page, without waking the VMM: memmgr_stats_page_read().
 */
#ifndef MEMMGR_MEMMGR_STATS_H
#define MEMMGR_MEMMGR_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMMGR_STATS_MAGIC 0x4d4d61646f676150ull /* "PagodaMM" */
#define MEMMGR_STATS_VERSION 1

/*
 * Every field, with its name for people and QMP: X(name, kind, text). GAUGE: a size now; COUNT: grows.
 * The shared page has them in this order, as 64-bit words: new ones go to the end.
 */
#define MEMMGR_STATS_FIELDS(X)                                                                              \
	X(total_pages, GAUGE, "pages of guest RAM")                                                         \
	X(target_pages, GAUGE, "target for what the guest takes of the host's memory, 0: none")             \
	X(used_pages, GAUGE, "host memory taken: resident, limbo, compressed tier, tables")                 \
	X(resident_pages, GAUGE, "private pages of the guest that are mapped")                              \
	X(limbo_pages, GAUGE, "taken from the guest, bytes still there")                                    \
	X(compressed_pages, GAUGE, "in the compressed tier in RAM")                                         \
	X(compressed_bytes, GAUGE, "RAM that the compressed tier takes, holes and tables included")         \
	X(swap_pages, GAUGE, "in the swap file alone")                                                      \
	X(swap_bytes, GAUGE, "size of the swap file")                                                       \
	X(zero_pages, GAUGE, "taken and all zero: kept nowhere")                                            \
	X(shared_pages, GAUGE, "mapped from the pool of equal pages")                                       \
	X(balloon_pages, GAUGE, "given up by the guest")                                                    \
	X(metadata_bytes, GAUGE, "page table of states and other tables")                                   \
	X(active_pages, GAUGE, "estimate of the working set, 0: not sampled")                               \
	X(armed_chunks, GAUGE, "chunks of 2 MiB that miss something, or lately did")                        \
	X(evicted, COUNT, "pages taken into limbo")                                                         \
	X(copied_from_limbo, COUNT, "touched in limbo and moved back")                                      \
	X(compressed, COUNT, "pages compressed")                                                            \
	X(incompressible, COUNT, "pages that did not compress")                                             \
	X(decompressed, COUNT, "pages decompressed for a fault")                                            \
	X(swap_out, COUNT, "pages written to the swap file")                                                \
	X(swap_in, COUNT, "pages read from the swap file")                                                  \
	X(zero_filled, COUNT, "pages brought back as zero")                                                 \
	X(prefetched, COUNT, "pages brought back before they were touched")                                 \
	X(prefetch_wasted, COUNT, "prefetched, and taken again without a sign of use")                      \
	X(faults, COUNT, "faults served")                                                                   \
	X(major_faults, COUNT, "of those, faults that waited for the disk")                                 \
	X(stall_ns, COUNT, "time between a fault's arrival and its end, summed up")                         \
	X(sampled, COUNT, "pages sampled for the working set")                                              \
	X(pinned, COUNT, "victims that the kernel held fast (direct I/O, pinned by devices)")               \
	X(retried, COUNT, "ioctls that had to be repeated")                                                 \
	X(compacted, COUNT, "compressed pages moved to close holes")                                        \
	X(io_errors, COUNT, "transfers of the swap file that failed")                                       \
	X(damaged, COUNT, "records of the swap file that were not what was written")                        \
	X(failures, COUNT, "times that a page could not be brought back")                                   \
	X(migrated, COUNT, "pages moved to another NUMA node")                                              \
	X(merged, COUNT, "pages that were made to map a slot of the pool")                                  \
	X(unmerged, COUNT, "of those, pages that do not any more")                                          \
	X(kernel_swap_pages, GAUGE, "given to the kernel's swap (tier=kernel), or swapped out by the host") \
	X(kernel_swap_bytes, GAUGE, "RAM that these pages take in zram")

struct memmgr_stats {
#define MEMMGR_STATS_MEMBER(name, kind, text) uint64_t name;
	MEMMGR_STATS_FIELDS(MEMMGR_STATS_MEMBER)
#undef MEMMGR_STATS_MEMBER
};
#define MEMMGR_STATS_NR (sizeof(struct memmgr_stats) / sizeof(uint64_t))

struct memmgr_stats_field {
	const char *name; /* "copied_from_limbo" */
	const char *text;
	bool is_count;
	size_t offset; /* in struct memmgr_stats */
};
/* All fields, in order. */
extern const struct memmgr_stats_field memmgr_stats_fields[MEMMGR_STATS_NR];

/*
 * The shared page. sequence is odd while the writer is at it (a seqlock: Linux, Documentation/locking/seqlock.rst). Readers of
 * another process trust nothing in it: bounds are theirs to check.
 */
struct memmgr_stats_page {
	uint64_t magic;
	uint32_t version, nr_fields;
	uint32_t sequence, pid;
	uint64_t time_ns; /* CLOCK_MONOTONIC, of the last write */
	struct memmgr_stats stats;
};

/*
 * Makes the memfd and maps it. Returns the descriptor, or -errno; it is sealed against change of size and against writing, so
 * that it may be handed to anybody.
 */
int memmgr_stats_page_create(struct memmgr_stats_page **page);
void memmgr_stats_page_destroy(struct memmgr_stats_page *page, int fd);
/* One writer at a time. */
void memmgr_stats_page_write(struct memmgr_stats_page *page, const struct memmgr_stats *stats, uint64_t now_ns);
/*
 * Copies a consistent state; fields that an older writer does not have are 0. From any thread or process. Returns 0, -EAGAIN when
 * the writer never pauses or has died within, -EPROTO for another magic or version.
 */
int memmgr_stats_page_read(const struct memmgr_stats_page *page, struct memmgr_stats *stats, uint64_t *time_ns);

#endif
