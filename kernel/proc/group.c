/* SPDX-License-Identifier: MIT */
/*
 * Process groups and sessions: job control's units.
 *
 * A session is nothing but a number that its members carry; the number's entry (pid.c)
 * counts them. A group's entry has a list of its members besides, who are all of one
 * session.
 *
 * A group is *orphaned* when no member has a parent in the same session but another
 * group: nobody is left who would continue its stopped members. Each member that has such
 * a parent anchors the group, and the entry counts them: every question about a group is
 * answered in one step, however large a program makes it. When an exit orphans a group
 * that has stopped members, they get SIGHUP and SIGCONT (POSIX; the tty code also asks,
 * because members of an orphaned group are not stopped for background access).
 *
 * Sending to a group takes a while if it is large. An interrupt (a terminal's) leaves that
 * to the thread that settles (tell.c).
 *
 *   G1  p->anchors says whether p counts in its group's `anchors`. Who changes what it
 *       depends on (parent, groups, sessions, leaving) relates p anew; a process that
 *       changes its own group relates its children, which takes a while if there are many
 *   G2  a group's `stopped` counts its members with p->stopped
 */
#include "kernel/proc/internal.h"

#include "kernel/syscall/syscalls.h"

static struct list due = {&due, &due}; /* (L) groups with signals that an interrupt has sent */

/* Does p keep its group from being orphaned? Init is nobody's job control. */
static bool is_anchor(const struct process *p)
{
	const struct process *parent = p->parent;
	return !p->leaving && parent && parent != process_init && parent->sid == p->sid &&
	       parent->pgid != p->pgid;
}

struct pid_entry *group_relate_locked(struct process *p)
{
	struct pid_entry *group = p->pgid_entry;
	bool anchors = is_anchor(p);
	if (anchors == p->anchors)
		return NULL;
	p->anchors = anchors;
	group->anchors += anchors ? 1 : -1u;
	if (group->anchors || !group->stopped)
		return NULL;
	pid_use(group);
	return group;
}

/* One that is not to be hung up for this. */
static void relate_quietly(struct process *p)
{
	struct pid_entry *group = group_relate_locked(p);
	if (group)
		pid_drop(group);
}

/* p has another group or session. */
static void relate_children(struct process *p, unsigned long *irq)
{
	struct walk w;
	relate_quietly(p);
	walk_begin(&w, &p->children, WALK_LOOKING, irq);
	for (struct process *child; (child = walk_next(&w));)
		relate_quietly(child);
}

static void group_leave(struct process *p)
{
	list_remove(&p->group_link.link);
	p->pgid_entry->anchors -= p->anchors;
	p->pgid_entry->stopped -= p->stopped;
	p->anchors = false;
	pid_drop(p->pgid_entry);
}

void group_join_locked(struct process *p, struct pid_entry *to)
{
	if (to)
		pid_use(to);
	if (p->pgid_entry)
		group_leave(p);
	p->pgid_entry = to;
	if (!to)
		return;
	p->pgid = to->number;
	list_push_back(&to->group, &p->group_link.link);
	to->stopped += p->stopped;
	relate_quietly(p);
}

void session_join_locked(struct process *p, struct pid_entry *to)
{
	struct pid_entry *from = p->sid_entry;
	if (to) {
		pid_use(to);
		p->sid = to->number;
	}
	p->sid_entry = to;
	if (from)
		pid_drop(from);
}

void process_set_stopped_locked(struct process *p, bool stopped)
{
	if (p->pgid_entry)
		p->pgid_entry->stopped += (uint32_t)stopped - p->stopped;
	p->stopped = stopped;
}

bool group_is_orphaned(pid_t pgid)
{
	unsigned long irq = proc_lock();
	struct pid_entry *group = pid_lookup(pgid);
	bool orphaned = !group || !group->anchors;
	proc_unlock(irq);
	return orphaned;
}

