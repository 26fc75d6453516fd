/*
 * See compress.h.
 *
 * The dictionary is one of zstd: tables of its entropy coder, then content. LZ4 could use the content, too, and save 15 % of the
 * bytes (text, binary); but that costs 0.8 to 1.5 us a page when it is taken and 0.3 us when it comes back, on the path where time
 * counts, and pages that stay cold are put by zstd anyway: left out.
 */
#include "memmgr/compress.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#define LZ4_STATIC_LINKING_ONLY /* LZ4_compress_fast_extState_fastReset: clears its table of 16 KiB only now and then */
#include <lz4.h>
#define ZSTD_STATIC_LINKING_ONLY /* frames without a magic number, and dictionaries that are not copied; both long unchanged */
#include <zstd.h>
#include <zstd_errors.h>
#define ZDICT_STATIC_LINKING_ONLY
#include <zdict.h>

#include "memmgr/os.h"

#define DENSE_LEVEL 3

struct dictionary {
	/* Made when the first page is compressed densely with it, and never changed. */
	_Atomic(void *) dense_memory; /* of dense_in, for whoever came first */
	size_t dense_memory_len;
	_Atomic(const ZSTD_CDict *) dense_in;
	_Atomic(ZSTD_DDict *) dense_out;
	size_t len; /* of bytes */
	uint8_t bytes[DICTIONARY_BYTES];
};

struct compressor {
	LZ4_stream_t work;
	const struct dictionary *dense_dictionary;
	ZSTD_CCtx *dense;
};

struct decompressor {
	ZSTD_DCtx *dense;
};

/* --- dictionary --- */

/*
 * Choosing the content: Liao, Petri, Moffat, Wirth: "Effective construction of relative Lempel-Ziv dictionaries", 2016, the COVER
 * algorithm, as the "fast cover" of zstd has it (zstd's own does not survive that memory runs out). Sequences of 8 bytes are
 * counted by their hash. From each of NR_SEGMENTS parts of the samples, the segment is taken whose different sequences are the most
 * frequent, and they count as nothing from then on. Segments of 1 KiB were best of 64 to 1024 bytes for text, files and processes
 * alike.
 */
#define SEQUENCE_BITS 18
#define SEGMENT_BYTES 1024u
#define NR_SEGMENTS (DICTIONARY_BYTES / SEGMENT_BYTES - 1) /* the last one's place is for zstd's tables */
#define ENTROPY_SAMPLES 128u
#define ENTROPY_ROOM (2u << 20)

struct sequence_counts {
	uint16_t all[1u << SEQUENCE_BITS];
	uint16_t window[1u << SEQUENCE_BITS]; /* of the segment that is looked at */
};

static uint32_t sequence_at(const uint8_t *at)
{
	uint64_t bytes;
	memcpy(&bytes, at, sizeof(bytes));
	return (uint32_t)(bytes * 0xcf1bbcdcb7a56463ull >> (64 - SEQUENCE_BITS));
}

/* The best segment that begins in the part of len bytes. */
static const uint8_t *best_segment(struct sequence_counts *counts, const uint8_t *part, size_t len)
{
	const size_t in_segment = SEGMENT_BYTES - sizeof(uint64_t) + 1;
	const uint8_t *best = part;
	uint64_t score = 0, best_score = 0;
	size_t end = len - sizeof(uint64_t) + 1, at;
	for (at = 0; at < end; at++) {
		uint32_t in = sequence_at(part + at);
		score += counts->window[in]++ ? 0 : counts->all[in];
		if (at < in_segment)
			continue;
		uint32_t out = sequence_at(part + at - in_segment);
		score -= --counts->window[out] ? 0 : counts->all[out];
		if (score > best_score) {
			best_score = score;
			best = part + at - in_segment + 1;
		}
	}
	for (at = end - in_segment; at < end; at++)
		counts->window[sequence_at(part + at)] = 0;
	for (at = 0; at < in_segment; at++)
		counts->all[sequence_at(best + at)] = 0;
	return best;
}

