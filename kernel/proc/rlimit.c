/* SPDX-License-Identifier: MIT */
/*
 * Resource limits. The memory ones are enforced by mem/, which is told them
 * whenever they change or a space is made; the others where they are used.
 */
#include "kernel/proc/internal.h"
#include <kernel/uaccess.h>

#include "kernel/syscall/syscalls.h"

#define AREA_LIMIT  65530 /* mappings per process, as on Linux */
#define NR_OPEN_MAX 1048576
/* Mappings of one file, at different distances, that all processes of a user have
 * together: 64 for each of 32,768 processes. A program or a library takes one or two in
 * every process, and a process has AREA_LIMIT mappings at most. To take one of them down
 * is some 200 instructions' work, so root's truncation waits for half a second at most. */
#define FILE_MAPS_LIMIT ((uint64_t)1 << 21)

static uint64_t limit_npages(uint64_t bytes)
{
	return bytes == RLIM_INFINITY ? UINT64_MAX : bytes / PAGE_SIZE;
}

static struct vmm_space_limits memory_limits_locked(const struct process *p)
{
	bool may_lock = p->id.effective & CAP_BIT(CAP_IPC_LOCK);
	return (struct vmm_space_limits){
	    .virt_npages = limit_npages(rlimit_soft(p, RLIMIT_AS)),
	    .data_npages = limit_npages(rlimit_soft(p, RLIMIT_DATA)),
	    .stack_npages = limit_npages(rlimit_soft(p, RLIMIT_STACK)),
	    .locked_npages = may_lock ? UINT64_MAX : limit_npages(rlimit_soft(p, RLIMIT_MEMLOCK)),
	    .area_count = AREA_LIMIT,
	};
}

/* What p runs in, with references; NULL: it has ended. */
static struct space *hold_space(struct process *p, struct mm_layout **mm)
{
	unsigned long irq = proc_lock();
	struct space *space = p->space;
	if (space) {
		vmm_space_get(space);
		__atomic_add_fetch(&p->mm->refs, 1, __ATOMIC_SEQ_CST);
		*mm = p->mm;
	}
	proc_unlock(irq);
	return space;
}

void space_set_user(struct space *space, uint32_t uid)
{
	vmm_space_set_owner(space, uid, FILE_MAPS_LIMIT);
}

/* Who changes limits or identity comes here afterwards, and the last to come reads the
 * last of them: so the lock around reading and telling. */
void process_apply_limits(struct process *p)
{
	struct mm_layout *mm;
	struct space *space = hold_space(p, &mm);
	if (!space)
		return;
	mutex_lock(&mm->lock);
	unsigned long irq = proc_lock();
	struct vmm_space_limits limits = memory_limits_locked(p);
	uint32_t uid = p->id.uid;
	proc_unlock(irq);
	vmm_space_set_limits(space, &limits);
	space_set_user(space, uid);
	mutex_unlock(&mm->lock);
	mm_layout_put(mm);
	vmm_space_put(space);
}

struct rlimit_user {
	uint64_t soft, hard;
};

/* Unlike looking into a process: it need not be dumpable, and CAP_SYS_RESOURCE will do. */
static bool may_limit_locked(const struct process *p)
{
	const struct process *self = current_process();
	const struct identity *own = &self->id, *other = &p->id;
	return p == self || capable(CAP_SYS_RESOURCE) ||
	       (own->uid == other->uid && own->uid == other->euid && own->uid == other->suid &&
		own->gid == other->gid && own->gid == other->egid && own->gid == other->sgid);
}

static long change_limit_locked(struct process *p, unsigned which, const struct rlimit_user *new)
{
	if (new->hard > p->rlimit[which][1] && !capable(CAP_SYS_RESOURCE))
		return -EPERM;
	p->rlimit[which][0] = new->soft;
	p->rlimit[which][1] = new->hard;
	if (which == RLIMIT_CPU) {
		p->cpu_limit_next = 0;
		p->cpu_timers_armed = true; /* the check finds out whether it is needed */
	}
	return 0;
}

/* Read the old limit, and set the new one if there is one: with the right to, in one step. */
static long exchange_limit(struct process *p, unsigned which, const struct rlimit_user *new,
			   struct rlimit_user *old)
{
	if (new &&new->soft > new->hard)
		return -EINVAL;
	if (new &&which == RLIMIT_NOFILE &&new->hard > NR_OPEN_MAX)
		return -EPERM;
	unsigned long irq = proc_lock();
	long result = may_limit_locked(p) ? 0 : -EPERM;
	*old = (struct rlimit_user){p->rlimit[which][0], p->rlimit[which][1]};
	if (!result && new)
		result = change_limit_locked(p, which, new);
	proc_unlock(irq);
	if (!result && new)
		process_apply_limits(p);
	return result;
}

long sys_prlimit64(uint64_t pid, uint64_t which_arg, uint64_t new_at, uint64_t old_at)
{
	unsigned which = (unsigned)which_arg;
	struct process *self = current_process();
	struct rlimit_user new, old;
	if (which >= RLIMIT_COUNT)
		return -EINVAL;
	if (new_at && copy_from_user(&new, new_at, sizeof(new)))
		return -EFAULT;
	struct process *p = process_find((pid_t)pid ? (pid_t)pid : self->pid);
	if (!p)
		return -ESRCH;
	long result = exchange_limit(p, which, new_at ? &new : NULL, &old);
	process_put(p);
	if (!result && old_at)
		result = copy_to_user(old_at, &old, sizeof(old));
	return result;
}

long sys_getrlimit(uint64_t which, uint64_t at)
{
	const struct process *p = current_process();
	if ((unsigned)which >= RLIMIT_COUNT)
		return -EINVAL;
	struct rlimit_user now = {p->rlimit[(unsigned)which][0], p->rlimit[(unsigned)which][1]};
	return copy_to_user(at, &now, sizeof(now));
}

long sys_setrlimit(uint64_t which, uint64_t at)
{
	struct rlimit_user new, old;
	if (copy_from_user(&new, at, sizeof(new)))
		return -EFAULT;
	if ((unsigned)which >= RLIMIT_COUNT)
		return -EINVAL;
	return exchange_limit(current_process(), (unsigned)which, &new, &old);
}
