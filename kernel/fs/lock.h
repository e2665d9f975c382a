/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_FS_LOCK_H
#define KERNEL_FS_LOCK_H
#include "kernel/fs/vfs.h"
/* F_GETLK .. F_OFD_SETLKW. Context: thread of the caller. */
long lock_fcntl(struct file *f, unsigned command, uint64_t arg);
#endif
