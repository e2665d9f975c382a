/* SPDX-License-Identifier: MIT */
/* /proc files about the whole system, and the table of its root. */
#include <kernel/boot.h>
#include <kernel/log.h>
#include <kernel/version.h>
#include <mem/heap.h>
#include <mem/slab.h>
#include <mem/vmm.h>

#include "kernel/cpu/priv.h"
#include "kernel/fs/procfs.h"
#include "kernel/fs/secrets.h"

#define LATENCY_SHOWN 16 /* of each kind */

#define KB(npages) ((npages)*4)

static uint64_t heap_npages(void)
{
	struct heap_stats h;
	heap_get_stats(kernel_heap, &h);
	return h.held_npages;
}

static int show_meminfo(struct text *t, struct process *p, struct inode *inode)
{
	struct pmm_stats frames;
	struct vmm_stats vm;
	pmm_get_stats_wait(kernel_pmm, &frames);
	vmm_get_stats(kernel_vmm, &vm);
	uint64_t slab = heap_npages();
	/* A frame of records is there only while its block holds user frames, and goes
	 * back with the last of them: how many there are depends on where in memory
	 * those frames lie, not on what is in use. So it counts as free here;
	 * /proc/quire has the two apart. */
	uint64_t available = frames.free + frames.records;
	const struct {
		const char *name;
		uint64_t kib;
	} lines[] = {
	    {"MemTotal:", KB(frames.total)},
	    {"MemFree:", KB(available)},
	    {"MemAvailable:", KB(available)},
	    {"Buffers:", 0},
	    {"Cached:", KB(vm.object_npages)},
	    {"SwapCached:", 0},
	    {"Active:", KB(vm.object_npages + vm.anon_npages)},
	    {"Inactive:", 0},
	    {"Active(anon):", KB(vm.anon_npages)},
	    {"Inactive(anon):", 0},
	    {"Active(file):", KB(vm.object_npages)},
	    {"Inactive(file):", 0},
	    {"Unevictable:", 0},
	    {"Mlocked:", 0},
	    {"SwapTotal:", 0},
	    {"SwapFree:", 0},
	    {"Dirty:", 0},
	    {"Writeback:", 0},
	    {"AnonPages:", KB(vm.anon_npages)},
	    {"Mapped:", 0},
	    {"Shmem:", KB(vm.object_npages)},
	    {"KReclaimable:", 0},
	    {"Slab:", KB(slab)},
	    {"SReclaimable:", 0},
	    {"SUnreclaim:", KB(slab)},
	    {"KernelStack:", KB(vm.stack_npages)},
	    {"PageTables:", KB(vm.table_npages)},
	    {"CommitLimit:", KB(vm.commit_limit_npages)},
	    {"Committed_AS:", KB(vm.commit_npages)},
	    {"HugePages_Total:", UINT64_MAX},
	    {"Hugepagesize:", 2048},
	};
	for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
		if (lines[i].kib == UINT64_MAX)
			text_print(t, "%-16s%7u\n", lines[i].name, 0);
		else
			text_print(t, "%-16s%7lu kB\n", lines[i].name, (unsigned long)lines[i].kib);
	}
	return 0;
}

static int show_vmstat(struct text *t, struct process *p, struct inode *inode)
{
	struct pmm_stats frames;
	struct vmm_stats vm;
	pmm_get_stats_wait(kernel_pmm, &frames);
	vmm_get_stats(kernel_vmm, &vm);
	text_print(t, "nr_free_pages %lu\n", (unsigned long)frames.free);
	text_print(t, "nr_anon_pages %lu\n", (unsigned long)vm.anon_npages);
	text_print(t, "nr_file_pages %lu\n", (unsigned long)vm.object_npages);
	text_print(t, "nr_page_table_pages %lu\n", (unsigned long)vm.table_npages);
	text_print(t, "nr_kernel_stack %lu\n", (unsigned long)vm.stack_npages * 4);
	text_print(t, "nr_tlb_remote_flush %lu\n", (unsigned long)vm.flushes);
	text_print(t, "nr_tlb_remote_flush_received %lu\n", (unsigned long)vm.flush_cpus);
	text_print(t, "nr_tlb_local_flush_all %lu\n", (unsigned long)vm.flush_full);
	return 0;
}

/* Test builds: the longest stretches with interrupts or preemption off, in ns, with the
 * system call that ran and who ended it. What mem/vm ended is marked. */
