/* What the daemon knows of a guest, as docs/API.md writes it: rows, statistics, and what its memory takes. */
#ifndef HOST_GUEST_REPORT_H
#define HOST_GUEST_REPORT_H

#include <stdint.h>

#include "host/guest.h"

/*
 * What a guest's memory takes, and does. X(member, JSON name, field of struct memmgr_stats, factor, SIZE or RATE, text): SIZE is a number of bytes
 * after the factor, RATE a number each second.
 */
#define GUEST_USE_FIELDS(X)                                                                                            \
	X(granted, "granted", used_pages, 4096, SIZE, "host memory that the guest takes with all that is kept for it") \
	X(resident, "resident", resident_pages, 4096, SIZE, "private pages of the guest that are mapped")              \
	X(target, "target", target_pages, 4096, SIZE, "what granted is to be at most, 0: no limit")                    \
	X(active, "active", active_pages, 4096, SIZE, "estimate of the working set")                                   \
	X(shared, "shared", shared_pages, 4096, SIZE, "mapped from the pool of equal pages")                           \
	X(zero, "zero", zero_pages, 4096, SIZE, "all zero, kept nowhere")                                              \
	X(balloon, "balloon", balloon_pages, 4096, SIZE, "given up by the guest")                                      \
	X(limbo, "limbo", limbo_pages, 4096, SIZE, "taken, not yet compressed")                                        \
	X(compressed, "compressed", compressed_pages, 4096, SIZE, "pages in the compressed tier, as they were")        \
	X(compressed_memory, "compressed-memory", compressed_bytes, 1, SIZE, "RAM that the compressed tier takes")     \
	X(swapped, "swapped", swap_pages, 4096, SIZE, "in the swap file alone")                                        \
	X(kernel_swapped, "kernel-swapped", kernel_swap_pages, 4096, SIZE, "in the kernel's swap")                     \
	X(overhead, "overhead", metadata_bytes, 1, SIZE, "tables of the memory manager")                               \
	X(faults, "faults", faults, 1, RATE, "faults that brought something back")                                     \
	X(major_faults, "major-faults", major_faults, 1, RATE, "faults that waited for the disk")                      \
	X(swap_in, "swap-in", swap_in, 4096, RATE, "bytes read from the swap file")                                    \
	X(swap_out, "swap-out", swap_out, 4096, RATE, "bytes written to the swap file")                                \
	X(compress, "compress", compressed, 4096, RATE, "bytes compressed")                                            \
	X(decompress, "decompress", decompressed, 4096, RATE, "bytes decompressed")                                    \
	X(stall, "stall", stall_ns, 1e-9, RATE, "seconds that vCPUs waited for memory")

struct guest_use {
#define GUEST_USE_MEMBER(member, name, field, factor, kind, text) double member;
	GUEST_USE_FIELDS(GUEST_USE_MEMBER)
#undef GUEST_USE_MEMBER
	double age; /* seconds since the numbers were written */
};

struct guest_use_field {
	const char *name;
	bool is_rate;
	size_t offset;       /* in struct guest_use */
	size_t stats_offset; /* in struct memmgr_stats */
	double factor;
	const char *text;
};
#define GUEST_USE_NR (sizeof(struct guest_use) / sizeof(double) - 1)
extern const struct guest_use_field guest_use_fields[GUEST_USE_NR];

/* Returns false when nothing is known: no VMM, or it has said nothing yet. */
bool guest_use(const struct guest *guest, struct guest_use *use);

/* New objects, NULL without memory. */
json_t *guest_report_row(const struct guest *guest);
/* settings: of query-memory, or NULL. */
json_t *guest_report_details(const struct guest *guest, const json_t *settings);
json_t *guest_report_stats(const struct guest *guest);

#endif
