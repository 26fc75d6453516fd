/* See error.h. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, int code, const char *fmt, ...)
{
	if (err) {
		va_list args;
		va_start(args, fmt);
		err->code = code;
		vsnprintf(err->text, sizeof(err->text), fmt, args);
		va_end(args);
	}
	return -code;
}

int error_prefix(struct error *err, const char *fmt, ...)
{
	if (!err)
		return -EIO;
	char text[sizeof(err->text)];
	va_list args;
	va_start(args, fmt);
	int length = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (length >= 0 && (size_t)length < sizeof(text) - 2) {
		/* Cut, not refused, when both do not fit. */
		size_t room = sizeof(text) - (size_t)length - 3;
		size_t kept = strnlen(err->text, room);
		memcpy(text + length, ": ", 2);
		memcpy(text + length + 2, err->text, kept);
		text[(size_t)length + 2 + kept] = '\0';
	}
	memcpy(err->text, text, sizeof(text));
	return -err->code;
}
