/* See net_filter.h. */
#include "virtio/net_filter.h"

#include <string.h>

void net_filter_reset(struct net_filter *f, const uint8_t mac[6])
{
	memset(f, 0, sizeof(*f));
	memcpy(f->mac, mac, sizeof(f->mac));
	f->promiscuous = true;
}

static bool listed(const struct net_mac_list *list, const uint8_t mac[6])
{
	if (list->overflow)
		return true;
	for (unsigned i = 0; i < list->nr; i++) {
		if (!memcmp(list->mac[i], mac, 6))
			return true;
	}
	return false;
}

bool net_filter_wants(const struct net_filter *f, const uint8_t destination[6])
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	if (f->promiscuous)
		return true;
	if (destination[0] & 1) {
		if (!memcmp(destination, broadcast, 6))
			return !f->no_broadcast;
		return !f->no_multicast && (f->all_multicast || listed(&f->multicast, destination));
	}
	return !f->no_unicast && (f->all_unicast || !memcmp(destination, f->mac, 6) || listed(&f->unicast, destination));
}

static void save_list(const struct net_mac_list *list, const char *name, const char *name_overflow, struct state_writer *w)
{
	state_put_bytes(w, name, list->mac, list->nr * sizeof(list->mac[0]));
	state_put(w, name_overflow, list->overflow);
}

static void load_list(struct net_mac_list *list, const char *name, const char *name_overflow, struct state_reader *r)
{
	size_t len;
	const void *macs = state_get_blob(r, name, sizeof(list->mac), &len);
	if (len % sizeof(list->mac[0])) {
		state_reject(r, "a list of addresses ends within one");
		len = 0;
	}
	list->nr = (unsigned)(len / sizeof(list->mac[0]));
	if (len)
		memcpy(list->mac, macs, len);
	list->overflow = state_get(r, name_overflow, 0, 1);
}

void net_filter_save(const struct net_filter *f, struct state_writer *w)
{
	state_put_bytes(w, "mac", f->mac, sizeof(f->mac));
	state_put(w, "promiscuous", f->promiscuous);
	state_put(w, "all_multicast", f->all_multicast);
	state_put(w, "all_unicast", f->all_unicast);
	state_put(w, "no_multicast", f->no_multicast);
	state_put(w, "no_unicast", f->no_unicast);
	state_put(w, "no_broadcast", f->no_broadcast);
	save_list(&f->unicast, "unicast", "unicast_overflow", w);
	save_list(&f->multicast, "multicast", "multicast_overflow", w);
}

void net_filter_load(struct net_filter *f, struct state_reader *r)
{
	memset(f, 0, sizeof(*f));
	state_get_bytes(r, "mac", f->mac, sizeof(f->mac));
	f->promiscuous = state_get(r, "promiscuous", 0, 1);
	f->all_multicast = state_get(r, "all_multicast", 0, 1);
	f->all_unicast = state_get(r, "all_unicast", 0, 1);
	f->no_multicast = state_get(r, "no_multicast", 0, 1);
	f->no_unicast = state_get(r, "no_unicast", 0, 1);
	f->no_broadcast = state_get(r, "no_broadcast", 0, 1);
	load_list(&f->unicast, "unicast", "unicast_overflow", r);
	load_list(&f->multicast, "multicast", "multicast_overflow", r);
}
