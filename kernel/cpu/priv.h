/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_CPU_PRIV_H
#define KERNEL_CPU_PRIV_H
/* What kernel/cpu, kernel/sched and kernel/host keep per CPU, and tell each other. */
#include <kernel/cpu.h>
#include <kernel/sched.h>
#include <kernel/trap.h>

#include "kernel/cpu/latency.h"

/* ---- per CPU ------------------------------------------------------------ */

struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7]; /* ist[0] is IST1 */
	uint64_t reserved2;
	uint16_t reserved3, iomap;
} __attribute__((packed));

enum { IST_DOUBLE_FAULT = 1, IST_NMI = 2, IST_MACHINE_CHECK = 3, IST_COUNT = 3 };
#define IST_STACK_PAGES 2

struct cpu_private {
	struct cpu cpu; /* first: this_cpu() points here */

	uint64_t gdt[10];
	struct tss tss;
	uint32_t apic_id;
	uint32_t online;

	/* Flush requests (host/flush.c): asked counts up by one per request, done
	 * follows it. */
	uint32_t flush_asked MEM_CACHE_ALIGNED;
	uint32_t flush_done;

	/* Scheduling (sched/). */
	struct mem_lock run_lock MEM_CACHE_ALIGNED;
	struct list run_queue;
	uint32_t run_count; /* threads on run_queue */
	struct thread *running;
	struct thread *idle;
	struct thread *fpu_thread; /* whose FPU state the registers hold, if its fpu_cpu agrees */
	struct space *space;       /* what vmm_switch was last told */
	struct sched_stats stats;

	/* Timers (sched/timer.c). */
	struct mem_lock timer_lock MEM_CACHE_ALIGNED;
	struct ktimer *timers;        /* a heap by deadline; NULL: none */
	struct ktimer *timer_running; /* whose fn is being called */
	nsec_t timer_armed_for;       /* what the hardware is set to, NSEC_NEVER: nothing */
	nsec_t tick_at;               /* next scheduler tick, NSEC_NEVER: none wanted */

	uint64_t interrupts;
#ifdef KERNEL_LATENCY
	struct latency latency;
#endif
};

static inline struct cpu_private *this_private(void)
{
	return (struct cpu_private *)this_cpu();
}

extern struct cpu_private *cpu_table[MEM_MAX_CPUS]; /* by id; NULL: not there */
extern struct cpumask cpu_online_mask;
/* The boot CPU's, static, so that GS works from the first instruction on. */
extern struct cpu_private boot_cpu;

/* ---- boot steps (in this order; cpu 0 unless said) ---------------------- */

/* GS, GDT, TSS, IDT: from here on exceptions are reported. Each CPU. */
void cpu_init_tables(struct cpu_private *c);
/* CPUID into cpu_features. */
void cpu_detect(void);
/* Say which of its weaknesses let users read each other's memory. After cpu_detect. */
void cpu_log_weaknesses(void);
/* CR0, CR4, EFER, PAT, XCR0, SYSCALL MSRs. Each CPU. */
void cpu_init_registers(void);
/* Write STAC/CLAC over their placeholders if this machine has SMAP. Before the
 * kernel's own tables make text read-only. `text_alias`: bytes to add to a text
 * address for a writable alias. */
void cpu_patch_smap(uintptr_t text_alias);
/* IST stacks with guard pages. Each CPU's, on the boot CPU. -ENOMEM. */
int cpu_alloc_stacks(struct cpu_private *c);
/* Memory and tables of a further CPU. NULL: no memory. */
struct cpu_private *cpu_create(unsigned id, uint32_t apic_id);

/* ---- interrupt controllers ---------------------------------------------- */

enum {
	VECTOR_ISA = 0x20, /* 16 of them */
	VECTOR_TIMER = 0xe0,
	VECTOR_RESCHED = 0xf1,
	VECTOR_FLUSH = 0xf2,
	VECTOR_SPURIOUS = 0xff
};

