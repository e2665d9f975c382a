/* SPDX-License-Identifier: MIT */
#ifndef MEM_PORT_SMP_H
#define MEM_PORT_SMP_H
#include <mem/cpumask.h>

/* What a CPU that is asked does; NULL: it only takes the interrupt. */
extern void (*mem_port_work)(void);
/* Make every CPU in `whom` but the caller do it, and wait. Context: interrupts on,
 * preemption off. */
void mem_port_ask(const struct cpumask *whom);
#endif
