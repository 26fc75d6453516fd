/* See msix.h. */
#include "vmm/msix.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "base/log.h"

#define ENTRY_SIZE 16u
#define ENTRY_MASKED 1u

int msix_init(struct msix *msix, struct pci_function *f, unsigned bar, unsigned nr_vectors, struct hv_vm *vm, struct error *err)
{
	if (nr_vectors == 0 || nr_vectors > MSIX_MAX_VECTORS)
		return error_set(err, EINVAL, "MSI-X: %u vectors, at most %d are possible", nr_vectors, MSIX_MAX_VECTORS);
	memset(msix, 0, sizeof(*msix));
	msix->vm = vm;
	msix->nr_vectors = nr_vectors;
	lock_init(&msix->lock, LOCK_MSIX);
	uint8_t capability[10] = {(uint8_t)(nr_vectors - 1), (uint8_t)((nr_vectors - 1) >> 8)};
	uint32_t table = MSIX_TABLE_OFFSET | bar, pba = MSIX_PBA_OFFSET | bar;
	memcpy(&capability[2], &table, 4);
	memcpy(&capability[6], &pba, 4);
	msix->capability = pci_function_add_capability(f, PCI_CAP_ID_MSIX, capability, sizeof(capability));
	if (!msix->capability)
		return error_set(err, ENOSPC, "MSI-X: no room in configuration space");
	f->writable[msix->capability + PCI_MSIX_FLAGS + 1] = (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
	pci_function_add_bar(f, bar, MSIX_BAR_SIZE);
	msix_reset(msix);
	return 0;
}

void msix_fini(struct msix *msix)
{
	lock_fini(&msix->lock);
}

/* Sends the message if the vector is open, else leaves its pending bit set. Lock held. */
static void deliver(struct msix *msix, unsigned vector)
{
	const struct msix_entry *e = &msix->table[vector];
	uint64_t bit = 1ull << (vector % 64);
	if (!msix->enabled || msix->masked || (e->control & ENTRY_MASKED)) {
		msix->pending[vector / 64] |= bit;
		return;
	}
	msix->pending[vector / 64] &= ~bit;
	int ret = hv_vm_signal_msi(msix->vm, (uint64_t)e->address_high << 32 | e->address_low, e->data);
	if (ret < 0)
		log_guest_error("MSI-X: KVM refuses message %#x to %#x: %s", e->data, e->address_low, strerror(-ret));
}

static void deliver_pending(struct msix *msix)
{
	if (!msix->enabled || msix->masked)
		return;
	for (unsigned v = 0; v < msix->nr_vectors; v++)
		if (msix->pending[v / 64] >> (v % 64) & 1)
			deliver(msix, v);
}

void msix_raise(struct msix *msix, unsigned vector)
{
	if (vector >= msix->nr_vectors)
		return;
	lock_take(&msix->lock);
	if (msix->enabled)
		deliver(msix, vector);
	lock_release(&msix->lock);
}

bool msix_is_enabled(struct msix *msix)
{
	lock_take(&msix->lock);
	bool enabled = msix->enabled;
	lock_release(&msix->lock);
	return enabled;
}

void msix_config_written(struct msix *msix, const struct pci_function *f)
{
	uint8_t control = f->config[msix->capability + PCI_MSIX_FLAGS + 1];
	lock_take(&msix->lock);
	msix->enabled = control & (PCI_MSIX_FLAGS_ENABLE >> 8);
	msix->masked = control & (PCI_MSIX_FLAGS_MASKALL >> 8);
	deliver_pending(msix);
	lock_release(&msix->lock);
}

/* Table and pending bits are read and written in aligned 4 or 8 byte units; the specification leaves the rest undefined. */
static bool well_formed(uint64_t offset, unsigned size)
{
	return (size == 4 || size == 8) && offset % size == 0;
}

void msix_bar_read(struct msix *msix, uint64_t offset, void *data, unsigned size)
{
	memset(data, 0, size);
	if (!well_formed(offset, size))
		return;
	lock_take(&msix->lock);
	if (offset < msix->nr_vectors * ENTRY_SIZE)
		memcpy(data, (const uint8_t *)msix->table + offset, size);
	else if (offset >= MSIX_PBA_OFFSET && offset + size <= MSIX_PBA_OFFSET + sizeof(msix->pending))
		memcpy(data, (const uint8_t *)msix->pending + (offset - MSIX_PBA_OFFSET), size);
	lock_release(&msix->lock);
}

void msix_bar_write(struct msix *msix, uint64_t offset, const void *data, unsigned size)
{
	if (!well_formed(offset, size) || offset >= msix->nr_vectors * ENTRY_SIZE)
		return;
	unsigned vector = (unsigned)(offset / ENTRY_SIZE);
	lock_take(&msix->lock);
	memcpy((uint8_t *)msix->table + offset, data, size);
	msix->table[vector].address_low &= ~3u;
	msix->table[vector].control &= ENTRY_MASKED;
	if (msix->enabled && (msix->pending[vector / 64] >> (vector % 64) & 1))
		deliver(msix, vector);
	lock_release(&msix->lock);
}

void msix_reset(struct msix *msix)
{
	lock_take(&msix->lock);
	msix->enabled = msix->masked = false;
	memset(msix->table, 0, sizeof(msix->table));
	memset(msix->pending, 0, sizeof(msix->pending));
	for (unsigned i = 0; i < msix->nr_vectors; i++)
		msix->table[i].control = ENTRY_MASKED;
	lock_release(&msix->lock);
}

void msix_save(struct msix *msix, struct state_writer *w)
{
	lock_take(&msix->lock);
	state_put_bytes(w, "msix-table", msix->table, msix->nr_vectors * ENTRY_SIZE);
	state_put_bytes(w, "msix-pending", msix->pending, sizeof(msix->pending));
	lock_release(&msix->lock);
}

void msix_load(struct msix *msix, struct state_reader *r)
{
	lock_take(&msix->lock);
	state_get_bytes(r, "msix-table", msix->table, msix->nr_vectors * ENTRY_SIZE);
	state_get_bytes(r, "msix-pending", msix->pending, sizeof(msix->pending));
	for (unsigned v = 0; v < MSIX_MAX_VECTORS; v++) {
		if (v < msix->nr_vectors) {
			msix->table[v].address_low &= ~3u;
			msix->table[v].control &= ENTRY_MASKED;
		} else if (msix->pending[v / 64] >> (v % 64) & 1) {
			state_reject(r, "an interrupt is pending that the device does not have");
			break;
		}
	}
	lock_release(&msix->lock);
}
