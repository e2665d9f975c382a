/* SPDX-License-Identifier: MIT */
/* The system calls of signals: actions, masks, waiting, sending. */
#include "kernel/proc/internal.h"
#include <kernel/uaccess.h>

#include "kernel/syscall/syscalls.h"
#include "kernel/syscall/time.h"

#define SIG_BLOCK   0
#define SIG_UNBLOCK 1
#define SIG_SETMASK 2

static bool signal_number_ok(int sig)
{
	return sig >= 1 && sig < NSIG;
}

static bool is_ignoring(const struct sigaction_user *action, int sig)
{
	return action->handler == SIG_IGN ||
	       (action->handler == SIG_DFL && (SIGNALS_IGNORE & SIGSET(sig)));
}

/* What is pending and now ignored is gone (POSIX): as long as it is ignored, for another
 * thread may change that meanwhile. */
static void drop_ignored(struct process *p, int sig, unsigned long *irq)
{
	struct walk w;
	signal_queue_flush(&p->pending, SIGSET(sig));
	walk_begin(&w, &p->tasks, WALK_LOOKING, irq);
	walk_limit(&w);
	for (struct task *t; (t = walk_next(&w));) {
		if (!is_ignoring(&p->handlers->action[sig], sig)) {
			walk_end(&w);
			break;
		}
		signal_queue_flush(&t->pending, SIGSET(sig));
	}
}

long sys_rt_sigaction(uint64_t sig_arg, uint64_t new_at, uint64_t old_at, uint64_t set_bytes)
{
	struct task *t = current_task();
	struct process *p = t->process;
	int sig = (int)sig_arg;
	struct sigaction_user new, old;
	if (set_bytes != sizeof(sigset_t))
		return -EINVAL;
	if (new_at && copy_from_user(&new, new_at, sizeof(new)))
		return -EFAULT;
	if (!signal_number_ok(sig) || (new_at && (sig == SIGKILL || sig == SIGSTOP)))
		return -EINVAL;
	bool drops = new_at && is_ignoring(&new, sig);
	unsigned long irq = proc_lock();
	old = p->handlers->action[sig];
	if (new_at) {
		new.mask &= ~SIGNALS_NEVER_BLOCKED;
		p->handlers->action[sig] = new;
		if (drops)
			drop_ignored(p, sig, &irq);
	}
	proc_unlock(irq);
	if (drops)
		signal_nodes_settle();
	return old_at ? copy_to_user(old_at, &old, sizeof(old)) : 0;
}

long sys_rt_sigprocmask(uint64_t how, uint64_t new_at, uint64_t old_at, uint64_t set_bytes)
{
	struct task *t = current_task();
	sigset_t old = t->blocked, new;
	if (set_bytes != sizeof(sigset_t))
		return -EINVAL;
	if (new_at) {
		if (copy_from_user(&new, new_at, sizeof(new)))
			return -EFAULT;
		switch ((int)how) {
		case SIG_BLOCK:
			new |= old;
			break;
		case SIG_UNBLOCK:
			new = old & ~new;
			break;
		case SIG_SETMASK:
			break;
		default:
			return -EINVAL;
		}
		signal_set_blocked(new);
	}
	return old_at ? copy_to_user(old_at, &old, sizeof(old)) : 0;
}

long sys_rt_sigpending(uint64_t set_at, uint64_t set_bytes)
{
	if (set_bytes > sizeof(sigset_t))
		return -EINVAL;
	sigset_t set = signal_pending_set(current_task()->blocked);
	return copy_to_user(set_at, &set, set_bytes);
}

long sys_rt_sigsuspend(uint64_t mask_at, uint64_t set_bytes)
{
	sigset_t mask;
	struct waitq nobody = {0};
	if (set_bytes != sizeof(sigset_t))
		return -EINVAL;
	if (copy_from_user(&mask, mask_at, sizeof(mask)))
		return -EFAULT;
	signal_mask_temporary(mask);
	(void)wait_event_interruptible(&nobody, signal_pending(), NSEC_NEVER);
	return -ERESTARTNOHAND; /* restore_blocked is set: delivery puts the mask back */
}

