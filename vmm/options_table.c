/*
 * Tables of typed properties: one row says a property's name, type, range and where its value goes. All conversions from text are
 * here, and so is the sentence when one fails.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/options.h"

int options_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value, struct error *err)
{
	/* strtoull takes signs and leading blanks, which nobody means here. Octal is not read: 010 is ten. */
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = hex ? text + 2 : text;
	char *end = NULL;
	errno = 0;
	unsigned long long number = isxdigit((unsigned char)*digits) ? strtoull(digits, &end, hex ? 16 : 10) : 0;
	if (!end || *end)
		return error_set(err, EINVAL, "\"%.60s\" is not a number", text);
	if (errno || number < min || number > max)
		return error_set(err, EINVAL, "%.60s is out of range: %llu to %llu", text, (unsigned long long)min,
				 (unsigned long long)max);
	*value = number;
	return 0;
}

/* Writes bytes as people do: "4G", "1536K", "100". */
static const char *size_text(uint64_t bytes, char *buf, size_t size)
{
	static const char suffixes[] = "BKMGTPE";
	size_t i = 0;
	while (i < sizeof(suffixes) - 2 && bytes >= 1024 && bytes % 1024 == 0) {
		bytes /= 1024;
		i++;
	}
	snprintf(buf, size, "%llu%.*s", (unsigned long long)bytes, i ? 1 : 0, &suffixes[i]);
	return buf;
}

static int bad_size(const char *text, struct error *err)
{
	return error_set(err, EINVAL, "\"%.60s\" is not a size; write a number with B, K, M, G or T, such as 512M or 1.5G", text);
}

int options_parse_size(const char *text, uint64_t unit, uint64_t min, uint64_t max, uint64_t *value, struct error *err)
{
	static const char suffixes[] = "bkmgtpe";
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = hex ? text + 2 : text;
	if (!isxdigit((unsigned char)*digits))
		return bad_size(text, err);
	char *end;
	errno = 0;
	unsigned long long whole = strtoull(digits, &end, hex ? 16 : 10);
	bool overflow = errno != 0;
	/* A decimal fraction, as thousandths of a millionth: more digits are beyond any size's grain. */
	uint64_t fraction = 0, scale = 1;
	if (*end == '.' && !hex) {
		if (!isdigit((unsigned char)*++end))
			return bad_size(text, err);
		for (; isdigit((unsigned char)*end); end++) {
			if (scale < 1000000000) {
				fraction = fraction * 10 + (uint64_t)(*end - '0');
				scale *= 10;
			}
		}
	}
	if (*end) {
		const char *suffix = strchr(suffixes, tolower((unsigned char)*end));
		if (!suffix || end[1])
			return bad_size(text, err);
		unit = 1ull << (10 * (suffix - suffixes));
	}
	unsigned __int128 bytes = (unsigned __int128)whole * unit + (unsigned __int128)fraction * unit / scale;
	if (overflow || bytes < min || bytes > max) {
		char least[32], most[32];
		return error_set(err, EINVAL, "%.60s is out of range: %s to %s", text, size_text(min, least, sizeof(least)),
				 size_text(max, most, sizeof(most)));
	}
	*value = (uint64_t)bytes;
	return 0;
}

int options_word_index(const char *words, const char *text)
{
	size_t len = strlen(text);
	int index = 0;
	for (const char *word = words; word; index++) {
		const char *bar = strchr(word, '|');
		size_t word_len = bar ? (size_t)(bar - word) : strlen(word);
		if (word_len == len && !memcmp(word, text, len))
			return index;
		word = bar ? bar + 1 : NULL;
	}
	return -1;
}

static int parse_bool(const char *text, enum option_bool *value, struct error *err)
{
	int index = options_word_index("on|yes|true|y|off|no|false|n", text);
	if (index < 0)
		return error_set(err, EINVAL, "\"%.60s\" is neither on nor off", text);
	*value = index < 4 ? OPTION_ON : OPTION_OFF;
	return 0;
}

