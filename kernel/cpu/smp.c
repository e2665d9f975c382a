/* SPDX-License-Identifier: MIT */
/*
 * The other CPUs.
 *
 * The loader has parked them in its own code, on its own tables and stacks, each
 * looking at its goto_address. A CPU that is released loads our root table (our
 * text is at the same address in both), takes its own stack, and comes to
 * ap_main. CPUs that we have no use for (more than MEM_MAX_CPUS, no memory) are
 * brought over all the same, and halt in our code, so that the loader's memory
 * can be taken back.
 */
#include "kernel/boot/smp.h"

#include <kernel/boot.h>
#include <kernel/log.h>

#include "arch/x86_64/ops.h"
#include "kernel/cpu/priv.h"
#include "kernel/cpu/x86.h"

static unsigned possible = 1;
static unsigned online = 1;

/* For ap_entry. */
uint64_t ap_root;
uint32_t ap_left; /* released CPUs that have left the loader's memory */
extern const char ap_entry[];
void ap_main(struct cpu_private *c);

unsigned cpu_possible(void)
{
	return possible;
}

unsigned cpu_count(void)
{
	return __atomic_load_n(&online, __ATOMIC_ACQUIRE);
}

void smp_find(const struct limine_mp *mp)
{
	if (mp && mp->count > 1)
		possible = (unsigned)mem_min(mp->count, (uint64_t)MEM_MAX_CPUS);
}

void ap_main(struct cpu_private *c)
{
	cpu_init_tables(c);
	cpu_init_registers();
	vmm_cpu_online(kernel_vmm);
	arch_flush_global();
	apic_init_cpu();
	c->apic_id = apic_id();
	c->online = 1;
	cpumask_set_atomic(&cpu_online_mask, c->cpu.id);
	__atomic_add_fetch(&online, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&ap_left, 1, __ATOMIC_SEQ_CST);
	sched_start();
}

static void release(struct limine_cpu *cpu, struct cpu_private *c)
{
	cpu->extra_argument = (uint64_t)c;
	__atomic_store_n(&cpu->goto_address, (uint64_t)ap_entry, __ATOMIC_SEQ_CST);
}

bool smp_start(const struct limine_mp *mp)
{
	if (!mp || mp->count < 2)
		return true;
	ap_root = vmm_kernel_root(kernel_vmm);
	unsigned id = 1, released = 0;
	for (uint64_t i = 0; i < mp->count; i++) {
		struct limine_cpu *cpu = mp->cpus[i];
		if (cpu->apic_id == mp->boot_apic_id)
			continue;
		struct cpu_private *c = id < possible ? cpu_create(id, cpu->apic_id) : NULL;
		id += c != NULL;
		release(cpu, c);
		released++;
	}
	/* A CPU that never comes is not used, and what it may still run on is kept. */
	nsec_t deadline = time_monotonic() + 10 * NSEC_PER_SEC;
	while (__atomic_load_n(&ap_left, __ATOMIC_ACQUIRE) < released &&
	       time_monotonic() < deadline)
		cpu_relax();
	unsigned missing = released - __atomic_load_n(&ap_left, __ATOMIC_ACQUIRE);
	if (missing)
		klog(LOG_ERROR, "%u of %u CPUs did not come: loader memory is kept", missing,
		     released);
	klog(LOG_INFO, "%u CPUs online of %lu", cpu_count(), mp->count);
	return missing == 0;
}
