/* SPDX-License-Identifier: MIT */
/*
 * /proc/sys: what can be set, and constants that programs look up.
 *
 * A number that nothing in the kernel varies with can be written only as what
 * it already is: pretending to accept a setting would be worse than EINVAL.
 */
#include <kernel/boot.h>
#include <kernel/log.h>
#include <kernel/random.h>
#include <kernel/version.h>
#include <mem/heap.h>
#include <mem/vmm.h>

#include "kernel/fs/epoll.h"
#include "kernel/fs/secrets.h"
#include "kernel/fs/vfs.h"

static const struct proc_node *node_of(const struct inode *inode)
{
	return inode->data;
}

static bool parse_number(const char *text, int64_t *out)
{
	int64_t value = 0;
	bool negative = *text == '-', any = false;
	for (text += negative; *text >= '0' && *text <= '9'; text++, any = true)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, *text - '0', &value))
			return false;
	while (*text == '\n' || *text == ' ')
		text++;
	*out = negative ? -value : value;
	return any && !*text;
}

/* ---- fixed numbers and texts: node->arg ------------------------------------------------------ */

static int show_fixed(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t, "%s\n", (const char *)node_of(inode)->arg);
	return 0;
}

static int store_fixed(struct process *p, struct inode *inode, const char *text, size_t bytes)
{
	int64_t now, asked;
	if (!parse_number(node_of(inode)->arg, &now) || !parse_number(text, &asked))
		return -EINVAL;
	return now == asked ? 0 : -EINVAL;
}

#define FIXED(n, v)                                                                                \
	{                                                                                          \
		.name = (n), .mode = S_IFREG | 0444, .show = show_fixed, .arg = (v)                \
	}
#define FIXED_NUMBER(n, v)                                                                         \
	{                                                                                          \
		.name = (n), .mode = S_IFREG | 0644, .show = show_fixed, .store = store_fixed,     \
		.arg = (v)                                                                         \
	}

/* ---- vm
 * ------------------------------------------------------------------------------------------ */

/* Give back everything that is kept only because it might be wanted again.
 * Freeing one thing can empty another, so it goes round until the number of
 * free frames stands still. */
void fs_drop_caches(void)
{
	struct pmm_stats before, after;
	for (int round = 0; round < 8; round++) {
		pmm_get_stats_wait(kernel_pmm, &before);
		sched_drain();
		signal_nodes_drain();
		pid_nodes_drain();
		heap_reap(kernel_heap, true);
		vmm_drain(kernel_vmm);
		pmm_drain(kernel_pmm);
		pmm_get_stats_wait(kernel_pmm, &after);
		if (round && after.free == before.free)
			break;
	}
}

static int store_drop_caches(struct process *p, struct inode *inode, const char *text, size_t bytes)
{
	int64_t which;
	if (!parse_number(text, &which) || which < 1 || which > 4)
		return -EINVAL;
	fs_drop_caches();
	return 0;
}

static int show_min_address(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t, "%lu\n", (unsigned long)mmap_min_address);
	return 0;
}

static int store_min_address(struct process *p, struct inode *inode, const char *text, size_t bytes)
{
	int64_t at;
	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;
	if (!parse_number(text, &at) || at < 0 || at > INT32_MAX)
		return -EINVAL;
	mmap_min_address = (uint64_t)at;
	return 0;
}

static const struct proc_node vm_nodes[] = {
    {.name = "drop_caches", .mode = S_IFREG | 0200, .store = store_drop_caches},
    FIXED_NUMBER("max_map_count", "65530"),
    {.name = "mmap_min_addr",
     .mode = S_IFREG | 0644,
     .show = show_min_address,
     .store = store_min_address},
    FIXED_NUMBER("overcommit_memory", "2"),
    FIXED_NUMBER("overcommit_ratio", "100"),
    FIXED_NUMBER("panic_on_oom", "0"),
    FIXED_NUMBER("swappiness", "0"),
    {.name = NULL},
};

/* ---- kernel
 * ------------------------------------------------------------------------------------------ */

static int show_name(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t, "%s\n", (const char *)node_of(inode)->arg);
	return 0;
}

static int store_hostname(struct process *p, struct inode *inode, const char *text, size_t bytes)
{
	char *to = node_of(inode)->arg == proc_nodename ? proc_nodename : proc_domainname;
	size_t length = bytes;
	while (length && (text[length - 1] == '\n' || !text[length - 1]))
		length--;
	if (length > 64)
		return -EINVAL;
	memcpy(to, text, length);
	to[length] = 0;
	return 0;
}

static int show_pid_max(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t, "%d\n", proc_pid_max);
	return 0;
}