static int parse_mac(const char *text, struct option_mac *mac, struct error *err)
{
	uint8_t bytes[6];
	const char *at = text;
	for (int i = 0; i < 6; i++) {
		if (!isxdigit((unsigned char)at[0]) || !isxdigit((unsigned char)at[1]))
			goto bad;
		bytes[i] = (uint8_t)strtoul((char[]){at[0], at[1], '\0'}, NULL, 16);
		at += 2;
		if (i < 5 && *at != ':' && *at != '-')
			goto bad;
		at += i < 5;
	}
	if (*at)
		goto bad;
	if (bytes[0] & 1)
		return error_set(err, EINVAL, "%s is a multicast address; the first byte must be even", text);
	memcpy(mac->bytes, bytes, sizeof(bytes));
	mac->set = true;
	return 0;
bad:
	return error_set(err, EINVAL, "\"%.60s\" is not a MAC address; write it as 52:54:00:12:34:56", text);
}

/* SLOT[.FUNCTION]. Both are hexadecimal, with or without 0x: that is how QEMU and lspci have it. */
static int parse_address(const char *text, struct config_pci_address *address, struct error *err)
{
	char *end;
	unsigned long slot = 32, function = 0;
	if (isxdigit((unsigned char)text[0])) {
		slot = strtoul(text, &end, 16);
		if (*end == '.' && isxdigit((unsigned char)end[1]))
			function = strtoul(end + 1, &end, 16);
		if (*end)
			slot = 32;
	}
	if (slot > 31 || function > 7)
		return error_set(err, EINVAL,
				 "\"%.60s\" is not a PCI address; write SLOT or SLOT.FUNCTION, slot 0 to 1f, function 0 to 7",
				 text);
	*address = (struct config_pci_address){.slot = (int)slot, .function = (int)function};
	return 0;
}

static int apply_list(struct option_list *list, const char *value, struct error *err)
{
	if (list->nr == OPTIONS_MAX_LIST)
		return error_set(err, EINVAL, "given more than %d times", OPTIONS_MAX_LIST);
	list->items[list->nr++] = value;
	return 0;
}

static int apply_word(const struct property *p, const char *value, struct option_number *out, struct error *err)
{
	int index = options_word_index(p->words, value);
	if (index < 0) {
		char words[200];
		snprintf(words, sizeof(words), "%s", p->words);
		for (char *bar = words; (bar = strchr(bar, '|')) != NULL;)
			*bar = ' ';
		return error_set(err, EINVAL, "\"%.60s\" is not something that we have; we have: %s", value, words);
	}
	if (out)
		*out = (struct option_number){.value = (uint64_t)index, .set = true};
	return 0;
}

static int apply_value(const struct property *p, const char *value, void *target, struct error *err)
{
	void *field = (char *)target + p->offset;
	struct option_number number = {.set = true};
	int ret;
	switch (p->type) {
	case PROPERTY_STRING:
		*(const char **)field = value;
		return 0;
	case PROPERTY_BOOL:
		return parse_bool(value, field, err);
	case PROPERTY_NUMBER:
		ret = options_parse_number(value, p->min, p->max, &number.value, err);
		break;
	case PROPERTY_SIZE:
		ret = options_parse_size(value, 1, p->min, p->max, &number.value, err);
		break;
	case PROPERTY_MEBIBYTES:
		ret = options_parse_size(value, 1 << 20, p->min, p->max, &number.value, err);
		break;
	case PROPERTY_WORD:
		return apply_word(p, value, field, err);
	case PROPERTY_MAC:
		return parse_mac(value, field, err);
	case PROPERTY_ADDRESS:
		return parse_address(value, field, err);
	case PROPERTY_LIST:
		return apply_list(field, value, err);
	case PROPERTY_FIXED:
	default:
		return apply_word(p, value, NULL, err);
	}
	if (!ret)
		*(struct option_number *)field = number;
	return ret;
}

