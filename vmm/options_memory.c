/* The option about the memory manager, -memory. It is our own: QEMU leaves a guest's memory to the kernel. */
#include <errno.h>
#include <string.h>

#include "vmm/memory_settings.h"
#include "vmm/options.h"

#define MAX_HANDLERS 8 /* as many as the manager makes use of */

/* clang-format off */
static const struct property rows[] = {
	PROPERTY_ROW_BOOL(struct option_memory_manager, manager, "manager", "off: the kernel alone cares for the guest's memory"),
#define SIZE(field, key, text) \
	PROPERTY_ROW_SIZE(struct option_memory_manager, field, key, 0, MEMORY_SETTINGS_MAX_BYTES, text),
	MEMORY_SETTINGS_SIZES(SIZE)
#undef SIZE
#define NUMBER(field, key, lo, hi, text) \
	PROPERTY_ROW_NUMBER(struct option_memory_manager, field, key, lo, hi, text),
	MEMORY_SETTINGS_NUMBERS(NUMBER)
#undef NUMBER
#define SWITCH(field, key, text) \
	PROPERTY_ROW_BOOL(struct option_memory_manager, field, key, text),
	MEMORY_SETTINGS_SWITCHES(SWITCH)
#undef SWITCH
	PROPERTY_ROW_STRING(struct option_memory_manager, swap, "swap", "a directory for the guest's swap file"),
	PROPERTY_ROW_NUMBER(struct option_memory_manager, swap_fd, "swap-fd", 0, 1 << 20, "an inherited descriptor of the swap file"),
	PROPERTY_ROW_NUMBER(struct option_memory_manager, handlers, "handlers", 1, MAX_HANDLERS, "threads that serve faults"),
};
/* clang-format on */
static const struct property_table table = PROPERTY_TABLE("-memory", rows);

int options_memory_manager(struct options *o, const char *argument, struct error *err)
{
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, NULL, &kv, err);
	if (ret)
		return ret;
	if (keyvals_want_help(kv)) {
		options_print_properties(&table);
		*o->done = true;
		return 0;
	}
	o->memory_manager.given = true;
	for (size_t i = 0; i < kv->nr; i++)
		if (strcmp(kv->items[i].key, "manager") != 0 && strcmp(kv->items[i].key, "nomanager") != 0)
			o->memory_manager.other_given = kv->items[i].key;
	return options_apply(&table, kv, &o->memory_manager, err);
}

/* What was given of the settings, over the defaults. */
static int resolve_settings(const struct option_memory_manager *from, struct memmgr_settings *to, struct error *err)
{
	struct {
		bool given;
		uint64_t value;
	} values[] = {
#define VALUE(field, ...) {from->field.set, from->field.value},
		MEMORY_SETTINGS_SIZES(VALUE) MEMORY_SETTINGS_NUMBERS(VALUE)
#undef VALUE
#define VALUE(field, ...) {from->field != OPTION_UNSET, from->field == OPTION_ON},
			MEMORY_SETTINGS_SWITCHES(VALUE)
#undef VALUE
	};
	_Static_assert(sizeof(values) / sizeof(values[0]) == MEMORY_NR_SETTINGS, "the tables have the same order");
	memmgr_settings_init(to);
	int ret = 0;
	for (size_t i = 0; ret == 0 && i < MEMORY_NR_SETTINGS; i++)
		if (values[i].given)
			ret = memory_setting_set(&memory_settings[i], to, values[i].value, err);
	return ret;
}

static int resolve_swap(const struct option_memory_manager *from, struct config_memory *to, struct error *err)
{
	if (from->swap && from->swap_fd.set)
		return error_set(err, EINVAL, "swap and swap-fd exclude each other");
	if (from->swap && !*from->swap)
		return error_set(err, EINVAL, "swap: the directory has no name");
	if (from->swap_limit.set && !from->swap && !from->swap_fd.set)
		return error_set(err, EINVAL, "swap-limit: there is no swap file; give swap=DIRECTORY or swap-fd=N as well");
	to->swap_fd = from->swap_fd.set ? (int)from->swap_fd.value : -1;
	return options_copy(&to->swap_directory, from->swap, err);
}

int options_resolve_memory_manager(struct options *o, struct error *err)
{
	const struct option_memory_manager *from = &o->memory_manager;
	struct config_memory *to = &o->config->memory;
	to->off = from->manager == OPTION_OFF;
	to->required = from->given && !to->off;
	to->nr_handlers = (unsigned)from->handlers.value;
	int ret = resolve_settings(from, &to->settings, err);
	if (ret == 0)
		ret = memory_settings_check(&to->settings, o->config->memory_bytes, err);
	if (ret == 0)
		ret = resolve_swap(from, to, err);
	if (ret == 0 && to->off && from->other_given)
		ret = error_set(err, EINVAL, "manager=off leaves nothing to set; leave %.60s out", from->other_given);
	return ret ? error_prefix(err, "-memory") : 0;
}
