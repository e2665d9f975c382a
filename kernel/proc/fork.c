/* SPDX-License-Identifier: MIT */
/*
 * fork, vfork, clone, clone3.
 *
 * A child is built in steps, each of which can fail and is undone in reverse by
 * child_discard; nobody else sees the child until the last step, publish(),
 * which cannot fail for want of memory: it links the child into the tree under
 * proc_lock, unless the parent has been told to exit meanwhile.
 *
 *     task struct, thread, number → process struct → space → handlers → files
 *     → registers → publish → start
 *
 * A vfork parent sleeps on its own wait queue; parent and child point at each
 * other (vfork_child, vfork_parent), and whoever goes first, the child by exec
 * or exit, the parent by being killed, clears both under proc_lock.
 */
#include "kernel/proc/internal.h"
#include <kernel/account.h>
#include <kernel/boot.h>
#include <kernel/syscall.h>
#include <kernel/uaccess.h>
#include <mem/heap.h>
#include <mem/object.h>

#include "kernel/cpu/uservalues.h"
#include "kernel/syscall/syscalls.h"

uint64_t proc_fork_count;
uint32_t proc_thread_max;

struct clone_request {
	uint64_t flags;
	uint64_t parent_tid, child_tid;
	uint64_t stack; /* RSP of the child, 0: the parent's */
	uint64_t tls;
	int exit_signal;
};

/* What a task takes beside its part of the process: most of it is the stack. */
#define TASK_BYTES (sizeof(struct task) + THREAD_STACK_PAGES * PAGE_SIZE)

static void task_free(struct task *t)
{
	account_give(t->account, TASK_BYTES);
	kfree(t);
}

void task_released(struct thread *thread)
{
	struct task *t = container_of(thread, struct task, thread);
	struct process *p = t->process;
	task_free(t);
	process_put(p);
}

/* The child's first steps, on its own stack. */
static void child_entry(void *arg)
{
	struct task *t = arg;
	if (t->set_child_tid) {
		int32_t tid = t->tid;
		/* A bad address is the program's business, as on Linux. */
		if (copy_to_user(t->set_child_tid, &tid, sizeof(tid)))
			t->set_child_tid = 0;
	}
	thread_enter_user();
}

static long check_request(const struct clone_request *r)
{
	uint64_t flags = r->flags;
	if ((flags & CLONE_SIGHAND) && !(flags & CLONE_VM))
		return -EINVAL;
	if ((flags & CLONE_THREAD) && !(flags & CLONE_SIGHAND))
		return -EINVAL;
	if ((flags & CLONE_CLEAR_SIGHAND) && (flags & CLONE_SIGHAND))
		return -EINVAL;
	if ((flags & (CLONE_FS | CLONE_NEWNS)) == (CLONE_FS | CLONE_NEWNS))
		return -EINVAL;
	if (flags & (CLONE_NAMESPACES | CLONE_PIDFD | CLONE_INTO_CGROUP))
		return -EINVAL; /* as a Linux built without them */
	if ((flags & CLONE_PARENT) && current_process() == process_init)
		return -EINVAL;
	if ((flags & CLONE_SETTLS) && !user_base_ok(r->tls))
		return -EPERM;
	return 0;
}

/* Limits and identity that a new process has from its parent. Taken in the step that makes
 * it seen: what another thread of the parent gives up before, the child has not either. */
static void inherit_locked(struct process *child, const struct process *parent)
{
	memcpy(child->exe_path, parent->exe_path, sizeof(child->exe_path));
	memcpy(child->name, current_thread()->name, sizeof(child->name));
	memcpy(child->rlimit, parent->rlimit, sizeof(child->rlimit));
	child->personality = parent->personality;
	child->id = parent->id;
	child->user = user_hold(parent->user);
	child->mm->dumpable &= parent->mm->dumpable;
	child->oom_score_adj = parent->oom_score_adj;
	child->oom_score_adj_min = parent->oom_score_adj_min;
	child->cpu_limit_next = 0;
	child->cpu_timers_armed = rlimit_soft(parent, RLIMIT_CPU) != RLIM_INFINITY;
}

