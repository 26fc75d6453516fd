/* See members.h. */
#include "cli/members.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/nearest.h"
#include "base/size.h"

enum kind { STRING, PATH, SIZE, INTEGER, NUMBER, BOOLEAN, INTEGERS, DRIVE, NET, WORD };

struct member {
	const char *name;
	enum kind kind;
	const char *to; /* the API's name, where that is another */
};

static const struct member guest_members[] = {
	{"memory", SIZE, NULL},    {"vcpus", INTEGER, NULL},     {"kernel", PATH, NULL},    {"initrd", PATH, NULL},
	{"append", STRING, NULL},  {"drive", DRIVE, "drives"},   {"net", NET, "netdevs"},   {"minimum", SIZE, NULL},
	{"maximum", SIZE, NULL},   {"shares", INTEGER, NULL},    {"pinned", BOOLEAN, NULL}, {"mem-merge", STRING, NULL},
	{"domain", STRING, NULL},  {"merge-cpu", INTEGER, NULL}, {"swap", BOOLEAN, NULL},   {"balloon", BOOLEAN, NULL},
	{"nodes", INTEGERS, NULL}, {"autostart", BOOLEAN, NULL}, {"restart", STRING, NULL}, {"stop-timeout", NUMBER, NULL},
	{"uuid", STRING, NULL},    {"word", WORD, "words"},      {"tier", STRING, NULL},    {"pin", WORD, "pins"},
};

static const struct member host_members[] = {
	{"budget", SIZE, NULL},         {"idle-tax", INTEGER, NULL},    {"reserve", INTEGER, NULL},
	{"merge-pages", INTEGER, NULL}, {"merge-sleep", INTEGER, NULL}, {"merge-across-nodes", BOOLEAN, NULL},
};

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

const char *member_name(unsigned i)
{
	return i < COUNT_OF(guest_members) ? guest_members[i].name : NULL;
}

/* --- values --- */

static int parse_integer(const char *text, long long *value)
{
	char *end;
	errno = 0;
	*value = strtoll(text, &end, 10);
	return end == text || *end || errno ? -EINVAL : 0;
}

static int parse_boolean(const char *text, bool *value)
{
	static const char *const yes[] = {"on", "yes", "true", "1"}, *const no[] = {"off", "no", "false", "0"};
	for (unsigned i = 0; i < COUNT_OF(yes); i++)
		if (!strcmp(text, yes[i]) || !strcmp(text, no[i])) {
			*value = !strcmp(text, yes[i]);
			return 0;
		}
	return -EINVAL;
}

/* A file, for a daemon that runs in another folder. What is an address stays as it is. */
static json_t *absolute(const char *path)
{
	char here[PATH_MAX], whole[2 * PATH_MAX];
	if (*path == '/' || !strncmp(path, "nbd:", 4) || !strncmp(path, "nbd+unix:", 9) || !getcwd(here, sizeof(here)))
		return json_string(path);
	snprintf(whole, sizeof(whole), "%s/%s", here, path);
	return json_string(whole);
}

static json_t *integers(const char *text)
{
	json_t *array = json_array();
	char *copy = strdup(text), *rest = NULL;
	long long value;
	for (char *word = copy ? strtok_r(copy, ",", &rest) : NULL; array && word; word = strtok_r(NULL, ",", &rest)) {
		if (parse_integer(word, &value) != 0) {
			json_decref(array);
			array = NULL;
			break;
		}
		json_array_append_new(array, json_integer(value));
	}
	free(copy);
	return array;
}

/* "FIRST,name=value,name=value" as an object, FIRST under first. `,,` stands for a comma, as in QEMU's options. */
static json_t *object_of(const char *text, const char *first)
{
	json_t *object = json_object();
	char *word = malloc(strlen(text) + 1);
	bool is_first = true, good = object && word;
	while (good && (*text || is_first)) {
		size_t len = 0;
		while (*text && (*text != ',' || text[1] == ',')) {
			text += *text == ',';
			word[len++] = *text++;
		}
		text += *text == ',';
		word[len] = '\0';
		char *equals = is_first ? NULL : strchr(word, '=');
		if (equals)
			*equals = '\0';
		const char *name = is_first ? first : word, *value = is_first ? word : equals ? equals + 1 : "on";
		is_first = false;
		json_t *made;
		if (!strcmp(name, "file") || !strcmp(name, "path"))
			made = absolute(value);
		else if (!strcmp(name, "readonly"))
			made = strcmp(value, "on") != 0 && strcmp(value, "off") != 0 ? NULL : json_boolean(!strcmp(value, "on"));
		else
			made = json_string(value);
		if (!strcmp(name, "hostfwd")) {
			if (!json_object_get(object, name))
				json_object_set_new(object, name, json_array());
			good = made && json_array_append_new(json_object_get(object, name), made) == 0;
		} else {
			good = made && json_object_set_new(object, name, made) == 0;
		}
	}
	free(word);
	if (good)
		return object;
	json_decref(object);
	return NULL;
}

