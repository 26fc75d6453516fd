/* PCI Local Bus 3.0, chapter 6, and PCI Express 3.0, 7.2.2 (ECAM). */
#include "pci.h"
#include "acpi.h"
#include "guest.h"
#include "io.h"
#include "lock.h"
#include "paging.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
/* Addresses for BARs that nobody placed: the hole that every PC leaves there. */
#define WINDOW_START 0xc0000000ull
#define WINDOW_END 0xdfffffffull

static enum pci_access access_used;
static bool is_chosen;
static uint64_t ecam_gpa;
static uint64_t window_next = WINDOW_START, port_next = 0xc000;
static struct lock ports_lock; /* address and data port are one operation */

bool pci_has(enum pci_access access)
{
	uint8_t first, last;
	bool is_there;

	if (access == PCI_ECAM)
		return acpi_ecam(&ecam_gpa, &first, &last) && first == 0;
	lock_take(&ports_lock);
	io_out32(CONFIG_ADDRESS, 0x80000000);
	is_there = io_in32(CONFIG_ADDRESS) == 0x80000000;
	lock_drop(&ports_lock);
	return is_there;
}

void pci_use(enum pci_access access)
{
	uint8_t first, last;

	if (access == PCI_ECAM) {
		if (!acpi_ecam(&ecam_gpa, &first, &last))
			guest_fail("no ECAM: there is no MCFG table");
		paging_map(ecam_gpa, 1ull << 20);
	}
	access_used = access;
	is_chosen = true;
}

static void choose(void)
{
	if (!is_chosen)
		pci_use(pci_has(PCI_PORTS) ? PCI_PORTS : PCI_ECAM);
}

static uint64_t ecam_address(const struct pci_device *d, unsigned offset)
{
	return ecam_gpa + ((uint64_t)d->bus << 20) + ((uint64_t)d->devfn << 12) + offset;
}

static uint32_t port_address(const struct pci_device *d, unsigned offset)
{
	return 0x80000000u | (uint32_t)d->bus << 16 | (uint32_t)d->devfn << 8 | (offset & 0xfc);
}

uint32_t pci_read(const struct pci_device *d, unsigned offset, unsigned size)
{
	uint16_t data = (uint16_t)(CONFIG_DATA + (offset & 3));
	uint32_t value;

	choose();
	if (access_used == PCI_ECAM) {
		if (size == 1)
			return mmio_read8(ecam_address(d, offset));
		return size == 2 ? mmio_read16(ecam_address(d, offset)) : mmio_read32(ecam_address(d, offset));
	}
	if (offset > 0xff)
		return 0xffffffffu;
	lock_take(&ports_lock);
	io_out32(CONFIG_ADDRESS, port_address(d, offset));
	value = size == 1 ? io_in8(data) : size == 2 ? io_in16(data) : io_in32(data);
	lock_drop(&ports_lock);
	return value;
}

void pci_write(const struct pci_device *d, unsigned offset, unsigned size, uint32_t value)
{
	uint16_t data = (uint16_t)(CONFIG_DATA + (offset & 3));

	choose();
	if (access_used == PCI_ECAM) {
		if (size == 1)
			mmio_write8(ecam_address(d, offset), (uint8_t)value);
		else if (size == 2)
			mmio_write16(ecam_address(d, offset), (uint16_t)value);
		else
			mmio_write32(ecam_address(d, offset), value);
		return;
	}
	if (offset > 0xff)
		return;
	lock_take(&ports_lock);
	io_out32(CONFIG_ADDRESS, port_address(d, offset));
	if (size == 1)
		io_out8(data, (uint8_t)value);
	else if (size == 2)
		io_out16(data, (uint16_t)value);
	else
		io_out32(data, value);
	lock_drop(&ports_lock);
}

