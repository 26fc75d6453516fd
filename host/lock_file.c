/* See lock_file.h. */
#include "host/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#define TRY_MS 10

int lock_file_take(int dir_fd, const char *name, unsigned patience_ms)
{
	int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int ret = -errno;
		if ((errno != EWOULDBLOCK && errno != EINTR) || patience_ms < TRY_MS) {
			close(fd);
			return ret;
		}
		patience_ms -= TRY_MS;
		usleep(TRY_MS * 1000);
	}
	return fd;
}
