/* SPDX-License-Identifier: MIT */
/*
 * The host functions, as the machine provides them. Each enforces the contract
 * that mem/host.h states for it: what mem/ may not do, it must not get away
 * with here.
 */
#include <mem/host.h>
#include <mem/vmm.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/atomic.h"
#include "tests/machine/inside.h"

char machine_last_error[256];

void host_log(enum host_log_level level, const char *format, ...)
{
	va_list args;
	if (level == HOST_LOG_ERROR) {
		va_start(args, format);
		vsnprintf(machine_last_error, sizeof(machine_last_error), format, args);
		va_end(args);
	}
	va_start(args, format);
	fprintf(stderr, level >= HOST_LOG_WARN ? "  log! " : "  log: ");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

/* ---- this CPU ----------------------------------------------------------------- */

unsigned host_cpu(void)
{
	return machine.now_cpu;
}

unsigned host_cpu_count(void)
{
	return machine.config.ncpus;
}

unsigned long host_irq_save(void)
{
	unsigned long was = this_cpu()->irq_off;
	this_cpu()->irq_off = true;
	return was;
}

void host_irq_restore(unsigned long state)
{
	if (!this_cpu()->irq_off)
		machine_die("host_irq_restore with interrupts on");
	this_cpu()->irq_off = state != 0;
	if (!state)
		machine_point();
}

bool host_irq_enabled(void)
{
	return !this_cpu()->irq_off;
}

bool host_in_interrupt(void)
{
	return this_cpu()->in_interrupt;
}

void host_preempt_disable(void)
{
	this_cpu()->preempt++;
}

void host_preempt_enable(void)
{
	struct cpu *cpu = this_cpu();
	if (!cpu->preempt)
		machine_die("host_preempt_enable without host_preempt_disable");
	if (--cpu->preempt == 0 && !cpu->irq_off && !cpu->in_interrupt)
		machine_point();
}

void host_relax(void)
{
	struct cpu *cpu = this_cpu();
	const char *was = cpu->doing;
	cpu->doing = cpu->irq_off ? "spinning with interrupts off" : "spinning";
	cpu->relaxes++;
	machine_take_interrupts();
	machine_wait_turn();
	cpu->doing = was;
	/* With preemption on, what it waits for may be a thread without a CPU. */
	if (!cpu->preempt && !cpu->irq_off && !cpu->in_interrupt && !cpu->in_instruction &&
	    machine_random_below(8) == 0)
		machine_yield();
}

/* Memory here is sequentially consistent: nothing is needed but the contract, and that a CPU
 * with interrupts off is waited for, as it does not take the one that is sent to it. */
void host_barrier_all(void)
{
	struct cpu *self = this_cpu();
	if (self->irq_off || self->in_interrupt)
		machine_die("host_barrier_all with interrupts off");
	machine_point();
	const char *was = self->doing;
	for (unsigned i = 0; i < machine.config.ncpus; i++) {
		while (machine.cpu[i].irq_off || machine.cpu[i].in_interrupt) {
			self->doing = "waiting for a barrier";
			self->waits_for = (int)i;
			machine_take_interrupts();
			machine_wait_turn();
		}
	}
	self->doing = was;
	self->waits_for = -1;
}

/* ---- translations --------------------------------------------------------------- */

void host_flush_wait(const struct cpumask *cpus)
{
	struct cpu *self = this_cpu();
	if (self->irq_off || self->in_interrupt)
		machine_die(
		    "host_flush_wait with interrupts off: two CPUs that do so wait forever");
	if (!self->preempt)
		machine_die("host_flush_wait with preemption on");
	if (self->in_instruction)
		machine_die("host_flush_wait inside an instruction");
	machine_point();
	uint64_t target[MACHINE_MAX_CPUS] = {0};
	for (unsigned i = 0; i < machine.config.ncpus; i++) {
		if (!cpumask_test(cpus, i) || &machine.cpu[i] == self)
			continue;
		target[i] = ++machine.cpu[i].flush_asked;
		machine_point(); /* not all CPUs get theirs at once */
	}
	if (cpumask_test(cpus, machine.now_cpu) && machine_hooks.flush_pending) {
		self->irq_off = self->in_interrupt = true;
		machine_hooks.flush_pending();
		self->irq_off = self->in_interrupt = false;
	}
	const char *was = self->doing;
	for (unsigned i = 0; i < machine.config.ncpus; i++) {
		while (machine.cpu[i].flush_done < target[i]) {
			self->doing = "waiting for a flush";
			self->waits_for = (int)i;
			machine_take_interrupts();
			machine_wait_turn();
		}
	}
	self->doing = was;
	self->waits_for = -1;
}

/* ---- user spaces ------------------------------------------------------------------ */

void host_wait(const uint32_t *word, uint32_t expected)
{
	struct cpu *cpu = this_cpu();
	if (cpu->preempt || cpu->irq_off || cpu->in_interrupt || cpu->in_instruction)
		machine_die("host_wait with preemption off, interrupts off or in a handler");
	machine_point();
	if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != expected)
		return;
	/* Spurious returns are allowed, so there are some. */
	if (machine_random_below(16) == 0 && machine.config.switch_mean) {
		machine_yield();
		return;
	}
	struct thread *self = this_cpu()->current;
	self->sleeps_on = word;
	self->state = THREAD_SLEEPING;
	machine_sleep();
}

void host_wake(const uint32_t *word)
{
	if (this_cpu()->in_interrupt)
		machine_die("host_wake in a handler");
	machine_point();
	for (unsigned i = 0; i < MACHINE_MAX_THREADS; i++) {
		struct thread *t = &machine.thread[i];
		if (t->state == THREAD_SLEEPING && t->sleeps_on == word)
			t->state = THREAD_READY;
	}
}

struct space *host_current_space(void)
{
	return this_cpu()->current ? this_cpu()->current->space : NULL;
}

void host_user_fault(struct mem_trap *trap, const struct vmm_fault *fault)
{
	struct thread *self = this_cpu()->current;
	if (this_cpu()->irq_off || this_cpu()->preempt)
		machine_die("host_user_fault with interrupts or preemption off");
	if (self->has_signal)
		machine_die("two signals for one access");
	self->has_signal = true;
	self->signal = (struct machine_result){.signal = fault->signal,
					       .code = fault->code,
					       .address = fault->address,
					       .cause = fault->cause};
}

bool host_fixup_fault(struct mem_trap *trap, const struct vmm_fault *fault)
{
	return false;
}

MEM_NORETURN void host_fatal_fault(struct mem_trap *trap, const struct vmm_fault *fault)
{
	machine_die("kernel fault at %#llx, error %#llx, cause %d",
		    (unsigned long long)trap->address, (unsigned long long)trap->error,
		    (int)fault->cause);
}

bool host_out_of_memory(uint64_t npages)
{
	const struct cpu *cpu = this_cpu();
	if (cpu->preempt || cpu->irq_off || cpu->in_interrupt)
		machine_die("host_out_of_memory where nobody may sleep");
	return machine_hooks.out_of_memory ? machine_hooks.out_of_memory(npages) : false;
}
