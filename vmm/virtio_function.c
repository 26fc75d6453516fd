/*
 * See virtio_function.h. BAR 0 holds the virtio registers, BAR 1 the MSI-X table.
 *
 * Locks: the PCI lock is held around config and bar_mapped callbacks; below it come the device's lock and the MSI-X lock, never the
 * other way round.
 */
#include "vmm/virtio_function.h"

#include <errno.h>
#include <linux/virtio_pci.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/container_of.h"
#include "base/log.h"

#define REGISTER_BAR 0
#define MSIX_BAR 1
#define VENDOR_CAPABILITY 0x09

struct virtio_function {
	struct pci_function pci; /* first: found back from the bus */
	struct virtio_pci_host host;
	struct hv_vm *vm;
	struct virtio_device *dev;
	struct virtio_pci *registers;
	struct msix msix;
	unsigned window; /* offset of the access window's capability in configuration space */
};

static struct virtio_function *from_pci(struct pci_function *f)
{
	return (struct virtio_function *)f;
}

static struct virtio_function *from_host(struct virtio_pci_host *host)
{
	return container_of(host, struct virtio_function, host);
}

/* --- what the transport asks of us --- */

static void host_raise(struct virtio_pci_host *host, unsigned vector)
{
	msix_raise(&from_host(host)->msix, vector);
}

static bool host_msix_enabled(struct virtio_pci_host *host)
{
	return msix_is_enabled(&from_host(host)->msix);
}

static const struct virtio_pci_host_ops host_ops = {.msix_raise = host_raise, .msix_enabled = host_msix_enabled};

/* --- what the bus asks of us --- */

static void function_bar_read(struct pci_function *f, unsigned bar, uint64_t offset, void *data, unsigned size)
{
	struct virtio_function *vf = from_pci(f);
	if (bar == REGISTER_BAR)
		virtio_pci_bar_read(vf->registers, (uint32_t)offset, data, size);
	else
		msix_bar_read(&vf->msix, offset, data, size);
}

static void function_bar_write(struct pci_function *f, unsigned bar, uint64_t offset, const void *data, unsigned size)
{
	struct virtio_function *vf = from_pci(f);
	if (bar == REGISTER_BAR)
		virtio_pci_bar_write(vf->registers, (uint32_t)offset, data, size);
	else
		msix_bar_write(&vf->msix, offset, data, size);
}

/* KVM turns notifications into eventfd wake-ups where the registers now lie. */
static void function_bar_mapped(struct pci_function *f, unsigned bar, uint64_t address, bool mapped)
{
	struct virtio_function *vf = from_pci(f);
	if (bar != REGISTER_BAR)
		return;
	for (unsigned q = 0; q < vf->dev->nr_queues; q++) {
		uint64_t at = address + VIRTIO_PCI_NOTIFY_OFFSET + q * VIRTIO_PCI_NOTIFY_STRIDE;
		int fd = vf->dev->kick_fds[q];
		int ret = mapped ? hv_vm_ioeventfd_add(vf->vm, fd, HV_SPACE_MEMORY, at, 0)
				 : hv_vm_ioeventfd_del(vf->vm, fd, HV_SPACE_MEMORY, at, 0);
		/* Without it a notification takes the slow way, through function_bar_write. */
		if (ret)
			log_guest_error("%s: ioeventfd at %#llx: %s", vf->dev->name, (unsigned long long)at, strerror(-ret));
	}
}

/* The access window (virtio 1.2, 4.1.4.9): its four data bytes stand for registers elsewhere. */
struct window {
	uint8_t bar;
	uint32_t offset, length;
	uint8_t *data;
};

static bool window_touched(struct virtio_function *vf, unsigned offset, unsigned size, struct window *window)
{
	unsigned data_at = vf->window + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
	if (!vf->window || offset >= data_at + 4 || offset + size <= data_at)
		return false;
	struct virtio_pci_cap cap;
	memcpy(&cap, &vf->pci.config[vf->window], sizeof(cap));
	*window = (struct window){cap.bar, cap.offset, cap.length, &vf->pci.config[data_at]};
	return true;
}

static void function_config_reading(struct pci_function *f, unsigned offset, unsigned size)
{
	struct virtio_function *vf = from_pci(f);
	struct window window;
	if (window_touched(vf, offset, size, &window))
		virtio_pci_window_read(vf->registers, window.bar, window.offset, window.length, window.data);
}

