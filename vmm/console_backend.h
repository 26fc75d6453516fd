/* Chardevs as ports of the virtio console: hvc0 and on. */
#ifndef VMM_CONSOLE_BACKEND_H
#define VMM_CONSOLE_BACKEND_H

#include "base/error.h"
#include "memmgr/guest_ram.h"
#include "virtio/device.h"
#include "vmm/chardev.h"

struct console_backend;

/* Makes the device with nr console ports and attaches a chardev to each; backends has room for nr. Main thread. */
int console_create(struct chardev *const *chardevs, unsigned nr, const struct guest_ram *ram, struct console_backend **backends,
		   struct virtio_device **dev, struct error *err);
/* After the device was destroyed. backend may be NULL. */
void console_backend_destroy(struct console_backend *backend);

#endif
