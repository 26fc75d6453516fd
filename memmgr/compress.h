/*
 * Compression of pages: each by itself with LZ4, or with zstd in chains. A page of a chain is compressed with the ones before it in
 * mind, and needs those to be decompressed: 4 KiB alone are too short to learn much from.
 */
#ifndef MEMMGR_COMPRESS_H
#define MEMMGR_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COMPRESS_PAGE 4096u
/* Pages of a chain, at most. More would save bytes, too, and cost whoever wants the last page of one. */
#define COMPRESS_CHAIN 4u

/* How a page was compressed, kept with it: 3 bits. */
enum compression {
	COMPRESSION_NONE, /* 4096 bytes as they are */
	COMPRESSION_LZ4,
	COMPRESSION_ZSTD,       /* the first page of a chain */
	COMPRESSION_ZSTD_CHAIN, /* another one */
	COMPRESSION_ZERO,       /* nothing but zeroes: no bytes */
};

/* Whether all bytes of the page (aligned to 8) are zero. */
bool page_is_zero(const void *page);

/* What compressing takes: one thread at a time. */
struct compressor;
int compressor_create(struct compressor **c);
void compressor_destroy(struct compressor *c);
size_t compressor_bytes(const struct compressor *c);

/* Whether the page looks as if it hardly could be compressed: then zstd is not worth its time. */
bool page_looks_random(const void *page);

/*
 * Compress a page to at most max bytes (below 4096). Return the length, or 0 when it does not fit; compress_dense() also -ENOMEM. out
 * has COMPRESS_PAGE bytes of room.
 *
 * place is the page's place in a chain: 0 begins one, and i (below COMPRESS_CHAIN) goes on after the page for which place was i - 1
 * in the last call of compress_dense(). Only after a call that returned a length.
 */
int compress_fast(struct compressor *c, const void *page, void *out, size_t max);
int compress_dense(struct compressor *c, unsigned place, const void *page, void *out, size_t max);

/* What zstd needs to decompress: one thread at a time. */
struct decompressor;
struct decompressor *decompressor_create(void);
void decompressor_destroy(struct decompressor *de);
size_t decompressor_bytes(const struct decompressor *de);

/* Decompresses a page that needs no others. Returns 0, -EIO unless in is such a page, whole and valid. */
int decompress_page(enum compression how, const void *in, size_t len, void *page);
/*
 * The same of a chain's page; -ENOMEM. place is 0, or one more than in the last call for this decompressor, which had the page
 * before it and returned 0. decompressor_page() has the page until the next call with place 0.
 */
int decompress_dense(struct decompressor *de, unsigned place, const void *in, size_t len);
const void *decompressor_page(const struct decompressor *de, unsigned place);

#endif
