/*
 * From the loader to C in ring 3.
 *
 * A loader that speaks PVH (an ELF note names the entry) jumps to boot_entry in 32-bit protected mode with ebx = gpa of hvm_start_info.
 * A KVM without VMX or SVM emulates ring 0 instruction by instruction and runs ring 3 at native speed, so ring 0 does next to nothing:
 * the page tables, the GDT, the IDT and the first TSS are data, finished by the assembler and the linker (guest.ld computes the parts of
 * addresses that descriptors split up). Some forty instructions later iretq enters ring 3 with IOPL 3 (and a
 * TSS that opens all ports), interrupts off.
 *
 * The other vCPUs take the same way from a real-mode page (boot_ap) that lib/smp.c copies under 1 MiB. All take their stacks, TSS and
 * entry point from boot_cpu, which the boot CPU rewrites for one vCPU at a time.
 *
 * Selectors are those that Linux uses, so that a KVM which treats them specially finds what it expects.
 */
#define KERNEL_CODE32 0x08
#define KERNEL_CODE64 0x10
#define KERNEL_DATA   0x18
#define USER_DATA     0x2b
#define USER_CODE64   0x33
#define FIRST_TSS     0x40
#define MAX_CPUS      64	/* as in lib/smp.h */

#define RING0_MAGIC   0x523053	/* as in lib/ring0.h */
#define TSS_SIZE      128	/* as in lib/smp.c */
#define TSS_LIMIT     (MAX_CPUS * TSS_SIZE + 8192)

#define CR0_BITS      0x80000033	/* PG, NE, ET, MP, PE */
#define CR4_BITS      0x00000620	/* OSXMMEXCPT, OSFXSR, PAE */
#define CR4_OSXSAVE   0x00040000
#define XCR0_KNOWN    0xe7		/* x87, SSE, AVX, AVX-512 */
#define MSR_EFER      0xc0000080
#define EFER_LME      0x100
#define RFLAGS_IOPL3  0x3002

#define PAGE_TABLE    0x27	/* accessed, user, writable, present */
#define PAGE_LARGE    0xe7	/* large, dirty, and those */

	.section .note.pvh, "a", @note
	.align 4
	.long 4, 4, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long boot_entry

	.section .text.boot, "ax"
	.code32
	.globl boot_entry
boot_entry:
	movl	%ebx, boot_start_info
	lgdt	boot_gdt_pointer
	ljmp	$KERNEL_CODE32, $boot_protected

	.globl boot_protected
boot_protected:
	movw	$KERNEL_DATA, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$1, %eax
	xorl	%ecx, %ecx
	cpuid
	movl	$CR4_BITS, %eax
	btl	$26, %ecx		/* XSAVE */
	jnc	1f
	orl	$CR4_OSXSAVE, %eax
1:	movl	%eax, %cr4
	movl	$boot_pml4, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	$CR0_BITS, %eax
	movl	%eax, %cr0
	ljmp	$KERNEL_CODE64, $boot_long

	.code64
boot_long:
	movq	boot_cpu_stack0, %rsp
	lidt	boot_idt_pointer
	ltr	boot_cpu_tss
	movq	%cr4, %rax
	testl	$CR4_OSXSAVE, %eax
	jz	1f
	movl	$0xd, %eax
	xorl	%ecx, %ecx
	cpuid
	andl	$XCR0_KNOWN, %eax
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xsetbv
1:	movl	$USER_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	pushq	$USER_DATA
	pushq	boot_cpu_stack3
	pushq	$RFLAGS_IOPL3
	pushq	$USER_CODE64
	pushq	boot_cpu_entry
	iretq

/* Position-independent; runs at the start of any page under 1 MiB. */
	.code16
	.globl boot_ap, boot_ap_end
boot_ap:
	cli
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	boot_ap_gdt - boot_ap
	movl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$KERNEL_CODE32, $boot_protected
	.align 4
boot_ap_gdt:
	.word	boot_gdt_end - boot_gdt - 1
	.long	boot_gdt
boot_ap_end:
	.code64

/*
 * Ring-0 services for ring 3 (lib/ring0.h): only what ring 3 cannot do by itself. The way in is an invalid opcode with a service in eax, as
 * there are KVMs that emulate neither int nor syscall.
 */
	.align 16
	.globl ring0_entry
ring0_entry:
	pushq	%rax
	shrl	$8, %eax
	cmpl	$RING0_MAGIC, %eax
	popq	%rax
	jne	trap_entries + 6 * 16	/* an opcode that is really invalid */
	addq	$2, (%rsp)
	cmpb	$1, %al
	jb	.Lhalt
	je	.Lread_msr
	cmpb	$3, %al
	jb	.Lwrite_msr
	je	.Linvalidate
	cmpb	$5, %al
	jb	.Lflush
	je	.Lstop
	cmpb	$6, %al
	je	.Lread_cr
	iretq
.Lhalt:					/* until an interrupt, which interrupt_entry swallows */
	sti
	hlt
	cli
	iretq
.Lread_msr:				/* ecx: which; to edx:eax */
	rdmsr
	iretq
.Lwrite_msr:				/* ecx: which; esi: low half; edx: high half */
	movl	%esi, %eax
	wrmsr
	iretq
