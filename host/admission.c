/* See admission.h. */
#include "host/admission.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "host/arbiter_internal.h"
#include "host/arbiter_state.h"

enum { VMM_PAGES = 2048, PAGES_PER_TABLE_PAGE = 256, MIB_PAGES = 256 };

static uint64_t bounded(uint64_t pages)
{
	return pages < ARBITER_MOST_PAGES ? pages : ARBITER_MOST_PAGES;
}

uint64_t admission_overhead_pages(uint64_t size_pages)
{
	return VMM_PAGES + bounded(size_pages) / PAGES_PER_TABLE_PAGE;
}

/* What a guest may insist on. Every sum below is of at most ARBITER_MOST_GUESTS numbers of some 2^40: no overflow. */
static uint64_t promised_to(const struct arbiter_guest *guest)
{
	uint64_t size = bounded(guest->size_pages), min = bounded(guest->min_pages);
	uint64_t least = size < ARBITER_LEAST_PAGES ? size : ARBITER_LEAST_PAGES;
	uint64_t promised = guest->pinned ? size : min > least ? min : least;
	return promised + admission_overhead_pages(size);
}

/* What its shared pages may take beyond its minimum, when they are written to. */
static uint64_t divergence_of(const struct arbiter_guest *guest, unsigned percent)
{
	uint64_t pages = bounded(guest->divergence_pages) / 100 * percent;
	uint64_t beyond = guest->pinned ? 0 : arbiter_over(bounded(guest->size_pages), bounded(guest->min_pages));
	return pages < beyond ? pages : beyond;
}

static int check_guest(const struct arbiter_guest *guest, struct error *err)
{
	if (guest->size_pages == 0 || guest->size_pages > ARBITER_MOST_PAGES)
		return error_set(err, EINVAL, "a guest has %" PRIu64 " pages of memory: it must be 1 to 2^40", guest->size_pages);
	if (guest->min_pages > guest->size_pages)
		return error_set(err, EINVAL,
				 "the guest's minimum of %" PRIu64 " MiB is more than its memory, %" PRIu64
				 " MiB: lower the minimum",
				 guest->min_pages / MIB_PAGES, guest->size_pages / MIB_PAGES);
	if (guest->max_pages && guest->min_pages > guest->max_pages)
		return error_set(err, EINVAL,
				 "the guest's minimum of %" PRIu64 " MiB is more than its maximum, %" PRIu64
				 " MiB: lower the minimum or raise the maximum",
				 guest->min_pages / MIB_PAGES, guest->max_pages / MIB_PAGES);
	return 0;
}

/* Says what is lacking, and what would help. */
static int refuse(const struct arbiter_guest *guest, const struct admission *a, struct error *err)
{
	uint64_t overhead = admission_overhead_pages(guest->size_pages), room = arbiter_over(a->left_pages, overhead);
	const char *what = guest->pinned                            ? "its pinned memory"
			   : guest->min_pages > ARBITER_LEAST_PAGES ? "its minimum"
								    : "the least that any guest is promised";
	char advice[120] = "Raise the budget, end a guest, or lower the minimums of others";
	if (room >= ARBITER_LEAST_PAGES)
		snprintf(advice, sizeof(advice),
			 "A minimum of at most %" PRIu64 " MiB would fit; or lower other minimums, or raise the budget",
			 room / MIB_PAGES);
	return error_set(err, ENOMEM,
			 "the guest needs %" PRIu64 " MiB promised (%s, and %" PRIu64 " MiB for its VMM), and %" PRIu64
			 " of %" PRIu64 " MiB are left: %" PRIu64 " MiB are promised, %" PRIu64
			 " kept for shared pages that diverge, %" PRIu64 " kept free. %s",
			 a->asked_pages / MIB_PAGES, what, overhead / MIB_PAGES, a->left_pages / MIB_PAGES,
			 a->budget_pages / MIB_PAGES, a->promised_pages / MIB_PAGES, a->divergence_pages / MIB_PAGES,
			 a->reserve_pages / MIB_PAGES, advice);
}

int admission_check(const struct arbiter_settings *settings, const struct arbiter_host *host, enum arbiter_state state,
		    const struct arbiter_guest guests[], size_t nr, const struct arbiter_guest *guest, struct admission *admission,
		    struct error *err)
{
	*admission = (struct admission){
		.budget_pages = bounded(host->budget_pages),
		.reserve_pages = arbiter_reserve_pages(bounded(host->budget_pages), settings->reserve_percent),
		.asked_pages = promised_to(guest),
	};
	for (size_t i = 0; i < nr; i++) {
		admission->promised_pages += promised_to(&guests[i]);
		admission->divergence_pages += divergence_of(&guests[i], settings->divergence_percent);
	}
	uint64_t kept = admission->promised_pages + admission->divergence_pages + admission->reserve_pages;
	admission->left_pages = arbiter_over(admission->budget_pages, kept);
	int rc = check_guest(guest, err);
	if (rc)
		return rc;
	if (admission->asked_pages > admission->left_pages)
		return refuse(guest, admission, err);
	if (state == ARBITER_LOW)
		return error_set(err, EAGAIN,
				 "memory is low at present: the guest would fit (%" PRIu64
				 " MiB of promises are left), but starting it "
				 "now would push others to disk: try again when the state is better",
				 admission->left_pages / MIB_PAGES);
	return 0;
}
