/*
 * See qmp_framer.h. Whether the bytes are JSON is for the parser to say; here only strings and brackets are told apart.
 *
 *   plain --quote--> in a string --quote--> plain        plain --error--> skip --newline--> plain
 *
 * Errors that leave no hope to find the end (a line end inside a string, too deep, too long) skip to the end of the line: clients send a
 * message a line. As QEMU does, strings in single quotes are taken; they are rewritten with double ones.
 */
#include "vmm/qmp_framer.h"

#include <stdbool.h>

static void add(struct qmp_framer *f, char byte)
{
	monitor_text_add(&f->message, &byte, 1);
}

void qmp_framer_next(struct qmp_framer *f)
{
	monitor_text_free(&f->message);
	f->depth = 0;
	f->quote = 0;
	f->state = QMP_FRAMER_PLAIN;
}

void qmp_framer_free(struct qmp_framer *f)
{
	qmp_framer_next(f);
}

static enum qmp_frame fail(struct qmp_framer *f, char byte, const char *text, const char **why)
{
	qmp_framer_next(f);
	if (byte != '\n')
		f->state = QMP_FRAMER_SKIP;
	*why = text;
	return QMP_FRAME_ERROR;
}

static bool is_space(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

/* Bytes that end a word. */
static bool is_structure(char byte)
{
	return byte == '{' || byte == '}' || byte == '[' || byte == ']' || byte == ',' || byte == ':' || byte == '"' ||
	       byte == '\'';
}

static enum qmp_frame feed_string(struct qmp_framer *f, char byte, const char **why)
{
	if ((unsigned char)byte < 0x20)
		return fail(f, byte, "JSON parse error, a string without an end", why);
	if (f->state == QMP_FRAMER_BACKSLASH) {
		f->state = QMP_FRAMER_PLAIN;
		/* \' is no escape of JSON. */
		if (byte != '\'')
			add(f, '\\');
		add(f, byte);
	} else if (byte == '\\') {
		f->state = QMP_FRAMER_BACKSLASH;
	} else if (byte == f->quote) {
		f->quote = 0;
		add(f, '"');
		return f->depth ? QMP_FRAME_MORE : QMP_FRAME_COMPLETE;
	} else {
		if (byte == '"')
			add(f, '\\');
		add(f, byte);
	}
	return QMP_FRAME_MORE;
}

static enum qmp_frame feed_plain(struct qmp_framer *f, char byte, const char **why)
{
	switch (byte) {
	case '"':
	case '\'':
		f->quote = byte;
		add(f, '"');
		return QMP_FRAME_MORE;
	case '{':
	case '[':
		if (f->depth == QMP_MAX_DEPTH)
			return fail(f, byte, "JSON parse error, nested too deep", why);
		f->depth++;
		add(f, byte);
		return QMP_FRAME_MORE;
	case '}':
	case ']':
		if (f->depth == 0) {
			/* One bracket too many is not worth the rest of the line. */
			*why = "JSON parse error, expecting value";
			return QMP_FRAME_ERROR;
		}
		add(f, byte);
		return --f->depth ? QMP_FRAME_MORE : QMP_FRAME_COMPLETE;
	default:
		if (f->depth == 0 && is_space(byte))
			return QMP_FRAME_MORE;
		if (f->depth == 0 && is_structure(byte)) {
			*why = "JSON parse error, expecting value";
			return QMP_FRAME_ERROR;
		}
		if (f->depth == 0)
			f->state = QMP_FRAMER_WORD;
		add(f, byte);
		return QMP_FRAME_MORE;
	}
}

enum qmp_frame qmp_framer_feed(struct qmp_framer *f, char byte, bool *consumed, const char **why)
{
	*consumed = true;
	if (f->state == QMP_FRAMER_SKIP) {
		if (byte == '\n')
			f->state = QMP_FRAMER_PLAIN;
		return QMP_FRAME_MORE;
	}
	if (f->message.failed || f->message.len >= QMP_MAX_MESSAGE)
		return fail(f, byte, "JSON parse error, the message is too long", why);
	if (f->quote)
		return feed_string(f, byte, why);
	if (f->state == QMP_FRAMER_WORD) {
		if (is_space(byte) || is_structure(byte)) {
			*consumed = is_space(byte);
			return QMP_FRAME_COMPLETE;
		}
		add(f, byte);
		return QMP_FRAME_MORE;
	}
	return feed_plain(f, byte, why);
}
