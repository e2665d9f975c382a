/* SPDX-License-Identifier: MIT */
/*
 * The end of tasks and processes.
 *
 * A task ends only on its own stack, in task_exit: by exit(2), or because
 * proc_return_to_user found must_exit set. What it owns goes in this order:
 *
 *   1. user memory it still owes: robust futexes, clear_child_tid; a vfork
 *      parent goes on
 *   2. files (fs_exit), then its use of the space
 *   3. under proc_lock it leaves process->tasks; whoever leaves last goes on:
 *   4. timers, then the space and the program's file are given back
 *   5. under proc_lock: children are given away, one under each taking; in the
 *      last, which finds none left, its own group is looked after, the process
 *      becomes a zombie and the parent is told
 *   6. the thread is gone; task_released frees the task
 *
 * Between 3 and 5 a process has no task and is no zombie yet: it is `exiting`,
 * which whoever sends signals or waits looks at. While it gives its children
 * away:
 *
 *   - each child has one parent: this process, which nobody can wait in, or one
 *     that was not exiting when it got the child and so has yet to give it away
 *   - it gets no child from a process that ends, only by CLONE_PARENT from a
 *     child it still has; such a one is given away like the others
 *   - its signal handlers stay, for children that end meanwhile, and it counts
 *     for its group until it has given them all away
 */
#include "kernel/proc/internal.h"
#include <kernel/account.h>
#include <kernel/tty.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>
#include <mem/object.h>

#include "kernel/syscall/syscalls.h"

bool task_killed(void)
{
	struct thread *t = current_thread();
	return t->user &&
	       __atomic_load_n(&container_of(t, struct task, thread)->must_exit, __ATOMIC_RELAXED);
}

void group_exit_locked(struct process *p, int status, struct task *except)
{
	if (!p->exiting) {
		p->exiting = true;
		p->exit_began = time_monotonic();
		p->exit_code = status;
	}
	p->stopping = false;
	process_set_stopped_locked(p, false);
	if (except)
		except->must_exit = true; /* it knows */
	tasks_tell_locked(p);
}

void task_release_memory(struct task *t)
{
	futex_robust_exit(t);
	if (t->clear_child_tid) {
		uint32_t zero = 0;
		uint64_t at = t->clear_child_tid;
		t->clear_child_tid = 0;
		if (!copy_to_user(at, &zero, sizeof(zero)))
			futex_wake_address(at, 1);
	}
	vfork_release(t);
}

/* Step 4: the last task gives the memory back. */
static void release_process_memory(struct process *p)
{
	struct vmm_space_stats stats;
	struct memory memory = {0};
	vmm_space_stats(p->space, &stats);
	unsigned long irq = proc_lock();
	process_swap_memory_locked(p, &memory);
	p->faults_minor += stats.faults_minor;
	p->faults_major += stats.faults_major;
	p->peak_resident = mem_max(p->peak_resident, stats.peak_resident);
	proc_unlock(irq);
	memory_put(&memory);
}

#define ANCESTORS_AT_ONCE 256

/* Who takes over the children: the nearest living ancestor that asked for it, or init. The
 * lock is let go of now and then; if meanwhile the one is reaped that the search had come
 * to, it begins again. */
static struct process *new_parent(struct process *p, unsigned long *irq)
{
	unsigned steps = 0;
	for (struct process *above = p->parent; above && above != process_init;) {
		if (above->subreaper && !above->exiting && !above->zombie)
			return above;
		bool gone = false;
		if (++steps % ANCESTORS_AT_ONCE == 0) {
			process_get(above);
			proc_unlock(*irq);
			*irq = proc_lock();
			gone = process_is_gone_locked(above);
			process_put(above);
		}
		above = gone ? p->parent : above->parent;
	}
	return process_init;
}

void process_reap_locked(struct process *p)
{
	list_remove(&p->sibling_link.link);
	list_remove(&p->all_link.link);
	process_total--;
	user_uncharge(p->user, USER_TASKS, 1);
	p->parent = NULL;
	p->pid_entry->process = NULL;
	group_join_locked(p, NULL);
	session_join_locked(p, NULL);
	pid_drop(p->pid_entry);
	p->pid_entry = NULL;
	process_put(p); /* the tree's; the caller has another */
}

static void send_death_signals(struct process *child, unsigned long *irq)
{
	struct walk w;
	walk_begin(&w, &child->tasks, WALK_SENDING, irq);
	walk_limit(&w);
	for (struct task *t; (t = walk_next(&w));)
		if (t->parent_death_signal)
			signal_send_locked(child, t, t->parent_death_signal, NULL);
}

