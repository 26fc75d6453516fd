/* See definition.h. One table says what members there are; what is no scalar is checked in definition_lists.c. */
#include "host/definition.h"

#include <ctype.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/pins.h"

#define MIB (1ull << 20)
#define MOST_MEMORY (4ull << 40)
#define SHARES_PER_MIB 10
#define MOST_SHARES 1000000

enum kind {
	KIND_NAME,
	KIND_UUID,
	KIND_SIZE,
	KIND_INTEGER,
	KIND_SECONDS,
	KIND_BOOLEAN,
	KIND_PATH,
	KIND_APPEND,
	KIND_WORD,
	KIND_NODES,
	KIND_PINS,
	KIND_DRIVES,
	KIND_NETDEVS,
	KIND_WORDS,
	KIND_XML,
};

struct member {
	const char *name;
	enum kind kind;
	enum definition_change change;
	bool required;
	uint64_t least, most, fallback;
	const char *words; /* "on|off|ksm" */
	size_t offset;
	size_t bytes; /* of a name */
};

/* clang-format off */
#define AT(field) offsetof(struct definition, field)
#define START DEFINITION_CHANGE_AT_START
#define LIVE DEFINITION_CHANGE_LIVE
static const struct member members[] = {
	{.name = "name", .kind = KIND_NAME, .required = true, .offset = AT(name), .bytes = DEFINITION_NAME_BYTES},
	{.name = "uuid", .kind = KIND_UUID, .offset = AT(uuid)},
	{.name = "memory", .kind = KIND_SIZE, .change = START, .required = true, .least = MIB, .most = MOST_MEMORY, .offset = AT(memory)},
	{.name = "vcpus", .kind = KIND_INTEGER, .change = START, .least = 1, .most = 255, .fallback = 1, .offset = AT(vcpus)},
	{.name = "kernel", .kind = KIND_PATH, .change = START, .required = true},
	{.name = "initrd", .kind = KIND_PATH, .change = START},
	{.name = "append", .kind = KIND_APPEND, .change = START},
	{.name = "drives", .kind = KIND_DRIVES, .change = START},
	{.name = "netdevs", .kind = KIND_NETDEVS, .change = START},
	{.name = "minimum", .kind = KIND_SIZE, .change = LIVE, .most = MOST_MEMORY, .offset = AT(minimum)},
	{.name = "maximum", .kind = KIND_SIZE, .change = LIVE, .least = MIB, .most = MOST_MEMORY, .offset = AT(maximum)},
	{.name = "shares", .kind = KIND_INTEGER, .change = LIVE, .least = 1, .most = MOST_SHARES, .offset = AT(shares)},
	{.name = "pinned", .kind = KIND_BOOLEAN, .change = START, .offset = AT(pinned)},
	{.name = "mem-merge", .kind = KIND_WORD, .change = START, .words = "on|off|ksm", .offset = AT(merge)},
	{.name = "domain", .kind = KIND_NAME, .change = START, .offset = AT(domain), .bytes = DEFINITION_DOMAIN_BYTES},
	{.name = "merge-cpu", .kind = KIND_INTEGER, .change = LIVE, .most = 100, .fallback = 100, .offset = AT(merge_cpu)},
	{.name = "swap", .kind = KIND_BOOLEAN, .change = START, .fallback = 1, .offset = AT(swap)},
	{.name = "tier", .kind = KIND_WORD, .change = START, .words = "auto|own|kernel", .offset = AT(tier)},
	{.name = "balloon", .kind = KIND_BOOLEAN, .change = START, .fallback = 1, .offset = AT(balloon)},
	{.name = "nodes", .kind = KIND_NODES, .change = LIVE, .offset = AT(nodes)},
	{.name = "pins", .kind = KIND_PINS, .change = LIVE},
	{.name = "autostart", .kind = KIND_BOOLEAN, .change = LIVE, .offset = AT(autostart)},
	{.name = "restart", .kind = KIND_WORD, .change = LIVE, .words = "never|on-crash|always", .offset = AT(restart)},
	{.name = "stop-timeout", .kind = KIND_SECONDS, .change = LIVE, .fallback = 60, .offset = AT(stop_timeout)},
	{.name = "words", .kind = KIND_WORDS, .change = START},
	{.name = "xml", .kind = KIND_XML, .change = LIVE},
};
/* clang-format on */
#define NR_MEMBERS (sizeof(members) / sizeof(members[0]))

