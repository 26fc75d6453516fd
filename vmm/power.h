/*
 * ACPI's fixed hardware (ACPI 6.5, 4.8): the power button, soft off, the power management timer; and the reset register at port 0xcf9.
 *
 *   0x600 PM1 status, enable (2 + 2 bytes)   0x604 PM1 control (2)   0x608 timer (4)
 */
#ifndef VMM_POWER_H
#define VMM_POWER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "base/state.h"
#include "hv/vm.h"
#include "vmm/bus.h"

/* What the guest asks for here; called on vCPU threads. */
struct power_owner {
	void (*power_off)(struct power_owner *owner);
	void (*reset)(struct power_owner *owner);
};

struct power {
	struct bus_range pm_range;
	struct bus_range reset_range; /* one byte; the PCI bridge, whose CF8 lies around it, passes accesses on */
	struct hv_vm *vm;
	struct power_owner *owner;
	struct lock lock; /* guards all below */
	uint16_t status, enable, control;
	uint8_t reset_value;
	uint32_t timer_offset; /* the guest's timer minus this host's */
	bool sci;
};

int power_init(struct power *p, struct bus *ports, struct hv_vm *vm, struct power_owner *owner, struct error *err);
void power_fini(struct power *p);
/* Presses the button: the guest gets an SCI if it listens. Any thread. */
void power_press_button(struct power *p);
void power_reset(struct power *p);
void power_save(struct power *p, struct state_writer *w);
int power_load(struct power *p, struct state_reader *r, struct error *err);

#endif
