/* See memory_settings.h. */
#include "vmm/memory_settings.h"

#include <errno.h>

/* clang-format off */
const struct memory_setting memory_settings[MEMORY_NR_SETTINGS] = {
#define SIZE(field, key, text) \
	{key, MEMORY_SETTING_SIZE, MEMORY_SETTINGS_MIN_BYTES, MEMORY_SETTINGS_MAX_BYTES, offsetof(struct memmgr_settings, field)},
	MEMORY_SETTINGS_SIZES(SIZE)
#undef SIZE
#define NUMBER(field, key, lo, hi, text) \
	{key, MEMORY_SETTING_NUMBER, lo, hi, offsetof(struct memmgr_settings, field)},
	MEMORY_SETTINGS_NUMBERS(NUMBER)
#undef NUMBER
#define SWITCH(field, key, text) \
	{key, MEMORY_SETTING_SWITCH, 0, 1, offsetof(struct memmgr_settings, field)},
	MEMORY_SETTINGS_SWITCHES(SWITCH)
#undef SWITCH
};
/* clang-format on */

uint64_t memory_setting_get(const struct memory_setting *setting, const struct memmgr_settings *from)
{
	const void *field = (const char *)from + setting->offset;
	switch (setting->kind) {
	case MEMORY_SETTING_SIZE:
		return *(const uint64_t *)field;
	case MEMORY_SETTING_NUMBER:
		return *(const uint32_t *)field;
	case MEMORY_SETTING_SWITCH:
	default:
		return *(const bool *)field;
	}
}

static int check_size(const struct memory_setting *setting, uint64_t value, struct error *err)
{
	unsigned long long bytes = value;
	if (value == 0)
		return 0;
	if (value < setting->min)
		return error_set(err, EINVAL, "%s: %llu bytes are less than 1M; write 0, or a size with a suffix, such as 512M",
				 setting->name, bytes);
	if (value > setting->max)
		return error_set(err, EINVAL, "%s: %llu bytes are more than 4T", setting->name, bytes);
	if (value % GUEST_PAGE_SIZE)
		return error_set(err, EINVAL, "%s: %llu bytes are no multiple of 4096; the next below is %llu", setting->name,
				 bytes, bytes - bytes % GUEST_PAGE_SIZE);
	return 0;
}

int memory_setting_set(const struct memory_setting *setting, struct memmgr_settings *to, uint64_t value, struct error *err)
{
	void *field = (char *)to + setting->offset;
	int ret;
	switch (setting->kind) {
	case MEMORY_SETTING_SIZE:
		ret = check_size(setting, value, err);
		if (ret == 0)
			*(uint64_t *)field = value;
		return ret;
	case MEMORY_SETTING_NUMBER:
		if (value < setting->min || value > setting->max)
			return error_set(err, EINVAL, "%s: %llu is out of range: %llu to %llu", setting->name,
					 (unsigned long long)value, (unsigned long long)setting->min,
					 (unsigned long long)setting->max);
		*(uint32_t *)field = (uint32_t)value;
		return 0;
	case MEMORY_SETTING_SWITCH:
	default:
		*(bool *)field = value != 0;
		return 0;
	}
}

int memory_settings_check(const struct memmgr_settings *s, uint64_t ram_bytes, struct error *err)
{
	unsigned long long ram = ram_bytes, target = s->target, floor = s->floor;
	if (target > ram)
		return error_set(err, EINVAL, "target: %llu bytes are more than the guest's %llu; 0 sets no limit", target, ram);
	if (floor > ram)
		return error_set(err, EINVAL, "floor: %llu bytes are more than the guest's %llu", floor, ram);
	if (target && floor > target)
		return error_set(err, EINVAL,
				 "floor: %llu bytes are more than the target, %llu; lower the floor or raise the target", floor,
				 target);
	return 0;
}
