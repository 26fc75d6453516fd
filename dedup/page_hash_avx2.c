/* See page_hash_kernel.h. */
#include "dedup/page_hash_kernel.h"

const int page_hash_avx2_built = XXH_VECTOR;

struct page_hash page_hash_avx2(const uint8_t *secret, const uint8_t *page)
{
	return page_hash_inline(secret, page);
}
