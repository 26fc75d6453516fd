/* An error that a person can act on: an errno value, and a sentence that says what failed, on what, why, what to do. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdbool.h>

/* Holds no memory of its own: copy it, keep it on the stack, drop it. All zero means "no error". */
struct error {
	int code; /* positive errno value, 0 while nothing is set */
	char text[400];
};

/*
 * Sets code (a positive errno value) and the sentence, and returns -code, so that callers can `return error_set(...)`.
 * err may be NULL. A longer text is cut. The text carries no newline and no trailing full stop.
 */
int error_set(struct error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "context: " in front of the text that is already there. Returns -err->code. err may be NULL (then returns -EIO). */
int error_prefix(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