static void show_latency(struct text *t, const char *name, enum latency_kind kind)
{
	struct latency_record r;
	bool memory;
	for (unsigned n = 0; n < LATENCY_SHOWN && latency_get(kind, n, &r, &memory); n++) {
		text_print(t, "%s %lu %lu %d %s", name, (unsigned long)clock_ns_from_tsc(r.cycles),
			   (unsigned long)r.count, (int)r.call, memory ? "mem/vm" : "-");
		for (unsigned i = 0; i < LATENCY_CALLERS && r.who[i]; i++) {
			char who[64];
			if (symbol_name(r.who[i], who, sizeof(who)))
				text_print(t, " %s", who);
		}
		text_print(t, "\n");
	}
}

static int store_quire(struct process *p, struct inode *inode, const char *text, size_t bytes)
{
	if (kstrcmp(text, "latency\n"))
		return -EINVAL;
	latency_reset();
	return 0;
}

/* What the memory manager says of itself, all of it. */
static int show_quire(struct text *t, struct process *p, struct inode *inode)
{
	struct pmm_stats f;
	struct vmm_stats vm;
	struct heap_stats h;
	pmm_get_stats_wait(kernel_pmm, &f);
	vmm_get_stats(kernel_vmm, &vm);
	heap_get_stats(kernel_heap, &h);
	const struct {
		const char *name;
		uint64_t value;
	} lines[] = {
	    {"frames_total", f.total},
	    {"frames_free", f.free},
	    {"frames_cached", f.cached},
	    {"blocks_free", f.free_huge},
	    {"metadata_bytes", f.metadata},
	    {"record_frames", f.records},
	    {"commit_pages", vm.commit_npages},
	    {"commit_limit_pages", vm.commit_limit_npages},
	    {"user_table_pages", vm.table_npages},
	    {"kernel_table_pages", vm.kernel_table_npages},
	    {"kernel_range_pages", vm.range_npages},
	    {"object_pages", vm.object_npages},
	    {"anonymous_pages", vm.anon_npages},
	    {"limbo_pages", vm.limbo_npages},
	    {"stack_pages", vm.stack_npages},
	    {"device_pages", vm.device_npages},
	    {"heap_area_pages", vm.heap_npages},
	    {"flushes", vm.flushes},
	    {"flushed_cpus", vm.flush_cpus},
	    {"full_flushes", vm.flush_full},
	    {"heap_live_bytes", h.live_bytes},
	    {"heap_live_blocks", h.live_blocks},
	    {"heap_held_pages", h.held_npages},
	    {"heap_large_pages", h.large_npages},
	    {"heap_allocs", h.allocs},
	    {"heap_frees", h.frees},
	    {"heap_failures", h.failures},
	};
	for (size_t i = 0; i < ARRAY_COUNT(lines); i++)
		text_print(t, "%-20s %lu\n", lines[i].name, (unsigned long)lines[i].value);
	if (!current_process()->id.euid) {
		show_latency(t, "irq_off", LATENCY_IRQ);
		show_latency(t, "preempt_off", LATENCY_PREEMPT);
	}
	return 0;
}

static void show_cache(const struct slab_stats *s, void *arg)
{
	uint64_t per_page = s->npages ? s->total / s->npages : 0;
	text_print(arg, "%-24s %6lu %6lu %6zu %4lu %4d : tunables 0 0 0 : slabdata %6lu %6lu 0\n",
		   s->name, (unsigned long)s->live, (unsigned long)s->total, s->object_bytes,
		   (unsigned long)per_page, 1, (unsigned long)s->npages, (unsigned long)s->npages);
}

static void show_slab(struct slab_cache *cache, void *arg)
{
	struct slab_stats s;
	slab_get_stats(cache, &s);
	show_cache(&s, arg);
}

static int show_slabinfo(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t,
		   "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize> "
		   "<objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> "
		   ": slabdata <active_slabs> <num_slabs> <sharedavail>\n");
	slab_for_each(show_slab, t);
	return 0;
}

/* ---- time and CPUs --------------------------------------------------------------------------- */

static unsigned long ticks(nsec_t t) /* USER_HZ: hundredths of a second */
{
	return t / 10000000;
}

static void cpu_line(struct text *t, const char *name, const struct sched_stats *s)
{
	text_print(t, "%s %lu 0 %lu %lu 0 0 0 0 0 0\n", name, ticks(s->user_ns),
		   ticks(s->system_ns), ticks(s->idle_ns));
}

