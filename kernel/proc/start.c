/* SPDX-License-Identifier: MIT */
/*
 * The first process. It is made by hand, because there is nobody to fork: a
 * task without memory whose first act, on its own stack, is to exec.
 *
 * It is its own group, session and parent of last resort; signals without a
 * handler do not touch it, and its end ends the machine.
 */
#include "kernel/proc/internal.h"
#include <kernel/account.h>
#include <kernel/boot.h>
#include <mem/heap.h>
#include <mem/pmm.h>

#include "kernel/proc/exec.h"

#define TASK_SHARE_BYTES (256ull << 10) /* memory there must be for each task */

struct first_program {
	const char *path;
	const char *const *argv, *const *envp;
	int result;
	bool done;
	struct waitq wait;
};

static void default_limits(struct process *p)
{
	struct vmm_stats stats;
	vmm_get_stats(kernel_vmm, &stats);
	/* A small process costs about 128 KiB in stacks, tables and its own pages: half of
	 * memory full of them is where even root's fork bomb ends. Half of that per user. */
	uint64_t most = stats.commit_limit_npages * PAGE_SIZE / TASK_SHARE_BYTES;
	proc_thread_max = (uint32_t)mem_min(mem_max(most, (uint64_t)64), (uint64_t)INT32_MAX);
	uint64_t threads = proc_thread_max / 2;
	for (unsigned i = 0; i < RLIMIT_COUNT; i++)
		p->rlimit[i][0] = p->rlimit[i][1] = RLIM_INFINITY;
	p->rlimit[RLIMIT_STACK][0] = 8ull << 20;
	p->rlimit[RLIMIT_CORE][0] = 0;
	p->rlimit[RLIMIT_NPROC][0] = p->rlimit[RLIMIT_NPROC][1] = threads;
	p->rlimit[RLIMIT_NOFILE][0] = 1024;
	p->rlimit[RLIMIT_NOFILE][1] = 4096;
	p->rlimit[RLIMIT_MEMLOCK][0] = p->rlimit[RLIMIT_MEMLOCK][1] = 8ull << 20;
	p->rlimit[RLIMIT_SIGPENDING][0] = p->rlimit[RLIMIT_SIGPENDING][1] = threads;
	p->rlimit[RLIMIT_MSGQUEUE][0] = p->rlimit[RLIMIT_MSGQUEUE][1] = 819200;
	p->rlimit[RLIMIT_NICE][0] = p->rlimit[RLIMIT_NICE][1] = 0;
	p->rlimit[RLIMIT_RTPRIO][0] = p->rlimit[RLIMIT_RTPRIO][1] = 0;
}

static void first_entry(void *arg)
{
	struct first_program *first = arg;
	int error = fs_init_task(current_task());
	if (!error)
		error = exec_first(first->path, first->argv, first->envp);
	first->result = error;
	__atomic_store_n(&first->done, true, __ATOMIC_RELEASE);
	waitq_wake_all(&first->wait);
	if (!error)
		thread_enter_user();
	/* There is no process without a program: sleep for ever; the caller ends the run. */
	struct waitq nobody = {0};
	wait_event(&nobody, false);
}

static void link_first(struct task *t, struct process *p, struct pid_entry *entry)
{
	unsigned long irq = proc_lock();
	t->tid = p->pid = entry->number;
	t->tid_entry = p->pid_entry = entry;
	pid_use(entry); /* the process, besides the task */
	entry->task = t;
	entry->process = p;
	session_join_locked(p, entry);
	group_join_locked(p, entry);
	list_push_back(&process_all, &p->all_link.link);
	process_total++;
	tasks_join_locked(p, t);
	kassert(user_charge(p->user, USER_TASKS, 1, UINT64_MAX));
	process_get(p);
	process_init = p;
	proc_unlock(irq);
}

int proc_start_init(const char *path, const char *const argv[], const char *const envp[])
{
	/* Static: the new thread wakes its queue after this function may have returned. */
	static struct first_program first;
	first.path = path;
	first.argv = argv;
	first.envp = envp;
	int error = -ENOMEM;
	tell_init();
	futex_init();
	struct task *t = kzalloc(sizeof(*t));
	struct process *p = process_alloc();
	if (!t || !p || !(p->user = user_get(0)))
		return -ENOMEM;
	p->handlers = signal_handlers_create(NULL);
	error = thread_init(&t->thread, "init", true, first_entry, &first);
	if (!p->handlers || error)
		return -ENOMEM;
	struct pid_entry *entry = pid_allocate(&error);
	if (!entry)
		return error;
	t->process = p;
	t->thread.released = task_released;
	signal_queue_init(&t->pending);
	member_init(&t->process_link, t);
	waitq_init(&t->wait);
	waitq_init(&first.wait);
	default_limits(p);
	p->id.effective = p->id.permitted = p->id.bounding = CAP_ALL;
	p->unkillable = true;
	kstrlcpy(p->name, "init", sizeof(p->name));
	link_first(t, p, entry);
	thread_start(&t->thread);
	wait_event(&first.wait, __atomic_load_n(&first.done, __ATOMIC_ACQUIRE));
	return first.result;
}
