/* SPDX-License-Identifier: MIT */
/*
 * Signals, the sending half: who may be woken, job control effects.
 *
 * A signal is a bit in a set and, where something is to be told, a queued
 * siginfo. The bit is the truth; a classic signal whose siginfo could not be
 * allocated is delivered without, a realtime one from a program is refused
 * (EAGAIN), as on Linux.
 *
 * A queue per task and one per process; sending to a process wakes one task
 * that does not block the signal. All of it happens under proc_lock, so
 * anybody, interrupt handlers included, may send.
 *
 * Effects at sending time, before any task runs:
 *   SIGKILL    the whole process is told to exit (group_exit_locked)
 *   SIGCONT    drops pending stop signals, ends a group stop, tells the parent
 *   stop       drops a pending SIGCONT
 *   ignored    dropped, unless blocked: it may be unblocked with a handler later
 *
 * A task knows that it must look at its signals by thread->interrupted, which
 * thread_interrupt sets and signal_recalc_locked clears, both under the lock.
 */
#include "kernel/proc/internal.h"
#include <mem/heap.h>

/*
 * A stop signal undoes a pending SIGCONT and the other way round, in the queues of all
 * tasks. They are not looked through: a task notes which group stop its pending stop
 * signals belong to, and behind which stop signal its SIGCONT came. What is not of now is
 * void, and is dropped when the task is next looked at.
 */
sigset_t signals_void(const struct task *t)
{
	const struct process *p = t->process;
	sigset_t set = t->pending.set & (SIGNALS_STOP | SIGSET(SIGCONT));
	if (t->stops_of == p->stop_number)
		set &= ~SIGNALS_STOP;
	if (t->continue_of == p->stop_signals)
		set &= ~SIGSET(SIGCONT);
	return set;
}

static void drop_void(struct task *t)
{
	sigset_t set = signals_void(t);
	if (unlikely(set))
		signal_queue_flush(&t->pending, set);
}

/* `sig` goes into t's own queue, where nothing is void. */
static void note_order(struct task *t, int sig)
{
	if (SIGNALS_STOP & SIGSET(sig))
		t->stops_of = t->process->stop_number;
	else if (sig == SIGCONT)
		t->continue_of = t->process->stop_signals;
}

static bool has_default_ignore(int sig)
{
	return SIGNALS_IGNORE & SIGSET(sig);
}

/* Would this signal have no effect at all on p? */
static bool is_ignored(const struct process *p, const struct task *t, int sig)
{
	uint64_t handler = p->handlers->action[sig].handler;
	bool ignored = handler == SIG_IGN || (handler == SIG_DFL && has_default_ignore(sig)) ||
		       (handler == SIG_DFL && p->unkillable);
	if (!ignored)
		return false;
	if (sig == SIGKILL || sig == SIGSTOP)
		return p->unkillable;
	/* Blocked by its receiver it waits: the action may change before it is taken. */
	if (!t)
		t = process_first_task(p);
	return !(t && ((t->blocked | t->waiting_for) & SIGSET(sig)));
}

#define CANDIDATES                                                                                 \
	32 /* tasks that are compared; of more, the next that wants it is good enough              \
	    */

static void wake_receiver(struct process *p, struct task *t, int sig)
{
	if (t) {
		if (task_wants(t, SIGSET(sig)))
			thread_interrupt(&t->thread);
		return;
	}
	struct task *choice = NULL;
	unsigned looked_at = 0;
	list_for_each (link, &p->tasks) {
		struct task *other = member_of(link)->owner;
		if (++looked_at > CANDIDATES)
			break;
		if (!other || !task_wants(other, SIGSET(sig)) || other->must_exit)
			continue;
		/* Best: one that sleeps in sigtimedwait for it; else one that is not busy already.
		 */
		if (other->waiting_for & SIGSET(sig)) {
			choice = other;
			break;
		}
		if (!choice || (choice->thread.interrupted && !other->thread.interrupted))
			choice = other;
	}
	if (choice)
		thread_interrupt(&choice->thread);
	else if (looked_at > CANDIDATES)
		tasks_seek_locked(p, SIGSET(sig));
}

static void continue_process(struct process *p)
{
	bool was_stopped = p->stopped;
	signal_queue_flush(&p->pending, SIGNALS_STOP);
	p->stopping = false;
	process_set_stopped_locked(p, false);
	p->stopped_tasks = 0;
	p->stop_number++; /* whoever is stopped is so no longer, and stop signals are void */
	tasks_tell_locked(p);
	if (was_stopped) {
		p->continued = true;
		signal_notify_parent_locked(p, CLD_CONTINUED, SIGCONT);
	}
}

