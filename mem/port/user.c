/* SPDX-License-Identifier: MIT */
/*
 * The host functions of user spaces, for a kernel whose threads are one to a CPU, or that has
 * none: who has to wait spins. What happens to a program that cannot go on is the kernel's own
 * (host_user_fault).
 */
#include <mem/host.h>
#include <mem/port.h>
#include <mem/vmm.h>

static struct space *running[MEM_MAX_CPUS];

void mem_port_run(struct vmm *vmm, struct space *space)
{
	unsigned long irq = host_irq_save();
	running[host_cpu()] = space;
	vmm_switch(vmm, space);
	host_irq_restore(irq);
}

struct space *host_current_space(void)
{
	return running[host_cpu()];
}

void host_wait(const uint32_t *word, uint32_t expected)
{
	while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == expected) {
		if (host_cpu_count() == 1)
			host_panic("host_wait: nobody is there who could wake the only thread");
		host_relax();
	}
}

void host_wake(const uint32_t *word)
{
	(void)word; /* who waits looks */
}

/* Pairs that usercopy.S makes; the linker names where they begin and end. Distances, so that
 * a kernel that is moved needs no relocation for them. */
struct fixup {
	int32_t from, to;
};
extern const struct fixup __start_mem_fixups[] __attribute__((weak));
extern const struct fixup __stop_mem_fixups[] __attribute__((weak));

bool host_fixup_fault(struct mem_trap *trap, const struct vmm_fault *fault)
{
	struct mem_port_frame *frame = trap->frame;
	/* A copy that runs off its kernel buffer is as fatal as anything else that does. */
	if (fault->address >> 47)
		return false;
	for (const struct fixup *f = __start_mem_fixups; f < __stop_mem_fixups; f++) {
		if ((uintptr_t)&f->from + (uintptr_t)(intptr_t)f->from == frame->ip) {
			frame->ip = (uintptr_t)&f->to + (uintptr_t)(intptr_t)f->to;
			return true;
		}
	}
	return false;
}

MEM_NORETURN void host_fatal_fault(struct mem_trap *trap, const struct vmm_fault *fault)
{
	host_panic("fault in the kernel: %s at 0x%lx, ip 0x%lx, error 0x%lx",
		   vmm_cause_name(fault->cause), trap->address, trap->ip, trap->error);
}

bool host_out_of_memory(uint64_t npages)
{
	(void)npages;
	return false;
}
