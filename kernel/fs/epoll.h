/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_FS_EPOLL_H
#define KERNEL_FS_EPOLL_H
#include <kernel/types.h>

struct file;
/* The last reference to a watched file goes: no set watches it any longer. */
void epoll_forget(struct file *f);
/* How many items the sets of one user may have together. */
uint64_t epoll_user_watches(void);
#endif
