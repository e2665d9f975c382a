/* SPDX-License-Identifier: MIT */
/*
 * The loader's assembly: the headers that let QEMU and GRUB find us, the way
 * from 32-bit protected mode into C, the way of the other CPUs out of real
 * mode, and the last step into the executable.
 */
	.set MB1_MAGIC, 0x1badb002
	.set MB1_FLAGS, 0x3		/* modules page-aligned, memory map wanted */
	.set MB2_MAGIC, 0xe85250d6

	.set CR0_FINAL, 0x80010011	/* PG WP ET PE */
	.set CR4_FINAL, 0x20		/* PAE */

	.section .headers, "a"
	.balign 8
	.long MB1_MAGIC, MB1_FLAGS, -(MB1_MAGIC + MB1_FLAGS)
	.balign 8
mb2_header:
	.long MB2_MAGIC, 0, mb2_end - mb2_header
	.long -(MB2_MAGIC + (mb2_end - mb2_header))
	.balign 8
	.word 1, 0			/* wanted: memory map, modules */
	.long 16
	.long 6, 3
	.balign 8
	.word 5, 1			/* a framebuffer, if there is one */
	.long 20, 0, 0, 32
	.balign 8
	.word 6, 0			/* modules page-aligned */
	.long 8
	.balign 8
	.word 0, 0
	.long 8
mb2_end:

/* ---- entry, 32-bit, paging off ---------------------------------------------- */
	.text
	.code32
	.globl start
start:
	cli
	cld
	mov %eax, %edi			/* loader_main's arguments, kept from here on */
	mov %ebx, %esi
	mov $stack_end, %esp

	mov $0x80000000, %eax
	push %esi
	push %edi
	cpuid
	cmp $0x80000001, %eax
	jb 9f
	mov $0x80000001, %eax
	cpuid
	bt $29, %edx			/* long mode */
	jnc 9f
	pop %edi
	pop %esi

	/* One root, one table of four, four of 2 MiB entries: 0..4 GiB. */
	mov $early_pdpt + 3, %eax
	mov %eax, early_root
	mov $early_pd + 3, %eax
	xor %ecx, %ecx
1:	mov %eax, early_pdpt(, %ecx, 8)
	add $0x1000, %eax
	inc %ecx
	cmp $4, %ecx
	jne 1b
	mov $0x83, %eax			/* present, writable, large */
	xor %ecx, %ecx
2:	mov %eax, early_pd(, %ecx, 8)
	add $0x200000, %eax
	inc %ecx
	cmp $2048, %ecx
	jne 2b

	mov $early_root, %eax
	mov %eax, %cr3
	mov %cr4, %eax
	or $CR4_FINAL, %eax
	mov %eax, %cr4
	mov $0xc0000080, %ecx
	rdmsr
	or $0x100, %eax			/* LME */
	wrmsr
	mov $CR0_FINAL, %eax
	mov %eax, %cr0
	lgdt early_gdtr
	ljmp $0x28, $start64

9:	mov $0x2f8, %dx			/* no long mode: say so on COM2 and stop */
	mov $no_long_mode, %esi
1:	lodsb
	test %al, %al
	jz 2f
	out %al, %dx
	jmp 1b
2:	mov $125, %al
	mov $0xf4, %dx
	out %al, %dx
	hlt
	jmp 2b

	.code64
start64:
	mov $0x30, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	mov $stack_end, %rsp
	xor %ebp, %ebp
	call loader_main
	ud2

/* ---- the other CPUs ----------------------------------------------------------
 * ap_blob is copied to a page below 1 MiB, where a CPU arrives in real mode with
 * CS pointing at it. All it does there is to get out. cpus.c starts one CPU at a
 * time and leaves what it needs in the ap_* words. */
	.globl ap_blob, ap_blob_end
	.code16
ap_blob:
	cli
	cld
	mov %cs, %ax
	mov %ax, %ds
	lgdtl ap_blob_gdtr - ap_blob
	mov $0x11, %eax
	mov %eax, %cr0
	ljmpl $0x18, $ap_start32
	.balign 4
