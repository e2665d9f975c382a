/* SPDX-License-Identifier: MIT */
/*
 * One CPU whose threads are never switched away by force: nothing to keep out but interrupt
 * handlers, and those run with interrupts off.
 */
#include <mem/host.h>
#include <mem/port.h>

#ifndef MEM_HOST_IS_INLINE
unsigned host_cpu(void)
{
	return 0;
}

void host_preempt_disable(void)
{
}

void host_preempt_enable(void)
{
}
#endif

unsigned host_cpu_count(void)
{
	return 1;
}

static unsigned handlers; /* interrupt handlers that the CPU is in */

void mem_port_interrupt_begin(void)
{
	handlers++;
}

void mem_port_interrupt_end(void)
{
	handlers--;
}

bool host_in_interrupt(void)
{
	return handlers != 0;
}

void host_barrier_all(void)
{
	__asm__ volatile("mfence" ::: "memory");
}

/* This CPU flushes by itself before it asks the others, of which there are none. */
void host_flush_wait(const struct cpumask *cpus)
{
	for (unsigned i = 0; i < CPUMASK_WORDS; i++)
		if (cpus->word[i])
			host_panic("host_flush_wait: there is one CPU (port/one_cpu.c)");
}
