/*
 * libnbd, loaded when the first NBD disk is opened: it and the libraries that it needs cost start-up time and memory that guests
 * without such disks should not pay. So it is called through a table of its functions, typed by its own header.
 */
#ifndef VIRTIO_DISK_NBD_LIB_H
#define VIRTIO_DISK_NBD_LIB_H

#include <libnbd.h>

#include "base/error.h"

#define NBD_LIB_FUNCTIONS(X)    \
	X(create)               \
	X(close)                \
	X(get_error)            \
	X(get_errno)            \
	X(set_pread_initialize) \
	X(connect_uri)          \
	X(get_size)             \
	X(get_block_size)       \
	X(is_read_only)         \
	X(can_flush)            \
	X(can_fua)              \
	X(can_trim)             \
	X(can_zero)             \
	X(aio_connect_uri)      \
	X(aio_disconnect)       \
	X(aio_get_fd)           \
	X(aio_get_direction)    \
	X(aio_notify_read)      \
	X(aio_notify_write)     \
	X(aio_is_ready)         \
	X(aio_is_processing)    \
	X(aio_is_dead)          \
	X(aio_is_closed)        \
	X(aio_pread)            \
	X(aio_pwrite)           \
	X(aio_flush)            \
	X(aio_trim)             \
	X(aio_zero)

#define NBD_LIB_MEMBER(name) typeof(nbd_##name) *name;
struct nbd_lib {
	NBD_LIB_FUNCTIONS(NBD_LIB_MEMBER)
};
#undef NBD_LIB_MEMBER

/* Loads it, once. Main thread only. *lib stays valid. Returns 0, or -ENOENT with a sentence that names the package. */
int nbd_lib_load(const struct nbd_lib **lib, struct error *err);

#endif
