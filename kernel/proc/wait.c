/* SPDX-License-Identifier: MIT */
/*
 * wait4, waitid, getrusage.
 *
 * A parent looks at its children under proc_lock; what it finds it takes in the
 * same step (a zombie out of the tree, a stop or continue marked as reported),
 * and only then, without the lock, copies to the user. If that copy fails the
 * child is reaped all the same, as on Linux.
 */
#include "kernel/proc/internal.h"
#include <kernel/uaccess.h>

#include "kernel/syscall/syscalls.h"

#define WNOHANG    1u
#define WUNTRACED  2u
#define WSTOPPED   2u
#define WEXITED    4u
#define WCONTINUED 8u
#define WNOWAIT    0x01000000u
#define WNOTHREAD  0x20000000u
#define WALL       0x40000000u
#define WCLONE     0x80000000u

#define P_ALL  0
#define P_PID  1
#define P_PGID 2

struct rusage_user {
	int64_t user_sec, user_usec, system_sec, system_usec;
	int64_t maxrss, ixrss, idrss, isrss, minflt, majflt, nswap, inblock, oublock;
	int64_t msgsnd, msgrcv, nsignals, nvcsw, nivcsw;
};

struct wait_request {
	int kind;
	pid_t id;
	unsigned options;
};

struct wait_result {
	pid_t pid;
	uint32_t uid;
	int code;   /* CLD_* */
	int status; /* as wait4 reports it */
	struct rusage_user usage;
	struct process *child; /* while scan() runs */
};

static void set_times(struct rusage_user *u, nsec_t user, nsec_t system)
{
	u->user_sec = (int64_t)(user / NSEC_PER_SEC);
	u->user_usec = (int64_t)(user % NSEC_PER_SEC / 1000);
	u->system_sec = (int64_t)(system / NSEC_PER_SEC);
	u->system_usec = (int64_t)(system % NSEC_PER_SEC / 1000);
}

/* What a child used, its own reaped children included (wait4). */
static void usage_of_child(struct process *p, struct rusage_user *u)
{
	memset(u, 0, sizeof(*u));
	nsec_t user, system;
	process_times(p, &user, &system);
	set_times(u, user + p->child_user_ns, system + p->child_system_ns);
	u->maxrss = (int64_t)(mem_max(p->peak_resident, p->child_peak_resident) * 4);
	u->minflt = (int64_t)(p->faults_minor + p->child_faults_minor);
	u->majflt = (int64_t)(p->faults_major + p->child_faults_major);
	u->nvcsw = (int64_t)p->dead_switches_voluntary;
	u->nivcsw = (int64_t)p->dead_switches_forced;
}

static void account_child(struct process *parent, const struct process *p)
{
	parent->child_user_ns += p->dead_user_ns + p->child_user_ns;
	parent->child_system_ns += p->dead_system_ns + p->child_system_ns;
	parent->child_faults_minor += p->faults_minor + p->child_faults_minor;
	parent->child_faults_major += p->faults_major + p->child_faults_major;
	uint64_t peak = mem_max(p->peak_resident, p->child_peak_resident);
	parent->child_peak_resident = mem_max(parent->child_peak_resident, peak);
}

static bool matches(const struct process *p, const struct wait_request *r)
{
	if (r->kind == P_PID && p->pid != r->id)
		return false;
	if (r->kind == P_PGID && p->pgid != r->id)
		return false;
	if (r->options & WALL)
		return true;
	return (p->exit_signal != SIGCHLD) == !!(r->options & WCLONE);
}

static void describe(struct process *p, int code, int status, struct wait_result *out)
{
	out->pid = p->pid;
	out->uid = p->id.uid;
	out->code = code;
	out->status = status;
}

/* Has p something to report? Takes it unless WNOWAIT. */
static bool take_event(struct process *self, struct process *p, unsigned options,
		       struct wait_result *out)
{
	bool keep = options & WNOWAIT;
	if (p->zombie && (options & WEXITED)) {
		bool killed = p->exit_code & 0x7f;
		describe(p, killed ? CLD_KILLED : CLD_EXITED, p->exit_code, out);
		if (!keep) {
			account_child(self, p);
			process_reap_locked(p);
		}
		return true;
	}
	if (p->stopped && !p->stop_reported && (options & WUNTRACED)) {
		describe(p, CLD_STOPPED, (p->stop_signal << 8) | 0x7f, out);
		if (!keep)
			p->stop_reported = true;
		return true;
	}
	if (p->continued && (options & WCONTINUED)) {
		describe(p, CLD_CONTINUED, 0xffff, out);
		if (!keep)
			p->continued = false;
		return true;
	}
	return false;
}

/* 1: *out filled, out->child is held; 0: nothing to report; -ECHILD: not such a child. */
static int look_at(struct process *self, struct process *p, const struct wait_request *r,
		   struct wait_result *out)
{
	if (!matches(p, r))
		return -ECHILD;
	process_get(p);
	if (take_event(self, p, r->options, out)) {
		out->child = p;
		return 1;
	}
	/* A zombie has nothing more to say to who does not ask for its end. */
	int result = !p->zombie || (r->options & WEXITED) ? 0 : -ECHILD;
	process_put(p);
	return result;
}

/* 1: *out filled; 0: children, but nothing to report; -ECHILD: no such child. */
static int scan(const struct wait_request *r, struct wait_result *out)
{
	struct process *self = current_process();
	struct walk w;
	int result = -ECHILD;
	unsigned long irq = proc_lock();
	if (r->kind == P_PID) {
		struct pid_entry *entry = pid_lookup(r->id);
		struct process *p = entry ? entry->process : NULL;
		if (p && p->parent == self)
			result = look_at(self, p, r, out);
	} else {
		walk_begin(&w, &self->children, WALK_LOOKING, &irq);
		walk_limit(&w);
		for (struct process *p; result <= 0 && (p = walk_next(&w));) {
			int found = look_at(self, p, r, out);
			result = mem_max(result, found);
		}
		if (w.list)
			walk_end(&w);
	}
	proc_unlock(irq);
	if (result <= 0)
		return result;
	usage_of_child(out->child, &out->usage);
	process_put(out->child);
	return 1;
}

