/* SPDX-License-Identifier: MIT */
/*
 * A host of real threads for mem/vm: every thread is a CPU that is really
 * running at the same time as the others, so that TSan sees what the machine of
 * coroutines cannot show: reordering, and plain accesses that race.
 *
 * There is no MMU. A flush interrupt is delivered by the thread that asks for it:
 * it waits until the target has interrupts on, keeps them from being turned off,
 * and runs the handler in the target's name. Interrupts off is a mutex.
 */
#define _GNU_SOURCE
#include "tests/unit/vm_host.h"

#include <mem/vmm.h>
#include <pthread.h>
#include <sys/mman.h>

#include "arch/x86_64/ops.h"
#include "tests/machine/process.h"
#include "tests/machine/registers.h"

static unsigned cpu_total;
static pthread_mutex_t interrupts[MEM_MAX_CPUS]; /* held: they are off on that CPU */
static paddr_t roots[MEM_MAX_CPUS];              /* CR3; under the mutex */
static _Thread_local unsigned my_cpu;
static _Thread_local bool irq_off, in_interrupt;

void vm_host_init(uint64_t bytes, unsigned ncpus)
{
	void *arena = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (arena == MAP_FAILED)
		abort();
	mem_direct_map_base = (uintptr_t)arena;
	cpu_total = ncpus;
	for (unsigned i = 0; i < ncpus; i++)
		pthread_mutex_init(&interrupts[i], NULL);
}

void vm_host_set_cpu(unsigned cpu)
{
	my_cpu = cpu;
}

unsigned host_cpu(void)
{
	return my_cpu;
}

unsigned host_cpu_count(void)
{
	return cpu_total;
}

unsigned long host_irq_save(void)
{
	bool was = irq_off;
	if (!was && !in_interrupt)
		pthread_mutex_lock(&interrupts[my_cpu]);
	irq_off = true;
	return was;
}

void host_irq_restore(unsigned long state)
{
	if (irq_off && !state) {
		irq_off = false;
		if (!in_interrupt)
			pthread_mutex_unlock(&interrupts[my_cpu]);
	}
}

bool host_irq_enabled(void)
{
	return !irq_off;
}

bool host_in_interrupt(void)
{
	return in_interrupt;
}

void host_preempt_disable(void)
{
}

void host_preempt_enable(void)
{
}

void host_barrier_all(void)
{
	/* Whoever is between two points of this lock has passed a barrier. */
	for (unsigned i = 0; i < cpu_total; i++) {
		if (i == my_cpu)
			continue;
		pthread_mutex_lock(&interrupts[i]);
		pthread_mutex_unlock(&interrupts[i]);
	}
	static uint32_t passed;
	(void)__atomic_fetch_add(&passed, 1, __ATOMIC_SEQ_CST); /* TSan knows no fences */
}

void host_flush_wait(const struct cpumask *cpus)
{
	unsigned self = my_cpu;
	if (irq_off)
		host_panic("a flush is waited for with interrupts off");
	for (unsigned i = 0; i < cpu_total; i++) {
		if (!cpumask_test(cpus, i))
			continue;
		pthread_mutex_lock(&interrupts[i]);
		my_cpu = i;
		in_interrupt = irq_off = true;
		vmm_flush_pending();
		in_interrupt = irq_off = false;
		my_cpu = self;
		pthread_mutex_unlock(&interrupts[i]);
	}
}

struct space *host_current_space(void)
{
	return NULL;
}

void host_user_fault(struct mem_trap *trap, const struct vmm_fault *fault)
{
	abort();
}

bool host_fixup_fault(struct mem_trap *trap, const struct vmm_fault *fault)
{
	return false;
}

MEM_NORETURN void host_fatal_fault(struct mem_trap *trap, const struct vmm_fault *fault)
{
	abort();
}

bool host_out_of_memory(uint64_t npages)
{
	return false;
}

struct arch_setup machine_registers = REGISTERS_GOOD;

void machine_describe(struct arch_setup *setup)
{
	*setup = machine_registers;
}

void machine_invlpg(vaddr_t va)
{
}

void machine_load_root(paddr_t root)
{
	roots[my_cpu] = root;
}

paddr_t machine_root(void)
{
	return roots[my_cpu];
}

void machine_flush_global(void)
{
}
