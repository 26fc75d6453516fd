/*
 * The free space of a swap file.
 *
 * Problem: runs of 4 to 256 KiB, in any order, in a file that may grow to hundreds of GiB. It should stay short, its holes should
 * stay usable, and neither time nor memory may grow with its size.
 *
 * Idea: a bit a block, in groups of 32 MiB, and the lowest place that fits (address-ordered first fit, which fragments least:
 * Wilson et al., "Dynamic Storage Allocation", 1995). Two hints keep that from being a search: each group knows a bound of its
 * longest free run, each length the lowest group that may have one. Both are only ever too hopeful: a search that fails puts them
 * right. Many that are too hopeful at once would make one search long; it may be broken off, and is resumed by the next.
 *
 *   (no group) --grow--> clean --take--> taken --put--> stale --take--> taken
 *                          ^                             |
 *                          `- put_clean <- (discarded) <- take_stale
 *
 * Invariants:
 *  1. A run never crosses the edge of a group.
 *  2. No free run of group g is longer than longest[g] (runs count as SWAP_RUN_MAX at most).
 *  3. longest[g] < n for each g < first[n].
 *  4. A block is stale if it is not in use, but backed; nr_stale counts them.
 */
#include "memmgr/swap_extents.h"

#include <errno.h>
#include <string.h>

#include "memmgr/os.h"

#define GROUP_WORDS (SWAP_GROUP_BLOCKS / 64)

struct swap_group {
	uint64_t used[GROUP_WORDS];
	uint64_t backed[GROUP_WORDS]; /* was taken since it was last discarded */
	unsigned nr_free;
};

