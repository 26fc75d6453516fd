/*
 * The options about streams of bytes: -chardev says what a stream is; -serial, -monitor, -qmp and -mon say what uses one. The short
 * forms ("-serial stdio") make a chardev of their own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/options.h"

/* How many users share a mux; chardev_mux.c has as many places. */
#define MAX_MUX_USERS 4

#define COMMON_ROWS                                                           \
	PROPERTY_ROW_STRING(struct option_chardev, backend, "backend", NULL), \
		PROPERTY_ROW_STRING(struct option_chardev, id, "id", NULL),   \
		PROPERTY_ROW_BOOL(struct option_chardev, mux, "mux", "several users share it; Ctrl-A c switches")

static const struct property plain_rows[] = {COMMON_ROWS};
static const struct property stdio_rows[] = {
	COMMON_ROWS,
	PROPERTY_ROW_BOOL(struct option_chardev, signal, "signal", "Ctrl-C ends the VMM (on) or is sent (off)"),
};
static const struct property file_rows[] = {
	COMMON_ROWS,
	PROPERTY_ROW_STRING(struct option_chardev, path, "path", NULL),
	PROPERTY_ROW_BOOL(struct option_chardev, append, "append", "keep what the file has"),
};
static const struct property socket_rows[] = {
	COMMON_ROWS,
	PROPERTY_ROW_STRING(struct option_chardev, path, "path", "of a unix socket"),
	PROPERTY_ROW_STRING(struct option_chardev, host, "host", NULL),
	PROPERTY_ROW_STRING(struct option_chardev, port, "port", NULL),
	PROPERTY_ROW_NUMBER(struct option_chardev, fd, "fd", 0, 1 << 20,
			    "an inherited socket: connected, or listening with server=on"),
	PROPERTY_ROW_BOOL(struct option_chardev, server, "server", "listen"),
	PROPERTY_ROW_BOOL(struct option_chardev, wait, "wait", "start only when somebody has connected"),
	PROPERTY_ROW_BOOL(struct option_chardev, nodelay, "nodelay", NULL),
	/* Those two are what JSON and libvirt add. */
	PROPERTY_ROW_FIXED("telnet", "off", NULL),
	PROPERTY_ROW_FIXED("reconnect", "0", NULL),
};

static const struct chardev_backend {
	const char *name;
	struct property_table table;
} backends[] = {
	{"null", PROPERTY_TABLE("-chardev null", plain_rows)},      {"stdio", PROPERTY_TABLE("-chardev stdio", stdio_rows)},
	{"file", PROPERTY_TABLE("-chardev file", file_rows)},       {"pty", PROPERTY_TABLE("-chardev pty", plain_rows)},
	{"socket", PROPERTY_TABLE("-chardev socket", socket_rows)},
};
#define NR_BACKENDS (sizeof(backends) / sizeof(backends[0]))

static struct option_chardev *find_chardev(struct options *o, const char *id)
{
	for (size_t i = 0; i < o->nr_chardevs; i++)
		if (!strcmp(o->chardevs[i].id, id))
			return &o->chardevs[i];
	return NULL;
}

/* Checks what a table cannot, and keeps it. */
static int add_chardev(struct options *o, const struct option_chardev *chardev, struct error *err)
{
	if (!chardev->id)
		return error_set(err, EINVAL, "needs id=");
	int ret = options_check_id(chardev->id, err);
	if (ret)
		return ret;
	if (find_chardev(o, chardev->id))
		return options_duplicate_id(chardev->id, err);
	if (o->nr_chardevs == CONFIG_MAX_CHARDEVS)
		return error_set(err, EINVAL, "more than %d chardevs", CONFIG_MAX_CHARDEVS);
	if (!strcmp(chardev->backend, "file") && (!chardev->path || !*chardev->path))
		return error_set(err, EINVAL, "a file needs path=");
	if (!strcmp(chardev->backend, "socket")) {
		int ways = !!chardev->path + (chardev->host || chardev->port) + chardev->fd.set;
		if (ways != 1)
			return error_set(err, EINVAL, "a socket needs one of path=, host= with port=, fd=");
		if (chardev->path && (!*chardev->path || strlen(chardev->path) > 107))
			return error_set(err, EINVAL, "path: a unix socket's path has 1 to 107 bytes");
		if (!chardev->path && !chardev->fd.set && (!chardev->port || !*chardev->port))
			return error_set(err, EINVAL, "a TCP socket needs port=");
		if (chardev->wait != OPTION_UNSET && chardev->server != OPTION_ON)
			return error_set(err, EINVAL, "wait goes with server=on only");
	}
	o->chardevs[o->nr_chardevs++] = *chardev;
	return 0;
}

