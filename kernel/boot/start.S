/* SPDX-License-Identifier: MIT */
/* The first instructions on each CPU: off the loader's stack, into C. */
	.section .text.entry, "ax"
	.globl kernel_entry
	.type kernel_entry, @function
kernel_entry:
	cli
	cld
	leaq boot_stack_end(%rip), %rsp
	xorl %ebp, %ebp
	call boot_main
	ud2
	.size kernel_entry, . - kernel_entry

/* A released CPU, RDI = struct limine_cpu. The structure is in the loader's part
 * of the direct map: read it before the tables change. */
	.globl ap_entry
	.type ap_entry, @function
ap_entry:
	cli
	cld
	movq 24(%rdi), %rdi /* extra_argument: struct cpu_private, or 0 */
	movq ap_root(%rip), %rax
	movq %rax, %cr3
	testq %rdi, %rdi
	jz 1f
	movq 16(%rdi), %rsp /* cpu.kernel_stack */
	xorl %ebp, %ebp
	call ap_main
	ud2
	/* One that is not used: out of the loader's memory, and no further. */
1:	lock incl ap_left(%rip)
2:	cli
	hlt
	jmp 2b
	.size ap_entry, . - ap_entry

	.bss
	.balign 16
boot_stack:
	.skip 16384
boot_stack_end:

	.section .note.GNU-stack, "", @progbits
