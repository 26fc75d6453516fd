/*
 * Which pages are tried less often.
 *
 * The clock learns that a page is in use by taking it: the guest pays a fault for the answer. A page that came back from limbo, again and
 * again, will do so the next time, too. So the hand leaves a page of heat h alone in all but one of 2^h rounds. It becomes hotter with each
 * touch in limbo (not with those of samples, which wait there for long), and half as hot when it leaves limbo untouched. Where too few
 * pages are cold, rounds are short, and the hot ones have their turn sooner; the hand takes anything in its third round. (CLOCK-Pro keeps
 * distances instead, and reads bits of the processor: Jiang, Chen, Zhang, USENIX 2005.)
 */
#ifndef MEMMGR_HEAT_H
#define MEMMGR_HEAT_H

#include <stdbool.h>
#include <stdint.h>

enum {
	HEAT_MOST = 3,
};

/* The hand has come to the page, in its round of that number. */
static inline bool heat_spares(uint8_t heat, uint32_t page, uint32_t round)
{
	/* Spread, so that neighbours' turns come in different rounds. */
	return ((page * 2654435769u >> 16) + round) % (1u << heat) != 0;
}

static inline uint8_t heat_more(uint8_t heat)
{
	return heat < HEAT_MOST ? heat + 1 : HEAT_MOST;
}

#endif
