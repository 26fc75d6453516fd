/* PCI: configuration space by ports and by ECAM, capabilities, BARs. Bus 0 and what MCFG names of it. */
#ifndef GUEST_PCI_H
#define GUEST_PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PCI_VENDOR = 0x00,
	PCI_DEVICE = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_CLASS = 0x08, /* 32 bits with the revision below */
	PCI_HEADER = 0x0e,
	PCI_BAR = 0x10,
	PCI_SUBSYSTEM = 0x2e,
	PCI_CAPABILITIES = 0x34,
};
enum { PCI_COMMAND_IO = 1, PCI_COMMAND_MEMORY = 2, PCI_COMMAND_MASTER = 4, PCI_COMMAND_NO_INTX = 0x400 };
enum { PCI_CAP_VENDOR = 0x09, PCI_CAP_MSIX = 0x11 };

struct pci_device {
	uint8_t bus, devfn;
	uint16_t vendor, device;
	uint32_t class_code; /* 24 bits */
};

enum pci_access {
	PCI_PORTS, /* CF8 and CFC */
	PCI_ECAM,
};

/* Which way is there: ports are tried first. Set by the first use; may be set by hand to test the other way. */
bool pci_has(enum pci_access access);
void pci_use(enum pci_access access);

/* size 1, 2 or 4; offset a multiple of it. 4096 bytes by ECAM, 256 by ports (all ones beyond). */
uint32_t pci_read(const struct pci_device *d, unsigned offset, unsigned size);
void pci_write(const struct pci_device *d, unsigned offset, unsigned size, uint32_t value);

/* The index-th function of bus 0, in order of slots; false past the last. */
bool pci_find(size_t index, struct pci_device *d);
/* The offset of the first capability of that id after offset after (0: from the start), 0 when there is none, or the list has a loop. */
unsigned pci_capability(const struct pci_device *d, uint8_t id, unsigned after);

struct pci_bar {
	uint64_t address, size;
	bool is_port, is_64;
};
/*
 * Sizes a BAR, gives it an address where firmware has not, maps it and switches decoding on. False where there is none. The second half
 * of a 64-bit BAR is none.
 */
bool pci_bar_open(const struct pci_device *d, unsigned index, struct pci_bar *bar);

#endif
