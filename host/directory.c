/* See directory.h. */
#include "host/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int make(const char *path, unsigned mode)
{
	char *parent = strdup(path);
	int ret = parent ? 0 : -ENOMEM;
	for (char *slash = parent ? strchr(parent + 1, '/') : NULL; ret == 0 && slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(parent, 0755) < 0 && errno != EEXIST)
			ret = -errno;
		*slash = '/';
	}
	free(parent);
	if (ret == 0 && mkdir(path, mode) < 0 && errno != EEXIST)
		ret = -errno;
	return ret;
}

int directory_open(const char *option, const char *path, unsigned mode, struct error *err)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = 0;
	if (fd < 0 && errno == ENOENT) {
		ret = make(path, mode);
		if (ret)
			return error_set(err, -ret, "%s %s: cannot be made: %s", option, path, strerror(-ret));
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0)
		return error_set(err, errno, "%s %s: %s", option, path, strerror(errno));
	if (fstat(fd, &st) < 0)
		ret = error_set(err, errno, "%s %s: %s", option, path, strerror(errno));
	else if (st.st_uid != geteuid() || st.st_mode & 022)
		ret = error_set(
			err, EPERM,
			"%s %s: others than the daemon may write there, and so make it do what they like; chown it to the daemon's "
			"user and chmod %o it",
			option, path, mode);
	if (ret) {
		close(fd);
		return ret;
	}
	return fd;
}
