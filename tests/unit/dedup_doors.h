/* The doors of memmgr/os.h and dedup/os.h that dedup/ uses, each of which can be made to fail. Include it once in a test program. */
#ifndef TESTS_UNIT_DEDUP_DOORS_H
#define TESTS_UNIT_DEDUP_DOORS_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "dedup/os.h"
#include "memmgr/os.h"

static int fail_in = -1;     /* so many calls succeed, then one fails; -1: none fails */
static int fail_one_of;      /* one of so many fails, by chance; 0: none */
static long live;            /* allocations that were not freed */
static uint64_t door_random; /* state */

static bool fails(void)
{
	if (fail_one_of) {
		door_random = door_random * 6364136223846793005ull + 1442695040888963407ull;
		return (door_random >> 33) % (unsigned)fail_one_of == 0;
	}
	return fail_in >= 0 && fail_in-- == 0;
}

void *mem_calloc(size_t nr, size_t size)
{
	void *memory = fails() ? NULL : calloc(nr, size);
	live += memory != NULL;
	return memory;
}

void mem_free(void *memory)
{
	live -= memory != NULL;
	free(memory);
}

void *mem_map(size_t len)
{
	return fails() ? NULL : mem_map_kernel(len);
}

int mem_fallocate(int fd, int mode, off_t offset, off_t len)
{
	return fails() ? -EINTR : mem_fallocate_kernel(fd, mode, offset, len);
}

int dedup_memfd(const char *name)
{
	return fails() ? -EMFILE : dedup_memfd_kernel(name);
}

int dedup_set_size(int fd, off_t size)
{
	return fails() ? -ENOMEM : dedup_set_size_kernel(fd, size);
}

void *dedup_map(int fd, size_t len, off_t at)
{
	return fails() ? NULL : dedup_map_kernel(fd, len, at);
}

int dedup_read_at(int fd, void *data, size_t len, off_t at)
{
	return fails() ? -EIO : dedup_read_at_kernel(fd, data, len, at);
}

int dedup_write_at(int fd, const void *data, size_t len, off_t at)
{
	return fails() ? -ENOSPC : dedup_write_at_kernel(fd, data, len, at);
}

int dedup_reopen(int fd, int flags)
{
	return fails() ? -EMFILE : dedup_reopen_kernel(fd, flags);
}

#endif
