/* SPDX-License-Identifier: MIT */
/*
 * The system call table, by which the entry code calls (kernel/cpu/entry.S).
 *
 * It is made from the one list (list.h). A function takes as many
 * uint64_t arguments as its call has; all are called with six, which the System
 * V ABI allows: what is not looked at stays in a register.
 *
 * Calls of kernel/fs are linked weakly, so that a kernel without some of them
 * still links and answers ENOSYS, like a call that is listed NONE; either is
 * named once in the log, because it is the first thing to look for when a
 * program misbehaves.
 */
#include <kernel/log.h>
#include <kernel/proc.h>
#include <kernel/syscall.h>
#include <kernel/trap.h>

#include "kernel/cpu/entry.h"
#include "kernel/syscall/syscalls.h"

#define PROC(number, name, count)
#define FS(number, name, count) long sys_##name(SYSCALL_ARGS_##count) __attribute__((weak));
#define NONE(number, name)
#include "kernel/syscall/list.h"
#undef PROC
#undef FS
#undef NONE

#define FUNCTION(number, call)    [number] = (syscall_function)(void (*)(void))sys_##call,
#define PROC(number, call, count) FUNCTION(number, call)
#define FS(number, call, count)   FUNCTION(number, call)
#define NONE(number, call)        [number] = NULL,
const syscall_function syscall_functions[] = {
#include "kernel/syscall/list.h"
};
#undef PROC
#undef FS
#undef NONE

#define NAME(number, call)        [number] = #call,
#define PROC(number, call, count) NAME(number, call)
#define FS(number, call, count)   NAME(number, call)
#define NONE(number, call)        NAME(number, call)
static const char *const names[] = {
#include "kernel/syscall/list.h"
};
#undef PROC
#undef FS
#undef NONE
_Static_assert(ARRAY_COUNT(syscall_functions) == SYSCALL_COUNT, "kernel/cpu/entry.h");
_Static_assert(ERESTARTSYS == ERESTART_LEAST && ERESTART_RESTARTBLOCK == ERESTART_MOST,
	       "kernel/cpu/entry.h");
_Static_assert(ENOMEM == ERROR_NO_MEMORY, "kernel/cpu/entry.h");

struct trapframe *syscall_frame(void)
{
	return thread_user_frame(current_thread());
}

/* Remember which were named: a bit each; one more for all numbers beyond the table. */
static void name_missing(uint64_t number)
{
	static uint64_t named[ARRAY_COUNT(names) / 64 + 1];
	uint64_t index = mem_min(number, (uint64_t)ARRAY_COUNT(names));
	uint64_t bit = 1ull << (index % 64);
	if (__atomic_fetch_or(&named[index / 64], bit, __ATOMIC_RELAXED) & bit)
		return;
	const char *name = index < ARRAY_COUNT(names) ? names[index] : NULL;
	klog(LOG_INFO, "system call %lu (%s), first used by %s (pid %d), is not there: ENOSYS",
	     (unsigned long)number, name ? name : "no name", current_thread()->name,
	     current_process()->pid);
}

long syscall_missing(uint64_t number)
{
	name_missing(number);
	return -ENOSYS;
}

#define TRIES 8

/* A call that says ENOMEM has changed nothing, or what making it again does not change any
 * more (mprotect and mlock as far as they came). So when memory has really run out, whoever
 * took it ends, and the call is made again: those who want a little never learn of it. Here
 * no lock is held that the one who ends might need. */
long syscall_again(struct trapframe *f)
{
	long r = -ENOMEM;
	uint64_t number = f->error;
	if (f->vector != TRAP_SYSCALL)
		return r; /* the registers of a program that was interrupted */
	for (unsigned i = 0; i < TRIES && r == -ENOMEM && proc_relieve(); i++)
		r = syscall_functions[number](f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9);
	return r;
}

/* Delivery settles it even if the signal that woke the call has meanwhile been taken by
 * another thread. */
void syscall_restarts(void)
{
	__atomic_store_n(&current_thread()->interrupted, 1, __ATOMIC_SEQ_CST);
}
