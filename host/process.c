/* See process.h. */
#include "host/process.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD /* Linux 6.5 */
#define SO_PEERPIDFD 77
#endif

/* The 22nd field of /proc/PID/stat; the second is a name in parentheses that may hold anything. */
static int read_start(pid_t pid, uint64_t *start)
{
	char path[32], text[1024];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return -ESRCH;
	size_t len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = '\0';
	char *at = strrchr(text, ')');
	for (unsigned field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return -EPROTO;
	*start = strtoull(at + 1, NULL, 10);
	return 0;
}

static bool has_ended(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	return poll(&p, 1, 0) > 0;
}

/* As long as the pidfd has not become readable, the number is still that process's, and so was what we read. */
static int complete(struct process *p)
{
	int ret = read_start(p->pid, &p->start);
	if (ret == 0 && has_ended(p->fd))
		ret = -ESRCH;
	if (ret)
		process_close(p);
	return ret;
}

int process_of_peer(int socket_fd, struct process *p)
{
	struct ucred who;
	socklen_t len = sizeof(who);
	*p = (struct process){.fd = -1};
	if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return -errno;
	p->pid = who.pid;
	p->uid = who.uid;
	len = sizeof(p->fd);
	if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERPIDFD, &p->fd, &len) < 0) {
		p->fd = -1;
		return -errno;
	}
	return complete(p);
}

int process_find(pid_t pid, uint64_t start, struct process *p)
{
	*p = (struct process){.pid = pid};
	p->fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p->fd < 0)
		return -errno;
	int ret = complete(p);
	if (ret == 0 && p->start != start) {
		process_close(p);
		ret = -ESRCH;
	}
	return ret;
}

int process_of_child(pid_t pid, struct process *p)
{
	*p = (struct process){.pid = pid, .uid = geteuid()};
	p->fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p->fd < 0)
		return -errno;
	/* It may have ended: then it is a zombie, whose start can be read all the same. */
	int ret = read_start(pid, &p->start);
	if (ret)
		process_close(p);
	return ret;
}

int process_find_self(struct process *p)
{
	*p = (struct process){.pid = getpid(), .uid = geteuid(), .fd = -1};
	return read_start(p->pid, &p->start);
}

void process_close(struct process *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}
