/*
 * The option about pages that the guest shares with others, -dedup, which is our own, and what QEMU's -machine mem-merge= means for it: on
 * lets the guest take part where -dedup is given, off keeps it out, ksm leaves it to the kernel.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "dedup/protocol.h"
#include "vmm/dedup_settings.h"
#include "vmm/options.h"

#define DEFAULT_SOCKET "/run/pagoda/dedup" /* pagodad's own default */
#define DEFAULT_DOMAIN "default"
#define MOST_SOCKET_BYTES (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

/* clang-format off */
static const struct property rows[] = {
	PROPERTY_ROW_STRING(struct option_dedup, domain, "domain", "trust domain: pages are shared within it alone (" DEFAULT_DOMAIN ")"),
	PROPERTY_ROW_STRING(struct option_dedup, socket, "socket", "pagodad's (" DEFAULT_SOCKET ")"),
	PROPERTY_ROW_STRING(struct option_dedup, guest, "guest", "what pagodad calls the guest; as -name by default"),
#define NUMBER(field, key, lo, hi, text) \
	PROPERTY_ROW_NUMBER(struct option_dedup, field, key, lo, hi, text),
	DEDUP_SETTINGS_NUMBERS(NUMBER)
#undef NUMBER
	PROPERTY_ROW_WORD(struct option_dedup, huge, "huge", DEDUP_SETTINGS_HUGE,
			  "whether huge pages may be broken; auto: while memory is short"),
};
/* clang-format on */
static const struct property_table table = PROPERTY_TABLE("-dedup", rows);

int options_dedup(struct options *o, const char *argument, struct error *err)
{
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "domain", &kv, err);
	if (ret)
		return ret;
	if (keyvals_want_help(kv)) {
		options_print_properties(&table);
		*o->done = true;
		return 0;
	}
	o->dedup.given = true;
	return options_apply(&table, kv, &o->dedup, err);
}

static int check_name(const char *key, const char *name, struct error *err)
{
	if (name && !protocol_is_name(name))
		return error_set(
			err, EINVAL,
			"%s: \"%.80s\" is no name; use letters, digits, '.', '_' and '-', %u at most, and no '.' at the start", key,
			name, PROTOCOL_NAME_BYTES - 1);
	return 0;
}

static int resolve_socket(const struct options *o, char **to, struct error *err)
{
	const char *path = o->dedup.socket ? o->dedup.socket : DEFAULT_SOCKET;
	if (!*path)
		return error_set(err, EINVAL, "socket: it has no name");
	if (strlen(path) > MOST_SOCKET_BYTES)
		return error_set(err, EINVAL, "socket: %.40s... is longer than the %zu bytes that a socket's path may have", path,
				 MOST_SOCKET_BYTES);
	/* It is connected again at any time, and -daemonize goes to the root directory. */
	if (o->config->daemonize && *path != '/')
		return error_set(err, EINVAL, "socket: with -daemonize its path must begin with '/': %.100s", path);
	return options_copy(to, path, err);
}

/* The guest's name as it was given, or that of -name with '_' for what the daemon does not take. */
static int resolve_guest(const struct options *o, char **to, struct error *err)
{
	char name[PROTOCOL_NAME_BYTES];
	if (o->dedup.guest)
		return options_copy(to, o->dedup.guest, err);
	snprintf(name, sizeof(name), "%s", o->name.guest ? o->name.guest : "");
	for (char *at = name; *at; at++) {
		char letter[PROTOCOL_NAME_BYTES] = {*at};
		if (!protocol_is_name(letter) && (*at != '.' || at == name))
			*at = '_';
	}
	return options_copy(to, *name ? name : NULL, err);
}

/* The one node of the host where RAM is to lie, or -1. */
static int find_node(const struct config *c)
{
	uint64_t all = c->nr_nodes ? 0 : c->binding.host_nodes;
	for (unsigned i = 0; i < c->nr_nodes; i++) {
		if (!c->nodes[i].binding.host_nodes)
			return -1;
		all |= c->nodes[i].binding.host_nodes;
	}
	return __builtin_popcountll(all) == 1 ? __builtin_ctzll(all) : -1;
}

static int resolve_settings(const struct option_dedup *from, struct scanner_settings *to, struct error *err)
{
	const struct option_number *given[] = {
#define VALUE(field, ...) &from->field,
		DEDUP_SETTINGS_NUMBERS(VALUE)
#undef VALUE
			& from->huge,
	};
	_Static_assert(sizeof(given) / sizeof(given[0]) == DEDUP_NR_SETTINGS, "the tables have the same order");
	int ret = 0;
	scanner_settings_init(to);
	for (size_t i = 0; ret == 0 && i < DEDUP_NR_SETTINGS; i++)
		if (given[i]->set)
			ret = dedup_setting_set(&dedup_settings[i], to, given[i]->value, err);
	return ret;
}

int options_resolve_dedup(struct options *o, struct error *err)
{
	static const int merges[] = {CONFIG_MERGE_ON, CONFIG_MERGE_OFF, CONFIG_MERGE_KSM};
	const struct option_dedup *from = &o->dedup;
	struct config_dedup *to = &o->config->dedup;
	to->merge = merges[o->machine.mem_merge.value];
	to->asked = from->given;
	to->node = find_node(o->config);
	int ret = resolve_settings(from, &to->settings, err);
	if (ret || !to->asked)
		return ret ? error_prefix(err, "-dedup") : 0;
	if (to->merge == CONFIG_MERGE_KSM)
		ret = error_set(err, EINVAL,
				"the guest's memory goes to the kernel's KSM, by -machine mem-merge=ksm; leave out one of the two");
	else if (to->merge == CONFIG_MERGE_ON && o->config->memory.off)
		ret = error_set(err, EINVAL, "it needs the memory manager; leave -memory manager=off out");
	if (ret == 0)
		ret = check_name("domain", from->domain, err);
	if (ret == 0)
		ret = check_name("guest", from->guest, err);
	if (ret == 0)
		ret = resolve_socket(o, &to->socket, err);
	if (ret == 0)
		ret = options_copy(&to->domain, from->domain ? from->domain : DEFAULT_DOMAIN, err);
	if (ret == 0)
		ret = resolve_guest(o, &to->guest, err);
	return ret ? error_prefix(err, "-dedup") : 0;
}
