/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_CPU_H
#define KERNEL_CPU_H
/* Per-CPU state, reached through GS in kernel mode. Owner: kernel/cpu. */
#include <kernel/trap.h>
#include <kernel/types.h>
#include <mem/cpumask.h>

struct thread;

struct cpu {
	struct cpu *self;          /* %gs:0 */
	struct thread *current;    /* %gs:8 */
	uint64_t kernel_stack;     /* %gs:16, top of current's stack, for SYSCALL entry */
	uint64_t user_rsp_scratch; /* %gs:24 */
	unsigned id;               /* %gs:32 */
	uint32_t preempt_count;    /* %gs:36 */
	uint32_t need_resched;     /* %gs:40 */
	uint32_t irq_depth;        /* %gs:44, inside an interrupt handler */
	/* kernel/cpu and kernel/sched keep the rest; not for others. */
	struct cpu_private *priv;
};

static inline struct cpu *this_cpu(void)
{
	struct cpu *c;
	__asm__ volatile("mov %%gs:0, %0" : "=r"(c)); /* call with preemption off */
	return c;
}
static inline struct thread *current_thread(void)
{
	struct thread *t;
	__asm__ volatile("mov %%gs:8, %0" : "=r"(t));
	return t;
}
unsigned cpu_count(void);         /* online; ids are 0 .. cpu_count()-1 once started */
unsigned cpu_possible(void);      /* that the loader found; constant after boot */
struct cpu *cpu_get(unsigned id); /* NULL: not started */

/* Test builds measure how long interrupts and preemption are off (kernel/cpu/latency.h):
 * called with them off, before they are turned on. */
#ifdef KERNEL_LATENCY
void latency_irq_off(void);
void latency_irq_on(void);
void latency_preempt_off(void);
void latency_preempt_on(void);
#else
static inline void latency_irq_off(void)
{
}
static inline void latency_irq_on(void)
{
}
static inline void latency_preempt_off(void)
{
}
static inline void latency_preempt_on(void)
{
}
#endif

static inline bool irq_enabled(void)
{
	unsigned long f;
	__asm__ volatile("pushf; pop %0" : "=r"(f));
	return f & 0x200;
}
static inline unsigned long irq_save(void)
{
	unsigned long f;
	__asm__ volatile("pushf; pop %0; cli" : "=r"(f)::"memory");
	if (f & 0x200)
		latency_irq_off();
	return f;
}
static inline void irq_restore(unsigned long f)
{
	if (f & 0x200) {
		latency_irq_on();
		__asm__ volatile("sti" ::: "memory");
	}
}
static inline void irq_enable(void)
{
	latency_irq_on();
	__asm__ volatile("sti" ::: "memory");
}
static inline void irq_disable(void)
{
	__asm__ volatile("cli" ::: "memory");
	latency_irq_off();
}
static inline void cpu_relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

void preempt_check(void); /* switch threads if that is due and allowed here */
static inline void preempt_disable(void)
{
	__asm__ volatile("incl %%gs:36" ::: "memory");
	latency_preempt_off();
}
/* May switch threads: when the count reaches zero with interrupts on. */
static inline void preempt_enable(void)
{
	bool zero;
	uint32_t due;
	latency_preempt_on();
	__asm__ volatile("decl %%gs:36" : "=@ccz"(zero)::"memory");
	__asm__ volatile("movl %%gs:40, %0" : "=r"(due)::"memory");
	if (zero && due)
		preempt_check();
}
static inline bool in_interrupt(void)
{
	uint32_t depth;
	__asm__ volatile("movl %%gs:44, %0" : "=r"(depth));
	return depth != 0;
}

/* What this machine can do, decided at boot from CPUID. */
struct cpu_features {
	bool nx, giga_pages, smep, smap, umip, xsave, fsgsbase, pku, erms, tsc_invariant;
	bool random; /* RDSEED or RDRAND */
	unsigned phys_bits;
	uint64_t xsave_mask;
	uint32_t xsave_bytes;
	char vendor[13], brand[49];
	uint32_t hwcap; /* CPUID.1:EDX, for AT_HWCAP */
};
extern struct cpu_features cpu_features;

/* End the machine with this exit status for ./run (0..255). */
MEM_NORETURN void machine_exit(int status);
#endif
