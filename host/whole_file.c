/*
 * See whole_file.h.
 *
 *   write NAME.new --> fsync it --> rename it over NAME --> fsync the directory
 *
 * 1. A name leads to bytes that are on the disk: fsync comes before rename.
 * 2. Success is told only after the directory is on the disk.
 * 3. After a failure NAME.new is removed: a full disk is not filled further. One that is left by a loss of power is overwritten next time.
 */
#include "host/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES 256

static int sync_directory(int dir_fd)
{
	return fsync(dir_fd) < 0 ? -errno : 0;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t put = write(fd, data, len);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? -errno : -EIO;
		data += put;
		len -= (size_t)put;
	}
	return 0;
}

int whole_file_write(int dir_fd, const char *name, const void *data, size_t len)
{
	char fresh[NAME_BYTES];
	if (snprintf(fresh, sizeof(fresh), "%s.new", name) >= NAME_BYTES)
		return -ENAMETOOLONG;
	int fd = openat(dir_fd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	int ret = write_all(fd, data, len);
	if (ret == 0 && fsync(fd) < 0)
		ret = -errno;
	if (close(fd) < 0 && ret == 0)
		ret = -errno;
	if (ret == 0 && renameat(dir_fd, fresh, dir_fd, name) < 0)
		ret = -errno;
	if (ret) {
		unlinkat(dir_fd, fresh, 0);
		return ret;
	}
	return sync_directory(dir_fd);
}

int whole_file_read(int dir_fd, const char *name, size_t max, char **data, size_t *len)
{
	struct stat st;
	size_t got = 0;
	int ret = 0;
	/* Somebody may have put a pipe there. */
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		ret = -errno;
	else if (!S_ISREG(st.st_mode))
		ret = -EINVAL;
	else if (st.st_size < 0 || (uint64_t)st.st_size > max)
		ret = -EFBIG;
	char *buffer = ret == 0 ? malloc((size_t)st.st_size + 1) : NULL;
	if (ret == 0 && !buffer)
		ret = -ENOMEM;
	while (ret == 0 && got < (size_t)st.st_size) {
		ssize_t n = read(fd, buffer + got, (size_t)st.st_size - got);
		if (n < 0 && errno != EINTR)
			ret = -errno;
		else if (n == 0)
			break; /* it has become shorter */
		else if (n > 0)
			got += (size_t)n;
	}
	close(fd);
	if (ret) {
		free(buffer);
		return ret;
	}
	buffer[got] = '\0';
	*data = buffer;
	*len = got;
	return 0;
}

int whole_file_remove(int dir_fd, const char *name)
{
	if (unlinkat(dir_fd, name, 0) < 0)
		return -errno;
	return sync_directory(dir_fd);
}

int whole_file_rename(int dir_fd, const char *from, const char *to)
{
	if (renameat(dir_fd, from, dir_fd, to) < 0)
		return -errno;
	return sync_directory(dir_fd);
}