/* Map the local APIC (xAPIC mode), mask the legacy PICs. -ENODEV, -ENOMEM. */
int apic_init(void);
/* Enable this CPU's local APIC. */
void apic_init_cpu(void);
uint32_t apic_id(void);
void apic_eoi(void);
/* Context: any, interrupts off or preemption off. */
void apic_send(uint32_t target_apic_id, unsigned vector);
/* NMI to every other CPU that is online. */
void apic_send_nmi_others(void);
/* One-shot timer: raw counts. 0 stops it. */
void apic_timer_set(uint32_t count);
uint32_t apic_timer_count(void);
void ioapic_init(void);

/* ---- time --------------------------------------------------------------- */

/* Monotonic time counts from here. First thing at boot. */
void clock_early_init(void);
/* Calibrate the TSC and the APIC timer; the clock starts to show time. */
void clock_init(void);
nsec_t clock_ns_from_tsc(uint64_t cycles);
/* Interrupt this CPU `delta` ns from now (at least, and soon after). */
void clock_interrupt_in(nsec_t delta);

/* ---- FPU ----------------------------------------------------------------- */

void fpu_init(void);   /* sizes, the initial state */
void *fpu_alloc(void); /* an area of zeros, or NULL */
void fpu_free(void *fpu);
void fpu_switch(struct thread *previous, struct thread *next); /* interrupts off */
/* Load the running thread's state, as its exit_work says. Interrupts off. */
void fpu_restore(struct thread *current);

/* ---- traps --------------------------------------------------------------- */

void trap_init(void); /* fill the IDT */
/* Where a fault at `ip` continues, or 0. */
uintptr_t extable_find(uintptr_t ip);
/* Run what is due before user mode: reschedule, signals. Interrupts off. True:
 * the frame may go back by SYSRET. */
bool trap_user_exit(struct trapframe *frame);
/* Debug builds, in front of IRETQ and SYSRETQ: panic if the frame cannot be loaded. */
void trap_check_frame(struct trapframe *frame, uint64_t by_sysret);
/* Switch threads if that is due: on the way back to interruptible kernel code,
 * or to user mode. Interrupts off before and after. (sched/) */
void sched_preempt_kernel(void);
void sched_preempt_user(void);
/* Leave to user mode with this frame. Interrupts off. */
MEM_NORETURN void trap_return_to_user(struct trapframe *frame);

/* ---- the end ------------------------------------------------------------- */

void power_init(void); /* find the ACPI registers */
/* Registers, walk and backtrace; a part of every fatal report. */
void panic_show_frame(const struct trapframe *frame);
/* Other CPUs come here by NMI while one panics: they stay then. */
bool panic_stop_if_asked(void);
/* An NMI that nobody asked for. */
void log_nmi(const struct trapframe *frame);
void symbols_init(const void *elf, size_t bytes);
/* The functions of the kernel, in no order. False: there are no more. */
struct symbol {
	uintptr_t address;
	const char *name;
	bool global;
};
bool symbol_nth(size_t n, struct symbol *out);
/* "name+0x12" of a kernel text address into `to`; false: unknown. */
bool symbol_name(uintptr_t address, char *to, size_t bytes);

/* ---- scheduler ------------------------------------------------------------ */

/* Make the idle thread of a CPU. -ENOMEM. */
int sched_init_cpu(struct cpu_private *c);
/* Turn the boot context of this CPU into its idle loop. */
MEM_NORETURN void sched_start(void);
/* Kernel threads that must always be there. Boot, before any thread starts. */
void sched_init(void);
/* Mode of the interrupted code for CPU time; may ask for a switch. Timer interrupt. */
void sched_tick(bool user, nsec_t now);
void timer_interrupt(struct trapframe *frame);
/* The next event on this CPU may have come nearer. Interrupts off. */
void timer_reprogram(struct cpu_private *c);
void sched_ipi(struct cpu_private *c);

#endif
