/* SPDX-License-Identifier: MIT */
/* /proc/PID: what is known about one process or one of its tasks. */
#include "kernel/fs/proc_pid.h"

#include <kernel/boot.h>
#include <kernel/log.h>
#include <kernel/tty.h>
#include <mem/heap.h>
#include <mem/vmm.h>

bool proc_task_of(struct process *p, const struct inode *inode, struct task_info *out)
{
	memset(out, 0, sizeof(*out));
	return process_task_info(p, (pid_t)inode->number2, out);
}

static void stats_of(struct process *p, struct vmm_space_stats *s)
{
	struct space *space = process_space_get(p);
	memset(s, 0, sizeof(*s));
	if (!space)
		return;
	vmm_space_stats(space, s);
	vmm_space_put(space);
}

static unsigned long ticks(nsec_t t)
{
	return t / 10000000;
}

static pid_t parent_of(struct process *p)
{
	unsigned long irq = proc_lock();
	pid_t pid = p->parent ? p->parent->pid : 0;
	proc_unlock(irq);
	return pid;
}

/* ---- stat
 * ---------------------------------------------------------------------------------------- */

static int show_stat(struct text *t, struct process *p, struct inode *inode)
{
	struct task_info info;
	struct vmm_space_stats s;
	struct mm_layout *mm = kmalloc(sizeof(*mm));
	sigset_t pending, ignored, caught;
	nsec_t user, system;
	if (!mm)
		return -ENOMEM;
	proc_task_of(p, inode, &info);
	stats_of(p, &s);
	process_layout(p, mm);
	process_signals(p, &pending, &ignored, &caught);
	process_times(p, &user, &system);
	if (inode->number2) {
		user = info.user_ns;
		system = info.system_ns;
	}
	struct tty *tty = p->tty;
	uint64_t tty_dev = tty_number(tty);
	int nice = info.nice;
	text_print(
	    t, "%d (%s) %c %d %d %d %lu %d 0 %lu %lu %lu %lu ", inode->number2 ? info.tid : p->pid,
	    info.tid ? info.name : p->name, inode->number2 ? info.state : process_state(p),
	    parent_of(p), p->pgid, p->sid, (unsigned long)tty_dev, tty_foreground(tty),
	    (unsigned long)(p->faults_minor + s.faults_minor), (unsigned long)p->child_faults_minor,
	    (unsigned long)(p->faults_major + s.faults_major),
	    (unsigned long)p->child_faults_major);
	text_print(t, "%lu %lu %lu %lu %d %d %u 0 %lu ", ticks(user), ticks(system),
		   ticks(p->child_user_ns), ticks(p->child_system_ns), 20 + nice, nice,
		   p->task_count, ticks(p->started_at));
	text_print(t, "%lu %lu %lu %lu %lu %lu %lu %lu ", (unsigned long)s.virt_npages * 4096,
		   (unsigned long)s.resident_npages, (unsigned long)rlimit_soft(p, RLIMIT_RSS),
		   (unsigned long)mm->code_start, (unsigned long)mm->code_end,
		   (unsigned long)mm->stack_top, (unsigned long)info.user_sp,
		   (unsigned long)info.user_ip);
	text_print(
	    t, "%lu %lu %lu %lu 0 0 0 %d %u 0 %d 0 0 0 ", (unsigned long)(pending & 0x7fffffff),
	    (unsigned long)(info.blocked & 0x7fffffff), (unsigned long)(ignored & 0x7fffffff),
	    (unsigned long)(caught & 0x7fffffff), p->exit_signal, info.cpu, info.policy);
	text_print(t, "%lu %lu %lu %lu %lu %lu %lu %d\n", (unsigned long)mm->data_start,
		   (unsigned long)mm->data_end, (unsigned long)mm->brk_start,
		   (unsigned long)mm->arg_start, (unsigned long)mm->arg_end,
		   (unsigned long)mm->env_start, (unsigned long)mm->env_end, p->exit_code);
	kfree(mm);
	return 0;
}

