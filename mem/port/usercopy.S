/* SPDX-License-Identifier: MIT */
/*
 * Copies that may fault: rdi = to, rsi = from, rdx = bytes; rax = bytes that were not copied.
 * One of the two is an address of a program, checked to lie in the user half.
 *
 * A fault that cannot be served continues at the fix-up of its instruction (user.c), with rcx
 * = what `rep movsb` had left. STAC and CLAC are done where the CPU has SMAP on.
 */
	.set CR4_SMAP, 21

	.text
	.macro smap instruction
	mov %cr4, %rax
	bt $CR4_SMAP, %rax
	jnc 9f
	\instruction
9:
	.endm

	.globl mem_port_copy_raw
	.hidden mem_port_copy_raw
	.type mem_port_copy_raw, @function
mem_port_copy_raw:
	mov %rdx, %rcx
	smap stac
	cld
1:	rep movsb
2:	smap clac
	mov %rcx, %rax
	ret
	.size mem_port_copy_raw, . - mem_port_copy_raw

	/* (instruction, where to go on), from where each number lies: host_fixup_fault */
	.section mem_fixups, "a", @progbits
	.balign 4
	.long 1b - ., 2b - .

	.section .note.GNU-stack, "", @progbits
