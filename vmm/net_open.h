/* Opens what a -netdev names: a tap, user networking by passt, or a peer behind a unix socket. */
#ifndef VMM_NET_OPEN_H
#define VMM_NET_OPEN_H

#include "base/error.h"
#include "virtio/net_backend.h"
#include "vmm/config.h"

/*
 * On success an inherited descriptor (nic->fd) belongs to the backend. Call before other threads start: user networking forks.
 * Returns 0, or -errno with a sentence that says what to do.
 */
int net_open(const struct config_nic *nic, struct net_backend **backend, struct error *err);

#endif
