/* See host_settings.h. */
#include "host/host_settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "host/dedup_server.h"
#include "host/whole_file.h"

#define NAME "host" /* no .json: the guests' definitions are those */
#define MOST_BYTES 65536
#define LEAST_BUDGET (16ll << 20)
#define MOST_BUDGET (8ll << 40)
#define MOST_PAGES INT32_MAX
#define MOST_SLEEP_MS 3600000

/* A member's number, or its default. Returns 0 or -EINVAL with a sentence. */
static int number(const json_t *settings, const char *name, json_int_t least, json_int_t most, json_int_t normal, json_int_t *value,
		  struct error *err)
{
	const json_t *given = json_object_get(settings, name);
	*value = normal;
	if (!given)
		return 0;
	if (!json_is_integer(given) || json_integer_value(given) < least || json_integer_value(given) > most)
		return error_set(err, EINVAL, "%s: must be an integer, %lld to %lld", name, (long long)least, (long long)most);
	*value = json_integer_value(given);
	return 0;
}

static int check_names(const json_t *settings, struct error *err)
{
	static const char *const names[] = {"budget", "idle-tax", "reserve", "merge-pages", "merge-sleep", "merge-across-nodes"};
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)settings, name, value)
	{
		size_t i = 0;
		while (i < sizeof(names) / sizeof(names[0]) && strcmp(name, names[i]) != 0)
			i++;
		if (i == sizeof(names) / sizeof(names[0]))
			return error_set(err, EINVAL,
					 "set: %.60s: the host has no such setting; there are budget, idle-tax, reserve, "
					 "merge-pages, merge-sleep and merge-across-nodes",
					 name);
	}
	return 0;
}

static int across_nodes(const struct guests *guests, const json_t *settings, bool *across, struct error *err)
{
	const json_t *given = json_object_get(settings, "merge-across-nodes");
	*across = given ? json_is_true(given) : guests->options->merge_across_nodes;
	return given && !json_is_boolean(given) ? error_set(err, EINVAL, "merge-across-nodes: must be true or false") : 0;
}

static int apply(struct guests *guests, struct arbiter_loop *arbiter, struct dedup_server *dedup, const json_t *settings,
		 struct error *err)
{
	struct arbiter_settings normal;
	json_int_t budget, tax, reserve, pages, sleep_ms;
	bool across;
	arbiter_settings_init(&normal);
	int ret = check_names(settings, err);
	if (ret == 0)
		ret = number(settings, "budget", LEAST_BUDGET, MOST_BUDGET, (json_int_t)guests->options->budget, &budget, err);
	if (ret == 0)
		ret = number(settings, "idle-tax", 0, 99, normal.idle_tax_percent, &tax, err);
	if (ret == 0)
		ret = number(settings, "reserve", 0, 50, normal.reserve_percent, &reserve, err);
	if (ret == 0)
		ret = number(settings, "merge-pages", 0, MOST_PAGES, 0, &pages, err);
	if (ret == 0)
		ret = number(settings, "merge-sleep", 1, MOST_SLEEP_MS, ARBITER_SCAN_SLEEP_MS, &sleep_ms, err);
	if (ret == 0)
		ret = across_nodes(guests, settings, &across, err);
	if (ret == 0)
		ret = arbiter_loop_set(arbiter, (unsigned)tax, (unsigned)reserve, err);
	if (ret)
		return ret;
	const struct arbiter_scan scan = {.pages = (unsigned)pages, .sleep_ms = (unsigned)sleep_ms};
	arbiter_loop_set_scan(arbiter, &scan);
	if (dedup)
		dedup_server_set_across(dedup, across);
	guests->budget = (uint64_t)budget;
	return 0;
}

/* What is kept: a new object, empty where there is nothing. */
static json_t *kept(const struct guests *guests)
{
	char *text;
	size_t len;
	if (whole_file_read(guests->store.dir_fd, NAME, MOST_BYTES, &text, &len) != 0)
		return json_object();
	json_error_t why;
	json_t *settings = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	free(text);
	if (json_is_object(settings))
		return settings;
	log_error("%s/" NAME ": is damaged (%s), and left out", guests->store.path, settings ? "no object" : why.text);
	json_decref(settings);
	return json_object();
}

void host_settings_load(struct guests *guests, struct arbiter_loop *arbiter, struct dedup_server *dedup)
{
	struct error err;
	json_t *settings = kept(guests);
	if (settings && apply(guests, arbiter, dedup, settings, &err))
		log_error("%s/" NAME ": %s; left out", guests->store.path, err.text);
	json_decref(settings);
}

int host_settings_change(struct guests *guests, struct arbiter_loop *arbiter, struct dedup_server *dedup, const json_t *set,
			 struct error *err)
{
	json_t *before = kept(guests), *settings = json_deep_copy(before), *value;
	const char *name;
	char *text = NULL;
	bool across;
	int ret = settings ? check_names(set, err) : error_set(err, ENOMEM, "out of memory");
	json_object_foreach((json_t *)set, name, value)
	{
		if (ret == 0 && json_is_null(value))
			json_object_del(settings, name);
		else if (ret == 0)
			json_object_set(settings, name, value);
	}
	if (ret == 0)
		ret = across_nodes(guests, settings, &across, err);
	if (ret == 0 && dedup && across != dedup_server_across(dedup) && dedup_server_is_used(dedup))
		ret = error_set(err, EBADFD,
				"merge-across-nodes: guests share pages already, and keep those that they have: stop them before "
				"this is changed (those with mem-merge=on)");
	if (ret == 0)
		ret = apply(guests, arbiter, dedup, settings, err);
	if (ret == 0)
		text = json_dumps(settings, JSON_INDENT(2) | JSON_SORT_KEYS);
	if (ret == 0 && !text)
		ret = error_set(err, ENOMEM, "out of memory");
	if (ret == 0 && text && (ret = whole_file_write(guests->store.dir_fd, NAME, text, strlen(text))) != 0) {
		error_set(err, -ret, "%s/" NAME ": cannot be written: %s", guests->store.path, strerror(-ret));
		apply(guests, arbiter, dedup, before, NULL);
	}
	free(text);
	json_decref(settings);
	json_decref(before);
	return ret;
}
