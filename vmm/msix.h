/*
 * MSI-X of one PCI function (PCI 3.0, 6.8.2): a table of messages and a pending bit for each, in a BAR of their own. Raising a vector
 * sends its message to the guest's LAPICs, or sets its pending bit while it is masked.
 */
#ifndef VMM_MSIX_H
#define VMM_MSIX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "base/state.h"
#include "hv/vm.h"
#include "vmm/pci.h"

#define MSIX_MAX_VECTORS 128
#define MSIX_BAR_SIZE 0x1000u
#define MSIX_TABLE_OFFSET 0x0u
#define MSIX_PBA_OFFSET 0x800u

struct msix {
	struct hv_vm *vm;
	unsigned nr_vectors;
	unsigned capability; /* offset in configuration space */

	struct lock lock;     /* guards all below */
	bool enabled, masked; /* from message control */
	struct msix_entry {
		uint32_t address_low, address_high, data, control;
	} table[MSIX_MAX_VECTORS];
	uint64_t pending[MSIX_MAX_VECTORS / 64];
};

/* Adds the capability and BAR number bar to f, before pci_add(). */
int msix_init(struct msix *msix, struct pci_function *f, unsigned bar, unsigned nr_vectors, struct hv_vm *vm, struct error *err);
void msix_fini(struct msix *msix);

/* Any thread. A vector from nr_vectors on is ignored. */
void msix_raise(struct msix *msix, unsigned vector);
bool msix_is_enabled(struct msix *msix);

/* What the function passes on. */
void msix_config_written(struct msix *msix, const struct pci_function *f);
void msix_bar_read(struct msix *msix, uint64_t offset, void *data, unsigned size);
void msix_bar_write(struct msix *msix, uint64_t offset, const void *data, unsigned size);

void msix_reset(struct msix *msix);
/* Fields inside the function's section. */
void msix_save(struct msix *msix, struct state_writer *w);
void msix_load(struct msix *msix, struct state_reader *r);

#endif
