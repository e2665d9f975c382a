/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_FS_SECRETS_H
#define KERNEL_FS_SECRETS_H
/* What the kernel says about itself, and to whom (secrets.c). Context: thread. Locks: none. */
#include "kernel/fs/procfs.h"

/* May the running program see the kernel's log? */
bool secrets_log_shown(void);
/* May the running program see addresses of the kernel? Asked when a file is opened. */
bool secrets_addresses_shown(void);

/* /proc/sys/kernel/dmesg_restrict and kptr_restrict: what a node's arg points to. */
struct secrets_setting {
	uint32_t *value, most;
};
extern const struct secrets_setting secrets_dmesg_restrict, secrets_kptr_restrict;
int secrets_show_setting(struct text *t, struct process *p, struct inode *inode);
int secrets_store_setting(struct process *p, struct inode *inode, const char *text, size_t bytes);
/* /proc/kallsyms */
int secrets_show_symbols(struct text *t, struct process *p, struct inode *inode);
#endif
