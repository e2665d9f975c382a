/* SPDX-License-Identifier: MIT */
/*
 * The scheduler: round robin on each CPU, work moved to CPUs that have none.
 *
 * Each CPU has a queue of runnable threads in order, a lock over it, and the
 * thread that it runs (which is on no queue). A thread runs for a slice of 8 ms
 * and goes to the end of its queue. A thread that wakes goes to the CPU it last
 * ran on if that is idle, else to another idle one, else to the end of the
 * queue where it was; a CPU with nothing to run takes a thread from the longest
 * queue before it idles. So no thread waits while a CPU that may run it idles.
 *
 *   S1  state, queued and cpu of a thread that is not running change under the
 *       run lock of the CPU that thread->cpu names.
 *   S2  A run lock is held across the switch: taken by the thread that leaves,
 *       dropped by the one that comes. Whoever gets it and finds that `running`
 *       is another thread may therefore use the first one's saved registers.
 *   S3  A thread that is switched away without having asked stays runnable
 *       whatever its state: it may have marked itself sleeping and not yet
 *       looked at what it waits for. thread_wake finds it queued.
 *   S4  Two run locks are never held together. Stealing takes from the victim's
 *       queue under the victim's lock, then adds to its own.
 *
 * Rejected: one global queue (every wake-up of every CPU would meet on its
 * lock); priorities and fairness by virtual time (nothing here needs them).
 */
#include <kernel/boot.h>
#include <kernel/log.h>
#include <kernel/rank.h>
#include <mem/heap.h>

#include "kernel/sched/sched.h"

/* CPUs that are in or about to enter HLT with an empty queue: a hint. */
static struct cpumask idle_mask;

static void run_lock(struct cpu_private *c)
{
	unsigned long irq = mem_lock_irq(&c->run_lock, KRANK_RUNQ);
	(void)irq; /* the caller has interrupts off */
}

static void run_unlock(struct cpu_private *c)
{
	mem_unlock_irq(&c->run_lock, KRANK_RUNQ, 0);
}

/* thread->queued */
enum { QUEUED_NOT, QUEUED_HERE, QUEUED_MOVING /* runnable, between two queues */ };

/* ---- queues --------------------------------------------------------------- */

static void enqueue(struct cpu_private *c, struct thread *t)
{
	t->queued = QUEUED_HERE;
	t->cpu = c->cpu.id;
	list_push_back(&c->run_queue, &t->run_link);
	__atomic_store_n(&c->run_count, c->run_count + 1, __ATOMIC_RELAXED);
}

static void dequeue(struct cpu_private *c, struct thread *t)
{
	t->queued = QUEUED_NOT;
	list_remove(&t->run_link);
	__atomic_store_n(&c->run_count, c->run_count - 1, __ATOMIC_RELAXED);
}

/* Have CPU c look at its queue soon. */
static void kick(struct cpu_private *c)
{
	__atomic_store_n(&c->cpu.need_resched, 1, __ATOMIC_SEQ_CST);
	if (c != this_private())
		apic_send(c->apic_id, VECTOR_RESCHED);
}

void sched_ipi(struct cpu_private *c)
{
	kick(c);
}

static bool may_run(const struct thread *t, unsigned cpu)
{
	return cpumask_test(&t->affinity, cpu) && cpumask_test(&cpu_online_mask, cpu);
}

/* An idle CPU for the thread, its last one first. */
static struct cpu_private *idle_cpu_for(const struct thread *t)
{
	if (cpumask_test(&idle_mask, t->cpu) && may_run(t, t->cpu))
		return cpu_table[t->cpu];
	for (unsigned w = 0; w * 64 < cpu_possible(); w++) {
		uint64_t word =
		    __atomic_load_n(&idle_mask.word[w], __ATOMIC_RELAXED) & t->affinity.word[w];
		for (; word; word &= word - 1) {
			unsigned cpu = w * 64 + bit_lowest(word);
			if (may_run(t, cpu))
				return cpu_table[cpu];
		}
	}
	return NULL;
}

