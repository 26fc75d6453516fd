/*
 * The doors of memmgr/os.h for tests of the whole memory manager: each may fail as the kernel's could, always, now and then, or once. Include it
 * once.
 */
#ifndef TESTS_UNIT_MEMMGR_DOORS_H
#define TESTS_UNIT_MEMMGR_DOORS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "memmgr/guest_ram.h"
#include "memmgr/os.h"

/* The kernel calls one of its structures as memmgr/page_table.h calls one of ours. */
#define page_region kernel_page_region
#include "memmgr/uffd_abi.h"
#undef page_region

enum door {
	DOOR_MOVE,
	DOOR_PART, /* of several pages only the first ones are moved or copied */
	DOOR_COPY,
	DOOR_ZERO,
	DOOR_REGISTER,
	DOOR_UNREGISTER,
	DOOR_SCAN,
	DOOR_API,
	DOOR_DISCARD, /* MADV_DONTNEED */
	DOOR_ADVICE,
	DOOR_CALLOC,
	DOOR_MAP,
	DOOR_OVER, /* mappings in place of others */
	DOOR_FALLOCATE,
	DOOR_OPEN,
	DOOR_RING,
	DOOR_SUBMIT,
	DOOR_READ,
	DOOR_WRITE,
	NR_DOORS,
};

/* What the kernel may say at each; 0 ends. */
static const int door_errors[NR_DOORS][4] = {
	[DOOR_MOVE] = {EAGAIN, EBUSY, ENOMEM},
	[DOOR_PART] = {EAGAIN},
	[DOOR_COPY] = {EAGAIN, ENOMEM},
	[DOOR_ZERO] = {EAGAIN, ENOMEM},
	[DOOR_REGISTER] = {ENOMEM},
	[DOOR_UNREGISTER] = {ENOMEM},
	[DOOR_SCAN] = {ENOMEM},
	[DOOR_API] = {EINVAL},
	[DOOR_DISCARD] = {ENOMEM, EAGAIN},
	[DOOR_ADVICE] = {ENOMEM, EINVAL, EAGAIN},
	[DOOR_CALLOC] = {ENOMEM},
	[DOOR_MAP] = {ENOMEM},
	[DOOR_OVER] = {ENOMEM},
	[DOOR_FALLOCATE] = {ENOSPC, EIO, EOPNOTSUPP},
	[DOOR_OPEN] = {EMFILE, EACCES},
	[DOOR_RING] = {ENOMEM, EMFILE},
	[DOOR_SUBMIT] = {EAGAIN, EINTR},
	[DOOR_READ] = {EIO, ENOMEM},
	[DOOR_WRITE] = {EIO, ENOSPC, ENOMEM},
};

static struct {
	atomic_uint per_mille; /* so many of 1000 calls fail */
	atomic_int error;      /* with this; 0: one of door_errors */
	atomic_ulong calls, failed;
} doors[NR_DOORS];

static atomic_long calls_left = -1; /* so many calls of all doors succeed, then one fails; -1: no limit */
static atomic_bool damage_reads;    /* one byte of each transfer */
static atomic_long live_allocations;

/* 0, or what the door shall fail with. */
static int door_passes(enum door door)
{
	unsigned long call = atomic_fetch_add(&doors[door].calls, 1);
	long left = atomic_load(&calls_left);
	bool fail = left >= 0 && atomic_fetch_sub(&calls_left, 1) == 0;
	/* Scattered, but the same for each seed as far as threads allow. */
	uint64_t draw = (call * NR_DOORS + door) * 0x9e3779b97f4a7c15ull >> 32;
	fail |= draw % 1000 < atomic_load(&doors[door].per_mille);
	if (!fail)
		return 0;
	atomic_fetch_add(&doors[door].failed, 1);
	int error = atomic_load(&doors[door].error);
	unsigned nr = 0;
	while (nr < 4 && door_errors[door][nr])
		nr++;
	return error ? error : door_errors[door][draw / 1000 % nr];
}

static void door_fail(enum door door, unsigned per_mille, int error)
{
	atomic_store(&doors[door].error, error);
	atomic_store(&doors[door].per_mille, per_mille);
}

static void doors_reset(void)
{
	for (unsigned d = 0; d < NR_DOORS; d++)
		door_fail((enum door)d, 0, 0);
	atomic_store(&calls_left, -1);
	atomic_store(&damage_reads, false);
}