/* Put it into the queue of t or p; false: refused. */
static bool enqueue(struct process *p, struct task *t, int sig, const struct siginfo *info)
{
	struct signal_queue *q = t ? &t->pending : &p->pending;
	bool classic = sig < SIGRTMIN;
	bool from_kernel = !info || info->code > 0;
	struct siginfo_node *node = signal_node_create_locked(p, classic && from_kernel);
	if (!node && !classic && info && info->code != SI_USER)
		return false;
	if (t)
		note_order(t, sig);
	q->set |= SIGSET(sig);
	if (!node)
		return true;
	if (info)
		node->info = *info;
	else
		node->info.code = SI_KERNEL;
	signal_queue_add(q, sig, node);
	return true;
}

/* What a signal does before anybody takes it. True: it is to be queued. */
static bool take_effect(struct process *p, struct task *t, int sig)
{
	if (sig == 0 || p->zombie || p->exiting || (t && t->exited))
		return false;
	if (SIGNALS_STOP & SIGSET(sig)) {
		signal_queue_flush(&p->pending, SIGSET(SIGCONT));
		p->stop_signals++;
	} else if (sig == SIGCONT) {
		continue_process(p);
	}
	if (t)
		drop_void(t);
	if (is_ignored(p, t, sig))
		return false;
	if (sig == SIGKILL) {
		group_exit_locked(p, SIGKILL, NULL);
		return false;
	}
	const struct signal_queue *q = t ? &t->pending : &p->pending;
	return sig >= SIGRTMIN || !(q->set & SIGSET(sig)); /* of the classic ones one is enough */
}

int signal_send_locked(struct process *p, struct task *t, int sig, const struct siginfo *info)
{
	if (!take_effect(p, t, sig))
		return 0;
	if (!enqueue(p, t, sig, info))
		return -EAGAIN;
	wake_receiver(p, t, sig);
	return 0;
}

void signal_send_node_locked(struct process *p, struct task *t, struct siginfo_node *node)
{
	int sig = node->info.signo;
	if (!take_effect(p, t, sig))
		return;
	if (t)
		note_order(t, sig);
	signal_queue_add(t ? &t->pending : &p->pending, sig, node);
	wake_receiver(p, t, sig);
}

int signal_send_task(struct task *t, int sig, const struct siginfo *info)
{
	unsigned long irq = proc_lock();
	int result = signal_send_locked(t->process, t, sig, info);
	proc_unlock(irq);
	return result;
}

int signal_send_process(struct process *p, int sig, const struct siginfo *info)
{
	unsigned long irq = proc_lock();
	int result = signal_send_locked(p, NULL, sig, info);
	proc_unlock(irq);
	return result;
}

/*
 * An exception: it must be taken now, by this thread. Blocked or ignored it
 * cannot be: then the program has asked for the default action, which is to die.
 */
void signal_force(int sig, const struct siginfo *info)
{
	struct task *t = current_task();
	struct process *p = t->process;
	unsigned long irq = proc_lock();
	struct sigaction_user *action = &p->handlers->action[sig];
	if ((t->blocked & SIGSET(sig)) || action->handler == SIG_IGN) {
		action->handler = SIG_DFL;
		t->blocked &= ~SIGSET(sig);
	}
	if (action->handler == SIG_DFL)
		p->unkillable = false;
	if (sig == SIGKILL) {
		signal_send_locked(p, t, sig, info);
	} else if (!p->exiting && !t->exited) {
		signal_queue_flush(&t->pending, SIGSET(sig));
		signal_queue_force(&t->pending, sig, info);
		__atomic_store_n(&t->thread.interrupted, 1, __ATOMIC_SEQ_CST);
	}
	proc_unlock(irq);
}

/* ---- taking ---- */

int signal_take_locked(struct task *t, sigset_t set, struct siginfo *info)
{
	drop_void(t);
	int sig = signal_queue_take(&t->pending, set, info);
	return sig ? sig : signal_queue_take(&t->process->pending, set, info);
}

static sigset_t pending_of(const struct task *t)
{
	return (t->pending.set & ~signals_void(t)) | t->process->pending.set;
}

