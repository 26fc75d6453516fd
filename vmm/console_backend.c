/*
 * See console_backend.h. Output goes from the device's thread straight to the chardev. Input comes on the main thread and goes to the
 * device; when it had no room, its thread says so by chardev_accept_input_async().
 */
#include "vmm/console_backend.h"

#include <errno.h>
#include <stdlib.h>

#include "base/container_of.h"
#include "virtio/console.h"

struct console_backend {
	struct virtio_console_backend port; /* first: what the device sees */
	struct chardev_user user;
	struct virtio_device *dev; /* set once it is made */
	unsigned number;
	bool attached;
};

static struct console_backend *from_user(struct chardev_user *user)
{
	return container_of(user, struct console_backend, user);
}

static size_t port_write(struct virtio_console_backend *port, const void *data, size_t len)
{
	return chardev_write(&((struct console_backend *)port)->user, data, len);
}

static void port_readable_again(struct virtio_console_backend *port)
{
	chardev_accept_input_async(&((struct console_backend *)port)->user);
}

static const struct virtio_console_backend_ops port_ops = {.write = port_write, .readable_again = port_readable_again};

static size_t user_room(struct chardev_user *user)
{
	struct console_backend *b = from_user(user);
	return virtio_console_room(b->dev, b->number);
}

static void user_receive(struct chardev_user *user, const void *data, size_t len)
{
	struct console_backend *b = from_user(user);
	virtio_console_receive(b->dev, b->number, data, len);
}

static void user_opened(struct chardev_user *user)
{
	struct console_backend *b = from_user(user);
	virtio_console_set_connected(b->dev, b->number, true);
}

static void user_closed(struct chardev_user *user)
{
	struct console_backend *b = from_user(user);
	virtio_console_set_connected(b->dev, b->number, false);
}

static void user_writable(struct chardev_user *user)
{
	struct console_backend *b = from_user(user);
	virtio_console_writable(b->dev, b->number);
}

static const struct chardev_user_ops user_ops = {
	.room = user_room,
	.receive = user_receive,
	.opened = user_opened,
	.closed = user_closed,
	.writable = user_writable,
};

int console_create(struct chardev *const *chardevs, unsigned nr, const struct guest_ram *ram, struct console_backend **backends,
		   struct virtio_device **dev, struct error *err)
{
	struct virtio_console_port_params ports[VIRTIO_CONSOLE_MAX_PORTS] = {0};
	if (nr > VIRTIO_CONSOLE_MAX_PORTS)
		return error_set(err, EINVAL, "virtio console: %u ports, at most %d are possible", nr, VIRTIO_CONSOLE_MAX_PORTS);
	for (unsigned i = 0; i < nr; i++) {
		backends[i] = calloc(1, sizeof(*backends[i]));
		if (!backends[i])
			return error_set(err, ENOMEM, "virtio console: out of memory");
		backends[i]->port.ops = &port_ops;
		backends[i]->user.ops = &user_ops;
		backends[i]->number = i;
		ports[i].is_console = true;
		ports[i].backend = &backends[i]->port;
	}
	struct virtio_console_params params = {.name = "virtio-console0", .nr_ports = nr, .ports = ports};
	struct virtio_device *console;
	int ret = virtio_console_create(&params, ram, &console, err);
	if (ret)
		return ret;
	for (unsigned i = 0; ret == 0 && i < nr; i++) {
		backends[i]->dev = console;
		ret = chardev_attach(chardevs[i], &backends[i]->user, err);
		backends[i]->attached = ret == 0;
	}
	if (ret)
		virtio_device_destroy(console);
	else
		*dev = console;
	return ret;
}

void console_backend_destroy(struct console_backend *backend)
{
	if (!backend)
		return;
	if (backend->attached)
		chardev_detach(&backend->user);
	free(backend);
}
