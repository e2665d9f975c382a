/* SPDX-License-Identifier: MIT */
/*
 * Exceptions and interrupts: the IDT, who handles a vector, and what is due on
 * the way back.
 *
 * Interrupt handlers run with interrupts off on the interrupted thread's stack,
 * and count irq_depth, so that "is this a handler?" has an answer. Page faults
 * save CR2 first and then run with interrupts as the interrupted code had them:
 * a fault may wait for other CPUs, which may wait for this one. Preemption
 * happens on the way out of an interrupt, into kernel code whose preempt_count
 * is zero and interrupts on, or to user mode.
 *
 * On the way to user mode the frame is made sane whoever wrote it: user selectors,
 * interrupts on, harmless flags, a canonical RIP. IRETQ and SYSRETQ can then not
 * fault in the kernel (uservalues.c); debug builds look again in front of them.
 */
#include <kernel/boot.h>
#include <kernel/irq.h>
#include <kernel/log.h>
#include <kernel/signal.h>
#include <kernel/trap.h>
#include <mem/vmm.h>

#include "kernel/cpu/entry.h"
#include "kernel/cpu/priv.h"
#include "kernel/cpu/uservalues.h"
#include "kernel/cpu/x86.h"

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};
static struct gate idt[256] __attribute__((aligned(16)));
static trap_handler handlers[256];
extern const char trap_stubs[];

extern const char page_fault_entry[];

_Static_assert(offsetof(struct cpu, current) == CPU_CURRENT &&
		   offsetof(struct cpu, kernel_stack) == CPU_STACK &&
		   offsetof(struct cpu, user_rsp_scratch) == CPU_SCRATCH &&
		   offsetof(struct cpu, need_resched) == CPU_RESCHED,
	       "entry.h");
_Static_assert(offsetof(struct thread, interrupted) == THREAD_DUE &&
		   offsetof(struct thread, exit_work) == THREAD_DUE + 4 &&
		   EXIT_FPU == EXIT_WORK_FPU,
	       "entry.h");

void trap_dispatch(struct trapframe *f);
void trap_user_page_fault(struct trapframe *f);
void trap_ist(struct trapframe *f);
void idt_load(void);

static void set_gate(unsigned vector, unsigned ist, unsigned privilege)
{
	uint64_t at =
	    vector == 14 ? (uint64_t)page_fault_entry : (uint64_t)trap_stubs + vector * 16;
	idt[vector] = (struct gate){
	    .offset_low = (uint16_t)at,
	    .selector = KERNEL_CS,
	    .ist = (uint8_t)ist,
	    .type = (uint8_t)(0x8e | privilege << 5), /* present interrupt gate */
	    .offset_middle = (uint16_t)(at >> 16),
	    .offset_high = (uint32_t)(at >> 32),
	};
}

void trap_init(void)
{
	for (unsigned v = 0; v < 256; v++)
		set_gate(v, 0, 0);
	set_gate(3, 0, 3); /* INT3 and INTO are the program's to use */
	set_gate(4, 0, 3);
	set_gate(2, IST_NMI, 0);
	set_gate(8, IST_DOUBLE_FAULT, 0);
	set_gate(18, IST_MACHINE_CHECK, 0);
}

void idt_load(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (uint64_t)idt};
	__asm__ volatile("lidt %0" ::"m"(idtr));
}

void trap_set_handler(unsigned vector, trap_handler handler)
{
	kassert(vector < 256);
	__atomic_store_n(&handlers[vector], handler, __ATOMIC_RELEASE);
}

/* What a user-mode exception means to the program. The address is RIP where
 * Linux says so. */
struct user_exception {
	uint8_t signal, code;
	bool address_is_ip;
};
#define SI_KERNEL 0x80
static const struct user_exception user_exceptions[32] = {
    [0] = {SIGFPE, 1 /* FPE_INTDIV */, true},
    [1] = {SIGTRAP, 2 /* TRAP_TRACE */, true},
    [3] = {SIGTRAP, SI_KERNEL, false},
    [4] = {SIGSEGV, SI_KERNEL, false},
    [5] = {SIGSEGV, SI_KERNEL, false},
    [6] = {SIGILL, 2 /* ILL_ILLOPN */, true},
    [9] = {SIGFPE, SI_KERNEL, false},
    [10] = {SIGSEGV, SI_KERNEL, false},
    [11] = {SIGBUS, SI_KERNEL, false},
    [12] = {SIGBUS, SI_KERNEL, false},
    [13] = {SIGSEGV, SI_KERNEL, false},
    [16] = {SIGFPE, 0, true}, /* code from the FPU's status */
    [17] = {SIGBUS, 1 /* BUS_ADRALN */, false},
    [19] = {SIGFPE, 0, true}, /* code from MXCSR */
};

