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

static uint64_t limit_npages(uint64_t bytes)
{
	return bytes == RLIM_INFINITY ? UINT64_MAX : bytes / PAGE_SIZE;
}

void process_apply_limits(struct process *p)
{
	struct vmm_space_limits limits = {
	    .virt_npages = limit_npages(rlimit_soft(p, RLIMIT_AS)),
	    .data_npages = limit_npages(rlimit_soft(p, RLIMIT_DATA)),
	    .stack_npages = limit_npages(rlimit_soft(p, RLIMIT_STACK)),
	    /* CAP_IPC_LOCK: root may lock all it has. */
	    .locked_npages =
		p->euid == 0 ? UINT64_MAX : limit_npages(rlimit_soft(p, RLIMIT_MEMLOCK)),
	    .area_count = AREA_LIMIT,
	};
	struct space *space = process_space_get(p);
	if (!space)
		return;
	vmm_space_set_limits(space, &limits);
	vmm_space_put(space);
}

struct rlimit_user {
	uint64_t soft, hard;
};

static long set_limit(struct process *p, unsigned which, const struct rlimit_user *new)
{
	struct process *self = current_process();
	if (new->soft > new->hard)
		return -EINVAL;
	if (which == RLIMIT_NOFILE && new->hard > NR_OPEN_MAX)
		return -EPERM;
	if (new->hard > p->rlimit[which][1] && self->euid != 0)
		return -EPERM;
	unsigned long irq = proc_lock();
	p->rlimit[which][0] = new->soft;
	p->rlimit[which][1] = new->hard;
	if (which == RLIMIT_CPU) {
		p->cpu_limit_next = 0;
		p->cpu_timers_armed = true; /* the check finds out whether it is needed */
	}
	proc_unlock(irq);
	process_apply_limits(p);
	return 0;
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
	long result = 0;
	if (p != self && self->euid != 0 && (self->uid != p->uid || self->uid != p->suid))
		result = -EPERM;
	old = (struct rlimit_user){p->rlimit[which][0], p->rlimit[which][1]};
	if (!result && new_at)
		result = set_limit(p, which, &new);
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
	struct rlimit_user new;
	if (copy_from_user(&new, at, sizeof(new)))
		return -EFAULT;
	if ((unsigned)which >= RLIMIT_COUNT)
		return -EINVAL;
	return set_limit(current_process(), (unsigned)which, &new);
}
