/* SPDX-License-Identifier: MIT */
/*
 * When memory has run out and draining gave nothing: which program ends.
 *
 * The score is Linux's, and what the kernel holds for a process counts as much as what
 * it holds itself: resident pages, page tables, and its account (account.h), shifted by
 * oom_score_adj in thousandths of all memory; -1000 means never. Init never. All
 * processes that run in the chosen memory end together, as nothing comes back before.
 *
 * While a process is on its way out nobody else is chosen: its memory is coming. But one
 * that has not gone within GONE_WITHIN counts no more; it may be waiting for memory, or
 * for somebody who does.
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
#include <kernel/account.h>
#include <kernel/boot.h>
#include <mem/host.h>
#include <mem/pmm.h>

#define WAIT_STEP     2000000ull /* ns */
#define WAIT_STEPS    100
#define GONE_WITHIN   (2 * NSEC_PER_SEC)
#define PLENTY_NPAGES 256 /* 1 MiB: not what running out looks like */
#define RELIEF_NPAGES 64  /* what a call wants that found none; most want less */
#define LATELY        NSEC_PER_SEC

static struct mutex oom_mutex;
static nsec_t last_choice; /* when somebody was chosen; atomic */

static uint64_t total_npages(void)
{
	struct vmm_stats stats;
	vmm_get_stats(kernel_vmm, &stats);
	return stats.commit_limit_npages ? stats.commit_limit_npages : 1;
}

/* In pages; less than nothing: never to be chosen. */
static int64_t badness(struct process *p, uint64_t total)
{
	struct space *space = process_space_get(p);
	if (!space)
		return INT64_MIN;
	struct vmm_space_stats stats;
	vmm_space_stats(space, &stats);
	vmm_space_put(space);
	if (p->oom_score_adj <= -1000 || p == process_init)
		return INT64_MIN;
	uint64_t held =
	    stats.resident_npages + stats.table_npages + account_bytes(p->account) / PAGE_SIZE;
	return (int64_t)held + (int64_t)p->oom_score_adj * (int64_t)(total / 1000);
}

uint64_t proc_oom_score(struct process *p)
{
	uint64_t total = total_npages();
	int64_t points = badness(p, total);
	if (points == INT64_MIN)
		return 0;
	points = (1000 + points * 1000 / (int64_t)total) * 2 / 3;
	return points > 0 ? (uint64_t)points : 0;
}

/* Is it on its way out, and may still be waited for? */
static bool is_dying(struct process *p)
{
	unsigned long irq = proc_lock();
	bool dying = p->exiting && p->space && time_monotonic() - p->exit_began < GONE_WITHIN;
	proc_unlock(irq);
	return dying;
}

/* With a reference; NULL: nobody. *dying: somebody is on the way out. */
static struct process *choose_victim(bool *dying)
{
	struct process *victim = NULL, *p;
	int64_t worst = INT64_MIN;
	uint64_t total = total_npages();
	*dying = false;
	for (pid_t from = 1; (p = process_next(from)) != NULL;) {
		from = p->pid + 1;
		*dying |= is_dying(p);
		int64_t points = p->exiting ? INT64_MIN : badness(p, total);
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

/* Who else runs in the victim's memory ends with it. */
static void end_sharers(struct process *victim)
{
	struct process *p;
	for (pid_t from = 1; (p = process_next(from)) != NULL;) {
		from = p->pid + 1;
		unsigned long irq = proc_lock();
		if (p->mm && p->mm == victim->mm && p != process_init)
			group_exit_locked(p, SIGKILL, NULL);
		proc_unlock(irq);
		process_put(p);
	}
}

static void end_victim(struct process *victim)
{
	struct vmm_space_stats stats = {0};
	struct space *space = process_space_get(victim);
	if (space) {
		vmm_space_stats(space, &stats);
		vmm_space_put(space);
	}
	klog(LOG_WARN,
	     "out of memory: ending %s (pid %d, user %u): %lu KiB resident, %lu KiB of tables, "
	     "%lu KiB held by the kernel, oom_score_adj %d",
	     victim->name, victim->pid, victim->id.uid, (unsigned long)stats.resident_npages * 4,
	     (unsigned long)stats.table_npages * 4,
	     (unsigned long)(account_bytes(victim->account) >> 10), victim->oom_score_adj);
	__atomic_store_n(&last_choice, time_monotonic(), __ATOMIC_RELAXED);
	end_sharers(victim);
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
	for (unsigned i = 0; i < WAIT_STEPS && !ended; i++) {
		(void)sched_sleep_until(time_monotonic() + WAIT_STEP, false);
		ended = dying ? i >= 5 : has_ended(victim);
	}
	process_put(victim);
	return ended;
}

bool proc_relieve(void)
{
	struct pmm_stats frames;
	nsec_t last = __atomic_load_n(&last_choice, __ATOMIC_RELAXED);
	if (task_killed())
		return false;
	pmm_get_stats(kernel_pmm, &frames);
	if (frames.free > RELIEF_NPAGES + PLENTY_NPAGES) /* a limit, or it has come back already */
		return last && time_monotonic() - last < LATELY;
	return host_out_of_memory(RELIEF_NPAGES);
}
