/*
 * How fast pages are hashed, beside a loop that only reads them: both go over a large buffer that no cache holds, in turn. The loop adds
 * up quadwords in four sums, which the compiler may vectorize.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench/dedup/stopwatch.h"
#include "bench/memory/options.h"
#include "dedup/page_hash.h"

#define USAGE \
	"hash [mib=1024] [rounds=5] [width=0|1|2 (SSE2, AVX2, AVX-512; without it what the CPU likes best)] [order=run|scattered]"
enum { BATCH = 256 };

static uint64_t read_all(const uint64_t *quads, uint64_t nr)
{
	uint64_t a = 0, b = 0, c = 0, d = 0;
	for (uint64_t i = 0; i < nr; i += 4) {
		a += quads[i];
		b += quads[i + 1];
		c += quads[i + 2];
		d += quads[i + 3];
	}
	return a + b + c + d;
}

static void hash_all(const struct page_hasher *h, const uint8_t *memory, uint64_t nr, bool scattered, struct page_hash *out)
{
	const void *pages[BATCH];
	for (uint64_t first = 0; first < nr; first += BATCH) {
		if (!scattered) {
			page_hash_run(h, memory + first * PAGE_HASH_BYTES, BATCH, out);
			continue;
		}
		for (unsigned i = 0; i < BATCH; i++)
			pages[i] = memory + (first + i) * 2654435761u % nr * PAGE_HASH_BYTES;
		page_hash_batch(h, pages, BATCH, out);
	}
}

int main(int argc, char **argv)
{
	struct options options;
	struct page_hasher h;
	struct page_hash out[BATCH] = {{0}};
	uint8_t salt[PAGE_HASH_SALT] = {1};
	if (options_open(&options, argc, argv, "mib rounds width order", USAGE))
		return 2;
	uint64_t bytes = option_number(&options, "mib", 1024) << 20, sum = 0;
	bool scattered = !strcmp(option_text(&options, "order", "run"), "scattered");
	page_hasher_init(&h, salt);
	uint64_t width = option_number(&options, "width", h.width);
	if (width >= PAGE_HASH_NR_WIDTHS || !page_hash_has_width((enum page_hash_width)width)) {
		fprintf(stderr, "hash: this CPU has no width %llu\n", (unsigned long long)width);
		return 1;
	}
	h.width = (enum page_hash_width)width;
	uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		fprintf(stderr, "hash: no memory for mib=%llu\n", (unsigned long long)(bytes >> 20));
		return 1;
	}
	madvise(memory, bytes, MADV_HUGEPAGE);
	for (uint64_t i = 0; i < bytes / 8; i++)
		((uint64_t *)(void *)memory)[i] = scramble(i);
	for (uint64_t round = 0; round < option_number(&options, "rounds", 5); round++) {
		uint64_t start = now_ns();
		sum += read_all((const uint64_t *)(const void *)memory, bytes / 8);
		uint64_t middle = now_ns();
		hash_all(&h, memory, bytes / PAGE_HASH_BYTES, scattered, out);
		uint64_t end = now_ns();
		sum += out[0].low;
		printf("hash: gb_per_s=%.2f read_gb_per_s=%.2f width=%d\n", (double)bytes / (double)(end - middle),
		       (double)bytes / (double)(middle - start), (int)h.width);
	}
	return sum == 0; /* so that neither loop is left out */
}
