/* See xml_values.h. */
#include "libvirt/xml_values.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int xml_number_parse(const char *text, uint64_t most, uint64_t *number)
{
	uint64_t value = 0;
	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (!isdigit((unsigned char)*text) || value > (UINT64_MAX - 9) / 10)
			return -EINVAL;
		value = value * 10 + (uint64_t)(*text - '0');
	}
	if (value > most)
		return -EINVAL;
	*number = value;
	return 0;
}

int xml_size_parse(const char *number, const char *unit, uint64_t *bytes)
{
	static const char letters[] = "kmgtpe";
	uint64_t value, factor = 1;
	if (xml_number_parse(number, UINT64_MAX, &value) < 0)
		return -EINVAL;
	if (!unit)
		unit = "KiB";
	const char *letter = *unit ? strchr(letters, tolower((unsigned char)*unit)) : NULL;
	if (letter) {
		uint64_t base;
		if (!unit[1] || !strcasecmp(unit + 1, "ib"))
			base = 1024;
		else if (!strcasecmp(unit + 1, "b"))
			base = 1000;
		else
			return -EINVAL;
		for (const char *at = letters; at <= letter; at++)
			factor *= base;
	} else if (strcasecmp(unit, "b") != 0 && strcasecmp(unit, "bytes") != 0) {
		return -EINVAL;
	}
	if (value > UINT64_MAX / factor)
		return -ERANGE;
	*bytes = value * factor;
	return 0;
}

int xml_size(const xmlNode *node, uint64_t *bytes, struct error *err)
{
	const char *unit = xml_attribute(node, "unit");
	char *text = xml_word(node);
	if (!text)
		return error_set(err, ENOMEM, "out of memory");
	int ret = xml_size_parse(text, unit, bytes);
	if (ret == -ERANGE)
		ret = xml_refuse(node, err, "%.30s %.10s are more than 64 bits of bytes", text, unit ? unit : "KiB");
	else if (ret)
		ret = xml_refuse(
			node, err,
			"\"%.30s\" with the unit \"%.10s\" is no size: give digits, and b, KiB, MiB, GiB, TiB, KB, MB, GB or TB",
			text, unit ? unit : "KiB");
	free(text);
	return ret;
}

int xml_number(const xmlNode *node, uint64_t most, uint64_t *number, struct error *err)
{
	char *text = xml_word(node);
	if (!text)
		return error_set(err, ENOMEM, "out of memory");
	int ret = xml_number_parse(text, most, number);
	if (ret)
		ret = xml_refuse(node, err, "\"%.30s\" is no number from 0 to %llu", text, (unsigned long long)most);
	free(text);
	return ret;
}

int xml_attribute_number(const xmlNode *node, const char *name, uint64_t most, uint64_t fallback, uint64_t *number,
			 struct error *err)
{
	const char *text = xml_attribute(node, name);
	*number = fallback;
	if (text && xml_number_parse(text, most, number) < 0)
		return xml_refuse(node, err, "%s=\"%.30s\" is no number from 0 to %llu", name, text, (unsigned long long)most);
	return 0;
}

/* "8" or "0-3" up to a comma or the end. Returns where it ends, NULL for what is none. */
static const char *range_of(const char *text, unsigned *first, unsigned *last)
{
	unsigned number[2] = {0, 0};
	for (int i = 0; i < 2; i++) {
		if (!isdigit((unsigned char)*text))
			return NULL;
		while (isdigit((unsigned char)*text) && number[i] < 64)
			number[i] = number[i] * 10 + (unsigned)(*text++ - '0');
		if (i == 0 && *text != '-') {
			number[1] = number[0];
			break;
		}
		text += i == 0;
	}
	*first = number[0];
	*last = number[1];
	return number[1] < 64 && number[0] <= number[1] && (!*text || *text == ',') ? text : NULL;
}

int xml_set_parse(const char *text, uint64_t *set)
{
	uint64_t found = 0;
	do {
		unsigned first, last;
		bool without = *text == '^';
		text = range_of(text + without, &first, &last);
		if (!text)
			return -EINVAL;
		uint64_t range = (last == 63 ? UINT64_MAX : (1ull << (last + 1)) - 1) & ~((1ull << first) - 1);
		found = without ? found & ~range : found | range;
	} while (*text++ == ',');
	*set = found;
	return 0;
}

int xml_attribute_check(const xmlNode *node, const char *name, const char *words, struct error *err)
{
	const char *text = xml_attribute(node, name);
	size_t len = text ? strlen(text) : 0;
	for (const char *at = words; text && *at;) {
		size_t one = strcspn(at, "|");
		if (one == len && !memcmp(at, text, len))
			return 0;
		at += at[one] ? one + 1 : one;
	}
	return text ? xml_refuse(node, err, "%s=\"%.40s\" is not to be had here; there is %s", name, text, words) : 0;
}
