/* SPDX-License-Identifier: MIT */
/*
 * Every way into the kernel, and the ways out.
 *
 * Exceptions, interrupts and system calls build the same struct trapframe
 * (kernel/trap.h) on the thread's kernel stack. GS: in user mode it is the
 * program's and MSR_KERNEL_GS_BASE holds this CPU's structure; SWAPGS
 * exchanges them exactly when the privilege level changes.
 *
 * System calls and page faults of programs have a short way out: nothing is due
 * (thread->interrupted, thread->exit_work, need_resched), and nobody has changed the frame.
 * Of a system call its vector says so: who writes a frame's registers makes it
 * TRAP_SIGRETURN. Registers that C functions preserve are then those of the program still,
 * and are not loaded. A fault does not even save them, but on its long way out.
 *
 * Exceptions on interrupt-stack-table stacks may come in the few instructions
 * where GS and privilege level disagree, and with FSGSBASE a program can make
 * its GS look like a kernel address: so they take the CPU's structure from the
 * top of their own stack, load it into GS and put back what was there.
 *
 * Nothing here may fault: frames that go back to user mode have been made sane
 * by trap_user_exit (canonical address, user selectors, user flags), or are as the CPU
 * made them. Debug builds look again (check_frame).
 */
#include "kernel/cpu/entry.h"

#define FRAME_PRESERVED 48 /* bytes: R15 to RBX, what C functions preserve */
#define FRAME_R15    0
#define FRAME_R14    8
#define FRAME_R13    16
#define FRAME_R12    24
#define FRAME_RBP    32
#define FRAME_RBX    40
#define FRAME_R10    56
#define FRAME_R9     64
#define FRAME_R8     72
#define FRAME_RAX    80
#define FRAME_RDX    96
#define FRAME_RSI    104
#define FRAME_RDI    112
#define FRAME_VECTOR 120
#define FRAME_RIP    136
#define FRAME_CS     144
#define FRAME_RFLAGS 152
#define FRAME_RSP    160
#define FRAME_BYTES  176
#define USER_SS      0x2b
#define USER_CS      0x33
#define FLAGS_BY_IRET 0x10100 /* TF, RF */
#define MSR_GS_BASE  0xc0000101

/* Room for STAC or CLAC: three bytes of nothing until cpu_patch_smap() finds
 * the place in the table. Kind 0: CLAC, 1: STAC. */
.macro smap_site kind
771:	.byte 0x0f, 0x1f, 0x00
	.pushsection .smap_sites, "a"
	.quad 771b, \kind
	.popsection
.endm

.macro push_scratch
	pushq %rdi
	pushq %rsi
	pushq %rdx
	pushq %rcx
	pushq %rax
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
.endm

.macro pop_scratch
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rax
	popq %rcx
	popq %rdx
	popq %rsi
	popq %rdi
.endm

.macro push_registers
	push_scratch
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
.endm

.macro pop_registers
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	pop_scratch
.endm

/* Jumps to `slow` if something is due before user mode. Interrupts are off. */
.macro leave_if_due slow
	movq %gs:CPU_CURRENT, %rdx
	cmpq $0, THREAD_DUE(%rdx)
	jne \slow
	cmpl $0, %gs:CPU_RESCHED
	jne \slow
.endm

/* In front of pop_registers, IRETQ (0) and SYSRETQ (1): can it be loaded? */
.macro check_frame by_sysret
#ifdef MEM_DEBUG
	movq %rsp, %rdi
	movl $\by_sysret, %esi
	call trap_check_frame
#endif
.endm

/* In front of the short way out of a system call: what C functions preserve is as it came. */
.macro check_short_way
#ifdef MEM_DEBUG
	check_frame 1
	cmpq %rbx, FRAME_RBX(%rsp)
	jne 99f
	cmpq %r12, FRAME_R12(%rsp)
	jne 99f
	cmpq %r13, FRAME_R13(%rsp)
	jne 99f
	cmpq %r14, FRAME_R14(%rsp)
	jne 99f
	cmpq %r15, FRAME_R15(%rsp)
	je 98f
