/*
 * The header in front of each frame (struct virtio_net_hdr_v1): what one side may ask of the other, given the negotiated features.
 * Pure functions over numbers.
 */
#ifndef VIRTIO_NET_HEADER_H
#define VIRTIO_NET_HEADER_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Named here because distribution headers may be older (virtio 1.2, 5.1.3 and 5.1.6). */
#define NET_F_GUEST_USO4 54
#define NET_F_GUEST_USO6 55
#define NET_F_HOST_USO 56
#define NET_GSO_UDP_L4 5

#define NET_BIT(bit) (1ull << (bit))

/* What received frames may use. */
#define NET_GUEST_OFFLOADS                                                                                        \
	(NET_BIT(VIRTIO_NET_F_GUEST_CSUM) | NET_BIT(VIRTIO_NET_F_GUEST_TSO4) | NET_BIT(VIRTIO_NET_F_GUEST_TSO6) | \
	 NET_BIT(VIRTIO_NET_F_GUEST_ECN) | NET_BIT(VIRTIO_NET_F_GUEST_UFO) | NET_BIT(NET_F_GUEST_USO4) |          \
	 NET_BIT(NET_F_GUEST_USO6))
/* What transmitted frames may use. */
#define NET_HOST_OFFLOADS                                                                                 \
	(NET_BIT(VIRTIO_NET_F_CSUM) | NET_BIT(VIRTIO_NET_F_HOST_TSO4) | NET_BIT(VIRTIO_NET_F_HOST_TSO6) | \
	 NET_BIT(VIRTIO_NET_F_HOST_ECN) | NET_BIT(VIRTIO_NET_F_HOST_UFO) | NET_BIT(NET_F_HOST_USO))

/*
 * Checks the header of a frame of frame_len bytes that the guest sends, and clears what means nothing in that direction. False: the
 * frame must be dropped, since it uses what was not negotiated or points outside itself.
 */
bool net_header_check_tx(struct virtio_net_hdr_v1 *h, size_t frame_len, uint64_t features);

/*
 * The same for a frame that the backend brings for a guest that accepts offloads (VIRTIO_NET_F_GUEST_* bits). False: the guest
 * cannot take it. Frames queued in a tap keep the form they had when the offloads changed.
 */
bool net_header_check_rx(struct virtio_net_hdr_v1 *h, uint64_t offloads);

#endif
