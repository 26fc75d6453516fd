/*
 * See vcpu.h. A vCPU in a stream of saved state, section "hv-vcpuN".
 *
 * Loading starts from a copy of the power-on state and overwrites it field by field, so that whatever a stream does not say, or may
 * not say, is as KVM made it. A value passes if the hardware could hold it; what only KVM can judge (control register bits that depend
 * on CPUID, values of MSRs) is judged by KVM, whose refusal is an error like any other. MSRs are those of our own list, each at
 * most once. Nothing reaches KVM before the whole section has passed.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "hv/os.h"
#include "hv/vcpu_internal.h"
#include "hv/vm_internal.h"

#define STATE_VERSION 1
#define MAX_XSAVE_SIZE 65536u
#define MIN_XSAVE_SIZE (512u + 64u)
#define MAX_NESTED_SIZE 16384u
#define MAX_MSRS 4096u
#define MAX_VECTOR 31u

/* Offsets in the XSAVE image (Intel SDM 1, 13.4). */
#define XSAVE_MXCSR 24u
#define XSAVE_HEADER 512u
#define MXCSR_MASK 0xffffu

struct field {
	const char *name;
	size_t offset;
	size_t size;
	uint64_t max;
};

#define STATE_FIELD(member, most)                                                                                  \
	{                                                                                                          \
#member, offsetof(struct hv_vcpu_state, member), sizeof(((struct hv_vcpu_state *)0)->member), most \
	}
#define NUMBER(member) STATE_FIELD(member, UINT64_MAX)
#define SEGMENT(name)                                                                                                     \
	NUMBER(sregs.name.base), STATE_FIELD(sregs.name.limit, UINT32_MAX), STATE_FIELD(sregs.name.selector, UINT16_MAX), \
		STATE_FIELD(sregs.name.type, 15), STATE_FIELD(sregs.name.present, 1), STATE_FIELD(sregs.name.dpl, 3),     \
		STATE_FIELD(sregs.name.db, 1), STATE_FIELD(sregs.name.s, 1), STATE_FIELD(sregs.name.l, 1),                \
		STATE_FIELD(sregs.name.g, 1), STATE_FIELD(sregs.name.avl, 1), STATE_FIELD(sregs.name.unusable, 1)

static const struct field fields[] = {
	NUMBER(regs.rax),
	NUMBER(regs.rbx),
	NUMBER(regs.rcx),
	NUMBER(regs.rdx),
	NUMBER(regs.rsi),
	NUMBER(regs.rdi),
	NUMBER(regs.rsp),
	NUMBER(regs.rbp),
	NUMBER(regs.r8),
	NUMBER(regs.r9),
	NUMBER(regs.r10),
	NUMBER(regs.r11),
	NUMBER(regs.r12),
	NUMBER(regs.r13),
	NUMBER(regs.r14),
	NUMBER(regs.r15),
	NUMBER(regs.rip),
	STATE_FIELD(regs.rflags, 0x3fffff),

	SEGMENT(cs),
	SEGMENT(ds),
	SEGMENT(es),
	SEGMENT(fs),
	SEGMENT(gs),
	SEGMENT(ss),
	SEGMENT(tr),
	SEGMENT(ldt),
	NUMBER(sregs.gdt.base),
	STATE_FIELD(sregs.gdt.limit, UINT16_MAX),
	NUMBER(sregs.idt.base),
	STATE_FIELD(sregs.idt.limit, UINT16_MAX),
	NUMBER(sregs.cr0),
	NUMBER(sregs.cr2),
	NUMBER(sregs.cr3),
	NUMBER(sregs.cr4),
	STATE_FIELD(sregs.cr8, 15),
	NUMBER(sregs.efer),
	NUMBER(sregs.apic_base),
	STATE_FIELD(sregs.flags, KVM_SREGS2_FLAGS_PDPTRS_VALID),
	NUMBER(sregs.pdptrs[0]),
	NUMBER(sregs.pdptrs[1]),
	NUMBER(sregs.pdptrs[2]),
	NUMBER(sregs.pdptrs[3]),

	NUMBER(debug.db[0]),
	NUMBER(debug.db[1]),
	NUMBER(debug.db[2]),
	NUMBER(debug.db[3]),
	STATE_FIELD(debug.dr6, UINT32_MAX),
	STATE_FIELD(debug.dr7, UINT32_MAX),

	STATE_FIELD(events.exception.injected, 1),
	STATE_FIELD(events.exception.nr, MAX_VECTOR),
	STATE_FIELD(events.exception.has_error_code, 1),
	STATE_FIELD(events.exception.pending, 1),
	STATE_FIELD(events.exception.error_code, UINT32_MAX),
	STATE_FIELD(events.exception_has_payload, 1),
	NUMBER(events.exception_payload),
	STATE_FIELD(events.interrupt.injected, 1),
	STATE_FIELD(events.interrupt.nr, UINT8_MAX),
	STATE_FIELD(events.interrupt.soft, 1),
	STATE_FIELD(events.interrupt.shadow, KVM_X86_SHADOW_INT_MOV_SS | KVM_X86_SHADOW_INT_STI),
	STATE_FIELD(events.nmi.injected, 1),
	STATE_FIELD(events.nmi.pending, 2),
	STATE_FIELD(events.nmi.masked, 1),
	STATE_FIELD(events.smi.smm, 1),
	STATE_FIELD(events.smi.pending, 1),
	STATE_FIELD(events.smi.smm_inside_nmi, 1),
	STATE_FIELD(events.smi.latched_init, 1),
	STATE_FIELD(events.triple_fault.pending, 1),

	STATE_FIELD(mp_state.mp_state, KVM_MP_STATE_SIPI_RECEIVED),
	STATE_FIELD(xcr0, UINT64_MAX),
	NUMBER(tsc),
};

