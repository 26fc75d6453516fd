/*
 * A vCPU's state, from KVM and back to it. The order of the calls is the point of this file; each step says why it stands there.
 *
 * The MSRs are those that KVM lists as state, and a few that it keeps without listing them. Of these the ones count that can be read on
 * this host: which they are was tried when the vCPU was created, and never changes. Only those that differ are written, so that what
 * this host's KVM lists but cannot change is no trouble while nobody wants it changed.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "hv/os.h"
#include "hv/vcpu_internal.h"
#include "hv/vm_internal.h"

/* Offsets in the FXSAVE image (Intel SDM 1, 10.5.1), and their initial values. */
#define FXSAVE_FCW 0
#define XSAVE_HEADER 512u /* begins with XSTATE_BV: which components are there */
#define FXSAVE_MXCSR 24
#define FCW_INITIAL 0x37f
#define MXCSR_INITIAL 0x1f80

/* Kept by KVM, and not in its list in every version: MTRRs. The banks of machine checks are added by their number. */
static const struct {
	uint32_t first, nr;
} unlisted_msrs[] = {
	{0x200, 16}, /* MTRR_PHYSBASE0 to MTRR_PHYSMASK7 */
	{0x250, 1},  /* MTRR_FIX64K */
	{0x258, 2},  /* MTRR_FIX16K */
	{0x268, 8},  /* MTRR_FIX4K */
	{HV_MSR_MTRR_DEFAULT_TYPE, 1},
	{HV_MSR_MC0_CTL, 4 * HV_NR_MCE_BANKS},
};

/* Listed, and not taken as they are. */
static const struct {
	uint32_t first, last;
} omitted_msrs[] = {
	{HV_MSR_TSC, HV_MSR_TSC}, /* handled by itself */
	{0x11, 0x12},             /* kvmclock's first pair: other names of 0x4b564d00 and 0x4b564d01 */
	{0x40000000, 0x400001ff}, /* Hyper-V's, which we do not offer */
	{0x4b564d07, 0x4b564d07}, /* KVM_ASYNC_PF_ACK: a command */
	{0xc0000080, 0xc0000080}, /* EFER: in the system registers */
};

static bool is_omitted(uint32_t index)
{
	for (size_t i = 0; i < sizeof(omitted_msrs) / sizeof(omitted_msrs[0]); i++) {
		if (index >= omitted_msrs[i].first && index <= omitted_msrs[i].last)
			return true;
	}
	return false;
}

static void add_msr(struct hv_vcpu *vcpu, uint32_t index)
{
	for (size_t i = 0; i < vcpu->nr_msrs; i++) {
		if (vcpu->msrs[i] == index)
			return;
	}
	vcpu->msrs[vcpu->nr_msrs++] = index;
}

/*
 * Order of writing. The deadline needs the TSC and the LAPIC to be there, which hv_vcpu_state_set() sees to; here it comes after
 * what belongs to the clock. The counters' global enable (0x38f; AMD 0xc0000301) comes after the counters.
 */
static unsigned msr_rank(uint32_t index)
{
	return index == HV_MSR_TSC_DEADLINE ? 2 : index == 0x38f || index == 0xc0000301 ? 1 : 0;
}

static int compare_msrs(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	unsigned rank_x = msr_rank(x), rank_y = msr_rank(y);
	if (rank_x != rank_y)
		return rank_x < rank_y ? -1 : 1;
	return x < y ? -1 : x > y;
}

static void gather_msrs(struct hv_vcpu *vcpu, const uint32_t *listed, size_t nr_listed)
{
	for (size_t i = 0; i < nr_listed; i++) {
		if (!is_omitted(listed[i]))
			add_msr(vcpu, listed[i]);
	}
	for (size_t i = 0; i < sizeof(unlisted_msrs) / sizeof(unlisted_msrs[0]); i++) {
		for (uint32_t k = 0; k < unlisted_msrs[i].nr; k++)
			add_msr(vcpu, unlisted_msrs[i].first + k);
	}
	qsort(vcpu->msrs, vcpu->nr_msrs, sizeof(vcpu->msrs[0]), compare_msrs);
}

