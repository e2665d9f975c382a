/* SPDX-License-Identifier: MIT */
/*
 * The system call table and its dispatch.
 *
 * The table is made from the one list (list.h). A function takes as many
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

#include "kernel/syscall/syscalls.h"

#define PROC(number, name, count)
#define FS(number, name, count) long sys_##name(SYSCALL_ARGS_##count) __attribute__((weak));
#define NONE(number, name)
#include "kernel/syscall/list.h"
#undef PROC
#undef FS
#undef NONE

typedef long (*syscall_function)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

struct syscall {
	void (*function)(void); /* NULL: not there */
	const char *name;
};

#define PROC(number, call, count)                                                                  \
	[number] = {.function = (void (*)(void))sys_##call, .name = #call},
#define FS(number, call, count) [number] = {.function = (void (*)(void))sys_##call, .name = #call},
#define NONE(number, call)      [number] = {.name = #call},
static const struct syscall table[] = {
#include "kernel/syscall/list.h"
};
#undef PROC
#undef FS
#undef NONE

struct trapframe *syscall_frame(void)
{
	return thread_user_frame(current_thread());
}

/* Remember which were named: a bit each; one more for all numbers beyond the table. */
static void name_missing(uint64_t number)
{
	static uint64_t named[ARRAY_COUNT(table) / 64 + 1];
	uint64_t index = mem_min(number, (uint64_t)ARRAY_COUNT(table));
	uint64_t bit = 1ull << (index % 64);
	if (__atomic_fetch_or(&named[index / 64], bit, __ATOMIC_RELAXED) & bit)
		return;
	const char *name = index < ARRAY_COUNT(table) ? table[index].name : NULL;
	klog(LOG_INFO, "system call %lu (%s), first used by %s (pid %d), is not there: ENOSYS",
	     (unsigned long)number, name ? name : "no name", current_thread()->name,
	     current_process()->pid);
}

void syscall_dispatch(struct trapframe *frame)
{
	uint64_t number = frame->rax;
	if (unlikely(number >= ARRAY_COUNT(table) || !table[number].function)) {
		name_missing(number);
		frame->rax = (uint64_t)-ENOSYS;
		return;
	}
	syscall_function call = (syscall_function)table[number].function;
	long result = call(frame->rdi, frame->rsi, frame->rdx, frame->r10, frame->r8, frame->r9);
	/* A call that wants to be restarted goes through signal delivery, which settles it,
	 * even if the signal that woke it has meanwhile been taken by another thread. */
	if (unlikely(result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK))
		__atomic_store_n(&current_thread()->interrupted, 1, __ATOMIC_SEQ_CST);
	frame->rax = (uint64_t)result;
}
