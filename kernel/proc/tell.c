/* SPDX-License-Identifier: MIT */
/*
 * Telling the tasks of a process.
 *
 * A process that ends, stops or goes on has all its tasks look at that; a signal to the
 * process needs one task that takes it. There may be thousands of tasks, and whoever
 * sends a signal has interrupts off, so a few are told or looked at in the same step and
 * the rest is put off: the process is on a list of those with something to settle, with
 * its place among its tasks. Threads that have just sent settle some of it, a few tasks
 * under each taking of the lock, and a kernel thread settles what is left.
 *
 *   T1  a process is on the list exactly while it is telling or seeks something
 *   T2  who is told is told what is true then, not what was when it began: a second
 *       reason to tell begins again at the front
 *   T3  a search ends when every task was looked at once since the newest signal was
 *       sought, whatever comes and goes meanwhile; a task that unblocks a signal, or is
 *       born, looks at what pends itself
 */
#include "kernel/proc/internal.h"

#define TOLD_AT_ONCE    8
#define LOOKED_AT_ONCE  64
#define SETTLED_AT_ONCE 64 /* turns: nobody works for others for ever */

static struct list unsettled = {&unsettled, &unsettled}; /* (L) T1 */
static struct waitq settle_wait;

static bool has_unsettled(void)
{
	return __atomic_load_n(&unsettled.next, __ATOMIC_RELAXED) != &unsettled;
}

void tell_wake(void)
{
	waitq_wake_all(&settle_wait);
}

/* See to T1. */
static void note(struct process *p)
{
	bool more = p->telling || p->sought, listed = !list_empty(&p->telling_link);
	if (more && !listed) {
		list_push_back(&unsettled, &p->telling_link);
		tell_wake();
	} else if (!more && listed) {
		list_remove(&p->telling_link);
	}
}

/* Move a place in the list of tasks one task on; NULL: that was the last. */
static struct task *step(struct process *p, struct member *place)
{
	struct list *next = place->link.next;
	while (next != &p->tasks && !member_of(next)->owner)
		next = next->next;
	if (next == &p->tasks)
		return NULL;
	list_remove(&place->link);
	list_insert(&place->link, next, next->next);
	return member_of(next)->owner;
}

static void tell(struct process *p, struct task *t)
{
	if (t->must_exit)
		return;
	t->must_exit = p->exiting || (p->exec_task && p->exec_task != t);
	if (t->must_exit || p->stopping)
		thread_interrupt(&t->thread);
	waitq_wake_all(&t->wait); /* it may sleep in a stop that is over, or wait for a child */
}

static void tell_some(struct process *p)
{
	for (unsigned i = 0; i < TOLD_AT_ONCE && p->telling; i++) {
		struct task *t = step(p, &p->told);
		if (t) {
			tell(p, t);
		} else {
			p->telling = false;
			list_remove(&p->told.link);
		}
	}
}

void tasks_tell_locked(struct process *p)
{
	list_remove(&p->told.link);
	list_push_front(&p->tasks, &p->told.link);
	p->telling = true;
	tell_some(p);
	note(p);
}

static void seek_end(struct process *p)
{
	p->sought = 0;
	list_remove(&p->seeking.link);
}

static void seek_some(struct process *p)
{
	p->sought &= p->pending.set;
	for (unsigned i = 0; i < LOOKED_AT_ONCE && p->sought && p->seek_left; i++, p->seek_left--) {
		struct task *t = step(p, &p->seeking);
		if (!t) { /* round to the front */
			list_remove(&p->seeking.link);
			list_push_front(&p->tasks, &p->seeking.link);
			t = step(p, &p->seeking);
		}
		if (!t)
			break;
		if (task_wants(t, p->sought) && !t->must_exit) {
			p->sought &= t->blocked & ~t->waiting_for;
			thread_interrupt(&t->thread);
		}
	}
	if (!p->sought || !p->seek_left || !p->task_count)
		seek_end(p);
}

void tasks_seek_locked(struct process *p, sigset_t set)
{
	if (!p->sought)
		list_push_front(&p->tasks, &p->seeking.link);
	p->sought |= set;
	p->seek_left = p->task_count;
	seek_some(p);
	note(p);
}

void tasks_join_locked(struct process *p, struct task *t)
{
	list_push_back(&p->tasks, &t->process_link.link);
	p->task_count++;
	task_total++;
}

void tasks_leave_locked(struct process *p, struct task *t)
{
	list_remove(&t->process_link.link);
	p->task_count--;
	task_total--;
	if (p->task_count)
		return;
	p->telling = false;
	list_remove(&p->told.link);
	seek_end(p);
	note(p);
}

void tasks_settle(void)
{
	for (unsigned i = 0; i < SETTLED_AT_ONCE && has_unsettled(); i++) {
		unsigned long irq = proc_lock();
		if (!list_empty(&unsettled)) {
			struct process *p =
			    container_of(unsettled.next, struct process, telling_link);
			tell_some(p);
			seek_some(p);
			list_remove(&p->telling_link); /* others have their turn */
			note(p);
		}
		proc_unlock(irq);
	}
}

static void settle_thread(void *unused)
{
	(void)unused;
	for (;;) {
		wait_event(&settle_wait, has_unsettled() || groups_due());
		groups_settle();
		tasks_settle();
	}
}

void tell_init(void)
{
	if (!kthread_create("signals", settle_thread, NULL))
		panic("no memory for a thread at boot");
}
