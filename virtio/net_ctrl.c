/*
 * The control queue (virtio 1.2, 5.1.6.5): each chain is a class, a command, its data, and one byte for our answer. Commands that make
 * no sense are refused by that byte; only a chain without room for command and answer breaks the device.
 */
#include <errno.h>
#include <string.h>

#include "virtio/net_device.h"
#include "virtio/net_header.h"

/* A legitimate command is a handful of buffers. */
#define MAX_BUFFERS 64

/* The command's data that was not read yet. Short reads make the whole command bad. */
struct command {
	const struct virtq_chain *chain;
	size_t offset;
};

static bool get(struct command *c, void *to, size_t len)
{
	size_t got = iov_read(c->chain->out, c->chain->nr_out, c->offset, to, len);
	c->offset += got;
	return got == len;
}

static bool at_end(const struct command *c)
{
	return c->offset == c->chain->out_len;
}

static bool rx_mode(struct net_device *n, uint8_t cmd, struct command *c)
{
	struct net_filter *f = &n->filter;
	bool *const flags[] = {
		[VIRTIO_NET_CTRL_RX_PROMISC] = &f->promiscuous, [VIRTIO_NET_CTRL_RX_ALLMULTI] = &f->all_multicast,
		[VIRTIO_NET_CTRL_RX_ALLUNI] = &f->all_unicast,  [VIRTIO_NET_CTRL_RX_NOMULTI] = &f->no_multicast,
		[VIRTIO_NET_CTRL_RX_NOUNI] = &f->no_unicast,    [VIRTIO_NET_CTRL_RX_NOBCAST] = &f->no_broadcast,
	};
	uint8_t on;
	if (!net_has(n, VIRTIO_NET_F_CTRL_RX) || cmd >= sizeof(flags) / sizeof(flags[0]))
		return false;
	if (cmd >= VIRTIO_NET_CTRL_RX_ALLUNI && !net_has(n, VIRTIO_NET_F_CTRL_RX_EXTRA))
		return false;
	if (!get(c, &on, sizeof(on)) || on > 1 || !at_end(c))
		return false;
	*flags[cmd] = on;
	return true;
}

/* A count, and so many addresses. */
static bool get_list(struct command *c, struct net_mac_list *list)
{
	uint32_t nr;
	if (!get(c, &nr, sizeof(nr)) || nr > (c->chain->out_len - c->offset) / sizeof(list->mac[0]))
		return false;
	if (nr > NET_FILTER_MAX) {
		list->overflow = true;
		c->offset += (size_t)nr * sizeof(list->mac[0]);
		return true;
	}
	list->nr = nr;
	return nr == 0 || get(c, list->mac, nr * sizeof(list->mac[0]));
}

static bool set_tables(struct net_device *n, struct command *c)
{
	struct net_mac_list unicast = {0};
	struct net_mac_list multicast = {0};
	if (!net_has(n, VIRTIO_NET_F_CTRL_RX) || !get_list(c, &unicast) || !get_list(c, &multicast) || !at_end(c))
		return false;
	n->filter.unicast = unicast;
	n->filter.multicast = multicast;
	return true;
}

static bool set_address(struct net_device *n, struct command *c)
{
	uint8_t mac[6];
	if (!net_has(n, VIRTIO_NET_F_CTRL_MAC_ADDR) || !get(c, mac, sizeof(mac)) || !at_end(c) || (mac[0] & 1))
		return false;
	memcpy(n->filter.mac, mac, sizeof(mac));
	virtio_device_update_config(&n->dev, offsetof(struct virtio_net_config, mac), mac, sizeof(mac));
	return true;
}

static bool set_offloads(struct net_device *n, struct command *c)
{
	uint64_t offloads;
	if (!net_has(n, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || !get(c, &offloads, sizeof(offloads)) || !at_end(c))
		return false;
	if (offloads & ~(n->features & NET_GUEST_OFFLOADS))
		return false;
	return net_apply_offloads(n, offloads) == 0;
}

static bool obey(struct net_device *n, const struct virtio_net_ctrl_hdr *hdr, struct command *c)
{
	switch (hdr->class) {
	case VIRTIO_NET_CTRL_RX:
		return rx_mode(n, hdr->cmd, c);
	case VIRTIO_NET_CTRL_MAC:
		if (hdr->cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET)
			return set_tables(n, c);
		return hdr->cmd == VIRTIO_NET_CTRL_MAC_ADDR_SET && set_address(n, c);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return hdr->cmd == VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET && set_offloads(n, c);
	default:
		return false;
	}
}

/* Returns 1 when a command was answered, 0 when there is none, -EPROTO. */
static int serve_one(struct net_device *n)
{
	struct virtq *q = &n->dev.queues[NET_QUEUE_CTRL];
	struct iovec iov[MAX_BUFFERS];
	struct virtq_chain chain;
	int ret = virtq_pop(q, iov, MAX_BUFFERS, &chain);
	if (ret <= 0)
		return ret;
	struct command command = {.chain = &chain};
	struct virtio_net_ctrl_hdr hdr;
	if (!get(&command, &hdr, sizeof(hdr)) || chain.in_len < 1)
		return -EPROTO;
	uint8_t answer = obey(n, &hdr, &command) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	iov_write(chain.in, chain.nr_in, 0, &answer, sizeof(answer));
	virtq_push(q, chain.head, sizeof(answer));
	return 1;
}

void net_ctrl_run(struct net_device *n)
{
	int ret = 1;
	for (unsigned i = 0; i < NET_BUDGET && ret == 1; i++) {
		ret = serve_one(n);
		if (ret == 0)
			ret = virtq_notify_on(&n->dev.queues[NET_QUEUE_CTRL]);
	}
	virtio_device_notify_guest(&n->dev, NET_QUEUE_CTRL);
	if (ret < 0)
		net_broken(n, "the guest broke the control queue");
	else if (ret == 1)
		virtio_device_kick(&n->dev, NET_QUEUE_CTRL);
}