/* KVM_GET_MSRS stops at the first MSR that it refuses, and says how many went well. Leaves those that pass in *list, in order. */
static int keep_what_can_be_read(struct hv_vcpu *vcpu, struct kvm_msrs *list, struct kvm_msrs *scratch)
{
	uint32_t kept = 0, done = 0;
	while (done < list->nmsrs) {
		scratch->nmsrs = list->nmsrs - done;
		memcpy(scratch->entries, list->entries + done, scratch->nmsrs * sizeof(scratch->entries[0]));
		int passed = hv_ioctl(vcpu->fd, KVM_GET_MSRS, scratch);
		if (passed < 0)
			return passed;
		if ((uint32_t)passed > scratch->nmsrs)
			return -EINVAL;
		memmove(list->entries + kept, scratch->entries, (size_t)passed * sizeof(list->entries[0]));
		kept += (uint32_t)passed;
		done += (uint32_t)passed + 1; /* and the refused one */
	}
	list->nmsrs = kept;
	return 0;
}

static struct kvm_msrs *new_msr_list(size_t nr)
{
	return hv_calloc(1, sizeof(struct kvm_msrs) + (nr + 1) * sizeof(struct kvm_msr_entry));
}

int hv_vcpu_select_msrs(struct hv_vcpu *vcpu)
{
	size_t nr_listed, most;
	const uint32_t *listed = hv_kvm_msrs(vcpu->vm->kvm, &nr_listed);
	most = nr_listed;
	for (size_t i = 0; i < sizeof(unlisted_msrs) / sizeof(unlisted_msrs[0]); i++)
		most += unlisted_msrs[i].nr;
	vcpu->msrs = hv_calloc(most, sizeof(vcpu->msrs[0]));
	struct kvm_msrs *list = new_msr_list(most), *scratch = new_msr_list(most);
	int ret = -ENOMEM;
	if (!vcpu->msrs || !list || !scratch)
		goto free_lists;
	gather_msrs(vcpu, listed, nr_listed);
	list->nmsrs = (uint32_t)vcpu->nr_msrs;
	for (size_t i = 0; i < vcpu->nr_msrs; i++)
		list->entries[i].index = vcpu->msrs[i];
	ret = keep_what_can_be_read(vcpu, list, scratch);
	if (ret)
		goto free_lists;
	vcpu->nr_msrs = list->nmsrs;
	for (size_t i = 0; i < vcpu->nr_msrs; i++)
		vcpu->msrs[i] = list->entries[i].index;
free_lists:
	free(scratch);
	free(list);
	return ret;
}

int hv_vcpu_state_init(const struct hv_vcpu *vcpu, bool with_xsave, struct hv_vcpu_state *state)
{
	memset(state, 0, sizeof(*state));
	state->msrs = hv_calloc(vcpu->nr_msrs + 1, sizeof(state->msrs[0]));
	if (!state->msrs)
		return -ENOMEM;
	if (with_xsave) {
		state->xsave = hv_calloc(1, (size_t)vcpu->vm->xsave_size);
		if (!state->xsave)
			return -ENOMEM;
	}
	if (vcpu->has_nested) {
		state->nested = hv_calloc(1, (size_t)vcpu->vm->nested_size);
		if (!state->nested)
			return -ENOMEM;
	}
	state->nr_msrs = vcpu->nr_msrs;
	for (size_t i = 0; i < vcpu->nr_msrs; i++)
		state->msrs[i].index = vcpu->msrs[i];
	return 0;
}

void hv_vcpu_state_free(struct hv_vcpu_state *state)
{
	free(state->msrs);
	free(state->xsave);
	free(state->nested);
	memset(state, 0, sizeof(*state));
}

int hv_vcpu_move_msrs(struct hv_vcpu *vcpu, unsigned long request, struct kvm_msr_entry *entries, size_t nr)
{
	if (!nr)
		return 0;
	struct kvm_msrs *list = new_msr_list(nr);
	if (!list)
		return -ENOMEM;
	list->nmsrs = (uint32_t)nr;
	memcpy(list->entries, entries, nr * sizeof(entries[0]));
	int ret = hv_ioctl(vcpu->fd, request, list);
	if (ret >= 0)
		ret = (size_t)ret == nr ? 0 : -ENXIO;
	if (!ret)
		memcpy(entries, list->entries, nr * sizeof(entries[0]));
	free(list);
	return ret;
}

static int get_xcr0(struct hv_vcpu *vcpu, struct hv_vcpu_state *state)
{
	struct kvm_xcrs xcrs = {0};
	int ret = hv_ioctl(vcpu->fd, KVM_GET_XCRS, &xcrs);
	if (ret < 0)
		return ret;
	state->has_xcr0 = false;
	/* None on a host without XSAVE. */
	for (uint32_t i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++) {
		if (xcrs.xcrs[i].xcr == 0) {
			state->has_xcr0 = true;
			/* KVM without XSAVE for guests gives the host's register: what the model lacks is not the guest's. */
			state->xcr0 = xcrs.xcrs[i].value & vcpu->xfeatures;
		}
	}
	return 0;
}

