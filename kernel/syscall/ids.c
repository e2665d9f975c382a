/* SPDX-License-Identifier: MIT */
/*
 * Who a process is: numbers of users and groups, of itself, of its parent.
 *
 * Identity belongs to the process (the C libraries make it so on Linux, where
 * it belongs to each thread). There is one privilege: effective user 0.
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
	return current_process()->uid;
}

long sys_geteuid(void)
{
	return current_process()->euid;
}

long sys_getgid(void)
{
	return current_process()->gid;
}

long sys_getegid(void)
{
	return current_process()->egid;
}

static bool privileged(void)
{
	return current_process()->euid == 0;
}

/* One identity of three numbers, to check and change alike for users and groups. */
struct triple {
	uint32_t *real, *effective, *saved, *fs;
};

static struct triple user_ids(struct process *p)
{
	return (struct triple){&p->uid, &p->euid, &p->suid, &p->fsuid};
}

static struct triple group_ids(struct process *p)
{
	return (struct triple){&p->gid, &p->egid, &p->sgid, &p->fsgid};
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
		*t->effective = *t->fs = effective;
	if (saved != KEEP)
		*t->saved = saved;
	process_apply_limits(current_process());
}

static long set_one(struct triple t, uint32_t id)
{
	if (id == KEEP)
		return -EINVAL;
	if (privileged())
		assign(&t, id, id, id);
	else if (id == *t.real || id == *t.saved)
		assign(&t, KEEP, id, KEEP);
	else
		return -EPERM;
	return 0;
}

static long set_two(struct triple t, uint32_t real, uint32_t effective)
{
	if (!privileged()) {
		if (real != KEEP && real != *t.real && real != *t.effective)
			return -EPERM;
		if (effective != KEEP && !is_one_of(&t, effective))
			return -EPERM;
	}
	bool save = real != KEEP || (effective != KEEP && effective != *t.real);
	uint32_t now = effective != KEEP ? effective : *t.effective;
	assign(&t, real, effective, save ? now : KEEP);
	return 0;
}

static long set_three(struct triple t, uint32_t real, uint32_t effective, uint32_t saved)
{
	if (!privileged()) {
		uint32_t wanted[3] = {real, effective, saved};
		for (unsigned i = 0; i < 3; i++)
			if (wanted[i] != KEEP && !is_one_of(&t, wanted[i]))
				return -EPERM;
	}
	assign(&t, real, effective, saved);
	return 0;
}

static long get_three(struct triple t, uint64_t real, uint64_t effective, uint64_t saved)
{
	if (copy_to_user(real, t.real, 4) || copy_to_user(effective, t.effective, 4) ||
	    copy_to_user(saved, t.saved, 4))
		return -EFAULT;
	return 0;
}

/* The number for file access alone; returns what it was, whatever happens. */
static long set_fs(struct triple t, uint32_t id)
{
	uint32_t old = *t.fs;
	if (id != KEEP && (privileged() || is_one_of(&t, id) || id == old))
		*t.fs = id;
	return old;
}

long sys_setuid(uint64_t id)
{
	return set_one(user_ids(current_process()), (uint32_t)id);
}

long sys_setgid(uint64_t id)
{
	return set_one(group_ids(current_process()), (uint32_t)id);
}

long sys_setreuid(uint64_t real, uint64_t effective)
{
	return set_two(user_ids(current_process()), (uint32_t)real, (uint32_t)effective);
}

long sys_setregid(uint64_t real, uint64_t effective)
{
	return set_two(group_ids(current_process()), (uint32_t)real, (uint32_t)effective);
}

long sys_setresuid(uint64_t real, uint64_t effective, uint64_t saved)
{
	return set_three(user_ids(current_process()), (uint32_t)real, (uint32_t)effective,
			 (uint32_t)saved);
}

long sys_setresgid(uint64_t real, uint64_t effective, uint64_t saved)
{
	return set_three(group_ids(current_process()), (uint32_t)real, (uint32_t)effective,
			 (uint32_t)saved);
}

long sys_getresuid(uint64_t real, uint64_t effective, uint64_t saved)
{
	return get_three(user_ids(current_process()), real, effective, saved);
}

