/* See pci.h. Configuration accesses of the guest may have any offset and size: each is split into bytes that are checked one by one. */
#include "vmm/pci.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>

#include "base/container_of.h"
#include "vmm/layout.h"

#define CONFIG_ADDRESS_ENABLE 0x80000000u
#define HEADER_MULTI_FUNCTION 0x80u

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)v);
	put16(p + 2, (uint16_t)(v >> 16));
}

/* --- BARs --- */

static void bar_bus_read(struct bus_range *self, uint64_t offset, void *data, unsigned size)
{
	struct pci_bar *bar = (struct pci_bar *)self;
	bar->function->ops->bar_read(bar->function, bar->index, offset, data, size);
}

static void bar_bus_write(struct bus_range *self, uint64_t offset, const void *data, unsigned size)
{
	struct pci_bar *bar = (struct pci_bar *)self;
	bar->function->ops->bar_write(bar->function, bar->index, offset, data, size);
}

static const struct bus_ops bar_ops = {.read = bar_bus_read, .write = bar_bus_write};

static void unmap_bar(struct pci_function *f, struct pci_bar *bar)
{
	if (!bar->mapped)
		return;
	bus_remove(f->pci->memory, &bar->range);
	bar->mapped = false;
	if (f->ops->bar_mapped)
		f->ops->bar_mapped(f, bar->index, bar->range.base, false);
}

/* Where the guest wants the BAR to answer; false: nowhere. */
static bool wanted_address(const struct pci_function *f, const struct pci_bar *bar, uint64_t *address)
{
	if (!bar->size || !(f->config[PCI_COMMAND] & PCI_COMMAND_MEMORY))
		return false;
	*address = get32(&f->config[PCI_BASE_ADDRESS_0 + 4 * bar->index]) & ~(uint32_t)0xf;
	/* Only inside the window: elsewhere lie RAM and interrupt chips, which KVM serves before it would ask us. */
	return *address >= LAYOUT_PCI_WINDOW && *address + bar->size <= LAYOUT_PCI_WINDOW + LAYOUT_PCI_WINDOW_SIZE;
}

static void leave_old_place(struct pci_function *f, struct pci_bar *bar)
{
	uint64_t address;
	if (bar->mapped && !(wanted_address(f, bar, &address) && address == bar->range.base))
		unmap_bar(f, bar);
}

static void take_new_place(struct pci_function *f, struct pci_bar *bar)
{
	uint64_t address;
	if (bar->mapped || !wanted_address(f, bar, &address) || bus_add(f->pci->memory, &bar->range, address, bar->size) != 0)
		return;
	bar->mapped = true;
	if (f->ops->bar_mapped)
		f->ops->bar_mapped(f, bar->index, address, true);
}

/*
 * Makes the bus agree with the command registers and BARs of all functions: all that move leave first, so that two may change places. A
 * BAR that the guest put onto something else stays unmapped until that goes away. PCI lock held.
 */
static void update_bars(struct pci *pci)
{
	static void (*const steps[])(struct pci_function *, struct pci_bar *) = {leave_old_place, take_new_place};
	for (unsigned step = 0; step < 2; step++)
		for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++)
			for (unsigned b = 0; pci->functions[i] && b < PCI_NR_BARS; b++)
				steps[step](pci->functions[i], &pci->functions[i]->bars[b]);
}

/* --- configuration space --- */

void pci_config_read(struct pci *pci, unsigned devfn, unsigned offset, void *data, unsigned size)
{
	memset(data, 0xff, size);
	lock_take(&pci->lock);
	struct pci_function *f = devfn < PCI_MAX_FUNCTIONS ? pci->functions[devfn] : NULL;
	if (f && offset < sizeof(f->config) && size <= sizeof(f->config) - offset) {
		if (f->ops->config_reading)
			f->ops->config_reading(f, offset, size);
		memcpy(data, &f->config[offset], size);
	}
	lock_release(&pci->lock);
}

static bool overlaps(unsigned offset, unsigned size, unsigned from, unsigned len)
{
	return offset < from + len && from < offset + size;
}