static const struct member *find(const char *name)
{
	for (size_t i = 0; i < NR_MEMBERS; i++)
		if (!strcmp(members[i].name, name))
			return &members[i];
	return NULL;
}

enum definition_change definition_change_of(const char *name)
{
	const struct member *m = find(name);
	return m ? m->change : DEFINITION_CHANGE_NEVER;
}

/* --- scalars --- */

static bool is_name(const char *text, size_t bytes)
{
	size_t len = strlen(text);
	if (len < 1 || len >= bytes || !isalnum((unsigned char)*text))
		return false;
	for (const char *c = text; *c; c++)
		if (!isascii(*c) || (!isalnum((unsigned char)*c) && !strchr("._-", *c)))
			return false;
	return true;
}

bool definition_is_name(const char *text)
{
	return is_name(text, DEFINITION_NAME_BYTES);
}

static int set_name(const struct member *m, const json_t *value, struct definition *d, struct error *err)
{
	const char *text = json_string_value(value);
	if (!text || !is_name(text, m->bytes))
		return error_set(err, EINVAL, "%s: must be 1 to %zu letters, digits, '.', '_' and '-', the first a letter or digit",
				 m->name, m->bytes - 1);
	strcpy((char *)d + m->offset, text);
	return 0;
}

static int set_uuid(const json_t *value, struct definition *d, struct error *err)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	const char *text = json_string_value(value);
	bool good = text && strlen(text) == strlen(form);
	for (size_t i = 0; good && form[i]; i++)
		good = form[i] == 'x' ? strchr("0123456789abcdef", text[i]) != NULL : text[i] == '-';
	if (!good)
		return error_set(err, EINVAL, "uuid: must have the form %s, in lower-case hexadecimal digits", form);
	strcpy(d->uuid, text);
	return 0;
}

static int set_number(const struct member *m, const json_t *value, struct definition *d, struct error *err)
{
	json_int_t n = json_integer_value(value);
	if (!json_is_integer(value) || n < 0 || (uint64_t)n < m->least || (uint64_t)n > m->most)
		return error_set(err, EINVAL, "%s: must be %s from %llu to %llu", m->name,
				 m->kind == KIND_SIZE ? "a number of bytes" : "an integer", (unsigned long long)m->least,
				 (unsigned long long)m->most);
	if (m->kind == KIND_SIZE && n % 4096)
		return error_set(err, EINVAL, "%s: %lld bytes are no multiple of 4096", m->name, (long long)n);
	*(uint64_t *)(void *)((char *)d + m->offset) = (uint64_t)n;
	return 0;
}

static int set_seconds(const struct member *m, const json_t *value, struct definition *d, struct error *err)
{
	double n = json_number_value(value);
	if (!json_is_number(value) || !(n >= 0.1 && n <= 86400))
		return error_set(err, EINVAL, "%s: must be seconds, 0.1 to 86400", m->name);
	*(double *)(void *)((char *)d + m->offset) = n;
	return 0;
}

static int set_boolean(const struct member *m, const json_t *value, struct definition *d, struct error *err)
{
	if (!json_is_boolean(value))
		return error_set(err, EINVAL, "%s: must be true or false", m->name);
	*(bool *)((char *)d + m->offset) = json_is_true(value);
	return 0;
}

static int set_word(const struct member *m, const json_t *value, struct definition *d, struct error *err)
{
	const char *text = json_string_value(value), *at = m->words;
	for (uint64_t i = 0; text && at; i++) {
		size_t len = strcspn(at, "|");
		if (strlen(text) == len && !memcmp(text, at, len)) {
			*(uint64_t *)(void *)((char *)d + m->offset) = i;
			return 0;
		}
		at = at[len] ? at + len + 1 : NULL;
	}
	return error_set(err, EINVAL, "%s: must be one of %s", m->name, m->words);
}

