/* SPDX-License-Identifier: MIT */
/*
 * The end: say what happened, stop everyone, leave with status 125.
 *
 * The first CPU to panic stops the others by NMI (they may have interrupts off)
 * and breaks the log's lock, since its holder may be one of them. A panic while
 * panicking prints one line and ends. Nothing here allocates or takes a lock, and
 * memory is read only where the page tables say that it is there.
 */
#include <kernel/boot.h>
#include <kernel/log.h>
#include <mem/heap.h>
#include <mem/host.h>

#include "arch/x86_64/ops.h"
#include "kernel/cpu/priv.h"
#include "kernel/cpu/x86.h"
#include "kernel/lib/log.h"

#define STATUS_PANIC 125

static uint32_t panicking; /* 1 + CPU */

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	char line[256];
	va_list args;
	va_start(args, format);
	int n = kvsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	n = mem_min(n, (int)sizeof(line) - 2);
	line[n] = '\n';
	log_write(line, (size_t)n + 1);
}

bool panic_stop_if_asked(void)
{
	uint32_t by = __atomic_load_n(&panicking, __ATOMIC_ACQUIRE);
	if (!by || by == this_cpu()->id + 1)
		return false;
	for (;;)
		__asm__ volatile("cli; hlt");
}

void log_nmi(const struct trapframe *f)
{
	/* The lock of the log may be held by what was interrupted. */
	log_break_lock();
	char at[96] = "a program";
	if (!trap_from_user(f) && !symbol_name(f->rip, at, sizeof(at)))
		kstrlcpy(at, "somewhere", sizeof(at));
	say("unexpected NMI on CPU %u in %s", this_cpu()->id, at);
}

