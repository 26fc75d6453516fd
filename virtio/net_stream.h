/* A connected stream socket as a network device's backend: each frame is preceded by its length, 4 bytes, big-endian. */
#ifndef VIRTIO_NET_STREAM_H
#define VIRTIO_NET_STREAM_H

#include "base/error.h"
#include "virtio/net_backend.h"

/*
 * Takes over fd, a connected stream socket; name (copied) is what people are told about it. On failure fd stays the caller's.
 * Returns 0, -EINVAL with a sentence when fd is no stream socket, or another -errno.
 */
int net_stream_create(int fd, const char *name, struct net_backend **backend, struct error *err);

#endif
