/*
 * The machine: one guest with its memory, vCPUs, devices and their wiring, and its life cycle.
 *
 *   prelaunch --machine_start--> running <--machine_pause / machine_resume--> paused
 *   running --guest powers off, or machine_quit--> shutdown (the main loop ends)
 *   running --guest resets, or machine_reset--> running (or shutdown with no_reboot)
 *   running --KVM cannot go on, or a page of memory is lost--> internal-error (paused; only reset or quit help)
 *   running --a page of memory cannot be brought back--> io-error --it came back, or machine_resume--> running
 *
 * All functions are for the main thread; vCPU threads ask for changes through machine_request().
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "balloon/balloon.h"
#include "base/error.h"
#include "dedup/scanner.h"
#include "memmgr/memmgr.h"
#include "memmgr/node_binding.h"
#include "memmgr/numa.h"
#include "vmm/config.h"
#include "vmm/ksm.h"

struct chardev;
struct machine;

/* As QMP's RunState names them. */
enum run_state {
	RUN_STATE_PRELAUNCH,
	RUN_STATE_RUNNING,
	RUN_STATE_PAUSED,
	RUN_STATE_SHUTDOWN,
	RUN_STATE_GUEST_PANICKED,
	RUN_STATE_INTERNAL_ERROR,
	RUN_STATE_IO_ERROR, /* vCPUs are paused; device threads may wait for the page as well */
};
const char *run_state_name(enum run_state state); /* "prelaunch", "internal-error" */

/* Builds a guest, stopped. config must outlive it. Chardevs are opened, files are opened, nothing runs yet. */
int machine_create(struct ev_loop *loop, struct config *config, struct machine **machine, struct error *err);
/* Stops what runs and frees everything. */
void machine_destroy(struct machine *m);

/* Starts the vCPU threads; running unless config says start_paused. */
int machine_start(struct machine *m, struct error *err);

/*
 * QMP stop. Nothing of the guest runs when it returns, unless a page of its memory cannot be brought back: then no vCPU does, and devices
 * follow when the page is there. 0 also when it was paused; an io-error becomes a pause that only machine_resume() ends.
 */
int machine_pause(struct machine *m);
int machine_resume(struct machine *m, struct error *err); /* QMP cont. -EPERM after an internal error */
void machine_powerdown(struct machine *m);                /* presses the power button */
int machine_reset(struct machine *m);
void machine_quit(struct machine *m, const char *reason); /* ends the main loop; reason as in SHUTDOWN: "host-qmp-quit" */

enum run_state machine_run_state(const struct machine *m);
const struct config *machine_config(const struct machine *m);
unsigned machine_nr_cpus(const struct machine *m);

struct machine_cpu_info {
	unsigned index;
	int thread_id; /* Linux tid; 0 before the start */
	unsigned socket, die, core, thread, node;
	bool halted; /* known of a guest that is stopped; else false */
};
void machine_cpu_info(const struct machine *m, unsigned index, struct machine_cpu_info *info);

struct machine_disk_info {
	const char *id, *qdev, *source, *driver; /* driver: "file", "host_device", "nbd" */
	uint64_t bytes;
	bool read_only, direct;
	uint64_t read_bytes, write_bytes, read_ops, write_ops, flush_ops, errors;
};
unsigned machine_nr_disks(const struct machine *m);
void machine_disk_info(const struct machine *m, unsigned index, struct machine_disk_info *info);

struct machine_nic_info {
	const char *id, *qdev;
	char backend[160]; /* "tap,fd=7", "user (passt)" */
	uint8_t mac[6];
	bool link_up;
	uint64_t rx_packets, rx_bytes, rx_dropped, tx_packets, tx_bytes, tx_dropped;
};
unsigned machine_nr_nics(const struct machine *m);
void machine_nic_info(const struct machine *m, unsigned index, struct machine_nic_info *info);
int machine_set_link(struct machine *m, unsigned index, bool up);

/*
 * The memory manager (memmgr/memmgr.h), as monitors use it. Where the guest has none, all but machine_memory_failure() return -ENOTSUP with
 * a sentence that says why.
 */
int machine_memory_settings(struct machine *m, struct memmgr_settings *settings, struct error *err);
int machine_memory_configure(struct machine *m, const struct memmgr_settings *settings, struct error *err);
/* The counters, and how they were when this was last called with a before (at first: zero, at the machine's making). */
struct machine_memory_sample {
	struct memmgr_stats stats;
	uint64_t time_ns; /* CLOCK_MONOTONIC */
};
int machine_memory_sample(struct machine *m, struct machine_memory_sample *now, struct machine_memory_sample *before,
			  struct error *err);
