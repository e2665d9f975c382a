/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_PROC_H
#define KERNEL_PROC_H
/*
 * Processes and tasks. Owner: kernel/proc.
 *
 * A process is what Linux calls a thread group; its tasks share memory, files,
 * signal handlers. Numbers (pid, tid, pgid, sid) come from one space.
 *
 * One lock, proc_lock(), guards the tree, the numbers, job control and signals:
 * every field marked (L). It is an interrupt-off spin lock, because terminals
 * and timers send signals from interrupts. Fields marked (T) belong to the
 * task's own thread, others (M) to the process and change only in exec, while
 * it has a single thread. Reading an integer marked (L) without the lock gives
 * a value that was true a moment ago, which is all that /proc wants.
 */
#include <kernel/access.h>
#include <kernel/sched.h>
#include <kernel/signal.h>
#include <kernel/types.h>
#include <mem/vmm.h>

struct fd_table; /* fs.h */
struct fs_context;
struct tty;
struct pid_entry;
struct posix_timer;
struct process;

/* What tasks that share a space (CLONE_VM) share besides it. It outlives the space:
 * a file of /proc/PID holds the layout, and through it the space for as long as some
 * process runs in it. */
struct mm_layout {
	uint64_t refs;
	uint32_t users;      /* processes that run in it (L) */
	struct space *space; /* NULL once there are none (L); others: mm_space_get */
	bool dumpable;       /* its owner may look into it: access.h (L) */
	struct mutex lock;   /* brk */
	uint64_t brk_start, brk;
	uint64_t mmap_top; /* mmap searches downwards from here */
	uint64_t stack_top;
	uint64_t code_start, code_end, data_start, data_end;
	uint64_t arg_start, arg_end, env_start, env_end; /* /proc/PID/cmdline, environ */
	uint64_t auxv[48];
	uint32_t auxv_words;
	unsigned lock_future; /* mlockall(MCL_FUTURE): VM_* flags of what is mapped next */
};

/* An entry of a list that is walked in steps (kernel/proc/walk.c). */
struct member {
	struct list link;
	void *owner; /* what the entry stands for; NULL: it is the place of a walk */
};

struct restart_block {
	long (*fn)(struct restart_block *);
	uint64_t arg[4];
};

struct task { /* one thread of a program */
	struct thread thread;
	struct process *process;
	struct member process_link; /* process->tasks (L) */
	pid_t tid;                  /* (L) */
	struct pid_entry *tid_entry;
	uint64_t clear_child_tid, set_child_tid; /* (T) */
	uint64_t robust_list, robust_len;        /* (T) */
	sigset_t blocked, saved_blocked;         /* (L) to write */
	sigset_t waiting_for; /* sigtimedwait: these wake it though blocked (L) */
	bool restore_blocked; /* sigsuspend, ppoll: after the next signal (T) */
	bool must_exit;       /* ends at the next return to user mode (L) */
	uint32_t stopped_in;  /* the group stop that it sleeps in (task_is_stopped) (L) */
	/* Its pending stop signals are of before this group stop's SIGCONT, its SIGCONT of before
	 * this stop signal: else they are void (signal_send.c) (L). */
	uint32_t stops_of, continue_of;
	bool exited;                /* left process->tasks (L) */
	int8_t parent_death_signal; /* prctl(PR_SET_PDEATHSIG) */
	uint8_t priority;           /* realtime priority, as set; 0 for others */
	uint64_t timer_slack;
	struct signal_queue pending;                /* to this thread alone (L) */
	struct signal_stack altstack;               /* (T) */
	struct restart_block restart;               /* (T) */
	uint64_t trap_vector, trap_error, trap_cr2; /* last exception, for signal frames (T) */
	struct waitq wait;                       /* its own sleeps that only a kill may cut short */
	struct task *vfork_parent, *vfork_child; /* each other, until exec or exit (L) */
	int exit_status;                         /* wait status (T) */
	struct account *account;                 /* that its stack is on */
	struct fd_table *files; /* normally process-shared; CLONE_FILES semantics */
	struct fs_context *fs;  /* cwd, root, umask; shared by CLONE_FS */
};

enum {
	RLIMIT_CPU,
	RLIMIT_FSIZE,
	RLIMIT_DATA,
	RLIMIT_STACK,
	RLIMIT_CORE,
	RLIMIT_RSS,
	RLIMIT_NPROC,
	RLIMIT_NOFILE,
	RLIMIT_MEMLOCK,
	RLIMIT_AS,
	RLIMIT_LOCKS,
	RLIMIT_SIGPENDING,
	RLIMIT_MSGQUEUE,
	RLIMIT_NICE,
	RLIMIT_RTPRIO,
	RLIMIT_RTTIME,
	RLIMIT_COUNT
};
#define RLIM_INFINITY UINT64_MAX

