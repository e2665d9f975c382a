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
#include <kernel/account.h>

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
	kassert(new->uid == user_number(p->user));
	if (new->euid != old->euid || new->egid != old->egid || new->fsuid != old->fsuid ||
	    new->fsgid != old->fsgid || (new->permitted & ~old->permitted)) {
		if (p->mm)
			p->mm->dumpable = false;
		t->parent_death_signal = 0;
	}
	p->id = *new;
}

/* Its tasks count as those of the new user from now on; whatever else was charged to the
 * old one stays there. The old user is handed back in *u. */
static void exchange_user_locked(struct process *p, struct user **u)
{
	struct user *old = p->user;
	user_uncharge(old, USER_TASKS, p->task_count);
	kassert(user_charge(*u, USER_TASKS, p->task_count, UINT64_MAX));
	p->user = *u;
	*u = old;
}

/* One try, with the user that the one before has asked for in *u, or NULL. -ERESTARTSYS:
 * *uid is whose user it takes. */
static long try_change(long (*rule)(struct identity *id, void *arg), void *arg, struct user **u,
		       uint32_t *uid)
{
	struct task *t = current_task();
	struct process *p = t->process;
	unsigned long irq = proc_lock();
	struct identity id = p->id;
	long result = rule(&id, arg);
	if (result >= 0 && id.uid != user_number(p->user)) {
		if (*u && user_number(*u) == id.uid) {
			exchange_user_locked(p, u);
		} else {
			*uid = id.uid;
			result = -ERESTARTSYS;
		}
	}
	if (result >= 0)
		identity_set_locked(t, &id);
	proc_unlock(irq);
	return result;
}

long identity_change(long (*rule)(struct identity *id, void *arg), void *arg)
{
	struct user *u = NULL;
	uint32_t uid = 0;
	long result;
	while ((result = try_change(rule, arg, &u, &uid)) == -ERESTARTSYS) {
		user_put(u);
		if (!(u = user_get(uid)))
			return -EAGAIN; /* as Linux says it */
	}
	user_put(u);
	if (result >= 0)
		process_apply_limits(current_process());
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