static struct cpu_private *choose_cpu(const struct thread *t)
{
	struct cpu_private *c = cpumask_empty(&idle_mask) ? NULL : idle_cpu_for(t);
	if (c)
		return c;
	if (may_run(t, t->cpu))
		return cpu_table[t->cpu];
	for (unsigned i = 0; i < cpu_possible(); i++)
		if (cpu_table[i] && may_run(t, i))
			return cpu_table[i];
	return &boot_cpu;
}

/* Under c's run lock: at the end of its queue. Was it idle? Then it is to be told. */
static bool place_on(struct cpu_private *c, struct thread *t)
{
	enqueue(c, t);
	return c->running == c->idle;
}

static void tell_idle(struct cpu_private *c)
{
	/* The next thread to place looks elsewhere. */
	cpumask_clear_atomic(&idle_mask, c->cpu.id);
	kick(c);
}

void sched_place(struct thread *t)
{
	unsigned long irq = irq_save();
	struct cpu_private *c = choose_cpu(t);
	run_lock(c);
	bool was_idle = place_on(c, t);
	run_unlock(c);
	if (was_idle)
		tell_idle(c);
	irq_restore(irq);
}

/* Take the first thread that may run here from the longest other queue. */
static struct thread *steal(struct cpu_private *self)
{
	struct cpu_private *victim = NULL;
	uint32_t most = 0;
	for (unsigned i = 0; i < cpu_possible(); i++) {
		struct cpu_private *c = cpu_table[i];
		uint32_t count = c ? __atomic_load_n(&c->run_count, __ATOMIC_RELAXED) : 0;
		if (c != self && count > most) {
			most = count;
			victim = c;
		}
	}
	if (!victim)
		return NULL;
	struct thread *found = NULL;
	run_lock(victim);
	list_for_each (node, &victim->run_queue) {
		struct thread *t = list_entry(node, struct thread, run_link);
		if (may_run(t, self->cpu.id)) {
			found = t;
			break;
		}
	}
	if (found) {
		dequeue(victim, found);
		found->queued = QUEUED_MOVING; /* a waker leaves it to us */
		found->cpu = self->cpu.id;
	}
	run_unlock(victim);
	return found;
}

/* ---- switching ------------------------------------------------------------ */

/* On the new thread's stack, the run lock held: what the switch left to do. */
static void finish_switch(struct thread *previous)
{
	struct cpu_private *c = this_private();
	bool dead = previous->state == THREAD_DEAD;
	bool move = previous->queued == QUEUED_MOVING;
	__atomic_store_n(&previous->on_cpu, 0, __ATOMIC_RELEASE);
	run_unlock(c);
	if (dead)
		thread_bury(previous);
	else if (move)
		sched_place(previous); /* its affinity no longer has this CPU */
}

/* The thread that the current one was switched from, handed over by register
 * discipline: each CPU has one switch at a time. */
static struct thread *switched_from[MEM_MAX_CPUS];

static void switch_to(struct cpu_private *c, struct thread *previous, struct thread *next)
{
	c->running = next;
	c->cpu.current = next;
	next->on_cpu = 1;
	next->cpu = c->cpu.id;
	c->cpu.kernel_stack = (uint64_t)next->stack + THREAD_STACK_PAGES * PAGE_SIZE;
	c->tss.rsp[0] = c->cpu.kernel_stack;
	fpu_switch(previous, next);
	thread_switch_segments(previous, next);
	/* A kernel thread borrows whatever tables are loaded. */
	if (next->space && next->space != c->space) {
		vmm_switch(kernel_vmm, next->space);
		c->space = next->space;
	} else if (!next->space && c->space) {
		vmm_switch(kernel_vmm, NULL);
		c->space = NULL;
	}
	switched_from[c->cpu.id] = previous;
	switch_stack(&previous->saved_rsp, next->saved_rsp);
	/* Another time, perhaps another CPU. */
	finish_switch(switched_from[this_cpu()->id]);
}

