/* SPDX-License-Identifier: MIT */
/* prctl, arch_prctl, personality. */
#include "kernel/proc/internal.h"
#include <kernel/uaccess.h>

#include "kernel/cpu/uservalues.h"
#include "kernel/syscall/syscalls.h"

#define ARCH_SET_GS    0x1001
#define ARCH_SET_FS    0x1002
#define ARCH_GET_FS    0x1003
#define ARCH_GET_GS    0x1004
#define ARCH_GET_CPUID 0x1011
#define ARCH_SET_CPUID 0x1012

long sys_arch_prctl(uint64_t code, uint64_t address)
{
	struct thread *thread = current_thread();
	uint64_t value;
	switch ((int)code) {
	case ARCH_SET_FS:
	case ARCH_SET_GS:
		if (!user_base_ok(address))
			return -EPERM;
		if ((int)code == ARCH_SET_FS)
			thread_set_fs(thread, address);
		else
			thread_set_gs(thread, address);
		return 0;
	case ARCH_GET_FS:
	case ARCH_GET_GS:
		value = (int)code == ARCH_GET_FS ? thread_get_fs(thread) : thread_get_gs(thread);
		return copy_to_user(address, &value, sizeof(value));
	case ARCH_GET_CPUID:
		return 1; /* CPUID is never trapped */
	case ARCH_SET_CPUID:
		return address ? 0 : -ENODEV;
	default:
		return -EINVAL;
	}
}

#define PERSONALITY_QUERY 0xffffffffu

long sys_personality(uint64_t new)
{
	struct process *p = current_process();
	uint32_t old = p->personality;
	if ((uint32_t) new != PERSONALITY_QUERY)
		p->personality = (uint32_t) new;
	return old;
}

#define PR_SET_PDEATHSIG       1
#define PR_GET_PDEATHSIG       2
#define PR_GET_DUMPABLE        3
#define PR_SET_DUMPABLE        4
#define PR_GET_KEEPCAPS        7
#define PR_SET_KEEPCAPS        8
#define PR_SET_NAME            15
#define PR_GET_NAME            16
#define PR_GET_SECCOMP         21
#define PR_CAPBSET_READ        23
#define PR_CAPBSET_DROP        24
#define PR_GET_TSC             25
#define PR_GET_SECUREBITS      27
#define PR_SET_TIMERSLACK      29
#define PR_GET_TIMERSLACK      30
#define PR_SET_CHILD_SUBREAPER 36
#define PR_GET_CHILD_SUBREAPER 37
#define PR_SET_NO_NEW_PRIVS    38
#define PR_GET_NO_NEW_PRIVS    39
#define PR_GET_TID_ADDRESS     40
#define PR_SET_THP_DISABLE     41
#define PR_GET_THP_DISABLE     42
#define TIMER_SLACK_NS         50000

static long set_name(struct task *t, uint64_t at)
{
	char name[16] = {0};
	ssize_t length = strncpy_from_user(name, at, sizeof(name) - 1);
	if (length == -EFAULT)
		return -EFAULT;
	name[15] = 0; /* longer ones are cut */
	unsigned long irq = proc_lock();
	memcpy(t->thread.name, name, sizeof(name));
	if (t->tid == t->process->pid)
		memcpy(t->process->name, name, sizeof(name));
	proc_unlock(irq);
	return 0;
}

static long set_dumpable(struct process *p, bool dumpable)
{
	unsigned long irq = proc_lock();
	p->mm->dumpable = dumpable;
	proc_unlock(irq);
	return 0;
}

static long set_keep_caps(struct identity *id, void *arg)
{
	id->keep_caps = *(const uint64_t *)arg;
	return 0;
}

static long set_no_new_privs(struct identity *id, void *arg)
{
	(void)arg;
	id->no_new_privs = true;
	return 0;
}

static long put_int(uint64_t at, int32_t value)
{
	return copy_to_user(at, &value, sizeof(value));
}

long sys_prctl(uint64_t option, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct task *t = current_task();
	struct process *p = t->process;
	switch ((int)option) {
	case PR_SET_PDEATHSIG:
		if (a >= NSIG)
			return -EINVAL;
		t->parent_death_signal = (int8_t)a;
		return 0;
	case PR_GET_PDEATHSIG:
		return put_int(a, t->parent_death_signal);
	case PR_GET_DUMPABLE:
		return p->mm->dumpable;
	case PR_SET_DUMPABLE:
		return a > 1 ? -EINVAL : set_dumpable(p, a);
	case PR_GET_KEEPCAPS:
		return p->id.keep_caps;
	case PR_SET_KEEPCAPS:
		return a > 1 ? -EINVAL : identity_change(set_keep_caps, &a);
	case PR_SET_NAME:
		return set_name(t, a);
	case PR_GET_NAME:
		return copy_to_user(a, t->thread.name, sizeof(t->thread.name));
	case PR_GET_SECCOMP:
	case PR_GET_SECUREBITS:
	case PR_GET_THP_DISABLE:
		return 0;
	case PR_CAPBSET_READ:
		return capability_bound_read(a);
	case PR_CAPBSET_DROP:
		return capability_bound_drop(a);
	case PR_GET_TSC:
		return put_int(a, 1);
	case PR_SET_TIMERSLACK:
		t->timer_slack = (int64_t)a <= 0 ? TIMER_SLACK_NS : a;
		return 0;
	case PR_GET_TIMERSLACK:
		return (long)(t->timer_slack ? t->timer_slack : TIMER_SLACK_NS);
	case PR_SET_CHILD_SUBREAPER:
		p->subreaper = a;
		return 0;
	case PR_GET_CHILD_SUBREAPER:
		return put_int(a, p->subreaper);
	case PR_SET_NO_NEW_PRIVS:
		if (a != 1 || b || c || d)
			return -EINVAL;
		return identity_change(set_no_new_privs, NULL);
	case PR_GET_NO_NEW_PRIVS:
		return a || b || c || d ? -EINVAL : p->id.no_new_privs;
	case PR_GET_TID_ADDRESS:
		return copy_to_user(a, &t->clear_child_tid, sizeof(t->clear_child_tid));
	case PR_SET_THP_DISABLE: /* users have 4 KiB pages only */
		return b || c || d ? -EINVAL : 0;
	default:
		return -EINVAL;
	}
}
