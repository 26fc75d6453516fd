/*
 * The PCI transport of virtio 1.2, 4.1: modern devices only. This is the part that knows virtio: the layout of one 64-bit memory BAR
 * (common configuration, ISR, device configuration, notifications), the vendor capabilities that describe it, and which MSI-X vector
 * belongs to what. Configuration space, BAR placement and MSI-X tables themselves are the machine's (vmm/).
 *
 *   0x0000 common   0x1000 ISR   0x2000 device   0x3000 notify (4 bytes a queue)   BAR size 0x4000
 */
#ifndef VIRTIO_PCI_H
#define VIRTIO_PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/device.h"

#define VIRTIO_PCI_BAR_SIZE 0x4000u
#define VIRTIO_PCI_NOTIFY_OFFSET 0x3000u
#define VIRTIO_PCI_NOTIFY_STRIDE 4u
#define VIRTIO_PCI_NO_VECTOR 0xffffu

/* What the machine's PCI lends us. Callable from any thread. */
struct virtio_pci_host;
struct virtio_pci_host_ops {
	/* Sends MSI-X vector (below what virtio_pci_nr_vectors() said); a masked one becomes pending. */
	void (*msix_raise)(struct virtio_pci_host *host, unsigned vector);
	bool (*msix_enabled)(struct virtio_pci_host *host);
};
struct virtio_pci_host {
	const struct virtio_pci_host_ops *ops;
};

struct virtio_pci;

/* dev is lent, not owned. host must outlive it. Returns NULL when memory is short. */
struct virtio_pci *virtio_pci_create(struct virtio_device *dev, struct virtio_pci_host *host);
void virtio_pci_destroy(struct virtio_pci *vp);

/* Device id (0x1040 + virtio id), class code (24 bits), for configuration space. Vendor is 0x1af4, revision 1. */
uint16_t virtio_pci_device_id(const struct virtio_pci *vp);
uint32_t virtio_pci_class(const struct virtio_pci *vp);
unsigned virtio_pci_nr_vectors(const struct virtio_pci *vp); /* one a queue and one for config changes */

/*
 * The vendor capability number index (0, 1, ...), without its two-byte header of id and next pointer: writes its bytes to cap and
 * returns their count, 0 past the last. bar is the number of our BAR, remembered for the window. The last one is the access window (VIRTIO_PCI_CAP_PCI_CFG), whose
 * 4 data bytes at the end are not memory: the machine passes reads and writes of them to the two functions below.
 */
size_t virtio_pci_capability(struct virtio_pci *vp, unsigned index, uint8_t bar, uint8_t cap[32]);
bool virtio_pci_capability_is_window(const struct virtio_pci *vp, unsigned index);
/* An access through that window: bar, offset and length as the guest left them in the capability (hostile). What is no good access
 * to our BAR reads as zero and writes nothing. */
void virtio_pci_window_read(struct virtio_pci *vp, uint8_t bar, uint32_t offset, uint32_t length, uint8_t data[4]);
void virtio_pci_window_write(struct virtio_pci *vp, uint8_t bar, uint32_t offset, uint32_t length, const uint8_t data[4]);

/* Accesses to the BAR: any offset below VIRTIO_PCI_BAR_SIZE, size 1, 2, 4 or 8. Wrong ones read as ones or zero, and are ignored. */
void virtio_pci_bar_read(struct virtio_pci *vp, uint32_t offset, void *data, unsigned size);
void virtio_pci_bar_write(struct virtio_pci *vp, uint32_t offset, const void *data, unsigned size);

/* Selectors and vectors (device and queues save themselves). Reset goes with the machine's. */
void virtio_pci_reset(struct virtio_pci *vp);
void virtio_pci_save(const struct virtio_pci *vp, struct state_writer *w); /* inside the device's PCI section */
void virtio_pci_load(struct virtio_pci *vp, struct state_reader *r);

#endif
