/*
 * What a guest is made of, as the command line said it: plain data, wholly checked, with every reference between options resolved and
 * every default filled in. options.c makes it; machine.c builds a guest from it.
 */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "dedup/scanner.h"
#include "memmgr/memmgr.h"

#define CONFIG_MAX_DISKS 16
#define CONFIG_MAX_NICS 8
#define CONFIG_MAX_CHARDEVS 16
#define CONFIG_MAX_MONITORS 8
#define CONFIG_MAX_NODES 8
#define CONFIG_MAX_HOSTFWDS 16
#define CONFIG_MAX_CPUS 255

/* Where a PCI device sits; slot -1 lets the machine choose. Bus 0, function 0 (or the one given). */
struct config_pci_address {
	int slot, function;
};

struct config_disk {
	char *id;     /* of the drive: "drive0", "virtio0" */
	char *qdev;   /* id= of the -device, or NULL */
	char *source; /* path of an image or block device, or an NBD URI */
	enum { CONFIG_DISK_FILE, CONFIG_DISK_NBD } kind;
	bool read_only;
	bool direct;         /* O_DIRECT: cache=none, cache=directsync, cache.direct=on */
	bool no_flush;       /* cache=unsafe */
	bool write_cache;    /* false: cache=writethrough, directsync */
	bool discard;        /* discard=unmap (or on) */
	bool format_guessed; /* format= was not said: refuse what is recognisably not raw (qcow2's magic ...) when opening */
	char serial[21];     /* NUL-terminated */
	unsigned nr_queues;
	unsigned queue_size;
	unsigned logical_block_size, physical_block_size; /* 512 or 4096 */
	struct config_pci_address address;
};

struct config_nic {
	char *id;   /* of the netdev */
	char *qdev; /* id= of the -device, or NULL */
	enum { CONFIG_NET_TAP, CONFIG_NET_USER, CONFIG_NET_STREAM } kind;
	int fd;       /* tap: an inherited descriptor, or -1 */
	char *ifname; /* tap: the interface's name, else NULL */
	bool vhost;
	char *path;                         /* stream: a unix socket */
	char *hostfwd[CONFIG_MAX_HOSTFWDS]; /* user: "tcp:127.0.0.1:2222-:22" as given */
	unsigned nr_hostfwds;
	uint8_t mac[6];
	unsigned mtu; /* 0: not announced */
	unsigned queue_size;
	struct config_pci_address address;
};

struct config_chardev {
	char *id;
	enum {
		CONFIG_CHARDEV_NULL,
		CONFIG_CHARDEV_STDIO,
		CONFIG_CHARDEV_FILE, /* output to path */
		CONFIG_CHARDEV_PTY,
		CONFIG_CHARDEV_UNIX, /* path; server or client */
		CONFIG_CHARDEV_TCP,  /* host, port; server or client */
		CONFIG_CHARDEV_FD,   /* an inherited, connected descriptor */
	} kind;
	char *path, *host, *port;
	int fd;
	bool server, wait, append;
	bool mux;    /* several front ends share it: -nographic, mux=on; Ctrl-A c switches, Ctrl-A x quits, Ctrl-A h helps */
	bool signal; /* stdio: Ctrl-C kills the VMM (default) or is sent to the guest */
};

struct config_monitor {
	enum { CONFIG_MONITOR_QMP, CONFIG_MONITOR_READLINE } mode;
	unsigned chardev; /* index */
	bool pretty;
};

/* On which of the host's nodes RAM lies. */
struct config_binding {
	uint64_t host_nodes; /* bit mask; 0: wherever the host likes */
	enum { CONFIG_POLICY_DEFAULT, CONFIG_POLICY_PREFERRED, CONFIG_POLICY_BIND, CONFIG_POLICY_INTERLEAVE } policy;
};

struct config_node {
	struct config_binding binding;
	uint64_t memory_bytes;
	uint64_t cpus[(CONFIG_MAX_CPUS + 64) / 64]; /* bitmap */
	uint8_t distance[CONFIG_MAX_NODES];         /* SLIT: 10 is itself, 20 by default */
};

/* -memory: the manager of the guest's RAM */
struct config_memory {
	bool off;
	bool required; /* something was asked for: a host where the manager cannot work is an error */
	struct memmgr_settings settings;
	char *swap_directory; /* NULL: none */
	int swap_fd;          /* an inherited descriptor, or -1 */
	unsigned nr_handlers; /* 0: by the number of CPUs */
};

/* -machine mem-merge=, -dedup: who merges the guest's pages with equal ones of others */
struct config_dedup {
	enum {
		CONFIG_MERGE_ON, /* Pagoda's deduplication, where it was asked for */
		CONFIG_MERGE_OFF,
		CONFIG_MERGE_KSM, /* the kernel's; then it was not asked for */
	} merge;
	bool asked;            /* for Pagoda's: -dedup */
	char *socket, *domain; /* NULL unless asked for */
	char *guest;           /* a name by protocol_is_name(); NULL: it has none */
	int node;              /* the host node that has all RAM of the guest, -1: none or several */
	struct scanner_settings settings;
};

struct config {
	char *name;
	uint8_t uuid[16];
	bool has_uuid;
	char *pidfile;
	bool daemonize, no_reboot, start_paused, no_shutdown;

	uint64_t memory_bytes; /* multiple of 4096, at least 1 MiB */
	struct config_memory memory;
	struct config_binding binding; /* of a guest without nodes */
	struct config_dedup dedup;
	unsigned nr_cpus, sockets, dies, cores, threads;
	char *cpu_model; /* "host,-avx" as given */
	char *kernel, *initrd, *append;

	struct config_disk disks[CONFIG_MAX_DISKS];
	unsigned nr_disks;
	struct config_nic nics[CONFIG_MAX_NICS];
	unsigned nr_nics;
	struct config_chardev chardevs[CONFIG_MAX_CHARDEVS];
	unsigned nr_chardevs;
	struct config_monitor monitors[CONFIG_MAX_MONITORS];
	unsigned nr_monitors;
	struct config_node nodes[CONFIG_MAX_NODES];
	unsigned nr_nodes; /* 0: one node, not announced */

	int serial[2];   /* COM1, COM2: index of a chardev, -1 for a port with nobody behind, -2 for no port */
	int consoles[4]; /* virtio-console ports: index of a chardev */
	unsigned nr_consoles;
	struct config_pci_address console_address;

	bool has_rng;
	char *rng_file;         /* NULL: getrandom(2) */
	uint64_t rng_max_bytes; /* 0: no limit */
	unsigned rng_period_ms;
	struct config_pci_address rng_address;

	bool has_balloon;
	char *balloon_id; /* of the -device, or NULL */
	bool balloon_deflate_on_oom, balloon_reporting, balloon_hinting;
	uint32_t balloon_poll_s; /* how often statistics are asked for; 0: only once */
	struct config_pci_address balloon_address;

	bool has_vsock;
	uint32_t vsock_cid;
	char *vsock_path;
	struct config_pci_address vsock_address;
};

/*
 * Reads a command line in QEMU's words (argv[0] is skipped). On failure err names the option, what is wrong with it, and the nearest
 * one that we have. -help, -version and the like print to standard output and set *done. Returns 0, -EINVAL or -ENOMEM.
 */
int config_parse(int argc, char **argv, struct config *config, bool *done, struct error *err);
/* Frees what config_parse() filled in. */
void config_free(struct config *config);

#endif