struct cpu_timer { /* ITIMER_VIRTUAL, ITIMER_PROF: in CPU time of the process */
	nsec_t expires, interval;
};

struct process {
	struct member all_link;   /* every process, zombies too, in order of birth (L) */
	struct member group_link; /* pgid_entry->group (L) */
	/* Of its tasks some are to be told something yet: tell.c (L). */
	struct list telling_link;
	struct member told; /* the place in `tasks` of who tells all of them */
	bool telling;
	sigset_t sought; /* signals that one of them is to be found for */
	uint32_t seek_left;
	struct member seeking; /* the place of who looks for it */
	pid_t pid;
	struct pid_entry *pid_entry, *pgid_entry, *sid_entry; /* (L) */
	struct process *parent;                               /* (L) */
	struct list children;                                 /* (L) */
	struct member sibling_link;                           /* parent->children (L) */
	struct list tasks;                                    /* (L) */
	uint32_t task_count;                                  /* (L) */
	pid_t pgid, sid;                                      /* (L) */
	struct tty *tty;                                      /* controlling terminal or NULL */
	struct space *space;   /* NULL once it has ended (L); others: process_space_get */
	struct mm_layout *mm;  /* as `space` */
	struct vm_object *exe; /* the program's file; others: process_exe_get */
	char exe_path[256];    /* as it was opened */
	char name[16];
	struct signal_handlers *handlers; /* shared by CLONE_SIGHAND; contents (L) */
	struct signal_queue pending;      /* to the whole process (L) */
	uint64_t rlimit[RLIMIT_COUNT][2]; /* soft, hard */
	struct identity id;               /* (L) to write; others read it under the lock, too */
	uint32_t personality;
	bool zombie;    /* ended, waits to be reaped (L) */
	bool exiting;   /* every task must exit; exit_code is set (L) */
	bool stopping;  /* a group stop is on: tasks stop, or have (L) */
	bool stopped;   /* all have (L); process_set_stopped_locked */
	bool anchors;   /* its group is not orphaned because of it (group.c) (L) */
	bool leaving;   /* it counts for its group no more (L) */
	bool continued; /* not yet reported (L) */
	bool stop_reported;
	bool execed, subreaper;
	bool unkillable;         /* pid 1: signals without a handler do nothing */
	int exit_code;           /* wait status (L) */
	int stop_signal;         /* (L) */
	uint32_t stopped_tasks;  /* (L) */
	uint32_t stop_number;    /* of its group stops, from 1; the next begins with SIGCONT (L) */
	uint32_t stop_signals;   /* stop signals that it got (L) */
	struct task *exec_task;  /* waits in exec for the others to be gone (L) */
	int exit_signal;         /* to the parent, normally SIGCHLD: child_signal */
	uint32_t execs;          /* that it has done (L) */
	uint32_t parent_execs;   /* that its parent had when exit_signal was agreed on (L) */
	struct waitq child_wait; /* parents sleep here */
	nsec_t started_at;       /* monotonic */
	nsec_t dead_user_ns, dead_system_ns, child_user_ns, child_system_ns; /* (L) */
	nsec_t said_user_ns, said_system_ns; /* by process_times, the most yet (L) */
	uint64_t dead_switches_voluntary, dead_switches_forced; /* (L) */
	uint64_t faults_minor, faults_major;                    /* of spaces that are gone (L) */
	uint64_t child_faults_minor, child_faults_major, peak_resident, child_peak_resident;
	uint64_t refs;
	int32_t oom_score_adj, oom_score_adj_min; /* the second: as low as without a right (L) */
	struct ktimer alarm;                      /* ITIMER_REAL */
	nsec_t alarm_interval;
	struct mutex alarm_lock;
	struct cpu_timer cpu_timer[2]; /* virtual, prof (L) */
	bool cpu_timers_armed;         /* any of these, or RLIMIT_CPU */
	nsec_t cpu_limit_next;         /* when SIGXCPU comes next */
	struct list *posix_timers;     /* POSIX timers by number, under posix_lock */
	uint32_t posix_timer_count;
	struct mutex posix_lock;
	int32_t posix_next_id;
	struct user *user;       /* of its real user number, with a reference (L); account.h */
	struct account *account; /* what it makes the kernel hold */
	nsec_t exit_began;       /* when `exiting` was set (L) */
};

static inline struct task *current_task(void)
{
	return container_of(current_thread(), struct task, thread);
}
/* Context: a user task's thread (not a kernel thread). */
static inline struct process *current_process(void)
{
	return current_task()->process;
}

/* The lock over (L) fields. Context: any. Not recursive; do not sleep, touch user
 * memory or call signal_send_* while it is held. */
MEM_CHECKED /* Has the running task been told to end (SIGKILL)? A loop whose length a program
	     * chooses looks at this and gives up: nobody will see what it returns. Context: thread.
	     */
    bool
    task_killed(void);
