/* See unix_socket.h. */
#include "base/unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int unix_socket_address(const char *path, struct sockaddr_un *address)
{
	size_t len = strlen(path);
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memcpy(address->sun_path, path, len);
	return 0;
}

int unix_socket_connect(const char *path, int flags)
{
	struct sockaddr_un address;
	int ret = unix_socket_address(path, &address);
	if (ret)
		return ret;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

int unix_socket_listen(const char *path, int type, int backlog)
{
	struct sockaddr_un address;
	int ret = unix_socket_address(path, &address);
	if (ret)
		return ret;
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	mode_t before = umask(0177);
	ret = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(before);
	if (ret == 0 && listen(fd, backlog) < 0) {
		ret = -errno;
		unlink(path);
	}
	if (ret == 0)
		return fd;
	close(fd);
	return ret;
}
