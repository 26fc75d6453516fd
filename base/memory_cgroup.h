/*
 * A control group of memory, version 1 or 2 (Linux, Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst): the way to make the kernel reclaim from some processes,
 * by its own order of what was used last, which nothing else tells user space about.
 *
 * The daemon gives each VMM whose cold pages the kernel keeps a group of its own; the VMM finds that it is alone in it, and reclaims there.
 */
#ifndef BASE_MEMORY_CGROUP_H
#define BASE_MEMORY_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define MEMORY_CGROUP_SHARED "pagoda-shared" /* that many VMMs are in */

struct memory_cgroup {
	int dir_fd;  /* -1: none */
	int version; /* 1 or 2 */
};

/*
 * Where a process's group is, from the text of its /proc/PID/cgroup and /proc/PID/mountinfo: a path of at most size - 1 bytes, and below it *top, the path
 * of the hierarchy's mount point. Returns the version, or -ENOENT when it has none that is mounted, -ENAMETOOLONG, or -EPROTO for text that makes no sense.
 */
int memory_cgroup_locate(FILE *cgroup, FILE *mountinfo, char *path, char *top, size_t size);

/* The calling process's own. Returns 0 or -errno. */
int memory_cgroup_open_own(struct memory_cgroup *group);
/*
 * A group for children's groups: version 1: our own, or the one above it if that is the shared one; version 2, where groups that have processes have no children: "pagoda" at the top, which is made. Returns 0 or -errno.
 */
int memory_cgroup_open_parent(struct memory_cgroup *group);
/* Makes the child if it is not there, and lets the kernel swap from it as it likes. name: one component. Returns 0 or -errno. */
int memory_cgroup_make(const struct memory_cgroup *parent, const char *name, struct memory_cgroup *child);
/* Of a child without processes; one that has some stays. Returns 0 or -errno. */
int memory_cgroup_remove(const struct memory_cgroup *parent, const char *name);
void memory_cgroup_close(struct memory_cgroup *group);

/* Moves the calling process there; only async-signal-safe calls. Returns 0 or -errno. */
int memory_cgroup_enter(const struct memory_cgroup *group);
/* Whether the calling process is the only one there, and there are no children: what is reclaimed is its own. */
bool memory_cgroup_is_ours_alone(const struct memory_cgroup *group);
/*
 * Makes the kernel take that many bytes away, which this thread waits for. Returns bytes that have gone, 0 when nothing can be taken, or -errno (-EACCES: not
 * allowed, -EOPNOTSUPP: a kernel before 5.19).
 */
int64_t memory_cgroup_reclaim(const struct memory_cgroup *group, uint64_t bytes);

#endif
