/* See uffd.h. */
#include "memmgr/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "memmgr/guest_ram.h"
#include "memmgr/os.h"
#include "memmgr/uffd_abi.h"

enum { MAX_MESSAGES = 32, PAGEMAP_TRIES = 100 };

static int open_any(void)
{
	int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (device >= 0) {
		int fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC);
		int ret = fd < 0 ? -errno : fd;
		close(device);
		if (ret >= 0)
			return ret;
	}
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int uffd_open(struct error *err)
{
	int fd = open_any();
	if (fd == -EPERM || fd == -EACCES)
		return error_set(err, EPERM,
				 "userfaultfd: %s; let this user open /dev/userfaultfd, or set vm.unprivileged_userfaultfd=1",
				 strerror(-fd));
	if (fd < 0)
		return error_set(err, -fd, "userfaultfd: %s; the kernel must be Linux 6.8 or newer with CONFIG_USERFAULTFD",
				 strerror(-fd));
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_MOVE | UFFD_FEATURE_THREAD_ID,
	};
	int ret = mem_ioctl(fd, UFFDIO_API, &api);
	if (ret == 0)
		return fd;
	close(fd);
	if (ret == -EINVAL)
		return error_set(err, ENOSYS,
				 "userfaultfd: this kernel cannot move pages (UFFDIO_MOVE); Linux 6.8 or newer is needed");
	return error_set(err, -ret, "userfaultfd: UFFDIO_API: %s", strerror(-ret));
}

int uffd_open_waiting(void)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM};
	int fd = open_any();
	if (fd < 0)
		return fd;
	int ret = mem_ioctl(fd, UFFDIO_API, &api);
	if (ret == 0)
		return fd;
	close(fd);
	return ret;
}

