/* The bytes of the API, see docs/API.md: streams are cut into lines, and lines read as requests. All of it is from clients, and may be anything. */
#ifndef HOST_API_MESSAGE_H
#define HOST_API_MESSAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define API_VERSION 1
#define API_MOST_LINE (1u << 20)
#define API_MOST_DEPTH 16

/* All zero is empty. */
struct api_lines {
	char *data;
	size_t len, size, start, scanned;
};

/* Room for bytes that are to be read, at least least. NULL without memory. Then api_lines_add() says how many came. */
char *api_lines_room(struct api_lines *lines, size_t least);
void api_lines_add(struct api_lines *lines, size_t len);
/*
 * The next line, without its end; it is there until the next call. Returns 1, 0 when there is none yet, -EFBIG when it is longer than
 * API_MOST_LINE: then there is no going on.
 */
int api_lines_next(struct api_lines *lines, const char **line, size_t *len);
/* What is left of a line that has no end. */
size_t api_lines_left(const struct api_lines *lines);
void api_lines_free(struct api_lines *lines);

struct api_message {
	json_t *root;
	const char *execute;
	json_t *arguments; /* an object */
	json_t *id;        /* NULL: none */
};

/* Returns 0, or -EINVAL or -ENOMEM with a sentence; id is there then as well, if it could be read. api_message_free() in any case. */
int api_message_parse(const char *line, size_t len, struct api_message *message, struct error *err);
void api_message_free(struct api_message *message);

enum api_argument_type {
	API_STRING,
	API_BOOLEAN,
	API_INTEGER,
	API_NUMBER,
	API_OBJECT,
	API_ARRAY,
};

struct api_argument {
	const char *name;
	enum api_argument_type type;
	bool optional;
};

/* Returns 0, or -EINVAL with a sentence. */
int api_arguments_check(const json_t *arguments, const struct api_argument table[], size_t nr, struct error *err);

/* The class of an error by its code. */
const char *api_error_class(int code);

#endif
