/* The inside of struct hv_vm, for vm.c, irq.c, vm_state.c and the vcpu files alone. */
#ifndef HV_VM_INTERNAL_H
#define HV_VM_INTERNAL_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/lock.h"
#include "hv/vm.h"

#define HV_MAX_SLOTS 256
#define HV_NR_PINS 24 /* of the IOAPIC: the first gsi of a message route */
#define HV_NR_PIC_PINS 16
#define HV_MAX_ROUTES 1024
#define HV_NR_CHIPS 3 /* KVM_IRQCHIP_PIC_MASTER, _PIC_SLAVE, _IOAPIC */

struct hv_route {
	bool used;
	uint32_t data;
	uint64_t address;
};

struct hv_vm {
	struct hv_kvm *kvm; /* borrowed */
	int fd;
	int xsave_size;        /* bytes that KVM_GET_XSAVE2 writes; constant */
	int nested_size;       /* bytes that KVM_GET_NESTED_STATE may write, 0 without nested virtualization; constant */
	bool has_triple_fault; /* KVM_VCPUEVENT_VALID_TRIPLE_FAULT may be used; constant */

	/* Guards slot_pages, routes and nr_routes, and is held over the ioctl that makes KVM follow them. A leaf. */
	struct lock lock;
	uint64_t slot_pages[HV_MAX_SLOTS]; /* 0: not in use */
	struct hv_route *routes;           /* routes[i] is gsi HV_NR_PINS + i */
	size_t nr_routes;

	/* As KVM made them. Constant. */
	struct kvm_irqchip power_on_chips[HV_NR_CHIPS];
	struct kvm_pit_state2 power_on_pit;
};

#endif
