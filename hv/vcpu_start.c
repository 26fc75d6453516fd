/*
 * See vcpu.h. How a vCPU begins: the MSRs that firmware would have set, the states in which kernels want to be entered, and reset.
 *
 * KVM makes a vCPU as the processor's manual says it is after power-on, with memory uncacheable and fast strings off: turning these
 * on is the firmware's work, and there is none here. What stands after that is captured when the vCPU is created, and a reset
 * writes it back. The TSC alone goes on counting over a reset, so that the vCPUs' counters stay together.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

#include "hv/os.h"
#include "hv/vcpu_internal.h"
#include "hv/vm_internal.h"

#define MISC_ENABLE_FAST_STRINGS (1ull << 0)
#define MTRR_ENABLED (1ull << 11)
#define MTRR_WRITE_BACK 6ull
#define MCG_CTL_PRESENT (1ull << 8)
#define MCG_RECOVERY (1ull << 24)

#define CR0_PE (1ull << 0)
#define CR0_ET (1ull << 4)
#define CR0_NE (1ull << 5)
#define CR0_PG (1ull << 31)
#define CR4_PAE (1ull << 5)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define RFLAGS_ALWAYS_ONE 2ull

static int get_msr(struct hv_vcpu *vcpu, uint32_t index, uint64_t *value)
{
	struct kvm_msr_entry entry = {.index = index};
	int ret = hv_vcpu_move_msrs(vcpu, KVM_GET_MSRS, &entry, 1);
	if (!ret)
		*value = entry.data;
	return ret;
}

static int set_msr(struct hv_vcpu *vcpu, uint32_t index, uint64_t value)
{
	struct kvm_msr_entry entry = {.index = index, .data = value};
	return hv_vcpu_move_msrs(vcpu, KVM_SET_MSRS, &entry, 1);
}

int hv_vcpu_set_up_msrs(struct hv_vcpu *vcpu, const char **what)
{
	uint64_t value = 0;
	*what = "set up machine checks";
	int ret = hv_ioctl(hv_kvm_fd(vcpu->vm->kvm), KVM_X86_GET_MCE_CAP_SUPPORTED, &value);
	if (ret < 0)
		return ret;
	value = (value & (MCG_CTL_PRESENT | MCG_RECOVERY)) | HV_NR_MCE_BANKS;
	ret = hv_ioctl(vcpu->fd, KVM_X86_SETUP_MCE, &value);
	if (ret < 0)
		return ret;
	*what = "enable fast strings";
	ret = get_msr(vcpu, HV_MSR_MISC_ENABLE, &value);
	if (ret == 0)
		ret = set_msr(vcpu, HV_MSR_MISC_ENABLE, value | MISC_ENABLE_FAST_STRINGS);
	if (ret)
		return ret;
	*what = "make memory write-back";
	return set_msr(vcpu, HV_MSR_MTRR_DEFAULT_TYPE, MTRR_ENABLED | MTRR_WRITE_BACK);
}

static struct kvm_segment flat_segment(unsigned selector, unsigned type, bool is_long)
{
	return (struct kvm_segment){
		.selector = (uint16_t)selector,
		.limit = 0xffffffff,
		.type = (uint8_t)type,
		.present = 1,
		.s = 1,
		.db = !is_long,
		.l = is_long,
		.g = 1,
	};
}

static void set_segments(struct kvm_sregs *sregs, bool is_long)
{
	sregs->cs = flat_segment(0x10, 11, is_long);            /* execute, read, accessed */
	struct kvm_segment data = flat_segment(0x18, 3, false); /* read, write, accessed */
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	/* VMX enters no guest without a task register; what it names does not matter. */
	sregs->tr = (struct kvm_segment){.limit = 0x67, .type = 11, .present = 1};
	sregs->ldt = (struct kvm_segment){.type = 2, .unusable = 1};
}

int hv_vcpu_set_start(struct hv_vcpu *vcpu, const struct hv_start *start)
{
	struct kvm_sregs sregs;
	bool is_long = start->mode == HV_START_LONG_MODE;
	if (!is_long && (start->entry | start->stack) >> 32)
		return -EINVAL;
	int ret = hv_vcpu_drop_exit(vcpu);
	if (ret)
		return ret;
	ret = hv_vcpu_get_sregs(vcpu, &sregs);
	if (ret)
		return ret;
	set_segments(&sregs, is_long);
	sregs.gdt = (struct kvm_dtable){.base = start->gdt, .limit = start->gdt_limit};
	sregs.idt = (struct kvm_dtable){.base = 0, .limit = 0};
	sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | (is_long ? CR0_PG : 0);
	sregs.cr3 = is_long ? start->cr3 : 0;
	sregs.cr4 = is_long ? CR4_PAE : 0;
	sregs.efer = is_long ? EFER_LME | EFER_LMA : 0;
	memset(sregs.interrupt_bitmap, 0, sizeof(sregs.interrupt_bitmap));
	ret = hv_vcpu_set_sregs(vcpu, &sregs);
	if (ret)
		return ret;
	struct kvm_regs regs = {
		.rip = start->entry,
		.rsp = start->stack,
		.rbx = start->rbx,
		.rsi = start->rsi,
		.rflags = RFLAGS_ALWAYS_ONE,
	};
	ret = hv_vcpu_set_regs(vcpu, &regs);
	if (ret)
		return ret;
	struct kvm_mp_state running = {.mp_state = KVM_MP_STATE_RUNNABLE};
	ret = hv_ioctl(vcpu->fd, KVM_SET_MP_STATE, &running);
	return ret < 0 ? ret : 0;
}

int hv_vcpu_reset(struct hv_vcpu *vcpu)
{
	int ret = hv_vcpu_drop_exit(vcpu);
	if (ret)
		return ret;
	const char *what;
	return hv_vcpu_state_set(vcpu, &vcpu->power_on, false, &what);
}
