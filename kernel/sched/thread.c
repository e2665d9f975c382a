/* SPDX-License-Identifier: MIT */
/*
 * Making and ending threads.
 *
 * A thread cannot free the stack it runs on. Its CPU, on the next thread's
 * stack, hands it to the reaper, a kernel thread, which calls `released` where
 * sleeping is allowed. sched_drain() waits until the reaper has nothing left, so
 * that "everything this program used is free again" can be said exactly.
 */
#include <kernel/boot.h>
#include <kernel/log.h>
#include <kernel/rank.h>
#include <mem/heap.h>

#include "base/assert.h"
#include "kernel/cpu/uservalues.h"
#include "kernel/sched/sched.h"

#define STACK_BYTES  (THREAD_STACK_PAGES * PAGE_SIZE)
#define FPU_CPU_NONE UINT32_MAX

static struct mem_lock lock; /* KRANK_THREADS: all below */
static struct list dead = {&dead, &dead};
static uint32_t unreaped; /* ending, dead, or in the reaper's hands */
static struct waitq reaper_wait, drain_wait;

/* ---- making ---------------------------------------------------------------- */

struct trapframe *thread_user_frame(struct thread *t)
{
	return (struct trapframe *)((char *)t->stack + STACK_BYTES) - 1;
}

int thread_init(struct thread *t, const char *name, bool user, void (*entry)(void *), void *arg)
{
	if (vmm_alloc_stack(kernel_vmm, THREAD_STACK_PAGES, &t->stack) != MEM_OK)
		return -ENOMEM;
	if (user) {
		t->fpu = fpu_alloc();
		if (!t->fpu) {
			vmm_free_stack(kernel_vmm, t->stack, THREAD_STACK_PAGES);
			t->stack = NULL;
			return -ENOMEM;
		}
	}
	list_init(&t->run_link);
	t->state = THREAD_NEW;
	t->user = user;
	t->exit_work = user ? EXIT_FPU | EXIT_FRESH : 0;
	t->last_tick_user = user;
	t->fpu_cpu = FPU_CPU_NONE;
	for (unsigned i = 0; i < CPUMASK_WORDS; i++)
		t->affinity.word[i] = UINT64_MAX;
	kstrlcpy(t->name, name, sizeof(t->name));
	t->entry = entry;
	t->arg = arg;
	/* switch_stack pops six registers and returns to thread_first. */
	uint64_t *sp = (uint64_t *)thread_user_frame(t) - 2;
	*--sp = (uint64_t)thread_first;
	for (unsigned i = 0; i < 6; i++)
		*--sp = 0;
	t->saved_rsp = (uint64_t)sp;
	return 0;
}

void thread_destroy(struct thread *t)
{
	kassert(t->state == THREAD_NEW || t->state == THREAD_DEAD);
	vmm_free_stack(kernel_vmm, t->stack, THREAD_STACK_PAGES);
	fpu_free(t->fpu);
	t->stack = t->fpu = NULL;
}

void thread_start(struct thread *t)
{
	kassert(t->state == THREAD_NEW);
	preempt_disable();
	t->cpu = this_cpu()->id;
	t->accounted_at = time_monotonic();
	t->state = THREAD_RUNNABLE;
	sched_place(t);
	preempt_enable();
}

static void free_kthread(struct thread *t)
{
	kfree(t);
}

struct thread *kthread_create(const char *name, void (*entry)(void *), void *arg)
{
	struct thread *t = kzalloc(sizeof(*t));
	if (!t)
		return NULL;
	if (thread_init(t, name, false, entry, arg)) {
		kfree(t);
		return NULL;
	}
	t->released = free_kthread;
	thread_start(t);
	return t;
}

/* ---- ending ---------------------------------------------------------------- */

void thread_exit_begins(void)
{
	struct thread *t = current_thread();
	kassert(!t->ending);
	unsigned long irq = mem_lock_irq(&lock, KRANK_THREADS);
	t->ending = true;
	unreaped++;
	mem_unlock_irq(&lock, KRANK_THREADS, irq);
}

void thread_exit(void)
{
	struct thread *t = current_thread();
	kassert(!t->waiters);
	irq_disable();
	if (t->space)
		thread_set_space(NULL);
	t->state = THREAD_DEAD;
	schedule(false);
	panic("a thread that ended was run again");
}

void thread_bury(struct thread *t)
{
	struct cpu_private *c = this_private();
	if (c->fpu_thread == t)
		c->fpu_thread = NULL;
	unsigned long irq = mem_lock_irq(&lock, KRANK_THREADS);
	list_push_back(&dead, &t->run_link);
	unreaped += !t->ending;
	mem_unlock_irq(&lock, KRANK_THREADS, irq);
	waitq_wake_one(&reaper_wait);
}

