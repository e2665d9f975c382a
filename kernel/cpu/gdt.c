/* SPDX-License-Identifier: MIT */
/*
 * Descriptor tables and the stacks that hardware switches to.
 *
 * One GDT and TSS per CPU. The selectors are Linux's, so that a program that
 * looks at CS and SS sees what it sees there:
 *
 *     0x10 kernel code   0x18 kernel data   0x28 user data   0x30 user code
 *     0x08 and 0x20 (32-bit code there) stay empty: no compatibility mode
 *
 * Interrupt-stack-table stacks are for the three exceptions that can come when
 * the current stack is not to be trusted: double fault (it may have overflowed),
 * NMI (it may be the user's, between SYSCALL and the switch) and machine check.
 * Each has guard pages on both sides. The word at the very top of each holds the
 * CPU's own structure, where the entry code finds it without relying on GS.
 *
 * Until page tables of our own exist the boot CPU uses one static stack for all
 * three.
 */
#include <kernel/boot.h>
#include <kernel/log.h>
#include <mem/heap.h>

#include "kernel/cpu/priv.h"
#include "kernel/cpu/x86.h"

struct cpu_private *cpu_table[MEM_MAX_CPUS];
struct cpumask cpu_online_mask;
struct cpu_private boot_cpu;
static uint8_t boot_ist[PAGE_SIZE] __attribute__((aligned(64)));

#define DESC_KERNEL_CODE 0x00af9b000000ffffull
#define DESC_KERNEL_DATA 0x00cf93000000ffffull
#define DESC_USER_CODE   0x00affb000000ffffull
#define DESC_USER_DATA   0x00cff3000000ffffull

_Static_assert(offsetof(struct cpu, self) == 0, "entry code");
_Static_assert(offsetof(struct cpu, current) == 8, "entry code");
_Static_assert(offsetof(struct cpu, kernel_stack) == 16, "entry code");
_Static_assert(offsetof(struct cpu, user_rsp_scratch) == 24, "entry code");
_Static_assert(offsetof(struct cpu, id) == 32, "entry code");
_Static_assert(offsetof(struct cpu, preempt_count) == 36, "entry code");
_Static_assert(offsetof(struct cpu, need_resched) == 40, "entry code");
_Static_assert(offsetof(struct cpu, irq_depth) == 44, "entry code");

/* The top of an IST stack: the CPU's structure, and 8 bytes to keep 16-alignment. */
static void set_ist(struct cpu_private *c, unsigned index, void *stack, size_t bytes)
{
	uint64_t top = (uint64_t)stack + bytes - 16;
	*(struct cpu_private **)top = c;
	c->tss.ist[index - 1] = top;
}

static void fill_gdt(struct cpu_private *c)
{
	uint64_t tss = (uint64_t)&c->tss;
	c->gdt[KERNEL_CS / 8] = DESC_KERNEL_CODE;
	c->gdt[KERNEL_SS / 8] = DESC_KERNEL_DATA;
	c->gdt[USER_SS / 8] = DESC_USER_DATA;
	c->gdt[USER_CS / 8] = DESC_USER_CODE;
	c->gdt[TSS_SEL / 8] = (sizeof(struct tss) - 1) | (tss & 0xffffff) << 16 |
			      (uint64_t)0x89 << 40 | (tss >> 24 & 0xff) << 56;
	c->gdt[TSS_SEL / 8 + 1] = tss >> 32;
	c->tss.iomap = sizeof(struct tss);
}

static void load_gdt(struct cpu_private *c)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdtr = {sizeof(c->gdt) - 1, (uint64_t)c->gdt};
	__asm__ volatile("lgdt %0\n\t"
			 "pushq %1\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n"
			 "1:\tmovl %2, %%eax\n\t"
			 "movl %%eax, %%ss\n\t"
			 "xorl %%eax, %%eax\n\t"
			 "movl %%eax, %%ds\n\t"
			 "movl %%eax, %%es\n\t"
			 "movl %%eax, %%fs\n\t"
			 "movl %%eax, %%gs\n\t"
			 "lldt %%ax\n\t"
			 "movl %3, %%eax\n\t"
			 "ltr %%ax"
			 :
			 : "m"(gdtr), "i"(KERNEL_CS), "i"(KERNEL_SS), "i"(TSS_SEL)
			 : "rax", "memory");
}

extern void idt_load(void); /* trap.c */

void cpu_init_tables(struct cpu_private *c)
{
	c->cpu.self = &c->cpu;
	c->cpu.priv = c;
	fill_gdt(c);
	if (c == &boot_cpu)
		for (unsigned i = 1; i <= IST_COUNT; i++)
			set_ist(c, i, boot_ist, sizeof(boot_ist));
	load_gdt(c);
	wrmsr(MSR_GS_BASE, (uint64_t)c);
	wrmsr(MSR_KERNEL_GS_BASE, 0);
	wrmsr(MSR_FS_BASE, 0);
	idt_load();
}

int cpu_alloc_stacks(struct cpu_private *c)
{
	for (unsigned i = 1; i <= IST_COUNT; i++) {
		void *stack;
		if (vmm_alloc_stack(kernel_vmm, IST_STACK_PAGES, &stack) != MEM_OK)
			return -ENOMEM;
		set_ist(c, i, stack, IST_STACK_PAGES * PAGE_SIZE);
	}
	return 0;
}

struct cpu_private *cpu_create(unsigned id, uint32_t apic_id)
{
	struct cpu_private *c = kmalloc_aligned(sizeof(*c), 64);
	if (!c)
		return NULL;
	memset(c, 0, sizeof(*c));
	c->cpu.id = id;
	c->apic_id = apic_id;
	if (cpu_alloc_stacks(c) || sched_init_cpu(c)) {
		kfree(c);
		return NULL;
	}
	cpu_table[id] = c;
	return c;
}

struct cpu *cpu_get(unsigned id)
{
	return id < MEM_MAX_CPUS && cpu_table[id] ? &cpu_table[id]->cpu : NULL;
}
