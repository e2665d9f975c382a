/* SPDX-License-Identifier: MIT */
/*
 * CPU time and load.
 *
 * Time is measured at each switch and tick; whether it was user or system time
 * is what the newest tick saw, as in any kernel that does not read the clock at
 * every system call.
 */
#include <kernel/log.h>

#include "kernel/sched/sched.h"

void sched_account(struct cpu_private *c, nsec_t now)
{
	struct thread *t = c->running;
	nsec_t delta = now > t->accounted_at ? now - t->accounted_at : 0;
	t->accounted_at = now;
	if (t == c->idle) {
		c->stats.idle_ns += delta;
		return;
	}
	t->slice_left_ns -= mem_min(t->slice_left_ns, delta);
	if (t->user && t->last_tick_user) {
		t->user_ns += delta;
		c->stats.user_ns += delta;
	} else {
		t->system_ns += delta;
		c->stats.system_ns += delta;
	}
}

void sched_get_stats(unsigned cpu, struct sched_stats *out)
{
	*out = (struct sched_stats){0};
	struct cpu_private *c = cpu < MEM_MAX_CPUS ? cpu_table[cpu] : NULL;
	if (!c)
		return;
	*out = c->stats;
	out->interrupts = c->interrupts;
	out->runnable = c->run_count + (c->running != c->idle);
	/* What the running thread has not been charged for yet. */
	nsec_t now = time_monotonic();
	struct thread *idle = c->idle;
	if (c->running == idle && now > idle->accounted_at)
		out->idle_ns += now - idle->accounted_at;
}

/* Load averages as everyone defines them: every 5 s, load decays towards the
 * number of runnable threads with time constants of 1, 5 and 15 minutes. Fixed
 * point with 11 fraction bits. */
#define LOAD_INTERVAL (5 * NSEC_PER_SEC)
static const uint32_t decay[3] = {1884, 2014, 2037}; /* 2048 * exp(-5 s / T) */
static uint32_t load[3];
static uint64_t sampled_at;

void sched_sample_load(nsec_t now)
{
	uint64_t last = __atomic_load_n(&sampled_at, __ATOMIC_RELAXED);
	if (now - last < LOAD_INTERVAL ||
	    !__atomic_compare_exchange_n(&sampled_at, &last, last + LOAD_INTERVAL, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	uint32_t active = 0;
	for (unsigned i = 0; i < cpu_possible(); i++)
		if (cpu_table[i])
			active +=
			    cpu_table[i]->run_count + (cpu_table[i]->running != cpu_table[i]->idle);
	for (unsigned i = 0; i < 3; i++)
		load[i] = (uint32_t)(((uint64_t)load[i] * decay[i] +
				      (uint64_t)active * 2048 * (2048 - decay[i])) /
				     2048);
}

void sched_get_loadavg(uint32_t avg[3])
{
	/* Catch up on intervals in which every CPU idled. */
	nsec_t now = time_monotonic();
	for (unsigned i = 0; i < 200 && now - sampled_at >= LOAD_INTERVAL; i++)
		sched_sample_load(now);
	for (unsigned i = 0; i < 3; i++)
		avg[i] = load[i];
}
