/*
 * The guests of the host: what each is defined as, and what its VMM does. Everything happens in the loop's thread.
 *
 *   defined --guest_start()--> starting --its VMM answers--> running <--guest_pause(), guest_resume()--> paused
 *                              (without a VMM while it waits for memory: guest_start.c)
 *   starting, running, paused --guest_stop()--> stopping --its VMM ends--> stopped
 *   any with a VMM --the VMM ends unasked--> stopped if the guest powered itself off, else crashed; --its restart policy--> starting
 *
 * A daemon that starts finds guests in any of these states (guests_load()).
 */
#ifndef HOST_GUEST_H
#define HOST_GUEST_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "host/definition.h"
#include "host/definition_store.h"
#include "host/guest_qmp.h"
#include "host/guest_run.h"
#include "host/guest_stats.h"
#include "host/options.h"
#include "host/process.h"

enum guest_state {
	GUEST_DEFINED,
	GUEST_STARTING,
	GUEST_RUNNING,
	GUEST_PAUSED,
	GUEST_STOPPING,
	GUEST_STOPPED,
	GUEST_CRASHED,
};
const char *guest_state_name(enum guest_state state);

struct guest;
struct arbiter_seat;

/* Who waits for a guest to run, or to end. Belongs to the asker. */
struct guest_wait {
	/* Once. err->code is 0 when it has come so. */
	void (*done)(struct guest_wait *wait, struct guest *guest, const struct error *err);
	bool for_end;
	struct guest_wait *next;
};

struct shared_group;

struct guest {
	struct guests *guests;
	struct guest *next;            /* by name */
	struct definition *definition; /* as it is on disk */
	struct definition *started;    /* as its VMM was started, with what was changed since; NULL without a VMM */
	enum guest_state state;
	char reason[300];
	double since;           /* wall clock */
	double started_at;      /* clock_now_s(), when its VMM was started or found */
	struct guest_run run;   /* open while the daemon knows the guest */
	struct process process; /* fd -1: no VMM */
	ev_io exited, executed;
	int executed_fd;
	json_t *words; /* its command line; NULL for one that was found */
	struct guest_qmp qmp;
	struct guest_qmp_owner owner;
	struct guest_qmp_question status_question, page_question;
	bool asking_status, asking_page;
	struct guest_stats stats;
	uint64_t vmm_id;           /* never given to another VMM; rises */
	struct arbiter_seat *seat; /* the arbiter's of this VMM, or of one before; NULL: none */
	uint64_t target;           /* what its memory manager was told last; 0: no limit */
	bool shut_down;            /* it has said so */
	bool forced;               /* stopping: it was not left to the guest */
	ev_timer patience;         /* starting, stopping */
	ev_timer restart;
	ev_timer room;        /* active: it waits for memory, to be started */
	double room_until;    /* the loop's clock */
	uint64_t wait_number; /* who waits longer has a lower one */
	uint64_t image_bytes; /* that it takes at once when it starts: kernel and initial RAM disk. 0: it was found running */
	bool start_paused;
	unsigned restarts, failures; /* failures: in a row, for the pause before the next */
	struct guest_wait *waits;
	bool is_shared; /* its VMM is in the shared group */
	bool gone;      /* undefined */
};

/* Hears what happens. data belongs to the caller. */
struct guests_listener {
	void (*event)(struct guests_listener *listener, const char *event, const json_t *data);
	struct guests_listener *next;
};

struct guests {
	struct ev_loop *loop;
	const struct host_options *options;
	struct definition_store store;
	char *run_directory; /* RUN/guests */
	struct guest *first;
	struct guests_listener *listeners;
	struct shared_group *shared; /* NULL: no guest has needed it */
	uint64_t last_vmm_id, last_wait_number;
	uint64_t budget; /* bytes */
	/* Whether one more may be started: 0, or -EDQUOT with a sentence. The owner sets it before guests_load(). */
	int (*admit)(struct guests *guests, const struct definition *definition, struct error *err);
	/* Whether there is memory for image_bytes now; if not, some is made. The owner sets it, too. */
	bool (*has_room)(struct guests *guests, const struct guest *guest);
	/* Where it is to be: words for its VMM, to be freed. 0 or -errno with a sentence. The owner sets it, too. */
	int (*place)(struct guests *guests, struct guest *guest, const struct definition *definition, struct placement_words *words,
		     struct error *err);
	ev_timer sampler;
};

