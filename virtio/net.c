/*
 * See net.h and net_device.h: the life of the device. Its thread sleeps until the guest kicks a queue or the backend has news.
 *
 *      create --> stopped --net_start--> serving --net_stop--> stopped --> net_destroy
 *                                         |
 *                                         +-- net_broken: waits for a reset      net_lost: goes on without a link
 */
#include "virtio/net.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/container_of.h"
#include "base/log.h"
#include "virtio/net_device.h"
#include "virtio/net_header.h"

/* What we offer whatever the backend can do. */
#define OWN_FEATURES                                                                                           \
	(NET_BIT(VIRTIO_NET_F_MAC) | NET_BIT(VIRTIO_NET_F_STATUS) | NET_BIT(VIRTIO_NET_F_MRG_RXBUF) |          \
	 NET_BIT(VIRTIO_NET_F_CTRL_VQ) | NET_BIT(VIRTIO_NET_F_CTRL_RX) | NET_BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | \
	 NET_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR))

#define CONFIG_LEN (offsetof(struct virtio_net_config, mtu) + sizeof(uint16_t))

/* The smallest MTU that a guest must be able to take (virtio 1.2, 5.1.4.1). */
#define MTU_MIN 68

bool net_link_up(const struct net_device *n)
{
	return n->plugged && !n->lost;
}

static uint16_t link_status(const struct net_device *n)
{
	return net_link_up(n) ? VIRTIO_NET_S_LINK_UP : 0;
}

/* The worker and the main thread may both bring news: whoever comes last looks again, so that the last word is the right one. */
static void tell_link(struct net_device *n)
{
	uint16_t status;
	do {
		status = link_status(n);
		virtio_device_update_config(&n->dev, offsetof(struct virtio_net_config, status), &status, sizeof(status));
	} while (status != link_status(n));
}

/* --- what goes wrong --- */

static void unwatch(struct net_device *n)
{
	for (unsigned i = 0; i < NET_NR_QUEUES; i++)
		ev_io_stop(n->worker.loop, &n->kicks[i]);
	ev_io_stop(n->worker.loop, &n->readable);
	ev_io_stop(n->worker.loop, &n->writable);
}

void net_broken(struct net_device *n, const char *why)
{
	virtio_device_fail(&n->dev, "%s", why);
	unwatch(n);
}

void net_lost(struct net_device *n, int code)
{
	log_error("%s: %s ended: %s; the guest has no link any more", n->dev.name, n->backend->name, strerror(code));
	n->lost = true;
	n->tx.blocked = false;
	ev_io_stop(n->worker.loop, &n->readable);
	ev_io_stop(n->worker.loop, &n->writable);
	tell_link(n);
	virtio_device_kick(&n->dev, NET_QUEUE_TX); /* frames that waited are dropped */
}

/* --- events, on the worker --- */

static struct net_device *of_kick(ev_io *watcher, unsigned queue)
{
	return (struct net_device *)((char *)watcher - offsetof(struct net_device, kicks) - queue * sizeof(ev_io));
}

static void clear_kick(const ev_io *watcher)
{
	eventfd_t count;
	eventfd_read(watcher->fd, &count);
}

static void on_rx_kick(struct ev_loop *loop, ev_io *watcher, int revents)
{
	(void)loop;
	(void)revents;
	clear_kick(watcher);
	net_rx_run(of_kick(watcher, NET_QUEUE_RX));
}

static void on_tx_kick(struct ev_loop *loop, ev_io *watcher, int revents)
{
	(void)loop;
	(void)revents;
	clear_kick(watcher);
	struct net_device *n = of_kick(watcher, NET_QUEUE_TX);
	net_tx_run(n);
	/* What was sent is often answered at once, by the host itself: that spares a turn of the loop. */
	if (ev_is_active(&n->readable))
		net_rx_run(n);
}

