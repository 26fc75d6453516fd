/*
 * The control group in common of guests whose cold pages the kernel keeps (guest_group.h), unless they have a minimum, a maximum or shares of their own: the kernel takes pages from all of them as from
 * one, those that were used longest ago, and no guest pays for a target that is less than it uses just now while others have idle pages.
 *
 *   arbiter: what they use together - the sum of their targets ──> shared_group_ask() ──> a thread ──> memory_cgroup_reclaim()
 *
 * It lasts longer than the daemon, which finds it again. With version 1 of control groups the daemon is in it, too, and so is the pool of equal pages.
 */
#ifndef HOST_SHARED_GROUP_H
#define HOST_SHARED_GROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/memory_cgroup.h"

struct shared_group;

/* Makes it, or finds it, and starts the thread, which sleeps. Returns 0 or -errno: no such groups here, not allowed, no memory. */
int shared_group_create(struct shared_group **group);
/* Waits for what the thread is at: milliseconds, seconds with a slow disk. NULL is allowed. */
void shared_group_destroy(struct shared_group *group);

/* Where a VMM is to go. */
const struct memory_cgroup *shared_group_dir(const struct shared_group *group);
/* Whether a process is there. */
bool shared_group_has(pid_t pid);
/* Takes so many bytes of memory from them, soon. What was asked before and is not done yet is forgotten. */
void shared_group_ask(struct shared_group *group, uint64_t bytes);

#endif