static const struct property *find(const struct property_table *table, const char *name)
{
	for (size_t i = 0; i < table->nr; i++)
		if (!strcmp(table->properties[i].name, name))
			return &table->properties[i];
	return NULL;
}

static bool is_switch(const struct property *p)
{
	return p && (p->type == PROPERTY_BOOL || (p->type == PROPERTY_FIXED && options_word_index(p->words, "off") >= 0));
}

static int unknown_property(const struct property_table *table, const char *name, struct error *err)
{
	struct nearest nearest;
	char hint[100];
	nearest_start(&nearest, name);
	for (size_t i = 0; i < table->nr; i++)
		nearest_try(&nearest, table->properties[i].name);
	return error_set(err, EINVAL, "%s has no property \"%.60s\"%s", table->subject, name,
			 nearest_hint(&nearest, "", hint, sizeof(hint)));
}

int options_apply(const struct property_table *table, const struct keyvals *kv, void *target, struct error *err)
{
	for (size_t i = 0; i < kv->nr; i++) {
		const char *key = kv->items[i].key, *value = kv->items[i].value;
		const struct property *p = find(table, key);
		if (!value) {
			value = "on";
			if (!p && !strncmp(key, "no", 2) && is_switch(find(table, key + 2))) {
				p = find(table, key + 2);
				value = "off";
			} else if (p && !is_switch(p)) {
				return error_set(err, EINVAL, "%s needs a value: %s=...", key, key);
			}
		}
		if (!p)
			return unknown_property(table, key, err);
		int ret = apply_value(p, value, target, err);
		if (ret) {
			error_prefix(err, "%s", p->name);
			return ret;
		}
	}
	return 0;
}

void options_print_properties(const struct property_table *table)
{
	printf("%s takes:\n", table->subject);
	for (size_t i = 0; i < table->nr; i++) {
		const struct property *p = &table->properties[i];
		char value[200] = "...", least[32], most[32];
		switch (p->type) {
		case PROPERTY_BOOL:
			snprintf(value, sizeof(value), "on|off");
			break;
		case PROPERTY_NUMBER:
			snprintf(value, sizeof(value), "%llu to %llu", (unsigned long long)p->min, (unsigned long long)p->max);
			break;
		case PROPERTY_SIZE:
		case PROPERTY_MEBIBYTES:
			snprintf(value, sizeof(value), "%s to %s", size_text(p->min, least, sizeof(least)),
				 size_text(p->max, most, sizeof(most)));
			break;
		case PROPERTY_WORD:
		case PROPERTY_FIXED:
			snprintf(value, sizeof(value), "%s", p->words);
			break;
		case PROPERTY_MAC:
			snprintf(value, sizeof(value), "52:54:00:12:34:56");
			break;
		case PROPERTY_ADDRESS:
			snprintf(value, sizeof(value), "SLOT[.FUNCTION]");
			break;
		default:
			break;
		}
		printf("  %s=%s%s%s\n", p->name, value, p->help ? "  " : "", p->help ? p->help : "");
	}
}

int options_check_id(const char *id, struct error *err)
{
	bool ok = isalpha((unsigned char)id[0]);
	for (const char *c = id; ok && *c; c++)
		ok = isalnum((unsigned char)*c) || strchr("-._", *c);
	if (!ok || strlen(id) > 63)
		return error_set(err, EINVAL,
				 "id \"%.60s\" is not an id: a letter, then letters, digits, '-', '.' and '_', 63 at most", id);
	return 0;
}

int options_duplicate_id(const char *id, struct error *err)
{
	return error_set(err, EINVAL, "the id \"%.60s\" is taken by an earlier option", id);
}

int options_copy(char **to, const char *from, struct error *err)
{
	*to = NULL;
	if (!from)
		return 0;
	*to = strdup(from);
	return *to ? 0 : error_set(err, ENOMEM, "out of memory");
}
