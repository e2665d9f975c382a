/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_PROC_H
#define KERNEL_PROC_H
/*
 * Processes and tasks. Owner: kernel/proc.
 *
 * A process is what Linux calls a thread group; its tasks share memory, files,
 * signal handlers. Numbers (pid, tid, pgid, sid) come from one space.
 */
#include <kernel/sched.h>
#include <kernel/signal.h>
#include <kernel/types.h>
#include <mem/vmm.h>

struct fd_table; /* fs.h */
struct fs_context;
struct tty;
struct path_node;

struct task { /* one thread of a program */
	struct thread thread;
	struct process *process;
	struct list process_link; /* process->tasks */
	pid_t tid;
	uint64_t clear_child_tid, set_child_tid;
	uint64_t robust_list;
	sigset_t blocked, saved_blocked;
	bool restore_blocked;        /* sigsuspend, ppoll: after the next signal */
	struct signal_queue pending; /* to this thread alone */
	struct signal_stack altstack;
	struct restart_block {
		long (*fn)(struct restart_block *);
		uint64_t arg[4];
	} restart;
	uint64_t robust_len;
	struct list futex_link;
	int exit_status;
	struct fd_table *files; /* normally process-shared; CLONE_FILES semantics */
	struct fs_context *fs;  /* cwd, root, umask; shared by CLONE_FS */
};

struct process {
	struct list all_link; /* every process, zombies too */
	pid_t pid;
	struct process *parent;
	struct list children, sibling_link;
	struct list tasks;
	uint32_t task_count;
	pid_t pgid, sid;
	struct tty *tty; /* controlling terminal or NULL */
	struct space *space;
	struct vm_object *exe; /* the program's file, with a reference */
	char exe_path[256];
	uint64_t arg_start, arg_end, env_start, env_end; /* for /proc/PID/cmdline, environ */
	uint64_t brk_start, brk;
	uint64_t stack_top;
	char name[16];
	struct signal_handlers *handlers; /* shared by CLONE_SIGHAND */
	struct signal_queue pending;      /* to the whole process */
	uint64_t rlimit[16][2];           /* soft, hard; RLIMIT_* numbers */
	uint32_t uid, euid, gid, egid;
	bool zombie, stopped, continued, stop_reported, killed;
	int exit_code; /* wait status */
	int stop_signal;
	int exit_signal;         /* to the parent, normally SIGCHLD */
	struct waitq child_wait; /* parents sleep here */
	nsec_t started_at;       /* monotonic */
	nsec_t dead_user_ns, dead_system_ns, child_user_ns, child_system_ns;
	struct process *vfork_waiter;
	uint32_t refs;
	int32_t oom_score_adj;
	struct ktimer alarm;
	nsec_t alarm_interval;
	uint64_t timers[4];
};

static inline struct task *current_task(void)
{
	return container_of(current_thread(), struct task, thread);
}
static inline struct process *current_process(void)
{
	return current_task()->process;
}

/* Find by pid / iterate in pid order: the first process with pid >= `from`;
 * with a reference (process_put), zombies included. NULL: none. */
struct process *process_find(pid_t pid);
struct process *process_next(pid_t from);
void process_put(struct process *p);

/* Run `path` with argv/envp (kernel strings) as pid 1; stdio is opened by fs. */
int proc_start_init(const char *path, const char *const argv[], const char *const envp[]);
/* End the whole process of the running task with this wait status. */
MEM_NORETURN void process_exit_group(int status);

/* Provided by fs/: shared tables of a new task and their end. */
int fs_fork(struct task *child, struct task *parent, bool share_files, bool share_fs);
void fs_exec(struct task *task); /* unshare and close-on-exec */
void fs_exit(struct task *task);
int fs_init_task(struct task *task); /* pid 1: cwd /, fds 0 1 2 on the console */
#endif