void schedule(bool forced)
{
	unsigned long irq = irq_save();
	struct cpu_private *c = this_private();
	struct thread *previous = c->running, *stolen = NULL;
	kassert(c->cpu.preempt_count == 0 && c->cpu.irq_depth == 0);
	c->cpu.preempt_count = 1;
	latency_preempt_off();
	bool leaves = previous == c->idle || (!forced && previous->state != THREAD_RUNNABLE);
	if (leaves && !c->run_count)
		stolen = steal(c);
	run_lock(c);
	nsec_t now = time_monotonic();
	sched_account(c, now);
	__atomic_store_n(&c->cpu.need_resched, 0, __ATOMIC_SEQ_CST);
	if (stolen)
		enqueue(c, stolen);
	bool stays = previous != c->idle && (forced || previous->state == THREAD_RUNNABLE);
	if (stays && may_run(previous, c->cpu.id))
		enqueue(c, previous);
	else if (stays)
		previous->queued = QUEUED_MOVING; /* finish_switch places it */
	struct thread *next = c->idle;
	if (!list_empty(&c->run_queue)) {
		next = list_entry(c->run_queue.next, struct thread, run_link);
		dequeue(c, next);
		if (next != previous || next->slice_left_ns == 0)
			next->slice_left_ns = SLICE_NS;
		if (c->tick_at == NSEC_NEVER)
			c->tick_at = now + TICK_NS;
	} else {
		c->tick_at = NSEC_NEVER;
	}
	next->accounted_at = now;
	timer_reprogram(c);
	if (next == previous) {
		run_unlock(c);
	} else {
		c->stats.switches++;
		if (forced)
			previous->switches_forced++;
		else
			previous->switches_voluntary++;
		switch_to(c, previous, next);
	}
	latency_preempt_on();
	this_cpu()->preempt_count = 0;
	irq_restore(irq);
}

void thread_begin(void)
{
	finish_switch(switched_from[this_cpu()->id]);
	latency_preempt_on();
	this_cpu()->preempt_count = 0;
	irq_enable();
	struct thread *t = current_thread();
	t->entry(t->arg);
	thread_exit();
}

void sched_yield(void)
{
	schedule(false);
}

void preempt_check(void)
{
	struct cpu *c = this_cpu(); /* a stale answer only costs a look */
	if (c->need_resched && irq_enabled() && !in_interrupt())
		schedule(true);
}

void sched_preempt_kernel(void)
{
	struct cpu *c = this_cpu();
	if (c->need_resched && c->preempt_count == 0 && c->irq_depth == 0)
		schedule(true);
}

void sched_preempt_user(void)
{
	while (this_cpu()->need_resched)
		schedule(true);
}

/* ---- waking ---------------------------------------------------------------- */

static bool is_asleep(uint32_t state, bool interruptible_only)
{
	if (interruptible_only)
		return state == THREAD_SLEEPING_INTERRUPTIBLE;
	return state == THREAD_SLEEPING || state == THREAD_SLEEPING_INTERRUPTIBLE ||
	       state == THREAD_STOPPED;
}

static bool wake(struct thread *t, bool interruptible_only)
{
	unsigned long irq = irq_save();
	struct cpu_private *c;
	for (;;) {
		c = cpu_table[__atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE)];
		run_lock(c);
		if (cpu_table[t->cpu] == c)
			break;
		run_unlock(c);
	}
	bool asleep = is_asleep(t->state, interruptible_only), elsewhere = false, was_idle = false;
	if (asleep) {
		t->state = THREAD_RUNNABLE;
		/* Still on its CPU or preempted on the way to sleep: it goes on from there. */
		if (c->running != t && t->queued == QUEUED_NOT) {
			elsewhere = choose_cpu(t) != c;
			was_idle = !elsewhere && place_on(c, t);
		}
	}
	run_unlock(c);
	if (was_idle)
		tell_idle(c);
	if (elsewhere)
		sched_place(t);
	irq_restore(irq);
	return asleep;
}

bool thread_wake(struct thread *t)
{
	__atomic_store_n(&t->poked, 1, __ATOMIC_SEQ_CST);
	return wake(t, false);
}

bool sched_wake_waiter(struct thread *t)
{
	return wake(t, false);
}