static int set_xcr0(struct hv_vcpu *vcpu, const struct hv_vcpu_state *state)
{
	if (!state->has_xcr0)
		return 0;
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = state->xcr0}}};
	return hv_ioctl(vcpu->fd, KVM_SET_XCRS, &xcrs);
}

/* One structure that one request moves. */
struct part {
	const char *name;
	unsigned long request;
	void *data;
};

static int move_parts(struct hv_vcpu *vcpu, const struct part *parts, size_t nr, const char **what)
{
	for (size_t i = 0; i < nr; i++) {
		if (!parts[i].data)
			continue;
		int ret = hv_ioctl(vcpu->fd, parts[i].request, parts[i].data);
		if (ret < 0) {
			*what = parts[i].name;
			return ret;
		}
	}
	return 0;
}

/* KVM gives components of the host's that the guest's model lacks (protection keys, always): they are not the guest's. */
static void leave_out_foreign(const struct hv_vcpu *vcpu, struct kvm_xsave *xsave)
{
	uint64_t present;
	memcpy(&present, (uint8_t *)xsave + XSAVE_HEADER, sizeof(present));
	present &= vcpu->xfeatures;
	memcpy((uint8_t *)xsave + XSAVE_HEADER, &present, sizeof(present));
}

int hv_vcpu_state_get(struct hv_vcpu *vcpu, struct hv_vcpu_state *state, const char **what)
{
	if (state->nested)
		state->nested->size = (uint32_t)vcpu->vm->nested_size;
	const struct part parts[] = {
		/* First what may still change the rest: pending exceptions settle, a waiting INIT or SIPI is taken. */
		{"read its events", KVM_GET_VCPU_EVENTS, &state->events},
		{"read its run state", KVM_GET_MP_STATE, &state->mp_state},
		{"read its nested guest", KVM_GET_NESTED_STATE, state->nested},
		{"read its registers", KVM_GET_REGS, &state->regs},
		{"read its system registers", KVM_GET_SREGS2, &state->sregs},
		{"read its FPU", KVM_GET_XSAVE2, state->xsave},
		{"read its debug registers", KVM_GET_DEBUGREGS, &state->debug},
		{"read its LAPIC", KVM_GET_LAPIC, &state->lapic},
	};
	int ret = move_parts(vcpu, parts, sizeof(parts) / sizeof(parts[0]), what);
	if (ret)
		return ret;
	if (state->xsave)
		leave_out_foreign(vcpu, state->xsave);
	*what = "read its XCR0";
	ret = get_xcr0(vcpu, state);
	if (ret)
		return ret;
	*what = "read its MSRs";
	ret = hv_vcpu_move_msrs(vcpu, KVM_GET_MSRS, state->msrs, state->nr_msrs);
	if (ret)
		return ret;
	*what = "read its TSC";
	struct kvm_msr_entry tsc = {.index = HV_MSR_TSC};
	ret = hv_vcpu_move_msrs(vcpu, KVM_GET_MSRS, &tsc, 1);
	if (!ret)
		state->tsc = tsc.data;
	return ret;
}

