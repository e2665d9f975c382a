/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_TRAP_H
#define KERNEL_TRAP_H
/* Registers as the entry code saves them, lowest address first. One layout for
 * exceptions, interrupts and system calls (vector = TRAP_SYSCALL, error = the
 * call number, so that restarting a call can put it back). */
#include <kernel/types.h>

struct trapframe {
	uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8;
	uint64_t rax, rcx, rdx, rsi, rdi;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};
#define TRAP_SYSCALL 0x100

/* Selectors of user mode, as on Linux. A frame that goes back to user mode is
 * forced to these, with interrupts on and only user flags. */
#define USER_CS 0x33
#define USER_SS 0x2b

static inline bool trap_from_user(const struct trapframe *f)
{
	return (f->cs & 3) == 3;
}

typedef void (*trap_handler)(struct trapframe *frame);
/* Handle a vector; interrupts (>= 32) are acknowledged by the entry code. */
void trap_set_handler(unsigned vector, trap_handler handler);

/* Panic with registers, decoded, and a symbolised backtrace. */
MEM_NORETURN void trap_fatal(struct trapframe *frame, const char *why);

/* Provided by proc/: a user-mode exception becomes this signal (SIGFPE, SIGILL,
 * SIGTRAP, SIGBUS, SIGSEGV), si_code and si_addr. */
void proc_user_exception(struct trapframe *frame, int signal, int code, uint64_t address);

/* Provided by proc/: called on the way back to user mode from every trap and
 * system call, interrupts off; may turn them on while it works, off on return:
 * delivers signals, stops, exits. Preemption is done by the entry code before. */
void proc_return_to_user(struct trapframe *frame);

/* Provided by syscall/: the calls by number, SYSCALL_COUNT (kernel/cpu/entry.h) of them, for
 * the entry code, which calls them with interrupts on. NULL: not there. */
typedef long (*syscall_function)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
extern const syscall_function syscall_functions[];
/* What a number that is none of these gets: -ENOSYS, and is named in the log once. */
long syscall_missing(uint64_t number);
/* The result of a call that has just said ENOMEM: another if memory could be found. Context:
 * thread, no lock, interrupts on. */
long syscall_again(struct trapframe *f);
/* A call's result is one of the ERESTART codes: signal delivery is to settle it. */
void syscall_restarts(void);
#endif
