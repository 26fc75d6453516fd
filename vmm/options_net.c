/* Networks: -netdev is the host's side, -device virtio-net-pci the guest's; -nic is both in one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "vmm/options.h"

#define DEFAULT_QUEUE_SIZE 256

static const struct property tap_rows[] = {
	PROPERTY_ROW_STRING(struct option_netdev, kind, "type", NULL),
	PROPERTY_ROW_STRING(struct option_netdev, id, "id", NULL),
	PROPERTY_ROW_NUMBER(struct option_netdev, fd, "fd", 0, 1 << 20, "an inherited descriptor of the tap"),
	PROPERTY_ROW_STRING(struct option_netdev, ifname, "ifname", "an existing tap, or one to make"),
	PROPERTY_ROW_STRING(struct option_netdev, script, "script", "no: scripts are never run"),
	PROPERTY_ROW_STRING(struct option_netdev, downscript, "downscript", "no: scripts are never run"),
	PROPERTY_ROW_BOOL(struct option_netdev, vhost, "vhost", "let the kernel move packets"),
	PROPERTY_ROW_FIXED("queues", "1", NULL),
	PROPERTY_ROW_FIXED("vnet_hdr", "on", NULL),
};
static const struct property user_rows[] = {
	PROPERTY_ROW_STRING(struct option_netdev, kind, "type", NULL),
	PROPERTY_ROW_STRING(struct option_netdev, id, "id", NULL),
	PROPERTY_ROW_LIST(struct option_netdev, hostfwd, "hostfwd",
			  "tcp|udp:[ADDRESS]:PORT-[ADDRESS]:PORT; may be given several times"),
};
static const struct property stream_rows[] = {
	PROPERTY_ROW_STRING(struct option_netdev, kind, "type", NULL),
	PROPERTY_ROW_STRING(struct option_netdev, id, "id", NULL),
	PROPERTY_ROW_BOOL(struct option_netdev, server, "server", "off"),
	PROPERTY_ROW_WORD(struct option_netdev, address_type, "addr.type", "unix", NULL),
	PROPERTY_ROW_STRING(struct option_netdev, path, "addr.path", "the unix socket of passt or the like"),
};

static const struct netdev_kind {
	const char *name;
	struct property_table table;
} kinds[] = {
	{"tap", PROPERTY_TABLE("-netdev tap", tap_rows)},
	{"user", PROPERTY_TABLE("-netdev user", user_rows)},
	{"stream", PROPERTY_TABLE("-netdev stream", stream_rows)},
};
#define NR_KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* "[ADDRESS]:PORT", the address being empty or dotted. Returns what follows the port, or NULL. */
static const char *skip_endpoint(const char *at)
{
	at += strspn(at, "0123456789.");
	if (*at++ != ':')
		return NULL;
	size_t digits = strspn(at, "0123456789");
	if (digits == 0 || digits > 5)
		return NULL;
	unsigned long port = strtoul(at, NULL, 10);
	return port >= 1 && port <= 65535 ? at + digits : NULL;
}

static int check_hostfwd(const char *text, struct error *err)
{
	/* Without a protocol it is TCP: ":2222-:22". */
	const char *at = text;
	if (!strncmp(at, "tcp:", 4) || !strncmp(at, "udp:", 4))
		at += 4;
	at = skip_endpoint(at);
	at = at && *at == '-' ? skip_endpoint(at + 1) : NULL;
	if (!at || *at)
		return error_set(err, EINVAL,
				 "hostfwd=%.60s is not PROTOCOL:[ADDRESS]:PORT-[ADDRESS]:PORT, such as tcp:127.0.0.1:2222-:22",
				 text);
	return 0;
}

static int check_netdev(const struct option_netdev *netdev, struct error *err)
{
	if (!strcmp(netdev->kind, "tap")) {
		if (netdev->fd.set && netdev->ifname)
			return error_set(err, EINVAL, "fd and ifname exclude each other");
		if (netdev->ifname && (!*netdev->ifname || strlen(netdev->ifname) > 15))
			return error_set(err, EINVAL, "ifname: an interface's name has 1 to 15 bytes");
		/* script= alone names none either. */
		if ((netdev->script && *netdev->script && strcmp(netdev->script, "no") != 0) ||
		    (netdev->downscript && *netdev->downscript && strcmp(netdev->downscript, "no") != 0))
			return error_set(err, EINVAL,
					 "scripts are not run; set the tap up before, and say script=no,downscript=no");
	} else if (!strcmp(netdev->kind, "stream")) {
		if (netdev->server == OPTION_ON)
			return error_set(err, EINVAL, "server=on: we have server=off, which connects");
		if (!netdev->path || !*netdev->path || strlen(netdev->path) > 107)
			return error_set(err, EINVAL, "needs addr.type=unix,addr.path=PATH, of 1 to 107 bytes");
	}
	for (unsigned i = 0; i < netdev->hostfwd.nr; i++) {
		int ret = check_hostfwd(netdev->hostfwd.items[i], err);
		if (ret)
			return ret;
	}
	return 0;
}

