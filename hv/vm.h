/*
 * A virtual machine in KVM: memory slots, the in-kernel interrupt chips (PIC, IOAPIC, LAPICs) and PIT, interrupts, event descriptors,
 * the clock, and the dirty log. Functions return 0 or -errno; those that an admin may see fail take an error.
 * Callable from any thread unless said otherwise.
 */
#ifndef HV_VM_H
#define HV_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/state.h"
#include "hv/kvm.h"

struct hv_vm;

/* Guest-physical addresses that KVM keeps for itself on Intel hosts: three pages and one. Keep RAM and devices away from them. */
#define HV_IDENTITY_MAP_GPA 0xfeffc000ull
#define HV_TSS_GPA 0xfeffd000ull

/* Creates a VM with interrupt chips and PIT. kvm must outlive it. */
int hv_vm_create(struct hv_kvm *kvm, struct hv_vm **vm, struct error *err);
/* All vCPUs must have been destroyed. */
void hv_vm_destroy(struct hv_vm *vm);
struct hv_kvm *hv_vm_kvm(const struct hv_vm *vm);

/* Memory slots. gpa, size and hva are multiples of 4096. A slot number is used once; size 0 removes it. */
enum hv_slot_flags { HV_SLOT_PLAIN = 0, HV_SLOT_READONLY = 1, HV_SLOT_LOG_DIRTY = 2 };
int hv_vm_set_slot(struct hv_vm *vm, unsigned slot, uint64_t gpa, uint64_t size, void *hva, enum hv_slot_flags flags);
/* One bit per page of the slot, written since the last call (api.rst, KVM_GET_DIRTY_LOG); bitmap has room for nr_pages rounded up to 64. */
int hv_vm_get_dirty_log(struct hv_vm *vm, unsigned slot, uint64_t *bitmap, size_t nr_pages);

/* Raises or lowers an interrupt line: gsi 0 to 23 is a pin of the IOAPIC, and of the PIC below 16. */
int hv_vm_set_irq(struct hv_vm *vm, unsigned gsi, bool level);
/* Delivers a message-signalled interrupt now. Returns 0 also where the guest has blocked it. */
int hv_vm_signal_msi(struct hv_vm *vm, uint64_t address, uint32_t data);

/*
 * Message routes, for interrupts that a descriptor raises without us (vhost, VFIO). hv_vm_msi_route_add() gives a gsi from 24 on;
 * writing to a descriptor that hv_vm_irqfd_add() bound to it delivers the message. Returns 0, -ENOSPC, or KVM's error.
 */
int hv_vm_msi_route_add(struct hv_vm *vm, uint64_t address, uint32_t data, unsigned *gsi);
int hv_vm_msi_route_set(struct hv_vm *vm, unsigned gsi, uint64_t address, uint32_t data);
int hv_vm_msi_route_del(struct hv_vm *vm, unsigned gsi);
int hv_vm_irqfd_add(struct hv_vm *vm, int fd, unsigned gsi);
int hv_vm_irqfd_del(struct hv_vm *vm, int fd, unsigned gsi);

/* Writes of the guest to address wake the eventfd instead of leaving to us. length 0 matches any (memory only); 2 or 4 match that width. */
enum hv_space { HV_SPACE_MEMORY, HV_SPACE_PORT };
int hv_vm_ioeventfd_add(struct hv_vm *vm, int fd, enum hv_space space, uint64_t address, unsigned length);
int hv_vm_ioeventfd_del(struct hv_vm *vm, int fd, enum hv_space space, uint64_t address, unsigned length);

/* The guest's kvmclock, in nanoseconds since the VM was created, standing still between stop and start. */
int hv_vm_get_clock(struct hv_vm *vm, uint64_t *ns);
int hv_vm_set_clock(struct hv_vm *vm, uint64_t ns);

/* Interrupt chips, PIT and clock. vCPUs must not be running. Section "hv-vm". */
int hv_vm_save(struct hv_vm *vm, struct state_writer *w);
int hv_vm_load(struct hv_vm *vm, struct state_reader *r, struct error *err);
/* Interrupt chips and PIT as after power-on. vCPUs must not be running. */
int hv_vm_reset(struct hv_vm *vm);

#endif
