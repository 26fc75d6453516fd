/*
 * The doors of memmgr/os.h for tests of the swap file: memory that runs out and is counted, file systems that cannot do things. And
 * places where swap files lie: a directory of the disk, and a small file system. Include it once.
 */
#ifndef TESTS_UNIT_SWAP_FILE_DOORS_H
#define TESTS_UNIT_SWAP_FILE_DOORS_H

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "memmgr/os.h"
#include "memmgr/swap_file.h"

static struct error err;

/* --- memory --- */

static int allocations_left = -1; /* -1: no limit */
static _Atomic long nr_live;

static bool may_allocate(void)
{
	return allocations_left < 0 || allocations_left-- > 0;
}

void *mem_calloc(size_t nr, size_t size)
{
	void *memory = may_allocate() ? calloc(nr, size) : NULL;
	nr_live += memory != NULL;
	return memory;
}

void mem_free(void *memory)
{
	nr_live -= memory != NULL;
	free(memory);
}

/* --- descriptors --- */

static bool no_tmpfile, no_direct;

int mem_open(const char *path, int flags, unsigned mode)
{
	if (no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE)
		return -EOPNOTSUPP;
	return mem_open_kernel(path, flags, mode);
}

int mem_set_flags(int fd, int flags)
{
	if (no_direct && flags & O_DIRECT)
		return -EINVAL;
	return mem_set_flags_kernel(fd, flags);
}

/* --- places --- */

static char dir[128];

static void make_directory(void)
{
	snprintf(dir, sizeof(dir), "%s/pagoda-swap-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	err = (struct error){0};
}

static unsigned entries_in_directory(void)
{
	unsigned nr = 0;
	DIR *d = opendir(dir);
	ck_assert_ptr_nonnull(d);
	for (struct dirent *entry; (entry = readdir(d)) != NULL;)
		nr += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(d);
	return nr;
}

static void remove_directory(void)
{
	ck_assert_uint_eq(entries_in_directory(), 0);
	rmdir(dir);
}

/* Covers the directory by a tmpfs of that size. Needs root, and a kernel that lets it. */
__attribute__((unused)) static bool mount_small(size_t bytes)
{
	char options[64];
	snprintf(options, sizeof(options), "size=%zu,huge=never", bytes);
	if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	    mount("tmpfs", dir, "tmpfs", 0, options) == 0)
		return true;
	fprintf(stderr, "skipped: cannot mount a tmpfs: %s (needs root)\n", strerror(errno));
	return false;
}

__attribute__((unused)) static unsigned long free_blocks(void)
{
	struct statvfs fs;
	ck_assert_int_eq(statvfs(dir, &fs), 0);
	return fs.f_bfree;
}

static struct swap_file *open_swap(uint64_t limit)
{
	struct swap_file *sf = NULL;
	struct swap_file_params params = {.directory = dir, .fd = -1, .limit_bytes = limit};
	ck_assert_msg(swap_file_open(&params, &sf, &err) == 0, "%s", err.text);
	return sf;
}

#endif
