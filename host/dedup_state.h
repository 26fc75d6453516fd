/*
 * What the dedup service must know after a restart, in a directory of its own: the secret key of its hashes, and for each pool what its file is
 * known by and which processes may have slots of it mapped. It is written before such a process gets the pool; so a daemon that starts
 * again knows for whom it must wait before it frees anything.
 *
 *   lock     held by the daemon that runs
 *   key      32 random bytes
 *   pools    text, replaced as a whole:
 *                pool DOMAIN NODE INODE DEVICE BIRTH
 *                process PID START        (of the pool above)
 */
#ifndef HOST_DEDUP_STATE_H
#define HOST_DEDUP_STATE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "dedup/pool_file.h"
#include "dedup/protocol.h"

struct state_process {
	pid_t pid;
	uint64_t start;
};

struct state_pool {
	char domain[PROTOCOL_NAME_BYTES];
	int node;
	struct pool_identity identity;
	struct state_process *processes;
	size_t nr_processes;
};

struct dedup_state {
	int dir_fd, lock_fd;
	uint8_t key[32];
	struct state_pool *pools; /* as they were read */
	size_t nr_pools;
};

/*
 * Opens the directory (made if it is missing, for the owner alone), takes its lock, reads or makes the key, reads the pools. Returns 0 or
 * -errno with a sentence: -EBUSY if another daemon has it, -EPROTO if a file is damaged.
 */
int dedup_state_open(const char *directory, struct dedup_state *state, struct error *err);
void dedup_state_close(struct dedup_state *state);
/* Writes pools anew. Returns 0 or -errno; what was there before stays then. */
int dedup_state_save(const struct dedup_state *state, const struct state_pool pools[], size_t nr);

#endif
