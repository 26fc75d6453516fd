/* See vm.h. The VM itself: creation, memory slots, the dirty log, event descriptors, the clock. Interrupts are in irq.c. */
#include "hv/vm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/os.h"
#include "hv/vm_internal.h"

#define SLOT_PAGE_SHIFT 12
#define SLOT_PAGE_MASK ((1ull << SLOT_PAGE_SHIFT) - 1)

static int vm_failed(struct error *err, int ret, const char *what)
{
	return error_set(err, -ret, "KVM: cannot %s: %s", what, strerror(-ret));
}

static int enable_capability(struct hv_vm *vm, unsigned capability, uint64_t value)
{
	struct kvm_enable_cap enable = {.cap = capability, .args = {value}};
	return hv_ioctl(vm->fd, KVM_ENABLE_CAP, &enable);
}

static int create_chips(struct hv_vm *vm, struct error *err)
{
	uint64_t identity_map = HV_IDENTITY_MAP_GPA;
	int ret = hv_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	if (ret < 0)
		return vm_failed(err, ret, "place the identity map");
	ret = hv_ioctl_value(vm->fd, KVM_SET_TSS_ADDR, HV_TSS_GPA);
	if (ret < 0)
		return vm_failed(err, ret, "place the task state segment");
	ret = hv_ioctl_value(vm->fd, KVM_CREATE_IRQCHIP, 0);
	if (ret < 0)
		return vm_failed(err, ret, "create the interrupt chips");
	/* The speaker's port 0x61 goes with the PIT: guests time loops by its third channel. */
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	ret = hv_ioctl(vm->fd, KVM_CREATE_PIT2, &pit);
	if (ret < 0)
		return vm_failed(err, ret, "create the interval timer");
	return 0;
}

/* KVM resets no chip later: what hv_vm_reset() shall restore is what stands here now. */
static int capture_power_on(struct hv_vm *vm, struct error *err)
{
	for (unsigned i = 0; i < HV_NR_CHIPS; i++) {
		vm->power_on_chips[i].chip_id = i;
		int ret = hv_ioctl(vm->fd, KVM_GET_IRQCHIP, &vm->power_on_chips[i]);
		if (ret < 0)
			return vm_failed(err, ret, "read an interrupt chip");
	}
	int ret = hv_ioctl(vm->fd, KVM_GET_PIT2, &vm->power_on_pit);
	if (ret < 0)
		return vm_failed(err, ret, "read the interval timer");
	return 0;
}

