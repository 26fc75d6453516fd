/* See service_manager.h. The two protocols are a few lines each, and stable by promise; libsystemd would bring compression and cryptography along. */
#include "host/service_manager.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

#define FIRST_FD 3
#define MOST_FDS 16

/* Which of names stands there up to a colon or the end. */
static int index_of(const char *at, size_t len, const char *const names[], unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		if (strlen(names[i]) == len && !memcmp(names[i], at, len))
			return (int)i;
	return -1;
}

int service_manager_sockets(const char *const names[], int fds[], unsigned nr, struct error *err)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS"), *at = getenv("LISTEN_FDNAMES");
	long there = count ? strtol(count, NULL, 10) : 0;
	int ret = 0;
	for (unsigned i = 0; i < nr; i++)
		fds[i] = -1;
	if (!pid || strtol(pid, NULL, 10) != getpid())
		there = 0;
	for (int fd = FIRST_FD; ret == 0 && fd < FIRST_FD + there && fd < FIRST_FD + MOST_FDS; fd++) {
		size_t len = at ? strcspn(at, ":") : 0;
		int i = at ? index_of(at, len, names, nr) : -1;
		if (i < 0 || fds[i] >= 0)
			ret = error_set(err, EINVAL,
					"socket activation: descriptor %d has the name \"%.*s\"; set FileDescriptorName", fd,
					(int)len, at ? at : "");
		else if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
			ret = error_set(err, errno, "socket activation: descriptor %d: %s", fd, strerror(errno));
		else
			fds[i] = fd;
		at = at && at[len] ? at + len + 1 : NULL;
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return ret;
}

void service_manager_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, strlen(path));
	if (*path == '@')
		address.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, len) < 0)
		log_warning("the service manager cannot be told %s: %s", state, strerror(errno));
	if (fd >= 0)
		close(fd);
}
