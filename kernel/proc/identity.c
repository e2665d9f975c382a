/* SPDX-License-Identifier: MIT */
/*
 * How identities change: one value replaces another, under proc_lock.
 *
 * Capabilities follow the user numbers as on Linux: who gives up user 0 in all three
 * numbers gives up what he was permitted, an effective 0 makes the permitted ones
 * effective, and a program that starts with user 0, real or effective, starts with all
 * that its bounding set allows. Files carry no capabilities here, and there are no
 * ambient ones.
 */
#include "kernel/proc/internal.h"

struct identity identity_now(const struct process *p)
{
	unsigned long irq = proc_lock();
	struct identity id = p->id;
	proc_unlock(irq);
	return id;
}

/* What a file system number of 0 is worth. */
#define CAP_FILES                                                                                  \
	(CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_MKNOD) | CAP_BIT(CAP_DAC_OVERRIDE) |                     \
	 CAP_BIT(CAP_DAC_READ_SEARCH) | CAP_BIT(CAP_FOWNER) | CAP_BIT(CAP_FSETID) |                \
	 CAP_BIT(CAP_LINUX_IMMUTABLE) | CAP_BIT(CAP_MAC_OVERRIDE))

void identity_fix_capabilities(const struct identity *old, struct identity *new)
{
	bool had_root = !old->uid || !old->euid || !old->suid;
	bool has_root = !new->uid || !new->euid || !new->suid;
	if (had_root && !has_root && !old->keep_caps)
		new->permitted = new->effective = 0;
	if (!old->euid && new->euid)
		new->effective = 0;
	else if (old->euid && !new->euid)
		new->effective = new->permitted;
	else if (!old->fsuid && new->fsuid)
		new->effective &= ~CAP_FILES;
	else if (old->fsuid && !new->fsuid)
		new->effective |= new->permitted &CAP_FILES;
}

void identity_set_locked(struct task *t, const struct identity *new)
{
	struct process *p = t->process;
	const struct identity *old = &p->id;
	if (new->euid != old->euid || new->egid != old->egid || new->fsuid != old->fsuid ||
	    new->fsgid != old->fsgid || (new->permitted & ~old->permitted)) {
		if (p->mm)
			p->mm->dumpable = false;
		t->parent_death_signal = 0;
	}
	p->id = *new;
}

long identity_change(long (*rule)(struct identity *id, void *arg), void *arg)
{
	struct task *t = current_task();
	unsigned long irq = proc_lock();
	struct identity id = t->process->id;
	long result = rule(&id, arg);
	if (result >= 0)
		identity_set_locked(t, &id);
	proc_unlock(irq);
	if (result >= 0)
		process_apply_limits(t->process);
	return result;
}

#define S_ISUID 04000u
#define S_ISGID 02000u
#define S_IXGRP 00010u

struct identity identity_exec(const struct identity *old, const struct program_owner *owner,
			      bool shared, bool *set_id, bool *secure)
{
	struct identity new = *old;
	*set_id = false;
	if (!old->no_new_privs && (owner->mode & S_ISUID)) {
		new.euid = owner->uid;
		*set_id = true;
	}
	if (!old->no_new_privs && (owner->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)) {
		new.egid = owner->gid;
		*set_id = true;
	}
	bool root = !new.uid || !new.euid, root_now = !new.euid;
	new.permitted = root ? old->bounding | old->inheritable : 0;
	bool other = new.euid != old->uid || new.egid != old->gid;
	/* Whoever shares its directory or umask would steer a program that is more than he. */
	if ((other || (new.permitted & ~old->permitted)) && (shared || old->no_new_privs)) {
		if (!(old->effective & CAP_BIT(CAP_SETUID)) || old->no_new_privs) {
			new.euid = new.uid;
			new.egid = new.gid;
		}
		new.permitted &= old->permitted;
	}
	new.suid = new.fsuid = new.euid;
	new.sgid = new.fsgid = new.egid;
	new.effective = root_now ? new.permitted : 0;
	new.keep_caps = false;
	*secure = other || (new.uid &&new.permitted &&root_now);
	return new;
}