static void choose_content(struct sequence_counts *counts, const uint8_t *pages, uint8_t *content)
{
	const size_t len = (size_t)DICTIONARY_SAMPLES * COMPRESS_PAGE, part = len / NR_SEGMENTS;
	for (size_t at = 0; at + sizeof(uint64_t) <= len; at++) {
		uint16_t *count = &counts->all[sequence_at(pages + at)];
		*count += *count < UINT16_MAX;
	}
	for (unsigned i = 0; i < NR_SEGMENTS; i++)
		memcpy(content + (size_t)i * SEGMENT_BYTES, best_segment(counts, pages + i * part, part), SEGMENT_BYTES);
}

int dictionary_train(const void *pages, struct dictionary **out)
{
	const ZDICT_params_t params = {.compressionLevel = DENSE_LEVEL};
	size_t sizes[ENTROPY_SAMPLES];
	struct dictionary *d = mem_calloc(1, sizeof(*d));
	struct sequence_counts *counts = mem_calloc(1, sizeof(*counts));
	uint8_t *content = mem_calloc(NR_SEGMENTS, SEGMENT_BYTES);
	int ret = -ENOMEM;
	if (!d || !counts || !content)
		goto out;
	choose_content(counts, pages, content);
	for (unsigned i = 0; i < ENTROPY_SAMPLES; i++)
		sizes[i] = COMPRESS_PAGE;
	/* ZDICT of zstd 1.5.4 does not survive that memory runs out within: so much it needs. */
	void *reserve = mem_calloc(1, ENTROPY_ROOM);
	if (!reserve)
		goto out;
	mem_free(reserve);
	d->len = ZDICT_finalizeDictionary(d->bytes, sizeof(d->bytes), content, NR_SEGMENTS * SEGMENT_BYTES, pages, sizes,
					  ENTROPY_SAMPLES, params);
	ret = -EINVAL;
	if (ZDICT_isError(d->len))
		goto out;
	size_t header = ZDICT_getDictHeaderSize(d->bytes, d->len);
	if (ZDICT_isError(header) || header >= d->len)
		goto out;
	*out = d;
	d = NULL;
	ret = 0;
out:
	mem_free(content);
	mem_free(counts);
	mem_free(d);
	return ret;
}

void dictionary_destroy(struct dictionary *d)
{
	if (!d)
		return;
	mem_free(atomic_load(&d->dense_memory));
	ZSTD_freeDDict(atomic_load(&d->dense_out));
	mem_free(d);
}

size_t dictionary_bytes(const struct dictionary *d)
{
	return sizeof(*d) + (atomic_load_explicit(&d->dense_in, memory_order_acquire) ? d->dense_memory_len : 0) +
	       ZSTD_sizeof_DDict(atomic_load(&d->dense_out));
}

/* What zstd makes of the dictionary; whoever comes second uses the first one's. */
static bool prepare_dense(struct dictionary *d)
{
	if (!atomic_load_explicit(&d->dense_out, memory_order_acquire)) {
		ZSTD_DDict *made = ZSTD_createDDict_advanced(d->bytes, d->len, ZSTD_dlm_byRef, ZSTD_dct_fullDict, ZSTD_defaultCMem),
			   *none = NULL;
		if (!made)
			return false;
		if (!atomic_compare_exchange_strong(&d->dense_out, &none, made))
			ZSTD_freeDDict(made);
	}
	if (atomic_load_explicit(&d->dense_in, memory_order_acquire))
		return true;
	/* In memory of our own: ZSTD_createCDict() of zstd 1.5.4 does not survive that there is none. */
	ZSTD_compressionParameters params = ZSTD_getCParams(DENSE_LEVEL, COMPRESS_PAGE, d->len);
	size_t len = ZSTD_estimateCDictSize_advanced(d->len, params, ZSTD_dlm_byRef);
	void *memory = mem_calloc(1, len), *none = NULL;
	if (!memory)
		return false;
	if (!atomic_compare_exchange_strong(&d->dense_memory, &none, memory)) {
		mem_free(memory); /* somebody is at it: this page does without */
		return atomic_load_explicit(&d->dense_in, memory_order_acquire) != NULL;
	}
	d->dense_memory_len = len;
	const ZSTD_CDict *made = ZSTD_initStaticCDict(memory, len, d->bytes, d->len, ZSTD_dlm_byRef, ZSTD_dct_fullDict, params);
	if (!made)
		return false;
	atomic_store_explicit(&d->dense_in, made, memory_order_release);
	return true;
}

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
static bool looks_random(const uint8_t *page)
{
	uint64_t seen[4] = {0}, bytes;
	for (unsigned at = 0; at < COMPRESS_PAGE; at += 256 + 8) {
		memcpy(&bytes, page + at, sizeof(bytes));
		for (unsigned i = 0; i < 8; i++, bytes >>= 8)
			seen[bytes & 3] |= 1ull << (bytes >> 2 & 63);
	}
	return __builtin_popcountll(seen[0]) + __builtin_popcountll(seen[1]) + __builtin_popcountll(seen[2]) +
		       __builtin_popcountll(seen[3]) >=
	       94;
}

