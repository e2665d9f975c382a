/* SPDX-License-Identifier: MIT */
/*
 * Floating-point and vector state.
 *
 * The kernel itself uses none of it, so a user thread's registers stay loaded while the
 * kernel works for it. They are saved when the thread leaves its CPU, and loaded on the way
 * back to user mode, if they have to be: a thread that wakes, finds nothing to do and sleeps
 * again loads nothing, nor does one that comes back to a CPU whose registers still are what
 * was saved. The CPU remembers whose they are (fpu_thread), the thread remembers the CPU
 * (fpu_cpu), and both must agree. CR0.TS stays clear.
 *
 *   F1  The state of a thread that does not run is in thread->fpu; with EXIT_FRESH it is the
 *       initial one.
 *   F2  The state of the running thread is there too if EXIT_FPU is set, else in the
 *       registers.
 *   F3  If CPU and thread agree, the registers and thread->fpu are the same, or the thread
 *       runs. Whoever writes thread->fpu makes them disagree.
 *   F4  No thread goes to user mode with EXIT_FPU set.
 *
 * Areas are in the standard XSAVE format (FXSAVE's without XSAVE), which is also
 * what signal frames hold. What a program hands back is checked before it is
 * loaded: the loading instruction faults on reserved bits (uservalues.c). Bytes that the
 * saving instruction leaves out stay zero, as they were made: frames show them.
 */
#include <kernel/log.h>
#include <mem/heap.h>

#include "base/assert.h"
#include "kernel/cpu/priv.h"
#include "kernel/cpu/uservalues.h"
#include "kernel/cpu/x86.h"

#define FPU_CPU_NONE UINT32_MAX

struct fxsave {
	uint16_t control, status;
	uint8_t tag, reserved;
	uint16_t opcode;
	uint64_t ip, data;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t registers[480];
};

static struct fpu_limits limits;
/* The state that programs start with. Its header names no component, so nothing behind it
 * is read. */
static struct {
	struct fxsave legacy;
	uint64_t header[8];
} initial __attribute__((aligned(64)));

static void fpu_store(void *area)
{
	if (cpu_features.xsave)
		__asm__ volatile("xsave64 (%0)" ::"r"(area), "a"((uint32_t)cpu_features.xsave_mask),
				 "d"((uint32_t)(cpu_features.xsave_mask >> 32))
				 : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" ::"r"(area) : "memory");
}

static void fpu_load(const void *area)
{
	mem_debug_assert(user_fpu_ok(area, &limits));
	if (cpu_features.xsave)
		__asm__ volatile("xrstor64 (%0)" ::"r"(area),
				 "a"((uint32_t)cpu_features.xsave_mask),
				 "d"((uint32_t)(cpu_features.xsave_mask >> 32))
				 : "memory");
	else
		__asm__ volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
}

/* In an area of zeros. */
static void set_initial(struct fxsave *fx)
{
	fx->control = 0x37f; /* all exceptions masked, extended precision */
	fx->mxcsr = 0x1f80;
}

static void fpu_fresh(void *area)
{
	memset(area, 0, cpu_features.xsave_bytes);
	set_initial(area);
}

void fpu_init(void)
{
	static struct fxsave probe __attribute__((aligned(16)));
	__asm__ volatile("fninit; fxsave64 %0" : "=m"(probe));
	limits = (struct fpu_limits){
	    .xsave = cpu_features.xsave,
	    .components = cpu_features.xsave_mask,
	    .mxcsr_mask = probe.mxcsr_mask ? probe.mxcsr_mask : 0xffbf,
	};
	set_initial(&initial.legacy);
}

void *fpu_alloc(void)
{
	void *area = kmalloc_aligned(cpu_features.xsave_bytes, 64);
	if (area)
		memset(area, 0, cpu_features.xsave_bytes);
	return area;
}

void fpu_free(void *fpu)
{
	kfree(fpu);
}

static bool holds(const struct cpu_private *c, const struct thread *t)
{
	return c->fpu_thread == t && t->fpu_cpu == c->cpu.id;
}

/* The registers are this thread's. Interrupts or preemption off. */
static void hold(struct cpu_private *c, struct thread *t)
{
	c->fpu_thread = t;
	t->fpu_cpu = c->cpu.id;
}

void fpu_switch(struct thread *previous, struct thread *next)
{
	struct cpu_private *c = this_private();
	if (previous->user && !(previous->exit_work & EXIT_FPU)) {
		fpu_store(previous->fpu);
		previous->exit_work |= EXIT_FPU;
	}
	if (next->user && holds(c, next))
		next->exit_work &= ~(uint32_t)EXIT_FPU;
}

void fpu_restore(struct thread *t)
{
	fpu_load(t->exit_work & EXIT_FRESH ? &initial : t->fpu);
	hold(this_private(), t);
	t->exit_work &= ~(uint32_t)(EXIT_FPU | EXIT_FRESH);
}

const void *fpu_current(void)
{
	struct thread *t = current_thread();
	preempt_disable();
	if (!(t->exit_work & EXIT_FPU)) {
		fpu_store(t->fpu);
	} else if (t->exit_work & EXIT_FRESH) {
		fpu_fresh(t->fpu);
		__atomic_fetch_and(&t->exit_work, ~(uint32_t)EXIT_FRESH, __ATOMIC_RELAXED);
	}
	preempt_enable();
	return t->fpu;
}

void *fpu_edit(void)
{
	struct thread *t = current_thread();
	preempt_disable();
	t->fpu_cpu = FPU_CPU_NONE;
	exit_work_set(t, EXIT_FPU);
	__atomic_fetch_and(&t->exit_work, ~(uint32_t)EXIT_FRESH, __ATOMIC_RELAXED);
	preempt_enable();
	return t->fpu;
}

int fpu_edited(void)
{
	if (user_fpu_ok(current_thread()->fpu, &limits))
		return 0;
	fpu_fresh(current_thread()->fpu);
	return -EINVAL;
}

void fpu_reset_current(void)
{
	struct thread *t = current_thread();
	preempt_disable();
	t->fpu_cpu = FPU_CPU_NONE;
	exit_work_set(t, EXIT_FPU | EXIT_FRESH);
	preempt_enable();
}

void thread_reset_user_state(struct thread *thread)
{
	kassert(thread == current_thread());
	fpu_reset_current();
	thread_set_fs(thread, 0);
	thread_set_gs(thread, 0);
}

void thread_copy_user_state(struct thread *child)
{
	struct thread *t = current_thread();
	memcpy(child->fpu, fpu_current(), cpu_features.xsave_bytes);
	child->exit_work = EXIT_FPU;
	child->fs_base = thread_get_fs(t);
	child->gs_base = thread_get_gs(t);
}
