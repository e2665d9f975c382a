/* SPDX-License-Identifier: MIT */
/*
 * Process groups and sessions: job control's units.
 *
 * A group or session is nothing but a number that its members carry; the
 * number's entry (pid.c) counts them. A group is *orphaned* when no member has
 * a parent in the same session but another group: nobody is left who would
 * continue its stopped members. When an exit orphans a group that has stopped
 * members, they get SIGHUP and SIGCONT (POSIX; the tty code also asks, because
 * members of an orphaned group are not stopped for background access).
 */
#include "kernel/proc/internal.h"

#include "kernel/syscall/syscalls.h"

void group_change_locked(struct pid_entry **slot, pid_t *number, struct pid_entry *to)
{
	struct pid_entry *from = *slot;
	pid_use(to);
	*slot = to;
	*number = to->number;
	if (from)
		pid_drop(from);
}

/* Does p keep its group from being orphaned? Init is nobody's job control. */
static bool anchors_group(const struct process *p)
{
	const struct process *parent = p->parent;
	return !p->zombie && parent && parent != process_init && parent->sid == p->sid &&
	       parent->pgid != p->pgid;
}

bool group_is_orphaned_locked(pid_t pgid, const struct process *without)
{
	list_for_each (link, &process_all) {
		struct process *p = process_of_link(link);
		if (p->pgid == pgid && p != without && anchors_group(p))
			return false;
	}
	return true;
}

bool group_is_orphaned(pid_t pgid)
{
	unsigned long irq = proc_lock();
	bool orphaned = group_is_orphaned_locked(pgid, NULL);
	proc_unlock(irq);
	return orphaned;
}

static bool group_has_stopped(pid_t pgid)
{
	list_for_each (link, &process_all) {
		struct process *p = process_of_link(link);
		if (p->pgid == pgid && !p->zombie && p->stopped)
			return true;
	}
	return false;
}

static void group_hang_up_locked(pid_t pgid)
{
	list_for_each (link, &process_all) {
		struct process *p = process_of_link(link);
		if (p->pgid != pgid || p->zombie)
			continue;
		signal_send_locked(p, NULL, SIGHUP, NULL);
		signal_send_locked(p, NULL, SIGCONT, NULL);
	}
}

/* `p` was in its parent's session but another group, so its link to `parent`
 * mattered; that link is going. */
void group_check_orphans_locked(struct process *p, struct process *parent)
{
	if (!parent || parent->sid != p->sid || parent->pgid == p->pgid)
		return;
	if (group_has_stopped(p->pgid) && group_is_orphaned_locked(p->pgid, p))
		group_hang_up_locked(p->pgid);
}

int signal_send_group(pid_t pgid, pid_t sid, int sig, const struct siginfo *info)
{
	int result = -ESRCH;
	unsigned long irq = proc_lock();
	list_for_each (link, &process_all) {
		struct process *p = process_of_link(link);
		if (p->pgid == pgid && (!sid || p->sid == sid) && !p->zombie) {
			if (sig)
				signal_send_locked(p, NULL, sig, info);
			result = 0;
		}
	}
	proc_unlock(irq);
	return result;
}

static long set_group_locked(struct process *self, pid_t pid, pid_t pgid)
{
	struct pid_entry *entry = pid_lookup(pid);
	struct process *p = entry ? entry->process : NULL;
	if (!p || p->zombie)
		return -ESRCH;
	if (p->parent == self) {
		if (p->sid != self->sid)
			return -EPERM;
		if (p->execed)
			return -EACCES;
	} else if (p != self) {
		return -ESRCH;
	}
	if (p->sid == p->pid)
		return -EPERM; /* a session leader */
	struct pid_entry *to = p->pid_entry;
	if (pgid != pid) {
		bool exists = false;
		list_for_each (link, &process_all) {
			struct process *member = process_of_link(link);
			if (member->pgid == pgid && member->sid == self->sid)
				exists = true;
		}
		to = pid_lookup(pgid);
		if (!exists || !to)
			return -EPERM;
	}
	group_change_locked(&p->pgid_entry, &p->pgid, to);
	return 0;
}

long sys_setpgid(uint64_t pid_arg, uint64_t pgid_arg)
{
	struct process *self = current_process();
	pid_t pid = (pid_t)pid_arg, pgid = (pid_t)pgid_arg;
	if (pid == 0)
		pid = self->pid;
	if (pgid == 0)
		pgid = pid;
	if (pgid < 0)
		return -EINVAL;
	unsigned long irq = proc_lock();
	long result = set_group_locked(self, pid, pgid);
	proc_unlock(irq);
	return result;
}

long sys_setsid(void)
{
	struct process *p = current_process();
	long result = -EPERM;
	bool taken = false;
	unsigned long irq = proc_lock();
	list_for_each (link, &process_all)
		taken |= process_of_link(link)->pgid == p->pid;
	if (!taken) {
		group_change_locked(&p->pgid_entry, &p->pgid, p->pid_entry);
		group_change_locked(&p->sid_entry, &p->sid, p->pid_entry);
		p->tty = NULL;
		result = p->pid;
	}
	proc_unlock(irq);
	return result;
}

static long group_number(pid_t pid, bool session)
{
	struct process *self = current_process();
	if (pid == 0)
		return session ? self->sid : self->pgid;
	unsigned long irq = proc_lock();
	struct pid_entry *entry = pid_lookup(pid);
	struct process *p = entry ? entry->process : NULL;
	if (!p && entry && entry->task)
		p = entry->task->process;
	long result = p ? (session ? p->sid : p->pgid) : -ESRCH;
	proc_unlock(irq);
	return result;
}

long sys_getpgid(uint64_t pid)
{
	return group_number((pid_t)pid, false);
}

long sys_getpgrp(void)
{
	return group_number(0, false);
}

long sys_getsid(uint64_t pid)
{
	return group_number((pid_t)pid, true);
}
