/*
 * The content of a page as a function of seed, address and generation, so that every byte can be verified at any time by whoever knows
 * those three. No dependence on the rest of the library: hosts compile it, too.
 */
#ifndef GUEST_PATTERN_H
#define GUEST_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_PAGE 4096u

enum pattern_kind {
	PATTERN_ZERO,
	PATTERN_TEXT,   /* words, as in logs and sources: LZ4 leaves 60 % of it */
	PATTERN_BINARY, /* records of pointers, counters and flags: as much */
	PATTERN_RANDOM, /* incompressible */
	PATTERN_KINDS,
};

/* How many of 100 pages are of each kind; what is missing to 100 is random. */
struct pattern_mix {
	uint8_t percent[PATTERN_KINDS];
};

struct pattern {
	uint64_t seed;
	struct pattern_mix mix;
};

/* A quarter each. */
extern const struct pattern_mix pattern_even_mix;

/* The kind depends on seed and address, not on the generation: a page that is rewritten stays of its kind. */
enum pattern_kind pattern_kind(const struct pattern *pattern, uint64_t gpa);
/* page: PATTERN_PAGE bytes, aligned to 8. */
void pattern_fill(const struct pattern *pattern, uint64_t gpa, uint64_t generation, void *page);

struct pattern_mismatch {
	uint32_t offset;
	uint8_t expected, got;
	uint32_t wrong_bytes; /* in the whole page */
};

/* Compares every byte. mismatch is only written when it returns false. */
bool pattern_verify(const struct pattern *pattern, uint64_t gpa, uint64_t generation, const void *page,
		    struct pattern_mismatch *mismatch);

#endif
