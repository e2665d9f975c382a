/* SPDX-License-Identifier: MIT */
/* Interrupts of this CPU. The state that is saved is the flag itself. */
#include <mem/host.h>

#ifndef MEM_HOST_IRQ_IS_INLINE
#define FLAGS_IF ((unsigned long)1 << 9)

static unsigned long flags(void)
{
	unsigned long value;
	__asm__ volatile("pushfq; popq %0" : "=r"(value)::"memory");
	return value;
}

unsigned long host_irq_save(void)
{
	unsigned long was = flags() & FLAGS_IF;
	__asm__ volatile("cli" ::: "memory");
	return was;
}

void host_irq_restore(unsigned long state)
{
	if (state)
		__asm__ volatile("sti" ::: "memory");
}

bool host_irq_enabled(void)
{
	return flags() & FLAGS_IF;
}
#endif

void host_relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}
