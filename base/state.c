/*
 * See state.h. The stream, all numbers little-endian:
 *
 *   "PAGODAST" u32 format=1
 *   'S' name u16 version u32 length, then fields of length bytes in all:   'N' name u64      a number
 *   ...                                                                    'B' name u32 len, len bytes
 *   'E' u64 XXH3-64 of everything before this number
 *
 * where name is u8 length and that many bytes. Invariants:
 *   1. state_reader_open() has walked the whole stream: inside a section every field header, name and value lies within the section,
 *      and every section within the stream. Later steps may trust lengths, and nothing else.
 *   2. Once error.code is set, in reader or writer, nothing is read or written any more.
 */
#include "base/state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static const char magic[8] = {'P', 'A', 'G', 'O', 'D', 'A', 'S', 'T'};
#define FORMAT 1u
#define NAME_MAX_LENGTH 63u

struct state_writer {
	uint8_t *data;
	size_t len, room;
	size_t section_length_at; /* where the open section's length stands; 0 while none is open */
	int error;
};

struct state_reader {
	const uint8_t *data;
	size_t len; /* up to the end mark */
	char section[NAME_MAX_LENGTH + 1];
	const uint8_t *at, *end; /* what is left of the open section */
	struct error error;
	size_t nr_sections;
	bool entered[]; /* of each section, in the order of the stream */
};

/* --- writing --- */

static void put(struct state_writer *w, const void *data, size_t len)
{
	if (w->error || len == 0)
		return;
	if (w->room - w->len < len) {
		size_t room = (w->len + len) * 2;
		uint8_t *grown = realloc(w->data, room);
		if (!grown) {
			w->error = -ENOMEM;
			return;
		}
		w->data = grown;
		w->room = room;
	}
	memcpy(w->data + w->len, data, len);
	w->len += len;
}

static void put_number(struct state_writer *w, uint64_t value, unsigned bytes)
{
	uint8_t out[8];
	for (unsigned i = 0; i < bytes; i++)
		out[i] = (uint8_t)(value >> (8 * i));
	put(w, out, bytes);
}

static bool is_name(const char *name, size_t length)
{
	if (length == 0 || length > NAME_MAX_LENGTH)
		return false;
	/* Names end up in messages: nothing that moves a terminal's cursor. */
	for (size_t i = 0; i < length; i++)
		if (name[i] < ' ' || name[i] > '~')
			return false;
	return true;
}

static void put_name(struct state_writer *w, char tag, const char *name)
{
	size_t length = strnlen(name, NAME_MAX_LENGTH + 1);
	if (!is_name(name, length)) {
		w->error = w->error ? w->error : -EINVAL;
		return;
	}
	put(w, &tag, 1);
	put_number(w, length, 1);
	put(w, name, length);
}

struct state_writer *state_writer_new(void)
{
	struct state_writer *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	put(w, magic, sizeof(magic));
	put_number(w, FORMAT, 4);
	return w;
}

void state_writer_free(struct state_writer *w)
{
	if (!w)
		return;
	free(w->data);
	free(w);
}

void state_enter_new(struct state_writer *w, const char *name, unsigned version)
{
	if (version == 0 || version > UINT16_MAX)
		w->error = w->error ? w->error : -EINVAL;
	put_name(w, 'S', name);
	put_number(w, version, 2);
	w->section_length_at = w->len;
	put_number(w, 0, 4);
}

void state_put(struct state_writer *w, const char *field, uint64_t value)
{
	put_name(w, 'N', field);
	put_number(w, value, 8);
}

void state_put_bytes(struct state_writer *w, const char *field, const void *data, size_t len)
{
	if (len > UINT32_MAX) {
		w->error = w->error ? w->error : -EFBIG;
		return;
	}
	put_name(w, 'B', field);
	put_number(w, len, 4);
	put(w, data, len);
}

void state_leave_new(struct state_writer *w)
{
	if (w->error)
		return;
	size_t length = w->len - w->section_length_at - 4;
	if (length > UINT32_MAX) {
		w->error = -EFBIG;
		return;
	}
	for (unsigned i = 0; i < 4; i++)
		w->data[w->section_length_at + i] = (uint8_t)(length >> (8 * i));
}

