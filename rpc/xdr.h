/*
 * External data representation (RFC 4506), as far as libvirt's protocol uses it: big-endian words of four bytes, everything padded to them.
 * What is read is from clients, and may be anything: a reader that meets what cannot be goes bad, gives zeroes from then on, and is asked once at
 * the end. A writer that has no memory, or too much to say, fails likewise.
 */
#ifndef RPC_XDR_H
#define RPC_XDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct xdr_reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

uint32_t xdr_get_u32(struct xdr_reader *r);
int32_t xdr_get_i32(struct xdr_reader *r);
uint64_t xdr_get_u64(struct xdr_reader *r);
/* Bytes whose number both sides know. */
void xdr_get_fixed(struct xdr_reader *r, void *bytes, size_t len);
/* A number of items, at most most, each of which has at least item_bytes, so that there can be no more of them than fit. */
uint32_t xdr_get_count(struct xdr_reader *r, uint32_t most, size_t item_bytes);
/* Bytes with their number in front, at most most; they stay where they are. NULL when there are none, or the reader is bad. */
const uint8_t *xdr_get_opaque(struct xdr_reader *r, size_t most, size_t *len);
/* A string of less than size bytes and without zeroes. Empty when the reader is bad. */
void xdr_get_string(struct xdr_reader *r, char *text, size_t size);
/* The same with at most most bytes, as a new string; NULL when the reader is bad or there is no memory: then it is bad, too. */
char *xdr_get_long_string(struct xdr_reader *r, size_t most);
/* A string that may be absent. Returns whether it is there. */
bool xdr_get_optional_string(struct xdr_reader *r, char *text, size_t size);
/* Whether all was read, and all of it was good. */
bool xdr_is_done(const struct xdr_reader *r);

#define XDR_MOST_OUT (8u << 20)

/* All zero is empty. Grows up to XDR_MOST_OUT bytes. */
struct xdr_writer {
	uint8_t *data;
	size_t len, size;
	bool failed;
};

void xdr_put_u32(struct xdr_writer *w, uint32_t value);
void xdr_put_i32(struct xdr_writer *w, int32_t value);
void xdr_put_u64(struct xdr_writer *w, uint64_t value);
void xdr_put_fixed(struct xdr_writer *w, const void *bytes, size_t len);
void xdr_put_opaque(struct xdr_writer *w, const void *bytes, size_t len);
void xdr_put_string(struct xdr_writer *w, const char *text);
/* NULL: absent. */
void xdr_put_optional_string(struct xdr_writer *w, const char *text);
/* A word that is written over later by xdr_set_u32(), such as a number of items. Returns its place. */
size_t xdr_put_later(struct xdr_writer *w);
void xdr_set_u32(struct xdr_writer *w, size_t place, uint32_t value);
void xdr_writer_free(struct xdr_writer *w);

#endif