static const char *expected(enum kind kind)
{
	switch (kind) {
	case SIZE:
		return "a size, such as 512M or 2G";
	case INTEGER:
		return "a whole number";
	case NUMBER:
		return "a number";
	case BOOLEAN:
		return "on or off";
	case INTEGERS:
		return "numbers with commas between, such as 0,1";
	case DRIVE:
		return "a file and its options, such as disk.raw,readonly=on";
	case NET:
		return "a kind and its options, such as user,hostfwd=tcp::2222-:22 or tap,ifname=tap0";
	default:
		return "text in UTF-8";
	}
}

/* NULL: it is none. */
static json_t *value_of(enum kind kind, const char *text)
{
	long long integer;
	uint64_t bytes;
	bool boolean;
	char *end;
	double number;
	switch (kind) {
	case PATH:
		return absolute(text);
	case SIZE:
		return size_parse(text, INT64_MAX, &bytes) == 0 ? json_integer((json_int_t)bytes) : NULL;
	case INTEGER:
		return parse_integer(text, &integer) == 0 ? json_integer(integer) : NULL;
	case NUMBER:
		number = strtod(text, &end);
		return end != text && !*end ? json_real(number) : NULL;
	case BOOLEAN:
		return parse_boolean(text, &boolean) == 0 ? json_boolean(boolean) : NULL;
	case INTEGERS:
		return integers(text);
	case DRIVE:
		return object_of(text, "file");
	case NET:
		return object_of(text, "kind");
	default:
		return json_string(text);
	}
}

/* --- names --- */

static const struct member *find(const struct member *members, size_t nr, const char *name, struct nearest *nearest)
{
	nearest_start(nearest, name);
	for (size_t i = 0; i < nr; i++) {
		if (!strcmp(name, members[i].name))
			return &members[i];
		nearest_try(nearest, members[i].name);
	}
	return NULL;
}

static int add(const struct member *members, size_t nr, json_t *object, const char *word, struct error *err)
{
	const char *equals = strchr(word, '=');
	struct nearest nearest;
	char name[64], hint[80];
	if (!equals || (size_t)(equals - word) >= sizeof(name))
		return error_set(err, EINVAL, "\"%.100s\" is no setting: write NAME=VALUE, such as %s=1G", word, members[0].name);
	snprintf(name, sizeof(name), "%.*s", (int)(equals - word), word);
	const struct member *m = find(members, nr, name, &nearest);
	if (!m)
		return error_set(err, EINVAL, "there is no setting \"%s\"%s", name, nearest_hint(&nearest, "", hint, sizeof(hint)));
	const char *to = m->to ? m->to : m->name;
	bool is_default = !strcmp(equals + 1, "default");
	json_t *value = is_default ? json_null() : value_of(m->kind, equals + 1);
	if (!value)
		return error_set(err, EINVAL, "%s: \"%.100s\" is not %s", name, equals + 1, expected(m->kind));
	if (!m->to || is_default)
		return json_object_set_new(object, to, value) == 0 ? 0 : error_set(err, ENOMEM, "out of memory");
	json_t *array = json_object_get(object, to);
	if (!json_is_array(array)) {
		json_object_set_new(object, to, json_array());
		array = json_object_get(object, to);
	}
	return json_array_append_new(array, value) == 0 ? 0 : error_set(err, ENOMEM, "out of memory");
}

int member_add(json_t *object, const char *word, struct error *err)
{
	return add(guest_members, COUNT_OF(guest_members), object, word, err);
}

int host_member_add(json_t *object, const char *word, struct error *err)
{
	return add(host_members, COUNT_OF(host_members), object, word, err);
}
