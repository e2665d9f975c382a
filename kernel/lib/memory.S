/* SPDX-License-Identifier: MIT */
/*
 * memcpy, memmove, memset, memcmp: what C needs and the compiler calls.
 *
 * Eight bytes at a time through the string instructions: the kernel has no SSE,
 * and under emulation a string iteration costs the same whatever its width.
 */
	.text

	.globl memcpy
	.type memcpy, @function
memcpy:
	mov %rdi, %rax
	mov %rdx, %rcx
	shr $3, %rcx
	rep movsq
	mov %edx, %ecx
	and $7, %ecx
	rep movsb
	ret
	.size memcpy, . - memcpy

	.globl memmove
	.type memmove, @function
memmove:
	mov %rdi, %rax
	sub %rsi, %rax
	cmp %rdx, %rax /* unsigned: to - from >= bytes: forward is safe */
	jae memcpy
	/* Overlapping with `to` above `from`: from the end downwards. */
	mov %rdi, %rax
	lea -1(%rdi,%rdx), %rdi
	lea -1(%rsi,%rdx), %rsi
	mov %edx, %ecx
	and $7, %ecx
	std
	rep movsb
	sub $7, %rdi
	sub $7, %rsi
	mov %rdx, %rcx
	shr $3, %rcx
	rep movsq
	cld
	ret
	.size memmove, . - memmove

	.globl memset
	.type memset, @function
memset:
	mov %rdi, %r8
	movzbl %sil, %eax
	movabs $0x0101010101010101, %rcx
	imul %rcx, %rax
	mov %rdx, %rcx
	shr $3, %rcx
	rep stosq
	mov %edx, %ecx
	and $7, %ecx
	rep stosb
	mov %r8, %rax
	ret
	.size memset, . - memset

	.globl memcmp
	.type memcmp, @function
memcmp:
	xor %eax, %eax
	mov %rdx, %rcx
	cmp %rcx, %rcx /* equal, for zero bytes */
	repe cmpsb
	je 1f
	movzbl -1(%rdi), %eax
	movzbl -1(%rsi), %ecx
	sub %ecx, %eax
1:	ret
	.size memcmp, . - memcmp

	.section .note.GNU-stack, "", @progbits
