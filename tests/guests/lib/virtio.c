/* Finding virtio devices, negotiation, and split queues without interrupts. */
#include "virtio.h"
#include "clock.h"
#include "guest.h"
#include "io.h"
#include "memmap.h"

#define VENDOR 0x1af4

enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_CONFIG = 4 };
enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1, MOST_SIZE = 1024 };

static bool open_capabilities(struct virtio_device *dev)
{
	struct pci_bar bars[6];
	unsigned at, kind, index;
	uint64_t address;
	uint32_t offset, length;

	for (index = 0; index < 6; index++)
		if (!pci_bar_open(&dev->pci, index, &bars[index]))
			bars[index].size = 0;
	for (at = pci_capability(&dev->pci, PCI_CAP_VENDOR, 0); at; at = pci_capability(&dev->pci, PCI_CAP_VENDOR, at)) {
		kind = pci_read(&dev->pci, at + 3, 1);
		index = pci_read(&dev->pci, at + 4, 1);
		offset = pci_read(&dev->pci, at + 8, 4);
		length = pci_read(&dev->pci, at + 12, 4);
		if (kind < CAP_COMMON || kind > CAP_CONFIG)
			continue;
		if (index > 5 || bars[index].is_port || (uint64_t)offset + length > bars[index].size)
			guest_fail("virtio capability at 0x%x of device %u is outside its BAR", at, (unsigned)dev->pci.devfn);
		address = bars[index].address + offset;
		/* The first of several counts (4.1.4.1). */
		if (kind == CAP_COMMON && !dev->common) {
			dev->common = address;
			dev->common_size = length;
		} else if (kind == CAP_NOTIFY && !dev->notify) {
			dev->notify = address;
			dev->notify_size = length;
			dev->notify_multiplier = pci_read(&dev->pci, at + 16, 4);
		} else if (kind == CAP_ISR && !dev->isr) {
			dev->isr = address;
		} else if (kind == CAP_CONFIG && !dev->config) {
			dev->config = address;
			dev->config_size = length;
		}
	}
	return dev->common && dev->notify;
}

static bool next_device(size_t *at, struct virtio_device *dev)
{
	struct pci_device pci;

	while (pci_find((*at)++, &pci)) {
		if (pci.vendor != VENDOR || pci.device < 0x1000 || pci.device > 0x107f)
			continue;
		*dev = (struct virtio_device){.pci = pci};
		dev->type = (enum virtio_type)(pci.device >= 0x1040 ? pci.device - 0x1040u : pci_read(&pci, PCI_SUBSYSTEM, 2));
		return true;
	}
	return false;
}

bool virtio_find(enum virtio_type type, unsigned nth, struct virtio_device *dev)
{
	size_t at = 0;

	while (next_device(&at, dev))
		if (dev->type == type && !nth--)
			return open_capabilities(dev);
	return false;
}

bool virtio_find_any(unsigned nth, struct virtio_device *dev)
{
	size_t at = 0;

	while (next_device(&at, dev))
		if (!nth--)
			return open_capabilities(dev);
	return false;
}

uint8_t virtio_status(const struct virtio_device *dev)
{
	return mmio_read8(dev->common + VIRTIO_C_STATUS);
}

bool virtio_reset(struct virtio_device *dev)
{
	uint64_t end = clock_now_ns() + 1000000000;

	mmio_write8(dev->common + VIRTIO_C_STATUS, 0);
	while (virtio_status(dev))
		if (clock_now_ns() > end)
			return false;
	return true;
}

uint64_t virtio_offered(const struct virtio_device *dev)
{
	uint64_t low;

	mmio_write32(dev->common + VIRTIO_C_DEVICE_FEATURE_SELECT, 0);
	low = mmio_read32(dev->common + VIRTIO_C_DEVICE_FEATURE);
	mmio_write32(dev->common + VIRTIO_C_DEVICE_FEATURE_SELECT, 1);
	return low | (uint64_t)mmio_read32(dev->common + VIRTIO_C_DEVICE_FEATURE) << 32;
}

