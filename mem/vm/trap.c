/* SPDX-License-Identifier: MIT */
/*
 * Interrupt 14: from what the CPU says to what is done about it.
 *
 * User addresses are served whoever touches them: the program, or the kernel in
 * a user copy. Kernel addresses are never served: everything there is mapped
 * before it is used. What cannot be served goes to the program as a signal, or
 * to the fix-up of the kernel instruction, or ends the machine.
 *
 * A kernel access to a page that allows it faults again for ever, if SMAP is closed or a
 * user page is run as kernel code. The third time at one place in a row it is taken for
 * what it is.
 */
#include "vm/space.h"

#define SPURIOUS_MAX 3

static struct {
	vaddr_t ip, address;
	unsigned times;
} MEM_CACHE_ALIGNED spurious_at[MEM_MAX_CPUS];

/* Has this kernel access been found allowed too often? */
static bool hopeless(const struct mem_trap *trap)
{
	unsigned cpu = host_cpu(); /* a hint: migrating only resets the count */
	if (spurious_at[cpu].ip != trap->ip || spurious_at[cpu].address != trap->address) {
		spurious_at[cpu].ip = trap->ip;
		spurious_at[cpu].address = trap->address;
		spurious_at[cpu].times = 0;
	}
	return ++spurious_at[cpu].times > SPURIOUS_MAX;
}

static void not_served(struct mem_trap *trap, struct vmm_fault *fault)
{
	fault->ip = trap->ip;
	fault->error = trap->error;
	if (trap->error & FAULT_USER) {
		host_user_fault(trap, fault);
		return;
	}
	if (!host_fixup_fault(trap, fault))
		host_fatal_fault(trap, fault);
}

static void refuse(struct mem_trap *trap, enum vmm_cause cause)
{
	bool reserved = cause == VMM_FAULT_RESERVED_BIT;
	struct vmm_fault fault = {.address = trap->address,
				  .cause = cause,
				  .signal = reserved ? 9 : 11,
				  .code = reserved                        ? 0
					  : cause == VMM_FAULT_PROTECTION ? 2
									  : 1};
	not_served(trap, &fault);
}

void vmm_handle_trap(struct mem_trap *trap)
{
	struct space *space = host_current_space();
	bool user = trap->error & FAULT_USER;
	if (unlikely(trap->error & FAULT_RESERVED)) {
		refuse(trap, VMM_FAULT_RESERVED_BIT);
		return;
	}
	if (unlikely(trap->address >= USER_TOP || !space)) {
		refuse(trap, VMM_FAULT_KERNEL_RANGE);
		return;
	}
	if (unlikely(!user && ((trap->error & FAULT_FETCH) || !host_irq_enabled()))) {
		refuse(trap, VMM_FAULT_PROTECTION);
		return;
	}
	struct vmm_fault fault;
	bool spurious = false;
	unsigned access = trap->error & (FAULT_WRITE | FAULT_FETCH | FAULT_USER);
	if (vm_fault_page(space, trap->address, access, &fault, &spurious) != MEM_OK)
		not_served(trap, &fault);
	else if (unlikely(spurious && !user && hopeless(trap)))
		refuse(trap, VMM_FAULT_PROTECTION);
}
