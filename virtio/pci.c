/*
 * See pci.h. The common configuration is a table of fields: an access that is not one whole field, in its own width (virtio 1.2,
 * 4.1.3.1), reads zero and writes nothing. The one exception that the standard leaves open, a 64-bit access to a 64-bit address, works.
 *
 * Selectors are guarded by the device's lock. Vectors and the interrupt status are atomic, because a worker that raises an
 * interrupt must not wait for that lock: whoever holds it may be waiting for the worker.
 */
#include "virtio/pci.h"

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMON_OFFSET 0x0000u
#define ISR_OFFSET 0x1000u
#define DEVICE_OFFSET 0x2000u
#define PART_SIZE 0x1000u

/* The standard's structure up to queue_device: what follows belongs to features that we do not offer. */
#define COMMON_LEN ((uint32_t)sizeof(struct virtio_pci_common_cfg))

#define ISR_QUEUE 1u
#define ISR_CONFIG 2u

struct virtio_pci {
	struct virtio_transport transport; /* what the device sees */
	struct virtio_device *dev;
	struct virtio_pci_host *host;
	uint8_t bar; /* which of the function's BARs is ours: for the window */

	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint16_t queue_select;

	_Atomic uint8_t isr;
	_Atomic uint16_t config_vector;
	_Atomic uint16_t queue_vectors[VIRTIO_MAX_QUEUES];
};

static struct virtio_pci *from_transport(struct virtio_transport *transport)
{
	return (struct virtio_pci *)transport; /* the first member */
}

/* --- interrupts: any thread, no locks --- */

static void raise_vector(struct virtio_pci *vp, uint16_t vector)
{
	if (vector != VIRTIO_PCI_NO_VECTOR)
		vp->host->ops->msix_raise(vp->host, vector);
}

static void queue_interrupt(struct virtio_transport *transport, unsigned queue)
{
	struct virtio_pci *vp = from_transport(transport);
	if (vp->host->ops->msix_enabled(vp->host))
		raise_vector(vp, vp->queue_vectors[queue]);
	else
		atomic_fetch_or(&vp->isr, ISR_QUEUE);
}

static void config_interrupt(struct virtio_transport *transport)
{
	struct virtio_pci *vp = from_transport(transport);
	atomic_fetch_or(&vp->isr, ISR_CONFIG); /* with MSI-X too (virtio 1.2, 4.1.4.5.1) */
	if (vp->host->ops->msix_enabled(vp->host))
		raise_vector(vp, vp->config_vector);
}

static const struct virtio_transport_ops transport_ops = {
	.queue_interrupt = queue_interrupt,
	.config_interrupt = config_interrupt,
};

/* --- life --- */

struct virtio_pci *virtio_pci_create(struct virtio_device *dev, struct virtio_pci_host *host)
{
	struct virtio_pci *vp = calloc(1, sizeof(*vp));
	if (!vp)
		return NULL;
	vp->transport.ops = &transport_ops;
	vp->dev = dev;
	vp->host = host;
	virtio_pci_reset(vp);
	dev->transport = &vp->transport;
	return vp;
}

void virtio_pci_destroy(struct virtio_pci *vp)
{
	if (!vp)
		return;
	vp->dev->transport = NULL;
	free(vp);
}

static void forget_vectors(struct virtio_pci *vp)
{
	vp->isr = 0;
	vp->config_vector = VIRTIO_PCI_NO_VECTOR;
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		vp->queue_vectors[i] = VIRTIO_PCI_NO_VECTOR;
}

void virtio_pci_reset(struct virtio_pci *vp)
{
	vp->device_feature_select = 0;
	vp->driver_feature_select = 0;
	vp->queue_select = 0;
	forget_vectors(vp);
}

/* --- identity --- */

uint16_t virtio_pci_device_id(const struct virtio_pci *vp)
{
	return (uint16_t)(0x1040 + vp->dev->id);
}

uint32_t virtio_pci_class(const struct virtio_pci *vp)
{
	switch (vp->dev->id) {
	case VIRTIO_ID_NET_DEVICE:
		return 0x020000; /* Ethernet controller */
	case VIRTIO_ID_BLOCK_DEVICE:
		return 0x010000; /* SCSI storage, as drivers know virtio disks */
	case VIRTIO_ID_CONSOLE_DEVICE:
	case VIRTIO_ID_VSOCK_DEVICE:
		return 0x078000; /* other communication controller */
	case VIRTIO_ID_ENTROPY_DEVICE:
	case VIRTIO_ID_BALLOON_DEVICE:
		break;
	}
	return 0x00ff00; /* no class of its own */
}

unsigned virtio_pci_nr_vectors(const struct virtio_pci *vp)
{
	return vp->dev->nr_queues + 1;
}

/* --- capabilities --- */

