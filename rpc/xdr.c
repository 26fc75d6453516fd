/* See xdr.h. */
#include "rpc/xdr.h"

#include <stdlib.h>
#include <string.h>

#define STEP 512

static size_t padded(size_t len)
{
	return (len + 3) & ~(size_t)3;
}

/* --- reading --- */

/* The next len bytes, with the padding behind them; NULL when they are not there, or padded with anything but zeroes. */
static const uint8_t *take(struct xdr_reader *r, size_t len)
{
	const uint8_t *at = r->at;
	if (r->bad || len > r->left || padded(len) > r->left) {
		r->bad = true;
		return NULL;
	}
	for (size_t i = len; i < padded(len); i++)
		if (at[i]) {
			r->bad = true;
			return NULL;
		}
	r->at += padded(len);
	r->left -= padded(len);
	return at;
}

uint32_t xdr_get_u32(struct xdr_reader *r)
{
	const uint8_t *b = take(r, 4);
	return b ? (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3] : 0;
}

int32_t xdr_get_i32(struct xdr_reader *r)
{
	return (int32_t)xdr_get_u32(r);
}

uint64_t xdr_get_u64(struct xdr_reader *r)
{
	uint64_t high = xdr_get_u32(r), low = xdr_get_u32(r);
	return r->bad ? 0 : high << 32 | low;
}

void xdr_get_fixed(struct xdr_reader *r, void *bytes, size_t len)
{
	const uint8_t *b = take(r, len);
	if (b)
		memcpy(bytes, b, len);
	else
		memset(bytes, 0, len);
}

uint32_t xdr_get_count(struct xdr_reader *r, uint32_t most, size_t item_bytes)
{
	uint32_t nr = xdr_get_u32(r);
	if (nr > most || nr > r->left / item_bytes)
		r->bad = true;
	return r->bad ? 0 : nr;
}

const uint8_t *xdr_get_opaque(struct xdr_reader *r, size_t most, size_t *len)
{
	uint32_t nr = xdr_get_u32(r);
	if (nr > most)
		r->bad = true;
	const uint8_t *b = nr ? take(r, nr) : NULL;
	*len = b ? nr : 0;
	return b;
}

void xdr_get_string(struct xdr_reader *r, char *text, size_t size)
{
	size_t len;
	const uint8_t *b = xdr_get_opaque(r, size - 1, &len);
	if (b && memchr(b, 0, len)) {
		r->bad = true;
		len = 0;
	}
	if (b)
		memcpy(text, b, len);
	text[len] = '\0';
}

char *xdr_get_long_string(struct xdr_reader *r, size_t most)
{
	size_t len;
	const uint8_t *b = xdr_get_opaque(r, most, &len);
	char *text = r->bad || (b && memchr(b, 0, len)) ? NULL : malloc(len + 1);
	if (!text) {
		r->bad = true;
		return NULL;
	}
	if (b)
		memcpy(text, b, len);
	text[len] = '\0';
	return text;
}

bool xdr_get_optional_string(struct xdr_reader *r, char *text, size_t size)
{
	uint32_t there = xdr_get_u32(r);
	*text = '\0';
	if (there > 1)
		r->bad = true;
	if (r->bad || !there)
		return false;
	xdr_get_string(r, text, size);
	return !r->bad;
}

bool xdr_is_done(const struct xdr_reader *r)
{
	return !r->bad && !r->left;
}

/* --- writing --- */

/* Room for len bytes and their padding, which is zero. NULL: none, or failed. */
static uint8_t *make_room(struct xdr_writer *w, size_t len)
{
	size_t whole = padded(len);
	if (w->failed || len > XDR_MOST_OUT || whole > XDR_MOST_OUT - w->len) {
		w->failed = true;
		return NULL;
	}
	if (!len)
		return NULL;
	if (whole > w->size - w->len) {
		size_t size = w->len + whole + w->len / 2 + STEP;
		uint8_t *more = realloc(w->data, size);
		if (!more) {
			w->failed = true;
			return NULL;
		}
		w->data = more;
		w->size = size;
	}
	uint8_t *at = w->data + w->len;
	if (whole > len)
		memset(at + len, 0, whole - len);
	w->len += whole;
	return at;
}

static void store(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 24);
	at[1] = (uint8_t)(value >> 16);
	at[2] = (uint8_t)(value >> 8);
	at[3] = (uint8_t)value;
}

void xdr_put_u32(struct xdr_writer *w, uint32_t value)
{
	uint8_t *at = make_room(w, 4);
	if (at)
		store(at, value);
}

void xdr_put_i32(struct xdr_writer *w, int32_t value)
{
	xdr_put_u32(w, (uint32_t)value);
}

void xdr_put_u64(struct xdr_writer *w, uint64_t value)
{
	xdr_put_u32(w, (uint32_t)(value >> 32));
	xdr_put_u32(w, (uint32_t)value);
}

void xdr_put_fixed(struct xdr_writer *w, const void *bytes, size_t len)
{
	uint8_t *at = make_room(w, len);
	if (at && len)
		memcpy(at, bytes, len);
}

void xdr_put_opaque(struct xdr_writer *w, const void *bytes, size_t len)
{
	xdr_put_u32(w, (uint32_t)len);
	xdr_put_fixed(w, bytes, len);
}

void xdr_put_string(struct xdr_writer *w, const char *text)
{
	xdr_put_opaque(w, text, strlen(text));
}

void xdr_put_optional_string(struct xdr_writer *w, const char *text)
{
	xdr_put_u32(w, text != NULL);
	if (text)
		xdr_put_string(w, text);
}

size_t xdr_put_later(struct xdr_writer *w)
{
	size_t place = w->len;
	xdr_put_u32(w, 0);
	return place;
}

void xdr_set_u32(struct xdr_writer *w, size_t place, uint32_t value)
{
	if (!w->failed)
		store(w->data + place, value);
}

void xdr_writer_free(struct xdr_writer *w)
{
	free(w->data);
	*w = (struct xdr_writer){.data = NULL};
}
