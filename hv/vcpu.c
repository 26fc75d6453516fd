/*
 * See vcpu.h. Creating a vCPU, running it, and getting it out of the guest. Its state is in vcpu_state.c, its start in vcpu_start.c.
 *
 * The kick. Somebody sets a flag of his own (stop, save, quit) and calls hv_vcpu_kick(); the runner must soon look at that flag,
 * whatever it is doing: inside the guest, on its way in, on its way out. A signal alone is lost when it comes just before KVM_RUN.
 * KVM therefore looks at run->immediate_exit on its way in, after it has enabled the signal to interrupt what follows.
 *
 *    kicker:  flag = 1; kicked = 1; immediate_exit = 1; read tid; signal it
 *    runner:  publish tid; KVM_RUN (reads immediate_exit) ... EINTR; immediate_exit = 0; kicked = 0; read flag
 *
 * All of these are sequentially consistent, so:
 *  K1. Either the kicker sees tid, or KVM_RUN sees immediate_exit: (publish tid, read immediate_exit) against (write immediate_exit,
 *      read tid).
 *  K2. A runner that takes a kick back (immediate_exit = 0 overwrites the kicker's 1) reads the flag afterwards, and sees it. A
 *      runner that does it before the kicker's 1 finds that 1 on the next way in: at worst one interruption too many.
 *  K3. hv_vcpu_finish_exit() sets and clears immediate_exit for itself. It may so wipe out a kicker's 1; it reads kicked after that,
 *      and sets immediate_exit again if it finds it.
 */
#include "hv/vcpu.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/os.h"
#include "hv/vcpu_internal.h"
#include "hv/vm_internal.h"

/* In linux/kvm.h since 6.8. */
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif
struct memory_fault {
	uint64_t flags, gpa, size;
};

static void on_kick_signal(int signal_number)
{
	(void)signal_number;
}

/* Restarts other system calls; KVM_RUN is never restarted. */
static int install_kick_handler(void)
{
	struct sigaction action = {.sa_handler = on_kick_signal, .sa_flags = SA_RESTART};
	sigemptyset(&action.sa_mask);
	return sigaction(HV_KICK_SIGNAL, &action, NULL) ? -errno : 0;
}

static void set_immediate_exit(struct hv_vcpu *vcpu, uint8_t value)
{
	__atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

static int map_run(struct hv_vcpu *vcpu)
{
	int size = hv_ioctl_value(hv_kvm_fd(vcpu->vm->kvm), KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < 0)
		return size;
	if ((size_t)size < sizeof(*vcpu->run))
		return -EINVAL;
	void *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED)
		return -errno;
	vcpu->run = run;
	vcpu->run_size = (size_t)size;
	return 0;
}

/* Remembers what of the leaves matters here, and completes the timing leaf, whose content only a vCPU knows. */
static int set_cpuid(struct hv_vcpu *vcpu, const struct hv_cpuid *cpuid)
{
	const size_t most = sizeof(cpuid->entries) / sizeof(cpuid->entries[0]);
	if (cpuid->nr > most)
		return -E2BIG;
	struct hv_cpuid *own = hv_calloc(1, sizeof(*own));
	struct kvm_cpuid2 *table = hv_calloc(1, sizeof(*table) + most * sizeof(table->entries[0]));
	int ret = -ENOMEM;
	if (!own || !table)
		goto free_both;
	*own = *cpuid;
	hv_cpuid_set_tsc_khz(own, vcpu->tsc_khz);
	vcpu->xfeatures = hv_cpuid_xfeatures(own);
	vcpu->has_nested = hv_cpuid_has_nested(own) && vcpu->vm->nested_size;
	table->nent = (uint32_t)own->nr;
	memcpy(table->entries, own->entries, own->nr * sizeof(own->entries[0]));
	ret = hv_ioctl(vcpu->fd, KVM_SET_CPUID2, table);
free_both:
	free(table);
	free(own);
	return ret < 0 ? ret : 0;
}

