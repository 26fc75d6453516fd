/* See vsock_host.h. */
#include "virtio/vsock_host.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unix_socket.h"

#define BACKLOG 64

/* Whether path is a socket that nobody serves. */
static bool is_stale(const char *path)
{
	struct stat st;
	if (lstat(path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	int fd = unix_socket_connect(path, SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	return fd == -ECONNREFUSED;
}

int vsock_host_listen(const char *name, const char *path, struct error *err)
{
	struct sockaddr_un address;
	int ret = unix_socket_address(path, &address);
	if (ret)
		return error_set(err, -ret, "%s: the path %s is too long for a socket", name, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(err, errno, "%s: cannot make a unix socket: %s", name, strerror(errno));
	if (is_stale(path))
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
	char of_port[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int len = snprintf(of_port, sizeof(of_port), "%s_%u", path, port);
	return len < (int)sizeof(of_port) ? unix_socket_connect(of_port, SOCK_NONBLOCK) : -ENAMETOOLONG;
}
