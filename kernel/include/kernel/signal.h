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
			int32_t id, overrun;
			uint64_t value;
		} timer;
		struct {
			uint64_t address;
		} fault;
		struct {
			int64_t band;
			int32_t fd;
		} poll;
		uint8_t pad[112];
	};
};

/* siginfo.code */
#define SI_USER       0
#define SI_KERNEL     0x80
#define SI_QUEUE      (-1)
#define SI_TIMER      (-2)
#define SI_MESGQ      (-3)
#define SI_ASYNCIO    (-4)
#define SI_SIGIO      (-5)
#define SI_TKILL      (-6)
#define ILL_ILLOPN    2
#define ILL_PRVOPC    5
#define FPE_INTDIV    1
#define FPE_FLTINV    7
#define SEGV_MAPERR   1
#define SEGV_ACCERR   2
#define BUS_ADRALN    1
#define BUS_ADRERR    2
#define TRAP_BRKPT    1
#define TRAP_TRACE    2
#define CLD_EXITED    1
#define CLD_KILLED    2
#define CLD_DUMPED    3
#define CLD_TRAPPED   4
#define CLD_STOPPED   5
#define CLD_CONTINUED 6

#define SIG_DFL 0ull
#define SIG_IGN 1ull

#define SA_NOCLDSTOP 0x00000001ull
#define SA_NOCLDWAIT 0x00000002ull
#define SA_SIGINFO   0x00000004ull
#define SA_RESTORER  0x04000000ull
#define SA_ONSTACK   0x08000000ull
#define SA_RESTART   0x10000000ull
#define SA_NODEFER   0x40000000ull
#define SA_RESETHAND 0x80000000ull

#define SS_ONSTACK    1
#define SS_DISABLE    2
#define SS_AUTODISARM ((int32_t)0x80000000)
#define MINSIGSTKSZ   2048

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
	struct siginfo_node *newest[NSIG - 1]; /* by signal; a signal may be set without one */
	int forced;                            /* a signal that is set without one, 0: none */
	struct siginfo forced_info;            /* ... and what it tells */
};                                             /* kernel/proc/signal_queue.c */
struct signal_handlers {
	uint32_t refs;
	struct sigaction_user action[NSIG];
};

struct task;
struct process;
/* Send. info NULL: from the kernel (SI_KERNEL). Any thread or interrupt context,
 * proc_lock not held; the caller keeps the task or process alive. 0, or -EAGAIN
 * for a realtime signal that could not be queued. */
int signal_send_task(struct task *t, int sig, const struct siginfo *info);
int signal_send_process(struct process *p, int sig, const struct siginfo *info);
/* To every process of a group that is in session sid (0: in any): 0, or -ESRCH. Context:
 * thread. */
int signal_send_group(pid_t pgid, pid_t sid, int sig, const struct siginfo *info);
/* The same from an interrupt: it is sent soon, by a thread. Context: any. */
void signal_send_group_soon(pid_t pgid, pid_t sid, int sig);
/* Send the running task a signal that it can neither block nor ignore (an exception). */
void signal_force(int sig, const struct siginfo *info);
/* Has the running task a deliverable signal? (interruptible sleeps) */
bool signal_pending(void);
/* Is sig blocked or ignored by the running task? (background tty access) */
bool signal_ignored(int sig);
/* True if no process of this group has a parent in another group of its session. */
bool group_is_orphaned(pid_t pgid);
/* The session of a process group; -ESRCH: it has no member. */
pid_t group_session(pid_t pgid);
/* ppoll, pselect: use `mask` for the sleep. If it was not interrupted call
 * signal_mask_restore; if it was return -ERESTARTNOHAND or -EINTR, and the old
 * mask comes back after the handler, or at once where no handler runs. */
void signal_mask_temporary(sigset_t mask);
void signal_mask_restore(void);
/* Take a pending signal of `set` from the running task or its process (signalfd):
 * its number, or 0. */
int signal_dequeue(sigset_t set, struct siginfo *info);
/* Those of `set` that are pending for the running task. */
sigset_t signal_pending_set(sigset_t set);
/* Give back the nodes that are kept for signals to come. Context: thread, no lock. */
void signal_nodes_drain(void);
#endif