/* Everything between KVM_CREATE_VCPU and the captured power-on state. */
static int set_up(struct hv_vcpu *vcpu, const struct hv_cpuid *cpuid, const char **what)
{
	*what = "map its exits";
	int ret = map_run(vcpu);
	if (ret)
		return ret;
	*what = "read its TSC frequency";
	ret = hv_ioctl_value(vcpu->fd, KVM_GET_TSC_KHZ, 0);
	if (ret < 0)
		return ret;
	vcpu->tsc_khz = (uint32_t)ret;
	*what = "set its CPUID";
	ret = set_cpuid(vcpu, cpuid);
	if (ret)
		return ret;
	ret = hv_vcpu_set_up_msrs(vcpu, what);
	if (ret)
		return ret;
	*what = "choose its MSRs";
	ret = hv_vcpu_select_msrs(vcpu);
	if (ret)
		return ret;
	*what = "keep its first state";
	ret = hv_vcpu_state_init(vcpu, false, &vcpu->power_on);
	return ret ? ret : hv_vcpu_state_get(vcpu, &vcpu->power_on, what);
}

int hv_vcpu_create(struct hv_vm *vm, unsigned index, uint32_t apic_id, const struct hv_cpuid *cpuid, struct hv_vcpu **out,
		   struct error *err)
{
	struct hv_vcpu *vcpu = hv_calloc(1, sizeof(*vcpu));
	if (!vcpu)
		return error_set(err, ENOMEM, "vCPU %u: out of memory", index);
	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->apic_id = apic_id;
	int ret = install_kick_handler();
	if (ret) {
		error_set(err, -ret, "vCPU %u: cannot handle signal %d: %s", index, HV_KICK_SIGNAL, strerror(-ret));
		goto free_vcpu;
	}
	vcpu->fd = ret = hv_ioctl_value(vm->fd, KVM_CREATE_VCPU, apic_id);
	if (ret < 0) {
		error_set(err, -ret, "vCPU %u: KVM cannot create it with APIC id %u: %s", index, apic_id, strerror(-ret));
		goto free_vcpu;
	}
	const char *what = "";
	ret = set_up(vcpu, cpuid, &what);
	if (ret) {
		error_set(err, -ret, "vCPU %u: KVM cannot %s: %s", index, what, strerror(-ret));
		hv_vcpu_destroy(vcpu);
		return ret;
	}
	*out = vcpu;
	return 0;
free_vcpu:
	free(vcpu);
	return ret;
}

void hv_vcpu_destroy(struct hv_vcpu *vcpu)
{
	if (!vcpu)
		return;
	hv_vcpu_state_free(&vcpu->power_on);
	free(vcpu->msrs);
	if (vcpu->run)
		munmap(vcpu->run, vcpu->run_size);
	close(vcpu->fd);
	free(vcpu);
}

