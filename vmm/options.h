/*
 * How a command line becomes a struct config, for the options*.c files only. Three steps:
 *
 *   lex      an argument "a,b=c,d=e" or '{"b": "c"}' becomes keyvals                     options_parse.c
 *   apply    keyvals fill a struct by a table of typed properties; unknown keys, values
 *            that are malformed, out of range or not ours are refused by name            options_table.c
 *   resolve  when all is read: references between options are followed, defaults that
 *            depend on other options are filled in, contradictions are refused           options_{machine,memory,numa,dedup,char,block,net,device}.c
 *
 * No file is opened and nothing of the host is asked: a command line parses the same everywhere. Strings in the structs here point
 * into keyvals, which live as long as struct options; what goes to struct config is copied.
 */
#ifndef VMM_OPTIONS_H
#define VMM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/nearest.h"
#include "vmm/config.h"

/* --- lex --- */

#define OPTIONS_MAX_KEYVALS 128
#define OPTIONS_MAX_ARGUMENT 65536

struct keyval {
	const char *key;
	const char *value; /* NULL for a word alone ("server"): on, or off when it starts with "no" */
};

struct keyvals {
	struct keyvals *next; /* all of a struct options */
	char *text;           /* what keys and values point into; NULL when another keyvals owns it */
	size_t nr;
	struct keyval items[OPTIONS_MAX_KEYVALS];
};

struct options;

/*
 * Splits an argument. implied names the key of a first word without '=' ("tap" in "tap,id=n"), or is NULL. An argument that
 * starts with '{' is JSON: members of inner objects get dotted keys, elements of arrays repeat the key. The result belongs to o.
 * Returns 0, -EINVAL or -ENOMEM.
 */
int keyvals_parse(struct options *o, const char *argument, const char *implied, struct keyvals **out, struct error *err);
/* The last value of key, or NULL. */
const char *keyvals_get(const struct keyvals *kv, const char *key);
/* Moves what starts with prefix ("file.") to keyvals of their own, prefix cut off. *out is NULL when there is nothing. */
int keyvals_split(struct options *o, struct keyvals *kv, const char *prefix, struct keyvals **out, struct error *err);
/* Whether somebody asks for a list: "help" or "?" alone in it. */
bool keyvals_want_help(const struct keyvals *kv);

/* --- apply --- */

enum option_bool {
	OPTION_UNSET,
	OPTION_OFF,
	OPTION_ON,
};

struct option_number {
	uint64_t value;
	bool set;
};

struct option_mac {
	uint8_t bytes[6];
	bool set;
};

#define OPTIONS_MAX_LIST 16
struct option_list {
	unsigned nr;
	const char *items[OPTIONS_MAX_LIST];
};

enum property_type {
	PROPERTY_STRING,    /* const char * */
	PROPERTY_BOOL,      /* enum option_bool */
	PROPERTY_NUMBER,    /* struct option_number: min to max */
	PROPERTY_SIZE,      /* struct option_number: min to max bytes, K M G T understood */
	PROPERTY_MEBIBYTES, /* struct option_number: bytes as well, but a number without suffix counts MiB */
	PROPERTY_WORD,      /* struct option_number: which of words */
	PROPERTY_MAC,       /* struct option_mac */
	PROPERTY_ADDRESS,   /* struct config_pci_address */
	PROPERTY_LIST,      /* struct option_list: may be given several times */
	PROPERTY_FIXED,     /* nothing is kept: words say what we do anyway, all else is refused */
};

struct property {
	const char *name;
	enum property_type type;
	size_t offset; /* of the field, in the struct that the table is for */
	uint64_t min, max;
	const char *words; /* "none|writeback|unsafe" */
	const char *help;
};

/* Rows of property tables. The field's type is checked when compiling. */
/* clang-format off */
#define PROPERTY_OFFSET(s, field, t) \
	(offsetof(s, field) + 0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((s *)0)->field), t) ? 1 : -1]))
#define PROPERTY_ROW_STRING(s, field, key, text) \
	{key, PROPERTY_STRING, PROPERTY_OFFSET(s, field, const char *), 0, 0, NULL, text}
#define PROPERTY_ROW_BOOL(s, field, key, text) \
	{key, PROPERTY_BOOL, PROPERTY_OFFSET(s, field, enum option_bool), 0, 0, NULL, text}
#define PROPERTY_ROW_NUMBER(s, field, key, lo, hi, text) \
	{key, PROPERTY_NUMBER, PROPERTY_OFFSET(s, field, struct option_number), lo, hi, NULL, text}
#define PROPERTY_ROW_SIZE(s, field, key, lo, hi, text) \
	{key, PROPERTY_SIZE, PROPERTY_OFFSET(s, field, struct option_number), lo, hi, NULL, text}
#define PROPERTY_ROW_MEBIBYTES(s, field, key, lo, hi, text) \
	{key, PROPERTY_MEBIBYTES, PROPERTY_OFFSET(s, field, struct option_number), lo, hi, NULL, text}
