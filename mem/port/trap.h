/* SPDX-License-Identifier: MIT */
#ifndef MEM_PORT_TRAP_H
#define MEM_PORT_TRAP_H
#include <mem/types.h>

struct mem_port_frame;

/* What trap.S calls, with interrupts off. */
void mem_port_handle_page_fault(struct mem_port_frame *frame, vaddr_t address);
#endif