/* A child gets another parent. */
static void give_child_away_locked(struct process *child, struct process *to)
{
	list_remove(&child->sibling_link.link);
	child->parent = to;
	child->exit_signal = SIGCHLD;
	list_push_back(&to->children, &child->sibling_link.link);
	if (!child->zombie)
		return;
	if (parent_reaps_itself_locked(to, SIGCHLD))
		process_reap_locked(child);
	else
		signal_notify_parent_locked(
		    child, (child->exit_code & 0x7f) ? CLD_KILLED : CLD_EXITED, child->exit_code);
}

/* Tell the parent, or vanish if it does not care. */
static void become_zombie_locked(struct process *p)
{
	bool killed = p->exit_code & 0x7f;
	p->zombie = true;
	p->stopping = false;
	process_set_stopped_locked(p, false);
	signal_queue_flush(&p->pending, ~(sigset_t)0);
	bool vanish = parent_reaps_itself_locked(p->parent, child_signal_locked(p));
	signal_notify_parent_locked(p, killed ? CLD_KILLED : CLD_EXITED,
				    killed ? p->exit_code & 0x7f : p->exit_code >> 8);
	if (vanish)
		process_reap_locked(p);
}

/* Step 5. */
static void process_end(struct process *p)
{
	struct signal_handlers *handlers;
	if (p->sid == p->pid)
		tty_leave_session(p);
	unsigned long irq = proc_lock();
	for (struct process *child; (child = members_first(&p->children));) {
		process_get(child);
		send_death_signals(child, &irq);
		struct process *to = new_parent(p, &irq);
		if (child->parent == p) {
			give_child_away_locked(child, to);
			group_hang_up(group_relate_locked(child), &irq);
		}
		process_put(child);
		proc_unlock(irq);
		signal_nodes_settle();
		irq = proc_lock();
	}
	p->leaving = true;
	group_hang_up(group_relate_locked(p), &irq);
	handlers = p->handlers;
	p->handlers = NULL;
	become_zombie_locked(p);
	proc_unlock(irq);
	signal_nodes_settle();
	signal_handlers_put(handlers);
}

/* Leave the task list; true for the last one of the process. */
static bool leave_tasks(struct task *t)
{
	struct process *p = t->process;
	unsigned long irq = proc_lock();
	t->exited = true;
	tasks_leave_locked(p, t);
	bool last = !p->task_count;
	if (!last)
		user_uncharge(p->user, USER_TASKS, 1); /* the last one's goes when it is reaped */
	/* Without a group exit the status is that of the first thread, whenever it ends. */
	if (!p->exiting && (t->tid == p->pid))
		p->exit_code = t->exit_status;
	if (last && !p->exiting) {
		p->exiting = true;
		p->exit_began = time_monotonic();
	}
	p->dead_user_ns += t->thread.user_ns;
	p->dead_system_ns += t->thread.system_ns;
	p->dead_switches_voluntary += t->thread.switches_voluntary;
	p->dead_switches_forced += t->thread.switches_forced;
	signal_queue_flush(&t->pending, ~(sigset_t)0);
	if (t->tid_entry->task == t)
		t->tid_entry->task = NULL;
	pid_drop(t->tid_entry);
	t->tid_entry = NULL;
	if (!last) {
		if (p->exec_task)
			waitq_wake_all(&p->exec_task->wait);
		/* What it was to take is for others again. */
		if (p->pending.set & ~t->blocked)
			tasks_seek_locked(p, p->pending.set & ~t->blocked);
		if (p->stopping && !p->stopped && p->stopped_tasks == p->task_count) {
			process_set_stopped_locked(p, true);
			p->stop_reported = false;
			signal_notify_parent_locked(p, CLD_STOPPED, p->stop_signal);
		}
	}
	proc_unlock(irq);
	signal_nodes_settle();
	return last;
}

void task_exit(int status)
{
	struct task *t = current_task();
	struct process *p = t->process;
	t->exit_status = status;
	unsigned long irq = proc_lock();
	t->must_exit = true;
	proc_unlock(irq);
	task_release_memory(t);
	fs_exit(t);
	thread_set_space(NULL);
	thread_exit_begins();
	if (leave_tasks(t)) {
		if (p == process_init)
			panic("init (pid 1) ended with status %d, signal %d", p->exit_code >> 8,
			      p->exit_code & 0x7f);
		process_timers_exit(p);
		release_process_memory(p);
		process_end(p);
	}
	thread_exit();
}

void process_exit_group(int status)
{
	struct task *t = current_task();
	unsigned long irq = proc_lock();
	group_exit_locked(t->process, status, t);
	proc_unlock(irq);
	tasks_settle();
	task_exit(status);
}

long sys_exit(uint64_t status)
{
	task_exit((int)(status & 0xff) << 8);
}

long sys_exit_group(uint64_t status)
{
	process_exit_group((int)(status & 0xff) << 8);
}
