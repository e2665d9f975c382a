/* SPDX-License-Identifier: MIT */
/*
 * Moving bytes to and from user memory: the only instructions of the kernel
 * that touch it, each with an entry in the exception table that says where to go
 * on when its access cannot be served.
 *
 * SMAP is open (AC set) exactly between smap_open and smap_close; the copy in
 * words is finished, or fails, in bytes, so that the count of what was not
 * copied is exact to the byte.
 */
.macro smap_close
771:	.byte 0x0f, 0x1f, 0x00
	.pushsection .smap_sites, "a"
	.quad 771b, 0
	.popsection
.endm
.macro smap_open
771:	.byte 0x0f, 0x1f, 0x00
	.pushsection .smap_sites, "a"
	.quad 771b, 1
	.popsection
.endm
.macro fixup at, to
	.pushsection .extable, "a"
	.quad \at, \to
	.popsection
.endm

	.text

/* size_t user_copy(void *to, const void *from, size_t bytes): bytes not copied */
	.globl user_copy
	.type user_copy, @function
user_copy:
	smap_open
	movq %rdx, %rcx
	andl $7, %edx
	shrq $3, %rcx
1:	rep movsq
	movl %edx, %ecx
2:	rep movsb
	smap_close
	movq %rcx, %rax
	ret
	/* In the words: go on byte by byte from there; that finds the exact place. */
3:	leaq (%rdx,%rcx,8), %rcx
	jmp 2b
4:	smap_close
	movq %rcx, %rax
	ret
	fixup 1b, 3b
	fixup 2b, 4b
	.size user_copy, . - user_copy

/* size_t user_clear(void *to, size_t bytes): bytes not cleared */
	.globl user_clear
	.type user_clear, @function
user_clear:
	smap_open
	xorl %eax, %eax
	movq %rsi, %rcx
	andl $7, %esi
	shrq $3, %rcx
1:	rep stosq
	movl %esi, %ecx
2:	rep stosb
	smap_close
	movq %rcx, %rax
	ret
3:	leaq (%rsi,%rcx,8), %rcx
	jmp 2b
4:	smap_close
	movq %rcx, %rax
	ret
	fixup 1b, 3b
	fixup 2b, 4b
	.size user_clear, . - user_clear

/* ssize_t user_strncpy(char *to, const char *from, size_t bytes): the length
 * without the NUL; `bytes` if there is none in so many; -1 on a fault */
	.globl user_strncpy
	.type user_strncpy, @function
user_strncpy:
	smap_open
	xorl %eax, %eax
	testq %rdx, %rdx
	jz 3f
2:	movb (%rsi,%rax), %cl
	movb %cl, (%rdi,%rax)
	testb %cl, %cl
	jz 3f
	incq %rax
	cmpq %rdx, %rax
	jb 2b
3:	smap_close
	ret
4:	movq $-1, %rax
	smap_close
	ret
	fixup 2b, 4b
	.size user_strncpy, . - user_strncpy

/* int user_load32_raw(const uint32_t *from, uint32_t *to): 0 or -1 */
	.globl user_load32_raw
	.type user_load32_raw, @function
user_load32_raw:
	smap_open
1:	movl (%rdi), %ecx
	smap_close
	movl %ecx, (%rsi)
	xorl %eax, %eax
	ret
2:	smap_close
	movl $-1, %eax
	ret
	fixup 1b, 2b
	.size user_load32_raw, . - user_load32_raw

/* int user_cas32_raw(uint32_t *at, uint32_t expected, uint32_t desired, uint32_t *old) */
	.globl user_cas32_raw
	.type user_cas32_raw, @function
user_cas32_raw:
	movl %esi, %eax
	movq %rcx, %r8
	smap_open
1:	lock cmpxchgl %edx, (%rdi)
	smap_close
	movl %eax, (%r8)
	xorl %eax, %eax
	ret
2:	smap_close
	movl $-1, %eax
	ret
	fixup 1b, 2b
	.size user_cas32_raw, . - user_cas32_raw

	.section .note.GNU-stack, "", @progbits
