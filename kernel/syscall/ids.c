/* SPDX-License-Identifier: MIT */
/*
 * Who a process is: numbers of users and groups, of itself, of its parent.
 *
 * Identity belongs to the process (the C libraries make it so on Linux, where
 * it belongs to each thread). A call is a rule that makes a new identity of the
 * old; identity_change decides and changes in one step.
 */
#include "kernel/proc/internal.h"
#include <kernel/uaccess.h>

#include "kernel/syscall/syscalls.h"

#define KEEP UINT32_MAX /* -1: leave as it is */

long sys_getpid(void)
{
	return current_process()->pid;
}

long sys_gettid(void)
{
	return current_task()->tid;
}

long sys_getppid(void)
{
	unsigned long irq = proc_lock();
	struct process *parent = current_process()->parent;
	long pid = parent ? parent->pid : 0;
	proc_unlock(irq);
	return pid;
}

long sys_set_tid_address(uint64_t at)
{
	current_task()->clear_child_tid = at;
	return current_task()->tid;
}

long sys_getuid(void)
{
	return current_process()->id.uid;
}

long sys_geteuid(void)
{
	return current_process()->id.euid;
}

long sys_getgid(void)
{
	return current_process()->id.gid;
}

long sys_getegid(void)
{
	return current_process()->id.egid;
}

/* ---- changing: rules for identity_change ---- */

/* One identity of four numbers, to check and change alike for users and groups. */
struct triple {
	uint32_t *real, *effective, *saved, *fs;
	enum capability any; /* with it, any number will do */
};

/* What a call asks for. */
struct wish {
	bool user; /* else group */
	uint32_t real, effective, saved;
};

static struct triple ids_of(struct identity *id, bool user)
{
	return user ? (struct triple){&id->uid, &id->euid, &id->suid, &id->fsuid, CAP_SETUID}
		    : (struct triple){&id->gid, &id->egid, &id->sgid, &id->fsgid, CAP_SETGID};
}

static bool is_one_of(const struct triple *t, uint32_t id)
{
	return id == *t->real || id == *t->effective || id == *t->saved;
}

static void assign(const struct triple *t, uint32_t real, uint32_t effective, uint32_t saved)
{
	if (real != KEEP)
		*t->real = real;
	if (effective != KEEP)
		*t->effective = effective;
	if (saved != KEEP)
		*t->saved = saved;
	*t->fs = *t->effective;
}

static long set_one(const struct triple *t, const struct wish *w)
{
	uint32_t id = w->effective;
	if (id == KEEP)
		return -EINVAL;
	if (capable(t->any))
		assign(t, id, id, id);
	else if (id == *t->real || id == *t->saved)
		assign(t, KEEP, id, KEEP);
	else
		return -EPERM;
	return 0;
}

static long set_two(const struct triple *t, const struct wish *w)
{
	uint32_t real = w->real, effective = w->effective;
	if (!capable(t->any)) {
		if (real != KEEP && real != *t->real && real != *t->effective)
			return -EPERM;
		if (effective != KEEP && !is_one_of(t, effective))
			return -EPERM;
	}
	bool save = real != KEEP || (effective != KEEP && effective != *t->real);
	uint32_t now = effective != KEEP ? effective : *t->effective;
	assign(t, real, effective, save ? now : KEEP);
	return 0;
}

static long set_three(const struct triple *t, const struct wish *w)
{
	const uint32_t wanted[3] = {w->real, w->effective, w->saved};
	for (unsigned i = 0; i < 3 && !capable(t->any); i++)
		if (wanted[i] != KEEP && !is_one_of(t, wanted[i]))
			return -EPERM;
	assign(t, w->real, w->effective, w->saved);
	return 0;
}

/* The number for file access alone; whatever happens, what it was is the result. */
static long set_fs(const struct triple *t, const struct wish *w)
{
	uint32_t old = *t->fs, id = w->effective;
	if (id != KEEP && (capable(t->any) || is_one_of(t, id) || id == old))
		*t->fs = id;
	return old;
}

