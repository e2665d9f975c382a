/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_FS_FD_H
#define KERNEL_FS_FD_H
/* Descriptors of the running task. Context of all: its thread, no lock. */
#include "kernel/fs/vfs.h"

/* Take the lowest free number >= from: -EMFILE, -ENOMEM. Then fill or unreserve it. */
int fd_reserve(unsigned from);
void fd_fill(int fd, struct file *f, bool cloexec); /* takes over the reference */
void fd_unreserve(int fd);
int fd_close(unsigned fd); /* -EBADF */
long fd_dup_from(int fd, unsigned from, bool cloexec);
int fd_flags(int fd); /* FD_CLOEXEC or 0; -EBADF */
int fd_set_flags(int fd, bool cloexec);
int fd_close_range(unsigned first, unsigned last, bool unshare, bool cloexec);
#endif
