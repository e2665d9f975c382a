/* SPDX-License-Identifier: MIT */
/*
 * Scheduling calls. The scheduler is round robin over all runnable threads;
 * policy, priority and nice value are kept for whoever asks, as on a Linux
 * whose realtime classes are given no precedence.
 */
#include "kernel/proc/internal.h"
#include <kernel/cpu.h>
#include <kernel/uaccess.h>
#include <mem/host.h>

#include "kernel/syscall/syscalls.h"
#include "kernel/syscall/time.h"

enum { SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE = 5, SCHED_DEADLINE };
#define SCHED_RESET_ON_FORK 0x40000000
#define ROUND_ROBIN_NS      4000000ull

long sys_sched_yield(void)
{
	sched_yield();
	return 0;
}

/* Run `act` on a task named by number (0: the caller's) under proc_lock. */
static long with_task(uint64_t tid, long (*act)(struct task *, void *), void *arg)
{
	if ((pid_t)tid < 0)
		return -EINVAL;
	unsigned long irq = proc_lock();
	struct task *t = (pid_t)tid ? task_find_locked((pid_t)tid) : current_task();
	long result = t ? act(t, arg) : -ESRCH;
	proc_unlock(irq);
	return result;
}

static bool is_owner(const struct process *p)
{
	uint32_t euid = current_process()->id.euid;
	return euid == p->id.uid || euid == p->id.euid || capable(CAP_SYS_NICE);
}

/* Who has capabilities that the caller lacks is not slowed down by him either. */
static bool is_weaker(const struct process *p)
{
	return !(p->id.permitted & ~current_process()->id.effective) || capable(CAP_SYS_NICE);
}

static bool may_change(const struct task *t)
{
	return is_owner(t->process) && is_weaker(t->process);
}

/* ---- where ---- */

static long get_affinity(struct task *t, void *arg)
{
	*(struct cpumask *)arg = t->thread.affinity;
	return 0;
}

long sys_sched_getaffinity(uint64_t tid, uint64_t bytes, uint64_t at)
{
	struct cpumask mask;
	unsigned cpus = cpu_count(), need = (cpus + 7) / 8;
	if ((unsigned)bytes < need || ((unsigned)bytes & 7))
		return -EINVAL;
	long error = with_task(tid, get_affinity, &mask);
	if (error)
		return error;
	for (unsigned cpu = cpus; cpu < MEM_MAX_CPUS; cpu++)
		cpumask_clear(&mask, cpu);
	uint64_t size = mem_min((uint64_t)(unsigned)bytes, (uint64_t)sizeof(mask));
	return copy_to_user(at, &mask, size) ? -EFAULT : (long)size;
}

static long set_affinity_of(struct task *t, void *arg)
{
	return may_change(t) ? thread_set_affinity(&t->thread, arg) : -EPERM;
}

long sys_sched_setaffinity(uint64_t tid, uint64_t bytes, uint64_t at)
{
	struct cpumask mask = {{0}};
	uint64_t size = mem_min((uint64_t)(unsigned)bytes, (uint64_t)sizeof(mask));
	if (copy_from_user(&mask, at, size))
		return -EFAULT;
	/* Our own thread may have to move at once, which is not done under a lock. */
	if ((pid_t)tid == 0 || (pid_t)tid == current_task()->tid)
		return thread_set_affinity(current_thread(), &mask);
	return with_task(tid, set_affinity_of, &mask);
}

long sys_getcpu(uint64_t cpu_at, uint64_t node_at, uint64_t cache)
{
	(void)cache;
	uint32_t cpu = current_thread()->cpu, node = 0;
	if (cpu_at && copy_to_user(cpu_at, &cpu, sizeof(cpu)))
		return -EFAULT;
	return node_at ? copy_to_user(node_at, &node, sizeof(node)) : 0;
}

/* ---- policy ---- */

static long get_policy(struct task *t, void *arg)
{
	(void)arg;
	return t->thread.policy;
}

long sys_sched_getscheduler(uint64_t tid)
{
	return with_task(tid, get_policy, NULL);
}

static bool is_realtime(int policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR;
}

struct policy_change {
	int policy; /* -1: the one it has */
	int priority;
};