/*
 * The LAPIC's registers (Intel SDM 3A, table 10-1), with the bits that exist. What is read-only or computed is left out: version, and
 * the processor priority.
 */
static const struct {
	const char *name;
	uint16_t offset, nr; /* nr registers, 16 bytes apart */
	uint32_t mask;
} lapic_fields[] = {
	{"id", 0x20, 1, UINT32_MAX},
	{"tpr", 0x80, 1, 0xff},
	{"ldr", 0xd0, 1, UINT32_MAX},
	{"dfr", 0xe0, 1, UINT32_MAX},
	{"svr", 0xf0, 1, 0x13ff},
	{"isr", 0x100, 8, UINT32_MAX},
	{"tmr", 0x180, 8, UINT32_MAX},
	{"irr", 0x200, 8, UINT32_MAX},
	{"esr", 0x280, 1, 0xff},
	{"lvt_cmci", 0x2f0, 1, 0x117ff},
	{"icr", 0x300, 2, UINT32_MAX},
	{"lvt_timer", 0x320, 1, 0x710ff},
	{"lvt_thermal", 0x330, 1, 0x117ff},
	{"lvt_pmc", 0x340, 1, 0x117ff},
	{"lvt_lint0", 0x350, 1, 0x1f7ff},
	{"lvt_lint1", 0x360, 1, 0x1f7ff},
	{"lvt_error", 0x370, 1, 0x110ff},
	{"timer_initial", 0x380, 1, UINT32_MAX},
	{"timer_current", 0x390, 1, UINT32_MAX},
	{"timer_divide", 0x3e0, 1, 0xb},
};

#define NR(table) (sizeof(table) / sizeof((table)[0]))

static void lapic_field_name(char *name, size_t room, size_t i, unsigned k)
{
	if (lapic_fields[i].nr > 1)
		snprintf(name, room, "lapic.%s%u", lapic_fields[i].name, k);
	else
		snprintf(name, room, "lapic.%s", lapic_fields[i].name);
}

static void save_lapic(struct state_writer *w, const struct kvm_lapic_state *lapic)
{
	for (size_t i = 0; i < NR(lapic_fields); i++) {
		for (unsigned k = 0; k < lapic_fields[i].nr; k++) {
			char name[32];
			uint32_t value;
			memcpy(&value, lapic->regs + lapic_fields[i].offset + 16 * k, sizeof(value));
			lapic_field_name(name, sizeof(name), i, k);
			state_put(w, name, value & lapic_fields[i].mask);
		}
	}
}

static void load_lapic(struct state_reader *r, struct kvm_lapic_state *lapic)
{
	for (size_t i = 0; i < NR(lapic_fields); i++) {
		for (unsigned k = 0; k < lapic_fields[i].nr; k++) {
			char name[32];
			lapic_field_name(name, sizeof(name), i, k);
			uint32_t value = (uint32_t)state_get(r, name, 0, UINT32_MAX);
			if (value & ~lapic_fields[i].mask)
				state_reject(r, "a LAPIC register has reserved bits set");
			memcpy(lapic->regs + lapic_fields[i].offset + 16 * k, &value, sizeof(value));
		}
	}
}

