/*
 * Cuts a stream of bytes into JSON messages: QMP has no length and no separator, a message ends where its brackets close. Bounded in size
 * and depth; what is wrong is reported once, and the stream goes on behind it.
 */
#ifndef VMM_QMP_FRAMER_H
#define VMM_QMP_FRAMER_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/monitor_text.h"

#define QMP_MAX_MESSAGE (1u << 20)
#define QMP_MAX_DEPTH 128

struct qmp_framer {
	struct monitor_text message; /* what is there of it */
	unsigned depth;
	char quote; /* of the string that we are in, or 0 */
	enum {
		QMP_FRAMER_PLAIN,
		QMP_FRAMER_BACKSLASH, /* in a string */
		QMP_FRAMER_WORD,      /* outside of all brackets: a number, or a keyword */
		QMP_FRAMER_SKIP,      /* after an error, to the end of the line */
	} state;
};

enum qmp_frame {
	QMP_FRAME_MORE,
	QMP_FRAME_COMPLETE, /* message has a value; qmp_framer_next() before the next byte */
	QMP_FRAME_ERROR,    /* *why says what */
};

/* One byte. *consumed is false when the byte belongs to what follows the message: give it again. */
enum qmp_frame qmp_framer_feed(struct qmp_framer *f, char byte, bool *consumed, const char **why);
void qmp_framer_next(struct qmp_framer *f);
void qmp_framer_free(struct qmp_framer *f);

#endif
