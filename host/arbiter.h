/*
 * The arbiter: how much of the host's memory each guest may take, and by which means it gives back what it has too much. Policy alone:
 * a function of numbers and of what it remembers from before; it asks no kernel, and the clock is the caller's. docs/ARBITER.md has the
 * formulas.
 *
 * The daemon's loop reads the guests' counters, calls arbiter_decide(), carries out what it says (set-memory, the balloon, the scanner's
 * CPU, the swap file's limit), and asks again after again_ms. Nothing is allocated while it decides, once arbiter_reserve() was called for as
 * many guests. Numbers that come from guests may be lies of any size.
 *
 * Sizes are pages of 4 KiB. Not thread-safe.
 */
#ifndef HOST_ARBITER_H
#define HOST_ARBITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define ARBITER_MOST_GUESTS 65536u
#define ARBITER_UNKNOWN UINT64_MAX
#define ARBITER_MOST_SHARES 1000000u

struct arbiter_settings {
	unsigned idle_tax_percent;     /* 0 to 99: what an idle page costs more than an active one; 75 */
	unsigned reserve_percent;      /* of the budget that is kept free, for bursts; 0 (default): a scale by size, 4 to 1 % */
	unsigned divergence_percent;   /* of pages that breaking up of sharing would add, that is kept by admission; 25 */
	unsigned balloon_most_percent; /* of a guest's RAM that its balloon may take; 65 */
	unsigned bend_percent;         /* how far miss-ratio curves may move a guest from its fair share; 2 */
	unsigned dedup_cpu_percent[4]; /* of one CPU, for a guest's scanner, in each state; 10, 20, 100, 100 */
	unsigned balance_ms;           /* how often to decide while all is calm; 1000 */
	unsigned hurry_ms;             /* and while memory changes hands; 250 */
};
void arbiter_settings_init(struct arbiter_settings *s);
/* Returns 0, or -EINVAL with a sentence. */
int arbiter_settings_check(const struct arbiter_settings *s, struct error *err);

/* How short memory is. The worse, the more means are used; all of those of the states above it, too. */
enum arbiter_state {
	ARBITER_HIGH, /* nothing is taken from anybody */
	ARBITER_SOFT, /* balloons */
	ARBITER_HARD, /* pages are evicted and compressed, deduplication at full rate */
	ARBITER_LOW,  /* swap; guests that would allocate wait for it; no new guests */
};
/* "high", "soft", "hard", "low". */
const char *arbiter_state_name(enum arbiter_state state);

/* The host, now. */
struct arbiter_host {
	uint64_t now_ns;                               /* monotonic; may stand still or jump */
	uint64_t budget_pages;                         /* for all guests: their RAM, tiers, tables, and the pool */
	uint64_t pool_pages;                           /* of that, what the pool of shared pages takes */
	uint64_t starting_pages;                       /* kept free: what guests that are about to start take at once */
	uint64_t free_pages;                           /* MemAvailable; ARBITER_UNKNOWN: not known */
	unsigned psi_some_permille, psi_full_permille; /* /proc/pressure/memory, avg10; 0: none, or not known */
};

/* A point of a miss-ratio curve, as working_set_curve() gives them: falling in pages. */
struct arbiter_point {
	uint64_t pages;
	double faults_per_s;
};

/* A guest, now. All zero but id and size_pages is a guest that has just started and of which nothing is known. */
struct arbiter_guest {
	/* As defined. */
	uint64_t id;                   /* never given to another guest. Guests come in rising order of it */
	uint64_t size_pages;           /* its RAM */
	uint64_t min_pages, max_pages; /* of host memory. max 0: all that it can take */
	uint32_t shares;               /* 0: none but its minimum */
	bool pinned;                   /* passthrough, locked: counted in full, never squeezed */
	bool no_swap;
	bool no_sharing;
	bool in_common; /* what goes beyond targets is taken from all such guests together; told to people alone */
	/* Of its statistics page. */
	bool has_stats;              /* false: not yet, or not for long: the guest keeps what it has */
	uint64_t used_pages;         /* host memory taken: resident, limbo, compressed tier, tables */
	uint64_t active_pages;       /* estimate of the working set; 0: not sampled */
	uint64_t stored_pages;       /* compressed, or on disk */
	uint64_t stored_taken_pages; /* that the compressed ones take: part of used */
	uint64_t shared_pages;       /* mapped from the pool: not in used_pages */
	uint64_t faults;             /* counters: faults served, and time they took */
	uint64_t stall_ns;
	const struct arbiter_point *curve; /* may be NULL; the caller's until the call returns */
	size_t nr_points;
	/* The pool. */
	uint64_t divergence_pages; /* what it would take more if none of its pages were shared any longer */
	/* Its balloon. */
	bool has_balloon;       /* a driver is at work */
	uint64_t balloon_pages; /* that it has given */
	/* What the guest tells of itself; ARBITER_UNKNOWN each: nothing, or nothing lately. */
	uint64_t guest_available_pages; /* that its programs could still get (AVAIL) */
	uint64_t guest_swap_ins;        /* counter, pages (SWAP_IN) */
};

