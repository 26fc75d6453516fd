/*
 * The hash of a page's content: XXH3 with 128 bits (xxHash, doc/xxhash_spec.md), salted.
 *
 * It finds twins and never makes them: pages with equal hashes are compared byte by byte before they are merged. The salt belongs to
 * a pool, so that hashes of different trust domains have nothing to do with each other, and nobody outside can prepare pages
 * that collide. A page of zeroes hashes to zero in all of them: it needs no twin.
 */
#ifndef DEDUP_PAGE_HASH_H
#define DEDUP_PAGE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_HASH_BYTES 4096u /* of a page */
#define PAGE_HASH_SALT 32u
#define PAGE_HASH_SECRET 192u

struct page_hash {
	uint64_t low, high;
};

/* By the widest registers that are used. */
enum page_hash_width { PAGE_HASH_SSE2, PAGE_HASH_AVX2, PAGE_HASH_AVX512, PAGE_HASH_NR_WIDTHS };

/* How pages of one pool are hashed. Plain data; any number of threads may use it at once. */
struct page_hasher {
	uint8_t secret[PAGE_HASH_SECRET] __attribute__((aligned(64)));
	enum page_hash_width width;
	struct page_hash mask; /* bits that count: all, but for tests that want collisions */
};

/* Takes the registers that are fastest on this CPU. */
void page_hasher_init(struct page_hasher *h, const uint8_t salt[PAGE_HASH_SALT]);
/* Whether this CPU can hash so. SSE2 can all. */
bool page_hash_has_width(enum page_hash_width width);

/*
 * Hashes pages[0] to pages[nr - 1], PAGE_HASH_BYTES each, aligned to 8. Pages that change meanwhile get some hash or other.
 * Returns how many were zero.
 */
size_t page_hash_batch(const struct page_hasher *h, const void *const pages[], size_t nr, struct page_hash hashes[]);
/* The same for nr pages in a row. */
size_t page_hash_run(const struct page_hasher *h, const void *first, size_t nr, struct page_hash hashes[]);

static inline bool page_hash_is_zero(struct page_hash hash)
{
	return !(hash.low | hash.high);
}

/* A hash without the bits that do not count: what is not zero does not become so. */
static inline struct page_hash page_hash_masked(const struct page_hasher *h, struct page_hash hash)
{
	struct page_hash masked = {.low = hash.low & h->mask.low, .high = hash.high & h->mask.high};
	masked.low |= page_hash_is_zero(masked) && !page_hash_is_zero(hash);
	return masked;
}

static inline bool page_hash_equal(struct page_hash a, struct page_hash b)
{
	return a.low == b.low && a.high == b.high;
}

#endif
