/* SPDX-License-Identifier: MIT */
/*
 * Timers and the timer interrupt.
 *
 * Each CPU has a list of timers by deadline and one hardware timer, set for the
 * earliest of: the first deadline, and the scheduler's tick (only while it runs
 * a thread). An idle CPU with no timers is not interrupted at all. The hardware
 * is set again only when something earlier comes up: an interrupt that finds
 * nothing due costs less than setting it at every switch.
 */
#include <kernel/log.h>
#include <kernel/rank.h>

#include "kernel/sched/sched.h"

/* timer_lock held or the timers' owner is this CPU; interrupts off. */
static nsec_t next_event(struct cpu_private *c)
{
	nsec_t next = c->tick_at;
	struct list *first = __atomic_load_n(&c->timers.next, __ATOMIC_RELAXED);
	if (first != &c->timers)
		next = mem_min(next, list_entry(first, struct ktimer, link)->deadline);
	return next;
}

static void program(struct cpu_private *c, nsec_t at)
{
	c->timer_armed_for = at;
	nsec_t now = time_monotonic();
	clock_interrupt_in(at > now ? at - now : 0);
}

void timer_reprogram(struct cpu_private *c)
{
	/* Only ticks come through here, so a racing look at the list is not needed. */
	if (c->tick_at < c->timer_armed_for)
		program(c, c->tick_at);
}

static void insert(struct cpu_private *c, struct ktimer *t)
{
	struct list *at = c->timers.prev;
	while (at != &c->timers && list_entry(at, struct ktimer, link)->deadline > t->deadline)
		at = at->prev;
	list_insert(&t->link, at, at->next);
}

void ktimer_arm(struct ktimer *t, nsec_t deadline, void (*fn)(void *), void *arg)
{
	ktimer_cancel(t);
	unsigned long irq = irq_save();
	struct cpu_private *c = this_private();
	t->deadline = deadline;
	t->fn = fn;
	t->arg = arg;
	t->cpu = c->cpu.id;
	unsigned long inner = mem_lock_irq(&c->timer_lock, KRANK_TIMER);
	t->armed = 1;
	insert(c, t);
	if (deadline < c->timer_armed_for)
		program(c, deadline);
	mem_unlock_irq(&c->timer_lock, KRANK_TIMER, inner);
	irq_restore(irq);
}

bool ktimer_cancel(struct ktimer *t)
{
	if (!t->fn) /* never armed */
		return false;
	struct cpu_private *c = cpu_table[t->cpu];
	unsigned long irq = mem_lock_irq(&c->timer_lock, KRANK_TIMER);
	bool armed = t->armed;
	if (armed) {
		list_remove(&t->link);
		t->armed = 0;
	}
	mem_unlock_irq(&c->timer_lock, KRANK_TIMER, irq);
	/* Its function may be running now; from inside itself there is nothing to wait for. */
	while (__atomic_load_n(&c->timer_running, __ATOMIC_SEQ_CST) == t &&
	       !(c == this_private() && in_interrupt()))
		cpu_relax();
	return armed;
}

static void run_timers(struct cpu_private *c, nsec_t now)
{
	for (;;) {
		unsigned long irq = mem_lock_irq(&c->timer_lock, KRANK_TIMER);
		struct ktimer *t = list_entry(c->timers.next, struct ktimer, link);
		if (list_empty(&c->timers) || t->deadline > now) {
			mem_unlock_irq(&c->timer_lock, KRANK_TIMER, irq);
			return;
		}
		list_remove(&t->link);
		t->armed = 0;
		__atomic_store_n(&c->timer_running, t, __ATOMIC_SEQ_CST);
		void (*fn)(void *) = t->fn;
		void *arg = t->arg;
		mem_unlock_irq(&c->timer_lock, KRANK_TIMER, irq);
		fn(arg);
		__atomic_store_n(&c->timer_running, NULL, __ATOMIC_SEQ_CST);
	}
}

void timer_interrupt(struct trapframe *f)
{
	struct cpu_private *c = this_private();
	nsec_t now = time_monotonic();
	c->timer_armed_for = NSEC_NEVER;
	run_timers(c, now);
	if (c->tick_at <= now)
		sched_tick(trap_from_user(f), now);
	unsigned long irq = mem_lock_irq(&c->timer_lock, KRANK_TIMER);
	nsec_t next = next_event(c);
	if (next < c->timer_armed_for)
		program(c, next);
	mem_unlock_irq(&c->timer_lock, KRANK_TIMER, irq);
}