static void on_ctrl_kick(struct ev_loop *loop, ev_io *watcher, int revents)
{
	(void)loop;
	(void)revents;
	clear_kick(watcher);
	net_ctrl_run(of_kick(watcher, NET_QUEUE_CTRL));
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int revents)
{
	(void)loop;
	(void)revents;
	net_rx_run(container_of(watcher, struct net_device, readable));
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int revents)
{
	(void)loop;
	(void)revents;
	net_tx_writable(container_of(watcher, struct net_device, writable));
}

/* --- the core's calls --- */

int net_apply_offloads(struct net_device *n, uint64_t offloads)
{
	int ret = n->backend->ops->set_offloads && !n->lost ? n->backend->ops->set_offloads(n->backend, offloads) : 0;
	if (ret == 0) {
		n->offloads = offloads;
		n->offloads_set = true;
	}
	return ret;
}

static int net_start(struct virtio_device *dev)
{
	struct net_device *n = net_of(dev);
	n->features = dev->features_acked;
	n->tx.blocked = false;
	int ret = net_apply_offloads(n, n->offloads_set ? n->offloads : n->features & NET_GUEST_OFFLOADS);
	if (ret)
		return ret;
	/* The core kicks all queues after the start: that makes the first run of each. */
	for (unsigned i = 0; i < NET_NR_QUEUES; i++)
		ev_io_start(n->worker.loop, &n->kicks[i]);
	char name[16];
	snprintf(name, sizeof(name), "%.15s", dev->name);
	ret = worker_start(&n->worker, name);
	if (ret)
		unwatch(n);
	return ret;
}

static void net_stop(struct virtio_device *dev)
{
	struct net_device *n = net_of(dev);
	worker_stop(&n->worker);
	unwatch(n);
	net_rx_release(n);
}

static void reset_state(struct net_device *n)
{
	net_rx_forget(n);
	net_filter_reset(&n->filter, n->mac);
	n->offloads = 0;
	n->offloads_set = false;
	virtio_device_update_config(&n->dev, offsetof(struct virtio_net_config, mac), n->mac, sizeof(n->mac));
	tell_link(n);
}

static void net_reset(struct virtio_device *dev)
{
	reset_state(net_of(dev));
}

/* The frame that waits for buffers is not saved: a network may lose frames. */
static void net_save(struct virtio_device *dev, struct state_writer *w)
{
	struct net_device *n = net_of(dev);
	state_put(w, "plugged", n->plugged);
	state_put(w, "offloads_set", n->offloads_set);
	state_put(w, "offloads", n->offloads);
	net_filter_save(&n->filter, w);
}

static void net_load(struct virtio_device *dev, struct state_reader *r)
{
	struct net_device *n = net_of(dev);
	n->plugged = state_get(r, "plugged", 0, 1);
	n->offloads_set = state_get(r, "offloads_set", 0, 1);
	n->offloads = state_get(r, "offloads", 0, UINT64_MAX);
	if (n->offloads & ~(dev->features_acked & NET_GUEST_OFFLOADS))
		state_reject(r, "offloads are in force that the guest did not negotiate");
	net_filter_load(&n->filter, r);
	virtio_device_update_config(dev, offsetof(struct virtio_net_config, mac), n->filter.mac, sizeof(n->filter.mac));
	tell_link(n);
}

static void net_destroy(struct virtio_device *dev)
{
	struct net_device *n = net_of(dev);
	worker_fini(&n->worker);
	net_backend_destroy(n->backend);
	virtio_device_fini(dev);
	free(n);
}

static const struct virtio_device_ops net_ops = {
	.start = net_start,
	.stop = net_stop,
	.reset = net_reset,
	.save = net_save,
	.load = net_load,
	.destroy = net_destroy,
};

/* --- making one --- */