struct id_call {
	long (*rule)(const struct triple *t, const struct wish *w);
	struct wish wish;
};

static long apply(struct identity *id, void *arg)
{
	const struct id_call *call = arg;
	const struct identity old = *id;
	struct triple t = ids_of(id, call->wish.user);
	long result = call->rule(&t, &call->wish);
	if (result >= 0 && call->wish.user)
		identity_fix_capabilities(&old, id);
	return result;
}

static long change_ids(long (*rule)(const struct triple *t, const struct wish *w), bool user,
		       uint64_t real, uint64_t effective, uint64_t saved)
{
	struct id_call call = {rule, {user, (uint32_t)real, (uint32_t)effective, (uint32_t)saved}};
	return identity_change(apply, &call);
}

long sys_setuid(uint64_t id)
{
	return change_ids(set_one, true, KEEP, id, KEEP);
}

long sys_setgid(uint64_t id)
{
	return change_ids(set_one, false, KEEP, id, KEEP);
}

long sys_setreuid(uint64_t real, uint64_t effective)
{
	return change_ids(set_two, true, real, effective, KEEP);
}

long sys_setregid(uint64_t real, uint64_t effective)
{
	return change_ids(set_two, false, real, effective, KEEP);
}

long sys_setresuid(uint64_t real, uint64_t effective, uint64_t saved)
{
	return change_ids(set_three, true, real, effective, saved);
}

long sys_setresgid(uint64_t real, uint64_t effective, uint64_t saved)
{
	return change_ids(set_three, false, real, effective, saved);
}

long sys_setfsuid(uint64_t id)
{
	return change_ids(set_fs, true, KEEP, id, KEEP);
}

long sys_setfsgid(uint64_t id)
{
	return change_ids(set_fs, false, KEEP, id, KEEP);
}

static long get_three(bool user, uint64_t real, uint64_t effective, uint64_t saved)
{
	struct identity id = identity_now(current_process());
	struct triple t = ids_of(&id, user);
	if (copy_to_user(real, t.real, 4) || copy_to_user(effective, t.effective, 4) ||
	    copy_to_user(saved, t.saved, 4))
		return -EFAULT;
	return 0;
}

long sys_getresuid(uint64_t real, uint64_t effective, uint64_t saved)
{
	return get_three(true, real, effective, saved);
}

long sys_getresgid(uint64_t real, uint64_t effective, uint64_t saved)
{
	return get_three(false, real, effective, saved);
}

/* ---- supplementary groups ---- */

long sys_getgroups(uint64_t size_arg, uint64_t at)
{
	struct identity id = identity_now(current_process());
	int size = (int)size_arg;
	if (size < 0)
		return -EINVAL;
	if (size == 0)
		return id.group_count;
	if ((uint32_t)size < id.group_count)
		return -EINVAL;
	if (copy_to_user(at, id.groups, id.group_count * sizeof(id.groups[0])))
		return -EFAULT;
	return id.group_count;
}

struct groups_wish {
	uint32_t group[GROUPS_MAX], count;
};

static long set_groups(struct identity *id, void *arg)
{
	const struct groups_wish *w = arg;
	if (!capable(CAP_SETGID))
		return -EPERM;
	memcpy(id->groups, w->group, w->count * sizeof(w->group[0]));
	id->group_count = w->count;
	return 0;
}

long sys_setgroups(uint64_t count, uint64_t at)
{
	struct groups_wish w;
	if (!capable(CAP_SETGID))
		return -EPERM;
	if ((uint32_t)count > GROUPS_MAX)
		return -EINVAL;
	w.count = (uint32_t)count;
	if (copy_from_user(w.group, at, w.count * sizeof(w.group[0])))
		return -EFAULT;
	return identity_change(set_groups, &w);
}