int options_chardev(struct options *o, const char *argument, struct error *err)
{
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "backend", &kv, err);
	if (ret)
		return ret;
	const char *name = keyvals_get(kv, "backend");
	if (name && keyvals_want_help(kv) && kv->nr == 1) {
		printf("Chardevs:\n");
		for (size_t i = 0; i < NR_BACKENDS; i++)
			printf("  %s\n", backends[i].name);
		*o->done = true;
		return 0;
	}
	struct nearest nearest;
	nearest_start(&nearest, name ? name : "");
	for (size_t i = 0; i < NR_BACKENDS; i++) {
		struct option_chardev chardev = {.backend = NULL};
		nearest_try(&nearest, backends[i].name);
		if (!name || strcmp(name, backends[i].name) != 0)
			continue;
		ret = options_apply(&backends[i].table, kv, &chardev, err);
		return ret ? ret : add_chardev(o, &chardev, err);
	}
	char hint[100];
	return error_set(err, EINVAL, "chardev \"%.60s\": we have null, stdio, file, pty and socket%s", name ? name : "",
			 nearest_hint(&nearest, "", hint, sizeof(hint)));
}

/* "tcp:HOST:PORT,server=on": the part before the first comma of a short form. An IPv6 address stands in brackets. */
static int cut_host_and_port(char *text, struct option_chardev *chardev, struct error *err)
{
	char *colon = strrchr(text, ':');
	if (!colon || !colon[1])
		return error_set(err, EINVAL, "\"%.60s\" is not HOST:PORT", text);
	*colon = '\0';
	size_t len = strlen(text);
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text[len - 1] = '\0';
		text++;
	}
	chardev->host = text;
	chardev->port = colon + 1;
	return 0;
}

/*
 * Reads the short form of a chardev: stdio, null, pty, file:PATH, unix:PATH,server=on, tcp:HOST:PORT, and mon: in front of any of
 * them (set *monitor), which puts a monitor on it as well. id is copied.
 */
static int add_short_form(struct options *o, const char *id, const char *spec, bool *monitor, struct error *err)
{
	struct option_chardev chardev = {.mux = OPTION_UNSET};
	struct keyvals *kv, *kept_id;
	*monitor = !strncmp(spec, "mon:", 4);
	if (*monitor) {
		spec += 4;
		chardev.mux = OPTION_ON;
		/* What shares the terminal with a guest must not die of the guest's Ctrl-C. */
		if (!strcmp(spec, "stdio"))
			chardev.signal = OPTION_OFF;
	}
	static const struct property_table file_table = PROPERTY_TABLE("file:", file_rows);
	static const struct property_table socket_table = PROPERTY_TABLE("a socket", socket_rows);
	static const struct {
		const char *prefix, *backend;
		bool takes_rest;
	} forms[] = {
		{"stdio", "stdio", false}, {"null", "null", false},   {"pty", "pty", false},
		{"file:", "file", true},   {"unix:", "socket", true}, {"tcp:", "socket", true},
	};
	int ret = -EINVAL;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		size_t len = strlen(forms[i].prefix);
		if (forms[i].takes_rest ? strncmp(spec, forms[i].prefix, len) != 0 : strcmp(spec, forms[i].prefix) != 0)
			continue;
		chardev.backend = forms[i].backend;
		/* The id is put together by the caller on its stack, so it is kept as a keyvals of its own. */
		ret = keyvals_parse(o, id, "id", &kept_id, err);
		if (ret)
			return ret;
		chardev.id = kept_id->items[0].value;
		if (!forms[i].takes_rest)
			return add_chardev(o, &chardev, err);
		ret = keyvals_parse(o, spec + len, "path", &kv, err);
		if (!ret)
			ret = options_apply(forms[i].prefix[0] == 'f' ? &file_table : &socket_table, kv, &chardev, err);
		if (!ret && !chardev.path)
			ret = error_set(err, EINVAL, "\"%.60s\" leads nowhere", spec);
		if (!ret && forms[i].prefix[0] == 't') {
			char *target = (char *)chardev.path; /* in the text of kv, which is ours to cut */
			chardev.path = NULL;
			ret = cut_host_and_port(target, &chardev, err);
		}
		return ret ? ret : add_chardev(o, &chardev, err);
	}
	return error_set(
		err, EINVAL,
		"\"%.60s\": we have stdio, null, pty, file:PATH, unix:PATH, tcp:HOST:PORT, chardev:ID, none, and mon: in front",
		spec);
}