unsigned long proc_lock(void);
void proc_unlock(unsigned long irq);

/* Find by pid / iterate in pid order: the first process with pid >= `from`;
 * with a reference (process_put), zombies included. NULL: none. */
struct process *process_find(pid_t pid);
struct process *process_next(pid_t from);
void process_put(struct process *p);

/* Its space / its program's file with a reference (vmm_space_put, vm_object_put); NULL
 * if it has ended. For the kernel's own counting: what is done for a program goes
 * through access.h. */
struct space *process_space_get(struct process *p);
struct vm_object *process_exe_get(struct process *p);
/* The space of a layout with a reference; NULL: nobody runs in it any more. */
struct space *mm_space_get(struct mm_layout *mm);
void mm_layout_put(struct mm_layout *mm);
/* Under proc_lock: the plain part of a layout, without lock and references. */
void mm_layout_copy_locked(const struct mm_layout *mm, struct mm_layout *out);
/* Under proc_lock: has it been reaped? Its number is somebody else's then. */
static inline bool process_is_gone_locked(const struct process *p)
{
	return !p->pid_entry;
}
void process_get(struct process *p);
/* Under proc_lock: one of its tasks; NULL: there is none. */
struct task *process_first_task(const struct process *p);

/* For /proc: one task of a process, the first with tid >= from; false: none. */
struct task_info {
	pid_t tid;
	char state; /* R S D T Z */
	char name[16];
	sigset_t pending, blocked;
	nsec_t user_ns, system_ns;
	uint64_t switches_voluntary, switches_forced;
	unsigned cpu;
	int nice, policy;
	uint64_t user_ip, user_sp;
};
bool process_task_info(struct process *p, pid_t from, struct task_info *out);
/* Its threads for /proc: a first one that has ended counts until the process is reaped. */
uint32_t process_thread_count(struct process *p);
/* Letter for the whole process; signals pending to, ignored and caught by it. */
char process_state(struct process *p);
void process_signals(struct process *p, sigset_t *pending, sigset_t *ignored, sigset_t *caught);
/* CPU time of all its tasks, living and dead. */
void process_times(struct process *p, nsec_t *user, nsec_t *system);
/* The soft limit, RLIM_INFINITY if none. */
static inline uint64_t rlimit_soft(const struct process *p, unsigned which)
{
	return p->rlimit[which][0];
}
/* How many processes (zombies too) and tasks there are; the pid given out last. */
void process_counts(uint32_t *processes, uint32_t *tasks, pid_t *last_pid);
/* Forks since boot, for /proc/stat. */
extern uint64_t proc_fork_count;
extern uint32_t proc_thread_max; /* /proc/sys/kernel/threads-max: tasks there may be */
extern int32_t proc_pid_max;     /* numbers below this are given out */
/* Give back the nodes that are kept for numbers to come. Context: thread, no lock. */
void pid_nodes_drain(void);
#define PID_MAX_LEAST 301
#define PID_MAX_MOST  (1 << 22)
extern char proc_nodename[65], proc_domainname[65]; /* sethostname; racy reads are fine */

/* Run `path` with argv/envp (kernel strings) as pid 1; stdio is opened by fs.
 * Returns once it is about to run, or why it cannot. Context: thread. */
int proc_start_init(const char *path, const char *const argv[], const char *const envp[]);
/* End the whole process of the running task with this wait status. */
MEM_NORETURN void process_exit_group(int status);

/* /proc/sys/vm/mmap_min_addr: below it only CAP_SYS_RAWIO maps. A program whose pages lie
 * there is what a kernel's null pointer leads to. Hints are moved up to it. */
extern uint64_t mmap_min_address;
bool mmap_address_ok(uint64_t at);

/* Memory ran out for good: choose a program and end it. True if one was, and
 * trying again makes sense. Context: thread or fault, may sleep, no lock. */
bool proc_out_of_memory(uint64_t npages);
/* A call found no memory. True if that is because memory has run out, and some was found
 * since or somebody was ended. Context: thread, may sleep, no lock. */
bool proc_relieve(void);
/* How likely it is to be chosen then, 0 to 2000: /proc/PID/oom_score. Context: thread. */
uint64_t proc_oom_score(struct process *p);

/* Provided by fs/: shared tables of a new task and their end. */
int fs_fork(struct task *child, struct task *parent, bool share_files, bool share_fs);
/* Its descriptors alone are its own from now on. -ENOMEM: they are shared still. */
int fs_exec_unshare(struct task *task);
void fs_exec(struct task *task); /* close-on-exec */
/* Under proc_lock: does some other process use its directory and umask? While the process
 * has other threads it is not known yet, and false. */
bool fs_is_shared_locked(const struct task *task);
void fs_exit(struct task *task);
int fs_init_task(struct task *task); /* pid 1: cwd /, fds 0 1 2 on the console */
#endif
