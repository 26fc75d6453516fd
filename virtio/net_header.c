/* See net_header.h. */
#include "virtio/net_header.h"

#include <linux/if_ether.h>
#include <string.h>

static bool has(uint64_t features, unsigned bit)
{
	return features >> bit & 1;
}

/* Whether the features allow this segmentation type: given the bits that stand for each type in one direction. */
struct gso_bits {
	unsigned tso4, tso6, ecn, ufo, uso4, uso6;
};

static const struct gso_bits host_bits = {
	.tso4 = VIRTIO_NET_F_HOST_TSO4,
	.tso6 = VIRTIO_NET_F_HOST_TSO6,
	.ecn = VIRTIO_NET_F_HOST_ECN,
	.ufo = VIRTIO_NET_F_HOST_UFO,
	.uso4 = NET_F_HOST_USO,
	.uso6 = NET_F_HOST_USO,
};

static const struct gso_bits guest_bits = {
	.tso4 = VIRTIO_NET_F_GUEST_TSO4,
	.tso6 = VIRTIO_NET_F_GUEST_TSO6,
	.ecn = VIRTIO_NET_F_GUEST_ECN,
	.ufo = VIRTIO_NET_F_GUEST_UFO,
	.uso4 = NET_F_GUEST_USO4,
	.uso6 = NET_F_GUEST_USO6,
};

static bool gso_allowed(uint8_t gso_type, uint64_t features, const struct gso_bits *bits)
{
	bool ecn = gso_type & VIRTIO_NET_HDR_GSO_ECN;
	if (ecn && !has(features, bits->ecn))
		return false;
	switch (gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return !ecn;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return has(features, bits->tso4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return has(features, bits->tso6);
	case VIRTIO_NET_HDR_GSO_UDP:
		return !ecn && has(features, bits->ufo);
	case NET_GSO_UDP_L4:
		return !ecn && has(features, bits->uso4) && has(features, bits->uso6);
	default:
		return false;
	}
}

bool net_header_check_tx(struct virtio_net_hdr_v1 *h, size_t frame_len, uint64_t features)
{
	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM; /* all other flags speak of received frames */
	h->num_buffers = 0;
	if (h->flags) {
		if (!has(features, VIRTIO_NET_F_CSUM))
			return false;
		/* The two checksum bytes lie inside the frame, behind its Ethernet header. */
		size_t at = (size_t)h->csum_start + h->csum_offset;
		if (h->csum_start < ETH_HLEN || at + 2 > frame_len)
			return false;
	} else {
		h->csum_start = 0;
		h->csum_offset = 0;
	}
	if (!gso_allowed(h->gso_type, features, &host_bits))
		return false;
	if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		h->gso_size = 0;
		h->hdr_len = 0; /* only a hint, and then of no use */
		return true;
	}
	return h->gso_size != 0 && h->hdr_len <= frame_len;
}

bool net_header_check_rx(struct virtio_net_hdr_v1 *h, uint64_t offloads)
{
	if (!has(offloads, VIRTIO_NET_F_GUEST_CSUM)) {
		if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
			return false;
		h->flags = 0;
	}
	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID;
	return gso_allowed(h->gso_type, offloads, &guest_bits);
}
