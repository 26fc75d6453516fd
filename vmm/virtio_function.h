/* A virtio device as a function on our PCI bus: joins virtio/pci.h (registers), vmm/pci.h (configuration space) and vmm/msix.h. */
#ifndef VMM_VIRTIO_FUNCTION_H
#define VMM_VIRTIO_FUNCTION_H

#include "base/error.h"
#include "hv/vm.h"
#include "virtio/device.h"
#include "virtio/pci.h"
#include "vmm/msix.h"
#include "vmm/pci.h"

struct virtio_function;

/* Takes over dev, also on failure. slot -1: any. Notifications come by ioeventfd from the moment on at which the BAR is mapped. */
int virtio_function_create(struct pci *pci, struct hv_vm *vm, struct virtio_device *dev, int slot, int function,
			   struct virtio_function **vf, struct error *err);
/* No vCPU runs any more, and the PCI bus is not used again. */
void virtio_function_destroy(struct virtio_function *vf);
struct virtio_device *virtio_function_device(struct virtio_function *vf);

/* Transport, MSI-X and device; configuration space is reset and saved with the PCI bus. No vCPU runs, the device is paused. */
void virtio_function_reset(struct virtio_function *vf);
void virtio_function_save(struct virtio_function *vf, struct state_writer *w);
int virtio_function_load(struct virtio_function *vf, struct state_reader *r, struct error *err);

#endif
