/*
 * See kvm.h. What this VMM needs of KVM is one table, checked once, when the device is opened: everything after that may take these
 * capabilities for granted.
 */
#include "hv/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/os.h"

/* Far more than any kernel lists. */
#define MAX_MSRS 4096u

struct hv_kvm {
	int fd;
	unsigned max_vcpus;
	size_t nr_msrs;
	uint32_t *msrs;
};

/* All of them are in every x86 KVM of the kernels that the memory manager asks for anyway. */
static const struct {
	unsigned capability;
	const char *name;
} needed[] = {
	{KVM_CAP_USER_MEMORY, "memory slots (KVM_CAP_USER_MEMORY)"},
	{KVM_CAP_READONLY_MEM, "read-only memory slots (KVM_CAP_READONLY_MEM)"},
	{KVM_CAP_SET_TSS_ADDR, "the place of the task state segment (KVM_CAP_SET_TSS_ADDR)"},
	{KVM_CAP_SET_IDENTITY_MAP_ADDR, "the place of the identity map (KVM_CAP_SET_IDENTITY_MAP_ADDR)"},
	{KVM_CAP_IRQCHIP, "interrupt chips (KVM_CAP_IRQCHIP)"},
	{KVM_CAP_IRQ_ROUTING, "interrupt routes (KVM_CAP_IRQ_ROUTING)"},
	{KVM_CAP_SIGNAL_MSI, "message-signalled interrupts (KVM_CAP_SIGNAL_MSI)"},
	{KVM_CAP_IRQFD, "interrupts by descriptor (KVM_CAP_IRQFD)"},
	{KVM_CAP_IOEVENTFD, "events by descriptor (KVM_CAP_IOEVENTFD)"},
	{KVM_CAP_IOEVENTFD_ANY_LENGTH, "events of any width (KVM_CAP_IOEVENTFD_ANY_LENGTH)"},
	{KVM_CAP_PIT2, "the interval timer (KVM_CAP_PIT2)"},
	{KVM_CAP_PIT_STATE2, "the interval timer's state (KVM_CAP_PIT_STATE2)"},
	{KVM_CAP_EXT_CPUID, "CPUID (KVM_CAP_EXT_CPUID)"},
	{KVM_CAP_MP_STATE, "CPU start states (KVM_CAP_MP_STATE)"},
	{KVM_CAP_VCPU_EVENTS, "pending events (KVM_CAP_VCPU_EVENTS)"},
	{KVM_CAP_EXCEPTION_PAYLOAD, "pending exceptions (KVM_CAP_EXCEPTION_PAYLOAD)"},
	{KVM_CAP_DEBUGREGS, "debug registers (KVM_CAP_DEBUGREGS)"},
	{KVM_CAP_XSAVE2, "extended states (KVM_CAP_XSAVE2)"},
	{KVM_CAP_XCRS, "extended control registers (KVM_CAP_XCRS)"},
	{KVM_CAP_SREGS2, "page directory pointers (KVM_CAP_SREGS2)"},
	{KVM_CAP_GET_TSC_KHZ, "the TSC's frequency (KVM_CAP_GET_TSC_KHZ)"},
	{KVM_CAP_TSC_DEADLINE_TIMER, "the TSC deadline timer (KVM_CAP_TSC_DEADLINE_TIMER)"},
	{KVM_CAP_ADJUST_CLOCK, "the guest's clock (KVM_CAP_ADJUST_CLOCK)"},
	{KVM_CAP_IMMEDIATE_EXIT, "kicks without a race (KVM_CAP_IMMEDIATE_EXIT)"},
};

static int open_device(const char *path, struct error *err)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return error_set(
			err, ENOENT,
			"KVM: %s is not there; load kvm-intel or kvm-amd (modprobe), and if that fails enable "
			"virtualization (VT-x, SVM) in the firmware, or nested virtualization for this machine if it is virtual",
			path);
	case EACCES:
	case EPERM:
		return error_set(err, EACCES,
				 "KVM: no permission to open %s; join group kvm (usermod -aG kvm USER) and log in again", path);
	default:
		return error_set(err, errno, "KVM: cannot open %s: %s", path, strerror(errno));
	}
}