99:	ud2
98:	movq FRAME_RIP(%rsp), %rcx
	movq FRAME_RFLAGS(%rsp), %r11
	movq FRAME_RAX(%rsp), %rax
#endif
.endm

	.text

/* 256 stubs of 16 bytes: make every frame have an error code, push the vector. */
	.balign 16
	.globl trap_stubs
	.type trap_stubs, @function
trap_stubs:
	vector = 0
	.rept 256
	.balign 16
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
	pushq $0
	.endif
	pushq $vector
	.if vector == 2 || vector == 8 || vector == 18
	jmp trap_ist_entry
	.else
	jmp trap_entry
	.endif
	vector = vector + 1
	.endr
	.size trap_stubs, . - trap_stubs

	.type trap_entry, @function
trap_entry:
	cld
	push_registers
	testb $3, FRAME_CS(%rsp)
	jz 1f
	swapgs
	xorl %ebp, %ebp /* backtraces end here; those of a kernel frame go on through it */
1:	smap_site 0
	movq %rsp, %rdi
	call trap_dispatch
	testb $3, FRAME_CS(%rsp)
	jnz user_exit
	check_frame 0
	pop_registers
	addq $16, %rsp
	iretq
	.size trap_entry, . - trap_entry

/* A page fault, with its error code: the kernel's go the way of all exceptions. */
	.balign 16
	.globl page_fault_entry
	.type page_fault_entry, @function
page_fault_entry:
	testb $3, 16(%rsp)
	jz trap_stubs + 14 * 16
	pushq $14
	cld
	swapgs
	push_scratch
	subq $FRAME_PRESERVED, %rsp
	movq %rbp, FRAME_RBP(%rsp)
	xorl %ebp, %ebp
	smap_site 0
	movq %rsp, %rdi
	call trap_user_page_fault
	leave_if_due 1f
	check_frame 0
	movq FRAME_RBP(%rsp), %rbp
	addq $FRAME_PRESERVED, %rsp
	pop_scratch
	addq $16, %rsp
	swapgs
	iretq
1:	movq %rbx, FRAME_RBX(%rsp)
	movq %r12, FRAME_R12(%rsp)
	movq %r13, FRAME_R13(%rsp)
	movq %r14, FRAME_R14(%rsp)
	movq %r15, FRAME_R15(%rsp)
	jmp user_exit
	.size page_fault_entry, . - page_fault_entry

	.type user_exit, @function
user_exit:
	movq %rsp, %rdi
	call trap_user_exit
	check_frame 0
	pop_registers
	addq $16, %rsp
	swapgs
	iretq
	.size user_exit, . - user_exit

/* void trap_return_to_user(struct trapframe *frame) */
	.globl trap_return_to_user
	.type trap_return_to_user, @function
trap_return_to_user:
	movq %rdi, %rsp
	xorl %ebp, %ebp
	jmp user_exit
	.size trap_return_to_user, . - trap_return_to_user

	.type trap_ist_entry, @function
trap_ist_entry:
	cld
	push_registers
	smap_site 0
	movl $MSR_GS_BASE, %ecx
	rdmsr
	movl %eax, %ebx
	movl %edx, %r12d
	movq FRAME_BYTES(%rsp), %rax /* struct cpu *, at the top of this stack */
	movq %rax, %rdx
	shrq $32, %rdx
	wrmsr
	movq %rsp, %rdi
	xorl %ebp, %ebp
	call trap_ist
	movl $MSR_GS_BASE, %ecx
	movl %ebx, %eax
	movl %r12d, %edx
	wrmsr
	check_frame 0
	pop_registers
	addq $16, %rsp
	iretq
	.size trap_ist_entry, . - trap_ist_entry

/* SYSCALL: RCX holds the user's RIP, R11 its RFLAGS; interrupts are off. */
	.balign 16
	.globl syscall_entry
	.type syscall_entry, @function