/* Why a guest has its target. */
enum arbiter_why {
	ARBITER_PLENTY,  /* all guests have what they want; what is left is shared out */
	ARBITER_SHARE,   /* memory is short: its share */
	ARBITER_TAXED,   /* memory is short: its share, less what the tax on idle memory takes */
	ARBITER_NEED,    /* memory is short, but it needs less than its share */
	ARBITER_MINIMUM, /* its share is less than its minimum: that it has */
	ARBITER_MAXIMUM, /* it would get more, but for its maximum */
	ARBITER_PINNED,  /* its memory cannot be taken */
	ARBITER_WAITING, /* it is to grow when others have given back what they have too much */
	ARBITER_GIVING,  /* it is to shrink, and its balloon is given the time to do so */
	ARBITER_BLIND,   /* it does not tell what it uses: it keeps what it has */
};
const char *arbiter_why_name(enum arbiter_why why);

/* What to do with one guest. */
struct arbiter_guest_decision {
	uint64_t target_pages;      /* for set-memory; never 0, never below its minimum */
	uint64_t balloon_pages;     /* for its balloon; 0 without a driver */
	unsigned dedup_cpu_percent; /* of one CPU for its scanner; 0: it stands still */
	bool swap_allowed;          /* pages may go to disk */
	bool sample;                /* its working set should be sampled */
	bool hold;                  /* it grows beyond what there is: pause what allocates for it (hot-plug, prefetch) */
	/* How it came about, for arbiter_explain(). */
	enum arbiter_why why;
	uint64_t goal_pages;     /* what it is to have in the end */
	uint64_t fair_pages;     /* what its shares alone would give it, curves and time left out */
	uint64_t need_pages;     /* what it is believed to need */
	uint64_t hot_pages;      /* of what it uses: active */
	uint64_t faults_per_s;   /* lately */
	unsigned stall_permille; /* of its time, waiting for memory (of all vCPUs together: may pass 1000) */
	bool pressed;            /* it has less than it needs */
	bool balloon_stalls;     /* its balloon was asked and did nothing */
};

/* What holds for the host. */
struct arbiter_decision {
	enum arbiter_state state;
	bool by_psi;               /* the state is worse than free memory alone would have it */
	bool short_of_minimums;    /* minimums and pinned guests alone are more than there is */
	uint64_t supply_pages;     /* what was divided: budget less pool, reserve and starts; or less if the host has no more */
	uint64_t reserve_pages;    /* kept free */
	uint64_t free_pages;       /* of the budget, or of the host where that is less */
	uint64_t used_pages;       /* by all guests and the pool */
	uint64_t wanted_pages;     /* by all guests */
	uint64_t divergence_pages; /* sum over guests */
	double level;      /* taxed pages for each share, of guests that are neither at their minimum nor have what they want */
	unsigned again_ms; /* decide again after so long */
};

struct arbiter;

/* settings: NULL for the defaults; copied. Returns 0, -ENOMEM or -EINVAL with a sentence. */
int arbiter_create(const struct arbiter_settings *settings, struct arbiter **arbiter, struct error *err);
void arbiter_destroy(struct arbiter *arbiter);
int arbiter_configure(struct arbiter *arbiter, const struct arbiter_settings *settings, struct error *err);
const struct arbiter_settings *arbiter_get_settings(const struct arbiter *arbiter);
/* Makes room for so many guests. Returns 0, -ENOMEM, or -EINVAL beyond ARBITER_MOST_GUESTS; then all is as before. */
int arbiter_reserve(struct arbiter *arbiter, size_t nr);

/*
 * Decides for nr guests, in rising order of id; decisions[i] is for guests[i]. Guests of before that are not among them are forgotten. Returns
 * 0; -EINVAL: ids do not rise; -ENOSPC: more guests than were reserved; then nothing has changed.
 */
int arbiter_decide(struct arbiter *arbiter, const struct arbiter_host *host, const struct arbiter_guest guests[], size_t nr,
		   struct arbiter_decision *decision, struct arbiter_guest_decision decisions[]);

#endif
