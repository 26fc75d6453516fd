/* See net_open.h. */
#include "vmm/net_open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/unix_socket.h"
#include "virtio/net_stream.h"
#include "virtio/net_tap.h"
#include "vmm/net_user.h"

static int refuse_tap(const struct config_nic *nic, int code, struct error *err)
{
	const char *ifname = nic->ifname;
	switch (code) {
	case EPERM:
		return error_set(
			err, code,
			"tap %s: this user may not open it; have root make it: ip tuntap add dev %s mode tap user $USER vnet_hdr",
			ifname, ifname);
	case EBUSY:
		return error_set(err, code, "tap %s: in use by another program; give each guest its own", ifname);
	case EINVAL:
		return error_set(err, code,
				 "tap %s: there is an interface of that name that is no single-queue tap; make one: ip tuntap add "
				 "dev %s mode tap",
				 ifname, ifname);
	default:
		return error_set(err, code, "tap %s: %s", ifname, strerror(code));
	}
}

static int open_tap(const struct config_nic *nic, struct error *err)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	if (strlen(nic->ifname) >= sizeof(ifr.ifr_name))
		return error_set(err, EINVAL, "tap %s: an interface's name has at most %d bytes", nic->ifname, IFNAMSIZ - 1);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", nic->ifname);
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_set(err, errno, "tap %s: cannot open /dev/net/tun: %s%s", nic->ifname, strerror(errno),
				 errno == ENOENT ? "; load the module: modprobe tun" : "");
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		int code = errno;
		close(fd);
		return refuse_tap(nic, code, err);
	}
	return fd;
}

static int connect_stream(const struct config_nic *nic, struct error *err)
{
	int fd = unix_socket_connect(nic->path, 0);
	if (fd == -ENAMETOOLONG)
		return error_set(err, ENAMETOOLONG, "%s: a socket's path has at most %zu bytes", nic->path,
				 sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
	if (fd < 0)
		return error_set(err, -fd, "cannot connect to %s: %s; start the program that serves it first", nic->path,
				 strerror(-fd));
	return fd;
}

static int open_kind(const struct config_nic *nic, struct net_backend **backend, struct error *err)
{
	char name[96] = "user (passt)";
	int fd = -1;
	int ret;
	switch (nic->kind) {
	case CONFIG_NET_TAP:
		if (nic->vhost)
			return error_set(err, ENOTSUP, "vhost=on is not supported: leave it out, or say vhost=off");
		if (nic->ifname) {
			fd = open_tap(nic, err);
			if (fd < 0)
				return fd;
		}
		ret = net_tap_create(fd < 0 ? nic->fd : fd, backend, err);
		break;
	case CONFIG_NET_USER:
		ret = net_user_start(nic, &fd, err);
		if (ret)
			return ret;
		ret = net_stream_create(fd, name, backend, err);
		break;
	case CONFIG_NET_STREAM:
		fd = connect_stream(nic, err);
		if (fd < 0)
			return fd;
		snprintf(name, sizeof(name), "stream,path=%s", nic->path);
		ret = net_stream_create(fd, name, backend, err);
		break;
	default:
		return error_set(err, EINVAL, "unknown kind of network");
	}
	if (ret && fd >= 0)
		close(fd);
	return ret;
}

int net_open(const struct config_nic *nic, struct net_backend **backend, struct error *err)
{
	int ret = open_kind(nic, backend, err);
	if (ret)
		error_prefix(err, "-netdev %s", nic->id);
	return ret;
}
