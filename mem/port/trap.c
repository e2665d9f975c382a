/* SPDX-License-Identifier: MIT */
/* From the registers of a page fault to the component. */
#include "port/trap.h"

#include <mem/host.h>
#include <mem/port.h>
#include <mem/vmm.h>

#define FLAGS_IF ((uint64_t)1 << 9)

void mem_port_handle_page_fault(struct mem_port_frame *frame, vaddr_t address)
{
	struct mem_trap trap = {.address = address,
				.error = frame->error,
				.ip = frame->ip,
				.sp = frame->sp,
				.frame = frame};
	unsigned long irq = host_irq_save();
	/* What faulted with interrupts on may sleep here; the address is saved already. */
	host_irq_restore(frame->flags & FLAGS_IF);
	vmm_handle_trap(&trap);
	(void)host_irq_save();
	host_irq_restore(irq);
}
