/* SPDX-License-Identifier: MIT */
/* Flushing on several CPUs. Apart from smp.c, because it needs the virtual memory manager. */
#include "port/smp.h"

#include <mem/host.h>
#include <mem/vmm.h>

void host_flush_wait(const struct cpumask *cpus)
{
	__atomic_store_n(&mem_port_work, vmm_flush_pending, __ATOMIC_SEQ_CST);
	if (cpumask_test(cpus, host_cpu())) {
		unsigned long irq = host_irq_save();
		vmm_flush_pending();
		host_irq_restore(irq);
	}
	mem_port_ask(cpus);
}
