/* SPDX-License-Identifier: MIT */
/*
 * May the running program look into another one?
 *
 * The rule is Linux's (ptrace(2), "Ptrace access mode checking"):
 *
 *   - a process may look into itself;
 *   - else all three user numbers and all three group numbers of the other must be
 *     the caller's, or the caller has CAP_SYS_PTRACE;
 *   - and the other's memory is *dumpable*, or the caller has CAP_SYS_PTRACE: who
 *     became somebody else, or runs a program that he may not read, holds what his
 *     owner is not to see, though the numbers are equal by now;
 *   - and the other has no capability that the caller lacks, or CAP_SYS_PTRACE.
 *
 * Whoever asks takes what he asked for under the same hold of proc_lock, and exec
 * changes identity and memory under one: what was taken is what was decided on.
 */
#include "kernel/proc/internal.h"

static bool running_program(void)
{
	struct thread *t = current_thread();
	return t && t->user;
}

bool capable(enum capability cap)
{
	return !running_program() || (current_process()->id.effective & CAP_BIT(cap));
}

bool in_supplementary_group(uint32_t gid)
{
	if (!running_program())
		return false;
	const struct identity *id = &current_process()->id;
	for (uint32_t i = 0; i < id->group_count; i++)
		if (id->groups[i] == gid)
			return true;
	return false;
}

bool in_group(uint32_t gid)
{
	return !running_program() || gid == current_process()->id.fsgid ||
	       in_supplementary_group(gid);
}

static bool same_numbers(const struct identity *other, uint32_t uid, uint32_t gid)
{
	return uid == other->uid && uid == other->euid && uid == other->suid && gid == other->gid &&
	       gid == other->egid && gid == other->sgid;
}

int process_access_locked(const struct process *p, enum access_ids ids)
{
	const struct process *self = current_process();
	const struct identity *own = &self->id;
	bool by_file = ids == ACCESS_BY_FILE_IDS;
	if (p == self || capable(CAP_SYS_PTRACE))
		return 0;
	if (!same_numbers(&p->id, by_file ? own->fsuid : own->uid, by_file ? own->fsgid : own->gid))
		return -EPERM;
	if (p->mm && !p->mm->dumpable)
		return -EPERM;
	uint64_t have = by_file ? own->effective : own->permitted;
	return (p->id.permitted & ~have) ? -EPERM : 0;
}

int process_memory_access_locked(const struct process *p, enum access_ids ids)
{
	return p->mm && p->mm == current_process()->mm ? 0 : process_access_locked(p, ids);
}

struct space *process_space_access(pid_t pid, enum access_ids ids, int *error)
{
	struct space *space = NULL;
	unsigned long irq = proc_lock();
	struct process *p = process_of_number_locked(pid);
	*error = p && p->space ? process_memory_access_locked(p, ids) : -ESRCH;
	if (!*error) {
		space = p->space;
		vmm_space_get(space);
	}
	proc_unlock(irq);
	return space;
}

struct mm_layout *process_mm_access(struct process *p, enum access_ids ids, int *error)
{
	struct mm_layout *mm = NULL;
	unsigned long irq = proc_lock();
	*error = p->mm && process_memory_access_locked(p, ids) ? -EACCES : 0;
	if (!*error && p->mm) {
		mm = p->mm;
		__atomic_add_fetch(&mm->refs, 1, __ATOMIC_SEQ_CST);
	}
	proc_unlock(irq);
	return mm;
}