static int show_statm(struct text *t, struct process *p, struct inode *inode)
{
	struct vmm_space_stats s;
	stats_of(p, &s);
	text_print(t, "%lu %lu %lu %lu 0 %lu 0\n", (unsigned long)s.virt_npages,
		   (unsigned long)s.resident_npages, (unsigned long)s.resident_file,
		   (unsigned long)s.exec_npages, (unsigned long)(s.data_npages + s.stack_npages));
	return 0;
}

/* ---- status
 * ---------------------------------------------------------------------------------------- */

static const char *state_name(char state)
{
	switch (state) {
	case 'R':
		return "R (running)";
	case 'S':
		return "S (sleeping)";
	case 'D':
		return "D (disk sleep)";
	case 'T':
		return "T (stopped)";
	case 'Z':
		return "Z (zombie)";
	default:
		return "X (dead)";
	}
}

static void print_memory(struct text *t, struct process *p)
{
	struct vmm_space_stats s;
	struct space *space = process_space_get(p);
	if (!space)
		return;
	vmm_space_stats(space, &s);
	vmm_space_put(space);
	const struct {
		const char *name;
		uint64_t npages;
	} lines[] = {
	    {"VmPeak:", s.peak_virt},
	    {"VmSize:", s.virt_npages},
	    {"VmLck:", s.locked_npages},
	    {"VmPin:", 0},
	    {"VmHWM:", s.peak_resident},
	    {"VmRSS:", s.resident_npages},
	    {"RssAnon:", s.resident_npages - s.resident_file},
	    {"RssFile:", s.resident_file},
	    {"RssShmem:", 0},
	    {"VmData:", s.data_npages},
	    {"VmStk:", s.stack_npages},
	    {"VmExe:", s.exec_npages},
	    {"VmLib:", 0},
	    {"VmPTE:", s.table_npages},
	    {"VmSwap:", 0},
	};
	for (size_t i = 0; i < ARRAY_COUNT(lines); i++)
		text_print(t, "%s\t%8lu kB\n", lines[i].name, (unsigned long)lines[i].npages * 4);
}

static int show_status(struct text *t, struct process *p, struct inode *inode)
{
	struct task_info info;
	sigset_t pending, ignored, caught;
	proc_task_of(p, inode, &info);
	process_signals(p, &pending, &ignored, &caught);
	struct fs_context *c = context_of(p);
	struct fd_table *files = fd_table_of(p);
	text_print(t, "Name:\t%s\n", info.tid ? info.name : p->name);
	if (c)
		text_print(t, "Umask:\t%04o\n", c->umask);
	text_print(t, "State:\t%s\n", state_name(inode->number2 ? info.state : process_state(p)));
	text_print(t, "Tgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n", p->pid,
		   inode->number2 ? info.tid : p->pid, parent_of(p));
	text_print(t, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", p->uid, p->euid, p->suid,
		   p->fsuid, p->gid, p->egid, p->sgid, p->fsgid);
	text_print(t, "FDSize:\t%u\nGroups:\t", files ? fd_table_slots(files) : 0);
	for (uint32_t i = 0; i < p->group_count; i++)
		text_print(t, "%u ", p->groups[i]);
	text_print(t, "\n");
	print_memory(t, p);
	text_print(t, "Threads:\t%u\nSigQ:\t0/%lu\n", p->task_count,
		   (unsigned long)rlimit_soft(p, RLIMIT_SIGPENDING));
	text_print(t,
		   "SigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\nSigIgn:\t%016lx\n"
		   "SigCgt:\t%016lx\n",
		   (unsigned long)info.pending, (unsigned long)pending, (unsigned long)info.blocked,
		   (unsigned long)ignored, (unsigned long)caught);
	uint64_t caps = p->euid ? 0 : 0x1ffffffffffull;
	text_print(t,
		   "CapInh:\t%016x\nCapPrm:\t%016lx\nCapEff:\t%016lx\nCapBnd:\t%016lx\n"
		   "CapAmb:\t%016x\nNoNewPrivs:\t%d\nSeccomp:\t0\n",
		   0, (unsigned long)caps, (unsigned long)caps, 0x1fffffffffful, 0,
		   p->no_new_privs);
	text_print(t, "voluntary_ctxt_switches:\t%lu\nnonvoluntary_ctxt_switches:\t%lu\n",
		   (unsigned long)info.switches_voluntary, (unsigned long)info.switches_forced);
	context_put(c);
	fd_table_put(files);
	return 0;
}