static int set_up_state_sizes(struct hv_vm *vm, struct error *err)
{
	/* Asked of the VM, not of the device: the answer depends on what its process was permitted (AMX). */
	vm->xsave_size = hv_ioctl_value(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	if (vm->xsave_size < (int)sizeof(struct kvm_xsave))
		vm->xsave_size = (int)sizeof(struct kvm_xsave);
	vm->nested_size = hv_kvm_check(vm->kvm, KVM_CAP_NESTED_STATE);
	if (vm->nested_size < (int)sizeof(struct kvm_nested_state))
		vm->nested_size = 0;
	int ret = enable_capability(vm, KVM_CAP_EXCEPTION_PAYLOAD, 1);
	if (ret < 0)
		return vm_failed(err, ret, "enable exact pending exceptions");
	vm->has_triple_fault = hv_kvm_check(vm->kvm, KVM_CAP_X86_TRIPLE_FAULT_EVENT) &&
			       enable_capability(vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1) >= 0;
	return 0;
}

int hv_vm_create(struct hv_kvm *kvm, struct hv_vm **out, struct error *err)
{
	struct hv_vm *vm = hv_calloc(1, sizeof(*vm));
	if (!vm)
		return error_set(err, ENOMEM, "KVM: out of memory");
	vm->kvm = kvm;
	lock_init(&vm->lock, LOCK_HV_VM);
	int ret = vm->fd = hv_ioctl_value(hv_kvm_fd(kvm), KVM_CREATE_VM, 0);
	if (ret < 0) {
		ret = vm_failed(err, ret, "create a VM");
		goto free_vm;
	}
	ret = create_chips(vm, err);
	if (!ret)
		ret = capture_power_on(vm, err);
	if (!ret)
		ret = set_up_state_sizes(vm, err);
	if (ret)
		goto close_fd;
	*out = vm;
	return 0;
close_fd:
	close(vm->fd);
free_vm:
	lock_fini(&vm->lock);
	free(vm);
	return ret;
}

void hv_vm_destroy(struct hv_vm *vm)
{
	if (!vm)
		return;
	close(vm->fd);
	lock_fini(&vm->lock);
	free(vm->routes);
	free(vm);
}

struct hv_kvm *hv_vm_kvm(const struct hv_vm *vm)
{
	return vm->kvm;
}

int hv_vm_set_slot(struct hv_vm *vm, unsigned slot, uint64_t gpa, uint64_t size, void *hva, enum hv_slot_flags flags)
{
	uint64_t address = (uint64_t)(uintptr_t)hva;
	if (slot >= HV_MAX_SLOTS || ((gpa | size | address) & SLOT_PAGE_MASK) || gpa + size < gpa || (size && !hva) ||
	    ((unsigned)flags & ~(unsigned)(HV_SLOT_READONLY | HV_SLOT_LOG_DIRTY)))
		return -EINVAL;
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = (flags & HV_SLOT_READONLY ? KVM_MEM_READONLY : 0u) |
			 (flags & HV_SLOT_LOG_DIRTY ? KVM_MEM_LOG_DIRTY_PAGES : 0u),
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = address,
	};
	lock_take(&vm->lock);
	int ret = hv_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
	if (ret >= 0)
		vm->slot_pages[slot] = size >> SLOT_PAGE_SHIFT;
	lock_release(&vm->lock);
	return ret < 0 ? ret : 0;
}

int hv_vm_get_dirty_log(struct hv_vm *vm, unsigned slot, uint64_t *bitmap, size_t nr_pages)
{
	if (slot >= HV_MAX_SLOTS)
		return -EINVAL;
	struct kvm_dirty_log log = {.slot = slot, .dirty_bitmap = bitmap};
	lock_take(&vm->lock);
	/* KVM writes as many bits as the slot has pages, whatever room there is. */
	int ret = -EINVAL;
	if (nr_pages && vm->slot_pages[slot] == nr_pages)
		ret = hv_ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log);
	lock_release(&vm->lock);
	return ret < 0 ? ret : 0;
}

static int set_ioeventfd(struct hv_vm *vm, int fd, enum hv_space space, uint64_t address, unsigned length, uint32_t flags)
{
	bool is_port = space == HV_SPACE_PORT;
	if (length != 0 && length != 1 && length != 2 && length != 4 && length != 8)
		return -EINVAL;
	if (is_port && (length == 0 || length == 8 || address > UINT16_MAX))
		return -EINVAL;
	struct kvm_ioeventfd event = {
		.addr = address,
		.len = length,
		.fd = fd,
		.flags = flags | (is_port ? KVM_IOEVENTFD_FLAG_PIO : 0u),
	};
	int ret = hv_ioctl(vm->fd, KVM_IOEVENTFD, &event);
	return ret < 0 ? ret : 0;
}

int hv_vm_ioeventfd_add(struct hv_vm *vm, int fd, enum hv_space space, uint64_t address, unsigned length)
{
	return set_ioeventfd(vm, fd, space, address, length, 0);
}

int hv_vm_ioeventfd_del(struct hv_vm *vm, int fd, enum hv_space space, uint64_t address, unsigned length)
{
	return set_ioeventfd(vm, fd, space, address, length, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

int hv_vm_get_clock(struct hv_vm *vm, uint64_t *ns)
{
	struct kvm_clock_data clock = {0};
	int ret = hv_ioctl(vm->fd, KVM_GET_CLOCK, &clock);
	if (ret < 0)
		return ret;
	*ns = clock.clock;
	return 0;
}

int hv_vm_set_clock(struct hv_vm *vm, uint64_t ns)
{
	struct kvm_clock_data clock = {.clock = ns};
	int ret = hv_ioctl(vm->fd, KVM_SET_CLOCK, &clock);
	return ret < 0 ? ret : 0;
}