void hv_vcpu_attach_thread(struct hv_vcpu *vcpu)
{
	/* Threads inherit the mask of who started them: it may block the signal. */
	sigset_t kick;
	sigemptyset(&kick);
	sigaddset(&kick, HV_KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	/* K1: before KVM_RUN reads immediate_exit. */
	atomic_store(&vcpu->tid, (int)syscall(SYS_gettid));
}

void hv_vcpu_kick(struct hv_vcpu *vcpu)
{
	atomic_store(&vcpu->kicked, true); /* K3: before immediate_exit */
	set_immediate_exit(vcpu, 1);       /* K1: before tid is read; K2: after the caller's flag */
	int tid = atomic_load(&vcpu->tid);
	/* A thread that has ended, even one whose id went to another of ours, at worst gets a signal that does nothing. */
	if (tid)
		syscall(SYS_tgkill, getpid(), tid, HV_KICK_SIGNAL);
}

static void take_kick_back(struct hv_vcpu *vcpu)
{
	set_immediate_exit(vcpu, 0); /* K2: before the caller reads his flag */
	atomic_store(&vcpu->kicked, false);
}

static void fail(struct hv_exit *exit, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct hv_exit *exit, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	exit->reason = HV_EXIT_FAILED;
	vsnprintf(exit->detail, sizeof(exit->detail), fmt, args);
	va_end(args);
}

static uint64_t instruction_pointer(struct hv_vcpu *vcpu)
{
	struct kvm_regs regs;
	return hv_vcpu_get_regs(vcpu, &regs) ? 0 : regs.rip;
}

/* KVM_RUN itself failed. */
static void explain_error(struct hv_vcpu *vcpu, int error, struct hv_exit *exit)
{
	unsigned long long rip = instruction_pointer(vcpu);
	switch (error) {
	case EFAULT:
		if (vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT) {
			struct memory_fault fault;
			memcpy(&fault, vcpu->run->padding, sizeof(fault));
			exit->address = fault.gpa;
			fail(exit, "guest memory at %#llx could not be brought in at instruction %#llx",
			     (unsigned long long)fault.gpa, rip);
			return;
		}
		fail(exit, "guest memory could not be brought in at instruction %#llx", rip);
		return;
	case EHWPOISON:
		fail(exit, "the host's memory is damaged where the guest touched it at instruction %#llx", rip);
		return;
	default:
		fail(exit, "KVM_RUN failed at instruction %#llx: %s", rip, strerror(error));
	}
}

static void explain_internal_error(struct hv_vcpu *vcpu, struct hv_exit *exit)
{
	const struct kvm_run *run = vcpu->run;
	unsigned long long rip = instruction_pointer(vcpu);
	switch (run->internal.suberror) {
	case KVM_INTERNAL_ERROR_EMULATION: {
		char bytes[sizeof(run->emulation_failure.insn_bytes) * 3 + 1] = "";
		if (run->emulation_failure.ndata >= 3 &&
		    (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
			size_t nr = run->emulation_failure.insn_size;
			for (size_t i = 0; i < nr && i < sizeof(run->emulation_failure.insn_bytes); i++)
				snprintf(bytes + i * 3, 4, " %02x", run->emulation_failure.insn_bytes[i]);
		}
		fail(exit, "KVM cannot emulate the instruction at %#llx%s%s", rip, *bytes ? ":" : "", bytes);
		return;
	}
	case KVM_INTERNAL_ERROR_SIMUL_EX:
		fail(exit, "KVM met two exceptions at once at instruction %#llx", rip);
		return;
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		fail(exit, "KVM could not deliver an event at instruction %#llx (exit %#llx)", rip,
		     run->internal.ndata > 1 ? (unsigned long long)run->internal.data[1] : 0ull);
		return;
	case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
		fail(exit, "the processor left the guest at instruction %#llx for a reason that KVM does not know (%#llx)", rip,
		     run->internal.ndata > 0 ? (unsigned long long)run->internal.data[0] : 0ull);
		return;
	default:
		fail(exit, "KVM gave up at instruction %#llx (internal error %u)", rip, run->internal.suberror);
	}
}

static void take_system_event(const struct kvm_run *run, struct hv_exit *exit)
{
	switch (run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		exit->reason = HV_EXIT_POWER_OFF;
		return;
	case KVM_SYSTEM_EVENT_RESET:
		exit->reason = HV_EXIT_RESET;
		return;
	case KVM_SYSTEM_EVENT_CRASH:
		exit->reason = HV_EXIT_CRASHED;
		return;
	default:
		fail(exit, "KVM reports a system event that is not known (%u)", run->system_event.type);
	}
}

static void take_exit(struct hv_vcpu *vcpu, struct hv_exit *exit)
{
	struct kvm_run *run = vcpu->run;
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		exit->reason = run->io.direction == KVM_EXIT_IO_IN ? HV_EXIT_PORT_IN : HV_EXIT_PORT_OUT;
		exit->address = run->io.port;
		exit->size = run->io.size;
		exit->count = run->io.count;
		exit->data = (uint8_t *)run + run->io.data_offset;
		vcpu->exit_unfinished = true;
		return;
	case KVM_EXIT_MMIO:
		exit->reason = run->mmio.is_write ? HV_EXIT_MMIO_WRITE : HV_EXIT_MMIO_READ;
		exit->address = run->mmio.phys_addr;
		exit->size = run->mmio.len;
		exit->data = run->mmio.data;
		vcpu->exit_unfinished = true;
		return;
	case KVM_EXIT_INTR:
		exit->reason = HV_EXIT_INTERRUPTED;
		return;
	case KVM_EXIT_SHUTDOWN:
		exit->reason = HV_EXIT_SHUTDOWN;
		return;
	case KVM_EXIT_SYSTEM_EVENT:
		take_system_event(run, exit);
		return;
	case KVM_EXIT_INTERNAL_ERROR:
		explain_internal_error(vcpu, exit);
		return;
	case KVM_EXIT_FAIL_ENTRY:
		fail(exit, "the processor refuses the guest's state (reason %#llx) at instruction %#llx",
		     (unsigned long long)run->fail_entry.hardware_entry_failure_reason,
		     (unsigned long long)instruction_pointer(vcpu));
		return;
	case KVM_EXIT_UNKNOWN:
		fail(exit, "KVM does not know why the guest was left (reason %#llx)",
		     (unsigned long long)run->hw.hardware_exit_reason);
		return;
	default:
		fail(exit, "KVM left the guest for a reason that nobody asked for (%u)", run->exit_reason);
	}
}

void hv_vcpu_run(struct hv_vcpu *vcpu, struct hv_exit *exit)
{
	exit->address = 0;
	exit->size = 0;
	exit->count = 1;
	exit->data = NULL;
	exit->detail[0] = '\0';
	int ret;
	do {
		/* EAGAIN: KVM has changed its mind about a CPU that waits for its start (INIT, SIPI). */
		ret = hv_ioctl_run(vcpu->fd);
	} while (ret == -EAGAIN);
	vcpu->exit_unfinished = false;
	if (ret == 0) {
		take_exit(vcpu, exit);
	} else if (ret == -EINTR) {
		exit->reason = HV_EXIT_INTERRUPTED;
	} else {
		explain_error(vcpu, -ret, exit);
	}
	if (exit->reason == HV_EXIT_INTERRUPTED)
		take_kick_back(vcpu);
}

int hv_vcpu_finish_exit(struct hv_vcpu *vcpu)
{
	if (!vcpu->exit_unfinished)
		return 0;
	set_immediate_exit(vcpu, 1);
	int ret = hv_ioctl_run(vcpu->fd);
	set_immediate_exit(vcpu, 0);
	if (atomic_load(&vcpu->kicked)) /* K3: after immediate_exit */
		set_immediate_exit(vcpu, 1);
	if (ret == 0)
		return -EAGAIN;
	vcpu->exit_unfinished = false;
	return ret == -EINTR || ret == -EAGAIN ? 0 : ret;
}

int hv_vcpu_drop_exit(struct hv_vcpu *vcpu)
{
	/* One string instruction may want as many answers as rcx says; none matters, as the registers are about to be replaced. */
	int ret = -EAGAIN;
	for (unsigned i = 0; i < 65536 && ret == -EAGAIN; i++)
		ret = hv_vcpu_finish_exit(vcpu);
	return ret;
}

int hv_vcpu_get_regs(struct hv_vcpu *vcpu, struct kvm_regs *regs)
{
	int ret = hv_ioctl(vcpu->fd, KVM_GET_REGS, regs);
	return ret < 0 ? ret : 0;
}

int hv_vcpu_set_regs(struct hv_vcpu *vcpu, const struct kvm_regs *regs)
{
	struct kvm_regs copy = *regs;
	int ret = hv_ioctl(vcpu->fd, KVM_SET_REGS, &copy);
	return ret < 0 ? ret : 0;
}

int hv_vcpu_get_sregs(struct hv_vcpu *vcpu, struct kvm_sregs *sregs)
{
	int ret = hv_ioctl(vcpu->fd, KVM_GET_SREGS, sregs);
	return ret < 0 ? ret : 0;
}

int hv_vcpu_set_sregs(struct hv_vcpu *vcpu, const struct kvm_sregs *sregs)
{
	struct kvm_sregs copy = *sregs;
	int ret = hv_ioctl(vcpu->fd, KVM_SET_SREGS, &copy);
	return ret < 0 ? ret : 0;
}

bool hv_vcpu_is_halted(struct hv_vcpu *vcpu)
{
	struct kvm_mp_state state = {.mp_state = KVM_MP_STATE_RUNNABLE};
	return hv_ioctl(vcpu->fd, KVM_GET_MP_STATE, &state) >= 0 && state.mp_state != KVM_MP_STATE_RUNNABLE;
}

void hv_vcpu_note_pause(struct hv_vcpu *vcpu)
{
	/* Refused while the guest uses no kvmclock: then there is nobody to tell. */
	(void)hv_ioctl_value(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
}
