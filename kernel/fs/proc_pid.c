/* SPDX-License-Identifier: MIT */
/* /proc/PID: what is known about one process or one of its tasks. */
#include "kernel/fs/proc_pid.h"

#include <kernel/account.h>
#include <kernel/boot.h>
#include <kernel/log.h>
#include <kernel/tty.h>
#include <mem/heap.h>
#include <mem/vmm.h>

/* The task that the file is about: its own, or the process's first. */
static bool task_of(const struct proc_view *v, struct task_info *out)
{
	memset(out, 0, sizeof(*out));
	return process_task_info(v->process, (pid_t)v->inode->number2, out);
}

static void stats_of(const struct proc_view *v, struct vmm_space_stats *s)
{
	memset(s, 0, sizeof(*s));
	if (v->space)
		vmm_space_stats(v->space, s);
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

static int show_stat(struct text *t, const struct proc_view *v)
{
	/* Addresses are for those who may look into the process. */
	static const struct mm_layout none;
	const struct mm_layout *mm = v->may_look ? &v->mm : &none;
	struct process *p = v->process;
	struct task_info info;
	struct vmm_space_stats s;
	sigset_t pending, ignored, caught;
	nsec_t user, system;
	pid_t tid = (pid_t)v->inode->number2;
	task_of(v, &info);
	stats_of(v, &s);
	process_signals(p, &pending, &ignored, &caught);
	process_times(p, &user, &system);
	if (tid) {
		user = info.user_ns;
		system = info.system_ns;
	}
	struct tty *tty = p->tty;
	uint64_t tty_dev = tty_number(tty);
	int nice = info.nice;
	text_print(t, "%d (%s) %c %d %d %d %lu %d 0 %lu %lu %lu %lu ", tid ? info.tid : p->pid,
		   info.tid ? info.name : p->name, tid ? info.state : process_state(p),
		   parent_of(p), p->pgid, p->sid, (unsigned long)tty_dev, tty_foreground(tty),
		   (unsigned long)(p->faults_minor + s.faults_minor),
		   (unsigned long)p->child_faults_minor,
		   (unsigned long)(p->faults_major + s.faults_major),
		   (unsigned long)p->child_faults_major);
	text_print(t, "%lu %lu %lu %lu %d %d %u 0 %lu ", ticks(user), ticks(system),
		   ticks(p->child_user_ns), ticks(p->child_system_ns), 20 + nice, nice,
		   process_thread_count(p), ticks(p->started_at));
	/* Where the program is and where its stack is, nobody is told, as on Linux. To who
	 * may not look, 1 says that there is a program. */
	unsigned long hidden = v->space && !v->may_look;
	text_print(t, "%lu %lu %lu %lu %lu %lu 0 0 ", (unsigned long)s.virt_npages * 4096,
		   (unsigned long)s.resident_npages, (unsigned long)rlimit_soft(p, RLIMIT_RSS),
		   hidden | (unsigned long)mm->code_start, hidden | (unsigned long)mm->code_end,
		   (unsigned long)mm->stack_top);
	text_print(
	    t, "%lu %lu %lu %lu 0 0 0 %d %u 0 %d 0 0 0 ", (unsigned long)(pending & 0x7fffffff),
	    (unsigned long)(info.blocked & 0x7fffffff), (unsigned long)(ignored & 0x7fffffff),
	    (unsigned long)(caught & 0x7fffffff), p->exit_signal, info.cpu, info.policy);
	text_print(t, "%lu %lu %lu %lu %lu %lu %lu %d\n", (unsigned long)mm->data_start,
		   (unsigned long)mm->data_end, (unsigned long)mm->brk_start,
		   (unsigned long)mm->arg_start, (unsigned long)mm->arg_end,
		   (unsigned long)mm->env_start, (unsigned long)mm->env_end,
		   v->may_look ? p->exit_code : 0);
	return 0;
}

static int show_statm(struct text *t, const struct proc_view *v)
{
	struct vmm_space_stats s;
	stats_of(v, &s);
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

static void print_memory(struct text *t, const struct proc_view *v)
{
	struct vmm_space_stats s;
	if (!v->space)
		return;
	vmm_space_stats(v->space, &s);
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

/* Of all processes of its user. */
static uint64_t signals_queued(const struct process *p)
{
	unsigned long irq = proc_lock();
	uint64_t count = user_charged(p->user, USER_SIGNALS);
	proc_unlock(irq);
	return count;
}

static int show_status(struct text *t, const struct proc_view *v)
{
	struct process *p = v->process;
	struct task_info info;
	sigset_t pending, ignored, caught;
	pid_t tid = (pid_t)v->inode->number2;
	task_of(v, &info);
	process_signals(p, &pending, &ignored, &caught);
	struct identity id = identity_now(p);
	text_print(t, "Name:\t%s\n", info.tid ? info.name : p->name);
	if (v->fs)
		text_print(t, "Umask:\t%04o\n", v->fs->umask);
	text_print(t, "State:\t%s\n", state_name(tid ? info.state : process_state(p)));
	text_print(t, "Tgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n", p->pid,
		   tid ? info.tid : p->pid, parent_of(p));
	text_print(t, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", id.uid, id.euid, id.suid,
		   id.fsuid, id.gid, id.egid, id.sgid, id.fsgid);
	text_print(t, "FDSize:\t%u\nGroups:\t", v->files ? fd_table_slots(v->files) : 0);
	for (uint32_t i = 0; i < id.group_count; i++)
		text_print(t, i ? " %u" : "%u", id.groups[i]);
	text_print(t, " \n");
	print_memory(t, v);
	text_print(t, "Threads:\t%u\nSigQ:\t%lu/%lu\n", process_thread_count(p),
		   (unsigned long)signals_queued(p),
		   (unsigned long)rlimit_soft(p, RLIMIT_SIGPENDING));
	text_print(t,
		   "SigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\nSigIgn:\t%016lx\n"
		   "SigCgt:\t%016lx\n",
		   (unsigned long)info.pending, (unsigned long)pending, (unsigned long)info.blocked,
		   (unsigned long)ignored, (unsigned long)caught);
	text_print(t,
		   "CapInh:\t%016lx\nCapPrm:\t%016lx\nCapEff:\t%016lx\nCapBnd:\t%016lx\n"
		   "CapAmb:\t%016x\nNoNewPrivs:\t%d\nSeccomp:\t0\n",
		   (unsigned long)id.inheritable, (unsigned long)id.permitted,
		   (unsigned long)id.effective, (unsigned long)id.bounding, 0, id.no_new_privs);
	text_print(t, "voluntary_ctxt_switches:\t%lu\nnonvoluntary_ctxt_switches:\t%lu\n",
		   (unsigned long)info.switches_voluntary, (unsigned long)info.switches_forced);
	return 0;
}

/* ---- strings of the process's own memory
 * ------------------------------------------------------------- */

static int show_user_bytes(struct text *t, struct space *space, vaddr_t start, vaddr_t end)
{
	char *chunk = space ? kmalloc(1024) : NULL;
	if (!chunk)
		return space ? -ENOMEM : 0;
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
	return 0;
}

static int show_cmdline(struct text *t, const struct proc_view *v)
{
	return show_user_bytes(t, v->space, v->mm.arg_start, v->mm.arg_end);
}

static int show_environ(struct text *t, const struct proc_view *v)
{
	return show_user_bytes(t, v->space, v->mm.env_start, v->mm.env_end);
}

static int show_auxv(struct text *t, const struct proc_view *v)
{
	text_add(t, (const char *)v->mm.auxv, v->mm.auxv_words * sizeof(v->mm.auxv[0]));
	return 0;
}

static int show_comm(struct text *t, const struct proc_view *v)
{
	struct task_info info;
	task_of(v, &info);
	text_print(t, "%s\n", info.tid ? info.name : v->process->name);
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

static int show_limits(struct text *t, const struct proc_view *v)
{
	const struct process *p = v->process;
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

static int show_mounts(struct text *t, const struct proc_view *v)
{
	proc_show_mounts(t);
	return 0;
}

static int show_mountinfo(struct text *t, const struct proc_view *v)
{
	proc_show_mountinfo(t);
	return 0;
}

static int show_oom_score(struct text *t, const struct proc_view *v)
{
	text_print(t, "%lu\n", (unsigned long)proc_oom_score(v->process));
	return 0;
}

static int show_oom_score_adj(struct text *t, const struct proc_view *v)
{
	text_print(t, "%d\n", v->process->oom_score_adj);
	return 0;
}

#define ADJUST_MOST 1000

/* Anybody may offer himself; to be spared takes a right, but for what it once spared. Who
 * uses the old file, oom_adj, may not even go back to that. */
static int set_oom_score_adj(struct process *p, int value, bool old_file)
{
	bool may = capable(CAP_SYS_RESOURCE);
	int r = 0;
	unsigned long irq = proc_lock();
	int least = old_file ? p->oom_score_adj : p->oom_score_adj_min;
	if (process_is_gone_locked(p))
		r = -ESRCH;
	else if (value < least && !may)
		r = -EACCES;
	if (!r)
		p->oom_score_adj = value;
	if (!r && may && !old_file)
		p->oom_score_adj_min = value;
	proc_unlock(irq);
	return r;
}

/* A number from -most to most, and nothing else. */
static bool parse_adjust(const char *text, int most, int *out)
{
	int value = 0;
	bool negative = *text == '-', any = false;
	for (text += negative; *text >= '0' && *text <= '9' && value <= most; text++, any = true)
		value = value * 10 + (*text - '0');
	while (*text == '\n' || *text == ' ')
		text++;
	*out = negative ? -value : value;
	return any && !*text && value <= most;
}

static int store_oom_score_adj(struct process *p, struct inode *inode, const char *text,
			       size_t bytes)
{
	int value;
	if (!parse_adjust(text, ADJUST_MOST, &value))
		return -EINVAL;
	return set_oom_score_adj(p, value, false);
}

/* oom_adj is what oom_score_adj was once: -17 (never) to 15. */
#define OLD_NEVER (-17)
#define OLD_MOST  15

static int show_oom_adj(struct text *t, const struct proc_view *v)
{
	int value = v->process->oom_score_adj;
	value = value == ADJUST_MOST ? OLD_MOST : value * -OLD_NEVER / ADJUST_MOST;
	text_print(t, "%d\n", mem_min(value, OLD_MOST));
	return 0;
}

static int store_oom_adj(struct process *p, struct inode *inode, const char *text, size_t bytes)
{
	int value;
	if (!parse_adjust(text, -OLD_NEVER, &value) || value > OLD_MOST)
		return -EINVAL;
	value = value == OLD_MOST ? ADJUST_MOST : value * ADJUST_MOST / -OLD_NEVER;
	return set_oom_score_adj(p, value, true);
}

/* What each file is bound to, and what right it takes: the one table (proc_pid.h). */
#define TEXT(n, m, b, r, s)                                                                        \
	{                                                                                          \
		.name = (n), .mode = S_IFREG | (m), .bind = BIND_##b, .right = RIGHT_##r,          \
		.show_view = (s)                                                                   \
	}
#define BYTES(n, m, b, r, o)                                                                       \
	{                                                                                          \
		.name = (n), .mode = S_IFREG | (m), .bind = BIND_##b, .right = RIGHT_##r,          \
		.fops = (o)                                                                        \
	}
#define LINK(n, b, r, o)                                                                           \
	{                                                                                          \
		.name = (n), .mode = S_IFLNK | 0777, .bind = BIND_##b, .right = RIGHT_##r,         \
		.ops = (o)                                                                         \
	}
#define DIRECTORY(n, m, b, r, o)                                                                   \
	{                                                                                          \
		.name = (n), .mode = S_IFDIR | (m), .bind = BIND_##b, .right = RIGHT_##r,          \
		.ops = (o)                                                                         \
	}

static const struct proc_node pid_nodes[] = {
    TEXT("auxv", 0400, SPACE, LOOK, show_auxv),
    TEXT("cmdline", 0444, PROCESS, ALL, show_cmdline),
    TEXT("comm", 0444, PROCESS, ALL, show_comm),
    LINK("cwd", PROCESS, LOOK, &proc_cwd_ops),
    TEXT("environ", 0400, SPACE, LOOK, show_environ),
    LINK("exe", PROCESS, LOOK, &proc_exe_ops),
    DIRECTORY("fd", 0500, PROCESS, OWNER, &proc_fd_dir_ops),
    DIRECTORY("fdinfo", 0555, PROCESS, LOOK, &proc_fdinfo_dir_ops),
    TEXT("limits", 0444, PROCESS, ALL, show_limits),
    TEXT("maps", 0444, SPACE, LOOK, proc_show_maps),
    BYTES("mem", 0600, SPACE, LOOK, &proc_mem_ops),
    TEXT("mountinfo", 0444, RUNNING, ALL, show_mountinfo),
    TEXT("mounts", 0444, RUNNING, ALL, show_mounts),
    TEXT("numa_maps", 0444, SPACE, LOOK, proc_show_numa_maps),
    {.name = "oom_adj",
     .mode = S_IFREG | 0644,
     .bind = BIND_PROCESS,
     .right = RIGHT_ALL,
     .show_view = show_oom_adj,
     .store = store_oom_adj},
    TEXT("oom_score", 0444, PROCESS, ALL, show_oom_score),
    {.name = "oom_score_adj",
     .mode = S_IFREG | 0644,
     .bind = BIND_PROCESS,
     .right = RIGHT_ALL,
     .show_view = show_oom_score_adj,
     .store = store_oom_score_adj},
    BYTES("pagemap", 0400, SPACE, LOOK, &proc_pagemap_ops),
    LINK("root", PROCESS, LOOK, &proc_root_ops),
    TEXT("smaps", 0444, SPACE, LOOK, proc_show_smaps),
    TEXT("smaps_rollup", 0444, SPACE, LOOK, proc_show_smaps_rollup),
    TEXT("stat", 0444, PROCESS, PART, show_stat),
    TEXT("statm", 0444, PROCESS, ALL, show_statm),
    TEXT("status", 0444, PROCESS, ALL, show_status),
    DIRECTORY("task", 0555, PROCESS, ALL, &proc_task_dir_ops),
    {.name = NULL},
};

const struct proc_node proc_task_nodes[] = {
    TEXT("cmdline", 0444, PROCESS, ALL, show_cmdline),
    TEXT("comm", 0444, PROCESS, ALL, show_comm),
    TEXT("maps", 0444, SPACE, LOOK, proc_show_maps),
    TEXT("stat", 0444, PROCESS, PART, show_stat),
    TEXT("statm", 0444, PROCESS, ALL, show_statm),
    TEXT("status", 0444, PROCESS, ALL, show_status),
    {.name = NULL},
};

const struct proc_node proc_pid_node = {
    .name = "pid", .mode = S_IFDIR | 0555, .children = pid_nodes};
