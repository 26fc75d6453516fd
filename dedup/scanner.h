/*
 * The scanner of one guest: finds pages that have been quiet since they were written, asks the daemon who has one like them, and lets
 * them map its slots. A thread of the VMM; joins write tracking (memmgr/quiet.h), hashes, the daemon (client.h) and memmgr/share.h.
 *
 *     written, since the last pass ─> passed over     quiet, new ─> hashed, offered ─> FIRST:  nothing more until it is written
 *                                                                                  ├> ZERO:   dropped
 *                                                                                  ├> SEND:   its content, then as below
 *                                                                                  └> a slot: compared, mapped
 *
 * A pass goes through all memory once. When nothing was written the next one comes later, up to MOST_PASS_MS; when much was, sooner. The
 * thread takes no more of a CPU than it is told. Without the daemon it waits for it, and what is merged stays.
 */
#ifndef DEDUP_SCANNER_H
#define DEDUP_SCANNER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct memmgr;
struct scanner;

/* Whether a huge page (2 MiB) may be broken for what would merge of it. */
enum scanner_huge {
	SCANNER_HUGE_AUTO, /* while memory is short: the guest near its target, or the host near its end */
	SCANNER_HUGE_ON,   /* always */
	SCANNER_HUGE_OFF,  /* never */
};

/* All may be changed at any time. */
struct scanner_settings {
	uint32_t cpu_percent; /* of one CPU at most, for this guest's scanner; 1 to 100; 0: merges nothing. Default 10 */
	uint32_t pass_ms;     /* least time from pass to pass, in which a page must be quiet; default 1000 */
	uint32_t
		batch_pages; /* pages that are hashed before it sleeps for pass_ms, in the middle of a pass too; 0: all that there are */
	uint32_t huge_percent;  /* of a huge page that must merge for it to be broken; 1 to 100, default 25 */
	uint32_t most_mappings; /* of slots; 0: as many as vm.max_map_count leaves */
	enum scanner_huge huge;
};

/* Counters of this guest, under KSM's names where KSM has them; fields grow but for those marked "now". Pages unless said otherwise. */
#define SCANNER_STATS(X)                                                                            \
	X(pages_sharing, "now: pages that map a slot")                                              \
	X(pages_scanned, "hashed and offered")                                                      \
	X(pages_volatile, "now: written again before they were quiet, in the last pass")            \
	X(pages_unshared, "now: offered, and without a twin until now")                             \
	X(pages_skipped, "now: in huge pages that are not to be broken")                            \
	X(pages_merged, "that came to map a slot")                                                  \
	X(pages_broken, "that the guest wrote to afterwards")                                       \
	X(ksm_zero_pages, "all zero, dropped without a slot")                                       \
	X(full_scans, "passes")                                                                     \
	X(mappings, "now: mappings of slots, which the kernel limits")                              \
	X(most_mappings, "now: how many there may be")                                              \
	X(no_gain, "had a slot, and were not merged: too few in a huge page, or too many mappings") \
	X(differed, "had a slot with other bytes")                                                  \
	X(busy, "had a slot, and were in use by a device or not there at that moment")              \
	X(sent, "contents sent to the daemon")                                                      \
	X(restored, "chunks of 2 MiB that became ordinary memory again")                            \
	X(connections, "times that the daemon was found")                                           \
	X(cpu_us, "CPU time of the thread, microseconds")                                           \
	X(pass_cpu_us, "now: that of the last pass")                                                \
	X(metadata_bytes, "now: what scanning this guest takes here; the daemon has its own")       \
	X(general_profit, "now: bytes that are saved, less mappings and metadata; a signed number")

struct scanner_stats {
#define SCANNER_FIELD(name, text) uint64_t name;
	SCANNER_STATS(SCANNER_FIELD)
#undef SCANNER_FIELD
	bool connected;    /* now: to the daemon */
	char trouble[200]; /* why not, or why it stands still; "" */
};

struct scanner_params {
	struct memmgr *mm;  /* outlives the scanner */
	const char *socket; /* of the daemon */
	const char *domain; /* trust domain */
	const char *guest;  /* the guest's name, for people */
	int node;           /* NUMA node of its memory on the host, -1: none or several */
	struct scanner_settings settings;
};

void scanner_settings_init(struct scanner_settings *settings);

/*
 * Starts the thread, which looks for the daemon by itself. Returns 0, -EINVAL with a sentence for a name or a setting that is none, or
 * another -errno. Destroy it before the memory manager; after that merged pages stay as they are.
 */
int scanner_create(const struct scanner_params *params, struct scanner **scanner, struct error *err);
void scanner_destroy(struct scanner *s);
/* Returns 0, or -EINVAL with a sentence and nothing changed. */
int scanner_configure(struct scanner *s, const struct scanner_settings *settings, struct error *err);
void scanner_get_settings(struct scanner *s, struct scanner_settings *settings);
void scanner_get_stats(struct scanner *s, struct scanner_stats *stats);

#endif