static int set_nodes(const json_t *value, struct definition *d, struct error *err)
{
	const json_t *item;
	size_t i;
	if (!json_is_array(value))
		return error_set(err, EINVAL, "nodes: must be an array of numbers");
	d->nodes = 0;
	json_array_foreach(value, i, item)
	{
		json_int_t n = json_integer_value(item);
		if (!json_is_integer(item) || n < 0 || n >= DEFINITION_MOST_NODES || d->nodes & 1ull << n)
			return error_set(err, EINVAL, "nodes[%zu]: must be the number of a node, 0 to %d, and each only once", i,
					 DEFINITION_MOST_NODES - 1);
		d->nodes |= 1ull << n;
	}
	return 0;
}

static int set(const struct member *m, json_t *value, struct definition *d, struct error *err)
{
	switch (m->kind) {
	case KIND_NAME:
		return set_name(m, value, d, err);
	case KIND_UUID:
		return set_uuid(value, d, err);
	case KIND_SIZE:
	case KIND_INTEGER:
		return set_number(m, value, d, err);
	case KIND_SECONDS:
		return set_seconds(m, value, d, err);
	case KIND_BOOLEAN:
		return set_boolean(m, value, d, err);
	case KIND_PATH:
		return definition_check_path(m->name, value, err);
	case KIND_APPEND:
		return definition_check_text(m->name, value, 0, 4096, err);
	case KIND_WORD:
		return set_word(m, value, d, err);
	case KIND_NODES:
		return set_nodes(value, d, err);
	case KIND_PINS:
		return pins_check(value, err);
	case KIND_DRIVES:
		return definition_check_drives(value, err);
	case KIND_NETDEVS:
		return definition_check_netdevs(value, err);
	case KIND_XML:
		return definition_check_lines(m->name, value, DEFINITION_XML_BYTES, err);
	case KIND_WORDS:
	default:
		return definition_check_words(value, err);
	}
}

/* --- defaults --- */

static json_t *new_uuid(void)
{
	uint8_t b[16];
	char text[DEFINITION_UUID_BYTES];
	randombytes_buf(b, sizeof(b));
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	snprintf(text, sizeof(text), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3],
		 b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
	return json_string(text);
}

static uint64_t default_shares(const struct definition *d)
{
	uint64_t shares = d->memory / MIB * SHARES_PER_MIB;
	return shares < MOST_SHARES ? shares : MOST_SHARES;
}

bool definition_has_own_shares(const struct definition *d)
{
	return d->shares != default_shares(d);
}

/* memory is known by now: it stands before what depends on it. *value: NULL where the default is that there is none. */
static int make_default(const struct member *m, const struct definition *d, json_t **value)
{
	switch (m->kind) {
	case KIND_UUID:
		*value = new_uuid();
		break;
	case KIND_SIZE:
		*value = json_integer(!strcmp(m->name, "maximum") ? (json_int_t)d->memory : (json_int_t)m->fallback);
		break;
	case KIND_INTEGER:
		*value = json_integer(!strcmp(m->name, "shares") ? (json_int_t)default_shares(d) : (json_int_t)m->fallback);
		break;
	case KIND_SECONDS:
		*value = json_integer((json_int_t)m->fallback);
		break;
	case KIND_BOOLEAN:
		*value = json_boolean(m->fallback);
		break;
	case KIND_NAME:
		*value = json_string("default");
		break;
	case KIND_WORD:
		*value = json_stringn(m->words, strcspn(m->words, "|"));
		break;
	case KIND_NODES:
	case KIND_PINS:
	case KIND_DRIVES:
	case KIND_NETDEVS:
	case KIND_WORDS:
		*value = json_array();
		break;
	case KIND_PATH:
	case KIND_APPEND:
	case KIND_XML:
	default:
		*value = NULL;
		return 0;
	}
	return *value ? 0 : -ENOMEM;
}

/* --- whole definitions --- */