/* ---- strings of the process's own memory
 * ------------------------------------------------------------- */

static int show_user_bytes(struct text *t, struct process *p, vaddr_t start, vaddr_t end)
{
	struct space *space = process_space_get(p);
	if (!space)
		return 0;
	char *chunk = kmalloc(1024);
	if (!chunk) {
		vmm_space_put(space);
		return -ENOMEM;
	}
	end = mem_min(end, start + (1u << 20));
	while (start < end && !t->failed) {
		uint64_t done = 0;
		mem_status s = vmm_access(space, start, chunk, mem_min(end - start, (vaddr_t)1024),
					  false, true, &done);
		text_add(t, chunk, done);
		start += done;
		if (s != MEM_OK)
			break;
	}
	kfree(chunk);
	vmm_space_put(space);
	return 0;
}

static int show_cmdline(struct text *t, struct process *p, struct inode *inode)
{
	struct mm_layout *mm = kmalloc(sizeof(*mm));
	if (!mm)
		return -ENOMEM;
	process_layout(p, mm);
	int r = show_user_bytes(t, p, mm->arg_start, mm->arg_end);
	kfree(mm);
	return r;
}

static int show_environ(struct text *t, struct process *p, struct inode *inode)
{
	struct mm_layout *mm = kmalloc(sizeof(*mm));
	if (!mm)
		return -ENOMEM;
	process_layout(p, mm);
	int r = show_user_bytes(t, p, mm->env_start, mm->env_end);
	kfree(mm);
	return r;
}

static int show_auxv(struct text *t, struct process *p, struct inode *inode)
{
	struct mm_layout *mm = kmalloc(sizeof(*mm));
	if (!mm)
		return -ENOMEM;
	process_layout(p, mm);
	text_add(t, (const char *)mm->auxv, mm->auxv_words * sizeof(mm->auxv[0]));
	kfree(mm);
	return 0;
}

static int show_comm(struct text *t, struct process *p, struct inode *inode)
{
	struct task_info info;
	proc_task_of(p, inode, &info);
	text_print(t, "%s\n", info.tid ? info.name : p->name);
	return 0;
}

/* ---- limits and the rest
 * -------------------------------------------------------------------------------- */

static void print_limit(char *to, size_t bytes, uint64_t value)
{
	if (value == RLIM_INFINITY)
		kstrlcpy(to, "unlimited", bytes);
	else
		ksnprintf(to, bytes, "%lu", (unsigned long)value);
}