void virtio_negotiate(struct virtio_device *dev, uint64_t wanted)
{
	uint64_t offered;

	if (!virtio_reset(dev))
		guest_fail("virtio device of type %d does not reset", (int)dev->type);
	mmio_write8(dev->common + VIRTIO_C_STATUS, VIRTIO_ACKNOWLEDGE);
	mmio_write8(dev->common + VIRTIO_C_STATUS, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	offered = virtio_offered(dev);
	if (!(offered & VIRTIO_F_VERSION_1))
		guest_fail("virtio device of type %d is no modern one: features 0x%lx", (int)dev->type, offered);
	dev->features = offered & (wanted | VIRTIO_F_VERSION_1);
	mmio_write32(dev->common + VIRTIO_C_DRIVER_FEATURE_SELECT, 0);
	mmio_write32(dev->common + VIRTIO_C_DRIVER_FEATURE, (uint32_t)dev->features);
	mmio_write32(dev->common + VIRTIO_C_DRIVER_FEATURE_SELECT, 1);
	mmio_write32(dev->common + VIRTIO_C_DRIVER_FEATURE, (uint32_t)(dev->features >> 32));
	mmio_write8(dev->common + VIRTIO_C_STATUS, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
	if (!(virtio_status(dev) & VIRTIO_FEATURES_OK))
		guest_fail("virtio device of type %d refuses features 0x%lx of 0x%lx", (int)dev->type, dev->features, offered);
}

void virtio_driver_ok(struct virtio_device *dev)
{
	mmio_write8(dev->common + VIRTIO_C_STATUS, virtio_status(dev) | VIRTIO_DRIVER_OK);
	if (!(virtio_status(dev) & VIRTIO_DRIVER_OK))
		guest_fail("virtio device of type %d does not start: status 0x%x", (int)dev->type, virtio_status(dev));
}

unsigned virtio_nr_queues(const struct virtio_device *dev)
{
	return mmio_read16(dev->common + VIRTIO_C_NUM_QUEUES);
}

static void write_address(const struct virtio_device *dev, unsigned offset, uint64_t address)
{
	mmio_write32(dev->common + offset, (uint32_t)address);
	mmio_write32(dev->common + offset + 4, (uint32_t)(address >> 32));
}

static void *take_bytes(size_t bytes)
{
	return memmap_take((bytes + PAGE_SIZE - 1) / PAGE_SIZE, 1);
}

bool virtq_open(struct virtq *q, struct virtio_device *dev, unsigned index, unsigned size)
{
	unsigned most, i;

	mmio_write16(dev->common + VIRTIO_C_QUEUE_SELECT, (uint16_t)index);
	most = mmio_read16(dev->common + VIRTIO_C_QUEUE_SIZE);
	if (!most)
		return false;
	if (!size || size > most)
		size = most < MOST_SIZE ? most : MOST_SIZE;
	*q = (struct virtq){.dev = dev, .index = index, .size = size, .nr_free = (uint16_t)size};
	q->desc = take_bytes(size * sizeof(*q->desc));
	q->avail = take_bytes(6 + 2 * (size_t)size);
	q->used = take_bytes(6 + 8 * (size_t)size);
	q->tokens = take_bytes(size * sizeof(*q->tokens));
	q->indirect = take_bytes(size * VIRTQ_MOST_BUFFERS * sizeof(*q->indirect));
	for (i = 0; i < size; i++)
		q->desc[i].next = (uint16_t)(i + 1);
	q->avail[0] = AVAIL_NO_INTERRUPT;
	/* With EVENT_IDX flags are ignored: an event as far ahead as can be is as good. */
	q->avail[2 + size] = 0x8000;
	mmio_write16(dev->common + VIRTIO_C_QUEUE_SIZE, (uint16_t)size);
	mmio_write16(dev->common + VIRTIO_C_QUEUE_VECTOR, 0xffff);
	write_address(dev, VIRTIO_C_QUEUE_DESC, (uint64_t)q->desc);
	write_address(dev, VIRTIO_C_QUEUE_DRIVER, (uint64_t)q->avail);
	write_address(dev, VIRTIO_C_QUEUE_DEVICE, (uint64_t)q->used);
	q->doorbell = dev->notify + (uint64_t)mmio_read16(dev->common + VIRTIO_C_QUEUE_NOTIFY_OFF) * dev->notify_multiplier;
	if (q->doorbell + 2 > dev->notify + dev->notify_size)
		guest_fail("the doorbell of queue %u lies outside the notification area", index);
	mmio_write16(dev->common + VIRTIO_C_QUEUE_ENABLE, 1);
	if (mmio_read16(dev->common + VIRTIO_C_QUEUE_ENABLE) != 1)
		guest_fail("queue %u does not become enabled", index);
	return true;
}

bool virtq_add(struct virtq *q, const struct virtq_buffer *buffers, unsigned nr_out, unsigned nr_in, bool indirect, void *token)
{
	unsigned nr = nr_out + nr_in, i, nr_desc;
	volatile struct virtq_desc *desc;
	uint16_t head = q->free_head, at, next;
	uint32_t writable = 0;

	indirect = indirect && q->dev->features & VIRTIO_F_INDIRECT;
	nr_desc = indirect ? 1 : nr;
	if (!nr || nr > VIRTQ_MOST_BUFFERS)
		guest_fail("a request of %u buffers", nr);
	if (q->nr_free < nr_desc)
		return false;
	at = head;
	for (i = 0; i < nr; i++) {
		if (indirect) {
			desc = &q->indirect[head * VIRTQ_MOST_BUFFERS + i];
			next = (uint16_t)(i + 1);
		} else {
			desc = &q->desc[at];
			next = desc->next;
		}
		desc->address = (uint64_t)buffers[i].data;
		desc->length = buffers[i].length;
		desc->flags = (uint16_t)((i + 1 < nr ? VIRTQ_NEXT : 0) | (i >= nr_out ? VIRTQ_WRITE : 0));
		desc->next = next;
		writable += i >= nr_out ? buffers[i].length : 0;
		at = next;
	}
	if (indirect) {
		at = q->desc[head].next;
		q->desc[head].address = (uint64_t)&q->indirect[head * VIRTQ_MOST_BUFFERS];
		q->desc[head].length = nr * (uint32_t)sizeof(struct virtq_desc);
		q->desc[head].flags = VIRTQ_INDIRECT;
	}
	q->free_head = at;
	q->nr_free = (uint16_t)(q->nr_free - nr_desc);
	q->tokens[head] = (struct virtq_token){token, writable, (uint16_t)nr_desc};
	q->avail[2 + q->avail_index % q->size] = head;
	/* The device sees the entry before the index: pairs with its read barrier behind the index. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	q->avail[1] = ++q->avail_index;
	return true;
}

bool virtq_kick(struct virtq *q)
{
	uint16_t event, old = q->kicked_index;
	bool is_needed;

	/* Index before the device's wish: pairs with the device's barrier between wish and index. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->dev->features & VIRTIO_F_EVENT_IDX) {
		event = q->used[2 + 4 * q->size];
		is_needed = (uint16_t)(q->avail_index - event - 1) < (uint16_t)(q->avail_index - old);
	} else {
		is_needed = !(q->used[0] & USED_NO_NOTIFY);
	}
	q->kicked_index = q->avail_index;
	if (is_needed)
		mmio_write16(q->doorbell, (uint16_t)q->index);
	return is_needed;
}

void *virtq_poll(struct virtq *q, uint32_t *written)
{
	volatile uint32_t *element;
	struct virtq_token *token;
	uint16_t index = q->used[1], at, left;
	uint32_t head, length;

	if (index == q->used_index)
		return NULL;
	if ((uint16_t)(index - q->used_index) > (uint16_t)(q->avail_index - q->used_index))
		guest_fail("used ring: index %u, where %u were seen and %u offered", index, q->used_index, q->avail_index);
	/* Index before element: pairs with the device's write barrier. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	element = (volatile uint32_t *)(q->used + 2) + 2 * (q->used_index % q->size);
	head = element[0];
	length = element[1];
	if (head >= q->size || !q->tokens[head].nr_desc)
		guest_fail("used ring: id %u is not in flight", head);
	token = &q->tokens[head];
	if (length > token->writable)
		guest_fail("used ring: %u bytes written into %u", length, token->writable);
	/* Its descriptors, still chained, go to the front of the free ones. */
	at = (uint16_t)head;
	for (left = token->nr_desc; left > 1; left--)
		at = q->desc[at].next;
	q->desc[at].next = q->free_head;
	q->free_head = (uint16_t)head;
	q->nr_free = (uint16_t)(q->nr_free + token->nr_desc);
	token->nr_desc = 0;
	q->used_index++;
	q->avail[2 + q->size] = (uint16_t)(q->used_index + 0x8000);
	if (written)
		*written = length;
	return token->token;
}

void *virtq_wait(struct virtq *q, uint32_t *written, uint64_t timeout_us)
{
	uint64_t end = clock_now_ns() + timeout_us * 1000;
	void *token;

	while (!(token = virtq_poll(q, written))) {
		if (clock_now_ns() > end)
			return NULL;
		cpu_relax();
	}
	return token;
}

uint64_t virtio_config(const struct virtio_device *dev, unsigned offset, unsigned size)
{
	uint8_t generation;
	uint64_t value;

	if (offset + size > dev->config_size)
		return 0;
	do {
		generation = mmio_read8(dev->common + VIRTIO_C_GENERATION);
		if (size == 1)
			value = mmio_read8(dev->config + offset);
		else if (size == 2)
			value = mmio_read16(dev->config + offset);
		else
			value = mmio_read32(dev->config + offset);
		if (size == 8)
			value |= (uint64_t)mmio_read32(dev->config + offset + 4) << 32;
	} while (generation != mmio_read8(dev->common + VIRTIO_C_GENERATION));
	return value;
}
