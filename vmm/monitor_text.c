/* See monitor_text.h. */
#include "vmm/monitor_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for len bytes and a NUL. */
static bool reserve(struct monitor_text *t, size_t len)
{
	if (t->failed || len >= MONITOR_TEXT_MAX - t->len) {
		t->failed = true;
		return false;
	}
	if (t->len + len + 1 <= t->size)
		return true;
	size_t size = t->size ? t->size : 256;
	while (size < t->len + len + 1)
		size *= 2;
	char *grown = realloc(t->data, size);
	if (!grown) {
		t->failed = true;
		return false;
	}
	t->data = grown;
	t->size = size;
	return true;
}

void monitor_text_add(struct monitor_text *t, const char *data, size_t len)
{
	if (!len || !reserve(t, len))
		return;
	memcpy(t->data + t->len, data, len);
	t->len += len;
	t->data[t->len] = '\0';
}

void monitor_text_printf(struct monitor_text *t, const char *fmt, ...)
{
	va_list args, again;
	va_start(args, fmt);
	va_copy(again, args);
	int len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (len >= 0 && reserve(t, (size_t)len)) {
		vsnprintf(t->data + t->len, (size_t)len + 1, fmt, again);
		t->len += (size_t)len;
	}
	va_end(again);
}

void monitor_text_drop(struct monitor_text *t, size_t len)
{
	if (len == 0)
		return;
	if (len >= t->len) {
		/* Empty again, with nothing lost that still matters. */
		monitor_text_free(t);
		return;
	}
	memmove(t->data, t->data + len, t->len - len + 1);
	t->len -= len;
}

void monitor_text_add_lines(struct monitor_text *t, const struct monitor_text *other)
{
	const char *at = other->data;
	size_t left = other->len;
	while (left) {
		const char *end = memchr(at, '\n', left);
		size_t len = end ? (size_t)(end - at) : left;
		monitor_text_add(t, at, len);
		if (!end)
			break;
		monitor_text_add(t, "\r\n", 2);
		at = end + 1;
		left -= len + 1;
	}
}

void monitor_text_free(struct monitor_text *t)
{
	free(t->data);
	*t = (struct monitor_text){.data = NULL};
}
