/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_FS_PROC_PID_H
#define KERNEL_FS_PROC_PID_H
/*
 * /proc/PID: files about one process.
 *
 * 1. An inode holds the process that its directory was found for, not its number: when
 *    that one has been reaped the file says ESRCH, whoever has the number by then.
 * 2. One table in proc_pid.c says of each file what it is bound to and what right it
 *    takes (struct proc_node: bind, right).
 * 3. BIND_SPACE: the right is decided when the file is opened, in the step that takes
 *    the layout; after an exec, or the end, of that process it reads nothing.
 *    BIND_PROCESS: the right is decided at each use, in the step that takes what the
 *    file is about then. BIND_RUNNING: the same, and it opens only while the process has
 *    not ended.
 * 4. Both steps are in proc_view.c. Nothing else in /proc decides about rights.
 */
#include "kernel/fs/procfs.h"

/* What a file of /proc/PID is about, taken in one step with the right to it. All of these
 * are references, and NULL where the process has none (any more). */
struct proc_view {
	const struct inode *inode;
	struct process *process; /* the inode's */
	struct space *space;
	struct mm_layout mm; /* a copy; all zero without a space */
	struct vm_object *exe;
	struct fd_table *files;
	struct fs_context *fs;
	bool may_look; /* RIGHT_PART: has the reader the right to the rest? */
};
/* NULL: *error is -ESRCH, -EACCES or -ENOMEM. `bound` is an open file's layout, for
 * BIND_SPACE. Context: thread, no spin lock. */
struct proc_view *proc_view_get(const struct inode *inode, struct mm_layout *bound, int *error);
void proc_view_put(struct proc_view *v);
/* Decide about opening: the layout of a BIND_SPACE file, NULL if it has ended. -EACCES;
 * -EINVAL: a BIND_RUNNING file of a process that has ended. */
int proc_bind(const struct inode *inode, struct mm_layout **out);
/* Owner and mode of an inode of /proc/PID as they are now. */
void proc_refresh(struct inode *inode);
bool proc_is_own(const struct inode *inode);

int proc_show_maps(struct text *t, const struct proc_view *v);
int proc_show_smaps(struct text *t, const struct proc_view *v);
int proc_show_smaps_rollup(struct text *t, const struct proc_view *v);
int proc_show_numa_maps(struct text *t, const struct proc_view *v);
extern const struct file_ops proc_mem_ops, proc_pagemap_ops;
extern const struct inode_ops proc_fd_dir_ops, proc_fdinfo_dir_ops, proc_task_dir_ops;
extern const struct inode_ops proc_cwd_ops, proc_root_ops, proc_exe_ops;
extern const struct proc_node proc_task_nodes[];
#endif