struct part {
	uint8_t cfg_type;
	uint32_t offset;
	uint32_t length;
};

static uint32_t notify_len(const struct virtio_pci *vp)
{
	return vp->dev->nr_queues * VIRTIO_PCI_NOTIFY_STRIDE;
}

/* Returns whether there is a part of that index. A device without configuration has no part for it. */
static bool part_at(const struct virtio_pci *vp, unsigned index, struct part *part)
{
	if (index >= 2 && vp->dev->config_len == 0)
		index++;
	switch (index) {
	case 0:
		*part = (struct part){VIRTIO_PCI_CAP_COMMON_CFG, COMMON_OFFSET, COMMON_LEN};
		return true;
	case 1:
		*part = (struct part){VIRTIO_PCI_CAP_ISR_CFG, ISR_OFFSET, 1};
		return true;
	case 2:
		*part = (struct part){VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE_OFFSET, vp->dev->config_len};
		return true;
	case 3:
		*part = (struct part){VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_PCI_NOTIFY_OFFSET, notify_len(vp)};
		return true;
	case 4:
		*part = (struct part){VIRTIO_PCI_CAP_PCI_CFG, 0, 0}; /* the driver fills it in */
		return true;
	default:
		return false;
	}
}

size_t virtio_pci_capability(struct virtio_pci *vp, unsigned index, uint8_t bar, uint8_t cap[32])
{
	struct part part;
	if (!part_at(vp, index, &part))
		return 0;
	/* struct virtio_pci_cap from its length byte on, and one more word for two of the types. */
	uint32_t extra = part.cfg_type == VIRTIO_PCI_CAP_NOTIFY_CFG ? VIRTIO_PCI_NOTIFY_STRIDE : 0;
	bool longer = part.cfg_type == VIRTIO_PCI_CAP_NOTIFY_CFG || part.cfg_type == VIRTIO_PCI_CAP_PCI_CFG;
	size_t len = sizeof(struct virtio_pci_cap) - 2 + (longer ? sizeof(extra) : 0);
	memset(cap, 0, len);
	cap[0] = (uint8_t)(len + 2);
	cap[1] = part.cfg_type;
	cap[2] = bar;
	memcpy(cap + VIRTIO_PCI_CAP_OFFSET - 2, &part.offset, sizeof(part.offset));
	memcpy(cap + VIRTIO_PCI_CAP_LENGTH - 2, &part.length, sizeof(part.length));
	if (longer)
		memcpy(cap + VIRTIO_PCI_NOTIFY_CAP_MULT - 2, &extra, sizeof(extra));
	vp->bar = bar;
	return len;
}

bool virtio_pci_capability_is_window(const struct virtio_pci *vp, unsigned index)
{
	struct part part;
	return part_at(vp, index, &part) && part.cfg_type == VIRTIO_PCI_CAP_PCI_CFG;
}

static bool window_is_good(const struct virtio_pci *vp, uint8_t bar, uint32_t offset, uint32_t length)
{
	return bar == vp->bar && (length == 1 || length == 2 || length == 4) && offset % length == 0 &&
	       offset < VIRTIO_PCI_BAR_SIZE;
}

void virtio_pci_window_read(struct virtio_pci *vp, uint8_t bar, uint32_t offset, uint32_t length, uint8_t data[4])
{
	memset(data, 0, 4);
	if (window_is_good(vp, bar, offset, length))
		virtio_pci_bar_read(vp, offset, data, length);
}

void virtio_pci_window_write(struct virtio_pci *vp, uint8_t bar, uint32_t offset, uint32_t length, const uint8_t data[4])
{
	if (window_is_good(vp, bar, offset, length))
		virtio_pci_bar_write(vp, offset, data, length);
}

/* --- the common configuration --- */

/* The queue that is selected, or NULL. Lock held. */
static struct virtq *selected(struct virtio_pci *vp)
{
	return vp->queue_select < vp->dev->nr_queues ? &vp->dev->queues[vp->queue_select] : NULL;
}

static uint32_t half_of(uint64_t value, uint32_t half)
{
	return half > 1 ? 0 : (uint32_t)(value >> 32 * half);
}

/* Fields of the selected queue; there may be none. */
static uint64_t queue_field(struct virtio_pci *vp, uint32_t offset)
{
	const struct virtq *q = selected(vp);
	if (!q)
		return offset == VIRTIO_PCI_COMMON_Q_MSIX ? VIRTIO_PCI_NO_VECTOR : 0; /* a size of 0 says that it does not exist */
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return q->size;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		return vp->queue_vectors[vp->queue_select];
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return q->enabled;
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return vp->queue_select;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
		return q->desc_gpa;
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		return q->desc_gpa >> 32;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
		return q->avail_gpa;
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		return q->avail_gpa >> 32;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
		return q->used_gpa;
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		return q->used_gpa >> 32;
	default:
		return 0;
	}
}

