/* Faults: whatever a vCPU trips over is reported on serial, and ends the guest with exit code 255. */
#include "guest.h"
#include "power.h"
#include "print.h"

/* As trap_common in boot.S leaves it on the ring-0 stack. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, cr2, rax;
	uint64_t vector, error_code, rip, cs, rflags, rsp, ss;
};

_Noreturn void trap_report(const struct trap_frame *frame);

static const char *const names[32] = {
	"divide error",
	"debug",
	"NMI",
	"breakpoint",
	"overflow",
	"bound range",
	"invalid opcode",
	"device not available",
	"double fault",
	"9",
	"invalid TSS",
	"segment not present",
	"stack fault",
	"general protection",
	"page fault",
	"15",
	"x87 error",
	"alignment check",
	"machine check",
	"SIMD error",
	"virtualization",
	"control protection",
	"22",
	"23",
	"24",
	"25",
	"26",
	"27",
	"hypervisor injection",
	"VMM communication",
	"security",
	"31",
};

/* Runs in ring 3, on a stack of its own. */
_Noreturn void trap_report(const struct trap_frame *frame)
{
	static uint32_t reports;

	if (__atomic_fetch_add(&reports, 1, __ATOMIC_RELAXED))
		power_off(); /* a fault while one was reported */
	print_break_lock();
	print("\nguest: fault %s at rip 0x%lx, error code 0x%lx, cr2 0x%lx, rsp 0x%lx, rflags 0x%lx\n", names[frame->vector & 31],
	      frame->rip, frame->error_code, frame->cr2, frame->rsp, frame->rflags);
	print("guest: rax 0x%lx rbx 0x%lx rcx 0x%lx rdx 0x%lx rsi 0x%lx rdi 0x%lx rbp 0x%lx cs 0x%lx\n", frame->rax, frame->rbx,
	      frame->rcx, frame->rdx, frame->rsi, frame->rdi, frame->rbp, frame->cs);
	guest_exit(255);
}
