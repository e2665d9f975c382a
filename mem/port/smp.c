/* SPDX-License-Identifier: MIT */
/*
 * Several CPUs: a preemption counter for each, and asking the others for something and
 * waiting until they have done it.
 *
 * Each CPU has two numbers: `asked` goes up by one with each request, `done` follows. Who
 * answers reads asked, does the work, stores what it has read into done, and does so again
 * until both are equal. Who asks adds one, and sends an interrupt if the two were equal
 * before; else the other CPU is still at it, and will look again. Then it waits until done
 * has reached its number. All four accesses are sequentially consistent. Nobody gives up;
 * that two CPUs ask each other is no deadlock, because both wait with interrupts on.
 *
 * The work is vmm_flush_pending() once host_flush_wait() was called (smp_flush.c), and nothing
 * before that: taking the interrupt is the barrier.
 */
#include "port/smp.h"

#include <mem/host.h>
#include <mem/port.h>

static struct {
	uint32_t asked, done;
	uint32_t preempt;  /* of this CPU alone, changed with interrupts off */
	uint32_t handlers; /* interrupt handlers that it is in */
	bool due;          /* a switch of threads waits for preempt to become 0 */
} __attribute__((aligned(64))) cpus[MEM_MAX_CPUS];
static struct cpumask online;

void (*mem_port_work)(void);

/* ---- preemption ---------------------------------------------------------------- */

#ifndef MEM_HOST_IS_INLINE
void host_preempt_disable(void)
{
	/* Off, so that this is not another CPU's counter by the time that it changes. */
	unsigned long irq = host_irq_save();
	cpus[host_cpu()].preempt++;
	host_irq_restore(irq);
}

void host_preempt_enable(void)
{
	unsigned long irq = host_irq_save();
	unsigned me = host_cpu();
	bool due = --cpus[me].preempt == 0 && cpus[me].due && irq && !cpus[me].handlers;
	if (due)
		cpus[me].due = false;
	host_irq_restore(irq);
	if (due && mem_port_reschedule)
		mem_port_reschedule();
}
#endif

bool mem_port_may_switch(void)
{
	unsigned me = host_cpu();
	bool may = cpus[me].preempt == 0;
	cpus[me].due = !may;
	return may;
}

void mem_port_interrupt_begin(void)
{
	cpus[host_cpu()].handlers++;
}

void mem_port_interrupt_end(void)
{
	cpus[host_cpu()].handlers--;
}

bool host_in_interrupt(void)
{
	/* A thread that moves to another CPU between the two reads asks about itself all the
	 * same: it is in no handler there either. */
	return cpus[host_cpu()].handlers != 0;
}

/* ---- asking others --------------------------------------------------------------- */

void mem_port_cpu_online(void)
{
	cpumask_set_atomic(&online, host_cpu());
}

void mem_port_ipi(void)
{
	unsigned me = host_cpu();
	mem_port_interrupt_begin();
	for (;;) {
		uint32_t asked = __atomic_load_n(&cpus[me].asked, __ATOMIC_SEQ_CST);
		if (asked == __atomic_load_n(&cpus[me].done, __ATOMIC_SEQ_CST))
			break;
		void (*work)(void) = __atomic_load_n(&mem_port_work, __ATOMIC_SEQ_CST);
		if (work)
			work();
		__atomic_store_n(&cpus[me].done, asked, __ATOMIC_SEQ_CST);
	}
	mem_port_interrupt_end();
}

void mem_port_ask(const struct cpumask *whom)
{
	uint32_t number[MEM_MAX_CPUS] = {0};
	unsigned me = host_cpu(), count = host_cpu_count();
	for (unsigned cpu = 0; cpu < count; cpu++) {
		if (cpu == me || !cpumask_test(whom, cpu))
			continue;
		number[cpu] = __atomic_add_fetch(&cpus[cpu].asked, 1, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&cpus[cpu].done, __ATOMIC_SEQ_CST) == number[cpu] - 1)
			mem_port_send(cpu);
	}
	for (unsigned cpu = 0; cpu < count; cpu++) {
		if (cpu == me || !cpumask_test(whom, cpu))
			continue;
		/* The difference, because the numbers wrap. */
		while ((int32_t)(__atomic_load_n(&cpus[cpu].done, __ATOMIC_SEQ_CST) - number[cpu]) <
		       0)
			host_relax();
	}
}

void host_barrier_all(void)
{
	host_preempt_disable();
	struct cpumask whom;
	for (unsigned i = 0; i < CPUMASK_WORDS; i++)
		whom.word[i] = __atomic_load_n(&online.word[i], __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	mem_port_ask(&whom);
	host_preempt_enable();
}
