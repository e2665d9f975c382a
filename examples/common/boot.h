/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLE_BOOT_H
#define EXAMPLE_BOOT_H
/* What the example kernels share that is none of the memory manager's: how they are started,
 * a serial port, descriptor tables. A kernel that boots has all of it. */
#include <mem/host.h>
#include <mem/memmap.h>
#include <mem/port.h>
#include <mem/vmm.h>

/* mem/port/memory.c. */
void *memset(void *to, int byte, size_t bytes);

#define BOOT_MAP_MOST 512 /* entries of the loader's map */

/* How we were started: by a Limine loader, or by multiboot 2 (mem/port/entry_mb2.S). */
extern struct boot {
	struct memmap_list map;
	paddr_t image;   /* where the kernel's first byte lies */
	uint64_t mapped; /* bytes of physical memory that the loader's tables reach */
	unsigned cpus;   /* that can be started with boot_start_cpu() */
} boot;
/* Start CPU 1 .. boot.cpus - 1 at `entry`, on a stack that is the loader's. */
void boot_start_cpu(unsigned cpu, void (*entry)(unsigned cpu));

/* Each example's own. */
void kernel_main(void);

/* Sanitise the map and begin with frames; the map is static. */
struct memmap *boot_frames(struct pmm **frames);
/* Then, load tables of our own: this CPU is online. */
struct vmm *boot_tables(struct pmm *frames, struct memmap *map);

/* Descriptors: kernel code and data, user data and code, one TSS; for this CPU. `stack`: the
 * end of the stack that interrupts from user mode get, or NULL. */
enum { KERNEL_CODE = 0x08, KERNEL_DATA = 0x10, USER_DATA = 0x1b, USER_CODE = 0x23, TASK = 0x28 };
void descriptors_load(void *stack);
/* Have `handler` run for a vector; privilege 3: user mode may call it by INT. */
void interrupt_set(unsigned vector, void (*handler)(void), unsigned privilege);
/* All lines of the old interrupt controller off, so that interrupts can be on. */
void interrupt_lines_off(void);

/* End QEMU: status 1 is success. */
MEM_NORETURN void machine_exit(unsigned char status);

#define CHECK(c) ((c) ? (void)0 : host_panic("FAIL %s:%d: %s", __FILE__, __LINE__, #c))

#endif
