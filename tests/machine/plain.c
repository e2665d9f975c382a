/* SPDX-License-Identifier: MIT */
/* The plain host: see plain.h. */
#define _GNU_SOURCE
#include "tests/machine/plain.h"

#include <linux/membarrier.h>
#include <sys/mman.h>

#include "tests/machine/process.h"

static unsigned cpu_total = 1;
#ifdef MEM_HOST_IS_INLINE
_Thread_local unsigned plain_cpu;
#else
static _Thread_local unsigned plain_cpu;
static _Thread_local int preempt_depth;
#endif
static _Thread_local bool irq_off, in_interrupt;

void plain_init(uint64_t bytes, unsigned ncpus)
{
	static char *arena;
	static size_t arena_bytes;
	if (arena)
		munmap(arena, arena_bytes);
	arena_bytes = bytes + HUGE_SIZE;
	arena = mmap(NULL, arena_bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (arena == MAP_FAILED) {
		perror("arena");
		exit(1);
	}
	/* As a direct map is: by 2 MiB. */
	mem_direct_map_base = ((uintptr_t)arena + HUGE_SIZE - 1) & ~(uintptr_t)(HUGE_SIZE - 1);
	cpu_total = ncpus;
}

void plain_set_cpu(unsigned cpu)
{
	plain_cpu = cpu;
}

void plain_set_interrupt(bool on)
{
	in_interrupt = irq_off = on;
}

unsigned host_cpu_count(void)
{
	return cpu_total;
}

unsigned long host_irq_save(void)
{
	bool was = irq_off;
	irq_off = true;
	return was;
}

void host_irq_restore(unsigned long state)
{
	irq_off = state != 0;
}

bool host_irq_enabled(void)
{
	return !irq_off;
}

bool host_in_interrupt(void)
{
	return in_interrupt;
}

#ifndef MEM_HOST_IS_INLINE
unsigned host_cpu(void)
{
	return plain_cpu;
}

void host_preempt_disable(void)
{
	preempt_depth++;
}

void host_preempt_enable(void)
{
	if (--preempt_depth < 0)
		host_panic("preempt_enable without disable");
}
#endif

void host_barrier_all(void)
{
	static bool registered;
	if (!__atomic_load_n(&registered, __ATOMIC_RELAXED)) {
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
			host_panic("membarrier(2) is missing");
		__atomic_store_n(&registered, true, __ATOMIC_RELAXED);
	}
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
		host_panic("membarrier(2) failed");
}