static void init_watchers(struct net_device *n)
{
	ev_io_init(&n->kicks[NET_QUEUE_RX], on_rx_kick, n->dev.kick_fds[NET_QUEUE_RX], EV_READ);
	ev_io_init(&n->kicks[NET_QUEUE_TX], on_tx_kick, n->dev.kick_fds[NET_QUEUE_TX], EV_READ);
	ev_io_init(&n->kicks[NET_QUEUE_CTRL], on_ctrl_kick, n->dev.kick_fds[NET_QUEUE_CTRL], EV_READ);
	ev_io_init(&n->readable, on_readable, n->backend->fd, EV_READ);
	ev_io_init(&n->writable, on_writable, n->backend->fd, EV_WRITE);
}

static int check_params(const struct virtio_net_params *params, struct error *err)
{
	if (params->mac[0] & 1)
		return error_set(err, EINVAL, "%s: mac=%02x:... is a group's address; the first byte of one device's is even",
				 params->name, params->mac[0]);
	if (params->mtu && params->mtu < MTU_MIN)
		return error_set(err, EINVAL, "%s: host_mtu=%u is too small, must be %u to 65535", params->name, params->mtu,
				 MTU_MIN);
	return 0;
}

int virtio_net_create(const struct virtio_net_params *params, const struct guest_ram *ram, struct virtio_device **dev,
		      struct error *err)
{
	int ret = check_params(params, err);
	if (ret)
		return ret;
	uint64_t features = OWN_FEATURES | params->backend->features;
	if (params->backend->features & NET_GUEST_OFFLOADS)
		features |= NET_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	if (params->mtu)
		features |= NET_BIT(VIRTIO_NET_F_MTU);

	struct net_device *n = calloc(1, sizeof(*n));
	if (!n)
		return error_set(err, ENOMEM, "%s: out of memory", params->name);
	ret = virtio_device_init(&n->dev, &net_ops, VIRTIO_ID_NET_DEVICE, params->name, ram, features, NET_NR_QUEUES,
				 params->queue_size, CONFIG_LEN, err);
	if (ret)
		goto free_device;
	ret = worker_init(&n->worker);
	if (ret) {
		error_set(err, -ret, "%s: cannot make an event loop: %s", params->name, strerror(-ret));
		goto fini_device;
	}
	n->backend = params->backend;
	memcpy(n->mac, params->mac, sizeof(n->mac));
	n->plugged = true;
	init_watchers(n);
	virtio_device_update_config(&n->dev, offsetof(struct virtio_net_config, mtu), &params->mtu, sizeof(params->mtu));
	reset_state(n);
	*dev = &n->dev;
	return 0;

fini_device:
	virtio_device_fini(&n->dev);
free_device:
	free(n);
	return ret;
}

/* --- for the machine --- */

void virtio_net_set_link(struct virtio_device *dev, bool up)
{
	struct net_device *n = net_of(dev);
	if (atomic_exchange(&n->plugged, up) != up)
		tell_link(n);
}

bool virtio_net_link_up(const struct virtio_device *dev)
{
	return net_link_up((const struct net_device *)dev);
}

void virtio_net_get_stats(const struct virtio_device *dev, struct virtio_net_stats *stats)
{
	const struct net_device *n = (const struct net_device *)dev;
	*stats = (struct virtio_net_stats){
		.rx_packets = n->rx_count.packets,
		.rx_bytes = n->rx_count.bytes,
		.rx_dropped = n->rx_count.dropped,
		.tx_packets = n->tx_count.packets,
		.tx_bytes = n->tx_count.bytes,
		.tx_dropped = n->tx_count.dropped,
	};
}

const char *virtio_net_backend_name(const struct virtio_device *dev)
{
	return ((const struct net_device *)dev)->backend->name;
}

void virtio_net_get_mac(struct virtio_device *dev, uint8_t mac[6])
{
	virtio_device_config_read(dev, offsetof(struct virtio_net_config, mac), mac, 6);
}

void net_backend_destroy(struct net_backend *b)
{
	if (b)
		b->ops->destroy(b);
}