static int add_monitor(struct options *o, const char *chardev, bool control, bool pretty, struct error *err)
{
	if (o->nr_monitors == CONFIG_MAX_MONITORS)
		return error_set(err, EINVAL, "more than %d monitors", CONFIG_MAX_MONITORS);
	o->monitors[o->nr_monitors++] = (struct option_monitor){
		.chardev = chardev,
		.mode = {.value = control, .set = true},
		.pretty = pretty ? OPTION_ON : OPTION_OFF,
	};
	return 0;
}

/* The last chardev's id, which lives as long as o. */
static const char *last_id(const struct options *o)
{
	return o->chardevs[o->nr_chardevs - 1].id;
}

int options_serial(struct options *o, const char *argument, struct error *err)
{
	if (o->nr_serials == 2)
		return error_set(err, EINVAL, "there are two serial ports");
	const char **port = &o->serials[o->nr_serials];
	if (!strcmp(argument, "none")) {
		*port = "";
	} else if (!strncmp(argument, "chardev:", 8)) {
		*port = argument + 8;
	} else {
		char id[32];
		bool monitor;
		snprintf(id, sizeof(id), "serial%zu", o->nr_serials);
		int ret = add_short_form(o, id, argument, &monitor, err);
		if (ret)
			return ret;
		*port = last_id(o);
		if (monitor) {
			ret = add_monitor(o, *port, false, false, err);
			o->monitor_given = true;
		}
		if (ret)
			return ret;
	}
	o->nr_serials++;
	return 0;
}

int options_parallel(struct options *o, const char *argument, struct error *err)
{
	(void)o;
	return strcmp(argument, "none") ? error_set(err, EINVAL, "there is no parallel port; use -serial") : 0;
}

static int add_compat_monitor(struct options *o, const char *argument, bool control, bool pretty, struct error *err)
{
	if (!strcmp(argument, "none"))
		return 0;
	if (!strncmp(argument, "chardev:", 8))
		return add_monitor(o, argument + 8, control, pretty, err);
	char id[32];
	bool mux;
	snprintf(id, sizeof(id), "compat_monitor%u", o->nr_compat_monitors++);
	int ret = add_short_form(o, id, argument, &mux, err);
	return ret ? ret : add_monitor(o, last_id(o), control, pretty, err);
}

int options_monitor(struct options *o, const char *argument, struct error *err)
{
	o->monitor_given = true;
	return add_compat_monitor(o, argument, false, false, err);
}

int options_qmp(struct options *o, const char *argument, struct error *err)
{
	o->monitor_given = true;
	return add_compat_monitor(o, argument, true, false, err);
}

int options_qmp_pretty(struct options *o, const char *argument, struct error *err)
{
	o->monitor_given = true;
	return add_compat_monitor(o, argument, true, true, err);
}

int options_mon(struct options *o, const char *argument, struct error *err)
{
	static const struct property rows[] = {
		PROPERTY_ROW_STRING(struct option_monitor, chardev, "chardev", "its id"),
		PROPERTY_ROW_WORD(struct option_monitor, mode, "mode", "readline|control", "for people, or QMP"),
		PROPERTY_ROW_BOOL(struct option_monitor, pretty, "pretty", "QMP on many lines"),
	};
	static const struct property_table table = PROPERTY_TABLE("-mon", rows);
	struct option_monitor monitor = {.chardev = NULL};
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "chardev", &kv, err);
	if (!ret)
		ret = options_apply(&table, kv, &monitor, err);
	if (ret)
		return ret;
	if (!monitor.chardev)
		return error_set(err, EINVAL, "needs chardev=");
	if (monitor.pretty != OPTION_UNSET && monitor.mode.value != 1)
		return error_set(err, EINVAL, "pretty goes with mode=control only");
	o->monitor_given = true;
	return add_monitor(o, monitor.chardev, monitor.mode.value == 1, monitor.pretty == OPTION_ON, err);
}

int options_use_chardev(struct options *o, const char *id, const char *user, unsigned *index, struct error *err)
{
	struct option_chardev *chardev = find_chardev(o, id);
	if (!chardev) {
		struct nearest nearest;
		char hint[100];
		nearest_start(&nearest, id);
		for (size_t i = 0; i < o->nr_chardevs; i++)
			nearest_try(&nearest, o->chardevs[i].id);
		return error_set(err, EINVAL, "%s: there is no chardev \"%.60s\"%s", user, id,
				 nearest_hint(&nearest, "", hint, sizeof(hint)));
	}
	if (chardev->nr_users && chardev->mux != OPTION_ON)
		return error_set(err, EINVAL, "%s: chardev \"%.60s\" is in use by %s; mux=on lets several share it", user, id,
				 chardev->user);
	if (chardev->nr_users == MAX_MUX_USERS)
		return error_set(err, EINVAL, "%s: chardev \"%.60s\" has %d users already", user, id, MAX_MUX_USERS);
	chardev->user = user;
	chardev->nr_users++;
	*index = (unsigned)(chardev - o->chardevs);
	return 0;
}

