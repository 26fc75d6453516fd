/* See arbiter_state.h. */
#include "host/arbiter_state.h"

enum {
	BETTER_MS = 3000,
	/* A guest that waits is a reason for balloons at once, and for force when balloons have had their time. */
	WAIT_HARD_MS = 500,
	PSI_SOME_SOFT = 100,
	PSI_FULL_HARD = 50,
	PSI_FULL_LOW = 200,
	GIB_PAGES = 1 << 18,
};

uint64_t arbiter_reserve_pages(uint64_t budget_pages, unsigned percent)
{
	static const struct {
		uint64_t gib;
		unsigned percent;
	} scale[] = {{4, 4}, {8, 2}, {UINT64_MAX / GIB_PAGES, 1}};
	uint64_t reserve = 0;
	if (percent)
		return budget_pages / 100 * percent + budget_pages % 100 * percent / 100;
	for (unsigned i = 0; i < sizeof(scale) / sizeof(scale[0]); i++) {
		uint64_t step = scale[i].gib * GIB_PAGES;
		uint64_t part = budget_pages < step ? budget_pages : step;
		reserve += part / 100 * scale[i].percent + part % 100 * scale[i].percent / 100;
		budget_pages -= part;
	}
	return reserve;
}

static enum arbiter_state by_memory(uint64_t free, uint64_t reserve, uint64_t waiting_ms)
{
	if (free < reserve / 4)
		return ARBITER_LOW;
	if (free < reserve / 2 || waiting_ms >= WAIT_HARD_MS)
		return ARBITER_HARD;
	return free < reserve || waiting_ms ? ARBITER_SOFT : ARBITER_HIGH;
}

static enum arbiter_state by_psi_alone(unsigned some, unsigned full)
{
	if (full >= PSI_FULL_LOW)
		return ARBITER_LOW;
	if (full >= PSI_FULL_HARD)
		return ARBITER_HARD;
	return some >= PSI_SOME_SOFT ? ARBITER_SOFT : ARBITER_HIGH;
}

enum arbiter_state arbiter_state_next(struct arbiter_state_memory *memory, const struct arbiter_state_input *in, bool *by_psi)
{
	enum arbiter_state ours = by_memory(in->free_pages, in->reserve_pages, in->waiting_ms);
	enum arbiter_state psi = by_psi_alone(in->psi_some_permille, in->psi_full_permille);
	enum arbiter_state now = psi > ours ? psi : ours;
	/* Better only with something to spare. */
	enum arbiter_state spare = by_memory(in->free_pages, in->reserve_pages + in->reserve_pages / 8, in->waiting_ms);
	spare = psi > spare ? psi : spare;

	*by_psi = false;
	if (now >= memory->state) {
		memory->state = now;
		memory->better_ms = 0;
		*by_psi = psi > ours;
	} else if (spare < memory->state) {
		memory->better_ms += in->elapsed_ms;
		if (memory->better_ms >= BETTER_MS) {
			memory->state--;
			memory->better_ms = 0;
		}
	} else {
		memory->better_ms = 0;
	}
	return memory->state;
}

const char *arbiter_state_name(enum arbiter_state state)
{
	static const char *const names[] = {"high", "soft", "hard", "low"};
	return names[state];
}
