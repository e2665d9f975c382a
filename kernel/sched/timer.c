/* SPDX-License-Identifier: MIT */
/*
 * Timers and the timer interrupt.
 *
 * Each CPU has a heap of timers and one hardware timer, set for the earliest of: the
 * first deadline, and the scheduler's tick (only while it runs
 * a thread). An idle CPU with no timers is not interrupted at all. The hardware
 * is set again only when something earlier comes up: an interrupt that finds
 * nothing due costs less than setting it at every switch.
 *
 * The heap is a leftist one. A timer's rank is the number of steps down right links to
 * where one is missing, and a left child's rank is never less than the right one's: so
 * right links lead down log2(n) steps at most, and two heaps are merged along them.
 * Arming merges one timer with the rest; cancelling puts the merge of a timer's
 * children in its place and corrects ranks upwards, which ends after as many steps,
 * because each rank that changes is one more than the one below. All is done with
 * interrupts off, and a program may arm thousands.
 *
 * Rejected: a sorted list (arming one of n takes n steps); a wheel (moving its hand
 * may find n timers to sort into the next finer one).
 */
#include <kernel/log.h>
#include <kernel/rank.h>

#include "kernel/sched/sched.h"

/* timer_lock held or the timers' owner is this CPU; interrupts off. */
static nsec_t next_event(struct cpu_private *c)
{
	return c->timers ? mem_min(c->tick_at, c->timers->deadline) : c->tick_at;
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

/* ---- the heap; timer_lock held --------------------------------------------- */

static uint32_t rank_of(const struct ktimer *t)
{
	return t ? t->rank : 0;
}

static void put_in_order(struct ktimer *t)
{
	if (rank_of(t->left) < rank_of(t->right)) {
		struct ktimer *left = t->left;
		t->left = t->right;
		t->right = left;
	}
	t->rank = rank_of(t->right) + 1;
}

/* One heap of two. Down: the earlier top takes the merge of its right child and the
 * other heap as its right child. Then up the same way, putting children in order. */
static struct ktimer *merge(struct ktimer *a, struct ktimer *b)
{
	struct ktimer *above = NULL, *top = NULL;
	while (a && b) {
		if (b->deadline < a->deadline) {
			struct ktimer *later = a;
			a = b;
			b = later;
		}
		if (above)
			above->right = a;
		a->parent = above;
		above = a;
		a = a->right;
	}
	top = a ? a : b;
	if (top)
		top->parent = above;
	if (above)
		above->right = top;
	for (; above; above = above->parent) {
		put_in_order(above);
		top = above;
	}
	return top;
}

static void heap_insert(struct cpu_private *c, struct ktimer *t)
{
	t->left = t->right = t->parent = NULL;
	t->rank = 1;
	c->timers = merge(c->timers, t);
}

static void heap_remove(struct cpu_private *c, struct ktimer *t)
{
	struct ktimer *above = t->parent, *instead;
	if (t->left)
		t->left->parent = NULL;
	if (t->right)
		t->right->parent = NULL;
	instead = merge(t->left, t->right);
	if (instead)
		instead->parent = above;
	if (!above)
		c->timers = instead;
	else if (above->left == t)
		above->left = instead;
	else
		above->right = instead;
	for (; above; above = above->parent) {
		uint32_t rank = above->rank;
		put_in_order(above);
		if (above->rank == rank)
			break;
	}
}

/* ---- arming ------------------------------------------------------------------- */

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
	heap_insert(c, t);
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
		heap_remove(c, t);
		t->armed = 0;
	}
	mem_unlock_irq(&c->timer_lock, KRANK_TIMER, irq);
	/* Its function may be running now; from inside itself there is nothing to wait for. */
	while (__atomic_load_n(&c->timer_running, __ATOMIC_SEQ_CST) == t &&
	       !(c == this_private() && in_interrupt()))
		cpu_relax();
	return armed;
}

#define AT_ONCE 16 /* timers that one interrupt runs; the next one comes at once */

static void run_timers(struct cpu_private *c, nsec_t now)
{
	for (unsigned i = 0; i < AT_ONCE; i++) {
		unsigned long irq = mem_lock_irq(&c->timer_lock, KRANK_TIMER);
		struct ktimer *t = c->timers;
		if (!t || t->deadline > now) {
			mem_unlock_irq(&c->timer_lock, KRANK_TIMER, irq);
			return;
		}
		heap_remove(c, t);
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