/* What is still as at power-on is left out: so a host whose KVM knows fewer MSRs can take a guest that does not use the others. */
static void save_msrs(const struct hv_vcpu *vcpu, const struct hv_vcpu_state *state, struct state_writer *w)
{
	size_t nr = 0;
	for (size_t i = 0; i < state->nr_msrs; i++)
		nr += state->msrs[i].data != vcpu->power_on.msrs[i].data;
	state_put(w, "msr.nr", nr);
	for (size_t i = 0; i < state->nr_msrs; i++) {
		if (state->msrs[i].data == vcpu->power_on.msrs[i].data)
			continue;
		state_put(w, "msr.index", state->msrs[i].index);
		state_put(w, "msr.value", state->msrs[i].data);
	}
}

static void save_state(struct hv_vcpu *vcpu, const struct hv_vcpu_state *state, struct state_writer *w)
{
	char section[32];
	snprintf(section, sizeof(section), "hv-vcpu%u", vcpu->index);
	state_enter_new(w, section, STATE_VERSION);
	state_put(w, "apic_id", vcpu->apic_id);
	state_put(w, "tsc_khz", vcpu->tsc_khz);
	for (size_t i = 0; i < NR(fields); i++) {
		uint64_t value = 0;
		memcpy(&value, (const uint8_t *)state + fields[i].offset, fields[i].size); /* little-endian, as all of x86 */
		state_put(w, fields[i].name, value);
	}
	save_lapic(w, &state->lapic);
	state_put_bytes(w, "xsave", state->xsave, (size_t)vcpu->vm->xsave_size);
	save_msrs(vcpu, state, w);
	if (state->nested)
		state_put_bytes(w, "nested", state->nested, state->nested->size);
	else
		state_put_bytes(w, "nested", "", 0);
	state_leave_new(w);
}

int hv_vcpu_save(struct hv_vcpu *vcpu, struct state_writer *w)
{
	struct hv_vcpu_state state;
	const char *what = "";
	int ret = hv_vcpu_finish_exit(vcpu);
	if (ret)
		return ret;
	ret = hv_vcpu_state_init(vcpu, true, &state);
	if (!ret)
		ret = hv_vcpu_state_get(vcpu, &state, &what);
	if (!ret)
		save_state(vcpu, &state, w);
	hv_vcpu_state_free(&state);
	return ret;
}

static void load_xsave(struct state_reader *r, const struct hv_vcpu *vcpu, struct kvm_xsave *xsave)
{
	size_t len, room = (size_t)vcpu->vm->xsave_size;
	const uint8_t *image = state_get_blob(r, "xsave", MAX_XSAVE_SIZE, &len);
	if (len < MIN_XSAVE_SIZE) {
		state_reject(r, "the FPU state is too short");
		return;
	}
	uint32_t mxcsr;
	uint64_t header[8]; /* XSTATE_BV, XCOMP_BV, reserved */
	memcpy(&mxcsr, image + XSAVE_MXCSR, sizeof(mxcsr));
	memcpy(header, image + XSAVE_HEADER, sizeof(header));
	if (mxcsr & ~MXCSR_MASK)
		state_reject(r, "MXCSR has reserved bits set");
	if (header[0] & ~vcpu->xfeatures)
		state_reject(r, "the FPU state has components that this guest's CPU model does not have");
	for (unsigned i = 1; i < 8; i++) {
		if (header[i])
			state_reject(r, "the header of the FPU state has reserved bits set");
	}
	/* What lies past our size can only be components that are not present. */
	memset(xsave, 0, room);
	memcpy(xsave, image, len < room ? len : room);
}

static void load_msrs(struct state_reader *r, const struct hv_vcpu *vcpu, struct hv_vcpu_state *state)
{
	uint8_t seen[MAX_MSRS / 8] = {0};
	size_t nr = (size_t)state_get(r, "msr.nr", 0, vcpu->nr_msrs);
	for (size_t n = 0; n < nr; n++) {
		uint32_t index = (uint32_t)state_get(r, "msr.index", 0, UINT32_MAX);
		uint64_t value = state_get(r, "msr.value", 0, UINT64_MAX);
		size_t i = 0;
		while (i < vcpu->nr_msrs && vcpu->msrs[i] != index)
			i++;
		if (i == vcpu->nr_msrs || i >= MAX_MSRS) {
			state_reject(r, "a model-specific register that this host's KVM does not have");
			return;
		}
		if (seen[i / 8] >> (i % 8) & 1) {
			state_reject(r, "a model-specific register is there twice");
			return;
		}
		seen[i / 8] |= (uint8_t)(1u << (i % 8));
		state->msrs[i].data = value;
	}
}

