/* SPDX-License-Identifier: MIT */
#ifndef MEM_PORT_H
#define MEM_PORT_H
/*
 * mem/port: host functions (mem/host.h) ready to use, for a kernel that begins. Link it as it
 * is, or copy a file of it and change that; nothing of the component depends on it.
 *
 *   log.c          host_log, host_panic           asks for mem_port_putchar, mem_port_halt
 *   cpu.c          interrupts on, off; pause
 *   one_cpu.c      everything about CPUs where there is one
 *   smp.c          preemption counters, barrier   asks for host_cpu, host_cpu_count,
 *   smp_flush.c    host_flush_wait                mem_port_send
 *   user.c         sleeping, fix-ups, what runs   asks for host_user_fault
 *   memory.c       memset, memcpy, memmove, memcmp (weak: yours win)
 *   trap.S trap.c  vector 14            ipi.S  the interrupt of smp.c
 *   usercopy.S     copies with fix-ups
 *   entry_mb2.S    from multiboot 2 to 64-bit C at -2 GiB
 *   limine.c multiboot2.c efi.c e820.c            memory maps
 *   selftest.c     does all of it do what it should?
 *
 * sources.mk lists them: MEM_PORT_ONE_CPU, or MEM_PORT_SMP.
 */
#include <mem/cpumask.h>
#include <mem/memmap.h>
#include <mem/types.h>

MEM_BEGIN_DECLS

struct pmm;
struct vmm;
struct space;
struct mem_trap;
struct vmm_fault;

/* ---- what your kernel gives ------------------------------------------------ */

/* Print one character. Context: any, interrupts in any state; must not call the component. */
void mem_port_putchar(char c);
/* Stop the machine. Context: any. */
MEM_NORETURN void mem_port_halt(void);

/* With smp.c: send CPU `cpu`, which is not the caller, an interrupt that leads to
 * mem_port_ipi_entry (ipi.S), or to a handler of yours that calls mem_port_ipi(). Context: any. */
void mem_port_send(unsigned cpu);
/* With ipi.S: acknowledge it. Context: interrupt handler. */
void mem_port_end_of_interrupt(void);

/* Around a handler of yours that calls the component, in interrupts but not in page faults and
 * system calls: host_in_interrupt() is true between them. They nest. Context: interrupts off. */
void mem_port_interrupt_begin(void);
void mem_port_interrupt_end(void);

/* ---- setting up a CPU (setup.c) ------------------------------------------------- */

/* Set what the component relies on: CR0.WP, CR4.PGE, EFER.NXE where there is NX, and the PAT
 * WB WT UC- UC WP WC. Context: each CPU once, before its vmm_cpu_online(). */
void mem_port_cpu_setup(void);
/* What vmm_config asks for. Context: any. */
bool mem_port_has_nx(void);
bool mem_port_has_giga_pages(void);

/* Where entry_mb2.S ends; yours. `info`: what memmap_from_multiboot2() wants; `mapped`: bytes
 * of physical memory that are mapped, at 0 and at MEM_PORT_DIRECT_MAP. Context: the boot CPU,
 * interrupts off. */
#define MEM_PORT_DIRECT_MAP 0xffff800000000000
void mem_port_entry_mb2(paddr_t info, uint64_t mapped);

/* ---- several CPUs (smp.c) ---------------------------------------------------- */

/* This CPU takes interrupts from now on: barriers and flushes wait for it. Context: each CPU
 * once, after it can take the one that mem_port_send sends. */
void mem_port_cpu_online(void);
/* Serve what other CPUs ask for. Context: the handler of mem_port_send's interrupt. */
void mem_port_ipi(void);
/* An entry for its vector: an interrupt gate leads here. GS as mem_port_page_fault(). Context:
 * the CPU's; it is not called. */
void mem_port_ipi_entry(void);
/* For a scheduler's timer: may the running thread be switched away now? If not, your
 * mem_port_reschedule() is called as soon as it may. Context: interrupt handler. */
bool mem_port_may_switch(void);
/* Switch threads; leave it out if yours are never switched away by force. Context: interrupts
 * on, preemption just allowed. */
void mem_port_reschedule(void) __attribute__((weak));

/* ---- faults and user memory (trap.S, trap.c, user.c, usercopy.S) --------------- */