static int store_pid_max(struct process *p, struct inode *inode, const char *text, size_t bytes)
{
	int64_t max;
	if (!parse_number(text, &max) || max < PID_MAX_LEAST || max > PID_MAX_MOST)
		return -EINVAL;
	proc_pid_max = (int32_t)max;
	return 0;
}

static void print_uuid(struct text *t, const uint8_t id[16])
{
	for (int i = 0; i < 16; i++)
		text_print(t, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
	text_print(t, "\n");
}

static void make_uuid(uint8_t id[16])
{
	random_bytes(id, 16);
	id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
	id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

static int show_uuid(struct text *t, struct process *p, struct inode *inode)
{
	uint8_t id[16];
	make_uuid(id);
	print_uuid(t, id);
	return 0;
}

static int show_boot_id(struct text *t, struct process *p, struct inode *inode)
{
	static uint8_t id[16];
	static struct mutex lock;
	mutex_lock(&lock);
	if (!id[6])
		make_uuid(id);
	mutex_unlock(&lock);
	print_uuid(t, id);
	return 0;
}

static const struct proc_node random_nodes[] = {
    PROC_FILE("boot_id", 0444, show_boot_id),
    FIXED("entropy_avail", "256"),
    FIXED("poolsize", "256"),
    PROC_FILE("uuid", 0444, show_uuid),
    {.name = NULL},
};

static const struct proc_node kernel_nodes[] = {
    FIXED("cap_last_cap", "40"),
    FIXED("core_pattern", "core"),
    {.name = "dmesg_restrict",
     .mode = S_IFREG | 0644,
     .show = secrets_show_setting,
     .store = secrets_store_setting,
     .arg = &secrets_dmesg_restrict},
    {.name = "domainname",
     .mode = S_IFREG | 0644,
     .show = show_name,
     .store = store_hostname,
     .arg = proc_domainname},
    {.name = "hostname",
     .mode = S_IFREG | 0644,
     .show = show_name,
     .store = store_hostname,
     .arg = proc_nodename},
    {.name = "kptr_restrict",
     .mode = S_IFREG | 0644,
     .show = secrets_show_setting,
     .store = secrets_store_setting,
     .arg = &secrets_kptr_restrict},
    FIXED("ngroups_max", "32"),
    FIXED("osrelease", QUIRE_RELEASE),
    FIXED("ostype", QUIRE_SYSNAME),
    FIXED("overflowgid", "65534"),
    FIXED("overflowuid", "65534"),
    {.name = "pid_max", .mode = S_IFREG | 0644, .show = show_pid_max, .store = store_pid_max},
    PROC_DIR("random", random_nodes),
    FIXED_NUMBER("randomize_va_space", "2"),
    FIXED("version", QUIRE_VERSION),
    {.name = NULL},
};

/* ---- fs
 * -----------------------------------------------------------------------------------------------
 */

/* ---- fs: limits per user; node->arg is where they are ---- */

static int show_limit(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t, "%u\n", *(const uint32_t *)node_of(inode)->arg);
	return 0;
}

static int store_limit(struct process *p, struct inode *inode, const char *text, size_t bytes)
{
	int64_t value;
	if (!parse_number(text, &value) || value < 0 || value > UINT32_MAX)
		return -EINVAL;
	*(uint32_t *)(uintptr_t)node_of(inode)->arg = (uint32_t)value;
	return 0;
}

#define LIMIT(n, at)                                                                               \
	{                                                                                          \
		.name = (n), .mode = S_IFREG | 0644, .show = show_limit, .store = store_limit,     \
		.arg = (at)                                                                        \
	}

static int show_max_user_watches(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t, "%lu\n", (unsigned long)epoll_user_watches());
	return 0;
}

static const struct proc_node epoll_nodes[] = {
    PROC_FILE("max_user_watches", 0444, show_max_user_watches),
    {.name = NULL},
};

static const struct proc_node fs_nodes[] = {
    PROC_DIR("epoll", epoll_nodes),
    FIXED("file-max", "9223372036854775807"),
    FIXED("nr_open", "1048576"),
    FIXED("pipe-max-size", "1048576"),
    LIMIT("pipe-user-pages-soft", &pipe_user_pages_soft),
    LIMIT("pipe-user-pages-hard", &pipe_user_pages_hard),
    {.name = NULL},
};

const struct proc_node proc_sys_nodes[] = {
    PROC_DIR("fs", fs_nodes),
    PROC_DIR("kernel", kernel_nodes),
    PROC_DIR("vm", vm_nodes),
    {.name = NULL},
};
