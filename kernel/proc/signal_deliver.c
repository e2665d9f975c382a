/* SPDX-License-Identifier: MIT */
/*
 * Signals, the receiving half: on the way back to user mode.
 *
 * Every trap, interrupt and system call returns through proc_return_to_user.
 * Nearly always there is nothing to do and one load says so
 * (thread->interrupted). Else, until nothing is left:
 *
 *     must exit           the task ends here, and nowhere else
 *     group stop          the task sleeps until SIGCONT or SIGKILL
 *     a signal: ignored   next
 *               stop      begins a group stop
 *               fatal     report, end the process
 *               handler   push a frame (signal_frame.c); look again, because
 *                         frames nest
 *
 * Then an interrupted system call is settled. A call that returned one of the
 * ERESTART codes is either repeated, by moving the user's RIP back over the
 * two-byte SYSCALL and restoring its number, or ends with EINTR; which, depends on
 * whether and which handler runs:
 *
 *                            no handler   handler   handler with SA_RESTART
 *     ERESTARTNOINTR         repeat       repeat    repeat
 *     ERESTARTSYS            repeat       EINTR     repeat
 *     ERESTARTNOHAND         repeat       EINTR     EINTR
 *     ERESTART_RESTARTBLOCK  restart_syscall  EINTR EINTR
 */
#include "kernel/proc/internal.h"

#define NR_RESTART_SYSCALL 219
#define SYSCALL_BYTES      2 /* length of the SYSCALL instruction */

static bool is_interrupted_call(const struct trapframe *frame)
{
	return frame->vector == TRAP_SYSCALL;
}

static void repeat_call(struct trapframe *frame, uint64_t number)
{
	frame->rax = number;
	frame->rip -= SYSCALL_BYTES;
	frame->vector = TRAP_SIGRETURN; /* settled: never twice */
}

static void settle_call_no_handler(struct trapframe *frame)
{
	if (!is_interrupted_call(frame))
		return;
	switch (-(int64_t)frame->rax) {
	case ERESTARTSYS:
	case ERESTARTNOINTR:
	case ERESTARTNOHAND:
		repeat_call(frame, frame->error);
		break;
	case ERESTART_RESTARTBLOCK:
		repeat_call(frame, NR_RESTART_SYSCALL);
		break;
	}
}

static void settle_call_handler(struct trapframe *frame, const struct sigaction_user *action)
{
	if (!is_interrupted_call(frame))
		return;
	switch (-(int64_t)frame->rax) {
	case ERESTARTNOINTR:
		repeat_call(frame, frame->error);
		break;
	case ERESTARTSYS:
		if (action->flags & SA_RESTART) {
			repeat_call(frame, frame->error);
			break;
		}
		__attribute__((fallthrough));
	case ERESTARTNOHAND:
	case ERESTART_RESTARTBLOCK:
		frame->rax = (uint64_t)-EINTR;
		break;
	}
}

/* Sleep in a group stop. */
static void sleep_stopped(struct task *t)
{
	struct process *p = t->process;
	signal_nodes_settle();
	unsigned long irq = proc_lock();
	if (p->stopping && !task_is_stopped(t) && !t->must_exit) {
		t->stopped_in = p->stop_number;
		if (++p->stopped_tasks == p->task_count) {
			process_set_stopped_locked(p, true);
			p->stop_reported = false;
			signal_notify_parent_locked(p, CLD_STOPPED, p->stop_signal);
		}
	}
	signal_recalc_locked(t); /* a stopped task is not woken by what merely pends */
	proc_unlock(irq);
	wait_event(&t->wait, !task_is_stopped(t) || t->must_exit);
	signal_nodes_settle();
	irq = proc_lock();
	signal_recalc_locked(t);
	proc_unlock(irq);
}

/* Under proc_lock: begin a group stop, unless job control forbids it. */
static void begin_stop(struct process *p, int sig)
{
	if (sig != SIGSTOP && group_is_orphaned_locked(p))
		return;
	if (p->exiting)
		return;
	p->stopping = true;
	p->continued = false;
	p->stop_signal = sig;
	tasks_tell_locked(p);
}

