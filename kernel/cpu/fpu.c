/* SPDX-License-Identifier: MIT */
/*
 * Floating-point and vector state.
 *
 * The kernel itself uses none of it, so a user thread's registers stay loaded
 * while the kernel works for it, and are saved when the thread leaves its CPU.
 * When it comes back to the same CPU and no other user thread ran there in
 * between, they are still right and are not loaded again: the CPU remembers the
 * last thread (fpu_thread), the thread remembers the CPU (fpu_cpu), and both must
 * agree.
 *
 * Areas are in the standard XSAVE format (FXSAVE's without XSAVE), which is also
 * what signal frames hold. What a program hands back is checked before it is
 * loaded: the loading instruction faults on reserved bits (uservalues.c).
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

static void fpu_fresh(void *area)
{
	memset(area, 0, cpu_features.xsave_bytes);
	struct fxsave *fx = area;
	fx->control = 0x37f; /* all exceptions masked, extended precision */
	fx->mxcsr = 0x1f80;
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
}

void *fpu_alloc(void)
{
	void *area = kmalloc_aligned(cpu_features.xsave_bytes, 64);
	if (area)
		fpu_fresh(area);
	return area;
}

void fpu_free(void *fpu)
{
	kfree(fpu);
}

void fpu_switch(struct thread *previous, struct thread *next)
{
	struct cpu_private *c = this_private();
	if (previous->user) {
		fpu_store(previous->fpu);
		c->fpu_thread = previous;
		previous->fpu_cpu = c->cpu.id;
	}
	if (next->user && !(c->fpu_thread == next && next->fpu_cpu == c->cpu.id)) {
		fpu_load(next->fpu);
		c->fpu_thread = next;
		next->fpu_cpu = c->cpu.id;
	}
}

/* Make thread->fpu and the registers of the running thread equal, either way. */
void fpu_save_current(void *area)
{
	struct thread *t = current_thread();
	preempt_disable();
	fpu_store(t->fpu);
	memcpy(area, t->fpu, cpu_features.xsave_bytes);
	preempt_enable();
}

int fpu_load_current(const void *area)
{
	struct thread *t = current_thread();
	int r = 0;
	preempt_disable();
	memcpy(t->fpu, area, cpu_features.xsave_bytes);
	if (!user_fpu_ok(t->fpu, &limits)) {
		fpu_fresh(t->fpu);
		r = -EINVAL;
	}
	fpu_load(t->fpu);
	preempt_enable();
	return r;
}

void fpu_reset_current(void)
{
	struct thread *t = current_thread();
	preempt_disable();
	fpu_fresh(t->fpu);
	fpu_load(t->fpu);
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
	preempt_disable();
	fpu_store(t->fpu);
	memcpy(child->fpu, t->fpu, cpu_features.xsave_bytes);
	child->fpu_cpu = FPU_CPU_NONE;
	preempt_enable();
	child->fs_base = thread_get_fs(t);
	child->gs_base = thread_get_gs(t);
}
