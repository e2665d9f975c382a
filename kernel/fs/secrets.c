/* SPDX-License-Identifier: MIT */
/*
 * What the kernel says about itself, and to whom.
 *
 * Kernel and direct map lie at random places so that a program that has found a
 * way to write somewhere does not know where. That is worth nothing if the kernel
 * tells. The ways in which kernels do, and what holds here:
 *
 *   the log             for CAP_SYSLOG only while dmesg_restrict is 1, as it is at
 *                       first: syslog(2), /dev/kmsg; /proc/kmsg is root's anyway. What is
 *                       logged has no address of the kernel but in a crash report.
 *   /proc/kallsyms      addresses for who had CAP_SYSLOG when opening it, unless
 *                       kptr_restrict is 2; zeros for all others
 *   other files         print no address of the kernel, whoever reads (check_addresses in
 *                       tools/check.py)
 *   numbers made from   inode numbers of /proc count from the kernel's beginning
 *   addresses           (proc_ino); others are counted up
 *   what is copied out  is cleared before it is filled in
 *
 * The two settings have Linux's meaning (its Documentation/admin-guide/sysctl/kernel.rst).
 * kptr_restrict 0 is 1 here, as it is on a Linux that forbids perf to users.
 */
#include "kernel/fs/secrets.h"

#include <kernel/access.h>
#include <kernel/boot.h>

#include "kernel/cpu/priv.h"

static uint32_t dmesg_restrict = 1, kptr_restrict = 1;
const struct secrets_setting secrets_dmesg_restrict = {&dmesg_restrict, 1};
const struct secrets_setting secrets_kptr_restrict = {&kptr_restrict, 2};

bool secrets_log_shown(void)
{
	return !atomic_read_relaxed(&dmesg_restrict) || capable(CAP_SYSLOG);
}

bool secrets_addresses_shown(void)
{
	return atomic_read_relaxed(&kptr_restrict) < 2 && capable(CAP_SYSLOG);
}

static const struct secrets_setting *setting_of(const struct inode *inode)
{
	return ((const struct proc_node *)inode->data)->arg;
}

int secrets_show_setting(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t, "%u\n", atomic_read_relaxed(setting_of(inode)->value));
	return 0;
}

int secrets_store_setting(struct process *p, struct inode *inode, const char *text, size_t bytes)
{
	const struct secrets_setting *s = setting_of(inode);
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	while (bytes && (text[bytes - 1] == '\n' || text[bytes - 1] == ' '))
		bytes--;
	if (bytes != 1 || *text < '0' || (uint32_t)(*text - '0') > s->most)
		return -EINVAL;
	atomic_write_relaxed(s->value, (uint32_t)(*text - '0'));
	return 0;
}

int secrets_show_symbols(struct text *t, struct process *p, struct inode *inode)
{
	struct symbol s;
	for (size_t i = 0; symbol_nth(i, &s) && !t->failed; i++)
		text_print(t, "%016lx %c %s\n", t->addresses ? s.address : 0, s.global ? 'T' : 't',
			   s.name);
	return 0;
}
