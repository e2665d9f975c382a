/* SPDX-License-Identifier: MIT */
#ifndef MEM_ARCH_MACHINE_H
#define MEM_ARCH_MACHINE_H
/*
 * How the running CPU is set up: what page tables depend on, and what must stay mapped for
 * the CPU to go on. Compiled hosted (MEM_HOSTED) the test machine says what it likes.
 */
#include "arch/x86_64/pte.h"

#define CR0_WRITE_PROTECT ((uint64_t)1 << 16)
#define CR4_GLOBAL_PAGES  ((uint64_t)1 << 7)
#define CR4_FIVE_LEVELS   ((uint64_t)1 << 12)
#define EFER_NO_EXECUTE   ((uint64_t)1 << 11)
/* Entries 0 to 5 of the PAT: WB WT UC- UC WP WC. Intel SDM vol. 3, 12.12. */
#define PAT_MASK   ((uint64_t)0x0000ffffffffffff)
#define PAT_WANTED ((uint64_t)0x0000010500070406)

struct arch_setup {
	uint64_t cr0, cr4, efer, pat;
	bool giga_pages;          /* CPUID.80000001H:EDX[26] */
	bool direct_map_anywhere; /* hosted: the arena is no part of any page table */
	/* Addresses that this CPU uses just now; 0: none. */
	vaddr_t code, stack, gdt, idt;
};

#ifdef MEM_HOSTED
MEM_BEGIN_DECLS
void machine_describe(struct arch_setup *setup);
MEM_END_DECLS

static inline void arch_describe(struct arch_setup *setup)
{
	machine_describe(setup);
}
#else
static inline uint64_t arch_read_msr(uint32_t number)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
	return (uint64_t)high << 32 | low;
}

static inline bool arch_has_giga_pages(void)
{
	uint32_t a = 0x80000000, b, c = 0, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (a < 0x80000001)
		return false;
	a = 0x80000001;
	c = 0;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return d >> 26 & 1;
}

static inline void arch_describe(struct arch_setup *setup)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdt, idt;
	__asm__ volatile("mov %%cr0, %0" : "=r"(setup->cr0));
	__asm__ volatile("mov %%cr4, %0" : "=r"(setup->cr4));
	__asm__ volatile("lea 0(%%rip), %0" : "=r"(setup->code));
	__asm__ volatile("mov %%rsp, %0" : "=r"(setup->stack));
	__asm__ volatile("sgdt %0" : "=m"(gdt));
	__asm__ volatile("sidt %0" : "=m"(idt));
	setup->gdt = gdt.base;
	setup->idt = idt.base;
	setup->efer = arch_read_msr(0xc0000080);
	setup->pat = arch_read_msr(0x277);
	setup->giga_pages = arch_has_giga_pages();
	setup->direct_map_anywhere = false;
}
#endif
#endif
