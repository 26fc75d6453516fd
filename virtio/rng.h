/* The entropy device (virtio 1.2, 5.4): fills the guest's buffers with random bytes of the host. */
#ifndef VIRTIO_RNG_H
#define VIRTIO_RNG_H

#include <stdint.h>

#include "virtio/device.h"

struct virtio_rng_params {
	const char *name;
	const char *filename; /* where bytes come from; NULL: getrandom(2). Opened at once. */
	uint64_t max_bytes;   /* at most so many in each period; 0: no limit */
	uint32_t period_ms;   /* needed with max_bytes */
};

/* Returns 0, or -errno with a sentence: the file cannot be opened, a limit without period, no memory. */
int virtio_rng_create(const struct virtio_rng_params *params, const struct guest_ram *ram, struct virtio_device **dev,
		      struct error *err);

#endif
