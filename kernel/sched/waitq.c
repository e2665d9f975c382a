/* SPDX-License-Identifier: MIT */
/*
 * Sleeping until something happens.
 *
 * A waiter is on a queue before the thread looks at its condition, and a wake
 * sets the waiter's `woken`; the sleeper marks itself asleep first and looks at
 * `woken` second, the waker sets `woken` first and looks at the state second. So
 * one of them sees the other and no wake is lost.
 *
 * Each waiter has its own flag, because a thread may wait in two places at once:
 * evaluating the condition of an outer wait may take a mutex, which waits too. A
 * sleep on one waiter leaves a wake of another one standing.
 *
 * A program can hang thousands of waiters on one queue. Who wakes them all lets
 * interrupts in now and then, and keeps its place in the queue by a waiter that has no
 * thread.
 */
#include <kernel/log.h>
#include <kernel/rank.h>

#include "base/atomic.h"
#include "kernel/sched/sched.h"

void waitq_init(struct waitq *q)
{
	q->lock = (struct mem_lock){0};
	list_init(&q->waiters);
}

void waitq_add(struct waitq *q, struct waiter *w)
{
	struct thread *t = current_thread();
	w->thread = t;
	w->woken = 0;
	w->next = t->waiters;
	t->waiters = w;
	unsigned long irq = mem_lock_irq(&q->lock, KRANK_WAITQ);
	if (!q->waiters.next)
		list_init(&q->waiters);
	list_push_back(&q->waiters, &w->link);
	mem_unlock_irq(&q->lock, KRANK_WAITQ, irq);
	/* The condition is read after this; a wake before it saw no waiter. */
	atomic_fence();
}

void waitq_remove(struct waitq *q, struct waiter *w)
{
	unsigned long irq = mem_lock_irq(&q->lock, KRANK_WAITQ);
	list_remove(&w->link);
	mem_unlock_irq(&q->lock, KRANK_WAITQ, irq);
	struct waiter **at = &current_thread()->waiters;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
}

/* Has one of these been woken? Forgets it. `only`: this one. */
static bool take_wake(struct thread *t, struct waiter *only)
{
	bool any = atomic_read_relaxed(&t->poked) && atomic_swap(&t->poked, 0);
	for (struct waiter *w = t->waiters; w; w = w->next)
		if ((!only || w == only) && __atomic_load_n(&w->woken, __ATOMIC_RELAXED))
			any |= atomic_swap(&w->woken, 0);
	return any;
}

static void wake_at_deadline(void *arg)
{
	sched_wake_waiter(arg);
}

/* One turn: sleep unless there is a reason not to. 1: slept for nothing, look again. */
static inline int sleep_once(struct thread *t, struct waiter *only, bool interruptible,
			     nsec_t deadline)
{
	atomic_write_seq(&t->state,
			 interruptible ? THREAD_SLEEPING_INTERRUPTIBLE : THREAD_SLEEPING);
	int r = 1;
	if (take_wake(t, only))
		r = 0;
	else if (interruptible && atomic_read_seq(&t->interrupted))
		r = -ERESTARTSYS;
	else if (deadline != NSEC_NEVER && time_monotonic() >= deadline)
		r = -ETIMEDOUT;
	if (r <= 0) {
		atomic_write_seq(&t->state, THREAD_RUNNABLE);
		return r;
	}
	schedule(false);
	return !take_wake(t, only);
}

static int sleep_timed(struct thread *t, struct waiter *only, bool interruptible, nsec_t deadline)
{
	struct ktimer timer = {0};
	bool timed = deadline > time_monotonic();
	if (timed)
		ktimer_arm(&timer, deadline, wake_at_deadline, t);
	int r;
	do
		r = sleep_once(t, only, interruptible, deadline);
	while (r > 0);
	if (timed)
		ktimer_cancel(&timer);
	return r;
}

static int sleep_until(struct waiter *only, bool interruptible, nsec_t deadline)
{
	struct thread *t = current_thread();
	mem_assert_no_locks();
	kassert(this_cpu()->preempt_count == 0 && !in_interrupt());
	if (deadline != NSEC_NEVER)
		return sleep_timed(t, only, interruptible, deadline);
	int r;
	do
		r = sleep_once(t, only, interruptible, NSEC_NEVER);
	while (r > 0);
	return r;
}

int waitq_sleep(bool interruptible, nsec_t deadline)
{
	return sleep_until(NULL, interruptible, deadline);
}

int waitq_sleep_on(struct waiter *w, bool interruptible, nsec_t deadline)
{
	return sleep_until(w, interruptible, deadline);
}

int sched_sleep_until(nsec_t deadline, bool interruptible)
{
	for (;;) {
		int r = sleep_until(NULL, interruptible, deadline);
		if (r == -ETIMEDOUT)
			return 0;
		if (r < 0)
			return r;
	}
}

#define AT_ONCE 32 /* waiters that are woken with interrupts off */

/* Let interrupts in, and go on where `next` was, behind a mark: a waiter of nobody. */
static struct list *breathe(struct waitq *q, struct list *next, unsigned long *irq)
{
	struct waiter mark = {0};
	list_insert(&mark.link, next->prev, next);
	mem_unlock_irq(&q->lock, KRANK_WAITQ, *irq);
	*irq = mem_lock_irq(&q->lock, KRANK_WAITQ);
	next = mark.link.next;
	list_remove(&mark.link);
	return next;
}

void waitq_wake_waiters(struct waitq *q, bool all)
{
	struct waiter end;
	unsigned left = AT_ONCE;
	unsigned long irq = mem_lock_irq(&q->lock, KRANK_WAITQ);
	struct list *node = q->waiters.next, *stop = &q->waiters;
	bool several = all && node != stop && node->next != stop;
	if (several) { /* those who come later are not meant */
		end.thread = NULL;
		stop = &end.link;
		list_push_back(&q->waiters, stop);
	}
	while (node != stop) {
		struct waiter *w = list_entry(node, struct waiter, link);
		node = node->next;
		if (!w->thread || atomic_swap(&w->woken, 1))
			continue;
		sched_wake_waiter(w->thread);
		if (!all)
			break;
		if (--left)
			continue;
		node = breathe(q, node, &irq);
		left = AT_ONCE;
	}
	if (several)
		list_remove(stop);
	mem_unlock_irq(&q->lock, KRANK_WAITQ, irq);
}

bool thread_interrupted(void)
{
	return atomic_read_acquire(&current_thread()->interrupted);
}
