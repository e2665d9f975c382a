/* SPDX-License-Identifier: MIT */
/*
 * From a multiboot 2 loader (GRUB) to 64-bit C, for a kernel that is linked at -2 GiB and
 * loaded at its address minus that (AT() in its linker script), below 1 GiB. Multiboot2
 * specification, 3.1 and 3.3.
 *
 * The tables map physical memory at 0, at MEM_PORT_DIRECT_MAP, and its first gibibyte at
 * -2 GiB: 512 GiB where the CPU has 1 GiB pages, else 16 GiB. Then
 *
 *     mem_port_entry_mb2(physical address of the information, bytes that are mapped)
 *
 * runs on a stack of 16 KiB with interrupts off. It must not return. What lies above is not to
 * be touched before the kernel has tables of its own: end_pfn of memmap_sanitise().
 *
 * The linker script puts .multiboot2 into the first 32 KiB of the file.
 */
	.set BASE, 0xffffffff80000000
	.set MAGIC, 0xe85250d6
	.set STARTED, 0x36d76289
	.set SMALL_TABLES, 16		/* gibibytes with 2 MiB pages */
	.set STACK_BYTES, 16384

	.set PRESENT_WRITE, 3
	.set PRESENT_WRITE_LARGE, 0x83
	.set CR4_PAE, 5
	.set EFER, 0xc0000080
	.set EFER_LME, 8
	.set CR0_PE_WP_PG, 0x80010001
	.set CODE, 8
	.set DATA, 16

	.section .multiboot2, "a"
	.balign 8
header:
	.long MAGIC, 0, header_end - header, -(MAGIC + (header_end - header))
	.balign 8
	.word 1, 0			/* wanted: modules, memory map */
	.long 16, 3, 6
	.balign 8
	.word 3, 0			/* where to enter, physical */
	.long 12, start - BASE
	.balign 8
	.word 0, 0
	.long 8
header_end:

/* ---- 32 bits, paging off, addresses are physical -------------------------------- */
	.text
	.code32
start:
	cli
	cld
	mov $(boot_stack_end - BASE), %esp
	cmp $STARTED, %eax
	jne stop
	mov %ebx, %esi			/* kept from here on: the information */
	mov $0x80000000, %eax
	cpuid
	cmp $0x80000001, %eax
	jb stop
	mov $0x80000001, %eax
	cpuid
	bt $29, %edx			/* long mode */
	jnc stop

	mov $(boot_pdpt - BASE + PRESENT_WRITE), %eax
	mov %eax, boot_root - BASE
	mov %eax, boot_root - BASE + 256 * 8
	movl $(boot_high - BASE + PRESENT_WRITE), boot_root - BASE + 511 * 8
	movl $(boot_pd - BASE + PRESENT_WRITE), boot_high - BASE + 510 * 8

	/* The tables of 2 MiB pages: the kernel's own gibibyte needs the first in any case. */
	xor %ecx, %ecx
	mov $PRESENT_WRITE_LARGE, %eax
	xor %edi, %edi			/* bits 32 and up */
1:	mov %eax, boot_pd - BASE(, %ecx, 8)
	mov %edi, boot_pd - BASE + 4(, %ecx, 8)
	add $0x200000, %eax
	adc $0, %edi
	inc %ecx
	cmp $(SMALL_TABLES * 512), %ecx
	jne 1b

	bt $26, %edx			/* 1 GiB pages */
	jnc 3f
	xor %ecx, %ecx
	mov $PRESENT_WRITE_LARGE, %eax
	xor %edi, %edi
2:	mov %eax, boot_pdpt - BASE(, %ecx, 8)
	mov %edi, boot_pdpt - BASE + 4(, %ecx, 8)
	add $0x40000000, %eax
	adc $0, %edi
	inc %ecx
	cmp $512, %ecx
	jne 2b
	mov $512, %ebp			/* gibibytes that are mapped */
	jmp 5f
3:	xor %ecx, %ecx
	mov $(boot_pd - BASE + PRESENT_WRITE), %eax
4:	mov %eax, boot_pdpt - BASE(, %ecx, 8)
	add $0x1000, %eax
	inc %ecx
	cmp $SMALL_TABLES, %ecx
	jne 4b
	mov $SMALL_TABLES, %ebp
5:
	mov $(boot_root - BASE), %eax
	mov %eax, %cr3
	mov %cr4, %eax
	bts $CR4_PAE, %eax
	mov %eax, %cr4
	mov $EFER, %ecx
	rdmsr
	bts $EFER_LME, %eax
	wrmsr
	mov %cr0, %eax
	or $CR0_PE_WP_PG, %eax
	mov %eax, %cr0
	lgdt gdt_low - BASE
	ljmp $CODE, $(start64 - BASE)

stop:	hlt
	jmp stop

/* ---- 64 bits --------------------------------------------------------------------- */
	.code64
start64:
	movabs $high, %rax
	jmp *%rax
high:
	/* Its addresses above 4 GiB: the low ones go with these tables. */
	lgdt gdt_high(%rip)
	mov $DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	lea boot_stack_end(%rip), %rsp
	mov %esi, %edi
	mov %ebp, %esi
	shl $30, %rsi
	xor %ebp, %ebp
	call mem_port_entry_mb2
	cli
6:	hlt
	jmp 6b

	.section .rodata
	.balign 8
gdt:	.quad 0, 0x00209a0000000000, 0x0000920000000000
gdt_low:
	.word gdt_low - gdt - 1
	.long gdt - BASE
	.balign 8
	.word 0, 0, 0
gdt_high:
	.word gdt_low - gdt - 1
	.quad gdt

	.section .bss
	.balign 4096
boot_root:
	.skip 4096
boot_pdpt:
	.skip 4096
boot_high:
	.skip 4096
boot_pd:
	.skip SMALL_TABLES * 4096
	.balign 16
	.skip STACK_BYTES
boot_stack_end:

	.section .note.GNU-stack, "", @progbits