/*
 * What there is without being asked for. There is no display, so a guest talks to the terminal as with QEMU's -nographic: serial port
 * and monitor share it. But only -nographic insists: a terminal that another option has is left alone.
 */
static int add_defaults(struct options *o, struct error *err)
{
	bool terminal_taken = false;
	int ret = 0;
	for (size_t i = 0; i < o->nr_chardevs; i++)
		terminal_taken |= !strcmp(o->chardevs[i].backend, "stdio");
	if (o->nographic && o->config->daemonize)
		return error_set(err, EINVAL, "-nographic is of no use with -daemonize; use -display none");
	if (o->nodefaults)
		return 0;
	bool quiet = !o->nographic && (o->no_display || terminal_taken || o->config->daemonize);
	if (!o->nr_serials)
		ret = options_serial(o, quiet ? "null" : o->monitor_given ? "stdio" : "mon:stdio", err);
	else if (!o->monitor_given && o->nographic)
		ret = options_monitor(o, "stdio", err);
	return ret;
}

static int copy_chardev(const struct option_chardev *from, struct config_chardev *to, struct error *err)
{
	to->fd = -1;
	to->mux = from->mux == OPTION_ON;
	to->signal = from->signal != OPTION_OFF;
	to->append = from->append == OPTION_ON;
	to->server = from->server == OPTION_ON;
	to->wait = to->server && from->wait != OPTION_OFF;
	switch (options_word_index("null|stdio|file|pty|socket", from->backend)) {
	case 0:
		to->kind = CONFIG_CHARDEV_NULL;
		break;
	case 1:
		to->kind = CONFIG_CHARDEV_STDIO;
		break;
	case 2:
		to->kind = CONFIG_CHARDEV_FILE;
		break;
	case 3:
		to->kind = CONFIG_CHARDEV_PTY;
		break;
	default:
		to->kind = from->fd.set ? CONFIG_CHARDEV_FD : from->path ? CONFIG_CHARDEV_UNIX : CONFIG_CHARDEV_TCP;
		break;
	}
	if (from->fd.set)
		to->fd = (int)from->fd.value;
	int ret = options_copy(&to->id, from->id, err);
	if (!ret)
		ret = options_copy(&to->path, from->path, err);
	if (!ret && to->kind == CONFIG_CHARDEV_TCP)
		ret = options_copy(&to->host, from->host ? from->host : "", err);
	if (!ret)
		ret = options_copy(&to->port, from->port, err);
	return ret;
}

int options_resolve_char(struct options *o, struct error *err)
{
	struct config *c = o->config;
	const char *terminal = NULL;
	int ret = add_defaults(o, err);
	if (ret)
		return ret;
	for (size_t i = 0; i < o->nr_chardevs; i++) {
		const struct option_chardev *chardev = &o->chardevs[i];
		if (!strcmp(chardev->backend, "stdio")) {
			if (terminal)
				return error_set(err, EINVAL,
						 "chardevs \"%s\" and \"%s\" both want standard input; with mux=on (mon:stdio) one "
						 "serves several users",
						 terminal, chardev->id);
			if (c->daemonize)
				return error_set(err, EINVAL, "chardev \"%s\": -daemonize leaves no standard input", chardev->id);
			terminal = chardev->id;
		}
		c->nr_chardevs = (unsigned)i + 1;
		ret = copy_chardev(chardev, &c->chardevs[i], err);
		if (ret)
			return ret;
	}
	c->serial[0] = c->serial[1] = -2;
	static const char *const port_names[] = {"the first serial port", "the second serial port"};
	for (size_t i = 0; i < 2 && i < o->nr_serials; i++) {
		unsigned index = 0;
		if (!*o->serials[i])
			continue;
		ret = options_use_chardev(o, o->serials[i], port_names[i], &index, err);
		if (ret)
			return ret;
		c->serial[i] = (int)index;
	}
	for (size_t i = 0; i < o->nr_monitors; i++) {
		struct config_monitor *monitor = &c->monitors[i];
		ret = options_use_chardev(o, o->monitors[i].chardev, "a monitor", &monitor->chardev, err);
		if (ret)
			return ret;
		monitor->mode = o->monitors[i].mode.value ? CONFIG_MONITOR_QMP : CONFIG_MONITOR_READLINE;
		monitor->pretty = o->monitors[i].pretty == OPTION_ON;
		c->nr_monitors = (unsigned)i + 1;
	}
	return 0;
}
