/* What machine.c (wiring and life cycle), machine_state.c (save and load) and machine_info.c (queries) share. */
#ifndef VMM_MACHINE_INTERNAL_H
#define VMM_MACHINE_INTERNAL_H

#include "hv/cpuid.h"
#include "hv/kvm.h"
#include "hv/vm.h"
#include "memmgr/guest_ram.h"
#include "vmm/bus.h"
#include "vmm/chardev.h"
#include "vmm/loader.h"
#include "vmm/machine.h"
#include "vmm/monitor.h"
#include "vmm/pci.h"
#include "vmm/power.h"
#include "vmm/rtc.h"
#include "vmm/serial.h"
#include "vmm/vcpus.h"
#include "vmm/virtio_function.h"

#define MACHINE_MAX_FUNCTIONS (CONFIG_MAX_DISKS + CONFIG_MAX_NICS + 3)

/* What vCPU threads ask the main thread to do: bits. */
enum machine_request {
	REQUEST_RESET = 1,
	REQUEST_POWER_OFF = 2,
	REQUEST_CRASHED = 4,
	REQUEST_FAILED = 8,
};

struct machine {
	struct ev_loop *loop;
	struct config *config;
	enum run_state state;
	struct machine_listener *listeners;

	struct hv_kvm *kvm;
	struct hv_vm *vm;
	struct guest_ram *ram;
	struct hv_cpu_topology topology;
	struct hv_cpuid cpuid;
	struct bus ports, memory;
	struct pci pci;
	struct rtc rtc;
	struct power power;
	struct power_owner power_owner;
	struct serial serials[2];
	bool has_pci, has_rtc, has_power, has_serial[2];
	struct chardev *chardevs[CONFIG_MAX_CHARDEVS];
	struct console_backend *consoles[4];
	struct monitor *monitors[CONFIG_MAX_MONITORS];
	struct loader loader;
	bool has_loader;
	struct vcpu_owner vcpu_owner;
	struct vcpus *vcpus;

	/* Devices on the PCI bus, in the order of their making; those of a kind also by their number in the configuration. */
	struct virtio_function *functions[MACHINE_MAX_FUNCTIONS];
	unsigned nr_functions;
	struct virtio_device *disks[CONFIG_MAX_DISKS];
	struct virtio_device *nics[CONFIG_MAX_NICS];
	struct virtio_device *console;

	ev_async wake; /* requests are there */
	_Atomic unsigned requests;
	bool clock_stopped;
	uint64_t clock_ns; /* the guest's clock while paused */
};

#endif
