/*
 * What a guest is: its definition, as docs/API.md describes it. It comes as JSON from clients and from disk, either of which may be anything,
 * and is kept as JSON in which nothing is left open, with what the daemon itself asks for beside it.
 */
#ifndef HOST_DEFINITION_H
#define HOST_DEFINITION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define DEFINITION_NAME_BYTES 49
#define DEFINITION_DOMAIN_BYTES 64
#define DEFINITION_UUID_BYTES 37
#define DEFINITION_MOST_NODES 64
#define DEFINITION_XML_BYTES (256 << 10)

enum definition_restart {
	DEFINITION_RESTART_NEVER,
	DEFINITION_RESTART_ON_CRASH,
	DEFINITION_RESTART_ALWAYS,
};

enum definition_merge {
	DEFINITION_MERGE_ON,
	DEFINITION_MERGE_OFF,
	DEFINITION_MERGE_KSM,
};

/* Who keeps the guest's cold pages. */
enum definition_tier {
	DEFINITION_TIER_AUTO, /* the kernel, where the host swaps to zram */
	DEFINITION_TIER_OWN,
	DEFINITION_TIER_KERNEL,
};

struct definition {
	json_t *json; /* every member that has a value, defaults included */
	char name[DEFINITION_NAME_BYTES], uuid[DEFINITION_UUID_BYTES], domain[DEFINITION_DOMAIN_BYTES];
	uint64_t memory, minimum, maximum; /* bytes */
	uint64_t vcpus, shares, merge_cpu;
	bool pinned, swap, balloon, autostart;
	uint64_t merge, restart, tier; /* enum definition_merge, enum definition_restart, enum definition_tier */
	double stop_timeout;           /* seconds */
	uint64_t nodes;                /* a bit for each; 0: any */
};

/* When a change of a member takes effect. */
enum definition_change {
	DEFINITION_CHANGE_NEVER,
	DEFINITION_CHANGE_AT_START,
	DEFINITION_CHANGE_LIVE,
};

/*
 * Checks and completes. Returns 0 and a new definition, -EINVAL with a sentence that begins with the member's name, -ENOMEM.
 */
int definition_parse(const json_t *json, struct definition **definition, struct error *err);
/*
 * A copy with members of set in place of those it has; a null puts the default back. Members that never change may be there if they are
 * as they were. Returns as definition_parse().
 */
int definition_change(const struct definition *from, const json_t *set, struct definition **changed, struct error *err);
void definition_free(struct definition *definition);

/* DEFINITION_CHANGE_NEVER, too, for a member that there is not. */
enum definition_change definition_change_of(const char *member);
/* Names of members that differ, as a new array; NULL without memory. */
json_t *definition_difference(const struct definition *a, const struct definition *b);

/* Whether text may name a guest. */
bool definition_is_name(const char *text);
/* Whether its shares are other than those that go with its memory. */
bool definition_has_own_shares(const struct definition *definition);
const char *definition_restart_name(enum definition_restart restart);

/* --- definition_lists.c, for definition.c --- */

/* Checks arrays and gives them their defaults; values are replaced in *json. Return 0 or -EINVAL or -ENOMEM with a sentence. */
int definition_check_drives(json_t *drives, struct error *err);
int definition_check_netdevs(json_t *netdevs, struct error *err);
int definition_check_words(const json_t *words, struct error *err);
/* A string without control characters, of least to most bytes. what: how the member is called in the sentence. */
int definition_check_text(const char *what, const json_t *value, size_t least, size_t most, struct error *err);
/* The same of up to most bytes, with line ends and tabs. */
int definition_check_lines(const char *what, const json_t *value, size_t most, struct error *err);
int definition_check_path(const char *what, const json_t *value, struct error *err);

#endif
