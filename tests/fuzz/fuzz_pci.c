/*
 * Fuzzes the PCI bus with two random number generators of virtio on it: accesses by ports, by ECAM and to wherever the BARs are. Their
 * eventfds must always be where their BARs are, and whatever the guest did, a reset puts everything back.
 */
#include <linux/pci_regs.h>

#include "base/log.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/unit/fake_kvm.h"
#include "virtio/rng.h"
#include "vmm/layout.h"
#include "vmm/virtio_function.h"

#define NR_FUNCTIONS 2

static struct hv_kvm *kvm;
static struct hv_vm *vm;
static struct guest_ram *ram;
static struct bus ports, memory;
static struct pci pci;
static struct virtio_function *functions[NR_FUNCTIONS];
static const unsigned devfns[] = {0, 1 * 8, 1 * 8 + 1, 2 * 8};

static void set_up(void)
{
	struct guest_ram_region region = {.size = 1 << 20};
	log_open("fuzz", LOG_LEVEL_ERROR);
	fuzz_need(fake_kvm_open(&kvm, &vm) == 0);
	fuzz_need(guest_ram_create(&region, 1, &ram, NULL) == 0);
	bus_init(&ports);
	bus_init(&memory);
	fuzz_need(pci_init(&pci, &ports, &memory, NULL) == 0);
	for (int i = 0; i < NR_FUNCTIONS; i++) {
		struct virtio_rng_params params = {.name = i ? "rng1" : "rng0"};
		struct virtio_device *dev;
		fuzz_need(virtio_rng_create(&params, ram, &dev, NULL) == 0);
		fuzz_need(virtio_function_create(&pci, vm, dev, 1, i, &functions[i], NULL) == 0);
	}
}

/* By configuration space alone: which BARs answer, and that their eventfds follow. */
static void check_bars(void)
{
	unsigned expected = 0;
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++) {
		struct pci_function *f = pci.functions[i];
		for (unsigned b = 0; f && b < PCI_NR_BARS; b++) {
			const struct pci_bar *bar = &f->bars[b];
			if (!bar->mapped)
				continue;
			uint32_t address;
			memcpy(&address, &f->config[PCI_BASE_ADDRESS_0 + 4 * b], 4);
			fuzz_need(bar->range.base == address);
			fuzz_need(address >= LAYOUT_PCI_WINDOW);
			fuzz_need(address + bar->size <= LAYOUT_PCI_WINDOW + LAYOUT_PCI_WINDOW_SIZE);
			expected += b == 0;
		}
		for (unsigned k = 0; f && k < 256; k++)
			fuzz_need(((f->config[k] ^ f->power_on[k]) & ~f->writable[k]) == 0);
	}
	fuzz_need(fake_kvm.nr_events == expected && fake_kvm.nr_bad_events == 0);
}

static void reset(void)
{
	for (unsigned i = 0; i < NR_FUNCTIONS; i++)
		virtio_function_reset(functions[i]);
	pci_reset(&pci);
	fuzz_need(fake_kvm.nr_events == NR_FUNCTIONS);
	fuzz_need(pci.functions[8]->config[PCI_HEADER_TYPE] == 0x80);
}

static void move(void)
{
	struct state_writer *w = state_writer_new();
	const void *data;
	size_t len;
	struct state_reader *r;
	for (unsigned i = 0; i < NR_FUNCTIONS; i++)
		virtio_device_pause(virtio_function_device(functions[i]));
	pci_save(&pci, w);
	for (unsigned i = 0; i < NR_FUNCTIONS; i++)
		virtio_function_save(functions[i], w);
	fuzz_need(state_writer_end(w, &data, &len) == 0);
	reset();
	fuzz_need(state_reader_open(data, len, &r, NULL) == 0);
	fuzz_need(pci_load(&pci, r, NULL) == 0);
	/* A queue that the guest put outside RAM may be refused; then the device is as after a reset. */
	for (unsigned i = 0; i < NR_FUNCTIONS; i++)
		virtio_function_load(functions[i], r, NULL);
	state_reader_free(r);
	state_writer_free(w);
	for (unsigned i = 0; i < NR_FUNCTIONS; i++)
		virtio_device_resume(virtio_function_device(functions[i]));
}

static uint64_t take_address(struct fuzz_input *in)
{
	uint8_t where = (uint8_t)fuzz_take(in, 1);
	struct pci_function *f = pci.functions[where & 1 ? 8 : 9];
	uint32_t bar;
	switch (where >> 1 & 3) {
	case 0:
		return LAYOUT_ECAM + (devfns[where >> 3 & 3] << 12) + fuzz_take(in, 1) + (where & 0x80 ? 0xf80 : 0);
	case 1:
		memcpy(&bar, &f->config[PCI_BASE_ADDRESS_0 + (where >> 3 & 1) * 4], 4);
		/* Of the register BAR mostly the beginnings of its four parts. */
		return bar + fuzz_take(in, 1) % 64 + (where >> 4 & 3) * 0x1000ull;
	case 2:
		return LAYOUT_PCI_WINDOW + (fuzz_take(in, 1) << 12) + (where >> 3);
	default:
		return fuzz_take(in, 4);
	}
}

static void act(struct fuzz_input *in)
{
	uint8_t what = (uint8_t)fuzz_take(in, 1);
	unsigned size = 1u << (what >> 6);
	uint64_t value, address;
	uint32_t select;
	switch (what % 16) {
	case 0:
		if (what & 0x10)
			reset();
		else if (what & 0x20)
			move();
		break;
	case 1:
	case 2:
	case 3:
		select = 0x80000000u | devfns[what >> 4 & 3] << 8 | ((uint32_t)fuzz_take(in, 1) & 0xfc);
		bus_write(&ports, 0xcf8, &select, 4);
		value = fuzz_take(in, size);
		bus_write(&ports, 0xcfc + (what >> 2 & 3), &value, size);
		break;
	case 4:
		/* A BAR put somewhere in or near the window. */
		select = LAYOUT_PCI_WINDOW + (((uint32_t)fuzz_take(in, 1) - 8) << 12);
		address = LAYOUT_ECAM + (devfns[1 + (what >> 4 & 1)] << 12) + PCI_BASE_ADDRESS_0 + (what >> 5 & 1) * 4;
		bus_write(&memory, address, &select, 4);
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		address = take_address(in);
		bus_read(&memory, address, &value, size);
		break;
	default:
		address = take_address(in);
		value = fuzz_take(in, size);
		bus_write(&memory, address, &value, size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	if (!vm)
		set_up();
	while (in.left) {
		act(&in);
		check_bars();
	}
	reset();
	return 0;
}
