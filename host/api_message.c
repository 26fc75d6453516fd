/* See api_message.h. */
#include "host/api_message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

char *api_lines_room(struct api_lines *l, size_t least)
{
	if (l->start) {
		l->len -= l->start;
		memmove(l->data, l->data + l->start, l->len);
		l->start = 0;
	}
	if (l->size - l->len < least) {
		char *more = realloc(l->data, l->len + least);
		if (!more)
			return NULL;
		l->data = more;
		l->size = l->len + least;
	}
	return l->data + l->len;
}

void api_lines_add(struct api_lines *l, size_t len)
{
	l->len += len;
}

size_t api_lines_left(const struct api_lines *l)
{
	return l->len - l->start;
}

int api_lines_next(struct api_lines *l, const char **line, size_t *len)
{
	size_t there = l->len - l->start;
	const char *from = l->data + l->start;
	const char *end = there > l->scanned ? memchr(from + l->scanned, '\n', there - l->scanned) : NULL;
	if (!end) {
		l->scanned = there;
		return there > API_MOST_LINE ? -EFBIG : 0;
	}
	l->scanned = 0;
	*line = from;
	*len = (size_t)(end - from);
	l->start += *len + 1;
	return *len > API_MOST_LINE ? -EFBIG : 1;
}

void api_lines_free(struct api_lines *l)
{
	free(l->data);
	*l = (struct api_lines){.data = NULL};
}

/* --- requests --- */

/* The parser goes as deep as what it reads. */
static bool is_too_deep(const char *line, size_t len)
{
	unsigned depth = 0;
	bool in_string = false;
	for (size_t i = 0; i < len; i++) {
		if (in_string && line[i] == '\\')
			i++;
		else if (line[i] == '"')
			in_string = !in_string;
		else if (!in_string && (line[i] == '{' || line[i] == '[') && ++depth > API_MOST_DEPTH)
			return true;
		else if (!in_string && (line[i] == '}' || line[i] == ']') && depth)
			depth--;
	}
	return false;
}

int api_message_parse(const char *line, size_t len, struct api_message *m, struct error *err)
{
	json_error_t where;
	const char *key;
	json_t *value;
	*m = (struct api_message){.root = NULL};
	if (is_too_deep(line, len))
		return error_set(err, EINVAL, "nested more than %d deep", API_MOST_DEPTH);
	m->root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &where);
	if (!m->root)
		return json_error_code(&where) == json_error_out_of_memory
			       ? error_set(err, ENOMEM, "out of memory")
			       : error_set(err, EINVAL, "no JSON: at byte %d: %.100s", where.position, where.text);
	json_t *id = json_object_get(m->root, "id");
	if (json_is_string(id) || json_is_integer(id))
		m->id = id;
	else if (id)
		return error_set(err, EINVAL, "id: must be a string or an integer");
	json_object_foreach(m->root, key, value)
	{
		if (strcmp(key, "execute") != 0 && strcmp(key, "arguments") != 0 && strcmp(key, "id") != 0)
			return error_set(err, EINVAL, "%.60s: a request has execute, arguments and id", key);
	}
	m->execute = json_string_value(json_object_get(m->root, "execute"));
	if (!m->execute)
		return error_set(err, EINVAL, "execute: the name of a command is missing");
	m->arguments = json_object_get(m->root, "arguments");
	if (!m->arguments) {
		m->arguments = json_object();
		if (!m->arguments || json_object_set_new(m->root, "arguments", m->arguments) < 0)
			return error_set(err, ENOMEM, "out of memory");
	}
	if (!json_is_object(m->arguments))
		return error_set(err, EINVAL, "arguments: must be an object");
	return 0;
}

void api_message_free(struct api_message *m)
{
	json_decref(m->root);
	*m = (struct api_message){.root = NULL};
}

static bool is_of(const json_t *value, enum api_argument_type type)
{
	switch (type) {
	case API_STRING:
		return json_is_string(value);
	case API_BOOLEAN:
		return json_is_boolean(value);
	case API_INTEGER:
		return json_is_integer(value);
	case API_NUMBER:
		return json_is_number(value);
	case API_OBJECT:
		return json_is_object(value);
	case API_ARRAY:
	default:
		return json_is_array(value);
	}
}

int api_arguments_check(const json_t *arguments, const struct api_argument table[], size_t nr, struct error *err)
{
	static const char *const types[] = {"a string", "true or false", "an integer", "a number", "an object", "an array"};
	const char *key;
	const json_t *value;
	json_object_foreach((json_t *)arguments, key, value)
	{
		size_t i = 0;
		while (i < nr && strcmp(table[i].name, key) != 0)
			i++;
		if (i == nr)
			return error_set(err, EINVAL, "%.60s: the command has no such argument", key);
		if (!is_of(value, table[i].type))
			return error_set(err, EINVAL, "%s: must be %s", key, types[table[i].type]);
	}
	for (size_t i = 0; i < nr; i++)
		if (!table[i].optional && !json_object_get(arguments, table[i].name))
			return error_set(err, EINVAL, "%s: is missing", table[i].name);
	return 0;
}

const char *api_error_class(int code)
{
	switch (code) {
	case EBADMSG:
		return "Syntax";
	case ENOSYS:
		return "UnknownCommand";
	case EINVAL:
		return "BadArgument";
	case EROFS:
		return "ReadOnly";
	case ESRCH:
		return "NotFound";
	case EEXIST:
		return "Exists";
	case EBADFD:
		return "WrongState";
	case EDQUOT:
		return "Refused";
	case EBUSY:
		return "Busy";
	case ETIMEDOUT:
		return "Timeout";
	case ENOTSUP:
		return "Unsupported";
	default:
		return "Failed";
	}
}
