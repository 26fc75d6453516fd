/*
 * The doors through which memmgr/ asks the kernel and the allocator for things. Each may fail, and each is a weak symbol: a test
 * that defines a function of the same name stands in for it, counts calls, lets the n-th fail, or plays the kernel. What the door
 * does by itself is there under the same name with _kernel, so that a stand-in can pass calls on.
 */
#ifndef MEMMGR_OS_H
#define MEMMGR_OS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ioctl(2), repeated while a signal interrupts it. Returns its value, or -errno. */
int mem_ioctl(int fd, unsigned long request, void *arg);
int mem_ioctl_kernel(int fd, unsigned long request, void *arg);

/* madvise(2). Returns 0 or -errno. */
int mem_madvise(void *start, size_t len, int advice);
int mem_madvise_kernel(void *start, size_t len, int advice);

/* Private anonymous memory, readable and writable, without a reservation, zero-filled on demand. NULL when the kernel refuses. */
void *mem_map(size_t len);
void *mem_map_kernel(size_t len);

/*
 * Maps privately, readable and writable, in place of whatever lies at the address: len bytes of the file from offset on; fd -1: anonymous
 * memory. Returns 0 or -errno, and then everything is as it was.
 */
int mem_map_over(void *at, size_t len, int fd, off_t offset);
int mem_map_over_kernel(void *at, size_t len, int fd, off_t offset);
/* Puts the mapping of len bytes in place of what lies at another address. Returns 0 or -errno. */
int mem_move_over(void *from, size_t len, void *at);
int mem_move_over_kernel(void *from, size_t len, void *at);

/* calloc(3) and free(3). */
void *mem_calloc(size_t nr, size_t size);
void mem_free(void *memory);

/* fallocate(2). Returns 0 or -errno. */
int mem_fallocate(int fd, int mode, off_t offset, off_t len);
int mem_fallocate_kernel(int fd, int mode, off_t offset, off_t len);

/* open(2), with O_CLOEXEC among the flags. Returns the descriptor or -errno. */
int mem_open(const char *path, int flags, unsigned mode);
int mem_open_kernel(const char *path, int flags, unsigned mode);
/* fcntl(2), F_SETFL. Returns 0 or -errno. */
int mem_set_flags(int fd, int flags);
int mem_set_flags_kernel(int fd, int flags);

/*
 * An io_uring of that many entries; returns 0 or -errno. Submits what is queued and waits for nr_wait completions; returns how
 * many were taken, or -errno.
 */
struct io_uring;
int mem_ring_create(unsigned entries, struct io_uring *ring);
int mem_ring_create_kernel(unsigned entries, struct io_uring *ring);
int mem_ring_submit(struct io_uring *ring, unsigned nr_wait);
int mem_ring_submit_kernel(struct io_uring *ring, unsigned nr_wait);

/*
 * NUMA, by libnuma. Host nodes that have memory which this process may use, a bit each; 1 on a kernel without NUMA. mbind(2): 0 or
 * -errno. move_pages(2) of this process: how many pages stayed where they were, or -errno. Where libnuma is not installed these give
 * all bits, and -ELIBACC.
 */
uint64_t mem_host_nodes(void);
uint64_t mem_host_nodes_kernel(void);
int mem_mbind(void *start, size_t len, int mode, uint64_t nodes);
int mem_mbind_kernel(void *start, size_t len, int mode, uint64_t nodes);
int mem_move_pages(size_t nr, void **pages, const int *nodes, int *status);
int mem_move_pages_kernel(size_t nr, void **pages, const int *nodes, int *status);

/*
 * Passes the result of an I/O of the swap file: bytes, or -errno, and for a read what came. Returns res; a test's stand-in returns
 * an error instead, or damages the bytes.
 */
int mem_io_result(int is_write, void *data, size_t len, int res);

#endif
