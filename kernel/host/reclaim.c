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

/* Empty heap pages stay mapped until somebody reaps them; once they are worth
 * the flushes that this costs, this does. */
static void reclaim_thread(void *unused)
{
	(void)unused;
	for (;;) {
		(void)sched_sleep_until(time_monotonic() + PERIOD, false);
		if (heap_wants_reap(kernel_heap))
			(void)heap_reap(kernel_heap, false);
	}
}

void reclaim_start(void)
{
	if (!kthread_create("reclaim", reclaim_thread, NULL))
		klog(LOG_WARN, "no memory for the reclaim thread");
}

bool host_out_of_memory(uint64_t npages)
{
	/* mem/ has drained what it knows; the heap above it may hold empty pages. */
	if (heap_reap(kernel_heap, true))
		return true;
	return proc_out_of_memory(npages);
}