void group_hang_up(struct pid_entry *group, unsigned long *irq)
{
	struct walk w;
	if (!group)
		return;
	walk_begin(&w, &group->group, WALK_SENDING / 2, irq);
	walk_limit(&w);
	for (struct process *p; (p = walk_next(&w));) {
		signal_send_locked(p, NULL, SIGHUP, NULL);
		signal_send_locked(p, NULL, SIGCONT, NULL);
	}
	pid_drop(group);
}

/* To every member of a group that has not ended. */
static int send_to_members(struct pid_entry *group, int sig, const struct siginfo *info,
			   unsigned long *irq)
{
	int result = -ESRCH;
	struct walk w;
	walk_begin(&w, &group->group, WALK_SENDING, irq);
	walk_limit(&w);
	for (struct process *p; (p = walk_next(&w));) {
		if (p->zombie)
			continue;
		if (sig)
			signal_send_locked(p, NULL, sig, info);
		result = 0;
	}
	return result;
}

/* The group with this number, if it is in session sid (0: in any), with a use. */
static struct pid_entry *group_in_session(pid_t pgid, pid_t sid)
{
	struct pid_entry *group = pid_lookup(pgid);
	struct process *member = group ? members_first(&group->group) : NULL;
	if (!member || (sid && member->sid != sid))
		return NULL;
	pid_use(group);
	return group;
}

int signal_send_group(pid_t pgid, pid_t sid, int sig, const struct siginfo *info)
{
	int result = -ESRCH;
	unsigned long irq = proc_lock();
	struct pid_entry *group = group_in_session(pgid, sid);
	if (group) {
		result = send_to_members(group, sig, info, &irq);
		pid_drop(group);
	}
	proc_unlock(irq);
	signal_nodes_settle();
	return result;
}

void signal_send_group_soon(pid_t pgid, pid_t sid, int sig)
{
	unsigned long irq = proc_lock();
	struct pid_entry *group = group_in_session(pgid, sid);
	if (group && !group->due) {
		list_push_back(&due, &group->due_link); /* with the use */
		group->due = SIGSET(sig);
	} else if (group) {
		group->due |= SIGSET(sig);
		pid_drop(group);
	}
	proc_unlock(irq);
	tell_wake();
}

bool groups_due(void)
{
	return __atomic_load_n(&due.next, __ATOMIC_RELAXED) != &due;
}

void groups_settle(void)
{
	unsigned long irq = proc_lock();
	while (!list_empty(&due)) {
		struct pid_entry *group = container_of(due.next, struct pid_entry, due_link);
		sigset_t set = group->due;
		list_remove(&group->due_link);
		group->due = 0;
		for (; set; set &= set - 1)
			(void)send_to_members(group, (int)bit_lowest(set) + 1, NULL, &irq);
		pid_drop(group);
	}
	proc_unlock(irq);
}

pid_t group_session(pid_t pgid)
{
	unsigned long irq = proc_lock();
	struct pid_entry *group = pid_lookup(pgid);
	struct process *member = group ? members_first(&group->group) : NULL;
	pid_t sid = member ? member->sid : -ESRCH;
	proc_unlock(irq);
	return sid;
}

static long set_group(struct process *self, pid_t pid, pid_t pgid, unsigned long *irq)
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
		to = pid_lookup(pgid);
		struct process *member = to ? members_first(&to->group) : NULL;
		if (!member || member->sid != self->sid)
			return -EPERM;
	}
	process_get(p);
	group_join_locked(p, to);
	relate_children(p, irq);
	process_put(p);
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
	long result = set_group(self, pid, pgid, &irq);
	proc_unlock(irq);
	return result;
}

long sys_setsid(void)
{
	struct process *p = current_process();
	long result = -EPERM;
	unsigned long irq = proc_lock();
	if (!members_first(&p->pid_entry->group)) {
		session_join_locked(p, p->pid_entry);
		group_join_locked(p, p->pid_entry);
		relate_children(p, &irq);
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