static long set_policy(struct task *t, void *arg)
{
	struct policy_change *change = arg;
	int policy = change->policy < 0 ? t->thread.policy : change->policy;
	if (policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE &&
	    !is_realtime(policy))
		return -EINVAL;
	if (is_realtime(policy) ? change->priority < 1 || change->priority > 99
				: change->priority != 0)
		return -EINVAL;
	if (!may_change(t) || (is_realtime(policy) && !capable(CAP_SYS_NICE)))
		return -EPERM;
	t->thread.policy = (uint8_t)policy;
	t->priority = (uint8_t)change->priority;
	return 0;
}

long sys_sched_setscheduler(uint64_t tid, uint64_t policy, uint64_t param)
{
	struct policy_change change;
	if ((int)policy < 0 || !param)
		return -EINVAL;
	change.policy = (int)policy & ~SCHED_RESET_ON_FORK;
	if (copy_from_user(&change.priority, param, 4))
		return -EFAULT;
	return with_task(tid, set_policy, &change);
}

long sys_sched_setparam(uint64_t tid, uint64_t param)
{
	struct policy_change change = {.policy = -1};
	if (!param)
		return -EINVAL;
	if (copy_from_user(&change.priority, param, 4))
		return -EFAULT;
	return with_task(tid, set_policy, &change);
}

static long get_priority(struct task *t, void *arg)
{
	(void)arg;
	return t->priority;
}

long sys_sched_getparam(uint64_t tid, uint64_t param)
{
	if (!param)
		return -EINVAL;
	long priority = with_task(tid, get_priority, NULL);
	if (priority < 0)
		return priority;
	int32_t value = (int32_t)priority;
	return copy_to_user(param, &value, sizeof(value));
}

long sys_sched_get_priority_max(uint64_t policy)
{
	if (is_realtime((int)policy))
		return 99;
	return (int)policy >= 0 && (int)policy <= SCHED_DEADLINE && (int)policy != 4 ? 0 : -EINVAL;
}

long sys_sched_get_priority_min(uint64_t policy)
{
	if (is_realtime((int)policy))
		return 1;
	return (int)policy >= 0 && (int)policy <= SCHED_DEADLINE && (int)policy != 4 ? 0 : -EINVAL;
}

long sys_sched_rr_get_interval(uint64_t tid, uint64_t at)
{
	long error = with_task(tid, get_policy, NULL);
	if (error < 0)
		return error;
	struct timespec_user ts = timespec_from(error == SCHED_FIFO ? 0 : ROUND_ROBIN_NS);
	return copy_to_user(at, &ts, sizeof(ts));
}

struct sched_attr_user {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};
#define SCHED_ATTR_BYTES 48

static long get_attr(struct task *t, void *arg)
{
	struct sched_attr_user *a = arg;
	a->policy = t->thread.policy;
	a->nice = is_realtime(t->thread.policy) ? 0 : t->thread.nice;
	a->priority = t->priority;
	return 0;
}

long sys_sched_getattr(uint64_t tid, uint64_t at, uint64_t bytes, uint64_t flags)
{
	struct sched_attr_user a;
	if (flags || (unsigned)bytes < SCHED_ATTR_BYTES || (unsigned)bytes > PAGE_SIZE || !at)
		return -EINVAL;
	memset(&a, 0, sizeof(a));
	a.size = SCHED_ATTR_BYTES;
	long error = with_task(tid, get_attr, &a);
	return error ? error : copy_to_user(at, &a, SCHED_ATTR_BYTES);
}

static int clamp_nice(int nice)
{
	return nice < -20 ? -20 : nice > 19 ? 19 : nice;
}

long sys_sched_setattr(uint64_t tid, uint64_t at, uint64_t flags)
{
	struct sched_attr_user a;
	if (flags || !at)
		return -EINVAL;
	if (copy_from_user(&a.size, at, sizeof(a.size)))
		return -EFAULT;
	if (a.size > PAGE_SIZE)
		return -E2BIG;
	if (copy_from_user(&a, at, SCHED_ATTR_BYTES))
		return -EFAULT;
	if (a.size && a.size < SCHED_ATTR_BYTES)
		return -EINVAL;
	struct policy_change change = {.policy = (int)a.policy, .priority = (int)a.priority};
	return with_task(tid, set_policy, &change);
}

/* ---- nice ---- */

#define PRIO_PROCESS 0
#define PRIO_PGRP    1
#define PRIO_USER    2

