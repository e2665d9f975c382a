/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_PROC_INTERNAL_H
#define KERNEL_PROC_INTERNAL_H
/*
 * What the files of kernel/proc and kernel/syscall share.
 *
 * Locks, in the order they are taken:
 *   process->posix_lock, alarm_lock, mm_layout->lock   sleeping mutexes, no two at once
 *   a futex bucket                                      spin, rank RANK_FUTEX
 *   proc_lock                                           spin, interrupts off, rank RANK_PROC
 * Under the spin locks nothing sleeps and no user memory is touched; kmalloc,
 * kfree, waking threads and arming timers are fine. The two spin locks are
 * never held together.
 *
 * Lifetime: a task is freed by its thread's `released` after it left
 * process->tasks, so a task pointer found in a list is good while proc_lock is
 * held. A process is counted (refs): one for being in the tree until it is
 * reaped, one for each task, one for each process_find.
 */
#include <kernel/log.h>
#include <kernel/proc.h>
#include <kernel/signal.h>
#include <kernel/trap.h>

#define RANK_PROC  ((enum mem_rank)40)
#define RANK_FUTEX ((enum mem_rank)30)

/* A frame whose registers rt_sigreturn has set: no system call to restart. */
#define TRAP_SIGRETURN 0x101

#define USER_FLAGS_INITIAL 0x202ull /* IF and the bit that is always 1 */

/* ---- pid.c: numbers ---- */

/* A number in use: by a task, a process, a group's or a session's members. */
struct pid_entry {
	pid_t number;
	uint32_t users; /* (L) */
	struct task *task;
	struct process *process;
	/* Of the process group with this number (group.c), (L): */
	struct list group; /* of members */
	uint32_t stopped;  /* processes in it that are stopped */
	uint32_t anchors;  /* and because of which it is not orphaned */
	sigset_t due;      /* signals that an interrupt has sent it */
	struct list due_link;
};
/* The next free number with one user. NULL: no memory (-ENOMEM in *error) or no
 * number (-EAGAIN). Context: thread, proc_lock not held. */
struct pid_entry *pid_allocate(int *error);
/* Under proc_lock: */
struct pid_entry *pid_lookup(pid_t number);
struct pid_entry *pid_next(pid_t from); /* the first in use that is not below; NULL: none */
void pid_use(struct pid_entry *entry);
void pid_drop(struct pid_entry *entry); /* the last user frees it */

extern uint32_t task_total, process_total; /* (L) */

/* ---- walk.c: lists of members, under proc_lock ---- */
struct walk {
	struct list *list; /* NULL: it is over */
	struct member cursor;
	unsigned at_once, taken, passed;
	uint32_t left; /* entries that are visited at most */
	unsigned long *irq;
};
#define WALK_SENDING 4  /* entries under one taking of the lock: each is sent a signal */
#define WALK_LOOKING 16 /* each is looked at */

static inline struct member *member_of(struct list *link)
{
	return container_of(link, struct member, link);
}
static inline void member_init(struct member *m, void *owner)
{
	list_init(&m->link);
	m->owner = owner;
}
/* Begin before the first entry. Under proc_lock; *irq is what it gave. Every walk ends by
 * walk_next returning NULL or by walk_end. Context: thread. */
void walk_begin(struct walk *w, struct list *list, unsigned at_once, unsigned long *irq);
/* The next entry's owner, NULL: there are no more. After `at_once` of them the lock is let
 * go of for a moment before. The list's head stays: the caller sees to that. */
void *walk_next(struct walk *w);
/* Visit at most twice as many as there could be now. */
static inline void walk_limit(struct walk *w)
{
	w->left = 2 * (process_total + task_total);
}
/* Leave a walk before its end. */
void walk_end(struct walk *w);
/* The first entry's owner; NULL: there is none. */
void *members_first(const struct list *list);

/* ---- process.c ---- */
extern struct list process_all; /* (L), in order of birth */
extern struct process *process_init;
struct process *process_alloc(void); /* refs 1, lists empty */
struct mm_layout *mm_layout_create(const struct mm_layout *copy_of);
/* What a process runs in, with the references. */
struct memory {
	struct space *space;
	struct mm_layout *mm;
	struct vm_object *exe;
};
/* Under proc_lock: exchange what p runs in for *m. */
void process_swap_memory_locked(struct process *p, struct memory *m);
/* Drop the references; NULLs are fine. Context: thread, no lock. */
void memory_put(struct memory *m);
struct task *task_find_locked(pid_t tid);
/* The process that this number names, or whose thread it names; NULL: none. */
struct process *process_of_number_locked(pid_t number);
void process_apply_limits(struct process *p);
/* What the space maps is on this user's account from now on. */
void space_set_user(struct space *space, uint32_t uid);