int state_writer_end(struct state_writer *w, const void **data, size_t *len)
{
	put(w, "E", 1);
	if (!w->error)
		put_number(w, XXH3_64bits(w->data, w->len), 8);
	if (w->error)
		return w->error;
	*data = w->data;
	*len = w->len;
	return 0;
}

/* --- reading --- */

struct cursor {
	const uint8_t *at, *end;
};

static bool take_number(struct cursor *c, unsigned bytes, uint64_t *value)
{
	if ((size_t)(c->end - c->at) < bytes)
		return false;
	*value = 0;
	for (unsigned i = 0; i < bytes; i++)
		*value |= (uint64_t)c->at[i] << (8 * i);
	c->at += bytes;
	return true;
}

static bool take_bytes(struct cursor *c, uint64_t len, const uint8_t **bytes)
{
	if ((uint64_t)(c->end - c->at) < len)
		return false;
	*bytes = c->at;
	c->at += len;
	return true;
}

/* Takes a tag and a name; name has room for NAME_MAX_LENGTH + 1. */
static bool take_name(struct cursor *c, uint64_t *tag, char *name)
{
	uint64_t length;
	const uint8_t *bytes;
	if (!take_number(c, 1, tag) || !take_number(c, 1, &length) || !take_bytes(c, length, &bytes) ||
	    !is_name((const char *)bytes, length))
		return false;
	memcpy(name, bytes, length);
	name[length] = '\0';
	return true;
}

/* One field of a section: a number, or bytes. */
struct field {
	char name[NAME_MAX_LENGTH + 1];
	bool is_number;
	uint64_t number; /* or the count of bytes */
	const uint8_t *bytes;
};

static bool take_field(struct cursor *c, struct field *f)
{
	uint64_t tag;
	if (!take_name(c, &tag, f->name) || (tag != 'N' && tag != 'B'))
		return false;
	f->is_number = tag == 'N';
	if (f->is_number)
		return take_number(c, 8, &f->number);
	return take_number(c, 4, &f->number) && take_bytes(c, f->number, &f->bytes);
}

static bool take_section(struct cursor *c, char *name, uint64_t *version, struct cursor *body)
{
	uint64_t tag, length;
	if (!take_name(c, &tag, name) || tag != 'S' || !take_number(c, 2, version) || *version == 0 ||
	    !take_number(c, 4, &length) || !take_bytes(c, length, &body->at))
		return false;
	body->end = body->at + length;
	return true;
}

static int check_stream(const uint8_t *data, size_t len, size_t *nr_sections, struct error *err)
{
	const size_t head = sizeof(magic) + 4, tail = 9;
	if (len < head + tail || memcmp(data, magic, sizeof(magic)) != 0)
		return error_set(err, EINVAL, "saved state: not a state of Pagoda, or cut short");
	struct cursor c = {data + sizeof(magic), data + len - tail};
	uint64_t format = 0, sum = 0;
	take_number(&c, 4, &format);
	if (format != FORMAT)
		return error_set(err, EINVAL, "saved state: format %llu is not known here, it comes from a newer version",
				 (unsigned long long)format);
	struct cursor end = {data + len - tail, data + len};
	if (*end.at++ != 'E' || !take_number(&end, 8, &sum) || sum != XXH3_64bits(data, len - 8))
		return error_set(err, EINVAL, "saved state: checksum differs, the state is damaged");
	*nr_sections = 0;
	for (; c.at < c.end; ++*nr_sections) {
		char name[NAME_MAX_LENGTH + 1];
		uint64_t version;
		struct cursor body;
		if (!take_section(&c, name, &version, &body))
			return error_set(err, EINVAL, "saved state: damaged at byte %zu", (size_t)(c.at - data));
		struct field field;
		while (body.at < body.end)
			if (!take_field(&body, &field))
				return error_set(err, EINVAL, "saved state: section %s is damaged at byte %zu", name,
						 (size_t)(body.at - data));
	}
	return 0;
}

int state_reader_open(const void *data, size_t len, struct state_reader **reader, struct error *err)
{
	size_t nr_sections = 0;
	int ret = check_stream(data, len, &nr_sections, err);
	if (ret)
		return ret;
	struct state_reader *r = calloc(1, sizeof(*r) + nr_sections * sizeof(r->entered[0]));
	if (!r)
		return error_set(err, ENOMEM, "saved state: out of memory");
	r->nr_sections = nr_sections;
	r->data = data;
	r->len = len - 9;
	*reader = r;
	return 0;
}