.Linvalidate:				/* rdi: address */
	invlpg	(%rdi)
	iretq
.Lflush:
	movq	%cr3, %rax
	movq	%rax, %cr3
	iretq
.Lstop:					/* for good */
	cli
	hlt
	jmp	.Lstop
.Lread_cr:				/* to rax: cr0; rdx: cr4 */
	movq	%cr0, %rax
	movq	%cr4, %rdx
	iretq

/* Any interrupt: acknowledged at the local APIC, nothing else. It only comes in .Lhalt. */
	.align 16
	.globl interrupt_entry
interrupt_entry:
	pushq	%rax
	movl	$0xfee000b0, %eax
	movl	$0, (%rax)
	popq	%rax
	iretq

/* Any fault: its registers are laid out as struct trap_frame (lib/trap.c), and ring 3 reports it on a stack of its own. */
	.align 4096
	.globl trap_entries
trap_entries:
	vector = 0
	.rept 32
	.align 16
	.if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
	.else
	pushq	$0
	.endif
	pushq	$vector
	jmp	trap_common
	vector = vector + 1
	.endr

trap_common:
	pushq	%rax
	movq	%cr2, %rax
	pushq	%rax
	pushq	%rbx
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%rbp
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, %rdi
	pushq	$USER_DATA
	pushq	$trap_stack_top - 8
	pushq	$RFLAGS_IOPL3
	pushq	$USER_CODE64
	pushq	$trap_report
	iretq

	.data
	.align 4096
/* Identity mapping of the first 4 GiB by 2 MiB pages, all of it open to ring 3. lib/paging.c maps more. */
	.globl boot_pml4, boot_pdpt
boot_pml4:
	.quad	boot_pdpt + PAGE_TABLE
	.fill	511, 8, 0
boot_pdpt:
	.quad	boot_pd + PAGE_TABLE, boot_pd + 0x1000 + PAGE_TABLE, boot_pd + 0x2000 + PAGE_TABLE, boot_pd + 0x3000 + PAGE_TABLE
	.fill	508, 8, 0
boot_pd:
	page = PAGE_LARGE
	.rept 2048
	.quad	page
	page = page + 0x200000
	.endr

	.globl boot_idt
boot_idt:
	vector = 0
	.rept 32
	.if vector == 6
	.word	boot_ring0_low, KERNEL_CODE64, 0x8e00, boot_ring0_high
	.else
	.word	boot_trap_low + 16 * vector, KERNEL_CODE64, 0x8e00, boot_trap_high
	.endif
	.quad	0
	vector = vector + 1
	.endr
	.rept 224
	.word	boot_interrupt_low, KERNEL_CODE64, 0x8e00, boot_interrupt_high
	.quad	0
	.endr
boot_idt_end:

	.globl boot_gdt, boot_tss
boot_gdt:
	.quad	0
	.quad	0x00cf9b000000ffff	/* 0x08 code, 32 bit */
	.quad	0x00af9b000000ffff	/* 0x10 code, 64 bit */
	.quad	0x00cf93000000ffff	/* 0x18 data */
	.quad	0x00cffb000000ffff	/* 0x20 code of ring 3, 32 bit */
	.quad	0x00cff3000000ffff	/* 0x28 data of ring 3 */
	.quad	0x00affb000000ffff	/* 0x30 code of ring 3, 64 bit */
	.quad	0
	/* 0x40 on: one TSS for each vCPU, 16 bytes; lib/smp.c writes those of the others */
	.word	TSS_LIMIT, boot_tss_low
	.byte	boot_tss_middle, 0x89, 0, 0
	.quad	0
	.fill	(MAX_CPUS - 1) * 2, 8, 0
boot_gdt_end:

/*
 * One TSS for each vCPU, then one I/O permission bitmap for all of them, which opens every port: there are KVMs whose iretq drops the IOPL.
 * lib/smp.c fills in those of the others.
 */
	.align 4096
boot_tss:
	.long	0
	.quad	boot_stack0_top		/* rsp0 */
	.fill	90, 1, 0
	.word	MAX_CPUS * TSS_SIZE	/* the bitmap's offset from here */
	.fill	TSS_SIZE - 104, 1, 0
	.fill	(MAX_CPUS - 1) * TSS_SIZE, 1, 0
	.fill	8192, 1, 0
	.byte	0xff			/* the CPU reads two bytes at a time */

boot_gdt_pointer:
	.word	boot_gdt_end - boot_gdt - 1
	.quad	boot_gdt
boot_idt_pointer:
	.word	boot_idt_end - boot_idt - 1
	.quad	boot_idt

/* struct boot_cpu of lib/smp.c */
	.align 8
	.globl boot_cpu, boot_start_info
boot_cpu:
boot_cpu_stack0:
	.quad	boot_stack0_top
boot_cpu_stack3:
	.quad	boot_stack3_top - 8	/* as after a call */
boot_cpu_entry:
	.quad	guest_start
boot_cpu_tss:
	.quad	FIRST_TSS
boot_start_info:
	.quad	0

	.bss
	.align 4096
	.fill	4096, 1, 0
boot_stack0_top:
	.fill	65536, 1, 0
boot_stack3_top:
	.fill	8192, 1, 0
trap_stack_top:

	.section .note.GNU-stack, "", @progbits
