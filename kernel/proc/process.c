/* SPDX-License-Identifier: MIT */
/*
 * The process tree: finding, counting, and looking into other processes.
 *
 * One interrupt-off lock guards the tree and everything else marked (L) in
 * proc.h. What it protects is small and short, and a kernel whose work is
 * memory gains nothing from splitting it: no path that a page fault takes
 * needs it.
 *
 * A process struct outlives its tasks: as a zombie until its parent has reaped
 * it, and after that while somebody holds a reference from process_find. Its
 * space goes with its last task (exit.c), so whoever wants to look into the
 * memory of another process takes a reference to the space under the lock.
 */
#include "kernel/proc/internal.h"
#include <kernel/account.h>
#include <mem/heap.h>
#include <mem/object.h>

struct list process_all = {&process_all, &process_all};
struct process *process_init;
uint32_t task_total, process_total;

static struct mem_lock the_lock;

unsigned long proc_lock(void)
{
	return mem_lock_irq(&the_lock, RANK_PROC);
}

void proc_unlock(unsigned long irq)
{
	mem_unlock_irq(&the_lock, RANK_PROC, irq);
}

struct process *process_alloc(void)
{
	struct process *p = kzalloc(sizeof(*p));
	if (!p)
		return NULL;
	p->account = account_create();
	if (!p->account) {
		kfree(p);
		return NULL;
	}
	p->refs = 1;
	list_init(&p->children);
	list_init(&p->tasks);
	list_init(&p->telling_link);
	member_init(&p->all_link, p);
	member_init(&p->group_link, p);
	member_init(&p->sibling_link, p);
	member_init(&p->told, NULL);
	member_init(&p->seeking, NULL);
	signal_queue_init(&p->pending);
	waitq_init(&p->child_wait);
	p->exit_signal = SIGCHLD;
	p->stop_number = 1;
	p->started_at = time_monotonic();
	return p;
}

void process_get(struct process *p)
{
	__atomic_add_fetch(&p->refs, 1, __ATOMIC_SEQ_CST);
}

void process_put(struct process *p)
{
	if (!p || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_SEQ_CST))
		return;
	kassert(list_empty(&p->tasks) && !p->space && !p->exe);
	user_put(p->user);
	account_put(p->account);
	kfree(p);
}

struct process *process_find(pid_t pid)
{
	unsigned long irq = proc_lock();
	struct pid_entry *entry = pid_lookup(pid);
	struct process *p = entry ? entry->process : NULL;
	if (p)
		process_get(p);
	proc_unlock(irq);
	return p;
}

#define LOOKED_AT_ONCE 32 /* numbers: some name only threads or groups */

struct process *process_next(pid_t from)
{
	struct process *p = NULL;
	for (bool more = true; more;) {
		unsigned long irq = proc_lock();
		for (unsigned i = 0; i < LOOKED_AT_ONCE && !p && more; i++) {
			struct pid_entry *entry = pid_next(from);
			more = entry != NULL;
			if (!more)
				break;
			p = entry->process;
			from = entry->number + 1;
		}
		if (p)
			process_get(p);
		more = more && !p;
		proc_unlock(irq);
	}
	return p;
}

struct task *task_find_locked(pid_t tid)
{
	struct pid_entry *entry = pid_lookup(tid);
	return entry ? entry->task : NULL;
}

struct process *process_of_number_locked(pid_t number)
{
	struct pid_entry *entry = pid_lookup(number);
	if (entry && !entry->process && entry->task)
		return entry->task->process;
	return entry ? entry->process : NULL;
}

struct space *process_space_get(struct process *p)
{
	unsigned long irq = proc_lock();
	struct space *space = p->space;
	if (space)
		vmm_space_get(space);
	proc_unlock(irq);
	return space;
}

struct vm_object *process_exe_get(struct process *p)
{
	unsigned long irq = proc_lock();
	struct vm_object *exe = p->exe;
	if (exe)
		vm_object_get(exe);
	proc_unlock(irq);
	return exe;
}

void mm_layout_copy_locked(const struct mm_layout *mm, struct mm_layout *out)
{
	*out = *mm;
	memset(&out->lock, 0, sizeof(out->lock));
	out->refs = out->users = 0;
	out->space = NULL;
}

struct space *mm_space_get(struct mm_layout *mm)
{
	unsigned long irq = proc_lock();
	struct space *space = mm->space;
	if (space)
		vmm_space_get(space);
	proc_unlock(irq);
	return space;
}

struct mm_layout *mm_layout_create(const struct mm_layout *copy_of)
{
	struct mm_layout *mm = kzalloc(sizeof(*mm));
	if (!mm)
		return NULL;
	if (copy_of) {
		unsigned long irq = proc_lock();
		mm_layout_copy_locked(copy_of, mm);
		proc_unlock(irq);
		mm->lock_future = 0; /* mlockall is not inherited */
	}
	mm->refs = 1;
	return mm;
}

void mm_layout_put(struct mm_layout *mm)
{
	if (mm && !__atomic_sub_fetch(&mm->refs, 1, __ATOMIC_SEQ_CST))
		kfree(mm);
}

