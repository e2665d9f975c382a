/* SPDX-License-Identifier: MIT */
#ifndef MEM_ARCH_OPS_H
#define MEM_ARCH_OPS_H
/*
 * The few instructions that touch the MMU. Compiled for a kernel they are the
 * instructions; compiled hosted (MEM_HOSTED) the test machine provides
 * machine_* functions that do the same to its software MMU.
 */
#include "arch/x86_64/pte.h"

#ifdef MEM_HOSTED
MEM_BEGIN_DECLS
void machine_invlpg(vaddr_t va);      /* this CPU: va, and all paging-structure entries */
void machine_load_root(paddr_t root); /* this CPU: CR3 write: all but global entries go */
paddr_t machine_root(void);           /* this CPU: CR3 */
void machine_flush_global(void);      /* this CPU: everything goes */
MEM_END_DECLS

static inline void arch_invlpg(vaddr_t va)
{
	machine_invlpg(va);
}
static inline void arch_load_root(paddr_t root)
{
	machine_load_root(root);
}
static inline paddr_t arch_root(void)
{
	return machine_root();
}
static inline void arch_flush_global(void)
{
	machine_flush_global();
}
#else
static inline void arch_invlpg(vaddr_t va)
{
	__asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}
static inline void arch_load_root(paddr_t root)
{
	__asm__ volatile("mov %0, %%cr3" ::"r"(root) : "memory");
}
static inline paddr_t arch_root(void)
{
	paddr_t root;
	__asm__ volatile("mov %%cr3, %0" : "=r"(root));
	return root & PTE_ADDR;
}
/* Toggling CR4.PGE drops global entries too. Intel SDM vol. 3, 4.10.4.1. */
static inline void arch_flush_global(void)
{
	uint64_t cr4;
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" ::"r"(cr4 ^ ((uint64_t)1 << 7)) : "memory");
	__asm__ volatile("mov %0, %%cr4" ::"r"(cr4) : "memory");
}
#endif

/* This CPU: drop every non-global translation. */
static inline void arch_flush_local(void)
{
	arch_load_root(arch_root());
}

static inline void arch_clear_page(void *page)
{
	uint64_t count = PAGE_SIZE / 8;
	__asm__ volatile("rep stosq" : "+D"(page), "+c"(count) : "a"((uint64_t)0) : "memory");
}

static inline void arch_copy_page(void *to, const void *from)
{
	uint64_t count = PAGE_SIZE / 8;
	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count)::"memory");
}
#endif
