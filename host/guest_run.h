/*
 * The process of a guest's VMM: how it is started, found again by the next daemon, and how it ended. The VMM is in a session of its own, and
 * what must be known of it lies in the guest's run directory, so that the daemon may end at any moment:
 *
 *   lock      held from before the fork until the VMM is executed
 *   run       "PID START": written by the child itself before that, so that whoever has the lock knows whether there is a VMM
 *   pid       the VMM's own; it removes it when it ends by itself. If it is there without the process, the VMM was killed
 *   started   the definition that it runs with
 *   stopping  "DEADLINE FORCED": a stop is under way, see guest.c
 *   ended     how the last one ended: "stopped" or "crashed", a space, why
 *   qmp, console   its sockets, which the daemon makes and the VMM inherits
 */
#ifndef HOST_GUEST_RUN_H
#define HOST_GUEST_RUN_H

#include "host/definition.h"
#include "host/guest_words.h"
#include "host/process.h"

struct guest_run {
	char *path; /* the run directory */
	int dir_fd;
};

/* Makes the directory if it is missing. Returns 0 or -errno with a sentence. */
int guest_run_open(const char *parent, const char *name, struct guest_run *run, struct error *err);
void guest_run_close(struct guest_run *run);

/*
 * Starts a VMM. places: all but pidfile and the sockets are given. log_fd: where its messages go. *words: its command line, new. *failure_fd: readable once the VMM
 * is executed (end of file), or could not be (guest_run_failure() says why). Returns 0 or -errno with a sentence; -EBUSY if there is one.
 */
int guest_run_start(struct guest_run *run, const struct definition *definition, struct guest_places *places, int log_fd,
		    struct process *process, json_t **words, int *failure_fd, struct error *err);
/* Returns 0 when the VMM was executed, or -errno with a sentence. */
int guest_run_failure(int failure_fd, const char *vmm, struct error *err);

/*
 * The VMM that a daemon before has started. Returns 0, -ESRCH if there is none that lives, or -errno with a sentence. *was: whether there has been one, which
 * has ended since.
 */
int guest_run_find(struct guest_run *run, struct process *process, bool *was, struct error *err);
/* Whether the VMM ended by itself: for one that has ended. */
bool guest_run_was_clean(const struct guest_run *run);
/* Forgets the process that has ended, and says how. */
void guest_run_ended(struct guest_run *run, const char *how);

/* Small files in the directory, not longer than 1 MiB. guest_run_get() returns a new string, or NULL. put returns 0 or -errno. */
char *guest_run_get(const struct guest_run *run, const char *name);
int guest_run_put(const struct guest_run *run, const char *name, const char *text);
void guest_run_remove(const struct guest_run *run, const char *name);

#endif