/* As memmgr_curve(). Returns points, or -errno. */
ssize_t machine_memory_curve(struct machine *m, struct memmgr_curve_point *points, size_t max, struct error *err);
/* See memmgr/node_binding.h; -ENOTSUP without a memory manager. */
int machine_memory_bind_node(struct machine *m, unsigned node, uint64_t host_nodes, enum numa_policy policy, uint32_t rate,
			     struct error *err);
int machine_memory_look_at_node(struct machine *m, unsigned node, struct memmgr_node *look, struct error *err);
int machine_memory_count_node(struct machine *m, unsigned node, struct numa_count *count, struct error *err);
int machine_memory_prewarm(struct machine *m, struct error *err);
/* The descriptor of memmgr_stats_fd(). */
int machine_memory_stats_fd(struct machine *m, struct error *err);
/*
 * Takes up to that many bytes (0: all) of the guest's resident memory at once, up to the tier. It stops after half a second, so that monitors
 * and guest are served, and goes on from there when it is called again; *complete says whether it got through.
 */
int machine_memory_evict(struct machine *m, uint64_t bytes, enum memmgr_tier tier, uint64_t *taken, bool *complete,
			 struct error *err);
/* Why memory cannot be brought back now, MEMMGR_FAILURE_NONE when it can; detail as memmgr has it, "" for none. */
enum memmgr_failure machine_memory_failure(struct machine *m, char *detail, size_t size);

/* Who merges the guest's pages with equal ones of others. */
enum machine_merger {
	MACHINE_MERGER_NONE,
	MACHINE_MERGER_PAGODA, /* the scanner (dedup/scanner.h) and pagodad */
	MACHINE_MERGER_KSM,    /* the kernel */
};
const char *machine_merger_name(enum machine_merger merger); /* "none", "pagoda", "ksm" */
struct machine_dedup_info {
	enum machine_merger merger;
	bool connected;    /* now: to pagodad; with KSM: ksmd runs */
	char trouble[240]; /* why not, or why nothing is merged; "" */
	/* Of Pagoda's; else NULL, and zero. */
	const char *socket, *domain, *guest;
	int node; /* of the host, whose pages alone are shared where the daemon keeps nodes apart; -1: none or several */
	struct scanner_settings settings;
	struct scanner_stats stats;
	/* Of KSM's. */
	struct ksm_stats ksm;
};
void machine_dedup_info(struct machine *m, struct machine_dedup_info *info);
/* Returns 0, -EINVAL with a sentence and nothing changed, or -ENOTSUP with one when the guest has no scanner. */
int machine_dedup_configure(struct machine *m, const struct scanner_settings *settings, struct error *err);

/*
 * The balloon (balloon/balloon.h), as monitors use it. Without one all return -ENXIO with a sentence. Memory is what the guest has left, in
 * bytes: all but what is in its balloon.
 */
struct machine_balloon_info {
	const char *id; /* of the -device, or NULL */
	uint64_t memory_bytes, actual_bytes, target_bytes;
	struct balloon_info device;
};
int machine_balloon_info(struct machine *m, struct machine_balloon_info *info, struct error *err);
/* More than the guest's memory is all of it. -EINVAL for 0. */
int machine_balloon_set(struct machine *m, uint64_t bytes, struct error *err);
int machine_balloon_set_polling(struct machine *m, uint32_t seconds, struct error *err);
int machine_balloon_hint(struct machine *m, struct error *err);

/* By its number in the configuration. */
struct chardev *machine_chardev(const struct machine *m, unsigned index);

/* What listeners (monitors) hear. Names and data are QMP's. */
enum machine_event {
	MACHINE_EVENT_SHUTDOWN, /* guest = the guest asked; reason */
	MACHINE_EVENT_POWERDOWN,
	MACHINE_EVENT_RESET, /* guest, reason */
	MACHINE_EVENT_STOP,
	MACHINE_EVENT_RESUME,
	MACHINE_EVENT_GUEST_PANICKED,
	MACHINE_EVENT_BLOCK_IO_ERROR,
	MACHINE_EVENT_MEMORY_ERROR,   /* reason as memmgr_failure_name(), detail, stops */
	MACHINE_EVENT_BALLOON_CHANGE, /* bytes: what the guest has left; at most once a second */
};
struct machine_event_info {
	enum machine_event event;
	bool guest;
	const char *reason; /* "guest-shutdown", "guest-reset", "host-qmp-quit", "host-qmp-system-reset", "host-signal" ... */
	const char *device; /* for I/O errors */
	const char *detail;
	bool stops; /* the guest is stopped for it */
	uint64_t bytes;
};
struct machine_listener {
	void (*notify)(struct machine_listener *self, const struct machine_event_info *info);
	struct machine_listener *next;
};
void machine_listen(struct machine *m, struct machine_listener *listener);
void machine_unlisten(struct machine *m, struct machine_listener *listener);

#endif