/* Lock held, unless the field has none. */
static uint64_t common_field(struct virtio_pci *vp, uint32_t offset)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		return vp->device_feature_select;
	case VIRTIO_PCI_COMMON_DF:
		return half_of(vp->dev->features_offered, vp->device_feature_select);
	case VIRTIO_PCI_COMMON_GFSELECT:
		return vp->driver_feature_select;
	case VIRTIO_PCI_COMMON_GF:
		return half_of(vp->dev->features_acked, vp->driver_feature_select);
	case VIRTIO_PCI_COMMON_MSIX:
		return vp->config_vector;
	case VIRTIO_PCI_COMMON_NUMQ:
		return vp->dev->nr_queues;
	case VIRTIO_PCI_COMMON_STATUS:
		return virtio_device_get_status(vp->dev);
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return vp->dev->config_generation;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		return vp->queue_select;
	default:
		return queue_field(vp, offset);
	}
}

/* The width of the field that begins at offset; 0 when none does. */
static unsigned field_width(uint32_t offset)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_STATUS:
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return 1;
	case VIRTIO_PCI_COMMON_MSIX:
	case VIRTIO_PCI_COMMON_NUMQ:
	case VIRTIO_PCI_COMMON_Q_SELECT:
	case VIRTIO_PCI_COMMON_Q_SIZE:
	case VIRTIO_PCI_COMMON_Q_MSIX:
	case VIRTIO_PCI_COMMON_Q_ENABLE:
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return 2;
	case VIRTIO_PCI_COMMON_DFSELECT:
	case VIRTIO_PCI_COMMON_DF:
	case VIRTIO_PCI_COMMON_GFSELECT:
	case VIRTIO_PCI_COMMON_GF:
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
	case VIRTIO_PCI_COMMON_Q_USEDLO:
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		return 4;
	default:
		return 0;
	}
}

static bool is_address(uint32_t offset)
{
	return offset == VIRTIO_PCI_COMMON_Q_DESCLO || offset == VIRTIO_PCI_COMMON_Q_AVAILLO ||
	       offset == VIRTIO_PCI_COMMON_Q_USEDLO;
}

static bool access_is_good(uint32_t offset, unsigned size)
{
	return size == field_width(offset) || (size == 8 && is_address(offset));
}

static uint64_t common_read(struct virtio_pci *vp, uint32_t offset, unsigned size)
{
	if (!access_is_good(offset, size))
		return 0;
	lock_take(&vp->dev->lock);
	uint64_t value = common_field(vp, offset);
	lock_release(&vp->dev->lock);
	return value; /* the caller takes size bytes of it */
}

/* What is not a vector of ours becomes "none": the driver reads it back and sees that it was refused (virtio 1.2, 4.1.5.1.2.1). */
static uint16_t valid_vector(const struct virtio_pci *vp, uint64_t vector)
{
	return vector < virtio_pci_nr_vectors(vp) ? (uint16_t)vector : VIRTIO_PCI_NO_VECTOR;
}

static uint64_t replace_half(uint64_t whole, unsigned half, uint64_t bits)
{
	uint64_t mask = 0xffffffffull << 32 * half;
	return (whole & ~mask) | (bits << 32 * half & mask);
}

static void write_address(uint64_t *gpa, unsigned half, uint64_t value, unsigned size)
{
	*gpa = size == 8 ? value : replace_half(*gpa, half, value);
}

/* Lock held. Size is checked by virtq_enable(), once it matters. */
static void queue_field_write(struct virtio_pci *vp, uint32_t offset, uint64_t value, unsigned size)
{
	struct virtq *q = selected(vp);
	if (!q)
		return;
	/* Vectors may change at any time: they are no part of the ring. */
	if (offset == VIRTIO_PCI_COMMON_Q_MSIX) {
		vp->queue_vectors[vp->queue_select] = valid_vector(vp, value);
		return;
	}
	if (q->enabled || (vp->dev->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		q->size = (uint16_t)value;
		break;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		write_address(&q->desc_gpa, offset == VIRTIO_PCI_COMMON_Q_DESCHI, value, size);
		break;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		write_address(&q->avail_gpa, offset == VIRTIO_PCI_COMMON_Q_AVAILHI, value, size);
		break;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		write_address(&q->used_gpa, offset == VIRTIO_PCI_COMMON_Q_USEDHI, value, size);
		break;
	default:
		break;
	}
}

/* Lock held. */
static void common_field_write(struct virtio_pci *vp, uint32_t offset, uint64_t value, unsigned size)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		vp->device_feature_select = (uint32_t)value;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		vp->driver_feature_select = (uint32_t)value;
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		vp->config_vector = valid_vector(vp, value);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		vp->queue_select = (uint16_t)value;
		break;
	default:
		queue_field_write(vp, offset, value, size);
		break;
	}
}