enum outcome { DELIVER_DONE, DELIVER_STOP, DELIVER_EXIT, DELIVER_FATAL, DELIVER_HANDLER };

struct delivery {
	int sig;
	struct siginfo info;
	struct sigaction_user action;
};

/* Decide the next thing to do. Context: proc_lock not held. */
static enum outcome next_delivery(struct task *t, struct delivery *d)
{
	struct process *p = t->process;
	enum outcome outcome;
	unsigned long irq = proc_lock();
	for (;;) {
		if (t->must_exit) {
			outcome = DELIVER_EXIT;
			break;
		}
		if (p->stopping) {
			outcome = DELIVER_STOP;
			break;
		}
		d->sig = signal_take_locked(t, ~t->blocked, &d->info);
		if (!d->sig) {
			signal_recalc_locked(t);
			outcome = DELIVER_DONE;
			break;
		}
		struct sigaction_user *action = &p->handlers->action[d->sig];
		if (action->handler == SIG_IGN)
			continue;
		if (action->handler != SIG_DFL) {
			d->action = *action;
			if (action->flags & SA_RESETHAND)
				action->handler = SIG_DFL;
			outcome = DELIVER_HANDLER;
			break;
		}
		if ((SIGNALS_IGNORE & SIGSET(d->sig)) || p->unkillable)
			continue;
		if (SIGNALS_STOP & SIGSET(d->sig)) {
			begin_stop(p, d->sig);
			continue;
		}
		outcome = DELIVER_FATAL;
		break;
	}
	proc_unlock(irq);
	return outcome;
}

static void run_handler(struct task *t, struct trapframe *frame, struct delivery *d)
{
	settle_call_handler(frame, &d->action);
	sigset_t restore = t->restore_blocked ? t->saved_blocked : t->blocked;
	if (!signal_frame_push(t, frame, d->sig, &d->action, &d->info, restore)) {
		/* The stack is no good. If the handler was for SIGSEGV, there is no way
		 * to tell the program: default action. */
		if (d->sig == SIGSEGV) {
			unsigned long irq = proc_lock();
			t->process->handlers->action[SIGSEGV].handler = SIG_DFL;
			proc_unlock(irq);
		}
		signal_force(SIGSEGV, NULL);
		return;
	}
	t->restore_blocked = false;
	sigset_t mask = t->blocked | d->action.mask;
	if (!(d->action.flags & SA_NODEFER))
		mask |= SIGSET(d->sig);
	signal_set_blocked(mask);
}

static void deliver_all(struct task *t, struct trapframe *frame)
{
	struct delivery d;
	bool handled = false;
	for (;;) {
		switch (next_delivery(t, &d)) {
		case DELIVER_EXIT:
			task_exit(t->process->exiting ? t->process->exit_code : 0);
		case DELIVER_STOP:
			sleep_stopped(t);
			break;
		case DELIVER_FATAL:
			report_fatal_signal(t, frame, d.sig, &d.info);
			process_exit_group(d.sig);
		case DELIVER_HANDLER:
			run_handler(t, frame, &d);
			handled = true;
			/* Its mask was set, and what is left pending with it looked at. */
			if (!t->thread.interrupted && !t->restore_blocked)
				return;
			break;
		case DELIVER_DONE:
			if (!handled)
				settle_call_no_handler(frame);
			/* sigsuspend or ppoll that no handler ended: the mask comes back
			 * before the call is repeated. */
			if (t->restore_blocked) {
				signal_mask_restore();
				if (t->thread.interrupted)
					continue;
			}
			return;
		}
	}
}

void proc_return_to_user(struct trapframe *frame)
{
	struct thread *thread = current_thread();
	struct task *t = container_of(thread, struct task, thread);
	if (unlikely(t->process->cpu_timers_armed)) {
		irq_enable();
		cpu_timers_check(t->process);
		irq_disable();
	}
	while (unlikely(__atomic_load_n(&thread->interrupted, __ATOMIC_RELAXED) ||
			t->restore_blocked)) {
		irq_enable();
		deliver_all(t, frame);
		irq_disable();
	}
}
