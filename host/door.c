/* See door.h. */
#include "host/door.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unix_socket.h"

#define BACKLOG 64

static int group_of(const char *name, gid_t *gid, struct error *err)
{
	char buffer[16384];
	struct group group, *found = NULL;
	int ret = getgrnam_r(name, &group, buffer, sizeof(buffer), &found);
	if (!found)
		return error_set(err, ret ? ret : ENOENT, "--group %s: there is no such group; make it with groupadd", name);
	*gid = group.gr_gid;
	return 0;
}

int door_open(const char *option, const char *path, unsigned mode, const char *group, struct error *err)
{
	gid_t gid = 0;
	int ret = group ? group_of(group, &gid, err) : 0;
	if (ret)
		return ret;
	unlink(path);
	int fd = unix_socket_listen(path, SOCK_STREAM | SOCK_NONBLOCK, BACKLOG);
	if (fd == -ENAMETOOLONG)
		return error_set(err, ENAMETOOLONG, "%s: %s is longer than a socket's path may be", option, path);
	if (fd >= 0 && ((group && chown(path, (uid_t)-1, gid) < 0) || chmod(path, mode) < 0)) {
		ret = -errno;
		close(fd);
		fd = ret;
	}
	return fd < 0 ? error_set(err, -fd, "%s: %s", path, strerror(-fd)) : fd;
}