static int check_known(const json_t *json, struct error *err)
{
	const char *key;
	const json_t *value;
	if (!json_is_object(json))
		return error_set(err, EINVAL, "definition: must be an object");
	json_object_foreach((json_t *)json, key, value)
	{
		(void)value;
		if (!find(key))
			return error_set(err, EINVAL, "%.60s: a definition has no such member", key);
	}
	return 0;
}

static int check_whole(const struct definition *d, struct error *err)
{
	unsigned long long memory = d->memory, least = d->minimum, most = d->maximum;
	if (most > memory)
		return error_set(err, EINVAL, "maximum: %llu bytes are more than the guest's memory, %llu", most, memory);
	if (least > most)
		return error_set(err, EINVAL, "minimum: %llu bytes are more than the maximum, %llu", least, most);
	return 0;
}

int definition_parse(const json_t *json, struct definition **out, struct error *err)
{
	int ret = check_known(json, err);
	if (ret)
		return ret;
	struct definition *d = calloc(1, sizeof(*d));
	json_t *given = json_deep_copy(json);
	if (d)
		d->json = json_object();
	if (!d || !d->json || !given)
		ret = -ENOMEM;
	for (size_t i = 0; ret == 0 && i < NR_MEMBERS; i++) {
		const struct member *m = &members[i];
		json_t *value = json_object_get(given, m->name);
		if (json_is_null(value))
			value = NULL;
		if (!value && m->required)
			ret = error_set(err, EINVAL, "%s: is missing", m->name);
		else if (value)
			json_incref(value);
		else
			ret = make_default(m, d, &value);
		if (ret == 0 && value)
			ret = set(m, value, d, err);
		if (ret == 0 && value && json_object_set(d->json, m->name, value) < 0)
			ret = -ENOMEM;
		json_decref(value);
	}
	if (ret == 0)
		ret = check_whole(d, err);
	json_decref(given);
	if (ret) {
		definition_free(d);
		return ret == -ENOMEM ? error_set(err, ENOMEM, "out of memory") : ret;
	}
	*out = d;
	return 0;
}

int definition_change(const struct definition *from, const json_t *set_members, struct definition **changed, struct error *err)
{
	const char *key;
	json_t *value;
	int ret = check_known(set_members, err);
	if (ret)
		return ret;
	json_t *json = json_copy(from->json);
	if (!json)
		return error_set(err, ENOMEM, "out of memory");
	json_object_foreach((json_t *)set_members, key, value)
	{
		if (find(key)->change == DEFINITION_CHANGE_NEVER && !json_equal(value, json_object_get(json, key)))
			ret = error_set(err, EINVAL, "%s: cannot be changed", key);
		else if (json_object_set(json, key, value) < 0)
			ret = error_set(err, ENOMEM, "out of memory");
		if (ret)
			break;
	}
	/* What followed the size goes on to follow it. */
	if (json_object_get(set_members, "memory")) {
		if (from->maximum == from->memory && !json_object_get(set_members, "maximum"))
			json_object_del(json, "maximum");
		if (from->shares == default_shares(from) && !json_object_get(set_members, "shares"))
			json_object_del(json, "shares");
	}
	if (ret == 0)
		ret = definition_parse(json, changed, err);
	json_decref(json);
	return ret;
}

void definition_free(struct definition *d)
{
	if (d)
		json_decref(d->json);
	free(d);
}

json_t *definition_difference(const struct definition *a, const struct definition *b)
{
	json_t *names = json_array();
	for (size_t i = 0; names && i < NR_MEMBERS; i++) {
		const char *name = members[i].name;
		const json_t *left = json_object_get(a->json, name), *right = json_object_get(b->json, name);
		if ((left && right && json_equal(left, right)) || (!left && !right))
			continue;
		if (json_array_append_new(names, json_string(name)) < 0) {
			json_decref(names);
			names = NULL;
		}
	}
	return names;
}

const char *definition_restart_name(enum definition_restart restart)
{
	static const char *const names[] = {"never", "on-crash", "always"};
	return names[restart];
}
