/* The members of a definition that are lists: drives, netdevs, further words; and the strings in them. */
#include <ctype.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "host/definition.h"

#define MOST_DRIVES 16
#define MOST_NETDEVS 8
#define MOST_FORWARDS 16
#define MOST_WORDS 64
#define MOST_PATH 1024
#define MOST_WORD 4096

static int check_bytes(const char *what, const json_t *value, size_t least, size_t most, const char *controls, struct error *err)
{
	const char *text = json_string_value(value);
	size_t len = json_string_length(value);
	if (!text)
		return error_set(err, EINVAL, "%s: must be a string", what);
	if (len < least || len > most)
		return error_set(err, EINVAL, "%s: must have %zu to %zu bytes", what, least, most);
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)text[i] < 0x20 && (!text[i] || !strchr(controls, text[i]))) || text[i] == 0x7f)
			return error_set(err, EINVAL, "%s: has a control character", what);
	return 0;
}

int definition_check_text(const char *what, const json_t *value, size_t least, size_t most, struct error *err)
{
	return check_bytes(what, value, least, most, "", err);
}

int definition_check_lines(const char *what, const json_t *value, size_t most, struct error *err)
{
	return check_bytes(what, value, 0, most, "\n\r\t", err);
}

int definition_check_path(const char *what, const json_t *value, struct error *err)
{
	int ret = definition_check_text(what, value, 1, MOST_PATH, err);
	if (ret == 0 && *json_string_value(value) != '/')
		return error_set(err, EINVAL, "%s: \"%.60s\" is no absolute path", what, json_string_value(value));
	return ret;
}

/* One member of an element: what it may be, and what it is when it is not there. */
struct part {
	const char *name;
	enum {
		PART_SOURCE, /* a path, or an NBD address */
		PART_PATH,
		PART_WORD,
		PART_BOOLEAN,
		PART_SERIAL,
		PART_INTERFACE,
		PART_MAC,
		PART_FORWARDS,
	} kind;
	bool required;
	const char *words; /* the first is the default */
};

static bool is_word_of(const char *text, const char *words)
{
	size_t len = strlen(text);
	for (const char *at = words; len && at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
		if (!strncmp(at, text, len) && (at[len] == '|' || !at[len]))
			return true;
	return false;
}

static bool has_only(const char *text, const char *allowed)
{
	for (; *text; text++)
		if (!isascii(*text) || (!isalnum((unsigned char)*text) && !strchr(allowed, *text)))
			return false;
	return true;
}

static int check_source(const char *what, const json_t *value, struct error *err)
{
	const char *text = json_string_value(value);
	if (text && (!strncmp(text, "nbd:", 4) || !strncmp(text, "nbd+unix:", 9)))
		return definition_check_text(what, value, 1, MOST_PATH, err);
	return definition_check_path(what, value, err);
}

static int check_mac(const char *what, const json_t *value, struct error *err)
{
	const char *text = json_string_value(value);
	unsigned b[6];
	int end = 0;
	if (text && strlen(text) == 17 && has_only(text, ":") &&
	    sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &end) == 6 && end == 17 &&
	    !(b[0] & 1))
		return 0;
	return error_set(err, EINVAL, "%s: must be the address of one card, such as 52:54:00:12:34:56", what);
}

static int check_forwards(const char *what, const json_t *value, struct error *err)
{
	char name[160];
	const json_t *item;
	size_t i;
	int ret = 0;
	if (!json_is_array(value) || json_array_size(value) > MOST_FORWARDS)
		return error_set(err, EINVAL, "%s: must be an array of up to %d strings", what, MOST_FORWARDS);
	json_array_foreach(value, i, item)
	{
		snprintf(name, sizeof(name), "%s[%zu]", what, i);
		ret = definition_check_text(name, item, 1, 100, err);
		if (ret == 0 && !has_only(json_string_value(item), ":.-[]"))
			ret = error_set(err, EINVAL, "%s: must be like tcp:127.0.0.1:2222-:22", name);
		if (ret)
			break;
	}
	return ret;
}

static int check_part(const struct part *part, const char *what, const json_t *value, struct error *err)
{
	const char *text = json_string_value(value);
	switch (part->kind) {
	case PART_SOURCE:
		return check_source(what, value, err);
	case PART_PATH:
		return definition_check_path(what, value, err);
	case PART_WORD:
		if (text && is_word_of(text, part->words))
			return 0;
		return error_set(err, EINVAL, "%s: must be one of %s", what, part->words);
	case PART_BOOLEAN:
		return json_is_boolean(value) ? 0 : error_set(err, EINVAL, "%s: must be true or false", what);
	case PART_SERIAL:
		if (text && *text && strlen(text) <= 20 && has_only(text, "._-"))
			return 0;
		return error_set(err, EINVAL, "%s: must be 1 to 20 letters, digits, '.', '_' and '-'", what);
	case PART_INTERFACE:
		if (text && *text && strlen(text) <= 15 && has_only(text, "._-"))
			return 0;
		return error_set(err, EINVAL, "%s: must be the name of an interface, 1 to 15 letters, digits, '.', '_' and '-'",
				 what);
	case PART_MAC:
		return check_mac(what, value, err);
	case PART_FORWARDS:
	default:
		return check_forwards(what, value, err);
	}
}

