/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_SYSCALL_H
#define KERNEL_SYSCALL_H
/* System calls: each is `long sys_NAME(struct trapframe *)`-free plain C:
 *     long sys_read(uint64_t fd, uint64_t buffer, uint64_t bytes);
 * up to six uint64_t arguments, result or -errno. The table
 * (kernel/syscall/table.c) lists them by Linux x86-64 number; a call that is
 * not there returns -ENOSYS and is named once in the log. */
#include <kernel/types.h>

/* The running task's user registers. */
struct trapframe;
struct trapframe *syscall_frame(void);
#endif
