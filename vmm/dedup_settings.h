/*
 * The settings of a guest's deduplication as people and programs write them: the names, ranges and words that -dedup, QMP's set-dedup and
 * query-dedup, and the human monitor share.
 */
#ifndef VMM_DEDUP_SETTINGS_H
#define VMM_DEDUP_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "dedup/scanner.h"

#define DEDUP_SETTINGS_MAX_MAPPINGS 0x7fffffffu /* what vm.max_map_count may be */

/* X(member of struct scanner_settings, name, least, most, text) */
#define DEDUP_SETTINGS_NUMBERS(X)                                                                              \
	X(cpu_percent, "cpu", 0, 100, "percent of one CPU that the scanner may take; 0: it stands still")      \
	X(pass_ms, "pass", 1, 3600000, "ms from pass to pass at least, in which a page must be quiet")         \
	X(batch_pages, "batch", 0, 0x7fffffff, "pages that are hashed before it sleeps for that time; 0: all") \
	X(huge_percent, "huge-percent", 1, 100, "percent of a huge page that must merge for it to be broken")  \
	X(most_mappings, "most-mappings", 0, DEDUP_SETTINGS_MAX_MAPPINGS,                                      \
	  "mappings of shared pages at most; 0: what the kernel leaves")
/* In the order of enum scanner_huge. */
#define DEDUP_SETTINGS_HUGE "auto|on|off"

struct dedup_setting {
	const char *name; /* "huge-percent" */
	bool is_word;     /* huge: DEDUP_SETTINGS_HUGE */
	uint32_t min, max;
	size_t offset; /* in struct scanner_settings */
};
#define DEDUP_NR_SETTINGS 6
extern const struct dedup_setting dedup_settings[DEDUP_NR_SETTINGS];

/* NULL when there is none of that name. */
const struct dedup_setting *dedup_setting_find(const char *name);
/* A number, or the number of a word. */
uint32_t dedup_setting_get(const struct dedup_setting *setting, const struct scanner_settings *from);
/* Both return 0, or -EINVAL with a sentence that begins with the name; then nothing is set. */
int dedup_setting_set(const struct dedup_setting *setting, struct scanner_settings *to, uint64_t value, struct error *err);
int dedup_setting_parse(const struct dedup_setting *setting, struct scanner_settings *to, const char *text, struct error *err);

/* "auto", "on", "off" */
const char *dedup_huge_name(enum scanner_huge huge);

#endif