void pci_config_write(struct pci *pci, unsigned devfn, unsigned offset, const void *data, unsigned size)
{
	lock_take(&pci->lock);
	struct pci_function *f = devfn < PCI_MAX_FUNCTIONS ? pci->functions[devfn] : NULL;
	if (f && offset < sizeof(f->config) && size <= sizeof(f->config) - offset) {
		for (unsigned i = 0; i < size; i++) {
			uint8_t mask = f->writable[offset + i];
			uint8_t *byte = &f->config[offset + i];
			*byte = (uint8_t)((*byte & ~mask) | (((const uint8_t *)data)[i] & mask));
		}
		if (overlaps(offset, size, PCI_COMMAND, 2) || overlaps(offset, size, PCI_BASE_ADDRESS_0, 4 * PCI_NR_BARS))
			update_bars(pci);
		if (f->ops->config_written)
			f->ops->config_written(f, offset, size);
	}
	lock_release(&pci->lock);
}

static void address_read(struct bus_range *self, uint64_t offset, void *data, unsigned size)
{
	struct pci *pci = container_of(self, struct pci, address_range);
	if (offset == 1 && size == 1 && pci->reset_port) {
		pci->reset_port->ops->read(pci->reset_port, 0, data, 1);
		return;
	}
	lock_take(&pci->lock);
	uint32_t value = pci->address;
	lock_release(&pci->lock);
	memset(data, 0xff, size);
	if (offset == 0 && size == 4)
		memcpy(data, &value, 4);
}

static void address_write(struct bus_range *self, uint64_t offset, const void *data, unsigned size)
{
	struct pci *pci = container_of(self, struct pci, address_range);
	if (offset == 1 && size == 1 && pci->reset_port)
		pci->reset_port->ops->write(pci->reset_port, 0, data, 1);
	if (offset != 0 || size != 4)
		return;
	lock_take(&pci->lock);
	memcpy(&pci->address, data, 4);
	lock_release(&pci->lock);
}

/* Splits CF8 into function and register. Returns false while it selects nothing of ours. */
static bool selected(struct pci *pci, unsigned *devfn, unsigned *reg)
{
	lock_take(&pci->lock);
	uint32_t address = pci->address;
	lock_release(&pci->lock);
	*devfn = (address >> 8) & 0xff;
	*reg = address & 0xfc;
	return (address & CONFIG_ADDRESS_ENABLE) && ((address >> 16) & 0xff) == 0;
}

static void data_read(struct bus_range *self, uint64_t offset, void *data, unsigned size)
{
	struct pci *pci = container_of(self, struct pci, data_range);
	unsigned devfn, reg;
	if (selected(pci, &devfn, &reg))
		pci_config_read(pci, devfn, reg + (unsigned)offset, data, size);
	else
		memset(data, 0xff, size);
}

static void data_write(struct bus_range *self, uint64_t offset, const void *data, unsigned size)
{
	struct pci *pci = container_of(self, struct pci, data_range);
	unsigned devfn, reg;
	if (selected(pci, &devfn, &reg))
		pci_config_write(pci, devfn, reg + (unsigned)offset, data, size);
}

static void ecam_read(struct bus_range *self, uint64_t offset, void *data, unsigned size)
{
	struct pci *pci = container_of(self, struct pci, ecam_range);
	pci_config_read(pci, (unsigned)(offset >> 12), (unsigned)(offset & 0xfff), data, size);
}

static void ecam_write(struct bus_range *self, uint64_t offset, const void *data, unsigned size)
{
	struct pci *pci = container_of(self, struct pci, ecam_range);
	pci_config_write(pci, (unsigned)(offset >> 12), (unsigned)(offset & 0xfff), data, size);
}

static const struct bus_ops address_ops = {.read = address_read, .write = address_write};
static const struct bus_ops data_ops = {.read = data_read, .write = data_write};
static const struct bus_ops ecam_ops = {.read = ecam_read, .write = ecam_write};
static const struct pci_function_ops bridge_ops = {0};

