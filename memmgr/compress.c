/*
 * See compress.h.
 *
 * A chain is one frame of zstd, of which each page ends a block: as it is written, so it is read, a page at a time, whose
 * predecessors lie before it. The fastest level is used: the next two save 2 % of the bytes and take a third more time.
 */
#include "memmgr/compress.h"

#include <errno.h>
#include <string.h>

#define LZ4_STATIC_LINKING_ONLY /* LZ4_compress_fast_extState_fastReset: clears its table of 16 KiB only now and then */
#include <lz4.h>
#define ZSTD_STATIC_LINKING_ONLY /* frames without a magic number, hints, output that stays where it is; all long unchanged */
#include <zstd.h>
#include <zstd_errors.h>

#include "memmgr/os.h"

#define DENSE_LEVEL 1

struct compressor {
	LZ4_stream_t work;
	ZSTD_CCtx *dense;
};

struct decompressor {
	ZSTD_DCtx *dense;
	uint8_t pages[COMPRESS_CHAIN * COMPRESS_PAGE]; /* of a chain */
};

/* --- compressing --- */

bool page_is_zero(const void *page)
{
	const uint64_t *quads = page;
	/* Pages that are not zero show it at once, as a rule. */
	if (quads[0] || quads[511] || quads[200])
		return false;
	for (unsigned i = 0; i < COMPRESS_PAGE / 8; i += 8)
		if (quads[i] | quads[i + 1] | quads[i + 2] | quads[i + 3] | quads[i + 4] | quads[i + 5] | quads[i + 6] |
		    quads[i + 7])
			return false;
	return true;
}

int compressor_create(struct compressor **out)
{
	struct compressor *c = mem_calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	LZ4_initStream(&c->work, sizeof(c->work));
	*out = c;
	return 0;
}

void compressor_destroy(struct compressor *c)
{
	if (!c)
		return;
	ZSTD_freeCCtx(c->dense);
	mem_free(c);
}

size_t compressor_bytes(const struct compressor *c)
{
	return sizeof(*c) + ZSTD_sizeof_CCtx(c->dense);
}

/*
 * Whether 128 sampled bytes have so many values that no more than an eighth can be saved by coding them: of random bytes they have
 * 101 +- 4, of machine code and text less than 75.
 */
bool page_looks_random(const void *page)
{
	uint64_t seen[4] = {0}, bytes;
	for (unsigned at = 0; at < COMPRESS_PAGE; at += 256 + 8) {
		memcpy(&bytes, (const uint8_t *)page + at, sizeof(bytes));
		for (unsigned i = 0; i < 8; i++, bytes >>= 8)
			seen[bytes & 3] |= 1ull << (bytes >> 2 & 63);
	}
	return __builtin_popcountll(seen[0]) + __builtin_popcountll(seen[1]) + __builtin_popcountll(seen[2]) +
		       __builtin_popcountll(seen[3]) >=
	       94;
}

int compress_fast(struct compressor *c, const void *page, void *out, size_t max)
{
	/* Repetitions are found in what looks random, too, but without searching hard. */
	int acceleration = page_looks_random(page) ? 16 : 1;
	return LZ4_compress_fast_extState_fastReset(&c->work, page, out, COMPRESS_PAGE, (int)max, acceleration);
}

static int prepare_dense(struct compressor *c)
{
	c->dense = ZSTD_createCCtx();
	if (!c->dense)
		return -ENOMEM;
	ZSTD_CCtx_setParameter(c->dense, ZSTD_c_compressionLevel, DENSE_LEVEL);
	ZSTD_CCtx_setParameter(c->dense, ZSTD_c_format, ZSTD_f_zstd1_magicless);
	ZSTD_CCtx_setParameter(c->dense, ZSTD_c_contentSizeFlag, 0);
	/* Tables for so much, which are cleared for each chain. */
	ZSTD_CCtx_setParameter(c->dense, ZSTD_c_srcSizeHint, COMPRESS_CHAIN * COMPRESS_PAGE);
	return 0;
}

int compress_dense(struct compressor *c, unsigned place, const void *page, void *out, size_t max)
{
	int ret = c->dense ? 0 : prepare_dense(c);
	if (ret)
		return ret;
	if (place == 0)
		ZSTD_CCtx_reset(c->dense, ZSTD_reset_session_only);
	ZSTD_inBuffer from = {page, COMPRESS_PAGE, 0};
	ZSTD_outBuffer to = {out, max, 0};
	size_t left = ZSTD_compressStream2(c->dense, &to, &from, ZSTD_e_flush);
	if (ZSTD_isError(left))
		return ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? -ENOMEM : 0;
	return left ? 0 : (int)to.pos;
}

/* --- decompressing --- */

struct decompressor *decompressor_create(void)
{
	return mem_calloc(1, sizeof(struct decompressor));
}

void decompressor_destroy(struct decompressor *de)
{
	if (!de)
		return;
	ZSTD_freeDCtx(de->dense);
	mem_free(de);
}

size_t decompressor_bytes(const struct decompressor *de)
{
	return sizeof(*de) + ZSTD_sizeof_DCtx(de->dense);
}

const void *decompressor_page(const struct decompressor *de, unsigned place)
{
	return de->pages + (size_t)place * COMPRESS_PAGE;
}

int decompress_dense(struct decompressor *de, unsigned place, const void *in, size_t len)
{
	if (!de->dense) {
		de->dense = ZSTD_createDCtx();
		if (!de->dense)
			return -ENOMEM;
		ZSTD_DCtx_setParameter(de->dense, ZSTD_d_format, ZSTD_f_zstd1_magicless);
		ZSTD_DCtx_setParameter(de->dense, ZSTD_d_stableOutBuffer, 1);
	}
	if (place == 0)
		ZSTD_DCtx_reset(de->dense, ZSTD_reset_session_only);
	ZSTD_inBuffer from = {in, len, 0};
	ZSTD_outBuffer to = {de->pages, sizeof(de->pages), (size_t)place * COMPRESS_PAGE};
	size_t ret = ZSTD_decompressStream(de->dense, &to, &from);
	if (ZSTD_isError(ret))
		return ZSTD_getErrorCode(ret) == ZSTD_error_memory_allocation ? -ENOMEM : -EIO;
	return from.pos == len && to.pos == ((size_t)place + 1) * COMPRESS_PAGE ? 0 : -EIO;
}

int decompress_page(enum compression how, const void *in, size_t len, void *page)
{
	switch (how) {
	case COMPRESSION_NONE:
		if (len != COMPRESS_PAGE)
			return -EIO;
		memcpy(page, in, COMPRESS_PAGE);
		return 0;
	case COMPRESSION_ZERO:
		memset(page, 0, COMPRESS_PAGE);
		return 0;
	case COMPRESSION_LZ4:
		return LZ4_decompress_safe(in, page, (int)len, COMPRESS_PAGE) == COMPRESS_PAGE ? 0 : -EIO;
	case COMPRESSION_ZSTD:
	case COMPRESSION_ZSTD_CHAIN:
		break;
	}
	return -EIO;
}
