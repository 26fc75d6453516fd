/*
 * Says "!" on COM1 as soon as it can, in its third instruction, then resets: for the time from the creation of a VM to its first
 * instructions. No library, no stack.
 */
	.section .note.pvh, "a", @note
	.align 4
	.long 4, 4, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long alone_entry

	.text
	.code32
	.globl alone_entry
alone_entry:
	movw	$0x3f8, %dx
	movb	$'!', %al
	outb	%al, %dx
	movb	$'\n', %al
	outb	%al, %dx
	movw	$0xcf9, %dx
	movb	$6, %al
	outb	%al, %dx
1:	hlt
	jmp	1b
	.section .note.GNU-stack, "", @progbits