void thread_interrupt(struct thread *t)
{
	__atomic_store_n(&t->interrupted, 1, __ATOMIC_SEQ_CST);
	if (wake(t, true))
		return;
	/* In user mode on another CPU: have it come in. */
	struct cpu_private *c = cpu_table[__atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE)];
	if (t != current_thread() && __atomic_load_n(&t->on_cpu, __ATOMIC_ACQUIRE))
		apic_send(c->apic_id, VECTOR_RESCHED);
}

int thread_set_affinity(struct thread *t, const struct cpumask *mask)
{
	bool any = false;
	for (unsigned i = 0; i < cpu_possible(); i++)
		any |= cpumask_test(mask, i) && cpumask_test(&cpu_online_mask, i);
	if (!any)
		return -EINVAL;
	t->affinity = *mask;
	if (t == current_thread()) {
		preempt_disable();
		bool here = may_run(t, this_cpu()->id);
		preempt_enable();
		if (!here)
			sched_yield();
	} else {
		kick(cpu_table[t->cpu]);
	}
	return 0;
}

/* ---- ticks and idling ------------------------------------------------------ */

void sched_tick(bool user, nsec_t now)
{
	struct cpu_private *c = this_private();
	run_lock(c);
	struct thread *t = c->running;
	t->last_tick_user = user;
	if (t->user)
		exit_work_set(t, EXIT_TICK);
	sched_account(c, now);
	if (t == c->idle) {
		c->tick_at = NSEC_NEVER;
	} else {
		c->tick_at = now + TICK_NS;
		if (!may_run(t, c->cpu.id))
			c->cpu.need_resched = 1;
		if (t->slice_left_ns == 0) {
			if (c->run_count)
				c->cpu.need_resched = 1;
			else
				t->slice_left_ns = SLICE_NS;
		}
	}
	run_unlock(c);
	sched_sample_load(now);
}

static void idle_once(struct cpu_private *c)
{
	irq_disable();
	cpumask_set_atomic(&idle_mask, c->cpu.id);
	if (!c->cpu.need_resched && !c->run_count) {
		/* STI takes effect after the next instruction: no wake-up falls between. */
		latency_irq_on();
		__asm__ volatile("sti; hlt" ::: "memory");
	} else {
		irq_enable();
	}
	cpumask_clear_atomic(&idle_mask, c->cpu.id);
}

static MEM_NORETURN void idle_loop(void)
{
	struct cpu_private *c = this_private(); /* idle threads never move */
	for (;;) {
		schedule(false);
		while (!c->cpu.need_resched && !c->run_count && pmm_idle(kernel_pmm))
			;
		if (!c->cpu.need_resched && !c->run_count)
			idle_once(c);
	}
}

int sched_init_cpu(struct cpu_private *c)
{
	list_init(&c->run_queue);
	c->timer_armed_for = c->tick_at = NSEC_NEVER;
	struct thread *idle = kzalloc(sizeof(*idle));
	if (!idle)
		return -ENOMEM;
	char name[16];
	ksnprintf(name, sizeof(name), "idle/%u", c->cpu.id);
	if (thread_init(idle, name, false, NULL, NULL)) {
		kfree(idle);
		return -ENOMEM;
	}
	idle->state = THREAD_RUNNABLE;
	idle->cpu = c->cpu.id;
	idle->affinity = (struct cpumask){0};
	cpumask_set(&idle->affinity, c->cpu.id);
	c->idle = c->running = c->cpu.current = idle;
	idle->on_cpu = 1;
	c->cpu.kernel_stack = (uint64_t)idle->stack + THREAD_STACK_PAGES * PAGE_SIZE;
	c->tss.rsp[0] = c->cpu.kernel_stack;
	return 0;
}

static MEM_NORETURN void idle_begin(void)
{
	this_cpu()->preempt_count = 0;
	idle_loop();
}

void sched_start(void)
{
	struct cpu_private *c = this_private();
	irq_disable();
	c->running->accounted_at = time_monotonic();
	latency_start();
	/* Onto the idle thread's own stack; what boot used is not seen again. */
	uint64_t top = c->cpu.kernel_stack;
	__asm__ volatile("mov %0, %%rsp\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "sti\n\t"
			 "call *%1\n\t"
			 "ud2" ::"r"(top),
			 "r"(idle_begin)
			 : "memory");
	__builtin_unreachable();
}