static struct thread *next_dead(void)
{
	struct thread *t = NULL;
	unsigned long irq = mem_lock_irq(&lock, KRANK_THREADS);
	if (!list_empty(&dead)) {
		t = list_entry(dead.next, struct thread, run_link);
		list_remove(&t->run_link);
	}
	mem_unlock_irq(&lock, KRANK_THREADS, irq);
	return t;
}

static void reaper(void *unused)
{
	(void)unused;
	struct thread *t = NULL;
	for (;;) {
		wait_event(&reaper_wait, (t = next_dead()) != NULL);
		thread_destroy(t);
		if (t->released)
			t->released(t);
		unsigned long irq = mem_lock_irq(&lock, KRANK_THREADS);
		bool done = --unreaped == 0;
		mem_unlock_irq(&lock, KRANK_THREADS, irq);
		if (done)
			waitq_wake_all(&drain_wait);
	}
}

void sched_init(void)
{
	if (!kthread_create("reaper", reaper, NULL))
		panic("no memory for the first thread");
}

void sched_drain(void)
{
	wait_event(&drain_wait, __atomic_load_n(&unreaped, __ATOMIC_SEQ_CST) == 0);
}

/* ---- user state ------------------------------------------------------------- */

void thread_enter_user(void)
{
	irq_disable();
	trap_return_to_user(thread_user_frame(current_thread()));
}

void thread_set_space(struct space *space)
{
	unsigned long irq = irq_save();
	struct cpu_private *c = this_private();
	current_thread()->space = space;
	vmm_switch(kernel_vmm, space);
	c->space = space;
	irq_restore(irq);
}

static uint64_t read_fs(void)
{
	uint64_t base;
	if (!cpu_features.fsgsbase)
		return user_base_from_cpu(rdmsr(MSR_FS_BASE));
	__asm__ volatile("rdfsbase %0" : "=r"(base));
	return user_base_from_cpu(base);
}

static uint64_t read_gs(void)
{
	return user_base_from_cpu(rdmsr(MSR_KERNEL_GS_BASE));
}

static void write_fs(uint64_t base)
{
	mem_debug_assert(msr_value_ok(MSR_FS_BASE, base));
	if (!cpu_features.fsgsbase)
		wrmsr(MSR_FS_BASE, base);
	else
		__asm__ volatile("wrfsbase %0" ::"r"(base));
}

/* A program may have put selectors into the data segment registers; they are
 * not carried over a switch. GS is exchanged around the load: loading it clears
 * the base on some CPUs, and the base in use here is the kernel's. */
static void drop_selectors(void)
{
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs\n\t"
			 "swapgs; mov %0, %%gs; swapgs" ::"r"(0)
			 : "memory");
}

static bool has_selectors(void)
{
	uint32_t ds, es, fs, gs;
	__asm__ volatile("mov %%ds, %0; mov %%es, %1; mov %%fs, %2; mov %%gs, %3"
			 : "=r"(ds), "=r"(es), "=r"(fs), "=r"(gs));
	return ds | es | fs | gs;
}

/* Without FSGSBASE a program changes its bases by calls, which keep fs_base and gs_base
 * right, and by loading selectors: those are dropped, and the bases are those of the calls
 * again, as on Linux. */
void thread_switch_segments(struct thread *previous, struct thread *next)
{
	bool selectors = previous->user && has_selectors();
	if (previous->user && cpu_features.fsgsbase) {
		previous->fs_base = read_fs();
		previous->gs_base = read_gs();
	}
	if (unlikely(selectors))
		drop_selectors();
	if (next->user) {
		write_fs(next->fs_base);
		wrmsr(MSR_KERNEL_GS_BASE, next->gs_base);
	}
}

void thread_set_fs(struct thread *t, uint64_t base)
{
	preempt_disable();
	t->fs_base = base;
	if (t == current_thread())
		write_fs(base);
	preempt_enable();
}

void thread_set_gs(struct thread *t, uint64_t base)
{
	preempt_disable();
	t->gs_base = base;
	if (t == current_thread())
		wrmsr(MSR_KERNEL_GS_BASE, base);
	preempt_enable();
}

uint64_t thread_get_fs(struct thread *t)
{
	preempt_disable();
	uint64_t base = t == current_thread() ? read_fs() : t->fs_base;
	preempt_enable();
	return base;
}

uint64_t thread_get_gs(struct thread *t)
{
	preempt_disable();
	uint64_t base = t == current_thread() ? read_gs() : t->gs_base;
	preempt_enable();
	return base;
}