static void function_config_written(struct pci_function *f, unsigned offset, unsigned size)
{
	struct virtio_function *vf = from_pci(f);
	struct window window;
	/* A write of all of configuration space is a reset or a load, not the guest. */
	if (size <= 8 && window_touched(vf, offset, size, &window))
		virtio_pci_window_write(vf->registers, window.bar, window.offset, window.length, window.data);
	msix_config_written(&vf->msix, f);
}

static const struct pci_function_ops function_ops = {
	.bar_read = function_bar_read,
	.bar_write = function_bar_write,
	.bar_mapped = function_bar_mapped,
	.config_reading = function_config_reading,
	.config_written = function_config_written,
};

/* --- life --- */

static int add_capabilities(struct virtio_function *vf, struct error *err)
{
	uint8_t cap[32];
	for (unsigned i = 0;; i++) {
		size_t len = virtio_pci_capability(vf->registers, i, REGISTER_BAR, cap);
		if (len == 0)
			return 0;
		unsigned at = pci_function_add_capability(&vf->pci, VENDOR_CAPABILITY, cap, (unsigned)len);
		if (!at)
			return error_set(err, ENOSPC, "%s: no room for its PCI capabilities", vf->dev->name);
		if (virtio_pci_capability_is_window(vf->registers, i)) {
			vf->window = at;
			pci_function_make_writable(&vf->pci, at + offsetof(struct virtio_pci_cap, bar), 1);
			pci_function_make_writable(&vf->pci, at + offsetof(struct virtio_pci_cap, offset), 8);
			pci_function_make_writable(&vf->pci, at + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data), 4);
		}
	}
}

int virtio_function_create(struct pci *pci, struct hv_vm *vm, struct virtio_device *dev, int slot, int function,
			   struct virtio_function **out, struct error *err)
{
	struct virtio_function *vf = calloc(1, sizeof(*vf));
	if (!vf) {
		virtio_device_destroy(dev);
		return error_set(err, ENOMEM, "out of memory");
	}
	vf->host.ops = &host_ops;
	vf->vm = vm;
	vf->dev = dev;
	vf->registers = virtio_pci_create(dev, &vf->host);
	int ret = vf->registers ? 0 : error_set(err, ENOMEM, "out of memory");
	if (ret == 0) {
		uint16_t id = virtio_pci_device_id(vf->registers);
		pci_function_init(&vf->pci, &function_ops, 0x1af4, id, virtio_pci_class(vf->registers), 1, id);
		pci_function_add_bar(&vf->pci, REGISTER_BAR, VIRTIO_PCI_BAR_SIZE);
		ret = msix_init(&vf->msix, &vf->pci, MSIX_BAR, virtio_pci_nr_vectors(vf->registers), vm, err);
	}
	if (ret == 0)
		ret = add_capabilities(vf, err);
	if (ret == 0)
		ret = pci_add(pci, &vf->pci, slot, function, err);
	if (ret) {
		error_prefix(err, "%s", dev->name);
		virtio_function_destroy(vf);
		return ret;
	}
	*out = vf;
	return 0;
}

void virtio_function_destroy(struct virtio_function *vf)
{
	if (!vf)
		return;
	virtio_device_pause(vf->dev);
	virtio_pci_destroy(vf->registers);
	virtio_device_destroy(vf->dev);
	msix_fini(&vf->msix);
	free(vf);
}

struct virtio_device *virtio_function_device(struct virtio_function *vf)
{
	return vf->dev;
}

void virtio_function_reset(struct virtio_function *vf)
{
	virtio_device_reset(vf->dev);
	virtio_pci_reset(vf->registers);
	msix_reset(&vf->msix);
}

static void section_name(const struct virtio_function *vf, char *name, size_t size)
{
	snprintf(name, size, "transport-%.40s", vf->dev->name);
}

void virtio_function_save(struct virtio_function *vf, struct state_writer *w)
{
	char name[64];
	section_name(vf, name, sizeof(name));
	state_enter_new(w, name, 1);
	msix_save(&vf->msix, w);
	virtio_pci_save(vf->registers, w);
	state_leave_new(w);
	virtio_device_save(vf->dev, w);
}

int virtio_function_load(struct virtio_function *vf, struct state_reader *r, struct error *err)
{
	char name[64];
	section_name(vf, name, sizeof(name));
	state_enter(r, name, 1);
	msix_load(&vf->msix, r);
	virtio_pci_load(vf->registers, r);
	int ret = state_leave(r, err);
	return ret ? ret : virtio_device_load(vf->dev, r, err);
}
