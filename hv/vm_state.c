/*
 * See vm.h. Saving, loading and resetting what a VM has beside its vCPUs: two PICs, the IOAPIC, the PIT, and the clock.
 *
 * KVM takes the structures as they come. A stream is hostile, so each field is saved by itself, and loaded only with a value that the
 * hardware could hold; the rest of a structure is what KVM made it at power-on. A table lists the fields with their greatest values.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "hv/os.h"
#include "hv/vm_internal.h"

#define STATE_VERSION 1
#define NR_PIT_CHANNELS 3
#define IOAPIC_BASE 0xfec00000ull
/* Vector, modes, polarity, trigger, mask and destination; delivery status and remote IRR, which belong to pending interrupts. */
#define IOAPIC_ENTRY_MASK 0xff0000000001ffffull
/* A channel that was never programmed has this mode. */
#define PIT_MODE_NONE 0xff
#define PIT_MODE_MAX 5
#define PIT_FLAGS (KVM_PIT_FLAGS_HPET_LEGACY | KVM_PIT_FLAGS_SPEAKER_DATA_ON)

struct field {
	const char *name;
	size_t offset;
	size_t size;
	uint32_t max;
};

#define PIC_FIELD(field, most)                                                                                  \
	{                                                                                                       \
#field, offsetof(struct kvm_pic_state, field), sizeof(((struct kvm_pic_state *)0)->field), most \
	}
static const struct field pic_fields[] = {
	PIC_FIELD(last_irr, 0xff),
	PIC_FIELD(irr, 0xff),
	PIC_FIELD(imr, 0xff),
	PIC_FIELD(isr, 0xff),
	PIC_FIELD(priority_add, 7),
	PIC_FIELD(irq_base, 0xf8),
	PIC_FIELD(read_reg_select, 1),
	PIC_FIELD(poll, 4),
	PIC_FIELD(special_mask, 1),
	PIC_FIELD(init_state, 3),
	PIC_FIELD(auto_eoi, 1),
	PIC_FIELD(rotate_on_auto_eoi, 1),
	PIC_FIELD(special_fully_nested_mode, 1),
	PIC_FIELD(init4, 1),
	PIC_FIELD(elcr, 0xff),
};

/* count_load_time is not among them: KVM starts the count when it is loaded, and the old time is another host's. */
#define PIT_FIELD(field, most)                                                                                                  \
	{                                                                                                                       \
#field, offsetof(struct kvm_pit_channel_state, field), sizeof(((struct kvm_pit_channel_state *)0)->field), most \
	}
static const struct field pit_fields[] = {
	PIT_FIELD(count, 0x10000), PIT_FIELD(latched_count, 0xffff), PIT_FIELD(count_latched, 4), PIT_FIELD(status_latched, 1),
	PIT_FIELD(status, 0xff),   PIT_FIELD(read_state, 4),         PIT_FIELD(write_state, 4),   PIT_FIELD(write_latch, 0xff),
	PIT_FIELD(rw_mode, 3),     PIT_FIELD(mode, PIT_MODE_NONE),   PIT_FIELD(bcd, 1),           PIT_FIELD(gate, 1),
};

#define NR_FIELDS(table) (sizeof(table) / sizeof((table)[0]))

static uint32_t load_number(const void *from, size_t size)
{
	uint32_t value = 0;
	memcpy(&value, from, size); /* little-endian, as all of x86 */
	return value;
}

static void save_fields(struct state_writer *w, const char *prefix, const struct field *fields, size_t nr, const void *from)
{
	for (size_t i = 0; i < nr; i++) {
		char name[64];
		snprintf(name, sizeof(name), "%s.%s", prefix, fields[i].name);
		state_put(w, name, load_number((const uint8_t *)from + fields[i].offset, fields[i].size));
	}
}

static void load_fields(struct state_reader *r, const char *prefix, const struct field *fields, size_t nr, void *to)
{
	for (size_t i = 0; i < nr; i++) {
		char name[64];
		snprintf(name, sizeof(name), "%s.%s", prefix, fields[i].name);
		uint32_t value = (uint32_t)state_get(r, name, 0, fields[i].max);
		memcpy((uint8_t *)to + fields[i].offset, &value, fields[i].size);
	}
}

static void save_ioapic(struct state_writer *w, const struct kvm_ioapic_state *ioapic)
{
	state_put(w, "ioapic.select", ioapic->ioregsel);
	state_put(w, "ioapic.id", ioapic->id);
	state_put(w, "ioapic.irr", ioapic->irr);
	for (unsigned i = 0; i < HV_NR_PINS; i++) {
		char name[32];
		snprintf(name, sizeof(name), "ioapic.entry%u", i);
		state_put(w, name, ioapic->redirtbl[i].bits);
	}
}

