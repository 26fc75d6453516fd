/*
 * The inner loop of page_hash.c, compiled once for each vector width: each file that includes this is built with the flags of its width
 * (dedup/dedup.mk), from which xxhash.h takes its choice. Only for page_hash*.c.
 */
#ifndef DEDUP_PAGE_HASH_KERNEL_H
#define DEDUP_PAGE_HASH_KERNEL_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "dedup/page_hash.h"

/* Hashes a page, which is not zero. */
typedef struct page_hash page_hash_one(const uint8_t *secret, const uint8_t *page);
page_hash_one page_hash_sse2, page_hash_avx2, page_hash_avx512;

/* The width that a file was really built for. */
extern const int page_hash_sse2_built, page_hash_avx2_built, page_hash_avx512_built;

static inline struct page_hash page_hash_inline(const uint8_t *secret, const uint8_t *page)
{
	XXH128_hash_t hash = XXH3_128bits_withSecret(page, PAGE_HASH_BYTES, secret, PAGE_HASH_SECRET);
	return (struct page_hash){.low = hash.low64, .high = hash.high64};
}

#endif
