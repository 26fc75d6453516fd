/*
 * A process, one that we did not start as well: watched by a pidfd, recognized after a restart by its number and the time when it started. A number alone
 * may belong to another by then.
 */
#ifndef HOST_PROCESS_H
#define HOST_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
	pid_t pid;
	uid_t uid;
	uint64_t start; /* ticks after boot, see proc(5): starttime */
	int fd;         /* a pidfd, readable when the process has ended; -1: none */
};

/* Who has connected to our end of a unix socket. The caller closes it. Returns 0 or -errno. */
int process_of_peer(int socket_fd, struct process *p);
/* One that was written down. Returns 0, -ESRCH if it has ended (or its number is another's), or -errno. */
int process_find(pid_t pid, uint64_t start, struct process *p);
/* A child of ours that nobody has waited for. Returns 0 or -errno. */
int process_of_child(pid_t pid, struct process *p);
/* Ourselves, without a pidfd. Returns 0 or -errno. */
int process_find_self(struct process *p);
void process_close(struct process *p);

#endif