static void load_ioapic(struct state_reader *r, struct kvm_ioapic_state *ioapic)
{
	ioapic->base_address = IOAPIC_BASE;
	ioapic->ioregsel = (uint32_t)state_get(r, "ioapic.select", 0, 0xff);
	ioapic->id = (uint32_t)state_get(r, "ioapic.id", 0, 0xf);
	ioapic->irr = (uint32_t)state_get(r, "ioapic.irr", 0, (1u << HV_NR_PINS) - 1);
	for (unsigned i = 0; i < HV_NR_PINS; i++) {
		char name[32];
		snprintf(name, sizeof(name), "ioapic.entry%u", i);
		uint64_t entry = state_get(r, name, 0, UINT64_MAX);
		if (entry & ~IOAPIC_ENTRY_MASK)
			state_reject(r, "an IOAPIC entry has reserved bits set");
		ioapic->redirtbl[i].bits = entry & IOAPIC_ENTRY_MASK;
	}
}

static void load_pit(struct state_reader *r, struct kvm_pit_state2 *pit)
{
	pit->flags = (uint32_t)state_get(r, "pit.flags", 0, PIT_FLAGS);
	for (unsigned i = 0; i < NR_PIT_CHANNELS; i++) {
		char prefix[16];
		snprintf(prefix, sizeof(prefix), "pit%u", i);
		load_fields(r, prefix, pit_fields, NR_FIELDS(pit_fields), &pit->channels[i]);
		if (pit->channels[i].mode > PIT_MODE_MAX && pit->channels[i].mode != PIT_MODE_NONE)
			state_reject(r, "a PIT channel has a mode that does not exist");
	}
}

static int get_chips(struct hv_vm *vm, struct kvm_irqchip *chips, struct kvm_pit_state2 *pit)
{
	for (unsigned i = 0; i < HV_NR_CHIPS; i++) {
		chips[i].chip_id = i;
		int ret = hv_ioctl(vm->fd, KVM_GET_IRQCHIP, &chips[i]);
		if (ret < 0)
			return ret;
	}
	int ret = hv_ioctl(vm->fd, KVM_GET_PIT2, pit);
	return ret < 0 ? ret : 0;
}

/* The PIT first: its line enters the chips. */
static int set_chips(struct hv_vm *vm, const struct kvm_irqchip *chips, const struct kvm_pit_state2 *pit)
{
	struct kvm_pit_state2 pit_copy = *pit;
	int ret = hv_ioctl(vm->fd, KVM_SET_PIT2, &pit_copy);
	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < HV_NR_CHIPS; i++) {
		struct kvm_irqchip copy = chips[i];
		ret = hv_ioctl(vm->fd, KVM_SET_IRQCHIP, &copy);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int hv_vm_save(struct hv_vm *vm, struct state_writer *w)
{
	struct kvm_irqchip chips[HV_NR_CHIPS] = {0};
	struct kvm_pit_state2 pit = {0};
	uint64_t clock;
	int ret = get_chips(vm, chips, &pit);
	if (!ret)
		ret = hv_vm_get_clock(vm, &clock);
	if (ret)
		return ret;
	state_enter_new(w, "hv-vm", STATE_VERSION);
	state_put(w, "clock_ns", clock);
	save_fields(w, "pic0", pic_fields, NR_FIELDS(pic_fields), &chips[KVM_IRQCHIP_PIC_MASTER].chip.pic);
	save_fields(w, "pic1", pic_fields, NR_FIELDS(pic_fields), &chips[KVM_IRQCHIP_PIC_SLAVE].chip.pic);
	save_ioapic(w, &chips[KVM_IRQCHIP_IOAPIC].chip.ioapic);
	state_put(w, "pit.flags", pit.flags & PIT_FLAGS);
	for (unsigned i = 0; i < NR_PIT_CHANNELS; i++) {
		char prefix[16];
		snprintf(prefix, sizeof(prefix), "pit%u", i);
		save_fields(w, prefix, pit_fields, NR_FIELDS(pit_fields), &pit.channels[i]);
	}
	state_leave_new(w);
	return 0;
}

int hv_vm_load(struct hv_vm *vm, struct state_reader *r, struct error *err)
{
	struct kvm_irqchip chips[HV_NR_CHIPS];
	struct kvm_pit_state2 pit = vm->power_on_pit;
	memcpy(chips, vm->power_on_chips, sizeof(chips));
	state_enter(r, "hv-vm", STATE_VERSION);
	uint64_t clock = state_get(r, "clock_ns", 0, INT64_MAX);
	load_fields(r, "pic0", pic_fields, NR_FIELDS(pic_fields), &chips[KVM_IRQCHIP_PIC_MASTER].chip.pic);
	load_fields(r, "pic1", pic_fields, NR_FIELDS(pic_fields), &chips[KVM_IRQCHIP_PIC_SLAVE].chip.pic);
	load_ioapic(r, &chips[KVM_IRQCHIP_IOAPIC].chip.ioapic);
	load_pit(r, &pit);
	int ret = state_leave(r, err);
	if (ret)
		return ret;
	ret = set_chips(vm, chips, &pit);
	if (!ret)
		ret = hv_vm_set_clock(vm, clock);
	return ret ? error_set(err, -ret, "KVM refuses the saved interrupt chips, timer or clock: %s", strerror(-ret)) : 0;
}

int hv_vm_reset(struct hv_vm *vm)
{
	return set_chips(vm, vm->power_on_chips, &vm->power_on_pit);
}