static struct option_netdev *find_netdev(struct options *o, const char *id)
{
	for (size_t i = 0; i < o->nr_netdevs; i++)
		if (!strcmp(o->netdevs[i].id, id))
			return &o->netdevs[i];
	return NULL;
}

static int add_netdev(struct options *o, const struct keyvals *kv, struct error *err)
{
	const char *name = keyvals_get(kv, "type");
	for (size_t i = 0; i < NR_KINDS; i++) {
		struct option_netdev netdev = {.kind = NULL};
		if (!name || strcmp(name, kinds[i].name) != 0)
			continue;
		int ret = options_apply(&kinds[i].table, kv, &netdev, err);
		if (ret)
			return ret;
		if (!netdev.id)
			return error_set(err, EINVAL, "needs id=");
		ret = options_check_id(netdev.id, err);
		if (!ret && find_netdev(o, netdev.id))
			ret = options_duplicate_id(netdev.id, err);
		if (!ret && o->nr_netdevs == CONFIG_MAX_NICS)
			ret = error_set(err, EINVAL, "more than %d netdevs", CONFIG_MAX_NICS);
		if (!ret)
			ret = check_netdev(&netdev, err);
		if (!ret)
			o->netdevs[o->nr_netdevs++] = netdev;
		return ret;
	}
	return error_set(err, EINVAL, "netdev \"%.60s\": we have tap, user and stream", name ? name : "");
}

int options_netdev(struct options *o, const char *argument, struct error *err)
{
	struct keyvals *kv;
	int ret = keyvals_parse(o, argument, "type", &kv, err);
	if (ret)
		return ret;
	if (keyvals_want_help(kv)) {
		printf("Netdevs:\n");
		for (size_t i = 0; i < NR_KINDS; i++)
			printf("  %s\n", kinds[i].name);
		*o->done = true;
		return 0;
	}
	return add_netdev(o, kv, err);
}

/* -nic: model and mac are the device's, all else is the netdev's. */
int options_nic(struct options *o, const char *argument, struct error *err)
{
	struct option_nic {
		const char *model;
		struct option_mac mac;
	} nic = {.model = NULL};
	static const struct property rows[] = {
		PROPERTY_ROW_STRING(struct option_nic, model, "model", "virtio-net-pci"),
		PROPERTY_ROW_MAC(struct option_nic, mac, "mac", NULL),
	};
	static const struct property_table table = PROPERTY_TABLE("-nic", rows);
	struct keyvals *kv, *id;
	char unique[32];
	if (!strcmp(argument, "none"))
		return 0;
	int ret = keyvals_parse(o, argument, "type", &kv, err);
	if (ret)
		return ret;
	struct keyvals device = {.nr = 0};
	size_t left = 0;
	for (size_t i = 0; i < kv->nr; i++) {
		if (!strcmp(kv->items[i].key, "model") || !strcmp(kv->items[i].key, "mac"))
			device.items[device.nr++] = kv->items[i];
		else
			kv->items[left++] = kv->items[i];
	}
	kv->nr = left;
	ret = options_apply(&table, &device, &nic, err);
	if (ret)
		return ret;
	if (nic.model && options_word_index("virtio-net-pci|virtio|virtio-net", nic.model) < 0)
		return error_set(err, EINVAL, "model=%.60s: we have virtio-net-pci", nic.model);
	if (!keyvals_get(kv, "id")) {
		snprintf(unique, sizeof(unique), "nic%zu", o->nr_netdevs);
		ret = keyvals_parse(o, unique, "id", &id, err);
		if (ret)
			return ret;
		if (kv->nr == OPTIONS_MAX_KEYVALS)
			return error_set(err, EINVAL, "more than %d properties", OPTIONS_MAX_KEYVALS);
		kv->items[kv->nr++] = id->items[0];
	}
	ret = add_netdev(o, kv, err);
	if (ret)
		return ret;
	struct option_device *added = options_add_device(o, "virtio-net-pci", err);
	if (!added)
		return -EINVAL;
	added->argument = argument;
	added->net.netdev = o->netdevs[o->nr_netdevs - 1].id;
	added->net.mac = nic.mac;
	return 0;
}

int options_net(struct options *o, const char *argument, struct error *err)
{
	(void)o;
	return strcmp(argument, "none") ? error_set(err, EINVAL, "we have -netdev and -device, or -nic") : 0;
}

/* --- resolve --- */