/* --- functions --- */

void pci_function_init(struct pci_function *f, const struct pci_function_ops *ops, uint16_t vendor, uint16_t device,
		       uint32_t class_code, uint8_t revision, uint16_t subsystem)
{
	memset(f, 0, sizeof(*f));
	f->ops = ops;
	put16(&f->config[PCI_VENDOR_ID], vendor);
	put16(&f->config[PCI_DEVICE_ID], device);
	put32(&f->config[PCI_CLASS_REVISION], class_code << 8 | revision);
	put16(&f->config[PCI_SUBSYSTEM_VENDOR_ID], vendor);
	put16(&f->config[PCI_SUBSYSTEM_ID], subsystem);
	put16(&f->writable[PCI_COMMAND], PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	f->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	f->writable[PCI_INTERRUPT_LINE] = 0xff;
	f->capability_end = 0x40;
}

void pci_function_add_bar(struct pci_function *f, unsigned bar, uint32_t size)
{
	f->bars[bar].size = size;
	f->bars[bar].index = bar;
	f->bars[bar].function = f;
	f->bars[bar].range.ops = &bar_ops;
	put32(&f->writable[PCI_BASE_ADDRESS_0 + 4 * bar], ~(size - 1));
}

unsigned pci_function_add_capability(struct pci_function *f, uint8_t id, const uint8_t *data, unsigned len)
{
	unsigned at = f->capability_end;
	if (at + 2 + len > sizeof(f->config))
		return 0;
	f->config[at] = id;
	memcpy(&f->config[at + 2], data, len);
	if (f->capability_last)
		f->config[f->capability_last] = (uint8_t)at;
	else
		f->config[PCI_CAPABILITY_LIST] = (uint8_t)at;
	f->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	f->capability_last = at + 1;
	f->capability_end = (at + 2 + len + 3) & ~3u;
	return at;
}

void pci_function_make_writable(struct pci_function *f, unsigned offset, unsigned count)
{
	memset(&f->writable[offset], 0xff, count);
}

static int place_bars(struct pci *pci, struct pci_function *f, struct error *err)
{
	for (unsigned i = 0; i < PCI_NR_BARS; i++) {
		struct pci_bar *bar = &f->bars[i];
		if (!bar->size)
			continue;
		uint64_t address = (pci->window_next + bar->size - 1) & ~(bar->size - 1);
		if (address + bar->size > pci->window_end)
			return error_set(err, ENOSPC, "PCI slot %u: no room for a BAR of %llu KiB", f->devfn / 8,
					 (unsigned long long)bar->size >> 10);
		pci->window_next = address + bar->size;
		bar->power_on = address;
		put32(&f->config[PCI_BASE_ADDRESS_0 + 4 * i], (uint32_t)address);
	}
	return 0;
}

int pci_add(struct pci *pci, struct pci_function *f, int slot, int function, struct error *err)
{
	if (slot > 31 || function < 0 || function > 7)
		return error_set(err, EINVAL, "PCI address %x.%x: slots are 1 to 1f, functions 0 to 7", (unsigned)slot,
				 (unsigned)function);
	if (slot < 0)
		for (slot = 1; slot < 31 && pci->functions[slot * 8]; slot++)
			;
	f->devfn = (unsigned)(slot * 8 + function);
	if (pci->functions[f->devfn])
		return error_set(err, EBUSY, "PCI address %x.%x is taken; give the device another addr=", (unsigned)slot,
				 (unsigned)function);
	if (function > 0 && !pci->functions[slot * 8])
		return error_set(err, EINVAL, "PCI address %x.%x: function 0 of that slot must come first", (unsigned)slot,
				 (unsigned)function);
	int ret = place_bars(pci, f, err);
	if (ret)
		return ret;
	f->pci = pci;
	f->config[PCI_COMMAND] |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	memcpy(f->power_on, f->config, sizeof(f->config));
	lock_take(&pci->lock);
	if (function > 0) {
		pci->functions[slot * 8]->config[PCI_HEADER_TYPE] |= HEADER_MULTI_FUNCTION;
		pci->functions[slot * 8]->power_on[PCI_HEADER_TYPE] |= HEADER_MULTI_FUNCTION;
	}
	pci->functions[f->devfn] = f;
	update_bars(pci);
	lock_release(&pci->lock);
	return 0;
}

/* --- the bridge --- */

int pci_init(struct pci *pci, struct bus *ports, struct bus *memory, struct error *err)
{
	memset(pci, 0, sizeof(*pci));
	lock_init(&pci->lock, LOCK_PCI);
	pci->memory = memory;
	pci->window_next = LAYOUT_PCI_WINDOW;
	pci->window_end = LAYOUT_PCI_WINDOW + LAYOUT_PCI_WINDOW_SIZE;
	pci->address_range.ops = &address_ops;
	pci->data_range.ops = &data_ops;
	pci->ecam_range.ops = &ecam_ops;
	if (bus_add(ports, &pci->address_range, 0xcf8, 4) || bus_add(ports, &pci->data_range, 0xcfc, 4) ||
	    bus_add(memory, &pci->ecam_range, LAYOUT_ECAM, LAYOUT_ECAM_SIZE))
		return error_set(err, EEXIST, "PCI: configuration addresses are taken");
	pci_function_init(&pci->bridge, &bridge_ops, 0x1b36, 0x0008, 0x060000, 0, 0x1100);
	return pci_add(pci, &pci->bridge, 0, 0, err);
}

void pci_fini(struct pci *pci)
{
	lock_fini(&pci->lock);
}

void pci_reset(struct pci *pci)
{
	lock_take(&pci->lock);
	pci->address = 0;
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++) {
		struct pci_function *f = pci->functions[i];
		if (!f)
			continue;
		memcpy(f->config, f->power_on, sizeof(f->config));
		if (f->ops->config_written)
			f->ops->config_written(f, 0, sizeof(f->config));
	}
	update_bars(pci);
	lock_release(&pci->lock);
}

