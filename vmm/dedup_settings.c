/* See dedup_settings.h. */
#include "vmm/dedup_settings.h"

#include <errno.h>
#include <string.h>

#include "vmm/options.h"

/* clang-format off */
const struct dedup_setting dedup_settings[DEDUP_NR_SETTINGS] = {
#define NUMBER(field, key, lo, hi, text) \
	{key, false, lo, hi, offsetof(struct scanner_settings, field)},
	DEDUP_SETTINGS_NUMBERS(NUMBER)
#undef NUMBER
	{"huge", true, 0, SCANNER_HUGE_OFF, offsetof(struct scanner_settings, huge)},
};
/* clang-format on */

static const char *const huge_names[] = {
	[SCANNER_HUGE_AUTO] = "auto",
	[SCANNER_HUGE_ON] = "on",
	[SCANNER_HUGE_OFF] = "off",
};

const char *dedup_huge_name(enum scanner_huge huge)
{
	return huge_names[huge];
}

const struct dedup_setting *dedup_setting_find(const char *name)
{
	for (size_t i = 0; i < DEDUP_NR_SETTINGS; i++)
		if (!strcmp(dedup_settings[i].name, name))
			return &dedup_settings[i];
	return NULL;
}

uint32_t dedup_setting_get(const struct dedup_setting *setting, const struct scanner_settings *from)
{
	const void *field = (const char *)from + setting->offset;
	if (setting->is_word)
		return *(const enum scanner_huge *)field;
	return *(const uint32_t *)field;
}

int dedup_setting_set(const struct dedup_setting *setting, struct scanner_settings *to, uint64_t value, struct error *err)
{
	void *field = (char *)to + setting->offset;
	if (value < setting->min || value > setting->max)
		return error_set(err, EINVAL, "%s: %llu is out of range: %u to %u", setting->name, (unsigned long long)value,
				 setting->min, setting->max);
	if (setting->is_word)
		*(enum scanner_huge *)field = (enum scanner_huge)value;
	else
		*(uint32_t *)field = (uint32_t)value;
	return 0;
}

int dedup_setting_parse(const struct dedup_setting *setting, struct scanner_settings *to, const char *text, struct error *err)
{
	uint64_t value;
	if (setting->is_word) {
		int word = options_word_index(DEDUP_SETTINGS_HUGE, text);
		if (word < 0)
			return error_set(err, EINVAL, "%s: \"%.60s\" is none; there are auto, on and off", setting->name, text);
		return dedup_setting_set(setting, to, (uint64_t)word, err);
	}
	if (options_parse_number(text, setting->min, setting->max, &value, err))
		return error_prefix(err, "%s", setting->name);
	return dedup_setting_set(setting, to, value, err);
}