/* ---- kernel/syscall/capability.c: prctl's part of it; -EPERM, -EINVAL ---- */
long capability_bound_read(uint64_t cap);
long capability_bound_drop(uint64_t cap);

/* ---- fork.c ---- */
#define CLONE_VM             0x00000100ull
#define CLONE_FS             0x00000200ull
#define CLONE_FILES          0x00000400ull
#define CLONE_SIGHAND        0x00000800ull
#define CLONE_PIDFD          0x00001000ull
#define CLONE_PTRACE         0x00002000ull
#define CLONE_VFORK          0x00004000ull
#define CLONE_PARENT         0x00008000ull
#define CLONE_THREAD         0x00010000ull
#define CLONE_NEWNS          0x00020000ull
#define CLONE_SYSVSEM        0x00040000ull
#define CLONE_SETTLS         0x00080000ull
#define CLONE_PARENT_SETTID  0x00100000ull
#define CLONE_CHILD_CLEARTID 0x00200000ull
#define CLONE_DETACHED       0x00400000ull
#define CLONE_UNTRACED       0x00800000ull
#define CLONE_CHILD_SETTID   0x01000000ull
#define CLONE_NEWCGROUP      0x02000000ull
#define CLONE_NEWUTS         0x04000000ull
#define CLONE_NEWIPC         0x08000000ull
#define CLONE_NEWUSER        0x10000000ull
#define CLONE_NEWPID         0x20000000ull
#define CLONE_NEWNET         0x40000000ull
#define CLONE_IO             0x80000000ull
#define CLONE_CLEAR_SIGHAND  0x100000000ull
#define CLONE_INTO_CGROUP    0x200000000ull
#define CLONE_NEWTIME        0x00000080ull
#define CLONE_NAMESPACES                                                                           \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
	 CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWTIME)
void vfork_release(struct task *t); /* let a parent that waits for this task go on */
void task_released(struct thread *thread);

/* ---- exit.c ---- */
MEM_NORETURN void task_exit(int status); /* end the running task */
/* Under proc_lock: make every task but `except` end; the wait status is given by
 * whoever calls this first for a group exit. */
void group_exit_locked(struct process *p, int status, struct task *except);
static inline bool task_is_stopped(const struct task *t)
{
	return t->stopped_in == t->process->stop_number;
}

/* ---- tell.c ---- */
/* Under proc_lock: have every task look at what its process is to do: end (if `exiting`, or
 * exec_task is another one), stop, or go on. Only the first are told at once. */
void tasks_tell_locked(struct process *p);
/* Under proc_lock: find, for each signal of `set`, a task that takes it, and interrupt that.
 * Only the first are looked at at once. */
void tasks_seek_locked(struct process *p, sigset_t set);
/* Under proc_lock: a task comes or goes. */
void tasks_join_locked(struct process *p, struct task *t);
void tasks_leave_locked(struct process *p, struct task *t);
/* Do what was put off: a kernel thread does it, too. Context: thread, no lock. */
void tasks_settle(void);
void tell_wake(void); /* there is something to settle; any context */
void tell_init(void);
/* Does t take this signal now, or wait for it? */
static inline bool task_wants(const struct task *t, sigset_t set)
{
	return set & (~t->blocked | t->waiting_for);
}
/* Under proc_lock: take a zombie out of the tree; drops the tree's reference, so the
 * caller or the ending task has another. */
void process_reap_locked(struct process *p);
/* clear_child_tid, robust futexes: before the task lets go of its space. */
void task_release_memory(struct task *t);

/* ---- group.c ---- */
/* Under proc_lock: p is a member of the group with this number from now on; NULL: of none. */
void group_join_locked(struct process *p, struct pid_entry *to);
void session_join_locked(struct process *p, struct pid_entry *to);
/* Under proc_lock: its parent, or its or its parent's group or session, has changed, or it
 * is leaving. If its group has become orphaned by that and has stopped members, it is to be
 * hung up: its entry, with a use that group_hang_up drops; else NULL. */
struct pid_entry *group_relate_locked(struct process *p);
/* Send SIGHUP and SIGCONT to the members; NULL: nobody. Under proc_lock, which is let go of
 * meanwhile. Context: thread. */
void group_hang_up(struct pid_entry *group, unsigned long *irq);
/* Under proc_lock: does p keep nobody's job control? */
static inline bool group_is_orphaned_locked(const struct process *p)
{
	return !p->pgid_entry->anchors;
}
void process_set_stopped_locked(struct process *p, bool stopped);
/* Send what interrupts have sent to groups. Context: thread. */
bool groups_due(void);
void groups_settle(void);