/* A new value, or NULL. *none: there is no default. */
static json_t *default_of(const struct part *part, bool *none)
{
	uint8_t random[3];
	char mac[18];
	*none = false;
	switch (part->kind) {
	case PART_WORD:
		return json_stringn(part->words, strcspn(part->words, "|"));
	case PART_BOOLEAN:
		return json_false();
	case PART_MAC:
		randombytes_buf(random, sizeof(random));
		snprintf(mac, sizeof(mac), "52:54:00:%02x:%02x:%02x", random[0], random[1], random[2]);
		return json_string(mac);
	default:
		*none = true;
		return NULL;
	}
}

static int check_element(const char *list, size_t at, json_t *element, const struct part *parts, size_t nr, struct error *err)
{
	char what[120];
	const char *key;
	const json_t *unused;
	int ret = 0;
	if (!json_is_object(element))
		return error_set(err, EINVAL, "%s[%zu]: must be an object", list, at);
	json_object_foreach(element, key, unused)
	{
		size_t i = 0;
		(void)unused;
		while (i < nr && strcmp(parts[i].name, key) != 0)
			i++;
		if (i == nr)
			return error_set(err, EINVAL, "%s[%zu].%.60s: there is no such member", list, at, key);
	}
	for (size_t i = 0; ret == 0 && i < nr; i++) {
		bool none;
		const json_t *value = json_object_get(element, parts[i].name);
		snprintf(what, sizeof(what), "%s[%zu].%s", list, at, parts[i].name);
		if (value) {
			ret = check_part(&parts[i], what, value, err);
		} else if (parts[i].required) {
			ret = error_set(err, EINVAL, "%s: is missing", what);
		} else {
			json_t *made = default_of(&parts[i], &none);
			if (!none && json_object_set_new(element, parts[i].name, made) < 0)
				ret = -ENOMEM;
		}
	}
	return ret;
}

static int check_list(const char *list, json_t *array, size_t most, const struct part *parts, size_t nr, struct error *err)
{
	json_t *element;
	size_t i;
	int ret = 0;
	if (!json_is_array(array) || json_array_size(array) > most)
		return error_set(err, EINVAL, "%s: must be an array of up to %zu objects", list, most);
	json_array_foreach(array, i, element)
	{
		ret = check_element(list, i, element, parts, nr, err);
		if (ret)
			break;
	}
	return ret;
}

int definition_check_drives(json_t *drives, struct error *err)
{
	static const struct part parts[] = {
		{"file", PART_SOURCE, true, NULL},
		{"format", PART_WORD, false, "raw"},
		{"readonly", PART_BOOLEAN, false, NULL},
		{"cache", PART_WORD, false, "writeback|none|writethrough|directsync|unsafe"},
		{"discard", PART_WORD, false, "ignore|unmap"},
		{"serial", PART_SERIAL, false, NULL},
	};
	return check_list("drives", drives, MOST_DRIVES, parts, sizeof(parts) / sizeof(parts[0]), err);
}

int definition_check_netdevs(json_t *netdevs, struct error *err)
{
	static const struct part parts[] = {
		{"kind", PART_WORD, true, "user|tap|stream"}, {"mac", PART_MAC, false, NULL},
		{"ifname", PART_INTERFACE, false, NULL},      {"path", PART_PATH, false, NULL},
		{"hostfwd", PART_FORWARDS, false, NULL},
	};
	/* Which member belongs to which kind. */
	static const struct {
		const char *member, *kind;
		bool required;
	} rules[] = {{"ifname", "tap", true}, {"path", "stream", true}, {"hostfwd", "user", false}};
	const json_t *element;
	size_t i;
	int ret = check_list("netdevs", netdevs, MOST_NETDEVS, parts, sizeof(parts) / sizeof(parts[0]), err);
	if (ret)
		return ret;
	json_array_foreach(netdevs, i, element)
	{
		const char *kind = json_string_value(json_object_get(element, "kind"));
		for (size_t k = 0; k < sizeof(rules) / sizeof(rules[0]); k++) {
			bool there = json_object_get(element, rules[k].member) != NULL, its = !strcmp(kind, rules[k].kind);
			if (there && !its)
				return error_set(err, EINVAL, "netdevs[%zu].%s: only kind \"%s\" has it", i, rules[k].member,
						 rules[k].kind);
			if (its && !there && rules[k].required)
				return error_set(err, EINVAL, "netdevs[%zu].%s: is missing", i, rules[k].member);
		}
	}
	return 0;
}

/* Options that come from other members, or that would break the daemon's hold on the VMM. */
static bool is_taken(const char *word)
{
	static const char *const taken[] = {
		"m",       "smp", "kernel",  "initrd", "append",    "name", "uuid", "memory",  "dedup", "serial",
		"machine", "M",   "pidfile", "S",      "daemonize", "help", "h",    "version", "?",     "nographic",
	};
	if (*word != '-')
		return false;
	word += word[1] == '-' ? 2 : 1;
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (!strcmp(word, taken[i]))
			return true;
	return false;
}

int definition_check_words(const json_t *words, struct error *err)
{
	char what[32];
	const json_t *item;
	size_t i;
	if (!json_is_array(words) || json_array_size(words) > MOST_WORDS)
		return error_set(err, EINVAL, "words: must be an array of up to %d strings", MOST_WORDS);
	json_array_foreach(words, i, item)
	{
		snprintf(what, sizeof(what), "words[%zu]", i);
		int ret = definition_check_text(what, item, 1, MOST_WORD, err);
		if (ret)
			return ret;
		if (is_taken(json_string_value(item)))
			return error_set(err, EINVAL, "%s: %.40s comes from the definition's other members, or is the daemon's own",
					 what, json_string_value(item));
	}
	return 0;
}
