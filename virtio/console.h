/*
 * The console device (virtio 1.2, 5.3): one port that is the guest's hvc0, or up to 16 ports, each a console or a named channel
 * (/dev/virtio-ports/NAME in a Linux guest).
 *
 * Where the bytes go is the machine's affair: each port has a backend that the machine implements. The backend's functions are called on
 * the device's own thread; virtio_console_* below are called on the machine's main thread. Neither waits for the other for longer
 * than copying a few KiB takes.
 */
#ifndef VIRTIO_CONSOLE_H
#define VIRTIO_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/device.h"

#define VIRTIO_CONSOLE_MAX_PORTS 16
/* Bytes from the host that wait for the guest, for each port. */
#define VIRTIO_CONSOLE_INPUT_MAX 4096u

struct virtio_console_backend;
struct virtio_console_backend_ops {
	/* The guest's output: takes up to len bytes and returns how many. Fewer: virtio_console_writable() says when to go on. */
	size_t (*write)(struct virtio_console_backend *backend, const void *data, size_t len);
	/* virtio_console_room() grew after it was 0. May be NULL. */
	void (*readable_again)(struct virtio_console_backend *backend);
};
struct virtio_console_backend {
	const struct virtio_console_backend_ops *ops;
};

struct virtio_console_port_params {
	const char *name; /* of the channel, at most 63 bytes; NULL: none */
	bool is_console;
	bool connected;                         /* somebody is there on the host's side, from the beginning */
	struct virtio_console_backend *backend; /* must outlive the device; NULL: output is dropped */
};

struct virtio_console_params {
	const char *name;
	unsigned nr_ports;
	const struct virtio_console_port_params *ports;
	uint16_t cols, rows; /* 0: unknown */
};

/* A single console without a name gets the simple device that any guest knows; all else needs the guest's multiport support. */
int virtio_console_create(const struct virtio_console_params *params, const struct guest_ram *ram, struct virtio_device **dev,
			  struct error *err);

/* How many bytes virtio_console_receive() would take. Port numbers follow the params. */
size_t virtio_console_room(struct virtio_device *dev, unsigned port);
/* Input for the guest. Returns bytes taken; for more see readable_again. */
size_t virtio_console_receive(struct virtio_device *dev, unsigned port, const void *data, size_t len);
/* The backend takes output again. */
void virtio_console_writable(struct virtio_device *dev, unsigned port);
/* Somebody came, or went, on the host's side: guests with multiport learn of it. */
void virtio_console_set_connected(struct virtio_device *dev, unsigned port, bool connected);
/* The size of the first console's window changed. */
void virtio_console_resize(struct virtio_device *dev, uint16_t cols, uint16_t rows);

#endif
