/* The unix sockets at the host's end of vsock connections. All are non-blocking and closed on exec. */
#ifndef VIRTIO_VSOCK_HOST_H
#define VIRTIO_VSOCK_HOST_H

#include <stdint.h>

#include "base/error.h"

/* The longest PATH: "_4294967295" and a zero byte follow it in a socket's address. */
#define VSOCK_HOST_PATH_MAX 96

/* Listens at path, replacing a socket at which nobody listens. Returns the descriptor, or -errno with a sentence about name. */
int vsock_host_listen(const char *name, const char *path, struct error *err);
/* Returns a client's descriptor, -EAGAIN when none waits, or another -errno. */
int vsock_host_accept(int listen_fd);
/* Connects to "path_port". Returns the descriptor, or -errno. */
int vsock_host_connect(const char *path, uint32_t port);

#endif
