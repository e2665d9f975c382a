/* SPDX-License-Identifier: MIT */
#include "tests/kernel/every_cpu.h"

#include "tests/test.h"

#include <kernel/boot.h>
#include <kernel/log.h>
#include <mem/heap.h>
#include <mem/pmm.h>
#include <mem/vmm.h>

#include "base/atomic.h"

struct gang {
	bool (*body)(void *arg, unsigned cpu);
	void *arg;
	uint32_t arrived, total, left, failed;
	struct waitq done;
};

struct member {
	struct gang *gang;
	unsigned cpu;
};

static void run_member(void *p)
{
	struct member *m = p;
	struct gang *g = m->gang;
	struct cpumask only = {0};
	cpumask_set(&only, m->cpu);
	bool ok = thread_set_affinity(current_thread(), &only) == 0;
	sched_yield();
	atomic_add(&g->arrived, 1);
	while (atomic_read_acquire(&g->arrived) < g->total)
		sched_yield();
	ok = ok && g->body(g->arg, m->cpu);
	if (!ok)
		atomic_add(&g->failed, 1);
	thread_exit_begins(); /* sched_drain waits for this one, too, whoever sees it gone */
	atomic_add(&g->left, 1);
	waitq_wake_all(&g->done);
}

unsigned every_cpu(bool (*body)(void *arg, unsigned cpu), void *arg)
{
	/* Static: a member may still be inside waitq_wake_all when the last one is
	 * seen to have left. */
	static struct gang gang;
	static struct member members[MEM_MAX_CPUS];
	gang = (struct gang){.body = body, .arg = arg, .total = cpu_count()};
	waitq_init(&gang.done);
	for (unsigned cpu = 0; cpu < gang.total; cpu++) {
		members[cpu] = (struct member){&gang, cpu};
		CHECK(kthread_create("gang", run_member, &members[cpu]));
	}
	wait_event(&gang.done, atomic_read_acquire(&gang.left) == gang.total);
	sched_drain();
	return gang.failed;
}

uint64_t cpu_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

void drain_all(void)
{
	sched_drain();
	vmm_drain(kernel_vmm);
	heap_reap(kernel_heap, true);
	vmm_drain(kernel_vmm);
	pmm_drain(kernel_pmm);
}

/* Who holds memory, after a drain. */
static void say_who_holds(const struct pmm_stats *frames)
{
	struct vmm_stats m;
	struct heap_stats heap;
	vmm_get_stats(kernel_vmm, &m);
	heap_get_stats(kernel_heap, &heap);
	klog(LOG_INFO,
	     "frames: free %lu records %lu; tables %lu+%lu ranges %lu objects %lu anon %lu limbo "
	     "%lu "
	     "stacks %lu devices %lu heap %lu (held %lu large %lu live %lu in %lu)",
	     frames->free, frames->records, m.table_npages, m.kernel_table_npages, m.range_npages,
	     m.object_npages, m.anon_npages, m.limbo_npages, m.stack_npages, m.device_npages,
	     m.heap_npages, heap.held_npages, heap.large_npages, heap.live_bytes, heap.live_blocks);
}

uint64_t free_frames(void)
{
	struct pmm_stats frames;
	struct vmm_stats memory;
	drain_all();
	pmm_get_stats_wait(kernel_pmm, &frames);
	vmm_get_stats(kernel_vmm, &memory);
	say_who_holds(&frames);
	return frames.free + frames.records + memory.kernel_table_npages;
}
