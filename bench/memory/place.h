/*
 * Guest RAM without a guest: a plain thread of the program touches it. It is either under our memory manager, or left to the kernel, which swaps
 * to whatever the caller has switched on (zram, a file): the same bytes, the same calls, so that both sides of a benchmark are one program.
 */
#ifndef BENCH_MEMORY_PLACE_H
#define BENCH_MEMORY_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/memory/options.h"
#include "memmgr/memmgr.h"
#include "tests/guests/lib/pattern.h"

enum place_side {
	PLACE_OURS,
	PLACE_KERNEL, /* evicts by MADV_PAGEOUT */
};

struct place {
	enum place_side side;
	uint64_t nr_pages;
	uint64_t generation; /* of the pattern in all pages, 0 until filled */
	struct pattern pattern;
	struct guest_ram *ram;
	struct memmgr *mm; /* NULL with the kernel */
	uint8_t *bytes;    /* of page 0; the pages follow each other */
	enum memmgr_tier tier;
	int pagemap;
};

/* The options that place_open() takes, for options_open() and usages. */
#define PLACE_OPTIONS "side pages seed mix tier swap prefetch handlers sample huge"
#define PLACE_USAGE                                                                                                            \
	"[side=ours|kernel] [pages=65536] [seed=1] [mix=25,25,25,25] [tier=compressed|disk] [swap=DIRECTORY (with tier=disk: " \
	"/var/tmp)] "                                                                                                          \
	"[prefetch=on|off] [handlers=0] [sample=0 (pages/s)] [huge=on|off]"

/* Returns 0 or -errno, which has been said. */
int place_open(struct place *place, const struct options *options);
void place_close(struct place *place);

static inline uint8_t *place_page(const struct place *place, uint64_t page)
{
	return place->bytes + page * GUEST_PAGE_SIZE;
}
/* Writes every page, in the next generation. */
void place_fill(struct place *place);
/* Reads every page and compares every byte. Returns how many pages are wrong; the first ones are named. */
uint64_t place_verify(const struct place *place);
/* Pages that are mapped. */
uint64_t place_present(const struct place *place);

/* Evicts nr pages from first on, to the tier. Returns how many of them are out afterwards, or -errno, which has been said. */
int64_t place_evict(struct place *place, uint64_t first, uint64_t nr);

/* CPU time of all threads of this process so far, those that the kernel made for its I/O included. */
uint64_t place_cpu_ns(void);
uint64_t place_now_ns(void);
/* Prints " name=value" of what the manager counted since, without those that are 0; nothing with the kernel. */
void place_print_stats(const struct place *place, const struct memmgr_stats *since);
void place_stats(const struct place *place, struct memmgr_stats *stats);

#endif
