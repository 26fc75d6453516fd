/*
 * PCI: one host bridge, bus 0, functions with 256 bytes of configuration space, memory BARs and MSI-X. The guest reaches configuration
 * space by ports CF8/CFC (PCI 3.0, 3.2.2.3.2) and by ECAM (PCI Express 3.0, 7.2.2); ours is the firmware's job too: BARs are placed and
 * decoding is enabled before the guest starts.
 */
#ifndef VMM_PCI_H
#define VMM_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/lock.h"
#include "base/state.h"
#include "vmm/bus.h"

#define PCI_MAX_FUNCTIONS 256 /* 32 slots of 8 */
#define PCI_NR_BARS 6

struct pci_function;
struct pci_function_ops {
	/* Inside the BAR; size 1, 2, 4 or 8. Any vCPU thread. */
	void (*bar_read)(struct pci_function *f, unsigned bar, uint64_t offset, void *data, unsigned size);
	void (*bar_write)(struct pci_function *f, unsigned bar, uint64_t offset, const void *data, unsigned size);
	/*
	 * Before configuration bytes are read and after they are written, for registers with a life of their own. May be NULL.
	 * The PCI lock is held.
	 */
	void (*config_reading)(struct pci_function *f, unsigned offset, unsigned size);
	void (*config_written)(struct pci_function *f, unsigned offset, unsigned size);
	/* BAR now answers at address, or (mapped false) nowhere. Tells where ioeventfds belong. May be NULL. The PCI lock is held. */
	void (*bar_mapped)(struct pci_function *f, unsigned bar, uint64_t address, bool mapped);
};

struct pci_bar {
	struct bus_range range; /* first: found back from the bus */
	struct pci_function *function;
	unsigned index;
	uint64_t size;     /* 0: no BAR */
	uint64_t power_on; /* address after reset */
	bool mapped;
};

/* Embedded as first member in what implements it. */
struct pci_function {
	const struct pci_function_ops *ops;
	struct pci *pci;
	unsigned devfn; /* slot * 8 + function */
	uint8_t config[256];
	uint8_t writable[256]; /* bits that the guest may set */
	uint8_t power_on[256]; /* config after reset; taken at pci_add() */
	struct pci_bar bars[PCI_NR_BARS];
	unsigned capability_end;  /* where the next capability goes */
	unsigned capability_last; /* where the last one's next pointer stands, 0 before the first */
};

struct pci {
	struct lock lock; /* guards configuration space of all functions, and address */
	struct bus *memory;
	uint64_t window_next; /* next free address of the BAR window, and its end */
	uint64_t window_end;
	uint32_t address; /* CF8 */
	struct bus_range
		*reset_port; /* port CF9, a byte inside CF8's dword, is somebody else's: accesses to it go there. May be NULL */
	struct bus_range address_range, data_range, ecam_range;
	struct pci_function *functions[PCI_MAX_FUNCTIONS];
	struct pci_function bridge;
};

/* Claims the configuration ports and ECAM. */
int pci_init(struct pci *pci, struct bus *ports, struct bus *memory, struct error *err);
void pci_fini(struct pci *pci);

/* Describes a function, before pci_add(). class_code has 24 bits: class, subclass, interface. */
void pci_function_init(struct pci_function *f, const struct pci_function_ops *ops, uint16_t vendor, uint16_t device,
		       uint32_t class_code, uint8_t revision, uint16_t subsystem);
/* A 32-bit memory BAR; size is a power of two from 4096 on. */
void pci_function_add_bar(struct pci_function *f, unsigned bar, uint32_t size);
/* Appends a capability: len bytes after id and next pointer. Returns its offset in configuration space, 0 when there is no room. */
unsigned pci_function_add_capability(struct pci_function *f, uint8_t id, const uint8_t *data, unsigned len);
/* Lets the guest write count bytes from offset on. */
void pci_function_make_writable(struct pci_function *f, unsigned offset, unsigned count);

/* Gives the function a slot (wanted -1: the first free one), places its BARs and switches it on. */
int pci_add(struct pci *pci, struct pci_function *f, int slot, int function, struct error *err);

/* All functions as after power-on. No vCPU runs. */
void pci_reset(struct pci *pci);
/* Section "pci" and one "pci-SLOT.FUNCTION" each. No vCPU runs. */
void pci_save(struct pci *pci, struct state_writer *w);
int pci_load(struct pci *pci, struct state_reader *r, struct error *err);

/* --- for tests and functions --- */
void pci_config_read(struct pci *pci, unsigned devfn, unsigned offset, void *data, unsigned size);
void pci_config_write(struct pci *pci, unsigned devfn, unsigned offset, const void *data, unsigned size);

#endif