/* Which floating-point exception is both raised and unmasked. */
static int fpe_code(unsigned vector)
{
	uint32_t raised;
	if (vector == 16) {
		uint16_t status, control;
		__asm__ volatile("fnstsw %0" : "=a"(status));
		__asm__ volatile("fnstcw %0" : "=m"(control));
		raised = status & ~control;
		__asm__ volatile("fnclex");
	} else {
		uint32_t mxcsr;
		__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
		raised = mxcsr & ~(mxcsr >> 7);
	}
	if (raised & 1)
		return 7; /* FPE_FLTINV */
	if (raised & 4)
		return 3; /* FPE_FLTDIV */
	if (raised & 8)
		return 4; /* FPE_FLTOVF */
	if (raised & (2 | 16))
		return 5; /* FPE_FLTUND: denormal operands too, as on Linux */
	if (raised & 32)
		return 6; /* FPE_FLTRES */
	return 14;        /* FPE_FLTUNK */
}

static void user_exception(struct trapframe *f, unsigned vector)
{
	const struct user_exception *e = &user_exceptions[vector];
	if (!e->signal)
		trap_fatal(f, "an exception that user code cannot cause");
	int code = vector == 16 || vector == 19 ? fpe_code(vector) : e->code;
	irq_enable();
	proc_user_exception(f, e->signal, code, e->address_is_ip ? f->rip : 0);
	irq_disable();
}

static void exception(struct trapframe *f)
{
	unsigned vector = (unsigned)f->vector;
	if (trap_from_user(f)) {
		user_exception(f, vector);
		return;
	}
	uintptr_t fixup = extable_find(f->rip);
	if (fixup) {
		f->rip = fixup;
		return;
	}
	trap_fatal(f, "exception in the kernel");
}

static void page_fault(struct trapframe *f)
{
	struct mem_trap trap = {
	    .address = read_cr2(), .error = f->error, .ip = f->rip, .sp = f->rsp, .frame = f};
	if (!kernel_vmm)
		trap_fatal(f, "page fault before there is a handler");
	if (f->rflags & RFLAGS_IF)
		irq_enable();
	vmm_handle_trap(&trap);
	irq_disable();
}

/* A program's fault, from page_fault_entry: what C functions preserve is not in the frame.
 * Interrupts are off from its end to user mode, which is too short to be measured. */
void trap_user_page_fault(struct trapframe *f)
{
	struct mem_trap trap = {
	    .address = read_cr2(), .error = f->error, .ip = f->rip, .sp = f->rsp, .frame = f};
	irq_enable();
	vmm_handle_trap(&trap);
	__asm__ volatile("cli" ::: "memory");
}

static void interrupt(struct trapframe *f)
{
	struct cpu_private *c = this_private();
	unsigned vector = (unsigned)f->vector;
	c->cpu.irq_depth++;
	c->interrupts++;
	trap_handler handler = __atomic_load_n(&handlers[vector], __ATOMIC_ACQUIRE);
	if (handler)
		handler(f);
	else if (vector != VECTOR_SPURIOUS)
		klog(LOG_WARN, "interrupt 0x%x has no handler", vector);
	if (vector != VECTOR_SPURIOUS)
		apic_eoi();
	c->cpu.irq_depth--;
}

void trap_dispatch(struct trapframe *f)
{
	if (f->rflags & RFLAGS_IF)
		latency_irq_off();
	if (f->vector == 14)
		page_fault(f);
	else if (f->vector >= 32)
		interrupt(f);
	else
		exception(f);
	/* To kernel code that was interruptible: perhaps to another thread first. */
	if (!trap_from_user(f) && (f->rflags & RFLAGS_IF)) {
		sched_preempt_kernel();
		latency_irq_on();
	}
}

/* NMI, double fault, machine check: on their own stacks, nothing may be assumed. */
void trap_ist(struct trapframe *f)
{
	if (f->vector == 2) {
		if (!panic_stop_if_asked())
			log_nmi(f);
		return;
	}
	trap_fatal(f, f->vector == 8 ? "double fault" : "machine check");
}

bool trap_user_exit(struct trapframe *f)
{
	struct thread *t = current_thread();
	latency_irq_off();
	for (;;) {
		if (unlikely(this_cpu()->need_resched))
			sched_preempt_user();
		proc_return_to_user(f);
		if (unlikely(!user_rip_ok(f->rip))) {
			irq_enable();
			proc_user_exception(f, SIGSEGV, SI_KERNEL, 0);
			irq_disable();
			continue;
		}
		if (likely(!this_cpu()->need_resched))
			break;
	}
	if (t->exit_work & EXIT_FPU)
		fpu_restore(t);
	t->exit_work = 0;
	bool by_sysret = user_frame_settle(f);
	latency_irq_on();
	return by_sysret;
}

#ifdef MEM_DEBUG
void wrmsr_check(uint32_t msr, uint64_t value)
{
	if (!msr_value_ok(msr, value))
		panic("MSR 0x%x would be loaded with 0x%lx", msr, value);
}

/* Called by entry.S in front of each IRETQ (0) and SYSRETQ (1). */
void trap_check_frame(struct trapframe *f, uint64_t by_sysret)
{
	const char *complaint =
	    trap_from_user(f) ? user_frame_complaint(f, by_sysret != 0) : kernel_frame_complaint(f);
	if (complaint)
		trap_fatal(f, complaint);
}
#endif