/* Does half of it, and says what the kernel then says. */
static int do_part(int fd, unsigned long request, void *arg, __u64 *len, const __s64 *what)
{
	__u64 whole = *len;
	if (whole < 2 * GUEST_PAGE_SIZE || !door_passes(DOOR_PART))
		return mem_ioctl_kernel(fd, request, arg);
	*len = whole / 2 / GUEST_PAGE_SIZE * GUEST_PAGE_SIZE;
	int ret = mem_ioctl_kernel(fd, request, arg);
	*len = whole;
	return *what > 0 ? -EAGAIN : ret;
}

int mem_ioctl(int fd, unsigned long request, void *arg)
{
	int error = 0;
	switch (request) {
	case UFFDIO_MOVE:
		error = door_passes(DOOR_MOVE);
		if (!error)
			return do_part(fd, request, arg, &((struct uffdio_move *)arg)->len, &((struct uffdio_move *)arg)->move);
		((struct uffdio_move *)arg)->move = -error;
		break;
	case UFFDIO_COPY:
		error = door_passes(DOOR_COPY);
		if (!error)
			return do_part(fd, request, arg, &((struct uffdio_copy *)arg)->len, &((struct uffdio_copy *)arg)->copy);
		((struct uffdio_copy *)arg)->copy = -error;
		break;
	case UFFDIO_ZEROPAGE:
		error = door_passes(DOOR_ZERO);
		break;
	case UFFDIO_UNREGISTER:
		error = door_passes(DOOR_UNREGISTER);
		break;
	case UFFDIO_REGISTER:
		error = door_passes(DOOR_REGISTER);
		break;
	case UFFDIO_API:
		error = door_passes(DOOR_API);
		break;
	case PAGEMAP_SCAN:
		error = door_passes(DOOR_SCAN);
		break;
	default:
		break; /* UFFDIO_WAKE does not fail */
	}
	return error ? -error : mem_ioctl_kernel(fd, request, arg);
}

int mem_madvise(void *start, size_t len, int advice)
{
	int error = door_passes(advice == MADV_DONTNEED ? DOOR_DISCARD : DOOR_ADVICE);
	return error ? -error : mem_madvise_kernel(start, len, advice);
}

void *mem_map(size_t len)
{
	return door_passes(DOOR_MAP) ? NULL : mem_map_kernel(len);
}

int mem_map_over(void *at, size_t len, int fd, off_t offset)
{
	int error = door_passes(DOOR_OVER);
	return error ? -error : mem_map_over_kernel(at, len, fd, offset);
}

int mem_move_over(void *from, size_t len, void *at)
{
	int error = door_passes(DOOR_OVER);
	return error ? -error : mem_move_over_kernel(from, len, at);
}

void *mem_calloc(size_t nr, size_t size)
{
	void *memory = door_passes(DOOR_CALLOC) ? NULL : calloc(nr, size);
	atomic_fetch_add(&live_allocations, memory != NULL);
	return memory;
}

void mem_free(void *memory)
{
	atomic_fetch_sub(&live_allocations, memory != NULL);
	free(memory);
}

int mem_fallocate(int fd, int mode, off_t offset, off_t len)
{
	int error = door_passes(DOOR_FALLOCATE);
	return error ? -error : mem_fallocate_kernel(fd, mode, offset, len);
}

int mem_open(const char *path, int flags, unsigned mode)
{
	int error = door_passes(DOOR_OPEN);
	return error ? -error : mem_open_kernel(path, flags, mode);
}

int mem_ring_create(unsigned entries, struct io_uring *ring)
{
	int error = door_passes(DOOR_RING);
	return error ? -error : mem_ring_create_kernel(entries, ring);
}

int mem_ring_submit(struct io_uring *ring, unsigned nr_wait)
{
	int error = door_passes(DOOR_SUBMIT);
	return error ? -error : mem_ring_submit_kernel(ring, nr_wait);
}

int mem_io_result(int is_write, void *data, size_t len, int res)
{
	int error = door_passes(is_write ? DOOR_WRITE : DOOR_READ);
	if (error)
		return -error;
	if (!is_write && atomic_load(&damage_reads))
		for (size_t i = 8; i < len; i += 64)
			((uint8_t *)data)[i] ^= 0x10;
	return res;
}

#endif
