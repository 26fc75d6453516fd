/*
 * Sockets between host and guest (virtio 1.2, 5.10), the host's side being unix sockets:
 *
 *   host to guest   connect to the unix socket PATH, write "CONNECT <port>\n", read "OK <our port>\n", then bytes both ways.
 *                   The connection is closed when nobody listens in the guest.
 *   guest to host   the guest connects to CID 2, port P; the device connects to the unix socket "PATH_P". Nobody there: reset.
 *
 * Connections do not outlive a save and load: the guest then sees them reset.
 */
#ifndef VIRTIO_VSOCK_H
#define VIRTIO_VSOCK_H

#include <stdint.h>

#include "virtio/device.h"

struct virtio_vsock_params {
	const char *name;
	uint64_t guest_cid;   /* 3 to 0xfffffffe */
	const char *uds_path; /* PATH above, at most 96 bytes */
	int listen_fd; /* listens at PATH already, now owned by the device; -1: the device listens, and unlinks PATH at its end */
};

/*
 * Returns 0, or -errno with a sentence: a bad CID, a path too long or in use. A socket that a dead process left at PATH is replaced.
 * On failure listen_fd remains the caller's.
 */
int virtio_vsock_create(const struct virtio_vsock_params *params, const struct guest_ram *ram, struct virtio_device **dev,
			struct error *err);

#endif