/* Tasks under proc_lock, which is let go of now and then. */
static void visit_tasks(struct process *p, void (*visit)(struct task *, void *), void *arg,
			unsigned long *irq)
{
	struct walk w;
	process_get(p);
	walk_begin(&w, &p->tasks, WALK_LOOKING, irq);
	walk_limit(&w);
	for (struct task *t; (t = walk_next(&w));)
		visit(t, arg);
	process_put(p);
}

static void visit_group(pid_t pgid, void (*visit)(struct task *, void *), void *arg,
			unsigned long *irq)
{
	struct walk w;
	struct pid_entry *group = pid_lookup(pgid);
	if (!group)
		return;
	pid_use(group);
	walk_begin(&w, &group->group, WALK_LOOKING, irq);
	walk_limit(&w);
	for (struct process *p; (p = walk_next(&w));)
		visit_tasks(p, visit, arg, irq);
	pid_drop(group);
}

static void visit_user(uint32_t uid, void (*visit)(struct task *, void *), void *arg,
		       unsigned long *irq)
{
	struct walk w;
	walk_begin(&w, &process_all, WALK_LOOKING, irq);
	walk_limit(&w);
	for (struct process *p; (p = walk_next(&w));)
		if (p->id.uid == uid)
			visit_tasks(p, visit, arg, irq);
}

/* All that a call means; 0: the caller, its group, its user. -EINVAL. */
static int visit_meant(int which, uint32_t who, void (*visit)(struct task *, void *), void *arg)
{
	struct process *self = current_process();
	if (which < PRIO_PROCESS || which > PRIO_USER)
		return -EINVAL;
	unsigned long irq = proc_lock();
	if (which == PRIO_PROCESS) { /* one thread, as on Linux */
		struct task *t = who ? task_find_locked((pid_t)who) : current_task();
		if (t)
			visit(t, arg);
	} else if (which == PRIO_PGRP) {
		visit_group(who ? (pid_t)who : self->pgid, visit, arg, &irq);
	} else {
		visit_user(who ? who : self->id.uid, visit, arg, &irq);
	}
	proc_unlock(irq);
	return 0;
}

static void find_best(struct task *t, void *arg)
{
	long *best = arg;
	*best = mem_max(*best, 20l - t->thread.nice); /* 40 .. 1 */
}

long sys_getpriority(uint64_t which, uint64_t who)
{
	long best = -ESRCH;
	int error = visit_meant((int)which, (uint32_t)who, find_best, &best);
	return error ? error : best;
}

struct nice_change {
	int nice;
	long result;
};

static void set_nice(struct task *t, void *arg)
{
	struct nice_change *change = arg;
	if (!is_owner(t->process))
		change->result = -EPERM;
	else if (change->nice < t->thread.nice && !capable(CAP_SYS_NICE))
		change->result = -EACCES;
	else if (!is_weaker(t->process))
		change->result = -EPERM;
	else
		t->thread.nice = (int8_t)change->nice;
	if (change->result == -ESRCH)
		change->result = 0;
}

long sys_setpriority(uint64_t which, uint64_t who, uint64_t nice)
{
	struct nice_change change = {clamp_nice((int)nice), -ESRCH};
	int error = visit_meant((int)which, (uint32_t)who, set_nice, &change);
	return error ? error : change.result;
}

/* ---- membarrier ---- */

#define MEMBARRIER_QUERY                      0
#define MEMBARRIER_GLOBAL                     1
#define MEMBARRIER_PRIVATE_EXPEDITED          8
#define MEMBARRIER_REGISTER_PRIVATE_EXPEDITED 16

/* Every CPU passes through an interrupt, and so through a full barrier, before this
 * returns: stronger than any of the commands asks for. */
long sys_membarrier(uint64_t command, uint64_t flags, uint64_t cpu)
{
	(void)cpu;
	if (flags)
		return -EINVAL;
	switch ((int)command) {
	case MEMBARRIER_QUERY:
		return MEMBARRIER_GLOBAL | MEMBARRIER_PRIVATE_EXPEDITED |
		       MEMBARRIER_REGISTER_PRIVATE_EXPEDITED;
	case MEMBARRIER_GLOBAL:
	case MEMBARRIER_PRIVATE_EXPEDITED: {
		struct cpumask all = {{0}};
		for (unsigned i = 0; i < cpu_count(); i++)
			cpumask_set(&all, i);
		preempt_disable();
		host_flush_wait(&all);
		preempt_enable();
		return 0;
	}
	case MEMBARRIER_REGISTER_PRIVATE_EXPEDITED:
		return 0;
	default:
		return -EINVAL;
	}
}