void state_reader_free(struct state_reader *r)
{
	free(r);
}

unsigned state_enter(struct state_reader *r, const char *name, unsigned newest)
{
	if (r->error.code)
		return 0;
	struct cursor c = {r->data + sizeof(magic) + 4, r->data + r->len};
	for (size_t i = 0; i < r->nr_sections; i++) {
		uint64_t version;
		struct cursor body;
		if (!take_section(&c, r->section, &version, &body))
			break; /* cannot be, by invariant 1 */
		if (strcmp(r->section, name) != 0)
			continue;
		if (version > newest) {
			error_set(&r->error, EINVAL, "saved state: section %s has version %u, this program knows up to %u", name,
				  (unsigned)version, newest);
			return 0;
		}
		r->at = body.at;
		r->end = body.end;
		r->entered[i] = true;
		return (unsigned)version;
	}
	error_set(&r->error, EINVAL, "saved state: section %s is missing; was it saved with the same devices?", name);
	return 0;
}

/* Takes the next field if it has that name and kind; else keeps the error and returns false. */
static bool next_field(struct state_reader *r, const char *name, bool is_number, struct field *f)
{
	if (r->error.code)
		return false;
	struct cursor c = {r->at, r->end};
	if (c.at == c.end || !take_field(&c, f) || strcmp(f->name, name) != 0 || f->is_number != is_number) {
		error_set(&r->error, EINVAL, "saved state: section %s lacks field %s where it is expected", r->section, name);
		return false;
	}
	r->at = c.at;
	return true;
}

uint64_t state_get(struct state_reader *r, const char *field, uint64_t min, uint64_t max)
{
	struct field f;
	if (!next_field(r, field, true, &f))
		return min;
	if (f.number < min || f.number > max) {
		error_set(&r->error, EINVAL, "saved state: %s.%s is %#llx, must be %#llx to %#llx", r->section, field,
			  (unsigned long long)f.number, (unsigned long long)min, (unsigned long long)max);
		return min;
	}
	return f.number;
}

void state_get_bytes(struct state_reader *r, const char *field, void *buf, size_t len)
{
	struct field f;
	memset(buf, 0, len);
	if (!next_field(r, field, false, &f))
		return;
	if (f.number != len) {
		error_set(&r->error, EINVAL, "saved state: %s.%s has %llu bytes, must have %zu", r->section, field,
			  (unsigned long long)f.number, len);
		return;
	}
	memcpy(buf, f.bytes, len);
}

const void *state_get_blob(struct state_reader *r, const char *field, size_t max, size_t *len)
{
	struct field f;
	*len = 0;
	if (!next_field(r, field, false, &f))
		return NULL;
	if (f.number > max) {
		error_set(&r->error, EINVAL, "saved state: %s.%s has %llu bytes, may have %zu", r->section, field,
			  (unsigned long long)f.number, max);
		return NULL;
	}
	*len = f.number;
	return f.bytes;
}

void state_reject(struct state_reader *r, const char *why)
{
	if (!r->error.code)
		error_set(&r->error, EINVAL, "saved state: section %s: %s", r->section, why);
}

int state_leave(struct state_reader *r, struct error *err)
{
	if (!r->error.code && r->at != r->end)
		error_set(&r->error, EINVAL, "saved state: section %s has fields that this version does not know", r->section);
	if (!r->error.code)
		return 0;
	if (err)
		*err = r->error;
	return -r->error.code;
}

int state_reader_finish(struct state_reader *r, struct error *err)
{
	struct cursor c = {r->data + sizeof(magic) + 4, r->data + r->len};
	for (size_t i = 0; !r->error.code && i < r->nr_sections; i++) {
		uint64_t version;
		struct cursor body;
		if (take_section(&c, r->section, &version, &body) && !r->entered[i])
			error_set(&r->error, EINVAL,
				  "saved state: nothing here takes section %s; was it saved with the same devices?", r->section);
	}
	if (r->error.code && err)
		*err = r->error;
	return -r->error.code;
}
