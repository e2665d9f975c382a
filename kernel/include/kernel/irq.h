/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_IRQ_H
#define KERNEL_IRQ_H
/* Device interrupts. Owner: kernel/cpu. */
#include <kernel/trap.h>

/* Call `handler` for ISA interrupt `irq` (0..15), routed through the I/O APIC
 * (with the MADT's overrides) to the boot CPU, and unmask it. Handlers run with
 * interrupts off; several devices on one line share by registering up to four
 * handlers, each of which looks at its own device. Context: thread.
 * Errors: -ENODEV no such line; -EBUSY four handlers already. */
int irq_attach(unsigned irq, trap_handler handler);
#endif