ap_blob_gdtr:
	.word early_gdt_end - early_gdt - 1
	.long early_gdt
ap_blob_end:

	.code32
ap_start32:
	mov $0x20, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $CR4_FINAL, %eax
	mov %eax, %cr4
	mov ap_root, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	mov final_efer, %eax
	xor %edx, %edx
	wrmsr
	mov $CR0_FINAL, %eax
	mov %eax, %cr0
	ljmp $0x28, $ap_start64

	.code64
ap_start64:
	mov $0x30, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov ap_stack, %rsp
	xor %ebp, %ebp
	call ap_main			/* goes on to depart() */
	ud2

/*
 * void depart(info %rdi, root %rsi, gdtr %rdx, stack_top %rcx, entry %r8)
 *
 * The last step of every CPU, called at its direct-map alias: the identity map
 * is gone after the first instruction. All arguments are direct-map addresses
 * but the root. Without an entry the CPU parks until info->goto_address is
 * written. Words of this file are reached relative to RIP: they are where we are.
 */
	.globl depart
depart:
	mov %rsi, %cr3
	mov %rcx, %rsp
	lgdt (%rdx)
	pushq $0x28
	lea 1f(%rip), %rax
	push %rax
	lretq
1:	mov $0x30, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	xor %eax, %eax
	lldt %ax
	mov 2(%rdx), %rax		/* the task descriptor of the GDT: base 0, limit 0; */
	andb $0xfd, 0x3d(%rax)		/* no longer busy, so that it can be loaded again */
	mov $0x38, %eax
	ltr %ax
	lidt no_idt(%rip)
	mov $CR4_FINAL, %eax
	mov %rax, %cr4
	mov $CR0_FINAL, %eax
	mov %rax, %cr0
	mov $0xc0000080, %ecx
	mov final_efer(%rip), %eax
	xor %edx, %edx
	wrmsr
	movl $1, ap_parked(%rip)
	test %r8, %r8
	jnz 3f
2:	pause
	mov 16(%rdi), %r8
	test %r8, %r8
	jz 2b
3:	pushq $0			/* the executable has nowhere to return to */
	pushq $0x28
	push %r8
	pushq $2
	popfq
	xor %eax, %eax
	xor %ebx, %ebx
	xor %ecx, %ecx
	xor %edx, %edx
	xor %esi, %esi
	xor %ebp, %ebp
	xor %r8d, %r8d
	xor %r9d, %r9d
	xor %r10d, %r10d
	xor %r11d, %r11d
	xor %r12d, %r12d
	xor %r13d, %r13d
	xor %r14d, %r14d
	xor %r15d, %r15d
	lretq

	.section .data
	.balign 16
	.globl early_gdt, early_gdt_end
early_gdt:
	.quad 0
	.quad 0x00009b000000ffff	/* 0x08 16-bit code */
	.quad 0x000093000000ffff	/* 0x10 16-bit data */
	.quad 0x00cf9b000000ffff	/* 0x18 32-bit code */
	.quad 0x00cf93000000ffff	/* 0x20 32-bit data */
	.quad 0x00af9b000000ffff	/* 0x28 64-bit code */
	.quad 0x00cf93000000ffff	/* 0x30 64-bit data */
early_gdt_end:
early_gdtr:
	.word early_gdt_end - early_gdt - 1
	.long early_gdt
	.balign 8
	.globl ap_root, ap_stack, ap_parked, final_efer
ap_stack:
	.quad 0				/* identity address */
ap_root:
	.long 0
ap_parked:
	.long 0
final_efer:
	.long 0x500			/* LME LMA; NXE where there is one */
no_idt:
	.word 0
	.quad 0
no_long_mode:
	.asciz "loader: this CPU has no long mode\r\n"

	.section .bss
	.balign 4096
early_root:
	.skip 4096
early_pdpt:
	.skip 4096
early_pd:
	.skip 4 * 4096
stack:
	.skip 65536
stack_end:

	.section .note.GNU-stack, "", @progbits