#define PROPERTY_ROW_WORD(s, field, key, of, text) \
	{key, PROPERTY_WORD, PROPERTY_OFFSET(s, field, struct option_number), 0, 0, of, text}
#define PROPERTY_ROW_MAC(s, field, key, text) \
	{key, PROPERTY_MAC, PROPERTY_OFFSET(s, field, struct option_mac), 0, 0, NULL, text}
#define PROPERTY_ROW_ADDRESS(s, field, key, text) \
	{key, PROPERTY_ADDRESS, PROPERTY_OFFSET(s, field, struct config_pci_address), 0, 0, NULL, text}
#define PROPERTY_ROW_LIST(s, field, key, text) \
	{key, PROPERTY_LIST, PROPERTY_OFFSET(s, field, struct option_list), 0, 0, NULL, text}
#define PROPERTY_ROW_FIXED(key, of, text) \
	{key, PROPERTY_FIXED, 0, 0, 0, of, text}
#define PROPERTY_TABLE(what, rows) \
	{what, rows, sizeof(rows) / sizeof((rows)[0])}
/* clang-format on */

struct property_table {
	const char *subject; /* "-drive", "virtio-blk-pci": in front of what is printed */
	const struct property *properties;
	size_t nr;
};

/* Fills target by the table. A key given twice keeps the last value, as in QEMU. Returns 0 or -EINVAL. */
int options_apply(const struct property_table *table, const struct keyvals *kv, void *target, struct error *err);
/* Prints the table to standard output. */
void options_print_properties(const struct property_table *table);

/* One value of its own. Returns 0 or -EINVAL. */
int options_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value, struct error *err);
/* unit: what a number without suffix counts, in bytes. */
int options_parse_size(const char *text, uint64_t unit, uint64_t min, uint64_t max, uint64_t *value, struct error *err);
/* The index of text in "a|b|c", or -1. */
int options_word_index(const char *words, const char *text);

/* An id is a letter, then letters, digits, '-', '.' and '_'. */
int options_check_id(const char *id, struct error *err);

/* --- what was read, before it is resolved --- */

#define OPTIONS_MAX_DEVICES 64
#define OPTIONS_MAX_NODES 64 /* -blockdev */
#define OPTIONS_MAX_OBJECTS 32
#define OPTIONS_MAX_NUMA_LINES 1024

struct option_cache {
	enum option_bool direct, no_flush, writeback;
};

/* -drive */
struct option_drive {
	const char *file, *id, *serial;
	struct option_number interface, format, cache, aio, discard, index, media;
	const char *format_name;
	enum option_bool read_only;
	struct option_cache caches;
	const char *taken_by; /* the device that has it */
};

/* -blockdev: one node */
struct option_node {
	const char *driver, *name, *filename, *file, *export;
	const char *server_path, *server_host, *server_port;
	struct option_number server_type, discard, aio;
	enum option_bool read_only;
	struct option_cache caches;
	bool used; /* by a device, or by another node */
};

/* -netdev */
struct option_netdev {
	const char *kind, *id;
	const char *ifname, *script, *downscript, *path;
	struct option_number fd, address_type;
	enum option_bool vhost, server;
	struct option_list hostfwd;
	bool used;
};

/* -chardev and what -serial, -monitor and -qmp make */
struct option_chardev {
	const char *backend, *id, *path, *host, *port;
	struct option_number fd;
	enum option_bool server, wait, append, mux, signal, nodelay;
	unsigned nr_users;
	const char *user; /* the first, for errors */
};

/* -object */
struct option_object {
	const char *kind, *id, *filename;
	struct option_number size, policy;
	struct option_list host_nodes;
	bool used;
};

struct option_blk_device {
	const char *drive, *serial;
	struct option_number nr_queues, queue_size, logical_block_size, physical_block_size, bootindex;
	enum option_bool write_cache, discard;
};
struct option_net_device {
	const char *netdev;
	struct option_mac mac;
	struct option_number mtu, rx_queue_size, tx_queue_size, bootindex;
};
struct option_rng_device {
	const char *rng;
	struct option_number max_bytes, period;
};
struct option_console_device {
	const char *chardev, *bus;
	struct option_number nr;
};
struct option_balloon_device {
	enum option_bool deflate_on_oom, reporting, hinting;
	struct option_number poll;
};
struct option_vsock_device {
	const char *path;
	struct option_number cid;
};

enum option_device_kind {
	OPTION_DEVICE_BLK,
	OPTION_DEVICE_NET,
	OPTION_DEVICE_RNG,
	OPTION_DEVICE_SERIAL, /* the controller of virtconsoles */
	OPTION_DEVICE_CONSOLE,
	OPTION_DEVICE_VSOCK,
	OPTION_DEVICE_BALLOON,
};

/* -device */
struct option_device {
	const char *driver, *id;
	const char *argument; /* as given, for errors */
	enum option_device_kind kind;
	struct config_pci_address address;
	union {
		struct option_blk_device blk;
		struct option_net_device net;
		struct option_rng_device rng;
		struct option_console_device console;
		struct option_vsock_device vsock;
		struct option_balloon_device balloon;
	};
};