/* Opens directories. Returns 0 or -errno with a sentence. */
int guests_create(struct ev_loop *loop, const struct host_options *options, struct guests *guests, struct error *err);
/* Loads definitions, finds guests that run, starts those that are to be started with the daemon. Returns 0 or -errno with a sentence. */
int guests_load(struct guests *guests, struct error *err);
/* From now on, and as long as there are guests. */
void guests_listen(struct guests *guests, struct guests_listener *listener);
/* Lets go of all; VMMs go on. */
void guests_destroy(struct guests *guests);

/* By name or UUID. Returns NULL with a sentence (ESRCH) when there is none. */
struct guest *guests_find(struct guests *guests, const char *name, struct error *err);
/* What is in force: started while there is a VMM, else definition. */
const struct definition *guest_in_force(const struct guest *guest);
bool guest_has_vmm(const struct guest *guest);
/* It was told to start, and has no VMM yet. */
bool guest_waits_for_room(const struct guest *guest);

/*
 * All return 0, or -errno with a sentence: -ESRCH there is no such guest, -EEXIST there is, -EBADFD its state does not allow that, -EINVAL, -EDQUOT it does not fit in,
 * others: what the system said.
 */
int guests_define(struct guests *guests, const json_t *definition, bool replace, struct guest **guest, struct error *err);
int guest_undefine(struct guest *guest, struct error *err);
/* Gives a guest without a VMM another name. Its disks and its UUID stay. */
int guest_rename(struct guest *guest, const char *name, struct error *err);
/* For an administrator; policies start it otherwise. guest_wait() tells when it runs. */
int guest_start(struct guest *guest, bool paused, struct error *err);
/* Presses the power button, and ends the VMM after timeout seconds; 0: at once. */
int guest_stop(struct guest *guest, double timeout, struct error *err);
int guest_shutdown(struct guest *guest, struct error *err);
/* Changes members, see docs/API.md, "tune". *result: new. */
int guest_tune(struct guest *guest, const json_t *set, bool live, bool persistent, json_t **result, struct error *err);
/* Asks the VMM, for the asker. As guest_qmp_ask(), and -EBADFD where there is no VMM. */
int guest_ask(struct guest *guest, const char *command, const json_t *arguments, struct guest_qmp_question *question,
	      struct error *err);
/* The same, where nobody waits for the answer; an error of the VMM's is logged. */
int guest_order(struct guest *guest, const char *command, const json_t *arguments, struct error *err);
/* Tells its memory manager how much of the host's memory it may take. Returns as guest_ask(). */
int guest_set_target(struct guest *guest, uint64_t bytes, struct error *err);
/* done is called later, perhaps at once. */
void guest_wait(struct guest *guest, struct guest_wait *wait, bool for_end);
/* Forgets a wait; it is not told. */
void guest_forget_wait(struct guest *guest, struct guest_wait *wait);

/* --- guest.c, guest_life.c, guest_start.c --- */

void guest_announce(struct guest *guest, const char *event, json_t *more);
/* An event that is about no guest. Takes the reference. */
void guests_announce(struct guests *guests, const char *event, json_t *data);
void guest_enter(struct guest *guest, enum guest_state state, const char *reason);
/* Prepares what guest_start() needs. */
void guest_start_init(struct guest *guest);
/* Its process runs: watches it from now on. 0 or -errno with a sentence; then it has ended. */
int guest_watch_start(struct guest *guest, struct error *err);
/* It has ended, or could not be started: starts it again after a while, if its policy says so. */
void guest_plan_restart(struct guest *guest);
/* What guest_load() does with one: looks whether its VMM lives. */
void guest_adopt(struct guest *guest);
/* Stops watching; the VMM goes on. */
void guest_let_go(struct guest *guest);

#endif