/* As the first call reports their number, in a list that is too short, so a second can take them all. */
static int read_msr_list(struct hv_kvm *kvm, struct error *err)
{
	struct kvm_msr_list probe = {.nmsrs = 0};
	int ret = hv_ioctl(kvm->fd, KVM_GET_MSR_INDEX_LIST, &probe);
	if (ret < 0 && ret != -E2BIG)
		return error_set(err, -ret, "KVM: no list of model-specific registers: %s", strerror(-ret));
	if (probe.nmsrs > MAX_MSRS)
		return error_set(err, EINVAL, "KVM: %u model-specific registers, expected at most %u", probe.nmsrs, MAX_MSRS);
	struct kvm_msr_list *list = hv_calloc(1, sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
	uint32_t *msrs = hv_calloc(probe.nmsrs + 1, sizeof(*msrs));
	if (!list || !msrs) {
		ret = error_set(err, ENOMEM, "KVM: out of memory");
		goto free_both;
	}
	list->nmsrs = probe.nmsrs;
	ret = hv_ioctl(kvm->fd, KVM_GET_MSR_INDEX_LIST, list);
	if (ret < 0) {
		ret = error_set(err, -ret, "KVM: no list of model-specific registers: %s", strerror(-ret));
		goto free_both;
	}
	kvm->nr_msrs = list->nmsrs < probe.nmsrs ? list->nmsrs : probe.nmsrs;
	memcpy(msrs, list->indices, kvm->nr_msrs * sizeof(*msrs));
	kvm->msrs = msrs;
	free(list);
	return 0;
free_both:
	free(msrs);
	free(list);
	return ret;
}

static int check_device(struct hv_kvm *kvm, const char *path, struct error *err)
{
	int version = hv_ioctl_value(kvm->fd, KVM_GET_API_VERSION, 0);
	if (version < 0)
		return error_set(err, ENOSYS, "KVM: %s is not the KVM device: %s", path, strerror(-version));
	if (version != KVM_API_VERSION)
		return error_set(err, ENOSYS, "KVM: %s speaks version %d of the interface, this program %d; use another kernel",
				 path, version, KVM_API_VERSION);
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (!hv_kvm_check(kvm, needed[i].capability))
			return error_set(err, ENOSYS, "KVM: this kernel lacks %s; boot Linux 6.8 or newer", needed[i].name);
	}
	kvm->max_vcpus = (unsigned)hv_kvm_check(kvm, KVM_CAP_MAX_VCPUS);
	if (!kvm->max_vcpus)
		kvm->max_vcpus = 4; /* what api.rst says of kernels that do not tell */
	return read_msr_list(kvm, err);
}

int hv_kvm_open(const char *path, struct hv_kvm **out, struct error *err)
{
	struct hv_kvm *kvm = hv_calloc(1, sizeof(*kvm));
	if (!kvm)
		return error_set(err, ENOMEM, "KVM: out of memory");
	int ret = kvm->fd = open_device(path, err);
	if (ret < 0)
		goto free_kvm;
	ret = check_device(kvm, path, err);
	if (ret)
		goto close_fd;
	*out = kvm;
	return 0;
close_fd:
	close(kvm->fd);
free_kvm:
	free(kvm);
	return ret;
}

void hv_kvm_close(struct hv_kvm *kvm)
{
	if (!kvm)
		return;
	close(kvm->fd);
	free(kvm->msrs);
	free(kvm);
}

unsigned hv_kvm_max_vcpus(const struct hv_kvm *kvm)
{
	return kvm->max_vcpus;
}

int hv_kvm_check(const struct hv_kvm *kvm, unsigned capability)
{
	int value = hv_ioctl_value(kvm->fd, KVM_CHECK_EXTENSION, capability);
	return value > 0 ? value : 0;
}

bool hv_kvm_has_tsc_scaling(const struct hv_kvm *kvm)
{
	return hv_kvm_check(kvm, KVM_CAP_TSC_CONTROL) > 0;
}

int hv_kvm_fd(const struct hv_kvm *kvm)
{
	return kvm->fd;
}

const uint32_t *hv_kvm_msrs(const struct hv_kvm *kvm, size_t *nr)
{
	*nr = kvm->nr_msrs;
	return kvm->msrs;
}
