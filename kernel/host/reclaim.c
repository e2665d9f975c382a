/* SPDX-License-Identifier: MIT */
/*
 * Giving memory back: a little from time to time, all that can be found when
 * memory has run out, and at last a program's.
 */
#include <kernel/boot.h>
#include <kernel/log.h>
#include <kernel/proc.h>
#include <kernel/sched.h>
#include <mem/heap.h>
#include <mem/host.h>

#include "kernel/host/reclaim.h"

#define PERIOD (2 * NSEC_PER_SEC)
/* Idle pages beyond what the last look left over that make another worth its flushes:
 * so many, and a part of what is held. */
#define WORTH_NPAGES 2048 /* 8 MiB */
#define WORTH_SHARE  8

/* Pages that the heap holds and nobody has: empty segments, and slabs with free blocks,
 * of which only a reap finds out how many are empty. */
static uint64_t idle_npages(uint64_t *held)
{
	struct heap_stats stats;
	heap_get_stats(kernel_heap, &stats);
	uint64_t live = stats.live_bytes >> PAGE_SHIFT;
	*held = stats.held_npages;
	return *held > live ? *held - live : 0;
}

/* Empty heap pages and empty slabs stay with the heap until somebody reaps them; once
 * they are worth the flushes that this costs, this does. What a reap leaves idle is in
 * slabs that somebody still has a block of: it is no reason for the next one. */
static void reclaim_thread(void *unused)
{
	uint64_t left = 0;
	(void)unused;
	for (;;) {
		uint64_t held;
		(void)sched_sleep_until(time_monotonic() + PERIOD, false);
		uint64_t idle = idle_npages(&held);
		left = mem_min(left, idle);
		uint64_t more = idle - left;
		if (!heap_wants_reap(kernel_heap) &&
		    (more < WORTH_NPAGES || more < held / WORTH_SHARE))
			continue;
		(void)heap_reap(kernel_heap, false);
		left = idle_npages(&held);
	}
}

void reclaim_start(void)
{
	if (!kthread_create("reclaim", reclaim_thread, NULL))
		klog(LOG_WARN, "no memory for the reclaim thread");
}

bool host_out_of_memory(uint64_t npages)
{
	/* mem/ has drained what it knows; the heap above it may hold empty pages. A few of
	 * them are no end of it: a call that takes a little and fails leaves as much behind. */
	(void)heap_reap(kernel_heap, true);
	return proc_out_of_memory(npages);
}
