/* SPDX-License-Identifier: MIT */
/*
 * Making other CPUs flush translations, and waiting for them.
 *
 * Each CPU has two counters: `asked` goes up by one per request, `done` follows
 * it. The CPU that answers reads asked, flushes, sets done to what it read, and
 * does so again until both are equal; the CPU that asks adds one and waits until
 * done has reached its number. An interrupt is sent only if the two were equal
 * before: otherwise the other CPU is still between reading asked and comparing,
 * and will see the new request (all four accesses are sequentially consistent).
 *
 * A CPU that has waited for a while halts until an answer comes (a CPU that
 * answers looks whether any does, and interrupts it): the CPU it waits for may be
 * one that an emulator can only run once this one is out of the way.
 *
 * Nobody gives up. Two CPUs that wait for each other both answer, by interrupt
 * and by looking at their own counters while they wait; and since nothing is
 * held with interrupts off across a wait, every CPU comes to answer.
 */
#include <kernel/log.h>
#include <mem/host.h>
#include <mem/vmm.h>

#include "base/util.h"
#include "kernel/cpu/x86.h"
#include "kernel/host/flush.h"

#define SPINS 2000 /* before halting: much longer than an answer takes on hardware */

static struct cpumask halted; /* CPUs that wait in HLT, or are about to */

static void wake_halted(void)
{
	for (unsigned w = 0; w < CPUMASK_WORDS; w++)
		for (uint64_t m = __atomic_load_n(&halted.word[w], __ATOMIC_SEQ_CST); m; m &= m - 1)
			apic_send(cpu_table[w * 64 + bit_lowest(m)]->apic_id, VECTOR_RESCHED);
}

static void answer(struct cpu_private *c)
{
	for (;;) {
		uint32_t asked = __atomic_load_n(&c->flush_asked, __ATOMIC_SEQ_CST);
		if (asked == __atomic_load_n(&c->flush_done, __ATOMIC_SEQ_CST))
			return;
		vmm_flush_pending();
		__atomic_store_n(&c->flush_done, asked, __ATOMIC_SEQ_CST);
		wake_halted();
	}
}

static void flush_interrupt(struct trapframe *f)
{
	(void)f;
	answer(this_private());
}

void host_flush_init(void)
{
	trap_set_handler(VECTOR_FLUSH, flush_interrupt);
}

static void answer_while_waiting(void)
{
	struct cpu_private *c = this_private();
	if (__atomic_load_n(&c->flush_asked, __ATOMIC_RELAXED) !=
	    __atomic_load_n(&c->flush_done, __ATOMIC_RELAXED)) {
		unsigned long irq = irq_save();
		answer(c);
		irq_restore(irq);
	}
	cpu_relax();
}

static bool reached(const struct cpu_private *c, uint32_t number)
{
	return (int32_t)(__atomic_load_n(&c->flush_done, __ATOMIC_SEQ_CST) - number) >= 0;
}

/* Halt until something happens, unless the answer is there. The mark is set
 * before the look, the answer stored before the mark is read: one sees the
 * other. A request to this CPU comes as an interrupt and ends the halt too. */
static void halt_for_answer(const struct cpu_private *c, uint32_t number)
{
	unsigned self = this_cpu()->id;
	irq_disable();
	cpumask_set_atomic(&halted, self);
	if (reached(c, number)) {
		irq_enable();
	} else {
		latency_irq_on();
		__asm__ volatile("sti; hlt" ::: "memory");
	}
	cpumask_clear_atomic(&halted, self);
}

static void wait_for_answer(const struct cpu_private *c, uint32_t number)
{
	unsigned spins = 0;
	while (!reached(c, number)) {
		if (++spins < SPINS)
			answer_while_waiting();
		else
			halt_for_answer(c, number);
	}
}

/* Answering is an interrupt, and an interrupt orders memory. */
void host_barrier_all(void)
{
	preempt_disable();
	struct cpumask others = cpu_online_mask;
	cpumask_clear(&others, this_cpu()->id);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!cpumask_empty(&others))
		host_flush_wait(&others);
	preempt_enable();
}

void host_flush_wait(const struct cpumask *cpus)
{
	kassert(irq_enabled() && this_cpu()->preempt_count > 0);
	uint64_t begun = rdtsc();
	unsigned self = this_cpu()->id;
	uint32_t number[MEM_MAX_CPUS];
	for (unsigned i = 0; i < cpu_possible(); i++) {
		struct cpu_private *c = cpu_table[i];
		if (i == self || !c || !cpumask_test(cpus, i))
			continue;
		number[i] = __atomic_add_fetch(&c->flush_asked, 1, __ATOMIC_SEQ_CST);
		if (reached(c, number[i] - 1))
			apic_send(c->apic_id, VECTOR_FLUSH);
	}
	if (cpumask_test(cpus, self)) {
		unsigned long irq = irq_save();
		vmm_flush_pending();
		irq_restore(irq);
	}
	for (unsigned i = 0; i < cpu_possible(); i++) {
		struct cpu_private *c = cpu_table[i];
		if (i == self || !c || !cpumask_test(cpus, i))
			continue;
		wait_for_answer(c, number[i]);
	}
	latency_waited(rdtsc() - begun);
}
