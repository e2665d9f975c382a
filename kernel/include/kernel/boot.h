/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_BOOT_H
#define KERNEL_BOOT_H
/* What the loader said, copied to kernel memory. Owner: kernel/boot. */
#include <kernel/types.h>
#include <mem/memmap.h>

struct vmm;
struct pmm;
struct heap;

extern struct pmm *kernel_pmm;
extern struct vmm *kernel_vmm;
extern struct heap *kernel_heap;

/* Where the kernel is linked (kernel/kernel.lds), and how far above that it runs. */
#define KERNEL_LINK_BASE 0xffffffff80000000ull
uint64_t boot_slide(void);
/* The kernel command line ("" if there is none). */
const char *boot_cmdline(void);
/* The value of word `name` ("name=value", or "name" alone: empty) on it, copied
 * to `value` (may be NULL); false: the word is not there. */
bool boot_option(const char *name, char *value, size_t bytes);
/* The sanitised physical memory map, bootloader memory already given back. */
const struct memmap *boot_memmap(void);
/* The framebuffer, if the loader set one up. */
struct boot_framebuffer {
	paddr_t pa;
	uint64_t width, height, pitch;
	unsigned bpp;
};
extern struct boot_framebuffer boot_framebuffer; /* width 0: none */
#endif