static void set_status(struct virtio_pci *vp, uint8_t status)
{
	virtio_device_set_status(vp->dev, status);
	if (status == 0)
		forget_vectors(vp); /* after the device stopped: nobody raises them now */
}

static void common_write(struct virtio_pci *vp, uint32_t offset, uint64_t value, unsigned size)
{
	if (!access_is_good(offset, size))
		return;
	struct virtio_device *dev = vp->dev;
	lock_take(&dev->lock);
	uint32_t half = vp->driver_feature_select;
	uint16_t queue = vp->queue_select;
	common_field_write(vp, offset, value, size);
	lock_release(&dev->lock);

	/* What the device does by itself, under the same lock again. */
	if (offset == VIRTIO_PCI_COMMON_STATUS)
		set_status(vp, (uint8_t)value);
	else if (offset == VIRTIO_PCI_COMMON_GF)
		virtio_device_ack_features(dev, half, (uint32_t)value);
	else if (offset == VIRTIO_PCI_COMMON_Q_ENABLE && value == 1)
		virtio_device_enable_queue(dev, queue);
}

/* --- the BAR --- */

void virtio_pci_bar_read(struct virtio_pci *vp, uint32_t offset, void *data, unsigned size)
{
	uint32_t at = offset % PART_SIZE;
	uint64_t value = 0;
	if (size > sizeof(value))
		return;
	switch (offset - at) {
	case COMMON_OFFSET:
		value = common_read(vp, at, size);
		break;
	case ISR_OFFSET:
		if (at == 0 && size == 1)
			value = atomic_exchange(&vp->isr, 0); /* reading acknowledges */
		break;
	case DEVICE_OFFSET:
		virtio_device_config_read(vp->dev, at, &value, size);
		break;
	default:
		break; /* notifications are write-only */
	}
	memcpy(data, &value, size);
}

void virtio_pci_bar_write(struct virtio_pci *vp, uint32_t offset, const void *data, unsigned size)
{
	uint32_t at = offset % PART_SIZE;
	uint64_t value = 0;
	if (size > sizeof(value))
		return;
	memcpy(&value, data, size);
	switch (offset - at) {
	case COMMON_OFFSET:
		common_write(vp, at, value, size);
		break;
	case DEVICE_OFFSET:
		virtio_device_config_write(vp->dev, at, &value, size);
		break;
	case VIRTIO_PCI_NOTIFY_OFFSET:
		/* The place names the queue; the value repeats it, or does not. */
		if (at % VIRTIO_PCI_NOTIFY_STRIDE == 0 && (size == 2 || size == 4))
			virtio_device_kick(vp->dev, at / VIRTIO_PCI_NOTIFY_STRIDE);
		break;
	default:
		break;
	}
}

/* --- saved state --- */

struct field_name {
	char text[32];
};

static struct field_name vector_field(unsigned queue)
{
	struct field_name name;
	snprintf(name.text, sizeof(name.text), "queue%u.vector", queue % 1000);
	return name;
}

void virtio_pci_save(const struct virtio_pci *vp, struct state_writer *w)
{
	state_put(w, "device_feature_select", vp->device_feature_select);
	state_put(w, "driver_feature_select", vp->driver_feature_select);
	state_put(w, "queue_select", vp->queue_select);
	state_put(w, "isr", vp->isr);
	state_put(w, "config_vector", vp->config_vector);
	for (unsigned i = 0; i < vp->dev->nr_queues; i++)
		state_put(w, vector_field(i).text, vp->queue_vectors[i]);
}

static uint16_t load_vector(const struct virtio_pci *vp, const char *name, struct state_reader *r)
{
	uint64_t vector = state_get(r, name, 0, VIRTIO_PCI_NO_VECTOR);
	if (vector != VIRTIO_PCI_NO_VECTOR && vector >= virtio_pci_nr_vectors(vp))
		state_reject(r, "an interrupt vector does not exist");
	return valid_vector(vp, vector);
}

void virtio_pci_load(struct virtio_pci *vp, struct state_reader *r)
{
	vp->device_feature_select = (uint32_t)state_get(r, "device_feature_select", 0, UINT32_MAX);
	vp->driver_feature_select = (uint32_t)state_get(r, "driver_feature_select", 0, UINT32_MAX);
	vp->queue_select = (uint16_t)state_get(r, "queue_select", 0, UINT16_MAX);
	vp->isr = (uint8_t)state_get(r, "isr", 0, ISR_QUEUE | ISR_CONFIG);
	vp->config_vector = load_vector(vp, "config_vector", r);
	for (unsigned i = 0; i < vp->dev->nr_queues; i++)
		vp->queue_vectors[i] = load_vector(vp, vector_field(i).text, r);
}