long sys_getresgid(uint64_t real, uint64_t effective, uint64_t saved)
{
	return get_three(group_ids(current_process()), real, effective, saved);
}

long sys_setfsuid(uint64_t id)
{
	return set_fs(user_ids(current_process()), (uint32_t)id);
}

long sys_setfsgid(uint64_t id)
{
	return set_fs(group_ids(current_process()), (uint32_t)id);
}

long sys_getgroups(uint64_t size_arg, uint64_t at)
{
	struct process *p = current_process();
	int size = (int)size_arg;
	if (size < 0)
		return -EINVAL;
	if (size == 0)
		return p->group_count;
	if ((uint32_t)size < p->group_count)
		return -EINVAL;
	if (copy_to_user(at, p->groups, p->group_count * sizeof(p->groups[0])))
		return -EFAULT;
	return p->group_count;
}

long sys_setgroups(uint64_t count, uint64_t at)
{
	struct process *p = current_process();
	uint32_t groups[GROUPS_MAX];
	if (!privileged())
		return -EPERM;
	if ((uint32_t)count > GROUPS_MAX)
		return -EINVAL;
	if (copy_from_user(groups, at, (uint32_t)count * sizeof(groups[0])))
		return -EFAULT;
	memcpy(p->groups, groups, (uint32_t)count * sizeof(groups[0]));
	p->group_count = (uint32_t)count;
	return 0;
}

/* ---- capabilities: all or none ---- */

#define CAP_VERSION_1 0x19980330u
#define CAP_VERSION_2 0x20071026u
#define CAP_VERSION_3 0x20080522u
#define CAP_ALL       0x1ffffffffffull /* 41 of them, as Linux 6.1 */

struct cap_header_user {
	uint32_t version;
	int32_t pid;
};
struct cap_data_user {
	uint32_t effective, permitted, inheritable;
};

static long cap_words(uint64_t header_at, struct cap_header_user *h, unsigned *words)
{
	if (copy_from_user(&h->version, header_at, sizeof(h->version)))
		return -EFAULT;
	if (h->version == CAP_VERSION_1) {
		*words = 1;
	} else if (h->version == CAP_VERSION_2 || h->version == CAP_VERSION_3) {
		*words = 2;
	} else {
		uint32_t ours = CAP_VERSION_3;
		if (copy_to_user(header_at, &ours, sizeof(ours)))
			return -EFAULT;
		return -EINVAL;
	}
	return copy_from_user(h, header_at, sizeof(*h));
}

long sys_capget(uint64_t header_at, uint64_t data_at)
{
	struct cap_header_user h;
	struct cap_data_user data[2];
	unsigned words;
	long error = cap_words(header_at, &h, &words);
	if (error)
		return error == -EINVAL && !data_at ? 0 : error;
	if (h.pid < 0)
		return -EINVAL;
	struct process *p = process_find(h.pid ? h.pid : current_process()->pid);
	if (!p)
		return -ESRCH;
	uint64_t all = p->euid == 0 ? CAP_ALL : 0;
	process_put(p);
	for (unsigned i = 0; i < 2; i++)
		data[i] = (struct cap_data_user){(uint32_t)(all >> (32 * i)),
						 (uint32_t)(all >> (32 * i)), 0};
	return data_at ? copy_to_user(data_at, data, words * sizeof(data[0])) : 0;
}

/* There is nothing between all and none: giving up some is refused, not pretended. */
long sys_capset(uint64_t header_at, uint64_t data_at)
{
	struct cap_header_user h;
	struct cap_data_user data[2] = {{0, 0, 0}, {0, 0, 0}};
	unsigned words;
	long error = cap_words(header_at, &h, &words);
	if (error)
		return error;
	if (copy_from_user(data, data_at, words * sizeof(data[0])))
		return -EFAULT;
	uint64_t all = privileged() ? CAP_ALL : 0;
	uint64_t effective = data[0].effective | (uint64_t)data[1].effective << 32;
	uint64_t permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	if (h.pid != 0 && h.pid != current_process()->pid)
		return -EPERM;
	return (effective & CAP_ALL) == all && (permitted & CAP_ALL) == all ? 0 : -EPERM;
}
