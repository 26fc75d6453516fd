/* See vsock_host.h. */
#include "virtio/vsock_host.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

static int make_address(struct sockaddr_un *address, const char *path, const char *suffix)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	int len = snprintf(address->sun_path, sizeof(address->sun_path), "%s%s", path, suffix);
	return len < 0 || (size_t)len >= sizeof(address->sun_path) ? -ENAMETOOLONG : 0;
}

static int make_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int connect_to(const struct sockaddr_un *address)
{
	int fd = make_socket();
	if (fd < 0)
		return fd;
	/* A unix socket connects at once or not at all. */
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address))) {
		int ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

/* Whether path is a socket that nobody serves. */
static bool is_stale(const struct sockaddr_un *address)
{
	struct stat st;
	if (lstat(address->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	int fd = connect_to(address);
	if (fd >= 0)
		close(fd);
	return fd == -ECONNREFUSED;
}

int vsock_host_listen(const char *name, const char *path, struct error *err)
{
	struct sockaddr_un address;
	int ret = make_address(&address, path, "");
	if (ret)
		return error_set(err, -ret, "%s: the path %s is too long for a socket", name, path);
	int fd = make_socket();
	if (fd < 0)
		return error_set(err, -fd, "%s: cannot make a unix socket: %s", name, strerror(-fd));
	if (is_stale(&address))
		unlink(path);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address))) {
		ret = error_set(err, errno, "%s: cannot bind %s: %s%s", name, path, strerror(errno),
				errno == EADDRINUSE ? "; another process has it, or it is not a socket: choose another path" : "");
		goto close_fd;
	}
	if (listen(fd, BACKLOG)) {
		ret = error_set(err, errno, "%s: cannot listen at %s: %s", name, path, strerror(errno));
		goto unlink_path;
	}
	return fd;

unlink_path:
	unlink(path);
close_fd:
	close(fd);
	return ret;
}

int vsock_host_accept(int listen_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int vsock_host_connect(const char *path, uint32_t port)
{
	char suffix[16];
	snprintf(suffix, sizeof(suffix), "_%u", port);
	struct sockaddr_un address;
	int ret = make_address(&address, path, suffix);
	return ret ? ret : connect_to(&address);
}
