/* SPDX-License-Identifier: MIT */
/*
 * Exceptions in user mode become signals; signals that end a program for a
 * fault are explained on the log, in words: which program, what it did, where,
 * in which mapping, and what lies around it (vmm_explain_fault).
 *
 * The report is made when the default action is taken, not when the exception
 * happens: a program with a handler has not failed.
 */
#include "kernel/proc/internal.h"

static const char *const signal_names[] = {
    "signal 0",  "SIGHUP",  "SIGINT",    "SIGQUIT", "SIGILL",   "SIGTRAP", "SIGABRT", "SIGBUS",
    "SIGFPE",    "SIGKILL", "SIGUSR1",   "SIGSEGV", "SIGUSR2",  "SIGPIPE", "SIGALRM", "SIGTERM",
    "SIGSTKFLT", "SIGCHLD", "SIGCONT",   "SIGSTOP", "SIGTSTP",  "SIGTTIN", "SIGTTOU", "SIGURG",
    "SIGXCPU",   "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",   "SIGPWR",  "SIGSYS"};

const char *signal_name(int sig)
{
	if (sig < 0 || sig >= NSIG)
		return "an invalid signal";
	return sig < (int)ARRAY_COUNT(signal_names) ? signal_names[sig] : "a realtime signal";
}

void proc_user_exception(struct trapframe *frame, int sig, int code, uint64_t address)
{
	struct task *t = current_task();
	t->trap_vector = frame->vector;
	t->trap_error = frame->error;
	if (frame->vector == 14)
		t->trap_cr2 = address;
	if (sig == SIGKILL) { /* a fault that no memory could be found for */
		struct siginfo killed = {.signo = SIGKILL, .code = SI_KERNEL};
		report_fatal_signal(t, frame, SIGKILL, &killed);
		signal_force(SIGKILL, NULL);
		return;
	}
	struct siginfo info = {.signo = sig, .code = code};
	info.fault.address = address;
	signal_force(sig, &info);
}

static bool is_exception(const struct siginfo *info)
{
	return info->code > 0;
}

static const char *explain_exception(int sig, const struct siginfo *info)
{
	if (!is_exception(info))
		return "sent to it";
	switch (sig) {
	case SIGFPE:
		return info->code == FPE_INTDIV ? "it divided an integer by zero"
						: "a floating-point exception";
	case SIGILL:
		return "it executed an instruction that is not one";
	case SIGTRAP:
		return "it executed a breakpoint with no debugger";
	case SIGBUS:
		return "it touched what its mapping promises but its file does not have";
	case SIGSEGV:
		return info->code == SI_KERNEL
			   ? "it did what only the kernel may, or used a bad stack"
			   : "it touched memory that it may not touch";
	case SIGKILL:
		return "there was no memory left for a page that it touched";
	default:
		return "an exception";
	}
}

static void print_line(void *arg, const char *line)
{
	(void)arg;
	klog(LOG_WARN, "  %s", line);
}

/* Fatal signals that say something about the program rather than its user. */
static bool worth_a_report(int sig, const struct siginfo *info)
{
	sigset_t faults = SIGNALS_SYNCHRONOUS;
	if (sig == SIGKILL)
		return is_exception(info);
	return (faults & SIGSET(sig)) != 0;
}

/* Full reports a second; of the others there is one line each. A program that makes
 * crashing children in a loop would else spend all its time on our log. */
#define FULL_REPORTS_PER_SECOND 5

static bool may_report_in_full(void)
{
	static uint64_t second, count; /* racy: a few more or less do not matter */
	uint64_t now = time_monotonic() / NSEC_PER_SEC;
	if (__atomic_exchange_n(&second, now, __ATOMIC_RELAXED) != now)
		__atomic_store_n(&count, 0, __ATOMIC_RELAXED);
	return __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED) < FULL_REPORTS_PER_SECOND;
}

void report_fatal_signal(struct task *t, struct trapframe *f, int sig, const struct siginfo *info)
{
	if (!worth_a_report(sig, info))
		return;
	struct process *p = t->process;
	bool full = may_report_in_full();
	klog(LOG_WARN, "%s (pid %d, thread %d) ends with %s: %s", t->thread.name, p->pid, t->tid,
	     signal_name(sig), explain_exception(sig, info));
	if (!full)
		return;
	klog(LOG_WARN, "  program %s", p->exe_path);
	const struct vmm_fault *fault = &t->thread.fault;
	if (is_exception(info) && t->trap_vector == 14 && fault->signal == sig && p->space)
		vmm_explain_fault(p->space, fault, print_line, NULL);
	klog(LOG_WARN, "  rip %016lx rsp %016lx flags %08lx trap %lu error %lx cr2 %016lx", f->rip,
	     f->rsp, f->rflags, t->trap_vector, t->trap_error, t->trap_cr2);
	klog(LOG_WARN, "  rax %016lx rbx %016lx rcx %016lx rdx %016lx", f->rax, f->rbx, f->rcx,
	     f->rdx);
	klog(LOG_WARN, "  rsi %016lx rdi %016lx rbp %016lx r8  %016lx", f->rsi, f->rdi, f->rbp,
	     f->r8);
	klog(LOG_WARN, "  r9  %016lx r10 %016lx r11 %016lx r12 %016lx", f->r9, f->r10, f->r11,
	     f->r12);
	klog(LOG_WARN, "  r13 %016lx r14 %016lx r15 %016lx", f->r13, f->r14, f->r15);
}