static int show_stat(struct text *t, struct process *p, struct inode *inode)
{
	struct sched_stats all = {0}, s;
	unsigned cpus = cpu_count();
	for (unsigned i = 0; i < cpus; i++) {
		sched_get_stats(i, &s);
		all.user_ns += s.user_ns;
		all.system_ns += s.system_ns;
		all.idle_ns += s.idle_ns;
		all.switches += s.switches;
		all.interrupts += s.interrupts;
		all.runnable += s.runnable;
	}
	cpu_line(t, "cpu ", &all);
	for (unsigned i = 0; i < cpus; i++) {
		char name[16];
		sched_get_stats(i, &s);
		ksnprintf(name, sizeof(name), "cpu%u", i);
		cpu_line(t, name, &s);
	}
	nsec_t boot = time_realtime() - time_monotonic();
	text_print(t,
		   "intr %lu\nctxt %lu\nbtime %lu\nprocesses %lu\nprocs_running %u\n"
		   "procs_blocked 0\n",
		   (unsigned long)all.interrupts, (unsigned long)all.switches,
		   (unsigned long)(boot / NSEC_PER_SEC), (unsigned long)proc_fork_count,
		   all.runnable);
	return 0;
}

static int show_uptime(struct text *t, struct process *p, struct inode *inode)
{
	struct sched_stats s;
	nsec_t idle = 0, up = time_monotonic();
	for (unsigned i = 0; i < cpu_count(); i++) {
		sched_get_stats(i, &s);
		idle += s.idle_ns;
	}
	text_print(t, "%lu.%02lu %lu.%02lu\n", (unsigned long)(up / NSEC_PER_SEC), ticks(up) % 100,
		   (unsigned long)(idle / NSEC_PER_SEC), ticks(idle) % 100);
	return 0;
}

static int show_loadavg(struct text *t, struct process *p, struct inode *inode)
{
	uint32_t avg[3], processes, tasks, running = 0;
	pid_t last;
	struct sched_stats s;
	sched_get_loadavg(avg);
	process_counts(&processes, &tasks, &last);
	for (unsigned i = 0; i < cpu_count(); i++) {
		sched_get_stats(i, &s);
		running += s.runnable;
	}
	for (int i = 0; i < 3; i++) {
		uint32_t v = avg[i] + 10; /* rounds hundredths */
		text_print(t, "%u.%02u ", v >> 11, (v & 2047) * 100 >> 11);
	}
	text_print(t, "%u/%u %d\n", running, tasks, last);
	return 0;
}

static void show_flags(struct text *t)
{
	static const struct {
		uint8_t bit;
		const char *name;
	} known[] = {{0, "fpu"},  {4, "tsc"},   {5, "msr"},   {6, "pae"},   {8, "cx8"},
		     {9, "apic"}, {13, "pge"},  {15, "cmov"}, {16, "pat"},  {19, "clflush"},
		     {23, "mmx"}, {24, "fxsr"}, {25, "sse"},  {26, "sse2"}, {28, "ht"}};
	text_print(t, "flags\t\t:");
	for (size_t i = 0; i < ARRAY_COUNT(known); i++)
		if (cpu_features.hwcap >> known[i].bit & 1)
			text_print(t, " %s", known[i].name);
	const struct {
		bool on;
		const char *name;
	} more[] = {{cpu_features.nx, "nx"},       {cpu_features.giga_pages, "pdpe1gb"},
		    {cpu_features.xsave, "xsave"}, {cpu_features.fsgsbase, "fsgsbase"},
		    {cpu_features.smep, "smep"},   {cpu_features.smap, "smap"},
		    {cpu_features.erms, "erms"},   {cpu_features.pku, "pku"},
		    {cpu_features.umip, "umip"},   {cpu_features.tsc_invariant, "constant_tsc"}};
	for (size_t i = 0; i < ARRAY_COUNT(more); i++)
		if (more[i].on)
			text_print(t, " %s", more[i].name);
	text_print(t, "\n");
}

static int show_cpuinfo(struct text *t, struct process *p, struct inode *inode)
{
	for (unsigned i = 0; i < cpu_count(); i++) {
		text_print(t, "processor\t: %u\nvendor_id\t: %s\nmodel name\t: %s\n", i,
			   cpu_features.vendor, cpu_features.brand);
		text_print(t, "siblings\t: 1\ncore id\t\t: %u\ncpu cores\t: 1\n", i);
		show_flags(t);
		text_print(t, "address sizes\t: %u bits physical, 48 bits virtual\n\n",
			   cpu_features.phys_bits);
	}
	return 0;
}

