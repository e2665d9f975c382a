/* SPDX-License-Identifier: MIT */
/* The bits of a CPU's control registers that the component relies on. */
#include <mem/port.h>

#define CR0_WP   ((uint64_t)1 << 16)
#define CR4_PGE  ((uint64_t)1 << 7)
#define MSR_EFER 0xc0000080
#define EFER_NXE ((uint64_t)1 << 11)
#define MSR_PAT  0x277
#define PAT      UINT64_C(0x0007010500070406) /* WB WT UC- UC WP WC UC- UC, from the lowest byte */

static uint64_t read_msr(uint32_t msr)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static void write_msr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
}

static uint32_t cpuid_edx(uint32_t leaf)
{
	uint32_t a = leaf, b, c = 0, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return d;
}

void mem_port_cpu_setup(void)
{
	uint64_t cr0, cr4;
	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %0, %%cr0" ::"r"(cr0 | CR0_WP) : "memory");
	if (mem_port_has_nx())
		write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_NXE);
	write_msr(MSR_PAT, PAT);
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" ::"r"(cr4 & ~CR4_PGE) : "memory"); /* forgets all */
	__asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | CR4_PGE) : "memory");
}

bool mem_port_has_nx(void)
{
	return cpuid_edx(0x80000001) >> 20 & 1;
}

bool mem_port_has_giga_pages(void)
{
	return cpuid_edx(0x80000001) >> 26 & 1;
}
