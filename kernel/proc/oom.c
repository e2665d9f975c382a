/* SPDX-License-Identifier: MIT */
/*
 * When memory has run out and draining gave nothing: which program ends.
 *
 * Policy, the same as Linux's in what it promises: the process that holds the
 * most memory (resident pages plus page tables), shifted by oom_score_adj in
 * thousandths of all memory; -1000 means never. Init never. If some process is
 * already on its way out, nobody else is chosen: its memory is coming.
 *
 * mem/ asks whenever a call is about to fail for want of memory, also where that
 * is the commit limit; a program is ended only if frames are really short.
 *
 * The caller waits a bounded while for the victim's pages, because it may hold
 * what the victim needs to get out; if they did not come it tries again and
 * fails with ENOMEM in its own time. A caller that is itself the victim must
 * not wait: its fault fails, and it dies on the way back to user mode.
 */
#include "kernel/proc/internal.h"
#include <kernel/boot.h>
#include <mem/pmm.h>

#define OOM_WAIT_STEP_NS 2000000ull /* 2 ms */
#define OOM_WAIT_STEPS   100
#define PLENTY_NPAGES    256 /* 1 MiB: not what running out looks like */

static struct mutex oom_mutex;

static int64_t badness(struct process *p, uint64_t total_npages)
{
	struct space *space = process_space_get(p);
	if (!space || p->oom_score_adj <= -1000 || p == process_init) {
		if (space)
			vmm_space_put(space);
		return -1;
	}
	struct vmm_space_stats stats;
	vmm_space_stats(space, &stats);
	vmm_space_put(space);
	int64_t points = (int64_t)(stats.resident_npages + stats.table_npages);
	points += (int64_t)p->oom_score_adj * (int64_t)(total_npages / 1000);
	return mem_max(points, (int64_t)1);
}

static uint64_t total_npages(void)
{
	struct vmm_stats stats;
	vmm_get_stats(kernel_vmm, &stats);
	return stats.commit_limit_npages ? stats.commit_limit_npages : 1;
}

/* With a reference; NULL: nobody. *dying: somebody is on the way out. */
static struct process *choose_victim(bool *dying)
{
	struct process *victim = NULL, *p;
	int64_t worst = -1;
	uint64_t total = total_npages();
	*dying = false;
	for (pid_t from = 1; (p = process_next(from)) != NULL;) {
		from = p->pid + 1;
		if (p->exiting && !p->zombie)
			*dying = true;
		int64_t points = p->exiting || p->zombie ? -1 : badness(p, total);
		if (points > worst) {
			worst = points;
			process_put(victim);
			victim = p;
		} else {
			process_put(p);
		}
	}
	return victim;
}

static void end_victim(struct process *victim)
{
	struct vmm_space_stats stats = {0};
	struct space *space = process_space_get(victim);
	if (space) {
		vmm_space_stats(space, &stats);
		vmm_space_put(space);
	}
	klog(LOG_WARN, "out of memory: ending %s (pid %d), which holds %lu KiB", victim->name,
	     victim->pid, (unsigned long)(stats.resident_npages * 4));
	unsigned long irq = proc_lock();
	group_exit_locked(victim, SIGKILL, NULL);
	proc_unlock(irq);
}

static bool has_ended(struct process *p)
{
	return !__atomic_load_n(&p->space, __ATOMIC_ACQUIRE);
}

bool proc_out_of_memory(uint64_t npages)
{
	struct pmm_stats frames;
	pmm_get_stats(kernel_pmm, &frames);
	/* Frames are there: it was a limit that was reached, or somebody has freed some
	 * meanwhile. Nobody needs to end; a second try settles it. */
	if (frames.free > npages + PLENTY_NPAGES)
		return true;
	struct process *self = current_thread()->user ? current_process() : NULL;
	if (self && self->exiting)
		return false;
	mutex_lock(&oom_mutex);
	bool dying;
	struct process *victim = choose_victim(&dying);
	if (victim && !dying)
		end_victim(victim);
	mutex_unlock(&oom_mutex);
	if (!victim && !dying)
		return false;
	if (self && self->exiting) {
		process_put(victim);
		return false;
	}
	bool ended = false;
	for (unsigned i = 0; i < OOM_WAIT_STEPS && !ended; i++) {
		(void)sched_sleep_until(time_monotonic() + OOM_WAIT_STEP_NS, false);
		ended = dying ? i >= 5 : has_ended(victim);
	}
	process_put(victim);
	return ended;
}