/* Become the CPU that panics, or stay here for ever. */
static void stop_the_others(void)
{
	irq_disable();
	uint32_t expected = 0, me = this_cpu()->id + 1;
	if (__atomic_compare_exchange_n(&panicking, &expected, me, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST)) {
		log_break_lock();
		apic_send_nmi_others();
		for (uint64_t start = rdtsc(); rdtsc() - start < 1000000;)
			cpu_relax(); /* let a line that is being written end */
		return;
	}
	if (expected == me) {
		say("panic while panicking");
		machine_exit(STATUS_PANIC);
	}
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* Is there memory to read at va, by the tables in use? */
static bool is_mapped(vaddr_t va, uint64_t bytes)
{
	if (!vaddr_is_canonical(va) || va < KERNEL_BASE || va + bytes < va)
		return false;
	if (!kernel_vmm)
		return va >= (vaddr_t)0xffffffff80000000;
	for (vaddr_t at = align_down(va, PAGE_SIZE); at < va + bytes; at += PAGE_SIZE)
		if (!pt_translate(vmm_kernel_root(kernel_vmm), at, NULL, NULL, NULL))
			return false;
	return true;
}

/* A return address: the call before it names the function, which may end there. */
static void show_return(uintptr_t address)
{
	char name[96] = "";
	symbol_name(address - 1, name, sizeof(name));
	say("  0x%lx %s", address, name);
}

static void backtrace(uint64_t rbp)
{
	say("backtrace:");
	for (unsigned depth = 0; depth < 32; depth++) {
		if (rbp % 8 || !is_mapped(rbp, 16))
			return;
		const uint64_t *frame = (const uint64_t *)rbp;
		if (!frame[1])
			return;
		show_return(frame[1]);
		rbp = frame[0];
	}
}

static void show_state(void)
{
	const struct thread *t = current_thread();
	const struct cpu *c = this_cpu();
	say("CPU %u, thread %s, preempt count %u, irq depth %u", c->id, t ? t->name : "(none)",
	    c->preempt_count, c->irq_depth);
	say("kernel moved by 0x%lx, direct map at 0x%lx, stack at 0x%lx", boot_slide(),
	    mem_direct_map_base, t ? (uintptr_t)t->stack : 0);
}

void panic_show_frame(const struct trapframe *f)
{
	char name[96] = "";
	if (!trap_from_user(f))
		symbol_name(f->rip, name, sizeof(name));
	say("rip %016lx %s", f->rip, name);
	say("rsp %016lx  flags %08lx  cs %lx  ss %lx  vector %lu  error 0x%lx", f->rsp, f->rflags,
	    f->cs, f->ss, f->vector, f->error);
	say("rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx", f->rax, f->rbx, f->rcx, f->rdx);
	say("rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx", f->rsi, f->rdi, f->rbp, f->r8);
	say("r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx", f->r9, f->r10, f->r11, f->r12);
	say("r13 %016lx  r14 %016lx  r15 %016lx", f->r13, f->r14, f->r15);
	say("cr0 %08lx  cr2 %016lx  cr3 %012lx  cr4 %08lx", read_cr0(), read_cr2(), read_cr3(),
	    read_cr4());
}

MEM_NORETURN static void finish(void)
{
	say("--- end of report ---");
	machine_exit(STATUS_PANIC);
}

void panic(const char *format, ...)
{
	char message[256];
	va_list args;
	va_start(args, format);
	kvsnprintf(message, sizeof(message), format, args);
	va_end(args);
	stop_the_others();
	say("--- kernel panic: %s", message);
	show_state();
	backtrace((uint64_t)__builtin_frame_address(0));
	finish();
}

void trap_fatal(struct trapframe *f, const char *why)
{
	static const char *const names[20] = {"divide error",
					      "debug",
					      "NMI",
					      "breakpoint",
					      "overflow",
					      "bound range",
					      "invalid opcode",
					      "no FPU",
					      "double fault",
					      "(9)",
					      "invalid TSS",
					      "segment not present",
					      "stack segment",
					      "general protection",
					      "page fault",
					      "(15)",
					      "x87 error",
					      "alignment check",
					      "machine check",
					      "SIMD error"};
	stop_the_others();
	say("--- kernel panic: %s: %s", why, f->vector < 20 ? names[f->vector] : "trap");
	const char *guard = kernel_vmm ? vmm_guard_name(kernel_vmm, read_cr2()) : NULL;
	if (guard && (f->vector == 8 || f->vector == 14))
		say("the access to 0x%lx ran into the guard page of a %s", read_cr2(), guard);
	show_state();
	panic_show_frame(f);
	backtrace(f->rbp);
	finish();
}

/* ---- page faults ------------------------------------------------------------- */

/* Each level of the walk for va, down to where it ends. */
static void show_walk(vaddr_t va)
{
	static const char *const levels[] = {"", "PT", "PD", "PDPT", "PML4"};
	paddr_t table = read_cr3() & PTE_ADDR;
	say("walk of 0x%lx from CR3 0x%lx:", va, table);
	for (unsigned level = 4; level >= 1; level--) {
		const pte_t *entry = (const pte_t *)paddr_to_ptr(table) + pt_index(va, level);
		if (!is_mapped((vaddr_t)entry, 8)) {
			say("  %-4s table at 0x%lx is not readable", levels[level], table);
			return;
		}
		pte_t e = *entry;
		say("  %-4s [%3u] = %016lx %s%s%s%s%s%s", levels[level], pt_index(va, level), e,
		    e & PTE_PRESENT ? "present" : "not present", e & PTE_WRITE ? " write" : "",
		    e & PTE_USER ? " user" : "", e & PTE_NX ? " nx" : "",
		    e & PTE_GLOBAL ? " global" : "", level > 1 && (e & PTE_HUGE) ? " large" : "");
		if (!(e & PTE_PRESENT) || (level > 1 && level < 4 && (e & PTE_HUGE)))
			return;
		table = e & PTE_ADDR;
	}
}

/* Was it an access to, or beside, a block that the heap gave a page of its own? */
static void show_sampled(vaddr_t va)
{
	struct heap_trap trap;
	if (!kernel_heap || !heap_find_trap(kernel_heap, va, &trap))
		return;
	say("%s the heap block %p (%lu bytes)", trap.what, trap.block, (unsigned long)trap.bytes);
	say("allocated at");
	show_return((uintptr_t)trap.alloc_site);
	if (!trap.free_site)
		return;
	say("freed at");
	show_return((uintptr_t)trap.free_site);
}

void host_fatal_fault(struct mem_trap *trap, const struct vmm_fault *fault)
{
	stop_the_others();
	struct trapframe *f = trap->frame;
	uint64_t e = trap->error;
	say("--- kernel panic: page fault: %s of 0x%lx %s in %s mode%s",
	    e & FAULT_FETCH   ? "instruction fetch"
	    : e & FAULT_WRITE ? "write"
			      : "read",
	    trap->address, e & FAULT_PRESENT ? "not allowed" : "not mapped",
	    e & FAULT_USER ? "user" : "kernel",
	    e & FAULT_RESERVED ? ", reserved bit set in a table entry" : "");
	if (fault)
		say("cause: %s", vmm_cause_name(fault->cause));
	if (trap->address < PAGE_SIZE)
		say("this looks like a NULL pointer");
	const char *guard = vmm_guard_name(kernel_vmm, trap->address);
	if (guard)
		say("the address is in the guard page of a %s", guard);
	show_sampled(trap->address);
	show_state();
	panic_show_frame(f);
	show_walk(trap->address);
	backtrace(f->rbp);
	finish();
}