long sys_pause(void)
{
	struct waitq nobody = {0};
	(void)wait_event_interruptible(&nobody, signal_pending(), NSEC_NEVER);
	return -ERESTARTNOHAND;
}

long sys_rt_sigtimedwait(uint64_t set_at, uint64_t info_at, uint64_t timeout_at, uint64_t set_bytes)
{
	struct task *t = current_task();
	sigset_t set;
	nsec_t deadline = NSEC_NEVER;
	if (set_bytes != sizeof(sigset_t))
		return -EINVAL;
	if (copy_from_user(&set, set_at, sizeof(set)))
		return -EFAULT;
	if (timeout_at) {
		nsec_t ns;
		int error = nsec_from_user(timeout_at, &ns);
		if (error)
			return error;
		deadline = nsec_add(time_monotonic(), ns);
	}
	set &= ~SIGNALS_NEVER_BLOCKED;
	struct siginfo info;
	struct waitq nobody = {0};
	unsigned long irq = proc_lock();
	int sig = signal_take_locked(t, set, &info);
	if (!sig && deadline > time_monotonic()) {
		t->waiting_for = set;
		signal_recalc_locked(t);
		proc_unlock(irq);
		(void)wait_event_interruptible(&nobody, signal_pending() || signal_pending_set(set),
					       deadline);
		irq = proc_lock();
		t->waiting_for = 0;
		sig = signal_take_locked(t, set, &info);
		/* What came for it besides is for others again. */
		sigset_t given_up = set & t->blocked & t->process->pending.set;
		if (given_up)
			tasks_seek_locked(t->process, given_up);
	}
	signal_recalc_locked(t);
	proc_unlock(irq);
	if (!sig) /* woken too early: another thread was faster. The time is not over yet. */
		return signal_pending() || time_monotonic() < deadline ? -EINTR : -EAGAIN;
	if (info_at && copy_to_user(info_at, &info, sizeof(info)))
		return -EFAULT;
	return sig;
}

/* ---- sending ---- */

static void user_info(struct siginfo *info, int sig, int code)
{
	struct process *p = current_process();
	memset(info, 0, sizeof(*info));
	info->signo = sig;
	info->code = code;
	info->rt.pid = p->pid;
	info->rt.uid = p->id.uid;
}

static bool may_signal(const struct process *to, int sig)
{
	const struct process *p = current_process();
	const struct identity *own = &p->id, *other = &to->id;
	if (p == to || own->euid == other->suid || own->euid == other->uid ||
	    own->uid == other->suid || own->uid == other->uid || capable(CAP_KILL))
		return true;
	return sig == SIGCONT && p->sid == to->sid;
}

/* kill(2)'s plural forms: to the members of `list`, but init and ourselves if `others`.
 * Whoever is born meanwhile comes at the end and gets it too. */
static long kill_listed(struct list *list, bool others, int sig, const struct siginfo *info,
			unsigned long *irq)
{
	struct process *self = current_process();
	bool found = false, done = false;
	struct walk w;
	walk_begin(&w, list, WALK_SENDING, irq);
	if (sig != SIGKILL) /* it ends all that it meets */
		walk_limit(&w);
	for (struct process *p; (p = walk_next(&w));) {
		if (others && (p == process_init || p == self))
			continue;
		found = true;
		if (!may_signal(p, sig))
			continue;
		done = true;
		if (sig)
			signal_send_locked(p, NULL, sig, info);
	}
	return done ? 0 : found ? -EPERM : -ESRCH;
}

static long kill_all(int sig, const struct siginfo *info)
{
	signal_nodes_settle();
	unsigned long irq = proc_lock();
	long result = kill_listed(&process_all, true, sig, info, &irq);
	proc_unlock(irq);
	signal_nodes_settle();
	return result;
}

