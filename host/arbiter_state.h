/*
 * How short memory is: the host's state, by free memory against watermarks, and by pressure stall information. Pure.
 *
 * The watermarks are fractions of the reserve, which is a share of the budget that falls with its size, as large hosts need less of it for
 * the same burst. A worse state is entered at once; a better one when it has held for 3 s with 1/8 to spare, one step at a time: so the
 * state does not flutter at a watermark.
 *
 *   HIGH  >= reserve > SOFT >= reserve / 2 > HARD >= reserve / 4 > LOW
 */
#ifndef HOST_ARBITER_STATE_H
#define HOST_ARBITER_STATE_H

#include <stdint.h>

#include "host/arbiter.h"

/* What is kept free: 4 % of the first 4 GiB, 2 % of the next 8, 1 % of the rest; or percent of all, if not 0. */
uint64_t arbiter_reserve_pages(uint64_t budget_pages, unsigned percent);

struct arbiter_state_input {
	uint64_t elapsed_ms; /* since the last */
	uint64_t free_pages, reserve_pages;
	unsigned psi_some_permille, psi_full_permille;
	uint64_t waiting_ms; /* so long guests have waited for memory that others are to give; 0: none waits */
};

struct arbiter_state_memory {
	enum arbiter_state state;
	uint64_t better_ms; /* so long it would have been better */
};

/* Returns the new state. *by_psi: it is worse than memory alone would have it. */
enum arbiter_state arbiter_state_next(struct arbiter_state_memory *memory, const struct arbiter_state_input *in, bool *by_psi);

#endif