struct option_smp {
	struct option_number cpus, sockets, dies, cores, threads, maxcpus;
};

struct option_memory {
	struct option_number size, slots, maxmem;
};

/* -memory */
struct option_memory_manager {
	bool given;
	const char *other_given; /* the last property but manager */
	enum option_bool manager, dense, kernel_tier, swap_out, prefetch;
	struct option_number target, floor, compressed_limit, swap_limit, evict_rate, limbo_ms, cold_ms, sample_rate, swap_fd,
		handlers;
	const char *swap;
};

/* -dedup */
struct option_dedup {
	bool given;
	const char *socket, *domain, *guest;
	struct option_number cpu_percent, pass_ms, batch_pages, huge_percent, most_mappings, huge;
};

/* -numa node, dist, cpu */
struct option_numa {
	const char *kind, *memdev;
	struct option_number nodeid, mem, src, dst, val, node_id, socket_id, die_id, core_id, thread_id;
	struct option_list cpus;
};

struct option_name {
	const char *guest;
};

struct option_machine {
	const char *type, *accel, *memory_backend;
	struct option_number mem_merge;
};

struct option_monitor {
	const char *chardev;
	struct option_number mode;
	enum option_bool pretty;
};

struct options {
	struct config *config;
	struct keyvals *kept;
	bool *done; /* a help text was printed */

	struct option_memory memory;
	struct option_memory_manager memory_manager;
	struct option_dedup dedup;
	struct option_smp smp;
	struct option_name name;
	struct option_machine machine;
	const char *kernel, *initrd, *append, *cpu, *pidfile;
	bool nographic, nodefaults, no_display;

	struct option_numa *numa; /* grows */
	size_t nr_numa;
	struct option_object objects[OPTIONS_MAX_OBJECTS];
	size_t nr_objects;
	struct option_chardev chardevs[CONFIG_MAX_CHARDEVS];
	size_t nr_chardevs;
	struct option_monitor monitors[CONFIG_MAX_MONITORS];
	size_t nr_monitors;
	const char *serials[2]; /* ids of chardevs; "" for none */
	size_t nr_serials;
	unsigned nr_compat_monitors;
	bool monitor_given; /* -monitor: no default one */
	struct option_drive drives[CONFIG_MAX_DISKS];
	size_t nr_drives;
	struct option_node nodes[OPTIONS_MAX_NODES];
	size_t nr_nodes;
	struct option_netdev netdevs[CONFIG_MAX_NICS];
	size_t nr_netdevs;
	struct option_device devices[OPTIONS_MAX_DEVICES];
	size_t nr_devices;
};

/*
 * The options of each subject. Each takes the option's argument ("" when it has none), and returns 0, or a negative errno with a
 * sentence about the argument; config_parse() puts the option's name in front.
 */
typedef int option_handler(struct options *o, const char *argument, struct error *err);

option_handler options_memory, options_smp, options_cpu, options_machine_type, options_accel, options_name, options_uuid,
	options_rtc, options_boot, options_action; /* options_machine.c */
option_handler options_memory_manager;             /* options_memory.c */
option_handler options_dedup;                      /* options_dedup.c */
option_handler options_numa;                       /* options_numa.c */
option_handler options_serial, options_parallel, options_chardev, options_mon, options_monitor, options_qmp,
	options_qmp_pretty;                              /* options_char.c */
option_handler options_drive, options_blockdev;          /* options_block.c */
option_handler options_netdev, options_nic, options_net; /* options_net.c */
option_handler options_device, options_object;           /* options_device.c */

/* --- resolve, in this order --- */
int options_resolve_machine(struct options *o, struct error *err);
int options_resolve_memory_manager(struct options *o, struct error *err);
int options_resolve_numa(struct options *o, struct error *err);
int options_resolve_dedup(struct options *o, struct error *err);
int options_resolve_char(struct options *o, struct error *err);
int options_resolve_block(struct options *o, struct error *err);
int options_resolve_net(struct options *o, struct error *err);
int options_resolve_devices(struct options *o, struct error *err);

/* Adds a device as if by -device driver,...; for -nic. */
struct option_device *options_add_device(struct options *o, const char *driver, struct error *err);
/* For a device that wants the chardev: its index in config. Fails if there is none, or it is taken and does not share (mux). */
int options_use_chardev(struct options *o, const char *id, const char *user, unsigned *index, struct error *err);
/* Finds an -object by id, and marks it used; NULL with a sentence when there is none. */
/* On which host nodes the RAM of a memory-backend-ram lies. */
int options_resolve_binding(const struct option_object *backend, struct config_binding *binding, struct error *err);
struct option_object *options_use_object(struct options *o, const char *id, struct error *err);

/* strdup that reports. from may be NULL: then *to is NULL. */
int options_copy(char **to, const char *from, struct error *err);

/* Whether the id is taken by an option of that list is checked by each; this is the sentence. */
int options_duplicate_id(const char *id, struct error *err);

#endif