syscall_entry:
	swapgs
	movq %rsp, %gs:CPU_SCRATCH
	movq %gs:CPU_STACK, %rsp
	pushq $USER_SS
	pushq %gs:CPU_SCRATCH
	pushq %r11
	pushq $USER_CS
	pushq %rcx
	pushq %rax
	pushq $TRAP_SYSCALL
	push_registers
	xorl %ebp, %ebp
	sti
	cmpq $SYSCALL_COUNT, %rax
	jae 6f
	leaq syscall_functions(%rip), %r11
	movq (%r11,%rax,8), %r11
	testq %r11, %r11
	jz 6f
	movq %r10, %rcx
	call *%r11
1:	cli
	movq %rax, FRAME_RAX(%rsp)
	cmpq $-MAX_ERRNO, %rax
	jae 7f
8:	leave_if_due 2f
3:	cmpq $TRAP_SYSCALL, FRAME_VECTOR(%rsp)
	jne 4f
	movq FRAME_RIP(%rsp), %rcx
	movq %rcx, %rdx
	shrq $47, %rdx /* SYSRETQ takes RIPs of the lower half only */
	jnz 4f
	movq FRAME_RFLAGS(%rsp), %r11
	testl $FLAGS_BY_IRET, %r11d
	jnz 4f
	check_short_way
	movq FRAME_RBP(%rsp), %rbp
	movq FRAME_R10(%rsp), %r10
	movq FRAME_R9(%rsp), %r9
	movq FRAME_R8(%rsp), %r8
	movq FRAME_RDX(%rsp), %rdx
	movq FRAME_RSI(%rsp), %rsi
	movq FRAME_RDI(%rsp), %rdi
	movq FRAME_RSP(%rsp), %rsp
	swapgs
	sysretq

2:	/* After a switch there is often nothing to do but to load the FPU's state. */
	cmpl $0, THREAD_DUE(%rdx)
	jne 4f
	cmpl $EXIT_WORK_FPU, THREAD_DUE + 4(%rdx)
	jne 4f
	cmpl $0, %gs:CPU_RESCHED
	jne 4f
	movq %rdx, %rdi
	call fpu_restore
	movq FRAME_RAX(%rsp), %rax
	jmp 3b

4:	movq %rsp, %rdi
	call trap_user_exit
	testb %al, %al
	jz 5f
	check_frame 1
	pop_registers /* RCX and R11 are RIP and RFLAGS: trap_user_exit looked */
	movq 40(%rsp), %rsp
	swapgs
	sysretq
5:	check_frame 0
	pop_registers
	addq $16, %rsp
	swapgs
	iretq

6:	movq %rax, %rdi
	call syscall_missing
	jmp 1b
7:	cmpq $-ERROR_NO_MEMORY, %rax
	jne 9f
	sti
	movq %rsp, %rdi
	call syscall_again
	cli
	movq %rax, FRAME_RAX(%rsp)
9:	leaq ERESTART_MOST(%rax), %rcx
	cmpq $ERESTART_MOST - ERESTART_LEAST, %rcx
	ja 8b
	call syscall_restarts
	jmp 4b
	.size syscall_entry, . - syscall_entry

/* SYSCALL from 32-bit code, which there is no way to run: refuse it. */
	.globl syscall_entry_32
	.type syscall_entry_32, @function
syscall_entry_32:
	movl $-38, %eax
	sysretl
	.size syscall_entry_32, . - syscall_entry_32

/*
 * void switch_stack(uint64_t *save_rsp, uint64_t next_rsp): what a thread keeps
 * while it does not run is what a C function must preserve.
 */
	.globl switch_stack
	.type switch_stack, @function
switch_stack:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret
	.size switch_stack, . - switch_stack

/* Where a new thread's first switch_stack returns to. */
	.globl thread_first
	.type thread_first, @function
thread_first:
	xorl %ebp, %ebp
	call thread_begin
	ud2
	.size thread_first, . - thread_first

	.section .note.GNU-stack, "", @progbits
