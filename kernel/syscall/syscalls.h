/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_SYSCALL_SYSCALLS_H
#define KERNEL_SYSCALL_SYSCALLS_H
/*
 * Prototypes of every system call that exists, from the one list:
 *
 *     long sys_read(uint64_t, uint64_t, uint64_t);
 *
 * Registers arrive as they are: a function that takes an `int` by Linux's
 * definition truncates its argument itself, `(int)fd`. Result or -errno.
 */
#include <kernel/types.h>

#define SYSCALL_ARGS_0 void
#define SYSCALL_ARGS_1 uint64_t
#define SYSCALL_ARGS_2 uint64_t, SYSCALL_ARGS_1
#define SYSCALL_ARGS_3 uint64_t, SYSCALL_ARGS_2
#define SYSCALL_ARGS_4 uint64_t, SYSCALL_ARGS_3
#define SYSCALL_ARGS_5 uint64_t, SYSCALL_ARGS_4
#define SYSCALL_ARGS_6 uint64_t, SYSCALL_ARGS_5

#define PROC(number, name, count) long sys_##name(SYSCALL_ARGS_##count);
#define FS(number, name, count)   long sys_##name(SYSCALL_ARGS_##count);
#define NONE(number, name)
#include "kernel/syscall/list.h"
#undef PROC
#undef FS
#undef NONE
#endif
