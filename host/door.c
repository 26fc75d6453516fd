/* See door.h. */
#include "host/door.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

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
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	gid_t gid = 0;
	int ret = group ? group_of(group, &gid, err) : 0;
	if (ret)
		return ret;
	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, ENAMETOOLONG, "%s: %s is longer than a socket's path may be", option, path);
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	unlink(path);
	mode_t before = umask(0177);
	ret = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(before);
	if (ret == 0 && ((group && chown(path, (uid_t)-1, gid) < 0) || chmod(path, mode) < 0 || listen(fd, BACKLOG) < 0))
		ret = -errno;
	if (ret) {
		close(fd);
		return error_set(err, -ret, "%s: %s", path, strerror(-ret));
	}
	return fd;
}
