/*
 * The bytes of saved state: sections of named fields, for snapshots and migration.
 *
 * A stream is a header, sections, and a checksum of all of it. A section has a name ("serial0"), a version, and fields; a field
 * has a name and either an unsigned number or bytes. Readers ask for fields by name in the order in which they were written, and
 * say which values they accept; anything else is an error that names section and field. Streams are hostile input.
 *
 * Both ends keep the first error and ignore what follows, so that a device checks once, at state_leave() or state_writer_end().
 */
#ifndef BASE_STATE_H
#define BASE_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct state_writer;
struct state_reader;

/* Returns NULL when memory is short. */
struct state_writer *state_writer_new(void);
void state_writer_free(struct state_writer *w);

/* Sections do not nest. Names have 1 to 63 printable ASCII characters; version: 1 to 65535. */
void state_enter_new(struct state_writer *w, const char *name, unsigned version);
void state_put(struct state_writer *w, const char *field, uint64_t value);
void state_put_bytes(struct state_writer *w, const char *field, const void *data, size_t len);
void state_leave_new(struct state_writer *w);

/*
 * Closes the stream with its checksum. *data lives as long as the writer. Returns 0, -ENOMEM when memory ran out on the way, -EINVAL for a
 * name or version that cannot be, -EFBIG for bytes or a section of 4 GiB.
 */
int state_writer_end(struct state_writer *w, const void **data, size_t *len);

/* Checks header, structure and checksum of the whole stream. data must outlive the reader. Returns 0, -EINVAL or -ENOMEM. */
int state_reader_open(const void *data, size_t len, struct state_reader **reader, struct error *err);
void state_reader_free(struct state_reader *r);

/* Opens the section of that name, wherever it stands, and returns its version, 1 to newest; 0 on error (none, or newer than that). */
unsigned state_enter(struct state_reader *r, const char *name, unsigned newest);
/* Returns the field's value if it is min to max, else min (and the error is kept). */
uint64_t state_get(struct state_reader *r, const char *field, uint64_t min, uint64_t max);
/* Copies exactly len bytes; on error buf is zeroed. */
void state_get_bytes(struct state_reader *r, const char *field, void *buf, size_t len);
/* For bytes of any length up to max: *len is set; on error *len is 0. Points into the stream. */
const void *state_get_blob(struct state_reader *r, const char *field, size_t max, size_t *len);
/* Fails the section: for what a range cannot say, such as two fields that contradict each other. */
void state_reject(struct state_reader *r, const char *why);
/* Closes the section. Returns 0, or the first error since the reader was opened: -EINVAL with a sentence in err. */
int state_leave(struct state_reader *r, struct error *err);
/*
 * After the last section: refuses a stream with sections that nobody entered, which belong to devices that are not here, and those whose
 * name stands there twice. Returns as state_leave() does.
 */
int state_reader_finish(struct state_reader *r, struct error *err);

#endif
