/* See os.h. */
#include "memmgr/os.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <numaif.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int mem_ioctl_kernel(int fd, unsigned long request, void *arg)
{
	int ret;
	do {
		ret = ioctl(fd, request, arg);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

__attribute__((weak)) int mem_ioctl(int fd, unsigned long request, void *arg)
{
	return mem_ioctl_kernel(fd, request, arg);
}

int mem_madvise_kernel(void *start, size_t len, int advice)
{
	return madvise(start, len, advice) < 0 ? -errno : 0;
}

__attribute__((weak)) int mem_madvise(void *start, size_t len, int advice)
{
	return mem_madvise_kernel(start, len, advice);
}

void *mem_map_kernel(size_t len)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

__attribute__((weak)) void *mem_map(size_t len)
{
	return mem_map_kernel(len);
}

__attribute__((weak)) void *mem_calloc(size_t nr, size_t size)
{
	return calloc(nr, size);
}

__attribute__((weak)) void mem_free(void *memory)
{
	free(memory);
}

int mem_map_over_kernel(void *at, size_t len, int fd, off_t offset)
{
	int flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);
	/* Not by mmap(), which ThreadSanitizer takes for a write to every byte: nothing that others see changes here. */
	return syscall(SYS_mmap, at, len, PROT_READ | PROT_WRITE, flags, fd, offset) == -1 ? -errno : 0;
}

__attribute__((weak)) int mem_map_over(void *at, size_t len, int fd, off_t offset)
{
	return mem_map_over_kernel(at, len, fd, offset);
}

int mem_move_over_kernel(void *from, size_t len, void *at)
{
	return mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED ? -errno : 0;
}

__attribute__((weak)) int mem_move_over(void *from, size_t len, void *at)
{
	return mem_move_over_kernel(from, len, at);
}

int mem_fallocate_kernel(int fd, int mode, off_t offset, off_t len)
{
	return fallocate(fd, mode, offset, len) < 0 ? -errno : 0;
}

__attribute__((weak)) int mem_fallocate(int fd, int mode, off_t offset, off_t len)
{
	return mem_fallocate_kernel(fd, mode, offset, len);
}

int mem_open_kernel(const char *path, int flags, unsigned mode)
{
	int fd = open(path, flags | O_CLOEXEC, mode);
	return fd < 0 ? -errno : fd;
}

__attribute__((weak)) int mem_open(const char *path, int flags, unsigned mode)
{
	return mem_open_kernel(path, flags, mode);
}

int mem_set_flags_kernel(int fd, int flags)
{
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

__attribute__((weak)) int mem_set_flags(int fd, int flags)
{
	return mem_set_flags_kernel(fd, flags);
}

int mem_ring_create_kernel(unsigned entries, struct io_uring *ring)
{
	return io_uring_queue_init(entries, ring, 0);
}

__attribute__((weak)) int mem_ring_create(unsigned entries, struct io_uring *ring)
{
	return mem_ring_create_kernel(entries, ring);
}

int mem_ring_submit_kernel(struct io_uring *ring, unsigned nr_wait)
{
	return io_uring_submit_and_wait(ring, nr_wait);
}

__attribute__((weak)) int mem_ring_submit(struct io_uring *ring, unsigned nr_wait)
{
	return mem_ring_submit_kernel(ring, nr_wait);
}

/*
 * libnuma, loaded when first needed: it reads /proc and /sys when it is loaded, which would be a tenth of a millisecond at each start
 * of the VMM, for what few guests ask for.
 */
#define NUMA_LIBRARY "libnuma.so.1"

static struct {
	__typeof__(&get_mempolicy) get_mempolicy;
	__typeof__(&mbind) mbind;
	__typeof__(&move_pages) move_pages;
	bool there;
} numa;

static void load_numa(void)
{
	void *opened = dlopen(NUMA_LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!opened)
		return;
	*(void **)&numa.get_mempolicy = dlsym(opened, "get_mempolicy");
	*(void **)&numa.mbind = dlsym(opened, "mbind");
	*(void **)&numa.move_pages = dlsym(opened, "move_pages");
	numa.there = numa.get_mempolicy && numa.mbind && numa.move_pages;
}

static bool has_numa(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, load_numa);
	return numa.there;
}

uint64_t mem_host_nodes_kernel(void)
{
	unsigned long nodes[1024 / 64] = {0}; /* the kernel wants room for all it could ever have */
	if (!has_numa())
		return UINT64_MAX; /* whoever asks for one is told then */
	if (numa.get_mempolicy(NULL, nodes, 1024, NULL, MPOL_F_MEMS_ALLOWED) < 0 || !nodes[0])
		return 1;
	return nodes[0];
}

__attribute__((weak)) uint64_t mem_host_nodes(void)
{
	return mem_host_nodes_kernel();
}

int mem_mbind_kernel(void *start, size_t len, int mode, uint64_t nodes)
{
	unsigned long mask = nodes;
	if (!has_numa())
		return -ELIBACC;
	/* The kernel looks at one bit less than it is told. */
	return numa.mbind(start, len, mode, nodes ? &mask : NULL, nodes ? 65 : 0, 0) < 0 ? -errno : 0;
}

__attribute__((weak)) int mem_mbind(void *start, size_t len, int mode, uint64_t nodes)
{
	return mem_mbind_kernel(start, len, mode, nodes);
}

int mem_move_pages_kernel(size_t nr, void **pages, const int *nodes, int *status)
{
	if (!has_numa())
		return -ELIBACC;
	long ret = numa.move_pages(0, nr, pages, nodes, status, MPOL_MF_MOVE);
	return ret < 0 ? -errno : (int)ret;
}

__attribute__((weak)) int mem_move_pages(size_t nr, void **pages, const int *nodes, int *status)
{
	return mem_move_pages_kernel(nr, pages, nodes, status);
}

__attribute__((weak)) int mem_io_result(int is_write, void *data, size_t len, int res)
{
	(void)is_write, (void)data, (void)len;
	return res;
}