void signal_recalc_locked(struct task *t)
{
	struct process *p = t->process;
	bool work = t->must_exit || (p->stopping && !task_is_stopped(t)) ||
		    (pending_of(t) & ~t->blocked) || (pending_of(t) & t->waiting_for);
	if (work)
		thread_interrupt(&t->thread);
	else
		__atomic_store_n(&t->thread.interrupted, 0, __ATOMIC_SEQ_CST);
}

bool signal_pending(void)
{
	struct task *t = current_task();
	return t->must_exit || t->process->stopping || (pending_of(t) & ~t->blocked);
}

bool signal_ignored(int sig)
{
	struct task *t = current_task();
	return (t->blocked & SIGSET(sig)) || t->process->handlers->action[sig].handler == SIG_IGN;
}

sigset_t signal_pending_set(sigset_t set)
{
	return pending_of(current_task()) & set;
}

int signal_dequeue(sigset_t set, struct siginfo *info)
{
	struct task *t = current_task();
	unsigned long irq = proc_lock();
	int sig = signal_take_locked(t, set & ~SIGNALS_NEVER_BLOCKED, info);
	signal_recalc_locked(t);
	proc_unlock(irq);
	return sig;
}

/* ---- masks of the running task ---- */

void signal_set_blocked(sigset_t mask)
{
	struct task *t = current_task();
	struct process *p = t->process;
	unsigned long irq = proc_lock();
	sigset_t given_up = mask & ~t->blocked & p->pending.set;
	t->blocked = mask & ~SIGNALS_NEVER_BLOCKED;
	signal_recalc_locked(t);
	/* What was sent to the process and this task now blocks may wake another. */
	if (given_up && p->task_count > 1)
		tasks_seek_locked(p, given_up);
	proc_unlock(irq);
	tasks_settle();
}

void signal_mask_temporary(sigset_t mask)
{
	struct task *t = current_task();
	t->saved_blocked = t->blocked;
	t->restore_blocked = true;
	exit_work_set(&t->thread, EXIT_MASK);
	signal_set_blocked(mask);
}

void signal_mask_restore(void)
{
	struct task *t = current_task();
	if (!t->restore_blocked)
		return;
	t->restore_blocked = false;
	signal_set_blocked(t->saved_blocked);
}

/* ---- handlers ---- */

struct signal_handlers *signal_handlers_create(const struct signal_handlers *copy_of)
{
	struct signal_handlers *h = copy_of ? kmalloc(sizeof(*h)) : kzalloc(sizeof(*h));
	if (!h)
		return NULL;
	if (copy_of) {
		unsigned long irq = proc_lock();
		*h = *copy_of;
		proc_unlock(irq);
	}
	h->refs = 1;
	return h;
}

void signal_handlers_put(struct signal_handlers *h)
{
	if (h && !__atomic_sub_fetch(&h->refs, 1, __ATOMIC_SEQ_CST))
		kfree(h);
}

/* ---- telling the parent ---- */

/* Does the parent want its ended children to vanish without a wait? */
bool parent_reaps_itself_locked(const struct process *parent, int exit_signal)
{
	if (exit_signal != SIGCHLD || !parent->handlers)
		return false;
	const struct sigaction_user *action = &parent->handlers->action[SIGCHLD];
	return action->handler == SIG_IGN || (action->flags & SA_NOCLDWAIT);
}

int child_signal_locked(const struct process *p)
{
	return p->parent_execs == p->parent->execs ? p->exit_signal : SIGCHLD;
}

void signal_notify_parent_locked(struct process *p, int code, int status)
{
	struct process *parent = p->parent;
	if (!parent)
		return;
	bool ended = code != CLD_STOPPED && code != CLD_CONTINUED;
	int sig = ended ? child_signal_locked(p) : SIGCHLD;
	struct siginfo info = {.signo = sig, .code = code};
	info.child.pid = p->pid;
	info.child.uid = p->id.uid;
	info.child.status = status;
	info.child.utime = (int64_t)(p->dead_user_ns / 10000000);
	info.child.stime = (int64_t)(p->dead_system_ns / 10000000);
	const struct sigaction_user *action =
	    parent->handlers ? &parent->handlers->action[SIGCHLD] : NULL;
	bool quiet = !action || (!ended && (action->flags & SA_NOCLDSTOP)) ||
		     (sig == SIGCHLD && action->handler == SIG_IGN);
	if (sig && !quiet)
		signal_send_locked(parent, NULL, sig, &info);
	waitq_wake_all(&parent->child_wait);
}