static int show_limits(struct text *t, struct process *p, struct inode *inode)
{
	static const struct {
		const char *name, *unit;
	} limits[RLIMIT_COUNT] = {
	    [RLIMIT_CPU] = {"Max cpu time", "seconds"},
	    [RLIMIT_FSIZE] = {"Max file size", "bytes"},
	    [RLIMIT_DATA] = {"Max data size", "bytes"},
	    [RLIMIT_STACK] = {"Max stack size", "bytes"},
	    [RLIMIT_CORE] = {"Max core file size", "bytes"},
	    [RLIMIT_RSS] = {"Max resident set", "bytes"},
	    [RLIMIT_NPROC] = {"Max processes", "processes"},
	    [RLIMIT_NOFILE] = {"Max open files", "files"},
	    [RLIMIT_MEMLOCK] = {"Max locked memory", "bytes"},
	    [RLIMIT_AS] = {"Max address space", "bytes"},
	    [RLIMIT_LOCKS] = {"Max file locks", "locks"},
	    [RLIMIT_SIGPENDING] = {"Max pending signals", "signals"},
	    [RLIMIT_MSGQUEUE] = {"Max msgqueue size", "bytes"},
	    [RLIMIT_NICE] = {"Max nice priority", ""},
	    [RLIMIT_RTPRIO] = {"Max realtime priority", ""},
	    [RLIMIT_RTTIME] = {"Max realtime timeout", "us"},
	};
	text_print(t, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
	for (unsigned i = 0; i < RLIMIT_COUNT; i++) {
		char soft[24], hard[24];
		print_limit(soft, sizeof(soft), p->rlimit[i][0]);
		print_limit(hard, sizeof(hard), p->rlimit[i][1]);
		text_print(t, "%-25s %-20s %-20s %-10s\n", limits[i].name, soft, hard,
			   limits[i].unit);
	}
	return 0;
}

static int show_mounts(struct text *t, struct process *p, struct inode *inode)
{
	proc_show_mounts(t);
	return 0;
}

static int show_mountinfo(struct text *t, struct process *p, struct inode *inode)
{
	proc_show_mountinfo(t);
	return 0;
}

static int show_oom_score_adj(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t, "%d\n", p->oom_score_adj);
	return 0;
}

static int store_oom_score_adj(struct process *p, struct inode *inode, const char *text,
			       size_t bytes)
{
	int value = 0;
	bool negative = *text == '-', any = false;
	for (text += negative; *text >= '0' && *text <= '9' && value <= 1000; text++, any = true)
		value = value * 10 + (*text - '0');
	while (*text == '\n' || *text == ' ')
		text++;
	if (!any || *text || value > 1000)
		return -EINVAL;
	p->oom_score_adj = negative ? -value : value;
	return 0;
}

const struct proc_node proc_task_nodes[] = {
    PROC_FILE("cmdline", 0444, show_cmdline),
    PROC_FILE("comm", 0444, show_comm),
    PROC_FILE("maps", 0444, proc_show_maps),
    PROC_FILE("stat", 0444, show_stat),
    PROC_FILE("statm", 0444, show_statm),
    PROC_FILE("status", 0444, show_status),
    {.name = NULL},
};

static const struct proc_node pid_nodes[] = {
    PROC_FILE("auxv", 0400, show_auxv),
    PROC_FILE("cmdline", 0444, show_cmdline),
    PROC_FILE("comm", 0444, show_comm),
    {.name = "cwd", .mode = S_IFLNK | 0777, .ops = &proc_cwd_ops},
    PROC_FILE("environ", 0400, show_environ),
    {.name = "exe", .mode = S_IFLNK | 0777, .ops = &proc_exe_ops},
    {.name = "fd", .mode = S_IFDIR | 0500, .ops = &proc_fd_dir_ops},
    {.name = "fdinfo", .mode = S_IFDIR | 0555, .ops = &proc_fdinfo_dir_ops},
    PROC_FILE("limits", 0444, show_limits),
    PROC_FILE("maps", 0444, proc_show_maps),
    {.name = "mem", .mode = S_IFREG | 0600, .fops = &proc_mem_ops},
    PROC_FILE("mountinfo", 0444, show_mountinfo),
    PROC_FILE("mounts", 0444, show_mounts),
    {.name = "oom_score_adj",
     .mode = S_IFREG | 0644,
     .show = show_oom_score_adj,
     .store = store_oom_score_adj},
    {.name = "pagemap", .mode = S_IFREG | 0400, .fops = &proc_pagemap_ops},
    {.name = "root", .mode = S_IFLNK | 0777, .ops = &proc_root_ops},
    PROC_FILE("smaps", 0444, proc_show_smaps),
    PROC_FILE("stat", 0444, show_stat),
    PROC_FILE("statm", 0444, show_statm),
    PROC_FILE("status", 0444, show_status),
    {.name = "task", .mode = S_IFDIR | 0555, .ops = &proc_task_dir_ops},
    {.name = NULL},
};

const struct proc_node proc_pid_node = {
    .name = "pid", .mode = S_IFDIR | 0555, .children = pid_nodes};