static long kill_group(pid_t pgid, int sig, const struct siginfo *info)
{
	long result = -ESRCH;
	signal_nodes_settle();
	unsigned long irq = proc_lock();
	struct pid_entry *group = pid_lookup(pgid);
	if (group) {
		pid_use(group);
		result = kill_listed(&group->group, false, sig, info, &irq);
		pid_drop(group);
	}
	proc_unlock(irq);
	signal_nodes_settle();
	return result;
}

static long kill_one(pid_t pid, int sig, const struct siginfo *info)
{
	long result = -ESRCH;
	signal_nodes_settle();
	unsigned long irq = proc_lock();
	struct pid_entry *entry = pid_lookup(pid);
	struct process *p = entry ? entry->process : NULL;
	if (!p && entry && entry->task)
		p = entry->task->process; /* kill(2) takes a thread's number too */
	if (p) {
		result = -EPERM;
		if (may_signal(p, sig))
			result = sig ? signal_send_locked(p, NULL, sig, info) : 0;
	}
	proc_unlock(irq);
	signal_nodes_settle();
	return result;
}

long sys_kill(uint64_t pid_arg, uint64_t sig_arg)
{
	pid_t pid = (pid_t)pid_arg;
	int sig = (int)sig_arg;
	struct siginfo info;
	if (sig != 0 && !signal_number_ok(sig))
		return -EINVAL;
	user_info(&info, sig, SI_USER);
	if (pid > 0)
		return kill_one(pid, sig, &info);
	if (pid == INT32_MIN)
		return -ESRCH;
	if (pid == -1)
		return kill_all(sig, &info);
	return kill_group(pid ? -pid : current_process()->pgid, sig, &info);
}

static long signal_thread(pid_t tgid, pid_t tid, int sig, const struct siginfo *info)
{
	if (tid <= 0 || (sig != 0 && !signal_number_ok(sig)))
		return -EINVAL;
	long result = -ESRCH;
	signal_nodes_settle();
	unsigned long irq = proc_lock();
	struct task *t = task_find_locked(tid);
	if (t && (tgid == 0 || t->process->pid == tgid)) {
		result = -EPERM;
		if (may_signal(t->process, sig))
			result = sig ? signal_send_locked(t->process, t, sig, info) : 0;
	}
	proc_unlock(irq);
	signal_nodes_settle();
	return result;
}

long sys_tkill(uint64_t tid, uint64_t sig)
{
	struct siginfo info;
	user_info(&info, (int)sig, SI_TKILL);
	return signal_thread(0, (pid_t)tid, (int)sig, &info);
}

long sys_tgkill(uint64_t tgid, uint64_t tid, uint64_t sig)
{
	struct siginfo info;
	if ((pid_t)tgid <= 0)
		return -EINVAL;
	user_info(&info, (int)sig, SI_TKILL);
	return signal_thread((pid_t)tgid, (pid_t)tid, (int)sig, &info);
}

/* A program may not pretend to be the kernel or kill(2) towards another. */
static long read_info(struct siginfo *info, uint64_t at, int sig, pid_t target)
{
	if (copy_from_user(info, at, sizeof(*info)))
		return -EFAULT;
	if ((info->code >= 0 || info->code == SI_TKILL) && target != current_process()->pid)
		return -EPERM;
	info->signo = sig;
	return 0;
}

long sys_rt_sigqueueinfo(uint64_t pid, uint64_t sig, uint64_t info_at)
{
	struct siginfo info;
	long error = read_info(&info, info_at, (int)sig, (pid_t)pid);
	if (error)
		return error;
	if ((int)sig != 0 && !signal_number_ok((int)sig))
		return -EINVAL;
	return (pid_t)pid > 0 ? kill_one((pid_t)pid, (int)sig, &info) : -ESRCH;
}

long sys_rt_tgsigqueueinfo(uint64_t tgid, uint64_t tid, uint64_t sig, uint64_t info_at)
{
	struct siginfo info;
	if ((pid_t)tgid <= 0 || (pid_t)tid <= 0)
		return -EINVAL;
	long error = read_info(&info, info_at, (int)sig, (pid_t)tgid);
	if (error)
		return error;
	return signal_thread((pid_t)tgid, (pid_t)tid, (int)sig, &info);
}