int compress_fast(struct compressor *c, const void *page, void *out, size_t max, enum compression *how)
{
	/* Repetitions are found in what looks random, too, but without searching hard. */
	int acceleration = looks_random(page) ? 16 : 1;
	*how = COMPRESSION_LZ4;
	return LZ4_compress_fast_extState_fastReset(&c->work, page, out, COMPRESS_PAGE, (int)max, acceleration);
}

int compress_dense(struct compressor *c, struct dictionary *d, const void *page, void *out, size_t max, enum compression *how)
{
	if (looks_random(page))
		return compress_fast(c, page, out, max, how);
	if (!c->dense) {
		c->dense = ZSTD_createCCtx();
		if (!c->dense)
			return -ENOMEM;
		ZSTD_CCtx_setParameter(c->dense, ZSTD_c_compressionLevel, DENSE_LEVEL);
		ZSTD_CCtx_setParameter(c->dense, ZSTD_c_format, ZSTD_f_zstd1_magicless);
		ZSTD_CCtx_setParameter(c->dense, ZSTD_c_dictIDFlag, 0);
	}
	if (c->dense_dictionary != d) {
		const struct dictionary *usable = d && prepare_dense(d) ? d : NULL;
		/* A page that did not fit has left the session unfinished. */
		ZSTD_CCtx_reset(c->dense, ZSTD_reset_session_only);
		if (ZSTD_isError(ZSTD_CCtx_refCDict(c->dense, usable ? atomic_load(&usable->dense_in) : NULL)))
			return -ENOMEM;
		c->dense_dictionary = usable;
	}
	*how = c->dense_dictionary ? COMPRESSION_ZSTD_DICTIONARY : COMPRESSION_ZSTD;
	size_t len = ZSTD_compress2(c->dense, out, max, page, COMPRESS_PAGE);
	if (!ZSTD_isError(len))
		return (int)len;
	return ZSTD_getErrorCode(len) == ZSTD_error_memory_allocation ? -ENOMEM : 0;
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

static int decompress_dense(struct decompressor *de, const ZSTD_DDict *dictionary, const void *in, size_t len, void *page)
{
	if (!de)
		return -ENOMEM;
	if (!de->dense) {
		de->dense = ZSTD_createDCtx();
		if (!de->dense)
			return -ENOMEM;
		ZSTD_DCtx_setParameter(de->dense, ZSTD_d_format, ZSTD_f_zstd1_magicless);
	}
	size_t got = dictionary ? ZSTD_decompress_usingDDict(de->dense, page, COMPRESS_PAGE, in, len, dictionary)
				: ZSTD_decompressDCtx(de->dense, page, COMPRESS_PAGE, in, len);
	return got == COMPRESS_PAGE ? 0 : -EIO;
}

int decompress_page(struct decompressor *de, const struct dictionary *d, enum compression how, const void *in, size_t len,
		    void *page)
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
		return decompress_dense(de, NULL, in, len, page);
	case COMPRESSION_ZSTD_DICTIONARY: {
		const ZSTD_DDict *dictionary = d ? atomic_load_explicit(&d->dense_out, memory_order_acquire) : NULL;
		return dictionary ? decompress_dense(de, dictionary, in, len, page) : -EIO;
	}
	}
	return -EIO;
}