static int copy_memory(struct process *child, struct process *parent, uint64_t flags)
{
	struct memory memory = {.exe = parent->exe};
	if (flags & CLONE_VM) {
		vmm_space_get(parent->space);
		memory.space = parent->space;
		__atomic_add_fetch(&parent->mm->refs, 1, __ATOMIC_SEQ_CST);
		memory.mm = parent->mm;
	} else {
		memory.mm = mm_layout_create(parent->mm);
		if (!memory.mm)
			return -ENOMEM;
		mem_status status = vmm_space_fork(parent->space, &memory.space);
		if (status != MEM_OK) {
			mm_layout_put(memory.mm);
			return (int)errno_from(status);
		}
	}
	if (memory.exe)
		vm_object_get(memory.exe);
	unsigned long irq = proc_lock();
	process_swap_memory_locked(child, &memory);
	proc_unlock(irq);
	return 0; /* a copied space has its parent's limits */
}

static int copy_handlers(struct process *child, struct process *parent, uint64_t flags)
{
	if (flags & CLONE_SIGHAND) {
		__atomic_add_fetch(&parent->handlers->refs, 1, __ATOMIC_SEQ_CST);
		child->handlers = parent->handlers;
		return 0;
	}
	child->handlers = signal_handlers_create(parent->handlers);
	if (!child->handlers)
		return -ENOMEM;
	if (flags & CLONE_CLEAR_SIGHAND)
		for (int sig = 1; sig < NSIG; sig++)
			if (child->handlers->action[sig].handler != SIG_IGN)
				memset(&child->handlers->action[sig], 0,
				       sizeof(child->handlers->action[sig]));
	return 0;
}

/* Free what a process that never was in the tree owns. */
static void process_discard(struct process *p)
{
	struct memory memory = {0};
	unsigned long irq = proc_lock();
	process_swap_memory_locked(p, &memory);
	proc_unlock(irq);
	memory_put(&memory);
	signal_handlers_put(p->handlers);
	process_put(p);
}

static int make_process(struct task *child, struct process *parent, uint64_t flags)
{
	struct process *p = process_alloc();
	if (!p)
		return -ENOMEM;
	int error = copy_memory(p, parent, flags);
	if (!error)
		error = copy_handlers(p, parent, flags);
	if (error) {
		process_discard(p);
		return error;
	}
	child->process = p;
	return 0;
}

static void copy_registers(struct task *child, const struct clone_request *r)
{
	struct trapframe *to = thread_user_frame(&child->thread);
	*to = *syscall_frame();
	to->rax = 0;
	if (r->stack)
		to->rsp = r->stack;
	thread_copy_user_state(&child->thread);
	if (r->flags & CLONE_SETTLS)
		thread_set_fs(&child->thread, r->tls);
}

static void copy_task(struct task *child, const struct task *parent, const struct clone_request *r)
{
	signal_queue_init(&child->pending);
	waitq_init(&child->wait);
	member_init(&child->process_link, child);
	child->blocked = parent->blocked;
	if (!(r->flags & CLONE_VM) || (r->flags & CLONE_VFORK))
		child->altstack = parent->altstack; /* a thread on another stack has none */
	if (r->flags & CLONE_CHILD_SETTID)
		child->set_child_tid = r->child_tid;
	if (r->flags & CLONE_CHILD_CLEARTID)
		child->clear_child_tid = r->child_tid;
	child->thread.nice = parent->thread.nice;
	child->thread.policy = parent->thread.policy;
	child->thread.affinity = parent->thread.affinity;
	child->thread.released = task_released;
}

