/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_FS_EPOLL_H
#define KERNEL_FS_EPOLL_H
struct file;
/* The last reference to a watched file goes: no set watches it any longer. */
void epoll_forget(struct file *f);
#endif
