/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_CPU_X86_H
#define KERNEL_CPU_X86_H
/* Instructions and register bits that only kernel/ uses. Intel SDM vol. 3 and 4. */
#include <kernel/types.h>

#define MSR_APIC_BASE      0x1b
#define MSR_ARCH_CAPS      0x10a
#define MSR_PAT            0x277
#define MSR_X2APIC         0x800 /* + register / 16 */
#define MSR_EFER           0xc0000080
#define MSR_STAR           0xc0000081
#define MSR_LSTAR          0xc0000082
#define MSR_CSTAR          0xc0000083
#define MSR_FMASK          0xc0000084
#define MSR_FS_BASE        0xc0000100
#define MSR_GS_BASE        0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102

#define EFER_SCE ((uint64_t)1 << 0)
#define EFER_NXE ((uint64_t)1 << 11)

#define CR0_MP ((uint64_t)1 << 1)
#define CR0_EM ((uint64_t)1 << 2)
#define CR0_TS ((uint64_t)1 << 3)
#define CR0_NE ((uint64_t)1 << 5)
#define CR0_WP ((uint64_t)1 << 16)
#define CR0_AM ((uint64_t)1 << 18)
#define CR0_NW ((uint64_t)1 << 29)
#define CR0_CD ((uint64_t)1 << 30)

#define CR4_DE         ((uint64_t)1 << 3)
#define CR4_PAE        ((uint64_t)1 << 5)
#define CR4_MCE        ((uint64_t)1 << 6)
#define CR4_PGE        ((uint64_t)1 << 7)
#define CR4_OSFXSR     ((uint64_t)1 << 9)
#define CR4_OSXMMEXCPT ((uint64_t)1 << 10)
#define CR4_UMIP       ((uint64_t)1 << 11)
#define CR4_FSGSBASE   ((uint64_t)1 << 16)
#define CR4_OSXSAVE    ((uint64_t)1 << 18)
#define CR4_SMEP       ((uint64_t)1 << 20)
#define CR4_SMAP       ((uint64_t)1 << 21)

#define RFLAGS_CF   0x1u
#define RFLAGS_TF   0x100u
#define RFLAGS_IF   0x200u
#define RFLAGS_DF   0x400u
#define RFLAGS_IOPL 0x3000u
#define RFLAGS_NT   0x4000u
#define RFLAGS_RF   0x10000u
#define RFLAGS_AC   0x40000u

#define KERNEL_CS 0x10
#define KERNEL_SS 0x18
#define TSS_SEL   0x40

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port) : "memory");
}
static inline void out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port) : "memory");
}
static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port) : "memory");
}
static inline uint8_t in8(uint16_t port)
{
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}
static inline uint16_t in16(uint16_t port)
{
	uint16_t value;
	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}
static inline uint32_t in32(uint16_t port)
{
	uint32_t value;
	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return (uint64_t)high << 32 | low;
}
#ifdef MEM_DEBUG
void wrmsr_check(uint32_t msr, uint64_t value); /* panics (trap.c) */
#endif
static inline void wrmsr(uint32_t msr, uint64_t value)
{
#ifdef MEM_DEBUG
	wrmsr_check(msr, value);
#endif
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
}
static inline uint64_t rdtsc(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};
static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid r;
	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(subleaf));
	return r;
}

static inline uint64_t read_cr0(void)
{
	uint64_t v;
	__asm__ volatile("mov %%cr0, %0" : "=r"(v)::"memory");
	return v;
}
static inline void write_cr0(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr0" ::"r"(v) : "memory");
}
static inline uint64_t read_cr2(void)
{
	uint64_t v;
	__asm__ volatile("mov %%cr2, %0" : "=r"(v)::"memory");
	return v;
}
static inline uint64_t read_cr3(void)
{
	uint64_t v;
	__asm__ volatile("mov %%cr3, %0" : "=r"(v)::"memory");
	return v;
}
static inline uint64_t read_cr4(void)
{
	uint64_t v;
	__asm__ volatile("mov %%cr4, %0" : "=r"(v)::"memory");
	return v;
}
static inline void write_cr4(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr4" ::"r"(v) : "memory");
}
static inline void xsetbv(uint32_t index, uint64_t value)
{
	__asm__ volatile("xsetbv" ::"c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}
#endif
