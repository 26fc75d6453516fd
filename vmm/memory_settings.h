/*
 * The memory manager's settings as people and programs write them: the names, kinds and ranges that -memory, QMP's set-memory and
 * query-memory, and the human monitor share.
 */
#ifndef VMM_MEMORY_SETTINGS_H
#define VMM_MEMORY_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "memmgr/memmgr.h"

#define MEMORY_SETTINGS_MAX_BYTES (4ull << 40)
#define MEMORY_SETTINGS_MIN_BYTES (1ull << 20)

/* X(member of struct memmgr_settings, name, least, most, text). Sizes also take 0, which is what the text says. */
#define MEMORY_SETTINGS_SIZES(X)                                                         \
	X(target, "target", "host memory that the guest may take; 0: no limit")          \
	X(floor, "floor", "resident memory is not pushed below this")                    \
	X(compressed_limit, "compressed-limit", "RAM for compressed pages; 0: no limit") \
	X(swap_limit, "swap-limit", "bytes of the swap file; 0: no limit but that of the file system")
#define MEMORY_SETTINGS_NUMBERS(X)                                                                         \
	X(evict_rate, "evict-rate", 0, 100000000, "pages/s that are taken at most; 0: no limit")           \
	X(limbo_ms, "limbo", 1, 3600000, "ms that a page stays untouched before it is compressed")         \
	X(cold_ms, "cold", 1, 604800000, "ms until a compressed page is packed denser or written to disk") \
	X(sample_rate, "sample-rate", 0, 1000000, "pages/s sampled for the working set; 0: off")
#define MEMORY_SETTINGS_SWITCHES(X)                                                                           \
	X(dense, "dense", "zstd for pages that stay cold")                                                    \
	X(kernel_tier, "kernel-tier", "the kernel's swap, on zram, in place of our compressed tier and disk") \
	X(swap_out, "swap-out", "whether the swap file may be written")                                       \
	X(prefetch, "prefetch", "bring back companions of a page that faults")

struct memory_setting {
	const char *name; /* "compressed-limit" */
	enum memory_setting_kind {
		MEMORY_SETTING_SIZE,   /* bytes */
		MEMORY_SETTING_NUMBER, /* uint32_t */
		MEMORY_SETTING_SWITCH, /* bool */
	} kind;
	uint64_t min, max;
	size_t offset; /* in struct memmgr_settings */
};
#define MEMORY_NR_SETTINGS 12
extern const struct memory_setting memory_settings[MEMORY_NR_SETTINGS];

uint64_t memory_setting_get(const struct memory_setting *setting, const struct memmgr_settings *from);
/* Returns 0, or -EINVAL with a sentence that begins with the name; then nothing is set. */
int memory_setting_set(const struct memory_setting *setting, struct memmgr_settings *to, uint64_t value, struct error *err);

/* What must hold between them, for a guest with so much RAM. Returns 0, or -EINVAL with a sentence that names them. */
int memory_settings_check(const struct memmgr_settings *settings, uint64_t ram_bytes, struct error *err);

#endif