bool pci_find(size_t index, struct pci_device *d)
{
	unsigned devfn;
	uint32_t id;

	for (devfn = 0; devfn < 256; devfn++) {
		*d = (struct pci_device){.devfn = (uint8_t)devfn};
		/* Functions past 0 only answer where function 0 says that there are several. */
		if (devfn % 8) {
			d->devfn = (uint8_t)(devfn & ~7u);
			if (!(pci_read(d, PCI_HEADER, 1) & 0x80)) {
				devfn |= 7;
				continue;
			}
			d->devfn = (uint8_t)devfn;
		}
		id = pci_read(d, PCI_VENDOR, 4);
		if ((id & 0xffff) == 0xffff) {
			devfn |= devfn % 8 ? 0 : 7;
			continue;
		}
		if (index--)
			continue;
		d->vendor = (uint16_t)id;
		d->device = (uint16_t)(id >> 16);
		d->class_code = pci_read(d, PCI_CLASS, 4) >> 8;
		return true;
	}
	return false;
}

unsigned pci_capability(const struct pci_device *d, uint8_t id, unsigned after)
{
	unsigned at, steps;
	bool is_past = !after;

	if (!(pci_read(d, PCI_STATUS, 2) & 0x10))
		return 0;
	at = pci_read(d, PCI_CAPABILITIES, 1) & 0xfc;
	for (steps = 0; at >= 0x40 && steps < 48; steps++) {
		if (is_past && pci_read(d, at, 1) == id)
			return at;
		is_past |= at == after;
		at = pci_read(d, at + 1, 1) & 0xfc;
	}
	return 0;
}

static uint64_t place(const struct pci_bar *bar)
{
	uint64_t *next = bar->is_port ? &port_next : &window_next, address;

	address = (*next + bar->size - 1) & ~(bar->size - 1);
	if (!bar->is_port && address + bar->size - 1 > WINDOW_END)
		guest_fail("no room for a BAR of 0x%lx bytes", bar->size);
	*next = address + bar->size;
	return address;
}

bool pci_bar_open(const struct pci_device *d, unsigned index, struct pci_bar *bar)
{
	unsigned offset = PCI_BAR + 4 * index, i;
	uint32_t command = pci_read(d, PCI_COMMAND, 2), low, high = 0, size_low, size_high = 0xffffffff;
	uint64_t mask;

	if (index > 5)
		return false;
	for (i = 0; i < index; i++)
		if ((pci_read(d, PCI_BAR + 4 * i, 4) & 7) == 4 && ++i == index)
			return false;
	low = pci_read(d, offset, 4);
	*bar = (struct pci_bar){.is_port = low & 1, .is_64 = (low & 7) == 4};
	/* While it is sized it must not decode. */
	pci_write(d, PCI_COMMAND, 2, command & ~(uint32_t)(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
	pci_write(d, offset, 4, 0xffffffff);
	size_low = pci_read(d, offset, 4);
	pci_write(d, offset, 4, low);
	if (bar->is_64) {
		high = pci_read(d, offset + 4, 4);
		pci_write(d, offset + 4, 4, 0xffffffff);
		size_high = pci_read(d, offset + 4, 4);
		pci_write(d, offset + 4, 4, high);
	}
	size_low &= bar->is_port ? ~3u : ~15u;
	if (!size_low && (!bar->is_64 || !size_high)) {
		pci_write(d, PCI_COMMAND, 2, command);
		return false;
	}
	mask = (uint64_t)size_high << 32 | size_low;
	bar->size = (bar->is_port ? ~mask & 0xffff : ~mask) + 1;
	bar->address = (uint64_t)high << 32 | (low & (bar->is_port ? ~3u : ~15u));
	if (!bar->address) {
		bar->address = place(bar);
		pci_write(d, offset, 4, (uint32_t)bar->address);
		if (bar->is_64)
			pci_write(d, offset + 4, 4, (uint32_t)(bar->address >> 32));
	}
	if (!bar->is_port)
		paging_map(bar->address, bar->size);
	pci_write(d, PCI_COMMAND, 2,
		  command | PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX | (bar->is_port ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY));
	return true;
}
