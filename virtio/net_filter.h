/*
 * Which frames a guest wants: the receive mode and address lists that its driver sets through the control queue (virtio 1.2, 5.1.6.5).
 * A driver that sets nothing gets all frames.
 */
#ifndef VIRTIO_NET_FILTER_H
#define VIRTIO_NET_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/state.h"

#define NET_FILTER_MAX 64 /* addresses a list; a longer one stands for all of its kind */

struct net_mac_list {
	unsigned nr;
	bool overflow;
	uint8_t mac[NET_FILTER_MAX][6];
};

struct net_filter {
	uint8_t mac[6];
	bool promiscuous, all_multicast, all_unicast, no_multicast, no_unicast, no_broadcast;
	struct net_mac_list unicast, multicast;
};

/* As after reset. */
void net_filter_reset(struct net_filter *f, const uint8_t mac[6]);
bool net_filter_wants(const struct net_filter *f, const uint8_t destination[6]);
/* Fields within the device's section. */
void net_filter_save(const struct net_filter *f, struct state_writer *w);
void net_filter_load(struct net_filter *f, struct state_reader *r);

#endif