static void link_process(struct task *child, struct task *parent, const struct clone_request *r)
{
	struct process *p = child->process, *from = parent->process;
	inherit_locked(p, from);
	p->pid = child->tid;
	p->pid_entry = child->tid_entry;
	pid_use(p->pid_entry);
	p->pid_entry->process = p;
	p->tty = from->tty;
	bool sibling = r->flags & CLONE_PARENT;
	p->parent = sibling ? from->parent : from;
	p->exit_signal = sibling ? from->exit_signal : r->exit_signal;
	p->parent_execs = sibling ? from->parent_execs : from->execs;
	session_join_locked(p, from->sid_entry);
	group_join_locked(p, from->pgid_entry);
	list_push_back(&p->parent->children, &p->sibling_link.link);
	list_push_back(&process_all, &p->all_link.link);
	process_total++;
}

/* How many tasks the running program's user may have. */
static uint64_t task_limit(void)
{
	const struct process *p = current_process();
	if (!p->id.uid || capable(CAP_SYS_RESOURCE) || capable(CAP_SYS_ADMIN))
		return UINT64_MAX;
	return rlimit_soft(p, RLIMIT_NPROC);
}

/* The last step: from here on the child exists. */
static int publish(struct task *child, struct task *parent, const struct clone_request *r)
{
	unsigned long irq = proc_lock();
	int error = parent->must_exit || parent->process->exiting ? -EINTR : 0;
	if (!error && !user_charge(parent->process->user, USER_TASKS, 1, task_limit()))
		error = -EAGAIN;
	if (error) {
		proc_unlock(irq);
		return error;
	}
	child->tid = child->tid_entry->number;
	child->tid_entry->task = child;
	if (!(r->flags & CLONE_THREAD))
		link_process(child, parent, r);
	struct process *p = child->process;
	tasks_join_locked(p, child);
	process_get(p); /* dropped by task_released */
	if (r->flags & CLONE_VFORK) {
		child->vfork_parent = parent;
		parent->vfork_child = child;
	}
	proc_fork_count++;
	signal_recalc_locked(child);
	proc_unlock(irq);
	return 0;
}

void vfork_release(struct task *t)
{
	unsigned long irq = proc_lock();
	struct task *parent = t->vfork_parent;
	if (parent) {
		t->vfork_parent = NULL;
		parent->vfork_child = NULL;
		waitq_wake_all(&parent->wait);
	}
	proc_unlock(irq);
}

static void vfork_wait(struct task *t)
{
	wait_event(&t->wait, !__atomic_load_n(&t->vfork_child, __ATOMIC_ACQUIRE) || t->must_exit);
	unsigned long irq = proc_lock();
	if (t->vfork_child) {
		t->vfork_child->vfork_parent = NULL;
		t->vfork_child = NULL;
	}
	proc_unlock(irq);
}

/* A look ahead, so that nothing is built in vain; publish decides. */
static int check_process_limit(const struct process *parent)
{
	if (task_total >= proc_thread_max)
		return -EAGAIN;
	return user_charged(parent->user, USER_TASKS) >= task_limit() ? -EAGAIN : 0;
}

/* Build a child up to, not including, publish. Errors: nothing is left. */
static int child_create(struct task **out, struct task *parent, const struct clone_request *r)
{
	int error = check_process_limit(parent->process);
	if (error)
		return error;
	struct task *child = kzalloc(sizeof(*child));
	if (!child)
		return -ENOMEM;
	error = thread_init(&child->thread, parent->thread.name, true, child_entry, child);
	if (error) {
		kfree(child);
		return error;
	}
	copy_task(child, parent, r);
	child->tid_entry = pid_allocate(&error);
	if (!child->tid_entry)
		goto no_pid;
	if (r->flags & CLONE_THREAD)
		child->process = parent->process;
	else
		error = make_process(child, parent->process, r->flags);
	if (error)
		goto no_process;
	child->account = account_hold(child->process->account, TASK_BYTES);
	child->thread.space = child->process->space;
	error = fs_fork(child, parent, r->flags & CLONE_FILES, r->flags & CLONE_FS);
	if (error)
		goto no_files;
	copy_registers(child, r);
	*out = child;
	return 0;
no_files:
	if (!(r->flags & CLONE_THREAD))
		process_discard(child->process);
no_process:;
	unsigned long irq = proc_lock();
	pid_drop(child->tid_entry);
	proc_unlock(irq);
no_pid:
	thread_destroy(&child->thread);
	task_free(child);
	return error;
}

