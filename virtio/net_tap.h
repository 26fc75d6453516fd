/* A tap interface of the host as a network device's backend. */
#ifndef VIRTIO_NET_TAP_H
#define VIRTIO_NET_TAP_H

#include "base/error.h"
#include "virtio/net_backend.h"

/*
 * Takes over fd, a descriptor of an Ethernet tap without packet information (IFF_TAP | IFF_NO_PI); offloads are used if it has
 * IFF_VNET_HDR. On failure fd stays the caller's. Returns 0, -EINVAL with a sentence when fd is no such thing, or another -errno.
 */
int net_tap_create(int fd, struct net_backend **backend, struct error *err);

#endif