int uffd_protect(int fd, void *start, uint64_t len)
{
	struct uffdio_register range = {.range = {(uint64_t)(uintptr_t)start, len}, .mode = UFFDIO_REGISTER_MODE_WP};
	struct uffdio_writeprotect protect = {.range = range.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
	int ret = mem_ioctl(fd, UFFDIO_REGISTER, &range);
	if (ret)
		return ret;
	ret = mem_ioctl(fd, UFFDIO_WRITEPROTECT, &protect);
	if (ret)
		uffd_unprotect(fd, start, len);
	return ret;
}

/* The kernel may lack memory to take a registration from a part of a mapping. Then it stays, and holds nobody. */
static void unprotect_pages(int fd, void *start, uint64_t len)
{
	for (uint64_t at = 0; at < len; at += GUEST_PAGE_SIZE) {
		struct uffdio_writeprotect protect = {.range = {(uint64_t)(uintptr_t)start + at, GUEST_PAGE_SIZE}};
		mem_ioctl(fd, UFFDIO_WRITEPROTECT, &protect); /* -ENOENT of those that are registered no more */
	}
}

void uffd_unprotect(int fd, void *start, uint64_t len)
{
	if (uffd_unregister(fd, start, len) != 0)
		unprotect_pages(fd, start, len);
	/* Unregistering wakes only who waits for missing pages (Linux 6.18, fs/userfaultfd.c). */
	uffd_wake(fd, start, len);
}

int uffd_register(int fd, void *start, uint64_t len, enum uffd_mode mode)
{
	struct uffdio_register arg = {
		.range = {(uint64_t)(uintptr_t)start, len},
		.mode = UFFDIO_REGISTER_MODE_WP | (mode == UFFD_TRACK_MISSING ? UFFDIO_REGISTER_MODE_MISSING : 0),
	};
	return mem_ioctl(fd, UFFDIO_REGISTER, &arg);
}

int uffd_unregister(int fd, void *start, uint64_t len)
{
	struct uffdio_range arg = {(uint64_t)(uintptr_t)start, len};
	return mem_ioctl(fd, UFFDIO_UNREGISTER, &arg);
}

int uffd_read(int fd, struct uffd_fault *faults, unsigned max)
{
	struct uffd_msg messages[MAX_MESSAGES];
	if (max > MAX_MESSAGES)
		max = MAX_MESSAGES;
	ssize_t got = read(fd, messages, max * sizeof(messages[0]));
	if (got < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	int nr = 0;
	for (size_t i = 0; i < (size_t)got / sizeof(messages[0]); i++) {
		if (messages[i].event != UFFD_EVENT_PAGEFAULT)
			continue;
		faults[nr++] = (struct uffd_fault){
			.hva = messages[i].arg.pagefault.address & ~4095ull,
			.is_write = messages[i].arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE,
			.thread_id = (int)messages[i].arg.pagefault.feat.ptid,
		};
	}
	return nr;
}

/* Documentation/admin-guide/mm/pagemap.rst: bit 63, present; bit 62, swapped. */
#define PAGEMAP_THERE (3ull << 62)

static void read_pagemap(int pagemap, const void *at, uint64_t entries[], uint32_t nr)
{
	off_t offset = (off_t)((uintptr_t)at / GUEST_PAGE_SIZE * sizeof(*entries));
	for (unsigned tries = 0; tries < PAGEMAP_TRIES; tries++)
		if (pread(pagemap, entries, nr * sizeof(*entries), offset) == (ssize_t)(nr * sizeof(*entries)))
			return;
	/* Whatever is said now may be wrong, and so may be bytes of the guest. */
	log_error("guest memory: /proc/self/pagemap cannot be read: %s", strerror(errno));
	abort();
}

static bool is_there(int pagemap, const void *at)
{
	uint64_t entry;
	read_pagemap(pagemap, at, &entry, 1);
	return entry & PAGEMAP_THERE;
}

uint32_t uffd_are_there(int pagemap, const void *at, uint32_t nr)
{
	uint64_t entries[64];
	uint32_t n = 0;
	while (n < nr) {
		uint32_t most = nr - n < 64 ? nr - n : 64, i = 0;
		read_pagemap(pagemap, (const uint8_t *)at + (uint64_t)n * GUEST_PAGE_SIZE, entries, most);
		while (i < most && entries[i] & PAGEMAP_THERE)
			i++;
		n += i;
		if (i < most)
			break;
	}
	return n;
}

/* Bytes from done on that have been moved, too. */
static uint64_t untold(int pagemap, const uint8_t *to, const uint8_t *from, uint64_t done, uint64_t len)
{
	uint64_t end = done;
	while (end < len && !is_there(pagemap, from + end) && is_there(pagemap, to + end))
		end += GUEST_PAGE_SIZE;
	return end - done;
}

int64_t uffd_move(int fd, int pagemap, void *to, const void *from, uint64_t len, bool wake)
{
	struct uffdio_move arg = {
		.dst = (uint64_t)(uintptr_t)to,
		.src = (uint64_t)(uintptr_t)from,
		.len = len,
		.mode = wake ? 0 : UFFDIO_MOVE_MODE_DONTWAKE,
	};
	int ret = mem_ioctl(fd, UFFDIO_MOVE, &arg);
	if (ret == -EINVAL && len > GUEST_PAGE_SIZE)
		return uffd_move(fd, pagemap, to, from, GUEST_PAGE_SIZE, wake); /* more than one mapping */
	if (ret == 0)
		return (int64_t)len;
	/* Part of it: EAGAIN with what was done. */
	uint64_t done = arg.move > 0 ? (uint64_t)arg.move : 0;
	if (!done && ret != -EEXIST)
		return ret;
	uint64_t more = untold(pagemap, to, from, done, len);
	if (more && wake)
		uffd_wake(fd, (uint8_t *)to + done, more);
	return done + more ? (int64_t)(done + more) : ret;
}

int64_t uffd_copy(int fd, void *to, const void *from, uint64_t len, bool wake)
{
	struct uffdio_copy arg = {
		.dst = (uint64_t)(uintptr_t)to,
		.src = (uint64_t)(uintptr_t)from,
		.len = len,
		.mode = wake ? 0 : UFFDIO_COPY_MODE_DONTWAKE,
	};
	int ret = mem_ioctl(fd, UFFDIO_COPY, &arg);
	if (ret == -ENOENT && len > GUEST_PAGE_SIZE)
		return uffd_copy(fd, to, from, GUEST_PAGE_SIZE, wake); /* more than one mapping */
	if (ret == 0)
		return (int64_t)len;
	return arg.copy > 0 ? arg.copy : ret;
}

int uffd_zero(int fd, void *to, uint64_t len, bool wake)
{
	struct uffdio_zeropage arg = {
		.range = {(uint64_t)(uintptr_t)to, len},
		.mode = wake ? 0 : UFFDIO_ZEROPAGE_MODE_DONTWAKE,
	};
	return mem_ioctl(fd, UFFDIO_ZEROPAGE, &arg);
}

int uffd_wake(int fd, void *start, uint64_t len)
{
	struct uffdio_range arg = {(uint64_t)(uintptr_t)start, len};
	return mem_ioctl(fd, UFFDIO_WAKE, &arg);
}