/* What trap.S pushes, the last first; a fix-up changes `ip`. */
struct mem_port_frame {
	uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
	uint64_t error, ip, cs, flags, sp, ss;
};

/* The entry for vector 14: an interrupt gate leads here. Exchanges GS when it comes from
 * user mode if the file is assembled with -DMEM_PORT_SWAPGS. Context: the CPU's; it is not
 * called. */
void mem_port_page_fault(void);

/* Run user code of `space` on this CPU from now on; NULL: none. Context: thread. */
void mem_port_run(struct vmm *vmm, struct space *space);

/* Copy between the kernel and the running space: the bytes that were NOT copied, 0 if all
 * were. Addresses at or above the end of the user half are refused. Context: thread,
 * interrupts on, no spin lock. */
uint64_t mem_port_copy_from_user(void *to, vaddr_t from, uint64_t bytes);
uint64_t mem_port_copy_to_user(vaddr_t to, const void *from, uint64_t bytes);

/* ---- memory maps --------------------------------------------------------------- */

/* A list that the converters append to; then memmap_sanitise() takes it. */
struct memmap_list {
	struct memmap_entry *entries;
	size_t capacity, count;
};
/*
 * The converters are pure functions: they read the loader's map and append to `list`.
 * Whatever the bytes are, nothing outside of them is read. Context: any.
 * Errors: MEM_EINVAL they are no such map; MEM_ENOENT there is a structure, but no map in it;
 * MEM_ENOMEM the list is full. It is as it was then.
 */

/* One range more, such as the kernel's own image where the map does not know of it.
 * Context: any. Errors: MEM_ENOMEM. */
MEM_CHECKED mem_status memmap_list_add(struct memmap_list *list, uint64_t base, uint64_t bytes,
				       enum memmap_type type);

/* The response of Limine's memory map request. (Its pointers are followed.) Context: any. */
MEM_CHECKED mem_status memmap_from_limine(struct memmap_list *list, const void *response);

/* The information that a multiboot 2 loader left at physical address `pa`, readable at `info`
 * for at most `bytes`; itself and the modules are listed, too. It does not list the kernel's
 * image: add that. Context: any. */
MEM_CHECKED mem_status memmap_from_multiboot2(struct memmap_list *list, const void *info,
					      uint64_t bytes, paddr_t pa);

/* What UEFI's GetMemoryMap() gave before ExitBootServices(): `bytes` of descriptors,
 * `descriptor_bytes` each. Boot services' memory counts as the boot loader's. Context:
 * any. */
MEM_CHECKED mem_status memmap_from_efi(struct memmap_list *list, const void *descriptors,
				       uint64_t bytes, uint64_t descriptor_bytes);

/* `count` entries of what INT 15h, E820h gave, `entry_bytes` (20, or 24 with attributes)
 * apart. Context: any. */
MEM_CHECKED mem_status memmap_from_e820(struct memmap_list *list, const void *entries, size_t count,
					size_t entry_bytes);

/* ---- the self-test --------------------------------------------------------------- */

struct mem_selftest {
	struct pmm *pmm;        /* NULL: no check of frames and the direct map */
	struct vmm *vmm;        /* for mem_selftest_vmm() */
	unsigned helpers;       /* CPUs that call mem_selftest_help() */
	unsigned long patience; /* turns of host_relax() to wait for one; 0: 2^30 */
	unsigned long hold;     /* turns that one keeps its interrupts off; 0: 2^21 */
};
/*
 * Check what the component relies on, once: do interrupts come back, does the barrier wait,
 * is the direct map right, are WP and NX on. Logs PASS, or what is wrong, a line each; returns
 * how many things are. Context: thread; with helpers, interrupts on. It is no test of memory.
 */
unsigned mem_selftest(const struct mem_selftest *what);
/* The same after vmm_cpu_online(): PGE and PAT, too, and does a flush reach every CPU.
 * Context: as mem_selftest. */
unsigned mem_selftest_vmm(const struct mem_selftest *what);
/* The other CPUs' part: returns when mem_selftest() is done, at once if it was. Context: thread,
 * interrupts on. */
void mem_selftest_help(const struct mem_selftest *what);

MEM_END_DECLS
#endif
