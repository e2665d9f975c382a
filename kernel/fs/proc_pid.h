/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_FS_PROC_PID_H
#define KERNEL_FS_PROC_PID_H
#include "kernel/fs/procfs.h"
int proc_show_maps(struct text *t, struct process *p, struct inode *inode);
int proc_show_smaps(struct text *t, struct process *p, struct inode *inode);
extern const struct file_ops proc_mem_ops, proc_pagemap_ops;
extern const struct inode_ops proc_fd_dir_ops, proc_fdinfo_dir_ops, proc_task_dir_ops;
extern const struct inode_ops proc_cwd_ops, proc_root_ops, proc_exe_ops;
extern const struct proc_node proc_task_nodes[];
/* The task that a /proc inode is about (its own, or the process's first). */
bool proc_task_of(struct process *p, const struct inode *inode, struct task_info *out);
#endif