static void child_discard(struct task *child, const struct clone_request *r)
{
	fs_exit(child);
	if (!(r->flags & CLONE_THREAD))
		process_discard(child->process);
	unsigned long irq = proc_lock();
	pid_drop(child->tid_entry);
	proc_unlock(irq);
	thread_destroy(&child->thread);
	task_free(child);
}

static long do_clone(const struct clone_request *r)
{
	struct task *parent = current_task(), *child = NULL;
	long error = check_request(r);
	if (!error)
		error = child_create(&child, parent, r);
	if (error)
		return error;
	pid_t tid = child->tid_entry->number;
	if (r->flags & CLONE_PARENT_SETTID) {
		int32_t value = tid;
		if (copy_to_user(r->parent_tid, &value, sizeof(value))) {
			/* As on Linux: the child is made all the same. */
		}
	}
	error = publish(child, parent, r);
	if (error) {
		child_discard(child, r);
		return error;
	}
	thread_start(&child->thread);
	if (r->flags & CLONE_VFORK)
		vfork_wait(parent);
	return tid;
}

long sys_fork(void)
{
	struct clone_request r = {.exit_signal = SIGCHLD};
	return do_clone(&r);
}

long sys_vfork(void)
{
	struct clone_request r = {.flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD};
	return do_clone(&r);
}

#define CSIGNAL 0xffull

long sys_clone(uint64_t flags, uint64_t stack, uint64_t parent_tid, uint64_t child_tid,
	       uint64_t tls)
{
	struct clone_request r = {
	    .flags = (flags & 0xffffffff) & ~CSIGNAL,
	    .parent_tid = parent_tid,
	    .child_tid = child_tid,
	    .stack = stack,
	    .tls = tls,
	    .exit_signal = (int)(flags & CSIGNAL),
	};
	if (r.exit_signal >= NSIG)
		return -EINVAL;
	return do_clone(&r);
}

struct clone_args_user {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_bytes, tls;
	uint64_t set_tid, set_tid_count, cgroup;
};
#define CLONE_ARGS_MIN 64

/* A struct that may be longer than we know, if the rest is zero. */
static int copy_growing_struct(void *to, size_t known, uint64_t from, uint64_t given)
{
	memset(to, 0, known);
	if (given > PAGE_SIZE)
		return -E2BIG;
	for (uint64_t at = known; at < given; at++) {
		uint8_t byte;
		if (copy_from_user(&byte, from + at, 1))
			return -EFAULT;
		if (byte)
			return -E2BIG;
	}
	return copy_from_user(to, from, mem_min((uint64_t)known, given));
}

long sys_clone3(uint64_t args_at, uint64_t bytes)
{
	struct clone_args_user a;
	if (bytes < CLONE_ARGS_MIN)
		return -EINVAL;
	int error = copy_growing_struct(&a, sizeof(a), args_at, bytes);
	if (error)
		return error;
	if ((a.flags & (CSIGNAL | CLONE_DETACHED)) || (a.flags >> 34))
		return -EINVAL;
	if (a.exit_signal >= NSIG || ((a.flags & (CLONE_THREAD | CLONE_PARENT)) && a.exit_signal))
		return -EINVAL;
	if ((a.stack == 0) != (a.stack_bytes == 0) || a.set_tid || a.set_tid_count)
		return -EINVAL;
	if (a.stack && !user_range_ok(a.stack, a.stack_bytes))
		return -EINVAL;
	struct clone_request r = {
	    .flags = a.flags,
	    .parent_tid = a.parent_tid,
	    .child_tid = a.child_tid,
	    .stack = a.stack + a.stack_bytes,
	    .tls = a.tls,
	    .exit_signal = (int)a.exit_signal,
	};
	return do_clone(&r);
}

/* Namespaces are not there to be left; files and directories are shared only by
 * threads, and nobody has needed to part them. */
long sys_unshare(uint64_t flags)
{
	return flags == 0 ? 0 : -EINVAL;
}
