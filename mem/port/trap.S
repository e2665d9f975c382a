/* SPDX-License-Identifier: MIT */
/*
 * Vector 14: save the registers as struct mem_port_frame, read CR2 before anything else can
 * fault, and call mem_port_handle_page_fault(). An interrupt gate leads here, so interrupts
 * are off. With -DMEM_PORT_SWAPGS the kernel's GS is there while C runs.
 */
	.set CS_ABOVE_ERROR, 16		/* the CPU pushed the error code last */

	.macro exchange_gs
#ifdef MEM_PORT_SWAPGS
	testb $3, CS_ABOVE_ERROR(%rsp)
	jz 1f
	swapgs
1:
#endif
	.endm

	.text
	.globl mem_port_page_fault
	.type mem_port_page_fault, @function
mem_port_page_fault:
	exchange_gs
	cld
	push %rax
	push %rcx
	push %rdx
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, %rdi
	mov %cr2, %rsi
	mov %rsp, %rbp
	and $-16, %rsp
	call mem_port_handle_page_fault
	mov %rbp, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rdx
	pop %rcx
	pop %rax
	exchange_gs
	add $8, %rsp			/* the error code */
	iretq
	.size mem_port_page_fault, . - mem_port_page_fault

	.section .note.GNU-stack, "", @progbits
