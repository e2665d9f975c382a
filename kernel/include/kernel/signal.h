/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_SIGNAL_H
#define KERNEL_SIGNAL_H
/* Signals. Owner: kernel/proc. Layouts are the Linux x86-64 user ABI. */
#include <kernel/types.h>

typedef uint64_t sigset_t; /* bit n-1 = signal n */
#define SIGSET(n) ((sigset_t)1 << ((n)-1))

enum {
	SIGHUP = 1,
	SIGINT,
	SIGQUIT,
	SIGILL,
	SIGTRAP,
	SIGABRT,
	SIGBUS,
	SIGFPE,
	SIGKILL,
	SIGUSR1,
	SIGSEGV,
	SIGUSR2,
	SIGPIPE,
	SIGALRM,
	SIGTERM,
	SIGSTKFLT,
	SIGCHLD,
	SIGCONT,
	SIGSTOP,
	SIGTSTP,
	SIGTTIN,
	SIGTTOU,
	SIGURG,
	SIGXCPU,
	SIGXFSZ,
	SIGVTALRM,
	SIGPROF,
	SIGWINCH,
	SIGIO,
	SIGPWR,
	SIGSYS,
	SIGRTMIN = 32,
	SIGRTMAX = 64,
	NSIG = 65
};

struct siginfo { /* 128 bytes, Linux layout */
	int32_t signo, err, code, pad0;
	union {
		struct {
			int32_t pid;
			uint32_t uid;
			int32_t status;
			int32_t pad;
			int64_t utime, stime;
		} child;
		struct {
			int32_t pid;
			uint32_t uid;
			uint64_t value;
		} rt;
		struct {
			uint64_t address;
		} fault;
		uint8_t pad[112];
	};
};

struct sigaction_user {
	uint64_t handler, flags, restorer;
	sigset_t mask;
};
struct signal_stack {
	uint64_t sp;
	int32_t flags, pad;
	uint64_t bytes;
};
struct signal_queue {
	sigset_t set;
	struct list infos;
}; /* infos: queued siginfo, may be absent */
struct signal_handlers {
	uint32_t refs;
	struct mem_lock *unused;
	struct sigaction_user action[NSIG];
};

struct task;
struct process;
/* Send; info NULL: from the kernel. Any thread or interrupt context. 0, or -EAGAIN. */
int signal_send_task(struct task *t, int sig, const struct siginfo *info);
int signal_send_process(struct process *p, int sig, const struct siginfo *info);
/* To every process of a group: 0, or -ESRCH. tty/ uses it. */
int signal_send_group(pid_t pgid, int sig, const struct siginfo *info);
/* Has the running task a deliverable signal? (interruptible sleeps) */
bool signal_pending(void);
/* Is sig blocked or ignored by the running task? (background tty access) */
bool signal_ignored(int sig);
/* Is there a process of this group whose parent is in another group of the session (not orphaned)?
 */
bool group_is_orphaned(pid_t pgid);
#endif
