/*
 * The doors through which dedup/ asks the kernel for things, beside those of memmgr/os.h. Each may fail, and each is a weak symbol: a test that
 * defines a function of the same name stands in for it; what the door does by itself is there under the same name with _kernel.
 */
#ifndef DEDUP_OS_H
#define DEDUP_OS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* memfd_create(2), close-on-exec, open to seals, never to be executed where the kernel knows that. Returns the descriptor or -errno. */
int dedup_memfd(const char *name);
int dedup_memfd_kernel(const char *name);
/* ftruncate(2). Returns 0 or -errno. */
int dedup_set_size(int fd, off_t size);
int dedup_set_size_kernel(int fd, off_t size);
/* mmap(2) of len bytes of the file from at on, shared, for reading. NULL when the kernel refuses. */
void *dedup_map(int fd, size_t len, off_t at);
void *dedup_map_kernel(int fd, size_t len, off_t at);
/* pwrite(2) of all bytes. Returns 0 or -errno. */
int dedup_write_at(int fd, const void *data, size_t len, off_t at);
int dedup_write_at_kernel(int fd, const void *data, size_t len, off_t at);
/* pread(2) of all bytes. Returns 0 or -errno, -EIO when the file ends before. */
int dedup_read_at(int fd, void *data, size_t len, off_t at);
int dedup_read_at_kernel(int fd, void *data, size_t len, off_t at);
/* Opens what fd refers to once more, O_RDONLY or O_RDWR. Returns the descriptor or -errno. */
int dedup_reopen(int fd, int flags);
int dedup_reopen_kernel(int fd, int flags);
/* sendmsg(2) and recvmsg(2), again after signals. Return bytes or -errno. */
ssize_t dedup_send(int fd, const struct msghdr *message);
ssize_t dedup_send_kernel(int fd, const struct msghdr *message);
ssize_t dedup_receive(int fd, struct msghdr *message);
ssize_t dedup_receive_kernel(int fd, struct msghdr *message);

#endif
