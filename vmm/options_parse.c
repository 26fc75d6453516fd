/*
 * The lexer of option arguments: "virtio-blk-pci,drive=d0,serial=a,,b" becomes a list of keys and values. A comma inside a value is
 * doubled. The same list comes out of the JSON form, which management software writes: '{"driver": "nbd", "server": {"type": "unix"}}'
 * is "driver=nbd,server.type=unix".
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/options.h"

/* Objects within objects. Ours need two. */
#define MAX_JSON_DEPTH 8

static struct keyvals *keyvals_new(struct options *o)
{
	struct keyvals *kv = calloc(1, sizeof(*kv));
	if (kv) {
		kv->next = o->kept;
		o->kept = kv;
	}
	return kv;
}

static int add(struct keyvals *kv, const char *key, const char *value, struct error *err)
{
	if (kv->nr == OPTIONS_MAX_KEYVALS)
		return error_set(err, EINVAL, "more than %d properties", OPTIONS_MAX_KEYVALS);
	kv->items[kv->nr++] = (struct keyval){.key = key, .value = value};
	return 0;
}

/* Cuts one element off: *rest moves behind its comma (or becomes NULL), doubled commas become one, in place. */
static char *cut_element(char **rest)
{
	char *start = *rest, *from = start, *to = start;
	while (*from) {
		if (*from == ',') {
			if (from[1] != ',')
				break;
			from++;
		}
		*to++ = *from++;
	}
	*rest = *from ? from + 1 : NULL;
	*to = '\0';
	return start;
}

static int parse_words(struct keyvals *kv, const char *implied, struct error *err)
{
	char *rest = kv->text;
	bool first = true;
	while (rest && *rest) {
		char *element = cut_element(&rest);
		char *equals = strchr(element, '=');
		const char *key = element, *value = NULL;
		if (equals) {
			*equals = '\0';
			value = equals + 1;
		} else if (first && implied) {
			key = implied;
			value = element;
		}
		if (!*key)
			return error_set(err, EINVAL, "a property without a name (before \"=%.40s\")", value ? value : "");
		int ret = add(kv, key, value, err);
		if (ret)
			return ret;
		first = false;
	}
	return 0;
}

/* Where flattened JSON puts its text. The text of a document is never shorter than what it flattens to, but for repeated keys. */
struct flatten {
	struct keyvals *kv;
	size_t at, size;
};

static const char *keep_text(struct flatten *f, const char *text)
{
	size_t len = strlen(text) + 1;
	if (len > f->size - f->at)
		return NULL;
	char *kept = f->kv->text + f->at;
	memcpy(kept, text, len);
	f->at += len;
	return kept;
}

static int flatten_value(struct flatten *f, const char *key, const json_t *value, unsigned depth, struct error *err);

static int flatten_object(struct flatten *f, const char *path, const json_t *object, unsigned depth, struct error *err)
{
	const char *name;
	json_t *value;
	if (depth == MAX_JSON_DEPTH)
		return error_set(err, EINVAL, "JSON: objects nested deeper than %d", MAX_JSON_DEPTH);
	json_object_foreach((json_t *)object, name, value)
	{
		char key[200];
		int len = snprintf(key, sizeof(key), "%s%s%s", path, *path ? "." : "", name);
		if (len < 0 || (size_t)len >= sizeof(key))
			return error_set(err, EINVAL, "JSON: the name \"%.40s...\" is too long", name);
		int ret = flatten_value(f, key, value, depth, err);
		if (ret)
			return ret;
	}
	return 0;
}

static int flatten_array(struct flatten *f, const char *key, const json_t *array, unsigned depth, struct error *err)
{
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *element = json_array_get(array, i);
		/* QAPI wraps the strings of some lists: [{"str": "tcp::2222-:22"}]. */
		const json_t *wrapped = json_object_size(element) == 1 ? json_object_get(element, "str") : NULL;
		int ret = flatten_value(f, key, wrapped ? wrapped : element, depth + 1, err);
		if (ret)
			return ret;
	}
	return 0;
}