/* ---- names
 * --------------------------------------------------------------------------------------- */

static int show_version(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t, "%s version %s (quire@quire) %s\n", QUIRE_SYSNAME, QUIRE_RELEASE,
		   QUIRE_VERSION);
	return 0;
}

static int show_cmdline(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t, "%s\n", boot_cmdline());
	return 0;
}

static int show_filesystems(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t, "nodev\ttmpfs\nnodev\tramfs\nnodev\tproc\nnodev\tdevtmpfs\n");
	return 0;
}

static int show_devices(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t, "Character devices:\n  1 mem\n  4 ttyS\n  5 /dev/tty\n  5 /dev/console\n\n"
		      "Block devices:\n");
	return 0;
}

static int show_swaps(struct text *t, struct process *p, struct inode *inode)
{
	text_print(t, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
	return 0;
}

static int show_iomem(struct text *t, struct process *p, struct inode *inode)
{
	const struct memmap *map = boot_memmap();
	for (size_t i = 0; i < map->count; i++) {
		const struct memmap_region *r = &map->regions[i];
		text_print(t, "%08lx-%08lx : %s\n", (unsigned long)pfn_to_paddr(r->first),
			   (unsigned long)pfn_to_paddr(r->end) - 1, memmap_type_name(r->type));
	}
	return 0;
}

/* ---- the log: /proc/kmsg
 * ---------------------------------------------------------------------------- */

static int show_kmsg(struct text *t, struct process *p, struct inode *inode)
{
	uint64_t at = 0;
	char chunk[256];
	size_t n;
	while ((n = klog_read(&at, chunk, sizeof(chunk))) && !t->failed)
		text_add(t, chunk, n);
	return 0;
}

/* Writing c: a kernel that gives up when it is told to, as on Linux. */
static int store_sysrq(struct process *p, struct inode *inode, const char *text, size_t bytes)
{
	if (!bytes || text[0] != 'c')
		return -EINVAL;
	panic("asked to, through /proc/sysrq-trigger, by %s (pid %d)", current_process()->name,
	      current_process()->pid);
}

/* ---- links
 * -----------------------------------------------------------------------------------------------
 */

static ssize_t self_readlink(struct dentry *d, char *to, size_t bytes)
{
	return ksnprintf(to, bytes, "%d", current_process()->pid);
}

static ssize_t thread_self_readlink(struct dentry *d, char *to, size_t bytes)
{
	return ksnprintf(to, bytes, "%d/task/%d", current_process()->pid, current_task()->tid);
}

static ssize_t mounts_readlink(struct dentry *d, char *to, size_t bytes)
{
	return ksnprintf(to, bytes, "self/mounts");
}

static const struct inode_ops self_ops = {.readlink = self_readlink};
static const struct inode_ops thread_self_ops = {.readlink = thread_self_readlink};
static const struct inode_ops mounts_ops = {.readlink = mounts_readlink};

const struct proc_node proc_root_nodes[] = {
    {.name = "self", .mode = S_IFLNK | 0777, .ops = &self_ops},
    {.name = "thread-self", .mode = S_IFLNK | 0777, .ops = &thread_self_ops},
    {.name = "mounts", .mode = S_IFLNK | 0777, .ops = &mounts_ops},
    PROC_DIR("sys", proc_sys_nodes),
    PROC_FILE("cmdline", 0444, show_cmdline),
    PROC_FILE("cpuinfo", 0444, show_cpuinfo),
    PROC_FILE("devices", 0444, show_devices),
    PROC_FILE("filesystems", 0444, show_filesystems),
    PROC_FILE("iomem", 0400, show_iomem),
    PROC_FILE("kallsyms", 0444, secrets_show_symbols),
    PROC_FILE("kmsg", 0400, show_kmsg),
    PROC_FILE("loadavg", 0444, show_loadavg),
    PROC_FILE("meminfo", 0444, show_meminfo),
    {.name = "quire", .mode = S_IFREG | 0644, .show = show_quire, .store = store_quire},
    PROC_FILE("slabinfo", 0400, show_slabinfo),
    PROC_FILE("stat", 0444, show_stat),
    PROC_FILE("swaps", 0444, show_swaps),
    {.name = "sysrq-trigger", .mode = S_IFREG | 0200, .store = store_sysrq},
    PROC_FILE("uptime", 0444, show_uptime),
    PROC_FILE("version", 0444, show_version),
    PROC_FILE("vmstat", 0444, show_vmstat),
    {.name = NULL},
};
