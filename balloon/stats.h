/* What a guest says of its own memory: the statistics of the balloon (virtio 1.2, 5.5.6.3, and what Linux 6.12 adds). Pure. */
#ifndef BALLOON_STATS_H
#define BALLOON_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* By their tags. MEMORY: bytes; COUNT: events since the guest's start. */
#define BALLOON_STATS(X)                                                                  \
	X(SWAP_IN, "swap-in", MEMORY, "read from the guest's swap")                       \
	X(SWAP_OUT, "swap-out", MEMORY, "written to it")                                  \
	X(MAJFLT, "major-faults", COUNT, "page faults that read from disk")               \
	X(MINFLT, "minor-faults", COUNT, "page faults that did not")                      \
	X(MEMFREE, "free-memory", MEMORY, "used for nothing")                             \
	X(MEMTOT, "total-memory", MEMORY, "known to the guest")                           \
	X(AVAIL, "available-memory", MEMORY, "could be had without swapping")             \
	X(CACHES, "disk-caches", MEMORY, "caches of files")                               \
	X(HTLB_PGALLOC, "htlb-pgalloc", COUNT, "huge pages of hugetlbfs taken")           \
	X(HTLB_PGFAIL, "htlb-pgfail", COUNT, "huge pages that could not be had")          \
	X(OOM_KILL, "oom-kills", COUNT, "processes killed for want of memory")            \
	X(ALLOC_STALL, "alloc-stalls", COUNT, "allocations that made room themselves")    \
	X(ASYNC_SCAN, "async-scans", MEMORY, "looked at in the background, to make room") \
	X(DIRECT_SCAN, "direct-scans", MEMORY, "looked at by allocations, to make room")  \
	X(ASYNC_RECLAIM, "async-reclaims", MEMORY, "taken in the background")             \
	X(DIRECT_RECLAIM, "direct-reclaims", MEMORY, "taken by allocations")

enum balloon_stat {
#define BALLOON_STAT_TAG(tag, name, kind, text) BALLOON_STAT_##tag,
	BALLOON_STATS(BALLOON_STAT_TAG)
#undef BALLOON_STAT_TAG
		BALLOON_NR_STATS,
};

struct balloon_stats {
	uint32_t present; /* bit N: the guest gave number N */
	uint64_t values[BALLOON_NR_STATS];
};

static inline bool balloon_stats_has(const struct balloon_stats *stats, enum balloon_stat stat)
{
	return stats->present >> stat & 1;
}

struct balloon_stat_field {
	const char *name; /* "free-memory", as QEMU has it behind "stat-" */
	const char *text;
	bool is_memory;
};
extern const struct balloon_stat_field balloon_stat_fields[BALLOON_NR_STATS];

/* Reads entries of a tag and a value, 10 bytes each, in any order. Unknown tags and what is left over at the end are ignored. */
void balloon_stats_parse(const uint8_t *bytes, size_t len, struct balloon_stats *stats);

#endif