/* All components as after reset: an image in which none is present, but for MXCSR, which the kernel takes from the image always. */
static struct kvm_xsave *new_initial_xsave(const struct hv_vcpu *vcpu)
{
	struct kvm_xsave *xsave = hv_calloc(1, (size_t)vcpu->vm->xsave_size);
	if (!xsave)
		return NULL;
	const uint16_t fcw = FCW_INITIAL;
	const uint32_t mxcsr = MXCSR_INITIAL;
	memcpy((uint8_t *)xsave + FXSAVE_FCW, &fcw, sizeof(fcw));
	memcpy((uint8_t *)xsave + FXSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
	return xsave;
}

/* A nested guest leans on system registers and on the feature control, and stands in the way of changing them. */
static int set_nested(struct hv_vcpu *vcpu, const struct kvm_nested_state *nested)
{
	return hv_ioctl(vcpu->fd, KVM_SET_NESTED_STATE, (void *)(uintptr_t)nested);
}

static int set_feature_control(struct hv_vcpu *vcpu, const struct hv_vcpu_state *state)
{
	for (size_t i = 0; i < state->nr_msrs; i++) {
		struct kvm_msr_entry entry = state->msrs[i];
		if (entry.index == HV_MSR_FEATURE_CONTROL)
			return hv_vcpu_move_msrs(vcpu, KVM_SET_MSRS, &entry, 1);
	}
	return 0;
}

static int set_system(struct hv_vcpu *vcpu, const struct hv_vcpu_state *state, const char **what)
{
	struct kvm_sregs2 sregs = state->sregs;
	int ret = 0;
	if (state->nested) {
		*what = "leave its nested guest";
		ret = set_nested(vcpu, vcpu->power_on.nested);
		if (ret < 0)
			return ret;
		*what = "write its feature control";
		ret = set_feature_control(vcpu, state);
		if (ret)
			return ret;
	}
	*what = "write its system registers";
	ret = hv_ioctl(vcpu->fd, KVM_SET_SREGS2, &sregs);
	if (ret < 0)
		return ret;
	if (state->nested) {
		*what = "write its nested guest";
		ret = set_nested(vcpu, state->nested);
	}
	return ret < 0 ? ret : 0;
}

static int set_fpu(struct hv_vcpu *vcpu, const struct hv_vcpu_state *state, const char **what)
{
	*what = "write its XCR0";
	int ret = set_xcr0(vcpu, state);
	if (ret < 0)
		return ret;
	*what = "write its FPU";
	struct kvm_xsave *initial = NULL;
	if (!state->xsave) {
		initial = new_initial_xsave(vcpu);
		if (!initial)
			return -ENOMEM;
	}
	ret = hv_ioctl(vcpu->fd, KVM_SET_XSAVE, initial ? initial : state->xsave);
	free(initial);
	return ret < 0 ? ret : 0;
}

static int set_changed_msrs(struct hv_vcpu *vcpu, const struct hv_vcpu_state *state)
{
	struct kvm_msr_entry *changed = hv_calloc(state->nr_msrs + 1, sizeof(*changed));
	size_t nr = 0;
	if (!changed)
		return -ENOMEM;
	memcpy(changed, state->msrs, state->nr_msrs * sizeof(*changed));
	int ret = hv_vcpu_move_msrs(vcpu, KVM_GET_MSRS, changed, state->nr_msrs);
	if (ret)
		goto free_changed;
	for (size_t i = 0; i < state->nr_msrs; i++) {
		/* A deadline also is an order to the timer, which the new state of the LAPIC has stopped. */
		if (changed[i].data != state->msrs[i].data || changed[i].index == HV_MSR_TSC_DEADLINE)
			changed[nr++] = state->msrs[i];
	}
	ret = hv_vcpu_move_msrs(vcpu, KVM_SET_MSRS, changed, nr);
free_changed:
	free(changed);
	return ret;
}

static int set_msrs(struct hv_vcpu *vcpu, const struct hv_vcpu_state *state, bool with_tsc, const char **what)
{
	int ret;
	if (with_tsc) {
		/* KVM sees that vCPUs get nearly the same value at nearly the same time, and gives them the same offset. */
		*what = "write its TSC";
		struct kvm_msr_entry tsc = {.index = HV_MSR_TSC, .data = state->tsc};
		ret = hv_vcpu_move_msrs(vcpu, KVM_SET_MSRS, &tsc, 1);
		if (ret)
			return ret;
	}
	*what = "write its MSRs";
	return set_changed_msrs(vcpu, state);
}

int hv_vcpu_state_set(struct hv_vcpu *vcpu, const struct hv_vcpu_state *state, bool with_tsc, const char **what)
{
	/* KVM takes its arguments by plain pointers, and writes to none of these. */
	struct kvm_regs regs = state->regs;
	struct kvm_lapic_state lapic = state->lapic;
	struct kvm_vcpu_events events = state->events;
	struct kvm_debugregs debug = state->debug;
	struct kvm_mp_state mp_state = state->mp_state;
	const struct part early[] = {
		{"write its registers", KVM_SET_REGS, &regs},
		/* After APIC_BASE, a system register: it says in which mode the LAPIC is. */
		{"write its LAPIC", KVM_SET_LAPIC, &lapic},
	};
	const struct part late[] = {
		/* After the registers, which drop pending exceptions. */
		{"write its events", KVM_SET_VCPU_EVENTS, &events},
		{"write its debug registers", KVM_SET_DEBUGREGS, &debug},
		/* Last: a LAPIC that is written wakes its CPU. */
		{"write its run state", KVM_SET_MP_STATE, &mp_state},
	};
	int ret = set_system(vcpu, state, what);
	if (!ret)
		ret = set_fpu(vcpu, state, what);
	if (!ret)
		ret = move_parts(vcpu, early, sizeof(early) / sizeof(early[0]), what);
	/* After the LAPIC: the deadline's MSR counts only where the LAPIC's timer is in that mode. */
	if (!ret)
		ret = set_msrs(vcpu, state, with_tsc, what);
	if (!ret)
		ret = move_parts(vcpu, late, sizeof(late) / sizeof(late[0]), what);
	return ret;
}