static int resolve_queue_size(const struct option_net_device *net, struct config_nic *nic, struct error *err)
{
	uint64_t size = net->rx_queue_size.set   ? net->rx_queue_size.value
			: net->tx_queue_size.set ? net->tx_queue_size.value
						 : DEFAULT_QUEUE_SIZE;
	if (size & (size - 1))
		return error_set(err, EINVAL, "a queue size of %llu is not a power of two", (unsigned long long)size);
	if (net->rx_queue_size.set && net->tx_queue_size.set && net->rx_queue_size.value != net->tx_queue_size.value)
		return error_set(err, EINVAL, "rx_queue_size and tx_queue_size must be the same");
	nic->queue_size = (unsigned)size;
	return 0;
}

static int copy_netdev(const struct option_netdev *netdev, struct config_nic *nic, struct error *err)
{
	static const char words[] = "tap|user|stream";
	switch (options_word_index(words, netdev->kind)) {
	case 0:
		nic->kind = CONFIG_NET_TAP;
		break;
	case 1:
		nic->kind = CONFIG_NET_USER;
		break;
	default:
		nic->kind = CONFIG_NET_STREAM;
		break;
	}
	nic->fd = netdev->fd.set ? (int)netdev->fd.value : -1;
	nic->vhost = netdev->vhost == OPTION_ON;
	int ret = options_copy(&nic->id, netdev->id, err);
	if (!ret)
		ret = options_copy(&nic->ifname, netdev->ifname, err);
	if (!ret)
		ret = options_copy(&nic->path, netdev->path, err);
	for (unsigned i = 0; !ret && i < netdev->hostfwd.nr; i++) {
		ret = options_copy(&nic->hostfwd[i], netdev->hostfwd.items[i], err);
		nic->nr_hostfwds = i + 1;
	}
	return ret;
}

static bool mac_taken(const struct config *c, const uint8_t mac[6], unsigned but)
{
	for (unsigned i = 0; i < c->nr_nics; i++)
		if (i != but && !memcmp(c->nics[i].mac, mac, 6))
			return true;
	return false;
}

static int resolve_net_device(struct options *o, const struct option_device *device, struct error *err)
{
	const struct option_net_device *net = &device->net;
	struct config *c = o->config;
	if (!net->netdev)
		return error_set(err, EINVAL, "needs netdev=");
	struct option_netdev *netdev = find_netdev(o, net->netdev);
	if (!netdev) {
		struct nearest nearest;
		char hint[100];
		nearest_start(&nearest, net->netdev);
		for (size_t i = 0; i < o->nr_netdevs; i++)
			nearest_try(&nearest, o->netdevs[i].id);
		return error_set(err, EINVAL, "netdev=%.60s: there is no such -netdev%s", net->netdev,
				 nearest_hint(&nearest, "", hint, sizeof(hint)));
	}
	if (netdev->used)
		return error_set(err, EINVAL, "netdev=%s is in use by an earlier -device", net->netdev);
	netdev->used = true;
	/* No more devices than netdevs come here, and those are counted. */
	struct config_nic *nic = &c->nics[c->nr_nics++];
	*nic = (struct config_nic){.fd = -1, .mtu = (unsigned)net->mtu.value, .address = device->address};
	int ret = copy_netdev(netdev, nic, err);
	if (!ret)
		ret = options_copy(&nic->qdev, device->id, err);
	if (!ret)
		ret = resolve_queue_size(net, nic, err);
	if (!ret && net->mac.set) {
		if (mac_taken(c, net->mac.bytes, c->nr_nics - 1))
			return error_set(err, EINVAL, "mac= is that of another device");
		memcpy(nic->mac, net->mac.bytes, 6);
	}
	return ret;
}

/* QEMU's default addresses: 52:54:00:12:34:56 and up. */
static void give_macs(struct options *o)
{
	struct config *c = o->config;
	static const uint8_t none[6] = {0};
	uint8_t mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
	for (unsigned i = 0; i < c->nr_nics; i++) {
		if (memcmp(c->nics[i].mac, none, 6) != 0)
			continue;
		while (mac_taken(c, mac, i))
			mac[5]++;
		memcpy(c->nics[i].mac, mac, 6);
	}
}

int options_resolve_net(struct options *o, struct error *err)
{
	for (size_t i = 0; i < o->nr_devices; i++) {
		const struct option_device *device = &o->devices[i];
		if (device->kind != OPTION_DEVICE_NET)
			continue;
		int ret = resolve_net_device(o, device, err);
		if (ret) {
			error_prefix(err, "-device %.80s", device->argument);
			return ret;
		}
	}
	give_macs(o);
	for (size_t i = 0; i < o->nr_netdevs; i++)
		if (!o->netdevs[i].used)
			log_warning("-netdev %s,id=%s: no -device has netdev=%s, so that the guest will not see it",
				    o->netdevs[i].kind, o->netdevs[i].id, o->netdevs[i].id);
	return 0;
}