static int flatten_value(struct flatten *f, const char *key, const json_t *value, unsigned depth, struct error *err)
{
	char number[32];
	const char *text;
	if (depth >= MAX_JSON_DEPTH)
		return error_set(err, EINVAL, "JSON: nested deeper than %d", MAX_JSON_DEPTH);
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return flatten_object(f, key, value, depth + 1, err);
	case JSON_ARRAY:
		return flatten_array(f, key, value, depth, err);
	case JSON_STRING:
		text = json_string_value(value);
		break;
	case JSON_INTEGER:
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		text = number;
		break;
	case JSON_TRUE:
		text = "on";
		break;
	case JSON_FALSE:
		text = "off";
		break;
	default:
		return error_set(err, EINVAL, "JSON: \"%s\" must be a string, an integer, true or false", key);
	}
	const char *kept_key = keep_text(f, key);
	const char *kept_value = kept_key ? keep_text(f, text) : NULL;
	if (!kept_value)
		return error_set(err, EINVAL, "JSON: too long");
	return add(f->kv, kept_key, kept_value, err);
}

static int parse_json(struct keyvals *kv, const char *argument, struct error *err)
{
	json_error_t why;
	json_t *root = json_loads(argument, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		return error_set(err, EINVAL, "JSON: %s (at byte %d)", why.text, why.position);
	struct flatten f = {.kv = kv, .size = OPTIONS_MAX_ARGUMENT};
	int ret = -ENOMEM;
	kv->text = malloc(f.size);
	if (kv->text)
		ret = flatten_object(&f, "", root, 0, err);
	else
		error_set(err, ENOMEM, "out of memory");
	json_decref(root);
	return ret;
}

int keyvals_parse(struct options *o, const char *argument, const char *implied, struct keyvals **out, struct error *err)
{
	if (strlen(argument) >= OPTIONS_MAX_ARGUMENT)
		return error_set(err, EINVAL, "longer than %d bytes", OPTIONS_MAX_ARGUMENT);
	struct keyvals *kv = keyvals_new(o);
	if (!kv)
		return error_set(err, ENOMEM, "out of memory");
	int ret;
	if (argument[0] == '{') {
		ret = parse_json(kv, argument, err);
	} else {
		kv->text = strdup(argument);
		ret = kv->text ? parse_words(kv, implied, err) : error_set(err, ENOMEM, "out of memory");
	}
	if (ret)
		return ret;
	*out = kv;
	return 0;
}

const char *keyvals_get(const struct keyvals *kv, const char *key)
{
	for (size_t i = kv->nr; i > 0; i--)
		if (!strcmp(kv->items[i - 1].key, key))
			return kv->items[i - 1].value ? kv->items[i - 1].value : "on";
	return NULL;
}

int keyvals_split(struct options *o, struct keyvals *kv, const char *prefix, struct keyvals **out, struct error *err)
{
	struct keyvals *part = NULL;
	size_t len = strlen(prefix), left = 0;
	for (size_t i = 0; i < kv->nr; i++) {
		struct keyval item = kv->items[i];
		if (strncmp(item.key, prefix, len) != 0) {
			kv->items[left++] = item;
			continue;
		}
		if (!part) {
			part = keyvals_new(o);
			if (!part)
				return error_set(err, ENOMEM, "out of memory");
		}
		/* Cannot overflow: there are no more than in kv. */
		part->items[part->nr++] = (struct keyval){.key = item.key + len, .value = item.value};
	}
	kv->nr = left;
	*out = part;
	return 0;
}

bool keyvals_want_help(const struct keyvals *kv)
{
	for (size_t i = 0; i < kv->nr; i++) {
		const struct keyval *item = &kv->items[i];
		if (!item->value && (!strcmp(item->key, "help") || !strcmp(item->key, "?")))
			return true;
	}
	/* The first word is the value of the implied key. */
	return kv->nr == 1 && kv->items[0].value && (!strcmp(kv->items[0].value, "help") || !strcmp(kv->items[0].value, "?"));
}
