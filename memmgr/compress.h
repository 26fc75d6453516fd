/*
 * Compression of single pages: by LZ4, and by zstd with a dictionary that is trained on the guest's own pages: what 4 KiB alone are
 * too short to learn.
 *
 * A dictionary never changes once it is trained, and must live as long as a page that was compressed with it.
 */
#ifndef MEMMGR_COMPRESS_H
#define MEMMGR_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COMPRESS_PAGE 4096u
#define DICTIONARY_BYTES 65536u
/* Pages that a dictionary is trained on. */
#define DICTIONARY_SAMPLES 512u

/* How a page was compressed, kept with it: 3 bits. */
enum compression {
	COMPRESSION_NONE, /* 4096 bytes as they are */
	COMPRESSION_LZ4,
	COMPRESSION_ZSTD,
	COMPRESSION_ZSTD_DICTIONARY,
	COMPRESSION_ZERO, /* nothing but zeroes: no bytes */
};

struct dictionary;

/*
 * Trains on DICTIONARY_SAMPLES pages, one after the other: 15 to 30 ms. Returns 0, -ENOMEM, -EINVAL when nothing can be learnt from
 * them.
 */
int dictionary_train(const void *pages, struct dictionary **dictionary);
void dictionary_destroy(struct dictionary *d);
/* Bytes of memory that it takes; grows with the first page that compress_dense() compresses with it. */
size_t dictionary_bytes(const struct dictionary *d);

/* Whether all bytes of the page (aligned to 8) are zero. */
bool page_is_zero(const void *page);

/* What compressing takes: one thread at a time. */
struct compressor;
int compressor_create(struct compressor **c);
void compressor_destroy(struct compressor *c);
size_t compressor_bytes(const struct compressor *c);

/*
 * Compress a page to at most max bytes (below 4096), by LZ4 or by zstd; d may be NULL. Return the length, with *how, or 0 when it
 * does not fit: pages that look random are hardly tried. -ENOMEM. out has COMPRESS_PAGE bytes of room.
 */
int compress_fast(struct compressor *c, const void *page, void *out, size_t max, enum compression *how);
int compress_dense(struct compressor *c, struct dictionary *d, const void *page, void *out, size_t max, enum compression *how);

/* What zstd needs to decompress: one thread at a time. */
struct decompressor;
struct decompressor *decompressor_create(void);
void decompressor_destroy(struct decompressor *de);
size_t decompressor_bytes(const struct decompressor *de);

/*
 * d is the dictionary of the page, if it was compressed with one. Returns 0, -EIO unless in is such a page, whole and valid,
 * -ENOMEM. de may be NULL when there is no memory for one: then zstd gives -ENOMEM.
 */
int decompress_page(struct decompressor *de, const struct dictionary *d, enum compression how, const void *in, size_t len,
		    void *page);

#endif