static void load_nested(struct state_reader *r, const struct hv_vcpu *vcpu, struct kvm_nested_state *nested)
{
	size_t len;
	const void *saved = state_get_blob(r, "nested", MAX_NESTED_SIZE, &len);
	if (!nested) {
		if (len)
			state_reject(r, "a nested guest, but this guest's CPU model has no VMX or SVM");
		return;
	}
	uint32_t size;
	if (len < sizeof(*nested) || len > (size_t)vcpu->vm->nested_size) {
		state_reject(r, "the nested guest has a wrong size");
		return;
	}
	memcpy(&size, (const uint8_t *)saved + offsetof(struct kvm_nested_state, size), sizeof(size));
	if (size != len) {
		state_reject(r, "the nested guest has a wrong size");
		return;
	}
	memcpy(nested, saved, len);
}

/* Which parts of the events KVM shall take: all that it knows. */
static void set_event_flags(const struct hv_vcpu *vcpu, struct kvm_vcpu_events *events)
{
	events->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_PAYLOAD;
	if (vcpu->power_on.events.flags & KVM_VCPUEVENT_VALID_SMM)
		events->flags |= KVM_VCPUEVENT_VALID_SMM;
	if (vcpu->vm->has_triple_fault)
		events->flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
}

static uint32_t load_state(struct hv_vcpu *vcpu, struct hv_vcpu_state *state, struct state_reader *r)
{
	char section[32];
	snprintf(section, sizeof(section), "hv-vcpu%u", vcpu->index);
	state_enter(r, section, STATE_VERSION);
	state_get(r, "apic_id", vcpu->apic_id, vcpu->apic_id);
	uint32_t tsc_khz = (uint32_t)state_get(r, "tsc_khz", 1, UINT32_MAX);
	for (size_t i = 0; i < NR(fields); i++) {
		uint64_t value = state_get(r, fields[i].name, 0, fields[i].max);
		memcpy((uint8_t *)state + fields[i].offset, &value, fields[i].size);
	}
	if (state->has_xcr0 && (state->xcr0 & ~vcpu->xfeatures))
		state_reject(r, "XCR0 enables components that this guest's CPU model does not have");
	load_lapic(r, &state->lapic);
	load_xsave(r, vcpu, state->xsave);
	load_msrs(r, vcpu, state);
	load_nested(r, vcpu, state->nested);
	return tsc_khz;
}

/* KVM lets frequencies pass that are nearly the same; else the host must be able to scale. */
static int set_tsc_khz(struct hv_vcpu *vcpu, uint32_t tsc_khz, struct error *err)
{
	if (tsc_khz == vcpu->tsc_khz)
		return 0;
	int ret = hv_ioctl_value(vcpu->fd, KVM_SET_TSC_KHZ, tsc_khz);
	if (ret < 0)
		return error_set(err, -ret,
				 "vCPU %u: the guest's TSC runs at %u kHz, this host's at %u, and it cannot be scaled: %s; load "
				 "the guest on "
				 "a host like its own",
				 vcpu->index, tsc_khz, vcpu->tsc_khz, strerror(-ret));
	vcpu->tsc_khz = tsc_khz;
	return 0;
}

/* A copy of the power-on state with room for what it lacks. */
static int start_from_power_on(struct hv_vcpu *vcpu, struct hv_vcpu_state *state)
{
	int ret = hv_vcpu_state_init(vcpu, true, state);
	if (ret)
		return ret;
	struct hv_vcpu_state own = *state;
	*state = vcpu->power_on;
	state->msrs = own.msrs;
	state->xsave = own.xsave;
	state->nested = own.nested;
	memcpy(state->msrs, vcpu->power_on.msrs, vcpu->nr_msrs * sizeof(state->msrs[0]));
	set_event_flags(vcpu, &state->events);
	return 0;
}

int hv_vcpu_load(struct hv_vcpu *vcpu, struct state_reader *r, struct error *err)
{
	struct hv_vcpu_state state;
	const char *what = "drop an unfinished exit";
	int ret = start_from_power_on(vcpu, &state);
	if (ret) {
		error_set(err, -ret, "vCPU %u: out of memory", vcpu->index);
		goto free_state;
	}
	uint32_t tsc_khz = load_state(vcpu, &state, r);
	ret = state_leave(r, err);
	if (ret)
		goto free_state;
	ret = set_tsc_khz(vcpu, tsc_khz, err);
	if (ret)
		goto free_state;
	ret = hv_vcpu_drop_exit(vcpu);
	if (!ret)
		ret = hv_vcpu_state_set(vcpu, &state, true, &what);
	if (ret)
		error_set(err, -ret, "vCPU %u: KVM cannot %s as it was saved: %s", vcpu->index, what, strerror(-ret));
free_state:
	hv_vcpu_state_free(&state);
	return ret;
}
