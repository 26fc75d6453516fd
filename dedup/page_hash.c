/* See page_hash.h. */
#include "dedup/page_hash.h"

#include <sodium.h>

#include "dedup/page_hash_kernel.h"
#include "memmgr/compress.h"

static page_hash_one *const of_width[PAGE_HASH_NR_WIDTHS] = {
	[PAGE_HASH_SSE2] = page_hash_sse2,
	[PAGE_HASH_AVX2] = page_hash_avx2,
	[PAGE_HASH_AVX512] = page_hash_avx512,
};

bool page_hash_has_width(enum page_hash_width width)
{
	switch (width) {
	case PAGE_HASH_AVX512:
		return __builtin_cpu_supports("avx512f");
	case PAGE_HASH_AVX2:
		return __builtin_cpu_supports("avx2");
	default:
		return true;
	}
}

/*
 * Out of memory, AVX2 was 3 to 8 % faster than AVX-512 on the AMD processor where this was measured, and as fast out of the cache:
 * half of each 512-bit operation follows the other there.
 */
static enum page_hash_width widest(void)
{
	if (page_hash_has_width(PAGE_HASH_AVX512) && !__builtin_cpu_is("amd"))
		return PAGE_HASH_AVX512;
	return page_hash_has_width(PAGE_HASH_AVX2) ? PAGE_HASH_AVX2 : PAGE_HASH_SSE2;
}

void page_hasher_init(struct page_hasher *h, const uint8_t salt[PAGE_HASH_SALT])
{
	_Static_assert(PAGE_HASH_SALT == randombytes_SEEDBYTES, "the salt seeds the secret");
	/* ChaCha20's stream: a secret of XXH3 must look random. */
	randombytes_buf_deterministic(h->secret, sizeof(h->secret), salt);
	h->width = widest();
	h->mask = (struct page_hash){.low = UINT64_MAX, .high = UINT64_MAX};
}

static struct page_hash hash_one(const struct page_hasher *h, const void *page, size_t *nr_zero)
{
	if (page_is_zero(page)) {
		(*nr_zero)++;
		return (struct page_hash){.low = 0};
	}
	struct page_hash hash = of_width[h->width](h->secret, page);
	return page_hash_masked(h, hash);
}

size_t page_hash_batch(const struct page_hasher *h, const void *const pages[], size_t nr, struct page_hash hashes[])
{
	size_t nr_zero = 0;
	for (size_t i = 0; i < nr; i++)
		hashes[i] = hash_one(h, pages[i], &nr_zero);
	return nr_zero;
}

size_t page_hash_run(const struct page_hasher *h, const void *first, size_t nr, struct page_hash hashes[])
{
	const uint8_t *page = first;
	size_t nr_zero = 0;
	for (size_t i = 0; i < nr; i++, page += PAGE_HASH_BYTES)
		hashes[i] = hash_one(h, page, &nr_zero);
	return nr_zero;
}
