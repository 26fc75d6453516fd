/*
 * See vm.h. Interrupts: the pins of the chips, messages, routes of messages, and descriptors that raise them.
 *
 * KVM holds one table that says where each gsi leads, and takes it only as a whole. Its fixed part is what KVM itself sets up for
 * fresh chips: gsi 0 to 15 lead to the PIC and to the IOAPIC's pin of the same number, 16 to 23 to the IOAPIC alone. From
 * HV_NR_PINS on, each gsi in use is a message. A change is made in our copy, sent, and undone in our copy if KVM refuses it.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "hv/os.h"
#include "hv/vm_internal.h"

int hv_vm_set_irq(struct hv_vm *vm, unsigned gsi, bool level)
{
	if (gsi >= HV_NR_PINS)
		return -EINVAL;
	struct kvm_irq_level line = {.irq = gsi, .level = level};
	int ret = hv_ioctl(vm->fd, KVM_IRQ_LINE, &line);
	return ret < 0 ? ret : 0;
}

int hv_vm_signal_msi(struct hv_vm *vm, uint64_t address, uint32_t data)
{
	struct kvm_msi msi = {.address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data};
	int ret = hv_ioctl(vm->fd, KVM_SIGNAL_MSI, &msi);
	return ret < 0 ? ret : 0;
}

static void set_pin(struct kvm_irq_routing_entry *entry, unsigned gsi, unsigned chip, unsigned pin)
{
	entry->gsi = gsi;
	entry->type = KVM_IRQ_ROUTING_IRQCHIP;
	entry->u.irqchip.irqchip = chip;
	entry->u.irqchip.pin = pin;
}

/* Makes KVM's table that of vm->routes. Called with vm->lock held. */
static int send_routes(struct hv_vm *vm)
{
	struct kvm_irq_routing *table =
		hv_calloc(1, sizeof(*table) + (HV_NR_PIC_PINS + HV_NR_PINS + vm->nr_routes) * sizeof(table->entries[0]));
	if (!table)
		return -ENOMEM;
	struct kvm_irq_routing_entry *entry = table->entries;
	for (unsigned gsi = 0; gsi < HV_NR_PINS; gsi++) {
		if (gsi < HV_NR_PIC_PINS)
			set_pin(entry++, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi % 8);
		set_pin(entry++, gsi, KVM_IRQCHIP_IOAPIC, gsi);
	}
	for (size_t i = 0; i < vm->nr_routes; i++) {
		const struct hv_route *route = &vm->routes[i];
		if (!route->used)
			continue;
		entry->gsi = HV_NR_PINS + (unsigned)i;
		entry->type = KVM_IRQ_ROUTING_MSI;
		entry->u.msi.address_lo = (uint32_t)route->address;
		entry->u.msi.address_hi = (uint32_t)(route->address >> 32);
		entry->u.msi.data = route->data;
		entry++;
	}
	table->nr = (uint32_t)(entry - table->entries);
	int ret = hv_ioctl(vm->fd, KVM_SET_GSI_ROUTING, table);
	free(table);
	return ret < 0 ? ret : 0;
}

/* Sets *index to a free place among the routes, making room where there is none. Called with vm->lock held. */
static int find_free_route(struct hv_vm *vm, size_t *index)
{
	size_t i = 0;
	while (i < vm->nr_routes && vm->routes[i].used)
		i++;
	if (i == vm->nr_routes) {
		if (i == HV_MAX_ROUTES)
			return -ENOSPC;
		size_t room = i ? i * 2 : 16;
		struct hv_route *more = hv_calloc(room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		if (i)
			memcpy(more, vm->routes, i * sizeof(*more));
		free(vm->routes);
		vm->routes = more;
		vm->nr_routes = room;
	}
	*index = i;
	return 0;
}

/* Puts route at index and tells KVM. Called with vm->lock held. */
static int replace_route(struct hv_vm *vm, size_t index, struct hv_route route)
{
	struct hv_route old = vm->routes[index];
	vm->routes[index] = route;
	int ret = send_routes(vm);
	if (ret)
		vm->routes[index] = old;
	return ret;
}

int hv_vm_msi_route_add(struct hv_vm *vm, uint64_t address, uint32_t data, unsigned *gsi)
{
	size_t index = 0;
	lock_take(&vm->lock);
	int ret = find_free_route(vm, &index);
	if (!ret)
		ret = replace_route(vm, index, (struct hv_route){.used = true, .address = address, .data = data});
	lock_release(&vm->lock);
	if (!ret)
		*gsi = HV_NR_PINS + (unsigned)index;
	return ret;
}

static bool is_route(const struct hv_vm *vm, unsigned gsi)
{
	return gsi >= HV_NR_PINS && gsi - HV_NR_PINS < vm->nr_routes && vm->routes[gsi - HV_NR_PINS].used;
}

int hv_vm_msi_route_set(struct hv_vm *vm, unsigned gsi, uint64_t address, uint32_t data)
{
	int ret = -EINVAL;
	lock_take(&vm->lock);
	if (is_route(vm, gsi)) {
		const struct hv_route *old = &vm->routes[gsi - HV_NR_PINS];
		/* A new table makes KVM wait for all its readers: not for nothing. */
		ret = 0;
		if (old->address != address || old->data != data)
			ret = replace_route(vm, gsi - HV_NR_PINS,
					    (struct hv_route){.used = true, .address = address, .data = data});
	}
	lock_release(&vm->lock);
	return ret;
}

int hv_vm_msi_route_del(struct hv_vm *vm, unsigned gsi)
{
	int ret = -EINVAL;
	lock_take(&vm->lock);
	if (is_route(vm, gsi))
		ret = replace_route(vm, gsi - HV_NR_PINS, (struct hv_route){.used = false});
	lock_release(&vm->lock);
	return ret;
}

static int set_irqfd(struct hv_vm *vm, int fd, unsigned gsi, uint32_t flags)
{
	if (fd < 0 || gsi >= HV_NR_PINS + HV_MAX_ROUTES)
		return -EINVAL;
	struct kvm_irqfd irqfd = {.fd = (uint32_t)fd, .gsi = gsi, .flags = flags};
	int ret = hv_ioctl(vm->fd, KVM_IRQFD, &irqfd);
	return ret < 0 ? ret : 0;
}

int hv_vm_irqfd_add(struct hv_vm *vm, int fd, unsigned gsi)
{
	return set_irqfd(vm, fd, gsi, 0);
}

int hv_vm_irqfd_del(struct hv_vm *vm, int fd, unsigned gsi)
{
	return set_irqfd(vm, fd, gsi, KVM_IRQFD_FLAG_DEASSIGN);
}
