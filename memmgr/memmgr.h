/*
 * The memory manager of one guest: takes cold pages of its RAM away, keeps them compressed in RAM or on disk, and brings them back
 * when anything touches them: a vCPU, a device thread, or the kernel on their behalf.
 *
 * It follows a target: how much host memory the guest's RAM may take, pages in limbo and the compressed tier included. Under its
 * target a guest pays nothing. Callable from any thread unless said otherwise. docs/MEMORY.md has the states, and who locks what.
 */
#ifndef MEMMGR_MEMMGR_H
#define MEMMGR_MEMMGR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "memmgr/guest_ram.h"
#include "memmgr/memmgr_stats.h"

struct memmgr;

/* All may be changed while the guest runs. Sizes in bytes, multiples of 4096. */
struct memmgr_settings {
	uint64_t target;           /* host memory that the guest may take; 0: no limit, nothing is taken away */
	uint64_t floor;            /* resident guest memory is not pushed below this, nor below an eighth of the target */
	uint64_t compressed_limit; /* RAM of the compressed tier; 0: no limit */
	uint64_t swap_limit;       /* bytes of the swap file; 0: as the file system has it */
	uint32_t evict_rate;       /* pages/s at most that are taken while reclaiming; 0: no limit */
	uint32_t limbo_ms;    /* how long a page stays untouched in limbo before it is compressed, unless memory is short; 2000 */
	uint32_t cold_ms;     /* how long a compressed page stays in RAM before it is packed denser, or written to disk; 60000 */
	uint32_t sample_rate; /* pages/s that are sampled for the working set; 0: off */
	bool dense;           /* zstd for pages that stay cold; true */
	bool kernel_tier;     /* victims go to the kernel's swap on zram instead of our compressed tier and disk (evict_kernel.h) */
	bool swap_out; /* whether reclaiming may write to the swap file; default true. What is there is read back all the same */
	bool prefetch; /* bring back companions of pages that fault; default true */
};

/* Why the guest cannot go on. */
enum memmgr_failure {
	MEMMGR_FAILURE_NONE,
	MEMMGR_FAILURE_IO,        /* the swap file cannot be read */
	MEMMGR_FAILURE_DAMAGED,   /* what was read is not what was written: the page is lost; only a reset helps */
	MEMMGR_FAILURE_NO_MEMORY, /* the host has none to bring a page back into */
	MEMMGR_FAILURE_KERNEL,    /* userfaultfd fails */
};
/* "io-error", "damaged", "no-memory", "kernel-error"; "none". */
const char *memmgr_failure_name(enum memmgr_failure failure);

/* Hears of failures, on a thread of the memory manager: posts them to its own loop and returns at once. */
struct memmgr_owner {
	/* A page cannot be brought back. Whoever touched it stands still until memmgr_retry(), or for ever. */
	void (*memory_failed)(struct memmgr_owner *owner, enum memmgr_failure failure, const char *detail);
	/* All pages that failed have come back. */
	void (*memory_recovered)(struct memmgr_owner *owner);
};

struct memmgr_params {
	struct guest_ram *ram; /* outlives the manager */
	struct memmgr_owner *owner;
	struct memmgr_settings settings;
	const char *swap_directory; /* NULL: no disk tier, unless */
	int swap_fd;                /* >= 0: an open file for it; the manager closes it, also when it cannot be made */
	unsigned nr_handlers;       /* threads that serve faults; 0: by the number of CPUs */
};

/* Defaults: no target, 2 s of limbo, 60 s until cold, prefetch. */
void memmgr_settings_init(struct memmgr_settings *settings);

/*
 * Starts managing: opens userfaultfd and starts the threads, which sleep until there is something to do. Create it before KVM is
 * told of the RAM, destroy it before the VM is (but after vCPU and device threads have ended). -ENOSYS, -EPERM: the kernel lacks or
 * forbids userfaultfd, the sentence says what to do.
 */
int memmgr_create(const struct memmgr_params *params, struct memmgr **mm, struct error *err);
void memmgr_destroy(struct memmgr *mm);

/* Returns 0, or -EINVAL with a sentence and nothing changed. */
int memmgr_configure(struct memmgr *mm, const struct memmgr_settings *settings, struct error *err);
void memmgr_get_settings(struct memmgr *mm, struct memmgr_settings *settings);

void memmgr_get_stats(struct memmgr *mm, struct memmgr_stats *stats);
/*
 * A memfd of one page that holds struct memmgr_stats_page, written at least every second while something happens: for other
 * processes to map. Owned by the manager.
 */
int memmgr_stats_fd(const struct memmgr *mm);

/*
 * Points of the miss-ratio curve: with resident pages, so many faults a second are to be expected. Returns how many, falling in
 * size; 0: not enough was sampled.
 */
struct memmgr_curve_point {
	uint64_t bytes;
	double faults_per_s;
};
size_t memmgr_curve(struct memmgr *mm, struct memmgr_curve_point *points, size_t max);

/* Brings back what was evicted last of the working set, in the order in which it was once used, as one stream. Returns at once. */
void memmgr_prewarm(struct memmgr *mm);
/* Why pages cannot be brought back now: of one of them; NONE when there are none. */
enum memmgr_failure memmgr_failure(struct memmgr *mm);
/* Tries again what has failed. */
void memmgr_retry(struct memmgr *mm);

/* The guest has been reset, and nothing of it runs: its content does not matter any more, failed pages are given up as zero. */
void memmgr_forget_failed(struct memmgr *mm);

/* --- for other parts of the memory manager's world, tests and benchmarks --- */

/*
 * The content of len bytes at gpa does not matter any more and reads as zero from now on: dropped from whichever tier holds it,
 * unread; also where devices hold pages. For resets; discard.h has what the guest gives up. ballooned: counted as such. gpa and len are multiples of 4096, all of it RAM (else
 * -EINVAL).
 */
int memmgr_drop(struct memmgr *mm, uint64_t gpa, uint64_t len, bool ballooned);
/* The guest takes back what it had given up: ballooned pages of the range are ordinary ones again. */
int memmgr_deflate(struct memmgr *mm, uint64_t gpa, uint64_t len);

/* Takes pages of the range that are resident now, at once and up to the tier named; returns pages taken, or -errno. */
enum memmgr_tier { MEMMGR_TIER_LIMBO, MEMMGR_TIER_COMPRESSED, MEMMGR_TIER_DISK };
ssize_t memmgr_evict_range(struct memmgr *mm, uint64_t gpa, uint64_t len, enum memmgr_tier tier);

#endif