void process_swap_memory_locked(struct process *p, struct memory *m)
{
	struct memory old = {p->space, p->mm, p->exe};
	if (m->mm) {
		kassert(!m->mm->space || m->mm->space == m->space);
		m->mm->space = m->space;
		m->mm->users++;
	}
	p->space = m->space;
	p->mm = m->mm;
	p->exe = m->exe;
	if (old.mm && !--old.mm->users)
		old.mm->space = NULL;
	*m = old;
}

void memory_put(struct memory *m)
{
	if (m->space)
		vmm_space_put(m->space);
	mm_layout_put(m->mm);
	if (m->exe)
		vm_object_put(m->exe);
	*m = (struct memory){0};
}

struct task *process_first_task(const struct process *p)
{
	return members_first(&p->tasks);
}

static char task_state(const struct task *t)
{
	if (task_is_stopped(t) || t->thread.state == THREAD_STOPPED)
		return 'T';
	switch (t->thread.state) {
	case THREAD_SLEEPING:
		return 'D';
	case THREAD_SLEEPING_INTERRUPTIBLE:
		return 'S';
	case THREAD_DEAD:
		return 'Z';
	default:
		return 'R';
	}
}

static void fill_info(struct task *t, struct task_info *out)
{
	memset(out, 0, sizeof(*out));
	out->tid = t->tid;
	out->state = task_state(t);
	memcpy(out->name, t->thread.name, sizeof(out->name));
	out->pending = t->pending.set & ~signals_void(t);
	out->blocked = t->blocked;
	out->user_ns = t->thread.user_ns;
	out->system_ns = t->thread.system_ns;
	out->switches_voluntary = t->thread.switches_voluntary;
	out->switches_forced = t->thread.switches_forced;
	out->cpu = t->thread.cpu;
	out->nice = t->thread.nice;
	out->policy = t->thread.policy;
	struct trapframe *frame = thread_user_frame(&t->thread);
	out->user_ip = frame->rip;
	out->user_sp = frame->rsp;
}

/* A first thread that has ended before the others, or as the last. It is there to look at
 * until the process is reaped, as on Linux. */
static bool first_has_ended_locked(const struct process *p)
{
	const struct pid_entry *entry = p->pid_entry;
	return entry && (!entry->task || entry->task->process != p);
}

uint32_t process_thread_count(struct process *p)
{
	unsigned long irq = proc_lock();
	uint32_t count = p->task_count + first_has_ended_locked(p);
	proc_unlock(irq);
	return count;
}

static void fill_ended(const struct process *p, struct task_info *out)
{
	*out = (struct task_info){.tid = p->pid, .state = 'Z'};
	memcpy(out->name, p->name, sizeof(out->name));
}

bool process_task_info(struct process *p, pid_t from, struct task_info *out)
{
	pid_t best = 0;
	struct walk w;
	unsigned long irq = proc_lock();
	walk_begin(&w, &p->tasks, WALK_LOOKING, &irq);
	walk_limit(&w);
	for (struct task *t; (t = walk_next(&w));)
		if (t->tid >= from && (!best || t->tid < best))
			best = t->tid;
	struct task *t = task_find_locked(best);
	bool found = t && t->process == p;
	bool ended = from <= p->pid && (!found || best > p->pid) && first_has_ended_locked(p);
	if (ended)
		fill_ended(p, out);
	else if (found)
		fill_info(t, out);
	proc_unlock(irq);
	return ended || found;
}

/* The state of its first thread, as on Linux: a process whose first thread has ended is
 * a zombie to look at, whatever the others do. */
char process_state(struct process *p)
{
	unsigned long irq = proc_lock();
	struct task *t = p->pid_entry ? p->pid_entry->task : NULL;
	char state = t ? task_state(t) : 'Z';
	proc_unlock(irq);
	return state;
}

void process_signals(struct process *p, sigset_t *pending, sigset_t *ignored, sigset_t *caught)
{
	*ignored = *caught = 0;
	unsigned long irq = proc_lock();
	*pending = p->pending.set;
	for (int sig = 1; p->handlers && sig < NSIG; sig++) {
		uint64_t handler = p->handlers->action[sig].handler;
		if (handler == SIG_IGN)
			*ignored |= SIGSET(sig);
		else if (handler != SIG_DFL)
			*caught |= SIGSET(sig);
	}
	proc_unlock(irq);
}

/* Of many tasks, one that ends meanwhile is missed, so that it may be less than it was;
 * what is said is never less than what was said before. */
void process_times(struct process *p, nsec_t *user, nsec_t *system)
{
	struct walk w;
	unsigned long irq = proc_lock();
	*user = p->dead_user_ns;
	*system = p->dead_system_ns;
	walk_begin(&w, &p->tasks, WALK_LOOKING, &irq);
	walk_limit(&w);
	for (struct task *t; (t = walk_next(&w));) {
		*user += t->thread.user_ns;
		*system += t->thread.system_ns;
	}
	*user = p->said_user_ns = mem_max(*user, p->said_user_ns);
	*system = p->said_system_ns = mem_max(*system, p->said_system_ns);
	proc_unlock(irq);
}
