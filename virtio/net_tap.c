/*
 * See net_tap.h. With IFF_VNET_HDR the kernel speaks our header itself, so frames go between its buffers and the guest's in one
 * readv() or writev() each; without, we leave out the header and offer no offloads.
 */
#include "virtio/net_tap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "virtio/net_header.h"

/* Segmentation of UDP into datagrams, since Linux 6.2; named here because distribution headers may be older. */
#define TAP_F_USO4 0x20u
#define TAP_F_USO6 0x40u

struct net_tap {
	struct net_backend backend; /* first */
	bool vnet_header;
};

static struct net_tap *tap_of(struct net_backend *b)
{
	return (struct net_tap *)b;
}

static ssize_t tap_receive(struct net_backend *b, const struct iovec *iov, int nr)
{
	struct net_tap *tap = tap_of(b);
	size_t skipped = tap->vnet_header ? NET_HEADER_LEN : 0;
	ssize_t len;
	if (tap->vnet_header) {
		len = readv(b->fd, iov, nr < IOV_MAX ? nr : IOV_MAX);
	} else {
		memset(iov[0].iov_base, 0, NET_HEADER_LEN);
		len = readv(b->fd, iov + 1, nr <= IOV_MAX ? nr - 1 : IOV_MAX);
	}
	if (len < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if ((size_t)len < skipped)
		return -EMSGSIZE;
	return len - (ssize_t)skipped;
}

static int tap_send(struct net_backend *b, const struct iovec *iov, int nr)
{
	bool header = tap_of(b)->vnet_header;
	ssize_t len;
	do {
		len = header ? writev(b->fd, iov, nr) : writev(b->fd, iov + 1, nr - 1);
	} while (len < 0 && errno == EINTR);
	return len < 0 ? -errno : 0;
}

static unsigned tun_offloads(uint64_t features)
{
	/* Segmentation leaves the checksum to the receiver, so the kernel wants TUN_F_CSUM with all others (virtio 1.2, 5.1.3.1). */
	if (!(features & NET_BIT(VIRTIO_NET_F_GUEST_CSUM)))
		return 0;
	unsigned offloads = TUN_F_CSUM;
	bool tso4 = features & NET_BIT(VIRTIO_NET_F_GUEST_TSO4);
	bool tso6 = features & NET_BIT(VIRTIO_NET_F_GUEST_TSO6);
	if (tso4)
		offloads |= TUN_F_TSO4;
	if (tso6)
		offloads |= TUN_F_TSO6;
	if ((features & NET_BIT(VIRTIO_NET_F_GUEST_ECN)) && (tso4 || tso6))
		offloads |= TUN_F_TSO_ECN;
	if (features & NET_BIT(VIRTIO_NET_F_GUEST_UFO))
		offloads |= TUN_F_UFO;
	/* The kernel accepts these two only together. */
	if ((features & NET_BIT(NET_F_GUEST_USO4)) && (features & NET_BIT(NET_F_GUEST_USO6)))
		offloads |= TAP_F_USO4 | TAP_F_USO6;
	return offloads;
}

static int tap_set_offloads(struct net_backend *b, uint64_t features)
{
	if (!tap_of(b)->vnet_header)
		return 0;
	return ioctl(b->fd, TUNSETOFFLOAD, (unsigned long)tun_offloads(features)) < 0 ? -errno : 0;
}

static void tap_destroy(struct net_backend *b)
{
	close(b->fd);
	free(tap_of(b));
}

static const struct net_backend_ops tap_ops = {
	.receive = tap_receive,
	.send = tap_send,
	.set_offloads = tap_set_offloads,
	.destroy = tap_destroy,
};

/* Asks the kernel which offloads it knows, by trying, and leaves all of them off. */
static uint64_t probe_features(int fd)
{
	static const struct {
		unsigned tun;
		uint64_t features;
	} steps[] = {
		{TUN_F_CSUM, NET_BIT(VIRTIO_NET_F_CSUM) | NET_BIT(VIRTIO_NET_F_GUEST_CSUM)},
		{TUN_F_TSO4, NET_BIT(VIRTIO_NET_F_HOST_TSO4) | NET_BIT(VIRTIO_NET_F_GUEST_TSO4)},
		{TUN_F_TSO6, NET_BIT(VIRTIO_NET_F_HOST_TSO6) | NET_BIT(VIRTIO_NET_F_GUEST_TSO6)},
		{TUN_F_TSO_ECN, NET_BIT(VIRTIO_NET_F_HOST_ECN) | NET_BIT(VIRTIO_NET_F_GUEST_ECN)},
		{TUN_F_UFO, NET_BIT(VIRTIO_NET_F_HOST_UFO) | NET_BIT(VIRTIO_NET_F_GUEST_UFO)},
		{TAP_F_USO4 | TAP_F_USO6, NET_BIT(NET_F_HOST_USO) | NET_BIT(NET_F_GUEST_USO4) | NET_BIT(NET_F_GUEST_USO6)},
	};
	uint64_t features = 0;
	unsigned offloads = 0;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)(offloads | steps[i].tun)) == 0) {
			offloads |= steps[i].tun;
			features |= steps[i].features;
		} else if (i == 0) {
			break;
		}
	}
	ioctl(fd, TUNSETOFFLOAD, 0ul);
	return features;
}

int net_tap_create(int fd, struct net_backend **backend, struct error *err)
{
	struct ifreq ifr = {0};
	if (ioctl(fd, TUNGETIFF, &ifr) < 0) {
		int code = errno == EBADF ? EBADF : EINVAL;
		return error_set(err, code,
				 "descriptor %d is %s; give one that was opened from /dev/net/tun (TUNSETIFF with IFF_TAP)", fd,
				 code == EBADF ? "not open" : "no tap interface");
	}
	unsigned flags = (unsigned short)ifr.ifr_flags;
	if (!(flags & IFF_TAP))
		return error_set(err, EINVAL, "descriptor %d (%s) is a tun, which carries no Ethernet frames; open it with IFF_TAP",
				 fd, ifr.ifr_name);
	/* IFF_NO_PI cannot be checked: TUNGETIFF uses its bit for IFF_NOFILTER too. */
	int header_len = NET_HEADER_LEN;
	if ((flags & IFF_VNET_HDR) && ioctl(fd, TUNSETVNETHDRSZ, &header_len) < 0)
		return error_set(err, errno, "%s: cannot set the header's length: %s", ifr.ifr_name, strerror(errno));
	int status = fcntl(fd, F_GETFL);
	if (status < 0 || fcntl(fd, F_SETFL, status | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return error_set(err, errno, "%s: cannot set up descriptor %d: %s", ifr.ifr_name, fd, strerror(errno));

	struct net_tap *tap = calloc(1, sizeof(*tap));
	if (!tap)
		return error_set(err, ENOMEM, "%s: out of memory", ifr.ifr_name);
	tap->vnet_header = flags & IFF_VNET_HDR;
	tap->backend = (struct net_backend){
		.ops = &tap_ops,
		.fd = fd,
		.features = tap->vnet_header ? probe_features(fd) : 0,
	};
	snprintf(tap->backend.name, sizeof(tap->backend.name), "tap,ifname=%.*s", IFNAMSIZ, ifr.ifr_name);
	*backend = &tap->backend;
	return 0;
}