/* Pid, 0 with WNOHANG, or -errno. */
static long do_wait(const struct wait_request *r, struct wait_result *out)
{
	struct process *self = current_process();
	struct waiter w;
	long result;
	waitq_add(&self->child_wait, &w);
	for (;;) {
		int found = scan(r, out);
		if (found) {
			result = found < 0 ? found : out->pid;
			break;
		}
		result = 0;
		if (r->options & WNOHANG)
			break;
		result = waitq_sleep_on(&w, true, NSEC_NEVER);
		if (result)
			break;
	}
	waitq_remove(&self->child_wait, &w);
	return result;
}

long sys_wait4(uint64_t pid_arg, uint64_t status_at, uint64_t options_arg, uint64_t usage_at)
{
	pid_t pid = (pid_t)pid_arg;
	unsigned options = (unsigned)options_arg;
	if (options & ~(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL))
		return -EINVAL;
	if (pid == INT32_MIN)
		return -ESRCH;
	struct wait_request r = {.options = options | WEXITED};
	r.kind = pid == -1 ? P_ALL : pid > 0 ? P_PID : P_PGID;
	r.id = pid > 0 ? pid : pid == 0 ? current_process()->pgid : -pid;
	struct wait_result found;
	long result = do_wait(&r, &found);
	if (result <= 0)
		return result;
	int32_t status = found.status;
	if (status_at && copy_to_user(status_at, &status, sizeof(status)))
		return -EFAULT;
	if (usage_at && copy_to_user(usage_at, &found.usage, sizeof(found.usage)))
		return -EFAULT;
	return result;
}

long sys_waitid(uint64_t kind, uint64_t id, uint64_t info_at, uint64_t options_arg,
		uint64_t usage_at)
{
	unsigned options = (unsigned)options_arg;
	if (options &
	    ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | WNOTHREAD | WCLONE | WALL))
		return -EINVAL;
	if (!(options & (WEXITED | WSTOPPED | WCONTINUED)))
		return -EINVAL;
	struct wait_request r = {.kind = (int)kind, .id = (pid_t)id, .options = options};
	if (r.kind != P_ALL && r.kind != P_PID && r.kind != P_PGID)
		return -EINVAL;
	if ((r.kind == P_PID && r.id <= 0) || (r.kind == P_PGID && r.id < 0))
		return -EINVAL;
	if (r.kind == P_PGID && r.id == 0)
		r.id = current_process()->pgid;
	struct wait_result found;
	memset(&found, 0, sizeof(found));
	long result = do_wait(&r, &found);
	struct siginfo info;
	memset(&info, 0, sizeof(info));
	if (result > 0) {
		info.signo = SIGCHLD;
		info.code = found.code;
		info.child.pid = found.pid;
		info.child.uid = found.uid;
		info.child.status = found.code == CLD_EXITED      ? found.status >> 8
				    : found.code == CLD_STOPPED   ? found.status >> 8
				    : found.code == CLD_CONTINUED ? SIGCONT
								  : found.status & 0x7f;
		if (usage_at && copy_to_user(usage_at, &found.usage, sizeof(found.usage)))
			return -EFAULT;
	}
	/* si_signo to si_status, and after an error too: what Linux writes, and no more. */
	if (info_at && copy_to_user(info_at, &info, offsetof(struct siginfo, child.pad)))
		return -EFAULT;
	return result < 0 ? result : 0;
}

#define RUSAGE_SELF     0
#define RUSAGE_CHILDREN (-1)
#define RUSAGE_THREAD   1

static void usage_of_children(struct process *p, struct rusage_user *u)
{
	memset(u, 0, sizeof(*u));
	set_times(u, p->child_user_ns, p->child_system_ns);
	u->maxrss = (int64_t)(p->child_peak_resident * 4);
	u->minflt = (int64_t)p->child_faults_minor;
	u->majflt = (int64_t)p->child_faults_major;
}

static void usage_of_self(struct task *t, bool thread_only, struct rusage_user *u)
{
	struct process *p = t->process;
	struct vmm_space_stats stats;
	vmm_space_stats(p->space, &stats);
	memset(u, 0, sizeof(*u));
	nsec_t user = t->thread.user_ns, system = t->thread.system_ns;
	u->nvcsw = (int64_t)t->thread.switches_voluntary;
	u->nivcsw = (int64_t)t->thread.switches_forced;
	if (!thread_only) {
		process_times(p, &user, &system);
		u->nvcsw += (int64_t)p->dead_switches_voluntary;
		u->nivcsw += (int64_t)p->dead_switches_forced;
	}
	set_times(u, user, system);
	u->maxrss = (int64_t)(mem_max(p->peak_resident, stats.peak_resident) * 4);
	u->minflt = (int64_t)(p->faults_minor + stats.faults_minor);
	u->majflt = (int64_t)(p->faults_major + stats.faults_major);
}

long sys_getrusage(uint64_t who, uint64_t at)
{
	struct rusage_user u;
	switch ((int)who) {
	case RUSAGE_SELF:
	case RUSAGE_THREAD:
		usage_of_self(current_task(), (int)who == RUSAGE_THREAD, &u);
		break;
	case RUSAGE_CHILDREN:
		usage_of_children(current_process(), &u);
		break;
	default:
		return -EINVAL;
	}
	return copy_to_user(at, &u, sizeof(u));
}
