/* SPDX-License-Identifier: MIT */
/* A serial port, the way out of QEMU, and descriptor tables. */
#include "boot.h"

static void out(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static uint8_t in(uint16_t port)
{
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

void mem_port_putchar(char c)
{
	while (!(in(0x2fd) & 0x20)) /* COM2 */
		;
	out(0x2f8, (uint8_t)c);
}

void machine_exit(unsigned char status)
{
	out(0xf4, status); /* isa-debug-exit: QEMU ends with 2 * status + 1 */
	for (;;)
		__asm__ volatile("cli; hlt");
}

void mem_port_halt(void)
{
	machine_exit(2);
}

/* ---- descriptor tables ------------------------------------------------------------ */

struct gate {
	uint16_t low, selector;
	uint8_t ist, type;
	uint16_t middle;
	uint32_t high, reserved;
};
static struct gate idt[256];
struct pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static struct {
	uint64_t gdt[7];
	uint32_t tss[26];
} cpus[MEM_MAX_CPUS] __attribute__((aligned(16)));

static void unexpected(void)
{
	host_panic("an interrupt that nobody expects");
}

void interrupt_set(unsigned vector, void (*handler)(void), unsigned privilege)
{
	uint64_t at = (uintptr_t)handler;
	idt[vector] = (struct gate){.low = (uint16_t)at,
				    .selector = KERNEL_CODE,
				    .type = (uint8_t)(0x8e | privilege << 5),
				    .middle = (uint16_t)(at >> 16),
				    .high = (uint32_t)(at >> 32)};
}

void descriptors_load(void *stack)
{
	__auto_type me = &cpus[host_cpu()];
	uint64_t tss = (uintptr_t)me->tss, sp = (uintptr_t)stack;
	const uint64_t gdt[7] = {0,
				 0x00209a0000000000,
				 0x0000920000000000,
				 0x0000f20000000000,
				 0x0020fa0000000000,
				 (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56 |
				     0x0000890000000000 | (sizeof(me->tss) - 1),
				 tss >> 32};
	for (unsigned i = 0; i < 7; i++)
		me->gdt[i] = gdt[i];
	me->tss[1] = (uint32_t)sp; /* RSP0 */
	me->tss[2] = (uint32_t)(sp >> 32);
	me->tss[25] = sizeof(me->tss) << 16; /* no I/O bitmap */
	for (unsigned i = 0; i < 256; i++)
		if (!idt[i].type)
			interrupt_set(i, unexpected, 0);
	const struct pointer g = {sizeof(me->gdt) - 1, (uintptr_t)me->gdt};
	const struct pointer i = {sizeof(idt) - 1, (uintptr_t)idt};
	__asm__ volatile("lgdt %0; lidt %1; ltr %w2" ::"m"(g), "m"(i), "r"(TASK));
	__asm__ volatile("pushq %0; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:\n\t"
			 "mov %w1, %%ds; mov %w1, %%es; mov %w1, %%ss" ::"i"(KERNEL_CODE),
			 "r"(KERNEL_DATA)
			 : "rax", "memory");
}

void interrupt_lines_off(void)
{
	out(0x21, 0xff);
	out(0xa1, 0xff);
}
