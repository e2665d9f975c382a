/* SPDX-License-Identifier: MIT */
/*
 * The interrupt of mem_port_send(): save what C may change, acknowledge it, and call
 * mem_port_ipi(). An interrupt gate leads here. Acknowledged first, so that the next one
 * comes after the return and nothing that is asked meanwhile is missed.
 */
	.set CS_ABOVE_RETURN, 8

	.macro exchange_gs
#ifdef MEM_PORT_SWAPGS
	testb $3, CS_ABOVE_RETURN(%rsp)
	jz 1f
	swapgs
1:
#endif
	.endm

	.text
	.globl mem_port_ipi_entry
	.type mem_port_ipi_entry, @function
mem_port_ipi_entry:
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
	push %rbp
	mov %rsp, %rbp
	and $-16, %rsp
	call mem_port_end_of_interrupt
	call mem_port_ipi
	mov %rbp, %rsp
	pop %rbp
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
	iretq
	.size mem_port_ipi_entry, . - mem_port_ipi_entry

	.section .note.GNU-stack, "", @progbits