static void section_name(char *name, size_t size, unsigned devfn)
{
	snprintf(name, size, "pci-%x.%x", devfn / 8, devfn % 8);
}

void pci_save(struct pci *pci, struct state_writer *w)
{
	state_enter_new(w, "pci", 1);
	state_put(w, "address", pci->address);
	state_leave_new(w);
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++) {
		if (!pci->functions[i])
			continue;
		char name[32];
		section_name(name, sizeof(name), i);
		state_enter_new(w, name, 1);
		state_put_bytes(w, "config", pci->functions[i]->config, 256);
		state_leave_new(w);
	}
}

/* What the guest cannot write must be what this machine has: a different device is refused. */
static void load_config(struct pci_function *f, struct state_reader *r)
{
	uint8_t config[256];
	state_get_bytes(r, "config", config, sizeof(config));
	for (unsigned i = 0; i < sizeof(config); i++) {
		if ((config[i] ^ f->power_on[i]) & ~f->writable[i]) {
			state_reject(r, "another device was saved there");
			return;
		}
	}
	memcpy(f->config, config, sizeof(config));
}

int pci_load(struct pci *pci, struct state_reader *r, struct error *err)
{
	state_enter(r, "pci", 1);
	uint32_t address = (uint32_t)state_get(r, "address", 0, UINT32_MAX);
	int ret = state_leave(r, err);
	for (unsigned i = 0; ret == 0 && i < PCI_MAX_FUNCTIONS; i++) {
		if (!pci->functions[i])
			continue;
		char name[32];
		section_name(name, sizeof(name), i);
		state_enter(r, name, 1);
		load_config(pci->functions[i], r);
		ret = state_leave(r, err);
	}
	if (ret)
		return ret;
	lock_take(&pci->lock);
	pci->address = address;
	update_bars(pci);
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++) {
		struct pci_function *f = pci->functions[i];
		if (f && f->ops->config_written)
			f->ops->config_written(f, 0, sizeof(f->config));
	}
	lock_release(&pci->lock);
	return 0;
}
