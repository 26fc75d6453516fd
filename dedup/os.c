/* See os.h. */
#include "dedup/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL /* Linux 6.3 */
#define MFD_NOEXEC_SEAL 0x0008U
#endif

int dedup_memfd_kernel(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

__attribute__((weak)) int dedup_memfd(const char *name)
{
	return dedup_memfd_kernel(name);
}

int dedup_set_size_kernel(int fd, off_t size)
{
	return ftruncate(fd, size) < 0 ? -errno : 0;
}

__attribute__((weak)) int dedup_set_size(int fd, off_t size)
{
	return dedup_set_size_kernel(fd, size);
}

void *dedup_map_kernel(int fd, size_t len, off_t at)
{
	void *start = mmap(NULL, len, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, at);
	return start == MAP_FAILED ? NULL : start;
}

__attribute__((weak)) void *dedup_map(int fd, size_t len, off_t at)
{
	return dedup_map_kernel(fd, len, at);
}

int dedup_write_at_kernel(int fd, const void *data, size_t len, off_t at)
{
	const char *from = data;
	while (len) {
		ssize_t done = pwrite(fd, from, len, at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		from += done;
		at += done;
		len -= (size_t)done;
	}
	return 0;
}

__attribute__((weak)) int dedup_write_at(int fd, const void *data, size_t len, off_t at)
{
	return dedup_write_at_kernel(fd, data, len, at);
}

int dedup_read_at_kernel(int fd, void *data, size_t len, off_t at)
{
	char *to = data;
	while (len) {
		ssize_t done = pread(fd, to, len, at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		to += done;
		at += done;
		len -= (size_t)done;
	}
	return 0;
}

__attribute__((weak)) int dedup_read_at(int fd, void *data, size_t len, off_t at)
{
	return dedup_read_at_kernel(fd, data, len, at);
}

int dedup_reopen_kernel(int fd, int flags)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int again = open(path, flags | O_CLOEXEC);
	return again < 0 ? -errno : again;
}

__attribute__((weak)) int dedup_reopen(int fd, int flags)
{
	return dedup_reopen_kernel(fd, flags);
}

ssize_t dedup_send_kernel(int fd, const struct msghdr *message)
{
	ssize_t sent;
	do {
		sent = sendmsg(fd, message, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

__attribute__((weak)) ssize_t dedup_send(int fd, const struct msghdr *message)
{
	return dedup_send_kernel(fd, message);
}

ssize_t dedup_receive_kernel(int fd, struct msghdr *message)
{
	ssize_t got;
	do {
		got = recvmsg(fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

__attribute__((weak)) ssize_t dedup_receive(int fd, struct msghdr *message)
{
	return dedup_receive_kernel(fd, message);
}