/* ---- signals ---- */
struct siginfo_node {
	struct siginfo_node *next; /* newer, of the same signal; the newest's is the oldest */
	struct siginfo info;
	bool queued;       /* (L) */
	bool kept;         /* a timer's: it is not freed with the signal */
	struct user *user; /* that it counts for */
	struct account *account;
};
#define SIGNALS_STOP          (SIGSET(SIGSTOP) | SIGSET(SIGTSTP) | SIGSET(SIGTTIN) | SIGSET(SIGTTOU))
#define SIGNALS_IGNORE        (SIGSET(SIGCHLD) | SIGSET(SIGCONT) | SIGSET(SIGURG) | SIGSET(SIGWINCH))
#define SIGNALS_NEVER_BLOCKED (SIGSET(SIGKILL) | SIGSET(SIGSTOP))
#define SIGNALS_SYNCHRONOUS                                                                        \
	(SIGSET(SIGSEGV) | SIGSET(SIGBUS) | SIGSET(SIGILL) | SIGSET(SIGTRAP) | SIGSET(SIGFPE) |    \
	 SIGSET(SIGSYS))

void signal_queue_init(struct signal_queue *q);
/* Under proc_lock. A node that counts among the queued signals of p's user; NULL: that
 * would be too many, or no memory. */
struct siginfo_node *signal_node_create_locked(struct process *p, bool beyond_limit);
/* Under proc_lock: its timer is done with a node. */
void signal_node_release_locked(struct siginfo_node *node);
/* Under proc_lock. */
void signal_queue_add(struct signal_queue *q, int sig, struct siginfo_node *node);
/* Under proc_lock: take the next signal of `set`; 0: none. */
int signal_queue_take(struct signal_queue *q, sigset_t set, struct siginfo *info);
/* Under proc_lock: drop those of `set`. Thread context calls signal_nodes_settle() after it. */
/* An exception's signal, which the queue does not hold yet. It needs no node. */
void signal_queue_force(struct signal_queue *q, int sig, const struct siginfo *info);
void signal_queue_flush(struct signal_queue *q, sigset_t set);
/* Free what was dropped, and see that the next senders need not ask the heap: before and
 * after sending. Context: thread, proc_lock not held. */
void signal_nodes_settle(void);
/* Under proc_lock. `t` NULL: to the whole process. info NULL: from the kernel. */
int signal_send_locked(struct process *p, struct task *t, int sig, const struct siginfo *info);
/* As signal_send_locked, with a timer's node, which is not queued yet. */
void signal_send_node_locked(struct process *p, struct task *t, struct siginfo_node *node);
/* Under proc_lock: take the next signal in `set` for t; 0: none. */
int signal_take_locked(struct task *t, sigset_t set, struct siginfo *info);
/* Under proc_lock, after masks or queues changed: does t need to pass through delivery? */
void signal_recalc_locked(struct task *t);
void signal_set_blocked(sigset_t mask); /* of the running task */
struct signal_handlers *signal_handlers_create(const struct signal_handlers *copy_of);
void signal_handlers_put(struct signal_handlers *h);
/* Under proc_lock: p stopped, went on, or ended: SIGCHLD to its parent, wake its wait. */
void signal_notify_parent_locked(struct process *p, int code, int status);
bool parent_reaps_itself_locked(const struct process *parent, int exit_signal);
/* What p's end tells its parent: SIGCHLD if that has become another program since. */
int child_signal_locked(const struct process *p);
/* Of a task's own pending signals those that a later SIGCONT or stop signal has undone. */
sigset_t signals_void(const struct task *t);
const char *signal_name(int sig);

/* signal_frame.c: build the frame for a handler / undo it. False: the stack cannot
 * be written, the program is to get SIGSEGV. */
bool signal_frame_push(struct task *t, struct trapframe *frame, int sig,
		       const struct sigaction_user *action, const struct siginfo *info,
		       sigset_t mask_to_restore);
uint64_t signal_frame_bytes(void); /* AT_MINSIGSTKSZ */

/* exception.c: say on the log why a program dies of a signal. */
void report_fatal_signal(struct task *t, struct trapframe *frame, int sig,
			 const struct siginfo *info);

/* ---- timers: kernel/syscall/itimer.c, posix_timer.c ---- */
void process_timers_exit(struct process *p); /* cancel all; thread context */
void posix_timers_exec(struct process *p);
void cpu_timers_check(struct process *p); /* at ticks, if armed */
/* As ktimer_cancel, for a timer whose function may arm it again while this waits for
 * it; the caller has seen to it that it does so at most once more. */
static inline void timer_stop(struct ktimer *t)
{
	do
		(void)ktimer_cancel(t);
	while (__atomic_load_n(&t->armed, __ATOMIC_SEQ_CST));
}

/* ---- futex.c ---- */
void futex_robust_exit(struct task *t);
void futex_wake_address(uint64_t address, uint32_t count);
void futex_init(void);

#endif