static unsigned min_unsigned(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

void swap_extents_init(struct swap_extents *x)
{
	*x = (struct swap_extents){0};
}

void swap_extents_fini(struct swap_extents *x)
{
	for (size_t g = 0; g < x->nr_groups; g++)
		mem_free(x->groups[g]);
	mem_free(x->groups);
	mem_free(x->longest);
	swap_extents_init(x);
}

/* --- runs of bits --- */

/* The first block at or after at whose bit is set (or, with flip all ones, clear); SWAP_GROUP_BLOCKS if there is none. */
static unsigned find_bit(const uint64_t *bits, uint64_t flip, unsigned at)
{
	if (at >= SWAP_GROUP_BLOCKS)
		return SWAP_GROUP_BLOCKS;
	unsigned word = at / 64;
	uint64_t found = (bits[word] ^ flip) & ~0ull << at % 64;
	while (!found) {
		if (++word == GROUP_WORDS)
			return SWAP_GROUP_BLOCKS;
		found = bits[word] ^ flip;
	}
	return word * 64 + (unsigned)__builtin_ctzll(found);
}

static unsigned find_free(const struct swap_group *group, unsigned at)
{
	return find_bit(group->used, ~0ull, at);
}

static unsigned find_used(const struct swap_group *group, unsigned at)
{
	return find_bit(group->used, 0, at);
}

static bool bit_of(const uint64_t *bits, unsigned at)
{
	return bits[at / 64] >> at % 64 & 1;
}

static bool is_stale(const struct swap_group *group, unsigned at)
{
	return (group->backed[at / 64] & ~group->used[at / 64]) >> at % 64 & 1;
}

/* The bits of a word that lie in [at, at + nr); *nr_here of them. */
static uint64_t word_mask(unsigned at, unsigned nr, unsigned *nr_here)
{
	*nr_here = min_unsigned(64 - at % 64, nr);
	return ~0ull >> (64 - *nr_here) << at % 64;
}

static void set_bits(uint64_t *bits, unsigned at, unsigned nr)
{
	for (unsigned here; nr; at += here, nr -= here)
		bits[at / 64] |= word_mask(at, nr, &here);
}

static void clear_bits(uint64_t *bits, unsigned at, unsigned nr)
{
	for (unsigned here; nr; at += here, nr -= here)
		bits[at / 64] &= ~word_mask(at, nr, &here);
}

static unsigned count_stale(const struct swap_group *group, unsigned at, unsigned nr)
{
	unsigned count = 0;
	for (unsigned here; nr; at += here, nr -= here) {
		uint64_t mask = word_mask(at, nr, &here);
		count += (unsigned)__builtin_popcountll(group->backed[at / 64] & ~group->used[at / 64] & mask);
	}
	return count;
}

/* --- groups --- */

static int make_room(struct swap_extents *x)
{
	if (x->nr_groups < x->nr_room)
		return 0;
	size_t room = x->nr_room ? x->nr_room * 2 : 16;
	struct swap_group **groups = mem_calloc(room, sizeof(struct swap_group *));
	uint8_t *longest = mem_calloc(room, 1);
	if (!groups || !longest) {
		mem_free(groups);
		mem_free(longest);
		return -ENOMEM;
	}
	if (x->nr_groups) {
		memcpy(groups, x->groups, x->nr_groups * sizeof(struct swap_group *));
		memcpy(longest, x->longest, x->nr_groups);
	}
	mem_free(x->groups);
	mem_free(x->longest);
	x->groups = groups;
	x->longest = longest;
	x->nr_room = room;
	return 0;
}

int swap_extents_grow(struct swap_extents *x, unsigned nr_usable)
{
	if (make_room(x))
		return -ENOMEM;
	struct swap_group *group = mem_calloc(1, sizeof(*group));
	if (!group)
		return -ENOMEM;
	nr_usable = min_unsigned(nr_usable, SWAP_GROUP_BLOCKS);
	set_bits(group->used, nr_usable, SWAP_GROUP_BLOCKS - nr_usable);
	group->nr_free = nr_usable;
	/* Invariant 3 holds: each first[] is at most the number of groups there were. */
	x->longest[x->nr_groups] = (uint8_t)min_unsigned(nr_usable, SWAP_RUN_MAX);
	x->groups[x->nr_groups++] = group;
	return 0;
}

/* Finds the group's first run of nr. Returns SWAP_GROUP_BLOCKS if there is none, with the length of the longest. */
static unsigned find_run(const struct swap_group *group, unsigned nr, unsigned *longest)
{
	*longest = 0;
	for (unsigned start = find_free(group, 0); start < SWAP_GROUP_BLOCKS;) {
		unsigned end = find_used(group, start);
		if (end - start >= nr)
			return start;
		if (end - start > *longest)
			*longest = end - start;
		start = find_free(group, end);
	}
	return SWAP_GROUP_BLOCKS;
}

/* Marks free blocks as used; keeps invariants 2 and 4. */
static void take_blocks(struct swap_extents *x, size_t g, unsigned at, unsigned nr)
{
	struct swap_group *group = x->groups[g];
	x->nr_stale -= count_stale(group, at, nr);
	set_bits(group->used, at, nr);
	group->nr_free -= nr;
	if (x->longest[g] > group->nr_free)
		x->longest[g] = (uint8_t)group->nr_free;
}

static int take_at(struct swap_extents *x, size_t g, unsigned nr, uint64_t *block)
{
	unsigned longest;
	unsigned at = find_run(x->groups[g], nr, &longest);
	if (at == SWAP_GROUP_BLOCKS) {
		x->longest[g] = (uint8_t)longest; /* invariant 2: less than nr, so below SWAP_RUN_MAX */
		return -ENOSPC;
	}
	take_blocks(x, g, at, nr);
	set_bits(x->groups[g]->backed, at, nr);
	*block = (uint64_t)g * SWAP_GROUP_BLOCKS + at;
	return 0;
}

int swap_extents_take(struct swap_extents *x, unsigned nr, size_t max_vain, uint64_t *block)
{
	int ret = -ENOSPC;
	size_t g = x->first[nr];
	for (; g < x->nr_groups; g++) {
		if (x->longest[g] < nr)
			continue;
		if (max_vain-- == 0)
			ret = -EAGAIN;
		else
			ret = take_at(x, g, nr, block);
		if (ret != -ENOSPC)
			break;
	}
	x->first[nr] = g; /* invariant 3: all below were seen to be too full */
	return ret;
}

int swap_extents_take_last(struct swap_extents *x, unsigned nr, uint64_t *block)
{
	size_t last = x->nr_groups - 1;
	return x->nr_groups == 0 || x->longest[last] < nr ? -ENOSPC : take_at(x, last, nr, block);
}

static bool all_used(const struct swap_group *group, unsigned at, unsigned nr)
{
	return find_free(group, at) >= at + nr;
}

/* Frees; keeps invariants 2 and 3. */
static void release(struct swap_extents *x, size_t g, unsigned at, unsigned nr)
{
	struct swap_group *group = x->groups[g];
	clear_bits(group->used, at, nr);
	group->nr_free += nr;
	unsigned start = at;
	unsigned end = at + nr;
	while (start > 0 && end - start < SWAP_RUN_MAX && !bit_of(group->used, start - 1))
		start--;
	while (end < SWAP_GROUP_BLOCKS && end - start < SWAP_RUN_MAX && !bit_of(group->used, end))
		end++;
	unsigned run = min_unsigned(end - start, SWAP_RUN_MAX);
	for (unsigned n = x->longest[g] + 1u; n <= run; n++) {
		if (x->first[n] > g)
			x->first[n] = g;
	}
	if (run > x->longest[g])
		x->longest[g] = (uint8_t)run;
}

bool swap_extents_put(struct swap_extents *x, uint64_t block, unsigned nr)
{
	size_t g = block / SWAP_GROUP_BLOCKS;
	unsigned at = block % SWAP_GROUP_BLOCKS;
	if (g >= x->nr_groups || nr == 0 || nr > SWAP_GROUP_BLOCKS - at || !all_used(x->groups[g], at, nr))
		return false;
	release(x, g, at, nr);
	x->nr_stale += count_stale(x->groups[g], at, nr); /* invariant 4 */
	return true;
}

/* --- stale blocks --- */

unsigned swap_extents_take_stale(struct swap_extents *x, uint64_t block, uint64_t *start)
{
	size_t g = block / SWAP_GROUP_BLOCKS;
	unsigned first = block % SWAP_GROUP_BLOCKS;
	struct swap_group *group = x->groups[g];
	if (!is_stale(group, first))
		return 0;
	unsigned end = first + 1;
	while (first > 0 && is_stale(group, first - 1))
		first--;
	while (end < SWAP_GROUP_BLOCKS && is_stale(group, end))
		end++;
	take_blocks(x, g, first, end - first);
	*start = (uint64_t)g * SWAP_GROUP_BLOCKS + first;
	return end - first;
}

void swap_extents_put_clean(struct swap_extents *x, uint64_t start, unsigned nr)
{
	size_t g = start / SWAP_GROUP_BLOCKS;
	clear_bits(x->groups[g]->backed, start % SWAP_GROUP_BLOCKS, nr);
	release(x, g, start % SWAP_GROUP_BLOCKS, nr);
}

bool swap_extents_next_stale(const struct swap_extents *x, uint64_t from, uint64_t *block)
{
	unsigned word = from % SWAP_GROUP_BLOCKS / 64;
	uint64_t mask = ~0ull << from % 64;
	for (size_t g = from / SWAP_GROUP_BLOCKS; g < x->nr_groups; g++, word = 0) {
		const struct swap_group *group = x->groups[g];
		for (; word < GROUP_WORDS; word++, mask = ~0ull) {
			uint64_t stale = group->backed[word] & ~group->used[word] & mask;
			if (stale) {
				*block = (uint64_t)g * SWAP_GROUP_BLOCKS + word * 64 + (unsigned)__builtin_ctzll(stale);
				return true;
			}
		}
	}
	return false;
}
