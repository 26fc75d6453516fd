/*
 * Whether one more guest can be promised its minimum. What is promised must be true at the worst time: when every guest insists on its
 * minimum, and pages that are shared today are written to. So the sum of minimums, of pinned guests, of what each VMM takes beside
 * guest memory, and of a reserve for sharing that breaks up must stay within the budget. Pure functions; sizes are pages of 4 KiB.
 */
#ifndef HOST_ADMISSION_H
#define HOST_ADMISSION_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "host/arbiter.h"

/* What a VMM takes beside its guest's memory, until it is known better: 8 MiB, and 16 bytes for each page of RAM. */
uint64_t admission_overhead_pages(uint64_t size_pages);

struct admission {
	uint64_t budget_pages;
	uint64_t promised_pages;   /* minimums, pinned guests, overheads; of guests that are there */
	uint64_t divergence_pages; /* kept for sharing that breaks up, beyond minimums */
	uint64_t reserve_pages;    /* kept free, as the arbiter does */
	uint64_t asked_pages;      /* by the new guest, all told */
	uint64_t left_pages;       /* that can be promised: the largest minimum that fits, overhead included */
};

/*
 * Adds up what is promised to guests[0] to guests[nr - 1], and whether guest (not among them) fits. state: the arbiter's last one. Fills in
 * *admission in any case. Returns 0, or with a sentence -ENOMEM (does not fit; says what would), -EAGAIN (fits, but the host is low on
 * memory now) or -EINVAL (minimum above maximum or size, no memory).
 */
int admission_check(const struct arbiter_settings *settings, const struct arbiter_host *host, enum arbiter_state state,
		    const struct arbiter_guest guests[], size_t nr, const struct arbiter_guest *guest, struct admission *admission,
		    struct error *err);

#endif
