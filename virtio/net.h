/*
 * The network device (virtio 1.2, 5.1): one receive, one transmit and one control queue, served by a thread of its own.
 * Functions are callable from any thread once the device exists.
 */
#ifndef VIRTIO_NET_H
#define VIRTIO_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "memmgr/guest_ram.h"
#include "virtio/device.h"
#include "virtio/net_backend.h"

struct virtio_net_params {
	const char *name; /* "virtio-net0"; copied */
	uint8_t mac[6];
	uint16_t queue_size; /* a power of two up to VIRTQ_MAX_SIZE */
	uint16_t mtu;        /* told to the guest; 0 says nothing */
	struct net_backend *backend;
};

/* On success the backend belongs to the device, else to the caller still. Returns 0 or -errno with a sentence. */
int virtio_net_create(const struct virtio_net_params *params, const struct guest_ram *ram, struct virtio_device **dev,
		      struct error *err);

/* Pulls the cable and plugs it in again: without link, frames are dropped both ways. */
void virtio_net_set_link(struct virtio_device *dev, bool up);
/* Whether there is a link: not pulled, and the backend still alive. */
bool virtio_net_link_up(const struct virtio_device *dev);

/* Frames and their bytes, headers of virtio not counted; rx is towards the guest. Never reset. */
struct virtio_net_stats {
	uint64_t rx_packets, rx_bytes, rx_dropped;
	uint64_t tx_packets, tx_bytes, tx_dropped;
};
void virtio_net_get_stats(const struct virtio_device *dev, struct virtio_net_stats *stats);
/* The backend in words, "tap,ifname=tap0"; lives as long as the device. */
const char *virtio_net_backend_name(const struct virtio_device *dev);
/* The address in use: the guest may have set another one. */
void virtio_net_get_mac(struct virtio_device *dev, uint8_t mac[6]);

#endif
